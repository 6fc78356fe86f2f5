"""Whether anybody but our own engine can read a word as it is stored.

Its strokes must have outlived the compression, or Debian's tesseract reads it, with every help that can be given to it.
That is told where the word is, gets it upright and dark on light, enlarged in three ways, as it is and smoothed. So it
reads more than it would by itself on a page, and about what a person reads who knows where to look.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tests.burned_in_text.other_engine import alike, plain
from tests.burned_in_text.writing import Written

Picture = NDArray[np.uint8]

STILL_THERE = 0.5
"""How much the strokes of a word must correlate, as stored, with what was drawn."""

_SCALES = (2, 3, 4)
_SMOOTHED = (0.0, 1.0)
_AROUND = 5
_PAGE = "\f"


def read_by_another(picture: Picture, words: Sequence[Written]) -> list[bool]:
    """Tell of each word whether tesseract reads it.

    Parameters
    ----------
    picture
        What a person sees: shape (rows, columns) or (rows, columns, 3).
    words
        Where they are, how they are turned, and what they say.
    """
    with tempfile.TemporaryDirectory() as folder:
        files, owners = [], []
        for number, word in enumerate(words):
            for cut in _cuts(picture, word):
                files.append(Path(folder, f"{len(files)}.png"))
                owners.append(number)
                Image.fromarray(cut).save(files[-1])
        read = _tesseract(files, Path(folder, "list.txt"))
    return [
        any(
            alike(plain(word.text), part)
            for text, owner in zip(read, owners, strict=True)
            if owner == number
            for part in _words(text)
        )
        for number, word in enumerate(words)
    ]


def still_there(drawn: Picture, stored: Picture, word: Written) -> bool:
    """Tell whether the strokes of a word outlived their compression: JPEG 2000 may leave a blur of a whole line.

    Parameters
    ----------
    drawn
        The picture before compression: shape (rows, columns) or (rows, columns, 3).
    stored
        What a person sees of the instance, of the same size.
    word
        One of its words.
    """
    window = max(3, word.style.size // 2) | 1
    strokes = [_detail(one, word, window) for one in _channels(drawn)]
    left = [_detail(one, word, window) for one in _channels(stored)]
    return max(abs(_correlation(one, other)) for one in strokes for other in left) >= STILL_THERE


def _channels(picture: Picture) -> list[Picture]:
    return [picture] if picture.ndim == 2 else [picture[:, :, index] for index in range(3)]


def _detail(channel: Picture, word: Written, window: int) -> NDArray[np.float64]:
    """Return what is finer than letters in the box of a word."""
    values = channel.astype(np.float64)
    detail = values - cv2.blur(values, (window, window))
    return detail[word.box.top : word.box.bottom + 1, word.box.left : word.box.right + 1]


def _correlation(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    one, other = one - one.mean(), other - other.mean()
    size = float(np.sqrt((one * one).sum() * (other * other).sum()))
    return float((one * other).sum()) / size if size else 0.0


def _words(text: str) -> set[str]:
    """Return the words of a line, and the whole line as one: a gap between letters is no other word."""
    parts = [plain(part) for part in text.split()]
    return {word for word in [*parts, "".join(parts)] if word}


def _cuts(picture: Picture, word: Written) -> Iterator[Picture]:
    place = word.box.grown(_AROUND).within(*picture.shape[:2])
    assert place is not None
    piece = picture[place.top : place.bottom + 1, place.left : place.right + 1]
    ink = np.zeros(piece.shape[:2], bool)
    top, left = word.box.top - place.top, word.box.left - place.left
    ink[top : top + word.ink.shape[0], left : left + word.ink.shape[1]] = word.ink
    channels = _channels(piece)
    differences = [float(channel[ink].mean()) - float(channel[~ink].mean()) for channel in channels]
    best = int(np.argmax(np.abs(differences)))
    grey = channels[best] if differences[best] < 0 else 255 - channels[best]
    upright = np.rot90(grey, -(word.style.turn // 90)).astype(np.float32)
    low, high = np.percentile(upright, (1, 99))
    stretched = np.clip((upright - low) * (255 / max(high - low, 1)), 0, 255)
    for smoothed in _SMOOTHED:
        soft = cv2.GaussianBlur(stretched, (0, 0), smoothed) if smoothed else stretched
        for scale in _SCALES:
            large = cv2.resize(soft, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
            yield np.clip(large, 0, 255).astype(np.uint8)


def _tesseract(files: Sequence[Path], listing: Path) -> list[str]:
    """Read each picture as one line of text; all in one process, whose start takes longer than a word."""
    if not files:
        return []
    listing.write_text("".join(f"{file}\n" for file in files))
    done = subprocess.run(
        ["tesseract", str(listing), "stdout", "--psm", "7", "--dpi", "150", "-l", "eng"],
        capture_output=True,
        check=True,
        env={"OMP_THREAD_LIMIT": "1", "PATH": os.environ["PATH"]},
    )
    pages = done.stdout.decode().split(_PAGE)[: len(files)]
    if len(pages) != len(files):
        raise RuntimeError("tesseract did not read every picture")
    return pages
