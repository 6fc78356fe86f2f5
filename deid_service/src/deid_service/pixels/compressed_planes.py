"""Bits of compressed pixels that are no part of them, though no header speaks of them (PS3.5 8.1.1).

A codestream may have more bits than Bits Stored says. Viewers that believe the header do not show them, others do.
Frames that say something in such bits are encoded anew without them.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from deid_service._buffers import spool
from deid_service.errors import Refused
from deid_service.pixels import codecs
from deid_service.pixels.boxes import Regions
from deid_service.pixels.codestream import read_codestream
from deid_service.pixels.frames import FrameReader, open_frames
from deid_service.pixels.layout import Layout, layout_of
from deid_service.pixels.rewrite import rewrite_pixels
from deid_service.pixels.spare_bits import has_planes
from deid_service.transforms.transcode import check_copy, with_pixels
from deid_service.wire import PIXEL_TAGS, Source, read

__all__ = ["without_planes"]

_WITHOUT_HEADER: Final = frozenset({codecs.RLE, codecs.DEFLATED_FRAMES})
_JPEG_2000: Final = frozenset(f"1.2.840.10008.1.2.4.{number}" for number in (90, 91, 201, 202, 203))
_LOSSY: Final = frozenset(f"1.2.840.10008.1.2.4.{number}" for number in (50, 51, 53, 55, 81))
# What lossy compression adds to the brightest and takes from the darkest pixels, as a share of their range
_OVERSHOOT: Final = 1 / 8


def without_planes(source: Source) -> Source:
    """Return an instance whose compressed pixels say nothing in bits that are no part of them.

    Frames are decoded only if their codestream has such bits.

    Parameters
    ----------
    source : Source
        An instance, read.

    Returns
    -------
    Source
        The same object if there is nothing to clean. Otherwise one in which every pixel has its value, in the same
        transfer syntax, or a lossless one if there is no encoder for it.

    Raises
    ------
    Refused
        ``burned_in_text_possible`` if the bits belong to pixels that were compressed with a loss: without them, others
        would change; ``pixels_not_decodable``; ``not_transcodable``; ``verification_failed``.
    """
    element = next((one for one in reversed(source.elements) if one.tag in PIXEL_TAGS), None)
    if element is None or not element.undefined or not codecs.has_decoder(source.transfer_syntax):
        return source
    layout = layout_of(source)
    if layout.bits_stored == layout.bits_allocated:
        return source
    reader = open_frames(source)
    if not any(_says_something(reader, index) for index in range(reader.number)):
        return source
    new = rewrite_pixels(source, Regions(), clear=True)
    again = read(spool(with_pixels(source, new)))
    check_copy(source, again, new)
    return again


def _says_something(reader: FrameReader, index: int) -> bool:
    """Tell whether a frame has something in bits beside its pixels."""
    layout, syntax = reader.layout, reader.transfer_syntax
    lossy = syntax in _LOSSY
    if syntax not in _WITHOUT_HEADER:
        stream = read_codestream(reader.raw(index))
        if stream.precision <= layout.bits_stored == layout.high_bit + 1:
            return False
        lossy = lossy or (syntax in _JPEG_2000 and not stream.reversible)
    cells = reader.cells(index)
    value = memoryview(np.ascontiguousarray(cells).tobytes())
    if not has_planes(value, layout.dtype, layout.bits_stored, layout.high_bit, signed=layout.signed):
        return False
    if not lossy:
        return True
    if _is_overshoot(cells, layout):
        return False
    raise Refused("burned_in_text_possible", "pixels compressed with a loss have more bits than the header says")


def _is_overshoot(cells: NDArray[Any], layout: Layout) -> bool:
    """Tell whether values beyond the range of the pixels are no further away than lossy compression takes them."""
    if layout.high_bit + 1 != layout.bits_stored:
        return False
    values = cells.view(f"i{cells.dtype.itemsize}") if layout.signed else cells
    steps = 1 << layout.bits_stored
    low, high = (-steps // 2, steps // 2 - 1) if layout.signed else (0, steps - 1)
    beyond = int(steps * _OVERSHOOT)
    return bool(values.min() >= low - beyond and values.max() <= high + beyond)
