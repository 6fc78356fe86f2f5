"""Which Type an attribute has where it stands: required (1), present but maybe empty (2), optional (3); PS3.5 7.4."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from importlib.resources import files
from typing import Any, Final

from pydicom.datadict import keyword_for_tag

__all__ = ["TypesHere", "known_sop_classes", "types_of"]

_CONTENT: Final = "ContentSequence"


class TypesHere:
    """Types of the attributes at one place of an IOD.

    Parameters
    ----------
    tree : mapping or None
        Keyword to Type, or for a sequence to a mapping of its own; None where the IOD is not known.
    """

    __slots__ = ("_tree",)

    def __init__(self, tree: Mapping[str, Any] | None) -> None:
        self._tree = tree

    @property
    def known(self) -> bool:
        """Whether the IOD is known at all."""
        return self._tree is not None

    def type_of(self, tag: int) -> str:
        """Return an attribute's Type.

        Parameters
        ----------
        tag : int
            32-bit tag.

        Returns
        -------
        str
            ``1``, ``2`` or ``3``. Conditional ones count as required: an attribute that is there met its condition.
            ``3`` also for what the IOD does not hold (a Standard Extended SOP Class).
        """
        found = self._tree.get(keyword_for_tag(tag)) if self._tree else None
        if isinstance(found, Mapping):
            found = found.get("")
        return str(found)[0] if found else "3"

    def below(self, tag: int) -> TypesHere:
        """Return the Types inside a sequence."""
        if self._tree is None:
            return self
        keyword = keyword_for_tag(tag)
        inner = self._tree.get(keyword)
        if isinstance(inner, Mapping):
            return TypesHere(inner)
        # Content items hold content items of the same kind, to any depth (PS3.3 C.17.3).
        return self if keyword == _CONTENT else TypesHere({})


@lru_cache(maxsize=1)
def _data() -> dict[str, Any]:
    text = files("deid_service.profiles").joinpath("data", "attribute_types.json").read_text("utf-8")
    data: dict[str, Any] = json.loads(text)
    return data


def known_sop_classes() -> Mapping[str, str]:
    """Return the IOD of each SOP class that is known.

    Returns
    -------
    mapping of str to str
        SOP Class UID to the name of its IOD.
    """
    classes: dict[str, str] = _data()["sop_classes"]
    return classes


@lru_cache(maxsize=512)
def types_of(iod: str | None, *, refers: bool = False) -> TypesHere:
    """Return the Types at the top level of an IOD.

    Parameters
    ----------
    iod : str or None
        One of the values of :func:`known_sop_classes`; None for an unknown SOP class.
    refers : bool, optional
        Whether the instance has the Common Instance Reference Module (PS3.3 C.12.2). It lists what the instance refers
        to, so that its references to images are no longer optional.

    Returns
    -------
    TypesHere
        Where two of the IOD's modules hold an attribute, the stricter Type counts.
    """
    if iod is None:
        return TypesHere(None)
    tree: dict[str, Any] = {}
    for name in _data()["iods"][iod]:
        _merge(tree, _data()["modules"][name])
    if refers:
        _merge(tree, {"ReferencedImageSequence": "1", "SourceImageSequence": "1"})
    return TypesHere(tree)


def _merge(tree: dict[str, Any], module: Mapping[str, Any]) -> None:
    for keyword, value in module.items():
        present = tree.get(keyword)
        if isinstance(value, Mapping):
            if not isinstance(present, dict):
                present = tree[keyword] = {} if present is None else {"": present}
            _merge(present, value)
        elif isinstance(present, dict):
            present[""] = min(value, present.get("", value))
        else:
            tree[keyword] = value if present is None else min(value, present)
