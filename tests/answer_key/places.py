"""One object with identifiers in 21 places, and who leaves which of them."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import pydicom.data
from pydicom import Dataset, dcmread

from tests.answer_key.plants import _bytes

_PLACES = (
    "preamble",
    "file meta AE title",
    "file meta private information",
    "patient name, all three groups",
    "patient ID",
    "other patient IDs, in a sequence",
    "sequence of depth 3",
    "sequence of depth 4",
    "private element",
    "private sequence, nested copy of the name",
    "private element of unknown representation",
    "report text",
    "name in a report",
    "overlay data",
    "overlay comment",
    "curve data",
    "icon pixels",
    "image comments",
    "patient comments",
    "partial birth date",
    "trailing padding",
)
PLACES: dict[str, bytes] = {name: f"Zq{index:02}Vexkar".encode() for index, name in enumerate(_PLACES)}
"""Each place and the word that stands in it."""
PLACES["partial birth date"] = b"196407"

MARKERS = ("PatientIdentityRemoved", "DeidentificationMethod")
"""What PS3.15 E.1.1 asks a de-identifier to write; the method may also be given as codes."""


def object_with_21_places(*, partial_date: bool = True) -> bytes:
    """Make the object: a CT slice of pydicom's with a word of its own in each place.

    Some read no file with a partial date: for them there is one without, which makes it 20 places.
    """
    words = {name: word.decode() for name, word in PLACES.items()}
    dataset = dcmread(Path(pydicom.data.__file__).parent / "test_files" / "CT_small.dcm")
    dataset.preamble = words["preamble"].encode().ljust(128)
    dataset.file_meta.SourceApplicationEntityTitle = words["file meta AE title"]
    dataset.file_meta.add_new(0x00020100, "UI", "1.2.276.0.7230010.99")
    dataset.file_meta.add_new(0x00020102, "OB", words["file meta private information"].encode())
    name = words["patient name, all three groups"]
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.PatientName = f"Doe^{name}=山田^{name}=やまだ^{name}"
    dataset.PatientID = words["patient ID"]
    other = Dataset()
    other.PatientID = words["other patient IDs, in a sequence"]
    dataset.OtherPatientIDsSequence = [other]
    for depth in (3, 4):
        item = Dataset()
        item.PatientName = words[f"sequence of depth {depth}"]
        for _ in range(depth - 1):
            outer = Dataset()
            outer.RelatedSeriesSequence = [item]
            item = outer
        dataset.add_new({3: 0x00081250, 4: 0x00081140}[depth], "SQ", [item])
    block = dataset.private_block(0x0099, "RPACS ANSWER KEY", create=True)
    block.add_new(0x01, "LO", words["private element"])
    inner = Dataset()
    inner.PatientName = words["private sequence, nested copy of the name"]
    block.add_new(0x02, "SQ", [inner])
    block.add_new(0x03, "UN", words["private element of unknown representation"].encode())
    text, person = Dataset(), Dataset()
    text.ValueType, text.TextValue = "TEXT", f"Mr. {words['report text']} was seen."
    person.ValueType = "PNAME"
    person.add_new(0x0040A123, "PN", words["name in a report"])
    dataset.ContentSequence = [text, person]
    dataset.add_new(0x60000010, "US", 8)
    dataset.add_new(0x60000011, "US", 8)
    dataset.add_new(0x60000040, "CS", "G")
    dataset.add_new(0x60000050, "SS", [1, 1])
    dataset.add_new(0x60000100, "US", 1)
    dataset.add_new(0x60000102, "US", 0)
    dataset.add_new(0x60003000, "OW", words["overlay data"].encode())
    dataset.add_new(0x60004000, "LT", words["overlay comment"])
    dataset.add_new(0x50003000, "OB", words["curve data"].encode())
    icon = Dataset()
    icon.Rows, icon.Columns, icon.BitsAllocated, icon.BitsStored, icon.HighBit = 2, 5, 8, 8, 7
    icon.SamplesPerPixel, icon.PixelRepresentation, icon.PhotometricInterpretation = 1, 0, "MONOCHROME2"
    icon.PixelData = words["icon pixels"].encode()
    dataset.IconImageSequence = [icon]
    dataset.ImageComments = words["image comments"]
    dataset.PatientComments = words["patient comments"]
    dataset.add_new(0x00100030, "DA", words["partial birth date"] if partial_date else "")
    if 0xFFFCFFFC in dataset:
        del dataset[0xFFFCFFFC]
    padding = struct.pack("<HH2sHI", 0xFFFC, 0xFFFC, b"OB", 0, 16) + words["trailing padding"].encode().ljust(16)
    return _bytes(dataset) + padding


def leaks(copy: bytes) -> list[str]:
    """Return the places whose word is still in a copy."""
    searched = copy.lower()
    if b"1.2.840.10008.1.2.1.99" in copy[:600]:
        start = copy.index(b"\x02\x00\x00\x00UL") + 12
        searched += zlib.decompress(copy[start + int.from_bytes(copy[start - 4 : start], "little") :], -15).lower()
    birth = b"\x10\x00\x30\x00DA\x06\x00196407"
    return [
        place
        for place, word in PLACES.items()
        if (birth in copy if place == "partial birth date" else word.lower() in searched)
    ]
