"""Palettes: the colours that the pixels of a PALETTE COLOR image stand for (PS3.3 C.7.6.3.1.5 and C.7.6.3.1.6)."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.pixels.processing import apply_color_lut

from deid_service.errors import Refused
from deid_service.wire import Source
from deid_service.wire.relayout import little_endian_value

__all__ = ["Palette", "read_palette"]

_DESCRIPTORS: Final = (0x00281101, 0x00281102, 0x00281103)
_DATA: Final = frozenset({0x00281201, 0x00281202, 0x00281203, 0x00281221, 0x00281222, 0x00281223})


@dataclass(frozen=True, slots=True)
class Palette:
    """Colours of stored values.

    Attributes
    ----------
    first : int
        The stored value of the first entry. Lower values have its colour too, values beyond the last that of the last.
    colours : ndarray of uint8 or uint16, shape (n, 3)
        Red, green and blue; the highest value of the type is the brightest.
    """

    first: int
    colours: NDArray[Any]

    def luminance(self) -> NDArray[np.float64]:
        """Return the brightness of each entry, from 0 to 1 (weights of ITU-R BT.601)."""
        weights = np.array([0.299, 0.587, 0.114]) / np.iinfo(self.colours.dtype).max
        return self.colours @ weights


def read_palette(source: Source, *, signed: bool) -> Palette:
    """Read the palette of an instance, plain or segmented.

    Parameters
    ----------
    source : Source
        An instance with PALETTE COLOR pixels.
    signed : bool
        Whether its pixels are signed.

    Raises
    ------
    Refused
        ``pixels_not_decodable`` if there is none, or it cannot be read.
    """
    dataset = Dataset()
    dataset.set_original_encoding(is_implicit_vr=False, is_little_endian=True)  # a segmented palette wants to know
    first = entries = 0
    for element in source.elements:
        if element.tag in _DESCRIPTORS:
            value = source.value(element)
            if len(value) != 6:
                raise Refused("pixels_not_decodable", "the palette's descriptor is malformed")
            numbers = np.frombuffer(value, "<u2" if source.encoding.little else ">u2")
            entries, first = int(numbers[0]) or 65536, int(numbers[1:2].astype("i2")[0] if signed else numbers[1])
            dataset.add_new(element.tag, "US", [int(number) for number in numbers])
        elif element.tag in _DATA:
            dataset.add_new(element.tag, "OW", bytes(little_endian_value(source, element, source.encoding)))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            colours = apply_color_lut(np.arange(entries), _from_zero(dataset))
    except Exception as error:  # noqa: BLE001 - whatever is wrong with it, the image cannot be shown
        raise Refused("pixels_not_decodable", f"the palette cannot be read ({type(error).__name__})") from None
    return Palette(first, colours[:, :3])


def _from_zero(dataset: Dataset) -> Dataset:
    """Let the palette begin with value 0: all of its entries are wanted."""
    for tag in _DESCRIPTORS:
        dataset[tag].value = [dataset[tag].value[0], 0, dataset[tag].value[2]]
    return dataset
