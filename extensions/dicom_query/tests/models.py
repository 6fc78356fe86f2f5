"""Random datasets, as plain Python from which a pydicom dataset is built, and random queries that fit them.

The oracle (see ``oracle.py``) reads the plain Python, so that it shares nothing with the code under test.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st
from pydicom import config
from pydicom.dataset import Dataset

from dicom_query import And, Condition, Node, Not, Number, Operator, Or, PartialDate, TagPath, TagStep, TextPattern
from dicom_query.nodes import Operand

TEXT_TAGS = {0x00080060: "CS", 0x00081030: "LO", 0x00100010: "PN", 0x00091001: "LO", 0x00080008: "CS"}
LONG_TEXT_TAGS = {0x00104000: "LT", 0x0040A160: "UT"}
DATE_TAGS = {0x00080020: "DA", 0x0008002A: "DT"}
NUMBER_TAGS = {
    0x00280010: "US",
    0x00189087: "FD",
    0x00089459: "FL",
    0x00280030: "DS",
    0x00200013: "IS",
    0x00720052: "AT",
}
BINARY_TAGS = {0x7FE00010: "OW", 0x00091002: "OB"}
SEQUENCES = (0x00400275, 0x00082112, 0x00091010)
VRS = {**TEXT_TAGS, **LONG_TEXT_TAGS, **DATE_TAGS, **NUMBER_TAGS, **BINARY_TAGS, **dict.fromkeys(SEQUENCES, "SQ")}
ALL_TAGS = (*VRS, 0x00081010)

WEIRD = st.text(st.sampled_from("aAbB%_*?'\";. ßİſé\u0130\u212a\t\n\x0041()$^[]{}0-\U0001f9e0\ufffd٣"), max_size=5)
NUMBER_TEXTS = st.sampled_from(
    ("1", "-0", "0", "+1", "1.", ".5", "-.5e1", "1e400", "-1e400", "1e-400", "1e1000", " 12 ", "12", "1.0", "10e-1")
) | st.sampled_from(
    (
        "nan",
        "inf",
        "0x10",
        "1_0",
        "--1",
        "1e",
        ".",
        "",
        "1E2",
        "\u0661",
        "1" * 64,
        "1" * 65,
        "1" * 300,
        "." + "0" * 63 + "1",
    )
)
DATE_TEXTS = st.sampled_from(
    ("2024", "202401", "20240131", "2024.01.31", "2023", "20231231", "20240201", "20241301", "20240230", "2024013112")
) | st.sampled_from(
    ("20240131123005.25", "20240131123005.250000", "202401311230+0100", "2024-0500", "99990101", "0001", "garbage", "")
)
WORDS = st.sampled_from(["CT", "ct", "MR", "Chest CT", "100%", "a_b", "axb", "O'Brien", "straße", "STRASSE", "a*b", ""])
TEXTS = st.one_of(WORDS, WEIRD, NUMBER_TEXTS, DATE_TEXTS)
SINGLES = st.sampled_from([1.1, 0.0, -0.0, 1e30, 3.4e38, 1e-45, 100.0, 0.1, -2.5])


@dataclass
class Element:
    """A VR and its values: text, numbers, bytes, or (for SQ) lists of dictionaries by tag."""

    vr: str
    values: list[Any]


Model = dict[int, Element]


def _element(vr: str, children: st.SearchStrategy[Model]) -> st.SearchStrategy[Element]:
    several = {
        "US": st.integers(0, 65535),
        "FD": st.floats() | st.sampled_from([1e300, 12.0, 0.1]),
        "FL": SINGLES,
        "AT": st.sampled_from([0x00080060, 0x7FE00010]),
        "DS": st.sampled_from(["1", "-0", " 12 ", "1.50", "1e400", "2e-3", ""]),
        "IS": st.sampled_from(["1", "-5", " 12", "007", ""]),
        "DA": DATE_TEXTS,
        "DT": DATE_TEXTS,
        "SQ": children,
    }
    if vr in ("OB", "OW"):
        return st.builds(Element, st.just(vr), st.lists(st.binary(min_size=2, max_size=4), max_size=1))
    if vr in ("LT", "UT"):
        return st.builds(Element, st.just(vr), st.lists(TEXTS | st.just("a\\b"), max_size=1))
    return st.builds(Element, st.just(vr), st.lists(several.get(vr, TEXTS), max_size=3))


@st.composite
def models(draw: st.DrawFn, depth: int = 3) -> Model:
    """Return a dataset as plain Python, its sequences nested up to `depth` deep."""
    tags = draw(st.lists(st.sampled_from(sorted(VRS) + [*SEQUENCES] * 2), max_size=8, unique=True))
    children = models(depth=depth - 1) if depth else st.just(dict[int, Element]())
    return {tag: draw(_element(VRS[tag], children)) for tag in tags}


def build(model: Model) -> Dataset:
    """Return the pydicom dataset of a model."""
    with config.disable_value_validation():
        dataset = Dataset()
        for tag, element in model.items():
            values = [build(value) for value in element.values] if element.vr == "SQ" else element.values
            if element.vr in ("OB", "OW", "LT", "UT"):
                dataset.add_new(tag, element.vr, values[0] if values else None)
            elif element.vr == "SQ" or len(values) > 1:
                dataset.add_new(tag, element.vr, values)
            else:
                dataset.add_new(tag, element.vr, values[0] if values else None)
        return dataset


_ITEMS = st.none() | st.none() | st.sampled_from([0, 1, 7])


@st.composite
def paths(draw: st.DrawFn, model: Model) -> TagPath:
    """Return a path that mostly leads to something in the model."""
    steps: list[TagStep] = []
    while True:
        tag = draw(st.sampled_from([*model] or ALL_TAGS) if draw(st.integers(0, 9)) else st.sampled_from(ALL_TAGS))
        steps.append(TagStep(tag, draw(_ITEMS)))
        element = model.get(tag)
        if element is None or element.vr != "SQ" or not element.values or not draw(st.integers(0, 5)):
            return TagPath(tuple(steps))
        model = draw(st.sampled_from(element.values))


def _text_pattern(text: str, wildcards: bool) -> TextPattern:
    return TextPattern(tuple(text.split("*")) if wildcards else (text,))


PATTERNS = st.builds(_text_pattern, TEXTS | st.sampled_from(["*", "c*", "*t", "*b*", "1*%*", "*\\*"]), st.booleans())


def _is(kind: type, text: str) -> bool:
    try:
        kind(text)
    except ValueError:
        return False
    return True


NUMBERS = NUMBER_TEXTS.filter(lambda text: _is(Number, text)).map(Number) | st.sampled_from(
    [Number("1.1"), Number("100"), Number("-2.5e0"), Number("65535"), Number("1e300"), Number("9" * 64 + "e999")]
)
DATES = st.sampled_from(
    ["2024", "202401", "20240131", "20240101", "2024013112", "20240131123005", "2024013112300525", "0001", "99991231"]
).map(PartialDate)


def located(model: Model, above: tuple[tuple[int, int], ...] = ()) -> list[tuple[tuple[tuple[int, int], ...], str]]:
    """Return each value in a model, and its place: (tag, item) from the top level downwards; items have no text."""
    found: list[tuple[tuple[tuple[int, int], ...], str]] = []
    for tag, element in model.items():
        for index, value in enumerate(element.values):
            place = (*above, (tag, index))
            found.append((place, "" if isinstance(value, dict) else str(value)))
            found.extend(located(value, place) if isinstance(value, dict) else [])
    return found


@st.composite
def conditions(draw: st.DrawFn, model: Model) -> Condition:
    """Return a condition whose path and values mostly occur in the model."""
    operator = draw(st.sampled_from(list(Operator)))
    operand = operator.operand
    kind = {Operand.NUMBER: Number, Operand.DATE: PartialDate}.get(operand, str)
    there = [(place, text) for place, text in located(model) if _is(kind, text.strip())]
    path, text = draw(paths(model)), ""
    if there and draw(st.integers(0, 3)):
        place, text = draw(st.sampled_from(there))
        path = TagPath(tuple(TagStep(tag, draw(st.sampled_from([None, None, item]))) for tag, item in place))
    if operand is Operand.NOTHING:
        return Condition(path, operator)
    if operand in (Operand.TEXT, Operand.TEXTS):
        own = st.sampled_from(
            [TextPattern((text,)), TextPattern((text[:1], text[2:])), TextPattern(("", text[1:], ""))]
        )
        size = draw(st.sampled_from([1, 2, 40])) if operand is Operand.TEXTS else 1
        return Condition(path, operator, tuple(draw(own | PATTERNS) for _ in range(size)))
    pool = NUMBERS if operand is Operand.NUMBER else DATES
    if not text:
        return Condition(path, operator, (draw(pool),))
    own_value = (
        kind(text.strip())
        if operand is Operand.NUMBER
        else PartialDate(text.strip()[: draw(st.sampled_from([4, 6, 8, 20]))])
    )
    return Condition(path, operator, (draw(st.just(own_value) | pool),))


def queries(model: Model) -> st.SearchStrategy[Node]:
    """Return queries that are about a model."""
    return st.recursive(
        conditions(model),
        lambda nodes: st.one_of(
            st.lists(nodes, min_size=2, max_size=4).map(lambda children: And(tuple(children))),
            st.lists(nodes, min_size=2, max_size=4).map(lambda children: Or(tuple(children))),
            nodes.map(Not),
        ),
        max_leaves=6,
    )
