"""DICOM tags, the paths that lead to them, and the names that people give them.

Keywords are those of DICOM PS3.6 as pydicom's dictionary holds them.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from pydicom._dicom_dict import RepeatersDictionary
from pydicom.datadict import keyword_dict, keyword_for_tag

from .errors import TagPathError

_HEX_TAG = re.compile(r"[0-9A-Fa-f]{8}")
_WORD = re.compile(r"[A-Za-z0-9]+")
_INDEX = re.compile(r"\[(%|[0-9]{1,9})\]")
_BY_FOLDED: dict[str, str] = {keyword.casefold(): keyword for keyword in keyword_dict if keyword}
_REPEATER_MASKS: dict[str, str] = {entry[4].casefold(): mask for mask, entry in RepeatersDictionary.items() if entry[4]}

MAX_STEPS = 32
"""Most parts of one tag path."""
MAX_ITEM = 999_999_999
"""Highest item number: PostgreSQL's paths hold 31 bits."""

A_TAG = "a DICOM keyword or 8 hexadecimal digits"


def known_keywords() -> tuple[str, ...]:
    """Return every DICOM keyword that names one tag, in alphabetical order."""
    return _sorted_keywords()


@lru_cache(maxsize=1)
def _sorted_keywords() -> tuple[str, ...]:
    return tuple(sorted(_BY_FOLDED.values()))


@lru_cache(maxsize=65536)
def keyword_of(tag: int) -> str:
    """Return the DICOM keyword of a tag, or an empty string if it has none (private tags never have one).

    Tags of repeating groups, such as (6002,3000) OverlayData, have the keyword that all of them share.
    """
    return keyword_for_tag(tag)


def tag_text(tag: int) -> str:
    """Return the shortest text that :func:`parse_tag` reads back: the keyword, or 8 upper-case hexadecimal digits."""
    keyword = keyword_of(tag)
    return keyword if keyword and keyword_dict.get(keyword) == tag else f"{tag:08X}"


def parse_tag(text: str) -> int:
    """Read one tag.

    Parameters
    ----------
    text
        A DICOM keyword in any case, or 8 hexadecimal digits (group and element).

    Returns
    -------
    int
        The tag, ``0xGGGGEEEE``.

    Raises
    ------
    TagPathError
        It is neither. The hint names the nearest keyword.
    """
    if _HEX_TAG.fullmatch(text):
        return int(text, 16)
    keyword = _BY_FOLDED.get(text.casefold())
    if keyword is not None:
        return keyword_dict[keyword]
    mask = _REPEATER_MASKS.get(text.casefold())
    if mask is not None:
        example = mask.replace("x", "0").upper()
        raise TagPathError(
            f"{text} is the keyword of many tags ({mask})", text=text, expected=(A_TAG,), hint=f"name one, as {example}"
        )
    nearest = nearest_keyword(text)
    raise TagPathError(
        f"{shorten(text)} is not a DICOM keyword" if text else "a tag is missing",
        text=text,
        expected=(A_TAG,),
        hint=f"did you mean {nearest}?" if nearest else "private tags are written as 8 hexadecimal digits",
    )


def nearest_keyword(word: str) -> str | None:
    """Return the known DICOM keyword nearest to a misspelt one, or None if nothing is near.

    Parameters
    ----------
    word
        What somebody wrote. Case does not count.
    """
    return nearest(word, known_keywords())


def nearest(word: str, candidates: Iterable[str]) -> str | None:
    """Return the candidate nearest to `word` regardless of case, or None if nothing is near.

    Parameters
    ----------
    word
        What somebody wrote.
    candidates
        The words that would have been right.
    """
    if not word or len(word) > 100:
        return None
    folded = {candidate.casefold(): candidate for candidate in candidates}
    found = difflib.get_close_matches(word.casefold(), folded, n=1, cutoff=0.7)
    return folded[found[0]] if found else None


def shorten(text: str, length: int = 60) -> str:
    """Return `text`, cut to at most `length` characters for use in a message."""
    return text if len(text) <= length else text[: length - 1] + "…"


class TagStep(NamedTuple):
    """One part of a :class:`TagPath`."""

    tag: int
    """The tag, ``0xGGGGEEEE``."""
    item: int | None = None
    """Which item of the sequence (or which value), from 0; None for every one."""


@dataclass(frozen=True, slots=True)
class TagPath:
    """The way to an element, through sequences: ``A``, ``00400275[0].00080100``, ``A[%].B``.

    Parameters
    ----------
    steps
        From the top level downwards, at least one and at most `MAX_STEPS`.

    Raises
    ------
    ValueError
        No step or too many, or a tag or item number out of range.

    Notes
    -----
    ``[n]`` picks one item of a sequence, from 0; ``[%]`` and no index both mean every item. On the last part of a path
    the index picks one value of a multi-valued element. ``str(path)`` is the canonical text:
    ``TagPath.parse(str(path)) == path``.
    """

    steps: tuple[TagStep, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.steps) <= MAX_STEPS:
            raise ValueError(f"a tag path has at least one part and at most {MAX_STEPS}")
        for step in self.steps:
            if not 0 <= step.tag <= 0xFFFFFFFF or not 0 <= (step.item or 0) <= MAX_ITEM:
                raise ValueError("a tag has 32 bits, and an item number 0 to 999,999,999")

    @classmethod
    def parse(cls, text: str) -> TagPath:
        """Read a tag path.

        Parameters
        ----------
        text
            Keywords (any case) or 8 hexadecimal digits each, joined by dots, with an optional index each.

        Returns
        -------
        TagPath
            The path.

        Raises
        ------
        TagPathError
            The text is no tag path; position and nearest keyword are given.
        """
        steps: list[TagStep] = []
        position = 0
        while True:
            if len(steps) == MAX_STEPS:
                raise TagPathError(f"a tag path has at most {MAX_STEPS} parts", text=text, position=position)
            word = _WORD.match(text, position)
            if word is None:
                found = f"{text[position]!r} cannot stand here" if position < len(text) else "a tag is missing"
                raise TagPathError(found, text=text, position=position, expected=(A_TAG,))
            try:
                tag = parse_tag(word[0])
            except TagPathError as error:
                raise TagPathError(
                    error.message, text=text, position=position, expected=error.expected, hint=error.hint
                ) from None
            position = word.end()
            item: int | None = None
            if text.startswith("[", position):
                index = _INDEX.match(text, position)
                if index is None:
                    raise TagPathError(
                        "the index is not readable",
                        text=text,
                        position=position,
                        expected=("[0], [1], ...", "[%] for every item"),
                    )
                item = None if index[1] == "%" else int(index[1])
                position = index.end()
            steps.append(TagStep(tag, item))
            if position == len(text):
                return cls(tuple(steps))
            if text[position] != ".":
                raise TagPathError(
                    f"{text[position]!r} cannot stand here",
                    text=text,
                    position=position,
                    expected=("a dot and a further tag", "an index as [0]", "the end of the tag path"),
                )
            position += 1

    def __str__(self) -> str:
        return ".".join(
            tag_text(step.tag) if step.item is None else f"{tag_text(step.tag)}[{step.item}]" for step in self.steps
        )


class PathStep(NamedTuple):
    """One part of the place of an element that really is in a dataset."""

    tag: int
    """The tag, ``0xGGGGEEEE``."""
    vr: str | None = None
    """Its value representation, two letters; None if unknown."""
    creator: str | None = None
    """For a private element, the value of its private creator element in the same item; None for every other."""
    item: int | None = None
    """For a sequence on the way down: which of its items, from 0. None for the element itself."""


ElementPath = tuple[PathStep, ...]
"""The place of an element, from the top level downwards; the last step is the element itself."""


def path_text(path: ElementPath) -> str:
    """Return the text of an element's place, for reports: ``RequestAttributesSequence[0].ScheduledProcedureStepID``.

    It never holds a value of the dataset, private creators included, and :meth:`TagPath.parse` reads it.
    """
    return ".".join(tag_text(step.tag) if step.item is None else f"{tag_text(step.tag)}[{step.item}]" for step in path)
