"""What an OCR engine is, and how one is had by its name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from deid_service.errors import DeidError
from deid_service.pixels.boxes import Box

__all__ = ["ENGINES", "Engine", "OcrError", "Word", "engine", "is_known"]


_AIR: Final = 0.15


class OcrError(DeidError):
    """An engine that cannot be used, or that failed. Its message holds nothing of a picture."""


@dataclass(frozen=True, slots=True)
class Word:
    """Text that an engine found.

    Attributes
    ----------
    text : str
        What it read: patient data, never to be logged. Empty where it saw writing that it could not read.
    box : Box
        Where, as axis-parallel pixels of the picture.
    confidence : float
        0 to 1: how sure the engine is of what it read.
    detection : float
        0 to 1: how sure it is that there is writing at all; 1 for an engine that does not tell.
    """

    text: str
    box: Box
    confidence: float
    detection: float = 1.0


def is_known(box: Box, known: Sequence[Box]) -> bool:
    """Tell whether a box, but for the air that engines leave around letters, lies in one of the known ones.

    By a share of its area a long line would be known of which the first letters are not.
    """
    air = int(_AIR * min(box.right - box.left + 1, box.bottom - box.top + 1))
    return any(
        other.left <= box.left + air
        and other.top <= box.top + air
        and other.right >= box.right - air
        and other.bottom >= box.bottom - air
        for other in known
    )


class Engine(Protocol):
    """Finds text in pictures."""

    @property
    def name(self) -> str:
        """As a rules file calls it."""

    @property
    def largest_side(self) -> int:
        """Pixels: larger pictures are to be cut into tiles."""

    def find(self, image: NDArray[np.uint8], known: Sequence[Box] = ()) -> list[Word]:
        """Find text.

        Parameters
        ----------
        image : ndarray of uint8, shape (rows, columns) or (rows, columns, 3)
            Grey, or red, green, blue; no side longer than `largest_side`.
        known : sequence of Box
            Where text was found before: what lies in one of these boxes is left out, and need not be read again.

        Returns
        -------
        list of Word
            All else that may be writing, also what could not be read.

        Raises
        ------
        OcrError
            If the engine fails. Nothing found and not able to look are two things.
        """


ENGINES: Final = ("local", "rekognition")
"""Names of the engines, the default first."""


@cache
def engine(name: str = "local") -> Engine:
    """Return an engine, made once per process.

    Parameters
    ----------
    name : str
        One of :data:`ENGINES`.

    Raises
    ------
    OcrError
        If there is no such engine, or it cannot be started; the message names the remedy.
    """
    if name == "local":
        from deid_service.pixels.ocr.local import LocalEngine

        return LocalEngine()
    if name == "rekognition":
        from deid_service.pixels.ocr.rekognition import RekognitionEngine

        return RekognitionEngine()
    raise OcrError(f"there is no OCR engine {name!r}: name one of {', '.join(ENGINES)}")
