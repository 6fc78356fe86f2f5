"""Which instances may show a patient's identity in their pixels, before any rule can clean pixels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from deid_service.errors import Refused

__all__ = ["TRIAGE_TAGS", "triage"]

_SOP_CLASS: Final = 0x00080016
_IMAGE_TYPE: Final = 0x00080008
_MODALITY: Final = 0x00080060
_BURNED_IN: Final = 0x00280301
_DOCUMENT: Final = 0x00420011
_OVERLAY_POSITIONS: Final = frozenset(0x60000102 | group << 17 for group in range(16))
_PIXELS: Final = (0x7FE00008, 0x7FE00009, 0x7FE00010)

TRIAGE_TAGS: Final = frozenset(
    {_SOP_CLASS, _IMAGE_TYPE, _MODALITY, _BURNED_IN, _DOCUMENT, *_PIXELS, *_OVERLAY_POSITIONS}
)
"""What :func:`triage` looks at."""

_SECONDARY_CAPTURE: Final = "1.2.840.10008.5.1.4.1.1.7"
_ENCAPSULATED: Final = "1.2.840.10008.5.1.4.1.1.104."


def triage(values: Mapping[int, str]) -> None:
    """Refuse an instance whose pixels or embedded document may name the patient.

    Parameters
    ----------
    values : mapping of int to str
        Top-level values by tag; pixel data and documents need only be present.

    Raises
    ------
    Refused
        ``encapsulated_document`` for PDF, CDA, meshes and the like. ``burned_in_text_possible`` if the image says so
        (Burned In Annotation), or if it does not deny it and is of a kind that often has text in its pixels:
        ultrasound, secondary captures and screen saves (PS3.3 C.7.6.1.1). Likewise if an overlay, which often is text,
        lies in unused bits of the pixels (PS3.5 8.1.2).
    """
    sop_class = values.get(_SOP_CLASS, "")
    if _DOCUMENT in values or sop_class.startswith(_ENCAPSULATED):
        raise Refused("encapsulated_document")
    if not any(tag in values for tag in _PIXELS):
        return
    burned_in = values.get(_BURNED_IN, "").strip().upper()
    if burned_in == "YES":
        raise Refused("burned_in_text_possible", "the image says that text is burned into its pixels")
    if any(values.get(tag, "").strip("\0") for tag in _OVERLAY_POSITIONS & values.keys()):
        raise Refused("burned_in_text_possible", "an overlay is hidden in the upper bits of the pixels")
    if burned_in == "NO":
        return
    kind = None
    image_type = values.get(_IMAGE_TYPE, "").upper()
    if values.get(_MODALITY, "").strip().upper() in ("US", "IVUS"):
        kind = "ultrasound"
    elif sop_class == _SECONDARY_CAPTURE or sop_class.startswith(f"{_SECONDARY_CAPTURE}."):
        kind = "a secondary capture"
    elif "SCREEN" in image_type:
        kind = "a screen save"
    if kind:
        raise Refused(
            "burned_in_text_possible", f"the image is {kind} and does not say that its pixels are free of text"
        )
