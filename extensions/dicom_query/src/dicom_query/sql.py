"""A query as SQL on a ``jsonb`` column of folded documents (see :mod:`dicom_query.document`).

Everything that comes from the query is a parameter; the text of the SQL is made of constants and of the name of the
column. It needs PostgreSQL 12 or later, a database in UTF-8, and no function of ours.

Plain equality becomes containment (``@>``), which a GIN index with ``jsonb_path_ops`` answers. The other operators look
at the values of each document, so a query is quick if it has an equality beside them, as permission filters mostly do.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass

from .literals import DATE_PATTERN, NUMBER_PATTERN, Number, PartialDate, TextPattern
from .nodes import And, Condition, Node, Not, Operator, Or, fold_tree
from .tags import TagPath

_COLUMN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*){0,2}")
_MOST_ALTERNATIVES = 32  # of a StrIn as containments; longer lists become one array

_NUMBER_REGEX = f"^({NUMBER_PATTERN})$"
_DATE_REGEX = f"^({DATE_PATTERN})$"
_COMPARISONS = {
    Operator.NB_EQUALS: "=",
    Operator.NB_NOT_EQUALS: "<>",
    Operator.NB_GREATER: ">",
    Operator.NB_GREATER_EQUALS: ">=",
    Operator.NB_LESS: "<",
    Operator.NB_LESS_EQUALS: "<=",
}


@dataclass(frozen=True, slots=True)
class Sql:
    """A boolean SQL expression.

    Attributes
    ----------
    text
        The expression, in parentheses where it needs them, with psycopg's ``%s`` placeholders.
    params
        The values of the placeholders, in order: strings and lists of strings.
    """

    text: str
    params: tuple[str | list[str], ...] = ()


def compile_sql(node: Node, column: str = "i.document") -> Sql:
    """Return the SQL expression that is true of the documents a query is true of.

    Parameters
    ----------
    node
        The query.
    column
        Name of the ``jsonb`` column, perhaps with its table's alias. The column must not be null.

    Returns
    -------
    Sql
        Text and parameters for psycopg. At most six parameters per condition, and one more per listed value up to 32.

    Raises
    ------
    ValueError
        `column` is not the name of a column.
    """
    if not _COLUMN.fullmatch(column):
        raise ValueError("column is not the name of a column: letters, digits and underscores, perhaps after an alias")

    def leaf(condition: Condition) -> Sql:
        return _OPERATORS[condition.operator](condition, column)

    return fold_tree(node, leaf, _branch)


def _branch(node: And | Or | Not, children: list[Sql]) -> Sql:
    if isinstance(node, Not):
        return Sql(f"(NOT {children[0].text})", children[0].params)
    if not children:
        return Sql("TRUE")
    return _joined(children, " AND " if isinstance(node, And) else " OR ")


def _joined(parts: list[Sql], word: str) -> Sql:
    if len(parts) == 1:
        return parts[0]
    return Sql(f"({word.join(part.text for part in parts)})", tuple(param for part in parts for param in part.params))


def _json_path(path: TagPath) -> str:
    """Return the SQL/JSON path of all values that a tag path leads to: it is made of nothing but numbers."""
    return "$" + "".join(f'."{step.tag:08X}"[{"*" if step.item is None else step.item}]' for step in path.steps)


def _exists(condition: Condition, column: str) -> Sql:
    if len(condition.path.steps) == 1 and condition.path.steps[0].item is None:
        return Sql(f"({column} ? %s)", (f"{condition.path.steps[0].tag:08X}",))
    return _path_exists(column, _json_path(condition.path))


def _path_exists(column: str, json_path: str) -> Sql:
    # Not the @? operator: a GIN index would be walked from end to end for it.
    return Sql(f"jsonb_path_exists({column}, %s::jsonpath)", (json_path,))


def _not_exists(condition: Condition, column: str) -> Sql:
    exists = _exists(condition, column)
    return Sql(f"(NOT {exists.text})", exists.params)


def _empty(condition: Condition, column: str) -> Sql:
    return _equal_to(condition.path, column, [""])


def _not_empty(condition: Condition, column: str) -> Sql:
    return _path_exists(column, f'{_json_path(condition.path)} ? (@.type() != "string" || @ != "")')


def _any_text(path: TagPath, column: str, test: Sql) -> Sql:
    """Return the expression that is true if a value's text ``v.t`` passes a test."""
    # No text of the query is in here: the column is checked, and the rest are constants of this module.
    values = f"SELECT j #>> '{{}}' AS t FROM jsonb_path_query({column}, %s::jsonpath) AS q(j)"  # noqa: S608
    strings = f'{_json_path(path)} ? (@.type() == "string")'
    return Sql(f"EXISTS (SELECT FROM ({values}) AS v WHERE {test.text})", (strings, *test.params))


def _equal_to(path: TagPath, column: str, texts: list[str]) -> Sql:
    """Return the expression that is true if a value equals one of some folded texts."""
    if len(texts) > _MOST_ALTERNATIVES:
        return _any_text(path, column, Sql("v.t = ANY (%s::text[])", (texts,)))
    if any(step.item is not None for step in path.steps):
        return _joined([_any_text(path, column, Sql("v.t = %s::text", (text,))) for text in texts], " OR ")
    return _joined([Sql(f"({column} @> %s::jsonb)", (_containing(path, text),)) for text in texts], " OR ")


def _containing(path: TagPath, text: str) -> str:
    """Return the least document in which the path leads to the text."""
    document: object = text
    for step in reversed(path.steps):
        document = {f"{step.tag:08X}": [document]}
    return json.dumps(document)


def _like(pattern: TextPattern) -> str:
    """Return the LIKE pattern of a text pattern, every character but ``*`` being literal."""
    return "%".join(piece.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") for piece in pattern.folded())


def text_test(condition: Condition, text: str = "v.t") -> Sql:
    """Return the SQL expression that is true of a value's folded text that meets a condition.

    Parameters
    ----------
    condition
        With an operator that compares: ``StrEquals``, ``NbLess``, ``DateOn`` and the like.
    text
        SQL of the text; it stands in the expression once or several times.

    Returns
    -------
    Sql
        Null or false where the text is null.

    Raises
    ------
    KeyError
        The operator compares nothing.
    """
    return _TEXT_TESTS[condition.operator](condition, text)


def _text_in_test(condition: Condition, text: str) -> Sql:
    literal, wild = _listed(condition)
    parts = []
    if literal:
        parts.append(
            Sql(f"({text} = %s::text)", (literal[0],))
            if len(literal) == 1
            else Sql(f"({text} = ANY (%s::text[]))", (literal,))
        )
    if wild:
        parts.append(Sql(f"({text} LIKE ANY (%s::text[]))", (wild,)))
    return _joined(parts, " OR ")


def _listed(condition: Condition) -> tuple[list[str], list[str]]:
    """Return the literal texts and the LIKE patterns of a condition."""
    patterns = [value for value in condition.values if isinstance(value, TextPattern)]
    literal = list(dict.fromkeys(pattern.folded()[0] for pattern in patterns if pattern.is_literal))
    return literal, list(dict.fromkeys(_like(pattern) for pattern in patterns if not pattern.is_literal))


def _text_not_equals_test(condition: Condition, text: str) -> Sql:
    pattern = condition.values[0]
    assert isinstance(pattern, TextPattern)  # Condition has checked it
    if pattern.is_literal:
        return Sql(f"({text} <> %s::text)", pattern.folded())
    return Sql(f"({text} NOT LIKE %s::text)", (_like(pattern),))


def _number_test(condition: Condition, text: str) -> Sql:
    literal = condition.values[0]
    assert isinstance(literal, Number)  # Condition has checked it
    # CASE, because AND does not keep PostgreSQL from casting first what is no number.
    comparison = f"{text}::numeric {_COMPARISONS[condition.operator]} %s::numeric"
    return Sql(f"(CASE WHEN {text} ~ %s THEN {comparison} ELSE FALSE END)", (_NUMBER_REGEX, literal.text))


def _date_test(condition: Condition, text: str) -> Sql:
    literal = condition.values[0]
    assert isinstance(literal, PartialDate)  # Condition has checked it
    wanted = literal.digits
    digits = f"replace(substring({text} FROM '^[0-9.]+'), '.', '')"
    if condition.operator is Operator.DATE_ON:
        return Sql(f"({text} ~ %s AND starts_with({digits}, %s::text))", (_DATE_REGEX, wanted))
    sign = "<" if condition.operator is Operator.DATE_BEFORE else ">"
    # Both sides as long as the shorter one: see PartialDate.
    comparison = f'left({digits}, {len(wanted)}) {sign} left(%s::text, length({digits})) COLLATE "C"'
    return Sql(f"({text} ~ %s AND {comparison})", (_DATE_REGEX, wanted))


_TEXT_TESTS: dict[Operator, Callable[[Condition, str], Sql]] = {
    Operator.STR_EQUALS: _text_in_test,
    Operator.STR_IN: _text_in_test,
    Operator.STR_NOT_EQUALS: _text_not_equals_test,
    **dict.fromkeys(_COMPARISONS, _number_test),
    Operator.DATE_BEFORE: _date_test,
    Operator.DATE_AFTER: _date_test,
    Operator.DATE_ON: _date_test,
}


def _text_in(condition: Condition, column: str) -> Sql:
    literal, wild = _listed(condition)
    parts = [_equal_to(condition.path, column, literal)] if literal else []
    if wild:
        parts.append(_any_text(condition.path, column, Sql("v.t LIKE ANY (%s::text[])", (wild,))))
    return _joined(parts, " OR ")


def _compared(condition: Condition, column: str) -> Sql:
    return _any_text(condition.path, column, text_test(condition))


_OPERATORS: dict[Operator, Callable[[Condition, str], Sql]] = {
    Operator.EXISTS: _exists,
    Operator.NOT_EXISTS: _not_exists,
    Operator.EMPTY: _empty,
    Operator.NOT_EMPTY: _not_empty,
    Operator.STR_EQUALS: _text_in,
    Operator.STR_IN: _text_in,
    **dict.fromkeys((Operator.STR_NOT_EQUALS, *_COMPARISONS), _compared),
    **dict.fromkeys((Operator.DATE_BEFORE, Operator.DATE_AFTER, Operator.DATE_ON), _compared),
}
