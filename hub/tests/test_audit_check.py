"""Checking the audit beside the gateway: progress, and a result that is kept."""

from __future__ import annotations

import asyncio

import psycopg
import pytest

from hub.tests.support import Base
from rpacs_hub.audit import AuditEvent, Verifier
from rpacs_hub.audit.search import AuditFilter, csv_head, csv_row
from rpacs_hub.audit.terminal import append
from rpacs_hub.audit.verification import Check, Running, last_check
from rpacs_hub.cli import main


def fill(base: Base, number: int, **more) -> None:
    with psycopg.connect(base.gateway, autocommit=True) as connection:
        for n in range(number):
            append(connection, AuditEvent(f"r{n}", user="ada", action="search", **more))


def last(base: Base) -> Check | None:
    async def read() -> Check | None:
        async with await psycopg.AsyncConnection.connect(base.gateway, autocommit=True) as connection:
            return await last_check(connection)

    return asyncio.run(read())


def check(base: Base, log, *, times: int = 1) -> list[Running]:
    """Run checks, one after another, and return what was seen of them on the way."""
    seen = []

    async def run() -> None:
        verifier = Verifier(base.gateway, log)
        for _ in range(times):
            assert verifier.start("ann")
            assert not verifier.start("somebody else")
            while not await verifier.wait(0.01):
                seen.append(verifier.running)
        await verifier.close()

    asyncio.run(run())
    return seen


def test_a_whole_audit_is_found_whole_and_the_result_is_kept(base, tmp_path):
    fill(base, 3)
    assert last(base) is None
    seen = check(base, tmp_path / "audit.jsonl")
    assert {one.asked_by for one in seen} == {"ann"}
    found = last(base)
    assert (found.whole, found.lines, found.seq, found.places, found.asked_by) == (True, 3, 3, "table", "ann")
    assert found.first_findings == []
    assert found.started <= found.finished
    with psycopg.connect(base.gateway) as connection:
        row = connection.execute("SELECT line FROM audit.event WHERE seq = 3").fetchone()
    assert found.hash in row[0]


def test_what_was_changed_is_told_and_by_the_command_as_well(base, tmp_path, monkeypatch, capsys):
    fill(base, 3)
    check(base, tmp_path / "audit.jsonl")
    with psycopg.connect(base.admin_url, autocommit=True) as connection:
        connection.execute("UPDATE audit.event SET line = replace(line, 'ada', 'eve') WHERE seq = 2")
    check(base, tmp_path / "audit.jsonl")
    found = last(base)
    assert (found.whole, found.findings) == (False, 1)
    assert found.first_findings == ["table: line 2: was changed: it does not fit its own digest"]
    monkeypatch.setenv("RPACS_DATABASE_URL", base.gateway)
    monkeypatch.delenv("RPACS_AUDIT_LOG", raising=False)
    monkeypatch.setattr("getpass.getuser", lambda: "ann")
    assert main(["audit", "verify"]) == 1
    assert "line 2: was changed" in capsys.readouterr().out
    assert (last(base).asked_by, last(base).findings) == ("ann (terminal)", 1)


def test_a_file_that_cannot_be_read_is_an_error_and_no_clean_result(base, tmp_path):
    fill(base, 1)
    (tmp_path / "audit.jsonl").mkdir()
    check(base, tmp_path / "audit.jsonl")
    found = last(base)
    assert not found.whole
    assert "cannot be read" in found.error


def test_a_check_that_cannot_reach_the_database_ends_and_keeps_nothing(base, tmp_path, caplog):
    async def run() -> None:
        verifier = Verifier("postgresql://rpacs_gateway:hush@127.0.0.1:1/none", tmp_path / "log")
        verifier.start("ann")
        assert await verifier.wait(30)

    with caplog.at_level("INFO"):
        asyncio.run(run())
    assert "it could not be read" in caplog.text
    assert last(base) is None


def test_a_check_is_given_up_when_the_gateway_stops(base, tmp_path):
    async def run() -> None:
        verifier = Verifier(base.gateway, tmp_path / "log")
        verifier.start("ann")
        await verifier.close()
        assert verifier.running is None

    asyncio.run(run())


def test_an_identifier_is_met_whole_and_counted(base):
    fill(base, 2, identifiers=["1.2.3", "1.2.4"])
    fill(base, 1, identifiers=["1.2.34"])
    for wanted, number in (("1.2.3", 2), ("1.2.34", 1), ("1.2", 0)):
        statement, values = AuditFilter(identifier=wanted, limit=1).count_statement()
        with psycopg.connect(base.gateway) as connection:
            assert connection.execute(statement, values).fetchone()[0] == number
            rows = connection.execute(*AuditFilter(identifier=wanted).statement()).fetchall()
        assert len(rows) == number


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_no_cell_is_a_formula(start):
    row = csv_row({"user": f"{start}HYPERLINK(1)", "seq": -1, "groups": [f"{start}x"]})
    assert f"'{start}HYPERLINK(1)" in row
    assert f"'{start}x" in row
    assert row.startswith("-1,")
    assert csv_head().startswith("seq,time,user,")
