"""Identifiers of every kind in every place of real files, and what must become of each."""

from __future__ import annotations

import copy
import re
import struct
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom.data
from pydicom import Dataset, dcmread
from pydicom.datadict import dictionary_has_tag, dictionary_VR, tag_for_keyword
from pydicom.dataset import FileDataset
from pydicom.uid import ImplicitVRLittleEndian

from tests.answer_key.patients import Patient, patient
from tests.answer_key.policies import Policy

Path_ = tuple[tuple[int, int], ...]
"""Way to an element: (tag, item) of each sequence above it, and (tag, -1)."""

BASES = (
    "CT_small.dcm",
    "MR_small.dcm",
    "MR_small_bigendian.dcm",
    "MR_small_implicit.dcm",
    "MR_small_RLE.dcm",
    "JPEG2000.dcm",
    "rtplan.dcm",
    "rtdose_1frame.dcm",
    "rtstruct.dcm",
    "reportsi.dcm",
    "test-SR.dcm",
    "waveform_ecg.dcm",
    "liver_1frame.dcm",
    "examples_palette.dcm",
)
"""Files that come with pydicom."""

TECHNICAL = [
    "Modality",
    "SOPClassUID",
    "ImageType",
    "SliceThickness",
    "KVP",
    "EchoTime",
    "RepetitionTime",
    "FlipAngle",
    "PixelSpacing",
    "Rows",
    "Columns",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "RescaleSlope",
    "RescaleIntercept",
    "WindowCenter",
    "WindowWidth",
    "SeriesNumber",
    "InstanceNumber",
    "ExposureTime",
    "XRayTubeCurrent",
    "ConvolutionKernel",
    "GantryDetectorTilt",
    "ScanningSequence",
    "SequenceVariant",
    "MagneticFieldStrength",
    "ImagingFrequency",
    "NumberOfFrames",
    "DoseUnits",
    "DoseType",
    "DoseGridScaling",
    "CompletionFlag",
    "VerificationFlag",
    "ValueType",
    "PatientPosition",
    "SliceLocation",
    "DataCollectionDiameter",
    "ScanOptions",
    "BodyPartExamined",
    "Manufacturer",
]
PERSONS = [
    "OtherPatientNames",
    "PatientBirthName",
    "PatientMotherBirthName",
    "PerformingPhysicianName",
    "OperatorsName",
    "NameOfPhysiciansReadingStudy",
    "PhysiciansOfRecord",
    "RequestingPhysician",
    "ResponsiblePerson",
    "ScheduledPerformingPhysicianName",
    "ConsultingPhysicianName",
]
NUMBERS = [
    "OtherPatientIDs",
    "AdmissionID",
    "MedicalRecordLocator",
    "InsurancePlanIdentification",
    "PatientTelephoneNumbers",
    "PatientAddress",
    "MilitaryRank",
    "BranchOfService",
    "CountryOfResidence",
    "RegionOfResidence",
    "InstitutionAddress",
    "CurrentPatientLocation",
    "PatientReligiousPreference",
    "DeviceSerialNumber",
    "StationName",
    "OrderCallbackPhoneNumber",
    "ReferringPhysicianAddress",
    "ReferringPhysicianTelephoneNumbers",
    "PlacerOrderNumberImagingServiceRequest",
    "FillerOrderNumberImagingServiceRequest",
    "ResponsibleOrganization",
]
LONG_TEXTS = ["ImageComments", "PatientComments", "AdditionalPatientHistory", "StudyComments", "VisitComments"]
SHIFTED = ["StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate"]
PEOPLE_SEQUENCES = (0x0040A073, 0x0040A078, 0x0040A07A)  # observers and authors of a report may go
# A document has the whole file held back; the issuer makes the patient another one.
NOT_PLANTED = (0x00420011, 0x00100021, 0x00100024)
PUBLIC_UIDS = (0x0008010C, 0x00080117, 0x00080118)  # of coding schemes, context groups and mapping resources
TYPE_2 = [
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
]


@dataclass(frozen=True)
class Check:
    """One question about one element of the clean copy.

    Attributes
    ----------
    action
        One of the ten of MIDI-B.
    path
        Where to look; empty for the file as a whole.
    value
        The original value, or the word that must be gone or must be there.
    """

    action: str
    path: Path_ = ()
    value: str = ""


@dataclass
class Planted:
    """A file with identifiers, and its part of the key."""

    name: str
    patient: Patient
    data: bytes
    checks: list[Check] = field(default_factory=list)
    may_be_held: bool = False


def at(*steps: str | int) -> Path_:
    """Write a path: ``at("OtherPatientIDsSequence", 0, "PatientID")``."""
    found = []
    for index, step in enumerate(steps):
        if isinstance(step, str):
            item = steps[index + 1] if index + 1 < len(steps) and isinstance(steps[index + 1], int) else -1
            tag = tag_for_keyword(step)
            found.append((int(step, 16) if tag is None else tag, int(item)))
    return tuple(found)


def planted_files(policy: Policy, variants: int = 12, table: list[dict[str, str]] | None = None) -> Iterator[Planted]:
    """Yield the files of the key for a policy; the same arguments give the same files.

    Parameters
    ----------
    policy
        What the rules promise.
    variants
        How many patients each file of pydicom is planted with.
    table
        Rows of PS3.15 table E.1-1, with which every fourth file is planted as well if the policy keeps to it.
    """
    folder = Path(pydicom.data.__file__).parent / "test_files"
    for base, name in enumerate(BASES):
        original = _read(folder / name)
        for variant in range(variants):
            # Patients recur under other files: their pseudonyms must agree across studies.
            person = patient((base + variant * 5) % 40)
            rows = table if variant % 4 == 0 else None
            yield _planted(f"{name}/{variant}", copy.deepcopy(original), person, policy, base * 100 + variant, rows)
            if variant % 3 == 0:
                yield _described(f"{name}/{variant}/descriptions", copy.deepcopy(original), person, policy)


def _read(path: Path) -> FileDataset:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = dcmread(path, force=True)
        list(dataset.iterall())  # reads what is lazy
    return dataset


def _identified(dataset: Dataset, person: Patient) -> list[Check]:
    """Write who the patient is where it belongs."""
    dataset.SpecificCharacterSet = "ISO_IR 192" if person.number % 3 != 2 else "ISO_IR 100"
    dataset.PatientName = f"{person.family}^{person.given}^{person.other}"
    if person.number % 3 == 0:
        dataset.PatientName = f"{person.family}^{person.given}=山田^{person.other}=やま^{person.other}"
    dataset.PatientID = person.mrn
    dataset.AccessionNumber = person.accession
    dataset.StudyID = person.visit
    dataset.ReferringPhysicianName = f"{person.physician}^Dr"
    dataset.PatientBirthDate = _da(person.born)
    dataset.PatientSex = "F"
    dataset.StudyTime = "101112"
    for keyword, value in (("PatientAge", "043Y"), ("PatientWeight", "71.5"), ("PatientSize", "1.68")):
        setattr(dataset, keyword, value)
    for days, keyword in enumerate(SHIFTED):
        setattr(dataset, keyword, _da(person.seen + timedelta(days=days)))
    dataset.AcquisitionDateTime = f"{_da(person.seen)}101112.250000"
    checks = [
        Check("text_removed", at(keyword), value)
        for keyword, value in (
            ("PatientName", person.family),
            ("PatientName", person.given),
            ("PatientName", person.other),
            ("PatientID", person.mrn),
            ("AccessionNumber", person.accession),
            ("StudyID", person.visit),
            ("ReferringPhysicianName", person.physician),
            ("PatientBirthDate", _da(person.born)),
        )
    ]
    # The words themselves must be nowhere in the file.
    checks += [
        Check("text_removed", (), word)
        for word in (
            person.family,
            person.given,
            person.other,
            person.physician,
            person.mrn,
            person.accession,
            person.visit,
        )
    ]
    return checks


def _planted(
    name: str, dataset: FileDataset, person: Patient, policy: Policy, number: int, table: list[dict[str, str]] | None
) -> Planted:
    _make_acceptable(dataset)
    checks = _identified(dataset, person)
    _give_uids(dataset, person, number)
    checks += _plant_top(dataset, person)
    checks += _plant_nested(dataset, person, number)
    checks += _plant_private(dataset, person, policy)
    checks += _plant_graphics(dataset, person)
    if policy.descriptors != "removed":
        dataset.StudyDescription = "THORAX ROUTINE 1.0 B30f"
        dataset.SeriesDescription = "T1 AXIAL 3mm +C"
        checks += [
            Check("text_retained", at("StudyDescription"), "THORAX ROUTINE 1.0 B30f"),
            Check("text_retained", at("SeriesDescription"), "T1 AXIAL 3mm +C"),
        ]
    if policy.characteristics:
        checks += [
            Check("text_retained", at("PatientSex"), "F"),
            Check("text_retained", at("PatientAge"), "043Y"),
            Check("text_retained", at("PatientWeight"), "71.5"),
            Check("text_retained", at("PatientSize"), "1.68"),
        ]
    for keyword in SHIFTED:
        value = str(dataset.get(keyword))
        checks.append(Check("date_shifted" if policy.dates_shifted else "text_removed", at(keyword), value))
    value = str(dataset.AcquisitionDateTime)
    checks.append(Check("date_shifted" if policy.dates_shifted else "text_removed", at("AcquisitionDateTime"), value))
    checks += [Check("tag_retained", at(keyword)) for keyword in TYPE_2]
    for keyword in TECHNICAL:
        if keyword in dataset:
            checks.append(Check("tag_retained", at(keyword)))
            checks.append(Check("text_retained", at(keyword), text_of(dataset[keyword].value)))
    checks += list(_uid_checks(dataset, ()))
    checks += [Check("text_notnull", at(key)) for key in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")]
    checks.append(Check("text_notnull", at("SOPClassUID")))
    if policy.patient_id:
        checks += [Check("text_notnull", at("PatientID")), Check("patid_consistent", at("PatientID"), person.mrn)]
    dataset.preamble = b"II*\0" + person.token("preamble").encode().ljust(124, b" ")
    meta = dataset.file_meta
    meta.SourceApplicationEntityTitle = person.token("meta AE")[:16].upper()
    meta.add_new(0x00020100, "UI", "1.2.276.0.7230010.99")
    meta.add_new(0x00020102, "OB", person.token("meta private").encode().ljust(16))
    checks += [Check("text_removed", (), person.token(place)) for place in ("preamble", "meta AE", "meta private")]
    if policy.whole_profile:
        checks += _plant_profile(dataset, person, table or [], policy)
    return Planted(name, person, _bytes(dataset), checks)


def _described(name: str, dataset: FileDataset, person: Patient, policy: Policy) -> Planted:
    """Plant identifiers into descriptions, beside words that are nobody's business."""
    _make_acceptable(dataset)
    checks = _identified(dataset, person)
    seen, born = person.seen, person.born
    texts = {
        "StudyDescription": (f"CT {person.family.upper()} ROUTINE {seen:%d.%m.%Y}", ("CT", "ROUTINE")),
        "SeriesDescription": (f"{person.given}, {person.family} T1 AXIAL", ("T1", "AXIAL")),
        "ProtocolName": (f"Dr. {person.physician} ABDOMEN 3mm", ("ABDOMEN", "3mm")),
        "RequestedProcedureDescription": (f"HEAD {person.mrn} born {born:%Y-%m-%d}", ("HEAD",)),
        "PerformedProcedureStepDescription": (f"NECK ({person.accession}) {seen:%B %d, %Y}", ("NECK",)),
    }
    for keyword, (text, kept) in texts.items():
        setattr(dataset, keyword, text)
        for word in text.replace(",", " ").replace("(", " ").replace(")", " ").split():
            if (word not in kept and word not in ("Dr.", "born") and not word.isalpha()) or word in (
                person.family.upper(),
                person.given,
                person.family,
                person.physician,
            ):
                checks.append(Check("text_removed", at(keyword), word))
        if policy.descriptors == "cleaned":
            checks += [Check("text_retained_word", at(keyword), word) for word in kept]
    return Planted(name, person, _bytes(dataset), checks, may_be_held=policy.descriptors == "held")


def _make_acceptable(dataset: FileDataset) -> None:
    """Take away what would have the file held back for its pixels: they are another key's business."""
    dataset.BurnedInAnnotation = "NO"
    for group in range(0x6000, 0x6020, 2):
        for element in [element.tag for element in dataset.group_dataset(group)]:
            del dataset[element]
    # Who the file was made of before: not the invented patient.
    for keyword in ("StudyDescription", "SeriesDescription", "ProtocolName", "RequestedProcedureDescription"):
        if keyword in dataset:
            delattr(dataset, keyword)


def _give_uids(dataset: Dataset, person: Patient, number: int) -> None:
    root = "1.2.276.0.7230010.3.1"
    dataset.SOPInstanceUID = f"{root}.4.{number}.{person.number}"
    dataset.SeriesInstanceUID = f"{root}.3.{number}.{person.number}"
    dataset.StudyInstanceUID = f"{root}.2.{person.number}"
    dataset.FrameOfReferenceUID = f"{root}.5.{person.number}"
    item = Dataset()
    item.ReferencedSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    item.ReferencedSOPInstanceUID = dataset.SOPInstanceUID
    other = copy.deepcopy(item)
    other.ReferencedSOPInstanceUID = f"{root}.4.{number + 1}.{person.number}"
    dataset.ReferencedImageSequence = [item, other]


def _plant_top(dataset: Dataset, person: Patient) -> list[Check]:
    checks = []
    for keyword in (*PERSONS, *NUMBERS, *LONG_TEXTS):
        token = person.token(keyword)
        value = {"PN": f"{token}^{token}", "SH": token[:16]}.get(dictionary_VR(keyword), token)
        if keyword in LONG_TEXTS:
            value = f"Seen {person.seen:%d %b %Y}. {token} rang."
        setattr(dataset, keyword, value)
        checks.append(Check("text_removed", at(keyword), token[:16]))
        checks.append(Check("text_removed", (), token[:16]))
    dataset.PatientBirthTime = "121314"
    return checks


def _plant_nested(dataset: Dataset, person: Patient, number: int) -> list[Check]:
    checks: list[Check] = []

    def plant(item: Dataset, path: tuple[str | int, ...], keyword: str, value: str) -> None:
        setattr(item, keyword, value)
        checks.append(Check("text_removed", at(*path, keyword), value.split("^")[0]))

    other = Dataset()
    path: tuple[str | int, ...] = ("OtherPatientIDsSequence", 0)
    plant(other, path, "PatientID", person.token("other ID"))
    plant(other, path, "IssuerOfPatientID", person.token("issuer"))
    dataset.OtherPatientIDsSequence = [other]
    doctor = Dataset()
    path = ("ReferringPhysicianIdentificationSequence", 0)
    plant(doctor, path, "PersonAddress", person.token("person address"))
    plant(doctor, path, "PersonTelephoneNumbers", person.phone)
    plant(doctor, path, "InstitutionName", person.token("institution of a physician"))
    dataset.ReferringPhysicianIdentificationSequence = [doctor]
    request = Dataset()
    path = ("RequestAttributesSequence", 0)
    plant(request, path, "AccessionNumber", person.accession)
    plant(request, path, "RequestingPhysician", f"{person.physician}^X")
    plant(request, path, "ReasonForTheRequestedProcedure", person.family)
    dataset.RequestAttributesSequence = [request]
    deepest = Dataset()
    path = ("OriginalAttributesSequence", 0, "ModifiedAttributesSequence", 0, "OtherPatientIDsSequence", 0)
    plant(deepest, path, "PatientID", person.mrn)
    plant(deepest, path, "PatientName", f"{person.family}^{person.given}")
    modified = Dataset()
    path = path[:4]
    plant(modified, path, "PatientName", f"{person.family}^{person.given}")
    plant(modified, path, "PatientID", person.mrn)
    plant(modified, path, "PatientBirthDate", _da(person.born))
    plant(modified, path, "PatientComments", person.token("nested comment"))
    modified.OtherPatientIDsSequence = [deepest]
    original = Dataset()
    path = path[:2]
    plant(original, path, "SourceOfPreviousValues", person.token("source of values"))
    original.ModifiedAttributesSequence = [modified]
    dataset.OriginalAttributesSequence = [original]
    if "ContentSequence" in dataset or number % 4 == 0:
        text, name = Dataset(), Dataset()
        text.ValueType, text.RelationshipType = "TEXT", "CONTAINS"
        text.TextValue = f"Mr. {person.family} of {person.street} was seen."
        name.ValueType, name.RelationshipType = "PNAME", "CONTAINS"
        name.add_new(0x0040A123, "PN", f"{person.family}^{person.given}")
        items = [*dataset.get("ContentSequence", []), text, name]
        dataset.ContentSequence = items
        where = len(items) - 2
        checks.append(Check("text_removed", at("ContentSequence", where, "TextValue"), person.family))
        checks.append(Check("text_removed", at("ContentSequence", where + 1, "PersonName"), person.family))
        checks.append(Check("text_removed", (), person.street))
    checks += [Check("text_removed", (), check.value) for check in checks if check.value[:1].isupper()]
    return checks


def _plant_private(dataset: Dataset, person: Patient, policy: Policy) -> list[Check]:
    words = [person.token(f"private {number}") for number in range(5)]
    block = dataset.private_block(0x0099, "RPACS ANSWER KEY", create=True)
    block.add_new(0x01, "LO", words[0])
    block.add_new(0x02, "OB", b"\x00\x01" + words[1].encode() + b"\xff" * 4)
    inner = Dataset()
    inner.PatientName = f"{person.family}^{person.given}"
    inner.PatientComments = words[2]
    block.add_new(0x03, "SQ", [inner])
    buffer = struct.pack("<HHI", 0x0010, 0x4000, len(words[3].ljust(16))) + words[3].ljust(16).encode()
    block.add_new(0x04, "UN", struct.pack("<HHI", 0xFFFE, 0xE000, len(buffer)) + buffer)
    block.add_new(0x05, "UN", words[4].encode("utf-16-le"))
    checks = [Check("text_removed", (), word) for word in words]
    checks += [Check("text_removed", at(f"009910{number:02X}")) for number in range(1, 6)]
    if policy.safe_private:
        safe = dataset.private_block(0x7053, "Philips PET Private Group", create=True)
        safe.add_new(0x00, "DS", "0.000587")
        tag = int(safe.get_tag(0x00))
        checks.append(Check("text_retained", ((tag, -1),), "0.000587"))
    return checks


def _plant_graphics(dataset: Dataset, person: Patient) -> list[Check]:
    words = [person.token(f"graphics {number}") for number in range(5)]
    dataset.add_new(0x60000010, "US", 8)
    dataset.add_new(0x60000011, "US", 8)
    dataset.add_new(0x60000040, "CS", "G")
    dataset.add_new(0x60000050, "SS", [1, 1])
    dataset.add_new(0x60000100, "US", 1)
    dataset.add_new(0x60000102, "US", 0)
    dataset.add_new(0x60001500, "LO", words[0])
    dataset.add_new(0x60003000, "OW", words[1].ljust(16).encode())
    dataset.add_new(0x60004000, "LT", words[2])
    dataset.add_new(0x50003000, "OB", words[3].ljust(16).encode())
    icon = Dataset()
    icon.Rows = icon.Columns = 4
    icon.SamplesPerPixel, icon.PhotometricInterpretation = 1, "MONOCHROME2"
    icon.BitsAllocated = icon.BitsStored = 8
    icon.HighBit, icon.PixelRepresentation = 7, 0
    icon.PixelData = words[4][:16].ljust(16).encode()
    dataset.IconImageSequence = [icon]
    return [Check("text_removed", (), word) for word in words[:3]] + [
        Check("text_removed", (), words[3]),
        Check("text_removed", (), words[4][:16]),
    ]


def _uid_checks(dataset: Dataset, path: Path_) -> Iterator[Check]:
    for element in dataset:
        here = int(element.tag)
        if element.VR == "SQ":
            for index, item in enumerate(element.value):
                yield from _uid_checks(item, (*path, (here, index)))
        elif element.VR == "UI" and element.value and here in PUBLIC_UIDS:
            if not any(tag in PEOPLE_SEQUENCES for tag, _ in path):
                yield Check("text_retained", (*path, (here, -1)), text_of(element.value))
        elif element.VR == "UI" and element.value and not element.tag.is_private:
            for value in element.value if element.VM > 1 else [element.value]:
                if not str(value).startswith("1.2.840.10008.") and str(value).count(".") > 2:
                    yield Check("uid_changed", (*path, (here, -1)), str(value))
                    yield Check("uid_consistent", (*path, (here, -1)), str(value))


def _plant_profile(dataset: Dataset, person: Patient, table: list[dict[str, str]], policy: Policy) -> list[Check]:
    """Plant a word into every attribute of PS3.15 table E.1-1 that can hold one and that no option keeps."""
    checks = []
    for row in table:
        if not re.fullmatch("[0-9A-Fa-f]{8}", row["id"]) or any(row.get(option) for option in policy.kept_options):
            continue
        tag = int(row["id"], 16)
        if (
            not dictionary_has_tag(tag)
            or tag in dataset
            or tag < 0x00080000
            or row["basicProfile"] == "U"
            or tag in NOT_PLANTED
        ):
            continue
        vr, token = dictionary_VR(tag), person.token(row["id"])
        match vr:
            case "PN" | "LO" | "LT" | "ST" | "UT" | "UC" | "UR" | "SH" | "CS" | "AE":
                value: object = token.upper()[:16] if vr in ("CS", "AE") else token[:16] if vr == "SH" else token
            case "DA":
                value = token = _da(person.seen + timedelta(days=tag % 300 - 900))
            case "DT":
                token = _da(person.seen + timedelta(days=tag % 300 - 900))
                value = f"{token}101112"
            case "OB" | "OW" | "UN":
                value = token.encode().ljust(16)
            case "SQ":
                item = Dataset()
                # References stay, with new UIDs, and reports where they are cleaned rather than made up.
                stays = "U" in row["basicProfile"] or (policy.cleaned_content and row.get("cleanStructContOpt"))
                if not stays:
                    checks += _plant_everywhere(item, tag, person)
                item.PersonName = f"{token}^{token}"
                value = [item]
            case _:
                continue
        dataset.add_new(tag, vr, value)
        checks.append(Check("text_removed", ((tag, -1),), token[:16]))
        if vr not in ("DA", "DT"):
            checks.append(Check("text_removed", (), token[:16]))
    return checks


def _plant_everywhere(item: Dataset, tag: int, person: Patient) -> list[Check]:
    """Plant words into an item of a sequence that goes, or of which no word stays: texts, codes, and deeper."""
    inner, code = Dataset(), Dataset()
    words = []
    for place, keyword in (
        (item, "CodeMeaning"),
        (item, "TextValue"),
        (item, "UnformattedTextValue"),
        (item, "SegmentDescription"),
        (item, "CommentsOnThePerformedProcedureStep"),
        (inner, "TextValue"),
        (inner, "ContentDescription"),
        (code, "CodeMeaning"),
        (code, "LongCodeValue"),
    ):
        word = person.token(f"{tag:08X} {keyword} {len(words)}")
        setattr(place, keyword, word)
        words.append(word)
    code.CodingSchemeDesignator = "99KEY"
    inner.ConceptCodeSequence = [code]
    item.ContentSequence = [inner]
    return [Check("text_removed", (), word) for word in words]


def text_of(value: Any) -> str:
    """Return an element's value as text."""
    if value is None:
        return ""
    if isinstance(value, str | bytes) or not hasattr(value, "__iter__"):
        return str(value)
    if hasattr(value, "original_string"):
        return str(value)
    return "\\".join(str(part) for part in value)


def _da(day: date) -> str:
    return f"{day:%Y%m%d}"


def _bytes(dataset: FileDataset) -> bytes:
    if "TransferSyntaxUID" not in dataset.file_meta:
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    buffer = BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
