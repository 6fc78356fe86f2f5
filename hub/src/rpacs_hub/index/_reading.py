"""Connections on which the index is read: read-only, with a time limit, and with errors that say what to do."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import psycopg
import psycopg_pool

from rpacs_hub.errors import DatabaseUnavailable, SearchRefused, SearchTooSlow

__all__ = ["reading"]

_SETTINGS = (
    "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout = {:d}; "
    "SET LOCAL jit = off; SET LOCAL work_mem = '64MB'; SET LOCAL search_path = pacs, public"
)
"""In one statement, for each takes a round trip. The transaction ends when the pool gets its connection back."""


@contextlib.asynccontextmanager
async def reading(pool: psycopg_pool.AsyncConnectionPool[Any], seconds: float) -> AsyncIterator[Any]:
    """Give a connection in a read-only transaction that sees one state of the index and has a time limit.

    Parameters
    ----------
    pool
        Connections of a role that may read schema ``pacs``.
    seconds
        How long everything together may take.

    Raises
    ------
    SearchTooSlow
        The time is over.
    SearchRefused
        A statement is beyond the database.
    DatabaseUnavailable
        It does not answer, or holds no index.
    """
    too_slow = SearchTooSlow(
        f"The search took longer than {seconds:g} s and was stopped.",
        "Add a condition that fewer images meet, such as a Modality or a StudyDate.",
    )
    try:
        async with pool.connection() as connection:
            await connection.execute(_SETTINGS.format(max(1, int(seconds * 1000))).encode())
            # Each statement has the time limit of the server; all together have it here.
            async with asyncio.timeout(seconds):
                yield connection
    except (psycopg.errors.QueryCanceled, TimeoutError) as error:
        raise too_slow from error
    except (psycopg.errors.StatementTooComplex, psycopg.errors.ProgramLimitExceeded) as error:
        raise SearchRefused(
            "query_too_large", "The query is too large for the database.", "Ask for a part at a time."
        ) from error
    except (
        psycopg.errors.UndefinedTable,
        psycopg.errors.UndefinedColumn,
        psycopg.errors.UndefinedFunction,
        psycopg.errors.InvalidSchemaName,
    ) as error:
        raise DatabaseUnavailable("There is no index yet.", "Start `rpacs-hub index run`.") from error
    except (psycopg.OperationalError, psycopg_pool.PoolTimeout) as error:
        raise DatabaseUnavailable("The database does not answer.", "Try again in a minute.") from error
