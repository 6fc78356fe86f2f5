"""The research Orthanc's own API through the gateway: who may, what is passed on, and what is not."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import socket
from collections.abc import Iterator
from urllib.parse import quote

import httpx
import psycopg
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from playwright.sync_api import Browser

from hub.tests.support import Served, as_bytes, audit_lines, gateway_settings, image, serving, until
from rpacs_hub.permissions import (
    Action,
    Actor,
    OrthancPath,
    PathPattern,
    decide,
    normalised_path,
    overrides_method,
    parse_permissions,
)
from tests.fixtures.browser import running_chromium
from tests.fixtures.parts import OrthancServer

PERMISSIONS = """
Profiles:
  Archive admins:
    OrthancPathPatterns:
      Allow: ["ANY /**"]
      Deny: ["DELETE /**", "ANY /tools/**", "GET /statistics"]
  Cleaners:
    OrthancPathPatterns: {Allow: ["GET /instances/*", "DELETE /instances/*"]}
  CT only: {DICOMQueryFilter: Modality StrEquals CT}
Permissions:
  - {Users: [olga], Profiles: [Archive admins]}
  - {Groups: [cleaners], Profiles: [Cleaners]}
  - {Groups: [ct-researchers], Profiles: [CT only]}
"""


@pytest.fixture
def proxied(base, orthanc_factory, tmp_path) -> Iterator[tuple[Served, OrthancServer, str]]:
    """A gateway before an Orthanc with one image, and that image's identifier in Orthanc."""
    research = orthanc_factory("proxied")
    research.upload(as_bytes(image()))
    (name,) = httpx.get(f"{research.url}/instances").json()
    (tmp_path / "permissions.yaml").write_text(PERMISSIONS)
    with serving(gateway_settings(base, research.url, tmp_path)) as served:
        yield served, research, name


def raw(served: Served, method: str, target: str, headers: dict[str, str], body: bytes | None = None):
    """Send a request line as it is written here; return status, headers and body."""
    connection = http.client.HTTPConnection("127.0.0.1", served.client.base_url.port, timeout=30)
    connection.putrequest(method, f"/services/pacs/api/v1/{target}", skip_accept_encoding=True)
    for name, value in headers.items():
        connection.putheader(name, value)
    if body is not None:
        connection.putheader("Content-Length", str(len(body)))
    connection.endheaders(body)
    answer = connection.getresponse()
    found = answer.status, answer.headers, answer.read()
    connection.close()
    return found


def test_what_is_asked_for_and_answered_passes_as_it_is(proxied, base):
    served, research, name = proxied
    olga = served.tokens.add("olga")
    for path in (
        *("system", f"instances/{name}", f"instances/{name}/file", f"instances/{name}/preview", "app/explorer.html"),
        *("patients?expand&since=0&limit=1", f"instances/{name}/tags?simplify", "changes?limit=1"),
    ):
        answer, own = served.get(f"orthanc/{path}", olga), httpx.get(f"{research.url}/{path}")
        assert answer.status_code == own.status_code == 200
        assert answer.content == own.content
        assert answer.headers["content-type"] == own.headers["content-type"]
        assert {"server", "set-cookie", "www-authenticate"}.isdisjoint(answer.headers)
    (line,) = audit_lines(base, answer.headers["x-request-id"])
    assert (line["user"], line["action"], line["decision"]) == ("olga", "orthanc", "allowed")
    assert (line["path"], line["query"]) == ("/services/pacs/api/v1/orthanc/changes", "limit=1")
    assert (line["bytes"], line["status"], line["profiles"]) == (len(own.content), 200, ["Archive admins"])
    assert line["why"] == ["Archive admins, given by name: allows ANY /**."]


def test_bodies_and_changes_pass_with_a_line_before_and_one_after(proxied, base):
    served, research, _ = proxied
    olga = served.tokens.add("olga")
    dataset = image(patient="P9")
    answer = served.client.post("orthanc/instances", headers=olga, content=as_bytes(dataset))
    assert (answer.status_code, answer.json()["Status"]) == (200, "Success")
    made = answer.json()["ID"]
    assert httpx.get(f"{research.url}/instances/{made}/file").content == as_bytes(dataset)
    lines = audit_lines(base, answer.headers["x-request-id"])
    assert [(line["method"], line["decision"], line["status"]) for line in lines] == [
        ("POST", "allowed", 0),
        ("POST", "allowed", 200),
    ]
    (patient,) = [
        p
        for p in served.get("orthanc/patients", olga).json()
        if "P9" in str(served.get(f"orthanc/patients/{p}", olga).json()["MainDicomTags"])
    ]
    put = served.client.put(f"orthanc/patients/{patient}/metadata/1024", headers=olga, content=b"hello")
    assert put.status_code == 200
    assert served.get(f"orthanc/patients/{patient}/metadata/1024", olga).content == b"hello"
    # A body in pieces of unknown length.
    other = as_bytes(image(patient="P10"))
    pieces = (other[n : n + 100] for n in range(0, len(other), 100))
    answer = served.client.post("orthanc/instances", headers=olga, content=pieces)
    assert answer.status_code in (200, 411)
    both = served.tokens.add("olga", "cleaners")
    assert served.client.delete(f"orthanc/instances/{made}", headers=both).status_code == 200
    assert httpx.get(f"{research.url}/instances/{made}").status_code == 404
    served.tokens.add("olga")


def test_a_large_body_passes_in_pieces(proxied):
    served, _, _ = proxied
    olga = served.tokens.add("olga")
    (patient,) = served.get("orthanc/patients", olga).json()
    data = os.urandom(80 << 20)  # more than the gateway takes of any other body
    answer = served.client.put(f"orthanc/patients/{patient}/attachments/1025", headers=olga, content=data)
    assert answer.status_code == 200, answer.text
    digest = hashlib.sha256()
    with served.client.stream("GET", f"orthanc/patients/{patient}/attachments/1025/data", headers=olga) as stream:
        assert stream.headers["content-length"] == str(len(data))
        for chunk in stream.iter_bytes():
            digest.update(chunk)
    assert digest.digest() == hashlib.sha256(data).digest()
    refused = served.client.put("orthanc/tools/x", headers=olga, content=data[: 1 << 20])
    assert refused.status_code == 404


def test_an_upload_that_breaks_off_is_given_up(proxied, base):
    served, _, _ = proxied
    olga = served.tokens.add("olga")
    data = as_bytes(image(patient="P4", size=1000))
    lines = ["POST /services/pacs/api/v1/orthanc/instances HTTP/1.1", "Host: x", f"Content-Length: {len(data)}"]
    lines += [f"{name}: {value}" for name, value in olga.items()]
    with socket.create_connection(("127.0.0.1", served.client.base_url.port), 10) as sender:
        sender.sendall(("\r\n".join(lines) + "\r\n\r\n").encode() + data[: len(data) // 2])

        def noted() -> bool:
            with psycopg.connect(base.gateway) as connection:
                found = connection.execute("SELECT line FROM audit.event ORDER BY seq DESC LIMIT 1").fetchone()
            return found is not None and json.loads(found[0])["method"] == "POST"

        until(noted, "the line before the upload is passed on")
    assert len(served.get("orthanc/instances", olga).json()) == 1
    whole = served.client.post("orthanc/instances", headers=olga, content=data)
    assert (whole.status_code, whole.json()["Status"]) == (200, "Success")


def test_errors_of_orthanc_pass_and_ours_are_json(proxied):
    served, research, _ = proxied
    olga = served.tokens.add("olga")
    missing = served.get("orthanc/instances/nothing", olga)
    assert (missing.status_code, missing.content) == (404, httpx.get(f"{research.url}/instances/nothing").content)
    wrong = served.client.post("orthanc/instances", headers=olga, content=b"no DICOM")
    assert (wrong.status_code, wrong.json()["HttpStatus"]) == (400, 400)
    research.kill()
    down = served.get("orthanc/system", olga)
    assert (down.status_code, down.json()["error"]) == (503, "archive_unavailable")
    assert research.password not in down.text


def test_redirects_lead_back_through_the_gateway(proxied):
    served, research, _ = proxied
    olga = served.tokens.add("olga")
    assert httpx.get(f"{research.url}/").headers["location"] == "app/explorer.html"
    for path in ("orthanc/", "orthanc"):
        answer = served.get(path, olga)
        assert answer.headers["location"] == "/services/pacs/api/v1/orthanc/app/explorer.html"
        assert served.get(f"{served.settings.service_url}{answer.headers['location']}", olga).status_code == 200


def test_without_a_path_profile_nothing_is_there(proxied, base):
    served, _, name = proxied
    unknown = served.get("no/such/address", served.tokens.add("nora"))
    for user in (served.tokens.add("nora"), served.tokens.add("clara", "ct-researchers")):
        for path in ("orthanc/system", "orthanc", "orthanc/%2e%2e/x", "orthanc/no/such", f"orthanc/instances/{name}"):
            for method in ("GET", "POST", "PUT", "DELETE"):
                answer = served.client.request(method, path, headers=user)
                assert (answer.status_code, answer.json()) == (404, unknown.json())
    (line,) = audit_lines(base, answer.headers["x-request-id"])
    assert (line["action"], line["decision"], line["user"]) == ("orthanc", "denied", "clara")
    assert line["why"] == ["CT only, through group ct-researchers: opens no paths of Orthanc."]
    for method in ("PATCH", "OPTIONS"):
        assert served.client.request(method, "orthanc/system", headers=user).status_code == 405


def test_deny_beats_allow_and_every_way_around_it_is_shut(proxied):
    served, research, name = proxied
    olga = served.tokens.add("olga")
    there = f"{research.url}/instances/{name}"
    # That Orthanc itself has these doors is what makes them worth shutting.
    second = as_bytes(image(patient="P2"))
    made = httpx.post(f"{research.url}/instances", content=second).json()["ID"]
    httpx.get(f"{research.url}/instances/{made}?_method=DELETE")
    assert httpx.get(f"{research.url}/instances/{made}").status_code == 404
    made = httpx.post(f"{research.url}/instances", content=second).json()["ID"]
    httpx.post(f"{research.url}/instances/{made}", headers={"X-HTTP-Method-Override": "DELETE"}, content=b"")
    assert httpx.get(f"{research.url}/instances/{made}").status_code == 404

    refused = raw(served, "DELETE", f"orthanc/instances/{name}", olga)
    assert (refused[0], json.loads(refused[2])["error"]) == (404, "not_found")
    for query in (
        "_method=DELETE",
        "_METHOD=DELETE",
        "%5fmethod=DELETE",
        "a=b&%255Fmethod=DELETE",
        "%5f%6d%65%74hod=PUT",
    ):
        for method in ("GET", "POST"):
            assert raw(served, method, f"orthanc/instances/{name}?{query}", olga)[0] == 400, query
    for header in ("X-HTTP-Method-Override", "x-http-method-override", "X-HTTP-Method", "X-Method-Override"):
        for method in ("GET", "POST"):
            raw(served, method, f"orthanc/instances/{name}", {**olga, header: "DELETE"}, b"")
            assert httpx.get(there).status_code == 200, header
    for target in (
        *("statistics", "statistics/", "%73tatistics", "s%74atistics/", "STATISTICS", "tools", "tools/", "%74ools/now"),
        *("tools/now", "TOOLS/now", "tools%2Fnow", "tools/now/"),
    ):
        assert raw(served, "GET", f"orthanc/{target}", olga)[0] == 404, target
    for target in (
        *("x/../statistics", "x/%2e%2e/statistics", "./statistics", "/statistics", "//statistics", "%2Fstatistics"),
        *("system%00", "statistics;x", "statistics%3bx", "%2573tatistics", "..%5cstatistics", "..\\statistics"),
        *("statistics%", "statistics%zz", "system%3f/x", "system%23", "syst%c3%a9m", "%ff", "system%0d%0aX:y", "a%20b"),
        "x" * 3000,
    ):
        status, _, body = raw(served, "GET", f"orthanc/{target}", olga)
        assert (status, json.loads(body)["error"]) in ((400, "path_invalid"), (400, "request_invalid")), target
    assert raw(served, "GET", "orthanc/system/", olga)[0] == 200
    assert raw(served, "GET", "orthanc/s%79stem", olga)[0] == 200
    assert httpx.get(there).status_code == 200


def test_credentials_stay_on_their_side(proxied):
    """Orthanc's Lua scripts could see headers; here its own account proves whose credentials arrive."""
    served, research, _ = proxied
    olga = served.tokens.add("olga")
    answer = served.get("orthanc/system", {**olga, "Cookie": "a=b", "Proxy-Authorization": "Basic x", "TE": "trailers"})
    assert answer.status_code == 200
    assert research.password not in str(answer.headers) + answer.text
    assert served.client.get("orthanc/system").status_code == 401
    assert served.client.get("orthanc/system", headers={"Authorization": "Basic c3ZjOng="}).status_code == 401
    assert served.client.get("orthanc/system", auth=("svc", research.password)).status_code == 401
    assert served.client.get("orthanc/system?token=abcdefghij", headers=olga).status_code == 401


def test_without_the_audit_nothing_leaves_and_nothing_changes(proxied, base):
    served, research, name = proxied
    both = served.tokens.add("olga", "cleaners")
    with psycopg.connect(base.admin_url, autocommit=True) as admin:
        admin.execute("REVOKE INSERT ON audit.event FROM rpacs_gateway")
        try:
            assert served.get("orthanc/system", both).json()["error"] == "audit_unavailable"
            gone = served.client.delete(f"orthanc/instances/{name}", headers=both)
            assert (gone.status_code, gone.json()["error"]) == (503, "audit_unavailable")
        finally:
            admin.execute("GRANT INSERT ON audit.event TO rpacs_gateway")
    assert httpx.get(f"{research.url}/instances/{name}").status_code == 200


@pytest.fixture
def browser() -> Iterator[Browser]:
    with running_chromium() as chromium:
        yield chromium


def test_orthanc_explorer_works_below_the_gateway(proxied, browser):
    """In a browser that sends the token itself, as one with an extension or a script does."""
    served, _, _ = proxied
    page = browser.new_page(extra_http_headers=served.tokens.add("olga"))
    failed: list[str] = []
    page.on("response", lambda answer: failed.append(answer.url) if answer.status >= 400 else None)
    page.goto(f"{served.url}orthanc/")
    assert page.url.startswith(f"{served.url}orthanc/app/explorer.html")
    page.goto(f"{served.url}orthanc/app/explorer.html#find-patients")
    page.goto(f"{served.url}orthanc/app/explorer.html#all-patients")
    page.get_by_text("P1^Pseudo").first.wait_for()
    page.close()
    # Orthanc Explorer asks for these to know what it may offer; this profile does not open them.
    assert [url for url in failed if "/statistics" not in url and "favicon" not in url] == []


SEGMENTS = st.text(alphabet="aAb.%25eE2fF/\\;~?# é\0", max_size=6)
PATHS = st.lists(st.sampled_from(["instances", "tools", "x", "*", "**", "INSTANCES"]), min_size=0, max_size=3)
VERBS = ("GET", "POST", "PUT", "DELETE")
PATTERNS = st.builds(lambda verb, parts: f"{verb} /{'/'.join(parts)}", st.sampled_from([*VERBS, "ANY"]), PATHS).map(
    PathPattern.parse
)


def encoded(draw: st.DrawFn, path: str) -> str:
    """Return a path with some of its characters percent-encoded, and perhaps a slash at its end."""
    written = "".join(f"%{ord(char):02{draw(st.sampled_from('xX'))}}" if draw(st.booleans()) else char for char in path)
    return written + draw(st.sampled_from(["", "/"]))


def grants(allow, deny):
    profile = {"OrthancPathPatterns": {"Allow": [str(one) for one in allow], "Deny": [str(one) for one in deny]}}
    return parse_permissions(json.dumps({"Profiles": {"P": profile}, "Permissions": [{"Users": "u", "Profiles": "P"}]}))


@given(st.data(), st.lists(PATTERNS, max_size=3), st.lists(PATTERNS, max_size=3), st.sampled_from(VERBS))
def test_deny_beats_allow_and_no_spelling_changes_the_answer(data, allow, deny, verb):
    path = "/" + "/".join(data.draw(st.lists(st.sampled_from(["instances", "tools", "x", "a.b"]), max_size=3)))
    permissions, actor = grants(allow, deny), Actor("u")

    def allowed(path: str, permissions=permissions) -> bool:
        return decide(permissions, actor, Action.ORTHANC, OrthancPath(verb, path)).allowed

    answer = allowed(path)
    spelling = data.draw(st.composite(encoded)(path))
    assert normalised_path(spelling) == path or path == "/"
    assert allowed(normalised_path(spelling)) is answer or path == "/"
    if any(one.denies(verb, path) for one in deny):
        assert not answer
    if answer:
        assert any(one.allows(verb, path) for one in allow)
        assert not allowed(path, grants(allow, [*deny, PathPattern("ANY", path)]))
    # More allowed never takes away, more denied never gives.
    assert allowed(path, grants([*allow, PathPattern("ANY", "/**")], [])) is True
    assert allowed(path, grants(allow, [*deny, PathPattern("ANY", "/**")])) is False


@given(SEGMENTS.map(lambda text: "/" + text) | SEGMENTS.map(lambda text: "/instances/" + quote(text)))
@example("/%252e%252e/x")
@example("/%2e%2e")
@example("//")
def test_a_normalised_path_has_one_reading(path):
    try:
        found = normalised_path(path)
    except ValueError:
        return
    assert normalised_path(found) == found
    assert quote(found, safe="/~!$&'()*+,=:@") == found
    assert "//" not in found
    assert not {".", ".."} & set(found.split("/"))
    assert found == "/" or not found.endswith("/")


@pytest.mark.parametrize(
    ("pattern", "path", "allows", "denies"),
    [
        ("GET /instances/*/preview", "/instances/abc/preview", True, True),
        ("GET /instances/*/preview", "/instances/a/b/preview", False, False),
        ("GET /instances/**", "/instances/a/b", True, True),
        ("GET /instances/**", "/instances", False, True),
        ("GET /instances/**", "/instancesx", False, False),
        ("ANY /**", "/", True, True),
        ("GET /", "/", True, True),
        ("GET /app/", "/app", True, True),
        ("GET /Tools", "/tools", False, True),
        ("GET /a.b", "/aXb", False, False),
        ("POST /instances", "/instances", False, False),
    ],
)
def test_what_a_pattern_meets(pattern, path, allows, denies):
    parsed = PathPattern.parse(pattern)
    assert (parsed.allows("GET", path), parsed.denies("GET", path)) == (allows, denies)


def test_one_profile_denies_and_another_allows():
    text = """
Profiles:
  A: {OrthancPathPatterns: {Allow: [ANY /**], Deny: [DELETE /**]}}
  B: {OrthancPathPatterns: {Allow: [DELETE /instances/*]}}
Permissions: [{Users: [u], Profiles: [A]}, {Groups: [g], Profiles: [B]}]
"""
    permissions = parse_permissions(text)
    asked = OrthancPath("DELETE", "/instances/1")
    assert not decide(permissions, Actor("u"), Action.ORTHANC, asked).allowed
    both = decide(permissions, Actor("u", frozenset({"g"})), Action.ORTHANC, asked)
    assert (both.allowed, both.profiles) == (True, ("B",))
    assert [reason.text for reason in both.reasons] == [
        "B, through group g: allows DELETE /instances/*.",
        "A, given by name: denies DELETE /**.",
    ]


@given(st.integers(0, 6), st.sampled_from(["_method=DELETE", "x=1&_Method=PUT"]))
def test_a_method_in_the_query_string_is_found_however_often_it_is_encoded(times, query):
    for _ in range(times):
        query = "".join(f"%{ord(char):02x}" for char in query) if len(query) < 200 else quote(query, safe="")
    assert overrides_method(query)
    assert not overrides_method("expand&since=0&limit=100&name=a%20b")
