"""Orthanc's identifiers as few bytes: at ten million instances, hexadecimal text would be a fifth of the index."""

from __future__ import annotations

import re

__all__ = ["pack_id", "unpack_id"]

_SHA1 = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{8}){4}")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_OTHER = b"="


def pack_id(text: str) -> bytes:
    """Return an identifier as bytes.

    Parameters
    ----------
    text
        Orthanc's form of a SHA-1 sum becomes 20 bytes, a UUID 16; anything else its UTF-8 bytes, marked and filled up
        to a length that is neither.
    """
    if _SHA1.fullmatch(text) or _UUID.fullmatch(text):
        return bytes.fromhex(text.replace("-", ""))
    packed = _OTHER + text.encode()
    return packed + _OTHER if len(packed) in (16, 20) else packed


def unpack_id(packed: bytes) -> str:
    """Return the identifier that `pack_id` was given."""
    if len(packed) in (16, 20):
        text = packed.hex()
        sizes = (8, 8, 8, 8, 8) if len(packed) == 20 else (8, 4, 4, 4, 12)
        parts, start = [], 0
        for size in sizes:
            parts.append(text[start : start + size])
            start += size
        return "-".join(parts)
    text = packed[1:].decode()
    return text[:-1] if len(packed) in (17, 21) and text.endswith("=") else text
