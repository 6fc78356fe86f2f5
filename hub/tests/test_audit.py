"""One line for every request, in the table and in the file, before anything leaves."""

from __future__ import annotations

import json
import re
from pathlib import Path

import psycopg
import pytest

from hub.tests.support import gateway_settings, serving, until
from rpacs_hub.audit import verify_audit
from rpacs_hub.database import role_url
from rpacs_hub.gateway.admin import ROUTES as PAGES
from rpacs_hub.gateway.api import ROUTES


def last_line(archive) -> dict:
    return json.loads(archive.served.settings.audit_log.read_text().splitlines()[-1])


def rows(archive, request_id: str) -> list[dict]:
    with psycopg.connect(archive.base.gateway) as connection:
        found = connection.execute("SELECT line FROM audit.event WHERE request_id = %s", (request_id,)).fetchall()
    return [json.loads(line) for (line,) in found]


def test_a_read_leaves_one_line_in_both_places(archive):
    uid = str(archive.ct[0].SOPInstanceUID)
    headers = {**archive.clara, "X-Access-Reason": "IRB 2026-041, Universität Zürich".encode()}
    answer = archive.served.get(f"instances/{uid}/file", headers)
    line = last_line(archive)
    assert line.pop("time").endswith("+00:00")
    assert 0 < line.pop("milliseconds") < 10_000
    chained = {name: line.pop(name) for name in ("seq", "previous", "hash")}
    assert chained["seq"] > 0
    assert line == {
        "request_id": answer.headers["x-request-id"],
        "user": "clara",
        "groups": ["ct-researchers"],
        "remote": "127.0.0.1",
        "method": "GET",
        "path": f"/services/pacs/api/v1/instances/{uid}/file",
        "action": "read_file",
        "reason": "IRB 2026-041, Universität Zürich",
        "query": None,
        "level": None,
        "identifiers": [uid],
        "count": 1,
        "bytes": len(archive.files[uid]),
        "decision": "allowed",
        "via": None,
        "subject": None,
        "why": ['CT only, through group ct-researchers: shows instances where Modality is "CT", as this one does.'],
        "profiles": ["CT only"],
        "status": 200,
    }
    (row,) = rows(archive, line["request_id"])
    assert {name: row[name] for name in line} == line


def test_a_search_keeps_its_query(archive):
    body = {"query": "Modality StrEquals CT", "level": "series"}
    answer = archive.served.post("search", archive.clara, body)
    line = last_line(archive)
    assert (line["action"], line["query"], line["level"], line["count"]) == ("search", body["query"], "series", 3)
    assert line["bytes"] == len(answer.content)


def test_refusals_are_kept_too(archive):
    mr = str(archive.mr[0].SOPInstanceUID)
    for path, user, expected in (
        (f"instances/{mr}/file", archive.clara, ("clara", "denied", 404, "read_file")),
        (f"instances/{mr}/tags", archive.nora, ("nora", "denied", 404, "read_tags")),
        ("search", archive.nora, ("nora", "denied", 200, "search")),
        ("search", None, (None, "denied", 401, "search")),
        ("search?query=Modality", archive.clara, ("clara", "error", 400, "search")),
        ("nowhere", archive.clara, ("clara", "error", 404, "unknown")),
    ):
        archive.served.get(path, user)
        line = last_line(archive)
        assert (line["user"], line["decision"], line["status"], line["action"]) == expected
        assert line["why"]


def test_no_token_and_no_key_is_ever_kept(archive):
    token = archive.clara["Authorization"].split()[1]
    archive.served.get(f"search?token={token}")
    keys = {"access_key": "AKIAEXAMPLEKEY", "secret_key": "veryverysecret"}
    body = {"query": "Modality StrEquals CT", "destination": "s3://bucket-x/p", "credentials": keys, "colour": 1}
    archive.served.post("exports", archive.clara, body)
    kept = archive.served.settings.audit_log.read_text()
    with psycopg.connect(archive.base.gateway) as connection:
        kept += str(connection.execute("SELECT * FROM audit.event").fetchall())
    for secret in (token, *keys.values()):
        assert secret not in kept


def test_the_file_is_for_its_owner_only_and_follows_rotation(archive):
    path: Path = archive.served.settings.audit_log
    assert path.stat().st_mode & 0o777 == 0o600
    moved = path.with_suffix(".1")
    path.rename(moved)
    archive.served.get("me", archive.clara)
    assert len(path.read_text().splitlines()) == 1


@pytest.mark.parametrize("address", ["me", "search", "instances/{uid}/file", "instances/{uid}/frames/1", "exports"])
def test_without_an_audit_line_nothing_leaves(archive, tmp_path, address):
    uid = str(archive.ct[0].SOPInstanceUID)
    # A folder where the file should be: it cannot be opened, whoever runs the test.
    blocked = tmp_path / "audit.jsonl"
    blocked.mkdir()
    settings = gateway_settings(archive.base, archive.served.settings.research_url, tmp_path)
    with serving(settings) as served:
        until(lambda: served.gateway.services.exporter, "the exporter")
        answer = served.get(address.format(uid=uid), served.tokens.add("ada"))
        assert answer.status_code == 503
        assert answer.json()["error"] == "audit_unavailable"
        assert set(answer.json()) == {"error", "message", "hint"}


def test_no_page_of_the_administration_opens_without_its_line_in_the_file(archive, tmp_path):
    (tmp_path / "audit.jsonl").mkdir()
    settings = gateway_settings(archive.base, archive.served.settings.research_url, tmp_path)
    with serving(settings) as served:
        until(lambda: served.gateway.services.exporter, "the exporter")
        boss = served.browser("boss")
        asked = 0
        for route in PAGES:
            if route.method == "GET" and "{" not in route.path:
                answer = boss.get(route.path)
                assert answer.status_code == 503, route.path
                assert "access log (file) cannot be written" in answer.text
                asked += 1
        boss.close()
    assert asked >= 8


def test_without_the_database_nothing_leaves_and_health_says_so(archive, tmp_path):
    settings = gateway_settings(archive.base, archive.served.settings.research_url, tmp_path)
    nowhere = role_url("postgresql://x@127.0.0.1:1/", "rpacs_gateway", "wrong", "none")
    with serving(gateway_settings(archive.base, settings.research_url, tmp_path, database_url=nowhere)) as served:
        served.gateway.services.pool.timeout = 1
        answer = served.get("search", served.tokens.add("ada"))
        assert answer.status_code == 503
        assert answer.json()["error"] in ("audit_unavailable", "database_unavailable")
        assert settings.audit_log.read_text() == ""
        health = served.get("health")
        assert (health.status_code, health.json()["status"], health.json()["database"]) == (503, "down", "down")


def test_the_gateways_role_cannot_change_what_was_written(archive):
    archive.served.get("me", archive.clara)
    with psycopg.connect(archive.base.gateway, autocommit=True) as connection:
        for statement in (
            "UPDATE audit.event SET line = line",
            "DELETE FROM audit.event",
            "TRUNCATE audit.event",
            "DROP TABLE audit.event",
            "ALTER TABLE audit.event DROP COLUMN line",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)


def test_every_answer_has_its_line_and_the_whole_audit_verifies(archive):
    log = archive.served.settings.audit_log
    uid = str(archive.ct[0].SOPInstanceUID)
    numbers = set()
    for user in (archive.ada, archive.clara, archive.nora):
        for address in ("me", "search", "count", f"instances/{uid}/tags", f"instances/{uid}/file", "exports"):
            numbers.add(archive.served.get(address, user).headers["x-request-id"])
    with psycopg.connect(archive.base.gateway, autocommit=True) as connection:
        kept = connection.execute("SELECT request_id FROM audit.event WHERE request_id = ANY(%s)", (list(numbers),))
        assert sorted(kept.fetchall()) == sorted((number,) for number in numbers)
        assert len(numbers) == 18
        found = verify_audit(connection, [log, *log.parent.glob("audit.1")])
    assert [str(finding) for finding in found.findings] == []
    assert found.lines == found.head.seq >= 18


def test_a_flood_of_strangers_is_counted_rather_than_kept(archive, tmp_path):
    settings = gateway_settings(archive.base, archive.served.settings.research_url, tmp_path)
    with serving(settings) as served:
        for _ in range(60):
            assert served.get("search").status_code == 401
        assert len(settings.audit_log.read_text().splitlines()) == 20
    *_, last = map(json.loads, settings.audit_log.read_text().splitlines())
    assert (last["count"], last["status"], last["decision"]) == (40, 401, "denied")
    assert last["why"] == ["40 more requests without a valid token within a minute."]


def test_as_many_lines_as_requests(archive, tmp_path, new_base):
    """Counted both ways: no request without its line, and no line without its request."""
    uid = str(archive.ct[0].SOPInstanceUID)
    base = new_base()
    settings = gateway_settings(base, archive.served.settings.research_url, tmp_path)
    with serving(settings) as served:
        until(lambda: served.gateway.services.exporter, "the exporter")
        ada, nora = served.tokens.add("ada"), served.tokens.add("nora")
        answers = []
        for route in ROUTES:
            if route.action is None or route.streams:
                continue
            path = re.sub(r"\{\w+\}", uid, route.path)
            for user in (ada, nora):
                answers += [served.client.request(route.method, path, headers=user, json={}) for _ in range(2)]
        boss, other = served.browser("boss"), served.browser("eric", admin=False)
        for route in PAGES:
            path = re.sub(r"\{\w+\}", "1", route.path)
            for browser in (boss, other):
                answers.append(browser.get(path) if route.method == "GET" else browser.post(path))
        boss.close()
        other.close()
        answers += [served.get("nowhere", ada), served.get("search", None), served.get("health")]
        with psycopg.connect(base.gateway) as connection:
            lines = [json.loads(line) for (line,) in connection.execute("SELECT line FROM audit.event ORDER BY seq")]
    assert len(answers) > 100
    # What a page is about to do has a line before it is done.
    ended = [line for line in lines if line["status"]]
    assert [line["request_id"] for line in ended] == [answer.headers["X-Request-Id"] for answer in answers[:-1]]
    assert [line["status"] for line in ended] == [answer.status_code for answer in answers[:-1]]
    assert {line["request_id"] for line in lines} == {line["request_id"] for line in ended}
    file = [json.loads(line) for line in settings.audit_log.read_text().splitlines()]
    assert file == lines
    assert served.answered
