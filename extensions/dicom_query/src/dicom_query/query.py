"""The query language: text -> tree, and tree -> canonical text.

The parser keeps its own stack, so that no text can exhaust the interpreter's. The language is described for its users
in the README of this package.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from .errors import QueryError, QueryTooLargeError, TagPathError
from .literals import Number, PartialDate, TextPattern, Value
from .nodes import (
    EVERYTHING,
    MAX_CONDITIONS,
    MAX_DEPTH,
    And,
    Condition,
    Node,
    Not,
    Operand,
    Operator,
    Or,
    fold_tree,
)
from .tags import A_TAG, TagPath, nearest, shorten

MAX_TEXT_BYTES = 100_000
"""Longest query, in bytes of UTF-8."""
MAX_LISTED_VALUES = 10_000
"""Most values in all the lists of one query."""

A_CONDITION = f"a condition, which begins with {A_TAG}"
AN_OPERATOR = "an operator"
A_CONNECTIVE = "AND"
THE_END = "the end of the query"
AN_OPENING = "("
A_CLOSING = ")"
A_VALUE = "a value"
A_NUMBER = "a number, as -1.5 or 2e3"
A_DATE = "a date, as 2024, 2024-01, 2024-01-31, 20240131 or 2024-01-31T12:30"

OPERATORS = {operator.value.casefold(): operator for operator in Operator}
CONNECTIVES = ("AND", "OR", "NOT")

_SPACE = re.compile(r"\s*")
_WORD = re.compile(r"""[^\s()"',]+""")
_BARE = re.compile(r"[^\s()]+")
_LISTED = re.compile(r"[^\s(),]+")
_PLAIN_WORD = re.compile(r"[A-Za-z0-9_.:+-]+")
_TAKES = {
    Operand.TEXT: A_VALUE,
    Operand.TEXTS: AN_OPENING,
    Operand.NUMBER: A_NUMBER,
    Operand.DATE: A_DATE,
}


def parse(text: str) -> Node:
    """Read a query.

    Parameters
    ----------
    text
        The query, at most 100,000 bytes. Empty, or only spaces, means the query that is true of everything.

    Returns
    -------
    Node
        The tree. Parentheses that change nothing leave no trace in it.

    Raises
    ------
    QueryError
        It cannot be read: the error has the position, what was expected and often a hint.
    QueryTooLargeError
        More than 1,000 conditions, 100 levels of parentheses and NOT, 10,000 listed values, 100 wildcards in a value,
        or longer than 100,000 bytes.
    """
    if len(text.encode("utf-8", "surrogatepass")) > MAX_TEXT_BYTES:
        # The text itself would make the message as long as the query.
        raise QueryTooLargeError(f"the query is longer than {MAX_TEXT_BYTES:,} bytes", hint="use StrIn for long lists")
    return _Parser(text).query()


def value_expected(text: str) -> tuple[TagPath, int] | None:
    """Return which element a text value would be compared with if one followed, and where that condition begins.

    Parameters
    ----------
    text
        The beginning of a query.

    Returns
    -------
    tuple or None
        None where no text value can follow.
    """
    parser = _Parser(text)
    try:
        parser.query()
    except QueryError as error:
        if error.expected == (A_VALUE,) and error.position == len(text) and parser.path is not None:
            return parser.path, parser.condition_start
    return None


@dataclass(slots=True)
class _Group:
    """What has been read since an opening parenthesis, or since the start."""

    opened_at: int
    negations_before: int = 0
    levels: int = 0
    alternatives: list[list[Node]] = field(default_factory=lambda: [[]])

    def node(self) -> Node:
        parts = [terms[0] if len(terms) == 1 else And(tuple(terms)) for terms in self.alternatives]
        return parts[0] if len(parts) == 1 else Or(tuple(parts))


class _Parser:
    """One pass over one text; `path` and `condition_start` tell of the condition that was read last."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.position = 0
        self.conditions = 0
        self.listed = 0
        self.path: TagPath | None = None
        self.condition_start = 0

    def query(self) -> Node:
        self.skip_space()
        if self.at_end():
            return EVERYTHING
        groups = [_Group(0)]
        nesting = 0
        while True:
            negations, opened = self.before_condition(nesting)
            if opened is not None:
                levels = max(1, negations)  # NOT (...) is one level
                groups.append(_Group(opened, negations, levels))
                nesting += levels
                continue
            node = self.negated(self.condition(), negations)
            while True:
                groups[-1].alternatives[-1].append(node)
                if not self.closes(groups):
                    break
                group = groups.pop()
                node = self.negated(group.node(), group.negations_before)
                nesting -= group.levels
            if self.at_end():
                return groups[0].node()
            self.connective(groups)

    # What stands between conditions

    def before_condition(self, nesting: int) -> tuple[int, int | None]:
        """Read NOTs and at most one opening parenthesis; return how many NOTs, and where the parenthesis stands."""
        negations = 0
        while True:
            self.skip_space()
            start = self.position
            opening = self.text.startswith("(", start)
            word = self.peek_word()
            if not opening and word.upper() != "NOT":
                return negations, None
            if nesting + max(1, negations + (not opening)) > MAX_DEPTH:
                raise self.too_large(f"parentheses and NOT are nested more than {MAX_DEPTH} deep", start)
            if opening:
                self.position += 1
                return negations, start
            self.position += len(word)
            negations += 1

    def closes(self, groups: list[_Group]) -> bool:
        """Consume a closing parenthesis if there is one."""
        self.skip_space()
        if self.at_end() and len(groups) > 1:
            raise self.error(
                "a parenthesis is not closed", (A_CLOSING, "AND", "OR"), hint=f"it opens at {groups[-1].opened_at + 1}"
            )
        if not self.text.startswith(")", self.position):
            return False
        if len(groups) == 1:
            raise self.error("this parenthesis was never opened", ("AND", "OR", THE_END))
        self.position += 1
        return True

    def connective(self, groups: list[_Group]) -> None:
        word = self.peek_word()
        if word.upper() == "OR":
            groups[-1].alternatives.append([])
        elif word.upper() != "AND":
            expected = ("AND", "OR", A_CLOSING if len(groups) > 1 else THE_END)
            raise self.error(f"{self.seen()} cannot stand here", expected, hint=self.connective_hint(word))
        self.position += len(word)

    def connective_hint(self, word: str) -> str | None:
        if word in ("&&", "&"):
            return "write AND"
        if word in ("||", "|"):
            return "write OR"
        return "a value with spaces needs quotes around all of it" if word else None

    def negated(self, node: Node, times: int) -> Node:
        for _ in range(times):
            node = Not(node)
        return node

    # A condition

    def condition(self) -> Condition:
        self.skip_space()
        start = self.condition_start = self.position
        self.path = None
        path = self.path = self.tag_path()
        self.conditions += 1
        if self.conditions > MAX_CONDITIONS:
            raise self.too_large(f"the query has more than {MAX_CONDITIONS} conditions", start)
        operator = self.operator()
        operand = operator.operand
        if operand is Operand.NOTHING:
            return Condition(path, operator)
        if operand is Operand.TEXTS:
            return Condition(path, operator, self.text_list(operator))
        self.skip_space()
        start = self.position
        if self.at_end() or self.text[start] in "()":
            raise self.error(f"{operator.value} needs a value", (_TAKES[operand],))
        raw, pieces = self.value_token(_BARE)
        return Condition(path, operator, (self.value(operator, raw, pieces, start),))

    def tag_path(self) -> TagPath:
        start = self.position
        word = self.peek_word()
        if not word:
            found = "the query ends too early" if self.at_end() else f"{self.seen()} cannot stand here"
            raise self.error(found, (A_CONDITION, "NOT", AN_OPENING))
        if word.upper() in CONNECTIVES:
            raise self.error(f"a condition is missing before {word.upper()}", (A_CONDITION, "NOT", AN_OPENING))
        self.position += len(word)
        try:
            return TagPath.parse(word)
        except TagPathError as error:
            raise self.error(error.message, error.expected, at=start + error.position, hint=error.hint) from None

    def operator(self) -> Operator:
        self.skip_space()
        word = self.peek_word()
        operator = OPERATORS.get(word.casefold())
        if operator is not None:
            self.position += len(word)
            return operator
        message = "an operator is missing" if self.at_end() else f"{self.seen()} is not an operator"
        names = [known.value for known in Operator]
        close = nearest(word, names)
        hint = f"did you mean {close}?" if close else None
        if word.casefold() == "equals":
            hint = "did you mean StrEquals, or NbEquals for numbers?"
        if word in ("=", "==", "!=", "<", ">", "<=", ">=", "<>"):
            hint = "operators are words: StrEquals, NbEquals, NbGreater, DateAfter ..."
        raise self.error(message, tuple(names), hint=hint)

    # Values

    def value_token(self, bare: re.Pattern[str]) -> tuple[str, tuple[str, ...]]:
        """Read one value; return its text without quotes, and its pieces between wildcards."""
        quote = self.text[self.position]
        if quote in "\"'":
            return self.quoted(quote)
        word = bare.match(self.text, self.position)
        if word is None:
            raise self.error(f"{self.seen()} cannot stand here", (A_VALUE,))
        if word[0].upper() in CONNECTIVES:
            raise self.error(
                f"a value is missing before {word[0].upper()}", (A_VALUE,), hint=f'as a value, quote it: "{word[0]}"'
            )
        inner = word[0].find('"')
        if inner >= 0:
            raise self.error(
                "a quote in the middle of a word", (A_VALUE,), at=self.position + inner, hint="quote all of the value"
            )
        self.position = word.end()
        return word[0], tuple(word[0].split("*"))

    def quoted(self, quote: str) -> tuple[str, tuple[str, ...]]:
        start = self.position
        pieces: list[str] = []
        current: list[str] = []
        position = start + 1
        while position < len(self.text):
            character = self.text[position]
            following = self.text[position + 1 : position + 2]
            if character == quote:
                self.position = position + 1
                pieces.append("".join(current))
                return "*".join(pieces), tuple(pieces)
            if character == "\\" and following and following in "\\\"'*":
                current.append(following)
                position += 2
                continue
            if character == "*":
                pieces.append("".join(current))
                current = []
            else:
                current.append(character)
            position += 1
        raise self.error("a quote is not closed", (f"a closing {quote}",), at=start)

    def value(self, operator: Operator, raw: str, pieces: tuple[str, ...], start: int) -> Value:
        operand = operator.operand
        try:
            if operand is Operand.NUMBER:
                return Number(raw)
            if operand is Operand.DATE:
                return PartialDate.parse(raw)
        except ValueError as error:
            kind = "number" if operand is Operand.NUMBER else "date"
            reason = "" if str(error) == f"not a {kind}" else f" ({error})"
            message = f"{shorten(raw)} is not a {kind}{reason}"
            raise self.error(message, (_TAKES[operand],), at=start, hint=self.number_hint(raw)) from None
        try:
            return TextPattern(pieces)
        except ValueError as error:
            raise self.too_large(str(error), start) from None

    def number_hint(self, raw: str) -> str | None:
        if re.fullmatch(r"[+-]?[0-9.,]+", raw) and "," in raw:
            return "write the decimals after a point"
        if re.fullmatch(r"[+-]?[0-9.]+[eE]?[+-]?[0-9]*", raw) and len(raw) > 3:
            return "at most 64 digits before and after the point and 3 in the exponent"
        return None

    def text_list(self, operator: Operator) -> tuple[Value, ...]:
        self.skip_space()
        if not self.text.startswith("(", self.position):
            raise self.error(f"{operator.value} needs a list in parentheses", (AN_OPENING,), hint='as StrIn (a, "b c")')
        opened_at = self.position
        self.position += 1
        values: list[Value] = []
        while True:
            self.skip_space()
            start = self.position
            if self.at_end() or self.text[start] in "(),":
                raise self.error("a value is missing in the list", (A_VALUE,))
            raw, pieces = self.value_token(_LISTED)
            values.append(self.value(operator, raw, pieces, start))
            self.listed += 1
            if self.listed > MAX_LISTED_VALUES:
                raise self.too_large(f"the query lists more than {MAX_LISTED_VALUES:,} values", start)
            self.skip_space()
            if self.at_end():
                raise self.error("a list is not closed", (A_CLOSING, ","), hint=f"it opens at {opened_at + 1}")
            self.position += 1
            separator = self.text[self.position - 1]
            if separator == ")":
                return tuple(values)
            if separator != ",":
                self.position -= 1
                raise self.error(f"{self.seen()} cannot stand here", (",", A_CLOSING), hint=self.connective_hint("x"))

    # The text

    def skip_space(self) -> None:
        space = _SPACE.match(self.text, self.position)
        self.position = space.end() if space else self.position

    def at_end(self) -> bool:
        return self.position == len(self.text)

    def peek_word(self) -> str:
        word = _WORD.match(self.text, self.position)
        return word[0] if word else ""

    def seen(self) -> str:
        return shorten(self.peek_word()) or repr(self.text[self.position])

    def error(
        self, message: str, expected: tuple[str, ...], *, at: int | None = None, hint: str | None = None
    ) -> QueryError:
        position = self.position if at is None else at
        return QueryError(message, text=self.text, position=position, expected=expected, hint=hint)

    def too_large(self, message: str, position: int) -> QueryTooLargeError:
        return QueryTooLargeError(message, text=self.text, position=position)


def to_text(node: Node) -> str:
    """Return the canonical text of a query.

    Parameters
    ----------
    node
        The query.

    Returns
    -------
    str
        A text with ``parse(to_text(node)) == node`` (if it is within the limits on the text of a query).
    """
    return fold_tree(node, condition_text, _branch_text)[0]


def condition_text(condition: Condition) -> tuple[str, int]:
    """Return the canonical text of a condition, and how tightly it holds together."""
    words = [str(condition.path), condition.operator.value]
    values = ", ".join(value_text(value) for value in condition.values)
    if condition.operator.operand is Operand.TEXTS:
        words.append(f"({values})")
    elif values:
        words.append(values)
    return " ".join(words), 3


def _branch_text(node: And | Or | Not, children: list[tuple[str, int]]) -> tuple[str, int]:
    # Binding: 3 a condition or NOT (...), 2 AND, 1 OR. An AND inside an AND keeps its parentheses: it is another tree.
    if isinstance(node, Not):
        return f"NOT ({children[0][0]})", 3
    binding, word = (2, " AND ") if isinstance(node, And) else (1, " OR ")
    return word.join(text if inner > binding else f"({text})" for text, inner in children), binding


def value_text(value: Value) -> str:
    """Return the text of one value, quoted where it has to be."""
    if isinstance(value, Number):
        return value.text
    if isinstance(value, PartialDate):
        return str(value)
    bare = "*".join(value.pieces)
    plain = all(not piece or _PLAIN_WORD.fullmatch(piece) for piece in value.pieces)
    if bare and plain and bare.upper() not in CONNECTIVES:
        return bare
    return '"' + "*".join(_escape(piece) for piece in value.pieces) + '"'


def _escape(piece: str) -> str:
    return piece.replace("\\", "\\\\").replace('"', '\\"').replace("*", "\\*")
