"""Writes to the index: whole batches, each in one transaction together with the position in the feed.

What is written first locks its series, in the order of their numbers, so that any number of writers can work at once.
A writer that meets another one where no lock can help begins its batch again.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import psycopg
from psycopg.rows import TupleRow

from rpacs_hub._orthanc import StoredInstance
from rpacs_hub.errors import DatabaseUnavailable
from rpacs_hub.index._blocks import Arrival, Blocks
from rpacs_hub.index._dictionary import Dictionary
from rpacs_hub.index._draft import subject_of, without_sop
from rpacs_hub.index._identity import pack_id, unpack_id
from rpacs_hub.index._read import IndexedFile
from rpacs_hub.index.schema import DDL, DDL_LOCK, DROP_DOCUMENTS, SERVICE_LOCK, SWEEP_LOCK

__all__ = ["Failure", "Read", "Store", "Stored"]

_log = logging.getLogger(__name__)

Connection = psycopg.AsyncConnection[TupleRow]

_ATTEMPTS = 8
"""How often a batch is tried that meets other writers."""


class _AgainError(Exception):
    """Another writer changed what this one had looked at."""


_COLLISIONS = (
    _AgainError,
    psycopg.errors.DeadlockDetected,
    psycopg.errors.ForeignKeyViolation,
    psycopg.errors.UniqueViolation,
)


@dataclass(frozen=True)
class Read:
    """An instance that was read and shall be in the index."""

    stored: StoredInstance
    file: IndexedFile


@dataclass(frozen=True)
class Failure:
    """An instance that Orthanc holds but that cannot be indexed, and why."""

    stored: StoredInstance
    reason: str


@dataclass(frozen=True)
class Stored:
    """What a batch changed."""

    written: int
    failed: int


_PATIENTS = """
INSERT INTO pacs.patient (patient_id, issuer)
SELECT DISTINCT * FROM unnest(%s::text[], %s::text[]) AS new (patient_id, issuer)
EXCEPT SELECT patient_id, issuer FROM pacs.patient WHERE patient_id = ANY(%s)
ORDER BY 1, 2 ON CONFLICT DO NOTHING
"""
_STUDIES = """
INSERT INTO pacs.study (patient_pk, study_uid)
SELECT DISTINCT p.patient_pk, new.study_uid
FROM unnest(%s::text[], %s::text[], %s::text[]) AS new (patient_id, issuer, study_uid)
JOIN pacs.patient p USING (patient_id, issuer)
EXCEPT SELECT patient_pk, study_uid FROM pacs.study WHERE study_uid = ANY(%s)
ORDER BY 1, 2 ON CONFLICT DO NOTHING
"""
_SERIES = """
INSERT INTO pacs.series (study_pk, series_uid)
SELECT DISTINCT t.study_pk, new.series_uid
FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[]) AS new (patient_id, issuer, study_uid, series_uid)
JOIN pacs.patient p USING (patient_id, issuer)
JOIN pacs.study t USING (patient_pk, study_uid)
EXCEPT SELECT study_pk, series_uid FROM pacs.series WHERE series_uid = ANY(%s)
ORDER BY 1, 2 ON CONFLICT DO NOTHING
"""
_KEYS = """
SELECT new.patient_id, new.issuer, new.study_uid, new.series_uid, p.patient_pk, t.study_pk, s.series_pk
FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[]) AS new (patient_id, issuer, study_uid, series_uid)
JOIN pacs.patient p USING (patient_id, issuer)
JOIN pacs.study t ON t.patient_pk = p.patient_pk AND t.study_uid = new.study_uid
JOIN pacs.series s ON s.study_pk = t.study_pk AND s.series_uid = new.series_uid
"""
_UNREADABLE = """
INSERT INTO pacs.unreadable (orthanc_id, file_uuid, reason)
SELECT * FROM unnest(%s::text[], %s::text[], %s::text[]) AS new (orthanc_id, file_uuid, reason) ORDER BY 1
ON CONFLICT (orthanc_id) DO UPDATE SET file_uuid = excluded.file_uuid, reason = excluded.reason, noted_at = now()
"""

_UNUSED = """
WITH used AS MATERIALIZED (
    SELECT unnest(vals) AS id FROM pacs.block UNION SELECT unnest(ids) FROM pacs.vary WHERE ids IS NOT NULL)
SELECT value_id FROM pacs.value v WHERE NOT EXISTS (SELECT FROM used WHERE used.id = v.value_id) LIMIT 100000
"""
_UNUSED_SETS = "pacs.pathset s WHERE NOT EXISTS (SELECT FROM pacs.block b WHERE b.pathset_id = s.pathset_id)"

SeriesKey = tuple[str, str, str, str]
"""PatientID, its issuer, StudyInstanceUID, SeriesInstanceUID."""


class Store:
    """The index's tables through one connection.

    Parameters
    ----------
    connection
        In autocommit mode, as the role that owns schema ``pacs``.
    """

    def __init__(self, connection: Connection):
        self._connection = connection
        self._dictionary = Dictionary(connection)
        self._sweeps = -1

    async def prepare(self) -> None:
        """Make the tables where they are missing; those of the earlier index go.

        Raises
        ------
        DatabaseUnavailable
            The database lacks the extension that the index needs.
        """
        connection = self._connection
        async with connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock(%s)", (DDL_LOCK,))
            made = hashlib.sha256(DDL.encode()).hexdigest()
            if made == await self._one("SELECT obj_description(to_regclass('pacs.feed'), 'pg_class')"):
                return  # to make sure of tables that others write to would lock them all
            await self._need_intarray()
            if await self._one("SELECT to_regclass('pacs.instance') IS NOT NULL"):
                documents = await self._one(
                    "SELECT EXISTS (SELECT FROM information_schema.columns WHERE table_schema = 'pacs' "
                    "AND table_name = 'instance' AND column_name = 'document')"
                )
                if documents:
                    _log.warning(
                        "the index was made by an earlier version: it is built anew from the research Orthanc, "
                        "and searches find more and more until that is done"
                    )
                    await connection.execute(DROP_DOCUMENTS)
                    await connection.execute("UPDATE pacs.feed SET position = 0, verified_at = NULL")
            await connection.execute(DDL)
            await connection.execute(f"COMMENT ON TABLE pacs.feed IS '{made}'".encode())

    async def _need_intarray(self) -> None:
        if await self._one("SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'intarray')"):
            return
        try:
            async with self._connection.transaction():
                await self._connection.execute("CREATE EXTENSION IF NOT EXISTS intarray SCHEMA public")
        except (psycopg.errors.InsufficientPrivilege, psycopg.errors.UndefinedFile):
            raise DatabaseUnavailable(
                "The database lacks the extension intarray.", "Run `rpacs-hub database create` again; it adds it."
            ) from None

    async def _one(self, statement: str, *params: object) -> object:
        row = await (await self._connection.execute(statement.encode(), params)).fetchone()
        return row[0] if row else None

    async def try_lock(self) -> bool:
        """Become the one indexer that follows the feed, as long as this connection lives."""
        return bool(await self._one("SELECT pg_try_advisory_lock(%s)", SERVICE_LOCK))

    async def position(self) -> int:
        """Return the number of the last change that is in the index."""
        return int(str(await self._one("SELECT position FROM pacs.feed") or 0))

    async def known(self) -> dict[str, str]:
        """Return the content identity of everything that was read, by Orthanc identifier."""
        found: dict[str, str] = {}
        async with self._connection.transaction(), self._connection.cursor(name="known") as cursor:
            cursor.itersize = 20_000
            await cursor.execute("SELECT orthanc_id, file_uuid FROM pacs.instance")
            async for orthanc_id, file_uuid in cursor:
                found[unpack_id(orthanc_id)] = unpack_id(file_uuid)
        unreadable = await self._connection.execute("SELECT orthanc_id, file_uuid FROM pacs.unreadable")
        found.update({str(row[0]): str(row[1]) for row in await unreadable.fetchall()})
        return found

    async def write(
        self,
        reads: Sequence[Read],
        failures: Sequence[Failure],
        removed: Iterable[str] = (),
        position: int | None = None,
        part: int | None = None,
    ) -> Stored:
        """Write a batch and the feed's position, all or nothing.

        A row that PostgreSQL refuses is noted as unreadable; the others are written all the same.

        Parameters
        ----------
        reads, failures
            Each instance at most once.
        removed
            Orthanc identifiers that are gone.
        position
            New position in the feed; None leaves it.
        part
            The part of a rebuild that this is, see `rpacs_hub.index._rebuild`; it is done with the batch.

        Returns
        -------
        Stored
            How many instances were written, how many are unreadable.
        """
        removed = list(removed)
        try:
            await self._write(reads, failures, removed, position, part)
        except (psycopg.DataError, psycopg.OperationalError) as error:
            if not self._is_about_values(error):
                raise
            reads, failures = await self._sort_out(reads, list(failures))
            await self._write(reads, failures, removed, position, part)
        return Stored(len(reads), len(failures))

    def _is_about_values(self, error: psycopg.Error) -> bool:
        # "Index row size exceeds" comes as an operational error, and has nothing to do with the connection.
        return isinstance(error, psycopg.DataError) or (not self._connection.broken and error.sqlstate == "54000")

    async def _sort_out(self, reads: Sequence[Read], failures: list[Failure]) -> tuple[list[Read], list[Failure]]:
        """Try each row alone (and undo it) to find those that PostgreSQL does not take."""
        good: list[Read] = []
        for read in reads:
            try:
                async with self._writing(undo=True):
                    await self._replace([read], [])
                good.append(read)
            except (psycopg.DataError, psycopg.OperationalError) as error:
                if not self._is_about_values(error):
                    raise
                kind = type(error).__name__
                failures.append(Failure(read.stored, f"the database does not take its values ({kind})"))
        return good, failures

    async def _write(
        self,
        reads: Sequence[Read],
        failures: Sequence[Failure],
        removed: list[str],
        position: int | None,
        part: int | None,
    ) -> None:
        failed = [failure.stored.orthanc_id for failure in failures]
        for attempt in range(_ATTEMPTS):
            try:
                async with self._writing():
                    await self._replace(reads, [*removed, *failed])
                    readable = [*(read.stored.orthanc_id for read in reads), *removed]
                    if readable:
                        await self._connection.execute(
                            "DELETE FROM pacs.unreadable WHERE orthanc_id = ANY(%s)", (readable,)
                        )
                    if failures:
                        await self._connection.execute(
                            _UNREADABLE, (failed, [f.stored.file_uuid for f in failures], [f.reason for f in failures])
                        )
                    if position is not None:
                        await self._connection.execute(
                            "UPDATE pacs.feed SET position = %s, moved_at = now()", (position,)
                        )
                    if part is not None:
                        await self._connection.execute("DELETE FROM pacs.rebuild_part WHERE part_no = %s", (part,))
                return
            except _COLLISIONS:
                if attempt == _ATTEMPTS - 1:
                    raise
                await asyncio.sleep(0.02 * 2**attempt)

    @asynccontextmanager
    async def _writing(self, *, undo: bool = False) -> AsyncIterator[None]:
        """Open a transaction in which contents may be added to the dictionary."""
        try:
            async with self._connection.transaction(force_rollback=undo):
                await self._connection.execute("SELECT pg_advisory_xact_lock_shared(%s)", (SWEEP_LOCK,))
                sweeps = int(str(await self._one("SELECT sweeps FROM pacs.feed") or 0))
                if sweeps != self._sweeps:
                    self._dictionary.forget()
                    self._sweeps = sweeps
                yield
        except BaseException:
            self._dictionary.forget()
            raise
        if undo:
            self._dictionary.forget()

    async def _replace(self, reads: Sequence[Read], gone: Sequence[str]) -> None:
        """Take out what is gone or comes again, and put in what was read."""
        packed = {pack_id(read.stored.orthanc_id): read for read in reads}
        out = sorted({*packed, *map(pack_id, gone)})
        if not out:
            return
        keys = await self._series_keys([read.file for read in reads]) if reads else {}
        leaving = await self._places(out)
        series = {row[0] for row in leaving} | {key[2] for key in keys.values()}
        locked = await self._connection.execute(
            "SELECT series_pk FROM pacs.series WHERE series_pk = ANY(%s) ORDER BY 1 FOR NO KEY UPDATE", (list(series),)
        )
        if {row[0] for row in await locked.fetchall()} != series:
            raise _AgainError
        # Under the locks nothing moves any more; what moved before them has to be looked at anew.
        leaving = await self._places(out)
        if not {row[0] for row in leaving} <= series:
            raise _AgainError
        arrivals = []
        for orthanc_id, read in packed.items():
            file = read.file
            contents, sop = without_sop(file.contents, file.sop_uid)
            arrivals.append(
                Arrival(
                    keys[file.patient_id, file.issuer, file.study_uid, file.series_uid],
                    subject_of(contents, sop),
                    contents,
                    orthanc_id,
                    pack_id(read.stored.file_uuid),
                    file.sop_uid,
                    file.bytes,
                )
            )
        blocks = Blocks(self._connection, self._dictionary)
        await blocks.change([(block_pk, ord_) for _, block_pk, ord_ in leaving], arrivals)
        if leaving:
            await self._drop_empty({row[0] for row in leaving})

    async def _places(self, packed: Sequence[bytes]) -> list[tuple[int, int, int]]:
        """Return (series, block, place) of those of the instances that are in the index."""
        cursor = await self._connection.execute(
            "SELECT b.series_pk, i.block_pk, i.ord FROM pacs.instance i JOIN pacs.block b USING (block_pk) "
            "WHERE i.orthanc_id = ANY(%s)",
            (list(packed),),
        )
        return [(row[0], row[1], row[2]) for row in await cursor.fetchall()]

    async def _series_keys(self, files: Sequence[IndexedFile]) -> Mapping[SeriesKey, tuple[int, int, int]]:
        """Return the numbers of patient, study and series of each file; new ones get some."""
        wanted = sorted({(f.patient_id, f.issuer, f.study_uid, f.series_uid) for f in files})
        patients, issuers, studies, series = (list(part) for part in zip(*wanted, strict=True))
        execute = self._connection.execute
        await execute(_PATIENTS, (patients, issuers, patients))
        await execute(_STUDIES, (patients, issuers, studies, studies))
        await execute(_SERIES, (patients, issuers, studies, series, series))
        cursor = await execute(_KEYS, (patients, issuers, studies, series))
        keys = {(row[0], row[1], row[2], row[3]): (row[4], row[5], row[6]) for row in await cursor.fetchall()}
        if len(keys) != len(wanted):
            raise _AgainError  # another writer has just removed one that was empty
        return keys

    async def _drop_empty(self, series: set[int]) -> None:
        """Remove those of the series that hold nothing any more, and their studies and patients likewise."""
        cursor = await self._connection.execute(
            "DELETE FROM pacs.series s WHERE series_pk = ANY(%s) "
            "AND NOT EXISTS (SELECT FROM pacs.block b WHERE b.series_pk = s.series_pk) RETURNING study_pk",
            (list(series),),
        )
        studies = [row[0] for row in await cursor.fetchall()]
        if not studies:
            return
        cursor = await self._connection.execute(
            "DELETE FROM pacs.study t WHERE study_pk = ANY(%s) "
            "AND NOT EXISTS (SELECT FROM pacs.series s WHERE s.study_pk = t.study_pk) RETURNING patient_pk",
            (studies,),
        )
        patients = [row[0] for row in await cursor.fetchall()]
        await self._connection.execute(
            "DELETE FROM pacs.patient p WHERE patient_pk = ANY(%s) "
            "AND NOT EXISTS (SELECT FROM pacs.study t WHERE t.patient_pk = p.patient_pk)",
            (patients,),
        )

    async def sweep(self) -> int:
        """Remove contents and path sets that no block has any more; return how many contents.

        They are looked for while others write; others only wait while it is made sure of them and they are removed.
        """
        found = await self._connection.execute(_UNUSED)
        unused = [row[0] for row in await found.fetchall()]
        is_any = unused or await self._one(f"SELECT EXISTS (SELECT FROM {_UNUSED_SETS})")  # noqa: S608 - ours
        if not is_any:
            return 0
        async with self._connection.transaction():
            await self._connection.execute("SELECT pg_advisory_xact_lock(%s)", (SWEEP_LOCK,))
            # By the index of the blocks: reading all of them is what would take long.
            await self._connection.execute("SET LOCAL enable_seqscan = off")
            await self._connection.execute(
                "CREATE TEMP TABLE used ON COMMIT DROP AS SELECT unnest(vals) AS id FROM pacs.block "
                "WHERE vals OPERATOR(pg_catalog.&&) %s::int[]",
                (unused,),
            )
            await self._connection.execute("SET LOCAL enable_seqscan = on")
            cursor = await self._connection.execute(
                "DELETE FROM pacs.value v WHERE value_id = ANY(%s) AND value_id NOT IN (SELECT id FROM used) "
                "AND value_id NOT IN (SELECT unnest(ids) FROM pacs.vary WHERE ids IS NOT NULL AND path_id IN "
                "(SELECT w.path_id FROM pacs.value w WHERE w.value_id = ANY(%s)))",
                (unused, unused),
            )
            gone = cursor.rowcount
            sets = await self._connection.execute(f"DELETE FROM {_UNUSED_SETS}".encode())  # noqa: S608 - ours
            if gone or sets.rowcount:
                await self._connection.execute("UPDATE pacs.feed SET sweeps = sweeps + 1")
        return gone

    async def note(
        self,
        *,
        newest: int | None = None,
        reconciled: bool = False,
        verified: bool = False,
        trouble: str | None = None,
    ) -> None:
        """Leave a sign of life, for `status`, and why the indexing pauses; nothing = it does not."""
        await self._connection.execute(
            "UPDATE pacs.feed SET seen_at = now(), newest = coalesce(%s, newest), trouble = %s, "
            "reconciled_at = CASE WHEN %s THEN now() ELSE reconciled_at END, "
            "verified_at = CASE WHEN %s THEN now() ELSE verified_at END",
            (newest, trouble, reconciled, verified),
        )

    async def rewind(self) -> None:
        """Go back to the beginning of the feed: Orthanc's own has started anew."""
        await self._connection.execute("UPDATE pacs.feed SET position = 0")
