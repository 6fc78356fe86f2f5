"""What one tag path holds in one instance, as a short JSON text: its *content*.

======================================  =======================================================================
``"1.5"``                               one value
``["1.5", null, true]``                 several values; null = bytes, true = an item of a sequence
``{"v": [...], "p": [[0, 1], ...]}``    values at other places: the item number of every step, counted from 0
``{"v": [...], "s": "Thorax"}``         besides, what is shown, where it cannot be told from the values
======================================  =======================================================================

The values are those of `dicom_query.index_document`: folded text. What is shown for a top-level element is what DICOM
holds: ``Thorax`` for ``thorax``, the number 1.5 for ``1.5``. Equal contents have equal texts, so they are compared and
counted as texts, and hardly ever parsed.
"""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from collections.abc import Iterable, Mapping
from decimal import Decimal
from functools import lru_cache
from typing import Any

from pydicom.datadict import dictionary_VR, keyword_for_tag

from dicom_query.literals import NUMBER_PATTERN

__all__ = [
    "ABSENT",
    "SOP_PATHS",
    "contents_of",
    "digest",
    "document_of",
    "dumps",
    "first_text",
    "fitting_number",
    "numbers_in",
    "shown_of",
    "single_text",
]

ABSENT = None
"""The content of a path that an instance does not have."""

SOP_PATHS = {"00080018": "=00080018", "00020003": "=00020003"}
"""Paths that hold the SOPInstanceUID and nothing else, mostly -> the path that says so."""

_NUMBER = re.compile(NUMBER_PATTERN)
_WHOLE_VRS = frozenset({"IS", "US", "SS", "UL", "SL", "UV", "SV"})
_REAL_VRS = frozenset({"DS", "FL", "FD"})
_NOTHING = object()

_encoder = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), sort_keys=True, allow_nan=False)
dumps = _encoder.encode
"""The one way in which a content is written."""


def contents_of(document: Mapping[str, Any], shown: Mapping[str, Any]) -> dict[str, str]:
    """Return the contents of an instance.

    Parameters
    ----------
    document
        `dicom_query.index_document`.
    shown
        Keyword -> value to show, of top-level elements.

    Returns
    -------
    dict
        Tag path -> content.
    """
    found: dict[str, str] = {}
    nested: dict[str, list[tuple[tuple[int, ...], Any]]] = {}
    pending: list[tuple[str, tuple[int, ...], Mapping[str, Any]]] = []
    for tag, values in document.items():
        plain = [True if isinstance(value, dict) else value for value in values]
        pending += [(tag, (n,), value) for n, value in enumerate(values) if isinstance(value, dict)]
        what = shown.get(_keyword(tag), _NOTHING)
        if what is _NOTHING or _same(_told(tag, plain), what):
            found[tag] = dumps(plain[0] if len(plain) == 1 and isinstance(plain[0], str) else plain)
        else:
            found[tag] = dumps({"v": plain, "s": what})
    while pending:
        above, place, item = pending.pop()
        for tag, values in item.items():
            path = f"{above}.{tag}"
            leaves = nested.setdefault(path, [])
            for n, value in enumerate(values):
                if isinstance(value, dict):
                    pending.append((path, (*place, n), value))
                    leaves.append(((*place, n), True))
                else:
                    leaves.append(((*place, n), value))
    for path, leaves in nested.items():
        leaves.sort(key=lambda leaf: leaf[0])
        plain = [value for _, value in leaves]
        if all(place[-1] == n and not any(place[:-1]) for n, (place, _) in enumerate(leaves)):
            found[path] = dumps(plain[0] if len(plain) == 1 and isinstance(plain[0], str) else plain)
        else:
            found[path] = dumps({"v": plain, "p": [list(place) for place, _ in leaves]})
    return found


def document_of(contents: Mapping[str, str]) -> dict[str, Any]:
    """Return the document that `contents_of` was given."""
    leaves: list[tuple[str, list[int], Any]] = []
    for path, content in contents.items():
        steps = path.count(".") + 1
        values, places = _leaves(json.loads(content))
        for n, value in enumerate(values):
            leaves.append((path, places[n] if places else [0] * (steps - 1) + [n], value))
    # Items come before what they hold: their paths are shorter.
    leaves.sort(key=lambda leaf: (len(leaf[1]), leaf[0], leaf[1]))
    root: dict[str, Any] = {}
    for path, place, value in leaves:
        target = root
        *above, tag = path.split(".")
        for step, item in zip(above, place, strict=False):
            target = target[step][item]
        target.setdefault(tag, []).append({} if value is True else value)
    return root


def shown_of(tag: str, content: str) -> Any:
    """Return what is shown for the content of a top-level element."""
    if content[0] == '"' and "\\" not in content:
        return _told(tag, [content[1:-1]])  # nearly all are like this, and a page has thousands
    parsed = json.loads(content)
    if isinstance(parsed, dict) and "s" in parsed:
        return parsed["s"]
    return _told(tag, _leaves(parsed)[0])


def single_text(content: str) -> str | None:
    """Return the text of a content that is one text at the first place; None for any other."""
    if content[0] == '"':
        return content[1:-1] if "\\" not in content else str(json.loads(content))
    if content[0] == "{":
        parsed = json.loads(content)
        if "p" not in parsed and len(parsed["v"]) == 1 and isinstance(parsed["v"][0], str):
            return str(parsed["v"][0])
    return None


def first_text(content: str | None) -> str | None:
    """Return the first value of a content, if it is a text that is not empty."""
    if content is None:
        return None
    values, _ = _leaves(json.loads(content))
    return values[0] if isinstance(values[0], str) and values[0] else None


def fitting_number(text: str) -> float | None:
    """Return the number that a text is, if a double tells it from every other decimal that it stands for.

    Returns
    -------
    float or None
        None if it is no number, and NaN if it is one that does not fit.

    Notes
    -----
    A number fits if the shortest decimal of the nearest double is equal to it. Fitting numbers compare as their doubles
    do; every decimal of up to 15 digits fits.
    """
    if not _NUMBER.fullmatch(text):
        return None
    number = float(text)
    if len(text) <= 15 and "e" not in text:
        return number
    exact = Decimal(text)
    return number if abs(number) < 1e300 and Decimal(repr(number)) == exact else float("nan")


def numbers_in(content: str) -> list[float]:
    """Return every number among the values, as `fitting_number` does."""
    if content[0] == '"' and "\\" not in content:
        texts: Iterable[Any] = (content[1:-1],)
    else:
        texts, _ = _leaves(json.loads(content))
    found = [fitting_number(text) for text in texts if isinstance(text, str)]
    return [number for number in found if number is not None]


def digest(*parts: str) -> uuid.UUID:
    """Return 128 bits that stand for these texts."""
    return uuid.UUID(bytes=hashlib.blake2b("\0".join(parts).encode(), digest_size=16).digest())


def _leaves(parsed: Any) -> tuple[list[Any], list[list[int]] | None]:
    if isinstance(parsed, dict):
        return parsed["v"], parsed.get("p")
    return (parsed, None) if isinstance(parsed, list) else ([parsed], None)


@lru_cache(maxsize=8192)
def _keyword(tag: str) -> str:
    number = int(tag, 16)
    return "" if number >> 16 & 1 else keyword_for_tag(number)


@lru_cache(maxsize=8192)
def _vr(tag: str) -> str:
    try:
        return dictionary_VR(int(tag, 16))
    except KeyError:
        return ""


def _told(tag: str, values: list[Any]) -> Any:
    """Return what is shown as far as the values alone tell."""
    vr = _vr(tag)
    told = [_told_one(vr, value) for value in values]
    return told[0] if len(told) == 1 else told


def _told_one(vr: str, value: Any) -> Any:
    if not isinstance(value, str):
        return ""
    try:
        if vr in _WHOLE_VRS:
            return int(value)
        if vr in _REAL_VRS:
            return float(value)
    except ValueError:
        pass
    return value


def _same(one: Any, other: Any) -> bool:
    """Whether two shown values are equal, and of equal kinds: 2 is not 2.0."""
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return type(one) is type(other) and bool(one == other)
