"""Why a query is not true of a document: which of its parts are false, and what the document holds there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .document import values_at
from .evaluate import condition_holds
from .nodes import And, Condition, Node, Not, Or, fold_tree
from .tags import TagPath

__all__ = ["Unmet", "unmet"]


@dataclass(frozen=True)
class Unmet:
    """A part of a query that is false.

    Attributes
    ----------
    part
        One of the parts that the query joins by ``AND``; the whole query where it joins none.
    found
        For each element that makes the part false, in the order of the query: its path and the values that the
        document has there, folded text, None for bytes, a mapping for an item. No values: there is no such element.
    """

    part: Node
    found: tuple[tuple[TagPath, tuple[object, ...]], ...]


def unmet(node: Node, document: Mapping[str, Any]) -> list[Unmet]:
    """Return the parts of a query that are false of a document.

    Parameters
    ----------
    node
        The query.
    document
        What `index_document` returned.

    Returns
    -------
    list of Unmet
        Empty exactly where `evaluate_document` is true.
    """

    def leaf(condition: Condition) -> tuple[bool, list[Condition]]:
        return condition_holds(condition, iter(values_at(document, condition.path))), [condition]

    found = []
    for part in node.children if isinstance(node, And) else (node,):
        holds, conditions = fold_tree(part, leaf, _reasons)
        if not holds:
            paths = dict.fromkeys(condition.path for condition in conditions)
            found.append(Unmet(part, tuple((path, tuple(values_at(document, path))) for path in paths)))
    return found


def _reasons(node: And | Or | Not, children: list[tuple[bool, list[Condition]]]) -> tuple[bool, list[Condition]]:
    """Return whether a branch is true, and the conditions that make it so."""
    if isinstance(node, Not):
        return not children[0][0], children[0][1]
    truths = [truth for truth, _ in children]
    truth = all(truths) if isinstance(node, And) else any(truths)
    return truth, [condition for child, conditions in children if child is truth for condition in conditions]
