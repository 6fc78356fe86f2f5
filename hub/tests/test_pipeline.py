"""The de-identifier seen from the hub, through the very views that it makes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import psycopg
import pytest
from psycopg import AsyncConnection

from deid_service.pipeline import schema
from hub.tests.pipeline_state import write_state
from hub.tests.support import Base
from rpacs_hub import pipeline
from rpacs_hub.audit import verify_audit
from rpacs_hub.cli import main
from rpacs_hub.errors import PipelineAbsent, RequestRefused


def look(base: Base, work: Callable[[AsyncConnection[Any]], Awaitable[Any]]) -> Any:
    """Read as the gateway's role."""

    async def run() -> Any:
        async with await AsyncConnection.connect(base.gateway, autocommit=True) as connection:
            return await work(connection)

    return asyncio.run(run())


@pytest.fixture(scope="module")
def made(new_base) -> Base:
    return write_state(new_base())


def test_a_portal_without_a_de_identifier_says_so(base, monkeypatch, capsys):
    for work in (pipeline.read_state, pipeline.rules_in_force, pipeline.entries, pipeline.held_by_reason):
        with pytest.raises(PipelineAbsent, match="nothing of a de-identifier"):
            look(base, work)
    monkeypatch.setenv("RPACS_DATABASE_URL", base.gateway)
    assert main(["pipeline", "status"]) == 1
    assert "where only the portal runs" in capsys.readouterr().err
    assert main(["quarantine", "list"]) == 1
    with psycopg.connect(base.admin_url, autocommit=True) as connection:
        connection.execute("DROP SCHEMA deid")
    with pytest.raises(PipelineAbsent):
        look(base, pipeline.read_state)


def test_a_later_version_of_the_views_is_not_misread(new_base):
    base = new_base()
    schema.prepare(base.urls["rpacs_deid"])
    with schema.connect(base.urls["rpacs_deid"]) as connection:
        connection.execute("CREATE OR REPLACE VIEW shown_version AS SELECT 2 AS version")
    with pytest.raises(PipelineAbsent, match="version 2; this hub reads 1"):
        look(base, pipeline.read_state)


def test_the_state_in_figures(made):
    state = look(made, pipeline.read_state)
    assert state.queued == 3
    assert 90 <= state.oldest_seconds < 600
    assert state.ever == {"arrived": 100, "done": 90, "quarantined": 4}
    # The minute may turn between the writing and the reading; the windows above it do not care.
    assert state.minute.get("done", 0) in (0, 7)
    assert (state.hour["done"], state.day["done"], state.hour["arrived"]) == (7, 20, 9)
    assert len(state.hours) == 24
    assert sum(hour.counts.get("done", 0) for hour in state.hours) == 20
    assert [(worker.pid, worker.alive, worker.feeding) for worker in state.workers] == [
        (6, False, False),
        (7, True, True),
    ]
    assert state.troubles == ["research Orthanc is away"]
    assert (state.alive, state.well) == (1, False)
    assert state.quarantined == {"burned_in_text_possible": 2, "malformed": 1, "not_known_yet": 1}
    assert (state.rules.source, state.rules.digest, state.rules.error) == ("/rules.yaml", "abc", "line 3: no such key")
    assert state.rules.since is not None
    json.dumps(state.to_json(), default=str)


def test_the_quarantine_is_filtered_and_paged(made):
    async def work(connection):
        return (
            await pipeline.entries(connection),
            await pipeline.entries(connection, reason="burned_in_text_possible"),
            await pipeline.entries(connection, modality="CT"),
            await pipeline.entries(connection, modality=""),
            await pipeline.entries(connection, limit=3),
            await pipeline.entries(connection, before=2),
            await pipeline.entry(connection, 3),
            await pipeline.entry(connection, 99),
        )

    everything, burned, ct, unknown, first, rest, third, none = look(made, work)
    assert [[e.number for e in found] for found in (everything, burned, ct, unknown, first, rest)] == [
        [4, 3, 2, 1],
        [2, 1],
        [4, 1],
        [3],
        [4, 3, 2],
        [1],
    ]
    assert (third.reason, third.retrying, third.kind) == ("malformed", True, "unknown")
    assert third.meaning.startswith("the structure is broken")
    assert third.remedy.startswith("Send the instance again")
    assert (everything[0].meaning, everything[0].kind) == ("", "CT Image Storage")
    assert none is None


def test_reasons_are_counted_with_what_to_do(made):
    held = look(made, pipeline.held_by_reason)
    assert [(one.reason, one.instances, one.newest) for one in held] == [
        ("burned_in_text_possible", 2, 2),
        ("malformed", 1, 3),
        ("not_known_yet", 1, 4),
    ]
    assert "RemoveBurnedInAnnotations" in held[0].remedy


def test_a_bulk_request_takes_what_was_shown_and_not_what_came_since(made):
    async def work(connection):
        return (
            await pipeline.numbers(connection, "burned_in_text_possible", 1),
            await pipeline.numbers(connection, "burned_in_text_possible", 2),
            await pipeline.numbers(connection, "malformed", 99),  # it is being retried
        )

    assert look(made, work) == ([1], [1, 2], [])


def test_a_request_is_kept_with_who_and_why(made):
    async def work(connection):
        asked = await pipeline.ask(connection, "retry", [1, 2, 77], by="ann", why="other rules")
        return asked, await pipeline.requests(connection)

    asked, listed = look(made, work)
    assert (asked.action, asked.asked_by, asked.why, asked.entries) == ("retry", "ann", "other rules", 2)
    assert (asked.state, asked.instances, asked.finished) == ("waiting", None, None)
    assert asked in listed
    for wanted, why, words in (([77], "x", "Nothing of this"), ([1], " ", "No reason"), ([1], "x" * 501, "too long")):
        with pytest.raises(RequestRefused, match=words):
            look(made, lambda connection, w=wanted, y=why: pipeline.ask(connection, "discard", w, by="ann", why=y))


def test_the_role_reads_no_table_of_the_clinical_side(made):
    with psycopg.connect(made.gateway, autocommit=True) as connection:
        for table in ("journal", "quarantine", "inbox", "request", "procrastinate_jobs"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(f"SELECT * FROM deid.{table}")


def test_the_commands_show_and_ask_and_leave_audit_lines(made, monkeypatch, capsys):
    monkeypatch.setenv("RPACS_DATABASE_URL", made.gateway)
    monkeypatch.setattr("rpacs_hub.pipeline.cli._PATIENCE", 0.1)
    monkeypatch.setattr("getpass.getuser", lambda: "ann")
    assert main(["pipeline", "status"]) == 0
    out = capsys.readouterr().out
    assert "3, the oldest for" in out
    assert "abc (/rules.yaml)" in out
    assert "line 3: no such key" in out
    assert main(["pipeline", "status", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ever"]["done"] == 90
    assert main(["quarantine", "list", "--reason", "malformed"]) == 0
    assert capsys.readouterr().out.split()[0] == "3"
    assert main(["quarantine", "list", "--reason", "sound"]) == 0
    assert capsys.readouterr().out == "Nothing of this kind is in quarantine.\n"
    assert main(["quarantine", "list", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 4
    assert main(["quarantine", "show", "1"]) == 0
    assert "CT Image Storage" in capsys.readouterr().out
    assert main(["quarantine", "show", "99"]) == 1
    assert "not in quarantine" in capsys.readouterr().err

    assert main(["quarantine", "discard", "--reason", "burned_in_text_possible", "--why", "phantoms"]) == 2
    assert "delete 2 originals" in capsys.readouterr().out
    assert main(["quarantine", "discard", "1", "2", "--why", "phantoms", "--yes"]) == 1
    assert "waits: no process of the de-identifier has taken it" in capsys.readouterr().out
    assert main(["quarantine", "retry", "99", "--why", "x"]) == 1
    assert "Nothing of this is in quarantine" in capsys.readouterr().err
    with psycopg.connect(made.gateway, autocommit=True) as connection:
        lines = [
            json.loads(line) for (line,) in connection.execute("SELECT line FROM audit.event ORDER BY seq").fetchall()
        ]
        assert verify_audit(connection).whole
    assert [(one["user"], one["action"], one["identifiers"], one["reason"], one["decision"]) for one in lines] == [
        ("ann (terminal)", "admin_discard_quarantine", ["1", "2"], "phantoms", "allowed"),
        ("ann (terminal)", "admin_retry_quarantine", ["99"], "x", "error"),
    ]


def test_without_an_audit_line_nothing_is_asked_for(made, monkeypatch, capsys):
    monkeypatch.setenv("RPACS_DATABASE_URL", made.gateway)
    with psycopg.connect(made.admin_url, autocommit=True) as connection:
        before = connection.execute("SELECT count(*) FROM deid.request").fetchone()
        connection.execute("REVOKE ALL ON audit.event FROM rpacs_gateway")
        try:
            assert main(["quarantine", "discard", "1", "--why", "phantom", "--yes"]) == 1
        finally:
            connection.execute("GRANT SELECT, INSERT ON audit.event TO rpacs_gateway")
        assert connection.execute("SELECT count(*) FROM deid.request").fetchone() == before
    assert "access log" in capsys.readouterr().err
