"""The folded document of a dataset: what the index stores, and what SQL and :func:`evaluate_document` look into.

A document is plain JSON: ``{"00080060": ["ct"], "00400275": [{"00080100": ["x"]}]}``. Keys are 8 upper-case
hexadecimal digits. A value is folded text (see :func:`dicom_query.literals.fold`), ``null`` for bytes, or an object for
an item of a sequence. Every list has at least one value: an empty element has ``[""]``, an empty sequence too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydicom.dataset import Dataset

from ._elements import tags_of, values_of
from .evaluate import condition_holds
from .nodes import Condition, Node, decide
from .tags import TagPath

Document = dict[str, list[Any]]
"""A folded document, see the module's description."""

_PIXEL_DATA = "7FE00010"


def index_document(dataset: Dataset, *, has_pixel_data: bool = False) -> Document:
    """Return the folded document of a dataset.

    Parameters
    ----------
    dataset
        The dataset; its file meta information (group 0002) becomes part of the document.
    has_pixel_data
        Say that there is PixelData where it was left out of `dataset` (``dcmread(..., stop_before_pixels=True)``).

    Returns
    -------
    Document
        JSON without NUL characters and lone surrogates, fit for a ``jsonb`` column. Values that cannot be decoded are
        ``null``: present, but without text.
    """
    root: Document = {}
    pending: list[tuple[Dataset, Document]] = [(dataset, root)]
    while pending:
        source, target = pending.pop()
        for tag in tags_of(source):
            listed: list[Any] = []
            for value in values_of(source, tag) or ():
                if isinstance(value, Dataset):
                    item: Document = {}
                    pending.append((value, item))
                    listed.append(item)
                else:
                    listed.append(value)
            target[f"{tag:08X}"] = listed
    if has_pixel_data:
        root.setdefault(_PIXEL_DATA, [None])
    return root


def evaluate_document(node: Node, document: Mapping[str, Any]) -> bool:
    """Tell whether a query is true of a document.

    Parameters
    ----------
    node
        The query.
    document
        What :func:`index_document` returned.

    Returns
    -------
    bool
        The same as ``evaluate(node, dataset)`` for the dataset of the document.
    """

    def holds(condition: Condition) -> bool:
        return condition_holds(condition, values_at(document, condition.path))

    return decide(node, holds)


def values_at(document: Mapping[str, Any], path: TagPath) -> Iterator[object]:
    """Return every value that a path leads to, in order."""
    level: list[Any] = [document]
    for step in path.steps:
        key = f"{step.tag:08X}"
        found: list[Any] = []
        for item in level:
            if isinstance(item, Mapping) and key in item:
                values = item[key]
                found.extend(values if step.item is None else values[step.item : step.item + 1])
        level = found
    return iter(level)
