"""The values that a query holds, and what it means for the text of an element to equal, exceed or precede one.

Everything is compared through text, folded by :func:`fold`; numeric elements through the decimal text of their value.
The regular expressions here are used as they stand by Python and by PostgreSQL, so that both agree on what is a number
or a date.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from ._wildcards import wildcard_match

MAX_WILDCARDS = 100
"""Most ``*`` in one value."""

NUMBER_PATTERN = r"[+-]?([0-9]{1,64}(\.[0-9]{0,64})?|\.[0-9]{1,64})(e[+-]?[0-9]{1,3})?"
"""What is a number, after folding. Digits and exponent are bounded so that comparing stays exact and cheap."""

DATE_PATTERN = (
    r"[0-9]{4}((0[1-9]|1[0-2])((0[1-9]|[12][0-9]|3[01])"
    r"(([01][0-9]|2[0-3])([0-5][0-9](([0-5][0-9]|60)(\.[0-9]{1,6})?)?)?)?)?)?([+-][0-9]{4})?"
    r"|[0-9]{4}\.(0[1-9]|1[0-2])\.(0[1-9]|[12][0-9]|3[01])"
)
"""What is a date or date time, partial or not: DICOM PS3.5 section 6.2, DA (with the old ``YYYY.MM.DD``) and DT."""

_NUMBER = re.compile(NUMBER_PATTERN)
_DATE = re.compile(DATE_PATTERN)
_DIGITS_AND_DOTS = re.compile(r"[0-9.]+")
_SURROGATES = re.compile("[\ud800-\udfff]")
_DATE_LITERALS = tuple(
    re.compile(form, re.ASCII)
    for form in (
        r"(\d{4})-(\d\d)(?:-(\d\d)(?:[T ](\d\d)(?::(\d\d)(?::(\d\d)(?:\.(\d{1,6}))?)?)?)?)?",
        r"(\d{4})(?:(\d\d)(?:(\d\d)(?:T?(\d\d)(?:(\d\d)(?:(\d\d)(?:\.(\d{1,6}))?)?)?)?)?)?",
    )
)


def fold_case(text: str) -> str:
    """Return `text` without NUL characters and case, every lone surrogate replaced by U+FFFD.

    PostgreSQL can hold neither NUL nor lone surrogates, and its idea of case differs from Python's: so folding happens
    here only, for documents and queries alike.
    """
    if not text.isascii():
        text = _SURROGATES.sub("\ufffd", text)
    return text.replace("\0", "").casefold()


def fold(text: str) -> str:
    """Return the text by which an element's value is compared: :func:`fold_case` without spaces at both ends.

    Such spaces are padding in almost every value representation (DICOM PS3.5 section 6.2).
    """
    return fold_case(text).strip(" ")


@dataclass(frozen=True, slots=True)
class TextPattern:
    """A text to compare with, any number of wildcards in it.

    Parameters
    ----------
    pieces
        The literal text between the wildcards: ``("ct",)`` is ``ct`` itself, ``("", "chest", "")`` is ``*chest*``.

    Raises
    ------
    ValueError
        There is no piece, or there are more than `MAX_WILDCARDS` wildcards.
    """

    pieces: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.pieces:
            raise ValueError("a text pattern has at least one piece")
        # Two wildcards side by side mean the same as one.
        inner = tuple(piece for piece in self.pieces[1:-1] if piece)
        if len(self.pieces) > 1:
            object.__setattr__(self, "pieces", (self.pieces[0], *inner, self.pieces[-1]))
        if len(self.pieces) - 1 > MAX_WILDCARDS:
            raise ValueError(f"more than {MAX_WILDCARDS} wildcards in one value")

    @classmethod
    def literal(cls, text: str) -> TextPattern:
        """Return the pattern that equals `text`, every ``*`` in it being an ordinary character."""
        return cls((text,))

    @property
    def is_literal(self) -> bool:
        """Whether there is no wildcard."""
        return len(self.pieces) == 1

    def folded(self) -> tuple[str, ...]:
        """Return the pieces as they are compared with folded values."""
        pieces = [fold_case(piece) for piece in self.pieces]
        pieces[0] = pieces[0].lstrip(" ")
        pieces[-1] = pieces[-1].rstrip(" ")
        return tuple(pieces)

    def matches(self, value: str) -> bool:
        """Tell whether a folded value is like this."""
        return wildcard_match(self.folded(), value)


@dataclass(frozen=True, slots=True)
class Number:
    """A number to compare with, exactly as written (``1`` and ``1.0`` are equal as numbers, but two texts).

    Parameters
    ----------
    text
        Decimal notation, perhaps with sign, fraction and exponent.

    Raises
    ------
    ValueError
        It is no number, or has more than 64 digits before or after the point or 3 in the exponent.
    """

    text: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", self.text.lower())
        if not _NUMBER.fullmatch(self.text):
            raise ValueError("not a number")

    @property
    def value(self) -> Decimal:
        """The exact value."""
        return Decimal(self.text)


def number_in(value: str) -> Decimal | None:
    """Return the number that a folded value of an element is, or None if it is none."""
    return Decimal(value) if _NUMBER.fullmatch(value) else None


@dataclass(frozen=True, slots=True)
class PartialDate:
    """A year, month, day, hour, minute, second or fraction of one.

    Parameters
    ----------
    digits
        ``YYYY``, ``YYYYMM`` and so on up to ``YYYYMMDDHHMMSSFFFFFF``, without anything between.

    Raises
    ------
    ValueError
        There is no such date.

    Notes
    -----
    A partial date, in a query or in an element, stands for its whole span, and a comparison is true only if it holds
    for every moment of both spans. So 2024 is neither before, nor after, nor on 2024-05-01, but 2024-05-01 is on 2024.
    UTC offsets are not used: times compare as written.
    """

    digits: str

    def __post_init__(self) -> None:
        digits = self.digits
        if not (digits.isascii() and digits.isdigit()) or len(digits) < 4 or (len(digits) < 14 and len(digits) % 2):
            raise ValueError("not a date")
        if len(digits) > 20:
            raise ValueError("a second has at most 6 decimals")
        pairs = [int(digits[start : start + 2]) for start in range(4, min(len(digits), 14), 2)]
        month, day, *time = pairs + [1] * (2 - len(pairs))
        try:
            date(int(digits[:4]), month, day)
        except ValueError:
            raise ValueError("no such day") from None
        if any(value > most for value, most in zip(time, (23, 59, 60), strict=False)):
            raise ValueError("no such time of day")

    @classmethod
    def parse(cls, text: str) -> PartialDate:
        """Read ``2024``, ``2024-01``, ``2024-01-31``, ``2024-01-31T12:30:05.5``, or these without ``-``, ``T``, ``:``.

        Raises
        ------
        ValueError
            The text is none of these, or there is no such date.
        """
        for form in _DATE_LITERALS:
            found = form.fullmatch(text)
            if found:
                return cls("".join(part for part in found.groups() if part))
        raise ValueError("not a date")

    def __str__(self) -> str:
        digits = self.digits
        text = "-".join(part for part in (digits[:4], digits[4:6], digits[6:8]) if part)
        if len(digits) > 8:
            text += "T" + ":".join(part for part in (digits[8:10], digits[10:12], digits[12:14]) if part)
        return f"{text}.{digits[14:]}" if len(digits) > 14 else text

    def is_before(self, other: str) -> bool:
        """Tell whether all of this is before all of `other`, both as digits."""
        common = min(len(self.digits), len(other))
        return self.digits[:common] < other[:common]

    def is_after(self, other: str) -> bool:
        """Tell whether all of this is after all of `other`, both as digits."""
        common = min(len(self.digits), len(other))
        return self.digits[:common] > other[:common]

    def holds(self, other: str) -> bool:
        """Tell whether all of `other`, as digits, is within this."""
        return other.startswith(self.digits)


def date_in(value: str) -> str | None:
    """Return the digits of the date (time) that a folded value of an element is, or None if it is none."""
    if not _DATE.fullmatch(value):
        return None
    digits = _DIGITS_AND_DOTS.match(value)
    assert digits is not None
    return digits[0].replace(".", "")


Value = TextPattern | Number | PartialDate
"""What a condition compares with."""


def any_matches(patterns: Iterable[TextPattern], value: str) -> bool:
    """Tell whether a folded value is like any of the patterns."""
    return any(pattern.matches(value) for pattern in patterns)
