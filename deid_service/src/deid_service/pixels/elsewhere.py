"""What else in an instance shows or tells something: beside its picture, or in a form that no rule can look into.

==============================================  ================================================================
bits of pixel cells beside the pixels           cleared, whether or not an overlay says that it lies there; of pixels
                                                compressed with a loss the instance is refused
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
from dataclasses import replace
from itertools import chain
from typing import Any, Final

import numpy as np

from deid_service._buffers import Part, spool
from deid_service.errors import Refused
from deid_service.pixels import codecs
from deid_service.pixels.codestream_extras import extras, says_something
from deid_service.pixels.compressed_planes import without_planes
from deid_service.pixels.documents import strip_document
from deid_service.pixels.fragments import Span, frame_positions
from deid_service.pixels.frame_ends import after_deflated, beside_runs
from deid_service.pixels.layout import Layout, layout_of
from deid_service.pixels.spare_bits import cleared, has_planes
from deid_service.rules.pixels import PixelRules
from deid_service.transforms.unchecked import Documents
from deid_service.wire import PIXEL_TAGS, Element, Source

__all__ = ["refuse_unseen", "without_extras", "without_hidden"]

_DOCUMENT: Final = 0x00420011
_OVERLAY_POSITIONS: Final = frozenset(0x60000102 | group << 17 for group in range(128))
_OVERLAY_DATA: Final = 0x3000 - 0x0102
_OVERLAY_ELEMENTS: Final = _OVERLAY_POSITIONS | {tag + _OVERLAY_DATA for tag in _OVERLAY_POSITIONS}
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


def without_hidden(source: Source, rules: PixelRules) -> Source:
    """Return an instance without what hides in it, as far as one can be made.

    Parameters
    ----------
    source : Source
        An instance, read.
    rules : PixelRules
        In force for it.

    Returns
    -------
    Source
        Most often the same.

    Raises
    ------
    Refused
        As :func:`refuse_unseen`, unless suspected pixels pass unchecked; as :func:`without_extras` and
        :func:`~deid_service.pixels.compressed_planes.without_planes`; as
        :func:`~deid_service.pixels.documents.strip_document`, if documents are to be stripped.
    """
    if not rules.unchecked:
        refuse_unseen(source)
    if rules.documents is Documents.STRIP and any(element.tag == _DOCUMENT for element in source.elements):
        source = strip_document(source)
    return without_planes(without_extras(source))


def without_extras(source: Source) -> Source:
    """Return an instance whose pixel data holds nothing but pixels.

    Parameters
    ----------
    source : Source
        An instance, read.

    Returns
    -------
    Source
        The same object if there is nothing to clean. Otherwise one of the same layout: frames keep their places and
        lengths, and every pixel its value.

    Raises
    ------
    Refused
        ``burned_in_text_possible`` if an overlay lies in bits of compressed pixels, or in those of the pixels
        themselves; ``pixels_not_decodable`` if there are more frames than the header says, or it does not say how the
        pixels are to be read.
    """
    element = next((one for one in reversed(source.elements) if one.tag in PIXEL_TAGS), None)
    if element is None or element.value_start == element.value_end or source.transfer_syntax in _VIDEO:
        return source
    value = _compressed(source, element) if element.undefined else _native(source, element)
    if value is None:
        return source
    data = memoryview(source.data)
    return replace(source, data=spool([data[: element.value_start], *value, data[element.end :]]))


def _native(source: Source, element: Element) -> Iterable[Part] | None:
    """Return the new value of native pixels; None if it is as the old one."""
    layout = layout_of(source)
    length = element.value_end - element.value_start
    # Truncated pixels are for the decoders to judge; here only what there is too much of counts.
    if length >= (layout.frame_bits * layout.number + 7) // 8:
        layout = layout.sampled(length)
    used = range(layout.high_bit - layout.bits_stored + 1, layout.high_bit + 1)
    if any(position in used for position in _hidden_overlays(source)):
        raise Refused("burned_in_text_possible", "an overlay is hidden among the bits of the pixels")
    cells = min((layout.frame_bits * layout.number + 7) // 8, length)
    value = memoryview(source.data)[element.value_start : element.value_start + cells]
    rest = memoryview(source.data)[element.value_start + cells : element.end]
    dtype = _cell(source, layout)
    if dtype is not None:
        whole = value[: len(value) // dtype.itemsize * dtype.itemsize]
        bits = layout.bits_stored, layout.high_bit
        if has_planes(whole, dtype, *bits, signed=layout.signed):
            # Piece by piece: a large instance does not fit into memory.
            clear = cleared(whole, dtype, *bits, signed=layout.signed)
            return chain(clear, [value[len(whole) :], bytes(len(rest))])
    return [value, bytes(len(rest))] if says_something(rest) else None


def _is_of_overlay(element: Element) -> bool:
    return element.tag in _OVERLAY_ELEMENTS


def _hidden_overlays(source: Source) -> list[int]:
    """Return in which bits of the pixels overlays lie that have no data of their own (PS3.5 8.1.2)."""
    overlays = source.select(_is_of_overlay)
    have = {element.tag for element in overlays if element.value_end > element.value_start}
    found = []
    for element in overlays:
        if element.tag in _OVERLAY_POSITIONS and element.tag + _OVERLAY_DATA not in have:
            number = int.from_bytes(source.value(element)[:2], "little" if source.encoding.little else "big")
            if number:
                found.append(number)
    return found


def _cell(source: Source, layout: Layout) -> np.dtype[Any] | None:
    """Return a cell of native pixels as it is stored; None if it has no bits to spare."""
    if layout.floating or layout.bits_allocated not in (8, 16, 32) or layout.bits_stored >= layout.bits_allocated:
        return None
    big = not source.encoding.little or source.transfer_syntax == _GE_BIG_ENDIAN_PIXELS
    return np.dtype(f"{'>' if big else '<'}u{layout.bits_allocated // 8}")


def _compressed(source: Source, element: Element) -> Iterable[Part] | None:
    """Return the new value of encapsulated pixels; None if it is as the old one."""
    if _hidden_overlays(source):
        raise Refused("burned_in_text_possible", "an overlay is hidden in unused bits of compressed pixels")
    data = memoryview(source.data)
    layout = layout_of(source)
    parts: list[Part] = []
    position = element.value_start
    for fragments in frame_positions(source, element, layout.number):
        whole = data[slice(*fragments[0])] if len(fragments) == 1 else b"".join(data[slice(*one)] for one in fragments)
        for one, blank in _beside(whole, source.transfer_syntax, layout):
            for start, end in _across(fragments, one):
                parts += [data[position:start], bytes([blank]) * (end - start)]
                position = end
    return [*parts, data[position : element.end]] if parts else None


def _beside(frame: bytes | memoryview, syntax: str, layout: Layout) -> list[tuple[Span, int]]:
    """Return where a frame has bytes beside its picture, and what is to be written there."""
    if syntax == codecs.RLE:
        return beside_runs(frame, layout)
    spans = after_deflated(frame) if syntax == codecs.DEFLATED_FRAMES else extras(frame)
    return [(span, 0) for span in spans]


def _across(fragments: Iterable[Span], span: Span) -> Iterator[Span]:
    """Find a span of a frame in its fragments."""
    before = 0
    for start, end in fragments:
        size = end - start
        first, last = max(span[0] - before, 0), min(span[1] - before, size)
        if first < last:
            yield start + first, start + last
        before += size
