"""The quarantine: instances that could not be cleaned, and what a person may do with them.

The instances themselves stay in the ingest Orthanc, which is where to look at them.
"""

from __future__ import annotations

import asyncio
import re
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

__all__ = ["Quarantined", "Selection", "delete", "discard", "find", "queue_again", "read", "retry"]

_NUMBER = re.compile("[0-9]{1,18}")


@dataclass(frozen=True)
class Quarantined:
    """An instance in quarantine.

    Attributes
    ----------
    number
        What it is called where Orthanc's id must not be known, as on the hub's admin pages.
    orthanc_id
        Its id in the ingest Orthanc.
    reason, message
        Why, as a code and in words, without patient data.
    modality, sop_class, bytes
        What kind of instance it is and how long its file, where that is known (see `deid_service.pipeline.kinds`).
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
    number: int
    reason: str
    message: str
    modality: str | None
    sop_class: str | None
    bytes: int | None
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
        These, by Orthanc id or by number.
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
        found = await find(connection, selection)
    named = {row.orthanc_id for row in found} | {str(row.number) for row in found}
    if missing := sorted(set(selection.ids) - named):
        raise QuarantineError(f"not in quarantine: {', '.join(missing)}. `rpacs-deid quarantine list` shows what is")
    return found


async def find(connection: psycopg.AsyncConnection, selection: Selection) -> list[Quarantined]:
    """Return the instances of a selection, the oldest first; what is not in quarantine is left out."""
    async with connection.cursor(row_factory=class_row(Quarantined)) as cursor:
        await cursor.execute(
            """
            SELECT orthanc_id, number, reason, message, modality, sop_class, bytes, rules_digest, attempts,
                first_seen, last_seen,
                EXISTS (SELECT FROM inbox WHERE inbox.orthanc_id = quarantine.orthanc_id) AS retrying
            FROM quarantine
            WHERE %(everything)s OR orthanc_id = ANY(%(ids)s) OR number = ANY(%(numbers)s) OR reason = %(reason)s
            ORDER BY first_seen, orthanc_id
            """,
            {
                "everything": selection.everything,
                "ids": list(selection.ids),
                "numbers": [int(text) for text in selection.ids if _NUMBER.fullmatch(text)],
                "reason": selection.reason,
            },
        )
        return await cursor.fetchall()


async def retry(database_url: str, selection: Selection) -> int:
    """Queue the instances again, for the rules that are in force when their turn comes; return how many.

    Raises
    ------
    QuarantineError
        If an id of the selection is not in quarantine.
    """
    await read(database_url, selection)
    async with await psycopg.AsyncConnection.connect(conninfo(database_url)) as connection:
        return await queue_again(connection, await find(connection, selection))


async def queue_again(connection: psycopg.AsyncConnection, found: Sequence[Quarantined]) -> int:
    """Queue instances again, in the caller's transaction; return how many were not queued already."""
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
    await read(database_url, selection)
    ingest = Orthanc(ingest_url, "ingest Orthanc")
    try:
        async with await psycopg.AsyncConnection.connect(conninfo(database_url)) as connection:
            return await delete(connection, ingest, await find(connection, selection))
    finally:
        ingest.close()


async def delete(connection: psycopg.AsyncConnection, ingest: Orthanc, found: Sequence[Quarantined]) -> int:
    """Delete instances for good, in the caller's transaction, but for those that are queued again; return how many.

    Raises
    ------
    OrthancUnavailableError, OrthancRefusalError
        If the ingest Orthanc did not do it.
    """
    ids = [row.orthanc_id for row in found if not row.retrying]
    # First the instances: a row without its instance is harmless, an instance without its row would be taken for a
    # new arrival.
    await asyncio.to_thread(ingest.delete_instances, ids)
    await connection.execute("DELETE FROM quarantine WHERE orthanc_id = ANY(%s)", (ids,))
    if ids:
        await count(connection, "discarded_by_hand", len(ids))
    return len(ids)
