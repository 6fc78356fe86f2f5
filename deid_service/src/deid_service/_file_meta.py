"""The head of a clean copy: preamble, prefix and file meta information (PS3.10 7.1)."""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import Final

from deid_service.wire import Encoding

__all__ = ["file_meta"]

_EXPLICIT_LITTLE: Final = Encoding(explicit=True, little=True)
# PS3.7 D.3.3.2: who wrote the file. A fixed number under the UUID root.
_IMPLEMENTATION_UID: Final = b"2.25.190146391238740513925704219348107266881"
_IMPLEMENTATION_VERSION: Final = b"RPACS_DEID_1"


def file_meta(sop_class: str, sop_instance: str, transfer_syntax: str) -> bytes:
    """Build preamble, prefix and group 0002 from nothing but what the clean data set says.

    Parameters
    ----------
    sop_class, sop_instance, transfer_syntax : str
        UIDs.

    Returns
    -------
    bytes
        All that stands before the data set.
    """
    before, after = _around_the_name(sop_class, transfer_syntax)
    name = sop_instance.encode()
    name += b"\0" * (len(name) % 2)
    name = _EXPLICIT_LITTLE.header(0x00020003, "UI", len(name)) + name
    length = _EXPLICIT_LITTLE.header(0x00020000, "UL", 4)
    length += struct.pack("<I", len(before) + len(name) + len(after))
    return b"".join((b"\0" * 128, b"DICM", length, before, name, after))


@lru_cache(maxsize=256)
def _around_the_name(sop_class: str, transfer_syntax: str) -> tuple[bytes, bytes]:
    """Return what stands before and after the instance's name in file meta information."""

    def element(tag: int, vr: str, value: bytes) -> bytes:
        return _EXPLICIT_LITTLE.header(tag, vr, len(value)) + value

    def uid(tag: int, value: bytes) -> bytes:
        return element(tag, "UI", value + b"\0" * (len(value) % 2))

    before = element(0x00020001, "OB", b"\x00\x01") + uid(0x00020002, sop_class.encode())
    after = uid(0x00020010, transfer_syntax.encode()) + uid(0x00020012, _IMPLEMENTATION_UID)
    return before, after + element(0x00020013, "SH", _IMPLEMENTATION_VERSION)
