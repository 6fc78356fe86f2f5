"""What the first bytes of a compressed frame say about it: JPEG and JPEG-LS (ITU-T T.81, T.87), JPEG 2000 (T.800).

The header of an instance and the codestreams inside do not always agree. Decoders follow the codestream, so what is
decoded is understood, and encoded again, as the codestream says.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from deid_service.errors import Refused

__all__ = ["Codestream", "read_codestream"]

_START_OF_IMAGE: Final = b"\xff\xd8"
_START_OF_CODESTREAM: Final = b"\xff\x4f\xff\x51"
_JP2_SIGNATURE: Final = b"\0\0\0\x0cjP"
# Frame headers: every SOF of T.81 but DHT, JPG and DAC, which lie between them; SOF55 is that of JPEG-LS.
_FRAME_HEADERS: Final = frozenset(set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7})
_JFIF: Final = 0xE0
_ADOBE: Final = 0xEE
_START_OF_SCAN: Final = 0xDA
_CODING_STYLE: Final = 0x52
_START_OF_TILE: Final = 0x90


@dataclass(frozen=True, slots=True)
class Codestream:
    """The header of one codestream.

    Attributes
    ----------
    rows, columns, samples : int
        Size, and number of components.
    precision : int
        Bits of one sample.
    signed : bool
        Whether samples are signed; only JPEG 2000 can say so.
    colours : str
        ``RGB`` or ``YBR`` if the codestream itself says so, else empty.
    transformed : bool
        JPEG 2000: whether components were transformed, which a decoder undoes.
    reversible : bool
        JPEG 2000: whether its wavelets are those without loss; what was cut off is lost all the same.
    """

    rows: int
    columns: int
    samples: int
    precision: int
    signed: bool = False
    colours: str = ""
    transformed: bool = False
    reversible: bool = False


def read_codestream(data: bytes | memoryview) -> Codestream:
    """Read the header of a JPEG, JPEG-LS or JPEG 2000 codestream.

    Parameters
    ----------
    data : bytes
        One frame; for JPEG 2000 also in its file format, JP2.

    Raises
    ------
    Refused
        ``pixels_not_decodable`` if there is none, or it is one that nothing here can decode: components of different
        sizes or depths.
    """
    head = bytes(data[:65536])
    try:
        if head[:2] == _START_OF_IMAGE:
            return _jpeg(head)
        start = 0
        if head.startswith(_JP2_SIGNATURE):
            start = head.find(_START_OF_CODESTREAM)
        if start >= 0 and head.startswith(_START_OF_CODESTREAM, start):
            return _jpeg_2000(head, start)
    except (struct.error, IndexError):
        raise Refused("pixels_not_decodable", "the header of a compressed frame is cut off") from None
    raise Refused("pixels_not_decodable", "a compressed frame does not begin as its transfer syntax says")


def _jpeg(head: bytes) -> Codestream:
    position = 2
    told = ""  # by a marker: Adobe's prevails over that of JFIF
    adobe = False
    while True:
        while head[position] != 0xFF:
            position += 1
        while head[position] == 0xFF:
            position += 1
        marker = head[position]
        (length,) = struct.unpack_from(">H", head, position + 1)
        body = position + 3
        if marker in _FRAME_HEADERS:
            precision, rows, columns, samples = struct.unpack_from(">BHHB", head, body)
            names = bytes(head[body + 6 + 3 * index] for index in range(samples))
            colours = told or ("RGB" if names in (b"RGB", b"rgb") else "")
            return Codestream(rows, columns, samples, precision, colours=colours)
        if marker == _START_OF_SCAN:
            raise Refused("pixels_not_decodable", "a compressed frame has no frame header")
        if marker == _ADOBE and head.startswith(b"Adobe", body) and length >= 14:
            told, adobe = "YBR" if head[body + 11] else "RGB", True
        elif marker == _JFIF and head.startswith(b"JFIF\0", body) and not adobe:
            told = "YBR"
        position += 1 + length


def _jpeg_2000(head: bytes, start: int) -> Codestream:
    length, _, right, bottom, left, top = struct.unpack_from(">HHIIII", head, start + 4)
    (samples,) = struct.unpack_from(">H", head, start + 40)
    parts = [struct.unpack_from(">BBB", head, start + 42 + 3 * index) for index in range(samples)]
    if not parts or len(set(parts)) > 1 or parts[0][1:] != (1, 1):
        raise Refused("pixels_not_decodable", "the components of a JPEG 2000 frame differ in size or depth")
    depth = parts[0][0]
    transformed = reversible = False
    position = start + 4 + length
    while True:
        code, marker, length = struct.unpack_from(">BBH", head, position)
        if code != 0xFF or marker == _START_OF_TILE:
            break
        if marker == _CODING_STYLE:
            transformed, reversible = head[position + 8] == 1, head[position + 13] == 1
        position += 2 + length
    return Codestream(
        bottom - top,
        right - left,
        samples,
        (depth & 0x7F) + 1,
        signed=depth > 0x7F,
        transformed=transformed,
        reversible=reversible,
    )
