"""What an instance's header says of its pixels, as far as triage and catalogue want to know it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from deid_service.wire import PIXEL_TAGS, Element, Source

__all__ = ["Header", "header_of"]

_LONGEST: Final = 1024

SOP_CLASS: Final = 0x00080016
IMAGE_TYPE: Final = 0x00080008
MODALITY: Final = 0x00080060
CONVERSION_TYPE: Final = 0x00080064
SERIES_DESCRIPTION: Final = 0x0008103E
DETECTOR_TYPE: Final = 0x00187004
POSITION: Final = 0x00200032
PHOTOMETRIC: Final = 0x00280004
ROWS: Final = 0x00280010
COLUMNS: Final = 0x00280011
BITS_STORED: Final = 0x00280101
BURNED_IN: Final = 0x00280301
LABEL_IN_IMAGE: Final = 0x00480010
DOCUMENT: Final = 0x00420011
IMPLEMENTATION_VERSION: Final = 0x00020013
# Who made a secondary capture or a hard copy, and when (PS3.3 C.8.6.1)
CAPTURE_DEVICES: Final = frozenset(range(0x00181010, 0x00181020)) | {0x00181022, 0x00181023}
_NUMBERS: Final = frozenset({ROWS, COLUMNS, BITS_STORED})
_PRESENT: Final = PIXEL_TAGS | {DOCUMENT, POSITION}
_WANTED: Final = (
    _NUMBERS
    | _PRESENT
    | CAPTURE_DEVICES
    | {
        SOP_CLASS,
        IMAGE_TYPE,
        MODALITY,
        CONVERSION_TYPE,
        SERIES_DESCRIPTION,
        DETECTOR_TYPE,
        PHOTOMETRIC,
        BURNED_IN,
        LABEL_IN_IMAGE,
        0x00080070,  # Manufacturer
        0x00080104,  # Code Meaning
        0x00081090,  # Manufacturer's Model Name
        0x00181020,  # Software Versions
        0x00181030,  # Protocol Name
        0x00281051,  # Window Width
        0x00400310,  # Comments on Radiation Dose
    }
)


@dataclass(frozen=True, eq=False)
class Header:
    """Top-level values, in lower case.

    Attributes
    ----------
    values : mapping of int to str
        By tag; numbers in decimal digits, several values joined by backslashes. Of pixel data, documents and the
        position only whether they are there: the value is empty.
    """

    values: Mapping[int, str]

    def __getitem__(self, tag: int) -> str:
        return self.values.get(tag, "")

    def __contains__(self, tag: int) -> bool:
        return tag in self.values

    def number(self, tag: int) -> int:
        """Return a number; 0 if it is absent."""
        text = self[tag].split("\\")[0]
        return int(text) if text.isdecimal() else 0


def header_of(source: Source) -> Header:
    """Read what is wanted of an instance.

    Parameters
    ----------
    source : Source
        The original.

    Returns
    -------
    Header
        The same object for instances that say the same, as those of one series do.
    """
    raw = tuple(
        (element.tag, b"" if element.tag in _PRESENT else source.value(element)[:_LONGEST])
        for element in source.select(_is_wanted)
    )
    return _header(raw, source.meta.get(IMPLEMENTATION_VERSION, b""), source.encoding.little)


def _is_wanted(element: Element) -> bool:
    return element.tag in _WANTED


@lru_cache(maxsize=512)
def _header(raw: tuple[tuple[int, bytes], ...], version: bytes, little: bool) -> Header:
    values = {IMPLEMENTATION_VERSION: _text(version)}
    for tag, value in raw:
        if tag in _NUMBERS:
            values[tag] = str(int.from_bytes(value[:2], "little" if little else "big")) if len(value) >= 2 else ""
        else:
            values[tag] = _text(value)
    return Header(values)


def _text(value: bytes) -> str:
    # What is compared with it is ASCII, which every character set of DICOM has in the same place.
    return "\\".join(part.strip("\0 ") for part in value.decode("latin-1").casefold().split("\\"))
