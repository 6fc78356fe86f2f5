"""Rectangles of pixels, and which frames they hold for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Box", "Regions", "cut", "outside"]


@dataclass(frozen=True, slots=True, order=True)
class Box:
    """A rectangle of pixels. The last row and the last column belong to it.

    Attributes
    ----------
    left, top, right, bottom : int
        Columns and rows, counted from 0 at the upper left.
    """

    left: int
    top: int
    right: int
    bottom: int

    def within(self, rows: int, columns: int) -> Box | None:
        """Return the part that lies in an image.

        Parameters
        ----------
        rows, columns : int
            Size of the image.

        Returns
        -------
        Box or None
            None if no part of it does.
        """
        box = Box(max(self.left, 0), max(self.top, 0), min(self.right, columns - 1), min(self.bottom, rows - 1))
        return box if box.left <= box.right and box.top <= box.bottom else None

    def grown(self, by: int) -> Box:
        """Return the box with a margin of `by` pixels on each side."""
        return Box(self.left - by, self.top - by, self.right + by, self.bottom + by)

    def shifted(self, right: int, down: int) -> Box:
        """Return the box so many pixels farther right and down."""
        return Box(self.left + right, self.top + down, self.right + right, self.bottom + down)

    def meets(self, other: Box) -> bool:
        """Tell whether two boxes share a pixel."""
        return (
            self.left <= other.right
            and other.left <= self.right
            and self.top <= other.bottom
            and other.top <= self.bottom
        )


@dataclass(frozen=True, slots=True)
class Regions:
    """What is blacked out in an instance.

    Attributes
    ----------
    every : tuple of Box
        In every frame.
    by_frame : mapping of int to tuple of Box
        Besides, by index of the frame, counted from 0.
    """

    every: tuple[Box, ...] = ()
    by_frame: Mapping[int, tuple[Box, ...]] = field(default_factory=dict)

    def of(self, frame: int) -> tuple[Box, ...]:
        """Return the boxes of one frame, counted from 0."""
        return (*self.every, *self.by_frame.get(frame, ()))

    def __bool__(self) -> bool:
        return bool(self.every) or any(self.by_frame.values())

    def __or__(self, other: Regions) -> Regions:
        frames: dict[int, Iterable[Box]] = dict(self.by_frame)
        for index, boxes in other.by_frame.items():
            frames[index] = (*frames.get(index, ()), *boxes)
        return Regions(
            tuple(dict.fromkeys((*self.every, *other.every))),
            {index: tuple(dict.fromkeys(boxes)) for index, boxes in frames.items()},
        )


def cut(array: NDArray[Any], box: Box) -> NDArray[Any]:
    """Return the part of an array, shape (rows, columns, ...), that lies in a box; no copy of it."""
    return array[box.top : box.bottom + 1, box.left : box.right + 1]


def outside(boxes: Iterable[Box], rows: int, columns: int) -> NDArray[np.bool_]:
    """Tell which pixels of an image lie in no box.

    Parameters
    ----------
    boxes : iterable of Box
        They may reach beyond the image.
    rows, columns : int
        Size of the image.

    Returns
    -------
    ndarray of bool, shape (rows, columns)
    """
    free = np.ones((rows, columns), bool)
    for one in boxes:
        if (box := one.within(rows, columns)) is not None:
            cut(free, box)[...] = False
    return free
