"""Every content of the permissions file that came into force, in table ``gateway.permissions_version``."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import psycopg
import psycopg_pool

from rpacs_hub._own_tables import OwnTables

__all__ = ["OUTSIDE", "Version", "Versions", "difference_of"]

OUTSIDE = "file"
"""Who made a version that somebody wrote with an editor, past this product."""

_LOCK = 0x7065_726D
_TABLE = """
CREATE TABLE IF NOT EXISTS gateway.permissions_version (
    version bigint PRIMARY KEY,
    at      timestamptz NOT NULL,
    who     text NOT NULL,
    why     text NOT NULL,
    source  text NOT NULL,
    digest  text NOT NULL,
    text    text NOT NULL
);
"""
_COLUMNS = "version, at, who, why, source, digest, text"


@dataclass(frozen=True)
class Version:
    """A content that was or is in force.

    Attributes
    ----------
    number
        Counts from 1.
    at
        When it came into force (UTC).
    who, why
        Who made it; `OUTSIDE` where that is unknown, and `why` is then a remark.
    source
        The file or object that held it.
    digest
        SHA-256 of it, hexadecimal.
    text
        The whole content.
    """

    number: int
    at: datetime
    who: str
    why: str
    source: str
    digest: str
    text: str = field(repr=False)


class Versions:
    """The versions.

    Parameters
    ----------
    pool
        Connections, in autocommit mode, of the role that owns schema ``gateway``.
    """

    def __init__(self, pool: psycopg_pool.AsyncConnectionPool[Any]):
        self._tables = OwnTables(pool, _TABLE, _LOCK)

    async def list(self, limit: int = 200) -> Sequence[Version]:
        """Return the newest versions, newest first.

        Raises
        ------
        DatabaseUnavailable
            The database does not answer.
        """
        return await self._select("TRUE ORDER BY version DESC LIMIT %s", limit)

    async def get(self, number: int) -> Version | None:
        """Return one version, None where there is no such version.

        Raises
        ------
        DatabaseUnavailable
            The database does not answer.
        """
        found = await self._select("version = %s", number) if 0 < number < 1 << 62 else ()
        return found[0] if found else None

    async def newest(self, source: str) -> Version | None:
        """Return the newest version of a file or object, None where it never held a valid one.

        Raises
        ------
        DatabaseUnavailable
            The database does not answer.
        """
        found = await self._select("source = %s ORDER BY version DESC LIMIT 1", source)
        return found[0] if found else None

    @contextlib.asynccontextmanager
    async def adding(self) -> AsyncIterator[Adding]:
        """Enter a transaction in which nobody else adds a version, nor writes the permissions file.

        Raises
        ------
        DatabaseUnavailable
            The database does not answer.
        """
        async with self._tables.connection() as connection, connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
            yield Adding(connection)

    async def _select(self, condition: str, value: Any) -> Sequence[Version]:
        async with self._tables.connection() as connection:
            return await _select(connection, condition, value)


class Adding:
    """A transaction of `Versions.adding`."""

    def __init__(self, connection: psycopg.AsyncConnection[Any]):
        self._connection = connection

    async def newest(self) -> Version | None:
        """Return the newest version of all."""
        found = await _select(self._connection, "TRUE ORDER BY version DESC LIMIT %s", 1)
        return found[0] if found else None

    async def add(self, *, at: datetime, who: str, why: str, source: str, digest: str, text: str) -> Version:
        """Add a version; it stays if the transaction does."""
        cursor = await self._connection.execute(
            f"INSERT INTO gateway.permissions_version ({_COLUMNS}) "  # noqa: S608 - names are ours
            "SELECT coalesce(max(version), 0) + 1, %s, %s, %s, %s, %s, %s FROM gateway.permissions_version "
            "RETURNING version".encode(),
            (at, who, why, source, digest, text),
        )
        row = await cursor.fetchone()
        assert row is not None
        return Version(row[0], at, who, why, source, digest, text)


async def _select(connection: psycopg.AsyncConnection[Any], condition: str, value: Any) -> Sequence[Version]:
    statement = f"SELECT {_COLUMNS} FROM gateway.permissions_version WHERE {condition}"  # noqa: S608 - names are ours
    cursor = await connection.execute(statement.encode(), (value,))
    return [Version(*row) for row in await cursor.fetchall()]


def difference_of(old: str, new: str, old_name: str = "before", new_name: str = "after") -> list[str]:
    """Return the lines in which two texts differ, as ``diff -u`` writes them; none if they are equal."""
    found = difflib.unified_diff(old.splitlines(), new.splitlines(), old_name, new_name, lineterm="")
    return list(found)
