"""Draws instances: every encoding, nested sequences, private blocks, character sets, values legal and not."""

from __future__ import annotations

import struct
import warnings
from dataclasses import dataclass
from datetime import date
from io import BytesIO
from typing import Any

from hypothesis import strategies as st
from pydicom import Dataset, config
from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.dataset import FileMetaDataset


@dataclass(frozen=True)
class Attribute:
    """An attribute that may be drawn."""

    vr: str
    keyword: str


CREATORS = ("ACME 1.0", "SIEMENS MR HEADER", "GEMS_ACQU_01")
SYNTAXES = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99")
_KEYWORDS = """
    ImageType StudyDate SeriesDate ContentDate AcquisitionDateTime StudyTime ContentTime AccessionNumber Modality
    Manufacturer InstitutionName ReferringPhysicianName StationName StudyDescription CodeValue CodingSchemeDesignator
    CodeMeaning CodingSchemeUID OperatorsName PatientName PatientID IssuerOfPatientID PatientBirthDate PatientSex
    OtherPatientIDs OtherPatientNames PatientAge PatientWeight PatientComments SliceThickness KVP
    DateOfLastCalibration ProtocolName StudyInstanceUID SeriesInstanceUID StudyID InstanceNumber
    ImagePositionPatient FrameOfReferenceUID ImageComments ReferencedSOPClassUID ReferencedSOPInstanceUID
    FrameIncrementPointer SmallestImagePixelValue TextValue PersonName DateTime UID NumericValue
    ReferencedDateTime RetrieveURL StationAETitle LongCodeValue ContextGroupVersion TrackingID TrackingUID
    PixelSpacing RecommendedDisplayFrameRateInFloat ReferencePixelX0 ImplantPartNumber InversionTimes
"""
_NESTS = """
    RequestAttributesSequence OtherPatientIDsSequence ContentSequence ReferencedImageSequence ConceptNameCodeSequence
    OperatorIdentificationSequence GraphicAnnotationSequence ReferencedStudySequence ProcedureCodeSequence
    OriginalAttributesSequence ModifiedAttributesSequence
"""


def _tag(keyword: str) -> int:
    tag = Dataset()
    setattr(tag, keyword, None)
    return int(next(iter(tag.keys())))


ATTRIBUTES: dict[int, Attribute] = {
    tag: Attribute(dictionary_VR(tag).split(" or ")[0], keyword_for_tag(tag))
    for tag in map(_tag, f"{_KEYWORDS} {_NESTS}".split())
}
ATTRIBUTES[0x00091001] = Attribute("LO", "")
ATTRIBUTES[0x00091002] = Attribute("SQ", "")
ATTRIBUTES[0x00091003] = Attribute("UN", "")
ATTRIBUTES[0x00091004] = Attribute("DA", "")
ATTRIBUTES[0x0019100C] = Attribute("IS", "")
ATTRIBUTES[0x00091101] = Attribute("UI", "")
SEQUENCES: tuple[int, ...] = tuple(sorted(tag for tag, one in ATTRIBUTES.items() if one.vr == "SQ"))

_CHARACTER_SETS = {
    "": "aB zZ09.",
    "ISO_IR 100": "aB éüß9",
    "ISO_IR 144": "aB Юлия9",
    "ISO_IR 192": "aB 山田ü😀9",
    "GB18030": "aB 王小9",
    "ISO_IR 13": "aB ﾔﾏﾀﾞ9",
    "ISO_IR 166": "aB ภาษ9",
    "\\ISO 2022 IR 87": "aB 山田9",
    "ISO 2022 IR 6\\ISO 2022 IR 149": "aB 김희9",
}
UIDS = (*(f"1.2.276.0.7230010.{number}" for number in range(3, 8)), "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2")
DAYS = st.dates(date(1920, 1, 1), date(2039, 12, 31)).map(lambda day: f"{day:%Y%m%d}")
TIMES = st.integers(0, 86_399).map(lambda second: f"{second // 3600:02}{second // 60 % 60:02}{second % 60:02}")
_WORDS = ("Mustermann", "Erika", "4711-08", "thorax", "HEAD", "20010203", "Doe^Jane", "x")


def _text(letters: str, longest: int) -> st.SearchStrategy[str]:
    free = st.text(st.sampled_from(letters), max_size=min(longest, 12)).map(str.strip)
    return free | st.sampled_from([word[:longest] for word in _WORDS])


def _values(vr: str, letters: str) -> st.SearchStrategy[Any]:
    """Return what a single value of a VR is drawn from; legal values, with a few that are not."""
    match vr:
        case "AE":
            return st.sampled_from(("SCANNER1", "A B", "X"))
        case "AS":
            return st.sampled_from(("042Y", "099Y", "003M", "010D"))
        case "CS":
            return st.sampled_from(("CT", "ORIGINAL", "A_B 1", "F"))
        case "DA":
            return DAYS | st.sampled_from(("", "1964", "196408", "1964.08.12", "99991231", "00010101", "nodate"))
        case "DS":
            return st.sampled_from(("1.5", "-2", "+3e-2", " 71.5 ", "0", "1234567890.12345"))
        case "DT":
            full = st.tuples(DAYS, TIMES).map("".join)
            partial = ("2004", "200402", "20040229", "20040229235959.999999+0100", "2004022923-0200")
            return full | st.sampled_from(partial)
        case "IS":
            return st.sampled_from(("1", "-5", "+7", " 12 ", "2147483647"))
        case "TM":
            return TIMES | st.sampled_from(("10", "1011", "101112.25", "235960", "10:11:12"))
        case "UI":
            return st.sampled_from((*UIDS, UIDS[0]))
        case "PN":
            word = _text(letters, 20).map(lambda text: text.replace("\\", "").replace("=", ""))
            return st.lists(word, min_size=1, max_size=3).map("^".join) | st.lists(word, min_size=1, max_size=3).map(
                "=".join
            )
        case "LO" | "SH" | "UC":
            return _text(letters, 16)
        case "LT" | "ST" | "UT":
            return _text(letters, 60) | st.sampled_from(("line\r\nline", "a\\b", "born 03.02.2001"))
        case "UR":
            return st.just("https://example.org/patient?id=4711-08")
        case "US" | "UL" | "AT":
            return st.integers(0, 60_000)
        case "SS" | "SL":
            return st.integers(-30_000, 30_000)
        case "FL" | "FD":
            return st.sampled_from((0.0, -1.5, 1e30, 3.0))
    return st.binary(max_size=12).map(lambda value: value + b"\0" * (len(value) % 2))


_SEVERAL = frozenset({"AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "PN", "SH", "TM", "UC", "UI", "US", "FL", "FD"})


@st.composite
def datasets(draw: st.DrawFn, letters: str, depth: int = 4) -> Dataset:
    """Draw a data set, its sequences nested up to `depth` deep."""
    dataset = Dataset()
    tags = draw(st.lists(st.sampled_from(tuple(ATTRIBUTES)), max_size=9 if depth == 4 else 4, unique=True))
    if depth:
        tags = list(dict.fromkeys([*tags, *draw(st.lists(st.sampled_from(SEQUENCES), max_size=2 if depth > 2 else 1))]))
    for tag in tags:
        vr = ATTRIBUTES[tag].vr
        if vr == "SQ":
            items = draw(st.lists(datasets(letters, depth - 1), max_size=2)) if depth else []
            dataset.add_new(tag, vr, items)
            dataset[tag].is_undefined_length = draw(st.booleans())
            for item in items:
                item.is_undefined_length_sequence_item = draw(st.booleans())
            continue
        value: Any = None
        if draw(st.integers(0, 9)):
            value = draw(_values(vr, letters))
            if vr in _SEVERAL and draw(st.integers(0, 4)) == 0:
                value = [value, *draw(st.lists(_values(vr, letters), min_size=1, max_size=3))]
        dataset.add_new(tag, vr, value)
    for tag in tags:
        if tag >> 16 & 1:
            reserves = tag & 0xFFFF0000 | tag >> 8 & 0xFF
            if reserves not in dataset:
                dataset.add_new(reserves, "LO", draw(st.sampled_from(CREATORS)))
    return dataset


_PIXELS = {
    "Rows": 40,
    "Columns": 40,
    "BitsAllocated": 16,
    "BitsStored": 12,
    "HighBit": 11,
    "PixelRepresentation": 0,
    "SamplesPerPixel": 1,
    "PhotometricInterpretation": "MONOCHROME2",
    "BurnedInAnnotation": "NO",
}


@st.composite
def instances(draw: st.DrawFn) -> bytes:
    """Draw a file."""
    characters = draw(st.sampled_from(sorted(_CHARACTER_SETS)))
    dataset = draw(datasets(_CHARACTER_SETS[characters]))
    if characters or draw(st.booleans()):
        dataset.SpecificCharacterSet = characters.split("\\") if "\\" in characters else characters
    dataset.SOPClassUID = draw(
        st.sampled_from(
            (
                "1.2.840.10008.5.1.4.1.1.2",
                "1.2.840.10008.5.1.4.1.1.4",
                "1.2.840.10008.5.1.4.1.1.88.33",
                "1.2.840.10008.5.1.4.1.1.11.1",
                "1.2.840.10008.5.1.4.1.1.481.5",
                "1.2.276.0.7230010.99.1",
            )
        )
    )
    dataset.SOPInstanceUID = draw(st.sampled_from(UIDS[:3]))
    dataset.StudyInstanceUID = draw(st.sampled_from(UIDS[:4]))
    dataset.SeriesInstanceUID = draw(st.sampled_from(UIDS[:4]))
    if draw(st.integers(0, 3)):
        dataset.PatientID = draw(st.sampled_from(("4711-08", "Ä 1" if characters == "ISO_IR 192" else "A 1", "")))
    if draw(st.integers(0, 2)) == 0:
        for keyword, value in _PIXELS.items():
            setattr(dataset, keyword, value)
        row = draw(st.binary(min_size=2, max_size=2))
        dataset.PixelData = struct.pack(f"<{40 * 40}H", *((index * row[0] + row[1]) % 4096 for index in range(1600)))
        dataset["PixelData"].VR = "OW"
    return written(dataset, draw(st.sampled_from(SYNTAXES)))


def written(dataset: Dataset, syntax: str = SYNTAXES[1]) -> bytes:
    """Write a data set to a file, whatever its values are."""
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    buffer = BytesIO()
    with warnings.catch_warnings(), config.disable_value_validation():
        warnings.simplefilter("ignore")
        dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
