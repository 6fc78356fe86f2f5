"""Sending clean copies to the research Orthanc, and making sure that they are there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from deid_service._buffers import Part, pieces, same_bytes
from deid_service._orthanc import Orthanc, md5_of
from deid_service.pipeline.errors import NotStoredError, OrthancRefusalError, OrthancUnavailableError
from deid_service.pipeline.outcomes import QuarantineReason

__all__ = ["CleanCopy", "send_clean_copies"]


@dataclass(frozen=True)
class CleanCopy:
    """A clean file on its way.

    Attributes
    ----------
    orthanc_id
        Id of the original in the ingest Orthanc.
    sop_instance_uid
        UID of the clean copy.
    parts
        The DICOM file, in parts.
    """

    orthanc_id: str
    sop_instance_uid: str
    parts: Sequence[Part]


def send_clean_copies(research: Orthanc, copies: Sequence[CleanCopy]) -> Iterator[tuple[str, QuarantineReason | None]]:
    """Send the copies and yield each original's id once its copy is confirmed, with the problem if it cannot be.

    Confirmed means: the research Orthanc reports, for the instance with that SOP Instance UID, the MD5 digest of
    exactly the bytes that were cleaned. A copy that it holds already is not sent again, since cleaning is
    deterministic. One with other bytes is never overwritten.

    Raises
    ------
    OrthancUnavailableError
        If the server does not answer. What was not yielded is to be tried again.
    NotStoredError
        If the server answers, but cannot store.
    """
    # Asked once for all, also because the same UID may be there under another patient, which no upload would tell.
    there = research.find_instances(sorted({copy.sop_instance_uid for copy in copies}))
    sent: dict[str, str] = {}
    for copy in copies:
        digest = md5_of(copy.parts)
        if copy.sop_instance_uid in sent:
            yield copy.orthanc_id, None if sent[copy.sop_instance_uid] == digest else _conflict()
            continue
        if copy.sop_instance_uid in there:
            same = any(_matches(research, found, copy.parts, digest) for found in there[copy.sop_instance_uid])
            yield copy.orthanc_id, None if same else _conflict()
            continue
        problem = _send(research, copy, digest)
        if problem is None:
            sent[copy.sop_instance_uid] = digest
        yield copy.orthanc_id, problem


def _send(research: Orthanc, copy: CleanCopy, digest: str) -> QuarantineReason | None:
    try:
        stored = research.store(copy.parts)
    except OrthancRefusalError as error:
        if 400 <= error.status < 500:
            return QuarantineReason(
                "research_refused", "the research Orthanc does not take the clean copy for a DICOM file"
            )
        # 500 from Orthanc 1.10, 507 from later ones, when the disk is full.
        raise NotStoredError(f"{error}: is its disk full?", error.status) from None
    if _matches(research, stored.orthanc_id, copy.parts, digest):
        return None
    if stored.already:
        return _conflict()
    return QuarantineReason(
        "not_confirmed",
        "the research Orthanc holds other bytes than were sent: does it change what it receives (IngestTranscoding)?",
    )


def _matches(research: Orthanc, orthanc_id: str, parts: Sequence[Part], digest: str) -> bool:
    stored = research.md5(orthanc_id)
    if stored is None:
        raise OrthancUnavailableError(
            f"{research.name} ({research.address}) lost an instance that it had just reported"
        )
    if not stored:  # it was told to keep no digests (StoreMD5ForAttachments)
        file = research.file(orthanc_id)
        return file is not None and same_bytes(parts, pieces([memoryview(file)]))
    return stored == digest


def _conflict() -> QuarantineReason:
    return QuarantineReason(
        "conflict",
        "the research Orthanc holds another file under the same SOP Instance UID: made by other rules or another key,"
        " or two different originals share a UID. Delete that one there, then retry",
    )
