"""New values of earlier instances: the instances of a series share most of theirs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from deid_service.descriptors import PatientIdentifiers
from deid_service.outcomes import Change, Mapping

__all__ = ["LONGEST", "MOST_ELEMENTS", "Known", "Memory", "Replacement"]

LONGEST: Final = 1024
"""Length in bytes up to which elements are remembered."""

MOST_ELEMENTS: Final = 512
"""How many elements are remembered of one series."""

_MOST_SERIES: Final = 64


@dataclass(frozen=True, slots=True)
class Replacement:
    """What becomes of an element's value.

    Attributes
    ----------
    value : bytes or None
        The new value, not padded; None if the old one stays.
    action : str
        What was done, for the report.
    mappings : dict
        For the journal, by kind, scope and original.
    """

    value: bytes | None
    action: str
    mappings: dict[tuple[str, str, str], Mapping]


class Known:
    """What became of a top-level element that stood in an earlier instance of the series, with the very same bytes.

    Attributes
    ----------
    written : bytes or None
        What is written in its place; None if it went.
    changes : tuple of Change
        For the report.
    mappings : dict
        For the journal, by kind, scope and original.
    cut : PatientIdentifiers or None
        What was cut out of texts, if it had a say: the result holds where it is the same object.
    name : str or None
        The new UID, if the element names what the instance belongs to.
    """

    __slots__ = ("changes", "cut", "mappings", "name", "written")

    def __init__(
        self,
        written: bytes | None,
        changes: tuple[Change, ...],
        mappings: dict[tuple[str, str, str], Mapping],
        cut: PatientIdentifiers | None,
        name: str | None,
    ) -> None:
        self.written = written
        self.changes = changes
        self.mappings = mappings
        self.cut = cut
        self.name = name


class Memory:
    """New values and elements that were worked out before: the instances of a series share most of theirs.

    In memory only. Thread-safe: two threads may at worst work out the same value twice.
    """

    def __init__(self, most: int = 4096) -> None:
        self._most = most
        self._known: dict[tuple[object, ...], Replacement] = {}
        self._elements: dict[tuple[object, ...], dict[bytes, Known]] = {}
        self.get = self._known.get

    def keep(self, known: tuple[object, ...], replacement: Replacement) -> None:
        """Remember a new value, and forget all others first where there are too many."""
        if len(self._known) >= self._most:
            self._known.clear()
        if replacement.value is None or len(replacement.value) <= LONGEST:
            self._known[known] = replacement

    def elements(self, context: tuple[object, ...]) -> dict[bytes, Known]:
        """Return what became of elements, by their bytes with header.

        Parameters
        ----------
        context : tuple
            All besides an element's bytes that its result depends on.
        """
        found = self._elements.get(context)
        if found is None:
            if len(self._elements) >= _MOST_SERIES:
                self._elements.clear()
            found = self._elements[context] = {}
        return found
