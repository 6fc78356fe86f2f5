"""Documents inside instances: told by their first bytes, and removed where a rule says so (PS3.3 A.45, C.24).

An instance of an encapsulated document is its document: the attribute must be there and must not be empty. To strip it
means to put an empty one of the same kind in its place, so that the study stays complete and every reader can open it:
a PDF of one page that says what happened, a mesh without a triangle. Kinds that have no such form (CDA, which must
name its patient) are refused.
"""

from __future__ import annotations

import re
from typing import Final

from deid_service.errors import Refused
from deid_service.wire import Element, Source

__all__ = ["kept_document", "kind_of_bytes", "strip_document"]

Part = bytes | memoryview

_SOP_CLASS: Final = 0x00080016
_DOCUMENT: Final = 0x00420011
_MEDIA_TYPE: Final = 0x00420012
_LENGTH: Final = 0x00420015
_REMOVED: Final = "Document removed by de-identification"

_AT_START: Final = (
    (b"\x1f\x8b\x08", "gzip"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"BZh", "bzip2"),
    (b"{\\rtf", "RTF"),
    (b"%!PS", "PostScript"),
    (b"OggS", "Ogg"),
    (b"fLaC", "FLAC"),
    (b"ID3", "MP3"),
    (b"\0\0\1\xba", "MPEG"),
    (b"\0\0\1\xb3", "MPEG"),
    (b"\x1a\x45\xdf\xa3", "Matroska"),
    (b"<?xml", "XML"),
    (b"\xef\xbb\xbf<?xml", "XML"),
    (b"<html", "HTML"),
    (b"<!DOCTYPE", "HTML"),
    (b"<svg", "SVG"),
    (b"solid ", "STL"),
)
# Long enough to be no accident wherever they stand: vendors put headers of their own in front.
_ANYWHERE: Final = (
    (b"\xff\xd8\xff\xe0\x00\x10JFIF\0", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"%PDF-1.", "PDF"),
    (b"%PDF-2.", "PDF"),
    (b"PK\x03\x04", "zip"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an Office document"),
    (b"7z\xbc\xaf\x27\x1c", "7z"),
    (b"\xfd7zXZ\0", "xz"),
    (b"Rar!\x1a\x07", "RAR"),
    (b"Exif\0\0", "Exif"),
    (b"urn:hl7-org:v3", "CDA"),
    (b"ClinicalDocument", "CDA"),
)
_JPEG: Final = re.compile(rb"\xff\xd8\xff[\xc0\xc4\xdb\xdd\xe0-\xef\xfe]")
_BITMAP: Final = b"BM"


def kind_of_bytes(value: bytes | memoryview) -> str:
    """Tell what a value of bytes holds, by the marks that files begin with.

    Parameters
    ----------
    value : bytes or memoryview
        Of any element.

    Returns
    -------
    str
        Such as ``PDF`` or ``JPEG``; empty for bytes that are no known kind of document, picture, film or archive.
    """
    data = bytes(value)
    if len(data) < 8:
        return ""
    for mark, kind in _AT_START:
        if data.startswith(mark):
            return kind
    if _JPEG.match(data):
        return "JPEG"
    if data.startswith(_BITMAP) and int.from_bytes(data[2:6], "little") in (len(data), len(data) - 1):
        return "bitmap"
    if data.startswith(b"RIFF") and data[8:12] in (b"WAVE", b"AVI ", b"WEBP"):
        return data[8:12].decode().strip()
    if data[4:8] == b"ftyp":
        return "MP4"
    if data[128:132] == b"DICM":
        return "DICOM"
    # What stands first is the whole; a PDF may well hold a JPEG.
    found = [(place, kind) for mark, kind in _ANYWHERE if (place := data.find(mark)) >= 0]
    return min(found)[1] if found else ""


def strip_document(source: Source) -> dict[int, list[Part] | None]:
    """Put an empty document in the place of the one that an instance holds.

    Parameters
    ----------
    source : Source
        An instance of an encapsulated document.

    Returns
    -------
    dict of int to list of bytes-like
        The elements that change, whole: Encapsulated Document, and its length where the instance tells it.

    Raises
    ------
    Refused
        ``encapsulated_document`` if there is no empty document of the kind.
    """
    media_type = _text(source, _MEDIA_TYPE).lower()
    document = _EMPTY.get(media_type or _BY_SOP_CLASS.get(_text(source, _SOP_CLASS), ""))
    if document is None:
        raise Refused("encapsulated_document", "a document of this kind cannot be replaced by an empty one")
    return _elements(source, document)


def kept_document(source: Source) -> dict[int, list[Part] | None]:
    """Return the document of an instance as it is, where a rule lets it pass although the profile would blank it.

    Parameters
    ----------
    source : Source
        An instance of an encapsulated document.

    Returns
    -------
    dict of int to list of bytes-like
        As from :func:`strip_document`.
    """
    return {
        element.tag: [memoryview(source.data)[element.start : element.end]]
        for element in source.elements
        if element.tag in (_DOCUMENT, _LENGTH)
    }


def _elements(source: Source, document: bytes) -> dict[int, list[Part] | None]:
    padded = document + b"\0" * (len(document) % 2)
    encoding = source.encoding
    length = len(document).to_bytes(4, "little" if encoding.little else "big")
    elements: dict[int, list[Part] | None] = {
        _DOCUMENT: [encoding.header(_DOCUMENT, "OB", len(padded)) + padded],
    }
    if _find(source, _LENGTH) is not None:
        elements[_LENGTH] = [encoding.header(_LENGTH, "UL", 4) + length]
    return elements


def _find(source: Source, tag: int) -> Element | None:
    return next((element for element in source.elements if element.tag == tag), None)


def _text(source: Source, tag: int) -> str:
    element = _find(source, tag)
    return "" if element is None else bytes(source.value(element)).decode("latin-1").strip("\0 ")


def _pdf() -> bytes:
    """Write a PDF of one page (ISO 32000-1, 7.5)."""
    content = f"BT /F1 14 Tf 72 720 Td ({_REMOVED}) Tj ET".encode("ascii")
    objects = (
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R"
        b" /Resources << /Font << /F1 5 0 R >> >> >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(content), content),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    )
    written = b"%PDF-1.4\n"
    table = b"0000000000 65535 f \n"
    for number, body in enumerate(objects, 1):
        table += b"%010d 00000 n \n" % len(written)
        written += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    count = len(objects) + 1
    trailer = b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (count, len(written))
    return written + b"xref\n0 %d\n" % count + table + trailer


_EMPTY: Final = {
    "application/pdf": _pdf(),
    "model/stl": _REMOVED.encode().ljust(80) + bytes(4),  # binary: a header and the number of triangles
    "application/sla": _REMOVED.encode().ljust(80) + bytes(4),
    "model/obj": f"# {_REMOVED}\n".encode(),
    "model/mtl": f"# {_REMOVED}\n".encode(),
}
_BY_SOP_CLASS: Final = {
    "1.2.840.10008.5.1.4.1.1.104.1": "application/pdf",
    "1.2.840.10008.5.1.4.1.1.104.3": "model/stl",
    "1.2.840.10008.5.1.4.1.1.104.4": "model/obj",
    "1.2.840.10008.5.1.4.1.1.104.5": "model/mtl",
}
