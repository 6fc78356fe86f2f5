"""Writing a data set that was read in another layout: implicit or explicit, big or little endian (PS3.5 section 7).

Values are copied as they are; only headers change, and the byte order of numbers where the source is big endian.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from pydicom.datadict import dictionary_has_tag, dictionary_VR

from deid_service.wire.elements import PIXEL_TAGS, Element, Source
from deid_service.wire.encoding import LONG_VRS, UNDEFINED, Encoding

__all__ = ["little_endian_value", "relayout"]

Buffer = bytes | memoryview

_NUMBER_SIZES: Final = {
    **dict.fromkeys(("AT", "OW", "SS", "US"), 2),
    **dict.fromkeys(("FL", "OF", "OL", "SL", "UL"), 4),
    **dict.fromkeys(("FD", "OD", "OV", "SV", "UV"), 8),
}
_PIXEL_REPRESENTATION: Final = 0x00280103


def relayout(source: Source, target: Encoding, changes: Mapping[int, Sequence[Buffer] | None]) -> list[Buffer]:
    """Write the data set of `source` in another layout.

    Parameters
    ----------
    source : Source
        A file, read.
    target : Encoding
        The layout to write; little endian.
    changes : mapping of int to (sequence of bytes or memoryview, or None)
        Top-level elements that are written otherwise, by tag: the whole element with its header, in pieces, or None to
        leave it out. Those that the source lacks are added.

    Returns
    -------
    list of bytes or memoryview
        To be joined. Views hold pixels and nothing else.
    """
    chunks: list[Buffer] = []
    pending = dict(sorted(changes.items()))
    signed = _is_signed(source, source.elements, signed=False)
    for element in source.elements:
        for tag in [tag for tag in pending if tag < element.tag]:
            chunks += pending.pop(tag) or ()
        if element.tag in pending:
            chunks += pending.pop(element.tag) or ()
        elif element.tag in PIXEL_TAGS and element.items is None:
            chunks += _pixels(source, element, target)
        else:
            _write(chunks, source, element, source.encoding, target, signed=signed)
    for extra in pending.values():
        chunks += extra or ()
    return chunks


def _write(
    chunks: list[Buffer], source: Source, element: Element, encoding: Encoding, target: Encoding, *, signed: bool
) -> None:
    """Write one element; `signed` says how ambiguous numbers are to be taken (PS3.5 Annex A)."""
    if encoding == target:
        chunks.append(source.data[element.start : element.end])
        return
    verbatim = source.data[element.value_start : element.end]  # of undefined length: with its delimiter
    if element.items is not None and (element.vr == "SQ" or not target.explicit):
        body: list[Buffer] = []
        for item in element.items:
            inner: list[Buffer] = []
            inner_signed = _is_signed(source, item.elements, signed=signed)
            for child in item.elements:
                _write(inner, source, child, element.item_encoding, target, signed=inner_signed)
            body += [target.item(sum(map(len, inner))), *inner]
        chunks += [target.header(element.tag, "SQ", sum(map(len, body))), *body]
    elif element.undefined:
        # Fragments, or a sequence encoded as UN: implicit little endian whatever is around it (PS3.5 6.2.2).
        chunks += [target.header(element.tag, element.vr, UNDEFINED), verbatim]
    else:
        value = little_endian_value(source, element, encoding)
        vr = element.vr if encoding.explicit else _stated_vr(element, signed=signed)
        if len(value) > 0xFFFF and vr not in LONG_VRS:
            vr = "UN"  # PS3.5 6.2.2: what a 16-bit length cannot say
        chunks += [target.header(element.tag, vr, len(value)), value]


def _pixels(source: Source, element: Element, target: Encoding) -> list[Buffer]:
    """Write pixels of the top level, in views where they stay as they are."""
    view = memoryview(source.data)
    if source.encoding == target:
        return [view[element.start : element.end]]
    length = UNDEFINED if element.undefined else element.value_end - element.value_start
    value: Buffer = view[element.value_start : element.end]  # of undefined length: with its delimiter
    if not source.encoding.little and not element.undefined:
        value = little_endian_value(source, element, source.encoding)
    return [target.header(element.tag, element.vr, length), value]


def _is_signed(source: Source, elements: list[Element], *, signed: bool) -> bool:
    for element in elements:
        if element.tag == _PIXEL_REPRESENTATION:
            return b"\x01" in source.value(element)
    return signed


def _stated_vr(element: Element, *, signed: bool) -> str:
    """Return the VR to state for an element of an implicit data set."""
    tag = element.tag
    if tag & 0x00010000 or not dictionary_has_tag(tag):
        return element.vr
    known = dictionary_VR(tag)
    if known == "US or SS":
        return "SS" if signed else "US"
    if known == "US or OW" or known == "US or SS or OW":
        return "US" if element.value_end - element.value_start == 2 else "OW"
    return element.vr


def little_endian_value(source: Source, element: Element, encoding: Encoding) -> bytes:
    """Return an element's value with its numbers in little endian order.

    Parameters
    ----------
    source : Source
        The file.
    element : Element
        One of its elements, without items.
    encoding : Encoding
        How the data set around the element is laid out.
    """
    value = source.value(element)
    size = _NUMBER_SIZES.get(element.vr, 1)
    if encoding.little or size == 1 or len(value) % size:
        return value
    swapped = bytearray(len(value))
    for offset in range(size):
        swapped[offset::size] = value[size - 1 - offset :: size]
    return bytes(swapped)
