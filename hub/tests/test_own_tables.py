"""Tables that the gateway makes when it first needs them."""

from __future__ import annotations

import asyncio

import psycopg
import psycopg_pool
import pytest

from rpacs_hub._own_tables import OwnTables
from rpacs_hub.errors import DatabaseUnavailable

THINGS = "CREATE TABLE IF NOT EXISTS gateway.thing (name text PRIMARY KEY);"
LOCK = 0x7468_696E


def a_pool(url: str, **more) -> psycopg_pool.AsyncConnectionPool:
    return psycopg_pool.AsyncConnectionPool(url, open=False, kwargs={"autocommit": True}, **more)


def test_several_that_come_first_at_once_make_them_once_and_what_one_writes_the_others_read(base):
    async def add(tables: OwnTables, name: str) -> None:
        async with tables.connection() as connection:
            await connection.execute("INSERT INTO gateway.thing VALUES (%s)", (name,))

    async def all_at_once() -> list[str]:
        async with a_pool(base.gateway, min_size=4) as one, a_pool(base.gateway, min_size=4) as other:
            both = OwnTables(one, THINGS, LOCK), OwnTables(other, THINGS, LOCK)
            await asyncio.gather(*(add(both[number % 2], f"thing {number}") for number in range(8)))
            async with both[0].connection() as connection:
                cursor = await connection.execute("SELECT name FROM gateway.thing ORDER BY name")
                return [name for (name,) in await cursor.fetchall()]

    assert asyncio.run(all_at_once()) == [f"thing {number}" for number in range(8)]


def test_nothing_is_made_before_somebody_wants_something(base):
    async def only_begin() -> None:
        async with a_pool(base.gateway) as pool:
            OwnTables(pool, THINGS, LOCK)

    asyncio.run(only_begin())
    with psycopg.connect(base.gateway) as connection:
        assert connection.execute("SELECT to_regclass('gateway.thing')").fetchone() == (None,)


def test_without_the_database_it_is_said_and_later_it_goes_on(base):
    async def meanwhile() -> None:
        async with a_pool(base.gateway, min_size=0, max_size=1, timeout=0.2) as pool:
            tables = OwnTables(pool, THINGS, LOCK)
            async with pool.connection():  # the only one there is
                with pytest.raises(DatabaseUnavailable):
                    async with tables.connection():
                        pass
            async with tables.connection() as connection:
                cursor = await connection.execute("SELECT count(*) FROM gateway.thing")
                assert await cursor.fetchone() == (0,)
            with pytest.raises(DatabaseUnavailable):
                async with tables.connection() as connection:
                    await connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    asyncio.run(meanwhile())
