"""Another OCR engine than the one that removes text: Debian's tesseract, tried in several ways."""

from __future__ import annotations

import csv
import os
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import lru_cache
from io import BytesIO, StringIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deid_service.pixels.boxes import Box

_SCALE = 2
_ALIKE = 0.8
SHORT = 4
"""Words with fewer letters and digits occur by chance in what is read out of speckle: only their place counts."""


@dataclass(frozen=True)
class Read:
    """A word that was read.

    Attributes
    ----------
    text
        Its letters and digits, in lower case.
    box
        Where.
    """

    text: str
    box: Box


def read_with_tesseract(picture: NDArray[np.uint8], *, thoroughly: bool = False) -> tuple[Read, ...]:
    """Return every word that tesseract sees in a grey picture.

    Parameters
    ----------
    picture
        Shape (rows, columns).
    thoroughly
        Also with its greys turned round, and also as one block of text, beside words looked for anywhere.
    """
    ways = ((False, "11"), (True, "11"), (False, "6"))[: 3 if thoroughly else 1]
    pixels = np.ascontiguousarray(picture).tobytes()
    return tuple(word for way in ways for word in _read(pixels, picture.shape, *way))


@lru_cache(maxsize=64)
def _read(pixels: bytes, shape: tuple[int, int], turned: bool, layout: str) -> tuple[Read, ...]:
    picture = np.frombuffer(pixels, np.uint8).reshape(shape)
    image = Image.fromarray(255 - picture if turned else picture)
    image = image.resize((image.width * _SCALE, image.height * _SCALE), Image.Resampling.LANCZOS)
    buffer = BytesIO()
    image.save(buffer, "PNG")
    done = subprocess.run(
        ["tesseract", "stdin", "stdout", "--psm", layout, "--dpi", "150", "-l", "eng", "tsv"],
        input=buffer.getvalue(),
        capture_output=True,
        check=True,
        env={"OMP_THREAD_LIMIT": "1", "PATH": os.environ["PATH"]},
    )
    rows = csv.DictReader(StringIO(done.stdout.decode()), delimiter="\t", quoting=csv.QUOTE_NONE)
    words = []
    for row in rows:
        left, top, width, height = (int(row[name]) for name in ("left", "top", "width", "height"))
        for part in (row["text"] or "").split():
            if text := plain(part):
                last = (left + width) // _SCALE, (top + height) // _SCALE
                words.append(Read(text, Box(left // _SCALE, top // _SCALE, *last)))
    return tuple(words)


def seen(wanted: str, words: Iterable[Read], places: Iterable[Box] = ()) -> bool:
    """Tell whether a word, or one that nobody would take for another, is among those that were read.

    Parameters
    ----------
    wanted
        The word.
    words
        What was read.
    places
        Of a word of fewer than `SHORT` letters and digits: where it was read before.
    """
    text = plain(wanted)
    if len(text) < SHORT:
        there = tuple(places)
        return any(word.text == text and any(word.box.meets(place) for place in there) for word in words)
    return any(alike(text, word.text) for word in words)


def alike(wanted: str, read: str) -> bool:
    """Tell whether what was read holds the word, or is one that nobody would take for another; both as by `plain`."""
    return wanted in read or (
        abs(len(read) - len(wanted)) <= 2 and SequenceMatcher(None, wanted, read, autojunk=False).ratio() >= _ALIKE
    )


def plain(word: str) -> str:
    """Return the letters and digits of a word, in lower case."""
    return "".join(character for character in word.casefold() if character.isalnum())
