"""Lines of graphic annotations that may be handwriting."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from pydicom import Dataset

from deid_service import Refused

GRAPHICS = "Profile: {Name: Basic, Options: [CleanGraphics]}\nScopeToForward: {Labels: ALL}\n"
BASIC = "Profile: {Name: Basic}\nScopeToForward: {Labels: ALL}\n"
UIDS = "RandomizeUID: [{TagPatterns: '*/{UI}'}]"

Lines = list[tuple[str, list[tuple[float, float]]]]

RULER: Lines = [("POLYLINE", [(10, 10), (90, 40)])]
ANGLE: Lines = [("POLYLINE", [(10, 10), (50, 50), (90, 10)])]
CIRCLE: Lines = [("CIRCLE", [(50, 50), (50, 70)])]
OUTLINE: Lines = [
    ("POLYLINE", [(50 + 30 * math.cos(i / 20), 50 + 30 * math.sin(i / 20)) for i in range(120)] + [(80, 50)])
]
SIGNATURE: Lines = [("INTERPOLATED", [(i, 40 + 9 * math.sin(i)) for i in range(60)])]
LETTERS: Lines = [("POLYLINE", [(8 * i, 10), (8 * i, 20 + i % 3)]) for i in range(20)]
DOTS: Lines = [("POINT", [(i % 16, i // 16)]) for i in range(80)]


def annotated(instance: Dataset, lines: Lines, *, compound: bool = False) -> Dataset:
    graphics = []
    for kind, points in lines:
        graphic = Dataset()
        graphic.GraphicAnnotationUnits = "PIXEL"
        graphic.GraphicDimensions = 2
        graphic.NumberOfGraphicPoints = len(points)
        graphic.GraphicData = [number for point in points for number in point]
        if compound:
            graphic.CompoundGraphicType = "MULTILINE"
        else:
            graphic.GraphicType = kind
            graphic.GraphicFilled = "N"
        graphics.append(graphic)
    annotation = Dataset()
    annotation.GraphicLayer = "LAYER1"
    setattr(annotation, "CompoundGraphicSequence" if compound else "GraphicObjectSequence", graphics)
    instance.GraphicAnnotationSequence = [annotation]
    return instance


@pytest.mark.parametrize("lines", [RULER, ANGLE, CIRCLE, OUTLINE, RULER + ANGLE * 5 + CIRCLE * 30])
@pytest.mark.parametrize("rules", [GRAPHICS, UIDS])
def test_measurements_stay(lines: Lines, rules: str, clean: Callable[..., Any], instance: Dataset) -> None:
    annotated(instance, lines)
    result = clean(rules, instance)
    after = result.GraphicAnnotationSequence[0].GraphicObjectSequence
    before = instance.GraphicAnnotationSequence[0].GraphicObjectSequence
    assert [list(one.GraphicData) for one in after] == [pytest.approx(list(one.GraphicData)) for one in before]


@pytest.mark.parametrize("compound", [False, True])
@pytest.mark.parametrize("lines", [SIGNATURE, LETTERS, RULER + SIGNATURE])
@pytest.mark.parametrize("rules", [GRAPHICS, UIDS])
def test_handwriting_is_refused_where_lines_stay(
    lines: Lines, compound: bool, rules: str, clean: Callable[..., Any], instance: Dataset
) -> None:
    annotated(instance, lines, compound=compound)
    with pytest.raises(Refused) as refused:
        clean(rules, instance)
    assert refused.value.reason_code == "burned_in_text_possible"
    assert "handwriting" in refused.value.message


def test_letters_of_dots(clean: Callable[..., Any], instance: Dataset) -> None:
    with pytest.raises(Refused):
        clean(GRAPHICS, annotated(instance, DOTS))
    clean(GRAPHICS, annotated(instance, DOTS[:20]))


@pytest.mark.parametrize("lines", [SIGNATURE, LETTERS, DOTS])
def test_lines_that_do_not_stay_need_no_look(lines: Lines, clean: Callable[..., Any], instance: Dataset) -> None:
    annotated(instance, lines)
    result = clean(BASIC, instance)
    for graphic in result.GraphicAnnotationSequence[0].GraphicObjectSequence:
        assert set(graphic.GraphicData) == {0}
    result = clean(f"{UIDS}\nDeleteTags: [{{TagPatterns: GraphicAnnotationSequence, Action: Remove}}]", instance)
    assert "GraphicAnnotationSequence" not in result
