"""What becomes of an instance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from deid_service._buffers import Part, size_of
from deid_service.pixels.boxes import Box

__all__ = ["Change", "Cleaned", "Discarded", "FoundBoxes", "Mapping", "PixelReport"]


@dataclass(frozen=True, slots=True)
class Change:
    """What happened to one element.

    Attributes
    ----------
    path : str
        Tag path, for instance ``RequestAttributesSequence[0].ScheduledProcedureStepID``.
    action : str
        ``shifted``, ``randomized``, ``uid replaced``, ``set``, ``added``, ``emptied``, ``masked`` or
        ``removed``.
    """

    path: str
    action: str


@dataclass(frozen=True, slots=True)
class Mapping:
    """An original value and what stands for it. For the honest broker only: it names the patient.

    Attributes
    ----------
    kind : str
        ``uid``, ``patient_id``, ``text`` or ``date_offset``.
    scope : str
        Within what the mapping holds: ``always``, or ``patient``, ``study``, ``series`` or ``instance`` and its name.
    original : str
        The value; for a date offset the name of the scope.
    replacement : str
        The pseudonym; for a date offset the number and its unit.
    """

    kind: str
    scope: str
    original: str
    replacement: str

    def __repr__(self) -> str:
        return f"Mapping({self.kind}, <values not shown>)"


@dataclass(frozen=True, slots=True)
class FoundBoxes:
    """What one rule had blacked out.

    Attributes
    ----------
    rule : str
        ``Manual``, ``Catalogue``, ``UltrasoundRegions`` or ``OCR``; or ``Text left``.
    frame : int or None
        Index of the frame, counted from 0; None for every frame.
    boxes : tuple of Box
        Within the image.
    """

    rule: str
    frame: int | None
    boxes: tuple[Box, ...]

    def as_json(self) -> list[dict[str, Any]]:
        """Return an entry for each box: [left, top, right, bottom], frames counted from 1."""
        frame = "every" if self.frame is None else self.frame + 1
        return [
            {"rule": self.rule, "frame": frame, "box": [box.left, box.top, box.right, box.bottom]} for box in self.boxes
        ]


@dataclass(frozen=True, slots=True)
class PixelReport:
    """What was thought, found and done about the pixels of an instance. Holds none of the text that was found.

    Attributes
    ----------
    suspected : bool
        Whether triage held that they may show text.
    reason : str
        Why, or why not.
    found : tuple of FoundBoxes
        In the order in which the rules looked.
    frames, frames_masked : int
        How many there are, and in how many something was blacked out; 0 as long as nobody looked.
    looks : int
        How often the finished copy was looked at.
    second_look : str
        ``not made``; ``nothing found`` if a search found no text to begin with; ``nothing left``; or ``text left``.
    left : tuple of FoundBoxes
        Where the last look still saw text, which held the instance back; their rule is ``Text left``.
    """

    suspected: bool
    reason: str
    found: tuple[FoundBoxes, ...] = ()
    frames: int = 0
    frames_masked: int = 0
    looks: int = 0
    second_look: str = "not made"
    left: tuple[FoundBoxes, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return it for a report: boxes as [left, top, right, bottom], frames counted from 1."""
        return {
            "suspected": self.suspected,
            "reason": self.reason,
            "boxes": [entry for one in self.found for entry in one.as_json()],
            "left": [entry for one in self.left for entry in one.as_json()],
            "frames": self.frames,
            "frames_masked": self.frames_masked,
            "second_look": self.second_look,
        }


@dataclass(frozen=True, slots=True)
class Cleaned:
    """A clean copy.

    Attributes
    ----------
    parts : sequence of bytes or memoryview
        The DICOM file, to be written one part after another. Views show the original's own pixels: they are good as
        long as the original is not changed.
    sop_instance_uid, study_instance_uid, series_instance_uid : str
        Names of the clean copy.
    labels : tuple of str
        Labels that the original bore.
    changes : list of Change
        In the order of the file.
    mappings : list of Mapping
        Every pseudonym that was used.
    pixels : PixelReport or None
        What was done about its pixels.
    """

    parts: Sequence[Part]
    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str
    labels: tuple[str, ...]
    changes: list[Change]
    mappings: list[Mapping]
    pixels: PixelReport | None = None

    @property
    def data(self) -> bytes:
        """The DICOM file as one; joined anew each time it is asked for, which doubles the memory."""
        return b"".join(self.parts)

    @property
    def size(self) -> int:
        """Length of the DICOM file, in bytes."""
        return size_of(self.parts)

    def __repr__(self) -> str:
        return f"Cleaned({self.sop_instance_uid}, {self.size} bytes, {len(self.changes)} changes)"


@dataclass(frozen=True, slots=True)
class Discarded:
    """An instance outside ``ScopeToForward``.

    Attributes
    ----------
    labels : tuple of str
        Labels that it bore.
    """

    labels: tuple[str, ...]
