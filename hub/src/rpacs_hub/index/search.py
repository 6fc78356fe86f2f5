"""Reads the index: searches at four levels with exact totals, one instance, the instances of an export.

A row stands for a patient, study, series or instance with at least one instance that matches the query *and* that the
user may see. The permission condition is part of every statement here, so that nothing has to be filtered afterwards.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg
import psycopg_pool

import dicom_query
from rpacs_hub.errors import DatabaseUnavailable, SearchRefused, SearchTooSlow
from rpacs_hub.index._columns import (
    COUNTED,
    DEFAULT_COLUMNS,
    DEFAULT_SORT,
    Level,
    SortKey,
    check_columns,
    is_numeric,
)
from rpacs_hub.index._cursor import SortValue, decode_cursor, encode_cursor, search_digest

__all__ = ["MAX_COLUMNS", "MAX_LIMIT", "Entity", "Index", "IndexedInstance", "Page", "Search"]

MAX_LIMIT = 1000
"""The most rows of one page."""

MAX_COLUMNS = 60
"""The most columns of one search."""

_MAX_SORT = 8

Sql = dicom_query.Sql
_TRUE = Sql("TRUE", ())


@dataclass(frozen=True)
class Search:
    """What is searched for.

    Attributes
    ----------
    query
        Parsed query; None = everything.
    level
        What a row stands for.
    columns, sort
        Keywords; None = the level's own, see `DEFAULT_COLUMNS` and `DEFAULT_SORT`.
    limit
        Rows of a page, 0 to `MAX_LIMIT`.
    cursor
        `Page.next` of the page before.
    """

    query: dicom_query.Node | None
    level: Level
    columns: tuple[str, ...] | None = None
    sort: tuple[SortKey, ...] | None = None
    limit: int = 100
    cursor: str | None = None


@dataclass(frozen=True)
class Page:
    """One page of a result.

    Attributes
    ----------
    rows
        Keyword -> value; None where the file has no such element.
    total
        Rows of the whole result, exact.
    next
        Cursor of the next page; None at the end.
    """

    level: Level
    columns: tuple[str, ...]
    rows: list[dict[str, Any]]
    total: int
    next: str | None


@dataclass(frozen=True)
class Entity:
    """A patient, study, series or instance by its identifier."""

    level: Level
    uid: str


@dataclass(frozen=True)
class IndexedInstance:
    """An instance of the index.

    Attributes
    ----------
    orthanc_id, file_uuid
        Where its file is, and the identity of that content.
    patient_id, study_uid, series_uid, sop_uid
        PatientID, StudyInstanceUID, SeriesInstanceUID, SOPInstanceUID.
    bytes
        Length of the file.
    document
        `dicom_query.index_document`; empty where it was not asked for.
    """

    orthanc_id: str
    file_uuid: str
    patient_id: str
    study_uid: str
    series_uid: str
    sop_uid: str
    bytes: int
    document: Mapping[str, Any] = field(default_factory=dict, repr=False)


_INSTANCE_COLUMNS = "i.orthanc_id, i.file_uuid, p.patient_id, t.study_uid, s.series_uid, i.sop_uid, i.bytes"
_INSTANCE_TABLES = (
    "pacs.instance i JOIN pacs.series s USING (series_pk) JOIN pacs.study t ON t.study_pk = i.study_pk "
    "JOIN pacs.patient p ON p.patient_pk = i.patient_pk"
)
_ENTITY_KEYS = {
    Level.PATIENT: "i.patient_pk IN (SELECT patient_pk FROM pacs.patient WHERE patient_id = ANY(%s))",
    Level.STUDY: "i.study_pk IN (SELECT study_pk FROM pacs.study WHERE study_uid = ANY(%s))",
    Level.SERIES: "i.series_pk IN (SELECT series_pk FROM pacs.series WHERE series_uid = ANY(%s))",
    Level.INSTANCE: "i.sop_uid = ANY(%s)",
}


class Index:
    """The index, for reading.

    Parameters
    ----------
    pool
        Connections of a role that may read schema ``pacs``.
    timeout
        Seconds that one statement may take.
    """

    def __init__(self, pool: psycopg_pool.AsyncConnectionPool[Any], *, timeout: float = 20.0):
        self._pool = pool
        self._timeout = timeout

    async def search(self, search: Search, visible: Sql) -> Page:
        """Return one page of what matches and may be seen.

        Raises
        ------
        SearchRefused
            A column, the sort order, the limit or the cursor cannot be served.
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
        columns = tuple(dict.fromkeys(columns))
        check_columns(search.level, (*columns, *(key.column for key in sort)))
        digest = search_digest(
            search.level,
            dicom_query.to_text(search.query) if search.query else "",
            [(key.column, key.descending) for key in sort],
        )
        numeric = [is_numeric(key.column) or _is_count(search.level, key.column) for key in sort]
        after = decode_cursor(search.cursor, digest, numeric) if search.cursor else None
        counted = COUNTED[search.level]
        from_files = [column for column in columns if column not in counted]
        statement = _page_statement(search, sort, from_files, after, visible)
        async with self._reading() as connection:
            found = await (await connection.execute(statement.text.encode(), statement.params)).fetchall()
            total = int(found[0][0]) if found else 0
            found = [row for row in found if row[1] is not None]
            more = len(found) > search.limit
            found = found[: search.limit]
            aggregates = await self._aggregates(
                connection, search.level, [c for c in columns if c in counted], [row[1] for row in found], visible
            )
        rows = []
        for _, key, values, *_ in found:
            held = {**dict(zip(from_files, values, strict=True)), **aggregates.get(key, {})}
            rows.append({column: held.get(column) for column in columns})
        cursor = encode_cursor(digest, found[-1][3:], found[-1][1]) if more and found else None
        return Page(search.level, columns, rows, total, cursor)

    async def count(self, query: dicom_query.Node | None, level: Level, visible: Sql) -> int:
        """Return how many rows a search would have.

        Raises
        ------
        SearchTooSlow, DatabaseUnavailable
            As `search`.
        """
        matching = _matching(query, visible)
        what = "*" if level is Level.INSTANCE else f"DISTINCT i.{level.key}"
        async with self._reading() as connection:
            cursor = await connection.execute(
                f"SELECT count({what}) FROM pacs.instance i WHERE {matching.text}".encode(),  # noqa: S608 - names are ours
                matching.params,
            )
            row = await cursor.fetchone()
        return int(row[0]) if row else 0

    async def instances(self, sop_uid: str) -> list[IndexedInstance]:
        """Return the instances of that SOPInstanceUID, newest first; more than one only where UIDs were reused.

        This is the one reading method without a permission condition: it returns the document that `decide` judges.
        """
        async with self._reading() as connection:
            cursor = await connection.execute(
                f"SELECT {_INSTANCE_COLUMNS}, i.document FROM {_INSTANCE_TABLES} "  # noqa: S608 - names are ours
                "WHERE i.sop_uid = %s ORDER BY i.instance_pk DESC LIMIT 20".encode(),
                (sop_uid,),
            )
            return [IndexedInstance(*row) for row in await cursor.fetchall()]

    async def select(
        self,
        visible: Sql,
        *,
        query: dicom_query.Node | None = None,
        level: Level = Level.INSTANCE,
        entities: Sequence[Entity] | None = None,
        limit: int,
    ) -> list[IndexedInstance]:
        """Return the visible instances below what is named, sorted by study, series and instance.

        Parameters
        ----------
        visible
            Permission condition.
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
        if entities is not None:
            condition = _below(entities)
        elif level is Level.INSTANCE:
            condition = _matching(query, _TRUE)
        else:
            inner = _matching(query, visible)
            condition = Sql(
                f"i.{level.key} IN (SELECT i.{level.key} FROM pacs.instance i WHERE {inner.text})",  # noqa: S608
                inner.params,
            )
        async with self._reading() as connection:
            cursor = await connection.execute(
                f"SELECT {_INSTANCE_COLUMNS} FROM {_INSTANCE_TABLES} WHERE ({visible.text}) AND ({condition.text}) "  # noqa: S608
                "ORDER BY t.study_uid, s.series_uid, i.instance_pk LIMIT %s".encode(),
                (*visible.params, *condition.params, limit + 1),
            )
            found = [IndexedInstance(*row) for row in await cursor.fetchall()]
        if len(found) > limit:
            raise SearchRefused(
                "too_many_instances", f"These are more than {limit} instances.", "Take a part at a time."
            )
        return found

    async def visible_ids(self, orthanc_ids: Sequence[str], visible: Sql) -> set[str]:
        """Return those of the instances, by their Orthanc identifiers, that may be seen.

        Raises
        ------
        SearchTooSlow, DatabaseUnavailable
            As `search`.
        """
        async with self._reading() as connection:
            cursor = await connection.execute(
                f"SELECT i.orthanc_id FROM pacs.instance i WHERE i.orthanc_id = ANY(%s) AND ({visible.text})".encode(),  # noqa: S608
                (list(orthanc_ids), *visible.params),
            )
            return {str(row[0]) for row in await cursor.fetchall()}

    async def _aggregates(
        self, connection: Any, level: Level, columns: Sequence[str], keys: Sequence[int], visible: Sql
    ) -> dict[int, dict[str, Any]]:
        if not columns or not keys:
            return {}
        wanted = ", ".join(COUNTED[level][column] for column in columns)
        cursor = await connection.execute(
            f"SELECT i.{level.key}, {wanted} FROM pacs.instance i "  # noqa: S608 - names are ours
            f"WHERE i.{level.key} = ANY(%s) AND ({visible.text}) GROUP BY 1".encode(),
            (list(keys), *visible.params),
        )
        return {row[0]: dict(zip(columns, row[1:], strict=True)) for row in await cursor.fetchall()}

    @contextlib.asynccontextmanager
    async def _reading(self) -> AsyncIterator[Any]:
        """Give a connection in a read-only transaction that sees one state and has a time limit."""
        try:
            async with self._pool.connection() as connection, connection.transaction():
                await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
                await connection.execute(
                    "SELECT set_config('statement_timeout', %s, true), set_config('jit', 'off', true)",
                    (str(max(1, int(self._timeout * 1000))),),
                )
                yield connection
        except psycopg.errors.QueryCanceled as error:
            raise SearchTooSlow(
                f"The search took longer than {self._timeout:g} s and was stopped.",
                "Add a condition that fewer images meet, such as a Modality or a StudyDate.",
            ) from error
        except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName) as error:
            raise DatabaseUnavailable("There is no index yet.", "Start `rpacs-hub index run`.") from error
        except (psycopg.OperationalError, psycopg_pool.PoolTimeout) as error:
            raise DatabaseUnavailable("The database does not answer.", "Try again in a minute.") from error


def _is_count(level: Level, column: str) -> bool:
    return column in COUNTED[level] and column.startswith("NumberOf")


def _matching(query: dicom_query.Node | None, visible: Sql) -> Sql:
    wanted = dicom_query.compile_sql(query, "i.document") if query is not None else _TRUE
    return Sql(f"({visible.text}) AND ({wanted.text})", (*visible.params, *wanted.params))


def _below(entities: Sequence[Entity]) -> Sql:
    by_level: dict[Level, list[str]] = {}
    for entity in entities:
        by_level.setdefault(entity.level, []).append(entity.uid)
    if not by_level:
        return Sql("FALSE", ())
    return Sql(" OR ".join(_ENTITY_KEYS[level] for level in by_level), tuple(by_level.values()))


def _sort_expression(level: Level, key: SortKey) -> str:
    if key.column in COUNTED[level]:
        number = f'c."{key.column}"::float8'
        return number if _is_count(level, key.column) else f"array_to_string(c.\"{key.column}\", ',')"
    # Lax JSON paths take [0] of a single value as the value itself. The keyword is one of the dictionary's: no quoting.
    first = f"jsonb_path_query_first(i.tags, '$.{key.column}[0]')"
    if is_numeric(key.column):
        return f"CASE jsonb_typeof({first}) WHEN 'number' THEN ({first})::float8 END"
    return f"nullif(lower({first} #>> '{{}}'), '') COLLATE \"C\""


def _page_statement(
    search: Search,
    sort: Sequence[SortKey],
    columns: Sequence[str],
    after: tuple[list[SortValue], int] | None,
    visible: Sql,
) -> Sql:
    """Return the statement for one page: rows (total, key, [values], sort value, ...); key is NULL on an empty page."""
    level = search.level
    matching = _matching(search.query, visible)
    params: list[Any] = list(matching.params)
    counted = [key.column for key in sort if key.column in COUNTED[level]]
    parts = [
        f"WITH matched AS MATERIALIZED (SELECT i.{level.key} AS key, min(i.instance_pk) AS rep "  # noqa: S608 - names are ours
        f"FROM pacs.instance i WHERE {matching.text} GROUP BY 1)"
    ]
    if counted:
        wanted = ", ".join(f'{COUNTED[level][column]} AS "{column}"' for column in dict.fromkeys(counted))
        parts.append(
            f", c AS (SELECT i.{level.key} AS key, {wanted} FROM pacs.instance i "  # noqa: S608 - names are ours
            f"WHERE i.{level.key} IN (SELECT key FROM matched) AND ({visible.text}) GROUP BY 1)"
        )
        params += visible.params
    values = "".join(f", {_sort_expression(level, key)} AS s{n}" for n, key in enumerate(sort))
    parts.append(
        f", ranked AS (SELECT m.key, m.rep{values} FROM matched m JOIN pacs.instance i ON i.instance_pk = m.rep"  # noqa: S608
        f"{' LEFT JOIN c ON c.key = m.key' if counted else ''})"
    )
    keyset = _after(sort, after) if after else _TRUE
    order = "".join(f"s{n} IS NULL, s{n}{' DESC' if key.descending else ''}, " for n, key in enumerate(sort)) + "key"
    parts.append(f", page AS (SELECT * FROM ranked WHERE {keyset.text} ORDER BY {order} LIMIT %s)")  # noqa: S608
    params += [*keyset.params, search.limit + 1 if search.limit else 0]
    shown = ", ".join(f"i.tags->'{column}'" for column in columns)
    sorts = "".join(f", page.s{n}" for n in range(len(sort)))
    parts.append(
        f" SELECT total.n, page.key, jsonb_build_array({shown}){sorts} "  # noqa: S608 - names are ours
        "FROM (SELECT count(*) AS n FROM matched) AS total LEFT JOIN page ON true "
        f"LEFT JOIN pacs.instance i ON i.instance_pk = page.rep ORDER BY {order}"
    )
    return Sql("".join(parts), tuple(params))


def _after(sort: Sequence[SortKey], after: tuple[list[SortValue], int]) -> Sql:
    """Return the condition for rows behind a row: absent values come last in either direction."""
    values, key = after
    alternatives: list[str] = []
    params: list[Any] = []
    equal_text: list[str] = []
    equal_params: list[Any] = []
    for n, (column, value) in enumerate(zip(sort, values, strict=True)):
        cast = "text" if isinstance(value, str) else "float8"
        if value is not None:
            operator = "<" if column.descending else ">"
            alternatives.append(" AND ".join([*equal_text, f"(s{n} {operator} %s::{cast} OR s{n} IS NULL)"]))
            params += [*equal_params, value]
            equal_text.append(f"s{n} = %s::{cast}")
            equal_params.append(value)
        else:
            equal_text.append(f"s{n} IS NULL")
    alternatives.append(" AND ".join([*equal_text, "key > %s"]))
    params += [*equal_params, key]
    return Sql(" OR ".join(f"({text})" for text in alternatives), tuple(params))
