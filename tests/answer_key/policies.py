"""What each of the shipped rules files promises, as far as the key asks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import deid_service
from deid_service import Rules, load_rules

_PIXELS_PASS = """
  - Scope: {Labels: ALL}
    RemoveBurnedInAnnotations: {Type: Manual, BoxCoordinates: [70000, 70000, 70000, 70000]}
    SuspectedPixels: PassUnchecked
"""
_RULES = Path(deid_service.__file__).parent / "rules"


@dataclass(frozen=True)
class Policy:
    """The promises of a rules file.

    Attributes
    ----------
    name
        Name of the rules file without ending.
    dates_shifted
        Dates stay, moved by one number of days for each patient; otherwise they go.
    patient_id
        A pseudonym stands in Patient ID; otherwise it may be empty.
    descriptors
        ``held``: an instance whose descriptions name the patient is refused; ``cleaned``: the description stays without
        the names; ``removed``: descriptions go.
    characteristics
        Sex, age, size and weight stay.
    safe_private
        Private elements that PS3.15 calls safe stay.
    whole_profile
        Everything that the table of PS3.15 Annex E names goes or changes.
    kept_options
        Columns of that table: what they keep or clean is not planted with words that nobody can recognise.
    cleaned_content
        Reports stay, cleaned of what the header knows, so that words that nobody can recognise stay in their codes.
    """

    name: str
    dates_shifted: bool
    patient_id: bool
    descriptors: str
    characteristics: bool
    safe_private: bool
    whole_profile: bool
    kept_options: tuple[str, ...] = ()
    cleaned_content: bool = False

    @property
    def path(self) -> Path:
        """The rules file."""
        return _RULES / f"{self.name}.yaml"

    @property
    def rules(self) -> Rules:
        """What is in the file, but that nobody reads the pixels: they are another key's business."""
        return load_rules(self.path.read_text("utf-8") + _PIXELS_PASS)


POLICIES = [
    policy
    for policy in (
        Policy("default", True, True, "held", True, False, False),
        Policy("basic", False, False, "removed", False, False, True),
        Policy("research", True, True, "cleaned", True, True, True, ("rtnPatCharsOpt", "cleanDescOpt"), True),
    )
    if policy.path.exists()
]
"""Those whose rules file exists."""
