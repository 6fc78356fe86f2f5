"""An administrator watches in her browser: the pipeline, the quarantine, the audit, everybody's exports."""

from __future__ import annotations

import csv
import io
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import playwright.sync_api as playwright
import psutil
import pydicom
import pytest
from pydicom.uid import generate_uid

from demo.stack import Stack
from tests.end_to_end.conftest import Person
from tests.end_to_end.identified import CELESTE, Identifiers, _example, storescu
from tests.fixtures.processes import wait_for

# A value that no instance without a character set of its own can hold: each is refused.
REFUSING = (
    '  - {Scope: {Labels: ALL}, AddTags: [{Tag: InstitutionName, VR: LO, Value: "病院", OverwriteIfExists: true}]}\n'
)


@pytest.fixture
def rules(stack: Stack) -> Iterator[Path]:
    """The stack's rules file, which is as it was when the test is over."""
    before = stack.settings.rules_file.read_bytes()
    yield stack.settings.rules_file
    stack.settings.rules_file.write_bytes(before)


@pytest.fixture
def open_page(stack: Stack, studies, admin: Person, pages) -> Callable[[str], playwright.Page]:
    def open_(path: str) -> playwright.Page:
        admin.page.goto(f"{stack.gateway_url}/admin/{path}")
        pages.append(admin.page.content())
        return admin.page

    return open_


@pytest.fixture
def admin(person) -> Person:
    return person("admin")


@pytest.fixture
def shoot(admin: Person) -> Callable[[str], None]:
    return lambda name: admin.shoot(f"watch-{name}")


@pytest.fixture(scope="module")
def pages() -> list[str]:
    """The HTML of every page that was opened."""
    return []


def scans(folder: Path, count: int) -> list[Path]:
    """MR instances under Celeste's name."""
    dataset = pydicom.dcmread(_example("MR_small.dcm"))
    dataset.PatientName, dataset.PatientID = CELESTE.name, CELESTE.patient_id
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = generate_uid(), generate_uid()
    made = []
    for number in range(1, count + 1):
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        dataset.InstanceNumber = number
        made.append(folder / f"{number}.dcm")
        dataset.save_as(made[-1])
    return made


def ever(page: playwright.Page) -> dict[str, int]:
    """Return the last column of the table of rates."""
    return {
        outcome: int(re.sub(r"\D", "", page.inner_text(f"#rate-{outcome} td:last-child")))
        for outcome in ("arrived", "done", "quarantined", "discarded", "discarded_by_hand", "gone")
    }


def in_force(page: playwright.Page) -> str:
    return page.inner_text("code.digest")


def test_what_was_sent_is_counted_and_what_cannot_be_cleaned_says_why(studies, open_page, shoot):
    page = open_page("pipeline?refresh=no")
    counts = ever(page)
    assert counts["arrived"] >= len(studies.all)
    assert counts["done"] >= len(studies.all) - 1
    assert counts["done"] + counts["discarded"] + counts["gone"] + 1 <= counts["arrived"]
    assert page.inner_text("#queued") == "0"
    assert "alive" in page.inner_text("#workers")
    assert page.inner_text("#in-quarantine") == "1"
    assert page.locator("svg.by-hour rect.bar-done").count() >= 1
    shoot("pipeline")
    page.click("#in-quarantine")
    row = page.locator("#reasons tr", has_text="pixels_not_decodable")
    assert "looks at it on the clinical side" in row.inner_text()
    shoot("quarantine")
    page.locator("#entries tbody th a").first.click()
    shoot("quarantine-entry")
    text = page.inner_text("main")
    assert "US" in text
    assert "Ultrasound Image Storage" in text
    assert "What to do:" in text
    assert page.locator("main img").count() == 0


def test_the_pipeline_page_looks_again_by_itself(open_page):
    page = open_page("pipeline")
    with page.expect_navigation(timeout=30_000):
        pass  # nobody touches it
    assert page.inner_text("h1") == "Pipeline"


def test_other_rules_and_a_retry_make_it_searchable_and_a_discard_ends_it(
    stack, studies, rules, open_page, admin, shoot, tmp_path
):
    page = open_page("pipeline?refresh=no")
    before, good = ever(page), in_force(page)
    rules.write_text(rules.read_text().rstrip("\n") + "\n" + REFUSING)
    wait_for(
        lambda: in_force(open_page("pipeline?refresh=no")) not in (good, ""), 30, "the rules are not read", every=0.5
    )
    found = admin.api("count", params={"level": "instance"}).json()["count"]
    storescu(scans(tmp_path, 2), stack.ingest.dicom_port, stack.ingest.aet)
    path = "quarantine?reason=value_not_encodable"
    wait_for(lambda: open_page(path).locator("#entries tbody tr").count() == 2, 60, "two are not held back", every=0.5)
    assert "Write the value of AddTags so that it fits" in page.inner_text("#reasons")

    # The same rules: it is tried, and stays with its reason.
    page.fill("#why-retry", "once more")
    page.get_by_role("button", name="Retry all").click()
    page.wait_for_selector(".said >> text=2 of 2 queued again")
    tries = lambda: [row.split("\t")[6] for row in open_page(path).locator("#entries tbody tr").all_inner_texts()]  # noqa: E731
    wait_for(lambda: tries() == ["2", "2"], 30, lambda: f"tries: {tries()}", every=0.5)
    shoot("quarantine-by-reason")

    # Other rules: it goes through.
    first = page.locator("#entries tbody th a").first
    first.click()
    rules.write_bytes(rules.read_bytes().replace(REFUSING.encode(), b""))
    entry = page.url
    wait_for(lambda: in_force(open_page("pipeline?refresh=no")) == good, 30, "the rules are not read", every=0.5)
    page.goto(entry)
    page.get_by_role("button", name="Retry").click()
    page.wait_for_selector(".said >> text=1 of 1 queued again")
    count = lambda: admin.api("count", params={"level": "instance"}).json()["count"]  # noqa: E731
    wait_for(lambda: count() == found + 1, 60, lambda: f"{count()} instead of {found + 1} can be found", every=0.5)

    # The other one is discarded, after a question.
    open_page(path).locator("#entries tbody th a").first.click()
    page.fill("#why-discard", "sent by mistake")
    page.get_by_role("button", name="Discard").click()
    assert "cannot be undone" in page.inner_text("main")
    shoot("discard")
    page.get_by_role("button", name="Discard").click()
    page.wait_for_selector(".said >> text=1 of 1 discarded")
    assert page.locator("#reasons tr", has_text="value_not_encodable").count() == 0
    requests = page.locator("#requests tbody tr").all_inner_texts()
    assert "sent by mistake" in requests[0]
    assert "admin" in requests[0]
    shoot("quarantine-requests")

    after = ever(open_page("pipeline?refresh=no"))
    grown = {outcome: after[outcome] - before[outcome] for outcome in after if after[outcome] != before[outcome]}
    assert grown == {"arrived": 2, "quarantined": 4, "done": 1, "discarded_by_hand": 1}
    lines = open_page("audit?action=admin_discard_quarantine").locator("tbody tr").all_inner_texts()
    assert len(lines) == 2  # about to do it, done
    assert "sent by mistake" in lines[0]


def test_the_audit_finds_what_a_researcher_did_and_the_table_holds_the_line(open_page, person, shoot):
    answer = person("clara").api("search", params={"query": "Rows NbEquals 78", "level": "series"})
    page = open_page("audit")
    page.fill("#user", "clara")
    page.fill("#action", "search")
    page.fill("#containing", "Rows NbEquals 78")
    page.get_by_role("button", name="Search").click()
    page.wait_for_selector("tbody tr")
    shoot("audit")
    rows = page.locator("tbody tr")
    assert rows.count() == 1
    assert "Rows NbEquals 78" in rows.first.inner_text()
    with page.expect_download() as download:
        page.get_by_role("link", name="All of these as CSV").click()
    (line,) = csv.DictReader(io.StringIO(Path(download.value.path()).read_text()))
    assert (line["user"], line["query"], line["request_id"]) == (
        "clara",
        "Rows NbEquals 78",
        answer.headers["X-Request-Id"],
    )
    rows.first.locator("a").click()
    assert answer.headers["X-Request-Id"] in page.inner_text("main")

    open_page("audit").get_by_role("button", name="Check it now").click()
    page.wait_for_selector("#audit-check >> text=lines (table and file)", timeout=60_000)
    assert "NOT" not in page.inner_text("#audit-check")


def test_an_export_is_seen_and_cancelled(stack, open_page, person, shoot):
    clara, access = person("clara"), stack.s3
    headers = {"Authorization": f"token {clara.token}"}
    body = {
        "query": "Modality StrEquals CT",
        "level": "series",
        "destination": "s3://research-exports/to-be-cancelled",
        "format": "dicom",
        "endpoint_url": access.endpoint_url,
        "credentials": {"access_key": access.access_key, "secret_key": access.secret_key},
    }
    # An S3 server that takes its time.
    server = psutil.Process(stack.program_pid("s3"))
    frozen = [server, *server.children(recursive=True)]
    for process in frozen:
        process.send_signal(signal.SIGSTOP)
    try:
        answer = httpx.post(f"{stack.gateway_url}/api/v1/exports", json=body, headers=headers, timeout=60)
        assert answer.status_code == 202, answer.text
        page = open_page("exports?user=clara&active=yes")
        row = page.locator("tbody tr", has_text="to-be-cancelled")
        assert "running" in row.inner_text()
        row.locator("a").click()
        page.fill("#why", "the wrong bucket")
        shoot("export")
        page.get_by_role("button", name="Cancel the export").click()
        assert "Cancel this export of clara?" in page.inner_text("h1")
        page.get_by_role("button", name="Cancel the export").click()
        page.wait_for_selector(".said >> text=the wrong bucket")
        assert "cancelled" in page.inner_text("#export-state")
    finally:
        for process in reversed(frozen):
            process.send_signal(signal.SIGCONT)
    record = clara.api(f"exports/{answer.json()['id']}").json()
    assert record["state"] == "cancelled"
    assert record["message"].startswith("Cancelled by an administrator after ")
    assert access.secret_key not in page.content()


def test_no_page_names_a_patient(studies, open_page, pages, tmp_path):
    for path in ("", "audit", "exports", "pipeline", "quarantine", "files", "profiles", "who-sees"):
        open_page(path)
    identifiers = Identifiers.of([*studies.all, *scans(tmp_path, 1)])
    # Not dates: eight digits are in many a number; names, patient numbers, accession numbers and UIDs are not.
    assert len(identifiers.needles) > 20
    found = set().union(*(identifiers.found_in(page.encode()) for page in pages))
    assert found == set()
    assert len(pages) > 20
