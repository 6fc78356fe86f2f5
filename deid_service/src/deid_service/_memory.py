"""New values of earlier instances: the instances of a series share most of theirs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from deid_service.descriptors import PatientIdentifiers
from deid_service.outcomes import Change, Mapping

__all__ = ["LONGEST", "MOST_ELEMENTS", "MOST_RUNS", "Known", "Memory", "Remembered", "Replacement"]

LONGEST: Final = 1024
"""Length in bytes up to which elements are remembered."""

MOST_ELEMENTS: Final = 512
"""How many elements are remembered of one series."""

MOST_RUNS: Final = 64
"""How many runs of elements are remembered of one series."""

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
    """What became of a top-level element, or of several in a row, that an earlier instance held with the same bytes.

    Attributes
    ----------
    written : bytes
        What is written in their place; empty if they went.
    tags : tuple of int
        Of the elements in `written`.
    changes : tuple of Change
        For the report.
    mappings : dict
        For the journal, by kind, scope and original.
    cut : PatientIdentifiers or None
        What was cut out of texts, if it had a say: the result holds where it is the same object.
    names : dict of int to str
        The new UIDs, by tag, of elements that name what the instance belongs to.
    """

    __slots__ = ("changes", "cut", "mappings", "names", "tags", "written")

    def __init__(
        self,
        written: bytes,
        tags: tuple[int, ...],
        changes: tuple[Change, ...],
        mappings: dict[tuple[str, str, str], Mapping],
        cut: PatientIdentifiers | None,
        names: dict[int, str],
    ) -> None:
        self.written = written
        self.tags = tags
        self.changes = changes
        self.mappings = mappings
        self.cut = cut
        self.names = names


class Remembered:
    """What is remembered of one series.

    Attributes
    ----------
    elements, runs : dict of bytes to Known
        Single elements, and runs of them (:class:`~deid_service.wire.PlacedRun`), by their bytes with header. Kept
        apart: a run may be one private element that makes up its group, and the same element elsewhere does not.
    """

    __slots__ = ("elements", "runs")

    def __init__(self) -> None:
        self.elements: dict[bytes, Known] = {}
        self.runs: dict[bytes, Known] = {}


class Memory:
    """New values and elements that were worked out before: the instances of a series share most of theirs.

    In memory only. Thread-safe: two threads may at worst work out the same value twice.
    """

    def __init__(self, most: int = 4096) -> None:
        self._most = most
        self._known: dict[tuple[object, ...], Replacement] = {}
        self._elements: dict[tuple[object, ...], Remembered] = {}
        self.get = self._known.get

    def keep(self, known: tuple[object, ...], replacement: Replacement) -> None:
        """Remember a new value, and forget all others first where there are too many."""
        if len(self._known) >= self._most:
            self._known.clear()
        if replacement.value is None or len(replacement.value) <= LONGEST:
            self._known[known] = replacement

    def elements(self, context: tuple[object, ...]) -> Remembered:
        """Return what became of elements.

        Parameters
        ----------
        context : tuple
            All besides an element's bytes that its result depends on.
        """
        found = self._elements.get(context)
        if found is None:
            if len(self._elements) >= _MOST_SERIES:
                self._elements.clear()
            found = self._elements[context] = Remembered()
        return found
