"""Scopes: which instances a section speaks of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from yaml.nodes import Node

from deid_service.rules.labels import ALL, Category, Label
from deid_service.rules.schema import Problems

__all__ = ["SCOPE_ALIASES", "SCOPE_KEYS", "Scope", "read_scope"]

SCOPE_KEYS = ("Labels", "ExceptLabels", "Categories", "ExceptCategories")
"""Keys of a scope."""

SCOPE_ALIASES = {"NotLabels": "ExceptLabels", "NotCategories": "ExceptCategories"}
"""Spellings of older documentation."""


@dataclass(frozen=True, slots=True)
class Scope:
    """A set of instances, by their labels.

    Attributes
    ----------
    included : frozenset of str
        An instance with any of these labels is in ...
    excluded : frozenset of str
        ... unless it has any of these. Categories are resolved to their labels.
    """

    included: frozenset[str]
    excluded: frozenset[str]

    def __contains__(self, labels: object) -> bool:
        return (
            isinstance(labels, frozenset) and self.excluded.isdisjoint(labels) and not self.included.isdisjoint(labels)
        )


def read_scope(
    node: Node | None,
    what: str,
    labels: Mapping[str, Label],
    categories: Mapping[str, Category],
    problems: Problems,
) -> Scope:
    """Read a scope.

    A scope that includes nothing is an error: a rule that never applies leaves identities in place without a word.

    Parameters
    ----------
    node : Node or None
        A mapping with any of ``Labels``, ``ExceptLabels``, ``Categories``, ``ExceptCategories``.
    what : str
        Which scope, for messages.
    labels, categories : mapping
        What is defined.
    problems : Problems
        Where complaints go.

    Returns
    -------
    Scope
    """
    keys = problems.read_mapping(node, what, SCOPE_KEYS, SCOPE_ALIASES)
    known_labels = {ALL, *labels}
    included = problems.read_names(keys.get("Labels"), "label", known_labels)
    excluded = problems.read_names(keys.get("ExceptLabels"), "label", known_labels)
    for name in problems.read_names(keys.get("Categories"), "category", categories):
        included |= categories[name].labels
    for name in problems.read_names(keys.get("ExceptCategories"), "category", categories):
        excluded |= categories[name].labels
    if node is not None and "Labels" not in keys and "Categories" not in keys:
        problems.add(node, f"{what} includes nothing", f"write {what}: {{Labels: {ALL}}} for every instance")
    return Scope(included, excluded)
