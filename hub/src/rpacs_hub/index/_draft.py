"""A block in memory: what its instances have in common, what varies, and how that becomes rows."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from pydicom.datadict import dictionary_VR

from rpacs_hub.index._content import SOP_PATHS, dumps, first_text, fitting_number, numbers_in, shown_of

__all__ = ["Column", "Draft", "Numbers", "Subject", "subject_of", "without_sop"]

Column = str | list[str | None]
"""A content that all instances have, or each instance's own (None = absent)."""

_FEW = 4
"""Contents go to the dictionary if on average so many instances share one: then four bytes each are enough."""

_NUMERIC_VRS = frozenset({"DS", "IS", "US", "SS", "UL", "SL", "UV", "SV", "FL", "FD", "US or SS"})


class Subject(NamedTuple):
    """What all instances of a block agree on, whatever else they hold; all but the last are columns to sort by.

    Attributes
    ----------
    series_number
        SeriesNumber, where it is a number that fits a double.
    modality
        Modality as it is shown.
    patient_id, study_date, study_uid, series_uid
        First value, folded; None where there is none.
    sop
        Which of `SOP_PATHS` hold the SOPInstanceUID and nothing else.
    """

    series_number: float | None
    modality: str | None
    patient_id: str | None
    study_date: str | None
    study_uid: str | None
    series_uid: str | None
    sop: frozenset[str]


def without_sop(contents: Mapping[str, str], sop_uid: str) -> tuple[dict[str, str], frozenset[str]]:
    """Return the contents without those paths that hold just the SOPInstanceUID, and the names that say so."""
    plain = dumps(sop_uid)
    said = frozenset(name for path, name in SOP_PATHS.items() if contents.get(path) == plain)
    return {path: content for path, content in contents.items() if SOP_PATHS.get(path) not in said}, said


def subject_of(contents: Mapping[str, str], sop: frozenset[str]) -> Subject:
    """Return the subject of an instance."""
    number = first_text(contents.get("00200011"))
    series_number = fitting_number(number) if number else None
    modality = shown_of("00080060", contents["00080060"]) if "00080060" in contents else None
    if isinstance(modality, list):
        modality = "\\".join(map(str, modality))
    return Subject(
        series_number if series_number is not None and math.isfinite(series_number) else None,
        str(modality) if modality else None,
        first_text(contents.get("00100020")),
        first_text(contents.get("00080020")),
        first_text(contents.get("0020000D")),
        first_text(contents.get("0020000E")),
        sop,
    )


class Numbers(NamedTuple):
    """The numbers of a column: ascending, with the places that they belong to (None = 1, 2, 3 ...).

    `several` says that a place has more than one of them, `whole` that each has at least one.
    """

    nums: list[float]
    ords: list[int] | None
    several: bool
    whole: bool


@dataclass
class Draft:
    """The contents of some instances, one under the other.

    Attributes
    ----------
    n
        How many instances.
    columns
        Tag path -> column.
    """

    n: int = 0
    columns: dict[str, Column] = field(default_factory=dict)

    def append(self, contents: Mapping[str, str]) -> None:
        """Add an instance behind the others."""
        columns, n = self.columns, self.n
        if not n:
            columns.update(contents)
            self.n = 1
            return
        for path, content in contents.items():
            column = columns.get(path)
            if column is content:
                continue
            if column is None:
                columns[path] = [*([None] * n), content]
            elif isinstance(column, list):
                column.append(content)
            elif column != content:
                columns[path] = [*([column] * n), content]
        self.n = n + 1
        if len(contents) < len(columns):
            for path, column in columns.items():
                if path not in contents:
                    if isinstance(column, list):
                        column.append(None)
                    else:
                        columns[path] = [*([column] * n), None]

    def remove(self, places: Collection[int]) -> None:
        """Take instances out; those behind them move up.

        Parameters
        ----------
        places
            Counted from 1.
        """
        gone = set(places)
        kept = [n for n in range(self.n) if n + 1 not in gone]
        self.n = len(kept)
        for path, column in self.columns.items():
            if isinstance(column, list):
                self.columns[path] = [column[n] for n in kept]
        self.settle()

    def settle(self) -> None:
        """Turn columns whose instances agree into one content, and drop those that nobody has."""
        for path, column in list(self.columns.items()):
            if isinstance(column, list):
                distinct = set(column)
                if distinct <= {None}:
                    del self.columns[path]
                elif len(distinct) == 1:
                    self.columns[path] = next(content for content in distinct if content is not None)
        if not self.n:
            self.columns.clear()

    def constants(self) -> dict[str, str]:
        """Return the contents that all instances have."""
        return {path: column for path, column in self.columns.items() if isinstance(column, str)}

    def varying(self) -> dict[str, list[str | None]]:
        """Return the columns that differ."""
        return {path: column for path, column in self.columns.items() if isinstance(column, list)}


def is_coded(column: list[str | None]) -> bool:
    """Whether a column's contents shall stand in the dictionary."""
    return len({content for content in column if content is not None}) * _FEW <= len(column)


def numbers_of(path: str, column: list[str | None]) -> Numbers | None:
    """Return the numbers of a column; None if one does not fit a double, or if nobody will ask for numbers."""
    if not _may_be_numeric(path):
        return None
    found: list[tuple[float, int]] = []
    several = False
    for place, content in enumerate(column, 1):
        if content is not None:
            numbers = numbers_in(content)
            several = several or len(numbers) > 1
            found += [(number, place) for number in numbers]
    if any(number != number for number, _ in found):
        return None
    found.sort()
    places = [place for _, place in found]
    return Numbers(
        [number for number, _ in found],
        None if places == list(range(1, len(column) + 1)) else places,
        several,
        len(set(places)) == len(column),
    )


def _may_be_numeric(path: str) -> bool:
    tag = int(path.rpartition(".")[2], 16)
    try:
        return dictionary_VR(tag) in _NUMERIC_VRS
    except KeyError:
        return True


def joined(column: Iterable[str | None]) -> str:
    """Return a column as one JSON array."""
    return f"[{','.join('null' if content is None else content for content in column)}]"


def split(text: str) -> list[str | None]:
    """Return the column that `joined` was given."""
    return [None if content is None else dumps(content) for content in json.loads(text)]
