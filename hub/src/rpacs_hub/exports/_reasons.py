"""Why a single instance was not exported, as recorded codes and in words. Words never come out of a DICOM file."""

from __future__ import annotations

NOT_FOUND = "not_found"
SOURCE_FAILED = "source_failed"
NOT_DICOM = "not_dicom"
NO_IMAGE = "no_image"
UNDECODABLE = "undecodable"
UPLOAD_FAILED = "upload_failed"
INVALID_UIDS = "invalid_uids"
SAME_UIDS = "same_uids"
NOT_VISIBLE = "not_visible"
UNEXPECTED = "unexpected"

# No second try changes these: they come from the selection itself.
PERMANENT = [INVALID_UIDS, SAME_UIDS]

_WORDS = {
    NOT_FOUND: "no longer in the archive",
    SOURCE_FAILED: "not handed out by the archive",
    NOT_DICOM: "not readable as DICOM",
    NO_IMAGE: "without an image",
    UNDECODABLE: "with pixels that cannot be decoded",
    UPLOAD_FAILED: "not taken by S3",
    INVALID_UIDS: "with UIDs that make no object name",
    SAME_UIDS: "with the UIDs of another one in this export",
    NOT_VISIBLE: "not visible to you any more",
    UNEXPECTED: "stopped by an error inside the exporter (its log has the kind of error)",
}


def describe(reason: str) -> str:
    """Return a reason in words, to be read after a number of instances."""
    return _WORDS.get(reason, reason)


def summarise(counts: dict[str, int]) -> str:
    """Return counts by reason in words: ``2 without an image, 1 not taken by S3``."""
    return ", ".join(f"{count} {describe(reason)}" for reason, count in counts.items())
