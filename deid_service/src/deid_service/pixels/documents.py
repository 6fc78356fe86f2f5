"""Documents inside instances: told by their first bytes, and removed where a rule says so (PS3.3 A.45, C.24).

An instance of an encapsulated document is its document: the attribute must be there and must not be empty. To strip it
means to put an empty one of the same kind in its place, so that the study stays complete and every reader can open it:
a PDF of one page that says what happened, a mesh without a triangle. Kinds that have no such form (CDA, which must
name its patient) are refused.
"""

from __future__ import annotations

import re
from copy import copy
from dataclasses import replace
from typing import Final, Literal

from deid_service._buffers import spool
from deid_service.errors import Refused
from deid_service.wire import Element, Source

__all__ = ["kind_of_bytes", "strip_document"]

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


def strip_document(source: Source) -> Source:
    """Put an empty document in the place of the one that an instance holds.

    Parameters
    ----------
    source : Source
        An instance of an encapsulated document.

    Returns
    -------
    Source
        The same with an empty Encapsulated Document, and its length where the instance tells it.

    Raises
    ------
    Refused
        ``encapsulated_document`` if there is no empty document of the kind.
    """
    media_type = _text(source, _MEDIA_TYPE).lower()
    document = _EMPTY.get(media_type or _BY_SOP_CLASS.get(_text(source, _SOP_CLASS), ""))
    if document is None:
        raise Refused("encapsulated_document", "a document of this kind cannot be replaced by an empty one")
    order: Literal["little", "big"] = "little" if source.encoding.little else "big"
    length = _find(source, _LENGTH)
    if length is not None and length.value_end - length.value_start == 4:
        source = _with_value(source, length, len(document).to_bytes(4, order))
    element = _find(source, _DOCUMENT)
    if element is None or element.undefined:
        raise Refused("encapsulated_document", "the instance has no document, or not in one piece")
    return _with_value(source, element, document + b"\0" * (len(document) % 2))


def _with_value(source: Source, element: Element, value: bytes) -> Source:
    """Give a top-level element that is no sequence another value."""
    head = source.encoding.header(element.tag, element.vr, len(value))
    data = memoryview(source.data)
    new = Element(
        element.tag,
        element.vr,
        element.start,
        element.start + len(head),
        element.start + len(head) + len(value),
        element.item_encoding,
    )
    shift = new.end - element.end
    elements = [
        new if one is element else _shifted(one, shift) if one.start >= element.end else one for one in source.elements
    ]
    whole = spool([data[: element.start], head, value, data[element.end :]])
    return replace(source, data=whole, elements=elements)


def _shifted(element: Element, by: int) -> Element:
    """Return an element that stands `by` bytes further on."""
    new = copy(element)
    new.start, new.end = element.start + by, element.end + by
    new.value_start, new.value_end = element.value_start + by, element.value_end + by
    if element.items is not None:
        new.items = [replace(item, elements=[_shifted(one, by) for one in item.elements]) for item in element.items]
    return new


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
