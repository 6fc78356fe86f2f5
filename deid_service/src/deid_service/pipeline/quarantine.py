"""The quarantine: instances that could not be cleaned, and what a person may do with them.

The instances themselves stay in the ingest Orthanc, which is where to look at them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import psycopg
from psycopg.rows import class_row

from deid_service._orthanc import Orthanc
from deid_service.pipeline.errors import QuarantineError
from deid_service.pipeline.jobs import enqueue
from deid_service.pipeline.outcomes import count
from deid_service.pipeline.schema import conninfo

__all__ = ["Quarantined", "Selection", "discard", "read", "retry"]


@dataclass(frozen=True)
class Quarantined:
    """An instance in quarantine.

    Attributes
    ----------
    orthanc_id
        Its id in the ingest Orthanc.
    reason, message
        Why, as a code and in words, without patient data.
    rules_digest
        SHA-256 of the rules that were in force.
    attempts
        How often it was tried.
    first_seen, last_seen
        When it was put here first and last.
    retrying
        Whether it is queued again at the moment.
    """

    orthanc_id: str
    reason: str
    message: str
    rules_digest: str
    attempts: int
    first_seen: datetime
    last_seen: datetime
    retrying: bool


@dataclass(frozen=True)
class Selection:
    """Which instances of the quarantine are meant.

    Attributes
    ----------
    ids
        These, by Orthanc id.
    reason
        Those with this reason code.
    everything
        All of them.
    """

    ids: Sequence[str] = ()
    reason: str | None = None
    everything: bool = False


async def read(database_url: str, selection: Selection) -> list[Quarantined]:
    """Return the instances of a selection, the oldest first.

    Raises
    ------
    QuarantineError
        If an id of the selection is not in quarantine.
    psycopg.OperationalError
        If the database does not answer.
    """
    async with await psycopg.AsyncConnection.connect(conninfo(database_url)) as connection:
        return await _read(connection, selection)


async def _read(connection: psycopg.AsyncConnection, selection: Selection) -> list[Quarantined]:
    async with connection.cursor(row_factory=class_row(Quarantined)) as cursor:
        await cursor.execute(
            """
            SELECT orthanc_id, reason, message, rules_digest, attempts, first_seen, last_seen,
                EXISTS (SELECT FROM inbox WHERE inbox.orthanc_id = quarantine.orthanc_id) AS retrying
            FROM quarantine
            WHERE %(everything)s OR orthanc_id = ANY(%(ids)s) OR reason = %(reason)s
            ORDER BY first_seen, orthanc_id
            """,
            {"everything": selection.everything, "ids": list(selection.ids), "reason": selection.reason},
        )
        found = await cursor.fetchall()
    missing = set(selection.ids) - {row.orthanc_id for row in found}
    if missing:
        raise QuarantineError(
            f"not in quarantine: {', '.join(sorted(missing))}. `rpacs-deid quarantine list` shows what is"
        )
    return found


async def retry(database_url: str, selection: Selection) -> int:
    """Queue the instances again, for the rules that are in force when their turn comes; return how many.

    Raises
    ------
    QuarantineError
        If an id of the selection is not in quarantine.
    """
    async with await psycopg.AsyncConnection.connect(conninfo(database_url)) as connection:
        found = await _read(connection, selection)
        cursor = await connection.execute(
            """
            INSERT INTO inbox (orthanc_id) SELECT unnest(%s::text[]) ON CONFLICT (orthanc_id) DO NOTHING
            RETURNING orthanc_id
            """,
            (sorted(row.orthanc_id for row in found),),
        )
        fresh = {row[0] for row in await cursor.fetchall()}
        await enqueue(connection, [row.orthanc_id for row in found if row.orthanc_id in fresh])
    return len(fresh)


async def discard(database_url: str, ingest_url: str, selection: Selection) -> int:
    """Delete the instances for good, from the ingest Orthanc too; return how many.

    Raises
    ------
    QuarantineError
        If an id of the selection is not in quarantine.
    OrthancUnavailableError
        If the ingest Orthanc does not answer; nothing was deleted then.
    """
    ingest = Orthanc(ingest_url, "ingest Orthanc")
    try:
        async with await psycopg.AsyncConnection.connect(conninfo(database_url)) as connection:
            found = [row.orthanc_id for row in await _read(connection, selection) if not row.retrying]
            # First the instances: a row without its instance is harmless, an instance without its row would be
            # taken for a new arrival.
            ingest.delete_instances(found)
            await connection.execute("DELETE FROM quarantine WHERE orthanc_id = ANY(%s)", (found,))
            if found:
                await count(connection, "discarded_by_hand", len(found))
    finally:
        ingest.close()
    return len(found)
