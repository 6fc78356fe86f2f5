"""One DICOM file -> what the index keeps of it: its identifiers and what each of its tag paths holds."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pydicom
from pydicom.datadict import keyword_for_tag
from pydicom.filereader import read_partial
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag
from pydicom.valuerep import IS, DSdecimal, DSfloat

import dicom_query
from rpacs_hub.index._content import contents_of

__all__ = ["IndexedFile", "Unreadable", "display_values", "read_file"]

_PIXEL_TAGS = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
_NOT_SHOWN = frozenset({"SQ", "OB", "OW", "OF", "OD", "OL", "OV", "UN", "OB or OW"})
_LONGEST = 1024
_LONGEST_UID = 256


class Unreadable(Exception):  # noqa: N818 - says what happened
    """A file that the index cannot take; the message names the reason and holds nothing of the file."""


@dataclass(frozen=True)
class IndexedFile:
    """What the index keeps of one file.

    Attributes
    ----------
    patient_id, issuer, study_uid, series_uid, sop_uid
        Identifiers; the first two may be empty.
    bytes
        Length of the file.
    contents
        Tag path -> content, see `rpacs_hub.index._content`.
    """

    patient_id: str
    issuer: str
    study_uid: str
    series_uid: str
    sop_uid: str
    bytes: int
    contents: Mapping[str, str] = field(repr=False)


def read_file(data: bytes, length: int | None = None) -> IndexedFile:
    """Read the header of a DICOM file.

    Parameters
    ----------
    data
        The whole file, or at least all of it up to the pixels.
    length
        Bytes of the whole file, where `data` is only its beginning.

    Raises
    ------
    Unreadable
        pydicom cannot read it or it has no identifiers.
    """
    try:
        dataset, has_pixels = _header(data)
        if not has_pixels and length is not None and len(data) < length:
            raise Unreadable(f"the header is longer than {len(data) >> 20} MB")
        document = dicom_query.index_document(dataset, has_pixel_data=has_pixels)
        return IndexedFile(
            patient_id=_text(dataset.get("PatientID")),
            issuer=_text(dataset.get("IssuerOfPatientID")),
            study_uid=_identifier(dataset, "StudyInstanceUID"),
            series_uid=_identifier(dataset, "SeriesInstanceUID"),
            sop_uid=_identifier(dataset, "SOPInstanceUID"),
            bytes=len(data) if length is None else length,
            contents=contents_of(document, display_values(dataset)),
        )
    except Unreadable:
        raise
    except Exception as error:
        # pydicom raises nearly anything on a broken file, and one file must not stop the feed.
        # The error's own words may quote the file, so only its kind is kept.
        raise Unreadable(f"pydicom cannot read the header ({type(error).__name__})") from error


def _header(data: bytes) -> tuple[pydicom.Dataset, bool]:
    """Return everything before the pixels and whether there are any."""
    has_pixels = False

    def stop(tag: BaseTag, vr: str | None, length: int) -> bool:  # noqa: ARG001 - pydicom's signature
        nonlocal has_pixels
        if tag in _PIXEL_TAGS:
            has_pixels = True
        return has_pixels

    return read_partial(io.BytesIO(data), stop_when=stop, force=True), has_pixels


def _identifier(dataset: pydicom.Dataset, keyword: str) -> str:
    text = _text(dataset.get(keyword))
    if not text:
        raise Unreadable(f"the file has no {keyword}")
    if len(text) > _LONGEST_UID:
        raise Unreadable(f"the file's {keyword} is longer than {_LONGEST_UID} characters")
    return text


def _text(value: Any) -> str:
    if isinstance(value, MultiValue):
        value = "\\".join(map(str, value))
    return str(value).replace("\0", "").encode("utf-8", "replace").decode().strip() if value is not None else ""


def display_values(dataset: pydicom.Dataset) -> dict[str, Any]:
    """Return the values to show for every public top-level element that is neither a sequence nor binary.

    Returns
    -------
    dict
        Keyword -> string, number or list of them. Dates stay ``YYYYMMDD``; an element without a value is ``""``.
    """
    shown: dict[str, Any] = {}
    for tag in list(dataset.keys()):
        if tag.is_private:
            continue
        keyword = keyword_for_tag(tag)
        if not keyword:
            continue
        try:
            element = dataset[tag]
        except Exception:  # noqa: BLE001, S112 - a single unreadable value is not worth losing the instance for
            continue
        if element.VR in _NOT_SHOWN or tag in _PIXEL_TAGS:
            continue
        shown[keyword] = _shown(element.value)
    return shown


def _shown(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, (MultiValue, list, tuple)):
        return [_shown(item) for item in value[:_LONGEST]]
    if isinstance(value, bool):
        return value
    if isinstance(value, (IS, int)) and not isinstance(value, BaseTag):
        return int(value)
    if isinstance(value, (DSfloat, DSdecimal, float)):
        number = float(value)
        return number if math.isfinite(number) else str(value)
    if isinstance(value, BaseTag):
        return f"{int(value):08X}"
    if isinstance(value, bytes):
        return ""
    # PostgreSQL takes neither NUL nor lone surrogates, which a wrong character set leaves behind.
    text = str(value).replace("\0", "").encode("utf-8", "replace").decode()
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
