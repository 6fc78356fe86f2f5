"""Pictures in which what has the colour of writing stands alone.

A device writes all its text with one value, or a few: its ink. Letters a few grey levels from a restless ground are
hard to see among all the other values, and plain in a picture that shows nothing but pixels of that value. There are
two such pictures. Where words were found, the values that are frequent in their boxes and rare beside them are the ink
(the ratio of two histograms, projected back: Swain and Ballard, "Color indexing", International Journal of Computer
Vision 7, 1991). And wherever far more pixels have a value than have the values next to it, it may be an ink.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from deid_service.pixels.boxes import Box, outside

__all__ = ["pictures_of_ink"]

Picture = NDArray[np.uint8]
_Mask = NDArray[np.bool_]
_Values = NDArray[np.float64]

_INKS: Final = 2
_CANDIDATES: Final = 8
# A short word of small letters, and how far it must lie above chance, in standard deviations of a count.
_LEAST_PIXELS: Final = 30
_STANDS_OUT: Final = 6.0
# How many values on each side tell how often a value is to be expected.
_NEIGHBOURS: Final = 8
# What is as wide is a ground or a plate: the strokes of bold letters of 40 pixels are narrower.
_WIDEST: Final = 15
_LARGEST_SHARE: Final = 0.1
# A piece of writing, in pixels: its longer side and how many of them have ink. Chance leaves single pixels.
_SHORTEST: Final = 5
_LONGEST: Final = 60
_LEAST_INK: Final = 5
_LEAST_PIECES: Final = 2
_SAMPLE_BITS: Final = 16
# Bins of grey, as many pixels of the words in each, and of each of three colours.
_GREYS: Final = 256
_SHADES: Final = 64
# So many pixels of a bin may be there by chance.
_BY_CHANCE: Final = 3.0
_LIKELY: Final = 64


def pictures_of_ink(frame: NDArray[Any], known: Sequence[Box], masked: Sequence[Box], part: Box) -> Iterator[Picture]:
    """Yield pictures that may show writing which was not found yet.

    Parameters
    ----------
    frame : ndarray, shape (rows, columns) or (rows, columns, samples)
        Stored values.
    known : sequence of Box
        Where text was found.
    masked : sequence of Box
        What is black already; its values say nothing.
    part : Box
        Where text is looked for.

    Yields
    ------
    ndarray of uint8, shape (rows, columns)
        At most three, light on dark: one of what is like the words in `known`, if there are any, and two of single
        values; none in which nothing outside of `known` is as large as letters.
    """
    if frame.ndim == 3 and frame.shape[2] == 1:
        frame = frame[:, :, 0]
    rows, columns = frame.shape[:2]
    shown, unknown = outside(masked, rows, columns), outside(known, rows, columns)
    searched = unknown & ~outside([part], rows, columns)
    like = _like_words(frame, known, shown)
    if like is not None and _has_letters((like >= _LIKELY) & searched):
        yield like
    values = _packed(frame)
    if values is None:
        return
    inks = [ink for value in _frequent(values[shown]) if (ink := _narrow((values == value) & shown)).any()]
    # What lies in the boxes of words is what they are written with; without words, the most outstanding comes first.
    inks.sort(key=lambda ink: float(unknown[ink].mean()))
    for ink in inks[:_INKS]:
        if _has_letters(ink & searched):
            yield ink.astype(np.uint8) * np.uint8(255)


def _like_words(frame: NDArray[Any], known: Sequence[Box], shown: _Mask) -> Picture | None:
    """Show how much more frequent each pixel's value is in the boxes of words than it is beside them."""
    rows, columns = frame.shape[:2]
    inside = shown & ~outside(known, rows, columns)
    around = [box.grown(2 * min(box.right - box.left, box.bottom - box.top) + 1) for box in known]
    beside = shown & ~outside(around, rows, columns) & ~inside
    if not inside.any() or not beside.any():
        return None
    bins, number = _bins(frame, inside)
    words, ground = _shares(bins[inside], number), _shares(bins[beside], number)
    likeness = words / (words + ground + _BY_CHANCE / np.count_nonzero(inside))
    levels: Picture = np.rint(255 * np.clip(2 * likeness - 1, 0, 1)).astype(np.uint8)
    return levels.ravel()[bins] * shown


def _bins(frame: NDArray[Any], inside: _Mask) -> tuple[NDArray[np.intp], tuple[int, ...]]:
    """Return the bin of each pixel, and how many there are in each direction."""
    if frame.ndim == 2:
        edges = np.unique(np.quantile(frame[inside], np.linspace(0, 1, _GREYS), method="nearest"))
        return np.searchsorted(edges, frame).astype(np.intp), (len(edges) + 1,)
    low, high = float(frame.min()), float(frame.max())
    shades = ((frame.astype(np.float32) - np.float32(low)) * np.float32(_SHADES / (high - low + 1))).astype(np.intp)
    number = (_SHADES,) * frame.shape[2]
    return np.ravel_multi_index(tuple(np.moveaxis(shades, 2, 0)), number), number


def _shares(bins: NDArray[np.intp], number: tuple[int, ...]) -> _Values:
    """Return which share of the pixels lies in each bin; some of it in the next ones, as lossy compression does."""
    shares = np.bincount(bins, minlength=int(np.prod(number))).reshape(number) / len(bins)
    for axis in range(len(number)):
        before, after = np.roll(shares, 1, axis), np.roll(shares, -1, axis)
        shares = shares / 2 + (before + after) / 4
    return shares


def _packed(frame: NDArray[Any]) -> NDArray[Any] | None:
    """Return one number a pixel; None of colours that do not fit in one."""
    if frame.ndim == 2:
        return frame
    if frame.dtype.itemsize * 8 > _SAMPLE_BITS or frame.shape[2] * _SAMPLE_BITS > 48:
        return None
    packed = np.zeros(frame.shape[:2], np.int64)
    for sample in range(frame.shape[2]):
        packed = (packed << _SAMPLE_BITS) + frame[:, :, sample]
    return packed


def _frequent(values: NDArray[Any]) -> list[Any]:
    """Return the values that far more pixels have than have those next to them, the most outstanding first."""
    if not values.size:
        return []
    found, counts = np.unique(values, return_counts=True)
    around = np.pad(counts, _NEIGHBOURS, mode="edge")
    expected = np.median(np.lib.stride_tricks.sliding_window_view(around, 2 * _NEIGHBOURS + 1), axis=1)
    excess = counts - expected
    outstanding = excess / np.sqrt(expected + 1)
    best = np.argsort(-outstanding, kind="stable")[:_CANDIDATES]
    return [found[one] for one in best if excess[one] >= _LEAST_PIXELS and outstanding[one] >= _STANDS_OUT]


def _narrow(ink: _Mask) -> _Mask:
    """Leave out what is wider than strokes; all of it if too much is left to be writing."""
    import cv2

    kernel = np.ones((_WIDEST, _WIDEST), np.uint8)
    wide = cv2.morphologyEx(ink.astype(np.uint8), cv2.MORPH_OPEN, kernel)
    narrow = ink & (np.asarray(cv2.dilate(wide, np.ones((3, 3), np.uint8))) == 0)
    return narrow if narrow.mean() <= _LARGEST_SHARE else np.zeros_like(ink)


def _has_letters(ink: _Mask) -> bool:
    """Tell whether some pieces are as large as letters."""
    import cv2

    _, _, pieces, _ = cv2.connectedComponentsWithStats(ink.astype(np.uint8), connectivity=8)
    longer = pieces[1:, [cv2.CC_STAT_WIDTH, cv2.CC_STAT_HEIGHT]].max(axis=1, initial=0)
    as_large = (longer >= _SHORTEST) & (longer <= _LONGEST) & (pieces[1:, cv2.CC_STAT_AREA] >= _LEAST_INK)
    return int(as_large.sum()) >= _LEAST_PIECES
