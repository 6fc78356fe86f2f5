"""What the rules in force for an instance ask for its pixels and documents, put together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from deid_service.pixels.boxes import Box
from deid_service.transforms.remove_burned_in_annotations import Find, RemoveBurnedInAnnotations
from deid_service.transforms.unchecked import Documents

__all__ = ["PixelRules", "combine"]


@dataclass(frozen=True, slots=True)
class PixelRules:
    """The pixel rules of a plan.

    Attributes
    ----------
    boxes : tuple of Box
        Of all manual rules.
    catalogue, ultrasound : bool
        Whether the catalogue of devices and the ultrasound regions are asked.
    engine : str or None
        Which engine looks for text; None: none does.
    always : bool
        Whether it looks at every instance, and not only where triage suspects it.
    unchecked : bool
        Whether suspected pixels pass that no rule looked at.
    documents : Documents
        What becomes of encapsulated documents.
    """

    boxes: tuple[Box, ...] = ()
    catalogue: bool = False
    ultrasound: bool = False
    engine: str | None = None
    always: bool = False
    unchecked: bool = False
    documents: Documents = Documents.QUARANTINE

    @property
    def any(self) -> bool:
        """Whether any rule speaks of regions."""
        return bool(self.boxes) or self.catalogue or self.ultrasound or self.engine is not None


def combine(
    burned_in: Iterable[RemoveBurnedInAnnotations],
    unchecked: Iterable[bool | None],
    documents: Iterable[Documents | None],
    *,
    by_profile: bool,
) -> PixelRules:
    """Put the rules of the entries in force together.

    Parameters
    ----------
    burned_in : iterable of RemoveBurnedInAnnotations
        In the order of the file. Regions add up; of two rules with OCR the later says how.
    unchecked : iterable of (bool or None)
        ``SuspectedPixels`` of each entry, None where it is silent; the last that speaks decides.
    documents : iterable of (Documents or None)
        ``EncapsulatedDocuments``, likewise.
    by_profile : bool
        Whether the profile has the option ``CleanPixelData``: it stands for catalogue, ultrasound regions and OCR if
        no rule speaks.

    Returns
    -------
    PixelRules
    """
    rules = list(burned_in)
    if by_profile and not rules:
        rules = [RemoveBurnedInAnnotations(find) for find in (Find.CATALOGUE, Find.ULTRASOUND, Find.OCR)]
    finds = {rule.find for rule in rules}
    readers = [rule for rule in rules if rule.find is Find.OCR]
    return PixelRules(
        tuple(dict.fromkeys(box for rule in rules for box in rule.boxes)),
        Find.CATALOGUE in finds,
        Find.ULTRASOUND in finds,
        readers[-1].engine if readers else None,
        bool(readers) and readers[-1].always,
        next((said for said in reversed(list(unchecked)) if said is not None), False),
        next((said for said in reversed(list(documents)) if said is not None), Documents.QUARANTINE),
    )
