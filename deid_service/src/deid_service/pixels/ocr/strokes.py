"""A picture in which only thin strokes are left: letters that run over edges, grids and shades stand on even ground.

A letter is thinner than what it stands on. What is narrower than a few pixels, brighter or darker than all around it,
is kept (the top hat and the bottom hat of mathematical morphology; Serra, Image Analysis and Mathematical Morphology,
1982), everything wider becomes grey. A word that crosses from black to white has one contrast afterwards.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["strokes_of"]

Picture = NDArray[np.uint8]

# The strokes of bold letters of 40 pixels are narrower than this; ribs and vessels are wider.
_WIDEST: Final = 15
_GAIN: Final = 2


def strokes_of(picture: Picture) -> Picture:
    """Keep what is narrow.

    Parameters
    ----------
    picture : ndarray of uint8, shape (rows, columns) or (rows, columns, 3)
        Grey, or red, green, blue; of colours, each pixel shows the one that stands out most.

    Returns
    -------
    ndarray of uint8, shape (rows, columns)
        128 where nothing narrow is; brighter strokes above, darker ones below.
    """
    import cv2

    kernel = np.ones((_WIDEST, _WIDEST), np.uint8)
    brighter = np.asarray(cv2.morphologyEx(picture, cv2.MORPH_TOPHAT, kernel), np.int16)
    strokes = brighter - np.asarray(cv2.morphologyEx(picture, cv2.MORPH_BLACKHAT, kernel), np.int16)
    if strokes.ndim == 3:
        most = np.abs(strokes).argmax(axis=2)
        strokes = np.take_along_axis(strokes, most[:, :, np.newaxis], axis=2)[:, :, 0]
    return np.clip(128 + _GAIN * strokes, 0, 255).astype(np.uint8)
