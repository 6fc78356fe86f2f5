"""Signing in to the gateway's pages at a real Hub, and out again."""

from __future__ import annotations

import base64
import contextlib
import re
from importlib.resources import files

import httpx
import pytest
import yaml

from hub.tests.real_hub import notebook_token, signed_in
from hub.tests.support import without_nonce
from rpacs_hub.gateway.sessions import SESSION_COOKIE

PAGES = [
    (method.upper(), re.sub(r"\{(\w+)\}", "1", path))
    for path, item in yaml.safe_load((files("rpacs_hub.gateway") / "openapi.yaml").read_text())["paths"].items()
    for method, operation in item.items()
    if method not in ("parameters", "servers")
    and operation.get("security") == [{"session": []}]
    and operation["tags"] == ["admin"]
]


@pytest.fixture(scope="module")
def bosss_token(real_hub) -> str:
    """The token of an administrator's own server."""
    return notebook_token(real_hub, "boss")


@pytest.fixture(scope="module")
def claras_token(real_hub) -> str:
    """The token of clara's own server."""
    return notebook_token(real_hub, "clara")


@pytest.fixture(scope="module")
def sign_in(real_hub):
    """Let somebody sign in at the Hub; her browser follows redirects and keeps cookies."""
    with contextlib.ExitStack() as browsers:
        yield lambda name: browsers.enter_context(signed_in(real_hub, name))


@pytest.fixture(scope="module")
def ada(sign_in) -> dict[str, str]:
    """Cookies of somebody who signed in and is no administrator."""
    browser = sign_in("ada")
    browser.get("services/pacs/admin/")
    return {cookie.name: cookie.value for cookie in browser.cookies.jar if cookie.path != "/hub/"}


@pytest.fixture(scope="module")
def boss(sign_in) -> dict[str, str]:
    """Cookies of an administrator who signed in."""
    browser = sign_in("boss")
    browser.get("services/pacs/admin/")
    return {cookie.name: cookie.value for cookie in browser.cookies.jar if cookie.path != "/hub/"}


def token_in(browser: httpx.Client) -> str:
    """Return the OAuth token that the gateway's cookie holds."""
    value = next(cookie.value for cookie in browser.cookies.jar if cookie.name == SESSION_COOKIE)
    return base64.b64decode(value.strip('"').split("|")[4].partition(":")[2]).decode()


def test_an_administrator_signs_in_at_the_hub_and_gets_the_page_that_she_asked_for(real_hub, sign_in):
    browser = sign_in("boss")
    answer = browser.get("services/pacs/admin/?from=here")
    assert answer.status_code == 200, answer.text
    assert str(answer.url) == f"{real_hub.url}services/pacs/admin/?from=here"
    assert "<h1>Overview</h1>" in answer.text
    way = [step.headers.get("location", "") for step in answer.history]
    assert [re.sub(r"[?].*", "", step) for step in way] == [
        "/hub/api/oauth2/authorize",
        "/services/pacs/oauth_callback",
        "/services/pacs/admin/",
    ]
    assert "code_challenge_method=S256" in way[0]
    (given,) = (
        cookie for cookie in answer.history[-1].headers.get_list("set-cookie") if cookie.startswith(SESSION_COOKIE)
    )
    assert re.search(r"; HttpOnly; Path=/services/pacs/; SameSite=Lax$", given)
    assert '"action":"sign_in"' in (real_hub.audit).read_text()
    assert token_in(browser) not in (real_hub.audit).read_text() + real_hub.log.read_text()


def test_of_a_long_address_only_the_page_is_come_back_to(sign_in):
    answer = sign_in("boss").get(f"services/pacs/admin/?from={'x' * 4000}")
    assert (answer.status_code, answer.url.path, answer.url.query) == (200, "/services/pacs/admin/", b"")


def test_somebody_else_is_told_that_it_is_not_for_her(sign_in):
    answer = sign_in("clara").get("services/pacs/admin/")
    assert answer.status_code == 403
    assert "Only administrators may open these pages." in answer.text


def test_an_administrators_session_sees_everybody_and_acts_as_nobody(real_hub, sign_in, claras_token):
    browser = sign_in("boss")
    browser.get("services/pacs/admin/")
    own = {"Authorization": f"token {token_in(browser)}"}

    def ask(method: str, path: str) -> int:
        return httpx.request(method, f"{real_hub.url}{path}", headers=own, timeout=30).status_code

    assert {user["name"] for user in httpx.get(f"{real_hub.url}hub/api/users", headers=own).json()} >= {"boss", "clara"}
    assert ask("GET", "hub/api/users/clara") == 200
    for method, path in [
        ("POST", "hub/api/users/clara/tokens"),
        ("GET", "hub/api/users/clara/tokens"),
        ("POST", "hub/api/users/boss/tokens"),
        ("POST", "hub/api/users/clara/server"),
        ("POST", "hub/api/users/somebody"),
        ("PATCH", "hub/api/users/clara"),
        ("POST", "hub/api/groups/ct-researchers/users"),
        ("POST", "hub/api/shutdown"),
    ]:
        assert ask(method, path) in (403, 404), (method, path)
    # Whose the token is, is the administrator; in a header it opens no page.
    assert ask("GET", "services/pacs/admin/") == 401


def test_another_persons_session_may_do_nothing_for_her_but_say_who_she_is(real_hub, sign_in):
    browser = sign_in("ada")
    browser.get("services/pacs/admin/")
    own = {"Authorization": f"token {token_in(browser)}"}
    assert httpx.get(f"{real_hub.url}hub/api/user", headers=own).json()["name"] == "ada"
    for method, path in (
        ("GET", "users"),
        ("GET", "users/clara"),
        ("DELETE", "users/ada"),
        ("POST", "users/ada/server"),
        ("POST", "users/ada/tokens"),
    ):
        assert httpx.request(method, f"{real_hub.url}hub/api/{path}", headers=own).status_code in (403, 404), path


def test_signing_out_at_the_hub_ends_the_session_at_the_gateway(real_hub, sign_in):
    browser = sign_in("boss")
    assert browser.get("services/pacs/admin/").status_code == 200
    stolen = [f"{cookie.name}={cookie.value}" for cookie in browser.cookies.jar]
    browser.get("hub/logout")
    answer = browser.get("services/pacs/admin/")
    assert answer.url.path == "/hub/login"
    assert "Overview" not in answer.text

    copied = httpx.get(f"{real_hub.url}services/pacs/admin/", headers={"Cookie": "; ".join(stolen)})
    assert copied.status_code == 302
    assert copied.headers["location"].startswith("/hub/api/oauth2/authorize")


@pytest.mark.parametrize("query", ["", "?code=x", "?code=x&state=made-up", "?state=made-up", "?error=access_denied"])
def test_a_sign_in_that_this_browser_did_not_begin_is_refused(real_hub, sign_in, query):
    answer = sign_in("boss").get(f"services/pacs/oauth_callback{query}")
    assert answer.status_code == 403
    assert "not completed" in answer.text
    assert SESSION_COOKIE not in str(answer.headers)


def test_a_made_up_code_with_a_true_state_is_refused(real_hub, sign_in):
    browser = sign_in("boss")
    begun = browser.get("services/pacs/admin/", follow_redirects=False)
    state = re.search(r"state=([^&]+)", begun.headers["location"]).group(1)
    answer = browser.get(f"services/pacs/oauth_callback?code=made-up&state={state}")
    assert answer.status_code == 403
    assert "not completed" in answer.text


@pytest.mark.parametrize(("method", "path"), PAGES, ids=lambda value: str(value))
def test_a_page_opens_for_no_token_no_stranger_and_nobody_else_who_signed_in(
    real_hub, bosss_token, claras_token, ada, method, path
):
    """A new page is asked here by itself, as the file describes it."""

    def ask(headers: dict[str, str], cookies: dict[str, str] | None = None) -> httpx.Response:
        with httpx.Client(cookies=cookies) as client:
            return client.request(method, f"{real_hub.url}services/pacs{path}", headers=headers)

    for token in (bosss_token, claras_token, "made-up-0123456789"):
        answer = ask({"Authorization": f"token {token}"})
        assert answer.status_code == 401
        assert answer.json()["error"] == "sign_in_required"
    for headers in ({}, {"X-Forwarded-User": "boss", "Remote-User": "boss"}, {"Cookie": f"service-pacs={bosss_token}"}):
        answer = ask(headers)
        assert answer.status_code == (302 if method == "GET" else 403)
        assert SESSION_COOKIE not in answer.headers.get("set-cookie", "")
        if method == "GET":
            assert answer.headers["location"].startswith("/hub/api/oauth2/authorize?client_id=service-pacs&")
    answer = ask({}, ada)
    assert answer.status_code == 403
    assert "Only administrators may open these pages." in answer.text


@pytest.mark.parametrize(("method", "path"), PAGES, ids=lambda value: str(value))
def test_a_changed_cookie_is_nobodys_and_no_form_is_taken_without_its_token(real_hub, boss, method, path):
    def ask(cookies: dict[str, str], **more) -> httpx.Response:
        with httpx.Client(cookies=cookies) as client:
            return client.request(method, f"{real_hub.url}services/pacs{path}", **more)

    held = boss[SESSION_COOKIE].strip('"')
    swapped = held[:-1] + ("0" if held[-1] != "0" else "1")
    for forged in (swapped, held.rpartition("|")[0], "", "2|1:0|10:1|13:rpacs-session|4:Ym9z|0"):
        answer = ask({**boss, SESSION_COOKIE: forged})
        assert answer.status_code == (302 if method == "GET" else 403), forged
        assert "boss" not in without_nonce(answer.text)
    if method == "POST":
        for form in ({"name": "x"}, {"_xsrf": ""}, {"_xsrf": "0" * 64}, {"_xsrf": held}):
            answer = ask(boss, data=form)
            assert answer.status_code == 403, answer.text
            assert "out of date" in answer.text
