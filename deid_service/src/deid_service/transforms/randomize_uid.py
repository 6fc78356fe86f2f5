"""``RandomizeUID``: instance UIDs are replaced by value, registered UIDs never."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from pydicom.datadict import dictionary_VR, keyword_dict
from yaml.nodes import Node

from deid_service.pseudonyms import PseudonymKey, is_registered_uid
from deid_service.rules.schema import Problems
from dicom_query import PatternSet

__all__ = ["REGISTERED_TAGS", "RandomizeUID"]

_PREFIX: Final = re.compile(r"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))*\.")
_LONGEST_PREFIX: Final = 40  # leaves 24 digits: the same UID twice stays out of reach
_REGISTERED_KEYWORDS: Final = re.compile(
    r".*SOPClass.*UID|SOPClassesIn.*|.*SOPClassesSupported|.*TransferSyntax.*UID|CodingSchemeUID|ContextUID|MappingResourceUID"
)

REGISTERED_TAGS: Final = frozenset(
    tag
    for keyword, tag in keyword_dict.items()
    if _REGISTERED_KEYWORDS.fullmatch(keyword) and dictionary_VR(tag) == "UI"
)
"""Elements whose UIDs are names of kinds, not of things: SOP classes (private ones of vendors too), transfer syntaxes,
coding schemes and context groups."""


@dataclass(frozen=True, slots=True)
class RandomizeUID:
    """One rule that replaces UIDs.

    Attributes
    ----------
    patterns, exceptions : PatternSet
        ``TagPatterns`` and ``ExceptTagPatterns``; only elements of VR UI are touched.
    prefix : str or None
        ``PrefixUID``: root of the new UIDs, with its final dot. All rules of a file have the same.
    """

    patterns: PatternSet
    exceptions: PatternSet
    prefix: str | None

    @classmethod
    def read(cls, node: Node, problems: Problems, roots: dict[str, Node]) -> RandomizeUID:
        """Read one item of ``RandomizeUID``; its ``PrefixUID`` goes into `roots`, with its place in the file."""
        keys = problems.read_mapping(
            node,
            "RandomizeUID",
            ("TagPatterns", "ExceptTagPatterns", "PrefixUID"),
            {"NotTagPatterns": "ExceptTagPatterns"},
        )
        problems.require(node, keys, "RandomizeUID", "TagPatterns")
        prefix = problems.read_text(keys.get("PrefixUID"), "PrefixUID")
        if prefix is not None:
            prefix = prefix.strip().rstrip(".") + "."
            if not _PREFIX.fullmatch(prefix) or is_registered_uid(prefix):
                problems.add(keys["PrefixUID"], f"PrefixUID {prefix!r} is not a UID root", "an example: 1.2.3.4.")
            elif len(prefix) > _LONGEST_PREFIX:
                problems.add(keys["PrefixUID"], f"PrefixUID has more than {_LONGEST_PREFIX} characters")
            else:
                roots.setdefault(prefix, keys["PrefixUID"])
        return cls(
            problems.read_patterns(keys.get("TagPatterns"), "TagPatterns"),
            problems.read_patterns(keys.get("ExceptTagPatterns"), "ExceptTagPatterns"),
            prefix,
        )

    def apply(self, value: str, key: PseudonymKey) -> str:
        """Replace one UID.

        Parameters
        ----------
        value : str
            Without padding; may be empty, over-long or no UID at all.
        key : PseudonymKey
            The secret.

        Returns
        -------
        str
            The same value always gives the same UID; an empty or registered one is returned as it is.
        """
        if not value or is_registered_uid(value):
            return value
        return key.uid(value, self.prefix)
