"""One look at a picture: as it is or larger, with its greys turned round or on its side, tile by tile."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from deid_service.pixels.boxes import Box, cut
from deid_service.pixels.ocr.engine import Engine, Word

__all__ = ["Look", "looked_at"]

Picture = NDArray[np.uint8]

_OVERLAP: Final = 192
_FLAT: Final = 8
_AROUND_CONTENT: Final = 33


@dataclass(frozen=True, slots=True)
class Look:
    """One pass over a picture.

    Attributes
    ----------
    scale : float
        How much larger it is made.
    turned : bool
        Whether its greys are turned round.
    quarters : int
        On which side it is laid: quarter turns counter-clockwise.
    """

    scale: float = 1.0
    turned: bool = False
    quarters: int = 0


def looked_at(picture: Picture, engine: Engine, look: Look, known: Sequence[Box]) -> Iterator[Word]:
    """Yield what the engine sees in a picture.

    Parameters
    ----------
    picture : ndarray of uint8, shape (rows, columns) or (rows, columns, 3)
        A view of a frame; where the engine takes no picture as large, it is cut into overlapping tiles.
    engine : Engine
        Reads it.
    look : Look
        How it is laid before the engine.
    known : sequence of Box
        Found before: not to be read again.

    Yields
    ------
    Word
        Its box in the picture's own pixels.

    Raises
    ------
    OcrError
        If the engine fails.
    """
    import cv2

    rows, columns = picture.shape[:2]
    if look.quarters:
        on_its_side = np.rot90(picture, look.quarters)
        there = [_laid(box, rows, columns, look.quarters) for box in known]
        for word in looked_at(on_its_side, engine, replace(look, quarters=0), there):
            yield replace(word, box=_laid(word.box, columns, rows, -look.quarters))
        return
    if look.turned:
        picture = 255 - picture
    for whole in _tiles(rows, columns, int(engine.largest_side / look.scale)):
        tile = _without_flat_margins(picture, whole)
        if tile is None:
            continue
        piece = cut(picture, tile)
        if look.scale != 1.0:
            way = cv2.INTER_CUBIC if look.scale > 1 else cv2.INTER_AREA
            piece = np.asarray(cv2.resize(piece, None, fx=look.scale, fy=look.scale, interpolation=way), np.uint8)
        there = [_scaled(box.shifted(-tile.left, -tile.top), look.scale) for box in known]
        for word in engine.find(np.ascontiguousarray(piece), there):
            yield replace(word, box=_scaled(word.box, 1 / look.scale).shifted(tile.left, tile.top))


def _without_flat_margins(picture: Picture, tile: Box) -> Box | None:
    """Cut off what is even beside the picture proper, often half of the pixels; None if nothing else is there."""
    import cv2

    piece = cut(picture, tile)
    kernel = np.ones((_AROUND_CONTENT, _AROUND_CONTENT), np.uint8)
    spread = np.asarray(cv2.subtract(cv2.dilate(piece, kernel), cv2.erode(piece, kernel)))
    content = (spread if spread.ndim == 2 else spread.max(axis=2)) >= _FLAT
    ys, xs = np.flatnonzero(content.any(axis=1)), np.flatnonzero(content.any(axis=0))
    return Box(int(xs[0]), int(ys[0]), int(xs[-1]), int(ys[-1])).shifted(tile.left, tile.top) if len(ys) else None


def _tiles(rows: int, columns: int, side: int) -> Iterator[Box]:
    """Cut a picture into overlapping tiles of one size: at most `side`, and no larger than as few of them must be."""
    for top, bottom in _spans(rows, side):
        for left, right in _spans(columns, side):
            yield Box(left, top, right, bottom)


def _spans(length: int, side: int) -> list[tuple[int, int]]:
    if length <= side:
        return [(0, length - 1)]
    overlap = min(_OVERLAP, side // 4)
    number = -(-(length - overlap) // (side - overlap))
    size = -(-(length + overlap * (number - 1)) // number)
    step = (length - size) / (number - 1)
    return [(round(step * index), round(step * index) + size - 1) for index in range(number)]


def _scaled(box: Box, by: float) -> Box:
    left, top, right, bottom = (side * by for side in (box.left, box.top, box.right, box.bottom))
    return Box(math.floor(left), math.floor(top), math.ceil(right), math.ceil(bottom))


def _laid(box: Box, rows: int, columns: int, quarters: int) -> Box:
    """Return where a box of a picture of this size is after one or three quarter turns, as `numpy.rot90` makes them."""
    if quarters % 4 == 1:
        return Box(box.top, columns - 1 - box.right, box.bottom, columns - 1 - box.left)
    return Box(rows - 1 - box.bottom, box.left, rows - 1 - box.top, box.right)
