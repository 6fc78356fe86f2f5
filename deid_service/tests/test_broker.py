"""The honest broker's desk: exports, lookups, their record, and who may not."""

from __future__ import annotations

import asyncio
import csv
import io
import os
import pwd
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from pydicom import Dataset

from deid_service import Cleaned, Deidentifier, PseudonymKey, default_rules_path, load_rules
from deid_service.broker import KINDS, Broker
from deid_service.broker.lookups import system_user
from deid_service.cli import main
from deid_service.journal import Journal
from deid_service.pipeline.errors import DatabaseUnavailableError
from deid_service.pipeline.schema import conninfo, prepare
from rpacs_hub.database import OWNED_SCHEMAS, create


@pytest.fixture(scope="module")
def role_urls(postgres) -> Iterator[dict[str, str]]:
    """The database with its roles as it is deployed; each role's address, without its password."""
    name = f"broker_{secrets.token_hex(6)}"
    # Roles belong to the whole cluster: whoever else uses them keeps his password.
    with psycopg.connect(postgres.admin_url, autocommit=True) as connection:
        before = connection.execute(
            "SELECT rolname, rolpassword FROM pg_authid WHERE rolname = ANY(%s)", (list(OWNED_SCHEMAS),)
        ).fetchall()
        create(postgres.admin_url, {role: secrets.token_urlsafe(9) for role in OWNED_SCHEMAS}, name)
        for role, verifier in before:
            connection.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(role), sql.Literal(verifier)))
    admin = postgres.url("postgres", postgres.password, name)
    return {role: f"{admin}?options=-c%20role%3D{role}" for role in OWNED_SCHEMAS}


@pytest.fixture
def url(role_urls: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> str:
    """The de-identifier's address; its journal is empty, and so is the record of lookups."""
    url = role_urls["rpacs_deid"]
    with psycopg.connect(url) as connection:
        connection.execute("SET client_min_messages = warning")
        connection.execute("DROP SCHEMA IF EXISTS deid CASCADE")
        connection.execute("SET ROLE NONE")
        connection.execute("CREATE SCHEMA deid AUTHORIZATION rpacs_deid")
    prepare(url)
    monkeypatch.setenv("RPACS_DATABASE_URL", url)
    return url


@pytest.fixture
def filled(url: str, instance: Dataset, written: Callable[..., bytes], key: PseudonymKey) -> Cleaned:
    """An instance whose pseudonyms are in the journal."""
    outcome = Deidentifier(load_rules(default_rules_path()), key).clean(written(instance))
    assert isinstance(outcome, Cleaned)

    async def fill() -> None:
        async with await psycopg.AsyncConnection.connect(conninfo(url)) as connection:
            await Journal().write(connection, outcome.mappings)

    asyncio.run(fill())
    return outcome


def replacement(outcome: Cleaned, kind: str, original: str) -> str:
    return next(m.replacement for m in outcome.mappings if (m.kind, m.original) == (kind, original))


def read_csv(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_export_writes_what_became_of_each_uid(
    filled: Cleaned, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["mapping", "export", "--kind", "uid", "--out", str(tmp_path / "uids.csv")]) == 0
    assert (tmp_path / "uids.csv").stat().st_mode & 0o777 == 0o600
    lines = read_csv((tmp_path / "uids.csv").read_text())
    expected = {(m.original, m.replacement) for m in filled.mappings if m.kind == "uid"}
    assert {(line["original"], line["replacement"]) for line in lines} == expected
    assert ("1.2.276.0.7230010.3.1.4.1001", filled.sop_instance_uid) in expected
    said = capsys.readouterr()
    assert "1.2.276" not in said.out + said.err


def test_export_of_patients_names_the_issuer(filled: Cleaned, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mapping", "export", "--kind", "patient_id"]) == 0
    [line] = read_csv(capsys.readouterr().out)
    assert line["original"] == "PID-4711"
    assert line["issuer"] == "KLINIKUM"
    assert line["replacement"] == replacement(filled, "patient_id", "PID-4711")


def test_lookup_goes_both_ways_and_knows_kinds(
    filled: Cleaned, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    new = replacement(filled, "patient_id", "PID-4711")
    for value in ("PID-4711", new):
        assert main(["mapping", "lookup", "--kind", "patient_id", "--reason", "finding", value]) == 0
        [line] = read_csv(capsys.readouterr().out)
        assert (line["original"], line["replacement"]) == ("PID-4711", new)
    monkeypatch.setattr("sys.stdin", io.StringIO("PID-4711\n"))
    assert main(["mapping", "lookup", "--kind", "patient_id", "--reason", "finding", "-"]) == 0
    assert new in capsys.readouterr().out
    assert main(["mapping", "lookup", "--kind", "uid", "--reason", "finding", "PID-4711"]) == 1
    assert "4711" not in capsys.readouterr().err
    assert main(["mapping", "lookup", "--kind", "uid", "--reason", "  ", "PID-4711"]) == 2


def test_each_look_is_recorded_without_values(filled: Cleaned, url: str, capsys: pytest.CaptureFixture[str]) -> None:
    main(["mapping", "lookup", "--kind", "patient_id", "--reason", "incidental finding", "PID-4711"])
    main(["mapping", "lookup", "--kind", "patient_id", "--reason", "typing error", "PID-4712"])
    main(["mapping", "export", "--kind", "uid", "--reason", "data set 7"])
    capsys.readouterr()
    with Broker(url) as broker:
        lines = broker.lookups()
    uids = sum(mapping.kind == "uid" for mapping in filled.mappings)
    assert [(line["action"], line["kind"], line["reason"], line["found"]) for line in lines] == [
        ("lookup", "patient_id", "incidental finding", 1),
        ("lookup", "patient_id", "typing error", 0),
        ("export", "uid", "data set 7", uids),
    ]
    assert {line["who"] for line in lines} == {system_user()}
    assert pwd.getpwuid(os.getuid()).pw_name in system_user()
    assert main(["mapping", "record"]) == 0
    said = capsys.readouterr().out
    assert "incidental finding" in said
    for row in read_csv(said):
        assert list(row) == ["at", "who", "host", "action", "kind", "reason", "found"]
        # The time and the machine's name may hold any three digits.
        assert "471" not in str([row[column] for column in ("who", "action", "kind", "reason", "found")])


def test_an_export_that_is_broken_off_was_recorded(filled: Cleaned, url: str) -> None:
    with Broker(url) as broker:
        next(broker.export("uid", "broken off"))
    with Broker(url) as broker:
        assert [line["reason"] for line in broker.lookups()] == ["broken off"]


@pytest.mark.parametrize("statement", ["UPDATE lookup SET reason = 'x'", "DELETE FROM lookup", "TRUNCATE lookup"])
def test_the_record_is_append_only(filled: Cleaned, url: str, statement: str) -> None:
    with Broker(url) as broker:
        broker.look_up("uid", "1.2.3", "why")
    with psycopg.connect(conninfo(url)) as connection, pytest.raises(psycopg.errors.RaiseException):
        connection.execute(statement.encode())
    with Broker(url) as broker:
        assert len(broker.lookups()) == 1


@pytest.mark.parametrize("role", sorted(set(OWNED_SCHEMAS) - {"rpacs_deid"}))
def test_no_other_role_reads_the_journal_or_its_record(filled: Cleaned, role_urls: dict[str, str], role: str) -> None:
    with Broker(role_urls["rpacs_deid"]):
        pass
    for table in ("journal", "lookup"):
        with psycopg.connect(role_urls[role]) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(f"SELECT * FROM deid.{table}".encode())
    with pytest.raises((psycopg.Error, DatabaseUnavailableError)):
        Broker(role_urls[role])


def test_lookups_use_an_index(filled: Cleaned, url: str) -> None:
    with Broker(url), psycopg.connect(conninfo(url)) as connection:
        connection.execute("SET enable_seqscan = off")
        for column in ("original", "replacement"):
            plan = connection.execute(f"EXPLAIN SELECT * FROM journal WHERE {column} = 'x'".encode()).fetchall()
            assert f"journal_{column}" in str(plan)


def test_a_failed_export_leaves_no_file(filled: Cleaned, tmp_path: Path) -> None:
    assert main(["mapping", "export", "--kind", "uid", "--out", str(tmp_path / "nowhere" / "uids.csv")]) == 2
    assert list(tmp_path.iterdir()) == []


def test_without_the_database_the_command_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RPACS_DATABASE_URL", "postgresql://nobody:hidden@127.0.0.1:1/rpacs")
    assert main(["mapping", "export", "--kind", KINDS[0]]) == 2
    said = capsys.readouterr().err
    assert "does not answer" in said
    assert "hidden" not in said


def test_a_lost_journal_is_made_anew_from_originals_rules_and_key(
    filled: Cleaned,
    url: str,
    tmp_path: Path,
    instance: Dataset,
    written: Callable[..., bytes],
    key: PseudonymKey,
    capsys: pytest.CaptureFixture[str],
) -> None:
    originals = tmp_path / "originals"
    originals.mkdir()
    (originals / "1.dcm").write_bytes(written(instance))
    (originals / "2.dcm").write_bytes(written(instance))
    key_file = tmp_path / "key"
    key_file.touch(0o600)
    key_file.write_bytes(bytes(range(32)))
    query = b"SELECT kind, scope, original, replacement FROM journal ORDER BY digest"
    with psycopg.connect(conninfo(url)) as connection:
        before = connection.execute(query).fetchall()
        connection.execute("TRUNCATE journal")
    command = ["mapping", "regenerate", str(originals), "--rules", str(default_rules_path()), "--key-file"]
    command.append(str(key_file))
    assert main([*command, "--journal"]) == 0
    with psycopg.connect(conninfo(url)) as connection:
        assert connection.execute(query).fetchall() == before != []
    assert main([*command, "--out", str(tmp_path / "all.csv")]) == 0
    assert (tmp_path / "all.csv").stat().st_mode & 0o777 == 0o600
    lines = read_csv((tmp_path / "all.csv").read_text())
    assert sorted(tuple(line.values()) for line in lines) == sorted(before)
    (originals / "note.txt").write_text("Mustermann")
    assert main([*command, "--out", str(tmp_path / "all.csv")]) == 1
    said = capsys.readouterr()
    assert "3 originals: 2 gave their pseudonyms" in said.err
    assert "Mustermann" not in said.err + said.out
