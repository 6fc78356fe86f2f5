"""A reader of finished copies that shares no code with the one that reads originals."""

from __future__ import annotations

import struct
import zlib
from functools import lru_cache
from typing import Final

from pydicom.datadict import dictionary_has_tag, dictionary_VR

__all__ = ["ITEM", "SEQUENCE_END", "Scan", "UnreadableError"]

ITEM: Final = 0xFFFEE000
"""Starts an item in :attr:`Scan.entries`."""

SEQUENCE_END: Final = 0xFFFEE0DD
"""Ends a sequence in :attr:`Scan.entries`, whether the file has a delimiter or not."""

_ITEM_END: Final = 0xFFFEE00D
_LONG: Final = frozenset(
    name.encode() for name in ("OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV")
)
_Entry = tuple[int, bytes, int, int]
_HEADERS: Final = {True: struct.Struct("<HH2sH"), False: struct.Struct(">HH2sH")}
_TAG_LENGTHS: Final = {True: struct.Struct("<HHI"), False: struct.Struct(">HHI")}
_LENGTHS: Final = {True: struct.Struct("<I"), False: struct.Struct(">I")}


class UnreadableError(Exception):
    """The copy is not what it should be: never leaves this package."""


class Scan:
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
            raise UnreadableError("preamble")
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
            raise UnreadableError("length")

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
                raise UnreadableError("order")
            last = tag
            if top is not None:
                top.append(tag)
            if vr == b"SQ" or (length == 0xFFFFFFFF and vr == b"UN"):
                entries.append((tag, b"SQ", start, start))
                inner = (explicit, little) if vr == b"SQ" else (False, True)
                position = self._items(start, end, length, *inner)
                entries.append((SEQUENCE_END, b"", position, position))
                continue
            stop = self._fragments(start, end, little) if length == 0xFFFFFFFF else start + length
            if stop > end:
                raise UnreadableError("length")
            entries.append((tag, vr, start, stop))
            position = stop
        if delimited:
            raise UnreadableError("delimiter")
        return position

    def _items(self, position: int, end: int, length: int, explicit: bool, little: bool) -> int:
        delimited = length == 0xFFFFFFFF
        stop = end if delimited else position + length
        if stop > end:
            raise UnreadableError("length")
        while position < stop:
            group, number, size = _TAG_LENGTHS[little].unpack_from(self.data, position)
            position += 8
            tag = group << 16 | number
            if tag == SEQUENCE_END and delimited:
                return position
            if tag != ITEM:
                raise UnreadableError("item")
            self.entries.append((ITEM, b"", position, position))
            item_end = stop if size == 0xFFFFFFFF else position + size
            if item_end > stop:
                raise UnreadableError("length")
            position = self._elements(position, item_end, explicit, little, None, delimited=size == 0xFFFFFFFF)
            if size != 0xFFFFFFFF and position != item_end:
                raise UnreadableError("length")
        if delimited or position != stop:
            raise UnreadableError("delimiter")
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
        raise UnreadableError("fragments")


@lru_cache(maxsize=20_000)
def _dictionary_vr(tag: int) -> bytes:
    """Return the value representation of an element that does not state it."""
    if tag & 0x00010000:
        return b"LO" if 0x10 <= tag & 0xFFFF <= 0xFF else b"UN"
    if not dictionary_has_tag(tag):
        return b"UN"
    return dictionary_VR(tag)[-2:].encode()
