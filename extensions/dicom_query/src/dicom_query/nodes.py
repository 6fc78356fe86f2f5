"""The syntax tree of a query: what :func:`~dicom_query.parse` returns and everything else takes.

Nodes are immutable. A tree beyond the limits cannot be built: each node knows its size and depth, and refuses. Nothing
here recurses, so that no tree can exhaust the interpreter's stack.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import TypeVar

from .errors import QueryTooLargeError
from .literals import Number, PartialDate, TextPattern, Value
from .tags import TagPath

MAX_CONDITIONS = 1000
"""Most conditions in one query."""
MAX_DEPTH = 100
"""Deepest nesting in the text of a query; ``(...)``, ``NOT ...`` and ``NOT (...)`` are one level each."""
MAX_NODE_DEPTH = 3 * MAX_DEPTH + 3
"""Deepest tree: every level of parentheses can hold one NOT, one OR and one AND."""

T = TypeVar("T")


class Operand(Enum):
    """What an operator is followed by."""

    NOTHING = 0
    TEXT = 1
    TEXTS = 2
    NUMBER = 3
    DATE = 4


class Operator(Enum):
    """The operators, by their canonical spelling."""

    EXISTS = "Exists"
    NOT_EXISTS = "NotExists"
    EMPTY = "Empty"
    NOT_EMPTY = "NotEmpty"
    STR_EQUALS = "StrEquals"
    STR_NOT_EQUALS = "StrNotEquals"
    STR_IN = "StrIn"
    NB_EQUALS = "NbEquals"
    NB_NOT_EQUALS = "NbNotEquals"
    NB_GREATER = "NbGreater"
    NB_GREATER_EQUALS = "NbGreaterEquals"
    NB_LESS = "NbLess"
    NB_LESS_EQUALS = "NbLessEquals"
    DATE_BEFORE = "DateBefore"
    DATE_AFTER = "DateAfter"
    DATE_ON = "DateOn"

    @property
    def operand(self) -> Operand:
        """What follows it."""
        if self is Operator.STR_IN:
            return Operand.TEXTS
        prefix = self.value[:2]
        return {"St": Operand.TEXT, "Nb": Operand.NUMBER, "Da": Operand.DATE}.get(prefix, Operand.NOTHING)


_VALUE_TYPES: dict[Operand, type[Value]] = {
    Operand.TEXT: TextPattern,
    Operand.TEXTS: TextPattern,
    Operand.NUMBER: Number,
    Operand.DATE: PartialDate,
}


@dataclass(frozen=True, slots=True)
class Condition:
    """One comparison: an element, an operator, and what it is compared with.

    Parameters
    ----------
    path
        The element.
    operator
        The operator.
    values
        None for the operators that take none, at least one for ``StrIn``, else exactly one, of the operator's type.

    Raises
    ------
    ValueError
        The values do not fit the operator.
    """

    path: TagPath
    operator: Operator
    values: tuple[Value, ...] = ()

    def __post_init__(self) -> None:
        operand = self.operator.operand
        wanted = _VALUE_TYPES.get(operand)
        if wanted is None:
            fits = not self.values
        else:
            number_fits = bool(self.values) if operand is Operand.TEXTS else len(self.values) == 1
            fits = number_fits and all(isinstance(value, wanted) for value in self.values)
        if not fits:
            raise ValueError(f"these values do not fit {self.operator.value}")


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class _Branch:
    """What And, Or and Not share: size, depth, and comparison without recursion."""

    size: int = field(init=False)
    """Number of conditions below."""
    depth: int = field(init=False)
    """Levels of nodes, this one included."""
    _hash: int = field(init=False)

    def _measure(self, children: tuple[Node, ...]) -> None:
        size = sum(child.size if isinstance(child, _Branch) else 1 for child in children)
        depth = 1 + max((child.depth if isinstance(child, _Branch) else 0 for child in children), default=0)
        if any(isinstance(child, And) and not child.children for child in children):
            raise ValueError("the empty query can stand only alone")
        if size > MAX_CONDITIONS:
            raise QueryTooLargeError(f"the query has {size} conditions; {MAX_CONDITIONS} are the most")
        if depth > MAX_NODE_DEPTH:
            raise QueryTooLargeError(f"the query is nested {depth} levels deep; {MAX_NODE_DEPTH} are the most")
        object.__setattr__(self, "size", size)
        object.__setattr__(self, "depth", depth)
        object.__setattr__(self, "_hash", hash((type(self).__name__, children)))

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Branch):
            return NotImplemented
        pairs: list[tuple[Node, Node]] = [(self, other)]  # type: ignore[list-item]  # only subclasses have instances
        while pairs:
            one, two = pairs.pop()
            if one is two:
                continue
            if not isinstance(one, _Branch) or not isinstance(two, _Branch):
                if one != two:
                    return False
                continue
            ours, theirs = children_of(one), children_of(two)
            if type(one) is not type(two) or one._hash != two._hash or len(ours) != len(theirs):
                return False
            pairs.extend(zip(ours, theirs, strict=True))
        return True

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.size} conditions>"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class And(_Branch):
    """True if every child is. Without children it is the empty query, which is true of everything.

    Parameters
    ----------
    children
        None, or at least two.
    """

    children: tuple[Node, ...] = ()

    def __post_init__(self) -> None:
        if len(self.children) == 1:
            raise ValueError("And takes at least two children, or none")
        self._measure(self.children)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Or(_Branch):
    """True if any child is.

    Parameters
    ----------
    children
        At least two.
    """

    children: tuple[Node, ...]

    def __post_init__(self) -> None:
        if len(self.children) < 2:
            raise ValueError("Or takes at least two children")
        self._measure(self.children)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Not(_Branch):
    """True if the child is not.

    Parameters
    ----------
    child
        What is negated.
    """

    child: Node

    def __post_init__(self) -> None:
        self._measure((self.child,))


Node = And | Or | Not | Condition
"""Any node; the root of a query is one."""

EVERYTHING = And(())
"""The empty query."""


def children_of(node: _Branch) -> tuple[Node, ...]:
    """Return the children of a branch, in order."""
    if isinstance(node, Not):
        return (node.child,)
    assert isinstance(node, And | Or)
    return node.children


def conditions_of(node: Node) -> list[Condition]:
    """Return every condition of a query, in the order of its text."""
    found: list[Condition] = []
    pending: list[Node] = [node]
    while pending:
        current = pending.pop()
        if isinstance(current, Condition):
            found.append(current)
        else:
            pending.extend(reversed(children_of(current)))
    return found


def all_of(nodes: Iterable[Node]) -> Node:
    """Return the query that is true where all the given ones are: how a permission filter and a search are joined."""
    children = tuple(node for node in nodes if node != EVERYTHING)
    return children[0] if len(children) == 1 else And(children)


def decide(root: Node, holds: Callable[[Condition], bool]) -> bool:
    """Return whether a query is true, asking about no more conditions than needed.

    Parameters
    ----------
    root
        The query.
    holds
        Says whether one condition is true.
    """
    above: list[tuple[And | Or | Not, int]] = []
    node = root
    while True:
        if not isinstance(node, Condition):
            children = children_of(node)
            if children:
                above.append((node, 0))
                node = children[0]
                continue
            truth = True
        else:
            truth = holds(node)
        while above:
            parent, index = above.pop()
            if isinstance(parent, Not):
                truth = not truth
            elif truth is isinstance(parent, And) and index + 1 < len(parent.children):
                above.append((parent, index + 1))
                node = parent.children[index + 1]
                break
        else:
            return truth


def fold_tree(root: Node, leaf: Callable[[Condition], T], branch: Callable[[And | Or | Not, list[T]], T]) -> T:
    """Return what `branch` makes of the results of a node's children, from the conditions upwards.

    Parameters
    ----------
    root
        The query.
    leaf
        Result of a condition.
    branch
        Result of an And, Or or Not, given its children's in order.
    """
    above: list[tuple[And | Or | Not, list[T]]] = []
    node = root
    while True:
        if not isinstance(node, Condition):
            children = children_of(node)
            if children:
                above.append((node, []))
                node = children[0]
                continue
            result = branch(node, [])
        else:
            result = leaf(node)
        while above:
            parent, results = above[-1]
            results.append(result)
            siblings = children_of(parent)
            if len(results) < len(siblings):
                node = siblings[len(results)]
                break
            above.pop()
            result = branch(parent, results)
        else:
            return result
