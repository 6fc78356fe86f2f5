"""Thirty searches of a million real-looking instances, beside a scan of the same data as JSON documents.

With ``--instances 10000000`` the first million is written like this, and the others are its copies with identifiers of
their own (`tests.bench.copies`): writing ten million one by one takes hours. There is no scan then.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import psycopg_pool

import dicom_query
from rpacs_hub.database import OWNED_SCHEMAS, create, role_url
from rpacs_hub.index import Index, Level, Search, Visible
from rpacs_hub.index._store import Read, Store
from tests.bench.copies import add_copies
from tests.bench.idc import instances_of, series_list
from tests.bench.rows import Row
from tests.fixtures.parts import Postgres, running_postgres

INSTANCES = 1_000_000
WRITTEN = 1_000_000
"""Above so many instances the rest are copies, and the scan is left out: it would take minutes for each query."""

SETTINGS = {
    "shared_buffers": "2GB",
    "effective_cache_size": "8GB",
    "work_mem": "64MB",
    "maintenance_work_mem": "512MB",
    "random_page_cost": "1.1",
    "max_wal_size": "8GB",
}
"""What an administrator of such an archive would set; index and scan have the same."""

BATCH = 20_000
ROUNDS = 25
"""The first few after a scan are up to twice as slow: it has the processor's caches."""
NARROW = "PatientSex StrEquals F AND StudyDate DateAfter 2005"
BROAD = "PatientIdentityRemoved StrEquals YES AND NOT (Modality StrEquals SEG)"


@dataclass(frozen=True)
class Query:
    """One search of the set."""

    kind: str
    text: str
    level: Level = Level.SERIES
    visible: str | None = None


QUERIES = (
    Query("selective", "PatientID StrEquals '100_HM10395'"),
    Query("selective", "AccessionNumber StrEquals '000012345' OR StudyID StrEquals 17", Level.STUDY),
    Query("selective", "StudyInstanceUID StrEquals '1.3.6.1.4.1.14519.5.2.1.6834.5010.117291650651265592494655001035'"),
    Query("selective", "Modality StrEquals MR AND EchoTime NbEquals 30 AND FlipAngle NbEquals 90"),
    Query("selective", "SOPInstanceUID StrEquals '1.2.3'", Level.INSTANCE),
    Query("broad", "", Level.INSTANCE),
    Query("broad", ""),
    Query("broad", "Modality StrEquals CT"),
    Query("broad", "Modality StrEquals CT", Level.INSTANCE),
    Query("broad", "Modality StrIn (CT, MR, PT)", Level.PATIENT),
    Query("broad", "PatientSex StrNotEquals M"),
    Query("wildcard", "StudyDescription StrEquals '*chest*'"),
    Query("wildcard", "SeriesDescription StrEquals '*t1*' AND BodyPartExamined StrEquals 'b*'"),
    Query("wildcard", "SeriesInstanceUID StrEquals '1.3.6.1.4.1.14519.5.2.1.*'"),
    Query("wildcard", "ManufacturerModelName StrEquals '*so*atom*'", Level.STUDY),
    Query("numeric", "SliceThickness NbLessEquals 1.25"),
    Query("numeric", "SliceLocation NbGreater 0", Level.INSTANCE),
    Query("numeric", "SliceLocation NbGreater -50 AND SliceLocation NbLess -40", Level.INSTANCE),
    Query("numeric", "InstanceNumber NbEquals 5 AND KVP NbEquals 120", Level.INSTANCE),
    Query("numeric", "PixelSpacing NbLess 0.5"),
    Query("numeric", "StudyDate DateAfter 2010-06 AND StudyDate DateBefore 2012"),
    Query("nested", "RequestAttributesSequence.ScheduledProtocolCodeSequence.CodeValue StrEquals P7"),
    Query("nested", "RequestAttributesSequence.ScheduledProtocolCodeSequence.CodeMeaning StrEquals '*of 1*'"),
    Query("nested", "ReferencedImageSequence[1].ReferencedSOPInstanceUID Exists"),
    Query("negated", "NOT (Modality StrIn (CT, MR, SEG))"),
    Query("negated", "RepetitionTime NotExists AND ContentTime Exists", Level.INSTANCE),
    Query(
        "mixed levels",
        "Modality StrEquals CT AND SliceLocation NbLess -300 AND XRayTubeCurrent NbGreater 200",
        Level.STUDY,
    ),
    Query("mixed levels", "Modality StrEquals MR AND (ImageType StrEquals localizer OR InstanceNumber NbGreater 150)"),
    Query("permissions", "Modality StrEquals CT", visible=NARROW),
    Query("permissions", "StudyDescription StrEquals '*chest*' OR SliceLocation NbGreater 100", Level.INSTANCE, BROAD),
)


def run(instances: int = INSTANCES) -> list[Row]:
    """Fill both, ask both, and return the slowest search, the least speed-up and the bytes of an instance."""
    asyncio_runner = asyncio.Runner()
    folder = Path(tempfile.mkdtemp(prefix="rpacs-bench-"))
    folder.chmod(0o755)
    cache = Path(os.environ.get("RPACS_VAR", Path(__file__).parents[2] / "var")) / "bench" / "idc"
    try:
        with asyncio_runner as runner, running_postgres(folder, SETTINGS) as postgres:
            return runner.run(_measure(postgres, cache, instances))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def _measure(postgres: Postgres, cache: Path, instances: int) -> list[Row]:
    passwords = dict.fromkeys(OWNED_SCHEMAS, postgres.password)
    create(postgres.admin_url, passwords, "bench")
    urls = {role: role_url(postgres.admin_url, role, postgres.password, "bench") for role in OWNED_SCHEMAS}
    admin = postgres.url("postgres", postgres.password, "bench")
    scanned = instances <= WRITTEN
    if not scanned and instances % WRITTEN:
        raise ValueError(f"more than {WRITTEN} instances must be a multiple of that")
    async with (
        await psycopg.AsyncConnection.connect(urls["rpacs_indexer"], autocommit=True) as writer,
        await psycopg.AsyncConnection.connect(admin, autocommit=True) as scanner,
    ):
        await fill(writer, scanner if scanned else None, cache, min(instances, WRITTEN))
        if not scanned:
            await asyncio.to_thread(add_copies, admin, instances // WRITTEN - 1)
        bytes_each = await _bytes(scanner, instances)
        kwargs = {"autocommit": True, "prepare_threshold": None}
        async with psycopg_pool.AsyncConnectionPool(urls["rpacs_gateway"], kwargs=kwargs, open=False) as pool:
            index = Index(pool, timeout=600)
            times = [await _ask(index, scanner if scanned else None, query) for query in QUERIES]
    return _rows(times, bytes_each, instances)


async def fill(
    writer: psycopg.AsyncConnection[Any], scanner: psycopg.AsyncConnection[Any] | None, cache: Path, instances: int
) -> None:
    """Write instances through the indexer's own `Store`, and as documents into table ``scan``."""
    store = Store(writer)
    await store.prepare()
    if scanner is not None:
        await scanner.execute(
            "CREATE TABLE scan (n int, patient text, study text, series text, document jsonb NOT NULL)"
        )
    done, begun, next_note = 0, time.perf_counter(), 0
    batch: list[tuple[dict[str, Any], Read]] = []

    async def flush() -> None:
        nonlocal batch
        await store.write([read for _, read in batch], [])
        if scanner is not None:
            columns = "n, patient, study, series, document"
            async with scanner.cursor() as cursor, cursor.copy(f"COPY scan ({columns}) FROM STDIN") as copy:
                for number, (document, read) in enumerate(batch, done):
                    file = read.file
                    text = json.dumps(document, ensure_ascii=False)
                    await copy.write_row((number, file.patient_id, file.study_uid, file.series_uid, text))
        batch = []

    for one in _instances(cache, instances):
        batch.append(one)
        if len(batch) == BATCH:
            await flush()
            done += BATCH
            if done >= next_note:
                rate = done / (time.perf_counter() - begun)
                print(f"{done} of {instances} written, {rate:.0f} per second", file=sys.stderr)
                next_note += instances // 10
    await flush()
    row = await (await writer.execute("SELECT count(*) FROM pacs.instance")).fetchone()
    if row is None or row[0] != instances:
        raise RuntimeError(f"{row} of {instances} instances are in the index")
    await writer.execute("VACUUM (ANALYZE)")
    if scanner is not None:
        await scanner.execute("VACUUM (ANALYZE) scan")


def _instances(cache: Path, instances: int) -> Iterator[tuple[dict[str, Any], Read]]:
    for series in series_list(cache, instances):
        yield from instances_of(series)


async def _bytes(admin: psycopg.AsyncConnection[Any], instances: int) -> tuple[float, float | None]:
    """Return the bytes of an instance: in all tables and indexes of the index, and in the bare table of documents."""
    cursor = await admin.execute(
        "SELECT c.relname, pg_total_relation_size(c.oid) FROM pg_class c JOIN pg_namespace s ON s.oid = c.relnamespace "
        "WHERE s.nspname = 'pacs' AND c.relkind = 'r' ORDER BY 2 DESC"
    )
    sizes = dict(await cursor.fetchall())
    print(
        ", ".join(f"{name} {size / instances:.0f}" for name, size in sizes.items() if size > instances), file=sys.stderr
    )
    row = await (await admin.execute("SELECT pg_table_size(to_regclass('public.scan'))")).fetchone()
    assert row is not None
    return sum(sizes.values()) / instances, row[0] / instances if row[0] else None


async def _ask(
    index: Index, scanner: psycopg.AsyncConnection[Any] | None, query: Query
) -> tuple[Query, float, float | None]:
    """Return the seconds of a search, first page and total, and those of the scan for the total alone."""
    node = dicom_query.parse(query.text) if query.text else None
    filters = None if query.visible is None else (dicom_query.parse(query.visible),)
    took = []
    for _ in range(ROUNDS + 1):
        begun = time.perf_counter()
        page = await index.search(Search(node, query.level, limit=100), Visible(filters))
        took.append(time.perf_counter() - begun)
    ours, theirs = statistics.median(took[1:]), None
    if scanner is not None:
        both = dicom_query.all_of([one for one in (node, *(filters or ())) if one is not None])
        condition = dicom_query.compile_sql(both, "document")
        key = {"patient": "patient", "study": "study", "series": "series"}.get(query.level)
        counted = f"count(DISTINCT {key})" if key else "count(*)"
        begun = time.perf_counter()
        cursor = await scanner.execute(f"SELECT {counted} FROM scan WHERE {condition.text}".encode(), condition.params)
        row = await cursor.fetchone()
        theirs = time.perf_counter() - begun
        if row is None or row[0] != page.total:
            raise RuntimeError(f"the index finds {page.total}, the scan {row}: {query.text}")
    beside = f", scan {theirs:8.2f} s, {theirs / ours:6.0f} times" if theirs else ""
    print(
        f"{1000 * ours:7.1f} ms{beside}  {page.total:9} {query.level:9} {query.kind:12} {query.text}", file=sys.stderr
    )
    return query, ours, theirs


def _rows(
    times: list[tuple[Query, float, float | None]], bytes_each: tuple[float, float | None], instances: int
) -> list[Row]:
    size = f"{instances // 1_000_000}m" if instances % 1_000_000 == 0 else str(instances)
    command = "python -m tests.bench search" + ("" if instances == INSTANCES else f" --instances {instances}")
    slowest = max(times, key=lambda one: one[1])
    selective = max(ours for query, ours, _ in times if query.kind == "selective")
    rows = [
        Row(
            f"search.{size}.slowest_ms",
            1000 * slowest[1],
            "ms",
            peer="the same by a scan" if slowest[2] else None,
            peer_value=1000 * slowest[2] if slowest[2] else None,
            ratio=slowest[2] / slowest[1] if slowest[2] else None,
            command=command,
        ),
        Row(f"search.{size}.slowest_selective_ms", 1000 * selective, "ms", command=command),
        Row(
            f"search.{size}.bytes_per_instance",
            bytes_each[0],
            "bytes",
            peer="a bare table of JSON documents" if bytes_each[1] else None,
            peer_value=bytes_each[1],
            ratio=bytes_each[1] / bytes_each[0] if bytes_each[1] else None,
            command=command,
        ),
    ]
    compared = [(query, ours, theirs) for query, ours, theirs in times if theirs is not None]
    if compared:
        good = sum(ours < 0.02 or theirs > 100 * ours for _, ours, theirs in compared)
        rows.append(Row(f"search.{size}.within_goal", good, f"of {len(compared)} queries", command=command))
        _, ours, theirs = min(compared, key=lambda one: one[2] / one[1])
        rows.append(
            Row(
                f"search.{size}.least_speedup_over_scan",
                theirs / ours,
                "times",
                peer="scan of the documents",
                peer_value=1.0,
                ratio=theirs / ours,
                command=command,
            )
        )
    return rows
