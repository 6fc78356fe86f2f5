"""Matching with ``*`` in time proportional to the text, whatever the pattern: no regular expression is built."""

from __future__ import annotations

from collections.abc import Sequence


def wildcard_match(pieces: Sequence[str], text: str) -> bool:
    """Tell whether `text` is the pieces in order with anything, or nothing, between each two.

    Parameters
    ----------
    pieces
        What stands between the wildcards, at least one piece; a single piece must equal the text.
    text
        The text, compared character by character.
    """
    if len(pieces) == 1:
        return text == pieces[0]
    first, last = pieces[0], pieces[-1]
    if len(text) < len(first) + len(last) or not text.startswith(first) or not text.endswith(last):
        return False
    position, end = len(first), len(text) - len(last)
    for piece in pieces[1:-1]:  # the leftmost place is always as good as any later one
        found = text.find(piece, position, end)
        if found < 0:
            return False
        position = found + len(piece)
    return True
