"""Tables of schema ``gateway`` that the gateway makes by itself, when it first needs them."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import psycopg
import psycopg_pool

from rpacs_hub.errors import DatabaseUnavailable

__all__ = ["OwnTables"]


class OwnTables:
    """Connections to tables that are made before the first of them is handed out.

    Nothing is asked of the database before somebody wants something: a gateway starts whether it answers or not.

    Parameters
    ----------
    pool
        Connections, in autocommit mode, of the role that owns the schema.
    statements
        SQL that makes what is missing, and changes nothing where everything is there.
    lock
        Number of an advisory lock that nothing else holds: of several processes, one at a time makes tables.
    """

    def __init__(self, pool: psycopg_pool.AsyncConnectionPool[Any], statements: str, lock: int):
        self._pool = pool
        self._statements = statements.encode()
        self._lock = lock
        self._made = False

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
        """Lend a connection.

        Raises
        ------
        DatabaseUnavailable
            The database does not answer, or no longer does.
        """
        try:
            async with self._pool.connection() as connection:
                if not self._made:
                    await self._make(connection)
                yield connection
        except (psycopg.OperationalError, psycopg_pool.PoolTimeout) as error:
            raise DatabaseUnavailable("The database does not answer.", "Try again in a minute.") from error

    async def _make(self, connection: psycopg.AsyncConnection[Any]) -> None:
        async with connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock(%s)", (self._lock,))
            await connection.execute(self._statements)
        self._made = True
