"""What a rebuild still has to read, kept in the database: any number of processes work on it, and may be killed.

A part is a few hundred instances, those of a series together. Whoever works on a part holds its row's lock; the row is
deleted in the transaction that writes what was read. A process that dies gives its part back.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager

import psycopg
from psycopg.rows import TupleRow

from rpacs_hub.index._identity import pack_id, unpack_id

__all__ = ["Part", "RebuildQueue", "in_parts"]

Part = tuple[int, list[str]]
"""Number of a part, and the Orthanc identifiers of its instances."""

_PART_SIZE = 400

REBUILD_LOCK = 0x7061_6376
"""Advisory lock under which parts are put in."""


def in_parts(groups: Iterable[Sequence[str]], present: set[str], size: int = _PART_SIZE) -> list[list[str]]:
    """Return all instances in parts of about a size, those of a group next to each other.

    Parameters
    ----------
    groups
        Instances of each series.
    present
        What is to be in the parts, each once, whether it is in a group or not.
    size
        Most instances of a part.
    """
    left = set(present)
    parts: list[list[str]] = [[]]

    def add(names: Iterable[str]) -> None:
        for name in names:
            if name in left:
                left.discard(name)
                if len(parts[-1]) >= size:
                    parts.append([])
                parts[-1].append(name)

    for group in groups:
        add(group)
    add(sorted(left))
    return [part for part in parts if part]


class RebuildQueue:
    """The parts, through one connection in autocommit mode."""

    def __init__(self, connection: psycopg.AsyncConnection[TupleRow]):
        self._connection = connection

    async def left(self) -> int:
        """Return how many instances are still to be read."""
        cursor = await self._connection.execute(
            "SELECT coalesce(sum(cardinality(orthanc_ids)), 0) FROM pacs.rebuild_part"
        )
        row = await cursor.fetchone()
        return int(row[0]) if row else 0

    async def put(self, parts: Sequence[Sequence[str]], *, restart: bool) -> bool:
        """Put parts in, unless another rebuild is not finished; return whether they were.

        Parameters
        ----------
        parts
            The parts.
        restart
            Throw away what another rebuild has left.
        """
        async with self._connection.transaction():
            await self._connection.execute("SELECT pg_advisory_xact_lock(%s)", (REBUILD_LOCK,))
            if restart:
                await self._connection.execute("DELETE FROM pacs.rebuild_part")
            elif await self.left():
                return False
            async with self._connection.cursor() as cursor:
                await cursor.executemany(
                    "INSERT INTO pacs.rebuild_part (orthanc_ids) VALUES (%s)",
                    [([pack_id(name) for name in part],) for part in parts],
                )
        return True

    @asynccontextmanager
    async def take(self) -> AsyncIterator[Part | None]:
        """Give a part that nobody else works on, None if there is none; what the block writes is done with its end."""
        async with self._connection.transaction():
            cursor = await self._connection.execute(
                "SELECT part_no, orthanc_ids FROM pacs.rebuild_part ORDER BY part_no LIMIT 1 FOR UPDATE SKIP LOCKED"
            )
            row = await cursor.fetchone()
            yield (row[0], [unpack_id(name) for name in row[1]]) if row else None
