"""How data elements are laid out in bytes (PS3.5 sections 6.2 and 7.1)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from pydicom.uid import UID_dictionary  # type: ignore[attr-defined]

from deid_service.errors import Refused

__all__ = [
    "ALL_VRS",
    "BINARY_VRS",
    "IMPLICIT_LITTLE",
    "LONG_VRS",
    "SINGLE_VALUE_VRS",
    "TEXT_VRS",
    "UNDEFINED",
    "Encoding",
    "encoding_of",
    "is_deflated",
]

UNDEFINED: Final = 0xFFFFFFFF
"""The value length that means: read until the delimiter (PS3.5 7.1.1)."""

LONG_VRS: Final = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"})
"""Value representations with a 32-bit length in explicit encodings."""

BINARY_VRS: Final = frozenset(
    {"AT", "FD", "FL", "OB", "OD", "OF", "OL", "OV", "OW", "SL", "SQ", "SS", "SV", "UL", "UN", "US", "UV"}
)
"""Value representations whose value is not text."""

TEXT_VRS: Final = frozenset(
    {"AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UR", "UT"}
)
"""Value representations whose value is text."""

SINGLE_VALUE_VRS: Final = frozenset({"LT", "ST", "UT", "UR"})
"""Texts in which a backslash is a character, not a separator (PS3.5 6.4)."""

ALL_VRS: Final = BINARY_VRS | TEXT_VRS
"""Every value representation of the standard."""

_DEFLATED: Final = frozenset({"1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205"})
_PRIVATE_IMPLICIT: Final = frozenset({"1.2.840.113619.5.2"})  # GE's implicit little endian with big endian pixels


@dataclass(frozen=True, slots=True)
class Encoding:
    """One of the ways to lay out a data set.

    Attributes
    ----------
    explicit : bool
        Whether each element states its value representation.
    little : bool
        Whether numbers are little endian.
    """

    explicit: bool
    little: bool

    @property
    def order(self) -> str:
        """Byte order as :mod:`struct` writes it."""
        return "<" if self.little else ">"

    def header(self, tag: int, vr: str, length: int) -> bytes:
        """Encode tag, value representation and length of one element.

        Parameters
        ----------
        tag : int
            32-bit tag.
        vr : str
            Value representation; only written in explicit encodings.
        length : int
            Value length in bytes, or :data:`UNDEFINED`.

        Returns
        -------
        bytes, shape (8,) or (12,)

        Raises
        ------
        Refused
            ``malformed`` if the length does not fit a 16-bit length field.
        """
        order = self.order
        if not self.explicit:
            return struct.pack(f"{order}HHI", tag >> 16, tag & 0xFFFF, length)
        if vr in LONG_VRS:
            return struct.pack(f"{order}HH2sHI", tag >> 16, tag & 0xFFFF, vr.encode(), 0, length)
        if length > 0xFFFF:
            raise Refused("malformed", f"a value of ({tag >> 16:04X},{tag & 0xFFFF:04X}) is too long for VR {vr}")
        return struct.pack(f"{order}HH2sH", tag >> 16, tag & 0xFFFF, vr.encode(), length)

    def item(self, length: int) -> bytes:
        """Encode the header of a sequence item; `length` may be :data:`UNDEFINED`."""
        return struct.pack(f"{self.order}HHI", 0xFFFE, 0xE000, length)

    def item_end(self) -> bytes:
        """Encode an item delimitation item."""
        return struct.pack(f"{self.order}HHI", 0xFFFE, 0xE00D, 0)

    def sequence_end(self) -> bytes:
        """Encode a sequence delimitation item."""
        return struct.pack(f"{self.order}HHI", 0xFFFE, 0xE0DD, 0)


IMPLICIT_LITTLE: Final = Encoding(explicit=False, little=True)
_EXPLICIT_LITTLE: Final = Encoding(explicit=True, little=True)
_EXPLICIT_BIG: Final = Encoding(explicit=True, little=False)


def encoding_of(transfer_syntax: str) -> Encoding:
    """Tell how the data set of a transfer syntax is laid out (PS3.5 section 10).

    Parameters
    ----------
    transfer_syntax : str
        Transfer syntax UID.

    Returns
    -------
    Encoding

    Raises
    ------
    Refused
        ``unknown_transfer_syntax`` if it is not the standard's. Syntaxes newer than pydicom's dictionary are explicit
        little endian, like every one since 1996 (PS3.5 A.4).
    """
    if transfer_syntax == "1.2.840.10008.1.2" or transfer_syntax in _PRIVATE_IMPLICIT:
        return IMPLICIT_LITTLE
    if transfer_syntax == "1.2.840.10008.1.2.2":
        return _EXPLICIT_BIG
    entry = UID_dictionary.get(transfer_syntax)
    known = entry[1] == "Transfer Syntax" if entry else transfer_syntax.startswith("1.2.840.10008.1.2.")
    if not known:
        raise Refused("unknown_transfer_syntax")
    return _EXPLICIT_LITTLE


def is_deflated(transfer_syntax: str) -> bool:
    """Tell whether the data set of a transfer syntax is compressed as a whole (PS3.5 A.5)."""
    return transfer_syntax in _DEFLATED
