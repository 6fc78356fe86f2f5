"""Free text that is kept, without the patient's own identifiers.

Descriptions make images findable, so rules like to keep them; people type names, numbers and dates into them. Here the
identifiers are taken from the instance's own header, and every word of a text that is one of them is cut out
(PS3.15 E.3.6, Clean Descriptors Option). Nothing is put in their place, so that a text stays legal for its value
representation and character set.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Final

from deid_service.ordinary_words import ORDINARY_WORDS, TITLES
from deid_service.wire import DEFAULT_CHARACTER_SET, Element, Source, character_set, decode

__all__ = [
    "MONTH_NAMES",
    "SHORTEST_BESIDE_DIGITS",
    "SHORTEST_IN_WORD",
    "STUCK_LETTERS",
    "PatientIdentifiers",
    "clean_text",
    "fold",
    "identifiers_of",
    "is_identifying",
    "short_written_dates",
    "split_words",
    "written_dates",
]

_PATIENT_NAMES: Final = frozenset({0x00100010, 0x00101001, 0x00101005, 0x00101060})
_PATIENT_IDS: Final = frozenset(
    {
        0x00080050,  # Accession Number
        0x00100020,  # Patient ID
        0x00101000,  # Other Patient IDs
        0x00101050,  # Insurance Plan Identification
        0x00101090,  # Medical Record Locator
        0x00102154,  # Patient's Telephone Numbers
        0x00102155,  # Patient's Telecom Information
        0x00200010,  # Study ID
        0x00380010,  # Admission ID
        0x00380060,  # Service Episode ID
        0x00400009,  # Scheduled Procedure Step ID
        0x00400253,  # Performed Procedure Step ID
        0x00401001,  # Requested Procedure ID
        0x00402016,  # Placer Order Number / Imaging Service Request
        0x00402017,  # Filler Order Number / Imaging Service Request
    }
)
_PLACES: Final = frozenset({0x00080080, 0x00080081, 0x00081040, 0x00101040})  # cut as a whole phrase only
_BIRTH_DATE: Final = 0x00100030
_CHARACTER_SET: Final = 0x00080005
_WANTED: Final = _PATIENT_NAMES | _PATIENT_IDS | _PLACES
_Raw = tuple[int, str, bytes, tuple[str, ...]]
_LONGEST: Final = 1024

# Combining marks belong to the letter before them.
_MARKS: Final = (
    "\u0300-\u036f\u0591-\u05bd\u05bf\u05c1\u05c2\u0610-\u061a\u064b-\u065f\u0670"
    "\u0900-\u0903\u093a-\u094f\u0e31\u0e34-\u0e3a\u0e47-\u0e4e\u3099\u309a"
)
_WORD: Final = re.compile(f"[^\\W_](?:[^\\W_]|[{_MARKS}])*")
# Scripts that are written without spaces (or with endings stuck to the word): names are looked for inside words.
_UNSPACED: Final = re.compile("[\u0e00-\u0e7f\u1100-\u11ff\u2e80-\ud7ff\uf900-\ufaff]")
_NO_DECOMPOSITION: Final = str.maketrans(
    {"ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "\u0131": "i"}
)
_EXPANDED: Final = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "ø": "oe", "å": "aa", "æ": "ae"})
_SHORTEST_NAME: Final = 3
_SHORTEST_ID: Final = 4
_SHORTEST_INSIDE: Final = 6
_SHORTEST_JOINED: Final = 8
SHORTEST_BESIDE_DIGITS: Final = 5
"""Letters of a name that counts although digits are stuck to it."""

SHORTEST_IN_WORD: Final = 8
"""Letters of a name that counts with an initial or an ending stuck to it."""

STUCK_LETTERS: Final = 2
"""How many letters may be stuck to it: emustermann, Mustermanns. More make it another word."""

_MONTHS: Final = {
    name: number
    for number, names in enumerate(
        (
            "jan january januar janvier enero gennaio janeiro januari",
            "feb february februar fevrier febrero febbraio fevereiro februari",
            "mar march marz maerz mrz mars marzo marco maart",
            "apr april avril abril aprile",
            "may mai mayo maggio maio mei",
            "jun june juni juin junio giugno junho",
            "jul july juli juillet julio luglio julho",
            "aug august aout agosto augustus",
            "sep sept september septembre septiembre settembre setembro",
            "oct october okt oktober octobre octubre ottobre outubro",
            "nov november novembre noviembre novembro",
            "dec december dez dezember decembre diciembre dicembre dezembro",
        ),
        1,
    )
    for name in names.split()
}
MONTH_NAMES: Final = frozenset(_MONTHS)
"""Names of months, folded."""

_BORN: Final = frozenset("born dob birth birthdate geb geboren nee ne nato nata nacido nacida bday yob".split())  # noqa: SIM905
_DAY_MONTH_YEAR: Final = re.compile(r"(\d{1,2})([a-z]{3,9})(\d{4}|\d{2})")
_DIGITS: Final = re.compile(r"\d{8,}")
_LETTERS_BEFORE: Final = re.compile(r"^.*[a-z](?=\d)")
_LETTERS_AFTER: Final = re.compile(r"(?<=\d)(?!(?:st|nd|rd|th)$)[a-z].*$")
_BETWEEN_DATE_PARTS: Final = re.compile(r"[ .,/\-_]{1,3}")


def fold(word: str) -> str:
    """Return a word in the form in which words are compared: lower case, without accents.

    Parameters
    ----------
    word : str
        Any text.

    Returns
    -------
    str
    """
    if word.isascii():
        return word.lower()
    folded = unicodedata.normalize("NFKD", word.casefold()).casefold()
    if not _UNSPACED.search(folded):
        folded = "".join(letter for letter in folded if not unicodedata.combining(letter))
    else:
        folded = unicodedata.normalize("NFC", folded)
    return folded.translate(_NO_DECOMPOSITION)


def split_words(text: str) -> list[tuple[int, int, str]]:
    """Split a text into words.

    Parameters
    ----------
    text : str
        Any text.

    Returns
    -------
    list of (start, end, folded word)
    """
    return [(found.start(), found.end(), fold(found[0])) for found in _WORD.finditer(text)]


def _spellings(word: str) -> Iterator[str]:
    """Yield the folded forms of a word: Müller is also written Mueller."""
    yield fold(word)
    if not word.isascii():
        yield fold(unicodedata.normalize("NFC", word).casefold().translate(_EXPANDED))


class PatientIdentifiers:
    """What an instance's header says about who its patient is, ready to be looked for in texts.

    Parameters
    ----------
    values : iterable of (tag, value representation, text)
        Decoded values; those that identify nobody are skipped.

    Attributes
    ----------
    names : frozenset of str
        Folded words of the patient's names, all three groups, from 3 characters on and not ordinary.
    people : frozenset of str
        The same of everybody else who is named: physicians, operators, readers.
    weak : frozenset of str
        Words of either that are short or ordinary: identifying only beside another.
    unspaced : frozenset of str
        Names in scripts without spaces, from 2 characters on.
    ids : frozenset of str
        Numbers and other identifiers, letters and digits only, from 4 characters on.
    phrases : frozenset of str
        Addresses and institutions, letters and digits only, that count as a whole.
    dates : frozenset of str
        Dates as YYYYMMDD.
    numbers : frozenset of str
        The same as `ids`, lower case but as they are written in the header.
    pairs : frozenset of (str, str)
        Family and given name, folded, ordinary or not.
    joined : frozenset of str
        Family and given name run together, in both orders, from 8 characters on.
    birth_date : str
        Of the patient, as YYYYMMDD, or empty.
    """

    __slots__ = (
        "_digits",
        "_inside",
        "_long_names",
        "_longest",
        "_months",
        "_short_dates",
        "birth_date",
        "dates",
        "ids",
        "joined",
        "names",
        "numbers",
        "pairs",
        "people",
        "phrases",
        "unspaced",
        "weak",
    )

    def __init__(self, values: Iterable[tuple[int, str, str]]) -> None:
        names: set[str] = set()
        people: set[str] = set()
        weak: set[str] = set()
        unspaced: set[str] = set()
        ids: set[str] = set()
        phrases: set[str] = set()
        dates: set[str] = set()
        numbers: set[str] = set()
        digits: set[str] = set()
        pairs: set[tuple[str, str]] = set()
        self.birth_date = ""
        self._longest = 1
        for tag, vr, text in values:
            if tag in _PATIENT_NAMES or vr == "PN":
                if tag in _PATIENT_NAMES:
                    pairs.update(_pairs(text))
                    if not text.isascii():
                        pairs.update(_pairs(unicodedata.normalize("NFC", text).casefold().translate(_EXPANDED)))
                self._add_name(text, names if tag in _PATIENT_NAMES else people, weak, unspaced)
            elif tag in _PATIENT_IDS:
                for value in text.split("\\"):
                    # Numbers of orders and steps are often the name of the procedure.
                    if tag >> 16 != 0x0010 and not any(letter.isdigit() for letter in value):
                        continue
                    if self._add_compact(value, ids, 5 if tag == 0x00200010 else _SHORTEST_ID):
                        numbers.add(value.strip("\0 ").lower())
                        digits.update(_digits_alone(value))
            elif tag in _PLACES:
                for line in re.split(r"[\\\r\n]", text):
                    self._add_compact(line, phrases, 8)
            elif vr in ("DA", "DT"):
                for value in text.split("\\"):
                    date = _date_of(value)
                    if date:
                        dates.add(date)
                        if tag == _BIRTH_DATE:
                            self.birth_date = date
        self.names = frozenset(names)
        self.people = frozenset(people - names)
        self.weak = frozenset(weak - names - people)
        self.unspaced = frozenset(unspaced)
        self.ids = frozenset(ids)
        self.phrases = frozenset(phrases)
        self.dates = frozenset(dates)
        self.numbers = frozenset(numbers | digits)
        self._digits = frozenset(digits)
        self.pairs = frozenset(pairs)
        self.joined = frozenset(
            whole
            for family, given in pairs
            for whole in (family + given, given + family)
            if len(whole) >= _SHORTEST_JOINED and family != given and whole not in ORDINARY_WORDS
        )
        self._inside = tuple(value for value in ids if len(value) >= _SHORTEST_INSIDE and not value.isalpha())
        self._long_names = tuple(name for name in names if len(name) >= SHORTEST_IN_WORD)
        self._short_dates = frozenset(date[2:] for date in dates)
        self._months = frozenset(date[:6] for date in dates)

    def _add_name(self, text: str, words: set[str], weak: set[str], unspaced: set[str]) -> None:
        for component in re.split(r"[\^=\\]", text):
            for found in _WORD.finditer(component):
                if _UNSPACED.search(found[0]):
                    (unspaced if len(found[0]) > 1 else weak).add(fold(found[0]))
                    continue
                for word in _spellings(found[0]):
                    if word.isdigit():
                        continue
                    strong = len(word) >= _SHORTEST_NAME and word not in ORDINARY_WORDS and word not in TITLES
                    (words if strong else weak).add(word)
            parts = _WORD.findall(component)
            if 1 < len(parts) < 4 and re.fullmatch(r"[^\s,]+", component.strip()):  # O'Brien is also written OBrien
                joined = fold("".join(parts))
                if len(joined) > _SHORTEST_NAME and not _UNSPACED.search(joined):
                    words.add(joined)
                    self._longest = max(self._longest, len(parts))
        for group in text.split("="):
            family, _, given = group.partition("^")
            together = fold(family.strip() + given.split("^")[0].strip())
            if len(together) > 1 and _UNSPACED.search(together):
                unspaced.add(together)

    def _add_compact(self, text: str, ids: set[str], shortest: int) -> bool:
        parts = [fold(part) for part in _WORD.findall(text)]
        value = "".join(parts)
        if len(value) < shortest or value in ORDINARY_WORDS or len(set(value)) == 1:
            return False
        ids.add(value)
        self._longest = max(self._longest, min(len(parts), 12))
        bare = value.lstrip("0")
        if len(bare) > _SHORTEST_ID:
            ids.add(bare)
        return True

    def __bool__(self) -> bool:
        return bool(self.names or self.people or self.unspaced or self.ids or self.phrases or self.dates)

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Find the identifiers in a text.

        Parameters
        ----------
        text : str
            One value, decoded.

        Returns
        -------
        list of (start, end)
            In order, not overlapping. What belongs together is one span.
        """
        words = split_words(text)
        hit = [False] * len(words)
        self._find_names(words, hit, text)
        self._find_compact(words, hit)
        if self.dates and any(letter.isdigit() for letter in text):
            self._find_dates(words, hit, text)
        spans: list[tuple[int, int]] = []
        for index, (start, end, _) in enumerate(words):
            if not hit[index]:
                continue
            if spans and index and hit[index - 1] and _joins(text[spans[-1][1] : start]):
                spans[-1] = (spans[-1][0], end)
            else:
                spans.append((start, end))
        return _merged(spans, self._unspaced_spans(text)) if self.unspaced else spans

    def _find_names(self, words: list[tuple[int, int, str]], hit: list[bool], text: str) -> None:
        strong_at = []
        for index, (start, end, word) in enumerate(words):
            if word in self.names or word in self.people or self._holds_name(word):
                strong = True
            else:
                strong = not text[start:end].isascii() and any(
                    spelling in self.names or spelling in self.people for spelling in _spellings(text[start:end])
                )
            if strong:
                hit[index] = True
                strong_at.append(index)
        initials = {word[0] for word in (*self.names, *self.people, *self.weak)} if strong_at else set()
        for index in strong_at:
            for step in (-1, 1):
                other = index + step
                while 0 <= other < len(words) and not hit[other]:
                    word = words[other][2]
                    left, right = (other, other + 1) if step < 0 else (other - 1, other)
                    gap = text[words[left][1] : words[right][0]]
                    if len(gap) > 2 or "\\" in gap or "\n" in gap:
                        break
                    if not (word in self.weak or (len(word) == 1 and word in initials) or (word == "s" and "'" in gap)):
                        break
                    hit[other] = True
                    other += step
        if self.weak:
            for index in range(1, len(words)):
                word, before = words[index][2], words[index - 1][2]
                if word not in self.weak or hit[index] or len(text[words[index - 1][1] : words[index][0]]) > 2:
                    continue
                if before in TITLES and before not in self.weak:
                    hit[index] = True
                elif before in self.weak and before != word and len(word) > 1 and len(before) > 1:
                    hit[index] = hit[index - 1] = True

    def _holds_name(self, word: str) -> bool:
        """Tell whether a name of the patient is stuck to digits (mueller2), or to a letter or two if it is long."""
        if len(word) <= SHORTEST_BESIDE_DIGITS:
            return False
        letters = word.strip("0123456789")
        if len(letters) != len(word) and len(letters) >= SHORTEST_BESIDE_DIGITS and letters in self.names:
            return True
        return len(letters) > SHORTEST_IN_WORD and any(
            name in letters for name in self._long_names if len(letters) - len(name) <= STUCK_LETTERS
        )

    def _find_compact(self, words: list[tuple[int, int, str]], hit: list[bool]) -> None:
        inside = self._inside if not self.joined else (*self._inside, *self.joined)
        for length in range(1, min(self._longest + 2, len(words)) + 1):
            for index in range(len(words) - length + 1):
                joined = "".join(word for _, _, word in words[index : index + length])
                found = (
                    joined in self.ids
                    or joined in self._digits
                    or joined in self.phrases
                    or (length > 1 and joined in self.names)
                )
                # What is found in fewer words is not looked for in more.
                if found or (
                    len(joined) > _SHORTEST_INSIDE
                    and not any(hit[index : index + length])
                    and any(value in joined for value in inside)
                ):
                    hit[index : index + length] = [True] * length

    def _find_dates(self, words: list[tuple[int, int, str]], hit: list[bool], text: str) -> None:
        for index, (_, _, word) in enumerate(words):
            if any(date in self.dates for date in _dates_in_word(word)) or any(
                date in self._short_dates for date in _short_dates_in_word(word)
            ):
                hit[index] = True
            if self.birth_date and word == self.birth_date[:4] and index and words[index - 1][2] in _BORN:
                hit[index] = True
            trio = words[index : index + 3]
            if len(trio) == 3 and all(
                _BETWEEN_DATE_PARTS.fullmatch(text[a[1] : b[0]]) for a, b in itertools.pairwise(trio)
            ):
                parts = [part for _, _, part in trio]
                if not parts[0].isalpha():
                    parts[0] = _LETTERS_BEFORE.sub("", parts[0])
                parts[2] = _LETTERS_AFTER.sub("", parts[2])
                if any(date in self.dates for date in written_dates(*parts)) or any(
                    date in self._short_dates for date in short_written_dates(*parts)
                ):
                    hit[index : index + 3] = [True] * 3
            elif word in _MONTHS and len(trio) > 1 and f"{trio[1][2]}{_MONTHS[word]:02}" in self._months:
                hit[index : index + 2] = [True] * 2

    def _unspaced_spans(self, text: str) -> list[tuple[int, int]]:
        folded = text.lower()
        if len(folded) != len(text):
            folded = text
        found = []
        for name in self.unspaced:
            for needle in {name, unicodedata.normalize("NFC", name), unicodedata.normalize("NFD", name)}:
                at = folded.find(needle)
                while at >= 0:
                    found.append((at, at + len(needle)))
                    at = folded.find(needle, at + len(needle))
        return found


def _pairs(text: str) -> Iterator[tuple[str, str]]:
    """Yield the family and the given name of each group of a name."""
    for group in re.split(r"[=\\]", text):
        family, _, rest = group.partition("^")
        parts = [_WORD.findall(part) for part in (family, rest.split("^")[0])]
        if all(parts):
            yield fold(parts[0][-1]), fold(parts[1][0])


def _joins(gap: str) -> bool:
    return len(gap) <= 3 and not any(sign in gap for sign in "\\\r\n()[]")


def _merged(*lists: list[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for start, end in sorted(span for spans in lists for span in spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _date_of(value: str) -> str:
    """Return YYYYMMDD of a DA or DT value, also in the old form with dots; empty if it is not a whole date."""
    digits = re.sub(r"[.\-/]", "", value.strip("\0 ")[:10])[:8]
    return digits if len(digits) == 8 and digits.isascii() and digits.isdigit() and digits[:4] > "1000" else ""


def _dates_in_word(word: str) -> Iterator[str]:
    """Yield the dates that one word may be, as YYYYMMDD."""
    if len(word) < 7:
        return
    for run in _DIGITS.findall(word):
        yield run[:8]
        if len(run) == 8:
            yield run[4:] + run[2:4] + run[:2]
            yield run[4:] + run[:2] + run[2:4]
    if found := _DAY_MONTH_YEAR.fullmatch(word):
        yield from written_dates(*found.groups())


def _short_dates_in_word(word: str) -> Iterator[str]:
    """Yield the dates that one word may be where the year has two digits, as YYMMDD."""
    if len(word) == 6 and word.isdigit():
        yield word
        yield word[4:] + word[2:4] + word[:2]
    elif 6 <= len(word) <= 13 and (found := _DAY_MONTH_YEAR.fullmatch(word)):
        yield from short_written_dates(*found.groups())


def _digits_alone(value: str) -> Iterator[str]:
    """Yield an identifier as somebody writes it who leaves out its letters, separators or leading zeros."""
    bare = "".join(_WORD.findall(value)).lower()
    digits = re.sub("[^0-9]", "", value)
    whole = bare.lstrip("0")
    for form in {whole, digits, digits.lstrip("0")} - {bare}:
        if len(form) >= (5 if form == whole else _SHORTEST_INSIDE) and form.isascii() and len(set(form)) > 2:
            yield form


def written_dates(first: str, second: str, third: str) -> Iterator[str]:
    """Yield the dates that three parts may mean, as YYYYMMDD: year first or last, days before months or after.

    Parameters
    ----------
    first, second, third : str
        Folded words: numbers, or one of them the name of a month.

    Yields
    ------
    str
    """
    parts = [f"{_MONTHS[part]:02}" if part in _MONTHS else _ordinal(part) for part in (first, second, third)]
    if not all(part.isascii() and part.isdigit() for part in parts):
        return
    a, b, c = (part.zfill(2) for part in parts)
    if len(a) == 4 and len(b) == len(c) == 2:
        yield a + b + c
        yield a + c + b
    elif len(c) == 4 and len(a) == len(b) == 2:
        yield c + b + a
        yield c + a + b


def short_written_dates(first: str, second: str, third: str) -> Iterator[str]:
    """Yield the dates that three parts may mean where the year has two digits, as YYMMDD.

    Parameters
    ----------
    first, second, third : str
        Folded words, as for `written_dates`.

    Yields
    ------
    str
    """
    parts = [f"{_MONTHS[part]:02}" if part in _MONTHS else _ordinal(part) for part in (first, second, third)]
    if all(len(part) <= 2 and part.isascii() and part.isdigit() for part in parts):
        a, b, c = (part.zfill(2) for part in parts)
        yield from (a + b + c, c + b + a, c + a + b)


def _ordinal(part: str) -> str:
    return part[:-2] if part[-2:] in ("st", "nd", "rd", "th") else part


_NOTHING: Final = PatientIdentifiers(())


def is_identifying(tag: int, vr: str) -> bool:
    """Tell whether an element's value goes into :class:`PatientIdentifiers`."""
    return vr in ("PN", "DA", "DT") or tag in _WANTED


def identifiers_of(source: Source, *, dates: bool = True) -> PatientIdentifiers:
    """Collect the identifiers of an instance from its header, at every depth.

    Parameters
    ----------
    source : Source
        The original instance.
    dates : bool, optional
        Whether its dates count; they do not where the rules keep dates as they are.

    Returns
    -------
    PatientIdentifiers
        The same object for instances that say the same, for example those of one series.
    """
    raw: list[_Raw] = []
    if source.segments is None:
        _collect(source, source.elements, DEFAULT_CHARACTER_SET, raw, dates)
        return _compiled(tuple(dict.fromkeys(raw)))
    codecs: tuple[str, ...] = DEFAULT_CHARACTER_SET

    def said(elements: Sequence[Element]) -> list[_Raw]:
        collected: list[_Raw] = []
        _collect(source, elements, codecs, collected, dates)
        return collected

    for segment in source.segments:
        if isinstance(segment, Element):
            codecs = _collect(source, (segment,), codecs, raw, dates)
        else:
            raw += segment.derived((_collect, codecs, dates), said)  # the character set is in no run
    return _compiled(tuple(dict.fromkeys(raw)))


def _collect(
    source: Source,
    elements: Sequence[Element],
    codecs: tuple[str, ...],
    raw: list[_Raw],
    dates: bool,
) -> tuple[str, ...]:
    """Collect what may identify the patient; return the character set that holds in the end."""
    data = source.data
    for element in elements:
        if element.items is not None:
            for item in element.items:
                _collect(source, item.elements, codecs, raw, dates)
            continue
        tag, vr = element.tag, element.vr
        if tag == _CHARACTER_SET:
            codecs = character_set(source.value(element))
        elif (vr == "PN" or tag in _WANTED or (dates and (vr in ("DA", "DT")))) and (
            element.value_end - element.value_start <= _LONGEST
        ):
            value = data[element.value_start : element.value_end]
            raw.append((tag, vr, value[:10] if vr == "DT" else value, codecs))
    return codecs


@lru_cache(maxsize=512)
def _compiled(raw: tuple[_Raw, ...]) -> PatientIdentifiers:
    return PatientIdentifiers((tag, vr, decode(value, codecs)) for tag, vr, value, codecs in raw)


def clean_text(text: str, identifiers: PatientIdentifiers) -> str:
    r"""Cut the identifiers out of a text, word by word.

    Case and accents do not count, and neither does how a date is written. Short and ordinary words are only cut beside
    another part of a name or after a form of address. What is left keeps its characters; spaces that stood around
    what went become one.

    Parameters
    ----------
    text : str
        One or several values of an element, decoded.
    identifiers : PatientIdentifiers
        From :func:`identifiers_of`.

    Returns
    -------
    str
        The text itself if there was nothing to cut.
    """
    return _cleaned(text, identifiers) if len(text) <= 256 else _uncached(text, identifiers)


@lru_cache(maxsize=4096)
def _cleaned(text: str, identifiers: PatientIdentifiers) -> str:
    return _uncached(text, identifiers)


def _uncached(text: str, identifiers: PatientIdentifiers) -> str:
    while spans := identifiers.spans(text):  # what stood apart may have come together
        text = _cut(text, spans)
    return text


def _cut(text: str, spans: list[tuple[int, int]]) -> str:
    kept = ""
    position = 0
    for start, end in spans:
        kept = _append(kept, text[position:start])
        position = end
    return _append(kept, text[position:]).strip(" ")


def _append(kept: str, more: str) -> str:
    """Join what stood before a cut and after it, without doubling spaces and separators."""
    if not kept:
        return more.lstrip(" ,;^=-_/")
    if kept[-1] in "([" and more[:1] in (")", "]"):
        return _append(kept[:-1], more[1:])
    if kept[-1] == more[:1] and kept[-1] in " ,;:-_/^=.":
        return kept + more[1:]
    if kept[-1] in " ([" and more[:1] in (" ", ",", ";", "."):
        return kept + more.lstrip(" ") if kept[-1] != " " else kept.rstrip(" ") + more
    return kept + more
