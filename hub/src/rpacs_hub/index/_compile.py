"""A query and what may be seen -> SQL that finds blocks, and the places in them, that match.

A condition is true, false or undecided of a block: undecided if its path varies there. SQL's AND, OR and NOT take NULL
as undecided, so the query as a whole is one expression over the block's row. Only blocks that it leaves undecided
are looked into: there each condition becomes the set of places (`intarray`) where it holds, and AND, OR and NOT become
intersection, union and difference.

Contents of the dictionary are looked up first. A condition that few of them meet names them; one that many meet refers
to a subquery. No text of a query becomes SQL: everything is a parameter.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import psycopg

import dicom_query
from dicom_query import And, Condition, Node, Not, Number, Operator, Or, PartialDate, Sql, TextPattern
from dicom_query.nodes import conditions_of, fold_tree
from rpacs_hub.index._content import SOP_PATHS
from rpacs_hub.index.schema import BLOCK_SIZE
from rpacs_hub.index.visible import Visible

__all__ = ["Compiled", "Parameters", "compile_query"]

_MOST_NAMED = 5000
"""Contents that are named in the statement; where a condition is met by more, they stay in the database."""

_MOST_SEARCHED = 300
"""Contents that are looked for through the index of the blocks; where it is more, reading all blocks is quicker."""

_MOST_BLOCKS = 2000
"""Blocks that are named in the statement, so that it reads no others; where it is more, reading all is as quick."""

_MOST_NARROWED = 20
"""Conditions that are tried to narrow the blocks down."""

_AT_ONCE = 40
"""Conditions that are looked up in one statement."""

_PLACES = "(%(places)s::int[])"
_NOWHERE = "'{}'::int[]"


class Parameters(dict[str, Any]):
    """Values of a statement's named placeholders."""

    def __init__(self, prefix: str = "", **values: Any):
        super().__init__({prefix + name: value for name, value in values.items()})
        self.prefix = prefix

    def add(self, value: Any) -> str:
        """Take a value in and return its placeholder."""
        name = f"{self.prefix}p{len(self)}"
        self[name] = value
        return f"%({name})s"

    def include(self, sql: Sql) -> str:
        """Take the values of an expression in and return its text with named placeholders."""
        first, *rest = sql.text.split("%s")
        return first + "".join(self.add(value) + text for value, text in zip(sql.params, rest, strict=True))


@dataclass(frozen=True)
class _Part:
    """What a part of the query has become.

    Attributes
    ----------
    truth
        Expression over block ``b`` and ``b.k``, or what it is of every block.
    places
        Set of places where it holds.
    need
        What holds of every block with a place in that set, and an index can tell; None if there is nothing.
    """

    truth: str | bool
    places: str = ""
    need: str | None = None


@dataclass
class Compiled:
    """What is needed to ask for matching blocks.

    Attributes
    ----------
    part
        The whole query.
    tables
        Common table expressions that it refers to.
    parameters
        Values of its placeholders; the statement around it adds its own.
    path_ids
        Numbers of tag paths, of those that were asked for.
    """

    part: _Part
    tables: list[str]
    parameters: Parameters = field(repr=False)
    path_ids: dict[str, int] = field(repr=False)

    def include(self, other: Compiled) -> None:
        """Take in the tables and values of another query, compiled with a prefix of its own."""
        self.tables += other.tables
        self.parameters.update(other.parameters)

    def matching(self, columns: str = "", condition: str = "TRUE") -> str:
        """Return a SELECT of block_pk, series_pk, study_pk, patient_pk, n, hits and further columns of block ``b``.

        ``hits`` are the places that match, ascending; null = all ``n`` of them. Only blocks with a match are in it.

        Parameters
        ----------
        columns
            Further columns, each with a comma before it.
        condition
            What else must be true of block ``b``.
        """
        part = self.part
        keys = "b.block_pk, b.series_pk, b.study_pk, b.patient_pk, b.n"
        if part.truth is True or part.truth is False:
            # Not a word of the query is left: nothing, or everything.
            return (
                f"SELECT {keys}, NULL::int[] AS hits{columns} FROM pacs.block b "  # noqa: S608 - names are ours
                f"WHERE {'TRUE' if part.truth else 'FALSE'} AND ({condition})"
            )
        candidates = (
            f"SELECT b.*, {part.truth} AS truth FROM (SELECT b.*, ps.k FROM pacs.block b "  # noqa: S608
            f"JOIN {self.parameters.prefix}ps ps USING (pathset_id) WHERE {part.need or 'TRUE'} AND ({condition})) b "
            "OFFSET 0"
        )
        looked_into = (
            f"SELECT {keys}, CASE WHEN b.truth THEN NULL ELSE {part.places} END AS hits{columns} "  # noqa: S608
            f"FROM ({candidates}) b WHERE b.truth IS NOT FALSE OFFSET 0"
        )
        return f"SELECT * FROM ({looked_into}) b WHERE b.hits IS NULL OR b.hits <> {_NOWHERE}"  # noqa: S608


async def compile_query(
    connection: psycopg.AsyncConnection[Any],
    query: Node | None,
    visible: Visible,
    extra_paths: Iterable[str] = (),
    prefix: str = "",
    also: Iterable[str] = (),
) -> Compiled:
    """Compile a query together with what may be seen.

    Parameters
    ----------
    connection
        In the transaction that will run the statement.
    query
        None = everything.
    visible
        What may be seen.
    extra_paths
        Further tag paths whose position in the blocks the statement wants to know: ``b.k[n]``, n counted from 1, in
        this order.
    prefix
        Begins the names of tables and placeholders, so that two compiled queries can be parts of one statement.
    also
        Tag paths whose numbers the caller wants to know.

    Returns
    -------
    Compiled
        For `Compiled.matching`.
    """
    nodes = [node for node in (query, *(visible.filters or ())) if node is not None]
    conditions = list(dict.fromkeys(_positive(one) for node in nodes for one in conditions_of(node)))
    extra = list(extra_paths)
    names = list(dict.fromkeys(_path(one) for one in conditions))
    names += [SOP_PATHS[name] for name in names if name in SOP_PATHS]
    path_ids = await _path_ids(connection, [*extra, *names, *also])
    positions: dict[str, int] = {}
    asked = [path_ids.get(name, 0) for name in extra]
    for name in names:
        if name in path_ids:
            asked.append(path_ids[name])
            positions[name] = len(asked)
    parameters = Parameters(prefix, paths=asked)
    parameters["places"] = list(range(1, BLOCK_SIZE + 1))
    leaves = _Leaves(connection, parameters, path_ids, positions)
    parts = await leaves.parts(conditions)

    def leaf(condition: Condition) -> _Part:
        part = parts[_positive(condition)]
        return _negated(part) if condition.operator is Operator.NOT_EXISTS else part

    wanted = fold_tree(query, leaf, _branch) if query is not None else _Part(True)
    if visible.filters is not None:
        wanted = _all([_any([fold_tree(one, leaf, _branch) for one in visible.filters]), wanted])
    if not isinstance(wanted.truth, bool):
        wanted = _Part(wanted.truth, f"uniq(sort({wanted.places}))", wanted.need)
    pathsets = (
        f"{prefix}ps AS MATERIALIZED (SELECT s.pathset_id, ARRAY(SELECT CASE "  # noqa: S608 - names are ours
        "WHEN idx(s.paths, u.p) > 0 THEN idx(s.paths, u.p) "
        "WHEN idx(s.partial, u.p) > 0 THEN -2 WHEN idx(s.varying, u.p) > 0 THEN -1 ELSE 0 END "
        f"FROM unnest(%({prefix}paths)s::int[]) WITH ORDINALITY u (p, o) ORDER BY o) AS k FROM pacs.pathset s)"
    )
    return Compiled(wanted, [pathsets, *leaves.tables], parameters, path_ids)


async def _path_ids(connection: psycopg.AsyncConnection[Any], names: list[str]) -> dict[str, int]:
    if not names:
        return {}
    cursor = await connection.execute(
        "SELECT path, path_id FROM pacs.path WHERE md5(path) = ANY(ARRAY(SELECT md5(n) FROM unnest(%s::text[]) n))",
        (list(dict.fromkeys(names)),),
    )
    return {row[0]: row[1] for row in await cursor.fetchall()}


def _positive(condition: Condition) -> Condition:
    if condition.operator is Operator.NOT_EXISTS:
        return Condition(condition.path, Operator.EXISTS)
    return condition


def _path(condition: Condition) -> str:
    return ".".join(f"{step.tag:08X}" for step in condition.path.steps)


def _branch(node: And | Or | Not, parts: list[_Part]) -> _Part:
    if isinstance(node, Not):
        return _negated(parts[0])
    return _all(parts) if isinstance(node, And) else _any(parts)


def _negated(part: _Part) -> _Part:
    if isinstance(part.truth, bool):
        return _Part(not part.truth)
    return _Part(f"(NOT {part.truth})", f"({_PLACES}[1:b.n] - {part.places})")


def _all(parts: list[_Part]) -> _Part:
    open_parts = [part for part in parts if part.truth is not True]
    if any(part.truth is False for part in open_parts):
        return _Part(False)
    if len(open_parts) < 2:
        return open_parts[0] if open_parts else _Part(True)
    needs = [part.need for part in open_parts if part.need is not None]
    return _Part(
        f"({' AND '.join(str(part.truth) for part in open_parts)})",
        f"({' & '.join(part.places for part in open_parts)})",
        f"({' AND '.join(needs)})" if needs else None,
    )


def _any(parts: list[_Part]) -> _Part:
    open_parts = [part for part in parts if part.truth is not False]
    if any(part.truth is True for part in open_parts):
        return _Part(True)
    if len(open_parts) < 2:
        return open_parts[0] if open_parts else _Part(False)
    needs = [part.need for part in open_parts if part.need is not None]
    return _Part(
        f"({' OR '.join(str(part.truth) for part in open_parts)})",
        f"({' | '.join(part.places for part in open_parts)})",
        f"({' OR '.join(needs)})" if len(needs) == len(open_parts) else None,
    )


@dataclass(frozen=True)
class _Found:
    """Which contents meet a condition, or, ``inverted``, which do not.

    Attributes
    ----------
    ids
        Their numbers; None if they are too many.
    member
        Expression that is true of a number ``{}`` of a content.
    """

    ids: list[int] | None
    inverted: bool
    member: str


class _Leaves:
    """Compiles conditions."""

    def __init__(
        self,
        connection: psycopg.AsyncConnection[Any],
        parameters: Parameters,
        path_ids: dict[str, int],
        positions: dict[str, int],
    ):
        self.tables: list[str] = []
        self._connection = connection
        self._parameters = parameters
        self._path_ids = path_ids
        self._positions = positions

    async def parts(self, conditions: list[Condition]) -> dict[Condition, _Part]:
        """Return what each condition has become; none of them is NotExists."""
        looked_up = [one for one in conditions if _path(one) in self._path_ids and not _is_mere_existence(one)]
        found: dict[Condition, _Found] = {}
        for start in range(0, len(looked_up), _AT_ONCE):
            found.update(await self._look_up(looked_up[start : start + _AT_ONCE]))
        blocks = await self._blocks(found)
        return {one: self._part(one, found.get(one), blocks.get(one)) for one in conditions}

    async def _blocks(self, found: dict[Condition, _Found]) -> dict[Condition, list[int]]:
        """Return the blocks where each condition may hold, for conditions where these are few."""
        values = Parameters()
        tried = [
            (one, [*what.ids, -self._path_ids[_path(one)]])
            for one, what in found.items()
            if what.ids is not None and not what.inverted and len(what.ids) <= _MOST_SEARCHED
        ][:_MOST_NARROWED]
        if not tried:
            return {}
        selects = [
            f"SELECT {number}, ARRAY(SELECT block_pk FROM pacs.block "  # noqa: S608 - names are ours
            f"WHERE vals OPERATOR(pg_catalog.&&) {values.add(ids)}::int[] LIMIT {_MOST_BLOCKS + 1})"
            for number, (_, ids) in enumerate(tried)
        ]
        # Compared row by row, lists of contents would take longer than everything else.
        async with self._connection.pipeline():
            await self._connection.execute("SET LOCAL enable_seqscan = off")
            cursor = await self._connection.execute(" UNION ALL ".join(selects).encode(), values)
            await self._connection.execute("SET LOCAL enable_seqscan = on")
            found_blocks = await cursor.fetchall()
        return {tried[number][0]: blocks for number, blocks in found_blocks if len(blocks) <= _MOST_BLOCKS}

    async def _look_up(self, conditions: list[Condition]) -> dict[Condition, _Found]:
        values = Parameters()
        selects = []
        for number, one in enumerate(conditions):
            contents = _contents_that_meet(one, self._path_ids[_path(one)], values)
            selects.append(
                f"SELECT {number}, ARRAY(SELECT value_id FROM ({contents}) c LIMIT {_MOST_NAMED + 1})"  # noqa: S608
            )
        cursor = await self._connection.execute(" UNION ALL ".join(selects).encode(), values)
        found = {}
        for number, ids in await cursor.fetchall():
            one = conditions[number]
            inverted = _is_mostly_true(one)
            sign = "<> ALL" if inverted else "= ANY"
            if len(ids) <= _MOST_NAMED:
                found[one] = _Found(ids, inverted, f"({{}} {sign} ({self._parameters.add(ids)}::int[]))")
            else:
                table = f"{self._parameters.prefix}d{len(self.tables)}"
                contents = _contents_that_meet(one, self._path_ids[_path(one)], self._parameters)
                self.tables.append(f"{table} AS MATERIALIZED ({contents})")
                word = "NOT IN" if inverted else "IN"
                found[one] = _Found(None, inverted, f"({{}} {word} (SELECT value_id FROM {table}))")  # noqa: S608
        return found

    def _part(self, condition: Condition, found: _Found | None, blocks: list[int] | None) -> _Part:
        """Compile a condition.

        Parameters
        ----------
        condition
            The condition.
        found
            Which contents meet it; None if it asks for mere existence.
        blocks
            All blocks where it may hold, if they are few.
        """
        path = _path(condition)
        uid = self._sop_part(condition, path)
        if path not in self._path_ids:
            return uid or _Part(False)
        at = f"b.k[{self._positions[path]}]"
        path_id = self._path_ids[path]
        need = None
        if found is None:
            truth = f"CASE WHEN {at} > 0 OR {at} = -1 THEN TRUE WHEN {at} = -2 THEN NULL ELSE FALSE END"
            constant = f"{_PLACES}[1:b.n]"
        else:
            holds = found.member.format(f"b.vals[{at}]")
            truth = f"CASE WHEN {at} > 0 THEN {holds} WHEN {at} < 0 THEN NULL ELSE FALSE END"
            constant = f"CASE WHEN {holds} THEN {_PLACES}[1:b.n] ELSE {_NOWHERE} END"
            if blocks is not None:
                need = f"(b.block_pk = ANY({self._parameters.add(blocks)}::int[]))"
        inside = (
            f"coalesce((SELECT {self._inside(condition, found)} FROM pacs.vary v "  # noqa: S608 - names are ours
            f"WHERE v.block_pk = b.block_pk AND v.path_id = {path_id}), {_NOWHERE})"
        )
        places = f"(CASE WHEN {at} > 0 THEN {constant} WHEN {at} < 0 THEN {inside} ELSE {_NOWHERE} END)"
        part = _Part(f"({truth})", places, need)
        return _any([part, uid]) if uid else part

    def _inside(self, condition: Condition, found: _Found | None) -> str:
        """Return the places of row ``v`` of pacs.vary where a condition holds; null for none."""
        parameters = self._parameters
        if found is None:
            return (
                "CASE WHEN v.ids IS NOT NULL THEN "
                "(SELECT array_agg(u.o::int) FROM unnest(v.ids) WITH ORDINALITY u (i, o) WHERE u.i <> 0) "
                "ELSE (SELECT array_agg(e.o::int) FROM jsonb_array_elements(v.contents::jsonb) "
                "WITH ORDINALITY e (c, o) WHERE e.c <> 'null') END"
            )
        coded = (
            "(SELECT array_agg(u.o::int) FROM unnest(v.ids) WITH ORDINALITY u (i, o) "  # noqa: S608
            f"WHERE u.i <> 0 AND {found.member.format('u.i')})"
        )
        test = parameters.include(_value_test(condition))
        looked_at = (
            "(SELECT array_agg(DISTINCT e.o::int) "  # noqa: S608
            f"FROM jsonb_array_elements(v.contents::jsonb) WITH ORDINALITY e (c, o), LATERAL {_VALUES} WHERE {test})"
        )
        sliced = ""
        if isinstance(condition.values[0] if condition.values else None, Number) and not _has_items(condition):
            sliced = f"WHEN v.nums IS NOT NULL THEN {self._slice(condition)} "
        return f"CASE WHEN v.ids IS NOT NULL THEN {coded} {sliced}ELSE {looked_at} END"

    def _slice(self, condition: Condition) -> str:
        """Return the places of the numbers that meet a condition: they are next to each other."""
        literal = condition.values[0]
        assert isinstance(literal, Number)
        below, up_to = _bounds(literal.value)
        first = f"width_bucket({self._parameters.add(below)}::float8, v.nums)"
        last = f"width_bucket({self._parameters.add(up_to)}::float8, v.nums)"
        places = f"(coalesce(v.ords, {_PLACES}))"
        end = "cardinality(v.nums)"
        slices = {
            Operator.NB_LESS: f"{places}[1:{first}]",
            Operator.NB_LESS_EQUALS: f"{places}[1:{last}]",
            Operator.NB_GREATER: f"{places}[{last} + 1:{end}]",
            Operator.NB_GREATER_EQUALS: f"{places}[{first} + 1:{end}]",
            Operator.NB_EQUALS: f"{places}[{first} + 1:{last}]",
            Operator.NB_NOT_EQUALS: f"({places}[1:{first}] || {places}[{last} + 1:{end}])",
        }
        return f"CASE WHEN {end} = 0 THEN NULL ELSE {slices[condition.operator]} END"

    def _sop_part(self, condition: Condition, path: str) -> _Part | None:
        """Compile a condition on a path that may hold the SOPInstanceUID of the instance's row."""
        name = SOP_PATHS.get(path)
        if name not in self._path_ids or condition.path.steps[0].item not in (None, 0):
            return None
        at = f"b.k[{self._positions[name]}]"
        if condition.operator is Operator.EXISTS or condition.operator is Operator.NOT_EMPTY:
            # A SOPInstanceUID is never empty: the file would not be in the index.
            return _Part(f"({at} < 0)", f"(CASE WHEN {at} < 0 THEN {_PLACES}[1:b.n] ELSE {_NOWHERE} END)")
        if condition.operator is Operator.EMPTY:
            return None
        test = self._parameters.include(dicom_query.text_test(condition, "i.sop_uid"))
        places = (
            f"(CASE WHEN {at} < 0 THEN coalesce((SELECT array_agg(i.ord) FROM pacs.instance i "  # noqa: S608
            f"WHERE i.block_pk = b.block_pk AND {test}), {_NOWHERE}) ELSE {_NOWHERE} END)"
        )
        need = None
        patterns = [value for value in condition.values if isinstance(value, TextPattern) and value.is_literal]
        if patterns and len(patterns) == len(condition.values) and condition.operator is not Operator.STR_NOT_EQUALS:
            uids = self._parameters.add([pattern.folded()[0] for pattern in patterns])
            named = f"SELECT i.block_pk FROM pacs.instance i WHERE i.sop_uid = ANY({uids}::text[])"  # noqa: S608
            need = f"(b.block_pk = ANY(ARRAY({named})))"
        return _Part(f"(CASE WHEN {at} < 0 THEN NULL ELSE FALSE END)", places, need)


def _is_mere_existence(condition: Condition) -> bool:
    return condition.operator is Operator.EXISTS and not _has_items(condition)


def _has_items(condition: Condition) -> bool:
    return bool(_items(condition))


def _is_mostly_true(condition: Condition) -> bool:
    """Whether fewer contents will fail a condition than meet it."""
    if condition.operator in (Operator.STR_NOT_EQUALS, Operator.NB_NOT_EQUALS, Operator.NOT_EMPTY):
        return True
    return any(isinstance(value, TextPattern) and value.pieces == ("", "") for value in condition.values)


def _contents_that_meet(condition: Condition, path_id: int, parameters: Parameters) -> str:
    """Return a SELECT of the contents that meet a condition, or fail it if most meet it."""
    test = parameters.include(_value_test(condition))
    among_several = f"EXISTS (SELECT FROM (SELECT w.content::jsonb AS c OFFSET 0) e, LATERAL {_VALUES} WHERE {test})"
    single = _single_test(condition, parameters)
    if _is_mostly_true(condition):
        single, among_several = f"(({single}) IS NOT TRUE)", f"NOT {among_several}"
    return (
        f"SELECT w.value_id FROM pacs.value w WHERE w.path_id = {path_id} AND w.t IS NOT NULL AND {single} "  # noqa: S608
        f"UNION ALL SELECT w.value_id FROM pacs.value w WHERE w.path_id = {path_id} AND w.t IS NULL AND {among_several}"
    )


def _single_test(condition: Condition, parameters: Parameters) -> str:
    """Return the test of a content ``w`` that is one text at the first place."""
    if any(step.item not in (None, 0) for step in condition.path.steps):
        return "FALSE"
    operator = condition.operator
    if operator is Operator.EXISTS:
        return "TRUE"
    if operator is Operator.EMPTY:
        return "(left(w.t, 100) = '')"
    if operator is Operator.NOT_EMPTY:
        return "(w.t <> '')"
    first = condition.values[0]
    if isinstance(first, Number):
        # Numbers that fit no double are never single texts of the dictionary.
        return _number_test(operator, first, parameters)
    test = parameters.include(dicom_query.text_test(condition, "w.t"))
    if isinstance(first, PartialDate):
        # The year is four digits in every form of a date, so the index can tell where to look.
        year = first.digits[:4]
        from_year = f"left(w.t, 100) >= {parameters.add(year)}::text"
        to_year = f"left(w.t, 100) <= {parameters.add(year + '~')}::text"
        if operator is Operator.DATE_ON:
            return f"({from_year} AND {to_year} AND {test})"
        return f"({from_year if operator is Operator.DATE_AFTER else to_year} AND {test})"
    patterns = [value for value in condition.values if isinstance(value, TextPattern)]
    if operator is not Operator.STR_NOT_EQUALS and all(pattern.is_literal for pattern in patterns):
        starts = parameters.add(sorted({pattern.folded()[0][:100] for pattern in patterns}))
        return f"(left(w.t, 100) = ANY({starts}::text[]) AND {test})"
    return test


def _number_test(operator: Operator, literal: Number, parameters: Parameters) -> str:
    below, up_to = (f"{parameters.add(bound)}::float8" for bound in _bounds(literal.value))
    return {
        Operator.NB_LESS: f"(w.num <= {below})",
        Operator.NB_LESS_EQUALS: f"(w.num <= {up_to})",
        Operator.NB_GREATER: f"(w.num > {up_to})",
        Operator.NB_GREATER_EQUALS: f"(w.num > {below})",
        Operator.NB_EQUALS: f"(w.num > {below} AND w.num <= {up_to})",
        Operator.NB_NOT_EQUALS: f"(w.num <= {below} OR w.num > {up_to})",
    }[operator]


def _bounds(wanted: Decimal) -> tuple[float, float]:
    """Return (a, b): a number that fits a double is less than `wanted` if it is at most a, and not more if at most b.

    A number fits if it equals the shortest decimal of its double (`rpacs_hub.index._content.fitting_number`).
    """
    nearest = float(wanted)
    if math.isinf(nearest):
        # Beyond every double: all numbers that fit are on one side.
        return (math.inf, math.inf) if nearest > 0 else (-math.inf, -math.inf)
    shortest = Decimal(repr(nearest))
    before = math.nextafter(nearest, -math.inf)
    return (before if shortest >= wanted else nearest), (before if shortest > wanted else nearest)


_VALUES = (
    "jsonb_array_elements(CASE jsonb_typeof(e.c) WHEN 'array' THEN e.c WHEN 'object' THEN e.c -> 'v' "
    "WHEN 'null' THEN '[]'::jsonb ELSE jsonb_build_array(e.c) END) WITH ORDINALITY l (v, o) "
    "CROSS JOIN LATERAL (SELECT CASE jsonb_typeof(l.v) WHEN 'string' THEN l.v #>> '{}' END) x (t)"
)
"""FROM item of all values of content ``e.c``: as JSON ``l.v``, as text ``x.t``, and their number ``l.o`` from 1."""


def _value_test(condition: Condition) -> Sql:
    """Return the test of one value of `_VALUES`."""
    operator = condition.operator
    tests = [_item_test(step, item, len(condition.path.steps)) for step, item in _items(condition)]
    if operator is Operator.EMPTY:
        tests.append("l.v = '\"\"'")
    elif operator is Operator.NOT_EMPTY:
        tests.append("l.v <> '\"\"'")
    elif operator is not Operator.EXISTS:
        text = dicom_query.text_test(condition, "x.t")
        return Sql(" AND ".join([*tests, text.text]), text.params)
    return Sql(" AND ".join(tests) or "TRUE")


def _items(condition: Condition) -> list[tuple[int, int]]:
    """Return the steps that name an item, and which."""
    return [(n, step.item) for n, step in enumerate(condition.path.steps) if step.item is not None]


def _item_test(step: int, item: int, steps: int) -> str:
    """Return the test that a value stands in an item, for the forms of `rpacs_hub.index._content`."""
    plain = f"l.o = {item + 1}" if step == steps - 1 else str(item == 0).upper()
    return (
        "(CASE WHEN jsonb_typeof(e.c) = 'object' AND e.c ? 'p' "
        f"THEN (e.c -> 'p' -> (l.o - 1)::int ->> {step})::int = {item} ELSE {plain} END)"
    )
