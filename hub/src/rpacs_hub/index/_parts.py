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
    "PLACES",
    "Look",
    "Parameters",
    "Part",
    "all_of",
    "any_of",
    "array_text",
    "branch",
    "negated",
]

PLACES = "(%(places)s::int[])"
"""All places that a block can have."""

EVERYWHERE = f"{PLACES}[1:b.n]"
NOWHERE = "'{}'::int[]"


def array_text(numbers: Iterable[int]) -> str:
    """Return whole numbers as PostgreSQL writes an array; the driver would take milliseconds for a long one."""
    return f"{{{','.join(map(str, numbers))}}}"


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
    """

    position: str
    path_id: int
    constant: str
    inside: str

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
    places = " & ".join(_looked_at_once(left))
    if places and decided:
        places = f"CASE WHEN {' AND '.join(decided)} THEN {places} ELSE {NOWHERE} END"
    # What is decided by the block's row alone comes first: it may spare the rest.
    truths = [*decided, *(str(part.truth) for part in left if part.places is not None)]
    return Part(
        f"({' AND '.join(truths)})", f"({places})" if places else None, f"({' AND '.join(needs)})" if needs else None
    )


def _looked_at_once(parts: Sequence[Part]) -> list[str]:
    """Return the places of each part that has any; parts that look at the same path do so together."""
    alone = [part.places for part in parts if part.places is not None and part.look is None]
    looks: dict[int, list[Look]] = defaultdict(list)
    for part in parts:
        if part.look is not None:
            looks[part.look.path_id].append(part.look)
    together = [
        Look(
            same[0].position,
            path_id,
            " & ".join(f"({look.constant})" for look in same),
            " & ".join(f"({look.inside})" for look in same),
        )
        for path_id, same in looks.items()
    ]
    return [*(look.places() for look in together), *alone]


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
