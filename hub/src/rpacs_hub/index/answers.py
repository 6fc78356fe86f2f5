"""What is asked of the index, and what it answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import dicom_query
from rpacs_hub.index._columns import Level, SortKey

__all__ = ["MAX_COLUMNS", "MAX_LIMIT", "Entity", "IndexedInstance", "Page", "Search"]

MAX_LIMIT = 1000
"""The most rows of one page."""

MAX_COLUMNS = 60
"""The most columns of one search."""


@dataclass(frozen=True)
class Search:
    """What is searched for.

    Attributes
    ----------
    query
        Parsed query; None = everything.
    level
        What a row stands for.
    columns, sort
        Keywords; None = the level's own, see `DEFAULT_COLUMNS` and `DEFAULT_SORT`.
    limit
        Rows of a page, 0 to `MAX_LIMIT`.
    cursor
        `Page.next` of the page before.
    """

    query: dicom_query.Node | None
    level: Level
    columns: tuple[str, ...] | None = None
    sort: tuple[SortKey, ...] | None = None
    limit: int = 100
    cursor: str | None = None


@dataclass(frozen=True)
class Page:
    """One page of a result.

    Attributes
    ----------
    rows
        Keyword -> value; None where the file has no such element.
    total
        Rows of the whole result, exact.
    next
        Cursor of the next page; None at the end.
    """

    level: Level
    columns: tuple[str, ...]
    rows: list[dict[str, Any]]
    total: int
    next: str | None


@dataclass(frozen=True)
class Entity:
    """A patient, study, series or instance by its identifier."""

    level: Level
    uid: str


@dataclass(frozen=True)
class IndexedInstance:
    """An instance of the index.

    Attributes
    ----------
    orthanc_id, file_uuid
        Where its file is, and the identity of that content.
    patient_id, study_uid, series_uid, sop_uid
        PatientID, StudyInstanceUID, SeriesInstanceUID, SOPInstanceUID.
    bytes
        Length of the file.
    document
        `dicom_query.index_document`; empty where it was not asked for.
    """

    orthanc_id: str
    file_uuid: str
    patient_id: str
    study_uid: str
    series_uid: str
    sop_uid: str
    bytes: int
    document: Mapping[str, Any] = field(default_factory=dict, repr=False)
