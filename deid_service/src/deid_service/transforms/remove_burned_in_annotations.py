"""``RemoveBurnedInAnnotations``: which pixels are blacked out, and how they are found."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from yaml.nodes import Node, SequenceNode

from deid_service.pixels.boxes import Box
from deid_service.rules.schema import Problems

__all__ = ["Find", "RemoveBurnedInAnnotations"]


class Find(Enum):
    """How regions are found, by its name in a rules file (``Type``)."""

    MANUAL = "Manual"
    CATALOGUE = "Catalogue"
    ULTRASOUND = "UltrasoundRegions"
    OCR = "OCR"


_KEYS: Final[Mapping[Find, tuple[str, ...]]] = {
    Find.MANUAL: ("BoxCoordinates",),
    Find.CATALOGUE: (),
    Find.ULTRASOUND: (),
    Find.OCR: ("Engine", "OCR"),
}
_ALL_KEYS: Final = ("Type", *(key for keys in _KEYS.values() for key in keys))
_TYPES: Final = tuple(find.value for find in Find)
# What an engine needs, and how to get it.
_ENGINES: Final = {"local": ("rapidocr", "onnxruntime"), "rekognition": ("boto3",)}
_LARGEST: Final = 2**31 - 1


@dataclass(frozen=True, slots=True)
class RemoveBurnedInAnnotations:
    """One rule that blacks out pixels, in every frame.

    Attributes
    ----------
    find : Find
        ``Type``.
    boxes : tuple of Box
        ``BoxCoordinates`` of a manual rule; the last row and column belong to them.
    engine : str
        ``Engine`` of an OCR rule: ``local`` or ``rekognition``.
    always : bool
        ``OCR: always``: text is searched for in every instance, not only where triage suspects it.
    """

    find: Find
    boxes: tuple[Box, ...] = ()
    engine: str = "local"
    always: bool = False

    @classmethod
    def read(cls, node: Node, problems: Problems) -> RemoveBurnedInAnnotations | None:
        """Read one item of ``RemoveBurnedInAnnotations``; None if it is wrong, which is noted."""
        before = len(problems.found)
        keys = problems.read_mapping(node, "RemoveBurnedInAnnotations", _ALL_KEYS)
        problems.require(node, keys, "RemoveBurnedInAnnotations", "Type")
        word = problems.read_choice(keys.get("Type"), "Type", _TYPES)
        if word is None:
            return None
        find = Find(word)
        _refuse_others(keys, find, problems)
        if find is Find.MANUAL:
            problems.require(node, keys, "RemoveBurnedInAnnotations of Type Manual", "BoxCoordinates")
        boxes = _read_boxes(keys["BoxCoordinates"], problems) if "BoxCoordinates" in keys else ()
        engine = _read_engine(keys.get("Engine"), node, problems) if find is Find.OCR else "local"
        when = problems.read_choice(keys["OCR"], "OCR", ("suspected", "always")) if "OCR" in keys else "suspected"
        if len(problems.found) > before:
            return None
        return cls(find, boxes, engine, when == "always")


def _refuse_others(keys: Mapping[str, Node], find: Find, problems: Problems) -> None:
    """Note keys that belong to another Type: they would silently do nothing."""
    for key, value in keys.items():
        if key != "Type" and key not in _KEYS[find]:
            owner = next(other.value for other, theirs in _KEYS.items() if key in theirs)
            problems.add(value, f"{key} is a key of Type {owner}, not of {find.value}", "remove it, or change Type")


def _read_engine(node: Node | None, rule: Node, problems: Problems) -> str:
    name = "local" if node is None else problems.read_choice(node, "Engine", tuple(_ENGINES)) or "local"
    missing = [module for module in _ENGINES[name] if importlib.util.find_spec(module) is None]
    if missing:
        problems.add(node or rule, f"OCR by {name} needs {' and '.join(missing)}", f"pip install {' '.join(missing)}")
    return name


def _read_boxes(node: Node, problems: Problems) -> tuple[Box, ...]:
    """Read one box or a list of boxes."""
    items = problems.read_list(node, "BoxCoordinates")
    if items and not any(isinstance(item, SequenceNode) for item in items):
        items = (node,)
    boxes = [_read_box(item, problems) for item in items]
    return tuple(box for box in boxes if box is not None)


def _read_box(node: Node, problems: Problems) -> Box | None:
    numbers = [problems.read_integer(item, "a number of BoxCoordinates") for item in problems.read_list(node, "a box")]
    if not isinstance(node, SequenceNode) or None in numbers:
        return None
    whole = [number for number in numbers if number is not None]
    if len(whole) != len(("left", "top", "right", "bottom")):
        problems.add(node, f"a box has 4 numbers, not {len(whole)}", "[left, top, right, bottom]")
        return None
    left, top, right, bottom = whole
    if min(whole) < 0 or max(whole) > _LARGEST:
        problems.add(node, "a box lies outside of every image", "pixels are counted from 0 at the upper left")
    elif left > right or top > bottom:
        which = "left is greater than right" if left > right else "top is greater than bottom"
        problems.add(node, f"a box is empty: {which}", "[left, top, right, bottom], not a width and a height")
    else:
        return Box(left, top, right, bottom)
    return None
