"""Which values an element has, and how often, within a query and what the user may see.

Values are found by searches, each leaving out what the ones before have found, until nothing is left or enough is
known; then every value that is shown is counted exactly. Nothing here knows how the index is kept.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from typing import Any

from pydicom.datadict import dictionary_VR, keyword_for_tag

import dicom_query
from dicom_query import Condition, Node, Not, Number, Operator, Or, TagPath, TextPattern
from rpacs_hub.errors import SearchRefused
from rpacs_hub.index._columns import NUMERIC_VRS, Level, check_columns
from rpacs_hub.index.search import MAX_LIMIT, Index, Search

__all__ = ["MAX_FACETS", "Facets", "find_facets"]

MAX_FACETS = 100
"""The most values that one answer holds."""

_ROUNDS = 6
_MOST_VALUES = 400
_AT_ONCE = 4


@dataclass(frozen=True)
class Facets:
    """The values of an element.

    Attributes
    ----------
    values
        (value, rows of the level that have it), most frequent first, equal ones by value.
    more
        Whether there are, or may be, further values.
    """

    values: tuple[tuple[str, int], ...]
    more: bool


async def find_facets(
    index: Index, path: TagPath, query: Node | None, level: Level, visible: Any, *, prefix: str = "", limit: int = 20
) -> Facets:
    """Return the most frequent values of an element.

    Parameters
    ----------
    index
        The index.
    path
        An element of the top level, neither a sequence nor binary.
    query, level, visible
        As for `Index.count`: a row counts if an instance of it matches, may be seen, and has the value.
    prefix
        Only values that begin with this, in any case; ``*`` is an ordinary character.
    limit
        Most values, 1 to `MAX_FACETS`.

    Raises
    ------
    SearchRefused
        The element has no values that could be listed, or the limit is out of range.
    SearchTooSlow, DatabaseUnavailable
        As `Index.search`.
    """
    if not 1 <= limit <= MAX_FACETS:
        raise SearchRefused("limit_invalid", f"The limit is {limit}.", f"It may be 1 to {MAX_FACETS}.")
    keyword = keyword_for_tag(path.steps[0].tag)
    if len(path.steps) > 1 or path.steps[0].item is not None or not keyword:
        raise SearchRefused(
            "column_unknown", f"The values of {path} cannot be listed.", "Name a public element of the top level."
        )
    # What varies inside a study is found in its series: a row of a search shows one value only.
    finding = Level.INSTANCE if level is Level.INSTANCE else Level.SERIES
    check_columns(finding, (keyword,))
    asked = [query] if query is not None else []
    if prefix:
        asked.append(Condition(path, Operator.STR_EQUALS, (TextPattern((prefix, "")),)))
    numeric = bool(set(dictionary_VR(path.steps[0].tag).split(" or ")) & NUMERIC_VRS)
    rows: Counter[str] = Counter()
    shown: dict[str, str] = {}
    more = False
    for _ in range(_ROUNDS):
        known = [Not(_has(path, list(shown.values()), numeric))] if shown else []
        there = [Condition(path, Operator.NOT_EMPTY)]
        page = await index.search(
            Search(dicom_query.all_of([*asked, *there, *known]), finding, (keyword,), limit=MAX_LIMIT), visible
        )
        before = len(shown)
        for value in (each for row in page.rows for each in _texts(row[keyword])):
            folded = value.casefold()
            if folded.startswith(prefix.casefold()) and (folded in shown or len(shown) < _MOST_VALUES):
                shown.setdefault(folded, value)
                rows[folded] += 1
        more = page.total > len(page.rows)
        if not more or len(shown) in (before, _MOST_VALUES):
            break
    wanted = [folded for folded, _ in rows.most_common(limit)]
    more = more or len(rows) > limit
    turns = asyncio.Semaphore(_AT_ONCE)

    async def counted(folded: str) -> tuple[str, int]:
        having = _has(path, [shown[folded]], numeric)
        async with turns:
            return shown[folded], await index.count(
                dicom_query.all_of([*asked[: query is not None], having]), level, visible
            )

    values = await asyncio.gather(*(counted(folded) for folded in wanted))
    return Facets(tuple(sorted(values, key=lambda pair: (-pair[1], pair[0].casefold()))), more)


def _texts(value: Any) -> list[str]:
    values = value if isinstance(value, list) else [value]
    return [text for each in values if each is not None and (text := str(each).strip())]


def _has(path: TagPath, values: list[str], numeric: bool) -> Node:
    """Return the condition that an element has one of some values."""
    if numeric:
        numbers: list[Node] = []
        for value in values:
            try:
                numbers.append(Condition(path, Operator.NB_EQUALS, (Number(value),)))
            except ValueError:
                numbers.append(Condition(path, Operator.STR_IN, (TextPattern.literal(value),)))
        return numbers[0] if len(numbers) == 1 else Or(tuple(numbers))
    return Condition(path, Operator.STR_IN, tuple(TextPattern.literal(value) for value in values))
