"""The numbers of paths, contents and path sets: looked up, or given out, many at a time."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import psycopg
from psycopg.rows import TupleRow

from rpacs_hub.index._content import digest, dumps, fitting_number, single_text
from rpacs_hub.index._parts import array_text

__all__ = ["Dictionary", "PathSet"]

Connection = psycopg.AsyncConnection[TupleRow]

_MOST_REMEMBERED = 400_000


@dataclass(frozen=True)
class PathSet:
    """Which paths a block has, by their numbers, each ascending."""

    paths: tuple[int, ...]
    varying: tuple[int, ...]
    partial: tuple[int, ...]

    def digest(self) -> str:
        """Return what tells it from others."""
        return str(digest(*(",".join(map(str, part)) for part in (self.paths, self.varying, self.partial))))


class Dictionary:
    """Numbers of paths and contents through one connection, those of late remembered.

    Rows that this adds are part of the caller's transaction. It must hold `SWEEP_LOCK` shared, and call `forget` when
    contents were removed since it last did, or when its transaction was undone.
    """

    def __init__(self, connection: Connection):
        self._connection = connection
        self._paths: dict[str, int] = {}
        self._path_names: dict[int, str] = {}
        self._values: dict[tuple[int, str], int] = {}
        self._contents: dict[int, tuple[int, str]] = {}
        self._sets: dict[str, int] = {}
        self._set_rows: dict[int, PathSet] = {}

    def forget(self) -> None:
        """Remember nothing."""
        for memory in (self._paths, self._path_names, self._values, self._contents, self._sets, self._set_rows):
            memory.clear()

    async def path_ids(self, paths: Collection[str]) -> Mapping[str, int]:
        """Return the number of each path; new ones get one."""
        missing = sorted({path for path in paths if path not in self._paths})
        if missing:
            await self._connection.execute(
                "INSERT INTO pacs.path (path) SELECT path FROM unnest(%s::text[]) AS new (path) "
                "WHERE NOT EXISTS (SELECT FROM pacs.path p WHERE md5(p.path) = md5(new.path)) "
                "ORDER BY md5(path) ON CONFLICT DO NOTHING",
                (missing,),
            )
            cursor = await self._connection.execute(
                "SELECT path, path_id FROM pacs.path "
                "WHERE md5(path) = ANY(ARRAY(SELECT md5(new) FROM unnest(%s::text[]) new))",
                (missing,),
            )
            for path, path_id in await cursor.fetchall():
                self._paths[path] = path_id
                self._path_names[path_id] = path
        return self._paths

    async def path_names(self, path_ids: Iterable[int]) -> Mapping[int, str]:
        """Return the path of each number."""
        missing = [path_id for path_id in set(path_ids) if path_id not in self._path_names]
        if missing:
            cursor = await self._connection.execute(
                "SELECT path, path_id FROM pacs.path WHERE path_id = ANY(%s)", (missing,)
            )
            for path, path_id in await cursor.fetchall():
                self._path_names[path_id] = path
        return self._path_names

    async def value_ids(self, contents: Collection[tuple[int, str]]) -> Mapping[tuple[int, str], int]:
        """Return the number of each (path's number, content); new ones get one."""
        if len(self._values) > _MOST_REMEMBERED:
            self._values.clear()
            self._contents.clear()
        missing = {digest(str(one[0]), one[1]): one for one in contents if one not in self._values}
        if missing:
            await self._find(missing)
            new = sorted((key, one) for key, one in missing.items() if one not in self._values)
            if new:
                await self._insert_values(new)
                await self._find(dict(new))
        return self._values

    async def _find(self, wanted: Mapping[uuid.UUID, tuple[int, str]]) -> None:
        cursor = await self._connection.execute(
            "SELECT digest, value_id FROM pacs.value WHERE digest = ANY(%s)", (list(wanted),)
        )
        for key, value_id in await cursor.fetchall():
            self._values[wanted[key]] = value_id
            self._contents[value_id] = wanted[key]

    async def _insert_values(self, new: list[tuple[uuid.UUID, tuple[int, str]]]) -> None:
        texts: list[str | None] = []
        nums: list[float | None] = []
        kept: list[str | None] = []
        for _, (_, content) in new:
            text = single_text(content)
            number = fitting_number(text) if text is not None else None
            if number is not None and number != number:
                # A number that fits no double is looked at like a list, value by value.
                text, number = None, None
            texts.append(text)
            nums.append(number)
            kept.append(content if text is None or content[0] != '"' else None)
        # In the order of their digests: two indexers that add the same ones wait for each other, but not in a circle.
        await self._connection.execute(
            "INSERT INTO pacs.value (path_id, digest, num, t, content) "
            "SELECT * FROM unnest(%s::int[], %s::uuid[], %s::float8[], %s::text[], %s::text[]) "
            "AS new (path_id, digest, num, t, content) ORDER BY digest ON CONFLICT DO NOTHING",
            ([path_id for _, (path_id, _) in new], [key for key, _ in new], nums, texts, kept),
        )

    async def contents(self, value_ids: Collection[int]) -> Mapping[int, tuple[int, str]]:
        """Return (path's number, content) of each number."""
        missing = [value_id for value_id in value_ids if value_id not in self._contents]
        if missing:
            cursor = await self._connection.execute(
                "SELECT value_id, path_id, content, t FROM pacs.value WHERE value_id = ANY(%s::int[])",
                (array_text(missing),),
            )
            for value_id, path_id, kept, text in await cursor.fetchall():
                content = dumps(text) if kept is None else kept
                self._contents[value_id] = (path_id, content)
                self._values[path_id, content] = value_id
        return self._contents

    async def pathset_ids(self, sets: Collection[PathSet]) -> Mapping[str, int]:
        """Return the number of each path set, by its digest; new ones get one."""
        missing = {one.digest(): one for one in sets if one.digest() not in self._sets}
        for key, one in sorted(missing.items()):
            await self._connection.execute(
                "INSERT INTO pacs.pathset (digest, paths, varying, partial) SELECT %s, %s, %s, %s "
                "WHERE NOT EXISTS (SELECT FROM pacs.pathset WHERE digest = %s) ON CONFLICT DO NOTHING",
                (key, list(one.paths), list(one.varying), list(one.partial), key),
            )
        if missing:
            cursor = await self._connection.execute(
                "SELECT digest::text, pathset_id FROM pacs.pathset WHERE digest = ANY(%s::uuid[])", (list(missing),)
            )
            for key, pathset_id in await cursor.fetchall():
                self._sets[key] = pathset_id
                self._set_rows[pathset_id] = missing[key]
        return self._sets

    async def pathsets(self, pathset_ids: Collection[int]) -> Mapping[int, PathSet]:
        """Return the path set of each number."""
        missing = [pathset_id for pathset_id in set(pathset_ids) if pathset_id not in self._set_rows]
        if missing:
            cursor = await self._connection.execute(
                "SELECT pathset_id, paths, varying, partial FROM pacs.pathset WHERE pathset_id = ANY(%s)", (missing,)
            )
            for pathset_id, *parts in await cursor.fetchall():
                self._set_rows[pathset_id] = PathSet(*(tuple(part) for part in parts))
        return self._set_rows
