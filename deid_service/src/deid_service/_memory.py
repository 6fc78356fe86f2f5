"""New values of earlier instances: the instances of a series share most of theirs."""

from __future__ import annotations

from dataclasses import dataclass

from deid_service.outcomes import Mapping

__all__ = ["Memory", "Replacement"]


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


class Memory:
    """New values that were worked out before: the instances of a series share most of theirs.

    In memory only. Thread-safe: two threads may at worst work out the same value twice.
    """

    def __init__(self, most: int = 4096, longest: int = 1024) -> None:
        self._most, self._longest = most, longest
        self._known: dict[tuple[object, ...], Replacement] = {}
        self.get = self._known.get

    def keep(self, known: tuple[object, ...], replacement: Replacement) -> None:
        """Remember a new value, and forget all others first where there are too many."""
        if len(self._known) >= self._most:
            self._known.clear()
        if replacement.value is None or len(replacement.value) <= self._longest:
            self._known[known] = replacement
