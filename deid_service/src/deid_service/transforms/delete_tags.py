"""``DeleteTags``: elements go, or lose their value."""

from __future__ import annotations

from dataclasses import dataclass

from yaml.nodes import Node

from deid_service.rules.schema import Problems
from dicom_query import PatternSet

__all__ = ["DeleteTags"]


@dataclass(frozen=True, slots=True)
class DeleteTags:
    """One rule that removes or empties elements, sequences included.

    Attributes
    ----------
    patterns, exceptions : PatternSet
        ``TagPatterns`` and ``ExceptTagPatterns``. What lies inside a sequence that goes, goes with it.
    empty : bool
        True for ``Action: Empty``, False for ``Action: Remove``.
    """

    patterns: PatternSet
    exceptions: PatternSet
    empty: bool

    @classmethod
    def read(cls, node: Node, problems: Problems) -> DeleteTags:
        """Read one item of ``DeleteTags``."""
        keys = problems.read_mapping(
            node,
            "DeleteTags",
            ("TagPatterns", "ExceptTagPatterns", "Action"),
            {"NotTagPatterns": "ExceptTagPatterns"},
        )
        problems.require(node, keys, "DeleteTags", "TagPatterns", "Action")
        action = problems.read_choice(keys.get("Action"), "Action", ("Remove", "Empty"))
        return cls(
            problems.read_patterns(keys.get("TagPatterns"), "TagPatterns"),
            problems.read_patterns(keys.get("ExceptTagPatterns"), "ExceptTagPatterns"),
            action == "Empty",
        )
