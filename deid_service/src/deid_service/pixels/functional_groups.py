"""What the functional groups of an enhanced multi-frame say of how its frames are shown (PS3.3 C.7.6.16.2.9 and .10).

In such objects windows and rescale stand there, for all frames or for each, and not at the top level.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from deid_service.wire import Element, Item, Source

__all__ = ["FrameDisplay", "frame_displays"]

_SHARED: Final = 0x52009229
_PER_FRAME: Final = 0x52009230
_VOI: Final = 0x00289132
_TRANSFORMATION: Final = 0x00289145
_CENTER, _WIDTH, _INTERCEPT, _SLOPE = 0x00281050, 0x00281051, 0x00281052, 0x00281053
_MACROS: Final = {_VOI: (_CENTER, _WIDTH), _TRANSFORMATION: (_INTERCEPT, _SLOPE)}


@dataclass(frozen=True, slots=True)
class FrameDisplay:
    """How one frame is shown, as far as functional groups say.

    Attributes
    ----------
    windows : tuple of (float, float)
        Centre and width, in rescaled values.
    slope, intercept : float or None
        Rescale; None if they say nothing of it.
    """

    windows: tuple[tuple[float, float], ...] = ()
    slope: float | None = None
    intercept: float | None = None


def frame_displays(source: Source) -> dict[int | None, FrameDisplay]:
    """Read how frames are shown.

    Parameters
    ----------
    source : Source
        An instance, read.

    Returns
    -------
    dict of (int or None) to FrameDisplay
        By frame, counted from 0, completed by what all frames share; under None what holds for frames that are not in
        it. Empty if functional groups say nothing of it. Numbers that are none are left out.
    """
    shared: dict[int, list[float]] = {}
    found: dict[int | None, FrameDisplay] = {}
    for frame, item in _items(source):
        said = _said(source, item)
        if frame is None:
            shared = said
        if said:
            found[frame] = _display(shared | said)
    return found


def _items(source: Source) -> Iterator[tuple[int | None, Item]]:
    """Yield the items of functional groups, by frame; first, under None, what all frames share."""
    for element in source.elements:
        if element.tag == _SHARED and element.items:
            yield None, element.items[0]
        elif element.tag == _PER_FRAME:
            yield from enumerate(element.items or ())


def _display(said: dict[int, list[float]]) -> FrameDisplay:
    pairs = zip(said.get(_CENTER, ()), said.get(_WIDTH, ()), strict=False)
    slope, intercept = said.get(_SLOPE, [None])[0], said.get(_INTERCEPT, [None])[0]
    return FrameDisplay(tuple((centre, width) for centre, width in pairs if width > 0), slope, intercept)


def _said(source: Source, item: Item) -> dict[int, list[float]]:
    said: dict[int, list[float]] = {}
    for macro in item.elements:
        wanted = _MACROS.get(macro.tag)
        if wanted and macro.items:
            for element in macro.items[0].elements:
                if element.tag in wanted and (numbers := _numbers(source, element)):
                    said[element.tag] = numbers
    return said


def _numbers(source: Source, element: Element) -> list[float]:
    try:
        numbers = [float(one) for one in source.value(element).decode("ascii").strip(" \0").split("\\")]
    except ValueError:
        return []
    return numbers if all(map(math.isfinite, numbers)) else []
