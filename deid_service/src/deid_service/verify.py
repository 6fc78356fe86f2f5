"""A second look at the finished copy, by code that did not write it.

pydicom reads the copy to its last byte, and the copy's header is searched for the identifiers that the rules replaced
where they belong: a name echoed in a description, a patient ID inside a file name. A hit means that the instance is
refused. The pixel data is not searched.
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

__all__ = ["Identifiers", "verify"]

_NAMES: Final = frozenset({0x00100010, 0x00101001, 0x00101005, 0x00101060})
_IDS: Final = frozenset({0x00100020, 0x00101000, 0x00080050, 0x00380010})
_SHORTEST: Final = 4
# Words of a vocabulary that a patient can share by chance: a Mr. Head is no reason to hold back every head scan.
_CODED_VRS: Final = frozenset({"AS", "CS", "DS", "IS", "UI"})
_CODED_TAGS: Final = frozenset({0x00080070, 0x00080100, 0x00080102, 0x00080104, 0x00081090, 0x00181020})
_NUMBERS: Final = re.compile(rb"(?<![0-9.])[0-9][0-9.]{7,}")
_WORDS: Final = re.compile(r"[^\W_]+(?:['-][^\W_]+)*")


class Identifiers:
    """The identifiers of the original that must not be in the clean copy.

    Names count word by word, names and IDs from 4 characters on (shorter ones occur by chance), dates of 8 digits, and
    every UID that was replaced. Words of names are not looked for where the standard or the vendor sets the words:
    codes and their meanings, enumerated values (CS), manufacturer, model and software.
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
        """Search a header.

        Parameters
        ----------
        header : bytes
            The clean data set without its pixel data.

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
        runs = _NUMBERS.findall(header)
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


def verify(data: bytes, tags: list[int], header: list[bytes], identifiers: Identifiers, *, deflated: bool) -> None:
    """Read a finished copy back and search it.

    Parameters
    ----------
    data : bytes
        The DICOM file.
    tags : list of int
        Top-level elements that were meant to be written, in order.
    header : list of bytes
        The data set without pixel data.
    identifiers : Identifiers
        What must not occur.
    deflated : bool
        Whether the data set is compressed, so that its end says nothing.

    Raises
    ------
    Refused
        ``verification_failed`` if pydicom reads other elements than were meant, or not to the end;
        ``identifier_left`` if an identifier is found.
    """
    buffer = BytesIO(data)
    try:
        dataset = dcmread(buffer, defer_size=4096)
    except Exception as error:  # noqa: BLE001 - pydicom raises many kinds, and messages may quote values
        raise Refused("verification_failed", f"pydicom cannot read the clean copy ({type(error).__name__})") from None
    if list(dataset.keys()) != tags or (not deflated and buffer.tell() != len(data)):
        raise Refused("verification_failed")
    if identifiers.kinds_in(b"\n".join(header)):
        source = read(data)
        places = list(_places(source, source.elements, identifiers, ""))
        if places:
            raise Refused("identifier_left", f"the clean copy still holds {', '.join(places)}")


def _places(source: Source, elements: list[Element], identifiers: Identifiers, path: str) -> Iterator[str]:
    """Say where which kind of identifier stands, without its value."""
    for element in elements:
        place = f"{path}{tag_text(element.tag)}"
        if element.items is not None:
            for index, item in enumerate(element.items):
                yield from _places(source, item.elements, identifiers, f"{place}[{index}].")
        elif element.tag not in PIXEL_TAGS:
            for kind in identifiers.kinds_in(source.value(element)):
                if kind != "name" or not (element.vr in _CODED_VRS or element.tag in _CODED_TAGS):
                    yield f"a{'n' if kind == 'ID' else ''} {kind} in {place}"
