"""Reads the index: searches at four levels with exact totals, one instance, the instances of an export.

A row stands for a patient, study, series or instance with at least one instance that matches the query *and* that the
user may see. What may be seen is part of every statement here, so that nothing has to be filtered afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import psycopg_pool

import dicom_query
from dicom_query import TextPattern
from rpacs_hub.errors import DatabaseUnavailable, SearchRefused
from rpacs_hub.index._columns import (
    COUNTED,
    DEFAULT_COLUMNS,
    DEFAULT_SORT,
    Level,
    check_columns,
    is_numeric,
    tag_of,
)
from rpacs_hub.index._compile import Compiled, compile_query
from rpacs_hub.index._content import SOP_PATHS
from rpacs_hub.index._cursor import decode_cursor, encode_cursor, search_digest
from rpacs_hub.index._identity import pack_id, unpack_id
from rpacs_hub.index._page import (
    counts_select,
    is_count,
    key_of,
    page_statement,
    seen_statement,
    sort_paths,
    summary_statement,
    walk_order,
)
from rpacs_hub.index._parts import Parameters, array_text
from rpacs_hub.index._reading import reading
from rpacs_hub.index._recent import RecentBlocks
from rpacs_hub.index._rows import read_blocks, read_rows
from rpacs_hub.index._usual import UsualContents
from rpacs_hub.index._values import shown_value, values_statement
from rpacs_hub.index.answers import MAX_COLUMNS, MAX_LIMIT, Entity, IndexedInstance, Page, Search
from rpacs_hub.index.visible import Overlap, Seen, Visible

__all__ = ["Index"]

_MAX_SORT = 8

_INSTANCES = (
    "SELECT i.orthanc_id, i.file_uuid, p.patient_id, t.study_uid, s.series_uid, i.sop_uid, i.bytes, i.block_pk, i.ord "
    "FROM {} m JOIN pacs.instance i ON i.block_pk = m.block_pk AND (m.hits IS NULL OR i.ord = ANY(m.hits)) "
    "JOIN pacs.series s ON s.series_pk = m.series_pk JOIN pacs.study t ON t.study_pk = m.study_pk "
    "JOIN pacs.patient p ON p.patient_pk = m.patient_pk WHERE {}"
)
_ENTITY_KEYS = {
    Level.PATIENT: "{}.patient_pk IN (SELECT patient_pk FROM pacs.patient WHERE patient_id = ANY({}::text[]))",
    Level.STUDY: "{}.study_pk IN (SELECT study_pk FROM pacs.study WHERE study_uid = ANY({}::text[]))",
    Level.SERIES: "{}.series_pk IN (SELECT series_pk FROM pacs.series WHERE series_uid = ANY({}::text[]))",
}


class Index:
    """The index, for reading.

    Parameters
    ----------
    pool
        Connections of a role that may read schema ``pacs``.
    timeout
        Seconds that one call may take.
    """

    def __init__(self, pool: psycopg_pool.AsyncConnectionPool[Any], *, timeout: float = 20.0):
        self._pool = pool
        self._timeout = timeout
        self._recent = RecentBlocks()
        self._usual = UsualContents()

    async def search(self, search: Search, visible: Visible) -> Page:
        """Return one page of what matches and may be seen.

        Raises
        ------
        SearchRefused
            A column, the sort order, the limit or the cursor cannot be served, or the query is beyond the database.
        SearchTooSlow
            The database needs longer than the time limit.
        DatabaseUnavailable
            It does not answer.
        """
        columns = search.columns if search.columns is not None else DEFAULT_COLUMNS[search.level]
        sort = search.sort if search.sort is not None else DEFAULT_SORT[search.level]
        if not 0 <= search.limit <= MAX_LIMIT:
            raise SearchRefused("limit_invalid", f"The limit is {search.limit}.", f"It may be 0 to {MAX_LIMIT}.")
        if len(columns) > MAX_COLUMNS or len(sort) > _MAX_SORT:
            raise SearchRefused(
                "too_many_columns", f"At most {MAX_COLUMNS} columns and {_MAX_SORT} to sort by.", "Ask for fewer."
            )
        level = search.level
        columns = tuple(dict.fromkeys(columns))
        check_columns(level, (*columns, *(key.column for key in sort)))
        digest = search_digest(
            level,
            dicom_query.to_text(search.query) if search.query else "",
            [(key.column, key.descending) for key in sort],
        )
        numeric = [is_numeric(key.column) or is_count(level, key.column) for key in sort]
        after = decode_cursor(search.cursor, digest, numeric) if search.cursor else None
        counted = [column for column in columns if column in COUNTED[level]]
        async with reading(self._pool, self._timeout) as connection:
            from_files = [column for column in columns if column not in counted]
            shown = [f"{tag_of(column):08X}" for column in from_files]
            compiled = await self._compile(connection, search.query, visible, sort_paths(level, sort), also=shown)
            counts = None
            if sorted_by := list(dict.fromkeys(key.column for key in sort if key.column in COUNTED[level])):
                counts = counts_select(compiled.visible(), level, sorted_by)
            total, named = await _summarise(connection, compiled, level)
            found: list[Sequence[Any]] = []
            if search.limit and total:
                walk = walk_order(sort) if named is None and after is None else None
                statement = page_statement(
                    compiled, level, sort, after, search.limit + 1, counts, named=named, walk=walk
                )
                found = await _run(connection, statement, compiled.parameters, in_order=walk is not None)
            more = len(found) > search.limit
            found = found[: search.limit]
            places = [(row[1] >> 16, row[1] & 65535) for row in found]
            held = await read_rows(connection, places, from_files, compiled.path_ids)
            aggregates = await _aggregates(connection, compiled, level, counted, [row[0] for row in found])
        rows = []
        for row, values in zip(found, held, strict=True):
            values.update(aggregates.get(row[0], {}))
            rows.append({column: values.get(column) for column in columns})
        cursor = encode_cursor(digest, found[-1][2:], found[-1][0]) if more and found else None
        return Page(level, columns, rows, total, cursor)

    async def count(self, query: dicom_query.Node | None, level: Level, visible: Visible) -> int:
        """Return how many rows a search would have.

        Raises
        ------
        SearchRefused, SearchTooSlow, DatabaseUnavailable
            As `search`.
        """
        async with reading(self._pool, self._timeout) as connection:
            compiled = await self._compile(connection, query, visible)
            return (await _summarise(connection, compiled, level))[0]

    async def values(
        self,
        keyword: str,
        query: dicom_query.Node | None,
        level: Level,
        visible: Visible,
        *,
        prefix: str = "",
        limit: int,
    ) -> list[tuple[str, int]]:
        """Return values of an element as they are shown, and how many rows have each, the most frequent first.

        Parameters
        ----------
        keyword
            An element of the top level, neither a sequence nor binary.
        query, level, visible
            As for `count`: a row counts if an instance of it matches, may be seen, and has the value.
        prefix
            Only values that begin with this, in any case.
        limit
            The most values.

        Raises
        ------
        SearchTooSlow, DatabaseUnavailable
            As `search`.
        """
        path, numeric = f"{tag_of(keyword):08X}", is_numeric(keyword)
        async with reading(self._pool, self._timeout) as connection:
            paths = [path, *([SOP_PATHS[path]] if path in SOP_PATHS else [])]
            compiled = await self._compile(connection, query, visible, paths)
            statement = values_statement(
                compiled, level, path, numeric=numeric, prefix=TextPattern.literal(prefix).folded()[0], limit=limit
            )
            if statement is None:
                return []
            cursor = await connection.execute(statement.encode(), compiled.parameters)
            found = await cursor.fetchall()
        return [(shown_value(path, text, content, numeric=numeric), n) for text, n, content in found]

    async def overlap(self, before: Visible, after: Visible, query: dicom_query.Node | None = None) -> Overlap:
        """Count what is visible before and after a change, and what is visible either way.

        Parameters
        ----------
        before, after
            What may be seen.
        query
            Of what matches; None = of everything.

        Returns
        -------
        Overlap
            Exact figures of one state of the index.

        Raises
        ------
        SearchRefused, SearchTooSlow, DatabaseUnavailable
            As `search`; the time limit is that of one search.
        """
        found: dict[Visible, Seen] = {}
        async with reading(self._pool, self._timeout) as connection:
            for visible in (before, after, before | after):
                if visible not in found:
                    compiled = await self._compile(connection, query, visible)
                    statement = seen_statement(compiled)
                    cursor = await connection.execute(statement.encode(), compiled.parameters)
                    studies, instances = await cursor.fetchone()
                    found[visible] = Seen(int(studies), int(instances))
        return Overlap(found[before], found[after], found[before | after])

    async def instances(self, sop_uid: str) -> list[IndexedInstance]:
        """Return the instances of that SOPInstanceUID; more than one only where UIDs were reused.

        This is the one reading method without a permission condition: it returns the document that `decide` judges.
        """
        async with reading(self._pool, self._timeout) as connection:
            statement = _INSTANCES.format(
                "(SELECT b.*, NULL::int[] AS hits FROM pacs.block b)", "i.sop_uid = %s LIMIT 20"
            )
            found = await (await connection.execute(statement.encode(), (sop_uid,))).fetchall()
            documents = [self._recent.document(row[7], row[8], row[1], row[5]) for row in found]
            if missing := {row[7] for row, document in zip(found, documents, strict=True) if document is None}:
                await self._remember(connection, missing)
                documents = [self._recent.document(row[7], row[8], row[1], row[5]) for row in found]
        if None in documents:  # what a permission looks at must be there
            raise DatabaseUnavailable("The index changed while it was read.", "Try again.")
        return [_instance(row, document) for row, document in zip(found, documents, strict=True)]

    async def _remember(self, connection: Any, blocks: set[int]) -> None:
        cursor = await connection.execute(
            "SELECT block_pk, ord, file_uuid FROM pacs.instance WHERE block_pk = ANY(%s)", (list(blocks),)
        )
        files: dict[int, dict[int, bytes]] = {block: {} for block in blocks}
        for block, place, file_uuid in await cursor.fetchall():
            files[block][place] = file_uuid
        for block, contents in (await read_blocks(connection, blocks)).items():
            self._recent.keep(block, contents, files[block])

    async def select(
        self,
        visible: Visible,
        *,
        query: dicom_query.Node | None = None,
        level: Level = Level.INSTANCE,
        entities: Sequence[Entity] | None = None,
        limit: int,
    ) -> list[IndexedInstance]:
        """Return the visible instances below what is named, sorted by study, series and place in the index.

        Parameters
        ----------
        visible
            What may be seen.
        query, level
            All instances of every row that this search has; at level instance only those that match.
        entities
            Instead of a query: all instances of these.
        limit
            The most that may be returned.

        Raises
        ------
        SearchRefused
            There are more than `limit`.
        SearchTooSlow, DatabaseUnavailable
            As `search`.
        """
        async with reading(self._pool, self._timeout) as connection:
            compiled = await self._compile(
                connection, query if entities is None and level is Level.INSTANCE else None, visible
            )
            of_block, of_instance = "TRUE", "TRUE"
            if entities is not None:
                of_block, of_instance = _below(entities, compiled.parameters)
            elif level is not Level.INSTANCE:
                keys = await self._keys(connection, query, level, visible, limit + 1)
                of_block = f"b.{key_of(level)} = ANY({compiled.parameters.add(keys)}::int[])"
            tables = compiled.with_tables([f"matched AS ({compiled.matching('', of_block)})"])
            ending = (
                f" ORDER BY t.study_uid, s.series_uid, i.block_pk, i.ord LIMIT {compiled.parameters.add(limit + 1)}"
            )
            statement = f"{tables}{_INSTANCES.format('matched', of_instance)}{ending}"
            cursor = await connection.execute(statement.encode(), compiled.parameters)
            found = [_instance(row) for row in await cursor.fetchall()]
        if len(found) > limit:
            raise SearchRefused(
                "too_many_instances", f"These are more than {limit} instances.", "Take a part at a time."
            )
        return found

    async def visible_ids(self, orthanc_ids: Sequence[str], visible: Visible) -> set[str]:
        """Return those of the instances, by their Orthanc identifiers, that may be seen.

        Raises
        ------
        SearchTooSlow, DatabaseUnavailable
            As `search`.
        """
        async with reading(self._pool, self._timeout) as connection:
            compiled = await self._compile(connection, None, visible)
            asked = compiled.parameters.add([pack_id(orthanc_id) for orthanc_id in orthanc_ids])
            named = f"SELECT block_pk FROM pacs.instance WHERE orthanc_id = ANY({asked}::bytea[])"  # noqa: S608
            matching = compiled.matching("", f"b.block_pk = ANY(ARRAY({named}))")
            statement = (
                f"{compiled.with_tables()}SELECT i.orthanc_id FROM ({matching}) m "  # noqa: S608
                "JOIN pacs.instance i ON i.block_pk = m.block_pk AND (m.hits IS NULL OR i.ord = ANY(m.hits)) "
                f"WHERE i.orthanc_id = ANY({asked}::bytea[])"
            )
            cursor = await connection.execute(statement.encode(), compiled.parameters)
            return {unpack_id(row[0]) for row in await cursor.fetchall()}

    async def _keys(
        self, connection: Any, query: dicom_query.Node | None, level: Level, visible: Visible, most: int
    ) -> list[int]:
        compiled = await self._compile(connection, query, visible)
        statement = (
            f"{compiled.with_tables()}SELECT DISTINCT m.{key_of(level)} FROM ({compiled.matching()}) m "  # noqa: S608
            f"LIMIT {compiled.parameters.add(most)}"
        )
        cursor = await connection.execute(statement.encode(), compiled.parameters)
        return [row[0] for row in await cursor.fetchall()]

    async def _compile(
        self,
        connection: Any,
        query: dicom_query.Node | None,
        visible: Visible,
        extra_paths: Sequence[str] = (),
        also: Sequence[str] = (),
    ) -> Compiled:
        usual = await self._usual.read(connection)
        return await compile_query(connection, query, visible, usual, extra_paths, also)


async def _summarise(connection: Any, compiled: Compiled, level: Level) -> tuple[int, list[int] | None]:
    """Return how many rows match, and the first matching instance of each block if these are few."""
    cursor = await connection.execute(summary_statement(compiled, level).encode(), compiled.parameters)
    total, named = await cursor.fetchone()
    return int(total), named


async def _aggregates(
    connection: Any, compiled: Compiled, level: Level, columns: Sequence[str], keys: Sequence[int]
) -> dict[int, dict[str, Any]]:
    """Return the counted columns of each key, over everything below it that may be seen."""
    if not columns or not keys:
        return {}
    condition = f"b.{key_of(level)} = ANY({compiled.parameters.add(array_text(keys))}::int[])"
    statement = f"{compiled.with_tables()}{counts_select(compiled.visible(), level, columns, condition)}"
    cursor = await connection.execute(statement.encode(), compiled.parameters)
    return {row[0]: dict(zip(columns, row[1:], strict=True)) for row in await cursor.fetchall()}


async def _run(
    connection: Any, statement: str, parameters: Mapping[str, Any], *, in_order: bool
) -> list[Sequence[Any]]:
    """Run the statement of a page; `in_order`: let nothing be sorted that an index can give in order."""
    if not in_order:
        return list(await (await connection.execute(statement.encode(), parameters)).fetchall())
    async with connection.pipeline():
        await connection.execute("SET LOCAL enable_sort = off")
        cursor = await connection.execute(statement.encode(), parameters)
        await connection.execute("SET LOCAL enable_sort = on")
        return list(await cursor.fetchall())


def _instance(row: Sequence[Any], document: Mapping[str, Any] | None = None) -> IndexedInstance:
    orthanc_id, file_uuid, patient_id, study_uid, series_uid, sop_uid, size = row[:7]
    return IndexedInstance(
        unpack_id(orthanc_id), unpack_id(file_uuid), patient_id, study_uid, series_uid, sop_uid, size, document or {}
    )


def _below(entities: Sequence[Entity], parameters: Parameters) -> tuple[str, str]:
    """Return the conditions for blocks ``b``, and for instances ``i`` of matching blocks ``m``, of some entities."""
    by_level: dict[Level, list[str]] = {}
    for entity in entities:
        by_level.setdefault(entity.level, []).append(entity.uid)
    of_block, of_instance = ["FALSE"], ["FALSE"]
    for level, uids in by_level.items():
        asked = parameters.add(uids)
        if level is Level.INSTANCE:
            of_block.append(f"b.block_pk IN (SELECT block_pk FROM pacs.instance WHERE sop_uid = ANY({asked}::text[]))")  # noqa: S608
            of_instance.append(f"i.sop_uid = ANY({asked}::text[])")
        else:
            of_block.append(_ENTITY_KEYS[level].format("b", asked))
            of_instance.append(_ENTITY_KEYS[level].format("m", asked))
    return " OR ".join(of_block), f"({' OR '.join(of_instance)})"
