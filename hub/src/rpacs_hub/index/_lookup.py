"""Which contents of the dictionary meet a condition, and which values inside a list of contents do, as SQL."""

from __future__ import annotations

import math
from decimal import Decimal

import dicom_query
from dicom_query import Condition, Number, Operator, PartialDate, Sql, TextPattern
from rpacs_hub.index._parts import Parameters

__all__ = [
    "VALUES",
    "bounds",
    "contents_that_meet",
    "has_items",
    "is_mere_existence",
    "is_mostly_true",
    "value_test",
]


def is_mere_existence(condition: Condition) -> bool:
    """Whether a condition asks for no value."""
    return condition.operator is Operator.EXISTS and not has_items(condition)


def has_items(condition: Condition) -> bool:
    """Whether a condition names an item of a sequence."""
    return bool(_items(condition))


def is_mostly_true(condition: Condition) -> bool:
    """Whether fewer contents will fail a condition than meet it."""
    if condition.operator in (Operator.STR_NOT_EQUALS, Operator.NB_NOT_EQUALS, Operator.NOT_EMPTY):
        return True
    return any(isinstance(value, TextPattern) and value.pieces == ("", "") for value in condition.values)


def contents_that_meet(condition: Condition, path_id: int, parameters: Parameters) -> str:
    """Return a SELECT of the contents that meet a condition, or fail it if most meet it."""
    test = parameters.include(value_test(condition))
    among_several = f"EXISTS (SELECT FROM (SELECT w.content::jsonb AS c OFFSET 0) e, LATERAL {VALUES} WHERE {test})"
    if condition.operator is Operator.EXISTS and has_items(condition):
        # Where places are told, whether one of them fits is all that matters; quotes inside texts are escaped.
        items = _items(condition)
        if [step for step, _ in items] == [0] and len(condition.path.steps) > 1:
            # Places come first in such a content, each "[item of the first step,...]", and "]]" ends them.
            told = f"left(w.content, strpos(w.content, ']]')) LIKE {parameters.add(f'%[{items[0][1]},%')}"
        else:
            wanted = " && ".join(f"@[{step}] == {item}" for step, item in items)
            told = f"w.content::jsonb @? {parameters.add(f'strict $.p[*] ? ({wanted})')}::jsonpath"
        among_several = f"(CASE WHEN strpos(w.content, '\"p\":[[') > 0 THEN {told} ELSE {among_several} END)"
    single = _single_test(condition, parameters)
    if is_mostly_true(condition):
        single, among_several = f"(({single}) IS NOT TRUE)", f"NOT {among_several}"
    return (
        f"SELECT w.value_id FROM pacs.value w WHERE w.path_id = {path_id} AND w.t IS NOT NULL AND {single} "  # noqa: S608
        f"UNION ALL SELECT w.value_id FROM pacs.value w WHERE w.path_id = {path_id} AND w.t IS NULL AND {among_several}"
    )


def _single_test(condition: Condition, parameters: Parameters) -> str:
    """Return the test of a content ``w`` that is one text at the first place."""
    if any(step.item not in (None, 0) for step in condition.path.steps):
        return "FALSE"
    operator = condition.operator
    if operator is Operator.EXISTS:
        return "TRUE"
    if operator is Operator.EMPTY:
        return "(left(w.t, 100) = '')"
    if operator is Operator.NOT_EMPTY:
        return "(w.t <> '')"
    first = condition.values[0]
    if isinstance(first, Number):
        # Numbers that fit no double are never single texts of the dictionary.
        return _number_test(operator, first, parameters)
    test = parameters.include(dicom_query.text_test(condition, "w.t"))
    if isinstance(first, PartialDate):
        # The year is four digits in every form of a date, so the index can tell where to look.
        year = first.digits[:4]
        from_year = f"left(w.t, 100) >= {parameters.add(year)}::text"
        to_year = f"left(w.t, 100) <= {parameters.add(year + '~')}::text"
        if operator is Operator.DATE_ON:
            return f"({from_year} AND {to_year} AND {test})"
        return f"({from_year if operator is Operator.DATE_AFTER else to_year} AND {test})"
    patterns = [value for value in condition.values if isinstance(value, TextPattern)]
    if operator is not Operator.STR_NOT_EQUALS and all(pattern.is_literal for pattern in patterns):
        starts = parameters.add(sorted({pattern.folded()[0][:100] for pattern in patterns}))
        return f"(left(w.t, 100) = ANY({starts}::text[]) AND {test})"
    return test


def _number_test(operator: Operator, literal: Number, parameters: Parameters) -> str:
    below, up_to = (f"{parameters.add(bound)}::float8" for bound in bounds(literal.value))
    return {
        Operator.NB_LESS: f"(w.num <= {below})",
        Operator.NB_LESS_EQUALS: f"(w.num <= {up_to})",
        Operator.NB_GREATER: f"(w.num > {up_to})",
        Operator.NB_GREATER_EQUALS: f"(w.num > {below})",
        Operator.NB_EQUALS: f"(w.num > {below} AND w.num <= {up_to})",
        Operator.NB_NOT_EQUALS: f"(w.num <= {below} OR w.num > {up_to})",
    }[operator]


def bounds(wanted: Decimal) -> tuple[float, float]:
    """Return (a, b): a number that fits a double is less than `wanted` if it is at most a, and not more if at most b.

    A number fits if it equals the shortest decimal of its double (`rpacs_hub.index._content.fitting_number`).
    """
    nearest = float(wanted)
    if math.isinf(nearest):
        # Beyond every double: all numbers that fit are on one side.
        return (math.inf, math.inf) if nearest > 0 else (-math.inf, -math.inf)
    shortest = Decimal(repr(nearest))
    before = math.nextafter(nearest, -math.inf)
    return (before if shortest >= wanted else nearest), (before if shortest > wanted else nearest)


VALUES = (
    "jsonb_array_elements(CASE jsonb_typeof(e.c) WHEN 'array' THEN e.c WHEN 'object' THEN e.c -> 'v' "
    "WHEN 'null' THEN '[]'::jsonb ELSE jsonb_build_array(e.c) END) WITH ORDINALITY l (v, o) "
    "CROSS JOIN LATERAL (SELECT CASE jsonb_typeof(l.v) WHEN 'string' THEN l.v #>> '{}' END) x (t)"
)
"""FROM item of all values of content ``e.c``: as JSON ``l.v``, as text ``x.t``, and their number ``l.o`` from 1."""


def value_test(condition: Condition) -> Sql:
    """Return the test of one value of `VALUES`."""
    operator = condition.operator
    tests = [_item_test(step, item, len(condition.path.steps)) for step, item in _items(condition)]
    if operator is Operator.EMPTY:
        tests.append("l.v = '\"\"'")
    elif operator is Operator.NOT_EMPTY:
        tests.append("l.v <> '\"\"'")
    elif operator is not Operator.EXISTS:
        text = dicom_query.text_test(condition, "x.t")
        return Sql(" AND ".join([*tests, text.text]), text.params)
    return Sql(" AND ".join(tests) or "TRUE")


def _items(condition: Condition) -> list[tuple[int, int]]:
    """Return the steps that name an item, and which."""
    return [(n, step.item) for n, step in enumerate(condition.path.steps) if step.item is not None]


def _item_test(step: int, item: int, steps: int) -> str:
    """Return the test that a value stands in an item, for the forms of `rpacs_hub.index._content`."""
    plain = f"l.o = {item + 1}" if step == steps - 1 else str(item == 0).upper()
    return (
        "(CASE WHEN jsonb_typeof(e.c) = 'object' AND e.c ? 'p' "
        f"THEN (e.c -> 'p' -> (l.o - 1)::int ->> {step})::int = {item} ELSE {plain} END)"
    )
