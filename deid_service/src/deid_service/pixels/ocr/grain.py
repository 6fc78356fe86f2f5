"""Writing in a frame that shows nothing but grain: small letters there are below what a detector of text sees.

Noise without a picture has a known size after smoothing (Immerkaer, "Fast Noise Variance Estimation", Computer Vision
and Image Understanding 64, 1996, for measuring it). What stands out of it by far, in a row, is no noise. Where a frame
shows anything else, nothing is said: edges stand out as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from deid_service.pixels.boxes import Box

__all__ = ["lines_in_grain"]

Picture = NDArray[np.uint8]

_LEAST_GRAIN: Final = 3.0
_TILE: Final = 40
_PLAIN_TILES: Final = 0.8
_PLAIN: Final = 1.6
_SMOOTHED: Final = 1.2
# Of white noise this much is left after smoothing: 1 / (2 sqrt(pi) sigma).
_LEFT: Final = 0.2351
_NEIGHBOURHOOD: Final = 61
_STANDS_OUT: Final = 4.0
_LEAST_INK: Final = 14
_GAP: Final = 9
_TALLEST: Final = 48
_SHAPE: Final = 1.2


def lines_in_grain(picture: Picture) -> list[Box]:
    """Find what is written in a frame of grain.

    Parameters
    ----------
    picture : ndarray of uint8, shape (rows, columns) or (rows, columns, 3)
        A view of the frame.

    Returns
    -------
    list of Box
        Lines of whatever stands out; empty if the frame shows more than grain, or none.
    """
    import cv2

    grey = picture if picture.ndim == 2 else np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), np.uint8)
    if min(grey.shape) < 2 * _TILE:
        return []
    values = grey.astype(np.float32)
    noise = _noise(values)
    if noise < _LEAST_GRAIN:
        return []
    around = cv2.blur(values, (_NEIGHBOURHOOD, _NEIGHBOURHOOD), borderType=cv2.BORDER_REFLECT)
    smooth = np.asarray(cv2.GaussianBlur(values - around, (0, 0), _SMOOTHED), np.float32)
    deviation = smooth / np.float32(noise * _LEFT)
    tiles = [
        float(np.median(np.abs(deviation[top : top + _TILE, left : left + _TILE]))) * 1.4826
        for top in range(0, grey.shape[0] - _TILE + 1, _TILE)
        for left in range(0, grey.shape[1] - _TILE + 1, _TILE)
    ]
    if float(np.mean([tile < _PLAIN for tile in tiles])) < _PLAIN_TILES:
        return []
    outstanding = (np.abs(deviation) >= _STANDS_OUT).astype(np.uint8)
    return [*_rows(outstanding, (_GAP, 3)), *_rows(outstanding, (3, _GAP))]


def _noise(values: NDArray[np.float32]) -> float:
    """Return the standard deviation of noise, in grey levels; median instead of mean, so that edges do not count."""
    import cv2

    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
    return float(np.median(np.abs(cv2.filter2D(values, -1, kernel)))) * 1.4826 / 6


def _rows(outstanding: NDArray[np.uint8], reach: tuple[int, int]) -> Iterator[Box]:
    """Yield what hangs together if gaps are bridged in one direction, and is as a line of text is."""
    import cv2

    joined = cv2.dilate(outstanding, np.ones(reach[::-1], np.uint8))
    count, labels, stats, _ = cv2.connectedComponentsWithStats(joined, connectivity=8)
    ink: NDArray[Any] = np.bincount(labels.ravel(), weights=outstanding.ravel(), minlength=count)
    for label in range(1, count):
        left, top, width, height = (int(value) for value in stats[label][:4])
        short, long = (height, width) if reach[0] > reach[1] else (width, height)
        if ink[label] >= _LEAST_INK and short <= _TALLEST and long >= _SHAPE * short:
            yield Box(left, top, left + width - 1, top + height - 1)
