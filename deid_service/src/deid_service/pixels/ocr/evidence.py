"""What counts as text: the line between a name and a rib that looks like a letter.

A detector that misses nothing also frames vessels, gantry rings and skull outlines; the reader then takes nearly all of
them for one character. So two readable characters are text, one alone must be of a letter's size and read with
certainty, and writing that cannot be read counts where the detector is sure and the box has the shape of a line.
The limits were set by measuring: see "What the OCR finds" in ``docs/pixels.md``.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterable
from difflib import SequenceMatcher
from typing import Final

from deid_service.pixels.ocr.engine import Word

__all__ = ["is_read", "is_read_badly", "is_read_well", "is_text", "prepared_seeds"]

_READ: Final = 0.6
_READ_BADLY: Final = 0.4
_LONE_READ_BADLY: Final = 0.8
_READ_WELL: Final = 0.75
_SHORT_READ_WELL: Final = 0.85
_DETECTED: Final = 0.5
_SHORT_DETECTED: Final = 0.65
_SEED: Final = 0.3
_LIKE_A_SEED: Final = 0.7
_LONE: Final = 0.9
_LONE_DETECTED: Final = 0.6
_LONE_HEIGHT: Final = 48
_UNREAD_DETECTED: Final = 0.75
_UNREAD_HEIGHT: Final = 48
_UNREAD_SHAPE: Final = 2.0
_HUGE_SHARE: Final = 0.1
_NARROWEST_LETTER: Final = 0.25
_SHORT: Final = 3
_LONG: Final = 5
_SHORT_HEIGHT: Final = 40
_TALLEST: Final = 80
_ROUND: Final = frozenset("0o8deqcgpbu69")
_RINGS: Final = frozenset("0o")
_STROKES: Final = frozenset("0o8qcpbu691ilj7tfv")
_BARS: Final = frozenset("il1")
_TICK: Final = 10
_CERTAIN: Final = 0.99
_SHORTEST_SEED: Final = 3


def is_read(word: Word) -> bool:
    """Tell whether an engine read letters, and not only saw that there may be some.

    In a picture of strokes alone much looks like writing, folds of a brain like "he"; what could not be read there is
    no find, nor is what is short and was not read well.
    """
    letters = len(_letters(word.text))
    return letters > 1 and word.confidence >= (_READ_WELL if letters <= _SHORT else _READ)


def is_read_well(word: Word) -> bool:
    """Tell whether an engine read letters with certainty.

    Where pixels of one value are shown alone, or each pixel against its neighbourhood, outlines and chance make marks
    as plain as letters; a few of them are read as a word, but not well.
    """
    letters = len(_letters(word.text))
    return letters > 1 and word.confidence >= (_READ_WELL if letters >= _LONG else _SHORT_READ_WELL)


def is_read_badly(word: Word) -> bool:
    """Tell whether an engine read anything like letters: enough for what lies where a line of text goes on."""
    letters = _letters(word.text)
    return word.confidence >= (_READ_BADLY if len(letters) > 1 else _LONE_READ_BADLY) and bool(letters)


def is_text(word: Word, seeds: Collection[str], area: int) -> bool:
    """Tell whether a find is to be taken for text.

    Parameters
    ----------
    word : Word
        The find, its box in pixels of the frame.
    seeds : collection of str
        What the header says about the patient, from :func:`prepared_seeds`.
    area : int
        Pixels of the frame.

    Returns
    -------
    bool
        True also for what merely resembles one of the seeds.
    """
    letters = _letters(word.text)
    if word.confidence >= _SEED and len(letters) > 1 and _like_a_seed(letters, seeds):
        return True
    width, height = word.box.right - word.box.left + 1, word.box.bottom - word.box.top + 1
    short, long = min(width, height), max(width, height)
    if not letters or (len(letters) > 1 and word.confidence < _READ):
        return word.detection >= _UNREAD_DETECTED and short <= _UNREAD_HEIGHT and long >= _UNREAD_SHAPE * short
    if len(letters) <= _SHORT and short <= _TICK and _BARS.issuperset(letters):
        return False  # marks of a scale; of those that are as fine as letters, each look sees others
    if len(letters) == 1:
        return word.confidence >= _LONE and word.detection >= _LONE_DETECTED and long <= _LONE_HEIGHT
    if long < _NARROWEST_LETTER * len(letters) * short:
        return False
    if len(letters) >= _SHORT and word.confidence >= _CERTAIN and not _STROKES.issuperset(letters):
        return True  # however large
    if width * height > _HUGE_SHARE * area:
        return len(letters) >= _LONG and word.confidence >= _LONE and not _ROUND.issuperset(letters)
    if short > _TALLEST and word.confidence < _LONE:
        return False  # large letters are read well: the laces of a shoe are not
    if short > _SHORT_HEIGHT and (_RINGS if word.confidence >= _LONE else _ROUND).issuperset(letters):
        return False  # tubes in a row, seen from above
    if len(letters) <= _SHORT and short > _SHORT_HEIGHT:
        # Rings and ribs are read as a few round or straight strokes, and large letters are read well.
        sure = word.detection >= _DETECTED and word.confidence >= _READ_WELL
        return sure and short <= _TALLEST and not (_ROUND.issuperset(letters) or _STROKES.issuperset(letters))
    if len(letters) <= _SHORT:
        return word.confidence >= _READ_WELL or word.detection >= _SHORT_DETECTED
    return word.confidence >= _READ_WELL or word.detection >= _DETECTED or len(letters) >= _LONG


def prepared_seeds(values: Iterable[str]) -> frozenset[str]:
    """Return the parts of a header's identifiers that are worth looking for.

    Parameters
    ----------
    values : iterable of str
        Names, numbers, dates as they stand in the header.

    Returns
    -------
    frozenset of str
        Their parts of at least three letters or digits, in one case and without accents.
    """
    return frozenset(
        letters
        for value in values
        for part in [*value.replace("^", " ").replace("=", " ").split(), value]
        if len(letters := _letters(part)) >= _SHORTEST_SEED
    )


def _letters(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text).casefold()
    return "".join(character for character in plain if character.isalnum())


def _like_a_seed(letters: str, seeds: Collection[str]) -> bool:
    for seed in seeds:
        if seed in letters:
            return True
        if abs(len(seed) - len(letters)) <= max(2, len(seed) // 2):
            match = SequenceMatcher(None, seed, letters, autojunk=False)
            if match.real_quick_ratio() >= _LIKE_A_SEED and match.ratio() >= _LIKE_A_SEED:
                return True
    return False
