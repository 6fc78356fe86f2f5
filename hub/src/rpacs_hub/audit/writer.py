"""Writes audit lines to the database and to a file; only when both have taken it may the data leave."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any, Final

import psycopg
import psycopg_pool

from rpacs_hub.audit.chain import BEGINNING, Head, Link, link, read_link
from rpacs_hub.audit.event import AuditEvent
from rpacs_hub.audit.file import AuditFile
from rpacs_hub.errors import AuditUnavailable

__all__ = ["INSERT", "READ_HEAD", "AuditWriter", "cleaned"]

_log = logging.getLogger(__name__)

INSERT: Final = (
    "INSERT INTO audit.event (seq, time, line) SELECT * FROM unnest(%s::bigint[], %s::timestamptz[], %s::text[])"
)
READ_HEAD: Final = "SELECT line FROM audit.event ORDER BY seq DESC LIMIT 1"
_SINCE: Final = "SELECT line FROM audit.event WHERE seq > %s AND seq <= %s ORDER BY seq"
_ATTEMPTS: Final = 20


class AuditWriter:
    """Two places for every line: table ``audit.event`` and a file with one JSON object a line.

    Lines that wait at the same time are written together: one statement and one append for all of them. The file
    follows the table: what it misses, after a full disk or a crash, is appended from there first.

    Parameters
    ----------
    pool
        Connections in autocommit mode, of a role that may read the table and add to it.
    path
        The file.
    """

    def __init__(self, pool: psycopg_pool.AsyncConnectionPool[Any], path: Path):
        self._pool = pool
        self._file = AuditFile(path)
        self._head: Head | None = None
        self._waiting: list[tuple[AuditEvent, asyncio.Future[None]]] = []
        self._writing = asyncio.Lock()

    async def write(self, event: AuditEvent) -> None:
        """Write a line to both places.

        Raises
        ------
        AuditUnavailable
            One of them did not take it.
        """
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((event, done))
        async with self._writing:
            if not done.done():
                await self._write_all()
        await done

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    async def _write_all(self) -> None:
        batch, self._waiting = self._waiting, []
        try:
            await self._write_batch([event for event, _ in batch])
        except (psycopg.Error, psycopg_pool.PoolTimeout, psycopg_pool.PoolClosed, OSError) as error:
            place = "file" if isinstance(error, OSError) and not isinstance(error, psycopg.Error) else "database"
            numbers = ", ".join(event.request_id for event, _ in batch[:5])
            _log.error("%d audit lines (%s) cannot be written: %s", len(batch), numbers, type(error).__name__)
            hint = "Try again in a minute; tell your administrator if it lasts."
            if isinstance(error, psycopg.errors.UndefinedTable | psycopg.errors.InsufficientPrivilege):
                hint = "The administrator runs `rpacs-hub database create` once after an upgrade."
            for _, done in batch:
                if not done.done():
                    done.set_exception(
                        AuditUnavailable(
                            f"The access log ({place}) cannot be written, so nothing may be handed out.", hint
                        )
                    )
        except BaseException:
            for _, done in batch:
                done.cancel()
            raise
        else:
            for _, done in batch:
                if not done.done():
                    done.set_result(None)

    async def _write_batch(self, events: list[AuditEvent]) -> None:
        # First the file: where it cannot even be opened, the table need not claim that the data left.
        self._file.open()
        async with self._pool.connection() as connection:
            links = await self._insert(connection, events)
            self._head = links[-1].head
            if self._file.last is None:
                self._file.last = links[0].seq - 1
            missed = links[0].seq - 1 - self._file.last
            if missed > 0:
                cursor = connection.cursor()
                await cursor.execute(_SINCE, (self._file.last, links[0].seq - 1))
                found = [read_link(line) for (line,) in await cursor.fetchall()]
                self._file.append(one for one in found if one is not None)
                _log.warning("%d audit lines that the file missed were appended from the table", missed)
            self._file.append(links)

    async def _insert(self, connection: psycopg.AsyncConnection[Any], events: list[AuditEvent]) -> list[Link]:
        """Insert the lines that follow the table's last one."""
        for _ in range(_ATTEMPTS):
            head = self._head or await self._read_head(connection)
            links: list[Link] = []
            for event in events:
                links.append(link(links[-1].head if links else head, cleaned(event.as_dict())))
            try:
                await connection.execute(
                    INSERT,
                    ([one.seq for one in links], [event.time for event in events], [one.line for one in links]),
                )
            except psycopg.errors.UniqueViolation:
                # Somebody else wrote to the same chain: its number is the guard. Look again where it ends.
                self._head = None
            except BaseException:
                self._head = None  # whether the database took them is unknown
                raise
            else:
                return links
        raise psycopg.OperationalError("the chain's end moves too fast")

    @staticmethod
    async def _read_head(connection: psycopg.AsyncConnection[Any]) -> Head:
        cursor = await connection.execute(READ_HEAD)
        row = await cursor.fetchone()
        last = read_link(row[0]) if row else None
        if row and last is None:
            raise psycopg.DataError("the last audit line is damaged: run `rpacs-hub audit verify`")
        return last.head if last else BEGINNING


def cleaned(value: Any) -> Any:
    """Take out what PostgreSQL cannot hold in a text."""
    if isinstance(value, str):
        return value.replace("\0", "�").encode("utf-8", "replace").decode()
    if isinstance(value, list):
        return [cleaned(item) for item in value]
    if isinstance(value, dict):
        return {name: cleaned(item) for name, item in value.items()}
    return value
