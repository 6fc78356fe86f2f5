"""A query in words, for people who do not write queries."""

from __future__ import annotations

from pydicom.datadict import dictionary_description

from .literals import PartialDate, TextPattern, Value
from .nodes import And, Condition, Node, Not, Operator, Or, fold_tree
from .query import value_text
from .tags import TagPath, TagStep, shorten

_LISTED = 8

_PHRASES = {
    Operator.EXISTS: "is present",
    Operator.NOT_EXISTS: "is absent",
    Operator.EMPTY: "has an empty value",
    Operator.NOT_EMPTY: "has a value that is not empty",
    Operator.NB_EQUALS: "is the number",
    Operator.NB_NOT_EQUALS: "is a number other than",
    Operator.NB_GREATER: "is greater than",
    Operator.NB_GREATER_EQUALS: "is at least",
    Operator.NB_LESS: "is less than",
    Operator.NB_LESS_EQUALS: "is at most",
    Operator.DATE_BEFORE: "is before",
    Operator.DATE_AFTER: "is after",
}


def explain(node: Node) -> str:
    """Return what a query asks for, in English words.

    Parameters
    ----------
    node
        The query.

    Returns
    -------
    str
        A phrase without a full stop: ``Modality is "CT" and Study Description contains "chest"``. Of long lists the
        first values are named and the others counted.
    """
    return fold_tree(node, _condition, _branch)[0]


def _branch(node: And | Or | Not, children: list[tuple[str, int]]) -> tuple[str, int]:
    if isinstance(node, Not):
        return f"not ({children[0][0]})", 2
    if not children:
        return "every instance", 2
    binding, word = (1, " and ") if isinstance(node, And) else (0, " or ")
    return word.join(text if inner == 2 else f"({text})" for text, inner in children), binding


def _condition(condition: Condition) -> tuple[str, int]:
    return f"{_place(condition.path)} {_predicate(condition)}", 2


def _place(path: TagPath) -> str:
    *above, last = path.steps
    words = _name(last) if last.item is None else f"value {last.item + 1} of {_name(last)}"
    for step in reversed(above):
        words += f" in {_name(step)}" if step.item is None else f" in item {step.item + 1} of {_name(step)}"
    return words


def _name(step: TagStep) -> str:
    try:
        return dictionary_description(step.tag)
    except KeyError:
        return f"({step.tag >> 16:04X},{step.tag & 0xFFFF:04X})"


def _predicate(condition: Condition) -> str:
    operator, values = condition.operator, condition.values
    if not values:
        return _PHRASES[operator]
    if operator is Operator.STR_IN and len(values) > 1:
        named = ", ".join(_quoted(value) for value in values[:_LISTED])
        more = f" and {len(values) - _LISTED} more" if len(values) > _LISTED else ""
        return f"is one of {named}{more}"
    first = values[0]
    if isinstance(first, TextPattern):
        return _different(first) if operator is Operator.STR_NOT_EQUALS else _alike(first)
    if isinstance(first, PartialDate) and operator is Operator.DATE_ON:
        return f"is {'on' if len(first.digits) >= 8 else 'in'} {first}"
    return f"{_PHRASES[operator]} {value_text(first)}"


def _alike(pattern: TextPattern) -> str:
    pieces = pattern.pieces
    if pattern.is_literal:
        return f"is {_quoted(pattern)}"
    if len(pieces) == 2 and not pieces[0]:
        return f"ends with {_quote(pieces[1])}" if pieces[1] else "is any text"
    if len(pieces) == 2 and not pieces[1]:
        return f"begins with {_quote(pieces[0])}"
    if len(pieces) == 3 and not pieces[0] and not pieces[2]:
        return f"contains {_quote(pieces[1])}"
    return f"is like {_quoted(pattern)}"


def _different(pattern: TextPattern) -> str:
    return f"has a value {'other than' if pattern.is_literal else 'that is not like'} {_quoted(pattern)}"


def _quoted(value: Value) -> str:
    return _quote("*".join(value.pieces)) if isinstance(value, TextPattern) else value_text(value)


def _quote(text: str) -> str:
    return f'"{shorten(text)}"'
