"""The hub as people and their notebooks meet it: real hub, proxy, sign-in page, servers and browser."""

from __future__ import annotations

import base64
import json
import os
import pwd
import secrets
import zlib
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import playwright.sync_api as playwright
import pytest

from hub.tests.login.logout_page import SESSION
from hub.tests.login.rig import Cognito, Hub, People, Visitor, in_kernel, me, sign_in_and_start
from rpacs_hub.system_users import account_name
from tests.fixtures.processes import wait_for

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="system users need root")


def test_sign_in_home_and_both_cards(visitor: Visitor, hub: Hub, cognito: Cognito, people: People) -> None:
    visitor.page.goto(hub.url)
    assert visitor.page.title() == "Research PACS"
    visitor.shoot("1-sign-in")
    page = visitor.log_in(people.clara)
    visitor.shoot("2-home")
    assert page.inner_text("h1") == f"Hello {people.clara}"
    assert page.inner_text("#rp-user") == people.clara
    assert page.locator(".rp-tag").all_inner_texts() == ["ct-researchers", "researchers"]
    # Orthanc Explorer is offered where the gateway says so, and here is none.
    assert page.locator(".rp-card:visible h2").all_inner_texts() == ["Browse images", "Notebook"]
    assert page.locator("a[href$='/admin']").count() == 0
    page.emulate_media(color_scheme="dark")
    colour = "getComputedStyle(document.body).backgroundColor"
    wait_for(lambda: page.evaluate(colour) == "rgb(16, 22, 27)", 30)
    visitor.shoot("3-home-dark")
    page.emulate_media(color_scheme="light")
    # From the card to the page, without Lab in between; the server is started on the way.
    page.click("#rp-browse")
    if "spawn-pending" in page.url:
        visitor.shoot("4-starting")
    page.wait_for_url("**/voila/render/research-pacs/Browse.ipynb")
    page.wait_for_selector("#page")
    visitor.shoot("5-browse")
    page.goto(f"{hub.url}hub/home")
    assert "running" in page.inner_text("#rp-state")
    visitor.shoot("6-home-running")
    page.click("#rp-notebook")
    page.wait_for_url(f"**/user/{people.clara}/lab**")
    page.wait_for_selector(".jp-DirListing-item >> text=research-pacs")
    page.wait_for_selector(".jp-Launcher")
    visitor.shoot("7-lab")
    assert visitor.hosts == {hub.url.split("/")[2], cognito.url.split("/")[2]}
    assert visitor.errors == []
    # Stop, then leave.
    page.goto(f"{hub.url}hub/home")
    page.click("#rp-stop")
    page.wait_for_selector("#rp-state >> text=starts when you open")
    page.click("#logout")
    page.wait_for_selector("#rp-sign-in")
    page.goto(f"{hub.url}hub/home")
    assert "hub/login" in page.url


def test_signing_out_ends_the_providers_session_too(
    visitor: Visitor, hub: Hub, cognito: Cognito, people: People
) -> None:
    page = visitor.log_in(people.nora)
    provider = cognito.logout_url.removesuffix("/logout")
    page.goto(f"{provider}/session")
    assert [cookie["value"] for cookie in visitor.context.cookies(provider) if cookie["name"] == SESSION] == [
        "signed-in"
    ]
    page.goto(f"{hub.url}hub/home")
    with page.expect_request(f"{cognito.logout_url}?**") as asked:
        page.click("#logout")
    query = parse_qs(urlsplit(asked.value.url).query)
    assert (query["client_id"], query["logout_uri"]) == ([cognito.client_id], [f"{hub.url}hub/login"])
    page.wait_for_url(f"{hub.url}hub/login")
    assert SESSION not in {cookie["name"] for cookie in visitor.context.cookies(provider)}
    # Whoever sits there next has to know a password.
    page.click("#rp-sign-in")
    page.wait_for_selector("input[name=password]")
    page.goto(f"{hub.url}hub/home")
    assert "hub/login" in page.url


def test_somebody_in_no_group_may_come_in(visitor: Visitor, people: People) -> None:
    page = visitor.log_in(people.nora)
    visitor.shoot("8-home-no-group")
    assert page.inner_text("h1") == f"Hello {people.nora}"
    assert "ask your administrators" in page.inner_text(".rp-facts")


def test_not_in_an_allowed_group(closed_hub: Hub, chromium: playwright.Browser, people: People) -> None:
    visitor = Visitor(chromium, closed_hub)
    page = visitor.log_in(people.nora)
    visitor.shoot("9-no-access")
    assert page.inner_text("h1") == "You have no access"
    assert "not in a group that may use Research PACS" in page.inner_text(".rp-message")
    assert page.locator("text=Use another account").is_visible()
    assert closed_hub.api("GET", f"users/{people.nora}").status_code == 404
    visitor.context.close()
    for name in (people.clara, people.admin):
        visitor = Visitor(chromium, closed_hub)
        assert visitor.log_in(name).inner_text("h1") == f"Hello {name}"
        visitor.context.close()


def test_an_unknown_page_looks_like_the_others(visitor: Visitor, hub: Hub, people: People) -> None:
    page = visitor.log_in(people.nora)
    page.goto(f"{hub.url}hub/no/such/page")
    visitor.shoot("10-not-found")
    assert page.inner_text("h1") == "There is no such page"


def test_a_notebooks_token_opens_the_gateway_and_nothing_more(hub: Hub, claras_token: str, people: People) -> None:
    answer = me(hub, claras_token)
    assert answer.status_code == 200
    assert answer.json()["name"] == people.clara
    assert {"ct-researchers", "researchers"} <= set(answer.json()["groups"])
    assert set(hub.api("GET", "user", claras_token).json()["scopes"]) == {
        f"access:servers!server={people.clara}/",
        "access:services!service=pacs",
        f"read:users:activity!user={people.clara}",
        f"read:users:groups!user={people.clara}",
        f"read:users:name!user={people.clara}",
        f"users:activity!user={people.clara}",
    }
    for method, path in [
        ("GET", "users"),
        ("GET", "groups"),
        ("GET", "services"),
        ("GET", "proxy"),
        ("GET", "info"),
        ("GET", f"users/{people.nora}"),
        ("GET", f"users/{people.clara}/tokens"),
        ("POST", f"users/{people.clara}/tokens"),
        ("POST", f"users/{people.clara}/server"),
        ("POST", f"users/{people.nora}/server"),
        ("POST", "users/somebody"),
        ("PATCH", f"users/{people.clara}"),
        ("DELETE", f"users/{people.clara}"),
        ("POST", "shutdown"),
    ]:
        status = hub.api(method, path, claras_token).status_code
        assert status in (403, 404), f"{method} {path}: {status}"


def test_a_made_up_token_is_nobody(hub: Hub) -> None:
    assert me(hub, "made-up").status_code == 401


def test_the_gateway_gets_its_own_settings_only(hub: Hub, claras_token: str) -> None:
    answer = me(hub, claras_token).json()
    assert answer["environment"] == ["RPACS_ADMIN_GROUP", "RPACS_DATABASE_URL", "RPACS_RESEARCH_URL", "RPACS_URL"]
    if os.geteuid() == 0:
        assert answer["uid"] == pwd.getpwnam("nobody").pw_uid


def test_groups_changed_at_the_provider_arrive(hub: Hub, cognito: Cognito, claras_token: str, people: People) -> None:
    cognito.join(people.clara, "mr-researchers")
    wait_for(lambda: "mr-researchers" in me(hub, claras_token).json()["groups"], 30)
    cognito.leave(people.clara, "mr-researchers")
    wait_for(lambda: "mr-researchers" not in me(hub, claras_token).json()["groups"], 30)


def test_somebody_removed_at_the_provider_is_locked_out(
    hub: Hub, cognito: Cognito, visitor: Visitor, people: People
) -> None:
    cognito.add_user(people.guest, "researchers")
    visitor.log_in(people.guest)
    token = hub.api("POST", f"users/{people.guest}/tokens", json={"expires_in": 600}).json()["token"]
    assert me(hub, token).json()["name"] == people.guest
    cognito.api.admin_delete_user(UserPoolId=cognito.pool, Username=people.guest)
    wait_for(lambda: me(hub, token).status_code == 401, 30)
    visitor.page.goto(f"{hub.url}hub/home")
    assert "hub/login" in visitor.page.url


def test_an_administrator_sees_everybody_and_acts_as_nobody(
    hub: Hub, visitor: Visitor, claras_token: str, people: People
) -> None:
    page = visitor.log_in(people.admin)
    assert page.locator(".rp-nav a").all_inner_texts() == ["Home", "Administration"]
    # JupyterHub's own page for administrators leaves no line in the audit.
    closed = page.goto(f"{hub.url}hub/admin")
    assert closed is not None
    assert closed.status == 403
    visitor.shoot("11-no-admin-page")
    page.goto(f"{hub.url}user/{people.clara}/lab")
    visitor.shoot("12-not-yours")
    assert "403" in page.content()
    token = page.evaluate(
        """async (name) => {
            const xsrf = encodeURIComponent(window.jhdata?.xsrf_token ?? "");
            return (await fetch(`/hub/api/users/${name}/tokens?_xsrf=${xsrf}`, {method: "POST", body: "{}"})).status;
        }""",
        people.clara,
    )
    assert token == 403
    # With the administrator's own token, too.
    own = hub.api("POST", f"users/{people.admin}/tokens", json={"expires_in": 600}).json()["token"]
    assert hub.api("GET", "users", own).status_code == 200
    for path in (f"users/{people.clara}/tokens", f"users/{people.clara}/server", "groups/researchers/users"):
        assert hub.api("POST", path, own).status_code in (403, 404), path
    assert "auth_state" not in hub.api("GET", f"users/{people.clara}", own).json()


LOOK_EVERYWHERE = """
import base64, json, os, pathlib, zlib
seen, unreadable = [json.dumps(dict(os.environ))], 0
for process in filter(str.isdigit, os.listdir("/proc")):
    for path in (pathlib.Path("/proc", process, name) for name in ("environ", "cmdline")):
        try:
            seen.append(str(path) + path.read_bytes().decode(errors="replace"))
        except OSError:
            unreadable += 1
for folder in FOLDERS:
    for root, folders, files in os.walk(folder):
        for name in files:
            try:
                seen.append(pathlib.Path(root, name).read_bytes().decode(errors="replace"))
            except OSError:
                unreadable += 1
def tried(action):
    try:
        return repr(action())
    except Exception as error:
        return type(error).__name__
facts = {
    "uid": os.geteuid(),
    "groups": os.getgroups(),
    "environment": sorted(os.environ),
    "unreadable": unreadable,
    "no_new_privileges": "NoNewPrivs:\\t1" in pathlib.Path("/proc/self/status").read_text(),
    "umask": oct(os.umask(0o077)),
    "setuid": tried(lambda: os.setuid(0)),
    "other_home": tried(lambda: os.listdir(OTHER)),
    "homes": tried(lambda: os.listdir(os.path.dirname(os.environ["HOME"]))),
    "encrypted": "curve_secretkey" in json.loads(__import__("ipykernel").get_connection_info()),
    "seen": "\\n".join(seen),
}
print(base64.b64encode(zlib.compress(json.dumps(facts).encode())).decode())
"""


@as_root
def test_a_kernel_can_read_nobodys_secrets(
    hub: Hub, claras_token: str, people: People, chromium: playwright.Browser
) -> None:
    sign_in_and_start(chromium, hub, people.nora)
    claras_home = hub.folder / "homes" / account_name(people.clara)
    notes = secrets.token_hex(12)
    (claras_home / "notes.txt").write_text(notes)
    code = LOOK_EVERYWHERE.replace("FOLDERS", repr([str(hub.folder), str(Path(__file__).parents[2])]))
    printed = in_kernel(hub, people.nora, code.replace("OTHER", repr(str(claras_home))))
    facts = json.loads(zlib.decompress(base64.b64decode(printed)))

    nora = pwd.getpwnam(account_name(people.nora))
    assert facts["uid"] == nora.pw_uid >= 20_000
    assert facts["groups"] == [nora.pw_gid]
    assert facts["no_new_privileges"]
    assert facts["umask"] == "0o77"
    assert facts["setuid"] == "PermissionError"
    assert facts["other_home"] == "PermissionError"
    assert facts["homes"] == "PermissionError"
    assert facts["encrypted"]
    assert facts["unreadable"] > 10  # the hub, the proxy, the gateway, clara's server: it did look
    for name, value in {**hub.planted, "clara's token": claras_token, "clara's notes": notes}.items():
        assert value not in facts["seen"], f"{name} can be read from a kernel"
    # The other way round: what it has is what it needs.
    names = {name for name in facts["environment"] if name.startswith(("RPACS", "CONFIGPROXY", "TEST", "AWS"))}
    assert names == {"RPACS_URL"}
    assert "JUPYTERHUB_CRYPT_KEY" not in facts["environment"]
    for folder in (hub.folder / "state", hub.folder / "homes" / account_name(people.nora)):
        assert folder.stat().st_mode & 0o077 == 0
