"""The pages of users and groups: at the stand-in for Cognito, a real Hub, and a gateway that people's tokens open."""

from __future__ import annotations

import html
import re
import secrets
from dataclasses import replace

import pytest

from hub.tests.real_hub import make_token
from hub.tests.support import audit_lines, gateway_settings, serving
from rpacs_hub.people import PeopleSettings, PoolSettings
from tests.fixtures.login import KEY, sign_in


@pytest.fixture(scope="module")
def served(archive, login, real_hub, tmp_path_factory):
    settings = gateway_settings(
        archive.base,
        archive.orthanc.url,
        tmp_path_factory.mktemp("people"),
        hub_api_url=f"{real_hub.url}hub/api",
        people=PeopleSettings(PoolSettings(login.known.pool_id, "local", login.settings.login_url, KEY, "unused")),
    )
    with serving(settings) as served:
        served.looped.do(served.gateway.services.permissions.look())
        yield served


@pytest.fixture(scope="module")
def boss(served, real_hub):
    browser = served.browser("boss", "pacs-admins", token=make_token(real_hub, "boss")[0])
    yield browser
    browser.close()


@pytest.fixture
def name() -> str:
    return f"p{secrets.token_hex(4)}"


@pytest.fixture
def pool(served):
    return served.gateway.services.user_pool


def words(answer) -> str:
    """Return what a page says, without its marks."""
    body = re.sub(r"<(style|script|title).*?</\1>|<[^>]*>", " ", answer.text, flags=re.DOTALL)
    return re.sub(r"\s+", " ", html.unescape(body))


def done(archive, answer) -> dict:
    """Return the audit line of a request's outcome; before it stands what was begun."""
    begun, outcome = audit_lines(archive.base, answer.headers["x-request-id"])
    assert begun["why"] == ["Begun; the outcome follows."]
    assert begun["subject"] == outcome["subject"]
    return outcome


def test_a_user_from_the_cradle_to_the_grave(archive, served, boss, login, pool, name):
    form = boss.get("new-user")
    assert 'name="group" value="ct-researchers"' in form.text
    made = boss.post("new-user", {"name": name, "email": f"{name}@example.org", "group": ["ct-researchers"]})
    assert made.status_code == 200
    assert f"{name} was created. She is in ct-researchers." in words(made)
    password = html.unescape(re.search(r'id="password">([^<]+)<', made.text).group(1))
    assert "Choose a new one" in sign_in(login, name, password).answer.text
    line = done(archive, made)
    assert (line["user"], line["action"], line["subject"], line["decision"]) == ("boss", "create_user", name, "allowed")
    assert password not in str(audit_lines(archive.base, made.headers["x-request-id"]))
    assert password not in served.gateway.settings.audit_log.read_text()

    page = boss.get(f"users/{name}")
    assert 'CT only Computed tomography through group ct-researchers instances where Modality is "CT"' in words(page)
    studies = len({str(image.StudyInstanceUID) for image in archive.ct})
    assert f"{studies} studies with {len(archive.ct)} instances at this moment." in words(page)
    assert "has a temporary password" in words(page)
    assert "At the Hub not signed in" in words(page)

    asked = boss.post(f"users/{name}/leave", {"group": "ct-researchers"})
    assert f"Take {name} out of ct-researchers?" in words(asked)
    assert pool.groups_of(name) == ("ct-researchers",)
    left = boss.post(f"users/{name}/leave", {"group": "ct-researchers", "confirmed": "yes"})
    assert f"{name} is no longer in ct-researchers." in words(boss.follow(left))
    assert done(archive, left)["subject"] == f"{name}: ct-researchers"
    assert "Nothing: no profile is given" in words(boss.get(f"users/{name}"))
    joined = boss.post(f"users/{name}/join", {"group": "researchers"})
    assert done(archive, joined)["action"] == "add_to_group"
    assert pool.groups_of(name) == ("researchers",)

    assert f"Disable {name}?" in words(boss.post(f"users/{name}/disable"))
    assert pool.user(name).enabled
    disabled = boss.post(f"users/{name}/disable", {"confirmed": "yes"})
    assert "can no longer sign in" in words(boss.follow(disabled))
    assert 'id="state"><span class="state state-bad">' in boss.get(f"users/{name}").text
    assert "This account is disabled" in sign_in(login, name, password).answer.text
    assert "can sign in again" in words(boss.follow(boss.post(f"users/{name}/enable")))

    reset = boss.post(f"users/{name}/reset-password", {"confirmed": "yes"})
    second = html.unescape(re.search(r'id="password">([^<]+)<', reset.text).group(1))
    assert second != password
    assert "Choose a new one" in sign_in(login, name, second).answer.text

    deleted = boss.post(f"users/{name}/delete", {"confirmed": "yes"})
    after = boss.follow(deleted)
    assert after.url.path.endswith("/admin/users")
    assert f"{name} was deleted." in words(after)
    assert boss.get(f"users/{name}").status_code == 404
    assert done(archive, deleted)["action"] == "delete_user"


def test_the_list_and_the_search(boss, pool, name):
    pool.create(name, f"{name}@example.org")
    everybody = boss.get("users")
    assert {"admin", "clara", "nora", name} <= set(re.findall(r'/admin/users/([^/"]+)"', everybody.text))
    found = boss.get("users", params={"search": name})
    assert re.findall(r'/admin/users/([^/"]+)"', found.text) == [name]
    nobody = boss.get("users", params={"search": '"><script>x'})
    assert "Nobody's user name begins like that." in words(nobody)
    assert "<script>x" not in nobody.text
    pool.delete(name)


@pytest.mark.parametrize(
    ("fields", "status", "says"),
    [
        ({"name": "Clara"}, 409, "This cannot be a user name. Use 1 to 64 lower-case letters"),
        ({"name": "clara"}, 409, "There is a user 'clara' already"),
        ({"name": "newcomer", "email": "nonsense"}, 409, "This does not look like a mail address."),
        ({}, 409, "This cannot be a user name."),
    ],
)
def test_a_form_with_a_mistake_comes_back_with_what_was_typed(archive, boss, fields, status, says):
    answer = boss.post("new-user", {**fields, "group": "researchers"})
    assert answer.status_code == status
    assert says in words(answer)
    assert 'value="researchers" checked' in answer.text
    assert f'value="{fields.get("email", "")}"' in answer.text
    assert done(archive, answer)["decision"] == "denied"


def test_an_administrator_cannot_lock_herself_out_by_the_pages(archive, boss, pool, name):
    pool.create("boss")
    pool.add("boss", "pacs-admins")
    page = boss.get("users/boss")
    assert "This is your own account" in words(page)
    assert "/boss/disable" not in page.text
    for what, fields in (("disable", {}), ("delete", {}), ("reset-password", {}), ("leave", {"group": "pacs-admins"})):
        answer = boss.post(f"users/boss/{what}", {**fields, "confirmed": "yes"})
        assert answer.status_code == 409
        assert "yourself" in words(answer)
        assert done(archive, answer)["decision"] == "error"
    assert pool.user("boss").enabled
    pool.delete("boss")
    # admin is the last one now.
    answer = boss.post("groups/pacs-admins/remove", {"user": "admin", "confirmed": "yes"})
    assert "admin is the last administrator who can sign in." in words(answer)
    assert pool.groups_of("admin") == ("pacs-admins",)


def test_who_is_to_be_an_administrator_is_asked_about(boss, pool, name):
    pool.create(name)
    asked = boss.post(f"users/{name}/join", {"group": "pacs-admins"})
    assert f"Make {name} an administrator?" in words(asked)
    assert pool.groups_of(name) == ()
    boss.follow(boss.post("groups/pacs-admins/add", {"user": name, "confirmed": "yes"}))
    assert pool.groups_of(name) == ("pacs-admins",)
    pool.delete(name)


def test_groups(archive, boss, pool, name):
    made = boss.post("groups", {"name": name, "description": "For <b>a test</b>"})
    page = boss.follow(made)
    assert "&lt;b&gt;a test&lt;/b&gt;" in page.text
    assert "Nobody is in this group." in words(page)
    again = boss.post("groups", {"name": name})
    assert (again.status_code, f"There is a group '{name}' already." in words(again)) == (409, True)
    assert boss.post("groups", {"name": "a b"}).status_code == 409
    added = boss.follow(boss.post(f"groups/{name}/add", {"user": "nora"}))
    assert re.findall(r'/admin/users/([^/"]+)"', added.text) == ["nora"]
    assert boss.post(f"groups/{name}/add", {"user": "nobody-here"}).status_code == 404
    everything = boss.get("groups")
    assert re.search(rf"{name} For <b>a test</b> 1 none", words(everything))
    assert re.search(r"ct-researchers \d+ CT only", words(everything))
    assert "Its members are the administrators." in words(everything)
    removed = boss.post(f"groups/{name}/remove", {"user": "nora", "confirmed": "yes"})
    assert boss.follow(removed).url.path.endswith(f"/groups/{name}")
    assert f"Delete the group {name}?" in words(boss.post(f"groups/{name}/delete"))
    deleted = boss.post(f"groups/{name}/delete", {"confirmed": "yes"})
    assert done(archive, deleted)["subject"] == name
    assert f"The group {name} was deleted." in words(boss.follow(deleted))
    assert boss.get(f"groups/{name}").status_code == 404
    assert boss.post("groups/pacs-admins/delete", {"confirmed": "yes"}).status_code == 409


def test_a_server_is_stopped_and_personal_addresses_end(archive, served, boss, real_hub, pool, name):
    pool.create(name)
    pool.add(name, "ct-researchers")
    real_hub.api("POST", f"users/{name}")
    real_hub.api("POST", f"users/{name}/server")
    headers = served.tokens.add(name, "ct-researchers")
    address = served.post("viewer-address", headers, {"minutes": 5}).json()["url"]
    assert served.client.get(f"{address}/studies").status_code == 200
    assert "Stop the server" in boss.get(f"users/{name}").text
    stopped = boss.post(f"users/{name}/stop-server", {"confirmed": "yes"})
    assert f"The server of {name} was stopped." in words(boss.follow(stopped))
    left = boss.post(f"users/{name}/leave", {"group": "ct-researchers", "confirmed": "yes"})
    assert "1 personal viewer address of hers ended." in words(boss.follow(left))
    assert served.client.get(f"{address}/studies").status_code == 404
    boss.post(f"users/{name}/delete", {"confirmed": "yes"})
    assert real_hub.api("GET", f"users/{name}").status_code == 404


def test_what_is_half_done_is_told_and_stands_in_the_audit(archive, login, tmp_path, name):
    people = PeopleSettings(PoolSettings(login.known.pool_id, "local", login.settings.login_url, KEY, "unused"))
    settings = gateway_settings(archive.base, archive.orthanc.url, tmp_path, people=people)
    with serving(replace(settings, hub_api_url="")) as alone:
        browser = alone.browser("boss")
        alone.gateway.services.user_pool.create(name)
        answer = browser.post(f"users/{name}/disable", {"confirmed": "yes"})
        page = browser.follow(answer)
        assert "said-bad" in page.text
        assert "can no longer sign in. The Hub was not asked" in words(page)
        line = done(archive, answer)
        assert line["decision"] == "error"
        assert line["why"][0] == f"{name} can no longer sign in."
        browser.post(f"users/{name}/delete", {"confirmed": "yes"})
        browser.close()


def test_without_a_pool_the_hubs_people_are_shown_and_where_accounts_are(archive, real_hub, tmp_path):
    settings = gateway_settings(
        archive.base,
        archive.orthanc.url,
        tmp_path,
        hub_api_url=f"{real_hub.url}hub/api",
        people=PeopleSettings(accounts_at="ask the <IT desk>"),
    )
    with serving(settings) as elsewhere:
        browser = elsewhere.browser("boss", token=make_token(real_hub, "boss")[0])
        page = browser.get("users")
        assert {"ada", "clara", "boss"} <= set(re.findall(r'/admin/users/([^/"]+)"', page.text))
        assert "by which people sign in: ask the &lt;IT desk&gt;." in page.text
        assert "new-user" not in page.text
        assert "Remove from the Hub" in browser.get("users/clara").text
        assert "ct-researchers" in browser.get("groups").text
        assert "clara" in words(browser.get("groups/ct-researchers"))
        for path in ("new-user", "groups"):
            answer = browser.post(path, {"name": "newcomer"})
            assert answer.status_code == 409
            assert "not managed here" in words(answer)
        assert browser.get("new-user").status_code == 409
        browser.close()


def test_a_name_with_signs_stands_in_the_address(boss):
    for path in ("users/no%2Fbody", "users/%3Cb%3E", "groups/a%22b", "users/%2e%2e"):
        answer = boss.get(path)
        assert answer.status_code == 404
        assert "<b>" not in answer.text
