"""Encapsulated pixel data: which fragments are which frame, and writing them with tables of offsets (PS3.5 A.4)."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from deid_service.errors import Refused
from deid_service.wire import Element, Source

__all__ = ["EXTENDED_LENGTHS", "EXTENDED_OFFSETS", "frame_positions"]

EXTENDED_OFFSETS: Final = 0x7FE00001
EXTENDED_LENGTHS: Final = 0x7FE00002
"""Extended Offset Table and its lengths (PS3.3 C.7.6.3.1.8)."""

Span = tuple[int, int]
"""Where a fragment's value begins and ends."""

_RLE: Final = "1.2.840.10008.1.2.5"
_STARTS: Final = (b"\xff\xd8", b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP")
_ENDS: Final = b"\xff\xd9"


def frame_positions(source: Source, pixels: Element, number: int) -> list[tuple[Span, ...]]:
    """Tell where the fragments of each frame lie.

    Parameters
    ----------
    source : Source
        An instance.
    pixels : Element
        Its Pixel Data, encapsulated.
    number : int
        Number of Frames.

    Returns
    -------
    list of tuple of (int, int)
        For each frame the positions of its fragments in ``source.data``.

    Raises
    ------
    Refused
        ``pixels_not_decodable`` if the fragments cannot be told apart for certain, or there are more or fewer frames
        than the header says.
    """
    items = _items(source, pixels)
    if not items:
        raise Refused("pixels_not_decodable", "the encapsulated pixel data has no table of offsets")
    (table_start, table_end), *fragments = items
    if not fragments:
        raise Refused("pixels_not_decodable", "the encapsulated pixel data has no fragments")
    if len(fragments) == number:
        return [(span,) for span in fragments]
    first = fragments[0][0] - 8
    starts = _offsets(source, table_start, table_end)
    if starts:
        at = {span[0] - 8 - first: index for index, span in enumerate(fragments)}
        begins = [at.get(offset, -1) for offset in starts]
        if begins[0] != 0 or any(one >= two for one, two in pairwise(begins)):
            raise Refused("pixels_not_decodable", "the table of offsets does not point to the frames")
    elif source.transfer_syntax == _RLE:
        begins = list(range(len(fragments)))  # always a fragment a frame (PS3.5 A.4.2)
    else:
        begins = _codestreams(source, fragments)
    if len(begins) != number:
        raise Refused("pixels_not_decodable", f"the pixel data holds {len(begins)} frames, the header says {number}")
    return [tuple(fragments[one:two]) for one, two in zip(begins, [*begins[1:], len(fragments)], strict=True)]


def _items(source: Source, pixels: Element) -> list[Span]:
    """Return the items; the reader has made sure that they fill the element."""
    spans: list[Span] = []
    data = memoryview(source.data)
    position, end = pixels.value_start, pixels.value_end
    length_of = struct.Struct("<I" if source.encoding.little else ">I").unpack_from
    while position < end:
        (length,) = length_of(data, position + 4)
        spans.append((position + 8, position + 8 + length))
        position += 8 + length
    return spans


def _offsets(source: Source, start: int, end: int) -> list[int]:
    """Return the offsets of the frames from the extended table or the basic one; none if both are empty."""
    for element in source.elements:
        if element.tag == EXTENDED_OFFSETS and element.value_end > element.value_start:
            value = source.value(element)
            return [offset for (offset,) in struct.iter_unpack("<Q", value[: len(value) // 8 * 8])]
    table = bytes(memoryview(source.data)[start:end])
    return [offset for (offset,) in struct.iter_unpack("<I", table[: len(table) // 4 * 4])]


def _codestreams(source: Source, fragments: Sequence[Span]) -> list[int]:
    """Return the fragments that a codestream begins with, after one that ends a codestream."""
    data = memoryview(source.data)
    begins = [0]
    for index, (start, _) in enumerate(fragments[1:], 1):
        _, before = fragments[index - 1]
        if bytes(data[start : start + 6]).startswith(_STARTS) and bytes(data[before - 3 : before]).rstrip(
            b"\0"
        ).endswith(_ENDS):
            begins.append(index)
    return begins
