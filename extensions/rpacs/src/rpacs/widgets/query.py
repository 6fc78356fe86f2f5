"""The query box: text, level, examples, and what is wrong with the text while it is typed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import traitlets

from rpacs._client import Client
from rpacs._frames import check_level
from rpacs.widgets._panel import Panel

__all__ = ["QueryBox"]

_EXAMPLES = (
    ("All CT", "Modality StrEquals CT"),
    ("Chest studies", "StudyDescription StrEquals '*chest*'"),
    ("Thin slices", "Modality StrEquals CT AND SliceThickness NbLess 2"),
    ("Since 2020", "StudyDate DateAfter 20191231"),
    ("With contrast", "ContrastBolusAgent NotEmpty"),
)


class QueryBox(Panel, script="query"):
    """A text box for the query language, which offers what could be typed next.

    Parameters
    ----------
    client : Client
        The connection.
    query, level : str, optional
        What it starts with.

    Attributes
    ----------
    query, level : str
        The query that was last run.
    runs : int
        How often the user has run a query; observe it to act on each.
    """

    query = traitlets.Unicode("").tag(sync=True)
    level = traitlets.Unicode("series").tag(sync=True)
    runs = traitlets.Int(0).tag(sync=True)
    examples: traitlets.List[list[str]] = traitlets.List().tag(sync=True)

    def __init__(self, client: Client, query: str = "", level: str = "series") -> None:
        self._client = client
        super().__init__(query=query, level=check_level(level), examples=[list(e) for e in _EXAMPLES])

    def actions(self) -> dict[str, Callable[..., Any]]:
        """See `Panel.actions`."""
        return {"check": self._check, "complete": self._complete}

    def _complete(self, text: str, position: int, level: str) -> dict[str, Any]:
        return self._client.complete(text, position, level)

    def _check(self, query: str, level: str) -> dict[str, int]:
        return {"count": self._client.count(query, level)}
