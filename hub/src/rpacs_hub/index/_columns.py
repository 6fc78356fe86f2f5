"""Which columns a search shows at each level, where their values come from and how they sort."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from pydicom.datadict import dictionary_VR, tag_for_keyword

import dicom_query
from rpacs_hub.errors import SearchRefused

__all__ = ["COUNTED", "DEFAULT_COLUMNS", "DEFAULT_SORT", "Level", "SortKey", "check_columns", "parse_level"]


class Level(enum.StrEnum):
    """What one row of a result stands for (PS3.4 C.6: patient, study, series, instance)."""

    PATIENT = "patient"
    STUDY = "study"
    SERIES = "series"
    INSTANCE = "instance"


@dataclass(frozen=True)
class SortKey:
    """One column to sort by."""

    column: str
    descending: bool = False


DEFAULT_COLUMNS: dict[Level, tuple[str, ...]] = {
    Level.PATIENT: (
        "PatientID",
        "PatientName",
        "PatientSex",
        "PatientBirthDate",
        "NumberOfPatientRelatedStudies",
        "NumberOfPatientRelatedSeries",
        "NumberOfPatientRelatedInstances",
    ),
    Level.STUDY: (
        "PatientID",
        "PatientName",
        "StudyInstanceUID",
        "StudyDate",
        "StudyDescription",
        "AccessionNumber",
        "ModalitiesInStudy",
        "NumberOfStudyRelatedSeries",
        "NumberOfStudyRelatedInstances",
    ),
    Level.SERIES: (
        "PatientID",
        "StudyInstanceUID",
        "StudyDate",
        "StudyDescription",
        "SeriesInstanceUID",
        "Modality",
        "SeriesNumber",
        "SeriesDescription",
        "BodyPartExamined",
        "NumberOfSeriesRelatedInstances",
    ),
    Level.INSTANCE: (
        "PatientID",
        "StudyInstanceUID",
        "SeriesInstanceUID",
        "SOPInstanceUID",
        "SOPClassUID",
        "Modality",
        "InstanceNumber",
        "NumberOfFrames",
        "Rows",
        "Columns",
    ),
}
"""What a search shows unless it is told otherwise."""

DEFAULT_SORT: dict[Level, tuple[SortKey, ...]] = {
    Level.PATIENT: (SortKey("PatientID"),),
    Level.STUDY: (SortKey("StudyDate", True), SortKey("PatientID")),
    Level.SERIES: (SortKey("StudyDate", True), SortKey("StudyInstanceUID"), SortKey("SeriesNumber")),
    Level.INSTANCE: (SortKey("StudyInstanceUID"), SortKey("SeriesInstanceUID"), SortKey("InstanceNumber")),
}
"""How a search sorts unless it is told otherwise; the row's key breaks every tie."""

COUNTED: dict[Level, tuple[str, ...]] = {
    Level.PATIENT: (
        "NumberOfPatientRelatedStudies",
        "NumberOfPatientRelatedSeries",
        "NumberOfPatientRelatedInstances",
    ),
    Level.STUDY: ("ModalitiesInStudy", "NumberOfStudyRelatedSeries", "NumberOfStudyRelatedInstances"),
    Level.SERIES: ("NumberOfSeriesRelatedInstances",),
    Level.INSTANCE: (),
}
"""Columns that no file holds (PS3.4 C.3.4): counted over the instances that the user may see."""

NUMERIC_VRS = frozenset({"DS", "IS", "US", "SS", "UL", "SL", "UV", "SV", "FL", "FD"})
"""Value representations that sort as numbers."""

_UNSHOWN_VRS = frozenset({"SQ", "OB", "OW", "OF", "OD", "OL", "OV", "UN", "OB or OW"})


def parse_level(text: str) -> Level:
    """Return the level of that name.

    Raises
    ------
    SearchRefused
        There is none.
    """
    try:
        return Level(text)
    except ValueError:
        raise SearchRefused(
            "level_unknown", f"There is no level {text[:40]!r}.", f"Levels: {', '.join(Level)}."
        ) from None


def check_columns(level: Level, columns: Sequence[str]) -> None:
    """Refuse columns that a search of this level cannot show or sort by.

    Raises
    ------
    SearchRefused
        With the nearest keyword as a hint.
    """
    for column in columns:
        if column in COUNTED[level]:
            continue
        vr = _vr(column)
        if vr is None:
            if any(column in counted for counted in COUNTED.values()):
                levels = [str(other) for other, counted in COUNTED.items() if column in counted]
                raise SearchRefused(
                    "column_unknown", f"{column} is no column of level {level}.", f"Search at level {levels[0]}."
                )
            near = dicom_query.nearest_keyword(column[:200])
            hint = f"Did you mean {near}?" if near else "Columns are keywords of the DICOM dictionary."
            raise SearchRefused("column_unknown", f"{column[:80]!r} is no DICOM keyword.", hint)
        if vr in _UNSHOWN_VRS:
            raise SearchRefused(
                "column_unknown",
                f"{column} is a sequence or binary and cannot be a column.",
                "Look at the tags instead.",
            )


def is_numeric(column: str) -> bool:
    """Whether a column of the dictionary sorts as a number."""
    vr = _vr(column) or ""
    return bool(set(vr.split(" or ")) & NUMERIC_VRS)


def tag_of(column: str) -> int:
    """Return the tag of a column that `check_columns` has let through."""
    tag = tag_for_keyword(column)
    assert tag is not None
    return tag


@lru_cache(maxsize=4096)
def _vr(keyword: str) -> str | None:
    # ModalitiesInStudy and its like are in the dictionary but in no file.
    if any(keyword in counted for counted in COUNTED.values()):
        return None
    tag = tag_for_keyword(keyword)
    return dictionary_VR(tag) if tag is not None else None
