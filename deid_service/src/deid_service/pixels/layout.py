"""How pixels are laid out, as the header of an instance says (PS3.3 C.7.6.3)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from deid_service.errors import Refused
from deid_service.wire import PIXEL_TAGS, Element, Source

__all__ = ["Layout", "layout_of"]

_SAMPLES_OF: Final = {
    "MONOCHROME1": 1,
    "MONOCHROME2": 1,
    "PALETTE COLOR": 1,
    "RGB": 3,
    "HSV": 3,
    "YBR_FULL": 3,
    "YBR_FULL_422": 3,
    "YBR_PARTIAL_422": 3,
    "YBR_PARTIAL_420": 3,
    "YBR_ICT": 3,
    "YBR_RCT": 3,
    "XYB": 3,
    "ARGB": 4,
    "CMYK": 4,
}
_HALF_SAMPLED: Final = {"YBR_FULL_422": "YBR_FULL", "YBR_PARTIAL_422": "YBR_PARTIAL_422"}
# What of the header says how pixels are laid out
_TELLING: Final = PIXEL_TAGS | {
    0x00280000 | number for number in (0x02, 0x04, 0x06, 0x08, 0x10, 0x11, 0x0100, 0x0101, 0x0102, 0x0103)
}
_FLOATS: Final = {0x7FE00008: 32, 0x7FE00009: 64}


@dataclass(frozen=True)
class Layout:
    """Size and form of frames.

    Attributes
    ----------
    tag : int
        Of the element with the pixels: Pixel Data, Float Pixel Data or Double Float Pixel Data.
    number, rows, columns, samples : int
        Frames, their size, and samples of a pixel.
    bits_allocated, bits_stored, high_bit : int
        Of a sample.
    signed : bool
        Pixel Representation.
    photometric : str
        Photometric Interpretation.
    planar : int
        Planar Configuration: 1 if each plane of a frame is stored by itself.
    halved : bool
        Whether native pixels are stored in pairs that share their chrominance: Y1 Y2 Cb Cr (PS3.3 C.7.6.3.1.2).
    """

    tag: int
    number: int
    rows: int
    columns: int
    samples: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool
    photometric: str
    planar: int
    halved: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """Of a decoded frame."""
        return (self.rows, self.columns) if self.samples == 1 else (self.rows, self.columns, self.samples)

    @property
    def floating(self) -> bool:
        """Whether the pixels are floating point numbers."""
        return self.tag in _FLOATS

    @property
    def decoded_photometric(self) -> str:
        """Photometric Interpretation of frames that have every sample of every pixel."""
        return _HALF_SAMPLED.get(self.photometric, self.photometric)

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        """Of a cell in memory: unsigned, or floating point."""
        if self.floating:
            return np.dtype(f"<f{self.bits_allocated // 8}")
        return np.dtype(f"<u{max(self.bits_allocated // 8, 1)}")

    @property
    def frame_bits(self) -> int:
        """Bits of a frame that is not compressed."""
        samples = 2 if self.halved else self.samples
        return self.rows * self.columns * samples * self.bits_allocated

    @property
    def frame_size(self) -> int:
        """Bytes of a frame that is not compressed, of pixels of 8 bits or more."""
        return self.frame_bits // 8

    def sampled(self, length: int) -> Layout:
        """Return the layout of native pixels, given the length of their value.

        Parameters
        ----------
        length : int
            In bytes.

        Returns
        -------
        Layout
            With `halved` as it is: some writers say YBR_FULL_422 and store every sample.

        Raises
        ------
        Refused
            ``pixels_not_decodable`` if there are fewer bytes than the header says, or a frame's worth more.
        """
        if length == (self.frame_bits * self.number + 7) // 8 and self.photometric not in _HALF_SAMPLED:
            return self
        candidates = [self]
        if self.photometric in _HALF_SAMPLED and self.columns % 2 == 0:
            candidates = [replace(self, halved=True), self]
        excess = {one: length - (one.frame_bits * one.number + 7) // 8 for one in candidates}
        fitting = [one for one in candidates if 0 <= excess[one] < max(one.frame_bits // 8, 2)]
        if not fitting:
            raise Refused("pixels_not_decodable", "the pixel data is longer or shorter than its header says")
        return min(fitting, key=lambda one: excess[one])

    def arranged(self, cells: NDArray[Any]) -> NDArray[Any]:
        """Bring the cells of a native frame into the form of a decoded one.

        Parameters
        ----------
        cells : ndarray, shape (n,)
            As they are stored.

        Returns
        -------
        ndarray, shape (rows, columns) or (rows, columns, samples)
            A view where that can be.
        """
        if self.halved:
            pairs = cells.reshape(self.rows, self.columns // 2, 4)
            whole = np.empty(self.shape, cells.dtype)
            whole[:, 0::2, 0], whole[:, 1::2, 0] = pairs[:, :, 0], pairs[:, :, 1]
            whole[:, 0::2, 1:] = whole[:, 1::2, 1:] = pairs[:, :, 2:]
            return whole
        if self.samples > 1 and self.planar:
            return cells.reshape(self.samples, self.rows, self.columns).transpose(1, 2, 0)
        return cells.reshape(self.shape)

    def native_bits(self, read: Callable[[int, int], bytes | memoryview], index: int) -> NDArray[np.uint8]:
        """Unpack a native frame of pixels of one bit; it need not begin with a byte (PS3.5 8.1.1).

        Parameters
        ----------
        read : callable
            Returns the bytes of the value from one position to another.
        index : int
            Of the frame, from 0.

        Returns
        -------
        ndarray of uint8, shape (n,)
        """
        first = index * self.frame_bits
        packed = np.frombuffer(read(first // 8, (first + self.frame_bits + 7) // 8), np.uint8)
        return np.unpackbits(packed, bitorder="little")[first % 8 : first % 8 + self.frame_bits]

    def native_cells(self, read: Callable[[int, int], bytes | memoryview], index: int) -> NDArray[Any]:
        """Return the cells of a native frame.

        Parameters
        ----------
        read : callable
            Returns the bytes of the value, little endian, from one position to another.
        index : int
            Of the frame, from 0.

        Returns
        -------
        ndarray, shape (rows, columns) or (rows, columns, samples)
            Of `dtype`. A view where that can be.
        """
        if self.bits_allocated == 1:
            return self.native_bits(read, index).reshape(self.shape)
        size = self.frame_size
        return self.arranged(np.frombuffer(read(index * size, (index + 1) * size), self.dtype))

    def values(self, cells: NDArray[Any]) -> NDArray[Any]:
        """Return the values in cells: without the bits that are no part of them, and with their sign.

        Parameters
        ----------
        cells : ndarray
            Of this layout's `dtype`.

        Returns
        -------
        ndarray
            Of the same shape. Signed integers if the pixels are signed.
        """
        if self.floating or self.bits_allocated == 1:
            return cells
        width = cells.dtype.itemsize * 8
        left, right = width - 1 - self.high_bit, width - self.bits_stored
        values = cells.view(f"<i{width // 8}") if self.signed else cells
        if right:
            values = (values << left) >> right
        return values

    def cleared(self, cells: NDArray[Any]) -> NDArray[Any]:
        """Return cells without the bits that are no part of the pixels.

        Parameters
        ----------
        cells : ndarray
            Of this layout's `dtype`.

        Returns
        -------
        ndarray
            The same pixels; other bits are zero, above signed pixels they repeat the sign.
        """
        if self.floating or self.bits_allocated == 1:
            return cells
        return (self.values(cells) << (self.high_bit + 1 - self.bits_stored)).view(cells.dtype)


def layout_of(source: Source) -> Layout:
    """Read the layout of an instance's pixels.

    Parameters
    ----------
    source : Source
        An instance, read.

    Raises
    ------
    Refused
        ``pixels_not_decodable`` if there are no pixels, or the header says too little or what cannot be.
    """
    said = tuple(
        (element.tag, b"" if element.tag in PIXEL_TAGS else source.value(element)) for element in source.select(_tells)
    )
    return _layout(said, little=source.encoding.little)


def _tells(element: Element) -> bool:
    return element.tag in _TELLING


@lru_cache(maxsize=256)
def _layout(said: tuple[tuple[int, bytes], ...], *, little: bool) -> Layout:
    have = dict(said)
    tags = [tag for tag in sorted(PIXEL_TAGS) if tag in have]
    if len(tags) != 1:
        raise Refused("pixels_not_decodable", "the instance has no pixel data, or several")
    tag = tags[0]

    def number(attribute: int, default: int | None = None) -> int:
        value = have.get(0x00280000 | attribute, b"")
        if len(value) == 2:
            return int.from_bytes(value, "little" if little else "big")
        if value or default is None:
            raise Refused("pixels_not_decodable", f"(0028,{attribute:04X}) is missing or malformed")
        return default

    def text(attribute: int) -> str:
        return have.get(0x00280000 | attribute, b"").decode("ascii", "replace").strip(" \0")

    frames = text(0x0008) or "1"
    if not frames.isascii() or not frames.lstrip("+").isdigit() or int(frames) < 1:
        raise Refused("pixels_not_decodable", "Number of Frames is not a number")
    photometric = text(0x0004)
    samples = number(0x0002, 1)
    if _SAMPLES_OF.get(photometric) != samples:
        raise Refused("pixels_not_decodable", "Photometric Interpretation and Samples per Pixel do not agree")
    allocated = number(0x0100)
    stored = allocated if tag in _FLOATS else number(0x0101, allocated)
    high = stored - 1 if tag in _FLOATS else number(0x0102, stored - 1)
    if allocated not in ((1, 8, 16, 32, 64) if tag not in _FLOATS else (_FLOATS[tag],)):
        raise Refused("pixels_not_decodable", "Bits Allocated is not one that can be read")
    if not 1 <= stored <= allocated or not stored - 1 <= high < allocated:
        raise Refused("pixels_not_decodable", "Bits Stored and High Bit do not fit Bits Allocated")
    layout = Layout(
        tag=tag,
        number=int(frames),
        rows=number(0x0010),
        columns=number(0x0011),
        samples=samples,
        bits_allocated=allocated,
        bits_stored=stored,
        high_bit=high,
        signed=tag not in _FLOATS and number(0x0103, 0) == 1,
        photometric=photometric,
        planar=number(0x0006, 0) if samples > 1 else 0,
    )
    if not layout.rows or not layout.columns:
        raise Refused("pixels_not_decodable", "the image has no rows or no columns")
    return layout
