"""Writes audit lines to the database and to a file; only when both have taken it may the data leave."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
from pathlib import Path
from typing import Any

import psycopg
import psycopg_pool

from rpacs_hub.audit.event import AuditEvent
from rpacs_hub.errors import AuditUnavailable

__all__ = ["DDL", "AuditWriter"]

_log = logging.getLogger(__name__)

_DDL_LOCK = 0x7061_6375

DDL = """
CREATE TABLE IF NOT EXISTS gateway.audit (
    audit_pk     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    request_id   text NOT NULL,
    time         timestamptz NOT NULL,
    "user"       text,
    groups       text[] NOT NULL,
    remote       text NOT NULL,
    method       text NOT NULL,
    path         text NOT NULL,
    action       text NOT NULL,
    reason       text,
    query        text,
    level        text,
    identifiers  text[] NOT NULL,
    count        bigint,
    bytes        bigint,
    decision     text NOT NULL,
    why          text[] NOT NULL,
    profiles     text[] NOT NULL,
    status       integer NOT NULL,
    milliseconds double precision NOT NULL
);
CREATE INDEX IF NOT EXISTS audit_time ON gateway.audit (time);
CREATE INDEX IF NOT EXISTS audit_user ON gateway.audit ("user", time);
"""

_COLUMNS = tuple(f.name for f in dataclasses.fields(AuditEvent))
_NAMES = ", ".join(f'"{name}"' for name in _COLUMNS)
_INSERT = f"INSERT INTO gateway.audit ({_NAMES}) VALUES ({', '.join(['%s'] * len(_COLUMNS))})"  # noqa: S608


class AuditWriter:
    """Two places for every line: table ``gateway.audit`` and a file with one JSON object a line.

    Parameters
    ----------
    pool
        Connections of the role that owns schema ``gateway``.
    path
        The file; it is created with mode 0600, and opened anew after it was moved away (log rotation).
    """

    def __init__(self, pool: psycopg_pool.AsyncConnectionPool[Any], path: Path):
        self._pool = pool
        self._path = path
        self._descriptor: int | None = None
        self._identity: tuple[int, int] | None = None
        self._prepared = False

    async def prepare(self) -> None:
        """Make the table where it is missing.

        Raises
        ------
        psycopg.Error, psycopg_pool.PoolTimeout
            The database does not answer.
        """
        async with self._pool.connection() as connection, connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock(%s)", (_DDL_LOCK,))
            await connection.execute(DDL)
        self._prepared = True

    async def write(self, event: AuditEvent) -> None:
        """Write a line to both places.

        Raises
        ------
        AuditUnavailable
            One of them did not take it.
        """
        try:
            if not self._prepared:
                await self.prepare()
            values = [_clean(getattr(event, name)) for name in _COLUMNS]
            async with self._pool.connection() as connection:
                await connection.execute(_INSERT.encode(), values)
            self._append(json.dumps(event.as_dict(), ensure_ascii=False, separators=(",", ":")))
        except (psycopg.Error, psycopg_pool.PoolTimeout, psycopg_pool.PoolClosed, OSError) as error:
            place = "file" if isinstance(error, OSError) and not isinstance(error, psycopg.Error) else "database"
            _log.error("the audit line of request %s cannot be written: %s", event.request_id, type(error).__name__)
            raise AuditUnavailable(
                f"The access log ({place}) cannot be written, so nothing may be handed out.",
                "Try again in a minute; tell your administrator if it lasts.",
            ) from error

    def close(self) -> None:
        """Close the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _append(self, line: str) -> None:
        try:
            status = self._path.stat()
            moved = (status.st_dev, status.st_ino) != self._identity
        except FileNotFoundError:
            moved = True
        if moved or self._descriptor is None:
            self.close()
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            status = os.fstat(self._descriptor)
            self._identity = (status.st_dev, status.st_ino)
        data = (line + "\n").encode("utf-8", "replace")
        # One call with O_APPEND: lines of two processes never mix.
        if os.write(self._descriptor, data) != len(data):
            raise OSError("the disk is full")


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("\0", "�").encode("utf-8", "replace").decode()
    if isinstance(value, list):
        return [_clean(item) for item in value]
    return value
