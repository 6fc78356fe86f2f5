"""Handwriting in graphic annotations (PS3.3 C.10.5, PS3.15 E.3.3).

The texts of graphic annotations are cleaned like other texts. Lines are not texts: a signature, or a name drawn with
the mouse, is a list of points. No rule reads it; here it is suspected by its shape.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from deid_service.errors import Refused
from deid_service.wire import Element, Item, Source

__all__ = ["refuse_handwriting"]

_ANNOTATIONS: Final = 0x00700001
_OBJECTS: Final = frozenset({0x00700009, 0x00700209})  # plain and compound graphics
_DATA: Final = 0x00700022
_TYPE: Final = 0x00700023
_COMPOUND_TYPE: Final = 0x00700294
_LINES: Final = frozenset({"POLYLINE", "INTERPOLATED", "MULTILINE", "SPLINE"})
# Arrows, rulers, angles and axes have few points and come in small numbers; outlines of structures are closed.
_LONG_STROKE: Final = 24
_MANY_STROKES: Final = 16
_MANY_POINTS: Final = 64


def refuse_handwriting(source: Source) -> None:
    """Refuse an instance whose graphic annotations may have been written by hand.

    Parameters
    ----------
    source : Source
        An instance, read, whose graphics stay.

    Raises
    ------
    Refused
        ``burned_in_text_possible`` for an open line of 24 or more points, 16 or more open lines, or 64 or more single
        points.
    """
    strokes = points = 0
    for kind, data in _graphics(source):
        if kind == "POINT":
            points += 1
        elif kind in _LINES and len(data) >= 2 and not np.array_equal(data[0], data[-1]):
            strokes += 1
            if len(data) >= _LONG_STROKE:
                strokes = _MANY_STROKES
    if strokes >= _MANY_STROKES or points >= _MANY_POINTS:
        raise Refused("burned_in_text_possible", "the lines of a graphic annotation may be handwriting")


def _graphics(source: Source) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Yield type and points, shape (n, 2), of each graphic."""
    order = "<" if source.encoding.little else ">"
    for annotation in _items(source.elements, frozenset({_ANNOTATIONS})):
        for graphic in _items(annotation.elements, _OBJECTS):
            values = {element.tag: bytes(source.value(element)) for element in graphic.elements if not element.items}
            kind = values.get(_TYPE) or values.get(_COMPOUND_TYPE, b"")
            data = values.get(_DATA, b"")
            points = np.frombuffer(data[: len(data) // 8 * 8], f"{order}f4").reshape(-1, 2)
            yield kind.decode("latin-1").strip("\0 "), points


def _items(elements: list[Element], tags: frozenset[int]) -> Iterator[Item]:
    for element in elements:
        if element.tag in tags:
            yield from element.items or ()
