"""What a query should answer, written as plainly as possible and sharing no code with the package but its tree."""

from __future__ import annotations

import re
import struct
from fractions import Fraction
from typing import Any

from dicom_query import And, Condition, Node, Not, Operator, Or
from extensions.dicom_query.tests.models import Element, Model

BYTES = object()


def answer(node: Node, model: Model) -> bool:
    """Return the answer of a query about a model."""
    if isinstance(node, And):
        return all(answer(child, model) for child in node.children)
    if isinstance(node, Or):
        return any(answer(child, model) for child in node.children)
    if isinstance(node, Not):
        return not answer(node.child, model)
    return _condition(node, list(_find(model, list(node.path.steps))))


def _find(model: Model, steps: list[Any]):
    (tag, item), *rest = steps
    if tag not in model:
        return
    values = _values(model[tag])
    for index, value in enumerate(values):
        if item is None or item == index:
            if not rest:
                yield value
            elif isinstance(value, dict):
                yield from _find(value, rest)


def _values(element: Element) -> list[Any]:
    """Return what an element's values are compared by."""
    vr, values = element.vr, element.values
    if not values:
        return [""]
    if vr == "SQ":
        return values
    if vr in ("OB", "OW"):
        return [BYTES]
    if vr == "AT":
        return [f"{value:08x}" for value in values]
    if vr in ("US", "FD"):
        return [repr(value) for value in values]
    if vr == "FL":
        return [_single(value) for value in values]
    texts = [_fold(value) for value in values]
    return [text.rstrip("= ") for text in texts] if vr == "PN" else texts


def _single(value: float) -> str:
    (stored,) = struct.unpack("<f", struct.pack("<f", value))
    candidates = (f"{stored:.{digits}g}" for digits in range(6, 10))
    return next(text for text in candidates if struct.unpack("<f", struct.pack("<f", float(text))) == (stored,))


def _fold(text: str) -> str:
    return text.replace("\0", "").casefold().strip(" ")


def _condition(condition: Condition, values: list[Any]) -> bool:
    operator = condition.operator
    if operator is Operator.EXISTS:
        return bool(values)
    if operator is Operator.NOT_EXISTS:
        return not values
    if operator is Operator.EMPTY:
        return any(isinstance(value, str) and value == "" for value in values)
    if operator is Operator.NOT_EMPTY:
        return any(not isinstance(value, str) or value != "" for value in values)
    texts = [value for value in values if isinstance(value, str)]
    name = operator.value
    wanted = condition.values
    if name.startswith("Str"):
        expressions = [_expression(pattern.pieces) for pattern in wanted]
        alike = [any(expression.fullmatch(text) for expression in expressions) for text in texts]
        return any(not each for each in alike) if operator is Operator.STR_NOT_EQUALS else any(alike)
    if name.startswith("Nb"):
        limit = Fraction(wanted[0].text)
        numbers = [Fraction(text) for text in texts if _is_number(text)]
        return any(_compare(name, number, limit) for number in numbers)
    spans = [_span(text) for text in texts]
    start, end = _span(wanted[0].digits)
    return any(
        {"DateBefore": span[1] < start, "DateAfter": span[0] > end, "DateOn": start <= span[0] and span[1] <= end}[name]
        for span in spans
        if span
    )


def _expression(pieces: tuple[str, ...]) -> re.Pattern[str]:
    folded = [piece.replace("\0", "").casefold() for piece in pieces]
    folded[0] = folded[0].lstrip(" ")
    folded[-1] = folded[-1].rstrip(" ")
    return re.compile(".*".join(map(re.escape, folded)), re.DOTALL)


def _is_number(text: str) -> bool:
    found = re.fullmatch(r"[-+]?(?=[.]?[0-9])([0-9]*)[.]?([0-9]*)(?:e[-+]?([0-9]+))?", text)
    return bool(found) and len(found[1]) <= 64 and len(found[2]) <= 64 and len(found[3] or "") <= 3


def _compare(name: str, number: Fraction, limit: Fraction) -> bool:
    return {
        "NbEquals": number == limit,
        "NbNotEquals": number != limit,
        "NbGreater": number > limit,
        "NbGreaterEquals": number >= limit,
        "NbLess": number < limit,
        "NbLessEquals": number <= limit,
    }[name]


def _span(text: str) -> tuple[str, str] | None:
    """Return the first and last moment of a date, as 20 digits each."""
    text = re.sub(r"^([0-9]{4})[.]([0-9]{2})[.]([0-9]{2})$", r"\1\2\3", text)
    text = re.sub(r"(?<=[0-9])[+-][0-9]{4}$", "", text)
    whole, _, fraction = text.partition(".")
    if "." in text and not (len(whole) == 14 and 1 <= len(fraction) <= 6):
        return None
    digits = whole + fraction
    if not re.fullmatch("[0-9]{4,20}", digits) or (len(whole) < 14 and len(whole) % 2):
        return None
    pairs = [int(whole[start : start + 2]) for start in range(4, min(len(whole), 14), 2)]
    limits = [(1, 12), (1, 31), (0, 23), (0, 59), (0, 60)]
    if any(not low <= pair <= high for pair, (low, high) in zip(pairs, limits, strict=False)):
        return None
    return digits.ljust(20, "0"), digits.ljust(20, "9")
