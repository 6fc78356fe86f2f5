"""An administrator changes who may see what in her browser, and it comes true."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import playwright.sync_api as playwright
import pytest

from demo.stack import Stack
from tests.end_to_end.conftest import Person
from tests.end_to_end.terminal import demo
from tests.fixtures.processes import wait_for

GIVEN = "  - Users: [nora]\n    Profiles: [CT images]\n"


@pytest.fixture
def permissions(stack: Stack) -> Iterator[Path]:
    """The stack's permissions file, which is in force as it was when the test is over."""
    path = stack.settings.permissions_file
    before = path.read_bytes()
    yield path
    path.write_bytes(before)
    health = f"{stack.gateway_url}/api/v1/health"
    wait_for(
        lambda: (
            httpx.get(health, timeout=30).json()["permissions"]
            == {"digest": hashlib.sha256(before).hexdigest(), "error": None}
        ),
        30,
        "the permissions are not in force as they were",
        every=0.2,
    )


@pytest.fixture
def admin(stack, studies, research, person) -> Person:
    found = person("admin")
    total = lambda: found.api("search", params={"level": "instance"}).json()["total"]  # noqa: E731
    wait_for(
        lambda: total() == research.count(), 60, lambda: f"{total()} of {research.count()} in the index", every=0.5
    )
    return found


@pytest.fixture
def open_page(stack: Stack, admin: Person) -> Callable[[str], playwright.Page]:
    def open_(path: str) -> playwright.Page:
        admin.page.goto(f"{stack.gateway_url}/admin/{path}")
        return admin.page

    return open_


def studies_of(somebody: Person) -> int:
    return somebody.api("search", params={"level": "study"}).json()["total"]


def write(page: playwright.Page, text: str) -> None:
    """Put a text into the editor and look at what it would do."""
    page.fill("#text", text)
    page.get_by_role("button", name="See what it would do").click()


def test_what_the_preview_says_comes_true_and_can_be_taken_back(permissions, admin, open_page, person):
    nora = person("nora")
    assert studies_of(nora) == 0
    page = open_page("profiles/edit")
    before = page.input_value("#text")
    assert before == permissions.read_text()
    write(page, before.replace("Modality StrEquals CT", "Modality StrIn (CT, MR)") + GIVEN)
    row = page.locator("tr[data-who=nora]")
    row.wait_for()
    admin.shoot("profiles-preview")
    promised = re.search(r"\+(\d+) (?:study|studies), \+(\d+) images? for nora", row.inner_text())
    assert promised, row.inner_text()
    assert int(promised[1]) >= 2
    assert "User 'nora' gets the profile 'CT images'." in page.inner_text("#change-words")
    assert studies_of(nora) == 0  # nothing is saved yet
    page.fill("#why", "nora joined the study")
    page.get_by_role("button", name="Save and put in force").click()
    page.wait_for_selector(".said >> text=nora joined the study")
    admin.shoot("profiles")
    assert studies_of(nora) == int(promised[1])
    assert nora.api("search", params={"level": "instance"}).json()["total"] == int(promised[2])

    page.get_by_role("link", name="Who sees what").first.click()
    page.fill("#user", "nora")
    page.get_by_role("button", name="Ask").click()
    assert f"nora sees {promised[1]} of " in page.inner_text(".verdict")
    admin.shoot("who-sees-what")

    page = open_page("profiles/versions")
    admin.shoot("versions")
    page.locator("#versions tbody tr").nth(1).locator("th a").click()
    page.get_by_role("button", name="Go back to this version").click()
    page.locator("tr[data-who=nora]").wait_for()
    assert f"−{promised[1]} stud" in page.inner_text("tr[data-who=nora]")  # noqa: RUF001
    page.fill("#why", "the study is over")
    page.get_by_role("button", name="in force again").click()
    page.wait_for_selector(".said >> text=the study is over")
    assert permissions.read_text() == before
    assert studies_of(nora) == 0


def test_a_broken_text_cannot_be_saved_and_changes_nothing(permissions, admin, open_page, person):
    page = open_page("profiles/edit")
    before = page.input_value("#text")
    write(page, before.replace("Modality StrEquals", "Modalty StrEquals"))
    page.wait_for_selector("#text-problems")
    admin.shoot("profiles-broken")
    assert "did you mean Modality" in page.inner_text("#text-problems")
    wrong = 1 + before[: before.index("Modality StrEquals")].count("\n")
    assert page.inner_text("#gutter mark") == str(wrong)
    assert page.get_by_role("button", name="Save").count() == 0
    assert permissions.read_text() == before
    assert studies_of(person("clara")) > 0


def test_a_broken_file_shows_on_the_page_and_in_the_status_and_changes_nothing(
    stack, permissions, admin, open_page, person
):
    clara = person("clara")
    seen = studies_of(clara)
    good = permissions.read_text()
    permissions.write_text(good.replace("Profiles:", "Profils:", 1))
    page = open_page("profiles")

    def problems() -> bool:
        page.reload()
        return page.locator("#permissions-problems").count() > 0

    wait_for(problems, 30, "the page shows no error", every=0.5)
    admin.shoot("file-broken")
    assert "Did you mean 'Profiles'?" in page.inner_text("#permissions-problems")
    assert "The last good one stays in force." in page.inner_text("#permissions-problems")
    assert studies_of(clara) == seen
    status = demo(stack, "status")
    assert status.returncode == 1, status.stdout
    assert "Did you mean 'Profiles'?" in status.stdout
    assert str(permissions) in status.stdout
    permissions.write_text(good)
    wait_for(lambda: not problems(), 30, "the page still shows the error", every=0.5)
    assert "Did you mean" not in demo(stack, "status").stdout


def test_the_same_at_a_terminal(stack, permissions, admin, person):
    nora = person("nora")
    new = permissions.read_text() + GIVEN
    shown = demo(stack, "rpacs-hub", "profiles", "apply", "-", "--yes", "--why", "nora joined", words=new)
    assert shown.returncode == 0, shown.stderr
    promised = re.search(r"- \+(\d+) (?:study|studies), .* for nora", shown.stdout)
    assert promised, shown.stdout
    assert permissions.read_text() == new
    wait_for(lambda: studies_of(nora) == int(promised[1]), 30, "the change is not in force", every=0.2)
    assert "(terminal): nora joined" in demo(stack, "rpacs-hub", "profiles", "versions", "--limit", "1").stdout


def test_the_files_in_force_are_those_of_gateway_and_deidentifier(stack, permissions, admin, open_page):
    page = open_page("files")
    admin.shoot("files")
    shown = page.locator("code.digest").all_inner_texts()
    assert shown == [hashlib.sha256(permissions.read_bytes()).hexdigest(), stack.status().pipeline["rules_digest"]]
