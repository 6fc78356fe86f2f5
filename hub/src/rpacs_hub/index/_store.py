"""Writes to the index: whole batches, each in one transaction together with the position in the feed."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import psycopg
from psycopg.rows import TupleRow

from rpacs_hub._orthanc import StoredInstance
from rpacs_hub.index._read import IndexedFile
from rpacs_hub.index.schema import DDL, DDL_LOCK, SERVICE_LOCK

__all__ = ["Failure", "Read", "Store", "Stored"]

_log = logging.getLogger(__name__)

Connection = psycopg.AsyncConnection[TupleRow]


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
EXCEPT SELECT patient_id, issuer FROM pacs.patient
ON CONFLICT DO NOTHING
"""
_STUDIES = """
INSERT INTO pacs.study (patient_pk, study_uid)
SELECT DISTINCT p.patient_pk, new.study_uid
FROM unnest(%s::text[], %s::text[], %s::text[]) AS new (patient_id, issuer, study_uid)
JOIN pacs.patient p USING (patient_id, issuer)
EXCEPT SELECT patient_pk, study_uid FROM pacs.study
ON CONFLICT DO NOTHING
"""
_SERIES = """
INSERT INTO pacs.series (study_pk, series_uid)
SELECT DISTINCT t.study_pk, new.series_uid
FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[]) AS new (patient_id, issuer, study_uid, series_uid)
JOIN pacs.patient p USING (patient_id, issuer)
JOIN pacs.study t USING (patient_pk, study_uid)
EXCEPT SELECT study_pk, series_uid FROM pacs.series
ON CONFLICT DO NOTHING
"""
_INSTANCES = """
INSERT INTO pacs.instance
    (series_pk, study_pk, patient_pk, sop_uid, orthanc_id, file_uuid, bytes, tags, document)
SELECT s.series_pk, t.study_pk, p.patient_pk, new.sop_uid, new.orthanc_id, new.file_uuid, new.bytes,
       new.tags::jsonb, new.document::jsonb
FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[],
            %s::bigint[], %s::text[], %s::text[])
     AS new (patient_id, issuer, study_uid, series_uid, sop_uid, orthanc_id, file_uuid, bytes, tags, document)
JOIN pacs.patient p USING (patient_id, issuer)
JOIN pacs.study t ON t.patient_pk = p.patient_pk AND t.study_uid = new.study_uid
JOIN pacs.series s ON s.study_pk = t.study_pk AND s.series_uid = new.series_uid
ON CONFLICT (orthanc_id) DO UPDATE SET
    series_pk = excluded.series_pk, study_pk = excluded.study_pk, patient_pk = excluded.patient_pk,
    sop_uid = excluded.sop_uid, file_uuid = excluded.file_uuid, bytes = excluded.bytes, tags = excluded.tags,
    document = excluded.document, indexed_at = now()
"""
_UNREADABLE = """
INSERT INTO pacs.unreadable (orthanc_id, file_uuid, reason)
SELECT * FROM unnest(%s::text[], %s::text[], %s::text[])
ON CONFLICT (orthanc_id) DO UPDATE SET file_uuid = excluded.file_uuid, reason = excluded.reason, noted_at = now()
"""
_ORPHANS = (
    "DELETE FROM pacs.series s WHERE NOT EXISTS (SELECT FROM pacs.instance i WHERE i.series_pk = s.series_pk)",
    "DELETE FROM pacs.study t WHERE NOT EXISTS (SELECT FROM pacs.series s WHERE s.study_pk = t.study_pk)",
    "DELETE FROM pacs.patient p WHERE NOT EXISTS (SELECT FROM pacs.study t WHERE t.patient_pk = p.patient_pk)",
)


class Store:
    """The index's tables through one connection.

    Parameters
    ----------
    connection
        In autocommit mode, as the role that owns schema ``pacs``.
    """

    def __init__(self, connection: Connection):
        self._connection = connection

    async def prepare(self) -> None:
        """Make the tables where they are missing."""
        async with self._connection.transaction():
            await self._connection.execute("SELECT pg_advisory_xact_lock(%s)", (DDL_LOCK,))
            await self._connection.execute(DDL)

    async def try_lock(self) -> bool:
        """Become the one working indexer, as long as this connection lives."""
        cursor = await self._connection.execute("SELECT pg_try_advisory_lock(%s)", (SERVICE_LOCK,))
        row = await cursor.fetchone()
        return row is not None and bool(row[0])

    async def position(self) -> int:
        """Return the number of the last change that is in the index."""
        row = await (await self._connection.execute("SELECT position FROM pacs.feed")).fetchone()
        return int(row[0]) if row else 0

    async def known(self) -> dict[str, str]:
        """Return the content identity of everything that was read, by Orthanc identifier."""
        cursor = await self._connection.execute(
            "SELECT orthanc_id, file_uuid FROM pacs.instance "
            "UNION ALL SELECT orthanc_id, file_uuid FROM pacs.unreadable"
        )
        return {str(row[0]): str(row[1]) for row in await cursor.fetchall()}

    async def write(
        self,
        reads: Sequence[Read],
        failures: Sequence[Failure],
        removed: Iterable[str] = (),
        position: int | None = None,
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

        Returns
        -------
        Stored
            How many instances were written, how many are unreadable.
        """
        try:
            await self._write(reads, failures, list(removed), position)
        except psycopg.DataError:
            reads, failures = await self._sort_out(reads, list(failures))
            await self._write(reads, failures, list(removed), position)
        except psycopg.OperationalError as error:
            # "Index row size exceeds" comes as an operational error, and has nothing to do with the connection.
            if self._connection.broken or error.sqlstate != "54000":
                raise
            reads, failures = await self._sort_out(reads, list(failures))
            await self._write(reads, failures, list(removed), position)
        return Stored(len(reads), len(failures))

    async def _sort_out(self, reads: Sequence[Read], failures: list[Failure]) -> tuple[list[Read], list[Failure]]:
        """Try each row alone (and undo it) to find those that PostgreSQL does not take."""
        good: list[Read] = []
        for read in reads:
            try:
                async with self._connection.transaction(force_rollback=True):
                    await self._insert([read])
                good.append(read)
            except (psycopg.DataError, psycopg.OperationalError) as error:
                if self._connection.broken:
                    raise
                kind = type(error).__name__
                failures.append(Failure(read.stored, f"the database does not take its values ({kind})"))
        return good, failures

    async def _write(
        self, reads: Sequence[Read], failures: Sequence[Failure], removed: list[str], position: int | None
    ) -> None:
        connection = self._connection
        async with connection.transaction():
            failed = [failure.stored.orthanc_id for failure in failures]
            if reads:
                # An instance that comes back under another issuer leaves its old study and patient empty.
                moved = await self._insert(reads)
                await connection.execute(
                    "DELETE FROM pacs.unreadable WHERE orthanc_id = ANY(%s)", ([r.stored.orthanc_id for r in reads],)
                )
            else:
                moved = False
            if failures:
                await connection.execute(
                    _UNREADABLE, (failed, [f.stored.file_uuid for f in failures], [f.reason for f in failures])
                )
            gone = 0
            if removed or failed:
                cursor = await connection.execute(
                    "DELETE FROM pacs.instance WHERE orthanc_id = ANY(%s)", ([*removed, *failed],)
                )
                gone = cursor.rowcount
            if removed:
                await connection.execute("DELETE FROM pacs.unreadable WHERE orthanc_id = ANY(%s)", (removed,))
            if gone or moved:
                for statement in _ORPHANS:
                    await connection.execute(statement.encode())
            if position is not None:
                await connection.execute("UPDATE pacs.feed SET position = %s, moved_at = now()", (position,))

    async def _insert(self, reads: Sequence[Read]) -> bool:
        """Insert or overwrite; return whether any was there before."""
        files = [read.file for read in reads]
        patients, issuers = [f.patient_id for f in files], [f.issuer for f in files]
        studies, series = [f.study_uid for f in files], [f.series_uid for f in files]
        ids = [read.stored.orthanc_id for read in reads]
        connection = self._connection
        cursor = await connection.execute("SELECT count(*) FROM pacs.instance WHERE orthanc_id = ANY(%s)", (ids,))
        row = await cursor.fetchone()
        await connection.execute(_PATIENTS, (patients, issuers))
        await connection.execute(_STUDIES, (patients, issuers, studies))
        await connection.execute(_SERIES, (patients, issuers, studies, series))
        await connection.execute(
            _INSTANCES,
            (
                *(patients, issuers, studies, series),
                [f.sop_uid for f in files],
                ids,
                [read.stored.file_uuid for read in reads],
                [f.bytes for f in files],
                [f.tags for f in files],
                [f.document for f in files],
            ),
        )
        return bool(row and row[0])

    async def note(self, *, newest: int | None = None, reconciled: bool = False, verified: bool = False) -> None:
        """Leave a sign of life, for `status`."""
        await self._connection.execute(
            "UPDATE pacs.feed SET seen_at = now(), newest = coalesce(%s, newest), "
            "reconciled_at = CASE WHEN %s THEN now() ELSE reconciled_at END, "
            "verified_at = CASE WHEN %s THEN now() ELSE verified_at END",
            (newest, reconciled, verified),
        )

    async def rewind(self) -> None:
        """Go back to the beginning of the feed: Orthanc's own has started anew."""
        await self._connection.execute("UPDATE pacs.feed SET position = 0")
