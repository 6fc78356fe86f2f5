"""The statement for one page of a result: exact total, sorted rows, and where each row's values are."""

from __future__ import annotations

from collections.abc import Sequence

from dicom_query.literals import NUMBER_PATTERN
from rpacs_hub.index._columns import COUNTED, Level, SortKey, is_numeric, tag_of
from rpacs_hub.index._compile import Compiled, Parameters
from rpacs_hub.index._cursor import SortValue

__all__ = [
    "BLOCK_COLUMNS",
    "count_statement",
    "counts_select",
    "is_count",
    "key_of",
    "page_statement",
    "seen_statement",
    "sort_paths",
]

BLOCK_COLUMNS = {
    "SeriesNumber": "b.series_number",
    "PatientID": "b.patient_id",
    "StudyDate": "b.study_date",
    "StudyInstanceUID": "b.study_uid",
    "SeriesInstanceUID": "b.series_uid",
}
"""Columns that all instances of a block agree on, and that the block's row holds ready for sorting."""

_MATCHES = "sum(coalesce(icount(m.hits), m.n))::bigint"

_COUNTS = {
    "NumberOfPatientRelatedStudies": "count(DISTINCT m.study_pk)",
    "NumberOfPatientRelatedSeries": "count(DISTINCT m.series_pk)",
    "NumberOfPatientRelatedInstances": _MATCHES,
    "NumberOfStudyRelatedSeries": "count(DISTINCT m.series_pk)",
    "NumberOfStudyRelatedInstances": _MATCHES,
    "NumberOfSeriesRelatedInstances": _MATCHES,
    "ModalitiesInStudy": "coalesce(array_agg(DISTINCT m.modality) FILTER (WHERE m.modality <> ''), '{}')",
}
"""Counted columns as aggregates over matching blocks ``m``."""

_FIRST = "((b.block_pk::bigint << 16) | coalesce(b.hits[1], 1))"
"""A number for the first matching instance of a block: its block and its place."""


def is_count(level: Level, column: str) -> bool:
    """Whether a column is a number that is counted."""
    return column in COUNTED[level] and column.startswith("NumberOf")


def key_of(level: Level) -> str:
    """Return the column that tells the rows of a level apart."""
    return f"{level.value}_pk" if level is not Level.INSTANCE else "instance"


def sort_paths(level: Level, sort: Sequence[SortKey]) -> list[str]:
    """Return the tag paths that sorting has to look up, each once."""
    return list(
        dict.fromkeys(
            f"{tag_of(key.column):08X}"
            for key in sort
            if key.column not in COUNTED[level] and key.column not in BLOCK_COLUMNS and key.column != "SOPInstanceUID"
        )
    )


def count_statement(compiled: Compiled, level: Level) -> str:
    """Return the statement for the total alone."""
    tables = ", ".join(compiled.tables)
    if level is Level.INSTANCE:
        return f"WITH {tables} SELECT coalesce({_MATCHES}, 0) FROM ({compiled.matching()}) m"  # noqa: S608 - names are ours
    grouped = f"SELECT FROM ({compiled.matching()}) m GROUP BY m.{key_of(level)}"
    return f"WITH {tables} SELECT count(*) FROM ({grouped}) g"  # noqa: S608


def seen_statement(compiled: Compiled) -> str:
    """Return the statement for the numbers of studies and of instances."""
    counts = f"count(DISTINCT m.study_pk), coalesce({_MATCHES}, 0)"
    return f"WITH {', '.join(compiled.tables)} SELECT {counts} FROM ({compiled.matching()}) m"  # noqa: S608


def counts_select(compiled: Compiled, level: Level, columns: Sequence[str], condition: str = "TRUE") -> str:
    """Return a SELECT of key and counted columns over the matching blocks that meet a condition."""
    wanted = ", ".join(f'{_COUNTS[column]} AS "{column}"' for column in columns)
    matching = compiled.matching(", b.modality", condition)
    return f"SELECT m.{key_of(level)} AS key, {wanted} FROM ({matching}) m GROUP BY 1"  # noqa: S608 - names are ours


def page_statement(
    compiled: Compiled,
    level: Level,
    sort: Sequence[SortKey],
    after: tuple[list[SortValue], int] | None,
    limit: int,
    counts: str | None,
) -> str:
    """Return a SELECT of (total, key, first matching instance, sort value, ...), in order.

    The total's row is there even if no other is; its key is null then.

    Parameters
    ----------
    compiled
        Query and permissions, compiled with `sort_paths` first among the extra paths. Parameters are added to it.
    level, sort
        What a row is and how rows are sorted; the key breaks every tie.
    after
        Sort values and key of the last row of the page before.
    limit
        Rows.
    counts
        SELECT of key and counted columns that are sorted by; None if there are none.
    """
    parameters = compiled.parameters
    paths = sort_paths(level, sort)
    most = parameters.add(limit)
    if level is Level.INSTANCE:
        body = _instance_page(compiled, sort, after, most)
    else:
        values = [_value(level, key, paths, parameters) for key in sort]
        body = _group_page(compiled, level, sort, values, after, most, counts)
    return f"WITH {', '.join([*compiled.tables, *body])}"


def _group_page(
    compiled: Compiled,
    level: Level,
    sort: Sequence[SortKey],
    values: Sequence[str],
    after: tuple[list[SortValue], int] | None,
    most: str,
    counts: str | None,
) -> list[str]:
    key = key_of(level)
    shown = "".join(f", {value} AS s{n}" for n, value in enumerate(values))
    counted = f"LEFT JOIN ({counts}) c ON c.key = r.key" if counts else ""
    joined = "JOIN ps USING (pathset_id)" if sort_paths(level, sort) else ""
    return [
        f"matched AS MATERIALIZED ({compiled.matching()})",
        f"reps AS MATERIALIZED (SELECT b.{key} AS key, min({_FIRST}) AS rep FROM matched b GROUP BY 1)",  # noqa: S608
        f"ranked AS (SELECT r.key, r.rep{shown} FROM reps r JOIN pacs.block b ON b.block_pk = (r.rep >> 16)::int "  # noqa: S608
        f"{joined} {counted})",
        _last("(SELECT count(*) FROM reps)", sort, after, most, compiled.parameters),
    ]


def _instance_page(
    compiled: Compiled,
    sort: Sequence[SortKey],
    after: tuple[list[SortValue], int] | None,
    most: str,
) -> list[str]:
    """Sort blocks first, by what all instances of a block agree on, and open only those that can be on the page."""
    known = 0
    while known < len(sort) and sort[known].column in BLOCK_COLUMNS:
        known += 1
    parameters = compiled.parameters
    paths = sort_paths(Level.INSTANCE, sort)
    from_block, columns, values = "", "", ""
    for n, key in enumerate(sort):
        if key.column in BLOCK_COLUMNS:
            from_block += f", {BLOCK_COLUMNS[key.column]} AS s{n}"
            values += f", b.s{n}"
        else:
            constant, by_place = _column(key, paths, parameters)
            columns += f", {constant} AS c{n}, {by_place} AS a{n}"
            values += f", coalesce(b.c{n}, b.a{n}[u.ord]) AS s{n}"
    opened = [f"opened AS MATERIALIZED ({_opened(sort[:known], known == len(sort), after, most, parameters)})"]
    source = "opened"
    if columns:
        # Of the blocks that tie, those behind enough rows are not needed.
        order = f"ORDER BY {_order(sort[:known]).rstrip(', ')}" if known else ""
        same = f"PARTITION BY {', '.join(f'b.s{n}' for n in range(known))}" if known else ""
        rows = "sum(CASE WHEN b.counts THEN coalesce(icount(b.hits), b.n) ELSE 0 END)"
        opened.append(
            f"trimmed AS (SELECT * FROM (SELECT b.*, {rows} OVER ({order}) - {rows} OVER ({same}) AS before "  # noqa: S608
            f"FROM opened b) b WHERE b.before < {most})"
        )
        held = "SELECT k.block_pk, k.vals, ps.k FROM pacs.block k JOIN ps USING (pathset_id)"
        opened.append(
            f"columns AS MATERIALIZED (SELECT b.*{columns} FROM trimmed b "  # noqa: S608
            f"JOIN ({held}) kb ON kb.block_pk = b.block_pk)"
        )
        source = "columns"
    return [
        f"matched AS MATERIALIZED ({compiled.matching(from_block)})",
        *opened,
        "ranked AS (SELECT (b.block_pk::bigint << 16) | u.ord AS key, (b.block_pk::bigint << 16) | u.ord AS rep"  # noqa: S608
        f"{values} FROM {source} b "
        "CROSS JOIN LATERAL unnest(coalesce(b.hits, (%(places)s::int[])[1:b.n])) u (ord))",
        _last(f"(SELECT coalesce({_MATCHES}, 0) FROM matched m)", sort, after, most, parameters),  # noqa: S608
    ]


def _opened(
    known: Sequence[SortKey],
    is_all: bool,
    after: tuple[list[SortValue], int] | None,
    most: str,
    parameters: Parameters,
) -> str:
    """Return the SELECT of matching blocks that can have an instance on the page.

    Each has at least one match, so no more are needed than the page has rows; besides those that tie with the last.
    """
    order = _order(known)
    ending = f"ORDER BY {order.rstrip(', ')} FETCH FIRST ({most}) ROWS WITH TIES"
    if is_all:
        ending = f"ORDER BY {order}b.block_pk LIMIT {most}"
    elif not known:
        ending = ""
    if after is None or not (known or is_all):
        counts = "FALSE" if after else "TRUE"
        return f"SELECT b.*, {counts} AS counts FROM matched b {ending}"  # noqa: S608 - names are ours
    # The block where the page before ended, and those that tie with it, may have nothing left: they do not count.
    begun = f"b.block_pk >= {parameters.add(after[1] >> 16)}" if is_all else "TRUE"
    other = _not_tied(known, after[0], parameters)
    tied = f"SELECT b.*, FALSE AS counts FROM matched b WHERE NOT {other} AND {begun}"  # noqa: S608
    if is_all:
        tied += f" ORDER BY b.block_pk LIMIT {most} + 1"
    behind = _after(known, after[0][: len(known)], None, parameters)
    rest = f"SELECT b.*, TRUE AS counts FROM matched b WHERE {other} AND {behind} {ending}"  # noqa: S608
    return f"({tied}) UNION ALL ({rest})"


def _last(
    total: str, sort: Sequence[SortKey], after: tuple[list[SortValue], int] | None, most: str, parameters: Parameters
) -> str:
    keyset = f"WHERE {_after(sort, after[0], after[1], parameters)}" if after else ""
    shown = "".join(f", p.s{n}" for n in range(len(sort)))
    return (
        f"page AS (SELECT * FROM ranked b {keyset} ORDER BY {_order(sort)}b.key LIMIT {most}) "  # noqa: S608
        f"SELECT total.n, p.key, p.rep{shown} FROM (SELECT {total} AS n) total LEFT JOIN page p ON TRUE "
        f"ORDER BY {_order(sort, 'p')}p.key"
    )


def _order(sort: Sequence[SortKey], table: str = "b") -> str:
    """Return sort expressions, each with a comma behind it; absent values come last in either direction."""
    return "".join(
        f"{table}.s{n}{' DESC NULLS LAST' if key.descending else ' NULLS LAST'}, " for n, key in enumerate(sort)
    )


def _after(sort: Sequence[SortKey], values: Sequence[SortValue], key: int | None, parameters: Parameters) -> str:
    """Return the condition for what comes behind a row; without a key, also for what ties with it."""
    alternatives: list[str] = []
    equal: list[str] = []
    for n, (column, value) in enumerate(zip(sort, values, strict=True)):
        if value is None:
            equal.append(f"b.s{n} IS NULL")
            continue
        held = f"{parameters.add(value)}::{'text' if isinstance(value, str) else 'float8'}"
        operator = "<" if column.descending else ">"
        alternatives.append(" AND ".join([*equal, f"(b.s{n} {operator} {held} OR b.s{n} IS NULL)"]))
        equal.append(f"b.s{n} = {held}")
    tied = " AND ".join([*equal, f"b.key > {parameters.add(key)}" if key is not None else "TRUE"])
    return f"({' OR '.join(f'({text})' for text in [*alternatives, tied])})"


def _not_tied(sort: Sequence[SortKey], values: Sequence[SortValue], parameters: Parameters) -> str:
    tests = [
        f"b.s{n} IS DISTINCT FROM {parameters.add(value)}::{'text' if isinstance(value, str) else 'float8'}"
        if value is not None
        else f"b.s{n} IS NOT NULL"
        for n, value in enumerate(values[: len(sort)])
    ]
    return f"({' OR '.join(tests) or 'FALSE'})"


def _value(level: Level, key: SortKey, paths: Sequence[str], parameters: Parameters) -> str:
    """Return the expression of what a row of patients, studies or series ``r`` with block ``b`` is sorted by."""
    if key.column in COUNTED[level]:
        number = f'c."{key.column}"'
        return f"{number}::float8" if is_count(level, key.column) else f"array_to_string({number}, ',')"
    place = "(r.rep & 65535)::int"
    if key.column in BLOCK_COLUMNS:
        return BLOCK_COLUMNS[key.column]
    if key.column == "SOPInstanceUID":
        return f"(SELECT i.sop_uid FROM pacs.instance i WHERE i.block_pk = b.block_pk AND i.ord = {place})"  # noqa: S608
    position = paths.index(f"{tag_of(key.column):08X}") + 1
    at, numeric = f"ps.k[{position}]", is_numeric(key.column)
    of_place = _first_of(f"(v.contents::jsonb -> {place} - 1)", numeric, parameters)
    of_id = _first_value(f"v.ids[{place}]", numeric, parameters)
    return (
        f"(CASE WHEN {at} > 0 THEN {_first_value(f'b.vals[{at}]', numeric, parameters)} "  # noqa: S608
        f"WHEN {at} < 0 THEN (SELECT CASE WHEN v.ids IS NOT NULL THEN {of_id} "
        f"ELSE {of_place} END FROM pacs.vary v WHERE v.block_pk = b.block_pk "
        f"AND v.path_id = (%(paths)s::int[])[{position}]) END)"
    )


def _column(key: SortKey, paths: Sequence[str], parameters: Parameters) -> tuple[str, str]:
    """Return the expressions of what all instances of a block are sorted by, and of an array with each one's own."""
    if key.column == "SOPInstanceUID":
        uids = "(SELECT array_agg(i.sop_uid ORDER BY i.ord) FROM pacs.instance i WHERE i.block_pk = b.block_pk)"
        return "NULL::text", uids
    position = paths.index(f"{tag_of(key.column):08X}") + 1
    at, numeric = f"kb.k[{position}]", is_numeric(key.column)
    constant = f"(CASE WHEN {at} > 0 THEN {_first_value(f'kb.vals[{at}]', numeric, parameters)} END)"
    # Only places that match are looked at; the others keep theirs in the array.
    matching = "CASE WHEN b.hits IS NULL OR u.o = ANY(b.hits) THEN"
    from_ids = (
        f"(SELECT array_agg({matching} {_first_value('u.i', numeric, parameters)} END ORDER BY u.o) "  # noqa: S608
        "FROM unnest(v.ids) WITH ORDINALITY u (i, o))"
    )
    from_contents = (
        f"(SELECT array_agg({matching} {_first_of('u.c', numeric, parameters)} END ORDER BY u.o) "  # noqa: S608
        "FROM jsonb_array_elements(v.contents::jsonb) WITH ORDINALITY u (c, o))"
    )
    by_place = (
        f"(CASE WHEN {at} < 0 THEN (SELECT CASE WHEN v.ids IS NOT NULL THEN {from_ids} ELSE {from_contents} END "  # noqa: S608
        f"FROM pacs.vary v WHERE v.block_pk = b.block_pk AND v.path_id = (%(paths)s::int[])[{position}]) END)"
    )
    return constant, by_place


def _first_value(value_id: str, numeric: bool, parameters: Parameters) -> str:
    """Return the expression of the first value of a content of the dictionary."""
    first = _first_of("coalesce(w.content, to_json(w.t)::text)::jsonb", numeric, parameters)
    return f"(SELECT {first} FROM pacs.value w WHERE w.value_id = {value_id})"  # noqa: S608


def _first_of(content: str, numeric: bool, parameters: Parameters) -> str:
    """Return the expression of a content's first value, to sort by."""
    first = (
        "(SELECT CASE jsonb_typeof(f.v) WHEN 'string' THEN nullif(f.v #>> '{}', '') END FROM "  # noqa: S608
        f"(SELECT {content} AS c OFFSET 0) e, LATERAL (SELECT CASE jsonb_typeof(e.c) WHEN 'array' THEN e.c -> 0 "
        "WHEN 'object' THEN e.c -> 'v' -> 0 ELSE e.c END) f (v))"
    )
    if not numeric:
        return f'({first} COLLATE "C")'
    pattern = parameters.add(f"^({NUMBER_PATTERN})$")
    # What no double holds sorts with what is no number.
    return (
        f"(SELECT CASE WHEN n.t ~ {pattern} THEN CASE WHEN abs(n.t::numeric) BETWEEN 1e-300 AND 1e300 "  # noqa: S608
        f"THEN n.t::numeric::float8 WHEN n.t::numeric = 0 THEN 0 END END FROM (SELECT {first} AS t OFFSET 0) n)"
    )
