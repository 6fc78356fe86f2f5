"""What else in an instance shows or tells something: beside its picture, or in a form that no rule can look into.

==============================================  ================================================================
bits of pixel cells beside the pixels           cleared, whether or not an overlay says that it lies there
bytes after the last frame                      zeros
thumbnails, Exif, comments in compressed frames  zeros of the same length; so is what follows the end of a frame
frames beyond Number of Frames                  the instance is refused
video, sound, pixels on a server                the instance is refused
overlays, curves, icons, pixels in sequences    removed at any depth (:mod:`deid_service.rules.compile`)
documents                                       :mod:`deid_service.pixels.documents`
handwriting in graphic annotations              :mod:`deid_service.pixels.graphics`
==============================================  ================================================================
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

import numpy as np

from deid_service.errors import Refused
from deid_service.pixels.codestream_extras import extras, says_something
from deid_service.pixels.fragments import Span, frame_positions
from deid_service.pixels.layout import Layout, layout_of
from deid_service.pixels.spare_bits import cleared, has_planes
from deid_service.wire import Element, Source

__all__ = ["refuse_unseen", "without_extras"]

Part = bytes | memoryview

_PIXEL_DATA: Final = 0x7FE00010
_OVERLAY_POSITIONS: Final = frozenset(0x60000102 | group << 17 for group in range(128))
_OVERLAY_DATA: Final = 0x3000 - 0x0102
_SOP_CLASS: Final = 0x00080016
_GE_BIG_ENDIAN_PIXELS: Final = "1.2.840.113619.5.2"
# MPEG-2, MPEG-4 and HEVC (PS3.5 A.4.5 to A.4.12), and live video (PS3.22)
_VIDEO: Final = frozenset(
    {f"1.2.840.10008.1.2.4.{number}{form}" for number in range(100, 109) for form in ("", ".1")}
    | {f"1.2.840.10008.1.2.7.{number}" for number in range(1, 4)}
)
# Pixels that a server hands out, by an address in the instance (PS3.5 A.6 to A.8)
_JPIP: Final = frozenset({f"1.2.840.10008.1.2.4.{number}" for number in (94, 95, 204, 205)})
_SOUND: Final = frozenset({"1.2.840.10008.5.1.4.1.1.9.4.1", "1.2.840.10008.5.1.4.1.1.9.4.2"})


def refuse_unseen(source: Source) -> None:
    """Refuse an instance whose content nothing here can read or look at.

    Parameters
    ----------
    source : Source
        An instance, read.

    Raises
    ------
    Refused
        ``video``, ``sound``, or ``pixels_elsewhere`` if a server hands the pixels out.
    """
    if source.transfer_syntax in _VIDEO:
        raise Refused("video")
    if source.transfer_syntax in _JPIP:
        raise Refused("pixels_elsewhere")
    for element in source.elements:
        if element.tag > _SOP_CLASS:
            return
        if element.tag == _SOP_CLASS and source.value(element).strip(b"\0 ").decode("latin-1") in _SOUND:
            raise Refused("sound")


def without_extras(source: Source) -> dict[int, list[Part]]:
    """Return the pixel data without what is stored in it besides the pixels.

    Parameters
    ----------
    source : Source
        An instance, read. Its data may be a mapped file: what does not change is not copied.

    Returns
    -------
    dict of int to list of bytes-like
        The whole element Pixel Data in parts, header included; empty if there is nothing to clean. Frames keep their
        places and lengths, and every pixel its value.

    Raises
    ------
    Refused
        ``burned_in_text_possible`` if an overlay lies in bits of compressed pixels, or in those of the pixels
        themselves; ``pixels_not_decodable`` if there are more frames than the header says, or it does not say how the
        pixels are to be read.
    """
    element = next((one for one in reversed(source.elements) if one.tag == _PIXEL_DATA), None)
    if element is None or element.value_start == element.value_end:
        return {}
    if element.undefined:
        if _hidden_overlays(source, range(256)):
            raise Refused("burned_in_text_possible", "an overlay is hidden in unused bits of compressed pixels")
        return _joined(source, element, _compressed(source, element))
    layout = layout_of(source)
    length = element.value_end - element.value_start
    # Truncated pixels are for the decoders to judge; here only what there is too much of counts.
    if length >= (layout.frame_bits * layout.number + 7) // 8:
        layout = layout.sampled(length)
    used = range(layout.high_bit - layout.bits_stored + 1, layout.high_bit + 1)
    if any(position in used for position in _hidden_overlays(source, range(256))):
        raise Refused("burned_in_text_possible", "an overlay is hidden among the bits of the pixels")
    cells = min((layout.frame_bits * layout.number + 7) // 8, length)
    value = memoryview(source.data)[element.value_start : element.value_start + cells]
    parts: list[Part] = [value]
    dtype = _cell(source, layout)
    if dtype is not None:
        whole = value[: len(value) // dtype.itemsize * dtype.itemsize]
        bits = layout.bits_stored, layout.high_bit
        if has_planes(whole, dtype, *bits, signed=layout.signed):
            parts = [*cleared(whole, dtype, *bits, signed=layout.signed), value[len(whole) :]]
    rest = memoryview(source.data)[element.value_start + cells : element.end]
    if parts == [value] and not says_something(rest):
        return {}
    head = memoryview(source.data)[element.start : element.value_start]
    return {_PIXEL_DATA: [head, *parts, bytes(len(rest))]}


def _hidden_overlays(source: Source, positions: range) -> list[int]:
    """Return where overlays say that they lie in the pixels, if they have no data of their own (PS3.5 8.1.2)."""
    have = {element.tag for element in source.elements if element.value_end > element.value_start}
    found = []
    for element in source.elements:
        if element.tag in _OVERLAY_POSITIONS and element.tag + _OVERLAY_DATA not in have:
            number = int.from_bytes(source.value(element)[:2], "little" if source.encoding.little else "big")
            if number in positions:
                found.append(number)
    return found


def _cell(source: Source, layout: Layout) -> np.dtype[Any] | None:
    """Return a cell of native pixels as it is stored; None if it has no bits to spare."""
    if layout.floating or layout.bits_allocated not in (8, 16, 32) or layout.bits_stored >= layout.bits_allocated:
        return None
    big = not source.encoding.little or source.transfer_syntax == _GE_BIG_ENDIAN_PIXELS
    return np.dtype(f"{'>' if big else '<'}u{layout.bits_allocated // 8}")


def _compressed(source: Source, element: Element) -> Iterator[Span]:
    """Yield what is to be blanked in encapsulated pixel data."""
    number = layout_of(source).number
    data = memoryview(source.data)
    for fragments in frame_positions(source, element, number):
        if len(fragments) == 1:
            start, end = fragments[0]
            yield from ((start + one, start + two) for one, two in extras(data[start:end]))
        else:
            yield from _across(fragments, extras(b"".join(data[start:end] for start, end in fragments)))


def _across(fragments: Iterable[Span], spans: list[Span]) -> Iterator[Span]:
    """Find spans of a frame in its fragments."""
    before = 0
    for start, end in fragments:
        size = end - start
        for one, two in spans:
            first, last = max(one - before, 0), min(two - before, size)
            if first < last:
                yield start + first, start + last
        before += size


def _joined(source: Source, element: Element, spans: Iterable[Span]) -> dict[int, list[Part]]:
    """Put an element together with zeros in some places."""
    data = memoryview(source.data)
    parts: list[Part] = []
    position = element.start
    for start, end in spans:
        parts += [data[position:start], bytes(end - start)]
        position = end
    return {_PIXEL_DATA: [*parts, data[position : element.end]]} if parts else {}
