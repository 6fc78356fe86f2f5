"""What could be typed next in a query."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .errors import QueryError
from .nodes import EVERYTHING, Node, Or
from .query import A_CLOSING, A_CONDITION, AN_OPENING, CONNECTIVES, THE_END, parse, value_expected
from .tags import A_TAG, TagPath, known_keywords

_WORD_ENDS = " \t\r\n()\"',"
_COMMON = (
    "Modality",
    "PatientID",
    "PatientName",
    "PatientSex",
    "PatientBirthDate",
    "StudyDate",
    "StudyDescription",
    "StudyInstanceUID",
    "AccessionNumber",
    "SeriesDescription",
    "SeriesInstanceUID",
    "BodyPartExamined",
    "ProtocolName",
    "Manufacturer",
    "ManufacturerModelName",
    "SliceThickness",
    "ImageType",
    "SOPClassUID",
    "SOPInstanceUID",
)
_WORDS = frozenset({*CONNECTIVES, AN_OPENING, A_CLOSING})
_BACKSLASHED = re.compile(r"""\\([\\"'*])""")
_LAST_AND = re.compile(r"\bAND\s*$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ValueSlot:
    """A place in a query where a text value is being typed.

    Attributes
    ----------
    start
        Where the value begins, its opening quote included.
    typed
        What is there of it, without quote and backslashes.
    path
        The element that it is compared with.
    context
        What has to hold besides, as far as the text before says so; None if nothing, or if it cannot be told.
    """

    start: int
    typed: str
    path: TagPath
    context: Node | None


def complete(text: str, position: int | None = None, *, limit: int = 50) -> list[str]:
    """Return what could stand at a position of a query, most likely first.

    Parameters
    ----------
    text
        The query so far.
    position
        Offset of the cursor, from 0; the end of the text if absent.
    limit
        Most suggestions to return.

    Returns
    -------
    list of str
        Whole words to put in the place of the one that ends at the cursor (see :func:`word_start`): keywords that begin
        with it (those that are asked for most first), then keywords that contain it; or operators; or AND, OR, NOT and
        parentheses. Nothing inside a value.
    """
    position = len(text) if position is None else max(0, min(position, len(text)))
    start = word_start(text, position)
    typed = text[start:position]
    dot = text[:start].endswith(".")
    # Let the parser say what it expects where the word begins. A path goes on after its dot, as it began.
    before = text[:start]
    while dot and before and before[-1] not in _WORD_ENDS:
        before = before[:-1]
    return _matching(typed, _candidates(before))[:limit]


def word_start(text: str, position: int) -> int:
    """Return where the word that ends at `position` begins: after a space, a parenthesis, a quote, a comma or a dot."""
    start = position
    while start and text[start - 1] not in _WORD_ENDS and text[start - 1] != ".":
        start -= 1
    return start


def value_slot(text: str, position: int) -> ValueSlot | None:
    """Return what is known of the text value that ends at a position, or None where none is being typed.

    Parameters
    ----------
    text
        The query so far.
    position
        Offset of the cursor, from 0.
    """
    before = text[: max(0, min(position, len(text)))]
    start = len(before)
    typed = ""
    try:
        parse(before)
    except QueryError as error:
        if (
            error.position < len(before)
            and before[error.position] in "\"'"
            and value_expected(before[: error.position])
        ):
            # A quote that is still open.
            start, typed = error.position, _BACKSLASHED.sub(r"\1", before[error.position + 1 :])
    if start == len(before):
        while start and before[start - 1] not in _WORD_ENDS:
            start -= 1
        typed = before[start:]
    expected = value_expected(before[:start])
    if expected is None:
        return None
    path, condition_start = expected
    return ValueSlot(start, typed, path, _context(before[:condition_start]))


def _context(before: str) -> Node | None:
    joined = _LAST_AND.search(before)
    if joined is None:
        return None
    try:
        node = parse(before[: joined.start()])
    except QueryError:
        return None  # inside parentheses: what holds there cannot be told from what is before
    if node == EVERYTHING:
        return None
    # AND binds tighter than OR.
    return node.children[-1] if isinstance(node, Or) else node


def _candidates(before: str) -> list[str]:
    try:
        parse(before)
    except QueryError as error:
        if error.position < len(before):
            return []
        expected = error.expected
    else:
        expected = ("AND", "OR") if before.strip() else (A_CONDITION,)
    words: list[str] = []
    for each in expected:
        if each in (A_CONDITION, A_TAG):
            words.extend(_COMMON)
            words.extend(known_keywords())
        elif each != THE_END and (each in _WORDS or each.isalpha()):
            words.append(each)
    return words


def _matching(typed: str, candidates: list[str]) -> list[str]:
    folded = typed.casefold()
    candidates = list(dict.fromkeys(candidates))
    first = [word for word in candidates if word.casefold().startswith(folded)]
    return first + [word for word in candidates if folded in word.casefold() and not word.casefold().startswith(folded)]
