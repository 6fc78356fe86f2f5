"""Every address, asked by somebody who sees all, CT only, nothing, and by nobody."""

from __future__ import annotations

import httpx
import pytest

from hub.tests.support import gateway_settings, serving, until
from rpacs_hub.gateway.api import ROUTES

KEYS = {"access_key": "AKIAEXAMPLEKEY", "secret_key": "notasecret"}

# What each address says to (ada, clara, nora) about an MR image that only ada may see.
FOREIGN = {
    ("GET", "health"): (200, 200, 200),
    ("GET", "me"): (200, 200, 200),
    ("GET", "search"): (200, 200, 200),
    ("POST", "search"): (200, 200, 200),
    ("GET", "count"): (200, 200, 200),
    ("POST", "count"): (200, 200, 200),
    ("GET", "facets"): (200, 200, 200),
    ("GET", "explain-query"): (200, 200, 200),
    ("GET", "complete"): (200, 200, 200),
    ("GET", "explain"): (200, 404, 404),
    ("GET", "instances/{uid}/tags"): (200, 404, 404),
    ("GET", "instances/{uid}/file"): (200, 404, 404),
    ("GET", "instances/{uid}/frames/{n}"): (200, 404, 404),
    ("POST", "exports"): (202, 404, 404),
    ("GET", "exports"): (200, 200, 200),
    ("GET", "exports/{id}"): (200, 404, 404),
    ("DELETE", "exports/{id}"): (200, 404, 404),
    ("POST", "exports/{id}/resume"): (202, 404, 404),
    ("POST", "viewer-address"): (201, 404, 404),
    ("GET", "viewer-address"): (200, 200, 200),
    ("DELETE", "viewer-address/{id}"): (200, 404, 404),
    ("GET", "dicom-web/studies"): (200, 204, 204),
    ("GET", "dicom-web/series"): (200, 204, 204),
    ("GET", "dicom-web/instances"): (200, 204, 204),
    **{
        ("GET", f"dicom-web/{path}"): (200, 404, 404)
        for path in (
            "studies/{study}/series",
            "studies/{study}/instances",
            "studies/{study}/series/{series}/instances",
            "studies/{study}",
            "studies/{study}/series/{series}",
            "studies/{study}/metadata",
            "studies/{study}/series/{series}/metadata",
            "studies/{study}/thumbnail",
            "studies/{study}/series/{series}/thumbnail",
            *(
                "studies/{study}/series/{series}/instances/{instance}" + below
                for below in (
                    *("", "/metadata", "/frames/{frames}", "/bulkdata/{element}", "/rendered", "/thumbnail"),
                    *("/frames/{frames}/rendered", "/frames/{frames}/thumbnail"),
                )
            ),
        )
    },
    ("POST", "dicom-web/studies"): (405, 405, 405),
    ("POST", "dicom-web/studies/{study}"): (405, 405, 405),
    ("GET", "dicom-web/workitems"): (501, 501, 501),
    **{(method, "orthanc/{path}"): (404, 404, 404) for method in ("GET", "POST", "PUT", "DELETE")},
    ("POST", "dicom-web/workitems"): (501, 501, 501),
}


def test_the_table_has_every_route():
    assert set(FOREIGN) == {(route.method, route.path) for route in ROUTES}


@pytest.fixture(scope="module")
def asking(archive, tmp_path_factory):
    """A gateway of its own whose exports go nowhere, and a function that asks for one MR image."""
    mr = archive.mr[0]
    uid = str(mr.SOPInstanceUID)
    folder = tmp_path_factory.mktemp("access")
    settings = gateway_settings(
        archive.base, archive.served.settings.research_url, folder, s3_endpoints=("http://127.0.0.1:9",)
    )
    with serving(settings) as served:
        until(lambda: served.gateway.services.exporter, "the exporter")
        users = {
            "ada": served.tokens.add("ada"),
            "clara": served.tokens.add("clara", "ct-researchers"),
            "nora": served.tokens.add("nora"),
        }
        export = {
            "uids": [{"level": "series", "uid": str(mr.SeriesInstanceUID)}],
            "destination": "s3://bucket-x/p",
            "credentials": KEYS,
            "endpoint_url": "http://127.0.0.1:9",
        }
        ids: dict[str, str] = {}

        def ask(method: str, path: str, headers: dict[str, str]) -> httpx.Response:
            if path.startswith("viewer-address/") and "address" not in ids:
                ids["address"] = served.post("viewer-address", users["ada"], {}).json()["id"]
            if "exports/{id}" in path and "id" not in ids:
                ids["id"] = served.post("exports", users["ada"], export).json()["id"]
            body = None
            if method == "POST":
                body = {"query": f"SOPInstanceUID StrEquals {uid}", "level": "instance"}
                body = {"viewer-address": {"studies": [str(mr.StudyInstanceUID)]}}.get(path, body)
                body = {"exports": export, "exports/{id}/resume": {"credentials": KEYS}}.get(path, body)
            params = (
                {"query": f"SOPInstanceUID StrEquals {uid}", "level": "instance"} if path in ("search", "count") else {}
            )
            if path == "explain":
                params = {"uid": uid}
            if path == "facets":
                params = {"tag": "SOPInstanceUID", "level": "instance"}
            if path in ("dicom-web/studies", "dicom-web/series", "dicom-web/instances"):
                params = {"SOPInstanceUID": uid}
            if method == "POST":
                params = {}
            address = path.format(
                uid=uid,
                n=1,
                id=ids.get("address" if path.startswith("viewer-address/") else "id"),
                study=mr.StudyInstanceUID,
                series=mr.SeriesInstanceUID,
                instance=uid,
                frames=1,
                element="7FE00010",
                path="instances",
            )
            return served.client.request(method, address, headers=headers, json=body, params=params)

        yield ask, users, uid


@pytest.mark.parametrize(("method", "path"), list(FOREIGN), ids=lambda value: str(value))
def test_what_may_not_be_seen_does_not_exist(asking, method, path):
    ask, users, uid = asking
    order = ("clara", "nora", "ada")
    answers = {name: ask(method, path, users[name]) for name in order}
    if path == "exports/{id}/resume" or (method, path) == ("DELETE", "exports/{id}"):
        # Ada's own export may be past resuming or past cancelling; it must only never be "not found" for her.
        assert answers["ada"].status_code in (200, 202, 409)
    else:
        assert tuple(answers[name].status_code for name in ("ada", "clara", "nora")) == FOREIGN[method, path]
    if path in ("search", "count"):
        totals = [answers[name].json().get("total", answers[name].json().get("count")) for name in order]
        assert totals == [0, 0, 1]
    for name in ("clara", "nora"):
        assert uid not in answers[name].text or path == "search"
    if path == "exports":
        assert len(answers["ada"].json()) > 0
        for name in ("clara", "nora"):
            assert answers[name].json().get("exports", []) == []


@pytest.mark.parametrize(
    ("method", "path"), [key for key in FOREIGN if key[1] != "health"], ids=lambda value: str(value)
)
def test_nobody_gets_a_401_that_is_json(asking, method, path):
    ask, users, _ = asking
    token = users["ada"]["Authorization"].split()[1]
    for headers in (
        {},
        {"Authorization": "token made-up-token-0123456789"},
        {"Authorization": "Bearer made-up-token-0123456789"},
        {"Authorization": "Basic YWRhOmFkYQ=="},
        {"Authorization": "token x"},
        {"Cookie": f"jupyterhub-services={token}; jupyterhub-user-ada={token}"},
        {"X-Forwarded-User": "ada"},
    ):
        answer = ask(method, path, headers)
        assert answer.status_code == 401, headers
        assert not answer.is_redirect
        assert set(answer.json()) == {"error", "message", "hint"}
        assert answer.headers["www-authenticate"].startswith("Bearer")


def test_the_same_words_for_hidden_and_for_unknown(asking):
    ask, users, _ = asking
    hidden = ask("GET", "instances/{uid}/file", users["clara"])
    unknown = ask("GET", "instances/1.2.3/file", users["clara"])
    assert hidden.json() == unknown.json()
    assert hidden.status_code == unknown.status_code


def test_a_token_in_the_address_is_refused_even_beside_a_good_header(archive):
    for name in ("token", "access_token"):
        answer = archive.served.client.get("me", params={name: "x" * 20}, headers=archive.ada)
        assert (answer.status_code, answer.json()["error"]) == (401, "token_in_address")


def test_both_header_schemes_work(archive):
    token = archive.ada["Authorization"].split()[1]
    assert archive.served.client.get("me", headers={"Authorization": f"Bearer {token}"}).json()["name"] == "ada"


@pytest.mark.parametrize(
    "query",
    ["PatientID StrEquals 'x'' OR TRUE --'", "PatientID StrEquals '%s'", "PatientName StrEquals ')) OR ((TRUE'"],
)
def test_a_query_cannot_escape_the_permission(archive, query):
    assert (
        archive.served.post("count", archive.clara, {"query": query, "level": "instance"}).json().get("count", 0) == 0
    )
    wide = {"query": "Modality StrEquals MR OR Modality Exists", "level": "instance"}
    assert archive.served.post("count", archive.clara, wide).json()["count"] == len(archive.ct)


def test_changed_permissions_hold_within_ten_seconds(archive, tmp_path):
    settings = gateway_settings(archive.base, archive.served.settings.research_url, tmp_path)
    with serving(settings) as served:
        clara = served.tokens.add("clara", "ct-researchers")

        def sees() -> int:
            return served.get("count", clara, level="instance").json()["count"]

        assert sees() == len(archive.ct)
        good = settings.permissions.read_text()
        settings.permissions.write_text(good.replace("StrEquals CT", "StrEquals MR"))
        until(lambda: sees() == len(archive.mr), "the new filter", 10)
        settings.permissions.write_text("Profils: {}")
        until(lambda: served.get("health").json()["permissions"]["error"], "the error in health", 10)
        health = served.get("health").json()
        assert health["status"] == "degraded"
        assert health["permissions"]["error"].startswith("1 problem(s), the first on line 1")
        assert sees() == len(archive.mr)
        settings.permissions.write_text(good)
        until(lambda: sees() == len(archive.ct), "the old filter", 10)
        assert served.get("health").json()["status"] == "ok"


def test_a_dead_archive_gives_one_clear_message_and_search_goes_on(archive, orthanc_factory, tmp_path):
    dead = orthanc_factory("dead")
    settings = gateway_settings(archive.base, dead.url, tmp_path)
    dead.kill()
    uid = str(archive.ct[0].SOPInstanceUID)
    with serving(settings) as served:
        ada = served.tokens.add("ada")
        assert served.get("count", ada, level="instance").json()["count"] == len(archive.files)
        for path in ("file", "tags", "frames/1"):
            answer = served.get(f"instances/{uid}/{path}", ada)
            assert (answer.status_code, answer.json()["error"]) == (503, "archive_unavailable")
            assert answer.json()["message"].startswith("The research Orthanc does not answer")
            assert dead.password not in answer.text
        assert served.get("health").json()["orthanc"] == "down"
        dead.start()
        dead.upload(archive.files[uid])
        assert served.get(f"instances/{uid}/file", ada).content == archive.files[uid]
        until(lambda: served.get("health").json()["status"] == "ok", "health")


def test_an_image_that_orthanc_lost_is_not_found(archive, orthanc_factory, tmp_path):
    empty = orthanc_factory("empty")
    with serving(gateway_settings(archive.base, empty.url, tmp_path)) as served:
        answer = served.get(f"instances/{archive.ct[0].SOPInstanceUID}/file", served.tokens.add("ada"))
        assert (answer.status_code, answer.json()["error"]) == (404, "not_found")
