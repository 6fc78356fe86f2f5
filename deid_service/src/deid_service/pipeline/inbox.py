"""The ingest Orthanc as a durable inbox: what arrives there is queued, exactly one process at a time doing so.

The ingest Orthanc's change log tells what is new; position and jobs are stored in one transaction, so nothing is
queued twice or skipped. The log is a convenience only. What counts is the server's own list of instances, with which
the table ``inbox`` is reconciled at the start and every minute.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import Any

import psycopg

from deid_service._orthanc import Orthanc
from deid_service.pipeline.errors import OrthancRefusalError, OrthancUnavailableError
from deid_service.pipeline.jobs import QUEUE, enqueue, recover_stalled
from deid_service.pipeline.outcomes import count
from deid_service.pipeline.schema import conninfo, explain
from deid_service.pipeline.troubles import Troubles

__all__ = ["Feeder"]

_log = logging.getLogger("deid_service.pipeline")

# Any number will do (pg_advisory_lock), as long as it differs from the one in `schema`.
_FEEDER_LOCK = 0x6465_6964_0002
_POLL_SECONDS = 0.25
_STANDBY_SECONDS = 1.0
_RECOVER_SECONDS = 1.0
_RECONCILE_SECONDS = 60.0


class Feeder:
    """Queues what arrives in the ingest Orthanc.

    Every process of the service has one. The one whose database session holds the advisory lock works, the others
    stand by. All its writes go through that very session, so a feeder that lost the lock cannot write any more.

    Parameters
    ----------
    database_url
        PostgreSQL address.
    ingest
        The ingest Orthanc.
    troubles
        Where trouble is reported.

    Attributes
    ----------
    active
        Whether this one holds the lock.
    """

    def __init__(self, database_url: str, ingest: Orthanc, troubles: Troubles) -> None:
        self._conninfo = conninfo(database_url)
        self._ingest = ingest
        self._troubles = troubles
        self.active = False

    async def run(self, stop: asyncio.Event) -> None:
        """Feed the queue, or stand by to, until `stop` is set."""
        while not stop.is_set():
            try:
                connection = await psycopg.AsyncConnection.connect(self._conninfo, autocommit=True)
                async with connection:
                    await self._run_with(connection, stop)
            except psycopg.Error as error:
                self._troubles.report("database", explain(error))
            finally:
                self.active = False
            await pause(stop, _STANDBY_SECONDS)

    async def run_once(self) -> None:
        """Queue what is in the ingest Orthanc now, if no other process does; for a run that is to end.

        Raises
        ------
        OrthancUnavailableError
            If the ingest Orthanc does not answer.
        """
        async with await psycopg.AsyncConnection.connect(self._conninfo, autocommit=True) as connection:
            if await self._lock(connection):
                await recover_stalled(connection)
                await self._reconcile(connection)

    async def _lock(self, connection: psycopg.AsyncConnection) -> bool:
        return bool(await _scalar(connection, "SELECT pg_try_advisory_lock(%s)", _FEEDER_LOCK))

    async def _run_with(self, connection: psycopg.AsyncConnection, stop: asyncio.Event) -> None:
        while not await self._lock(connection):
            await pause(stop, _STANDBY_SECONDS)
            if stop.is_set():
                return
        self.active = True
        _log.info("this process feeds the queue from %s (%s)", self._ingest.name, self._ingest.address)
        next_reconcile = next_recover = 0.0
        while not stop.is_set():
            now = time.monotonic()
            more = False
            try:
                if now >= next_recover:
                    next_recover = now + _RECOVER_SECONDS
                    if recovered := await recover_stalled(connection):
                        _log.warning("%d batches of a worker that died go to others", recovered)
                if now >= next_reconcile:
                    await self._reconcile(connection)
                    next_reconcile = now + _RECONCILE_SECONDS
                more = not await self._follow(connection)
                self._troubles.clear("feeder")
            except (OrthancUnavailableError, OrthancRefusalError) as error:
                self._troubles.report("feeder", f"nothing new is queued: {error}")
                await pause(stop, _STANDBY_SECONDS)
            if not more:
                await pause(stop, _POLL_SECONDS)

    async def _follow(self, connection: psycopg.AsyncConnection) -> bool:
        """Queue the next page of the change log; return whether that was the last one."""
        position = await _scalar(connection, "SELECT position FROM feed")
        if position is None:
            await self._reconcile(connection)
            return False
        page = await asyncio.to_thread(self._ingest.changes, position)
        if page.last > position:
            async with connection.transaction():
                await self._queue(connection, page.new_instances)
                await connection.execute("UPDATE feed SET position = %s", (page.last,))
        return page.done

    async def _queue(self, connection: psycopg.AsyncConnection, orthanc_ids: Sequence[str]) -> None:
        """Queue instances, in the caller's transaction, but for those that are queued already.

        One whose original is just being deleted (``settled``) is queued: it arrived again in this moment.
        """
        if not orthanc_ids:
            return
        cursor = await connection.execute(
            """
            INSERT INTO inbox (orthanc_id) SELECT DISTINCT unnest(%s::text[]) ORDER BY 1
            ON CONFLICT (orthanc_id) DO UPDATE SET state = 'queued', queued_at = now() WHERE inbox.state = 'settled'
            RETURNING orthanc_id
            """,
            (list(orthanc_ids),),
        )
        fresh = {row[0] for row in await cursor.fetchall()}
        if fresh:
            await count(connection, "arrived", len(fresh))
        # In order of arrival, so that a study's slices share batches, hence journal rows.
        await enqueue(connection, [i for i in dict.fromkeys(orthanc_ids) if i in fresh])

    async def _reconcile(self, connection: psycopg.AsyncConnection) -> None:
        """Queue every instance of the ingest Orthanc that nobody knows of, and instances whose job is lost."""
        position = await _scalar(connection, "SELECT position FROM feed")
        newest = await asyncio.to_thread(self._ingest.last_change)
        if position is None or position > newest:
            # The first start, or another server (or a restored one) than before, whose log begins anew.
            await connection.execute("UPDATE feed SET position = %s", (newest,))
        present = await asyncio.to_thread(self._ingest.instances)
        while not await self._follow(connection):
            # Whatever is in the list arrived before the log's end: after this it is known, unless the log lacks it.
            pass
        unknown = await self._unknown(connection, present)
        # One that was finished since the list was made is not unknown, but gone.
        still = set(await asyncio.to_thread(self._ingest.instances)) if unknown else set()
        missing = [orthanc_id for orthanc_id in unknown if orthanc_id in still]
        lost = await self._lost(connection)
        async with connection.transaction():
            await self._queue(connection, missing)
            await enqueue(connection, lost)
            removed = await self._remove_stale_quarantine(connection, present)
            await connection.execute("UPDATE feed SET reconciled = now()")
            await connection.execute("DELETE FROM minute WHERE minute < now() - interval '1 day'")
        if missing or lost:
            _log.info("%d instances of the ingest Orthanc were not queued and now are", len(missing) + len(lost))
        if removed:
            _log.warning("%d instances in quarantine were removed from the ingest Orthanc by somebody", removed)

    async def _remove_stale_quarantine(self, connection: psycopg.AsyncConnection, present: Sequence[str]) -> int:
        """Forget instances in quarantine that are not there any more; return how many."""
        # Those of the last minutes may be younger than the list of what is present.
        cursor = await connection.execute(
            """
            DELETE FROM quarantine WHERE last_seen < now() - interval '5 minutes'
                AND orthanc_id NOT IN (SELECT unnest(%s::text[]))
            """,
            (list(present),),
        )
        if cursor.rowcount:
            await count(connection, "gone", cursor.rowcount)
        return cursor.rowcount

    async def _unknown(self, connection: psycopg.AsyncConnection, present: Sequence[str]) -> list[str]:
        cursor = await connection.execute(
            """
            SELECT id FROM unnest(%s::text[]) WITH ORDINALITY AS here (id, place)
            WHERE NOT EXISTS (SELECT FROM inbox WHERE orthanc_id = id)
                AND NOT EXISTS (SELECT FROM quarantine WHERE orthanc_id = id)
            ORDER BY place
            """,
            (list(present),),
        )
        return [row[0] for row in await cursor.fetchall()]

    async def _lost(self, connection: psycopg.AsyncConnection) -> list[str]:
        """Return instances that are in the table but in no job, whoever removed it (one snapshot sees both)."""
        cursor = await connection.execute(
            """
            SELECT orthanc_id FROM inbox
            WHERE queued_at < now() - interval '1 minute' AND orthanc_id NOT IN (
                SELECT jsonb_array_elements_text(args -> 'ids') FROM procrastinate_jobs
                WHERE queue_name = %s AND status IN ('todo', 'doing')
            )
            ORDER BY queued_at
            """,
            (QUEUE,),
        )
        return [row[0] for row in await cursor.fetchall()]


async def pause(stop: asyncio.Event, seconds: float) -> None:
    """Wait, but not past the stop."""
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return


async def _scalar(connection: psycopg.AsyncConnection, query: str, *values: object) -> Any:
    row = await (await connection.execute(query.encode(), values)).fetchone()
    return None if row is None else row[0]
