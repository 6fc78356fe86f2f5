"""What became of a batch, and how it is written down in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import psycopg

from deid_service.journal import JournalledMapping
from deid_service.pipeline.kinds import Kind

__all__ = ["BatchResult", "QuarantineReason", "count", "record", "remove_settled"]


@dataclass(frozen=True)
class QuarantineReason:
    """Why an instance goes to quarantine, and what kind of instance it is. Nothing of it is patient data."""

    reason: str
    message: str
    kind: Kind = field(default_factory=Kind)


@dataclass
class BatchResult:
    """What became of each instance of a batch; every id is in exactly one place.

    Attributes
    ----------
    done
        The clean copy is confirmed in the research Orthanc; the original may go.
    discarded
        The rules say that it is not forwarded; the original may go.
    quarantined
        It stays in the ingest Orthanc, with the reason.
    gone
        Not in the ingest Orthanc any more.
    left
        To be tried again later.
    unbegun
        Nobody began with it: for the next who has time.
    mappings
        Pseudonyms of the instances in `done`.
    """

    done: list[str] = field(default_factory=list)
    discarded: list[str] = field(default_factory=list)
    quarantined: dict[str, QuarantineReason] = field(default_factory=dict)
    gone: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    unbegun: list[str] = field(default_factory=list)
    mappings: list[JournalledMapping] = field(default_factory=list)

    @property
    def settled(self) -> list[str]:
        """The instances whose originals may go."""
        return self.done + self.discarded


async def record(connection: psycopg.AsyncConnection, result: BatchResult, rules_digest: str) -> dict[str, int]:
    """Write the outcomes, in the caller's transaction, and return how many of each are new.

    A batch that is worked on twice, because a worker died or was thought dead, is counted once: only rows that change
    from ``queued`` count.
    """
    counts = {
        "done": await _settle(connection, result.done),
        "discarded": await _settle(connection, result.discarded),
    }
    if result.settled or result.gone:
        await connection.execute(
            "DELETE FROM quarantine WHERE orthanc_id = ANY(%s)", (sorted(result.settled + result.gone),)
        )
    if result.gone:
        cursor = await connection.execute(
            """
            WITH old AS (DELETE FROM inbox WHERE orthanc_id = ANY(%s) RETURNING state)
            SELECT count(*) FROM old WHERE state = 'queued'
            """,
            (sorted(result.gone),),
        )
        row = await cursor.fetchone()
        counts["gone"] = int(row[0]) if row else 0
    if result.quarantined:
        counts["quarantined"] = await _quarantine(connection, result.quarantined, rules_digest)
    counts = {outcome: number for outcome, number in counts.items() if number}
    for outcome, number in sorted(counts.items()):
        await count(connection, outcome, number)
    return counts


async def _settle(connection: psycopg.AsyncConnection, orthanc_ids: Sequence[str]) -> int:
    if not orthanc_ids:
        return 0
    cursor = await connection.execute(
        "UPDATE inbox SET state = 'settled' WHERE orthanc_id = ANY(%s) AND state = 'queued'", (sorted(orthanc_ids),)
    )
    return cursor.rowcount


async def _quarantine(
    connection: psycopg.AsyncConnection, problems: dict[str, QuarantineReason], rules_digest: str
) -> int:
    ids = sorted(problems)
    await connection.execute(
        """
        INSERT INTO quarantine (orthanc_id, reason, message, rules_digest, modality, sop_class, bytes)
        SELECT id, reason, message, %s, modality, sop_class, bytes
        FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::bigint[])
            AS new (id, reason, message, modality, sop_class, bytes)
        ON CONFLICT (orthanc_id) DO UPDATE SET reason = excluded.reason, message = excluded.message,
            rules_digest = excluded.rules_digest, attempts = quarantine.attempts + 1, last_seen = now(),
            modality = coalesce(excluded.modality, quarantine.modality),
            sop_class = coalesce(excluded.sop_class, quarantine.sop_class),
            bytes = coalesce(excluded.bytes, quarantine.bytes)
        """,
        (
            rules_digest,
            ids,
            [problems[i].reason for i in ids],
            [problems[i].message for i in ids],
            [problems[i].kind.modality for i in ids],
            [problems[i].kind.sop_class for i in ids],
            [problems[i].kind.size for i in ids],
        ),
    )
    cursor = await connection.execute("DELETE FROM inbox WHERE orthanc_id = ANY(%s)", (ids,))
    return cursor.rowcount


async def count(connection: psycopg.AsyncConnection, outcome: str, number: int) -> None:
    """Add to the counters."""
    await connection.execute(
        """
        WITH total AS (
            INSERT INTO counter (outcome, instances) VALUES (%(outcome)s, %(number)s)
            ON CONFLICT (outcome) DO UPDATE SET instances = counter.instances + excluded.instances
        )
        INSERT INTO minute (minute, outcome, instances) VALUES (date_trunc('minute', now()), %(outcome)s, %(number)s)
        ON CONFLICT (minute, outcome) DO UPDATE SET instances = minute.instances + excluded.instances
        """,
        {"outcome": outcome, "number": number},
    )


async def remove_settled(connection: psycopg.AsyncConnection, orthanc_ids: Sequence[str]) -> None:
    """Forget instances whose originals are deleted, unless they arrived anew meanwhile."""
    await connection.execute(
        "DELETE FROM inbox WHERE orthanc_id = ANY(%s) AND state = 'settled'", (sorted(orthanc_ids),)
    )
