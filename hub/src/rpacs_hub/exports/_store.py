"""Read and write the tables of exports. Every statement names the owner or the run it speaks for."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from psycopg import AsyncConnection
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool

from rpacs_hub.exports._reasons import PERMANENT, describe
from rpacs_hub.exports.errors import ExportNotFound
from rpacs_hub.exports.records import Export, ExportFormat, ExportState, FailedInstance, InstanceRef
from rpacs_hub.exports.request import Destination, ExportRequest
from rpacs_hub.exports.schema import create_tables

_ACTIVE = [state.value for state in ExportState if state.active]


@dataclass(frozen=True, slots=True)
class PendingInstance:
    """An instance that is still to be sent."""

    ordinal: int
    orthanc_id: str
    study_uid: str
    series_uid: str
    sop_uid: str
    size: int | None


@dataclass(frozen=True, slots=True)
class Mark:
    """What became of one instance: sent with so many bytes, or failed for a reason."""

    ordinal: int
    bytes: int
    reason: str | None = None


class ExportStore:
    """The exports of one database.

    Parameters
    ----------
    pool
        Open pool of connections as the role that owns the schema ``gateway``. Its row factory does not matter.
    """

    def __init__(self, pool: AsyncConnectionPool[Any]):
        self._pool = pool

    async def prepare(self, message: str, hint: str) -> list[UUID]:
        """Create the tables and call what was waiting or running ``interrupted``; returns the ids of those."""
        async with self._pool.connection() as connection:
            await create_tables(connection)
            rows = await _fetch(
                connection,
                "UPDATE gateway.exports SET state = 'interrupted', run = run + 1, finished = clock_timestamp(),"
                " message = %s, hint = %s WHERE state = ANY(%s) RETURNING id",
                (message, hint, _ACTIVE),
            )
        return [row["id"] for row in rows]

    async def insert(
        self, user: str, request: ExportRequest, instances: Sequence[InstanceRef], rejected: dict[int, str]
    ) -> Export:
        """Write a new export with its instances; `rejected` are the ordinals that fail already, with their reason."""
        export_id = uuid4()
        async with self._pool.connection() as connection, connection.transaction():
            rows = await _fetch(
                connection,
                "INSERT INTO gateway.exports (id, owner, level, query, bucket, prefix, endpoint_url, region, format,"
                " total, failed) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) RETURNING *",
                (
                    export_id,
                    user,
                    request.level,
                    request.query,
                    request.destination.bucket,
                    request.destination.prefix,
                    request.endpoint_url,
                    request.region,
                    request.format.value,
                    len(instances),
                    len(rejected),
                ),
            )
            async with (
                connection.cursor() as cursor,
                cursor.copy(
                    "COPY gateway.export_instances"
                    " (export_id, ordinal, orthanc_id, study_uid, series_uid, sop_uid, size, state, reason) FROM STDIN"
                ) as copy,
            ):
                for ordinal, instance in enumerate(instances):
                    reason = rejected.get(ordinal)
                    state = "pending" if reason is None else "failed"
                    await copy.write_row(
                        (
                            export_id,
                            ordinal,
                            instance.orthanc_id,
                            instance.study_uid,
                            instance.series_uid,
                            instance.sop_uid,
                            instance.size,
                            state,
                            reason,
                        )
                    )
        return _export(rows[0])

    async def latest(self, user: str, limit: int) -> list[Export]:
        """Return a user's exports, newest first."""
        async with self._pool.connection() as connection:
            rows = await _fetch(
                connection,
                "SELECT * FROM gateway.exports WHERE owner = %s ORDER BY created DESC, id DESC LIMIT %s",
                (user, limit),
            )
        return [_export(row) for row in rows]

    async def everyones(self, *, user: str | None, active: bool, before: UUID | None, limit: int) -> list[Export]:
        """Return exports of everybody, newest first; `before` is the last one of the page before."""
        async with self._pool.connection() as connection:
            rows = await _fetch(
                connection,
                "SELECT * FROM gateway.exports WHERE (%s::text IS NULL OR owner = %s)"
                " AND (NOT %s OR state = ANY(%s)) AND (%s::uuid IS NULL OR"
                " (created, id) < (SELECT created, id FROM gateway.exports WHERE id = %s))"
                " ORDER BY created DESC, id DESC LIMIT %s",
                (user, user, active, _ACTIVE, before, before, limit),
            )
        return [_export(row) for row in rows]

    async def owner(self, export_id: UUID) -> str:
        """Return whose an export is.

        Raises
        ------
        ExportNotFound
            There is none.
        """
        async with self._pool.connection() as connection:
            rows = await _fetch(connection, "SELECT owner FROM gateway.exports WHERE id = %s", (export_id,))
        if not rows:
            raise ExportNotFound
        return str(rows[0]["owner"])

    async def get(self, user: str, export_id: UUID, *, failures: int = 0) -> Export:
        """Return one export of this user, with its first failures.

        Raises
        ------
        ExportNotFound
            There is none, or it is somebody else's.
        """
        async with self._pool.connection() as connection:
            rows = await _fetch(
                connection, "SELECT * FROM gateway.exports WHERE id = %s AND owner = %s", (export_id, user)
            )
            if not rows:
                raise ExportNotFound
            failed: list[dict[str, Any]] = []
            if failures and rows[0]["failed"]:
                failed = await _fetch(
                    connection,
                    "SELECT sop_uid, reason FROM gateway.export_instances"
                    " WHERE export_id = %s AND state = 'failed' ORDER BY ordinal LIMIT %s",
                    (export_id, failures),
                )
        return _export(
            rows[0], tuple(FailedInstance(row["sop_uid"], row["reason"], describe(row["reason"])) for row in failed)
        )

    async def begin(self, export_id: UUID) -> int | None:
        """Turn a waiting export into a running one and return the run's number; None if it waits no longer."""
        async with self._pool.connection() as connection:
            rows = await _fetch(
                connection,
                "UPDATE gateway.exports SET state = 'running', run = run + 1, started = clock_timestamp(),"
                " finished = NULL, message = '', hint = '' WHERE id = %s AND state = 'queued' RETURNING run",
                (export_id,),
            )
        return rows[0]["run"] if rows else None

    async def pending(self, export_id: UUID, after: int, limit: int) -> list[PendingInstance]:
        """Return the next instances to send, in order."""
        async with self._pool.connection() as connection:
            rows = await _fetch(
                connection,
                "SELECT ordinal, orthanc_id, study_uid, series_uid, sop_uid, size FROM gateway.export_instances"
                " WHERE export_id = %s AND ordinal > %s AND state = 'pending' ORDER BY ordinal LIMIT %s",
                (export_id, after, limit),
            )
        return [PendingInstance(**row) for row in rows]

    async def mark(self, export_id: UUID, run: int, marks: Sequence[Mark]) -> bool:
        """Record what became of instances, and count it; False when this run was taken over and nothing was written."""
        done = [mark for mark in marks if mark.reason is None]
        async with self._pool.connection() as connection, connection.transaction():
            rows = await _fetch(
                connection,
                "UPDATE gateway.exports SET done = done + %s, failed = failed + %s, bytes = bytes + %s"
                " WHERE id = %s AND run = %s AND state = 'running' RETURNING id",
                (len(done), len(marks) - len(done), sum(mark.bytes for mark in done), export_id, run),
            )
            if not rows:
                return False
            await connection.execute(
                "UPDATE gateway.export_instances AS i SET bytes = m.bytes, reason = m.reason,"
                " state = CASE WHEN m.reason IS NULL THEN 'done' ELSE 'failed' END"
                " FROM unnest(%s::integer[], %s::bigint[], %s::text[]) AS m (ordinal, bytes, reason)"
                " WHERE i.export_id = %s AND i.ordinal = m.ordinal",
                (
                    [mark.ordinal for mark in marks],
                    [mark.bytes for mark in marks],
                    [mark.reason for mark in marks],
                    export_id,
                ),
            )
        return True

    async def finish(self, export_id: UUID, run: int | None, state: ExportState, message: str, hint: str) -> bool:
        """Write the end of a run, or with ``run=None`` of an active export whoever runs it."""
        async with self._pool.connection() as connection:
            rows = await _fetch(
                connection,
                "UPDATE gateway.exports SET state = %s, run = run + 1, finished = clock_timestamp(), message = %s,"
                " hint = %s WHERE id = %s AND state = ANY(%s) AND (%s::integer IS NULL OR run = %s) RETURNING id",
                (state.value, message, hint, export_id, _ACTIVE, run, run),
            )
        return bool(rows)

    async def requeue(self, user: str, export_id: UUID) -> bool:
        """Make an ended export wait again, with those failed instances that may yet succeed.

        False if it is active or has nothing to do.
        """
        async with self._pool.connection() as connection, connection.transaction():
            rows = await _fetch(
                connection,
                "UPDATE gateway.exports SET state = 'queued', run = run + 1, finished = NULL, message = '', hint = '',"
                " failed = (SELECT count(*) FROM gateway.export_instances"
                " WHERE export_id = %s AND state = 'failed' AND reason = ANY(%s))"
                " WHERE id = %s AND owner = %s AND done < total AND NOT state = ANY(%s) RETURNING id",
                (export_id, PERMANENT, export_id, user, _ACTIVE),
            )
            if not rows:
                return False
            await connection.execute(
                "UPDATE gateway.export_instances SET state = 'pending', reason = NULL"
                " WHERE export_id = %s AND state = 'failed' AND NOT reason = ANY(%s)",
                (export_id, PERMANENT),
            )
        return True

    async def reject(self, export_id: UUID, ordinals: Collection[int], reason: str) -> None:
        """Let instances of a waiting export fail before they are tried."""
        async with self._pool.connection() as connection, connection.transaction():
            await connection.execute(
                "UPDATE gateway.export_instances SET state = 'failed', reason = %s"
                " WHERE export_id = %s AND ordinal = ANY(%s) AND state = 'pending'",
                (reason, export_id, list(ordinals)),
            )
            await connection.execute(
                "UPDATE gateway.exports SET failed = failed + %s WHERE id = %s", (len(ordinals), export_id)
            )

    async def reasons(self, export_id: UUID) -> dict[str, int]:
        """Count the failed instances by reason."""
        async with self._pool.connection() as connection:
            rows = await _fetch(
                connection,
                "SELECT reason, count(*) AS n FROM gateway.export_instances"
                " WHERE export_id = %s AND state = 'failed' GROUP BY reason ORDER BY n DESC, reason",
                (export_id,),
            )
        return {row["reason"]: row["n"] for row in rows}


async def _fetch(connection: AsyncConnection[Any], statement: str, parameters: Iterable[Any]) -> list[dict[str, Any]]:
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(statement.encode(), tuple(parameters))
        return await cursor.fetchall()


def _export(row: dict[str, Any], failures: tuple[FailedInstance, ...] = ()) -> Export:
    return Export(
        id=row["id"],
        user=row["owner"],
        created=row["created"],
        state=ExportState(row["state"]),
        level=row["level"],
        query=row["query"],
        destination=str(Destination(row["bucket"], row["prefix"])),
        endpoint_url=row["endpoint_url"],
        region=row["region"],
        format=ExportFormat(row["format"]),
        total=row["total"],
        done=row["done"],
        failed=row["failed"],
        bytes=row["bytes"],
        message=row["message"],
        hint=row["hint"],
        started=row["started"],
        finished=row["finished"],
        failures=failures,
    )
