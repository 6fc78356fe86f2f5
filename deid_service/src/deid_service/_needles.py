"""What must not occur in a clean copy, in the forms in which it is searched for."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Set
from typing import Final

from deid_service.descriptors import (
    MONTH_NAMES,
    SHORTEST_BESIDE_DIGITS,
    SHORTEST_IN_WORD,
    STUCK_LETTERS,
    PatientIdentifiers,
    fold,
    short_written_dates,
    written_dates,
)

__all__ = ["Needles", "stands_in"]

_SHORTEST_NAME: Final = 4
_SHORTEST_PERSON: Final = 5
_SHORTEST_INSIDE: Final = 6  # an identifier that counts inside other strings
_SHORTEST_IN_BYTES: Final = 5
_MANY_BYTES: Final = 4096
_MONTH: Final = f"({'|'.join(sorted(MONTH_NAMES, key=len, reverse=True))})"
_DATES: Final = re.compile(
    r"(?<!\d)(?:(\d{4})(\d{2})(\d{2})|(\d{4})[-./ ](\d{1,2})[-./ ](\d{1,2})(?!\d)"
    r"|(\d{1,2})[-./ ]?(\d{1,2})[-./ ]?(\d{4})(?!\d)"
    rf"|(\d{{1,2}}(?:st|nd|rd|th)?)[-./ ]{{0,2}}{_MONTH}[-./, ]{{0,2}}(\d{{4}})(?!\d))"
    rf"|(?<![^\W\d_]){_MONTH}[-./ ]{{0,2}}(\d{{1,2}}(?:st|nd|rd|th)?)[-./, ]{{0,2}}(\d{{4}})(?!\d)"
)
# The same with two digits for the year: never without a sign between, and no part of a longer number with dots.
_SHORT_DATES: Final = re.compile(
    r"(?<![\d.])(?:(\d{1,2})([-./])(\d{1,2})\2(\d{2})"
    rf"|(\d{{1,2}}(?:st|nd|rd|th)?)[-./ ]{{0,2}}{_MONTH}[-./, ]{{0,2}}(\d{{2}}))(?![\d.]*\d)"
)
_NOT_ALPHANUMERIC: Final = bytes(code for code in range(128) if not chr(code).isalnum() and chr(code) != "\n")


class Needles:
    """What must not occur, in the forms in which it is searched for.

    Parameters
    ----------
    original : PatientIdentifiers
        Of the original.
    kept : PatientIdentifiers
        Of the copy's own places for them.
    """

    def __init__(self, original: PatientIdentifiers, kept: PatientIdentifiers) -> None:
        names = original.names - kept.names
        people = original.people - kept.people - kept.names
        self.names = {word for word in names if len(word) >= _SHORTEST_NAME}
        self.people = {word for word in people if len(word) >= _SHORTEST_PERSON}
        self.unspaced = original.unspaced - kept.unspaced
        self.phrases = {
            pattern
            for family, given in original.pairs - kept.pairs
            if len(family) + len(given) > _SHORTEST_NAME and family != given
            for between in ("^", " ", ", ", ",", "_", "-")
            for pattern in (f"{family}{between}{given}", f"{given}{between}{family}")
        }
        # A number that is a date, as study IDs often are, is judged as a date.
        left = original.ids - kept.ids - original.dates
        self.inside = {value for value in left if _is_telling(value)}
        self.numbers = {
            value for value in original.numbers - kept.numbers - original.dates if len(value) >= _SHORTEST_NAME
        }
        self.joined = [raw for _, raw in _pairs_of(original.joined - kept.joined) if len(raw) >= SHORTEST_IN_WORD]
        self.dates = original.dates - kept.dates
        self.years = {date[:4].encode() for date in self.dates}
        self.short_dates = {date[2:] for date in self.dates}
        self.short_years = [
            form.encode() for year in {date[2:4] for date in self.dates} for form in _beside_signs(year)
        ]
        self.whole = {value.encode() for value in self.numbers if len(value) >= _SHORTEST_INSIDE}
        self.birth_date = original.birth_date if original.birth_date != kept.birth_date else ""
        self.born = [form.encode() for form in _six_digits(self.birth_date)] if self.birth_date in self.dates else []
        self.numeric = {
            little: {"date": list(_date_numbers(self.dates, little)), "ID": list(_id_numbers(self.whole, little))}
            for little in (True, False)
        }
        self.named = _pairs_of(self.names)
        self.named_people = _pairs_of(self.people)
        self.phrased = _pairs_of(self.phrases)
        self.numbered = _pairs_of(self.numbers)
        self.contained = [value.encode() for value in self.inside if value.isascii()]
        self.in_bytes = {
            "name": [raw for _, raw in (*self.named, *self.phrased) if len(raw) >= _SHORTEST_IN_BYTES],
            "person": [raw for _, raw in self.named_people if len(raw) > _SHORTEST_IN_BYTES],
            "ID": [*self.contained, *(raw for _, raw in self.numbered if len(raw) >= _SHORTEST_INSIDE)],
            "date": [form.encode() for date in self.dates for form in _forms(date)],
        }

    def kinds_in_text(self, texts: bytes, *, coded: bool = False) -> set[str]:
        """Search values, one a line, lower case, in whatever ASCII-compatible encoding."""
        kinds = set()
        if any(raw in texts and stands_in(raw, texts) for _, raw in self.phrased):
            kinds.add("name")
        if any(
            raw in texts and (stands_in(raw, texts) if coded else _stands_out(word, raw, texts))
            for word, raw in self.named
            if not coded or len(raw) > _SHORTEST_NAME
        ):
            kinds.add("name")
        if not coded:
            if any(raw in texts and stands_in(raw, texts) for _, raw in self.named_people):
                kinds.add("person")
            if any(raw in texts and stands_in(raw, texts) for _, raw in self.numbered):
                kinds.add("ID")
        if self.contained or self.joined:
            squeezed = texts.translate(None, _NOT_ALPHANUMERIC)
            if any(raw in squeezed for raw in self.contained):
                kinds.add("ID")
            if not coded and any(raw in squeezed for raw in self.joined):
                kinds.add("name")
        if not coded and (
            (any(year in texts for year in self.years) and self.has_date(texts.decode("latin-1")))
            or (any(year in texts for year in self.short_years) and self.has_short_date(texts.decode("latin-1")))
            or any(raw in texts and stands_in(raw, texts) for raw in self.born)
        ):
            kinds.add("date")
        return kinds

    def kinds_in_decimals(self, value: bytes) -> set[str]:
        """Search values of DS and IS: a date as one number, or as year, month and day."""
        if not any(year in value for year in self.years):
            return set()
        parts = [part.strip(b"\0 ") for part in value.split(b"\\")]
        for index, part in enumerate(parts):
            if len(part) in (8, 12, 14) and part[:8].decode("latin-1") in self.dates and part.isdigit():
                return {"date"}
            if len(part) == 4 and part in self.years:
                three = [after.decode("latin-1") for after in parts[index : index + 3]]
                if len(three) == 3 and not self.dates.isdisjoint(written_dates(*three)):
                    return {"date"}
        return set()

    def kinds_in_numbers(self, value: bytes, *, little: bool) -> set[str]:
        """Search values of binary numbers, as they are written: dates and identifiers that somebody made numbers of."""
        return {kind for kind, needles in self.numeric[little].items() if any(needle in value for needle in needles)}

    def kinds_in_numerals(self, value: bytes) -> set[str]:
        """Search values of numbers, dates, times or UIDs, lower case: chance produces parts, hardly the whole."""
        kinds = set()
        if self.whole and not self.whole.isdisjoint(part.strip(b"\0 ") for part in value.split(b"\\")):
            kinds.add("ID")
        if any(raw in value and stands_in(raw, value) for _, raw in self.named):
            kinds.add("name")
        return kinds

    def kinds_in_string(self, text: str) -> set[str]:
        """Search a decoded value: accents and scripts without spaces."""
        kinds = set()
        folded = fold(text)
        words = set(re.findall(r"[^\W_]+", folded))
        if words & self.names or any(name in folded for name in self.unspaced):
            kinds.add("name")
        if any(_holds(word.strip("0123456789"), self.names) for word in words):
            kinds.add("name")
        if self.joined and any(raw.decode("latin-1") in "".join(re.findall(r"[^\W_]+", folded)) for raw in self.joined):
            kinds.add("name")
        if words & self.people:
            kinds.add("person")
        if (any(year.decode() in folded for year in self.years) and self.has_date(folded)) or (
            any(year.decode() in folded for year in self.short_years) and self.has_short_date(folded)
        ):
            kinds.add("date")
        return kinds

    def kinds_in_bytes(self, value: bytes) -> set[str]:
        """Search bytes of unknown meaning, lower case; also for text of two bytes a character."""
        kinds = set()
        shortest = _SHORTEST_IN_BYTES if len(value) <= _MANY_BYTES else _SHORTEST_INSIDE
        for form in (value, value.replace(b"\0", b"")) if b"\0" in value else (value,):
            for kind, needles in self.in_bytes.items():
                if any(needle in form for needle in needles if len(needle) >= shortest):
                    kinds.add(kind)
        return kinds

    def has_date(self, text: str) -> bool:
        """Tell whether one of the dates is written in a text, with four digits for the year."""
        for found in _DATES.finditer(fold(text)):
            parts = [part for part in found.groups() if part is not None]
            if not self.dates.isdisjoint(written_dates(*parts)):
                return True
            # Eight digits may also have the day first.
            digits = "".join(parts)
            run = len(digits) == 8 == found.end() - found.start() and digits.isdigit()
            if run and not self.dates.isdisjoint(written_dates(digits[:2], digits[2:4], digits[4:])):
                return True
        return False

    def has_short_date(self, text: str) -> bool:
        """Tell whether one of the dates is written in a text, with two digits for the year and signs between."""
        for found in _SHORT_DATES.finditer(fold(text)):
            first, _, second, third, *named = found.groups()
            parts = named if first is None else (first, second, third)
            if not self.short_dates.isdisjoint(short_written_dates(*parts)):
                return True
        return False


def _is_telling(value: str) -> bool:
    """Tell whether an identifier is long and varied enough to be no accident inside another string."""
    return len(value) >= _SHORTEST_INSIDE and not value.isalpha() and len(set(value)) > 2


def _pairs_of(words: Set[str]) -> list[tuple[str, bytes]]:
    """Pair each word with the bytes that it may be written in."""
    return [(word, raw) for word in words for raw in {word.encode(), word.encode("latin-1", "ignore")} if len(raw) > 3]


def _stands_out(word: str, raw: bytes, texts: bytes) -> bool:
    """Tell whether a name stands by itself, beside digits, or, if it is long, beside a letter or two."""
    if len(word) < SHORTEST_BESIDE_DIGITS:
        return stands_in(raw, texts)
    stuck = STUCK_LETTERS if len(word) >= SHORTEST_IN_WORD else 0
    position = texts.find(raw)
    while position >= 0:
        end = position + len(raw)
        before, after = texts[max(position - stuck - 1, 0) : position], texts[end : end + stuck + 1]
        if _letters(before[::-1]) + _letters(after) <= stuck:
            return True
        position = texts.find(raw, position + 1)
    return False


def _holds(word: str, names: Set[str]) -> bool:
    if len(word) < SHORTEST_BESIDE_DIGITS:
        return False
    return word in names or any(
        name in word for name in names if len(name) >= SHORTEST_IN_WORD and len(word) - len(name) <= STUCK_LETTERS
    )


def _letters(beside: bytes) -> int:
    """Count the letters with which a piece of text begins."""
    return next((at for at in range(len(beside)) if not beside[at : at + 1].isalpha()), len(beside))


def _beside_signs(year: str) -> Iterator[str]:
    for sign in "-./":
        yield f"{sign}{year}"
        yield f"{year}{sign}"
    for letter in sorted({name[-1] for name in MONTH_NAMES}):
        yield f"{letter}{year}"
    yield f" {year}"


def _six_digits(date: str) -> tuple[str, str]:
    return date[2:], date[6:] + date[4:6] + date[2:4]


def _date_numbers(dates: Set[str], little: bool) -> Iterator[bytes]:
    order = "<" if little else ">"
    for date in dates:
        year, month, day = int(date[:4]), int(date[4:6]), int(date[6:])
        yield struct.pack(f"{order}I", int(date))
        yield struct.pack(f"{order}f", int(date))
        yield struct.pack(f"{order}d", int(date))
        yield struct.pack(f"{order}3H", year, month, day)
        yield struct.pack(f"{order}3I", year, month, day)


def _id_numbers(numbers: Set[bytes], little: bool) -> Iterator[bytes]:
    order = "<" if little else ">"
    for number in numbers:
        if number.isdigit() and 6 <= len(number.lstrip(b"0")) <= 9:
            yield struct.pack(f"{order}I", int(number))
            yield struct.pack(f"{order}d", int(number))


def _forms(date: str) -> Iterator[str]:
    year, month, day = date[:4], date[4:6], date[6:]
    yield date
    for sign in "-./":
        yield f"{year}{sign}{month}{sign}{day}"
        yield f"{day}{sign}{month}{sign}{year}"
        yield f"{month}{sign}{day}{sign}{year}"


def stands_in(word: bytes, texts: bytes) -> bool:
    """Tell whether a word stands by itself."""
    position = texts.find(word)
    while position >= 0:
        before = texts[position - 1 : position]
        after = texts[position + len(word) : position + len(word) + 1]
        if not before.isalnum() and not after.isalnum():
            return True
        position = texts.find(word, position + 1)
    return False
