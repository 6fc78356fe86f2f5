"""The values of an element of a pydicom dataset, as this package compares them."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, cast

from pydicom.charset import decode_bytes
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag
from pydicom.valuerep import TEXT_VR_DELIMS

from .literals import fold

ElementValue = str | None | Dataset
"""One value: folded text, None for bytes (they have no text), or an item of a sequence."""

EMPTY: tuple[ElementValue, ...] = ("",)
"""The values of an element without any: one that is empty, so that ``Empty`` finds it."""

_BINARY = frozenset({"OB", "OW", "OF", "OD", "OL", "OV", "OB or OW"})
_ONE_BYTE_TEXTS = frozenset({"AE", "AS", "CS", "DA", "DS", "DT", "IS", "TM", "UI"})
_CHARSET_TEXTS = frozenset({"LO", "PN", "SH", "UC"})
_CHARSET_TEXT = frozenset({"LT", "ST", "UT"})
_SPECIFIC_CHARACTER_SET = 0x00080005


def tags_of(dataset: Dataset) -> Iterator[int]:
    """Yield the tag of each element of a dataset, those of its file meta information first."""
    meta = _file_meta(dataset)
    if meta is not None:
        yield from (int(tag) for tag in meta.keys())  # noqa: SIM118 - iterating a Dataset converts its elements
    for tag in dataset.keys():  # noqa: SIM118
        if meta is None or tag not in meta:
            yield int(tag)


def values_of(dataset: Dataset, tag: int) -> Sequence[ElementValue] | None:
    """Return the values of an element, at least one, or None if the dataset has no such element.

    Parameters
    ----------
    dataset
        A dataset, or an item of a sequence. Elements of text that pydicom has not converted yet stay so.
    tag
        ``0xGGGGEEEE``; group 2 is looked up in the file meta information first.
    """
    if tag >> 16 == 2:
        meta = _file_meta(dataset)
        if meta is not None and tag in meta:
            dataset = meta
    if tag not in dataset:
        return None
    element = cast("DataElement | RawDataElement", dataset.get_item(BaseTag(tag), keep_deferred=True))
    if isinstance(element, RawDataElement):
        values = _raw_values(dataset, element)
        if values is not None:
            return values
        length = element.length
        try:
            element = dataset[BaseTag(tag)]
        except Exception:  # noqa: BLE001 - pydicom raises anything on bytes that do not fit their VR
            return (None,) if length else EMPTY  # present, and without any text that could be compared
    return _converted_values(element)


def _file_meta(dataset: Dataset) -> Dataset | None:
    meta = getattr(dataset, "file_meta", None)
    return meta if isinstance(meta, Dataset) else None


def _raw_values(dataset: Dataset, element: RawDataElement) -> Sequence[ElementValue] | None:
    """Return the values of an element that is still bytes; None where only pydicom's own conversion will do."""
    value: object = element.value
    vr: str | None = element.VR
    if vr is None:
        try:
            vr = dictionary_VR(element.tag)
        except KeyError:
            return None
    if vr in _BINARY:
        return (None,) if element.length else EMPTY
    if value is None:
        return None if element.length else EMPTY
    if not isinstance(value, bytes):
        return None
    if vr in _ONE_BYTE_TEXTS:
        return [fold(text) for text in value.decode("latin-1").split("\\")]
    if vr in _CHARSET_TEXTS or vr in _CHARSET_TEXT:
        encodings = dataset.original_character_set or "iso8859"
        try:
            # Decode before splitting: a backslash byte can be half of a character.
            text = decode_bytes(value, [encodings] if isinstance(encodings, str) else encodings, TEXT_VR_DELIMS)
        except Exception:  # noqa: BLE001 - broken escape sequences, unknown encodings, warnings made errors
            text = value.decode("latin-1")
        return [_folded(vr, part) for part in text.split("\\")] if vr in _CHARSET_TEXTS else [fold(text)]
    return None


def _converted_values(element: DataElement) -> Sequence[ElementValue]:
    value: Any = element.value
    if element.VR == "SQ":
        return list(value) if value else EMPTY
    if value is None:
        return EMPTY
    if isinstance(value, bytes | bytearray | memoryview):
        return (None,) if len(value) else EMPTY
    if hasattr(value, "read"):  # pydicom can keep long binary values in a file
        return (None,)
    if isinstance(value, Iterable) and not isinstance(value, str) and not hasattr(value, "components"):
        return [_text(element.VR, each) for each in value] or EMPTY
    return (_text(element.VR, value),)


def _text(vr: str, value: Any) -> ElementValue:
    if value is None:
        return ""
    if isinstance(value, bytes):
        return None if value else ""
    if vr == "AT" and isinstance(value, int):
        return f"{value:08x}"
    if type(value) is float:
        return fold(_shortest_single(value) if vr == "FL" else repr(value))
    return _folded(vr, str(value))


def _folded(vr: str, text: str) -> str:
    # A name may end in empty component groups (PS3.5 section 6.2.1.1); pydicom drops them when it converts.
    return fold(text).rstrip("= ") if vr == "PN" else fold(text)


def _shortest_single(value: float) -> str:
    """Return the shortest decimal that is this 32-bit number, so that 1.1 stored as FL is found as 1.1."""
    try:
        stored = struct.pack("<f", value)
    except (OverflowError, struct.error):
        return repr(value)
    (value,) = struct.unpack("<f", stored)
    for digits in range(6, 10):
        text = f"{value:.{digits}g}"
        try:
            if struct.pack("<f", float(text)) == stored:
                return text
        except OverflowError:
            continue
    return repr(value)
