"""The viewer: one series, scrolled slice by slice, with a window for grey values."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Final

import traitlets

from rpacs._client import Client, equals
from rpacs._errors import NotFound, RpacsError
from rpacs._frames import KEYS, check_level
from rpacs._slices import Slice
from rpacs.widgets._panel import Panel, error_words

__all__ = ["Viewer"]

_LONGEST_SIDE: Final = 1024  # what a screen shows; larger pictures are sent reduced
_PRESETS: Final = {
    "CT": (
        ("Soft tissue", 40, 400),
        ("Lung", -600, 1500),
        ("Bone", 400, 1800),
        ("Brain", 40, 80),
        ("Liver", 60, 150),
        ("Angiography", 300, 600),
    )
}
_DESCRIPTION: Final = (
    "SeriesInstanceUID",
    "PatientID",
    "StudyDate",
    "StudyDescription",
    "Modality",
    "SeriesNumber",
    "SeriesDescription",
    "NumberOfSeriesRelatedInstances",
)


class Viewer(Panel, script="viewer"):
    """Shows the pictures of a series.

    Parameters
    ----------
    client : Client
        The connection.

    Attributes
    ----------
    series : dict
        What is shown: empty for nothing, ``{"loading": True}``, ``{"error": ...}``, or the series with its slices in
        reading order.
    choices : list of dict
        The series to choose from, where a study or a patient was opened.
    index : int
        The slice that is shown, from 0.
    """

    series = traitlets.Dict().tag(sync=True)
    choices: traitlets.List[dict[str, str]] = traitlets.List().tag(sync=True)
    index = traitlets.Int(0).tag(sync=True)

    def __init__(self, client: Client) -> None:
        self._client = client
        self._lock = threading.Lock()
        self._opened = 0
        super().__init__()

    def show_series(self, uid: str) -> None:
        """Show a series, by its SeriesInstanceUID. Errors are shown in the viewer, not raised."""
        self.show("series", uid)

    def clear(self) -> None:
        """Show nothing."""
        self._turn()
        self.series, self.choices, self.index = {}, [], 0

    def show(self, level: str, key: str) -> None:
        """Show what a row of a search stands for.

        Parameters
        ----------
        level : str
            patient, study, series or instance.
        key : str
            The level's key. Of a patient or study the series are offered, and the first that holds pictures is shown;
            an instance is shown inside its series.
        """
        turn = self._turn()
        with self.hold_sync():
            self.series, self.choices, self.index = {"loading": True}, [], 0
        self.in_background(lambda: self._load(turn, level, key))

    def actions(self) -> dict[str, Callable[..., Any]]:
        """See `Panel.actions`."""
        return {"frame": self._frame, "tags": self._tags, "choose": self._choose}

    def _turn(self) -> int:
        """Return a new number; whatever an older one still loads is thrown away."""
        with self._lock:
            self._opened += 1
            return self._opened

    def _load(self, turn: int, level: str, key: str, offered: list[dict[str, str]] | None = None) -> None:
        try:
            choices = self._series_of(level, key)
            shown, slices = choices[0], []
            for shown in choices if level in ("patient", "study") else choices[:1]:
                slices = self._client.slices(shown["SeriesInstanceUID"])
                if slices:
                    break
            index = next((i for i, s in enumerate(slices) if level == "instance" and s.uid == key), len(slices) // 2)
            series = _described(shown, slices)
        except RpacsError as error:
            choices, index, series = [], 0, {"error": error_words(error)}
        if offered is None:
            offered = [{"uid": c["SeriesInstanceUID"], "label": _label(c)} for c in choices]
        with self._lock:
            if turn != self._opened:
                return
            with self.hold_sync():
                self.choices, self.index, self.series = offered, index, series

    def _series_of(self, level: str, key: str) -> list[dict[str, Any]]:
        """Return the series that a row stands for, by number."""
        keyword = KEYS[check_level(level)]
        if level == "instance":
            rows = self._client.page(equals(keyword, key), "instance", _DESCRIPTION[:-1], size=1)["rows"]
        else:
            pages = self._client.pages(equals(keyword, key), "series", _DESCRIPTION)
            rows = [row for page in pages for row in page["rows"]]
        if not rows:
            raise NotFound("There are no such images, or none that you may see.")
        return sorted(rows, key=_number)

    def _choose(self, uid: str) -> None:
        """Show another of the choices, which stay."""
        choices, turn = self.choices, self._turn()
        with self.hold_sync():
            self.series, self.index = {"loading": True, "uid": uid}, 0
        self.in_background(lambda: self._load(turn, "series", uid, choices))

    def _frame(
        self, uid: str, frame: int, center: float | None = None, width: float | None = None, reduce: bool = False
    ) -> tuple[dict[str, str], list[bytes]]:
        window = None if center is None or width is None else (center, width)
        size = _LONGEST_SIDE if reduce else None
        return {"type": "image/jpeg"}, [self._client.frame(uid, frame, format="jpeg", window=window, size=size)]

    def _tags(self, uid: str) -> list[dict[str, str]]:
        table = self._client.tags(uid).reset_index()
        return [{str(k): str(v) for k, v in row.items()} for row in table.to_dict("records")]


def _described(row: dict[str, Any], slices: list[Slice]) -> dict[str, Any]:
    """Return what the page needs to know of a series."""
    if not slices:
        modality = _text(row.get("Modality")) or "unknown"
        message = f"This series holds no pictures (modality {modality})."
        hint = "Its files can be exported, and read in a notebook with dicom(uid)."
        return _heading(row) | {"error": {"kind": "NoPictures", "message": message, "hint": hint}}
    one_instance = len({s.uid for s in slices}) == 1
    modality = _text(row.get("Modality"))
    first = next((s.window for s in slices if s.window), None)
    return _heading(row) | {
        "modality": modality,
        "unit": "frame" if one_instance and len(slices) > 1 else "slice",
        "slices": [[s.uid, s.frame, s.position, s.number] for s in slices],
        "window": first,
        "colour": any(s.colour for s in slices),
        "reduce": max(max(s.shape) for s in slices) > _LONGEST_SIDE,
        "presets": [list(p) for p in _PRESETS.get(modality, ())],
    }


def _heading(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "uid": row["SeriesInstanceUID"],
        "title": _text(row.get("SeriesDescription")) or f"Series {_text(row.get('SeriesNumber'))}".strip(),
        "about": " · ".join(
            part for part in (_text(row.get("PatientID")), _text(row.get("StudyDescription")), _date(row)) if part
        ),
    }


def _label(row: dict[str, Any]) -> str:
    count = row.get("NumberOfSeriesRelatedInstances")
    number, name = _text(row.get("SeriesNumber")), _text(row.get("SeriesDescription")) or "no description"
    head = " ".join(part for part in (f"{number}." if number else "", _text(row.get("Modality")), name) if part)
    return f"{head} ({count})" if count else head


def _number(row: dict[str, Any]) -> tuple[float, str]:
    try:
        return float(_text(row.get("SeriesNumber"))), row["SeriesInstanceUID"]
    except ValueError:
        return float("inf"), row["SeriesInstanceUID"]


def _date(row: dict[str, Any]) -> str:
    text = _text(row.get("StudyDate"))
    return f"{text[:4]}-{text[4:6]}-{text[6:]}" if len(text) == 8 else text


def _text(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(_text(v) for v in value)
    return "" if value is None else str(value)
