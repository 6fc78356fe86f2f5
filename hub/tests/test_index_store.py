"""How the index is written: contents and back, several writers at once, rebuilds that are killed, the earlier index."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.uid import generate_uid

import dicom_query
from dicom_query import index_document
from extensions.dicom_query.tests.models import build, models
from hub.tests.support import as_bytes, image, indexing, until
from rpacs_hub._orthanc import StoredInstance
from rpacs_hub.errors import DatabaseUnavailable
from rpacs_hub.index import read_status
from rpacs_hub.index._content import contents_of, document_of, shown_of
from rpacs_hub.index._identity import pack_id, unpack_id
from rpacs_hub.index._read import display_values, read_file
from rpacs_hub.index._rebuild import in_parts
from rpacs_hub.index._store import Read, Store
from rpacs_hub.settings import IndexerSettings


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(models(depth=2))
def test_contents_are_the_whole_document(model):
    dataset = build(model)
    document, shown = index_document(dataset), display_values(dataset)
    contents = contents_of(document, shown)
    assert document_of(contents) == document
    tags = {f"{int(tag):08X}": keyword for tag, keyword in ((e.tag, e.keyword) for e in dataset) if keyword in shown}
    told = {keyword: shown_of(tag, contents[tag]) for tag, keyword in tags.items()}
    assert repr(told) == repr({keyword: shown[keyword] for keyword in told})


@given(st.one_of(st.uuids().map(str), st.text(st.characters(exclude_categories=["Cs"])), st.binary(max_size=20)))
def test_identifiers_are_packed_without_loss(name):
    if isinstance(name, bytes):
        text = name.ljust(20, b"\0").hex()
        name = "-".join(text[start : start + 8] for start in range(0, 40, 8))
        assert len(pack_id(name)) == 20
    assert unpack_id(pack_id(name)) == name


def test_parts_hold_each_instance_once_and_series_together():
    groups = [["a", "b", "c"], ["d"], ["e", "f", "a"]]
    parts = in_parts(groups, {"a", "b", "c", "d", "e", "x", "y"}, 3)
    assert parts == [["a", "b", "c"], ["d", "e", "x"], ["y"]]
    assert in_parts([], set()) == []


def make_reads(series: str, study: str, numbers: range) -> list[Read]:
    reads = []
    for n in numbers:
        one = image(study=study, series=series, number=n, SliceLocation=n / 3, ImageComments="even" if n % 2 else "odd")
        reads.append(Read(StoredInstance(f"{series}-{n}", "f"), read_file(as_bytes(one))))
    return reads


def test_writers_at_once_lose_and_double_nothing(base):
    """Four writers fill the same two series, some instances twice, while others of them go."""
    study = generate_uid()
    first, second = (make_reads(generate_uid(), study, range(40)) for _ in range(2))
    everything = [one for pair in zip(first, second, strict=True) for one in pair]

    async def work(turn: int) -> None:
        async with await psycopg.AsyncConnection.connect(base.indexer, autocommit=True) as connection:
            store = Store(connection)
            await store.prepare()
            mine = everything[turn * 20 : turn * 20 + 30]
            for start in range(0, len(mine), 3):
                await store.write(mine[start : start + 3], [])
            await store.write([], [], [mine[0].stored.orthanc_id, mine[7].stored.orthanc_id])
            await store.sweep()

    async def all_at_once() -> None:
        async with asyncio.TaskGroup() as group:
            for turn in range(4):
                group.create_task(work(turn))

    asyncio.run(all_at_once())
    with psycopg.connect(base.gateway) as connection:
        rows = connection.execute("SELECT block_pk, ord FROM pacs.instance ORDER BY 1, 2").fetchall()
        sizes = dict(connection.execute("SELECT block_pk, n FROM pacs.block").fetchall())
        held = connection.execute("SELECT count(*), count(DISTINCT orthanc_id) FROM pacs.instance").fetchone()
        dangling = connection.execute(
            "SELECT count(*) FROM pacs.block b, unnest(b.vals) v WHERE v > 0 "
            "AND NOT EXISTS (SELECT FROM pacs.value WHERE value_id = v)"
        ).fetchone()
        lengths = connection.execute(
            "SELECT b.n, coalesce(cardinality(v.ids), jsonb_array_length(v.contents::jsonb)) "
            "FROM pacs.vary v JOIN pacs.block b USING (block_pk)"
        ).fetchall()
    # Whoever removes an instance while another one writes it again may come first or last.
    assert held[0] == held[1]
    assert 72 <= held[0] <= 80
    assert rows == [(block, place + 1) for block in sorted(sizes) for place in range(sizes[block])]
    assert dangling == (0,)
    assert lengths
    assert all(n == length for n, length in lengths)


def test_what_nobody_has_any_more_is_swept_out(base):
    reads = make_reads(generate_uid(), generate_uid(), range(12))

    async def run() -> list[int]:
        async with await psycopg.AsyncConnection.connect(base.indexer, autocommit=True) as connection:
            store = Store(connection)
            await store.prepare()
            await store.write(reads, [])
            swept = [await store.sweep()]
            await store.write([], [], [one.stored.orthanc_id for one in reads])
            swept.append(await store.sweep())
            return [*swept, await store.sweep()]

    before, after, again = asyncio.run(run())
    assert before == again == 0
    assert after > 20
    with psycopg.connect(base.gateway) as connection:
        for table in ("value", "pathset", "vary", "block", "series", "study", "patient", "instance"):
            assert connection.execute(f"SELECT count(*) FROM pacs.{table}").fetchone() == (0,)


@pytest.fixture
def research(orthanc_factory):
    return orthanc_factory("rebuilt")


def test_the_earlier_index_is_built_anew(base, research, caplog):
    caplog.set_level("INFO")
    one = image()
    research.upload(as_bytes(one))
    # Without the feed: only the comparison of the lists can find it.
    httpx.delete(f"{research.url}/changes").raise_for_status()
    with psycopg.connect(base.indexer, autocommit=True) as connection:
        connection.execute(
            "CREATE TABLE pacs.patient (patient_pk bigint PRIMARY KEY);"
            "CREATE TABLE pacs.study (study_pk bigint PRIMARY KEY, patient_pk bigint REFERENCES pacs.patient);"
            "CREATE TABLE pacs.series (series_pk bigint PRIMARY KEY, study_pk bigint REFERENCES pacs.study);"
            "CREATE TABLE pacs.instance (instance_pk bigint, series_pk bigint REFERENCES pacs.series, document jsonb);"
            "CREATE TABLE pacs.feed (only_row boolean PRIMARY KEY DEFAULT true, position bigint NOT NULL DEFAULT 0,"
            " newest bigint NOT NULL DEFAULT 0, moved_at timestamptz, reconciled_at timestamptz,"
            " verified_at timestamptz, seen_at timestamptz);"
            "INSERT INTO pacs.feed (position) VALUES (77); INSERT INTO pacs.instance VALUES (1, NULL, '{}')"
        )
    with indexing(IndexerSettings(base.indexer, research.url, poll=0.05)):
        until(lambda: read_status_or_none(base.indexer) == 1, "the image in the index")
    assert "made by an earlier version" in caplog.text
    with psycopg.connect(base.gateway) as connection:
        assert connection.execute("SELECT sop_uid FROM pacs.instance").fetchall() == [(str(one.SOPInstanceUID),)]


def read_status_or_none(url: str) -> int | None:
    try:
        return read_status(url)["instances"]
    except (DatabaseUnavailable, psycopg.Error):
        return None


def test_rebuilds_at_once_share_the_work_and_may_be_killed(base, research):
    study, series = generate_uid(), [generate_uid() for _ in range(30)]
    images = [image(study=study, series=series[n % 30], number=n, size=4) for n in range(900)]
    with httpx.Client(base_url=research.url) as client:
        for one in images:
            client.post("/instances", content=as_bytes(one)).raise_for_status()
    environment = {**os.environ, "RPACS_DATABASE_URL": base.indexer, "RPACS_RESEARCH_URL": research.url}
    command = [str(Path(sys.executable).with_name("rpacs-hub")), "index", "rebuild"]

    def start():
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def held() -> int:
        with psycopg.connect(base.indexer) as connection:
            try:
                return connection.execute("SELECT count(*) FROM pacs.instance").fetchone()[0]
            except psycopg.errors.UndefinedTable:
                return 0

    first = start()
    until(held, "the first part", 60)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    assert 0 < held() <= 900
    both = [start(), start()]
    told = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], told
    with psycopg.connect(base.indexer) as connection:
        assert connection.execute("SELECT count(*) FROM pacs.rebuild_part").fetchone() == (0,)
        uids = [row[0] for row in connection.execute("SELECT sop_uid FROM pacs.instance ORDER BY 1").fetchall()]
        assert connection.execute("SELECT count(*), sum(n) FROM pacs.block").fetchone() == (30, 900)
    assert uids == sorted(str(one.SOPInstanceUID) for one in images)


def test_a_database_without_the_extension_says_what_to_do(base):
    with psycopg.connect(base.admin_url, autocommit=True) as connection:
        connection.execute("DROP EXTENSION intarray")

    async def prepare() -> None:
        async with await psycopg.AsyncConnection.connect(base.indexer, autocommit=True) as connection:
            await Store(connection).prepare()

    with pytest.raises(DatabaseUnavailable, match="lacks the extension intarray") as caught:
        asyncio.run(prepare())
    assert "rpacs-hub database create" in caught.value.hint


def test_the_document_of_a_real_image_survives(base):
    one = image(RequestedProcedureDescription="Ärger\\ß", OtherPatientIDs=["A", "B"], ImageComments="x" * 5000)
    data = as_bytes(one)
    contents = read_file(data).contents
    document = index_document(one)
    assert document_of(contents) == {**document_of(contents), **{k: v for k, v in document.items() if k < "7FE00010"}}
    assert dicom_query.evaluate_document(dicom_query.parse("PixelData Exists"), document_of(contents))
