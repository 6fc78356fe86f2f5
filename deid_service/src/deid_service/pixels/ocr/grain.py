"""Writing in a frame that shows nothing but grain, where a detector of text sees no line.

Grain is alike everywhere and hardly hangs together: little of it is left after strong smoothing, where a picture keeps
nearly all. In such a frame each place is asked how much stands out there, summed over an area of a line of text (the
energy detector of Urkowitz, "Energy detection of unknown deterministic signals", Proceedings of the IEEE 55, 1967).
Chance evens out over such an area, and letters do not. The grain is measured in the frame itself, so that the coarser
one of lossy compression is grain as well. Where a frame shows anything else, nothing is said: edges stand out as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from deid_service.pixels.boxes import Box, outside

__all__ = ["lines_in_grain"]

Picture = NDArray[np.uint8]
_Values = NDArray[np.float32]

# Grey levels after smoothing: below, a frame is even.
_LEAST_GRAIN: Final = 0.7
_TILE: Final = 40
_PLAIN_TILES: Final = 0.8
_PLAIN: Final = 1.5
_SMOOTHED: Final = 1.2
_SMOOTHED_MUCH: Final = 5.0
# How much of the contrast may be left by the stronger smoothing. White noise keeps 0.24; of 343 views of real images
# whose tiles are alike the least keeps 0.65.
_LEFT: Final = 0.45
_NEIGHBOURHOOD: Final = 61
# No pixel alone makes a line.
_MOST: Final = 16.0
# Of a thousand frames of mere grain (white, clipped, Poisson, Rayleigh, smoothed, enlarged, JPEG, JPEG 2000) half have
# less than 8, one in ten more than 10, none more than 18.2; nearly all readable words have more than 25, the faintest
# 12. What may as well be chance is taken for writing: that costs a piece of a picture of nothing, a name costs more.
_STANDS_OUT: Final = 10.0
_END: Final = 0.6
# How much of the area of a line must not be masked, for it to be judged, and to be a measure of chance.
_LEAST_SHOWN: Final = 0.3
_WHOLE: Final = 0.95
# Lengths and heights of lines, in pixels.
_LINES: Final = ((36, 9), (60, 15), (96, 24))


def lines_in_grain(picture: Picture, masked: Sequence[Box] = ()) -> list[Box]:
    """Find what is written in a frame of grain.

    Parameters
    ----------
    picture : ndarray of uint8, shape (rows, columns) or (rows, columns, 3)
        A view of the frame.
    masked : sequence of Box
        What is not to be judged.

    Returns
    -------
    list of Box
        Lines of whatever stands out, upright and on their side, some of them more than once; empty if the frame shows
        more than grain, or none.
    """
    import cv2

    if min(picture.shape[:2]) < 2 * _TILE:
        return []
    shown = outside(masked, *picture.shape[:2])
    if not shown.any():
        return []
    grey = picture if picture.ndim == 2 else np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), np.uint8)
    deviations = [_deviation(grey, shown)]
    if deviations[0] is not None and picture.ndim == 3 and (picture.max(axis=2) != picture.min(axis=2)).any():
        # Letters as bright as their ground are seen in one of the colours.
        deviations += [_deviation(np.ascontiguousarray(picture[:, :, channel]), shown) for channel in range(3)]
    return [
        box
        for energy in [_energy(deviation, shown) for deviation in deviations if deviation is not None]
        for length, height in _LINES
        for size in ((length, height), (height, length))
        for box in _rows(energy, shown, size)
    ]


def _deviation(grey: Picture, shown: NDArray[np.bool_]) -> _Values | None:
    """Return the grain, somewhat smoothed, in its standard deviations; None if a frame shows anything else, or none."""
    import cv2

    values = grey.astype(np.float32)
    values -= cv2.blur(values, (_NEIGHBOURHOOD, _NEIGHBOURHOOD), borderType=cv2.BORDER_REFLECT)
    smooth = np.asarray(cv2.GaussianBlur(values, (0, 0), _SMOOTHED), np.float32)
    spread = _spread(smooth[shown])
    if spread < _LEAST_GRAIN:
        return None
    much = np.asarray(cv2.GaussianBlur(values, (0, 0), _SMOOTHED_MUCH), np.float32)
    if _spread(much[shown]) > _LEFT * spread:
        return None
    deviation = smooth / np.float32(spread)
    return deviation if _share_of_plain_tiles(deviation) >= _PLAIN_TILES else None


def _energy(deviation: _Values, shown: NDArray[np.bool_]) -> _Values:
    return np.minimum(np.square(deviation), np.float32(_MOST)) * shown


def _spread(values: NDArray[Any]) -> float:
    """Return the standard deviation of normally distributed values; by the median, so that letters do not count."""
    return float(np.median(np.abs(values))) * 1.4826


def _share_of_plain_tiles(deviation: _Values) -> float:
    rows, columns = deviation.shape
    tiles = [
        _spread(deviation[top : top + _TILE, left : left + _TILE]) < _PLAIN
        for top in range(0, rows - _TILE + 1, _TILE)
        for left in range(0, columns - _TILE + 1, _TILE)
    ]
    return float(np.mean(tiles))


def _rows(energy: _Values, shown: NDArray[np.bool_], size: tuple[int, int]) -> Iterator[Box]:
    """Yield where an area of a width and height holds far more than others do."""
    import cv2

    share = np.asarray(cv2.blur(shown.astype(np.float32), size, borderType=cv2.BORDER_REFLECT), np.float32)
    mean = np.asarray(cv2.blur(energy, size, borderType=cv2.BORDER_REFLECT), np.float32)
    mean /= np.maximum(share, np.float32(_LEAST_SHOWN))
    whole = share >= _WHOLE
    if not whole.any():
        return
    middle = float(np.median(mean[whole]))
    # An area of which half is masked says less: its mean varies more by chance.
    excess = (mean - np.float32(middle)) * np.sqrt(share) / np.float32(max(_spread(mean[whole] - middle), 1e-6))
    excess[share < _LEAST_SHOWN] = 0
    # An area that lies half over the end of a line holds half as much as one beside it.
    highest = np.asarray(cv2.dilate(excess, np.ones(size[::-1], np.uint8)), np.float32)
    line = ((highest >= _STANDS_OUT) & (excess >= _END * highest)).astype(np.uint8)
    count, _, stats, _ = cv2.connectedComponentsWithStats(line, connectivity=8)
    for left, top, width, height in (tuple(int(value) for value in stats[label][:4]) for label in range(1, count)):
        yield Box(left, top, left + width - 1, top + height - 1)
