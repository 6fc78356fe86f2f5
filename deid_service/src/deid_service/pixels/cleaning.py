"""What is done about the pixels of one instance: triage, regions, removal, second look."""

from __future__ import annotations

from deid_service.errors import Refused
from deid_service.pixels.header import BURNED_IN, Header
from deid_service.pixels.triage import Finding
from deid_service.rules.pixels import PixelRules
from deid_service.transforms.unchecked import Documents

__all__ = ["hold_back"]


def hold_back(header: Header, finding: Finding, rules: PixelRules) -> None:
    """Refuse an instance that may name the patient where no rule looks.

    Parameters
    ----------
    header : Header
        Of the original.
    finding : Finding
        What triage says of it.
    rules : PixelRules
        In force for the instance.

    Raises
    ------
    Refused
        ``encapsulated_document`` or ``burned_in_text_possible``.
    """
    if finding.document and rules.documents is Documents.QUARANTINE:
        raise Refused("encapsulated_document")
    # As long as no rule can look at pixels, what an image says of itself is believed, as it was.
    if finding.suspected and not rules.unchecked and header[BURNED_IN] != "no":
        raise Refused("burned_in_text_possible", f"{finding.reason}; no rule says what to do about it")
