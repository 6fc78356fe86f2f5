"""The opaque mark of where a page ended. It grants nothing: every page applies the permissions anew."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import math
from collections.abc import Sequence

from rpacs_hub.errors import SearchRefused

__all__ = ["decode_cursor", "encode_cursor", "search_digest"]

SortValue = str | int | float | None

_LONGEST = 16_384


def search_digest(*parts: object) -> str:
    """Return a short digest of what a cursor belongs to: level, query, sort order."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def encode_cursor(digest: str, values: Sequence[SortValue], key: int) -> str:
    """Return the mark after a row with these sort values and this key."""
    raw = json.dumps([digest, list(values), key], separators=(",", ":"))
    return base64.urlsafe_b64encode(raw.encode()).decode().rstrip("=")


def decode_cursor(text: str, digest: str, numeric: Sequence[bool]) -> tuple[list[SortValue], int]:
    """Read a mark.

    Parameters
    ----------
    text
        What the client sent.
    digest
        What the mark must belong to.
    numeric
        For each sort column, whether its values are numbers.

    Returns
    -------
    tuple
        Sort values and key of the last row of the page before.

    Raises
    ------
    SearchRefused
        It is no mark, or one of another search.
    """
    refused = SearchRefused(
        "cursor_invalid", "The cursor does not belong to this search.", "Leave it out to begin with the first page."
    )
    try:
        if len(text) > _LONGEST:
            raise refused
        found = json.loads(base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True))
        made_for, values, key = found
    except (binascii.Error, ValueError, TypeError, RecursionError):
        raise refused from None
    if made_for != digest or not isinstance(values, list) or len(values) != len(numeric):
        raise refused
    if not isinstance(key, int) or isinstance(key, bool) or not 0 <= key < 2**63:
        raise refused
    for value, number in zip(values, numeric, strict=True):
        if value is None:
            continue
        if number and (isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value)):
            raise refused
        if not number and (not isinstance(value, str) or "\0" in value):
            raise refused
    return values, key
