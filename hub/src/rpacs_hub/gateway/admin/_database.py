"""The database for pages that read it themselves."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import psycopg
import psycopg_pool
from psycopg import AsyncConnection

from rpacs_hub.errors import DatabaseUnavailable, SearchTooSlow
from rpacs_hub.gateway.admin._page import AdminCall

__all__ = ["reading", "working"]


@contextlib.asynccontextmanager
async def working(call: AdminCall) -> AsyncIterator[AsyncConnection[Any]]:
    """Lend a connection in autocommit mode.

    Raises
    ------
    DatabaseUnavailable
        The database does not answer.
    """
    try:
        async with call.services.pool.connection() as connection:
            yield connection
    except (psycopg.OperationalError, psycopg_pool.PoolTimeout):
        raise DatabaseUnavailable("The database does not answer.", "Try again in a minute.") from None


@contextlib.asynccontextmanager
async def reading(call: AdminCall) -> AsyncIterator[AsyncConnection[Any]]:
    """Lend a connection whose statements may not take longer than a search.

    Raises
    ------
    DatabaseUnavailable
        The database does not answer.
    SearchTooSlow
        A statement ran into the time limit.
    """
    seconds = call.services.settings.search_timeout
    try:
        async with call.services.pool.connection() as connection, connection.transaction():
            await connection.execute("SELECT set_config('statement_timeout', %s, true)", (f"{seconds * 1000:.0f}ms",))
            yield connection
    except psycopg.errors.QueryCanceled:
        raise SearchTooSlow(
            f"The search took longer than {seconds:g} s and was stopped.", "Give a shorter time, or a user."
        ) from None
    except (psycopg.OperationalError, psycopg_pool.PoolTimeout):
        raise DatabaseUnavailable("The database does not answer.", "Try again in a minute.") from None
