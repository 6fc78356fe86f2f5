"""Tokens of a real JupyterHub at the gateway that it started itself, through its real proxy."""

from __future__ import annotations

from dataclasses import dataclass

import httpx
import pytest

from hub.tests.real_hub import Hub, make_token, notebook_token
from hub.tests.support import until


@pytest.fixture(scope="module")
def hub(real_hub) -> Hub:
    return real_hub


@pytest.fixture(scope="module")
def server_token(hub) -> str:
    """The token of clara's own server."""
    return notebook_token(hub, "clara")


@dataclass(frozen=True)
class Changed:
    """What the Hub has just changed, of which the gateway still remembers what was before."""

    revoked: str  # a token
    left: str  # personal address of somebody who is in her group no more
    joined: str  # of somebody who is in a group now
    orphaned: str  # of somebody whom the Hub does not know any more


def personal_address(hub: Hub, name: str) -> str:
    token, _ = make_token(hub, name)
    headers = {"Authorization": f"token {token}"}
    made = httpx.post(f"{hub.url}services/pacs/api/v1/viewer-address", headers=headers, json={"minutes": 5})
    assert made.status_code == 201, made.text
    return made.json()["url"]


def sees(address: str) -> tuple[int, str | None]:
    answer = httpx.get(f"{address}/instances", timeout=30)
    return answer.status_code, answer.headers.get("x-total-count")


@pytest.fixture(scope="module")
def changed(hub, archive) -> Changed:
    """All changes at once, because the gateway remembers each person for ten seconds: so they are waited for once."""
    everything = (200, str(len(archive.ct)))
    for name in ("gina", "hilda", "ines"):
        assert hub.api("POST", f"users/{name}").status_code == 201
    group = "groups/ct-researchers/users"
    assert hub.api("POST", group, json={"users": ["hilda"]}).status_code == 200
    token, number = make_token(hub, "ada")
    orphaned, left, joined = (personal_address(hub, name) for name in ("gina", "hilda", "ines"))
    assert hub.pacs("me", token).json()["profiles"][0]["name"] == "Everything"
    assert [sees(address) for address in (orphaned, left, joined)] == [(204, "0"), everything, (204, "0")]
    assert hub.api("DELETE", f"users/ada/tokens/{number}").status_code == 204
    assert hub.api("DELETE", group, json={"users": ["hilda"]}).status_code == 200
    assert hub.api("POST", group, json={"users": ["ines"]}).status_code == 200
    assert hub.api("DELETE", "users/gina").status_code == 204
    return Changed(token, left, joined, orphaned)


def test_the_token_of_ones_own_server_opens_the_gateway(hub, archive, server_token):
    me = hub.pacs("me", server_token)
    assert me.status_code == 200
    assert (me.json()["name"], me.json()["groups"], me.json()["admin"]) == ("clara", ["ct-researchers"], False)
    assert hub.pacs("count?level=instance", server_token).json()["count"] == len(archive.ct)
    uid = str(archive.ct[0].SOPInstanceUID)
    assert hub.pacs(f"instances/{uid}/file", server_token).content == archive.files[uid]
    assert hub.pacs(f"instances/{archive.mr[0].SOPInstanceUID}/file", server_token).status_code == 404


@pytest.mark.parametrize("token", [None, "made-up-0123456789", "0123456789abcdef" * 2, "é" * 20])
def test_nobodys_token_is_401_json_and_no_redirect(hub, token):
    headers = {"Authorization": f"token {token}".encode()} if token else {}
    answer = httpx.get(f"{hub.url}services/pacs/api/v1/me", headers=headers)
    assert answer.status_code == 401
    assert answer.headers["content-type"].startswith("application/json")
    assert answer.json()["error"] in ("token_missing", "token_invalid")
    assert not answer.has_redirect_location


def test_a_token_without_the_services_scope_is_refused(hub):
    token, _ = make_token(hub, "clara", scopes=["read:users:name!user", "read:users:groups!user"])
    answer = hub.pacs("me", token)
    assert (answer.status_code, answer.json()["error"]) == (403, "scope_missing")
    assert "access:services!service=pacs" in answer.json()["hint"]


def test_a_services_token_is_no_users(hub):
    answer = hub.pacs("me", hub.admin["Authorization"].split()[1])
    assert (answer.status_code, answer.json()["error"]) == (403, "user_required")


def test_a_revoked_token_stops_working_within_half_a_minute(hub, changed):
    until(lambda: hub.pacs("me", changed.revoked).status_code == 401, "the token refused", 30)


def test_a_personal_address_goes_through_the_proxy_and_follows_the_hubs_groups(hub, archive, changed):
    assert changed.left.startswith(f"{hub.url}services/pacs/api/v1/view/")
    until(lambda: sees(changed.left) == (204, "0"), "the group gone", 30)
    until(lambda: sees(changed.joined) == (200, str(len(archive.ct))), "the group there", 30)
    for path in ("me", "search"):
        assert httpx.get(changed.joined.replace("/dicom-web", f"/{path}")).status_code == 401
    kept = (hub.folder / "audit.jsonl").read_text() + hub.log.read_text()
    for url in (changed.left, changed.joined):
        assert url.split("/")[-2] not in kept


def test_an_address_ends_with_its_owner(changed):
    until(lambda: httpx.get(f"{changed.orphaned}/studies").status_code == 404, "the address gone", 30)


def test_neither_log_nor_audit_holds_a_token(hub, server_token):
    hub.pacs("me", server_token)
    kept = (hub.folder / "audit.jsonl").read_text() + hub.log.read_text()
    assert '"user":"clara"' in kept
    assert server_token not in kept
