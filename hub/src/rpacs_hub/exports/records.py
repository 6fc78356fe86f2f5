"""What an export is: its states, the instances it sends and the record that users see."""

from __future__ import annotations

import dataclasses
import enum
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

__all__ = ["Export", "ExportFormat", "ExportState", "FailedInstance", "InstanceRef"]


class ExportState(enum.StrEnum):
    """Where an export stands.

    ``queued`` -> ``running`` -> one of ``done``, ``failed``, ``cancelled``, ``interrupted``. The last three, and a
    ``done`` with failed instances, may be resumed and are then ``queued`` again.
    """

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"

    @property
    def active(self) -> bool:
        """Whether the export waits or runs."""
        return self in (ExportState.QUEUED, ExportState.RUNNING)


class ExportFormat(enum.StrEnum):
    """What is written to the bucket: the files as they are, or one picture per frame."""

    DICOM = "dicom"
    PNG = "png"


@dataclass(frozen=True, slots=True)
class InstanceRef:
    """One instance to export; every identifier is the de-identified one.

    Attributes
    ----------
    orthanc_id
        Its name in the research Orthanc, given to ``fetch``.
    patient_id, study_uid, series_uid, sop_uid
        PatientID (0010,0020), StudyInstanceUID (0020,000D), SeriesInstanceUID (0020,000E), SOPInstanceUID (0008,0018).
    size
        Bytes of the file where that is known: lets the exporter plan its memory before it fetches.
    """

    orthanc_id: str
    patient_id: str
    study_uid: str
    series_uid: str
    sop_uid: str
    size: int | None = None


@dataclass(frozen=True, slots=True)
class FailedInstance:
    """An instance that was not exported and why."""

    sop_uid: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Export:
    """The record of one export, as its owner sees it.

    Attributes
    ----------
    id, user, created, started, finished
        Who asked, and when (UTC); `started` is the beginning of the latest run.
    state
        See `ExportState`.
    level, query
        What was asked for; `query` is None when instances were named one by one.
    destination, endpoint_url, region, format
        Where to, and as what. `endpoint_url` is None for AWS.
    total, done, failed
        Numbers of instances; ``total - done - failed`` are still to come.
    bytes
        Bytes sent and confirmed so far.
    message, hint
        The state in words, and what to do about it.
    failures
        The first failed instances; only filled when a single export is asked for.
    """

    id: UUID
    user: str
    created: datetime
    state: ExportState
    level: str
    query: str | None
    destination: str
    endpoint_url: str | None
    region: str | None
    format: ExportFormat
    total: int
    done: int
    failed: int
    bytes: int
    message: str
    hint: str
    started: datetime | None
    finished: datetime | None
    failures: tuple[FailedInstance, ...] = ()

    @property
    def resumable(self) -> bool:
        """Whether `Exporter.resume` would have something to do."""
        return not self.state.active and self.done < self.total

    def to_json(self) -> dict[str, Any]:
        """Return the record as JSON values: times in ISO 8601, identifiers as text."""
        record = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        record.update(
            id=str(self.id),
            state=self.state.value,
            format=self.format.value,
            created=self.created.isoformat(),
            started=self.started and self.started.isoformat(),
            finished=self.finished and self.finished.isoformat(),
            resumable=self.resumable,
            failures=[dataclasses.asdict(failure) for failure in self.failures],
        )
        return record
