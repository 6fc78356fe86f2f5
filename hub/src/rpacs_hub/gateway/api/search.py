"""Search and count, by GET for people with a command line and by POST for programs."""

from __future__ import annotations

from typing import Any

import dicom_query
from rpacs_hub.gateway._exchange import ApiError, Call, Reply, Route, known_keys
from rpacs_hub.index import Level, Search, SortKey, parse_level
from rpacs_hub.permissions import Action, Collection

__all__ = ["ROUTES", "parse_query"]


def parse_query(text: str) -> dicom_query.Node | None:
    """Return the parsed query; None for an empty one, which everything matches.

    Raises
    ------
    ApiError
        400 ``query_invalid`` with the position.
    """
    if not text.strip():
        return None
    try:
        return dicom_query.parse(text)
    except dicom_query.QueryError as error:
        raise ApiError(
            400,
            "query_invalid",
            f"{error.message} (at character {error.position + 1})",
            error.hint or "",
            position=error.position,
            expected=list(error.expected),
        ) from None


async def search(call: Call) -> Reply:
    """Return one page of what matches and may be seen."""
    values = call.parameters(("query", "level", "columns", "sort", "limit", "cursor"))
    request = Search(
        query=parse_query(_query(call, values)),
        level=_level(call, values),
        columns=_columns(values.get("columns")),
        sort=_sort(values.get("sort")),
        limit=_limit(values.get("limit")),
        cursor=_text(values.get("cursor"), "cursor") or None,
    )
    call.decide(Action.SEARCH, Collection())
    page = await call.services.index.search(request, call.visible())
    call.event.count = len(page.rows)
    return Reply(
        json={
            "level": page.level,
            "columns": list(page.columns),
            "rows": page.rows,
            "total": page.total,
            "next": page.next,
        }
    )


async def count(call: Call) -> Reply:
    """Return how many rows a search would have."""
    values = call.parameters(("query", "level"))
    query = parse_query(_query(call, values))
    level = _level(call, values)
    call.decide(Action.COUNT, Collection())
    total = await call.services.index.count(query, level, call.visible())
    call.event.count = total
    return Reply(json={"level": level, "count": total})


def _query(call: Call, values: dict[str, Any]) -> str:
    text = _text(values.get("query"), "query")
    call.event.query = text
    return text


def _level(call: Call, values: dict[str, Any]) -> Level:
    level = parse_level(_text(values.get("level"), "level") or "study")
    call.event.level = level
    return level


def _text(value: Any, name: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str) or "\0" in value:
        raise ApiError(400, "request_invalid", f"{name} must be a text.")
    return value


def _limit(value: Any) -> int:
    if value is None:
        return 100
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10:
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise ApiError(400, "limit_invalid", "limit must be a whole number.", "Such as 100.")


def _columns(value: Any) -> tuple[str, ...] | None:
    if value is None or value == "":
        return None
    names = [part.strip() for part in value.split(",")] if isinstance(value, str) else value
    if not isinstance(names, list) or not names or not all(isinstance(name, str) and name for name in names):
        raise ApiError(400, "request_invalid", "columns must be a list of keywords.", "Such as PatientID.")
    return tuple(names)


def _sort(value: Any) -> tuple[SortKey, ...] | None:
    if value is None or value == "":
        return None
    if isinstance(value, str):
        words = [part.strip() for part in value.split(",")]
        return tuple(SortKey(word.removeprefix("-"), word.startswith("-")) for word in words)
    if not isinstance(value, list):
        raise ApiError(400, "request_invalid", "sort must be a list.", '[{"column": "StudyDate", "descending": true}]')
    keys = []
    for entry in value:
        fields = known_keys(entry, ("column", "descending"), "An entry of sort")
        column, descending = fields.get("column"), fields.get("descending", False)
        if not isinstance(column, str) or not isinstance(descending, bool):
            raise ApiError(
                400, "request_invalid", "An entry of sort needs a column (text) and descending (true, false)."
            )
        keys.append(SortKey(column, descending))
    return tuple(keys)


ROUTES = (
    Route("GET", "search", search, Action.SEARCH),
    Route("POST", "search", search, Action.SEARCH),
    Route("GET", "count", count, Action.COUNT),
    Route("POST", "count", count, Action.COUNT),
)
