"""Whether a query is true of a dataset, in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from pydicom.dataset import Dataset

from ._elements import ElementValue, values_of
from .literals import Number, PartialDate, TextPattern, date_in, number_in
from .nodes import Condition, Node, Operator, decide
from .tags import TagPath, TagStep


def evaluate(node: Node, dataset: Dataset) -> bool:
    """Tell whether a query is true of a dataset.

    Parameters
    ----------
    node
        The query.
    dataset
        A dataset; if it was read from a file, its file meta information (group 0002) counts as part of it.

    Returns
    -------
    bool
        The same as ``evaluate_document(node, index_document(dataset))``, reading only the elements that the query
        names.
    """

    def holds(condition: Condition) -> bool:
        return condition_holds(condition, _values_at(dataset, condition.path))

    return decide(node, holds)


def condition_holds(condition: Condition, values: Iterator[object]) -> bool:
    """Tell whether a condition is true of the values that its path leads to.

    Parameters
    ----------
    condition
        The condition.
    values
        Folded text, or anything else for a value without text; nothing at all if no such element is there.
    """
    operator = condition.operator
    if operator is Operator.NOT_EXISTS:
        return next(values, _NONE) is _NONE
    if operator is Operator.EXISTS:
        return next(values, _NONE) is not _NONE
    test = _test(condition)
    return any(test(value) for value in values)


_NONE = object()


def _test(condition: Condition) -> Callable[[object], bool]:
    """Return the test that one value has to pass."""
    operator = condition.operator
    if operator is Operator.EMPTY:
        return lambda value: value == ""
    if operator is Operator.NOT_EMPTY:
        return lambda value: value != ""
    return _on_text(_text_test(condition))


def _on_text(test: Callable[[str], bool]) -> Callable[[object], bool]:
    return lambda value: isinstance(value, str) and test(value)


def _text_test(condition: Condition) -> Callable[[str], bool]:
    operator, first = condition.operator, condition.values[0]
    if isinstance(first, Number):
        return _number_test(operator, first)
    if isinstance(first, PartialDate):
        return _date_test(operator, first)
    patterns = [value for value in condition.values if isinstance(value, TextPattern)]
    if operator is Operator.STR_NOT_EQUALS:
        return lambda value: not first.matches(value)
    literals = frozenset(pattern.folded()[0] for pattern in patterns if pattern.is_literal)
    wild = [pattern for pattern in patterns if not pattern.is_literal]
    return lambda value: value in literals or any(pattern.matches(value) for pattern in wild)


def _number_test(operator: Operator, literal: Number) -> Callable[[str], bool]:
    wanted = literal.value
    compare: Callable[[int], bool] = {
        Operator.NB_EQUALS: lambda order: order == 0,
        Operator.NB_NOT_EQUALS: lambda order: order != 0,
        Operator.NB_GREATER: lambda order: order > 0,
        Operator.NB_GREATER_EQUALS: lambda order: order >= 0,
        Operator.NB_LESS: lambda order: order < 0,
        Operator.NB_LESS_EQUALS: lambda order: order <= 0,
    }[operator]

    def test(value: str) -> bool:
        number = number_in(value)
        return number is not None and compare((number > wanted) - (number < wanted))

    return test


def _date_test(operator: Operator, literal: PartialDate) -> Callable[[str], bool]:
    compare = {
        Operator.DATE_BEFORE: literal.is_after,
        Operator.DATE_AFTER: literal.is_before,
        Operator.DATE_ON: literal.holds,
    }[operator]

    def test(value: str) -> bool:
        digits = date_in(value)
        return digits is not None and compare(digits)

    return test


def _values_at(dataset: Dataset, path: TagPath) -> Iterator[object]:
    """Yield every value that a path leads to, through all the items that it names."""
    # A stack of iterators instead of recursion: paths are as long as their text allows.
    last = len(path.steps) - 1
    above: list[Iterator[ElementValue]] = [iter(_selected(values_of(dataset, path.steps[0].tag), path.steps[0]))]
    while above:
        value = next(above[-1], _NONE)
        if value is _NONE:
            above.pop()
        elif len(above) - 1 == last:
            yield value
        elif isinstance(value, Dataset):
            step = path.steps[len(above)]
            above.append(iter(_selected(values_of(value, step.tag), step)))


def _selected(values: Sequence[ElementValue] | None, step: TagStep) -> Sequence[ElementValue]:
    if values is None:
        return ()
    return values if step.item is None else values[step.item : step.item + 1]
