"""The bytes of a DICOM file: a strict reader that keeps positions, and what is needed to write elements back."""

from deid_service.wire.elements import PIXEL_TAGS, Element, Item, Source, describe
from deid_service.wire.encoding import BINARY_VRS, TEXT_VRS, UNDEFINED, Encoding
from deid_service.wire.reader import read
from deid_service.wire.runs import HeaderRuns, PlacedRun
from deid_service.wire.text import DEFAULT_CHARACTER_SET, character_set, decode, encode, split_values

__all__ = [
    "BINARY_VRS",
    "DEFAULT_CHARACTER_SET",
    "PIXEL_TAGS",
    "TEXT_VRS",
    "UNDEFINED",
    "Element",
    "Encoding",
    "HeaderRuns",
    "Item",
    "PlacedRun",
    "Source",
    "character_set",
    "decode",
    "describe",
    "encode",
    "read",
    "split_values",
]
