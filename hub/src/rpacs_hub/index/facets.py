"""Which values an element has, and how often, within a query and what the user may see."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydicom.datadict import keyword_for_tag

from dicom_query import Node, TagPath
from rpacs_hub.errors import SearchRefused
from rpacs_hub.index._columns import Level, check_columns
from rpacs_hub.index.search import Index

__all__ = ["MAX_FACETS", "Facets", "find_facets"]

MAX_FACETS = 100
"""The most values that one answer holds."""


@dataclass(frozen=True)
class Facets:
    """The values of an element.

    Attributes
    ----------
    values
        (value, rows of the level that have it), most frequent first, equal ones by value.
    more
        Whether there are further values.
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
    check_columns(Level.INSTANCE, (keyword,))
    found = await index.values(keyword, query, level, visible, prefix=prefix, limit=limit + 1)
    values = sorted(found[:limit], key=lambda pair: (-pair[1], pair[0].casefold()))
    return Facets(tuple(values), len(found) > limit)
