"""A second look at the finished copy, by code that did not write it.

pydicom reads the copy to its last byte, and the copy's header is searched for the identifiers that the rules replaced
where they belong: a name echoed in a description, a patient ID inside a file name. A hit means that the instance is
refused. Elements of the same kind (another date, another name) are the rules' own business and no echo. The pixel data
is not searched.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from io import BytesIO
from typing import Final

from dicom_query import tag_text
from pydicom import dcmread

from deid_service.errors import Refused
from deid_service.wire import PIXEL_TAGS, Element, Source, read
from deid_service.wire.encoding import is_deflated

__all__ = ["Identifiers", "verify"]

_NAMES: Final = frozenset({0x00100010, 0x00101001, 0x00101005, 0x00101060})
_IDS: Final = frozenset({0x00100020, 0x00101000, 0x00080050, 0x00380010})
_SHORTEST: Final = 4
# Words of a vocabulary that a patient can share by chance: a Mr. Head is no reason to hold back every head scan.
_CODED_TAGS: Final = frozenset(
    {0x00080070, 0x00080100, 0x00080102, 0x00080104, 0x00081090, 0x00181020, 0x00620009, 0x00660036}
)
# Elements of an identifier's own kind are not an echo: if the rules keep them, they do so on purpose.
_OWN_VRS: Final[dict[str, frozenset[str]]] = {
    "name": frozenset({"PN", "AS", "CS", "DS", "IS", "UI"}),
    "ID": frozenset(),
    "date": frozenset({"DA", "DT"}),
    "UID": frozenset({"UI"}),
}
_OWN_TAGS: Final[dict[str, frozenset[int]]] = {
    "name": _NAMES | _CODED_TAGS,
    "ID": _IDS,
    "date": frozenset(),
    "UID": frozenset(),
}
_RUNS: Final = re.compile(rb"(?<![0-9.])[0-9][0-9.]{7,}")
_WORDS: Final = re.compile(r"[^\W_]+")
_NUMBERS: Final = frozenset({"AT", "FD", "FL", "OD", "OF", "OL", "OV", "SL", "SS", "SV", "UL", "US", "UV"})


class Identifiers:
    """The identifiers of the original that must not be in the clean copy.

    Names count word by word, names and IDs from 4 characters on (shorter ones occur by chance), dates of 8 digits, and
    every UID that was replaced. Words of names are not looked for where the standard or the vendor sets the words:
    codes and their meanings, enumerated values (CS), manufacturer, model, software and algorithm.
    """

    def __init__(self) -> None:
        self._names: set[str] = set()
        self._ids: set[str] = set()
        self._produced: set[str] = set()
        self._dates: set[bytes] = set()
        self._new_dates: set[bytes] = set()
        self._uids: set[bytes] = set()

    @staticmethod
    def wants(tag: int) -> bool:
        """Tell whether an element names the patient or the visit."""
        return tag in _NAMES or tag in _IDS

    def add(self, tag: int, text: str, new: Iterable[str]) -> None:
        """Remember the value of an element that was replaced (by `new`) or removed."""
        if tag in _NAMES:
            self._names.update(word.casefold() for word in _WORDS.findall(text) if len(word) >= _SHORTEST)
        elif tag in _IDS:
            parts = (part.strip("\0 ").casefold() for part in text.split("\\"))
            self._ids.update(part for part in parts if len(part) >= _SHORTEST)
        else:
            return
        self._produced.update(value.casefold() for value in new)

    def add_dates(self, old: Iterable[str], new: Iterable[str]) -> None:
        """Remember dates that were moved, and to where."""
        for value in old:
            digits = value.replace(".", "")[:8] if value[4:5] == "." else value[:8]
            if len(digits) == 8 and digits.isascii() and digits.isdigit():
                self._dates.add(digits.encode())
        self._new_dates.update(value[:8].encode() for value in new)

    def add_uid(self, value: str) -> None:
        """Remember a UID that was replaced."""
        if len(value) >= 8:
            self._uids.add(value.encode("utf-8", "replace"))

    def kinds_in(self, header: bytes) -> list[str]:
        """Search texts.

        Parameters
        ----------
        header : bytes
            Values of the clean data set, one a line.

        Returns
        -------
        list of str
            The kinds of identifier found: ``"name"``, ``"ID"``, ``"date"``, ``"UID"``.
        """
        kinds = []
        folded = header.lower()
        if any(_stands_in(word, folded) for word in self._names - self._produced):
            kinds.append("name")
        if any(_stands_in(word, folded) for word in self._ids - self._produced):
            kinds.append("ID")
        dates = self._dates - self._new_dates
        runs = _RUNS.findall(header)
        if dates and any(run[:8] in dates for run in runs):
            kinds.append("date")
        if self._uids and not self._uids.isdisjoint(run.rstrip(b".") for run in runs):
            kinds.append("UID")
        return kinds


def _stands_in(word: str, folded: bytes) -> bool:
    """Tell whether a word stands by itself in a text of any of the usual encodings."""
    for needle in {word.encode("utf-8"), word.encode("latin-1", "ignore")}:
        if len(needle) < _SHORTEST:
            continue
        position = folded.find(needle)
        while position >= 0:
            before = folded[position - 1 : position]
            after = folded[position + len(needle) : position + len(needle) + 1]
            if not before.isalnum() and not after.isalnum():
                return True
            position = folded.find(needle, position + 1)
    return False


def verify(data: bytes, tags: list[int], identifiers: Identifiers) -> None:
    """Read a finished copy back and search it.

    Parameters
    ----------
    data : bytes
        The DICOM file.
    tags : list of int
        Top-level elements that were meant to be written, in order.
    identifiers : Identifiers
        What must not occur.

    Raises
    ------
    Refused
        ``verification_failed`` if the copy reads as something else than was meant, by our reader or by pydicom;
        ``identifier_left`` if an identifier is found.
    """
    try:
        source = read(data)
    except Refused as refusal:
        raise Refused("verification_failed", f"the clean copy cannot be read back: {refusal.message}") from None
    buffer = BytesIO(data)
    try:
        dataset = dcmread(buffer, defer_size=4096)
    except Exception as error:  # noqa: BLE001 - pydicom raises many kinds, and messages may quote values
        raise Refused("verification_failed", f"pydicom cannot read the clean copy ({type(error).__name__})") from None
    # A deflated data set is another stream: where pydicom stopped in it cannot be told.
    complete = is_deflated(source.transfer_syntax) or buffer.tell() == len(data)
    if not complete or not [element.tag for element in source.elements] == list(dataset.keys()) == tags:
        raise Refused("verification_failed")
    texts: list[bytes] = []
    _collect(source, source.elements, texts)
    if identifiers.kinds_in(b"\n".join(texts)):
        places = list(_places(source, source.elements, identifiers, ""))
        if places:
            raise Refused("identifier_left", f"the clean copy still holds {', '.join(places)}")


def _collect(source: Source, elements: list[Element], texts: list[bytes]) -> None:
    """Gather every value that could hold text. One by one: where a value ends, a word ends."""
    data = source.data
    for element in elements:
        if element.items is not None:
            for item in element.items:
                _collect(source, item.elements, texts)
        elif element.tag not in PIXEL_TAGS and element.vr not in _NUMBERS:
            texts.append(data[element.value_start : element.value_end])


def _places(source: Source, elements: list[Element], identifiers: Identifiers, path: str) -> Iterator[str]:
    """Say where which kind of identifier stands, without its value."""
    for element in elements:
        place = f"{path}{tag_text(element.tag)}"
        if element.items is not None:
            for index, item in enumerate(element.items):
                yield from _places(source, item.elements, identifiers, f"{place}[{index}].")
        elif element.tag not in PIXEL_TAGS and element.vr not in _NUMBERS:
            for kind in identifiers.kinds_in(source.value(element)):
                if not (element.vr in _OWN_VRS[kind] or element.tag in _OWN_TAGS[kind]):
                    yield f"a{'n' if kind == 'ID' else ''} {kind} in {place}"
