"""A second look at the finished copy, by code that did not write it.

The copy is read to its last byte by a scanner that shares nothing with this package's reader and writer (and by
pydicom, once for every new layout), and all of it but the pixels is searched for what identified the patient before:
names in every spelling, numbers also inside other strings, dates as people write them, UIDs. What the copy
still holds in the identifier's own place at the top level is there because the rules keep it and is no leak. A hit
means that the instance is refused.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from functools import lru_cache
from io import BytesIO
from typing import Final

from dicom_query import tag_text
from pydicom import dcmread
from pydicom.charset import convert_encodings, decode_bytes
from pydicom.datadict import dictionary_has_tag, dictionary_VR

from deid_service.descriptors import (
    MONTH_NAMES,
    PatientIdentifiers,
    fold,
    identifiers_of,
    is_identifying,
    written_dates,
)
from deid_service.errors import Refused
from deid_service.wire import Element, Source

__all__ = ["verify"]

_SHORTEST_NAME: Final = 4
_SHORTEST_PERSON: Final = 5
_SHORTEST_INSIDE: Final = 6  # an identifier that counts inside other strings
_SHORTEST_IN_BYTES: Final = 5
_MANY_BYTES: Final = 4096
_LAYOUTS: Final = 10_000

_ITEM: Final = 0xFFFEE000
_ITEM_END: Final = 0xFFFEE00D
_SEQUENCE_END: Final = 0xFFFEE0DD
_NAMES: Final = frozenset({0x00100010, 0x00101001, 0x00101005, 0x00101060})
_BIRTH_DATE: Final = 0x00100030
_CHARACTER_SET: Final = 0x00080005
_SOP_INSTANCE: Final = 0x00080018
_PIXELS: Final = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
_META: Final = frozenset(0x00020000 | number for number in (0x00, 0x01, 0x02, 0x03, 0x10, 0x12, 0x13))
# Words of a vocabulary, or our own: a Mr. Sharp is no reason to hold back every image of a vendor's sharp kernel.
_CODED: Final = frozenset(
    {
        0x00080070,
        0x00080100,
        0x00080102,
        0x00080104,
        0x00081090,
        0x00120063,
        0x00181020,
        0x00181210,
        0x00620009,
        0x00660036,
    }
)
_LONG: Final = frozenset(
    name.encode() for name in ("OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV")
)
_FREE: Final = frozenset((b"AE", b"LO", b"LT", b"PN", b"SH", b"ST", b"UC", b"UR", b"UT"))
_BYTES: Final = frozenset((b"OB", b"OL", b"OV", b"OW", b"UN"))
_NUMERALS: Final = frozenset((b"AS", b"DS", b"IS", b"TM"))
_UID_RUNS: Final = re.compile(rb"[0-9]+(?:\.[0-9]+){3,}")
_MONTH: Final = f"({'|'.join(sorted(MONTH_NAMES, key=len, reverse=True))})"
_DATES: Final = re.compile(
    r"(?<!\d)(?:(\d{4})[-./ ]?(\d{1,2})[-./ ]?(\d{1,2})|(\d{1,2})[-./ ]?(\d{1,2})[-./ ]?(\d{4})"
    rf"|(\d{{1,2}}(?:st|nd|rd|th)?)[-./ ]{{0,2}}{_MONTH}[-./, ]{{0,2}}(\d{{4}}))"
    rf"|(?<![^\W\d_]){_MONTH}[-./ ]{{0,2}}(\d{{1,2}}(?:st|nd|rd|th)?)[-./, ]{{0,2}}(\d{{4}})"
)
_NOT_ALPHANUMERIC: Final = bytes(code for code in range(128) if not chr(code).isalnum() and chr(code) != "\n")

_Entry = tuple[int, bytes, int, int]
_HEADERS: Final = {True: struct.Struct("<HH2sH"), False: struct.Struct(">HH2sH")}
_TAG_LENGTHS: Final = {True: struct.Struct("<HHI"), False: struct.Struct(">HHI")}
_LENGTHS: Final = {True: struct.Struct("<I"), False: struct.Struct(">I")}
_seen_layouts: set[int] = set()


class _UnreadableError(Exception):
    """The copy is not what it should be."""


class _Scan:
    """A DICOM file as a flat list.

    Attributes
    ----------
    data : bytes
        What the positions point into.
    entries : list of (tag, value representation, start, end)
        Elements in the order of the file; items and the ends of sequences stand between them under their own tags.
    top : list of int
        Tags of the top level.
    values : dict of int to bytes
        Top-level values that say who the patient is.
    meta : dict of int to bytes
        File meta information.
    """

    def __init__(self, file: bytes) -> None:
        if file[:128].strip(b"\0") or file[128:132] != b"DICM":
            raise _UnreadableError("preamble")
        self.meta: dict[int, bytes] = {}
        position = 132
        while file[position : position + 2] == b"\x02\x00":
            group, number, vr, length = _HEADERS[True].unpack_from(file, position)
            start = position + 8
            if vr in _LONG:
                (length,) = _LENGTHS[True].unpack_from(file, position + 8)
                start = position + 12
            position = start + length
            self.meta[group << 16 | number] = file[start:position]
        syntax = self.meta.get(0x00020010, b"").rstrip(b"\0 ")
        self.explicit = syntax not in (b"1.2.840.10008.1.2", b"1.2.840.113619.5.2")
        self.little = syntax != b"1.2.840.10008.1.2.2"
        self.deflated = syntax in (b"1.2.840.10008.1.2.1.99", b"1.2.840.10008.1.2.4.95", b"1.2.840.10008.1.2.4.205")
        self.data = file
        if self.deflated:
            self.data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(memoryview(file)[position:])
            position = 0
        self.entries: list[_Entry] = []
        self.top: list[int] = []
        end = self._elements(position, len(self.data), self.explicit, self.little, self.top, delimited=False)
        if end != len(self.data):
            raise _UnreadableError("length")

    def _elements(
        self, position: int, end: int, explicit: bool, little: bool, top: list[int] | None, *, delimited: bool
    ) -> int:
        """Read elements up to `end` or the item's delimiter; return where they end."""
        data, entries = self.data, self.entries
        headers, lengths = (_HEADERS if explicit else _TAG_LENGTHS)[little], _LENGTHS[little]
        last = -1
        while position < end:
            if explicit:
                group, number, vr, length = headers.unpack_from(data, position)
                tag = group << 16 | number
                start = position + 8
                if tag == _ITEM_END and delimited:
                    return start
                if vr in _LONG:
                    (length,) = lengths.unpack_from(data, start)
                    start += 4
            else:
                group, number, length = headers.unpack_from(data, position)
                tag = group << 16 | number
                start = position + 8
                if tag == _ITEM_END and delimited:
                    return start
                vr = _dictionary_vr(tag)
            if tag <= last or group == 0xFFFE:
                raise _UnreadableError("order")
            last = tag
            if top is not None:
                top.append(tag)
            if vr == b"SQ" or (length == 0xFFFFFFFF and vr == b"UN"):
                entries.append((tag, b"SQ", start, start))
                inner = (explicit, little) if vr == b"SQ" else (False, True)
                position = self._items(start, end, length, *inner)
                entries.append((_SEQUENCE_END, b"", position, position))
                continue
            stop = self._fragments(start, end, little) if length == 0xFFFFFFFF else start + length
            if stop > end:
                raise _UnreadableError("length")
            entries.append((tag, vr, start, stop))
            position = stop
        if delimited:
            raise _UnreadableError("delimiter")
        return position

    def _items(self, position: int, end: int, length: int, explicit: bool, little: bool) -> int:
        delimited = length == 0xFFFFFFFF
        stop = end if delimited else position + length
        if stop > end:
            raise _UnreadableError("length")
        while position < stop:
            group, number, size = _TAG_LENGTHS[little].unpack_from(self.data, position)
            position += 8
            tag = group << 16 | number
            if tag == _SEQUENCE_END and delimited:
                return position
            if tag != _ITEM:
                raise _UnreadableError("item")
            self.entries.append((_ITEM, b"", position, position))
            item_end = stop if size == 0xFFFFFFFF else position + size
            if item_end > stop:
                raise _UnreadableError("length")
            position = self._elements(position, item_end, explicit, little, None, delimited=size == 0xFFFFFFFF)
            if size != 0xFFFFFFFF and position != item_end:
                raise _UnreadableError("length")
        if delimited or position != stop:
            raise _UnreadableError("delimiter")
        return position

    def _fragments(self, position: int, end: int, little: bool) -> int:
        while position + 8 <= end:
            group, number, size = _TAG_LENGTHS[little].unpack_from(self.data, position)
            position += 8
            if (group, number) == (0xFFFE, 0xE0DD):
                return position
            if (group, number) != (0xFFFE, 0xE000):
                break
            position += size
        raise _UnreadableError("fragments")


@lru_cache(maxsize=20_000)
def _dictionary_vr(tag: int) -> bytes:
    """Return the value representation of an element that does not state it."""
    if tag & 0x00010000:
        return b"LO" if 0x10 <= tag & 0xFFFF <= 0xFF else b"UN"
    if not dictionary_has_tag(tag):
        return b"UN"
    return dictionary_VR(tag)[-2:].encode()


class _Needles:
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
        left = original.ids - kept.ids
        self.inside = {value for value in left if _is_telling(value)}
        self.numbers = {value for value in original.numbers - kept.numbers if len(value) >= _SHORTEST_NAME}
        self.dates = original.dates - kept.dates
        self.years = {date[:4].encode() for date in self.dates}
        self.whole = {value.encode() for value in self.numbers if len(value) >= _SHORTEST_INSIDE}
        self.birth_dates = original.dates if original.birth_year and original.birth_year != kept.birth_year else set()
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
        if any(raw in texts and _stands_in(raw, texts) for _, raw in self.phrased):
            kinds.add("name")
        if not coded:
            if any(raw in texts and _stands_in(raw, texts) for _, raw in self.named):
                kinds.add("name")
            if any(raw in texts and _stands_in(raw, texts) for _, raw in self.named_people):
                kinds.add("person")
            if any(raw in texts and _stands_in(raw, texts) for _, raw in self.numbered):
                kinds.add("ID")
        if self.contained:
            squeezed = texts.translate(None, _NOT_ALPHANUMERIC)
            if any(raw in squeezed for raw in self.contained):
                kinds.add("ID")
        if not coded and any(year in texts for year in self.years) and self.has_date(texts.decode("latin-1")):
            kinds.add("date")
        return kinds

    def kinds_in_numerals(self, value: bytes) -> set[str]:
        """Search a value of numbers or times, lower case: chance produces parts, hardly the whole."""
        if not self.whole:
            return set()
        return {"ID"} if not self.whole.isdisjoint(part.strip(b"\0 ") for part in value.split(b"\\")) else set()

    def kinds_in_string(self, text: str) -> set[str]:
        """Search a decoded value: accents and scripts without spaces."""
        kinds = set()
        folded = fold(text)
        words = set(re.findall(r"[^\W_]+", folded))
        if words & self.names or any(name in folded for name in self.unspaced):
            kinds.add("name")
        if words & self.people:
            kinds.add("person")
        if any(year.decode() in folded for year in self.years) and self.has_date(folded):
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
        return False


@lru_cache(maxsize=512)
def _needles(original: PatientIdentifiers, kept: PatientIdentifiers) -> _Needles:
    return _Needles(original, kept)


@lru_cache(maxsize=512)
def _kept(values: tuple[tuple[int, str, bytes], ...], codecs: tuple[str, ...]) -> PatientIdentifiers:
    return PatientIdentifiers((tag, vr, decode_bytes(value, list(codecs), set())) for tag, vr, value in values)


def _is_telling(value: str) -> bool:
    """Tell whether an identifier is long and varied enough to be no accident inside another string."""
    return len(value) >= _SHORTEST_INSIDE and not value.isalpha() and len(set(value)) > 2


def _pairs_of(words: set[str]) -> list[tuple[str, bytes]]:
    """Pair each word with the bytes that it may be written in."""
    return [(word, raw) for word in words for raw in {word.encode(), word.encode("latin-1", "ignore")} if len(raw) > 3]


def _forms(date: str) -> Iterator[str]:
    year, month, day = date[:4], date[4:6], date[6:]
    yield date
    for sign in "-./":
        yield f"{year}{sign}{month}{sign}{day}"
        yield f"{day}{sign}{month}{sign}{year}"
        yield f"{month}{sign}{day}{sign}{year}"


def _stands_in(word: bytes, texts: bytes) -> bool:
    """Tell whether a word stands by itself."""
    position = texts.find(word)
    while position >= 0:
        before = texts[position - 1 : position]
        after = texts[position + len(word) : position + len(word) + 1]
        if not before.isalnum() and not after.isalnum():
            return True
        position = texts.find(word, position + 1)
    return False


def verify(copy: bytes, tags: list[int], source: Source) -> None:
    """Read a finished copy and search it.

    Parameters
    ----------
    copy : bytes
        The DICOM file.
    tags : list of int
        Top-level elements that were meant to be written, in order.
    source : Source
        The original, from which the identifiers are taken.

    Raises
    ------
    Refused
        ``verification_failed`` if the copy reads as something else than was meant, holds anything before or in its file
        meta information that we do not write, or cannot be read by pydicom; ``identifier_left`` if an identifier is
        found. The message names place and kind, never the value.
    """
    try:
        scan = _Scan(copy)
    except (_UnreadableError, struct.error, zlib.error) as error:
        raise Refused("verification_failed", f"the clean copy cannot be read back ({type(error).__name__})") from None
    if scan.top != tags or not scan.meta.keys() <= _META:
        raise Refused("verification_failed")
    _check_layout(copy, scan)
    original = identifiers_of(source)
    needles = _needles(original, _identifiers_kept(scan))
    if _is_clean(scan, needles, source):
        return
    places = list(dict.fromkeys(_places(scan, needles, source)))
    if places:
        raise Refused("identifier_left", f"the clean copy still holds {', '.join(places)}")


def _check_layout(copy: bytes, scan: _Scan) -> None:
    """Have pydicom read the copy if none of the same layout was read before."""
    layout = hash((scan.explicit, scan.little, scan.deflated, tuple((tag, vr) for tag, vr, _, _ in scan.entries)))
    if layout in _seen_layouts:
        return
    buffer = BytesIO(copy)
    try:
        dataset = dcmread(buffer, defer_size=4096)
        keys = list(dataset.keys())
    except Exception as error:  # noqa: BLE001 - pydicom raises many kinds, and messages may quote values
        raise Refused("verification_failed", f"pydicom cannot read the clean copy ({type(error).__name__})") from None
    # A deflated data set is another stream: where pydicom stopped in it cannot be told.
    if keys != scan.top or not (scan.deflated or buffer.tell() == len(copy)):
        raise Refused("verification_failed", "pydicom reads the clean copy differently")
    if len(_seen_layouts) < _LAYOUTS:
        _seen_layouts.add(layout)


def _identifiers_kept(scan: _Scan) -> PatientIdentifiers:
    """Collect what the copy holds in the identifiers' own places."""
    data = scan.data
    depth = 0
    codecs: tuple[str, ...] = ("iso8859",)
    values = []
    for tag, vr, start, stop in scan.entries:
        if vr == b"SQ":
            depth += 1
        elif tag == _SEQUENCE_END:
            depth -= 1
        elif tag == _CHARACTER_SET and not depth:
            codecs = _codecs(data[start:stop])
        elif vr in (b"DA", b"DT"):
            values.append((tag, "DA", data[start : start + 10 if vr == b"DT" else stop]))
        elif (vr == b"PN" and (not depth or tag not in _NAMES)) or (not depth and is_identifying(tag, "")):
            values.append((tag, vr.decode(), data[start:stop]))
    return _kept(tuple(dict.fromkeys(values)), codecs)


@lru_cache(maxsize=256)
def _codecs(value: bytes) -> tuple[str, ...]:
    try:
        return tuple(convert_encodings(value.decode("ascii", "replace").strip("\0 ").split("\\")))
    except LookupError:
        return ("iso8859",)


def _is_clean(scan: _Scan, needles: _Needles, source: Source) -> bool:
    """Search everything at once. False means: look closely."""
    data = scan.data
    free: list[bytes] = []
    coded: list[bytes] = []
    opaque: list[bytes] = []
    numerals: list[bytes] = []
    for tag, vr, start, stop in scan.entries:
        if start == stop:
            continue
        if vr in _FREE:
            (coded if tag in _CODED else free).append(data[start:stop])
        elif vr == b"CS":
            coded.append(data[start:stop])
        elif vr in _NUMERALS:
            numerals.append(data[start:stop])
        elif vr in _BYTES and tag not in _PIXELS:
            opaque.append(data[start:stop])
        elif tag == _BIRTH_DATE and data[start:stop].decode("latin-1") in needles.birth_dates:
            return False
    texts = b"\n".join(free)
    if not texts.isascii() or b"\x1b" in texts:
        return False
    lower = texts.lower()
    if needles.kinds_in_text(lower) or needles.kinds_in_text(b"\n".join(coded).lower(), coded=True):
        return False
    if needles.kinds_in_numerals(b"\\".join(numerals)):
        return False
    if opaque and any(needles.kinds_in_bytes(value.lower()) for value in opaque):
        return False
    runs = _UID_RUNS.findall(texts)
    return not runs or _uids_replaced(scan, source).isdisjoint(runs)


def _uids_replaced(scan: _Scan, source: Source) -> set[bytes]:
    """Return the UIDs of the original that the copy does not hold as UIDs."""
    kept = {
        value.strip(b"\0 ")
        for _, vr, start, stop in scan.entries
        if vr == b"UI"
        for value in scan.data[start:stop].split(b"\\")
    }
    return set(_uids_of(source, source.elements)) - kept


def _uids_of(source: Source, elements: list[Element]) -> Iterator[bytes]:
    for element in elements:
        if element.items is not None:
            for item in element.items:
                yield from _uids_of(source, item.elements)
        elif element.vr == "UI":
            for value in source.value(element).split(b"\\"):
                uid = value.strip(b"\0 ")
                if len(uid) >= 8 and not uid.startswith(b"1.2.840.10008."):
                    yield uid


def _places(scan: _Scan, needles: _Needles, source: Source) -> Iterator[str]:
    """Say where which kind of identifier stands, without its value."""
    uids = _uids_replaced(scan, source)
    for path, tag, vr, value, codecs in _walk(scan):
        kinds: set[str] = set()
        lower = value.lower()
        if vr in _NUMERALS:
            kinds |= needles.kinds_in_numerals(lower)
        elif vr in _FREE or vr == b"CS":
            coded = tag in _CODED or vr not in _FREE
            kinds |= needles.kinds_in_text(lower, coded=coded)
            if not coded and (not value.isascii() or b"\x1b" in value):
                kinds |= needles.kinds_in_string(decode_bytes(value, list(codecs), set()))
            if not coded and not uids.isdisjoint(_UID_RUNS.findall(value)):
                kinds.add("UID")
            if vr == b"PN":
                kinds = _in_name(kinds, tag, needles, lower)
        elif vr in _BYTES and tag not in _PIXELS:
            kinds |= needles.kinds_in_bytes(lower)
        elif tag == _BIRTH_DATE and value.decode("latin-1") in needles.birth_dates:
            kinds.add("date")
        yield from (f"{_ARTICLES[kind]} in {path}" for kind in sorted(kinds))


_ARTICLES: Final = {
    "name": "a name",
    "person": "the name of another person",
    "ID": "an ID",
    "date": "a date",
    "UID": "a UID",
}


def _in_name(kinds: set[str], tag: int, needles: _Needles, lower: bytes) -> set[str]:
    """Judge a hit inside a person's name: relatives and strangers share a name, but hardly two."""
    kinds = kinds - {"person", "date"}
    if "name" not in kinds or tag in _NAMES:
        return kinds
    words = {word for word, raw in needles.named if _stands_in(raw, lower)}
    together = any(_stands_in(raw, lower) for _, raw in needles.phrased)
    return kinds if together or len(words) > 1 else kinds - {"name"}


def _walk(scan: _Scan) -> Iterator[tuple[str, int, bytes, bytes, tuple[str, ...]]]:
    """Yield path, tag, value representation, value and character set of every element with a value."""
    sequences: list[tuple[str, int]] = []
    codecs: list[tuple[str, ...]] = [("iso8859",)]
    for tag, vr, start, stop in scan.entries:
        if tag == _ITEM:
            path, number = sequences[-1]
            sequences[-1] = (path, number + 1)
            codecs[-1] = codecs[-2]
        elif tag == _SEQUENCE_END:
            sequences.pop()
            codecs.pop()
        else:
            path, number = sequences[-1] if sequences else ("", -1)
            place = f"{path}[{number}].{tag_text(tag)}" if sequences else tag_text(tag)
            if vr == b"SQ":
                sequences.append((place, -1))
                codecs.append(codecs[-1])
                continue
            value = scan.data[start:stop]
            if tag == _CHARACTER_SET:
                codecs[-1] = _codecs(value)
            if value:
                yield place, tag, vr, value, codecs[-1]
