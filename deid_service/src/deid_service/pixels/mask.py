"""Black boxes in one decoded frame, and the proof that nothing else changed.

Black is what is shown as black, as far as the header of an image tells:

- MONOCHROME2 and MONOCHROME1: the end of the range of stored values (Bits Stored, Pixel Representation) that is shown
  darkest. Which end that is depends on the photometric interpretation, on a Presentation LUT Shape of INVERSE, on a
  negative Rescale Slope (of the image or, in functional groups, of its frames) and on Modality and VOI LUTs that fall.
  Windows only ever rise. Pixel Padding Value is left aside: what a viewer takes for padding is background. An image of
  whose frames some are turned round and others are not is refused.
- RGB: 0. YBR: no luminance, chrominance in the middle. CMYK: full black.
- PALETTE COLOR: the darkest entry of the palette. A palette without an entry darker than a tenth of full brightness has
  no black; such images are refused.
- Floating point numbers have no darkest value: the lowest finite one outside the boxes of the same frame (the highest
  where low is bright), 0 if there is none.

Inside a box the whole cell is overwritten, with bits that are no part of the pixels; outside every bit stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from deid_service.errors import Refused
from deid_service.pixels.boxes import Box, cut
from deid_service.pixels.functional_groups import frame_displays
from deid_service.pixels.layout import Layout
from deid_service.pixels.palette import read_palette
from deid_service.wire import DEFAULT_CHARACTER_SET, Element, Source, decode

__all__ = ["Black", "fill", "inside"]

_PRESENTATION_LUT_SHAPE: Final = 0x20500020
_RESCALE_SLOPE: Final = 0x00281053
_LOOKUP_TABLES: Final = (0x00283000, 0x00283010)  # Modality LUT Sequence, VOI LUT Sequence
_LOOKUP_DATA: Final = 0x00283006
_DARK: Final = 0.1


class Black:
    """The value that is shown as black in the frames of an instance.

    Parameters
    ----------
    source : Source
        The instance.
    layout : Layout
        That of its pixels.
    photometric : str
        Photometric Interpretation of the cells that are to be black: as decoded, see
        :class:`~deid_service.pixels.frames.FrameReader`.

    Raises
    ------
    Refused
        ``pixels_not_maskable`` if there is no such value.
    """

    def __init__(self, source: Source, layout: Layout, photometric: str) -> None:
        self._layout = layout
        self._inverted = False
        highest = (1 << layout.bits_stored) - 1
        middle = 1 << (layout.bits_stored - 1)
        match photometric:
            case "MONOCHROME1" | "MONOCHROME2":
                self._inverted = _inverted(source, photometric, layout.number)
                low, high = (-middle, middle - 1) if layout.signed else (0, highest)
                values = [high if self._inverted else low]
            case "PALETTE COLOR":
                values = [_darkest(source, layout)]
            case "RGB":
                values = [0, 0, 0]
            case "YBR_FULL" | "YBR_FULL_422" | "YBR_RCT" | "YBR_ICT":
                values = [0, middle, middle]
            case "YBR_PARTIAL_422":
                values = [middle // 8, middle, middle]
            case "CMYK":
                values = [0, 0, 0, highest]
            case _:
                raise Refused("pixels_not_maskable", "no rule says which pixels are black in this colour space")
        self._cells = np.zeros(len(values), layout.dtype)
        if not layout.floating:
            mask = (1 << layout.dtype.itemsize * 8) - 1
            shift = layout.high_bit - layout.bits_stored + 1
            self._cells[:] = [value << shift & mask for value in values]

    @property
    def stored(self) -> tuple[int, ...]:
        """The samples of a black pixel as a codestream holds them: bits of the pixel only, without a sign."""
        shift = self._layout.high_bit - self._layout.bits_stored + 1
        return tuple(int(cell) >> shift & (1 << self._layout.bits_stored) - 1 for cell in self._cells)

    def cells(self, frame: NDArray[Any], boxes: Sequence[Box]) -> NDArray[Any]:
        """Return the cells of a black pixel.

        Parameters
        ----------
        frame : ndarray, shape (rows, columns) or (rows, columns, samples)
            What it is for; looked at only if it holds floating point numbers.
        boxes : sequence of Box
            Likewise.

        Returns
        -------
        ndarray, shape (samples,)
            Of the layout's cells.
        """
        if not self._layout.floating:
            return self._cells
        outside = frame[~inside(frame.shape, boxes)]
        outside = outside[np.isfinite(outside)]
        if not outside.size:
            return self._cells
        return np.array([outside.max() if self._inverted else outside.min()], frame.dtype)

    def apply(self, frame: NDArray[Any], boxes: Sequence[Box]) -> NDArray[Any]:
        """Return a copy of a frame's cells with boxes blacked out.

        Parameters
        ----------
        frame : ndarray, shape (rows, columns) or (rows, columns, samples)
            Cells, from :meth:`~deid_service.pixels.frames.FrameReader.cells`.
        boxes : sequence of Box
            May overlap and reach beyond the frame.
        """
        masked = frame.copy()
        fill(masked, boxes, self.cells(frame, boxes))
        return masked

    def check(self, before: NDArray[Any], after: NDArray[Any], boxes: Sequence[Box]) -> None:
        """Make sure that boxes are black and everything else is as it was.

        Parameters
        ----------
        before, after : ndarray
            Cells of the same frame.
        boxes : sequence of Box
            Likewise.

        Raises
        ------
        Refused
            ``verification_failed``.
        """
        within = inside(before.shape, boxes)
        # Compared as bits: NaN is not equal to itself.
        width = f"u{before.dtype.itemsize}"
        old, new = np.ascontiguousarray(before).view(width), np.ascontiguousarray(after).view(width)
        if before.shape != after.shape or before.dtype != after.dtype or not np.array_equal(old[~within], new[~within]):
            raise Refused("verification_failed", "pixels outside of the boxes have changed")
        if not (new[within] == self.cells(before, boxes).view(width)).all():
            raise Refused("verification_failed", "pixels inside the boxes are not black")


def fill(frame: NDArray[Any], boxes: Sequence[Box], cells: NDArray[Any]) -> None:
    """Overwrite boxes, in place.

    Parameters
    ----------
    frame : ndarray, shape (rows, columns) or (rows, columns, samples)
        Cells.
    boxes : sequence of Box
        May overlap and reach beyond the frame.
    cells : ndarray, shape (samples,)
        Of one pixel.
    """
    for one in boxes:
        box = one.within(*frame.shape[:2])
        if box is not None:
            cut(frame, box)[...] = cells if frame.ndim == 3 else cells[0]


def inside(shape: tuple[int, ...], boxes: Sequence[Box]) -> NDArray[np.bool_]:
    """Tell which pixels lie in boxes.

    Parameters
    ----------
    shape : tuple of int
        Of the frame; rows and columns count.
    boxes : sequence of Box
        May overlap and reach beyond the frame.

    Returns
    -------
    ndarray of bool, shape (rows, columns)
    """
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    found = np.zeros(shape[:2], np.bool_)
    for box in boxes:
        found |= (rows >= box.top) & (rows <= box.bottom) & (columns >= box.left) & (columns <= box.right)
    return found


def _inverted(source: Source, photometric: str, number: int) -> bool:
    """Tell whether high values are shown dark (PS3.3 C.7.6.3.1.2, C.11.1, C.11.2 and C.11.6)."""
    inverted = photometric == "MONOCHROME1"
    for element in source.elements:
        if element.tag == _PRESENTATION_LUT_SHAPE:
            # Where an image has it, it repeats what the photometric interpretation says (PS3.3 C.8.11.3).
            inverted = inverted or _text(source, element) == "INVERSE"
    slope = 1.0
    for element in source.elements:
        if element.tag == _RESCALE_SLOPE and _text(source, element).startswith("-"):
            slope = -1.0
        elif element.tag in _LOOKUP_TABLES and _falls(source, element):
            inverted = not inverted
    return inverted != _frames_fall(source, number, slope)


def _frames_fall(source: Source, number: int, slope: float) -> bool:
    """Tell whether the rescale of all frames, that of the image where they have none, makes what is bright dark."""
    displays = frame_displays(source)
    falls = {slope < 0} if not displays else set()
    for index in range(number if displays else 0):
        own = displays.get(index, displays.get(None))
        falls.add((slope if own is None or own.slope is None else own.slope) < 0)
    if len(falls) > 1:
        raise Refused("pixels_not_maskable", "some frames are shown the other way round than others")
    return falls.pop()


def _text(source: Source, element: Element) -> str:
    return decode(bytes(source.value(element)), DEFAULT_CHARACTER_SET).strip(" \0").upper()


def _falls(source: Source, sequence: Element) -> bool:
    """Tell whether the first lookup table of a sequence makes what is bright dark."""
    for element in sequence.items[0].elements if sequence.items else []:
        value = source.value(element)
        if element.tag == _LOOKUP_DATA and len(value) >= 4:
            entries = np.frombuffer(value, "<u2" if sequence.item_encoding.little else ">u2", len(value) // 2)
            return bool(entries[0] > entries[-1])
    return False


def _darkest(source: Source, layout: Layout) -> int:
    palette = read_palette(source, signed=layout.signed)
    middle = 1 << (layout.bits_stored - 1)
    low, high = (-middle, middle - 1) if layout.signed else (0, 2 * middle - 1)
    indices = np.arange(palette.first, palette.first + len(palette.colours))
    luminance = np.where((indices >= low) & (indices <= high), palette.luminance(), np.inf)
    darkest = int(np.argmin(luminance))
    if luminance[darkest] > _DARK:
        raise Refused("pixels_not_maskable", "no colour of the palette is dark; write the image as RGB first")
    return int(indices[darkest])
