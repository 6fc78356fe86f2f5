"""The indexer against a real Orthanc and a real database: arrivals, outages, deletions, kills, broken files."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import psycopg
import pytest
from pydicom.uid import generate_uid

from hub.tests.support import as_bytes, image, indexing, until
from rpacs_hub.cli import main
from rpacs_hub.database import role_url
from rpacs_hub.index import read_status
from rpacs_hub.settings import IndexerSettings


@pytest.fixture(scope="module")
def research(orthanc_pair):
    return orthanc_pair[1]


@pytest.fixture
def settings(base, research) -> IndexerSettings:
    """Settings for a fresh database; Orthanc is emptied first."""
    for name in research.get("/patients"):
        httpx.delete(f"{research.url}/patients/{name}").raise_for_status()
    return IndexerSettings(base.indexer, research.url, poll=0.05, reconcile=0.2, verify=3600)


@pytest.fixture
def query(base):
    """Ask the database; an index that is not there yet has no rows."""
    with psycopg.connect(base.gateway, autocommit=True) as connection:

        def ask(sql: str, *params: object) -> list[tuple]:
            try:
                return connection.execute(sql, params).fetchall()
            except psycopg.errors.UndefinedTable:
                return []

        yield ask


def uids(query) -> list[str]:
    return sorted(uid for (uid,) in query("SELECT sop_uid FROM pacs.instance"))


def names(images) -> list[str]:
    return sorted(str(dataset.SOPInstanceUID) for dataset in images)


def test_what_arrives_is_searchable_within_two_seconds(settings, research, query):
    with indexing(settings):
        until(lambda: query("SELECT 1 FROM pacs.feed WHERE verified_at IS NOT NULL"), "the first comparison")
        took = []
        for _ in range(3):
            one = image()
            research.upload(as_bytes(one))
            started = time.monotonic()
            until(lambda one=one: str(one.SOPInstanceUID) in uids(query), "the image in the index")
            took.append(time.monotonic() - started)
        # The machine may be busy with something else for a while.
        assert min(took) < 2, took


def test_a_first_start_reads_each_image_once(settings, research, query):
    images = [image(number=n) for n in range(25)]
    for one in images:
        research.upload(as_bytes(one))
    with indexing(settings):
        until(lambda: len(uids(query)) == 25, "25 images")
        until(lambda: query("SELECT 1 FROM pacs.feed WHERE verified_at IS NOT NULL"), "the first comparison")
        last = research.get("/changes?last")["Last"]
        until(lambda: query("SELECT 1 FROM pacs.feed WHERE position = %s", last), "the whole feed followed")
    # An instance that is read again leaves its place to those behind it: each has the one that it came to first.
    assert query("SELECT count(DISTINCT block_pk), min(ord), max(ord) FROM pacs.instance") == [(25, 1, 1)]
    assert query("SELECT max(block_pk) FROM pacs.block") == [(25,)]


def test_the_same_number_from_two_issuers_is_two_patients(settings, research, query):
    for issuer in ("North", "South"):
        research.upload(as_bytes(image(patient="4711", issuer=issuer)))
    with indexing(settings):
        until(lambda: len(uids(query)) == 2, "two images")
    assert query("SELECT patient_id, issuer FROM pacs.patient ORDER BY issuer") == [
        ("4711", "North"),
        ("4711", "South"),
    ]


def test_deleted_images_go_and_leave_no_empty_study(settings, research, query):
    kept, gone = image(patient="A"), image(patient="B")
    research.upload(as_bytes(kept))
    name = research.upload(as_bytes(gone))["ID"]
    with indexing(settings):
        until(lambda: len(uids(query)) == 2, "two images")
        httpx.delete(f"{research.url}/instances/{name}").raise_for_status()
        until(lambda: uids(query) == names([kept]), "the deleted image gone")
    assert query("SELECT patient_id FROM pacs.patient") == [("A",)]
    assert query("SELECT count(*) FROM pacs.study") == query("SELECT count(*) FROM pacs.series") == [(1,)]


def test_content_that_was_replaced_while_the_indexer_slept_is_read_again(settings, research, query):
    one = image(StudyDescription="before", issuer="North")
    name = research.upload(as_bytes(one))["ID"]
    with indexing(settings):
        until(lambda: uids(query) == names([one]), "the image")
    one.StudyDescription, one.IssuerOfPatientID = "after", "South"
    httpx.delete(f"{research.url}/instances/{name}").raise_for_status()
    research.upload(as_bytes(one))
    # Without the feed's help: only the identity of the content tells.
    httpx.delete(f"{research.url}/changes").raise_for_status()
    with indexing(settings):
        described = (
            "SELECT v.t FROM pacs.value v JOIN pacs.path p USING (path_id) "
            "JOIN pacs.block b ON v.value_id = ANY(b.vals) WHERE p.path = '00081030'"
        )
        until(lambda: query(described) == [("after",)], "the new content")
    assert query("SELECT issuer FROM pacs.patient") == [("South",)]


def test_it_catches_up_after_orthanc_was_away(settings, orthanc_factory, base, query, caplog):
    caplog.set_level("INFO")
    research = orthanc_factory("away")
    settings = IndexerSettings(base.indexer, research.url, poll=0.05, reconcile=3600, verify=3600)
    first, second = image(), image()

    def trouble() -> str | None:
        return read_status(base.indexer)["trouble"]

    with indexing(settings):
        research.upload(as_bytes(first))
        until(lambda: uids(query) == names([first]), "the first image")
        research.kill()
        until(lambda: "indexing pauses" in caplog.text, "the outage in the log")
        until(lambda: trouble() is not None, "the outage in the status")
        assert trouble().startswith("The research Orthanc does not answer")
        assert read_status(base.indexer)["running"]
        research.start()
        research.upload(as_bytes(second))
        until(lambda: uids(query) == names([first, second]), "the second image")
        until(lambda: "indexing goes on" in caplog.text, "the recovery in the log")
        until(lambda: trouble() is None, "the recovery in the status")
    lines = "\n".join(record.getMessage() for record in caplog.records if record.name.startswith("rpacs_hub"))
    assert lines.count("indexing pauses") == 1
    assert lines.count("indexing goes on") == 1
    assert "svc" not in lines
    assert research.password not in lines


def test_it_waits_for_a_database_that_is_not_there_yet(settings, postgres, research, caplog):
    name = f"late_{os.getpid()}"
    url = role_url(postgres.admin_url, "postgres", postgres.password, name)
    settings = IndexerSettings(url, research.url, poll=0.05)
    one = image()
    research.upload(as_bytes(one))
    with indexing(settings):
        until(lambda: "the database does not answer" in caplog.text, "the outage in the log")
        # It appears with its schema in it: the indexer may look at any moment.
        prepared = f"{name}_prepared"
        with psycopg.connect(postgres.create_database(prepared), autocommit=True) as connection:
            connection.execute("CREATE SCHEMA pacs")
        with psycopg.connect(postgres.admin_url, autocommit=True) as connection:
            connection.execute(f"ALTER DATABASE {prepared} RENAME TO {name}")
        with psycopg.connect(url, autocommit=True) as connection:

            def count() -> int:
                try:
                    return connection.execute("SELECT count(*) FROM pacs.instance").fetchone()[0]
                except psycopg.errors.UndefinedTable:
                    return 0

            until(count, "the image")
    assert caplog.text.count("the database does not answer") == 1
    assert postgres.password not in caplog.text


def test_a_connection_that_breaks_is_made_again(settings, research, postgres, query, base):
    first, second = image(), image()
    with indexing(settings):
        research.upload(as_bytes(first))
        until(lambda: uids(query) == names([first]), "the first image")
        with psycopg.connect(postgres.admin_url, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = %s AND usename = 'rpacs_indexer'",
                (base.name,),
            )
        research.upload(as_bytes(second))
        until(lambda: uids(query) == names([first, second]), "the second image")


def test_what_cannot_be_indexed_is_listed_and_holds_up_nothing(settings, research, query):
    odd = [
        image(PatientID="nul\0byte"),
        image(StudyDescription="x" * 60),
        image(SeriesInstanceUID="1." + "2" * 60),
    ]
    for one in odd:
        research.upload(as_bytes(one))
    # Orthanc keeps a file whose series has no UID; the index cannot place it.
    nowhere = image()
    del nowhere.SeriesInstanceUID
    answer = httpx.post(f"{research.url}/instances", content=as_bytes(nowhere))
    good = image()
    research.upload(as_bytes(good))
    with indexing(settings):
        until(lambda: str(good.SOPInstanceUID) in uids(query), "the good image")
    assert set(names(odd)) <= set(uids(query))
    if answer.status_code == 200:
        assert query("SELECT reason FROM pacs.unreadable") == [("the file has no SeriesInstanceUID",)]
        assert read_status(settings.database_url)["unreadable"] == 1


def test_a_rebuild_reads_all_and_keeps_the_keys(settings, research, query, monkeypatch, capsys):
    images = [image() for _ in range(3)]
    for one in images:
        research.upload(as_bytes(one))
    with indexing(settings):
        until(lambda: len(uids(query)) == 3, "three images")
    held = (
        "SELECT i.sop_uid, p.path, v.t FROM pacs.instance i JOIN pacs.block b USING (block_pk) "
        "JOIN pacs.value v ON v.value_id = ANY(b.vals) JOIN pacs.path p USING (path_id) ORDER BY 1, 2, 3"
    )
    before = query(held)
    assert len(before) > 30
    with psycopg.connect(settings.database_url, autocommit=True) as connection:
        connection.execute("UPDATE pacs.block SET vals = '{}', pathset_id = (SELECT min(pathset_id) FROM pacs.pathset)")
    monkeypatch.setenv("RPACS_DATABASE_URL", settings.database_url)
    monkeypatch.setenv("RPACS_RESEARCH_URL", settings.research_url)
    assert main(["index", "rebuild"]) == 0
    assert "done: 3 read, 0 removed, 0 cannot be read" in capsys.readouterr().out
    assert query(held) == before
    assert main(["index", "status", "--json"]) == 0
    status = json.loads(capsys.readouterr().out)
    assert (status["instances"], status["patients"], status["unreadable"]) == (3, 1, 0)


def test_two_indexers_do_not_work_at_once(settings, research, query, caplog):
    with indexing(settings), indexing(settings):
        until(lambda: "another indexer is at work" in caplog.text, "the second one standing by")
        one = image()
        research.upload(as_bytes(one))
        until(lambda: uids(query) == names([one]), "the image")


def test_killed_again_and_again_it_loses_and_doubles_nothing(settings, research, query):
    environment = {
        **os.environ,
        "RPACS_DATABASE_URL": settings.database_url,
        "RPACS_RESEARCH_URL": settings.research_url,
        "RPACS_INDEX_POLL": "0.05",
    }
    study = generate_uid()
    images = [image(study=study, number=n, size=32) for n in range(80)]

    @contextlib.contextmanager
    def process():
        command = [str(Path(sys.executable).with_name("rpacs-hub")), "index", "run"]
        child = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
        try:
            yield child
        finally:
            child.send_signal(signal.SIGKILL)
            child.wait()

    for round_ in range(2):
        with process():
            for one in images[round_ * 40 : (round_ + 1) * 40]:
                research.upload(as_bytes(one))
            until(lambda seen=round_ * 40: len(uids(query)) > seen, "some images of this round", 40)
    with process():
        until(lambda: len(uids(query)) == 80, "all images", 40)
    assert uids(query) == names(images)
    assert query("SELECT count(*) FROM pacs.study") == [(1,)]
