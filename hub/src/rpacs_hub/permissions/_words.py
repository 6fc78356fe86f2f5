"""The words of a decision: by what a profile is held, what it shows, and what an instance lacks for it.

They reach answers and the audit, so they quote little of an instance: codes and numbers that describe the image
(value representations CS, IS, DS and binary numbers, the class, the maker of the scanner) and nothing of the patient
module (group 0010), no free text, no date, no identifier.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydicom.datadict import dictionary_description, dictionary_VR

import dicom_query
from rpacs_hub.permissions.profiles import Profile

__all__ = ["come_by", "difference", "shown"]

_PARTS = 3
_ELEMENTS = 3
_VALUES = 3
_LONGEST = 200

_TOLD = frozenset({"CS", "IS", "DS", "US", "SS", "UL", "SL", "UV", "SV", "FL", "FD"})
_ALSO_TOLD = frozenset({"00080016", "00080070", "00081090"})  # SOPClassUID, Manufacturer, ManufacturerModelName
_PATIENT_MODULE = 0x0010  # PS3.3 section C.7.1
_CODE = re.compile(r"[a-z0-9_. +-]{1,32}")


def come_by(users: Sequence[str], groups: Sequence[str]) -> str:
    """Return by what a profile is held, such as ``through group ct-researchers``."""
    words = ["given by name"] if users else []
    if groups:
        words.append(f"through group{'s' if len(groups) > 1 else ''} {', '.join(groups)}")
    return " and ".join(words)


def shown(profile: Profile) -> str:
    """Return what a profile shows, such as ``instances where Modality is "CT"``."""
    return (
        "every instance" if profile.filter is None else f"instances where {_short(dicom_query.explain(profile.filter))}"
    )


def difference(query: dicom_query.Node, document: Mapping[str, Any], subject: str = "this one") -> str:
    """Return what a query needs that an instance lacks: ``needs that Modality is "CT"; this one has Modality MR``.

    Parameters
    ----------
    query
        The filter of a profile; it is false of `document`.
    document
        `dicom_query.index_document` of the instance.
    subject
        What the instance is called.
    """
    lacking = dicom_query.unmet(query, document)
    sentences = []
    for one in lacking[:_PARTS]:
        found = [_found(path, values) for path, values in one.found[:_ELEMENTS]]
        sentences.append(f"needs that {_short(dicom_query.explain(one.part))}; {subject} has {' and '.join(found)}")
    if len(lacking) > _PARTS:
        sentences.append(f"and {len(lacking) - _PARTS} more conditions are not met")
    return "; ".join(sentences)


def _found(path: dicom_query.TagPath, values: Sequence[object]) -> str:
    name = _name(path)
    if not values:
        return f"no {name}"
    if all(value == "" for value in values):
        return f"an empty {name}"
    codes = [value for value in values if isinstance(value, str) and _CODE.fullmatch(value)]
    if not _may_be_told(path) or len(codes) < len(values):
        return f"another {name}"
    more = f" and {len(codes) - _VALUES} more values" if len(codes) > _VALUES else ""
    # The index folds case; codes are upper case anyway (PS3.5 section 6.2).
    return f"{name} {', '.join(code.upper() for code in codes[:_VALUES])}{more}"


def _may_be_told(path: dicom_query.TagPath) -> bool:
    tags = [step.tag for step in path.steps]
    if any(tag >> 16 == _PATIENT_MODULE or (tag >> 16) % 2 for tag in tags):
        return False
    try:
        return dictionary_VR(tags[-1]) in _TOLD or f"{tags[-1]:08X}" in _ALSO_TOLD
    except KeyError:
        return False


def _name(path: dicom_query.TagPath) -> str:
    try:
        return dictionary_description(path.steps[-1].tag)
    except KeyError:
        return str(path)


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
