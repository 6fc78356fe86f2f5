"""What an ultrasound image says of where its pictures are (PS3.3 C.8.5.5): around them is what the machine wrote."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from deid_service.pixels.boxes import Box
from deid_service.wire import Element, Item, Source

__all__ = ["outside", "regions_of", "text_around"]

_REGIONS: Final = 0x00186011
_EDGES: Final = (0x00186018, 0x0018601A, 0x0018601C, 0x0018601E)  # Min X0, Min Y0, Max X1, Max Y1
# A region of so much of the frame leaves no room for a banner: the machine, or a converter, did not look.
_WHOLE: Final = 0.95
# So little cannot be the picture.
_NOTHING: Final = 0.01


def regions_of(source: Source) -> tuple[Box, ...] | None:
    """Read Sequence of Ultrasound Regions.

    Parameters
    ----------
    source : Source
        The original.

    Returns
    -------
    tuple of Box or None
        Where the pictures are, as the instance has it; None if it does not say, or if a region lacks an edge.
    """
    element = next(iter(source.select(_holds_regions)), None)
    if element is None or not element.items:
        return None
    little = element.item_encoding.little
    boxes = [_box(source, item, little=little) for item in element.items]
    return None if None in boxes else tuple(box for box in boxes if box is not None)


def _box(source: Source, item: Item, *, little: bool) -> Box | None:
    values = {element.tag: source.value(element) for element in item.elements if element.tag in _EDGES}
    if any(len(values.get(tag, b"")) != 4 for tag in _EDGES):
        return None
    left, top, right, bottom = (int.from_bytes(values[tag], "little" if little else "big") for tag in _EDGES)
    return Box(left, top, right, bottom)


def _holds_regions(element: Element) -> bool:
    return element.tag == _REGIONS


def text_around(regions: Sequence[Box], rows: int, columns: int) -> tuple[Box, ...] | None:
    """Return what lies outside of all regions, if they can be trusted.

    Parameters
    ----------
    regions : sequence of Box
        From :func:`regions_of`.
    rows, columns : int
        Size of the image.

    Returns
    -------
    tuple of Box or None
        Disjoint boxes that cover the rest of the frame. None if the regions cannot be trusted: one has its edges the
        wrong way round, lies beyond the image or covers nothing; or together they cover (nearly) the whole frame, or
        nearly nothing of it.
    """
    if not regions or rows < 1 or columns < 1:
        return None
    for box in regions:
        # One column too many is a common way to count.
        if not (0 <= box.left < box.right <= columns and 0 <= box.top < box.bottom <= rows):
            return None
    boxes = outside(regions, rows, columns)
    left = sum((box.right - box.left + 1) * (box.bottom - box.top + 1) for box in boxes)
    covered = 1 - left / (rows * columns)
    return boxes if _NOTHING <= covered <= _WHOLE else None


def outside(regions: Sequence[Box], rows: int, columns: int) -> tuple[Box, ...]:
    """Cover what lies outside of all regions with disjoint boxes.

    Parameters
    ----------
    regions : sequence of Box
        May overlap and reach beyond the image.
    rows, columns : int
        Size of the image.

    Returns
    -------
    tuple of Box
        From top to bottom; neighbours of the same width are one.
    """
    inside = [box for region in regions if (box := region.within(rows, columns)) is not None]
    xs = sorted({0, columns, *(box.left for box in inside), *(box.right + 1 for box in inside)})
    ys = sorted({0, rows, *(box.top for box in inside), *(box.bottom + 1 for box in inside)})
    kept = np.zeros((len(ys) - 1, len(xs) - 1), bool)
    for box in inside:
        kept[ys.index(box.top) : ys.index(box.bottom + 1), xs.index(box.left) : xs.index(box.right + 1)] = True
    boxes: list[Box] = []
    open_: dict[tuple[int, int], Box] = {}
    for y, row in enumerate(kept):
        runs = {run: open_.get(run) for run in _runs(row, xs)}
        boxes += [box for run, box in open_.items() if run not in runs]
        open_ = {
            (left, right): Box(left, before.top if before else ys[y], right, ys[y + 1] - 1)
            for (left, right), before in runs.items()
        }
    return tuple(sorted([*boxes, *open_.values()], key=lambda box: (box.top, box.left)))


def _runs(row: np.ndarray[tuple[int], np.dtype[np.bool_]], xs: Sequence[int]) -> list[tuple[int, int]]:
    """Return the columns, first and last, of each run of cells that are not kept."""
    runs: list[tuple[int, int]] = []
    for x, kept in enumerate(row):
        if kept:
            continue
        if runs and runs[-1][1] == xs[x] - 1:
            runs[-1] = (runs[-1][0], xs[x + 1] - 1)
        else:
            runs.append((xs[x], xs[x + 1] - 1))
    return runs
