"""Parts of the service on their own."""

from __future__ import annotations

import asyncio
import logging
import mmap
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import procrastinate.schema
import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deid_service import PseudonymKey, Refused
from deid_service._buffers import LARGE, open_file, pieces, same_bytes
from deid_service._orthanc import md5_of
from deid_service.journal import Journal
from deid_service.pipeline import schema
from deid_service.pipeline.errors import (
    DatabaseUnavailableError,
    DatabaseVersionError,
    OrthancRefusalError,
    OrthancUnavailableError,
    SettingsError,
)
from deid_service.pipeline.outcomes import QuarantineReason
from deid_service.pipeline.rules_file import RulesFile, RulesInForce
from deid_service.pipeline.send import CleanCopy, send_clean_copies
from deid_service.pipeline.troubles import Gate, Troubles
from deid_service.pipeline.worker import _OCR_ATTEMPTS, Worker, _clean
from deid_service.pixels.ocr import engine
from deid_service.rules import default_rules_path
from deid_service.settings import Settings
from tests.bench.memory import write_multi_frame
from tests.fixtures.processes import wait_for

GOOD = {
    "RPACS_DATABASE_URL": "postgresql://rpacs_deid:hush@127.0.0.1/rpacs",
    "RPACS_INGEST_URL": "http://svc:hush@127.0.0.1:8042",
    "RPACS_RESEARCH_URL": "https://svc:hush@[::1]/research",
    "RPACS_RULES": "rules.yaml",
    "RPACS_PSEUDONYM_KEY_FILE": "key",
}


# Settings


def test_settings_are_read_and_do_not_show_passwords():
    settings = Settings.from_environment(GOOD | {"RPACS_INBOX": "in", "RPACS_INBOX_REFUSED": "out"})
    assert settings.inbox == Path("in")
    assert settings.ingest_url == GOOD["RPACS_INGEST_URL"]
    assert "hush" not in repr(settings)


def test_every_wrong_variable_is_named_at_once():
    with pytest.raises(SettingsError) as caught:
        Settings.from_environment(
            {
                "RPACS_DATABASE_URL": "mysql://hush",
                "RPACS_INGEST_URL": "http://u:hush@host:port",
                "RPACS_RULES": " ",
                "RPACS_INBOX": "/in",
                "RPACS_INBOX_REFUSED": "/in/refused",
            }
        )
    text = str(caught.value)
    for name in (*GOOD, "RPACS_INBOX_REFUSED"):
        assert name in text
    assert "hush" not in text


# Orthanc


def test_messages_of_a_dead_server_name_it_without_credentials(client):
    dead = client("http://somebody:secret@127.0.0.1:1", "ingest Orthanc")
    with pytest.raises(OrthancUnavailableError) as caught:
        dead.count()
    assert str(caught.value) == (
        "ingest Orthanc (http://127.0.0.1:1) does not answer (connection refused): is it running?"
    )
    assert "secret" not in repr(dead)


def test_wrong_password_is_told_from_a_dead_server(client, deployment):
    wrong = client(deployment.ingest.url.replace(deployment.ingest.password, "wrong"))
    with pytest.raises(OrthancUnavailableError, match="refuses our user or password"):
        wrong.count()


def test_client_knows_instances_by_id_and_uid(client, deployment, make_instance):
    orthanc = client(deployment.ingest.url)
    data = make_instance(study="1.2.3", SOPInstanceUID="1.2.3.4")
    stored = orthanc.store([data])
    assert not stored.already
    assert orthanc.store([data]).already
    assert orthanc.file(stored.orthanc_id) == data
    assert orthanc.md5(stored.orthanc_id) == md5_of([data])
    assert orthanc.find_instances(["1.2.3.4", "1.2.3.5"]) == {"1.2.3.4": [stored.orthanc_id]}
    assert orthanc.find_instances([]) == {}
    assert orthanc.instances() == [stored.orthanc_id]
    assert stored.orthanc_id in orthanc.changes(0).new_instances
    orthanc.delete_instances([stored.orthanc_id, "00000000-00000000-00000000-00000000-00000000"])
    assert orthanc.count() == 0
    assert orthanc.file(stored.orthanc_id) is None
    assert orthanc.md5(stored.orthanc_id) is None
    with pytest.raises(OrthancRefusalError) as caught:
        orthanc.store([b"no DICOM"])
    assert caught.value.status == 400


def test_large_file_travels_in_pieces_and_comes_as_a_mapped_one(client, deployment, tmp_path):
    orthanc = client(deployment.ingest.url)
    write_multi_frame(tmp_path / "large.dcm", LARGE)
    data = open_file(tmp_path / "large.dcm")
    parts = [data[:1000], memoryview(data)[1000:]]
    stored = orthanc.store(parts)
    assert orthanc.md5(stored.orthanc_id) == md5_of(parts)
    back = orthanc.file(stored.orthanc_id)
    assert isinstance(back, mmap.mmap)
    assert same_bytes(parts, pieces([memoryview(back)]))


def test_connection_that_the_server_closed_is_opened_again(client, deployment):
    orthanc = client(deployment.ingest.url)
    assert orthanc.count() == 0
    deployment.ingest.restart()
    assert orthanc.count() == 0


# Sending


def test_copies_with_one_uid_and_different_bytes_are_told_apart(client, deployment, make_instance):
    research = client(deployment.research.url, "research Orthanc")
    uids = {"study": "1.2.3", "SOPInstanceUID": "1.2.3.4"}
    one, other = make_instance(number=1, **uids), make_instance(number=2, **uids)
    copies = [CleanCopy("a", "1.2.3.4", [one]), CleanCopy("b", "1.2.3.4", [other]), CleanCopy("c", "1.2.3.4", [one])]
    outcomes = dict(send_clean_copies(research, copies))
    assert outcomes["a"] is None
    assert outcomes["c"] is None
    assert outcomes["b"].reason == "conflict"
    assert dict(send_clean_copies(research, copies[:1])) == {"a": None}
    assert research.count() == 1


def test_copy_that_the_research_orthanc_does_not_take_is_a_reason(client, deployment):
    research = client(deployment.research.url, "research Orthanc")
    ((_, reason),) = send_clean_copies(research, [CleanCopy("a", "1.2.3", [b"no DICOM"])])
    assert reason.reason == "research_refused"


def test_research_orthanc_that_changes_what_it_receives_is_noticed(client, orthanc_factory, make_instance):
    changing = orthanc_factory("changing", IngestTranscoding="1.2.840.10008.1.2")
    research = client(changing.url, "research Orthanc")
    ((_, reason),) = send_clean_copies(research, [CleanCopy("a", "1.2.3", [make_instance(SOPInstanceUID="1.2.3")])])
    assert reason.reason == "not_confirmed"
    assert "IngestTranscoding" in reason.message


# Cleaning


def test_unexpected_errors_leave_no_text_of_theirs(caplog):
    class Broken:
        def clean(self, _, **__):
            raise ValueError("Doe^Jane")

    with caplog.at_level(logging.INFO):
        reason = _clean(RulesInForce(Broken(), "digest"), "some-id", b"")
    assert isinstance(reason, QuarantineReason)
    assert reason.reason == "unexpected_error"
    assert reason.message.startswith("unexpected ValueError in test_units.py, line ")
    assert "Doe" not in caplog.text


def test_a_batch_that_takes_long_is_closed_and_the_rest_left_to_others(
    client, deployment, make_instance, tmp_path, monkeypatch
):
    monkeypatch.setattr("deid_service.pipeline.worker._BATCH_SECONDS", 0.0)
    deployment.upload(*(make_instance(number=number) for number in range(3)))
    rules = RulesFile(tmp_path / "rules.yaml", PseudonymKey(bytes(range(32))))
    (tmp_path / "rules.yaml").write_text(default_rules_path().read_text())
    rules.refresh()
    ingest = client(deployment.ingest.url)
    worker = Worker(ingest, client(deployment.research.url, "research Orthanc"), rules, Troubles())
    ids = deployment.ingest.get("/instances")
    result = worker._work(ids, rules.in_force, attempt=0)
    assert (result.done, result.unbegun, result.left) == (ids[:1], ids[1:], [])
    deployment.wait(lambda: deployment.research.count() == 1, "what is finished did not arrive")


def test_an_ocr_engine_that_fails_is_asked_again_before_the_quarantine(
    client, deployment, make_instance, tmp_path, monkeypatch, caplog
):
    monkeypatch.setenv("RPACS_OCR_THREADS", "many")
    engine.cache_clear()
    deployment.upload(make_instance(BurnedInAnnotation="YES"), make_instance(number=2))
    ocr = "ScopeToForward: {Labels: ALL}\nTransformations:\n  - Scope: {Labels: ALL}\n"
    (tmp_path / "rules.yaml").write_text(f"{ocr}    RemoveBurnedInAnnotations: {{Type: OCR}}\n")
    rules = RulesFile(tmp_path / "rules.yaml", PseudonymKey(bytes(range(32))))
    rules.refresh()
    worker = Worker(
        client(deployment.ingest.url), client(deployment.research.url, "research Orthanc"), rules, Troubles()
    )
    ids = deployment.ingest.get("/instances")
    try:
        result = worker._work(ids, rules.in_force, attempt=0)
        assert len(result.left) == len(result.done) == 1
        assert not result.quarantined
        assert "RPACS_OCR_THREADS" in caplog.text
        assert "Doe" not in caplog.text
        result = worker._work(result.left, rules.in_force, attempt=_OCR_ATTEMPTS)
        assert [one.reason for one in result.quarantined.values()] == ["ocr_failed"]
    finally:
        engine.cache_clear()


def test_refusal_is_a_reason_for_quarantine():
    class Refusing:
        def clean(self, _, **__):
            raise Refused("malformed")

    assert _clean(RulesInForce(Refusing(), "digest"), "some-id", b"").reason == "malformed"


# Rules file


def test_rules_file_that_disappears_leaves_the_rules_in_force(tmp_path):
    path = tmp_path / "rules.yaml"
    path.write_text(default_rules_path().read_text())
    rules = RulesFile(path, PseudonymKey(bytes(range(32))))
    rules.refresh()
    in_force = rules.in_force
    assert in_force is not None
    rules.refresh()
    assert rules.in_force is in_force
    path.rename(tmp_path / "away")
    rules.refresh()
    assert rules.in_force is in_force
    assert "cannot read" in rules.error
    (tmp_path / "away").rename(path)
    rules.refresh()
    assert rules.error is None


# Troubles


def test_trouble_is_logged_when_it_starts_and_when_it_ends(caplog):
    troubles = Troubles()
    with caplog.at_level(logging.INFO):
        for _ in range(100):
            troubles.report("server", "the server is dead")
        assert troubles.current() == ["the server is dead"]
        for _ in range(100):
            troubles.clear("server")
    assert [record.getMessage() for record in caplog.records] == [
        "the server is dead. Nothing is lost; trying again.",
        "server: all is well again after 0 s.",
    ]


def test_gate_opens_when_the_server_answers_its_probe():
    answers = threading.Event()

    def probe() -> None:
        if not answers.is_set():
            raise OrthancUnavailableError("still dead")

    gate = Gate("server", Troubles(), probe, longest=0.01)
    assert gate.is_open()
    gate.failed("dead", unreachable=True)
    assert not gate.is_open()
    answers.set()
    while not gate.is_open():
        pass
    gate.succeeded()
    assert gate.is_open()


def test_a_process_without_work_notices_that_a_server_answers_again():
    answers = threading.Event()

    def probe():
        if not answers.is_set():
            raise OSError

    troubles = Troubles()
    gate = Gate("server", troubles, probe, longest=0.01)
    gate.failed("server does not answer", unreachable=True)
    gate.look()
    assert troubles.current()
    answers.set()
    wait_for(lambda: gate.look() or not troubles.current(), 30)
    assert gate.is_open()


def test_a_refusal_of_the_server_is_over_when_nothing_failed_for_a_minute(monkeypatch):
    troubles = Troubles()
    gate = Gate("server", troubles, lambda: None, longest=0.01)
    gate.failed("disk full", unreachable=False)
    now = time.monotonic()
    clock = "deid_service.pipeline.troubles.time"
    monkeypatch.setattr(clock, SimpleNamespace(monotonic=lambda: now + 30))
    gate.look()
    assert troubles.current() == ["disk full"]
    monkeypatch.setattr(clock, SimpleNamespace(monotonic=lambda: now + 62))
    gate.look()
    assert troubles.current() == []


# Database


def test_tables_are_made_once_by_whoever_comes_first(postgres):
    url = postgres.create_database()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(schema.prepare, [url] * 8))
    with psycopg.connect(url) as connection:
        schemas = connection.execute(
            "SELECT DISTINCT table_schema FROM information_schema.tables WHERE table_type = 'BASE TABLE'"
            " AND table_schema NOT IN ('pg_catalog', 'information_schema')"
        ).fetchall()
        assert schemas == [("deid",)]
        assert connection.execute("SELECT part FROM deid.version ORDER BY part").fetchall() == [
            ("queue",),
            ("service",),
            ("shown",),
        ]


def test_role_that_owns_nothing_but_the_schema_is_enough(postgres):
    url = postgres.create_database()
    role = f"deid_{url.rsplit('_', 1)[1]}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'hush'")
        connection.execute(f"CREATE SCHEMA deid AUTHORIZATION {role}")
    own = postgres.url(role, "hush", url.rsplit("/", 1)[1])
    schema.prepare(own)
    schema.prepare(own)
    with schema.connect(own) as connection:
        assert connection.execute("SELECT count(*) FROM inbox").fetchone() == (0,)


def test_tables_of_the_version_before_are_brought_up_to_date_with_what_is_in_them(postgres):
    url = postgres.create_database()
    with psycopg.connect(schema.conninfo(url)) as connection:
        connection.execute("CREATE SCHEMA deid")
        connection.execute("CREATE TABLE version (part text PRIMARY KEY, version text NOT NULL)")
        connection.execute(schema._TABLES)
        connection.execute(procrastinate.schema.SchemaManager.get_schema())
        newest = max(schema._queue_migrations())
        connection.execute("INSERT INTO version VALUES ('service', '1'), ('queue', %s)", (newest,))
        connection.execute(
            "INSERT INTO quarantine (orthanc_id, reason, message, rules_digest) VALUES ('a', 'b', '', '')"
        )
    schema.prepare(url)
    fresh = postgres.create_database()
    schema.prepare(fresh)
    columns = (
        "SELECT table_name, column_name, data_type, is_nullable, column_default FROM information_schema.columns"
        " WHERE table_schema = 'deid' ORDER BY 1, 2"
    )
    with schema.connect(url) as old, schema.connect(fresh) as new:
        assert old.execute("SELECT number, orthanc_id, modality FROM quarantine").fetchall() == [(1, "a", None)]
        assert old.execute(columns).fetchall() == new.execute(columns).fetchall()


def test_tables_of_another_version_are_refused(postgres):
    url = postgres.create_database()
    schema.prepare(url)
    with psycopg.connect(url) as connection:
        connection.execute("UPDATE deid.version SET version = '99' WHERE part = 'service'")
    with pytest.raises(DatabaseVersionError, match="99"):
        schema.prepare(url)


def test_dead_database_is_named_without_its_password():
    with pytest.raises(DatabaseUnavailableError) as caught:
        schema.prepare("postgresql://rpacs_deid:hush@127.0.0.1:1/rpacs")
    assert "Connection refused" in str(caught.value)
    assert "hush" not in str(caught.value)


@dataclass(frozen=True)
class Pair:
    kind: str
    scope: str
    original: str
    replacement: str


@pytest.fixture(scope="module")
def journal_url(postgres):
    url = postgres.create_database()
    schema.prepare(url)
    return url


# Any text: damaged files hold NULs, and characters that were never valid.
PAIRS = st.lists(st.builds(Pair, st.sampled_from(["uid", "text"]), *[st.text(st.characters(), max_size=40)] * 3))


@settings(max_examples=20, deadline=None)
@given(PAIRS)
def test_journal_takes_any_text_and_each_mapping_once(journal_url, pairs):
    async def write(journal: Journal) -> None:
        async with await psycopg.AsyncConnection.connect(schema.conninfo(journal_url)) as connection:
            journal.remember(await journal.write(connection, pairs + pairs))

    with psycopg.connect(schema.conninfo(journal_url)) as connection:
        connection.execute("TRUNCATE journal")
    first = Journal()
    for journal in (first, first, Journal()):
        asyncio.run(write(journal))
    with psycopg.connect(schema.conninfo(journal_url)) as connection:
        rows = connection.execute("SELECT kind, scope, original, replacement FROM journal").fetchall()
    texts = {(pair.kind, pair.scope, pair.original, pair.replacement) for pair in pairs}
    assert {row for row in texts if re.fullmatch(r"[^\0\ud800-\udfff]*", "".join(row))} <= set(rows)
    assert len(rows) <= len(set(pairs))


def test_journal_takes_values_that_no_index_would(journal_url):
    pair = Pair("text", "always", "x" * 100_000, "y")

    async def write() -> None:
        async with await psycopg.AsyncConnection.connect(schema.conninfo(journal_url)) as connection:
            await Journal().write(connection, [pair])

    asyncio.run(write())
    with psycopg.connect(schema.conninfo(journal_url)) as connection:
        assert connection.execute("SELECT length(original) FROM journal WHERE replacement = 'y'").fetchall() == [
            (100_000,)
        ]
