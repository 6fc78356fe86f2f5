"""The results: one page of rows at a time, fetched from the gateway as the reader asks for them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

import traitlets

from rpacs._client import Client
from rpacs._frames import KEYS, Level, check_level
from rpacs.widgets._panel import Panel

__all__ = ["ResultsGrid"]

_COLUMNS: Final[dict[Level, tuple[str, ...]]] = {
    "patient": (
        "PatientID",
        "PatientName",
        "PatientSex",
        "PatientBirthDate",
        "NumberOfPatientRelatedStudies",
        "NumberOfPatientRelatedSeries",
        "NumberOfPatientRelatedInstances",
    ),
    "study": (
        "PatientID",
        "StudyDate",
        "StudyDescription",
        "ModalitiesInStudy",
        "AccessionNumber",
        "NumberOfStudyRelatedSeries",
        "NumberOfStudyRelatedInstances",
    ),
    "series": (
        "PatientID",
        "StudyDate",
        "Modality",
        "StudyDescription",
        "SeriesDescription",
        "BodyPartExamined",
        "SeriesNumber",
        "NumberOfSeriesRelatedInstances",
    ),
    "instance": ("PatientID", "Modality", "InstanceNumber", "NumberOfFrames", "Rows", "Columns", "SOPInstanceUID"),
}
_LABELS: Final = {
    "PatientID": "Patient",
    "PatientName": "Name",
    "PatientSex": "Sex",
    "PatientBirthDate": "Born",
    "StudyDate": "Date",
    "StudyDescription": "Study",
    "SeriesDescription": "Series",
    "SeriesNumber": "No.",
    "BodyPartExamined": "Body part",
    "ModalitiesInStudy": "Modalities",
    "AccessionNumber": "Accession",
    "InstanceNumber": "No.",
    "NumberOfFrames": "Frames",
    "NumberOfPatientRelatedStudies": "Studies",
    "NumberOfPatientRelatedSeries": "Series",
    "NumberOfPatientRelatedInstances": "Images",
    "NumberOfStudyRelatedSeries": "Series",
    "NumberOfStudyRelatedInstances": "Images",
    "NumberOfSeriesRelatedInstances": "Images",
    "SOPInstanceUID": "Instance UID",
    "SeriesInstanceUID": "Series UID",
    "StudyInstanceUID": "Study UID",
}


class ResultsGrid(Panel, script="grid"):
    """A table of search results with server-side paging, sorting and selection.

    Parameters
    ----------
    client : Client
        The connection.

    Attributes
    ----------
    query, level : str
        What is shown; set both with `show`.
    sort : str
        Keyword to sort by, with a leading ``-`` for downwards; empty for the gateway's order.
    extra_columns : list of str
        Keywords that the reader added.
    size : int
        Rows a page, at most 1,000.
    active : str
        Key of the row that was opened.
    selected : list of str
        Keys of the rows that were ticked, over all pages.
    total : int
        How many rows there are; -1 before the first answer.
    """

    query = traitlets.Unicode("").tag(sync=True)
    level = traitlets.Unicode("series").tag(sync=True)
    sort = traitlets.Unicode("").tag(sync=True)
    extra_columns = traitlets.List(traitlets.Unicode()).tag(sync=True)
    size = traitlets.Int(50, min=1, max=1000).tag(sync=True)
    active = traitlets.Unicode("").tag(sync=True)
    selected = traitlets.List(traitlets.Unicode()).tag(sync=True)
    total = traitlets.Int(-1).tag(sync=True)
    revision = traitlets.Int(0).tag(sync=True)
    allowed = traitlets.Bool(True).tag(sync=True)

    def __init__(self, client: Client) -> None:
        self._client = client
        super().__init__()

    def show(self, query: str, level: str) -> None:
        """Show the rows of a query from the first page on, and forget the selection.

        Parameters
        ----------
        query, level : str
            As for `Client.search`.
        """
        with self.hold_sync():
            if level != self.level:
                self.sort = ""
                self.extra_columns = []
            self.query, self.level = query, check_level(level)
            self.active, self.selected, self.total = "", [], -1
            self.revision += 1

    def actions(self) -> dict[str, Callable[..., Any]]:
        """See `Panel.actions`."""
        return {"page": self._page}

    def _page(
        self,
        query: str,
        level: str,
        sort: str = "",
        extra: list[str] | None = None,
        size: int = 50,
        cursor: str | None = None,
    ) -> dict[str, Any]:
        rank = check_level(level)
        shown = [*_COLUMNS[rank], *(c for c in extra or () if c not in _COLUMNS[rank])]
        asked = [KEYS[rank], *(c for c in shown if c != KEYS[rank])]
        page = self._client.page(query, rank, asked, sort or None, size, cursor)
        if (query, rank) == (self.query, self.level):
            self.total = page["total"]
        return {
            "columns": [{"name": c, "label": _LABELS.get(c) or _words(c)} for c in shown],
            "rows": [{"key": row.get(KEYS[rank]) or "", "cells": [row.get(c) for c in shown]} for row in page["rows"]],
            "total": page["total"],
            "next": page["next"],
        }


def _words(keyword: str) -> str:
    """Return a keyword as words: ``SliceThickness`` as ``Slice thickness``."""
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z0-9]+|[^A-Za-z0-9]+", keyword)
    return " ".join([words[0], *(w if w.isupper() else w.lower() for w in words[1:])]) if words else keyword
