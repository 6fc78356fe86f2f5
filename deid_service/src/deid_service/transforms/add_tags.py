"""``AddTags``: elements are added, or their value is set."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from pydicom.datadict import dictionary_has_tag, dictionary_VR
from yaml.nodes import Node

from deid_service.errors import Refused
from deid_service.rules.schema import Problems, nearest_word
from deid_service.transforms.randomize_text import MAX_LENGTHS
from deid_service.transforms.shift_date_time import shift_date, shift_date_time, shift_time
from deid_service.wire.encoding import SINGLE_VALUE_VRS, TEXT_VRS
from deid_service.wire.text import encode
from dicom_query import TagPath, TagPathError

__all__ = ["AddTags"]

_INTEGERS: Final = {
    "US": ("H", 0, 2**16 - 1),
    "SS": ("h", -(2**15), 2**15 - 1),
    "UL": ("I", 0, 2**32 - 1),
    "SL": ("i", -(2**31), 2**31 - 1),
    "UV": ("Q", 0, 2**64 - 1),
    "SV": ("q", -(2**63), 2**63 - 1),
}
_FLOATS: Final = {"FL": "f", "FD": "d"}
_VRS: Final = TEXT_VRS | _INTEGERS.keys() | _FLOATS.keys() | {"AT"}
_NAMES_OF_THE_INSTANCE: Final = frozenset({0x00080016, 0x00080018})


@dataclass(frozen=True, slots=True)
class AddTags:
    """One rule that sets an element.

    Attributes
    ----------
    path : TagPath
        Where; an item that is named by number is made if the sequence is absent.
    vr : str
        Value representation of the element.
    text : str
        The value; several are separated by backslashes.
    overwrite : bool
        ``OverwriteIfExists``: whether an element that exists is replaced.
    """

    path: TagPath
    vr: str
    text: str
    overwrite: bool

    @classmethod
    def read(cls, node: Node, problems: Problems) -> AddTags | None:
        """Read one item of ``AddTags``; None if it is wrong."""
        keys = problems.read_mapping(node, "AddTags", ("Tag", "VR", "Value", "OverwriteIfExists"))
        problems.require(node, keys, "AddTags", "Tag", "VR", "Value")
        text = problems.read_text(keys.get("Value"), "Value", empty=True)
        vr = problems.read_choice(keys.get("VR"), "VR", _VRS)
        overwrite = problems.read_boolean(keys.get("OverwriteIfExists"), "OverwriteIfExists")
        path = _read_path(keys.get("Tag"), problems)
        if text is None or vr is None or path is None:
            return None
        expected = _dictionary_vrs(path.steps[-1].tag)
        if expected and vr not in expected:
            problems.add(keys["VR"], f"{path} has the VR {' or '.join(expected)}, not {vr}", nearest_word(vr, expected))
            return None
        rule = cls(path, vr, text, overwrite)
        try:
            rule.encoded(little=True, codecs=("utf-8",))
        except (ValueError, struct.error) as error:
            problems.add(keys["Value"], f"the value is not legal for VR {vr}: {error}")
            return None
        return rule

    def encoded(self, *, little: bool, codecs: tuple[str, ...]) -> bytes:
        """Convert the value to the bytes of its VR.

        Parameters
        ----------
        little : bool
            Byte order of numbers.
        codecs : tuple of str
            Character set of the data set.

        Returns
        -------
        bytes
            Without padding.

        Raises
        ------
        ValueError
            If a value is not legal for the VR (told at load).
        Refused
            ``value_not_encodable`` if the character set of the instance cannot hold the text.
        """
        values = [self.text] if self.vr in SINGLE_VALUE_VRS else self.text.split("\\")
        if self.vr in TEXT_VRS:
            for value in values:
                _check_text(value, self.vr)
            encoded = encode(self.text, codecs)
            if encoded is None:
                raise Refused(
                    "value_not_encodable",
                    f"the value that the rules set at {self.path} is not in the instance's character set",
                )
            return encoded
        if self.text == "":
            return b""
        order = "<" if little else ">"
        if self.vr == "AT":
            tags = [TagPath.parse(value.strip()).steps[0].tag for value in values]
            return b"".join(struct.pack(f"{order}HH", tag >> 16, tag & 0xFFFF) for tag in tags)
        if self.vr in _FLOATS:
            return struct.pack(f"{order}{len(values)}{_FLOATS[self.vr]}", *map(float, values))
        code, low, high = _INTEGERS[self.vr]
        numbers = [int(value.strip()) for value in values]
        for number in numbers:
            if not low <= number <= high:
                raise ValueError(f"{number} is not between {low} and {high}")
        return struct.pack(f"{order}{len(numbers)}{code}", *numbers)


def _read_path(node: Node | None, problems: Problems) -> TagPath | None:
    text = problems.read_text(node, "Tag")
    if text is None:
        return None
    try:
        path = TagPath.parse(text.strip())
    except TagPathError as error:
        problems.add(node, f"{text!r} is not a tag path: {error.message}", error.hint or "")
        return None
    last = path.steps[-1]
    if last.item is not None:
        problems.add(node, f"{text!r} ends in an item number", "name the element, not one of its items")
        return None
    for step in path.steps:
        if step.tag >> 16 in (0x0000, 0x0002, 0xFFFE) or step.tag & 0xFFFF == 0:
            problems.add(node, f"{text!r} is not part of a data set", "group 0002 and group lengths are made anew")
            return None
    for step in path.steps[:-1]:
        if not step.tag >> 16 & 1 and "SQ" not in (_dictionary_vrs(step.tag) or ("SQ",)):
            problems.add(node, f"{step.tag:08X} in {text!r} is not a sequence")
            return None
    if last.tag in _NAMES_OF_THE_INSTANCE and len(path.steps) == 1:
        problems.add(node, f"{text!r} would be the same in every instance", "use RandomizeUID for UIDs")
        return None
    return path


def _dictionary_vrs(tag: int) -> tuple[str, ...]:
    if tag >> 16 & 1 or not dictionary_has_tag(tag):
        return ()
    return tuple(dictionary_VR(tag).split(" or "))


def _check_text(value: str, vr: str) -> None:
    if value == "":
        return
    limit = MAX_LENGTHS.get(vr)
    if limit is not None and any(len(group) > limit for group in (value.split("=") if vr == "PN" else [value])):
        raise ValueError(f"longer than {limit} characters")
    legal = True
    match vr:
        case "CS":
            legal = re.fullmatch(r"[A-Z0-9 _]*", value) is not None
        case "AS":
            legal = re.fullmatch(r"[0-9]{3}[DWMY]", value) is not None
        case "DA":
            legal = len(value) == 8 and shift_date(value, 0) is not None
        case "TM":
            legal = shift_time(value, 0) is not None
        case "DT":
            legal = shift_date_time(value, timedelta()) is not None
        case "IS":
            legal = re.fullmatch(r" *[+-]?[0-9]+ *", value) is not None and -(2**31) <= int(value) < 2**31
        case "DS":
            legal = re.fullmatch(r" *[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)? *", value) is not None
        case "UI":
            legal = re.fullmatch(r"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))+", value) is not None
        case _:
            legal = value.isprintable() or vr in ("LT", "ST", "UT")
    if not legal:
        raise ValueError(f"{value!r} (PS3.5 6.2)")
