"""Which attributes a QIDO-RS answer holds (PS3.18 section 10.6.3.3), and rows as DICOM JSON (PS3.18 annex F)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from pydicom.datadict import dictionary_VR, tag_for_keyword

from rpacs_hub.gateway.dicomweb.matching import NUMERIC_VRS, UNMATCHED_VRS
from rpacs_hub.index import Level

__all__ = ["COUNTS", "EVERY", "MADE_HERE", "RETURNED", "can_be_column", "dicom_json", "is_count"]

RETURNED: dict[Level, tuple[str, ...]] = {
    Level.STUDY: (
        "StudyDate",
        "StudyTime",
        "AccessionNumber",
        "ModalitiesInStudy",
        "ReferringPhysicianName",
        "TimezoneOffsetFromUTC",
        "StudyDescription",
        "PatientName",
        "PatientID",
        "PatientBirthDate",
        "PatientSex",
        "StudyInstanceUID",
        "StudyID",
        "NumberOfStudyRelatedSeries",
        "NumberOfStudyRelatedInstances",
    ),
    Level.SERIES: (
        "Modality",
        "TimezoneOffsetFromUTC",
        "SeriesDescription",
        "SeriesInstanceUID",
        "SeriesNumber",
        "NumberOfSeriesRelatedInstances",
        "PerformedProcedureStepStartDate",
        "PerformedProcedureStepStartTime",
        "StudyInstanceUID",
    ),
    Level.INSTANCE: (
        "SOPClassUID",
        "SOPInstanceUID",
        "TimezoneOffsetFromUTC",
        "InstanceNumber",
        "Rows",
        "Columns",
        "BitsAllocated",
        "NumberOfFrames",
        "SeriesInstanceUID",
        "StudyInstanceUID",
    ),
}
"""What an answer holds without being asked (PS3.18 tables 10.6.3-3 to 10.6.3-5), and the UIDs above."""

EVERY: dict[Level, tuple[str, ...]] = {
    Level.STUDY: (
        *("PatientAge", "PatientSize", "PatientWeight", "IssuerOfPatientID", "EthnicGroup", "PatientComments"),
        *("InstitutionName", "PatientIdentityRemoved", "DeidentificationMethod", "ClinicalTrialProtocolID"),
    ),
    Level.SERIES: (
        *("SeriesDate", "SeriesTime", "BodyPartExamined", "Laterality", "PatientPosition", "ProtocolName"),
        *("Manufacturer", "ManufacturerModelName", "StationName", "SoftwareVersions", "FrameOfReferenceUID"),
    ),
    Level.INSTANCE: (
        *("AcquisitionNumber", "AcquisitionDate", "AcquisitionTime", "ContentDate", "ContentTime", "ImageType"),
        *("PhotometricInterpretation", "SamplesPerPixel", "BitsStored", "PixelSpacing", "SliceThickness"),
        *("ImagePositionPatient", "ImageOrientationPatient", "SliceLocation", "WindowCenter", "WindowWidth"),
    ),
}
"""What ``includefield=all`` adds: the attributes of the level that are used to choose images."""

COUNTS: dict[str, Level] = {
    "ModalitiesInStudy": Level.STUDY,
    "NumberOfStudyRelatedSeries": Level.STUDY,
    "NumberOfStudyRelatedInstances": Level.STUDY,
    "NumberOfSeriesRelatedInstances": Level.SERIES,
}
"""Attributes that no file holds, and the level whose search can tell them."""

MADE_HERE = frozenset({"SpecificCharacterSet", "RetrieveURL", "InstanceAvailability"})
"""Attributes that an answer always holds and that cannot be matched."""


@lru_cache(maxsize=4096)
def _tag_and_vr(keyword: str) -> tuple[str, str]:
    tag = tag_for_keyword(keyword)
    assert tag is not None  # keywords are checked when they come in
    return f"{int(tag):08X}", dictionary_VR(tag)


def is_count(keyword: str) -> bool:
    """Whether an attribute counts what is below, such as NumberOfStudyRelatedSeries: no file holds it."""
    return keyword.startswith("NumberOf") and "Related" in keyword


def can_be_column(keyword: str, level: Level) -> bool:
    """Whether a search of that level can answer with this attribute."""
    if keyword in COUNTS:
        return COUNTS[keyword] is level
    if not keyword or is_count(keyword) or tag_for_keyword(keyword) is None:
        return False
    return _tag_and_vr(keyword)[1] not in UNMATCHED_VRS | {"SQ"}


def dicom_json(row: Mapping[str, Any], required: Sequence[str], retrieve_url: str) -> dict[str, Any]:
    """Return a row of a search in the DICOM JSON model (PS3.18 section F.2).

    Parameters
    ----------
    row
        Keyword -> value of the index; None where the file has no such element.
    required
        Keywords that are answered even without a value.
    retrieve_url
        Address under which the study, series or instance can be fetched (0008,1190).
    """
    model = {
        "00080005": {"vr": "CS", "Value": ["ISO_IR 192"]},
        "00080056": {"vr": "CS", "Value": ["ONLINE"]},
        "00081190": {"vr": "UR", "Value": [retrieve_url]},
    }
    for keyword, value in row.items():
        if value is None and keyword not in required:
            continue
        tag, vr = _tag_and_vr(keyword)
        values = value if isinstance(value, list) else [] if value in (None, "") else [value]
        if " or " in vr:
            # US or SS: the sign of what is there tells.
            vr = "SS" if any(isinstance(each, int) and each < 0 for each in values) else "US"
        model[tag] = {"vr": vr, "Value": [_json_value(vr, each) for each in values]} if values else {"vr": vr}
    return dict(sorted(model.items()))


def _json_value(vr: str, value: Any) -> Any:
    if value in (None, ""):
        return None
    if vr == "PN":
        names = ("Alphabetic", "Ideographic", "Phonetic")
        return {name: group for name, group in zip(names, str(value).split("="), strict=False) if group}
    if vr in NUMERIC_VRS:
        return value
    return str(value)
