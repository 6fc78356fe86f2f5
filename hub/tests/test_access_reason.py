"""A profile may ask for a reason: nothing is shown before one is given, and it stands in every audit line."""

from __future__ import annotations

import json

import pytest

from hub.tests.support import gateway_settings, serving
from rpacs_hub.errors import PermissionsError
from rpacs_hub.gateway.api import ROUTES
from rpacs_hub.permissions import Actor, missing_reason, parse_permissions

PERMISSIONS = """
Profiles:
  CT only:
    DICOMQueryFilter: Modality StrEquals CT
  Oncology:
    AccessReason: the number of your ethics approval
Permissions:
  - {Groups: [ct-researchers], Profiles: CT only}
  - {Users: [rosa], Profiles: [CT only, Oncology]}
"""


@pytest.fixture
def served(archive, tmp_path):
    settings = gateway_settings(archive.base, archive.served.settings.research_url, tmp_path)
    settings.permissions.write_text(PERMISSIONS)
    with serving(settings) as served:
        yield served


def test_nothing_is_shown_before_a_reason_is_given(archive, served):
    rosa = served.tokens.add("rosa")
    uid = str(archive.ct[0].SOPInstanceUID)
    answer = served.get(f"instances/{uid}/file", rosa)
    assert (answer.status_code, answer.json()["error"]) == (403, "reason_required")
    assert "Oncology asks for a reason: the number of your ethics approval." in answer.json()["message"]
    assert served.get("search", {**rosa, "X-Access-Reason": "x"}).status_code == 403
    last = json.loads(served.settings.audit_log.read_text().splitlines()[-1])
    assert (last["decision"], last["status"], last["user"]) == ("denied", 403, "rosa")
    given = {**rosa, "X-Access-Reason": "IRB 2026-041"}
    assert served.get(f"instances/{uid}/file", given).content == archive.files[uid]
    last = json.loads(served.settings.audit_log.read_text().splitlines()[-1])
    assert (last["reason"], last["decision"]) == ("IRB 2026-041", "allowed")


def test_who_holds_no_such_profile_is_not_asked(served):
    assert served.get("search", served.tokens.add("clara", "ct-researchers")).status_code == 200


def test_me_says_what_is_asked(served):
    profiles = served.get("me", served.tokens.add("rosa")).json()["profiles"]
    assert [(one["name"], one["access_reason"]) for one in profiles] == [
        ("CT only", None),
        ("Oncology", "the number of your ethics approval"),
    ]


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_every_address_asks(served, route):
    if route.by_address or route.path in ("health", "me"):
        return
    if route.path.startswith("exports") and route.method != "POST":
        return  # one's own exports show no image
    path = route.path.replace("{", "").replace("}", "")
    answer = served.client.request(
        route.method, path, headers=served.tokens.add("rosa"), json={} if route.method == "POST" else None
    )
    assert (answer.status_code, answer.json()["error"]) == (403, "reason_required")


def test_a_personal_address_carries_the_reason_it_was_made_with(archive, served):
    rosa = served.tokens.add("rosa")
    assert served.post("viewer-address", rosa, {}).status_code == 403
    answer = served.post("viewer-address", {**rosa, "X-Access-Reason": "IRB 2026-041"}, {})
    assert answer.status_code == 201, answer.text
    secret = answer.json()["url"].rstrip("/").split("/")[-2]
    found = served.get(f"view/{secret}/dicom-web/studies")
    assert found.status_code == 200, found.text
    last = json.loads(served.settings.audit_log.read_text().splitlines()[-1])
    assert (last["user"], last["reason"]) == ("rosa", "IRB 2026-041")


def test_the_words_of_a_profile_are_required():
    with pytest.raises(PermissionsError, match="AccessReason"):
        parse_permissions("Profiles: {A: {AccessReason: ''}}\nPermissions: [{Users: [u], Profiles: A}]\n")
    permissions = parse_permissions(PERMISSIONS)
    assert missing_reason(permissions, Actor("rosa"), "IRB") is None
    assert missing_reason(permissions, Actor("nobody"), None) is None
    refused = missing_reason(permissions, Actor("rosa"), None)
    assert refused is not None
    assert (refused.allowed, refused.profiles) == (False, ())
