"""Retries and discards that were asked for from elsewhere are carried out here, with the service's own rights.

The hub's admin pages cannot touch the queue, the quarantine or the ingest Orthanc. They can put a request into the
table ``request`` (see `shown`), and read there what came of it.
"""

from __future__ import annotations

import asyncio
import logging

import psycopg

from deid_service._orthanc import Orthanc
from deid_service.pipeline import quarantine
from deid_service.pipeline.errors import OrthancRefusalError, OrthancUnavailableError
from deid_service.pipeline.inbox import Feeder, pause
from deid_service.pipeline.quarantine import Selection
from deid_service.pipeline.schema import conninfo, explain
from deid_service.pipeline.troubles import Troubles

__all__ = ["Requests"]

_log = logging.getLogger("deid_service.pipeline")

_POLL_SECONDS = 0.5
# A request that met a dead Orthanc is tried again after so long; others behind it do not wait for it.
_AGAIN_SECONDS = 5.0


class Requests:
    """Carries out what is asked for, one request after another, oldest first.

    Parameters
    ----------
    database_url
        PostgreSQL address.
    ingest
        The ingest Orthanc.
    feeder
        Of the service's processes the one that feeds does this as well.
    troubles
        Where trouble is reported.
    """

    def __init__(self, database_url: str, ingest: Orthanc, feeder: Feeder, troubles: Troubles) -> None:
        self._conninfo = conninfo(database_url)
        self._ingest, self._feeder, self._troubles = ingest, feeder, troubles

    async def run(self, stop: asyncio.Event) -> None:
        """Look for requests until `stop` is set."""
        while not stop.is_set():
            if not self._feeder.active:
                await pause(stop, _POLL_SECONDS)
                continue
            try:
                async with await psycopg.AsyncConnection.connect(self._conninfo, autocommit=True) as connection:
                    while self._feeder.active and not stop.is_set():
                        if not await self._next(connection):
                            await pause(stop, _POLL_SECONDS)
            except psycopg.Error as error:
                self._troubles.report("database", explain(error))
                await pause(stop, _AGAIN_SECONDS)

    async def run_once(self) -> None:
        """Carry out what is asked for now."""
        async with await psycopg.AsyncConnection.connect(self._conninfo, autocommit=True) as connection:
            while await self._next(connection):
                pass

    async def _next(self, connection: psycopg.AsyncConnection) -> bool:
        """Carry out one request; return whether there was one."""
        given: int | None = None
        try:
            async with connection.transaction():
                cursor = await connection.execute(
                    """
                    SELECT id, action, numbers FROM request
                    WHERE state = 'waiting' AND (tried IS NULL OR tried < now() - make_interval(secs => %s))
                    ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED
                    """,
                    (_AGAIN_SECONDS,),
                )
                row = await cursor.fetchone()
                if row is None:
                    return False
                given, action, numbers = row
                done, words = await self._carry_out(connection, action, numbers)
                await connection.execute(
                    "UPDATE request SET state = 'done', instances = %s, outcome = %s, tried = now(), finished = now()"
                    " WHERE id = %s",
                    (done, words, given),
                )
        except (OrthancUnavailableError, OrthancRefusalError) as error:
            await connection.execute(
                "UPDATE request SET tried = now(), outcome = %s WHERE id = %s", (f"waits: {error}", given)
            )
        except psycopg.Error:
            raise
        except Exception as error:  # noqa: BLE001 - one request that cannot be carried out does not end the service
            _log.error("request %s could not be carried out: %s", given, type(error).__name__)
            await connection.execute(
                "UPDATE request SET state = 'failed', outcome = %s, tried = now(), finished = now() WHERE id = %s",
                (f"unexpected {type(error).__name__}: see the de-identifier's log", given),
            )
        else:
            _log.info("request %d: %s", given, words)
        return True

    async def _carry_out(self, connection: psycopg.AsyncConnection, action: str, numbers: list[int]) -> tuple[int, str]:
        found = await quarantine.find(connection, Selection(ids=[str(number) for number in numbers]))
        if action == "retry":
            done, verb = await quarantine.queue_again(connection, found), "queued again"
        else:
            done, verb = await quarantine.delete(connection, self._ingest, found), "discarded"
        words = f"{done} of {len(numbers)} {verb}"
        if gone := len(numbers) - len(found):
            words += f"; {gone} not in quarantine any more"
        if busy := len(found) - done:
            words += f"; {busy} queued again already"
        return done, words
