"""Parts of a query, each as SQL over a block, and how AND, OR and NOT put them together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from dicom_query import And, Not, Or, Sql

__all__ = [
    "EVERYWHERE",
    "NOWHERE",
    "NUMBERED",
    "PLACES",
    "Look",
    "Parameters",
    "Part",
    "all_of",
    "any_of",
    "array_text",
    "branch",
    "negated",
    "places_of_contents",
]

PLACES = "(%(places)s::int[])"
"""All places that a block can have."""

EVERYWHERE = f"{PLACES}[1:b.n]"
NOWHERE = "'{}'::int[]"

NUMBERED = f"(coalesce(v.ords, {PLACES}))"
"""The places of the numbers ``v.nums`` of pacs.vary, one by one."""


def array_text(numbers: Iterable[int]) -> str:
    """Return whole numbers as PostgreSQL writes an array; the driver would take milliseconds for a long one."""
    return f"{{{','.join(map(str, numbers))}}}"


def places_of_contents(test: str) -> str:
    """Return the places of row ``v`` of pacs.vary where a test of a content ``u.i`` of the dictionary holds."""
    return f"(SELECT array_agg(u.o::int) FROM unnest(v.ids) WITH ORDINALITY u (i, o) WHERE u.i <> 0 AND {test})"  # noqa: S608


class Parameters(dict[str, Any]):
    """Values of a statement's named placeholders."""

    def add(self, value: Any) -> str:
        """Take a value in and return its placeholder."""
        name = f"p{len(self)}"
        self[name] = value
        return f"%({name})s"

    def include(self, sql: Sql) -> str:
        """Take the values of an expression in and return its text with named placeholders."""
        first, *rest = sql.text.split("%s")
        return first + "".join(self.add(value) + text for value, text in zip(sql.params, rest, strict=True))


@dataclass(frozen=True)
class Look:
    """A look at one path inside a block.

    Attributes
    ----------
    position
        Where the path stands in block ``b``.
    path_id
        Its number.
    constant
        Set of places where its content is the same everywhere in the block.
    inside
        Set of places by row ``v`` of pacs.vary; null for none.
    holds, member
        Test of the content that is the same everywhere in the block, and of a content ``u.i``; None if there is none.
    ranges
        Tests of row ``r`` of pacs.vary, by its least and greatest number: whether the condition holds of all numbers,
        and of none; None if they do not tell.
    slice_of
        Which of ``v.nums`` meet the condition, if they are next to each other: how many come before the first of them,
        and how many up to the last; None = from the first, or to the last there is.
    """

    position: str
    path_id: int
    constant: str
    inside: str
    holds: str | None = None
    member: str | None = None
    ranges: tuple[str, str] | None = None
    slice_of: tuple[str | None, str | None] | None = None

    def truth(self) -> str:
        """Return whether what is asked for is true, false or undecided (null) of block ``b``."""
        varying = "NULL"
        if self.ranges is not None:
            every, none = self.ranges
            rows = f"SELECT r.block_pk FROM pacs.vary r WHERE r.path_id = {self.path_id} AND r.least IS NOT NULL"  # noqa: S608
            varying = (
                f"CASE WHEN b.block_pk IN ({rows} AND ({none})) THEN FALSE "
                f"WHEN b.block_pk IN ({rows} AND r.whole AND ({every})) THEN TRUE END"
            )
        return (
            f"(CASE WHEN {self.position} > 0 THEN {self.holds} WHEN {self.position} < 0 THEN {varying} ELSE FALSE END)"
        )

    def places(self) -> str:
        """Return the set of places in block ``b``."""
        varying = (
            f"coalesce((SELECT {self.inside} FROM pacs.vary v "  # noqa: S608 - names are ours
            f"WHERE v.block_pk = b.block_pk AND v.path_id = {self.path_id}), {NOWHERE})"
        )
        return (
            f"(CASE WHEN {self.position} > 0 THEN {self.constant} WHEN {self.position} < 0 THEN {varying} "
            f"ELSE {NOWHERE} END)"
        )


@dataclass(frozen=True)
class Part:
    """What a part of the query has become.

    Attributes
    ----------
    truth
        Expression over block ``b``: true, false, or null where its instances differ; or what it is of every block.
    places
        Set of places where it holds, right for every block; None if no block is undecided.
    need
        What holds of every block with a place in that set, and an index can tell; None if there is nothing.
    look
        Where the set comes from, if it is one condition.
    """

    truth: str | bool
    places: str | None = None
    need: str | None = None
    look: Look | None = None


def branch(node: And | Or | Not, parts: list[Part]) -> Part:
    """Return what a node of the query becomes with these parts below it."""
    if isinstance(node, Not):
        return negated(parts[0])
    return all_of(parts) if isinstance(node, And) else any_of(parts)


def negated(part: Part) -> Part:
    """Return NOT."""
    if isinstance(part.truth, bool):
        return Part(not part.truth)
    return Part(f"(NOT {part.truth})", None if part.places is None else f"({EVERYWHERE} - {part.places})")


def all_of(parts: Sequence[Part]) -> Part:
    """Return AND."""
    left = [part for part in parts if part.truth is not True]
    if any(part.truth is False for part in left):
        return Part(False)
    if len(left) < 2:
        return left[0] if left else Part(True)
    needs = [part.need for part in left if part.need is not None]
    decided = [str(part.truth) for part in left if part.places is None]
    undecided = _looked_at_once([part for part in left if part.places is not None])
    places = " & ".join(str(part.places) for part in undecided)
    if places and decided:
        places = f"CASE WHEN {' AND '.join(decided)} THEN {places} ELSE {NOWHERE} END"
    # What is decided by the block's row alone comes first: it may spare the rest.
    truths = [*decided, *(str(part.truth) for part in undecided)]
    return Part(
        f"({' AND '.join(truths)})", f"({places})" if places else None, f"({' AND '.join(needs)})" if needs else None
    )


def _looked_at_once(parts: Sequence[Part]) -> list[Part]:
    """Return parts of an AND so that those that look at the same path do so together."""
    looks: dict[int, list[Part]] = defaultdict(list)
    for part in parts:
        if part.look is not None:
            looks[part.look.path_id].append(part)
    together = [same[0] if len(same) == 1 else _together(same) for same in looks.values()]
    return [*together, *(part for part in parts if part.look is None)]


def _together(parts: Sequence[Part]) -> Part:
    """Return AND of several conditions on one path."""
    same = [part.look for part in parts if part.look is not None]
    cases, ranges = "", None
    members = [look.member for look in same if look.member is not None]
    holds = [look.holds for look in same if look.holds is not None]
    if len(members) == len(same):
        cases += f"WHEN v.ids IS NOT NULL THEN {places_of_contents(' AND '.join(members))} "
    slices = [look.slice_of for look in same if look.slice_of is not None]
    if len(slices) == len(same):
        # An instance with several numbers may meet each condition by another one.
        before, last = ([one[end] for one in slices if one[end] is not None] for end in (0, 1))
        first = f"greatest({', '.join(map(str, before))}) + 1" if before else "1"
        end = f"least({', '.join(map(str, last))})" if last else "cardinality(v.nums)"
        cases += f"WHEN v.least IS NOT NULL AND NOT v.several THEN {NUMBERED}[{first}:{end}] "
    each = " & ".join(f"({look.inside})" for look in same)
    told = [look.ranges for look in same if look.ranges is not None]
    if len(told) == len(same):
        ranges = " AND ".join(f"({every})" for every, _ in told), " OR ".join(f"({none})" for _, none in told)
    one = Look(
        same[0].position,
        same[0].path_id,
        " & ".join(f"({look.constant})" for look in same),
        f"CASE {cases}ELSE {each} END" if cases else each,
        " AND ".join(holds),
        ranges=ranges,
    )
    truth = one.truth() if ranges is not None else " AND ".join(str(part.truth) for part in parts)
    return Part(truth, one.places())


def any_of(parts: Sequence[Part]) -> Part:
    """Return OR."""
    left = [part for part in parts if part.truth is not False]
    if any(part.truth is True for part in left):
        return Part(True)
    if len(left) < 2:
        return left[0] if left else Part(False)
    needs = [part.need for part in left if part.need is not None]
    decided = [str(part.truth) for part in left if part.places is None]
    places = " | ".join(part.places for part in left if part.places is not None)
    if places and decided:
        places = f"CASE WHEN {' OR '.join(decided)} THEN {EVERYWHERE} ELSE {places} END"
    truths = [*decided, *(str(part.truth) for part in left if part.places is not None)]
    return Part(
        f"({' OR '.join(truths)})",
        f"({places})" if places else None,
        f"({' OR '.join(needs)})" if len(needs) == len(left) else None,
    )
