"""A second look at the finished copy, by code that did not write it.

The copy is read to its last byte by a scanner that shares nothing with this package's reader and writer (and by
pydicom, once for every new layout), and all of it but the pixels is searched for what identified the patient before:
names in every spelling, numbers also inside other strings, dates as people write them, UIDs. What the copy
still holds in the identifier's own place at the top level is there because the rules keep it and is no leak. A hit
means that the instance is refused.

Copies of a series share most of their header. What an earlier copy held with the very same bytes, and in which the very
same identifiers were searched for in vain, is compared byte by byte with the copy at hand and then not searched again:
the answer could be no other. Every byte of every copy is looked at all the same.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import BinaryIO, Final, cast

from pydicom import Dataset, dcmread
from pydicom.charset import convert_encodings, decode_bytes
from pydicom.filereader import read_dataset

from deid_service._buffers import Data, Part, PartsReader, size_of
from deid_service._needles import Needles, stands_in
from deid_service._scan import ITEM, SEQUENCE_END, Scan, Seen, UnreadableError
from deid_service.descriptors import PatientIdentifiers, identifiers_of, is_identifying
from deid_service.errors import Refused
from deid_service.pixels.documents import kind_of_bytes
from deid_service.wire import Element, Source
from dicom_query import tag_text

__all__ = ["verify"]

_LAYOUTS: Final = 10_000
_LAYOUTS_OF_A_SERIES: Final = 100
_MOST_SERIES: Final = 64

_NAMES: Final = frozenset({0x00100010, 0x00101001, 0x00101005, 0x00101060})
_PATIENT_NAME: Final = 0x00100010
_PATIENT_ID: Final = 0x00100020
_BIRTH_DATE: Final = 0x00100030
_CHARACTER_SET: Final = 0x00080005
_UIDS: Final = frozenset({0x00080016, 0x00080018, 0x0020000D, 0x0020000E})
_PIXELS: Final = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
# Pixel data, and the document that a rule lets pass.
_LOOKED_AT: Final = _PIXELS | {0x00420011}
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
_FREE: Final = frozenset((b"AE", b"LO", b"LT", b"PN", b"SH", b"ST", b"UC", b"UR", b"UT"))
_BYTES: Final = frozenset((b"OB", b"OL", b"OV", b"OW", b"UN"))
_NUMERALS: Final = frozenset((b"AS", b"DA", b"DS", b"DT", b"IS", b"TM", b"UI"))
_DECIMALS: Final = frozenset((b"DS", b"IS"))
_NUMBERS: Final = frozenset((b"FD", b"FL", b"SL", b"SS", b"SV", b"UL", b"US", b"UV"))
_MANY_NUMBERS: Final = 4096  # bytes: in tables and curves any pattern turns up by chance
_UID_RUNS: Final = re.compile(rb"[0-9]+(?:\.[0-9]+){3,}")
_seen_layouts: set[int] = set()
_series: dict[str, Seen] = {}


@lru_cache(maxsize=512)
def _needles(original: PatientIdentifiers, kept: PatientIdentifiers) -> Needles:
    return Needles(original, kept)


@lru_cache(maxsize=512)
def _kept(values: tuple[tuple[int, str, bytes], ...], codecs: tuple[str, ...]) -> PatientIdentifiers:
    return PatientIdentifiers((tag, vr, decode_bytes(value, list(codecs), set())) for tag, vr, value in values)


def verify(
    parts: Sequence[Part], tags: list[int], source: Source, known: PatientIdentifiers | None = None, series: str = ""
) -> None:
    """Read a finished copy and search it.

    Parameters
    ----------
    parts : sequence of bytes or memoryview
        The DICOM file; views hold pixel data of the top level and nothing else.
    tags : list of int
        Top-level elements that were meant to be written, in order.
    source : Source
        The original, from which the identifiers are taken.

    known : PatientIdentifiers, optional
        What `identifiers_of` says of the source, where it was asked before.
    series : str, optional
        Series Instance UID of the copy. Bytes that stood in the same place of an earlier copy of the series, and in
        which the very same identifiers were searched for in vain, are compared and not searched again.

    Raises
    ------
    Refused
        ``verification_failed`` if the copy reads as something else than was meant, holds anything before or in its file
        meta information that we do not write, or cannot be read by pydicom; ``identifier_left`` if an identifier is
        found; ``encapsulated_document`` if an element of bytes holds a document, picture or archive that nobody
        looked into. The message names place and kind, never the value.
    """
    try:
        seen = _seen(series) if series else None
        scan = Scan(parts, seen)
    except (UnreadableError, struct.error, zlib.error) as error:
        raise Refused("verification_failed", f"the clean copy cannot be read back ({type(error).__name__})") from None
    if scan.top != tags or not scan.meta.keys() <= _META:
        raise Refused("verification_failed")
    _check_layout(parts, scan, seen)
    _refuse_documents(scan)
    original = known or identifiers_of(source)
    needles = _needles(original, _identifiers_kept(scan))
    if _is_clean(scan, needles, source):
        if seen is not None:
            seen.learn(scan, _may_be_shared)
        return
    if _keeps_patient(scan, source):
        # Rules that leave name and number at the top mean to leave those of sequences too.
        needles = _needles(original, _identifiers_kept(scan, nested=True))
    places = list(dict.fromkeys(_places(scan, needles, source)))
    if places:
        raise Refused("identifier_left", f"the clean copy still holds {', '.join(places)}")


def _check_layout(parts: Sequence[Part], scan: Scan, seen: Seen | None) -> None:
    """Have pydicom read the copy if none of the same layout was read before."""
    between = (tuple(scan.runs), tuple((tag, vr) for tag, vr, _, _ in scan.fresh)) if seen is not None else None
    if seen is not None and between in seen.layouts:
        return
    layout = hash((scan.explicit, scan.little, scan.deflated, tuple((tag, vr) for tag, vr, _, _ in scan.entries)))
    if layout in _seen_layouts:
        if seen is not None and len(seen.layouts) < _LAYOUTS_OF_A_SERIES:
            seen.layouts.add(between)
        return
    # pydicom would inflate a deflated data set in memory.
    parts = [memoryview(scan.data)] if scan.deflated else parts
    buffer = PartsReader(parts)
    try:
        if scan.deflated:
            dataset: Dataset = read_dataset(cast("BinaryIO", buffer), not scan.explicit, scan.little, defer_size=4096)
        else:
            dataset = dcmread(buffer, defer_size=4096)
        keys = list(dataset.keys())
    except Exception as error:  # noqa: BLE001 - pydicom raises many kinds, and messages may quote values
        raise Refused("verification_failed", f"pydicom cannot read the clean copy ({type(error).__name__})") from None
    if keys != scan.top or buffer.tell() != size_of(parts):
        raise Refused("verification_failed", "pydicom reads the clean copy differently")
    if len(_seen_layouts) < _LAYOUTS:
        _seen_layouts.add(layout)


def _refuse_documents(scan: Scan) -> None:
    """Refuse pictures and documents where none are expected, as in private elements."""
    for tag, vr, start, stop in scan.fresh:
        if vr in _BYTES and stop - start >= 8 and tag not in _LOOKED_AT:
            kind = kind_of_bytes(scan.data[start:stop])
            if kind:
                place = tag_text(tag)
                raise Refused("encapsulated_document", f"{place} holds data of the kind {kind}; a rule can delete it")


def _keeps_patient(scan: Scan, source: Source) -> bool:
    """Tell whether the copy still says who the patient is where it says so, as rules for phantoms have it."""
    before = {
        element.tag: source.value(element).strip(b"\0 ")
        for element in source.elements
        if element.tag in (_PATIENT_NAME, _PATIENT_ID) and element.items is None
    }
    before = {tag: value for tag, value in before.items() if value}
    after = {tag: scan.data[start:stop].strip(b"\0 ") for tag, _, start, stop in _top_entries(scan) if tag in before}
    return bool(before) and after == before


def _top_entries(scan: Scan) -> Iterator[tuple[int, bytes, int, int]]:
    depth = 0
    for entry in scan.entries:
        if not depth:
            yield entry
        depth += (entry[1] == b"SQ") - (entry[0] == SEQUENCE_END)


def _identifiers_kept(scan: Scan, *, nested: bool = False) -> PatientIdentifiers:
    """Collect what the copy holds in the identifiers' own places; those inside sequences only if asked."""
    values, charset = _values_kept(scan.data, scan.entries if nested else scan.fresh, nested=nested)
    for run in () if nested else scan.runs:
        kept = run.kept
        if kept is None:
            inside = [(tag, vr, start - run.start, stop - run.start) for tag, vr, start, stop in run.entries]
            kept = run.kept = _values_kept(run.raw, inside, nested=False)
        values += kept[0]
        charset = charset or kept[1]
    codecs = _codecs(charset) if charset else ("iso8859",)
    return _kept(tuple(dict.fromkeys(values)), codecs)


def _values_kept(
    data: Data, entries: Iterable[tuple[int, bytes, int, int]], *, nested: bool
) -> tuple[list[tuple[int, str, bytes]], bytes]:
    """Return values in the identifiers' own places, and the character set of the top level."""
    depth = 0
    charset = b""
    values: list[tuple[int, str, bytes]] = []
    for tag, vr, start, stop in entries:
        if tag in _UIDS and not depth and vr not in (b"UI", b"UN"):
            raise Refused("verification_failed", f"{tag_text(tag)} does not have the value representation of a UID")
        if vr == b"SQ":
            depth += 1
        elif tag == SEQUENCE_END:
            depth -= 1
        elif tag == _CHARACTER_SET and not depth:
            charset = data[start:stop]
        elif vr in (b"DA", b"DT"):
            values.append((0 if depth else tag, "DA", data[start : start + 10 if vr == b"DT" else stop]))
        elif (vr == b"PN" and (nested or not depth or tag not in _NAMES)) or (
            (nested or not depth) and is_identifying(tag, "")
        ):
            values.append((tag, vr.decode(), data[start:stop]))
    return values, charset


@lru_cache(maxsize=256)
def _codecs(value: bytes) -> tuple[str, ...]:
    try:
        return tuple(convert_encodings(value.decode("ascii", "replace").strip("\0 ").split("\\")))
    except LookupError:
        return ("iso8859",)
    except ValueError:
        raise Refused("verification_failed", "the name of the character set cannot be read") from None


def _is_clean(scan: Scan, needles: Needles, source: Source) -> bool:
    """Search everything at once. False means: look closely."""
    data = scan.data
    unsearched = [run for run in scan.runs if run.searched_for is not needles]
    free: list[bytes] = []
    coded: list[bytes] = []
    opaque: list[bytes] = []
    numerals: list[bytes] = []
    decimals: list[bytes] = []
    numbers: list[bytes] = []
    for tag, vr, start, stop in scan.entries if unsearched else scan.fresh:
        if start == stop:
            continue
        if vr in _FREE:
            (coded if tag in _CODED else free).append(data[start:stop])
        elif vr == b"CS":
            coded.append(data[start:stop])
        elif vr in _NUMERALS:
            numerals.append(data[start:stop])
            if vr in _DECIMALS:
                decimals.append(data[start:stop])
            if tag == _BIRTH_DATE and data[start:stop].decode("latin-1") == needles.birth_date:
                return False
        elif vr in _BYTES and tag not in _PIXELS:
            opaque.append(data[start:stop])
        elif vr in _NUMBERS and stop - start <= _MANY_NUMBERS:
            numbers.append(data[start:stop])
    texts = b"\n".join(free)
    if (not texts.isascii() or b"\x1b" in texts) and any(
        needles.kinds_in_string(decode_bytes(value, list(codecs), set())) for value, codecs in _foreign_texts(scan)
    ):
        return False
    lower = texts.lower()
    if needles.kinds_in_text(lower) or needles.kinds_in_text(b"\n".join(coded).lower(), coded=True):
        return False
    if needles.kinds_in_numerals(b"\\".join(numerals).lower()):
        return False
    if needles.kinds_in_decimals(b"\\".join(decimals)):
        return False
    if needles.kinds_in_numbers(b"\xff\xff\xff".join(numbers), little=scan.little):
        return False
    if opaque and any(needles.kinds_in_bytes(value.lower()) for value in opaque):
        return False
    uids = _UID_RUNS.findall(texts)
    if uids and not _uids_replaced(scan, source).isdisjoint(uids):
        return False
    for run in unsearched:
        run.searched_for = needles
    return True


def _may_be_shared(vr: bytes, value: bytes) -> bool:
    """Tell whether all that the search says of a value depends on the value and the needles."""
    # Beyond ASCII the character set has a say, and UIDs in texts are compared with those of the original.
    return vr not in _FREE or (value.isascii() and b"\x1b" not in value and not _UID_RUNS.search(value))


def _seen(series: str) -> Seen:
    found = _series.get(series)
    if found is None:
        if len(_series) >= _MOST_SERIES:
            _series.clear()
        found = _series[series] = Seen()
    return found


def _foreign_texts(scan: Scan) -> Iterator[tuple[bytes, tuple[str, ...]]]:
    """Yield the texts that are more than ASCII, and their character set."""
    codecs: list[tuple[str, ...]] = [("iso8859",)]
    for tag, vr, start, stop in scan.entries:
        if vr == b"SQ":
            codecs.append(codecs[-1])
        elif tag == SEQUENCE_END:
            codecs.pop()
        elif tag == ITEM:
            codecs[-1] = codecs[-2]
        elif tag == _CHARACTER_SET:
            codecs[-1] = _codecs(scan.data[start:stop])
        elif vr in _FREE and tag not in _CODED:
            value = scan.data[start:stop]
            if not value.isascii() or b"\x1b" in value:
                yield value, codecs[-1]


def _uids_replaced(scan: Scan, source: Source) -> set[bytes]:
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


def _places(scan: Scan, needles: Needles, source: Source) -> Iterator[str]:
    """Say where which kind of identifier stands, without its value."""
    uids = _uids_replaced(scan, source)
    for path, tag, vr, value, codecs in _walk(scan):
        kinds: set[str] = set()
        lower = value.lower()
        if vr in _NUMERALS:
            kinds |= needles.kinds_in_numerals(lower)
            if vr in _DECIMALS:
                kinds |= needles.kinds_in_decimals(value)
            if tag == _BIRTH_DATE and value.decode("latin-1") == needles.birth_date:
                kinds.add("date")
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
        elif vr in _NUMBERS and len(value) <= _MANY_NUMBERS:
            kinds |= needles.kinds_in_numbers(value, little=scan.little)
        yield from (f"{_ARTICLES[kind]} in {path}" for kind in sorted(kinds))


_ARTICLES: Final = {
    "name": "a name",
    "person": "the name of another person",
    "ID": "an ID",
    "date": "a date",
    "UID": "a UID",
}


def _in_name(kinds: set[str], tag: int, needles: Needles, lower: bytes) -> set[str]:
    """Judge a hit inside a person's name: relatives and strangers share a name, but hardly two."""
    kinds = kinds - {"person", "date"}
    if "name" not in kinds or tag in _NAMES:
        return kinds
    words = {word for word, raw in needles.named if stands_in(raw, lower)}
    together = any(stands_in(raw, lower) for _, raw in needles.phrased)
    return kinds if together or len(words) > 1 else kinds - {"name"}


def _walk(scan: Scan) -> Iterator[tuple[str, int, bytes, bytes, tuple[str, ...]]]:
    """Yield path, tag, value representation, value and character set of every element with a value."""
    sequences: list[tuple[str, int]] = []
    codecs: list[tuple[str, ...]] = [("iso8859",)]
    for tag, vr, start, stop in scan.entries:
        if tag == ITEM:
            path, number = sequences[-1]
            sequences[-1] = (path, number + 1)
            codecs[-1] = codecs[-2]
        elif tag == SEQUENCE_END:
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
