"""A strict reader: every byte is accounted for, or the file is refused.

Forgiving readers stop silently at what they do not understand and hand back half a data set. Half a data set that is
then forwarded as "clean" is data lost without a word, and bytes skipped are bytes nobody looked at. This reader returns
the tree of elements with the position of each in the source, so that whatever is not changed is copied verbatim.
"""

from __future__ import annotations

import itertools
import struct
import zlib
from collections.abc import Iterator
from functools import lru_cache
from typing import Final

from pydicom.datadict import dictionary_has_tag, dictionary_VR

from deid_service._buffers import Data, spool
from deid_service.errors import Refused
from deid_service.wire.elements import Element, Item, Source, describe
from deid_service.wire.encoding import ALL_VRS, IMPLICIT_LITTLE, LONG_VRS, UNDEFINED, Encoding, encoding_of, is_deflated
from deid_service.wire.runs import HeaderRuns, PlacedRun, Run

__all__ = ["read"]

_ITEM: Final = 0xFFFEE000
_ITEM_END: Final = 0xFFFEE00D
_SEQUENCE_END: Final = 0xFFFEE0DD
_MAX_DEPTH: Final = 32
_MAX_INFLATED: Final = 2**31
_DEFLATED_PIECE: Final = 2**16
_INFLATED_PIECE: Final = 2**20

# VR as written -> (VR, whether its length has 32 bits)
_VRS: Final = {vr.encode(): (vr, vr in LONG_VRS) for vr in ALL_VRS}
# Those whose length has 16 bits, and which hold no items
_PLAIN_VRS: Final = {code: vr for code, (vr, long) in _VRS.items() if not long}
_HEADER: Final = {
    (True, True): struct.Struct("<HH2sH"),
    (True, False): struct.Struct(">HH2sH"),
    (False, True): struct.Struct("<HHI"),
    (False, False): struct.Struct(">HHI"),
}
_TAG: Final = {True: struct.Struct("<HH"), False: struct.Struct(">HH")}
_U16: Final = {True: struct.Struct("<H"), False: struct.Struct(">H")}
_U32: Final = {True: struct.Struct("<I"), False: struct.Struct(">I")}


class _MalformedError(Exception):
    """Broken structure, at a position; becomes :class:`Refused` or, inside UN, "not a sequence after all"."""


def read(data: Data, known: HeaderRuns | None = None) -> Source:
    """Read a DICOM file completely.

    Parameters
    ----------
    data : bytes or mmap
        A file with preamble and file meta information (PS3.10 section 7).
    known : HeaderRuns, optional
        What the headers of earlier instances had in common. It changes nothing but the time.

    Returns
    -------
    Source

    Raises
    ------
    Refused
        ``not_dicom``, ``dicomdir``, ``malformed``, ``unknown_transfer_syntax``, ``too_deep`` or ``too_large``.
    """
    if data[128:132] != b"DICM":
        raise Refused("not_dicom")
    try:
        meta, position = _read_meta(data)
        transfer_syntax = meta.get(0x00020010, b"").decode("ascii", "replace")
        if not transfer_syntax:
            raise _MalformedError("file meta information without a transfer syntax")
        if meta.get(0x00020002) == b"1.2.840.10008.1.3.10":
            raise Refused("dicomdir")
        encoding = encoding_of(transfer_syntax)
        if is_deflated(transfer_syntax):
            data, position = _inflate(data, position), 0
        elements, segments = _read_top(data, position, encoding, known)
    except _MalformedError as error:
        raise Refused("malformed", str(error)) from None
    if any(element.tag >> 16 in (0x0000, 0x0002) for element in elements[:3]):
        raise Refused("malformed", "the data set holds elements of a command or of file meta information")
    source = Source(data, meta, transfer_syntax, encoding, elements)
    source.segments = segments
    return source


def _read_meta(data: Data) -> tuple[dict[int, bytes], int]:
    meta: dict[int, bytes] = {}
    position = 132
    while data[position : position + 2] == b"\x02\x00":
        element, position = _read_element(data, position, len(data), Encoding(explicit=True, little=True), 0)
        if element.tag in meta:
            raise _MalformedError(f"{describe(element.tag)} occurs twice")
        meta[element.tag] = data[element.value_start : element.value_end].rstrip(b"\0 ")
    return meta, position


def _inflate(data: Data, position: int) -> Data:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)

    def inflated() -> Iterator[bytes]:
        size = 0
        place = position
        waiting = b""
        while not inflater.eof:
            if not waiting:
                waiting = data[place : place + _DEFLATED_PIECE]
                place += len(waiting)
            chunk = inflater.decompress(waiting, _INFLATED_PIECE)
            if not waiting and not chunk:
                raise _MalformedError("the deflated data set is truncated")
            waiting = inflater.unconsumed_tail
            size += len(chunk)
            if size >= _MAX_INFLATED:
                raise Refused("too_large")
            yield chunk
        if inflater.unused_data.strip(b"\0") or data[place:].strip(b"\0"):
            raise _MalformedError("bytes after the end of the deflated data set")

    try:
        return spool(inflated())
    except zlib.error:
        raise _MalformedError("the deflated data set is damaged") from None


def _read_top(
    data: Data, position: int, encoding: Encoding, known: HeaderRuns | None
) -> tuple[list[Element], list[Element | PlacedRun] | None]:
    """Read the top level; return also of which known runs it is made, if it was read by them."""
    series = known.find(data, position, encoding) if known is not None else None
    segments = None
    if series is not None and isinstance(data, bytes):
        segments = _read_by_runs(data, position, encoding, series.runs)
    if segments is None:
        elements, _ = _read_elements(data, position, len(data), encoding, 0, delimited=False)
    else:
        elements = []
        for segment in segments:
            if isinstance(segment, Element):
                elements.append(segment)
            else:
                elements += segment.elements
    if known is not None:
        series = series or known.start(data, elements, encoding)
        if series is not None and isinstance(data, bytes):
            series.learn(data, elements if segments is None else segments)
    return elements, segments


def _read_by_runs(
    data: bytes, position: int, encoding: Encoding, runs: dict[bytes, Run]
) -> list[Element | PlacedRun] | None:
    """Read the top level by its known runs; None if its elements are not in ascending order."""

    def read_run(start: int, stop: int) -> list[Element]:
        return _read_elements(data, start, stop, encoding, 0, delimited=False)[0]

    end = len(data)
    segments: list[Element | PlacedRun] = []
    private: list[Element] = []
    last = -1
    while position < end:
        run = runs.get(data[position : position + 4])
        if run is not None and run.stands_at(data, position, end, last):
            placed = run.placed(position, read_run)
            segments.append(placed)
            last = placed.last
            position += len(placed.raw)
            continue
        element, position = _read_element(data, position, end, encoding, 0)
        if element.tag <= last:
            return None
        last = element.tag
        if last & 0x00010000:
            private.append(element)
        segments.append(element)
    # No private group is both in a run and outside.
    _name_creators(data, private)
    return segments


def _read_elements(
    data: Data, position: int, end: int, encoding: Encoding, depth: int, *, delimited: bool
) -> tuple[list[Element], int]:
    """Read one data set; `delimited` means that an item delimiter ends it, otherwise `end` does."""
    if depth > _MAX_DEPTH:
        raise Refused("too_deep")
    elements: list[Element] = []
    last = -1
    ascending = True
    private = False
    explicit = encoding.explicit
    header = _HEADER[explicit, encoding.little].unpack_from
    while position < end:
        if delimited and data[position : position + 4] == _delimiter_bytes(encoding):
            if position + 8 > end or data[position + 4 : position + 8] != b"\0\0\0\0":
                raise _MalformedError("an item delimiter with a length")
            break
        # Most elements are plain; the way that every element can go is _read_element.
        vr: str | None = None
        stop = end + 1
        if position + 8 <= end:
            if explicit:
                group, number, code, length = header(data, position)
                tag = group << 16 | number
                vr = _PLAIN_VRS.get(code)
            else:
                group, number, length = header(data, position)
                tag = group << 16 | number
                vr = _implicit_vr(tag)
                if vr == "SQ" or vr == "UN" or length == UNDEFINED:
                    vr = None
            stop = position + 8 + length
        if vr is not None and stop <= end and group != 0xFFFE:
            element = Element(tag, vr, position, position + 8, stop, encoding)
            position = stop
        else:
            element, position = _read_element(data, position, end, encoding, depth)
            tag = element.tag
        if tag <= last:
            ascending = False
        last = tag
        if tag & 0x00010000:
            private = True
        elements.append(element)
    else:
        if delimited:
            raise _MalformedError("an item without its delimiter")
        if position != end:
            raise _MalformedError("an element reaches beyond its item")
    if delimited:
        position += 8
    if not ascending:
        elements.sort(key=lambda element: element.tag)
        for previous, following in itertools.pairwise(elements):
            if previous.tag == following.tag:
                raise _MalformedError(f"{describe(following.tag)} occurs twice in one data set")
    if private:
        _name_creators(data, elements)
    return elements, position


def _delimiter_bytes(encoding: Encoding) -> bytes:
    return b"\xfe\xff\x0d\xe0" if encoding.little else b"\xff\xfe\xe0\x0d"


def _read_element(data: Data, position: int, end: int, encoding: Encoding, depth: int) -> tuple[Element, int]:
    little = encoding.little
    if end - position < 8:
        raise _MalformedError("bytes after the last element, too few for another")
    group, number = _TAG[little].unpack_from(data, position)
    tag: int = group << 16 | number
    if group == 0xFFFE:
        raise _MalformedError("a delimiter where an element was expected")
    if encoding.explicit:
        known = _VRS.get(data[position + 4 : position + 6])
        if known is None:
            raise _MalformedError(f"{describe(tag)} has an unknown value representation")
        vr, long = known
        if long:
            if end - position < 12:
                raise _MalformedError(f"{describe(tag)} is cut off")
            length = _U32[little].unpack_from(data, position + 8)[0]
            start = position + 12
        else:
            length = _U16[little].unpack_from(data, position + 6)[0]
            start = position + 8
    else:
        vr = _implicit_vr(tag)
        length = _U32[little].unpack_from(data, position + 4)[0]
        start = position + 8
    if length != UNDEFINED:
        stop = start + length
        if stop > end:
            raise _MalformedError(f"{describe(tag)} reaches beyond the end")
        element = Element(tag, vr, position, start, stop, encoding)
        if vr == "SQ":
            element.items, _ = _read_items(data, start, stop, encoding, depth, delimited=False)
        elif vr == "UN" and length >= 8:
            _try_sequence(data, element, encoding, depth)
        return element, stop
    element = Element(tag, vr, position, start, start, encoding)
    element.undefined = True
    if vr == "SQ":
        element.items, stop = _read_items(data, start, end, encoding, depth, delimited=True)
    elif vr == "UN":
        # PS3.5 6.2.2: UN of undefined length holds a sequence in implicit little endian.
        element.items, element.item_encoding, stop = _read_unknown_items(data, start, end, encoding, depth)
    elif vr in ("OB", "OW"):
        stop = _skip_fragments(data, start, end, encoding)
    else:
        raise _MalformedError(f"{describe(tag)} of VR {vr} has an undefined length")
    element.value_end = stop - 8
    element.end = stop
    return element, stop


@lru_cache(maxsize=20_000)
def _implicit_vr(tag: int) -> str:
    if tag & 0x00010000:
        return "LO" if 0x10 <= tag & 0xFFFF <= 0xFF else "UN"
    if tag & 0xFFFF == 0:
        return "UL"
    if not dictionary_has_tag(tag) and not 0x50000000 <= tag <= 0x60FFFFFF:
        return "UN"
    try:
        vr = dictionary_VR(tag)
    except KeyError:
        return "UN"
    # Ambiguous entries ("US or SS", "OB or OW"): both have the same layout, and OW allows fragments.
    return vr if len(vr) == 2 else ("OW" if "OW" in vr else vr[:2])


def _try_sequence(data: Data, element: Element, encoding: Encoding, depth: int) -> None:
    """Find out whether a value of unknown representation is a sequence, so that rules see what is inside."""
    start, stop = element.value_start, element.value_end
    for candidate in dict.fromkeys((IMPLICIT_LITTLE, encoding)):
        expected = b"\xfe\xff\x00\xe0" if candidate.little else b"\xff\xfe\xe0\x00"
        if data[start : start + 4] != expected:
            continue
        try:
            element.items, _ = _read_items(data, start, stop, candidate, depth, delimited=False)
        except _MalformedError:
            continue
        element.item_encoding = candidate
        return
    # A standard sequence that cannot be read could hide anything.
    if not element.tag & 0x00010000 and dictionary_has_tag(element.tag) and dictionary_VR(element.tag) == "SQ":
        raise _MalformedError(f"{describe(element.tag)} is a sequence that cannot be read")


def _read_unknown_items(
    data: Data, start: int, end: int, encoding: Encoding, depth: int
) -> tuple[list[Item], Encoding, int]:
    first: _MalformedError | None = None
    for candidate in dict.fromkeys((IMPLICIT_LITTLE, encoding)):
        try:
            items, stop = _read_items(data, start, end, candidate, depth, delimited=True)
        except _MalformedError as error:
            first = first or error
        else:
            return items, candidate, stop
    raise first or _MalformedError("a value of unknown representation cannot be read")


def _read_items(
    data: Data, position: int, end: int, encoding: Encoding, depth: int, *, delimited: bool
) -> tuple[list[Item], int]:
    little = encoding.little
    items: list[Item] = []
    while position < end:
        if end - position < 8:
            raise _MalformedError("a sequence is cut off")
        group, number = _TAG[little].unpack_from(data, position)
        length = _U32[little].unpack_from(data, position + 4)[0]
        tag = group << 16 | number
        position += 8
        if delimited and tag == _SEQUENCE_END:
            if length:
                raise _MalformedError("a sequence delimiter with a length")
            return items, position
        if tag != _ITEM:
            raise _MalformedError("something other than an item in a sequence")
        undefined = length == UNDEFINED
        if not undefined and position + length > end:
            raise _MalformedError("an item reaches beyond its sequence")
        stop = end if undefined else position + length
        elements, position = _read_elements(data, position, stop, encoding, depth + 1, delimited=undefined)
        items.append(Item(elements, undefined))
    if delimited:
        raise _MalformedError("a sequence without its delimiter")
    return items, position


def _skip_fragments(data: Data, position: int, end: int, encoding: Encoding) -> int:
    """Walk over encapsulated pixel data (PS3.5 A.4) and return the position after its delimiter."""
    little = encoding.little
    while end - position >= 8:
        group, number = _TAG[little].unpack_from(data, position)
        length = _U32[little].unpack_from(data, position + 4)[0]
        tag = group << 16 | number
        position += 8
        if tag == _SEQUENCE_END:
            if length:
                raise _MalformedError("a sequence delimiter with a length")
            return position
        if tag != _ITEM or length == UNDEFINED or position + length > end:
            break
        position += length
    raise _MalformedError("encapsulated pixel data is cut off or damaged")


def _name_creators(data: Data, elements: list[Element]) -> None:
    """Tell each private element who defined its block (PS3.5 7.8.1)."""
    creators: dict[int, str] = {}
    for element in elements:
        tag = element.tag
        if not tag & 0x00010000:
            continue
        number = tag & 0xFFFF
        if 0x10 <= number <= 0xFF:
            value = data[element.value_start : element.value_end]
            creators[(tag & 0xFFFF0000) | number] = value.decode("latin-1").strip("\0 ")
        elif number >= 0x1000:
            element.creator = creators.get((tag & 0xFFFF0000) | (number >> 8))
