"""Another OCR engine than the one that removes text: Debian's tesseract, tried in several ways."""

from __future__ import annotations

import os
import subprocess
from difflib import SequenceMatcher
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_SCALE = 2
_ALIKE = 0.8


def read_with_tesseract(picture: NDArray[np.uint8], *, thoroughly: bool = False) -> set[str]:
    """Return every word that tesseract sees in a grey picture.

    Parameters
    ----------
    picture
        Shape (rows, columns).
    thoroughly
        Also with its greys turned round, and also as one block of text, beside words looked for anywhere.
    """
    words: set[str] = set()
    for turned, layout in ((False, "11"), (True, "11"), (False, "6"))[: 3 if thoroughly else 1]:
        image = Image.fromarray(255 - picture if turned else picture)
        image = image.resize((image.width * _SCALE, image.height * _SCALE), Image.Resampling.LANCZOS)
        buffer = BytesIO()
        image.save(buffer, "PNG")
        done = subprocess.run(
            ["tesseract", "stdin", "stdout", "--psm", layout, "--dpi", "150", "-l", "eng"],
            input=buffer.getvalue(),
            capture_output=True,
            check=True,
            env={"OMP_THREAD_LIMIT": "1", "PATH": os.environ["PATH"]},
        )
        words.update(done.stdout.decode().split())
    return {plain for word in words if (plain := _plain(word))}


def seen(wanted: str, words: set[str]) -> bool:
    """Tell whether a word, or one that nobody would take for another, is among those that were read."""
    plain = _plain(wanted)
    return any(
        plain in word
        or (abs(len(word) - len(plain)) <= 2 and SequenceMatcher(None, plain, word, autojunk=False).ratio() >= _ALIKE)
        for word in words
    )


def _plain(word: str) -> str:
    return "".join(character for character in word.casefold() if character.isalnum())
