"""Why instances are in quarantine, and what a person can do about each reason."""

from __future__ import annotations

from deid_service.errors import REFUSAL_REASONS

__all__ = ["REASONS", "REMEDIES"]

REASONS: dict[str, str] = REFUSAL_REASONS | {
    "too_large": "the instance is larger than the memory, the temporary folder or the limit allows",
    "unreadable": "the ingest Orthanc holds the instance but cannot read its file",
    "unexpected_error": "an unexpected failure; the message names the place in the program",
    "research_refused": "the research Orthanc does not take the clean copy for a DICOM file",
    "not_confirmed": "the research Orthanc holds other bytes than were sent",
    "conflict": "the research Orthanc holds another file under the same SOP Instance UID",
}
"""Reason codes of the quarantine and what each means: those of the engine, and the service's own."""

_DAMAGED = (
    "Send the instance again from where it came. If it arrives the same way, the sender writes it wrongly: discard."
)
_LOOK = (
    "Somebody who may see the patient looks at it on the clinical side (rpacs-deid quarantine show ID --page FILE)."
    " Then change the rules, or discard."
)
_REPORT = "Retry once. If it comes back, the message helps those who maintain the de-identifier."

REMEDIES: dict[str, str] = {
    "not_dicom": "Discard: it is no image, or its beginning is lost.",
    "dicomdir": "Discard it, and send the instances that it lists instead.",
    "malformed": _DAMAGED,
    "unknown_transfer_syntax": "Send the instance again in one of the standard's transfer syntaxes.",
    "too_deep": _DAMAGED,
    "too_large": "Give the de-identifier more memory or room in its temporary folder (TMPDIR), then retry.",
    "missing_uid": _DAMAGED,
    "registered_uid": "The sender makes wrong UIDs. Have it mended there and send again; discard this one.",
    "burned_in_text_possible": "Let a rule look at such pixels (RemoveBurnedInAnnotations: OCR, a box, the catalogue),"
    " then retry.",
    "video": "Nothing here can clean a video. Discard, or hand it out another way after somebody has looked at it.",
    "sound": "Nothing here can clean a recording. Discard.",
    "pixels_elsewhere": "Fetch the pixels from the address that the instance holds and send it with them.",
    "text_left_in_pixels": _LOOK,
    "ocr_failed": _REPORT,
    "encapsulated_document": "Discard, or have such documents stripped (EncapsulatedDocuments: Strip), then retry.",
    "pixels_not_decodable": _LOOK,
    "pixels_not_maskable": _LOOK,
    "not_transcodable": "Let the rules not Transcode such instances, or into another transfer syntax; then retry.",
    "value_not_encodable": "Write the value of AddTags so that it fits the instance's character set, then retry.",
    "identifier_left": "A rule must also clean the place that the message names. Change the rules, then retry.",
    "verification_failed": _REPORT,
    "internal_error": _REPORT,
    "unreadable": "Look after the storage of the ingest Orthanc: a file may be lost. Then retry, or send it again.",
    "unexpected_error": _REPORT,
    "research_refused": _REPORT,
    "not_confirmed": "Switch off IngestTranscoding in the research Orthanc, then retry.",
    "conflict": "Made by other rules or another key, or two originals share a UID. Delete the other one in the research"
    " Orthanc, then retry; or discard.",
}
"""What a person can do about each reason; the same keys as `REASONS`."""
