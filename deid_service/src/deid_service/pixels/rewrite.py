"""The one way in which pixel data is written anew: with boxes blacked out, in another transfer syntax, or both.

Native pixels are masked in place. What is compressed without loss stays in its transfer syntax where there is an
encoder for it (RLE, JPEG-LS, JPEG 2000, deflated frames). JPEG baseline and extended of 8 bits are masked in their
compressed form. Everything else that can be decoded is decoded once and written without loss, see :data:`LOSSLESS`.
All of it is read back before it is handed out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from deid_service.errors import Refused
from deid_service.pixels import codecs
from deid_service.pixels.boxes import Regions
from deid_service.pixels.compressed import Encapsulated, digest, encode_frames, mask_jpeg_frames, masked_cells
from deid_service.pixels.fragments import EXTENDED_LENGTHS, EXTENDED_OFFSETS
from deid_service.pixels.frames import FrameReader, open_frames
from deid_service.pixels.layout import Layout
from deid_service.pixels.mask import Black
from deid_service.pixels.native import check_native, mask_native, regions_within, splits_pairs
from deid_service.pixels.parts import Joined, Parts
from deid_service.wire import UNDEFINED, Source
from deid_service.wire.encoding import encoding_of

__all__ = ["LOSSLESS", "Rewritten", "rewrite_pixels"]

Buffer = bytes | memoryview

_PIXEL_DATA: Final = 0x7FE00010
_PHOTOMETRIC: Final = 0x00280004
_PLANAR: Final = 0x00280006
_LOSSY: Final = 0x00282110
_IN_BLOCKS: Final = frozenset({"1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51"})
_ALWAYS_LOSSY: Final = frozenset(f"1.2.840.10008.1.2.4.{number}" for number in (50, 51, 53, 55, 81))
_ENCODED_AS_THEY_ARE: Final = frozenset(
    {codecs.RLE, codecs.DEFLATED_FRAMES, codecs.JPEG_LS_LOSSLESS, codecs.JPEG_2000_LOSSLESS, codecs.JPEG_2000}
)
_HIGH_THROUGHPUT: Final = "1.2.840.10008.1.2.4.20"

LOSSLESS: Final = (codecs.JPEG_LS_LOSSLESS, codecs.JPEG_2000_LOSSLESS, codecs.RLE, codecs.EXPLICIT_LITTLE)
"""What is written where the transfer syntax of the source cannot be: the first that holds such pixels.

JPEG 2000 comes first for High-Throughput JPEG 2000.
"""


@dataclass(frozen=True, slots=True)
class Rewritten:
    """New elements for an instance's pixels.

    Attributes
    ----------
    transfer_syntax : str
        What they are encoded for.
    elements : dict of int to (list of bytes or memoryview, or None)
        Top-level elements by tag, whole with their headers, to be joined; None for one that goes. Empty if nothing
        changes. Buffers may be mapped: hold them no longer than needed.
    regions : Regions
        What is black now; whole blocks, and so more than was asked for, where JPEG was masked in its compressed form.
    """

    transfer_syntax: str
    elements: dict[int, list[Buffer] | None]
    regions: Regions


def rewrite_pixels(
    source: Source, regions: Regions, transfer_syntax: str | None = None, *, clear: bool = False
) -> Rewritten:
    """Write the pixels of an instance with boxes blacked out, in another transfer syntax, or both.

    Parameters
    ----------
    source : Source
        The instance, read. Its data may be a mapped file: one frame at a time is held in memory.
    regions : Regions
        What is blacked out; may be empty, overlap, and reach beyond the image.
    transfer_syntax : str, optional
        What to write: one of :data:`~deid_service.pixels.codecs.TARGETS`. By default that of the source, or one of
        :data:`LOSSLESS` if there is no encoder for it.
    clear : bool
        Whether all compressed frames are encoded anew without the bits that are no part of their pixels.

    Returns
    -------
    Rewritten
        Read back: every pixel outside the boxes is the same, every one inside is black.

    Raises
    ------
    Refused
        ``pixels_not_decodable``, ``pixels_not_maskable``, ``not_transcodable``, or ``verification_failed``.
    """
    target = transfer_syntax or source.transfer_syntax
    if not regions and target == source.transfer_syntax and not clear:
        return Rewritten(target, {}, Regions())
    reader = open_frames(source, cleared=clear)
    changes = any(regions_within(reader, regions, index) for index in range(reader.number))
    if not changes and target == source.transfer_syntax and not clear:
        return Rewritten(target, {}, Regions())
    black = Black(source, reader.layout, reader.decoded_photometric) if changes else None
    work = _Work(source, reader, regions if changes else Regions(), black)
    if reader.native and not codecs.is_compressed(target):
        return work.native(target)
    if target != source.transfer_syntax:
        return work.decoded(target, asked=True)
    return work.masked(target)


@dataclass(frozen=True, slots=True)
class _Work:
    """One instance on its way."""

    source: Source
    reader: FrameReader
    regions: Regions
    black: Black | None

    def native(self, target: str) -> Rewritten:
        """Mask native pixels in place; the layout of the data set may become another."""
        reader, black = self.reader, self.black
        if splits_pairs(reader, self.regions):
            return self.decoded(target, asked=False)
        if black is None:
            odd = [memoryview(b"\0")] if len(reader.value) % 2 else []
            buffers = [reader.value, *odd]
        else:
            buffers = mask_native(reader, self.regions, black).buffers()
            check_native(reader, self.regions, black, Joined(buffers))
        return Rewritten(target, {reader.layout.tag: self._native_element(target, buffers)}, self.regions)

    def masked(self, target: str) -> Rewritten:
        """Mask compressed pixels; they keep their transfer syntax if they can."""
        if target in _ENCODED_AS_THEY_ARE:
            return self._encoded(target)
        if target in _IN_BLOCKS:
            assert self.black is not None  # otherwise nothing would be written
            found = mask_jpeg_frames(self.reader, memoryview(self.source.data), self.regions, self.black)
            if found is not None:
                return Rewritten(target, self._encapsulated(target, found), found.regions)
        order: Sequence[str] = LOSSLESS
        if target.startswith(_HIGH_THROUGHPUT):
            order = sorted(LOSSLESS, key=lambda uid: uid != codecs.JPEG_2000_LOSSLESS)
        for uid in order:
            if not codecs.is_compressed(uid) or self._holds(uid):
                return self.decoded(uid, asked=False)
        raise AssertionError("pixels that are not compressed can always be written")

    def _holds(self, uid: str) -> bool:
        """Tell whether a transfer syntax can hold the frames, by its encoder's answer to the first."""
        try:
            codecs.encode(self.reader.cells(0), self._decoded_layout(), uid)
        except Refused as refusal:
            if refusal.reason_code != "not_transcodable":
                raise
            return False
        return True

    def decoded(self, target: str, *, asked: bool) -> Rewritten:
        """Decode every frame and write it in another transfer syntax, or with every sample of every pixel."""
        if self.reader.decoded_photometric == "YBR_PARTIAL_422":
            raise Refused("pixels_not_maskable", "YBR_PARTIAL_422 has no form with every sample of every pixel")
        if not codecs.is_compressed(target):
            return self._expanded(target)
        if asked and self.reader.bits_allocated not in (8, 16):
            raise Refused("not_transcodable", f"{codecs.TARGETS[target].name} is written of 8 or 16 bits only")
        return self._encoded(target)

    def _encoded(self, target: str) -> Rewritten:
        """Encode every frame that changes; all of them if the transfer syntax does."""
        reader = self.reader
        base = memoryview(self.source.data)
        layout = self._decoded_layout()
        if target == codecs.DEFLATED_FRAMES:
            layout = replace(layout, planar=reader.planar)  # the only compressed form in which planes may lie apart
        found = encode_frames(reader, base, self.regions, self.black, target, layout)
        elements = self._encapsulated(target, found)
        if target != self.source.transfer_syntax:
            self._describe(elements, target, reader.decoded_photometric)
        elif reader.photometric == "YBR_ICT" and len(found.encoded) == reader.number:
            # What is transformed without loss has a name of its own (PS3.3 C.7.6.3.1.2).
            self._set_text(elements, target, _PHOTOMETRIC, "YBR_RCT")
        return Rewritten(target, elements, found.regions)

    def _expanded(self, target: str) -> Rewritten:
        """Write every sample of every pixel, not compressed."""
        reader, layout = self.reader, self._decoded_layout()
        parts = Parts(memoryview(b""))
        digests: list[bytes] = []
        bits: list[NDArray[Any]] = []
        for index in range(reader.number):
            cells = masked_cells(reader, index, self.regions, self.black)
            digests.append(digest(cells))
            if layout.bits_allocated > 1:
                parts.write(cells.tobytes())
                continue
            bits.append(cells.ravel())
            if len(bits) == 8 or index == reader.number - 1:  # eight frames begin and end with a byte
                parts.write(np.packbits(np.concatenate(bits), bitorder="little").tobytes())
                bits.clear()
        parts.write(b"\0" * (parts.length % 2))
        buffers = parts.buffers()
        value = Joined(buffers)
        for index, expected in enumerate(digests):
            if digest(layout.native_cells(value.read, index)) != expected:
                raise Refused("verification_failed", "a frame does not hold the same pixels")
        elements: dict[int, list[Buffer] | None] = {layout.tag: self._native_element(target, buffers)}
        self._describe(elements, target, layout.photometric)
        return Rewritten(target, elements, self.regions)

    def _decoded_layout(self) -> Layout:
        return replace(self.reader.layout, photometric=self.reader.decoded_photometric, planar=0, halved=False)

    def _native_element(self, target: str, value: Sequence[memoryview]) -> list[Buffer]:
        reader, encoding = self.reader, encoding_of(target)
        if target == self.source.transfer_syntax:
            vr = reader.element.vr
            if reader.swapped > 1:
                swapped = np.frombuffer(b"".join(value), f"u{reader.swapped}").byteswap()
                value = [memoryview(swapped.tobytes())]
        elif reader.layout.floating:
            vr = "OF" if reader.layout.bits_allocated == 32 else "OD"
        else:
            vr = "OW" if reader.layout.bits_allocated > 8 else "OB"  # PS3.5 A.2; implicit layouts do not state it
        length = sum(map(len, value))
        if length >= UNDEFINED:
            raise Refused("not_transcodable", "pixels of more than 4 GB can only be stored compressed")
        return [encoding.header(reader.layout.tag, vr, length), *value]

    def _encapsulated(self, target: str, found: Encapsulated) -> dict[int, list[Buffer] | None]:
        """Write Pixel Data and its tables of offsets."""
        encoding = encoding_of(target)
        tags = {element.tag for element in self.source.elements}
        basic, offsets, lengths = found.tables(extended=EXTENDED_OFFSETS in tags)
        elements: dict[int, list[Buffer] | None] = {}
        for tag, table in ((EXTENDED_OFFSETS, offsets), (EXTENDED_LENGTHS, lengths)):
            if table:
                elements[tag] = [encoding.header(tag, "OV", len(table)), table]
            elif tag in tags:
                elements[tag] = None
        start = encoding.header(_PIXEL_DATA, "OB", UNDEFINED) + encoding.item(len(basic)) + basic
        elements[_PIXEL_DATA] = [start, *found.buffers, encoding.sequence_end()]
        return elements

    def _describe(self, elements: dict[int, list[Buffer] | None], target: str, photometric: str) -> None:
        """Change what the header says of the form of pixels that were decoded."""
        reader = self.reader
        if not reader.native:
            for tag in (EXTENDED_OFFSETS, EXTENDED_LENGTHS):
                if tag not in elements and any(element.tag == tag for element in self.source.elements):
                    elements[tag] = None
        if photometric != reader.photometric:
            self._set_text(elements, target, _PHOTOMETRIC, photometric)
        if reader.samples > 1:
            encoding = encoding_of(target)
            elements[_PLANAR] = [encoding.header(_PLANAR, "US", 2) + b"\0\0"]
        if self.source.transfer_syntax in _ALWAYS_LOSSY:
            self._set_text(elements, target, _LOSSY, "01")

    @staticmethod
    def _set_text(elements: dict[int, list[Buffer] | None], target: str, tag: int, value: str) -> None:
        padded = value.encode("ascii") + b" " * (len(value) % 2)
        elements[tag] = [encoding_of(target).header(tag, "CS", len(padded)) + padded]
