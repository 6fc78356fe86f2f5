"""The section ``Profile`` of a rules file."""

from __future__ import annotations

from dataclasses import dataclass

from pydicom.datadict import dictionary_has_tag, dictionary_VR
from yaml.nodes import Node

from deid_service.profiles.table import Option, load_table
from deid_service.rules.schema import Problems
from dicom_query import PatternSet

__all__ = ["Profile", "read_profile"]

_NAMES = ("Basic",)
_REFERENCES = frozenset({0x00081110, 0x00081111, 0x00081140, 0x00082112})
_PATTERN_ROWS = (0x00091001, 0x50003000, 0x60003000, 0x60004000)
_CONFLICT = frozenset({Option.RETAIN_FULL_DATES, Option.RETAIN_MODIFIED_DATES})


def _vr_of(tag: int) -> str | None:
    return dictionary_VR(tag) if dictionary_has_tag(tag) else None


@dataclass(frozen=True, slots=True)
class Profile:
    """What a rules file asks for.

    Attributes
    ----------
    options : frozenset of Option
        ``Options``.
    exceptions : PatternSet
        ``ExceptTagPatterns``: elements that are left to the transformations.
    """

    options: frozenset[Option]
    exceptions: PatternSet

    @property
    def conforms(self) -> bool:
        """Whether the exceptions leave the profile what it promises.

        A sequence that may stay, with its contents cleaned, is no breach; an attribute with a value of its own is.
        """
        for pattern in self.exceptions:
            here = PatternSet([pattern]).level()
            if "." in pattern.text.removeprefix("*/").removeprefix("+/") or pattern.text.startswith("+/"):
                return False
            for row in load_table().rows:
                if "x" in row.tag or not row.tag.isalnum():
                    continue
                tag = int(row.tag, 16)
                if tag not in _REFERENCES and any(here.matches(tag, vr) for vr in (None, _vr_of(tag))):
                    return False
            if any(here.matches(tag, vr, "any") for tag in _PATTERN_ROWS for vr in (None, "UN", "OW", "LO")):
                return False
        return True


def read_profile(node: Node, problems: Problems) -> Profile:
    """Read the section.

    Parameters
    ----------
    node : Node
        ``{Name: Basic, Options: [...], ExceptTagPatterns: [...]}``.
    problems : Problems
        Where complaints go.

    Returns
    -------
    Profile
    """
    keys = problems.read_mapping(
        node, "Profile", ("Name", "Options", "ExceptTagPatterns"), {"NotTagPatterns": "ExceptTagPatterns"}
    )
    problems.require(node, keys, "Profile", "Name")
    problems.read_choice(keys.get("Name"), "Name", _NAMES)
    by_name = {option.value: option for option in Option}
    options = set()
    if "Options" in keys and getattr(keys["Options"], "value", None) != []:
        for word in problems.read_names(keys["Options"], "option", by_name):
            options.add(by_name[word])
    if options >= _CONFLICT:
        problems.add(
            keys["Options"],
            "RetainLongitudinalFullDates and RetainLongitudinalModifiedDates exclude each other",
            "keep one of them",
        )
    return Profile(frozenset(options), problems.read_patterns(keys.get("ExceptTagPatterns"), "ExceptTagPatterns"))
