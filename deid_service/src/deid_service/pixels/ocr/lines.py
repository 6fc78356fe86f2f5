"""What goes on where a line of text ends.

Of a line that runs from a dark ground over a bright one, or over glittering water, the search may find the middle only.
What lies at its ends, as high as it is, is taken for more of it although it would not count as text by itself: a short
piece beside it however it was read, and farther along the line what was read at least badly.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Final

from deid_service.pixels.boxes import Box
from deid_service.pixels.ocr.engine import Word
from deid_service.pixels.ocr.evidence import is_read_badly

__all__ = ["more_of_lines"]

# All in heights of the line, but for the tallest line, in pixels with its margin: what is higher may be a rib.
_SHORT_PIECE: Final = 3.0
_FLATTEST: Final = 0.33
_AS_HIGH: Final = 1.3
_TALLEST_LINE: Final = 72
_LOWEST, _HIGHEST = 0.4, 1.7
_LEVEL: Final = 0.6
_GAP: Final = 2.0
_LONG: Final = 1.5


def more_of_lines(doubtful: Iterable[Word], lines: Sequence[Box], unread: Collection[Word] = ()) -> list[Word]:
    """Return the finds that lie at an end of a line of text.

    Parameters
    ----------
    doubtful : iterable of Word
        What was seen, but is not text by itself.
    lines : sequence of Box
        Where this look found text, with the margin that it was given. What is too high for a line is left aside.
    unread : collection of Word
        Those that count only if they were read, also right beside a line.

    Returns
    -------
    list of Word
        Those of `doubtful` that count as text after all.
    """
    beside = [line for line in lines if _short(line) <= _TALLEST_LINE]
    rest = list(doubtful)
    # Only once: what was read badly leads no farther, or a glittering ground would be followed across the picture.
    more = [word for word in rest if is_read_badly(word) and any(_is_along(word.box, line) for line in beside)]
    while adjoining := [
        word
        for word in rest
        if word not in more and word not in unread and any(_is_beside(word.box, line) for line in beside)
    ]:
        more += adjoining
        beside = [word.box for word in adjoining]
    return more


def _is_beside(piece: Box, line: Box) -> bool:
    """Tell whether a short piece lies right at an end of a line and is no higher than it."""
    short = _short(line)
    if (
        max(piece.right - piece.left, piece.bottom - piece.top) > _SHORT_PIECE * short
        or not _FLATTEST * short <= _short(piece) <= _AS_HIGH * short + 1
    ):
        return False
    width, height = _sides(line)
    reach = short // 2
    if width >= height:
        level = Box(line.left - reach, line.top + height // 4, line.right + reach, line.bottom - height // 4)
    else:
        level = Box(line.left + width // 4, line.top - reach, line.right - width // 4, line.bottom + reach)
    return piece.meets(level)


def _is_along(piece: Box, line: Box) -> bool:
    """Tell whether a piece is level with a line, about as high, and not far from its end."""
    width, height = _sides(line)
    return (width * _LONG >= height and _is_level(piece, line)) or (
        height * _LONG >= width and _is_level(_transposed(piece), _transposed(line))
    )


def _is_level(piece: Box, line: Box) -> bool:
    height, own = line.bottom - line.top + 1, piece.bottom - piece.top + 1
    if not _LOWEST * height <= own <= _HIGHEST * height:
        return False
    shared = min(piece.bottom, line.bottom) - max(piece.top, line.top) + 1
    gap = max(piece.left - line.right, line.left - piece.right)
    return shared >= _LEVEL * min(own, height) and gap <= _GAP * height


def _sides(box: Box) -> tuple[int, int]:
    return box.right - box.left + 1, box.bottom - box.top + 1


def _short(box: Box) -> int:
    return min(_sides(box))


def _transposed(box: Box) -> Box:
    return Box(box.top, box.left, box.bottom, box.right)
