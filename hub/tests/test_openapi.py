"""openapi.yaml says what the gateway does: the same addresses, and answers that fit their schemas."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import pytest
import yaml
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import validate
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from hub.tests.support import gateway_settings, serving, until
from rpacs_hub.gateway.admin import CALLBACK
from rpacs_hub.gateway.admin import ROUTES as PAGES
from rpacs_hub.gateway.api import ROUTES
from rpacs_hub.gateway.explorer import ROUTES as EXPLORER

NAME = "openapi.yaml"


@pytest.fixture(scope="module")
def spec() -> dict[str, Any]:
    return yaml.safe_load((files("rpacs_hub.gateway") / NAME).read_text())


@pytest.fixture(scope="module")
def fits(spec):
    """Check a value against a schema of the document, by its JSON pointer."""
    registry = Registry().with_resource(NAME, Resource.from_contents(spec, default_specification=DRAFT202012))

    def check(value: Any, pointer: str) -> None:
        OAS31Validator({"$ref": f"{NAME}#{pointer}"}, registry=registry).validate(value)

    return check


def test_the_document_is_valid(spec):
    validate(spec)


def operations_of(spec, *tags: str) -> dict[tuple[str, str], dict[str, Any]]:
    return {
        (method.upper(), path.lstrip("/")): operation
        for path, operations in spec["paths"].items()
        for method, operation in operations.items()
        if method not in ("parameters", "servers") and tuple(operation.get("tags", ())) == tags
    }


def test_it_has_every_route_and_no_other(spec):
    assert set(operations_of(spec)) == {(route.method, route.path) for route in ROUTES}


def test_it_has_every_page_of_the_administration_behind_the_cookie_and_no_other(spec):
    pages = operations_of(spec, "admin")
    callback = (CALLBACK.method, CALLBACK.path)
    assert set(pages) == {callback, *((route.method, f"admin/{route.path}") for route in PAGES)}
    assert {str(page["security"]) for at, page in pages.items() if at != callback} == {str([{"session": []}])}
    assert {str(spec["paths"][f"/{path}"]["servers"]) for _, path in pages} == {str([{"url": "/services/pacs"}])}
    assert all(route.action is not None for route in PAGES)
    for (method, _), page in pages.items():
        assert ("303" in page["responses"]) == (method == "POST")


def test_it_has_the_addresses_of_orthanc_explorer_behind_the_cookie_or_a_secret(spec):
    found = operations_of(spec, "explorer")
    assert set(found) == {(route.method, route.path) for route in EXPLORER}
    for (_, path), operation in found.items():
        assert operation["security"] == ([] if "{secret}" in path else [{"session": []}])
        assert spec["paths"][f"/{path}"]["servers"] == [{"url": "/services/pacs"}]


def test_only_health_is_open(spec):
    open_paths = {
        path
        for path, operations in spec["paths"].items()
        for name, operation in operations.items()
        if name not in ("servers", "parameters") and operation.get("security") == [] and "{secret}" not in path
    }
    assert open_paths == {"/health"}
    assert {route.path for route in ROUTES if route.action is None} == {"health"}


def test_personal_addresses_lead_to_dicomweb_and_nowhere_else(spec):
    shown = {path.lstrip("/") for path, item in spec["paths"].items() if len(item.get("servers", ())) == 2}
    assert shown == {route.path for route in ROUTES if route.by_address}
    assert all(path.startswith("dicom-web/") for path in shown)


def test_dicomweb_fits_its_schemas(archive, fits):
    dataset, ada = archive.ct[0], archive.ada
    series = f"dicom-web/studies/{dataset.StudyInstanceUID}/series/{dataset.SeriesInstanceUID}"
    for path in ("dicom-web/studies", "dicom-web/series?includefield=all", f"{series}/instances", f"{series}/metadata"):
        fits(archive.served.get(path, ada).json(), "/components/schemas/DicomJson")
    made = archive.served.post("viewer-address", ada, {"studies": [str(dataset.StudyInstanceUID)], "minutes": 2})
    assert made.status_code == 201
    fits(made.json(), "/components/schemas/ViewerAddress")
    for each in archive.served.get("viewer-address", ada).json()["addresses"]:
        fits(each, "/components/schemas/ViewerAddress")
    gone = archive.served.client.delete(f"viewer-address/{made.json()['id']}", headers=ada)
    fits(gone.json(), "/components/schemas/ViewerAddress")


def test_help_fits_its_schemas(archive, fits):
    get, ada = archive.served.get, archive.ada
    fits(get("facets", ada, tag="Modality").json(), "/components/schemas/Facets")
    for text in ("", "Modality ", "Modality StrEquals ", "Modality Exists "):
        fits(get("complete", ada, text=text).json(), "/components/schemas/Completion")
    wrong = get("facets", ada, tag="Modality", query="Modality StrEqals CT")
    fits(wrong.json(), "/components/schemas/QueryError")


def test_explanations_fit_their_schema(archive, fits):
    for uid in (archive.ct[0].SOPInstanceUID, archive.ct[0].SeriesInstanceUID, archive.ct[0].StudyInstanceUID):
        for user in (archive.ada, archive.clara):
            fits(archive.served.get("explain", user, uid=str(uid)).json(), "/components/schemas/Explanation")


def test_answers_fit_their_schemas(archive, fits):
    uid = str(archive.ct[0].SOPInstanceUID)
    get, post, ada = archive.served.get, archive.served.post, archive.ada
    for level in ("patient", "study", "series", "instance"):
        fits(get("search", ada, level=level, limit=2).json(), "/components/schemas/Page")
        fits(post("count", ada, {"level": level}).json(), "/components/schemas/Count")
    fits(get("health").json(), "/components/schemas/Health")
    fits(get("me", ada).json(), "/components/schemas/Me")
    fits(get(f"instances/{uid}/tags", ada).json(), "/components/schemas/Tags")
    wrong = get("search", ada, query="Modality StrEqals CT")
    assert wrong.status_code == 400
    fits(wrong.json(), "/components/schemas/QueryError")
    export = {
        "query": "",
        "level": "series",
        "destination": "s3://bucket-x/p",
        "credentials": {"access_key": "AKIAEXAMPLEKEY", "secret_key": "notasecret"},
    }
    # The server is not one of those that the operator allows, so nothing is sent anywhere.
    refused = post("exports", ada, {**export, "endpoint_url": "http://127.0.0.1:9"})
    assert (refused.status_code, refused.json()["error"]) == (400, "endpoint_not_allowed")
    fits(refused.json(), "/components/schemas/Error")


def test_exports_fit_their_schemas(archive, fits, tmp_path):
    settings = gateway_settings(archive.base, archive.orthanc.url, tmp_path, s3_endpoints=("http://127.0.0.1:9",))
    body = {
        "query": "Modality StrEquals CT",
        "level": "series",
        "destination": "s3://bucket-x/p",
        "endpoint_url": "http://127.0.0.1:9",
        "credentials": {"access_key": "AKIAEXAMPLEKEY", "secret_key": "notasecret"},
    }
    fits(body, "/components/schemas/ExportRequest")
    with serving(settings) as served:
        until(lambda: served.gateway.services.exporter, "the exporter")
        eve = served.tokens.add("eve", "ct-researchers")
        taken = served.post("exports", eve, body)
        assert taken.status_code == 202
        assert (taken.json()["total"], taken.json()["user"]) == (len(archive.ct), "eve")
        fits(taken.json(), "/components/schemas/Export")
        one = served.get(f"exports/{taken.json()['id']}", eve)
        fits(one.json(), "/components/schemas/Export")
        (listed,) = served.get("exports", eve).json()["exports"]
        fits(listed, "/components/schemas/Export")


def test_requests_that_fit_are_taken(archive, fits):
    body = {
        "query": "Modality StrEquals CT",
        "level": "series",
        "columns": ["SeriesInstanceUID"],
        "sort": [{"column": "SeriesNumber", "descending": True}],
        "limit": 5,
        "cursor": None,
    }
    fits(body, "/components/schemas/Search")
    assert archive.served.post("search", archive.ada, body).status_code == 200


ERRORS = [
    ("GET", "me", {}, 401),
    ("GET", "nothing/here", {}, 401),
    ("GET", "nothing/here", {"user": "ada"}, 404),
    ("DELETE", "me", {"user": "ada"}, 405),
    ("PUT", "search", {"user": "ada"}, 405),
    ("GET", "instances/1.2.3/file", {"user": "ada"}, 404),
    ("GET", "search?level=galaxy", {"user": "ada"}, 400),
    ("GET", "search?colums=PatientID", {"user": "ada"}, 400),
    ("GET", "search?columns=PatientNam", {"user": "ada"}, 400),
    ("GET", "search?limit=1001", {"user": "ada"}, 400),
    ("GET", "search?cursor=abc", {"user": "ada"}, 400),
    ("POST", "search", {"user": "ada", "content": b"{"}, 400),
    ("POST", "search", {"user": "ada", "content": b"[]", "type": "text/plain"}, 415),
    ("POST", "search", {"user": "ada", "content": b" " * (5 << 20)}, 413),
    ("POST", "exports", {"user": "ada", "content": b"{}"}, 400),
    ("GET", "exports/4c0f0a8e-8f0a-4e39-9d58-0d4b6b0b7a10", {"user": "ada"}, 404),
    ("GET", "exports/nonsense", {"user": "ada"}, 404),
]


@pytest.mark.parametrize(("method", "path", "how", "status"), ERRORS, ids=lambda value: str(value)[:40])
def test_every_error_is_json_with_a_message(archive, fits, method, path, how, status):
    headers = dict(getattr(archive, how["user"])) if "user" in how else {}
    headers["Content-Type"] = how.get("type", "application/json")
    answer = archive.served.client.request(method, path, headers=headers, content=how.get("content"))
    assert answer.status_code == status
    assert answer.headers["content-type"].startswith("application/json")
    assert answer.headers["x-request-id"]
    fits(answer.json(), "/components/schemas/Error")
