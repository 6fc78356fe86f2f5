"""Where the frames of RLE and of deflated frames end, which do not say so themselves (PS3.5 A.4.2, A.4.13 and G).

Decoders stop once they have all pixels. Whatever follows stays in the file and no viewer shows it.
"""

from __future__ import annotations

import importlib
import struct
import zlib
from collections.abc import Callable, Iterator
from functools import cache
from itertools import pairwise
from typing import Final

from deid_service.pixels.codestream_extras import Span, says_something
from deid_service.pixels.layout import Layout

__all__ = ["after_deflated", "beside_runs"]

_NO_OPERATION: Final = 0x80  # what decoders of run lengths skip (PS3.5 G.3.2)
_HEADER: Final = 64
_MOST_SEGMENTS: Final = 15


def after_deflated(data: bytes | memoryview) -> list[Span]:
    """Find what follows a deflated frame.

    Parameters
    ----------
    data : bytes or memoryview
        A frame.

    Returns
    -------
    list of (int, int)
        At most one place; none if the frame is damaged, which is for the decoder to say.
    """
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        # Piece by piece: how much it becomes is not looked at here.
        left: bytes | memoryview = data
        while left and not inflater.eof:
            inflater.decompress(left, 2**20)
            left = inflater.unconsumed_tail
    except zlib.error:
        return []
    rest = inflater.unused_data
    return [(len(data) - len(rest), len(data))] if inflater.eof and says_something(rest) else []


def beside_runs(data: bytes | memoryview, layout: Layout) -> list[tuple[Span, int]]:
    """Find what of an RLE frame is no run of its pixels: in the header, between segments, and after the last run.

    Parameters
    ----------
    data : bytes or memoryview
        A frame.
    layout : Layout
        What the header of the instance says.

    Returns
    -------
    list of ((int, int), int)
        Places, in order, and the byte that each is to be blanked with; none if the frame is damaged, which is for the
        decoder to say.
    """
    length = len(data)
    expected = layout.samples * max(layout.bits_allocated // 8, 1)
    if length < _HEADER or expected > _MOST_SEGMENTS:
        return []
    number, *offsets = struct.unpack_from("<16I", data)
    starts = offsets[:number]
    edges = [_HEADER - 1, *starts, length]
    if number != expected or any(one >= two for one, two in pairwise(edges)):
        return []
    size = (layout.frame_bits + 7) // 8 if layout.bits_allocated == 1 else layout.rows * layout.columns
    found = [((4 + 4 * number, starts[0]), 0)]
    for start, end in pairwise(edges[1:]):
        found += [((start + left, end), _NO_OPERATION) for left in _left(bytes(data[start:end]), size)]
    return [(span, blank) for span, blank in found if says_something(data[slice(*span)])]


def _left(segment: bytes, size: int) -> Iterator[int]:
    """Yield where the runs of a segment end that has more than its pixels."""
    try:
        if len(_decoder()(segment)) == size:
            return  # no run is left; single bytes without a run tell nothing
    except ValueError:
        pass  # the last run is cut off: it could be what is looked for
    position = made = 0
    while made < size and position < len(segment):
        control = segment[position]
        if control < _NO_OPERATION:
            made += control + 1
            position += control + 2
        elif control > _NO_OPERATION:
            made += 257 - control
            position += 2
        else:
            position += 1
    if made == size and position < len(segment):
        yield position


@cache
def _decoder() -> Callable[[bytes], bytes]:
    found: Callable[[bytes], bytes] = importlib.import_module("rle.rle").decode_segment
    return found
