"""Help with writing queries: the values there are, a query in words, and what could be typed next."""

from __future__ import annotations

import asyncio
from typing import Any

from pydicom.datadict import dictionary_description, tag_for_keyword

import dicom_query
from dicom_query import Operator, TagPath, TextPattern
from rpacs_hub.errors import SearchRefused
from rpacs_hub.gateway._exchange import ApiError, Call, Reply, Route
from rpacs_hub.gateway.api.search import parse_query
from rpacs_hub.index import Level, find_facets, parse_level
from rpacs_hub.permissions import Action, Collection

__all__ = ["ROUTES"]

_WORDS = 30
_VALUES = 20
_PATIENCE = 3.0
"""Seconds that values may take while somebody types."""

_OPERATORS = frozenset(operator.value for operator in Operator)
_CONNECTIVES = frozenset({"AND", "OR", "NOT", "(", ")"})


async def facets(call: Call) -> Reply:
    """Return the values of an element that the user may see, within a query, and how many rows have each."""
    values = call.parameters(("tag", "query", "level", "prefix", "limit"))
    query = parse_query(values.get("query", ""))
    level = parse_level(values.get("level") or "study")
    try:
        path = TagPath.parse(values.get("tag", ""))
    except dicom_query.DicomQueryError as error:
        raise ApiError(400, "tag_invalid", f"tag: {error.message}", error.hint or "Such as StudyDescription.") from None
    limit = values.get("limit") or "20"
    if not (limit.isascii() and limit.isdigit() and len(limit) < 5):
        raise ApiError(400, "limit_invalid", "limit must be a whole number.", "Such as 20.")
    call.event.query, call.event.level = values.get("query", ""), level
    call.event.why = [f"Values of {path}."]
    call.decide(Action.FACETS, Collection())
    found = await find_facets(
        call.services.index, path, query, level, call.visible(), prefix=values.get("prefix", ""), limit=int(limit)
    )
    call.event.count = len(found.values)
    return Reply(
        json={
            "tag": str(path),
            "level": level,
            "values": [{"value": value, "count": count} for value, count in found.values],
            "more": found.more,
        }
    )


async def explain_query(call: Call) -> Reply:
    """Say a query in words."""
    values = call.parameters(("query",))
    query = parse_query(values.get("query", ""))
    node = dicom_query.EVERYTHING if query is None else query
    return Reply(json={"words": dicom_query.explain(node), "query": dicom_query.to_text(node)})


async def complete(call: Call) -> Reply:
    """Say what could stand at a position of a query: keywords, operators, connectives, and values that there are."""
    values = call.parameters(("text", "position", "level"))
    text = call.all_arguments.get("text", [""])[-1]
    position = values.get("position") or str(len(text))
    if not (position.isascii() and position.isdigit() and len(position) < 7):
        raise ApiError(400, "request_invalid", "position must be a whole number.", "Characters are counted from 0.")
    level = parse_level(values.get("level") or "study")
    at = min(int(position), len(text))
    slot = dicom_query.value_slot(text, at)
    if slot is not None:
        call.event.level = level
        words = await _values(call, slot, level)
        return Reply(json={"start": slot.start, "end": at, "words": words})
    start = dicom_query.word_start(text, at)
    return Reply(
        json={
            "start": start,
            "end": at,
            "words": [_word(word) for word in dicom_query.complete(text, at, limit=_WORDS)],
        }
    )


def _word(word: str) -> dict[str, Any]:
    if word in _OPERATORS:
        return {"text": word, "kind": "operator", "label": ""}
    if word in _CONNECTIVES:
        return {"text": word, "kind": "connective", "label": ""}
    tag = tag_for_keyword(word)
    return {"text": word, "kind": "keyword", "label": dictionary_description(tag) if tag is not None else ""}


async def _values(call: Call, slot: dicom_query.ValueSlot, level: Level) -> list[dict[str, Any]]:
    call.event.query = dicom_query.to_text(slot.context) if slot.context is not None else None
    call.event.why = [f"Values of {slot.path}."]
    call.decide(Action.QUERY_HELP, Collection())
    try:
        async with asyncio.timeout(_PATIENCE):
            found = await find_facets(
                call.services.index, slot.path, slot.context, level, call.visible(), prefix=slot.typed, limit=_VALUES
            )
    except (SearchRefused, TimeoutError):
        return []  # values of that element cannot be listed, or not while somebody types; they can still be typed
    call.event.count = len(found.values)
    return [
        {
            "text": dicom_query.value_text(TextPattern.literal(value)),
            "kind": "value",
            "label": "",
            "count": count,
        }
        for value, count in found.values
    ]


ROUTES = (
    Route("GET", "facets", facets, Action.FACETS),
    Route("GET", "explain-query", explain_query, Action.QUERY_HELP),
    Route("GET", "complete", complete, Action.QUERY_HELP),
)
