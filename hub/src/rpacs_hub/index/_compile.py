"""A query and what may be seen -> SQL that finds blocks, and the places in them, that match.

A condition is true, false or undecided of a block: undecided if its path varies there, and the least and greatest of
its numbers do not tell either. SQL's AND, OR and NOT take NULL as undecided, so the query as a whole is one expression
over the block's row. Only blocks that it leaves undecided are looked into: there each condition becomes the set of
places (`intarray`) where it holds, and AND, OR and NOT become intersection, union and difference.

Where a path stands in a block depends on the block's path set. For every path that is asked for, the positions in all
path sets are looked up first and go into the statement as one array. So are contents of the dictionary: a condition
that not too many of them meet names them; one that more meet refers to a subquery. No text of a query becomes SQL:
everything is a parameter.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import psycopg

import dicom_query
from dicom_query import Condition, Node, Number, Operator, TextPattern
from dicom_query.nodes import conditions_of, fold_tree
from rpacs_hub.index._content import SOP_PATHS
from rpacs_hub.index._lookup import (
    VALUES,
    bounds,
    contents_that_meet,
    has_items,
    is_mere_existence,
    is_mostly_true,
    value_test,
)
from rpacs_hub.index._parts import (
    EVERYWHERE,
    NOWHERE,
    NUMBERED,
    Look,
    Parameters,
    Part,
    all_of,
    any_of,
    array_text,
    branch,
    negated,
    places_of_contents,
)
from rpacs_hub.index.schema import BLOCK_SIZE
from rpacs_hub.index.visible import Visible

__all__ = ["Compiled", "compile_query"]

_MOST_NAMED = 200_000
"""Contents that are named in the statement; where a condition is met by more, they stay in the database."""

_MOST_SEARCHED = 300
"""Contents that are looked for through the index of the blocks; where it is more, reading all blocks is quicker."""

_MOST_BLOCKS = 2000
"""Blocks that are named in the statement, so that it reads no others; where it is more, reading all is as quick."""

_MOST_NARROWED = 20
"""Conditions that are tried to narrow the blocks down."""

_AT_ONCE = 40
"""Conditions that are looked up in one statement."""

_THERE = (
    "CASE WHEN v.ids IS NOT NULL THEN "
    "(SELECT array_agg(u.o::int) FROM unnest(v.ids) WITH ORDINALITY u (i, o) WHERE u.i <> 0) "
    "ELSE (SELECT array_agg(e.o::int) FROM jsonb_array_elements(v.contents::jsonb) "
    "WITH ORDINALITY e (c, o) WHERE e.c <> 'null') END"
)
"""The places of row ``v`` of pacs.vary where there is a content at all; null for none."""

_PATHS = """
SELECT p.path, p.path_id, a.ks, a.least, a.most FROM pacs.path p CROSS JOIN LATERAL (
    SELECT array_agg(k ORDER BY g)::text AS ks, min(k) AS least, max(k) AS most FROM (
        SELECT g, CASE WHEN i.n > 0 THEN i.n WHEN idx(s.varying, p.path_id) = 0 THEN 0
                       WHEN idx(s.partial, p.path_id) > 0 THEN -2 WHEN s.pathset_id IS NULL THEN 0 ELSE -1 END AS k
        FROM generate_series(
            1, CASE WHEN p.path = ANY(%s::text[]) THEN (SELECT max(pathset_id) FROM pacs.pathset) END) g
        LEFT JOIN pacs.pathset s ON s.pathset_id = g
        CROSS JOIN LATERAL (SELECT idx(s.paths, p.path_id) AS n OFFSET 0) i) k
) a WHERE md5(p.path) = ANY(ARRAY(SELECT md5(n) FROM unnest(%s::text[]) n))
"""


@dataclass(frozen=True)
class _Path:
    """A tag path that occurs.

    Attributes
    ----------
    path_id
        Its number.
    positions
        Array, as text: for each path set, from 1, where in ``vals`` the path stands; 0 = absent, -1 = it varies,
        -2 = it varies and some instances lack it.
    is_constant, is_varying
        Whether it is the one or the other anywhere.
    """

    path_id: int
    positions: str
    is_constant: bool
    is_varying: bool


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

    part: Part
    tables: list[str]
    parameters: Parameters = field(repr=False)
    path_ids: dict[str, int] = field(repr=False)
    _visible: Part = field(repr=False)
    _positions: dict[str, str] = field(repr=False)
    _used: list[str] = field(repr=False)

    def visible(self) -> Compiled:
        """Return what finds everything that may be seen, whatever the query is; it shares tables and values."""
        return replace(self, part=self._visible)

    def position(self, path: str, block: str) -> str | None:
        """Return the expression of where an extra path stands in a block; None if it occurs nowhere."""
        return f"({self._positions[path]})[{block}.pathset_id]" if path in self._positions else None

    def with_tables(self, tables: Iterable[str] = ()) -> str:
        """Return the WITH of these and the query's own tables, nothing if there are none."""
        every = [*self.tables, *tables]
        return f"WITH {', '.join(every)} " if every else ""

    def matching(self, columns: str = "", condition: str = "TRUE", order: str = "") -> str:
        """Return a SELECT of block_pk, series_pk, study_pk, patient_pk, n, hits and further columns of block ``b``.

        ``hits`` are the places that match, ascending; null = all ``n`` of them. Only blocks with a match are in it.

        Parameters
        ----------
        columns
            Further columns, each with a comma before it.
        condition
            What else must be true of block ``b``.
        order
            What blocks are read in the order of, one of `columns`; nothing = any.
        """
        part = self.part
        keys = "b.block_pk, b.series_pk, b.study_pk, b.patient_pk, b.n"
        # Said in every layer: PostgreSQL would forget it otherwise.
        ending = f"{f' ORDER BY {order}' if order else ''} OFFSET 0"
        if part.truth is True or part.truth is False:
            # Not a word of the query is left: nothing, or everything.
            return (
                f"SELECT {keys}, NULL::int[] AS hits{columns} FROM pacs.block b "  # noqa: S608 - names are ours
                f"WHERE {'TRUE' if part.truth else 'FALSE'} AND ({condition}){ending}"
            )
        # OFFSET 0: what is in one layer is worked out once, not once for each mention.
        placed = "".join(f", ({self._positions[path]})[b.pathset_id] AS k{n}" for n, path in enumerate(self._used))
        blocks = (
            f"SELECT b.*{placed} FROM pacs.block b WHERE {part.need or 'TRUE'} AND ({condition})"  # noqa: S608
            f"{ending}"
        )
        if part.places is None:
            return (
                f"SELECT {keys}, NULL::int[] AS hits{columns} FROM ({blocks}) b "  # noqa: S608
                f"WHERE {part.truth}{ending}"
            )
        judged = f"SELECT b.*, {part.truth} AS truth FROM ({blocks}) b{ending}"  # noqa: S608
        looked_into = (
            f"SELECT {keys}, CASE WHEN b.truth THEN NULL ELSE uniq(sort({part.places})) END AS hits{columns} "  # noqa: S608
            f"FROM ({judged}) b WHERE b.truth IS NOT FALSE{ending}"
        )
        return f"SELECT * FROM ({looked_into}) b WHERE b.hits IS NULL OR b.hits <> {NOWHERE}{ending}"  # noqa: S608


async def compile_query(
    connection: psycopg.AsyncConnection[Any],
    query: Node | None,
    visible: Visible,
    usual: Mapping[int, float],
    extra_paths: Iterable[str] = (),
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
    usual
        From `UsualContents.read`.
    extra_paths
        Further tag paths whose `Compiled.position` the statement wants to know.
    also
        Tag paths whose numbers the caller wants to know.

    Returns
    -------
    Compiled
        For `Compiled.matching`.
    """
    nodes = [node for node in (query, *(visible.filters or ())) if node is not None]
    conditions = list(dict.fromkeys(_positive(one) for node in nodes for one in conditions_of(node)))
    names = list(dict.fromkeys(_path(one) for one in conditions))
    names += [SOP_PATHS[name] for name in names if name in SOP_PATHS]
    extra = list(extra_paths)
    paths, path_ids = await _paths(connection, [*extra, *names], also)
    parameters = Parameters(places=array_text(range(1, BLOCK_SIZE + 1)))
    positions = {name: f"{parameters.add(paths[name].positions)}::int[]" for name in (*names, *extra) if name in paths}
    used = [name for name in names if name in paths]
    leaves = _Leaves(connection, parameters, paths, usual, {name: f"b.k{n}" for n, name in enumerate(used)})
    parts = await leaves.parts(conditions)

    def leaf(condition: Condition) -> Part:
        part = parts[_positive(condition)]
        return negated(part) if condition.operator is Operator.NOT_EXISTS else part

    seen = Part(True)
    if visible.filters is not None:
        seen = any_of([fold_tree(one, leaf, branch) for one in visible.filters])
    wanted = all_of([seen, fold_tree(query, leaf, branch)]) if query is not None else seen
    return Compiled(wanted, leaves.tables, parameters, path_ids, seen, positions, used)


async def _paths(
    connection: psycopg.AsyncConnection[Any], names: list[str], also: Iterable[str]
) -> tuple[dict[str, _Path], dict[str, int]]:
    """Return what there is of paths, and the numbers of these and of others."""
    found: dict[str, _Path] = {}
    path_ids: dict[str, int] = {}
    every = list(dict.fromkeys([*names, *also]))
    if every:
        cursor = await connection.execute(_PATHS, (names, every))
        for name, path_id, positions, least, most in await cursor.fetchall():
            path_ids[name] = path_id
            if positions is not None:
                found[name] = _Path(path_id, positions, most > 0, least < 0)
    return found, path_ids


def _positive(condition: Condition) -> Condition:
    if condition.operator is Operator.NOT_EXISTS:
        return Condition(condition.path, Operator.EXISTS)
    return condition


def _path(condition: Condition) -> str:
    return ".".join(f"{step.tag:08X}" for step in condition.path.steps)


@dataclass(frozen=True)
class _Found:
    """Which contents meet a condition, or, ``inverted``, which do not.

    Attributes
    ----------
    ids
        Their numbers, if they are few enough to look for blocks by them; None otherwise.
    inverted
        Whether these are the contents that fail the condition.
    member
        Expression that is true of a number ``{}`` of a content that meets it.
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
        paths: dict[str, _Path],
        usual: Mapping[int, float],
        columns: dict[str, str],
    ):
        self.tables: list[str] = []
        self._connection = connection
        self._parameters = parameters
        self._paths = paths
        self._usual = usual
        self._columns = columns

    async def parts(self, conditions: list[Condition]) -> dict[Condition, Part]:
        """Return what each condition has become; none of them is NotExists."""
        looked_up = [one for one in conditions if _path(one) in self._paths and not is_mere_existence(one)]
        found: dict[Condition, _Found] = {}
        for start in range(0, len(looked_up), _AT_ONCE):
            found.update(await self._look_up(looked_up[start : start + _AT_ONCE]))
        blocks = await self._blocks(found)
        return {one: self._part(one, found.get(one), blocks.get(one)) for one in conditions}

    async def _blocks(self, found: dict[Condition, _Found]) -> dict[Condition, str]:
        """Return the blocks where each condition may hold, as text, for conditions where these are few."""
        values = Parameters()
        tried = [
            (one, [*what.ids, -self._paths[_path(one)].path_id])
            for one, what in found.items()
            if what.ids is not None and not what.inverted
        ]
        # A block has but one of the contents that meet a condition, or varies, so their frequencies add up.
        tried = [one for one in tried if sum(self._usual.get(content, 0) for content in one[1]) <= _MOST_BLOCKS]
        del tried[_MOST_NARROWED:]
        if not tried:
            return {}
        selects = [
            f"SELECT {number} AS number, ARRAY(SELECT block_pk FROM pacs.block "  # noqa: S608 - names are ours
            f"WHERE vals OPERATOR(pg_catalog.&&) {values.add(array_text(ids))}::int[] "
            f"LIMIT {_MOST_BLOCKS + 1}) AS blocks"
            for number, (_, ids) in enumerate(tried)
        ]
        statement = (
            f"SELECT number, blocks::text FROM ({' UNION ALL '.join(selects)} OFFSET 0) s "  # noqa: S608
            f"WHERE cardinality(blocks) <= {_MOST_BLOCKS}"
        )
        # Compared row by row, lists of contents would take longer than everything else.
        async with self._connection.pipeline():
            await self._connection.execute("SET LOCAL enable_seqscan = off")
            cursor = await self._connection.execute(statement.encode(), values)
            await self._connection.execute("SET LOCAL enable_seqscan = on")
            found_blocks = await cursor.fetchall()
        return {tried[number][0]: blocks for number, blocks in found_blocks}

    async def _look_up(self, conditions: list[Condition]) -> dict[Condition, _Found]:
        values = Parameters()
        selects = []
        for number, one in enumerate(conditions):
            contents = contents_that_meet(one, self._paths[_path(one)].path_id, values)
            selects.append(
                f"SELECT {number} AS number, ARRAY(SELECT value_id FROM ({contents}) c LIMIT {_MOST_NAMED + 1}) AS ids"  # noqa: S608
            )
        # Long lists come as text and go back as such: taken apart here they would be the slowest part of a search.
        statement = f"SELECT number, cardinality(ids), ids::text FROM ({' UNION ALL '.join(selects)}) s"  # noqa: S608
        cursor = await self._connection.execute(statement.encode(), values)
        found = {}
        for number, count, text in await cursor.fetchall():
            one = conditions[number]
            inverted = is_mostly_true(one)
            sign = "<> ALL" if inverted else "= ANY"
            if count <= _MOST_NAMED:
                named = f"({self._parameters.add(text)}::int[])"
                ids = [int(each) for each in text[1:-1].split(",") if each] if count <= _MOST_SEARCHED else None
                found[one] = _Found(ids, inverted, f"({{}} {sign} {named})")
            else:
                table = f"d{len(self.tables)}"
                contents = contents_that_meet(one, self._paths[_path(one)].path_id, self._parameters)
                self.tables.append(f"{table} AS MATERIALIZED ({contents})")
                word = "NOT IN" if inverted else "IN"
                found[one] = _Found(None, inverted, f"({{}} {word} (SELECT value_id FROM {table}))")  # noqa: S608
        return found

    def _part(self, condition: Condition, found: _Found | None, blocks: str | None) -> Part:
        """Compile a condition.

        Parameters
        ----------
        condition
            The condition.
        found
            Which contents meet it; None if it asks for mere existence.
        blocks
            All blocks where it may hold, an array as text, if they are few.
        """
        name = _path(condition)
        uid = self._sop_part(condition, name)
        path = self._paths.get(name)
        if path is None:
            return uid or Part(False)
        at = self._columns[name]
        need, holds = None, ""
        if found is None:
            truth = f"CASE WHEN {at} > 0 OR {at} = -1 THEN TRUE WHEN {at} = -2 THEN NULL ELSE FALSE END"
            constant = EVERYWHERE
        else:
            holds = found.member.format(f"b.vals[{at}]")
            truth = f"CASE WHEN {at} > 0 THEN {holds} ELSE FALSE END"
            constant = f"CASE WHEN {holds} THEN {EVERYWHERE} ELSE {NOWHERE} END"
            if not path.is_varying and found.ids == [] and not found.inverted:
                return uid or Part(False)
            if blocks is not None:
                need = f"(b.block_pk = ANY({self._parameters.add(blocks)}::int[]))"
        if not path.is_varying:
            part = Part(f"({truth})", None, need)
        elif found is None:
            look = Look(at, path.path_id, constant, _THERE)
            part = Part(f"({truth})", look.places(), need, look)
        else:
            inside, slice_of = self._inside(condition, found)
            ranges = self._ranges(condition)
            look = Look(at, path.path_id, constant, inside, holds, found.member.format("u.i"), ranges, slice_of)
            part = Part(look.truth(), look.places(), need, look)
        return any_of([part, uid]) if uid else part

    def _ranges(self, condition: Condition) -> tuple[str, str] | None:
        """Return `Look.ranges` of a condition; None if least and greatest number tell nothing."""
        literal = condition.values[0] if condition.values else None
        if not isinstance(literal, Number) or has_items(condition):
            return None
        below, up_to = (f"{self._parameters.add(bound)}::float8" for bound in bounds(literal.value))
        less, not_more = (f"r.most <= {below}", f"r.least > {below}"), (f"r.most <= {up_to}", f"r.least > {up_to}")
        equal = (f"r.least > {below} AND r.most <= {up_to}", f"r.most <= {below} OR r.least > {up_to}")
        return {
            Operator.NB_LESS: less,
            Operator.NB_LESS_EQUALS: not_more,
            Operator.NB_GREATER: not_more[::-1],
            Operator.NB_GREATER_EQUALS: less[::-1],
            Operator.NB_EQUALS: equal,
            Operator.NB_NOT_EQUALS: equal[::-1],
        }[condition.operator]

    def _inside(self, condition: Condition, found: _Found) -> tuple[str, tuple[str | None, str | None] | None]:
        """Return the places of row ``v`` of pacs.vary where a condition holds, null for none; and `Look.slice_of`."""
        coded = places_of_contents(found.member.format("u.i"))
        test = self._parameters.include(value_test(condition))
        looked_at = (
            "(SELECT array_agg(DISTINCT e.o::int) "  # noqa: S608
            f"FROM jsonb_array_elements(v.contents::jsonb) WITH ORDINALITY e (c, o), LATERAL {VALUES} WHERE {test})"
        )
        sliced, slice_of = "", None
        if isinstance(condition.values[0] if condition.values else None, Number) and not has_items(condition):
            places, slice_of = self._slice(condition)
            sliced = f"WHEN v.least IS NOT NULL THEN {places} WHEN v.nums = '{{}}' THEN NULL "
        return f"CASE WHEN v.ids IS NOT NULL THEN {coded} {sliced}ELSE {looked_at} END", slice_of

    def _slice(self, condition: Condition) -> tuple[str, tuple[str | None, str | None] | None]:
        """Return the places of the numbers that meet a condition; and `Look.slice_of`, if they are one slice."""
        literal = condition.values[0]
        assert isinstance(literal, Number)
        below, up_to = bounds(literal.value)
        first = f"width_bucket({self._parameters.add(below)}::float8, v.nums)"
        last = f"width_bucket({self._parameters.add(up_to)}::float8, v.nums)"
        if condition.operator is Operator.NB_NOT_EQUALS:
            return f"({NUMBERED}[1:{first}] || {NUMBERED}[{last} + 1:cardinality(v.nums)])", None
        before, end = {
            Operator.NB_LESS: (None, first),
            Operator.NB_LESS_EQUALS: (None, last),
            Operator.NB_GREATER: (last, None),
            Operator.NB_GREATER_EQUALS: (first, None),
            Operator.NB_EQUALS: (first, last),
        }[condition.operator]
        beginning = f"{before} + 1" if before else "1"
        return f"{NUMBERED}[{beginning}:{end or 'cardinality(v.nums)'}]", (before, end)

    def _sop_part(self, condition: Condition, path: str) -> Part | None:
        """Compile a condition on a path that may hold the SOPInstanceUID of the instance's row."""
        name = SOP_PATHS.get(path)
        if name not in self._paths or condition.path.steps[0].item not in (None, 0):
            return None
        at = self._columns[name]
        if condition.operator is Operator.EXISTS or condition.operator is Operator.NOT_EMPTY:
            # A SOPInstanceUID is never empty: the file would not be in the index.
            return Part(f"({at} < 0)")
        if condition.operator is Operator.EMPTY:
            return None
        test = self._parameters.include(dicom_query.text_test(condition, "i.sop_uid"))
        places = (
            f"(CASE WHEN {at} < 0 THEN coalesce((SELECT array_agg(i.ord) FROM pacs.instance i "  # noqa: S608
            f"WHERE i.block_pk = b.block_pk AND {test}), {NOWHERE}) ELSE {NOWHERE} END)"
        )
        need = None
        patterns = [value for value in condition.values if isinstance(value, TextPattern) and value.is_literal]
        if patterns and len(patterns) == len(condition.values) and condition.operator is not Operator.STR_NOT_EQUALS:
            uids = self._parameters.add([pattern.folded()[0] for pattern in patterns])
            named = f"SELECT i.block_pk FROM pacs.instance i WHERE i.sop_uid = ANY({uids}::text[])"  # noqa: S608
            need = f"(b.block_pk = ANY(ARRAY({named})))"
        return Part(f"(CASE WHEN {at} < 0 THEN NULL ELSE FALSE END)", places, need)
