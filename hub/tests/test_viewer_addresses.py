"""Personal addresses: what they open without a header, for whom, how long, and what they never do."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import httpx
import pandas as pd
import psycopg
import pytest

import rpacs
from hub.tests.support import audit_lines, gateway_settings, serving
from hub.tests.test_dicomweb import path_of, status, uids, values, viewer
from rpacs_hub.audit.search import COLUMNS
from rpacs_hub.gateway.viewer_addresses import without_token
from rpacs_hub.permissions import Actor


def make(served, user, **body) -> dict:
    answer = served.post("viewer-address", user, body)
    assert answer.status_code == 201, answer.text
    return answer.json()


def ask(url: str, **more) -> httpx.Response:
    return httpx.get(url, trust_env=False, timeout=30, **more)


@pytest.fixture
def served(archive, tmp_path):
    """A gateway of its own over the same archive: who is in which group changes here."""
    with serving(gateway_settings(archive.base, archive.orthanc.url, tmp_path, viewer_minutes=120)) as served:
        served.tokens.add("ada")
        served.tokens.add("clara", "ct-researchers")
        yield served


def test_it_works_without_a_header_and_shows_what_its_owner_may_see(archive, served):
    address = make(served, archive.clara)
    client = viewer(served, {}, address["url"])
    assert set(values(client.search_for_instances(), "00080018")) == uids(archive.ct)
    dataset = archive.ct[0]
    three = (str(dataset.StudyInstanceUID), str(dataset.SeriesInstanceUID), str(dataset.SOPInstanceUID))
    got = ask(f"{address['url']}/{path_of(dataset)}", headers={"Accept": "application/dicom"})
    assert got.content == archive.files[dataset.SOPInstanceUID]
    assert got.headers["referrer-policy"] == "no-referrer"
    assert got.headers["cache-control"] == "no-store"
    row = client.retrieve_instance_metadata(*three)
    # What the metadata point at is reached the same way.
    assert row["7FE00010"]["BulkDataURI"].startswith(f"{address['url']}/studies/")
    (pixels,) = client.retrieve_bulkdata(row["7FE00010"]["BulkDataURI"])
    assert bytes(pixels) == dataset.PixelData
    foreign = archive.mr[2]
    assert (
        status(client.retrieve_instance, three[0], str(foreign.SeriesInstanceUID), str(foreign.SOPInstanceUID)) == 404
    )
    assert status(client.search_for_series, str(archive.mr[0].StudyInstanceUID)) == 404


def test_what_ohif_asks_for(archive, tmp_path):
    """Its requests one by one, as its DICOMweb data source and its image loader word them, from another origin."""
    origin = "https://viewer.example.org"
    settings = gateway_settings(archive.base, archive.orthanc.url, tmp_path, viewer_origins=(origin,))
    with serving(settings) as served:
        served.tokens.add("clara", "ct-researchers")
        root = make(served, archive.clara, minutes=5)["url"]

        def get(path: str, accept: str) -> httpx.Response:
            answer = ask(f"{root}/{path}", headers={"Accept": accept, "Origin": origin})
            assert answer.headers["access-control-allow-origin"] == origin
            return answer

        json_types = "application/dicom+json, application/json"
        paged = "limit=101&offset=0&fuzzymatching=false&includefield=00081030%2C00080060"
        studies = get(f"studies?{paged}&PatientName=*pseudo*&StudyDate=20260101-20261231", json_types).json()
        assert len(studies) == 2
        study = next(row for row in studies if row["00100020"]["Value"] == ["P1"])
        uid = study["0020000D"]["Value"][0]
        assert get(f"studies?{paged}&ModalitiesInStudy=MR&StudyInstanceUID={uid}", json_types).status_code == 204
        series = get(f"studies/{uid}/series?includefield=0008103E%2C00080021", json_types).json()
        assert sorted(row["0008103E"]["Value"][0] for row in series) == ["Scout", "Thorax"]
        one = series[0]["0020000E"]["Value"][0]
        for header in get(f"studies/{uid}/series/{one}/metadata", json_types).json():
            instance = header["00080018"]["Value"][0]
            frame = get(
                f"studies/{uid}/series/{one}/instances/{instance}/frames/1",
                "multipart/related; type=application/octet-stream; transfer-syntax=*",
            )
            assert "transfer-syntax=1.2.840.10008.1.2.1" in frame.text.splitlines()[1]
            (dataset,) = (each for each in archive.ct if each.SOPInstanceUID == instance)
            assert dataset.PixelData in frame.content
        picture = get(f"studies/{uid}/series/{one}/instances/{instance}/rendered", "image/jpeg")
        assert picture.headers["content-type"] == "image/jpeg"
        assert get(f"studies/{uid}/thumbnail?accept=image/png", "text/html").content.startswith(b"\x89PNG")


def test_it_can_be_limited_to_studies(archive, served):
    one, other = archive.ct[0], archive.ct[6]
    address = make(served, archive.ada, studies=[str(one.StudyInstanceUID)], minutes=5)
    client = viewer(served, {}, address["url"])
    assert set(values(client.search_for_studies(), "0020000D")) == {str(one.StudyInstanceUID)}
    assert len(client.search_for_instances()) == 7
    assert len(list(client.retrieve_study(str(one.StudyInstanceUID)))) == 7
    uid = str(other.StudyInstanceUID)
    assert status(client.retrieve_study, uid) == 404
    assert status(client.search_for_series, uid) == 404
    assert client.search_for_studies(search_filters={"StudyInstanceUID": uid}) == []
    for below in ("", "/metadata", "/frames/1", "/rendered", "/thumbnail", "/bulkdata/7FE00010"):
        assert ask(f"{address['url']}/{path_of(other)}{below}").status_code == 404
        # Nor by naming a study of the address in the path.
        path = path_of(other).replace(uid, str(one.StudyInstanceUID))
        assert ask(f"{address['url']}/{path}{below}").status_code == 404


def test_only_studies_that_may_be_seen_can_be_named(archive, served):
    own, foreign = str(archive.ct[0].StudyInstanceUID), str(archive.mr[0].StudyInstanceUID)
    before = served.get("viewer-address", archive.clara).json()
    for studies in ([own, foreign], [foreign], ["1.2.3"]):
        answer = served.post("viewer-address", archive.clara, {"studies": studies})
        assert (answer.status_code, answer.json()["error"]) == (404, "not_found")
    assert served.get("viewer-address", archive.clara).json() == before


@pytest.mark.parametrize(
    "body",
    [
        {"minutes": 0},
        {"minutes": 121},
        {"minutes": "60"},
        {"minutes": True},
        {"studies": []},
        {"studies": "1.2.3"},
        {"studies": [1]},
        {"studies": ["1.2"] * 101},
        {"study": ["1.2"]},
    ],
)
def test_wrong_requests_are_400(archive, served, body):
    assert served.post("viewer-address", archive.ada, body).status_code == 400


def test_permissions_and_groups_are_those_of_the_moment_of_use(archive, served):
    address = make(served, archive.clara)
    count = lambda: ask(f"{address['url']}/instances").headers.get("x-total-count")  # noqa: E731
    assert count() == str(len(archive.ct))
    (token,) = (token for token, actor in served.tokens.actors.items() if actor.name == "clara")
    served.tokens.actors[token] = Actor("clara", frozenset({"others"}))
    assert count() == "0"
    assert ask(f"{address['url']}/{path_of(archive.ct[0])}").status_code == 404
    served.tokens.actors[token] = Actor("clara", frozenset({"ct-researchers"}))
    assert count() == str(len(archive.ct))
    del served.tokens.actors[token]
    gone = ask(f"{address['url']}/instances")
    assert (gone.status_code, gone.json()["error"]) == (404, "address_invalid")


def test_unknown_ended_and_revoked_are_the_same_404(archive, served):
    revoked, ended, alive = (make(served, archive.ada) for _ in range(3))
    assert served.client.delete(f"viewer-address/{revoked['id']}", headers=archive.clara).status_code == 404
    assert ask(f"{revoked['url']}/studies").status_code == 200
    assert served.client.delete(f"viewer-address/{revoked['id']}", headers=archive.ada).json()["id"] == revoked["id"]
    assert served.client.delete(f"viewer-address/{revoked['id']}", headers=archive.ada).status_code == 404
    with psycopg.connect(archive.base.gateway, autocommit=True) as connection:
        connection.execute(
            "UPDATE gateway.viewer_address SET expires = %s WHERE address_id = %s",
            (datetime.now(UTC) - timedelta(seconds=1), ended["id"]),
        )
    token = alive["url"].split("/")[-2]
    made_up = [token[:-1] + ("A" if token[-1] != "A" else "B"), "x", "%20", "a" * 43, "a" * 5000, token.swapcase()]
    urls = [revoked["url"], ended["url"], *(alive["url"].replace(token, other) for other in made_up)]
    answers = [ask(f"{url}/studies", headers=archive.ada) for url in urls]
    assert {answer.status_code for answer in answers} == {404}
    assert len({answer.text for answer in answers}) == 1
    assert ask(f"{alive['url']}/studies").status_code == 200
    listed = served.get("viewer-address", archive.ada).json()["addresses"]
    assert alive["id"] in [each["id"] for each in listed]
    assert not {revoked["id"], ended["id"]} & {each["id"] for each in listed}
    assert all("url" not in each for each in listed)


def test_it_opens_nothing_but_reading_dicomweb(archive, served):
    address = make(served, archive.ada)
    root = address["url"].removesuffix("/dicom-web")
    uid = archive.ct[0].SOPInstanceUID
    for path in ("me", "search", "exports", "viewer-address", f"instances/{uid}/file", "dicom-web"):
        assert ask(f"{root}/{path}").status_code == 401, path
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        assert httpx.request(method, f"{address['url']}/studies", content=b"x", trust_env=False).status_code == 405
    # And its secret is no Hub token.
    token = address["url"].split("/")[-2]
    assert served.get("me", {"Authorization": f"token {token}"}).status_code == 401


def test_only_the_hash_is_kept_and_no_log_holds_the_secret(archive, served, caplog):
    with caplog.at_level(logging.DEBUG):
        address = make(served, archive.clara, minutes=30)
        token = address["url"].split("/")[-2]
        used = ask(f"{address['url']}/{path_of(archive.ct[0])}", headers={"X-Access-Reason": "IRB 9"})
        wrong = ask(f"{address['url']}/nonsense/{token}")
    own_words = [r.getMessage() for r in caplog.records if not r.name.startswith(("httpx", "httpcore", "urllib3"))]
    assert [words for words in own_words if "/view/***/dicom-web" in words]
    assert not [words for words in own_words if f"view/{token}" in words]
    assert token not in served.settings.audit_log.read_text().replace(f"nonsense/{token}", "")
    with psycopg.connect(archive.base.gateway) as connection:
        rows = connection.execute("SELECT * FROM gateway.viewer_address").fetchall()
        assert token not in str(rows)
    (line,) = audit_lines(archive.base, used.headers["x-request-id"])
    kept = [line[key] for key in ("user", "groups", "via", "reason", "action", "decision")]
    assert kept == ["clara", ["ct-researchers"], address["id"], "IRB 9", "read_file", "allowed"]
    assert "/view/***/dicom-web/studies/" in line["path"]
    (line,) = audit_lines(archive.base, wrong.headers["x-request-id"])
    assert (line["user"], line["status"]) == (None, 401)
    assert len(token) == 43
    assert without_token(f"/services/pacs/api/v1/view/{token}/x/view/{token}") == (
        "/services/pacs/api/v1/view/***/x/view/***"
    )


def test_the_reason_given_when_it_was_made_stands_in_its_audit_lines(archive, served):
    headers = {**archive.ada, "X-Access-Reason": "IRB 2026-041"}
    address = make(served, headers, minutes=1)
    used = ask(f"{address['url']}/studies")
    (line,) = audit_lines(archive.base, used.headers["x-request-id"])
    assert (line["user"], line["reason"], line["via"]) == ("ada", "IRB 2026-041", address["id"])
    assert set(line) - {"previous", "hash"} == set(COLUMNS)
    assert datetime.fromisoformat(address["expires"]) - datetime.fromisoformat(address["created"]) <= timedelta(
        minutes=1, seconds=1
    )


def test_there_is_a_limit_for_each_user(archive, served):
    eve = served.tokens.add("eve", "ct-researchers")
    made = [make(served, eve) for _ in range(20)]
    refused = served.post("viewer-address", eve, {})
    assert (refused.status_code, refused.json()["error"]) == (429, "too_many_addresses")
    assert served.client.delete(f"viewer-address/{made[0]['id']}", headers=eve).status_code == 200
    make(served, eve)


def test_they_can_be_switched_off(archive, tmp_path):
    settings = replace(gateway_settings(archive.base, archive.orthanc.url, tmp_path), viewer_minutes=0)
    with serving(settings) as served:
        answer = served.post("viewer-address", served.tokens.add("ada"), {})
        assert (answer.status_code, answer.json()["error"]) == (403, "addresses_off")


def test_the_client_makes_lists_and_revokes_them(archive, served):
    root = served.url.removesuffix("api/v1/")
    served.tokens.add("dora", "ct-researchers")
    pacs = rpacs.connect(root, "token-of-dora", reason="IRB 7")
    study = str(archive.ct[0].StudyInstanceUID)
    tables = (study, [study, study], pacs.search("PatientID StrEquals P1", "study"), pacs.search("", "series").iloc[:1])
    for studies in tables:
        address = pacs.viewer_address(studies, minutes=3)
        assert len(address.studies) == 1
        assert ask(f"{address.url}/studies").headers["x-total-count"] == "1"
        assert "view/" not in repr(address)
    table = pacs.viewer_addresses()
    assert len(table) == len(tables)
    assert table.loc[address.id, "expires"] == pd.Timestamp(address.expires)
    address.revoke()
    assert ask(f"{address.url}/studies").status_code == 404
    pacs.revoke_viewer_address(table.index[-1])
    assert len(pacs.viewer_addresses()) == len(tables) - 2
    for call in (address.revoke, lambda: pacs.revoke_viewer_address("x")):
        with pytest.raises(rpacs.NotFound):
            call()
    with pytest.raises(rpacs.NotFound, match="1 of the 1 studies"):
        pacs.viewer_address(str(archive.mr[0].StudyInstanceUID))
    for nothing in ([], pacs.search("", "series", columns=["Modality"])):
        with pytest.raises(rpacs.RpacsError):
            pacs.viewer_address(nothing)
    pacs.close()
