"""The frame of the administration: who gets in, which forms are taken, and what each page leaves in the audit."""

from __future__ import annotations

import re

import httpx
import pytest

from hub.tests.support import audit_lines, gateway_settings, serving
from rpacs_hub.errors import AuditUnavailable
from rpacs_hub.gateway import app
from rpacs_hub.gateway.admin import _page
from rpacs_hub.gateway.sessions import SESSION_COOKIE
from rpacs_hub.permissions import Action


@pytest.fixture(scope="module")
def boss(archive):
    browser = archive.served.browser("boss", "pacs-admins")
    yield browser
    browser.close()


def lines_of(archive, answer: httpx.Response) -> list[dict]:
    return audit_lines(archive.base, answer.headers["x-request-id"])


def test_the_overview_counts_and_says_how_the_parts_are(archive, boss):
    answer = boss.get()
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", answer.text))
    assert f"Instances {len(archive.files)} " in text
    assert "Profiles 2 Entries 2 Groups ct-researchers" in text
    assert "Database Well: answers Image archive Well: answers Index Well: up to date" in text
    assert archive.served.gateway.services.permissions.current.digest in answer.text
    assert 'aria-current="page">Overview<' in answer.text
    (line,) = lines_of(archive, answer)
    assert (line["user"], line["groups"], line["action"], line["decision"], line["status"]) == (
        ("boss", ["pacs-admins"], "admin_view", "allowed", 200)
    )


def test_pages_let_nothing_run_that_is_not_theirs(boss):
    answer = boss.get()
    policy = answer.headers["content-security-policy"]
    (nonce,) = set(re.findall(r"'nonce-([^']+)'", policy))
    assert policy.startswith("default-src 'none'; ")
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert answer.text.count("<script") == answer.text.count(f'<script nonce="{nonce}">') == 1
    assert answer.text.count("<style") == answer.text.count(f'<style nonce="{nonce}">') == 1
    assert "style=" not in answer.text
    assert (answer.headers["x-frame-options"], answer.headers["cache-control"]) == ("DENY", "no-store")
    assert nonce not in boss.get().text


@pytest.mark.parametrize("path", ["", "nothing/here", "../admin"])
def test_who_is_no_admin_gets_a_page_that_says_so(archive, path):
    browser = archive.served.browser("eric", "ct-researchers", admin=False)
    answer = browser.get(path)
    assert answer.status_code == 403
    assert "Only administrators" in answer.text
    assert "<nav" not in answer.text
    (line,) = lines_of(archive, answer)
    assert (line["user"], line["decision"]) == ("eric", "denied")
    browser.close()


def test_a_token_opens_nothing_not_even_beside_a_session(archive, boss):
    header = archive.served.tokens.add("chief", admin=True)
    for cookies in ({}, boss.cookies):
        with httpx.Client(cookies=cookies) as client:
            answer = client.get(archive.served.url.replace("/api/v1/", "/admin/"), headers=header)
        assert answer.status_code == 401
        assert answer.json()["error"] == "sign_in_required"


def test_without_a_hub_nobody_can_sign_in(archive):
    answer = httpx.get(archive.served.url.replace("/api/v1/", "/admin/"))
    assert answer.status_code == 503
    assert "no service of a Hub" in answer.text


@pytest.mark.parametrize("cookie", ["", "made-up", "2|1:0|10:1763800000|13:rpacs-session|4:eHg=|00"])
def test_a_cookie_that_we_did_not_sign_is_none(archive, cookie):
    with httpx.Client(cookies={SESSION_COOKIE: cookie}) as client:
        assert client.get(archive.served.url.replace("/api/v1/", "/admin/")).status_code == 503
        posted = client.post(archive.served.url.replace("/api/v1/", "/admin/"), data={})
    assert posted.status_code == 403
    assert "not signed in" in posted.text


def test_the_session_ends_with_the_token(archive):
    browser = archive.served.browser("leaver")
    assert browser.get().status_code == 200
    del archive.served.tokens.actors["token-of-leaver"]
    assert browser.get().status_code == 503  # here it would be sent to sign in, if there were a Hub
    browser.close()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}, 200),
        ({"Sec-Fetch-Mode": "cors"}, 403),
        ({"Sec-Fetch-Mode": "same-origin", "Sec-Fetch-Dest": "empty"}, 403),
        ({"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}, 403),
    ],
)
def test_scripts_cannot_read_pages(boss, headers, status):
    assert boss.get(headers=headers).status_code == status


def test_an_unknown_page_and_an_unknown_method(boss):
    assert boss.get("nothing/here").status_code == 404
    assert boss.get("nothing/here").text.count("<h1>There is no such page</h1>") == 1
    answer = boss.post("")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET")


# ---- forms: a page that only this test has


async def _greet(call):
    name = _page.required(call, "name", "The name")
    if name == "Lord" and not call.confirmed:
        return _page.confirm(call, f"Greet {name}?", text="He is shy.", button="Greet", back="")
    await call.begin(Action.ADMIN_VIEW, name)
    call.services.greeted.append((name, call.form_lists.get("to", []), call.form.get("text")))
    return _page.redirect(call, "", message=f"Greeted {name}: <b>hello</b>", warning=name == "Ghost")


@pytest.fixture(scope="module")
def greeter(archive, tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.setattr(app, "ADMIN_ROUTES", (*app.ADMIN_ROUTES, _page.post("greet", _greet, Action.ADMIN_VIEW)))
    settings = gateway_settings(archive.base, archive.orthanc.url, tmp_path_factory.mktemp("greeter"))
    with serving(settings) as served:
        served.gateway.services.greeted = []
        yield served
    patch.undo()


@pytest.fixture
def greeting(greeter):
    greeter.gateway.services.greeted.clear()
    browser = greeter.browser("boss")
    yield browser
    browser.close()


def test_a_form_is_answered_by_a_redirect_and_the_next_page_says_what_was_done(archive, greeter, greeting):
    answer = greeting.post("greet", {"name": " Ada ", "to": ["x", "y"], "text": "a\r\nb"})
    assert answer.headers["location"] == "/services/pacs/admin/"
    after = greeting.follow(answer)
    assert '<p class="said" role="status">Greeted Ada: &lt;b&gt;hello&lt;/b&gt;</p>' in after.text
    assert "Greeted" not in greeting.get().text
    assert greeter.gateway.services.greeted == [("Ada", ["x", "y"], "a\nb")]
    begun, done = lines_of(archive, answer)
    assert (begun["subject"], begun["status"], begun["why"]) == ("Ada", 0, ["Begun; the outcome follows."])
    assert (done["subject"], done["status"], done["decision"]) == ("Ada", 303, "allowed")
    warned = greeting.follow(greeting.post("greet", {"name": "Ghost"}))
    assert 'class="said said-bad" role="alert"' in warned.text


@pytest.mark.parametrize(
    "fields",
    [{"_xsrf": ""}, {"_xsrf": "0" * 64}, {"_xsrf": "é"}, {"_xsrf": "other"}],
    ids=["none", "forged", "odd", "b"],
)
def test_a_form_from_elsewhere_is_refused(archive, greeter, greeting, fields):
    if fields["_xsrf"] == "other":
        other = greeter.browser("other")
        fields = {"_xsrf": other.form_token}
        other.close()
    answer = greeting.post("greet", {"name": "Ada", **fields})
    assert answer.status_code == 403
    assert "out of date" in answer.text
    assert greeter.gateway.services.greeted == []
    (line,) = lines_of(archive, answer)
    assert line["decision"] == "denied"


def test_a_form_of_another_site_is_refused(greeter, greeting):
    answer = greeting.post("greet", {"name": "Ada"}, headers={"Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 403
    assert greeter.gateway.services.greeted == []


def test_a_question_comes_first_and_carries_the_form_along(archive, greeter, greeting):
    asked = greeting.post("greet", {"name": "Lord", "to": ["x", "y"]})
    assert asked.status_code == 200
    assert "<h1>Greet Lord?</h1>" in asked.text
    assert greeter.gateway.services.greeted == []
    (line,) = lines_of(archive, asked)
    assert line["why"] == ["Asked for confirmation; nothing was done."]
    fields: dict[str, list[str]] = {}
    for name, value in re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)">', asked.text):
        fields.setdefault(name, []).append(value)
    assert fields.pop("_xsrf") == [greeting.form_token]
    greeting.follow(greeting.post("greet", fields))
    assert greeter.gateway.services.greeted == [("Lord", ["x", "y"], None)]


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"{}", "application/json", 415),
        (b"name=%FF", "application/x-www-form-urlencoded", 400),
        (b"name=\xff", "application/x-www-form-urlencoded", 400),
        (b"&".join([b"a=1"] * 3000), "application/x-www-form-urlencoded", 400),
        (b"name=a%00b", "application/x-www-form-urlencoded", 400),
        (b"a=" + b"x" * (5 << 20), "application/x-www-form-urlencoded", 413),
    ],
)
def test_what_is_no_form_is_refused_in_words(greeter, greeting, content, kind, status):
    answer = greeting._client.post("greet", content=content, headers={"Content-Type": kind})
    assert answer.status_code == status
    assert 'role="alert"' in answer.text
    assert greeter.gateway.services.greeted == []


def test_a_missing_field_is_named(greeting):
    answer = greeting.post("greet", {"name": " "})
    assert answer.status_code == 400
    assert "The name is missing." in answer.text


def test_nothing_is_done_or_shown_that_the_audit_cannot_hold(greeter, greeting, monkeypatch):
    async def write(_):
        raise AuditUnavailable("The access log cannot be written.")

    monkeypatch.setattr(greeter.gateway.services.audit, "write", write)
    answer = greeting.post("greet", {"name": "Ada"})
    assert answer.status_code == 503
    assert greeter.gateway.services.greeted == []
    assert greeting.get().status_code == 503


def test_a_broken_permissions_file_shows_with_its_errors(archive, tmp_path):
    settings = gateway_settings(archive.base, archive.orthanc.url, tmp_path)
    with serving(settings) as served:
        browser = served.browser("boss")
        served.looped.do(served.gateway.services.permissions.look())
        assert "permissions-problems" not in browser.get().text
        settings.permissions.write_text("Profiles: {CT: {DICOMQueryFilter: Modalty StrEquals CT}}\nPermissions: []\n")
        served.looped.do(served.gateway.services.permissions.look())
        text = browser.get().text
        assert 'id="permissions-problems"' in text
        assert "The last good one stays in force." in text
        assert "Line 1, column" in text
        assert "Modalty" in text
        browser.close()
