"""Masking pixels that are not compressed: rows without a box are not even copied (PS3.5 8.1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from deid_service.pixels.boxes import Box, Regions
from deid_service.pixels.frames import FrameReader
from deid_service.pixels.mask import Black, fill
from deid_service.pixels.parts import Joined, Parts

__all__ = ["check_native", "mask_native", "regions_within", "splits_pairs"]

_BITS_OF_A_BYTE: Final = 8


def splits_pairs(reader: FrameReader, regions: Regions) -> bool:
    """Tell whether a box takes one pixel of two that are stored with a common chrominance."""
    return reader.layout.halved and any(
        box.left % 2 or not box.right % 2
        for index in range(reader.number)
        for box in regions_within(reader, regions, index)
    )


def regions_within(reader: FrameReader, regions: Regions, index: int) -> list[Box]:
    """Return the boxes of a frame, cut to its size; those beside it are left out."""
    cut = (box.within(reader.rows, reader.columns) for box in regions.of(index))
    return [box for box in cut if box is not None]


def mask_native(reader: FrameReader, regions: Regions, black: Black) -> Parts:
    """Black out boxes in native pixels.

    Parameters
    ----------
    reader : FrameReader
        Native pixels. Boxes may not take one pixel of a pair (:func:`splits_pairs`).
    regions : Regions
        What is blacked out.
    black : Black
        By what.

    Returns
    -------
    Parts
        The new value, little endian, of even length. What followed the last frame is left out.
    """
    parts = Parts(reader.value)
    if reader.layout.bits_allocated == 1:
        _mask_bits(reader, regions, black, parts)
    else:
        for index in range(reader.number):
            _mask_frame(reader, index, regions_within(reader, regions, index), black, parts)
    parts.write(b"\0" * (parts.length % 2))
    return parts


def _mask_frame(reader: FrameReader, index: int, boxes: Sequence[Box], black: Black, parts: Parts) -> None:
    layout = reader.layout
    size = layout.frame_size
    start, end = index * size, (index + 1) * size
    if not boxes:
        parts.copy(start, end)
        return
    cells = black.cells(reader.cells(index), boxes) if layout.floating else black.cells(np.empty(0), boxes)
    separate = layout.planar == 1 and layout.samples > 1 and not layout.halved
    planes = layout.samples if separate else 1
    row = size // planes // layout.rows
    position = start
    for plane in range(planes):
        origin = start + plane * row * layout.rows
        for top, bottom, here in _bands(boxes):
            first, last = origin + top * row, origin + (bottom + 1) * row
            parts.copy(position, first)
            band = np.frombuffer(reader.value[first:last], layout.dtype).copy()
            shifted = [Box(box.left, box.top - top, box.right, box.bottom - top) for box in here]
            height = bottom + 1 - top
            if layout.halved:
                pairs = [Box(box.left // 2, box.top, box.right // 2, box.bottom) for box in shifted]
                fill(band.reshape(height, layout.columns // 2, 4), pairs, cells[[0, 0, 1, 2]])
            elif separate:
                fill(band.reshape(height, layout.columns), shifted, cells[plane : plane + 1])
            else:
                fill(band.reshape(height, *layout.shape[1:]), shifted, cells)
            parts.write(band.tobytes())
            position = last
    parts.copy(position, end)


def _bands(boxes: Sequence[Box]) -> list[tuple[int, int, list[Box]]]:
    """Group boxes into bands of rows: first row, last row, boxes."""
    bands: list[tuple[int, int, list[Box]]] = []
    for box in sorted(boxes, key=lambda box: box.top):
        if bands and box.top <= bands[-1][1] + 1:
            top, bottom, here = bands[-1]
            bands[-1] = (top, max(bottom, box.bottom), [*here, box])
        else:
            bands.append((box.top, box.bottom, [box]))
    return bands


def _mask_bits(reader: FrameReader, regions: Regions, black: Black, parts: Parts) -> None:
    """Mask pixels of one bit, eight frames at a time: those begin and end with a byte."""
    layout = reader.layout
    for group in range(0, reader.number, _BITS_OF_A_BYTE):
        frames = range(group, min(group + _BITS_OF_A_BYTE, reader.number))
        boxes = {index: regions_within(reader, regions, index) for index in frames}
        first = group * layout.frame_bits // 8
        last = (frames.stop * layout.frame_bits + 7) // 8
        if not any(boxes.values()):
            parts.copy(first, last)
            continue
        packed = np.frombuffer(reader.value[first:last], np.uint8)
        bits = np.unpackbits(packed, bitorder="little")
        shaped = bits[: len(frames) * layout.frame_bits].reshape(len(frames), *layout.shape)
        for index, here in boxes.items():
            fill(shaped[index - group], here, black.cells(shaped, here))
        parts.write(np.packbits(bits, bitorder="little").tobytes())


def check_native(reader: FrameReader, regions: Regions, black: Black, value: Joined) -> None:
    """Read masked pixels back and compare them with what they were.

    Parameters
    ----------
    reader, regions, black
        As for :func:`mask_native`.
    value : Joined
        What it made.

    Raises
    ------
    Refused
        ``verification_failed``.
    """
    for index in range(reader.number):
        boxes = regions_within(reader, regions, index)
        if boxes:
            black.check(reader.cells(index), reader.layout.native_cells(value.read, index), boxes)
