"""Labels and categories: which kind of instance this is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from yaml.nodes import Node

from deid_service.rules.schema import Problems
from dicom_query import Node as Query
from dicom_query import QueryError, parse

__all__ = ["ALL", "Category", "Label", "read_categories", "read_labels"]

ALL = "ALL"
"""The label that every instance bears."""


@dataclass(frozen=True, slots=True)
class Label:
    """A name for the instances that a query finds.

    Attributes
    ----------
    name : str
        What scopes call it.
    query : dicom_query.Node or None
        None means every instance.
    """

    name: str
    query: Query | None


@dataclass(frozen=True, slots=True)
class Category:
    """A name for several labels.

    Attributes
    ----------
    name : str
        What scopes call it.
    labels : frozenset of str
        An instance with any of them belongs to the category.
    """

    name: str
    labels: frozenset[str]


def read_labels(node: Node | None, problems: Problems) -> dict[str, Label]:
    """Read the section ``Labels``.

    Parameters
    ----------
    node : Node or None
        A list of ``{Name, DICOMQueryFilter}``.
    problems : Problems
        Where complaints go.

    Returns
    -------
    dict of str to Label
        In the order of the file. A label whose query is wrong is there all the same, so that scopes that name it do
        not cause complaints of their own.
    """
    labels: dict[str, Label] = {}
    if node is None:
        return labels
    for item in problems.read_list(node, "Labels"):
        keys = problems.read_mapping(item, "a label", ("Name", "DICOMQueryFilter"))
        problems.require(item, keys, "this label", "Name")
        name = problems.read_text(keys.get("Name"), "Name of a label")
        query = _read_query(keys.get("DICOMQueryFilter"), problems)
        if name is None:
            continue
        if name == ALL:
            problems.add(keys["Name"], f'"{ALL}" is the built-in label of every instance', "choose another name")
        elif name in labels:
            problems.add(keys["Name"], f'the label "{name}" is defined twice')
        labels[name] = Label(name, query)
    return labels


def _read_query(node: Node | None, problems: Problems) -> Query | None:
    text = problems.read_text(node, "DICOMQueryFilter", empty=True)
    if text is None or not text.strip():
        return None
    try:
        return parse(text)
    except QueryError as error:
        hint = error.hint or (f"expected {' or '.join(error.expected)}" if error.expected else "")
        problems.add(node, f"DICOMQueryFilter, at its character {error.position + 1}: {error.message}", hint)
        return None


def read_categories(node: Node | None, labels: Iterable[str], problems: Problems) -> dict[str, Category]:
    """Read the section ``Categories``.

    Parameters
    ----------
    node : Node or None
        A list of ``{Name, Labels}``.
    labels : iterable of str
        The labels that exist.
    problems : Problems
        Where complaints go.

    Returns
    -------
    dict of str to Category
    """
    categories: dict[str, Category] = {}
    if node is None:
        return categories
    for item in problems.read_list(node, "Categories"):
        keys = problems.read_mapping(item, "a category", ("Name", "Labels"))
        problems.require(item, keys, "this category", "Name", "Labels")
        name = problems.read_text(keys.get("Name"), "Name of a category")
        names = problems.read_names(keys.get("Labels"), "label", {ALL, *labels})
        if name is None:
            continue
        if name in categories:
            problems.add(keys["Name"], f'the category "{name}" is defined twice')
        categories[name] = Category(name, names)
    return categories
