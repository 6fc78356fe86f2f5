"""The pages that watch: audit, exports, pipeline, quarantine."""

from __future__ import annotations

import asyncio
import csv
import io
import re
from concurrent.futures import ThreadPoolExecutor
from html import unescape
from urllib.parse import quote

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deid_service._orthanc import Orthanc
from deid_service.pipeline import schema
from deid_service.pipeline.inbox import Feeder
from deid_service.pipeline.requests import Requests
from deid_service.pipeline.troubles import Troubles
from hub.tests.pipeline_state import write_state
from hub.tests.support import audit_lines, gateway_settings, serving, until
from rpacs_hub.audit import AuditEvent
from rpacs_hub.audit.terminal import append
from rpacs_hub.gateway.admin import audit as audit_page
from rpacs_hub.gateway.admin import quarantine as quarantine_page


def words(text: str) -> str:
    """Return what a page says."""
    text = re.sub(r"(?s)<(style|script)\b.*?</\1>", " ", text)
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]*>", " ", text)))


def cells(text: str, table: str) -> list[list[str]]:
    """Return the rows of a table's body."""
    (body,) = re.findall(rf'(?s)<table id="{table}">.*?<tbody>(.*?)</tbody>', text)
    return [
        [words(cell).strip() for cell in re.findall(r"(?s)<t[dh][^>]*>(.*?)</t[dh]>", row)]
        for row in re.findall(r"(?s)<tr[^>]*>(.*?)</tr>", body)
    ]


def numbers(text: str) -> list[int]:
    """Return the numbers of the audit lines that a page lists."""
    return [int(one) for one in re.findall(r'/admin/audit/(\d+)"', text)]


@pytest.fixture(scope="module")
def served(archive, new_base, tmp_path_factory):
    """A gateway whose database has a de-identifier, an audit of its own, and exports."""
    base = write_state(new_base())
    folder = tmp_path_factory.mktemp("watched")
    given_settings = gateway_settings(base, archive.orthanc.url, folder, s3_endpoints=("http://127.0.0.1:9",))
    with serving(given_settings) as running:
        until(lambda: running.gateway.services.exporter, "the exporter")
        running.base = base
        yield running


@pytest.fixture(scope="module")
def boss(served):
    browser = served.browser("boss", "pacs-admins")
    yield browser
    browser.close()


def lines_of(served, answer) -> list[dict]:
    return audit_lines(served.base, answer.headers["x-request-id"])


# Audit


@pytest.fixture(scope="module")
def written(served) -> list[int]:
    """Numbers of lines that were written before any page was opened."""
    with psycopg.connect(served.base.gateway, autocommit=True) as connection:
        for n in range(120):
            append(
                connection,
                AuditEvent(f"old-{n}", user="=cmd()" if n == 7 else "clara", action="search", identifiers=[f"1.2.{n}"]),
            )
    return list(range(1, 121))


def test_the_audit_is_searched_and_paged_by_number(served, boss, written):
    answer = boss.get("audit", params={"user": "clara", "action": "search"})
    assert answer.status_code == 200
    assert numbers(answer.text) == list(range(120, 70, -1))
    seen = numbers(answer.text)
    while after := re.search(r'href="([^"]+)" rel="next"', answer.text):
        answer = boss.get(str(answer.url.join(unescape(after[1]))))
        seen += numbers(answer.text)
    assert seen == [n for n in reversed(written) if n != 8]
    (line,) = lines_of(served, answer)
    assert (line["action"], line["count"]) == ("admin_search_audit", 19)
    assert line["query"] == "user='clara' action='search'"
    for params, expected in (
        ({"identifier": "1.2.5"}, [6]),
        ({"containing": '"1.2.11'}, [120, 119, 118, 117, 116, 115, 114, 113, 112, 111, 12]),
        ({"request_id": "old-3"}, [4]),
        ({"user": "clara", "until": "2020-01-01"}, []),
        ({"user": "clara", "since": "2100-01-01T10:00"}, []),
        ({"user": "clara", "decision": "allowed"}, []),
    ):
        assert numbers(boss.get("audit", params=params).text) == expected


@pytest.mark.parametrize(
    ("params", "problem"), [({"since": "yesterday"}, "no date"), ({"decision": "maybe"}, "A decision is one of")]
)
def test_a_search_that_cannot_be_understood_says_so(boss, params, problem):
    answer = boss.get("audit", params=params)
    assert answer.status_code == 400
    assert problem in words(answer.text)
    assert boss.get("audit.csv", params=params).status_code == 400


def test_everything_of_one_line_is_shown(served, boss, written):
    answer = boss.get("audit/8")
    assert "=cmd()" in words(answer.text)
    assert "1.2.7" in words(answer.text)
    assert boss.get("audit/999999999").status_code == 404
    assert boss.get("audit/nothing").status_code == 404


def test_the_csv_has_the_whole_search_and_no_formulas(served, boss, written, monkeypatch):
    monkeypatch.setattr(audit_page, "_BATCH", 50)
    answer = boss.get("audit.csv", params={"action": "search"})
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert re.fullmatch(r'attachment; filename="audit-[0-9-]+\.csv"', answer.headers["content-disposition"])
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [int(row["seq"]) for row in rows] == written[::-1]
    assert rows[-8]["user"] == "'=cmd()"
    (line,) = lines_of(served, answer)
    assert (line["action"], line["count"], line["query"]) == ("admin_search_audit", 120, "action='search'")
    # What came after it was asked for is not in it: the line of the request itself, for one.
    everything = boss.get("audit.csv")
    found = {row["request_id"] for row in csv.DictReader(io.StringIO(everything.text))}
    assert answer.headers["x-request-id"] in found
    assert everything.headers["x-request-id"] not in found


def test_the_audit_is_checked_from_the_page(served, boss, written):
    assert "never checked here" in words(boss.get("audit").text)
    answer = boss.post("audit/verify")
    begun, done = lines_of(served, answer)
    assert (begun["action"], begun["subject"], done["status"]) == ("admin_verify_audit", "audit", 303)
    boss.follow(answer)
    page = until(lambda: "being checked" not in (text := words(boss.get("audit").text)) and text, "the check ends")
    assert re.search(r"Well: whole \d+ lines \(table and file\), checked [-0-9 :]+ UTC by boss", page)
    with psycopg.connect(served.base.admin_url, autocommit=True) as connection:
        connection.execute("ALTER TABLE audit.event ADD COLUMN saved text")
        connection.execute("UPDATE audit.event SET saved = line, line = replace(line, 'clara', 'ada') WHERE seq = 5")
        try:
            boss.follow(boss.post("audit/verify"))
            page = until(lambda: "NOT whole" in (text := words(boss.get("audit").text)) and text, "the check ends")
        finally:
            connection.execute("UPDATE audit.event SET line = saved WHERE seq = 5")
            connection.execute("ALTER TABLE audit.event DROP COLUMN saved")
    assert "line 5: was changed" in page


def test_a_slow_search_of_the_audit_is_stopped(served, boss, written):
    boss.get("audit")  # from now on the writer knows the chain's end and need not look
    own = served.gateway.services.settings
    object.__setattr__(own, "search_timeout", 0.2)
    try:
        with psycopg.connect(served.base.admin_url) as connection:
            # Readers wait for it; the line of the search itself goes another way, and waits as well.
            connection.execute("LOCK TABLE audit.event IN ACCESS EXCLUSIVE MODE")
            with ThreadPoolExecutor(1) as pool:
                answer = pool.submit(boss.get, "audit", params={"containing": "x"})
                until(lambda: _waits_for_the_audit(served.base), "the line of the search waits for the lock")
                connection.rollback()
                answer = answer.result(30)
    finally:
        object.__setattr__(own, "search_timeout", 20.0)
    assert answer.status_code == 503
    assert "took longer than 0.2 s" in words(answer.text)


def _waits_for_the_audit(base) -> bool:
    with psycopg.connect(base.admin_url) as connection:
        found = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND wait_event_type = 'Lock'"
            " AND query LIKE 'INSERT INTO audit.event%%'",
            (base.name,),
        ).fetchone()
    return found == (1,)


# Exports


@pytest.fixture(scope="module")
def export(served) -> str:
    """An export of clara's that never gets anywhere: its row as the exporter writes it."""
    with psycopg.connect(served.base.gateway, autocommit=True) as connection:
        row = connection.execute(
            "INSERT INTO gateway.exports (id, owner, state, level, query, bucket, prefix, format, total, done, bytes)"
            " VALUES (gen_random_uuid(), 'clara', 'running', 'series', 'Modality StrEquals CT', 'bucket-x', 'p',"
            " 'dicom', 10, 3, 1500000) RETURNING id::text"
        ).fetchone()
    return row[0]


def test_exports_of_everybody_are_shown_and_cancelled(served, boss, export):
    listed = boss.get("exports")
    assert "clara : export" in words(listed.text)
    assert "running 3 of 10 1.5 s3://bucket-x/p Modality StrEquals CT · dicom" in words(listed.text)
    assert export in boss.get("exports", params={"user": "clara", "active": "yes"}).text
    assert export not in boss.get("exports", params={"user": "ada"}).text
    assert lines_of(served, listed)[0]["action"] == "admin_list_exports"
    one = boss.get(f"exports/{export}")
    assert "running" in words(one.text)
    assert f"/admin/exports/{export}/cancel" in one.text

    assert boss.post(f"exports/{export}/cancel").status_code == 400  # without a reason
    asked = boss.post(f"exports/{export}/cancel", {"why": "wrong <bucket>"})
    assert "Cancel this export of clara?" in words(asked.text)
    assert "wrong <bucket>" in words(asked.text)
    done = boss.post(f"exports/{export}/cancel", {"why": "wrong <bucket>", "confirmed": "yes"})
    after = boss.follow(done)
    assert "Cancelled by an administrator after 3 of 10 instances: wrong <bucket>" in words(after.text)
    assert "/cancel" not in after.text
    begun, ended = lines_of(served, done)
    assert {line["subject"] for line in (begun, ended)} == {export}
    assert (begun["action"], ended["decision"], ended["reason"]) == ("admin_cancel_export", "allowed", "wrong <bucket>")
    again = boss.post(f"exports/{export}/cancel", {"why": "x", "confirmed": "yes"})
    assert again.status_code == 409
    assert lines_of(served, again)[-1]["decision"] == "error"
    hers = served.get(f"exports/{export}", served.tokens.add("clara", "ct-researchers")).json()
    assert "wrong <bucket>" in hers["message"]


@pytest.mark.parametrize("path", ["exports/made-up", "exports/00000000-0000-0000-0000-000000000000"])
def test_an_unknown_export(boss, path):
    assert boss.get(path).status_code == 404
    assert boss.post(f"{path}/cancel", {"why": "x", "confirmed": "yes"}).status_code == 404


def test_exports_are_paged(served, boss, export):
    with psycopg.connect(served.base.gateway, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO gateway.exports (id, owner, state, level, query, bucket, prefix, format, total)"
            " SELECT gen_random_uuid(), 'bulk', 'done', 'series', NULL, 'bucket-x', 'p', 'png', 1"
            " FROM generate_series(1, 60)"
        )
    first = boss.get("exports", params={"user": "bulk"})
    (after,) = re.findall(r'href="([^"]+)" rel="next"', first.text)
    second = boss.get(str(first.url.join(unescape(after))))
    ids = [set(re.findall(r"/admin/exports/([0-9a-f-]{36})", page.text)) for page in (first, second)]
    assert [len(one) for one in ids] == [50, 10]
    assert not ids[0] & ids[1]


# Pipeline


def test_the_pipeline_in_figures(served, boss):
    text = boss.get("pipeline").text
    page = words(text)
    assert "Processes Well: 1 alive Waiting 3 Oldest waits" in page
    assert "In quarantine 4 Rules Not well: /rules.yaml Their digest abc" in page
    assert "research Orthanc is away" in page
    assert "line 3: no such key" in page
    assert "long ago" in page  # of the process that died
    rates = {row[0]: row[1:] for row in cells(text, "rates")}
    assert rates["cleaned and forwarded"][1:] == ["7", "20", "90"]
    assert rates["arrived"][1:] == ["9", "9", "100"]
    assert "at most" in text
    assert text.count('<rect class="bar-done" x=') in (1, 2)
    assert 'data-refresh="5"' in text
    assert "data-refresh" not in boss.get("pipeline", params={"refresh": "no"}).text.split("<script")[0]
    assert "There is no index yet" in page


def test_a_portal_without_a_de_identifier_says_so(archive):
    browser = archive.served.browser("boss", "pacs-admins")
    page = words(browser.get("pipeline").text)
    assert "holds nothing of a de-identifier" in page
    assert f"Searchable {len(archive.files)}" in page
    assert "Well: alive" in page
    assert "holds nothing of a de-identifier" in words(browser.get("quarantine").text)
    answer = browser.post("quarantine/1/retry")
    assert answer.status_code == 503
    assert "holds nothing of a de-identifier" in words(answer.text)
    browser.close()


# Quarantine


def test_the_quarantine_by_reason_with_what_to_do(served, boss):
    answer = boss.get("quarantine")
    rows = {row[0]: row[1:] for row in cells(answer.text, "reasons")}
    assert rows["burned_in_text_possible"][0] == "2"
    assert "RemoveBurnedInAnnotations" in rows["burned_in_text_possible"][2]
    entries = {row[0]: row for row in cells(answer.text, "entries")}
    assert entries["1"][2:7] == ["burned_in_text_possible", "CT", "CT Image Storage", "1", "1"]
    assert entries["3"][-1] == "words 3 being retried"
    assert lines_of(served, answer)[0]["action"] == "admin_look_at_quarantine"
    for params, expected in (
        ({"reason": "malformed"}, ["3"]),
        ({"modality": "US"}, ["2"]),
        ({"modality": "unknown"}, ["3"]),
        ({"before": "3", "modality": "CT"}, ["1"]),
    ):
        assert [row[0] for row in cells(boss.get("quarantine", params=params).text, "entries")] == expected
    assert "Retry all" in boss.get("quarantine", params={"reason": "malformed"}).text
    one = words(boss.get("quarantine/1").text)
    assert "rpacs-deid quarantine show 1 --page FILE" in one
    assert "1.2.840.10008.5.1.4.1.1.2" in one
    assert "being retried at the moment" in words(boss.get("quarantine/3").text)
    for path in ("quarantine/99", "quarantine/x", "quarantine/all"):
        assert boss.get(path).status_code == 404


def test_a_discard_is_confirmed_and_carried_out_by_the_de_identifier(served, archive, boss, monkeypatch):
    monkeypatch.setattr(quarantine_page, "_PATIENCE", 0.1)
    form = {"reason": "burned_in_text_possible", "through": "2", "why": "phantoms"}
    assert boss.post("quarantine/all/discard", {**form, "why": ""}).status_code == 400
    asked = boss.post("quarantine/all/discard", form)
    assert "Discard all 2 with the reason burned_in_text_possible?" in words(asked.text)
    assert "2 instances are deleted from the ingest archive for good" in words(asked.text)
    done = boss.post("quarantine/all/discard", {**form, "confirmed": "yes"})
    assert "waits: the de-identifier has not taken it yet" in words(boss.follow(done).text)
    begun, ended = lines_of(served, done)
    assert (begun["action"], begun["identifiers"]) == ("admin_discard_quarantine", ["1", "2"])
    assert (ended["reason"], ended["count"]) == ("phantoms", 2)

    async def carry_out() -> None:
        url, troubles = served.base.urls["rpacs_deid"], Troubles()
        # These ids are nobody's: any Orthanc deletes them without a word.
        ingest = Orthanc(archive.orthanc.url, "ingest Orthanc")
        await Requests(url, ingest, Feeder(url, ingest, troubles), troubles).run_once()
        ingest.close()

    asyncio.run(carry_out())
    page = boss.get("quarantine").text
    assert "burned_in_text_possible" not in {row[0] for row in cells(page, "reasons")}
    assert cells(page, "requests")[0][2:] == ["boss", "discard 2", "phantoms", "Well: 2 of 2 discarded"]
    again = boss.post("quarantine/all/discard", {**form, "confirmed": "yes"})
    assert again.status_code == 409
    assert boss.post("quarantine/1/retry").status_code == 404
    assert boss.post("quarantine/all/retry", {"reason": "x", "through": "many"}).status_code == 404


def test_a_retry_is_asked_for_and_counted(served, boss, monkeypatch):
    monkeypatch.setattr(quarantine_page, "_PATIENCE", 0.1)
    answer = boss.post("quarantine/4/retry")
    assert "waits" in words(boss.follow(answer).text)
    with schema.connect(served.base.urls["rpacs_deid"]) as connection:
        row = connection.execute(
            "SELECT action, asked_by, why, numbers, state FROM request ORDER BY id DESC"
        ).fetchone()
    assert row == ("retry", "boss", "retried on the page", [4], "waiting")


def test_nothing_is_asked_for_that_the_audit_cannot_hold(served, boss, export):
    with psycopg.connect(served.base.admin_url, autocommit=True) as connection:
        before = connection.execute("SELECT count(*) FROM deid.request").fetchone()
        connection.execute("REVOKE INSERT ON audit.event FROM rpacs_gateway")
        try:
            for path in ("audit", "audit.csv", "audit/1", "exports", f"exports/{export}", "pipeline", "quarantine"):
                answer = boss.get(path)
                assert answer.status_code == 503, path
                assert "clara" not in answer.text
            assert boss.post("quarantine/4/retry").status_code == 503
            assert boss.post("audit/verify").status_code == 503
        finally:
            connection.execute("GRANT INSERT ON audit.event TO rpacs_gateway")
        assert connection.execute("SELECT count(*) FROM deid.request").fetchone() == before


def test_pages_are_named_in_the_navigation_and_need_an_admin(served, boss):
    text = boss.get("pipeline").text
    assert [f">{title}</a>" in text for title in ("Audit", "Exports", "Pipeline", "Quarantine")] == [True] * 4
    other = served.browser("eric", "ct-researchers", admin=False)
    for path in ("audit", "audit.csv", "exports", "pipeline", "quarantine", "quarantine/1"):
        assert other.get(path).status_code == 403
    for path in ("quarantine/1/discard", "audit/verify"):
        assert other.post(path, {"why": "x", "confirmed": "yes"}).status_code == 403
    other.close()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(
        ["audit", "audit.csv", "exports", "pipeline", "quarantine", "audit/{}", "exports/{}", "quarantine/{}"]
    ),
    st.dictionaries(
        st.sampled_from(["user", "action", "decision", "since", "until", "before", "reason", "modality", "identifier"]),
        st.one_of(
            st.text(max_size=20),
            st.sampled_from(
                ["0", "-1", "9" * 30, "2026-01-01", "0001-01-01T00:00+14:00", "9999-12-31T23:59-14:00", "NaN"]
            ),
        ),
        max_size=3,
    ),
)
def test_no_question_breaks_a_page(served, boss, path, params):
    name = quote(next(iter(params.values()), "1").replace("\0", "") or "1", safe="")
    assert boss.get(path.format(name), params=params).status_code in (200, 400, 404)
