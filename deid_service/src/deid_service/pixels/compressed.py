"""Writing compressed pixel data: frames that no box touches keep their fragments, byte for byte (PS3.5 A.4)."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from deid_service.errors import Refused
from deid_service.pixels import codecs
from deid_service.pixels.boxes import Box, Regions
from deid_service.pixels.codestream import read_codestream
from deid_service.pixels.frames import FrameReader
from deid_service.pixels.jpeg import black_area, mask_jpeg
from deid_service.pixels.layout import Layout
from deid_service.pixels.mask import Black, inside
from deid_service.pixels.native import regions_within
from deid_service.pixels.parts import Joined, Parts

__all__ = ["Encapsulated", "digest", "encode_frames", "mask_jpeg_frames", "masked_cells"]

_ITEM: Final = b"\xfe\xff\x00\xe0"
_LARGEST_OFFSET: Final = 2**32 - 1
_LARGEST_FRAGMENT: Final = 2**32 - 2
_WHOLE_CELLS: Final = frozenset({codecs.RLE, codecs.DEFLATED_FRAMES})


@dataclass(frozen=True, slots=True)
class Encapsulated:
    """Frames, encoded.

    Attributes
    ----------
    buffers : list of memoryview
        Their fragments, as items, without a table of offsets.
    starts, ends : list of int
        Where the items of each frame begin and end in the joined buffers.
    single : bool
        Whether each frame has one fragment only.
    encoded : collection of int
        The frames that were encoded anew.
    regions : Regions
        What is black: more than was asked for where whole blocks were blacked out.
    """

    buffers: list[memoryview]
    starts: list[int]
    ends: list[int]
    single: bool
    encoded: Collection[int]
    regions: Regions

    def tables(self, *, extended: bool) -> tuple[bytes, bytes, bytes]:
        """Return the tables of offsets.

        Parameters
        ----------
        extended : bool
            Whether to write the extended one even if the basic one could hold the offsets.

        Returns
        -------
        basic, offsets, lengths : bytes
            Values of the Basic Offset Table, and of the Extended Offset Table and its lengths. Only one of both is
            written; none if the frames lie beyond what the basic one can say and have several fragments.
        """
        if self.single and (extended or self.starts[-1] > _LARGEST_OFFSET):
            lengths = [end - start - 8 for start, end in zip(self.starts, self.ends, strict=True)]
            return b"", struct.pack(f"<{len(lengths)}Q", *self.starts), struct.pack(f"<{len(lengths)}Q", *lengths)
        if self.starts[-1] > _LARGEST_OFFSET:
            return b"", b"", b""
        return struct.pack(f"<{len(self.starts)}I", *self.starts), b"", b""


class _Writer:
    """Appends frames, and reads back what was appended."""

    def __init__(self, reader: FrameReader, base: memoryview) -> None:
        self._reader = reader
        self._parts = Parts(base)
        self._starts: list[int] = []
        self._ends: list[int] = []
        self._single = True

    def keep(self, index: int) -> None:
        """Append a frame as it is stored."""
        spans = self._reader.fragments(index)
        self._starts.append(self._parts.length)
        for start, end in spans:
            self._parts.copy(start - 8, end)
        self._ends.append(self._parts.length)
        self._single = self._single and len(spans) == 1

    def add(self, codestream: bytes) -> None:
        """Append a frame of one fragment."""
        if len(codestream) > _LARGEST_FRAGMENT:
            raise Refused("not_transcodable", "a frame is too large for a fragment")
        self._starts.append(self._parts.length)
        self._parts.write(_ITEM + struct.pack("<I", len(codestream)))
        self._parts.write(codestream)
        self._ends.append(self._parts.length)

    def finish(self, regions: Regions, checks: dict[int, Callable[[bytes], None]]) -> Encapsulated:
        """Read frames back and have each checked."""
        buffers = self._parts.buffers()
        joined = Joined(buffers)
        for index, check in checks.items():
            start, end = self._starts[index], self._ends[index]
            if bytes(joined.read(start, start + 8)) != _ITEM + struct.pack("<I", end - start - 8):
                raise Refused("verification_failed", "a frame does not stand where it was written")
            check(bytes(joined.read(start + 8, end)))
        return Encapsulated(buffers, self._starts, self._ends, self._single, checks.keys(), regions)


def encode_frames(
    reader: FrameReader, base: memoryview, regions: Regions, black: Black | None, uid: str, layout: Layout
) -> Encapsulated:
    """Mask frames and encode them without loss.

    Parameters
    ----------
    reader : FrameReader
        Frames to mask.
    base : memoryview
        The data of the instance.
    regions : Regions
        What is blacked out.
    black : Black or None
        By what; None if nothing is.
    uid : str
        Transfer syntax to write. If it is that of the source, frames without a box keep their fragments, unless the
        reader clears cells.
    layout : Layout
        That of decoded frames.

    Raises
    ------
    Refused
        ``pixels_not_decodable``, ``not_transcodable`` or ``verification_failed``.
    """
    same = uid == reader.transfer_syntax
    writer = _Writer(reader, base)
    checks: dict[int, Callable[[bytes], None]] = {}
    for index in range(reader.number):
        boxes = regions_within(reader, regions, index)
        if same and not boxes and not reader.cleared:
            writer.keep(index)
            continue
        cells = masked_cells(reader, index, regions, black)
        precision, signed, transform = layout.high_bit + 1, layout.signed, False
        if not reader.native:
            raw = reader.raw(index)
            colours = codecs.decoded_photometric(raw, reader.layout, reader.transfer_syntax)
            if colours != reader.decoded_photometric:
                raise Refused("pixels_not_decodable", "the colours of the frames are not all stored alike")
            if reader.transfer_syntax not in _WHOLE_CELLS:
                stream = read_codestream(raw)
                precision = max(precision, stream.precision)
                signed = stream.signed if same else signed
                transform = same and stream.transformed
        writer.add(codecs.encode(cells, layout, uid, precision=precision, signed=signed, transform=transform))
        whole = uid in _WHOLE_CELLS or precision >= layout.bits_allocated
        checks[index] = _same_pixels(cells, layout, uid, whole=whole)
    return writer.finish(regions, checks)


def masked_cells(reader: FrameReader, index: int, regions: Regions, black: Black | None) -> NDArray[Any]:
    """Decode a frame with its boxes blacked out, and see that nothing else changed.

    Parameters
    ----------
    reader, regions, black
        As for :func:`encode_frames`.
    index : int
        Of the frame, from 0.

    Returns
    -------
    ndarray, shape (rows, columns) or (rows, columns, samples)
        Cells, contiguous.
    """
    cells = reader.cells(index)
    boxes = regions_within(reader, regions, index)
    if boxes:
        assert black is not None
        before, cells = cells, black.apply(cells, boxes)
        black.check(before, cells, boxes)
    return np.ascontiguousarray(cells)


def _same_pixels(cells: NDArray[Any], layout: Layout, uid: str, *, whole: bool) -> Callable[[bytes], None]:
    """Return a check that a codestream decodes to these cells: all of them, or the pixels' values in them."""
    expected = digest(cells if whole else layout.values(cells))

    def check(codestream: bytes) -> None:
        decoded = codecs.decode(codestream, layout, uid)
        if digest(decoded if whole else layout.values(decoded)) != expected:
            raise Refused("verification_failed", "an encoded frame does not hold the same pixels")

    return check


def digest(cells: NDArray[Any]) -> bytes:
    """Return a digest of cells, by which frames are compared that are not held in memory."""
    return hashlib.sha256(np.ascontiguousarray(cells).tobytes()).digest()


def mask_jpeg_frames(reader: FrameReader, base: memoryview, regions: Regions, black: Black) -> Encapsulated | None:
    """Mask frames of JPEG in their compressed form.

    Parameters
    ----------
    reader, base, regions, black
        As for :func:`encode_frames`.

    Returns
    -------
    Encapsulated or None
        None if a frame is of a kind of JPEG for which there is no such way.

    Raises
    ------
    Refused
        ``pixels_not_decodable`` or ``verification_failed``.
    """
    writer = _Writer(reader, base)
    checks: dict[int, Callable[[bytes], None]] = {}
    by_frame: dict[int, tuple[Box, ...]] = {}
    for index in range(reader.number):
        boxes = regions_within(reader, regions, index)
        if not boxes:
            writer.keep(index)
            continue
        raw = bytes(reader.raw(index))
        new = mask_jpeg(raw, boxes, reader.photometric, black.stored)
        area = black_area(raw, boxes)
        if new is None or area is None:
            return None
        writer.add(new + b"\0" * (len(new) % 2))
        by_frame[index] = area.boxes
        checks[index] = _same_outside(reader, index, area.boxes, area.margin, black)
    return writer.finish(Regions(by_frame=by_frame), checks)


def _same_outside(
    reader: FrameReader, index: int, boxes: Sequence[Box], margin: int, black: Black
) -> Callable[[bytes], None]:
    """Return a check that a frame is black inside boxes and as it was outside.

    Within `margin` pixels of the boxes' edges, on both sides, only the brightness counts: decoders interpolate colours.
    """

    def check(codestream: bytes) -> None:
        before, after = reader.cells(index), codecs.decode(codestream, reader.layout, reader.transfer_syntax)
        if not margin:
            black.check(before, after, boxes)
            return
        within, grown = (inside(before.shape, [box.grown(by) for box in boxes]) for by in (0, margin))
        core = ~_grown(~within, margin)
        cells = black.cells(before, boxes)
        outside = np.array_equal(before[~grown], after[~grown]) and np.array_equal(
            before[~within][:, 0], after[~within][:, 0]
        )
        if not outside:
            raise Refused("verification_failed", "pixels outside of the boxes have changed")
        if not (after[within][:, 0] == cells[0]).all() or not (after[core] == cells).all():
            raise Refused("verification_failed", "pixels inside the boxes are not black")

    return check


def _grown(mask: NDArray[np.bool_], by: int) -> NDArray[np.bool_]:
    """Return the pixels that are set, and those at most `by` rows and columns away."""
    rows, columns = mask.shape
    padded = np.pad(mask, by)
    found = np.zeros_like(mask)
    for row in range(2 * by + 1):
        for column in range(2 * by + 1):
            found |= padded[row : row + rows, column : column + columns]
    return found
