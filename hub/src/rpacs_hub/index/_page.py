"""The statements for a result: how many rows there are, and one page of them, sorted.

The first statement counts, and names the blocks that match if they are few. If so, the second looks at no others.
If not, and the rows are sorted by what an index of blocks is in the order of, it reads blocks in that order until the
page is full. Only what is left looks at all matching blocks twice.
"""

from __future__ import annotations

from collections.abc import Sequence

from dicom_query.literals import NUMBER_PATTERN
from rpacs_hub.index._columns import COUNTED, Level, SortKey, is_numeric, tag_of
from rpacs_hub.index._compile import Compiled
from rpacs_hub.index._cursor import SortValue
from rpacs_hub.index._parts import Parameters, array_text

__all__ = [
    "BLOCK_COLUMNS",
    "MOST_NAMED",
    "counts_select",
    "is_count",
    "key_of",
    "page_statement",
    "seen_statement",
    "sort_paths",
    "summary_statement",
    "walk_order",
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

_WALKED = {
    ("StudyDate", True): "b.study_date DESC NULLS LAST",
    ("StudyInstanceUID", False): "b.study_uid",
    ("PatientID", False): "b.patient_id",
}
"""Orders in which an index can give the blocks, by column and whether descending."""

MOST_NAMED = 2000
"""Matching blocks that the summary names; more are cheaper to find again."""

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


def walk_order(sort: Sequence[SortKey]) -> str | None:
    """Return what blocks are to be read in the order of, for rows sorted so; None if no index has that order."""
    return _WALKED.get((sort[0].column, sort[0].descending)) if sort else None


def summary_statement(compiled: Compiled, level: Level) -> str:
    """Return a SELECT of (rows in all, first matching instance of each block that matches, or null if they are many).

    An instance is named by the number of its block, shifted left by 16 bits, and its place.
    """
    if compiled.part.truth is True and level is not Level.INSTANCE:
        return f"SELECT count(*), NULL FROM pacs.{level.value}"  # noqa: S608 - none of them is without instances
    if compiled.part.truth is True:
        return "SELECT coalesce(sum(b.n), 0)::bigint, NULL FROM pacs.block b"
    counted = f"coalesce({_MATCHES}, 0)" if level is Level.INSTANCE else f"count(DISTINCT m.{key_of(level)})"
    return (
        f"{compiled.with_tables()}SELECT s.total, CASE WHEN s.blocks <= {MOST_NAMED} THEN s.named END FROM ("  # noqa: S608 - names are ours
        f"SELECT {counted} AS total, count(*) AS blocks, array_agg({_FIRST.replace('b.', 'm.')}) AS named "
        f"FROM ({compiled.matching()}) m) s"
    )


def seen_statement(compiled: Compiled) -> str:
    """Return the statement for the numbers of studies and of instances."""
    counts = f"count(DISTINCT m.study_pk), coalesce({_MATCHES}, 0)"
    return f"{compiled.with_tables()}SELECT {counts} FROM ({compiled.matching()}) m"  # noqa: S608


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
    counts: str | None = None,
    *,
    named: Sequence[int] | None = None,
    walk: str | None = None,
) -> str:
    """Return a SELECT of (key, first matching instance, sort value, ...), in order.

    Parameters
    ----------
    compiled
        Query and permissions, compiled with `sort_paths` among the extra paths. Parameters are added to it.
    level, sort
        What a row is and how rows are sorted; the key breaks every tie.
    after
        Sort values and key of the last row of the page before.
    limit
        Rows.
    counts
        SELECT of key and counted columns that are sorted by; None if there are none.
    named
        The first matching instance of every block that matches, if they are known.
    walk
        `walk_order`, to read blocks in that order; the statement has to be run with sorting disabled.
    """
    most = compiled.parameters.add(limit)
    if level is Level.INSTANCE:
        tables = _instance_page(compiled, sort, after, most, named, walk or "")
    else:
        tables = _group_page(compiled, level, sort, named, walk, counts)
    keyset = f"WHERE {_after(sort, after[0], after[1], compiled.parameters)}" if after else ""
    shown = "".join(f", b.s{n}" for n in range(len(sort)))
    return (
        f"{compiled.with_tables(tables)}SELECT b.key, b.rep{shown} FROM ranked b {keyset} "  # noqa: S608
        f"ORDER BY {_order(sort)}b.key LIMIT {most}"
    )


def _group_page(
    compiled: Compiled,
    level: Level,
    sort: Sequence[SortKey],
    named: Sequence[int] | None,
    walk: str | None,
    counts: str | None,
) -> list[str]:
    """Return the tables of patients, studies or series, each by the first of its blocks that match."""
    key, paths = key_of(level), sort_paths(level, sort)
    in_row = [BLOCK_COLUMNS[one.column] for one in sort if one.column in BLOCK_COLUMNS]
    is_in_row = not paths and all(one.column != "SOPInstanceUID" for one in sort)
    values = "".join(f", {_value(compiled, level, one, '(rep & 65535)::int')} AS s{n}" for n, one in enumerate(sort))
    if walk is not None:
        columns = [*in_row, walk.split()[0], *(() if is_in_row else ("b.vals", "b.pathset_id"))]
        blocks = compiled.matching("".join(f", {one}" for one in dict.fromkeys(columns)), order=walk)
        before = compiled.matching("", f"b.{key} = o.{key} AND b.block_pk < o.block_pk")
        first = f"o.{key} AS key, {_FIRST.replace('b.', 'o.')} AS rep"
        return [
            f"ranked AS (SELECT b.key, b.rep{values} FROM (SELECT o.*, {first} "  # noqa: S608
            f"FROM ({blocks}) o WHERE NOT EXISTS ({before}) ORDER BY {walk.replace('b.', 'o.')} OFFSET 0) b)"
        ]
    counted = f"LEFT JOIN ({counts}) c USING (key)" if counts else ""
    columns = list(dict.fromkeys(in_row)) if is_in_row else []
    also = "".join(f", {one}" for one in columns)
    if named is not None:
        firsts = f"unnest({compiled.parameters.add(array_text(named))}::bigint[]) f (rep) JOIN pacs.block b"
        blocks = f"SELECT b.{key}, b.block_pk, f.rep{also} FROM {firsts} ON b.block_pk = (f.rep >> 16)::int"  # noqa: S608
    else:
        blocks = f"SELECT b.*, {_FIRST} AS rep FROM ({compiled.matching(also)}) b"  # noqa: S608
    reps = (
        f"reps AS MATERIALIZED (SELECT DISTINCT ON (b.{key}) b.{key} AS key, b.rep"  # noqa: S608
        f"{also} FROM ({blocks}) b ORDER BY b.{key}, b.block_pk)"
    )
    if is_in_row:
        return [reps, f"ranked AS (SELECT key, rep{values} FROM reps b {counted})"]  # noqa: S608
    opened = "reps r JOIN pacs.block b ON b.block_pk = (r.rep >> 16)::int"
    return [reps, f"ranked AS (SELECT key, rep{values} FROM {opened} {counted})"]  # noqa: S608


def _instance_page(
    compiled: Compiled,
    sort: Sequence[SortKey],
    after: tuple[list[SortValue], int] | None,
    most: str,
    named: Sequence[int] | None,
    walk: str,
) -> list[str]:
    """Sort blocks first, by what all instances of a block agree on, and open only those that can be on the page."""
    known = 0
    while known < len(sort) and sort[known].column in BLOCK_COLUMNS:
        known += 1
    parameters = compiled.parameters
    from_block, columns, values = "", "", ""
    for n, key in enumerate(sort):
        if key.column in BLOCK_COLUMNS:
            from_block += f", {BLOCK_COLUMNS[key.column]} AS s{n}"
            values += f", b.s{n}"
        else:
            constant, by_place = _column(compiled, key)
            columns += f", {constant} AS c{n}, {by_place} AS a{n}"
            values += f", coalesce(b.c{n}, b.a{n}[u.ord]) AS s{n}"
    condition = "TRUE"
    if named is not None:
        condition = f"b.block_pk = ANY({parameters.add(array_text(first >> 16 for first in named))}::int[])"
    raw = dict.fromkeys(BLOCK_COLUMNS[key.column] for key in sort if key.column in BLOCK_COLUMNS)
    blocks = compiled.matching("".join(f", {column}" for column in raw), condition, walk)
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
        opened.append(
            f"columns AS MATERIALIZED (SELECT b.*{columns} FROM trimmed b "  # noqa: S608
            "JOIN pacs.block kb ON kb.block_pk = b.block_pk)"
        )
        source = "columns"
    return [
        f"matched AS {'MATERIALIZED ' if after else ''}(SELECT b.*{from_block} FROM ({blocks}) b)",  # noqa: S608
        *opened,
        "ranked AS (SELECT (b.block_pk::bigint << 16) | u.ord AS key, (b.block_pk::bigint << 16) | u.ord AS rep"  # noqa: S608
        f"{values} FROM {source} b "
        "CROSS JOIN LATERAL unnest(coalesce(b.hits, (%(places)s::int[])[1:b.n])) u (ord))",
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


def _value(compiled: Compiled, level: Level, key: SortKey, place: str) -> str:
    """Return the expression of what the instance at a place of block ``b`` is sorted by."""
    if key.column in COUNTED[level]:
        number = f'c."{key.column}"'
        return f"{number}::float8" if is_count(level, key.column) else f"array_to_string({number}, ',')"
    if key.column in BLOCK_COLUMNS:
        return BLOCK_COLUMNS[key.column]
    if key.column == "SOPInstanceUID":
        return f"(SELECT i.sop_uid FROM pacs.instance i WHERE i.block_pk = b.block_pk AND i.ord = {place})"  # noqa: S608
    path, numeric, parameters = f"{tag_of(key.column):08X}", is_numeric(key.column), compiled.parameters
    at = compiled.position(path, "b")
    if at is None:
        return f"NULL::{'float8' if numeric else 'text'}"
    of_place = _first_of(f"(v.contents::jsonb -> {place} - 1)", numeric, parameters)
    of_id = _first_value(f"v.ids[{place}]", numeric, parameters)
    return (
        f"(CASE WHEN {at} > 0 THEN {_first_value(f'b.vals[{at}]', numeric, parameters)} "  # noqa: S608
        f"WHEN {at} < 0 THEN (SELECT CASE WHEN v.ids IS NOT NULL THEN {of_id} "
        f"ELSE {of_place} END FROM pacs.vary v WHERE v.block_pk = b.block_pk "
        f"AND v.path_id = {compiled.path_ids[path]}) END)"
    )


def _column(compiled: Compiled, key: SortKey) -> tuple[str, str]:
    """Return the expressions of what all instances of a block are sorted by, and of an array with each one's own."""
    if key.column == "SOPInstanceUID":
        uids = "(SELECT array_agg(i.sop_uid ORDER BY i.ord) FROM pacs.instance i WHERE i.block_pk = b.block_pk)"
        return "NULL::text", uids
    path, numeric, parameters = f"{tag_of(key.column):08X}", is_numeric(key.column), compiled.parameters
    at = compiled.position(path, "kb")
    if at is None:
        kind = "float8" if numeric else "text"
        return f"NULL::{kind}", f"NULL::{kind}[]"
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
    # Where each instance has one value and that is a number, the numbers stand there already.
    from_numbers = (
        "WHEN v.whole AND NOT v.several AND v.contents !~ '.[[{]' THEN (SELECT array_agg("
        "CASE WHEN abs(u.x) >= 1e-300 OR u.x = 0 THEN u.x END ORDER BY u.o) "
        "FROM unnest(v.nums, coalesce(v.ords, (%(places)s::int[])[1:b.n])) u (x, o)) "
        if numeric
        else ""
    )
    by_place = (
        f"(CASE WHEN {at} < 0 THEN (SELECT CASE WHEN v.ids IS NOT NULL THEN {from_ids} {from_numbers}"  # noqa: S608
        f"ELSE {from_contents} END FROM pacs.vary v WHERE v.block_pk = b.block_pk "
        f"AND v.path_id = {compiled.path_ids[path]}) END)"
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
