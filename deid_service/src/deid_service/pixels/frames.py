"""The frames of an instance, one at a time, whatever they are stored in (PS3.3 C.7.6.3, PS3.5 section 8).

Nothing is decoded before it is asked for, and only one frame is in memory at a time: the data of a large instance may
be a mapped file. Pixels in big endian byte order, which the standard retired, are held in memory in little endian.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from deid_service.errors import Refused
from deid_service.pixels import codecs
from deid_service.pixels.fragments import Span, frame_positions
from deid_service.pixels.layout import Layout, layout_of
from deid_service.wire import Element, Source

__all__ = ["FrameReader", "open_frames"]

_PIXEL_DATA: Final = 0x7FE00010
_GE_BIG_ENDIAN_PIXELS: Final = "1.2.840.113619.5.2"


def open_frames(source: Source, *, cleared: bool = False) -> FrameReader:
    """Open the pixel data of an instance.

    Parameters
    ----------
    source : Source
        An instance, read.
    cleared : bool
        Whether cells come without the bits that are no part of the pixels.

    Returns
    -------
    FrameReader

    Raises
    ------
    Refused
        ``pixels_not_decodable`` if there are none, if header and pixel data disagree, or if their form is one that
        nothing here reads: video, JPEG XL.
    """
    return FrameReader(source, cleared=cleared)


class FrameReader:
    """Reads frames. See :func:`open_frames`.

    Attributes
    ----------
    layout : Layout
        What the header says; each of its attributes is here too.
    number, rows, columns, samples : int
        Frames, their size, and samples of a pixel.
    bits_allocated, bits_stored, high_bit : int
        Of a sample.
    signed : bool
        Pixel Representation.
    photometric : str
        Photometric Interpretation, as the header has it.
    decoded_photometric : str
        That of decoded frames. Differs where the codec undoes a transformation of colours or has all samples of
        pixels which are stored without some, and where the codestreams contradict the header.
    planar : int
        Planar Configuration, as the header has it; decoded frames always have the samples of a pixel together.
    transfer_syntax : str
        Transfer syntax UID.
    native : bool
        Whether the pixels are not compressed.
    element : Element
        The element that holds the pixels.
    swapped : int
        Native pixels in big endian byte order: bytes of the numbers that they are stored as. Otherwise 1.
    cleared : bool
        Whether cells come without the bits that are no part of the pixels.
    """

    def __init__(self, source: Source, *, cleared: bool = False) -> None:
        self.cleared = cleared
        self.layout = layout = layout_of(source)
        self.number, self.rows, self.columns = layout.number, layout.rows, layout.columns
        self.samples, self.planar, self.photometric = layout.samples, layout.planar, layout.photometric
        self.bits_allocated, self.bits_stored, self.high_bit = (
            layout.bits_allocated,
            layout.bits_stored,
            layout.high_bit,
        )
        self.signed = layout.signed
        self.transfer_syntax = source.transfer_syntax
        self.element = next(element for element in source.elements if element.tag == layout.tag)
        self.native = not self.element.undefined
        self.swapped = 1
        self._positions: list[tuple[Span, ...]] = []
        if self.native:
            if codecs.is_compressed(self.transfer_syntax):
                raise Refused("pixels_not_decodable", "the pixel data is not encapsulated as its transfer syntax says")
            self.swapped = _swapped(source, self.element, layout)
            self._value = memoryview(source.data)[self.element.value_start : self.element.value_end]
            if self.swapped > 1:
                if len(self._value) % self.swapped:
                    raise Refused("pixels_not_decodable", "the pixel data ends inside a number")
                self._value = memoryview(np.frombuffer(self._value, f"u{self.swapped}").byteswap().tobytes())
            self.layout = layout = layout.sampled(len(self._value))
            self.decoded_photometric = layout.decoded_photometric
        else:
            if not codecs.is_compressed(self.transfer_syntax):
                raise Refused("pixels_not_decodable", "the pixel data is encapsulated, and its transfer syntax is not")
            codecs.require_decoder(self.transfer_syntax)
            self._value = memoryview(source.data)
            self._positions = frame_positions(source, self.element, layout.number)
            self.decoded_photometric = codecs.decoded_photometric(self.raw(0), layout, self.transfer_syntax)

    @property
    def value(self) -> memoryview:
        """The whole value, if it is native: little endian, with what follows the last frame."""
        assert self.native
        return self._value

    def fragments(self, index: int) -> tuple[Span, ...]:
        """Return where the fragments of a compressed frame stand in the data of the instance."""
        return self._positions[index]

    def raw(self, index: int) -> bytes | memoryview:
        """Return a frame as it is stored: two frames with equal bytes show the same.

        Parameters
        ----------
        index : int
            Of the frame, from 0.

        Returns
        -------
        bytes or memoryview
            A codestream (its fragments joined), or little endian pixels. Of pixels of one bit, packed, those of this
            frame alone from the first bit on.
        """
        if not self.native:
            found = [self._value[start:end] for start, end in self._positions[index]]
            return found[0] if len(found) == 1 else b"".join(found)
        if self.layout.bits_allocated == 1:
            return np.packbits(self.layout.native_bits(self._slice, index), bitorder="little").tobytes()
        size = self.layout.frame_size
        return self._value[index * size : (index + 1) * size]

    def cells(self, index: int) -> NDArray[Any]:
        """Decode a frame to its cells: all bits allocated, also those that are no part of the pixels, if not `cleared`.

        Parameters
        ----------
        index : int
            Of the frame, from 0.

        Returns
        -------
        ndarray, shape (rows, columns) or (rows, columns, samples)
            Unsigned integers of ``bits_allocated`` bits (8 for pixels of one bit), or floats. Read-only.

        Raises
        ------
        Refused
            ``pixels_not_decodable``.
        """
        if self.native:
            cells = self.layout.native_cells(self._slice, index)
        else:
            cells = codecs.decode(self.raw(index), self.layout, self.transfer_syntax)
        if self.cleared:
            cells = self.layout.cleared(cells)
        cells.flags.writeable = False
        return cells

    def decode(self, index: int) -> NDArray[Any]:
        """Decode a frame to its pixels' values.

        Parameters
        ----------
        index : int
            Of the frame, from 0.

        Returns
        -------
        ndarray, shape (rows, columns) or (rows, columns, samples)
            In ``decoded_photometric``. Integers of ``bits_allocated`` bits (8 for pixels of one bit), signed if the
            pixels are; or floats. Read-only.

        Raises
        ------
        Refused
            ``pixels_not_decodable``.
        """
        values = self.layout.values(self.cells(index))
        values.flags.writeable = False
        return values

    def _slice(self, start: int, end: int) -> memoryview:
        return self._value[start:end]


def _swapped(source: Source, element: Element, layout: Layout) -> int:
    """Return the size of the numbers whose bytes are stored in the other order; 1 if none are."""
    ge = source.transfer_syntax == _GE_BIG_ENDIAN_PIXELS
    if (source.encoding.little and not ge) or (ge and layout.bits_allocated <= 8):
        return 1
    if layout.tag != _PIXEL_DATA:
        return layout.bits_allocated // 8
    if layout.bits_allocated > 16:
        raise Refused("pixels_not_decodable", "big endian pixels of more than 16 bits have no single meaning")
    return 1 if element.vr == "OB" else 2
