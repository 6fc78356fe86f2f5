"""What becomes of an instance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from deid_service._buffers import Part, size_of

__all__ = ["Change", "Cleaned", "Discarded", "Mapping"]


@dataclass(frozen=True, slots=True)
class Change:
    """What happened to one element.

    Attributes
    ----------
    path : str
        Tag path, for instance ``RequestAttributesSequence[0].ScheduledProcedureStepID``.
    action : str
        ``shifted``, ``randomized``, ``uid replaced``, ``set``, ``added``, ``emptied`` or ``removed``.
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
    """

    parts: Sequence[Part]
    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str
    labels: tuple[str, ...]
    changes: list[Change]
    mappings: list[Mapping]

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
