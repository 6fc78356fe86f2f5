"""Black boxes in a JPEG picture without decoding it (PS3.5 8.2.1; ITU-T T.81, baseline and extended, 8 bits).

A picture that is decoded and compressed anew loses quality everywhere. Here only the blocks that a box touches change;
of all others the compressed bits are copied. Why by own code: docs/decisions/0017-jpeg-blocks-by-own-code.md.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from deid_service.pixels.boxes import Box
from deid_service.pixels.jpeg_huffman import HuffmanTable, UnsupportedJpegError, find_blocks, splice

__all__ = ["BlackArea", "black_area", "mask_jpeg"]

_SOI: Final = 0xD8
_EOI: Final = 0xD9
_SOS: Final = 0xDA
_DQT: Final = 0xDB
_DHT: Final = 0xC4
_DRI: Final = 0xDD
_COM: Final = 0xFE
_APP0: Final = 0xE0
_APP14: Final = 0xEE
_FRAMES: Final = frozenset({0xC0, 0xC1})  # baseline and extended sequential, Huffman
_APPLICATION: Final = range(0xE0, 0xF0)
_END_OF_SCAN: Final = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]", re.DOTALL)
_RESTART: Final = re.compile(rb"\xff([\xd0-\xd7])")
# A larger step than this could make a block wrap around in decoders that clamp within a table.
_LARGEST_STEP: Final = 1024


@dataclass(frozen=True, slots=True)
class BlackArea:
    """What becomes of a picture.

    Attributes
    ----------
    boxes : tuple of Box
        All that is black afterwards, within the picture: whole blocks (MCUs), never less than what was asked for.
    margin : int
        Pixels around them whose colour, not brightness, may change in decoders that interpolate colours between blocks;
        0 if colours have the full resolution.
    """

    boxes: tuple[Box, ...]
    margin: int


@dataclass(slots=True)
class _Component:
    identifier: int
    horizontal: int
    vertical: int
    quantisation: int


@dataclass(slots=True)
class _Table:
    """A Huffman table; `key` is its class (0x10 for AC) and number."""

    key: int
    table: HuffmanTable

    def segment(self) -> bytes:
        length = 19 + len(self.table.symbols)
        return b"\xff\xc4" + length.to_bytes(2, "big") + bytes([self.key]) + self.table.counts + self.table.symbols


@dataclass(slots=True)
class _Scan:
    """The entropy-coded bytes of a scan, the components in it, and their DC and AC tables."""

    components: list[int]
    tables: list[tuple[_Table, _Table]]
    data: bytes
    interval: int


@dataclass(slots=True)
class _Picture:
    """A stream, taken apart."""

    rows: int = 0
    columns: int = 0
    components: list[_Component] = field(default_factory=list)
    parts: list[bytes | _Table | _Scan] = field(default_factory=list)
    quantisation: dict[int, int] = field(default_factory=dict)
    huffman: dict[int, _Table] = field(default_factory=dict)
    adobe: int | None = None
    jfif: bool = False

    @property
    def unit(self) -> tuple[int, int]:
        """Columns and rows of an MCU."""
        if len(self.components) == 1:
            return 8, 8
        return 8 * max(one.horizontal for one in self.components), 8 * max(one.vertical for one in self.components)

    @property
    def units(self) -> tuple[int, int]:
        """How many MCUs there are side by side, and one above the other."""
        width, height = self.unit
        return math.ceil(self.columns / width), math.ceil(self.rows / height)


def mask_jpeg(
    codestream: bytes | memoryview, boxes: Sequence[Box], photometric: str = "", black: Sequence[int] | None = None
) -> bytes | None:
    """Black out boxes of a picture in its compressed form.

    The blocks that a box touches become black as displayed: brightness 0, no colour; the highest value where black is
    stored as white (MONOCHROME1); 0 in all three of RGB. Black are whole MCUs, that is 8 by 8 pixels, or up to 16 by 16
    where colours have a lower resolution: see :func:`black_area`. The quantised coefficients of all other blocks are
    the same as before, bit for bit, and so is what every decoder makes of them, with one exception: where colours have
    a lower resolution, decoders that interpolate them ("fancy upsampling") let the last colour of a black block flow
    into the nearest pixels outside, and vice versa. Brightness never changes outside the black area.

    Application data (thumbnails, Exif), comments and what follows the end of the picture are left out of the result.

    Parameters
    ----------
    codestream : bytes or memoryview
        One frame: JPEG baseline, or extended with 8 bits a sample. Any subsampling, restart intervals, several scans.
    boxes : sequence of Box
        In pixels of the frame.
    photometric : str, optional
        Photometric Interpretation (PS3.3 C.7.6.3.1.2). For three components what the stream itself says of its colours
        (Adobe and JFIF markers, names of components) has precedence.
    black : sequence of int, optional
        What a black pixel is, by component as it is stored, where the caller knows better: each 0, 128 or 255.

    Returns
    -------
    bytes or None
        The new frame. None if the stream is damaged or of another kind: 12 bits a sample, progressive, arithmetic,
        lossless, of unknown height, four components, palettes.
    """
    try:
        picture = _read(bytes(codestream))
        return _mask(picture, boxes, _black(picture, photometric, black))
    except (UnsupportedJpegError, IndexError):
        return None


def black_area(codestream: bytes | memoryview, boxes: Sequence[Box]) -> BlackArea | None:
    """Return what is black after :func:`mask_jpeg`.

    Parameters
    ----------
    codestream : bytes or memoryview
        Likewise.
    boxes : sequence of Box
        Likewise.

    Returns
    -------
    BlackArea or None
        None if the stream cannot be read.
    """
    try:
        picture = _read(bytes(codestream))
    except (UnsupportedJpegError, IndexError):
        return None
    width, height = picture.unit
    grown = [
        Box(
            box.left // width * width,
            box.top // height * height,
            box.right // width * width + width - 1,
            box.bottom // height * height + height - 1,
        ).within(picture.rows, picture.columns)
        for box in _within(picture, boxes)
    ]
    subsampled = max(
        max(one.horizontal for one in picture.components) // min(one.horizontal for one in picture.components),
        max(one.vertical for one in picture.components) // min(one.vertical for one in picture.components),
    )
    return BlackArea(tuple(dict.fromkeys(box for box in grown if box is not None)), subsampled - 1)


def _within(picture: _Picture, boxes: Sequence[Box]) -> list[Box]:
    return [box for one in boxes if (box := one.within(picture.rows, picture.columns)) is not None]


def _read(data: bytes) -> _Picture:
    """Take a stream apart."""
    picture = _Picture()
    interval = 0
    if data[:2] != b"\xff\xd8":
        raise UnsupportedJpegError("no start of image")
    position = 2
    while True:
        if data[position] != 0xFF:
            raise UnsupportedJpegError("no marker")
        while data[position] == 0xFF:
            position += 1
        marker = data[position]
        position += 1
        if marker == _EOI:
            break
        length = int.from_bytes(data[position : position + 2], "big")
        body = data[position + 2 : position + length]
        if length < 2 or len(body) != length - 2:
            raise UnsupportedJpegError("a segment is cut off")
        segment = b"\xff" + bytes([marker]) + data[position : position + length]
        position += length
        if marker == _DHT:
            for table in _huffman_tables(body):
                picture.huffman[table.key] = table
                picture.parts.append(table)
        elif marker == _SOS:
            # Between the markers of a scan a byte FF stands only before a zero or as part of a restart marker.
            ending = _END_OF_SCAN.search(data, position)
            if ending is None:
                raise UnsupportedJpegError("no end of image")
            picture.parts += [segment, _scan(picture, body, data[position : ending.start()], interval)]
            position = ending.start()
        elif marker in _FRAMES:
            _frame(picture, body)
            picture.parts.append(segment)
        elif marker == _DQT:
            _quantisation_tables(picture, body)
            picture.parts.append(segment)
        elif marker == _DRI:
            interval = int.from_bytes(body, "big")
            picture.parts.append(segment)
        elif marker in _APPLICATION or marker == _COM:
            picture.parts += _application(picture, marker, body)
        else:
            raise UnsupportedJpegError("a marker that is not handled")
    if b"\xff\xd8" in data[position:]:
        raise UnsupportedJpegError("a second picture")
    scanned = sorted(number for part in picture.parts if isinstance(part, _Scan) for number in part.components)
    if not scanned or scanned != list(range(len(picture.components))):
        raise UnsupportedJpegError("components without a scan, or with several")
    return picture


def _application(picture: _Picture, marker: int, body: bytes) -> list[bytes]:
    """Keep what says how colours are to be understood, and no more."""
    if marker == _APP0 and body[:5] == b"JFIF\0" and len(body) >= 14:
        picture.jfif = True
        return [b"\xff\xe0\x00\x10" + body[:12] + b"\0\0"]
    if marker == _APP14 and body[:5] == b"Adobe" and len(body) >= 12:
        picture.adobe = body[11]
        return [b"\xff\xee\x00\x0e" + body[:12]]
    return []


def _huffman_tables(body: bytes) -> Iterator[_Table]:
    while body:
        counts = body[1:17]
        size = sum(counts)
        yield _Table(body[0], HuffmanTable(counts, body[17 : 17 + size]))
        body = body[17 + size :]


def _quantisation_tables(picture: _Picture, body: bytes) -> None:
    while body:
        number, bytes_each = body[0] & 15, 2 if body[0] >> 4 else 1
        if len(body) < 1 + 64 * bytes_each:
            raise UnsupportedJpegError("quantisation table")
        step = int.from_bytes(body[1 : 1 + bytes_each], "big")
        if picture.quantisation.setdefault(number, step) != step or not step:
            raise UnsupportedJpegError("a quantisation table that changes")
        body = body[1 + 64 * bytes_each :]


def _frame(picture: _Picture, body: bytes) -> None:
    if picture.components or len(body) < 6 or body[0] != 8:
        raise UnsupportedJpegError("not one frame of 8 bits a sample")
    picture.rows, picture.columns = int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big")
    if not picture.rows or not picture.columns or body[5] not in (1, 3) or len(body) != 6 + 3 * body[5]:
        raise UnsupportedJpegError("unknown size or number of components")
    for index in range(6, len(body), 3):
        component = _Component(body[index], body[index + 1] >> 4, body[index + 1] & 15, body[index + 2])
        if not 1 <= component.horizontal <= 4 or not 1 <= component.vertical <= 4:
            raise UnsupportedJpegError("sampling factors")
        picture.components.append(component)
    if len({one.identifier for one in picture.components}) != len(picture.components):
        raise UnsupportedJpegError("two components of one name")


def _scan(picture: _Picture, body: bytes, data: bytes, interval: int) -> _Scan:
    number = body[0]
    if not 1 <= number <= len(picture.components) or len(body) != 4 + 2 * number or body[-3:] != b"\0\x3f\0":
        raise UnsupportedJpegError("not a sequential scan")
    names = [one.identifier for one in picture.components]
    scan = _Scan([], [], data, interval)
    for index in range(1, 1 + 2 * number, 2):
        keys = body[index + 1] >> 4, 0x10 | body[index + 1] & 15
        if body[index] not in names or not picture.huffman.keys() >= set(keys):
            raise UnsupportedJpegError("a scan of another component, or without its tables")
        scan.components.append(names.index(body[index]))
        scan.tables.append((picture.huffman[keys[0]], picture.huffman[keys[1]]))
    return scan


def _black(picture: _Picture, photometric: str, stored: Sequence[int] | None) -> list[int]:
    """Return the quantised DC coefficient of a black block, by component."""
    if photometric == "PALETTE COLOR":
        raise UnsupportedJpegError("a palette")
    if stored is None and len(picture.components) == 1:
        stored = [255 if photometric == "MONOCHROME1" else 0]
    elif stored is None:
        stored = [0, 0, 0] if _is_rgb(picture, photometric) else [0, 128, 128]
    if len(stored) != len(picture.components):
        raise UnsupportedJpegError("a black of more or fewer components")
    levels = []
    for component, value in zip(picture.components, stored, strict=True):
        step = picture.quantisation.get(component.quantisation, 0)
        if not 0 < step <= _LARGEST_STEP or value not in (0, 128, 255):
            raise UnsupportedJpegError("no quantisation table, or a value that it cannot make")
        # A DC coefficient is eight times the mean, counted from 128; rounded so that it is clamped, never short of it.
        levels.append(math.ceil(8 * abs(value - 128) / step) * (1 if value > 128 else -1))
    return levels


def _is_rgb(picture: _Picture, photometric: str) -> bool:
    if picture.adobe is not None:
        return picture.adobe == 0
    if picture.jfif:
        return False
    if bytes(one.identifier for one in picture.components) == b"RGB":
        return True
    return photometric == "RGB"


def _mask(picture: _Picture, boxes: Sequence[Box], black: list[int]) -> bytes:
    across, down = picture.units
    longest = max(len(part.data) for part in picture.parts if isinstance(part, _Scan))
    if across * down > 8 * longest:
        raise UnsupportedJpegError("too short for its size")
    touched = np.zeros((down, across), np.bool_)
    width, height = picture.unit
    for box in _within(picture, boxes):
        touched[box.top // height : box.bottom // height + 1, box.left // width : box.right // width + 1] = True
    # Scans first: they may append codes to the tables that precede them.
    scans = {
        index: _mask_scan(picture, part, touched, black)
        for index, part in enumerate(picture.parts)
        if isinstance(part, _Scan)
    }
    written = [b"\xff\xd8"]
    for index, part in enumerate(picture.parts):
        if isinstance(part, bytes):
            written.append(part)
        else:
            written.append(part.segment() if isinstance(part, _Table) else scans[index])
    return b"".join((*written, b"\xff\xd9"))


def _mask_scan(picture: _Picture, scan: _Scan, touched: NDArray[np.bool_], black: list[int]) -> bytes:
    places, flags = _places(picture, scan, touched)
    units = len(flags) // len(places)
    intervals, markers = _intervals(scan, units)
    per_interval = scan.interval or units
    written: list[bytes] = []
    for number, data in enumerate(intervals):
        first = number * per_interval
        here = flags[first * len(places) : (first + per_interval) * len(places)]
        if here.any():
            plain = data.replace(b"\xff\0", b"\xff")
            written.append(_mask_interval(plain, here, places, scan, black).replace(b"\xff", b"\xff\0"))
        else:
            written.append(data)
        written += markers[number : number + 1]
    return b"".join(written)


def _places(picture: _Picture, scan: _Scan, touched: NDArray[np.bool_]) -> tuple[list[int], NDArray[np.bool_]]:
    """Return the component (as its place in the scan) of each block of an MCU, and which blocks become black."""
    if len(scan.components) > 1:
        places = [
            place
            for place, number in enumerate(scan.components)
            for _ in range(picture.components[number].horizontal * picture.components[number].vertical)
        ]
        return places, np.repeat(touched.ravel(), len(places))
    # A component that is alone in its scan: rows of its blocks, as many as it needs itself (T.81 A.2.2).
    component = picture.components[scan.components[0]]
    horizontal, vertical = component.horizontal, component.vertical
    if len(picture.components) == 1:
        horizontal = vertical = 1
    width, height = picture.unit
    across = math.ceil(math.ceil(picture.columns * horizontal * 8 / width) / 8)
    down = math.ceil(math.ceil(picture.rows * vertical * 8 / height) / 8)
    rows, columns = np.arange(down) // vertical, np.arange(across) // horizontal
    return [0], touched[np.ix_(rows, columns)].ravel()


def _intervals(scan: _Scan, units: int) -> tuple[list[bytes], list[bytes]]:
    """Split a scan at its restart markers."""
    pieces = _RESTART.split(scan.data)
    intervals, numbers = [piece.rstrip(b"\xff") for piece in pieces[::2]], pieces[1::2]
    expected = math.ceil(units / scan.interval) if scan.interval else 1
    if len(intervals) != expected or any(number[0] != 0xD0 + index % 8 for index, number in enumerate(numbers)):
        raise UnsupportedJpegError("restart markers")
    return intervals, [b"\xff" + number for number in numbers]


def _mask_interval(data: bytes, touched: NDArray[np.bool_], places: list[int], scan: _Scan, black: list[int]) -> bytes:
    def pattern() -> list[tuple[int, HuffmanTable, HuffmanTable]]:
        return [(place, scan.tables[place][0].table, scan.tables[place][1].table) for place in places]

    levels = [black[number] for number in scan.components]
    blocks = find_blocks(data, len(touched) // len(places), pattern(), len(levels))
    new, missing = splice(data, blocks, touched, pattern(), levels)
    if any(missing):
        for place, sizes in zip(places, missing, strict=True):
            table = scan.tables[place][0]
            table.table = table.table.with_symbols(sorted(sizes))
        new, _ = splice(data, blocks, touched, pattern(), levels)
    return new
