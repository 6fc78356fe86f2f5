"""An administrator manages people in her browser, from a temporary password to being locked out."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterator

import httpx
import playwright.sync_api as playwright
import pytest

from demo.stack import Stack
from rpacs_hub.gateway.admin import NAVIGATION
from tests.end_to_end.conftest import Person
from tests.end_to_end.terminal import demo
from tests.fixtures.processes import wait_for


@pytest.fixture
def admin(stack: Stack, person) -> Person:
    """The administrator, on the first page of the administration, which she opened from her home page."""
    found = person("admin")
    found.page.click("#rp-admin")
    found.page.wait_for_selector("h1 >> text=Overview")
    return found


@pytest.fixture
def newcomer(stack: Stack, browser: playwright.Browser) -> Iterator[Person]:
    """Somebody whom nobody knows yet, with a browser of her own."""
    somebody = Person(stack, browser, f"eva{secrets.token_hex(3)}")
    yield somebody
    somebody.context.close()


def type_password(somebody: Person, password: str) -> playwright.Page:
    """Go to the hub and sign in at the hosted page, as far as it lets her."""
    page = somebody.page
    page.goto(somebody.stack.hub_url)
    page.click("#rp-sign-in")
    page.fill("input[name=username]", somebody.name)
    page.fill("input[name=password]", password)
    page.click("button[type=submit]")
    page.wait_for_load_state()
    return page


def make_user(admin: Person, name: str) -> str:
    """Create a user who sees CT, and return the temporary password that the page shows."""
    page = admin.page
    page.get_by_role("link", name="Users", exact=True).click()
    page.get_by_role("link", name="New user").click()
    page.fill("#name", name)
    page.check("input[name=group][value=ct-researchers]")
    admin.shoot("new-user")
    page.get_by_role("button", name="Create").click()
    password = page.inner_text("#password")
    assert page.inner_text(".said") == f"{name} was created. She is in ct-researchers."
    page.get_by_role("link", name=f"Go on to {name}").click()
    return password


def press_and_confirm(page: playwright.Page, button: str, question: str, answer: str) -> str:
    """Press a button, answer the page that asks, and return what the next page says."""
    page.get_by_role("button", name=button).click()
    page.wait_for_selector(f"h1 >> text={question}")
    page.get_by_role("button", name=answer, exact=True).click()
    page.wait_for_selector(".said")
    return page.inner_text(".said")


def test_a_user_is_made_signs_in_sees_what_her_page_says_and_is_locked_out(stack, studies, research, admin, newcomer):
    wait_for(
        lambda: admin.api("search", params={"level": "instance"}).json()["total"] == research.count(),
        60,
        lambda: "not everything is in the index",
        every=0.5,
    )
    name, page = newcomer.name, admin.page
    temporary = make_user(admin, name)
    assert "has a temporary password" in page.inner_text("#state")
    promised = re.search(r"(\d+) stud(?:y|ies) with (\d+) instances", page.inner_text("#sees"))
    assert promised is not None
    assert int(promised[2]) == len(studies.ct)

    # She replaces the temporary password, and finds what was promised.
    hers = type_password(newcomer, temporary)
    hers.wait_for_selector("text=Choose a new one")
    newcomer.shoot("new-password")
    own = f"Own-{secrets.token_hex(6)}"
    hers.fill("#new_password", own)
    hers.fill("#repeated", own)
    hers.click("button[type=submit]")
    hers.wait_for_url(re.compile(r"/hub/home"))
    assert hers.locator(".rp-tag").all_inner_texts() == ["ct-researchers"]
    assert hers.locator("#rp-admin").count() == 0
    newcomer.token = newcomer._make_token()
    assert newcomer.api("search", params={"level": "study"}).json()["total"] == int(promised[1])
    assert newcomer.api("search", params={"level": "instance"}).json()["total"] == len(studies.ct)
    page.reload()
    assert "can sign in" in page.inner_text("#state")
    admin.shoot("user")

    # Taken out of her group she sees nothing at once; put into it again she sees, when the Hub has renewed her session.
    said = press_and_confirm(page, "Take out … of ct-researchers", f"Take {name} out", "Take out")
    assert said.startswith(f"{name} is no longer in ct-researchers.")
    assert newcomer.api("search", params={"level": "instance"}).json()["total"] == 0
    assert page.inner_text("#sees").startswith("Nothing:")
    page.select_option("#group", "ct-researchers")
    page.get_by_role("button", name="Add").click()
    page.wait_for_selector(f".said >> text={name} is in ct-researchers.")

    # Disabled, nothing of hers works any more.
    said = press_and_confirm(page, "Disable …", f"Disable {name}?", "Disable")
    assert said.startswith(
        f"{name} can no longer sign in. Her server and every session and token of hers at the Hub ended."
    )
    assert "disabled" in page.inner_text("#state")
    assert page.inner_text("#sees").startswith("Nothing while the account is disabled")
    admin.shoot("user-disabled")
    answer = newcomer.api("search", params={"level": "instance"})
    assert (answer.status_code, answer.json()["error"]) == (401, "token_invalid")
    hers.goto(f"{stack.hub_url}/hub/home")
    assert hers.url.startswith(f"{stack.hub_url}/hub/login")
    type_password(newcomer, own).wait_for_selector("text=This account is disabled")

    # Enabled, she comes back with the password that she chose.
    page.get_by_role("button", name="Enable").click()
    page.wait_for_selector(f".said >> text={name} can sign in again.")
    type_password(newcomer, own).wait_for_url(re.compile(r"/hub/home"))
    newcomer.token = newcomer._make_token()
    assert newcomer.api("search", params={"level": "instance"}).json()["total"] == len(studies.ct)

    said = press_and_confirm(page, "Delete …", f"Delete {name}?", "Delete")
    assert said.startswith(f"{name} was deleted.")
    assert newcomer.api("me").status_code == 401
    page.fill("#search", name)
    page.get_by_role("button", name="Search").click()
    page.wait_for_selector("text=Nobody's user name begins like that.")

    audit = stack.settings.var / "audit" / "audit.jsonl"
    kept = "".join(path.read_text(errors="replace") for path in (*stack.settings.logs.glob("*.log"), audit))
    assert temporary not in kept
    assert own not in kept


def test_a_server_is_seen_and_stopped(stack, admin, person):
    clara = person("clara")
    server, headers = f"{stack.hub_url}/hub/api/users/clara", {"Authorization": f"token {clara.token}"}
    begun = httpx.post(f"{server}/server", headers=headers, timeout=60)
    assert begun.status_code in (201, 202, 400), begun.text  # 400: it runs already
    wait_for(
        lambda: httpx.get(server, headers=headers, timeout=30).json()["servers"].get("", {}).get("ready"),
        120,
        lambda: "her server does not start",
        every=0.5,
    )
    page = admin.page
    page.goto(f"{stack.gateway_url}/admin/users/clara")
    page.wait_for_selector("text=runs since")
    said = press_and_confirm(page, "Stop the server …", "Stop the server of clara?", "Stop the server")
    assert said == "The server of clara was stopped."
    assert "No server runs." in page.inner_text("main")
    clara.page.goto(f"{stack.hub_url}/hub/home")
    assert "starts when you open" in clara.page.inner_text("#rp-state")


def test_groups_show_members_and_what_they_give(stack, admin):
    page = admin.page
    page.get_by_role("link", name="Groups", exact=True).click()
    assert "CT images" in page.locator("#groups tr", has_text="ct-researchers").inner_text()
    admin.shoot("groups")
    name = f"ward-{secrets.token_hex(3)}"
    page.fill("#name", name)
    page.get_by_role("button", name="Create").click()
    page.wait_for_selector(f".said >> text=The group {name} was created.")
    page.fill("#user", "nora")
    page.get_by_role("button", name="Add").click()
    page.wait_for_selector(f".said >> text=nora is in {name}.")
    assert page.locator("#members tbody th").all_inner_texts() == ["nora"]
    said = press_and_confirm(page, "Delete the group …", f"Delete the group {name}?", "Delete the group")
    assert said.startswith(f"The group {name} was deleted.")
    assert page.locator("#groups tr", has_text=name).count() == 0


def test_the_terminal_does_the_same(stack, admin):
    name = f"eva{secrets.token_hex(3)}"

    def users(*words: str) -> str:
        done = demo(stack, "rpacs-hub", "users", *words, RPACS_HUB_API_TOKEN=admin.token)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    assert users("create", name, "--group", "researchers").startswith(f"{name} was created.\nShe is in researchers.\n")
    assert "groups: researchers" in users("show", name)
    assert users("disable", name).startswith(f"{name} can no longer sign in.\n")
    admin.page.goto(f"{stack.gateway_url}/admin/users/{name}")
    assert "disabled" in admin.page.inner_text("#state")
    assert users("delete", name).startswith(f"{name} was deleted.\n")
    lines = [json.loads(line) for line in demo(stack, "rpacs-hub", "audit", "search", "--json").stdout.splitlines()]
    assert {line["action"] for line in lines if line["subject"] == name} >= {"create_user", "disable_user"}


def test_nobody_else_opens_a_page_and_no_token_does(stack, person, admin):
    clara = person("clara")
    for entry in NAVIGATION:
        url = f"{stack.gateway_url}/admin/{entry.path}"
        answer = clara.page.goto(url)
        assert answer is not None
        assert answer.status == 403, entry.title
        assert clara.page.inner_text("h1") == "Not allowed"
        for somebody in (clara, admin):
            headers = {"Authorization": f"token {somebody.token}"}
            refused = httpx.get(url, headers=headers, timeout=30)
            assert (refused.status_code, refused.json()["error"]) == (401, "sign_in_required")
        opened = admin.page.goto(url)
        assert opened is not None
        assert opened.status == 200, entry.title
        assert admin.page.inner_text("nav a[aria-current]") == entry.title
    clara.shoot("admin-not-allowed")


def test_a_form_that_no_page_of_ours_sent_does_nothing(stack, admin):
    url = f"{stack.gateway_url}/admin/users/nora/disable"
    for form in ({"confirmed": "yes"}, {"confirmed": "yes", "_xsrf": "0" * 64}):
        answer = admin.context.request.post(url, form=form, max_redirects=0)
        assert answer.status == 403
        assert "out of date" in answer.text()
    # Nor can a script of another page on this address read the number that a form needs.
    admin.page.goto(f"{stack.hub_url}/hub/home")
    script = "async (url) => { const answer = await fetch(url); return [answer.status, await answer.text()] }"
    status, text = admin.page.evaluate(script, f"{stack.gateway_url}/admin/users")
    assert status == 403
    assert "_xsrf" not in text
    admin.page.goto(f"{stack.gateway_url}/admin/users/nora")
    assert "can sign in" in admin.page.inner_text("#state")


def test_signing_out_at_the_hub_ends_the_administration(stack, browser):
    somebody = Person(stack, browser, "admin")
    try:
        page = somebody.sign_in()
        page.click("#rp-admin")
        page.wait_for_selector("h1 >> text=Overview")
        cookies = "; ".join(f"{one['name']}={one['value']}" for one in somebody.context.cookies())
        page.get_by_role("link", name="Log out").click()
        page.wait_for_selector("#rp-sign-in")
        page.goto(f"{stack.gateway_url}/admin/users")
        page.wait_for_selector("#rp-sign-in")
        assert "/hub/login" in page.url
        copied = httpx.get(f"{stack.gateway_url}/admin/users", headers={"Cookie": cookies}, timeout=30)
        assert copied.status_code == 302
    finally:
        somebody.context.close()
