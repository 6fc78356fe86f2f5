"""Tables: what the gateway answers, as pandas DataFrames.

Levels are those of DICOM's query/retrieve model (PS3.4, C.6.1.1): patient, study, series, instance. A table's index is
the key of its level, so ``table.index`` is what the other calls take.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal, get_args

import pandas as pd
from pydicom.datadict import dictionary_VR, tag_for_keyword

from rpacs._errors import RpacsError

__all__ = ["KEYS", "Level", "check_level", "level_of", "search_frame", "tags_frame"]

Level = Literal["patient", "study", "series", "instance"]

KEYS: Final[dict[Level, str]] = {
    "patient": "PatientID",
    "study": "StudyInstanceUID",
    "series": "SeriesInstanceUID",
    "instance": "SOPInstanceUID",
}
"""The keyword of each level's unique key."""


def check_level(level: str) -> Level:
    """Return `level`, or raise an error that lists the four there are.

    Parameters
    ----------
    level : str
        As the caller gave it; any case.

    Returns
    -------
    Level
        One of patient, study, series, instance.

    Raises
    ------
    RpacsError
        If it is none of them.
    """
    for known in get_args(Level):
        if level.lower() == known:
            return known  # type: ignore[no-any-return]
    raise RpacsError(f"There is no level {level!r}.", f"Use one of {', '.join(get_args(Level))}.")


def search_frame(
    rows: Iterable[Mapping[str, Any]], columns: Sequence[str], level: Level, *, dates: bool = True
) -> pd.DataFrame:
    """Return rows of a search as a table.

    Parameters
    ----------
    rows : iterable of mapping
        Each maps DICOM keywords to what the gateway sent.
    columns : sequence of str
        Keywords, in the order of the columns; the level's key may be among them.
    level : Level
        What a row stands for.
    dates : bool, optional
        Whether elements of VR DA become ``datetime64[s]``. What is no full date (empty, partial, several values)
        becomes ``NaT``; ``dates=False`` leaves the text as DICOM holds it. Times (TM) stay text either way.

    Returns
    -------
    pandas.DataFrame
        Shape (rows, columns without the key); index named after the level's key.
    """
    key = KEYS[level]
    wanted = [key, *(c for c in columns if c != key)]
    table = pd.DataFrame([[row.get(c) for c in wanted] for row in rows], columns=wanted).set_index(key)
    for name in table.columns:
        if dates and _vr(name) == "DA":
            text = table[name].map(lambda value: value if isinstance(value, str) else None)
            table[name] = pd.to_datetime(text, format="%Y%m%d", errors="coerce").astype("datetime64[s]")
        elif name.startswith("NumberOf") and not table[name].isna().any():
            table[name] = table[name].astype("int64")
    table.attrs["level"] = level
    return table


def tags_frame(answer: Mapping[str, Any]) -> pd.DataFrame:
    """Return the elements of one instance as a table.

    Parameters
    ----------
    answer : mapping
        What the gateway sent: ``{"instance": uid, "tags": [...]}``.

    Returns
    -------
    pandas.DataFrame
        One row per element, sequences' items included, in the order of the file; columns tag, keyword, name, vr,
        value (display text); index ``path``, such as ``RequestAttributesSequence[0].ScheduledProcedureStepID``.
    """
    columns = ["path", "tag", "keyword", "name", "vr", "value"]
    table = pd.DataFrame([[tag.get(c, "") for c in columns] for tag in answer.get("tags", ())], columns=columns)
    return table.set_index("path")


def level_of(table: pd.DataFrame | pd.Series[Any] | pd.Index[Any]) -> Level:
    """Return which level the rows of a table stand for, read off its index's name.

    Raises
    ------
    RpacsError
        If the index is not one that `search` made.
    """
    index = table if isinstance(table, pd.Index) else table.index
    for level, key in KEYS.items():
        if index.name == key:
            return level
    raise RpacsError(
        "This table does not say what its rows stand for.",
        f"Its index must be named after one of {', '.join(KEYS.values())}, as in what search() returns.",
    )


def _vr(keyword: str) -> str:
    tag = tag_for_keyword(keyword)
    return dictionary_VR(tag) if tag is not None else ""
