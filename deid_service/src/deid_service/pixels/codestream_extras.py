"""What a compressed frame carries besides its picture: thumbnails, Exif, comments, whatever follows its end.

Devices and gateways write names, dates and whole small pictures there, and no viewer shows them. They are found so that
they can be blanked in place: lengths, offsets and the picture stay as they are. JPEG and JPEG-LS (ITU-T T.81, T.87,
T.871), JPEG 2000 and its file format (T.800, T.801), the file format of JPEG XL.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from typing import Final

__all__ = ["blanked", "extras", "says_something"]

Span = tuple[int, int]
"""First byte, and the byte after the last."""

_APPLICATION: Final = range(0xE0, 0xF0)
_COMMENT: Final = 0xFE
_START_OF_SCAN: Final = 0xDA
_END_OF_IMAGE: Final = 0xD9
_JPEG_LS_FRAME: Final = 0xF7
_STAND_ALONE: Final = frozenset({0x01, 0xD8, *range(0xD0, 0xD8)})
# In scans, a marker is what is neither stuffing, filling nor a restart; JPEG-LS stuffs bits (T.87 A.1).
_AFTER_SCAN: Final = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
_AFTER_LS_SCAN: Final = re.compile(rb"\xff[\x80-\xcf\xd8-\xfe]")
# What software puts into every comment: its own name and version, and not a word more.
_PROGRAMS: Final = re.compile(
    rb"(Created by (GDCM/)?OpenJPEG|OpenJPH|Kakadu|Creator: ?JasPer|Aware|Grok|LEAD Technologies|CREATOR: gd-jpeg|"
    rb"MITRA_DICOM_STANDARD|Lavc|Intel\(R\) JPEG|IJG|libjpeg|AppleMark|Pegasus|PICTools|JPEG-LS|CharLS)"
    # Possessive: a long comment that nearly fits must not take long.
    rb"(?:[ .,:()/+=-]|v?[0-9][0-9.]*+[a-z]?|version|ver|inc|using|IJG|JPEG|library|quality|default|encoder|codec)*+"
    rb"[\n\0]*+",
    re.IGNORECASE,
)
_FILE_BOXES: Final = frozenset(
    {b"jP  ", b"ftyp", b"rreq", b"jp2h", b"jp2c", b"JXL ", b"jxlc", b"jxlp", b"jxll", b"jxli", b"jbrd"}
)
_FILE_SIGNATURES: Final = (b"\0\0\0\x0cjP  ", b"\0\0\0\x0cJXL ")


def extras(data: bytes | memoryview) -> list[Span]:
    """Find what is no part of the picture.

    Parameters
    ----------
    data : bytes or memoryview
        One frame: a codestream, with the padding of its fragments.

    Returns
    -------
    list of (int, int)
        Where bytes other than zero are to be made zero, in order; empty for kinds of frames that have no such places
        (RLE), and for most others too. Comments that hold nothing but the name of a program are no extras.
    """
    start = bytes(data[:12])
    if start.startswith(b"\xff\xd8"):
        found = _jpeg(data)
    elif start.startswith(b"\xff\x4f\xff\x51"):
        found = _jpeg_2000(data, 0, len(data))
    elif start.startswith(_FILE_SIGNATURES):
        found = _boxes(data)
    else:
        return []
    return [(one, two) for one, two in found if one < two and says_something(data[one:two])]


def says_something(data: bytes | memoryview) -> bool:
    """Tell whether bytes beside a picture are more than padding, of whatever value, to an even length."""
    return len(bytes(data).strip(b"\0\xff")) > 1


def blanked(data: bytes | memoryview) -> bytes | memoryview:
    """Return a frame without :func:`extras`, as long as before.

    Parameters
    ----------
    data : bytes or memoryview
        One frame.

    Returns
    -------
    bytes or memoryview
        `data` itself if there are none.
    """
    spans = extras(data)
    if not spans:
        return data
    new = bytearray(data)
    for start, end in spans:
        new[start:end] = bytes(end - start)
    return bytes(new)


def _jpeg(data: bytes | memoryview) -> Iterator[Span]:
    position, length = 2, len(data)
    after_scan = _AFTER_SCAN
    while position < length:
        if data[position] != 0xFF:
            # Bytes between segments: decoders skip them.
            skipped = position
            while position < length and data[position] != 0xFF:
                position += 1
            yield skipped, position
            continue
        while position < length and data[position] == 0xFF:
            position += 1
        if position >= length:
            return
        marker = data[position]
        position += 1
        if marker in _STAND_ALONE:
            continue
        if marker == _END_OF_IMAGE:
            yield position, length
            return
        if position + 2 > length:
            return
        body, end = position + 2, position + int.from_bytes(data[position : position + 2], "big")
        end = min(max(end, body), length)
        if (marker in _APPLICATION or marker == _COMMENT) and not _PROGRAMS.fullmatch(data[body:end]):
            yield _application(data, marker, body, end)
        elif marker == _JPEG_LS_FRAME:
            after_scan = _AFTER_LS_SCAN
        position = end
        if marker == _START_OF_SCAN:
            following = after_scan.search(data, position)
            if following is None:
                return
            position = following.start()


def _application(data: bytes | memoryview, marker: int, body: int, end: int) -> Span:
    """Return what of an application segment says nothing about how the picture is decoded."""
    head = bytes(data[body : body + 5])
    if marker == 0xE0 and head == b"JFIF\0":
        return body + 14, end  # the thumbnail, black from now on
    if marker == 0xE0 and head == b"LJIF\0":
        return body + 13, end
    if marker == 0xEE and head == b"Adobe":
        return body + 12, end
    if marker == 0xE8 and head[:4] == b"mrfx":
        return body + 5, end  # colour transformation of JPEG-LS
    if marker == 0xE8 and head == b"SPIFF":
        return body + 30, end
    if marker == 0xE8 and head[:4] == b"\0\0\0\1":
        return body + 6, end  # end of a SPIFF directory
    return body, end


def _jpeg_2000(data: bytes | memoryview, start: int, end: int) -> Iterator[Span]:
    position = start + 2
    tile_end = 0
    while position + 2 <= end:
        marker = bytes(data[position : position + 2])
        position += 2
        if marker == b"\xff\xd9":
            yield position, end
            return
        if marker == b"\xff\x93":  # start of data: the tile-part's length tells where it ends
            if not tile_end:
                return
            position, tile_end = tile_end, 0
            continue
        if marker[0] != 0xFF or position + 2 > end:
            return
        body, segment_end = position + 2, position + int.from_bytes(data[position : position + 2], "big")
        segment_end = min(max(segment_end, body), end)
        if marker == b"\xff\x64" and not _PROGRAMS.fullmatch(data[body + 2 : segment_end]):
            yield body + 2, segment_end
        elif marker == b"\xff\x90" and segment_end - body >= 6:
            size = int.from_bytes(data[body + 2 : body + 6], "big")
            tile_end = position - 2 + size if size else _last_end(data, segment_end, end)
            if not segment_end <= tile_end <= end:
                return
        position = segment_end


def _last_end(data: bytes | memoryview, start: int, end: int) -> int:
    """Return where the end of a codestream is, whose last tile-part does not tell its length."""
    found = bytes(data[start:end]).rfind(b"\xff\xd9")
    return end if found < 0 else start + found


def _boxes(data: bytes | memoryview) -> Iterator[Span]:
    position, length = 0, len(data)
    while position + 8 <= length:
        size, kind = struct.unpack_from(">I4s", data, position)
        body = position + 8
        if size == 1 and body + 8 <= length:
            (size,) = struct.unpack_from(">Q", data, body)
            body += 8
        end = length if size == 0 else position + size
        if end < body or end > length:
            end = length
        if kind == b"jp2c":
            yield from _jpeg_2000(data, body, end)
        elif kind not in _FILE_BOXES:
            if min(kind) < 0x20:
                yield position, length  # no box: padding, or what was appended
                return
            yield body, end
        position = end
    yield position, length
