"""How ``RemoveBurnedInAnnotations`` and its neighbours are read and put together."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest
import yaml

from deid_service.pixels.boxes import Box
from deid_service.rules.pixels import PixelRules, combine
from deid_service.rules.schema import Problems
from deid_service.transforms.remove_burned_in_annotations import Find, RemoveBurnedInAnnotations
from deid_service.transforms.unchecked import Documents


def read(text: str) -> tuple[RemoveBurnedInAnnotations | None, list[str]]:
    problems = Problems()
    rule = RemoveBurnedInAnnotations.read(yaml.compose(text), problems)
    return rule, [str(problem) for problem in problems.found]


def rule(text: str) -> RemoveBurnedInAnnotations:
    found, problems = read(text)
    assert problems == []
    assert found is not None
    return found


def test_manual_boxes_one_or_several() -> None:
    assert rule("{Type: Manual, BoxCoordinates: [[0, 0, 99, 19], [5, 6, 5, 6]]}") == RemoveBurnedInAnnotations(
        Find.MANUAL, (Box(0, 0, 99, 19), Box(5, 6, 5, 6))
    )
    assert rule("{Type: Manual, BoxCoordinates: [1, 2, 3, 4]}").boxes == (Box(1, 2, 3, 4),)


def test_ocr_is_local_and_only_where_suspected_unless_told_otherwise() -> None:
    assert rule("{Type: OCR}") == RemoveBurnedInAnnotations(Find.OCR, (), "local", always=False)
    assert rule("{Type: OCR, Engine: rekognition, OCR: always}") == RemoveBurnedInAnnotations(
        Find.OCR, (), "rekognition", always=True
    )


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{}", 'lacks "Type"'),
        ("[Manual]", "must be a mapping"),
        ("{Type: Manuel}", 'did you mean "Manual"?'),
        ("{Type: Manual}", 'lacks "BoxCoordinates"'),
        ("{Type: Manual, Boxes: [[1, 2, 3, 4]]}", 'did you mean "BoxCoordinates"?'),
        ("{Type: Manual, BoxCoordinates: []}", "is empty"),
        ("{Type: Manual, BoxCoordinates: 5}", "must be a list"),
        ("{Type: Manual, BoxCoordinates: [[1, 2, 3]]}", "a box has 4 numbers, not 3"),
        ("{Type: Manual, BoxCoordinates: [1, 2, 3, 4, 5]}", "a box has 4 numbers, not 5"),
        ("{Type: Manual, BoxCoordinates: [[1, 2, 3, 4], 5]}", "must be a list"),
        ("{Type: Manual, BoxCoordinates: [[1, 2, 3, 4.5]]}", "must be a whole number"),
        ("{Type: Manual, BoxCoordinates: [[1, 2, 3, four]]}", "must be a whole number"),
        ("{Type: Manual, BoxCoordinates: [[-1, 2, 3, 4]]}", "outside of every image"),
        ("{Type: Manual, BoxCoordinates: [[1, 2, 3, 99999999999]]}", "outside of every image"),
        ("{Type: Manual, BoxCoordinates: [[10, 2, 3, 4]]}", "left is greater than right"),
        ("{Type: Manual, BoxCoordinates: [[1, 20, 3, 4]]}", "top is greater than bottom"),
        ("{Type: OCR, BoxCoordinates: [[1, 2, 3, 4]]}", "BoxCoordinates is a key of Type Manual, not of OCR"),
        ("{Type: Catalogue, Engine: local}", "Engine is a key of Type OCR, not of Catalogue"),
        ("{Type: UltrasoundRegions, OCR: always}", "OCR is a key of Type OCR, not of UltrasoundRegions"),
        ("{Type: OCR, Engine: tesseract}", "Engine cannot be 'tesseract'"),
        ("{Type: OCR, OCR: never}", "OCR cannot be 'never'"),
        ("{Type: OCR, Type: Manual}", "given twice"),
    ],
)
def test_every_mistake_is_told(text: str, complaint: str) -> None:
    found, problems = read(text)
    assert found is None
    assert complaint in "\n".join(problems)
    assert problems[0].startswith("line 1, column ")


def test_a_missing_engine_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec

    def find_spec(name: str, package: str | None = None) -> Any:
        return None if name in ("rapidocr", "boto3") else real(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", find_spec)
    assert "pip install rapidocr" in "".join(read("{Type: OCR}")[1])
    assert "pip install boto3" in "".join(read("{Type: OCR, Engine: rekognition}")[1])
    assert read("{Type: Catalogue}")[1] == []


def test_rules_add_up_and_the_later_says_how_text_is_read() -> None:
    rules = [
        rule("{Type: Manual, BoxCoordinates: [0, 0, 9, 9]}"),
        rule("{Type: OCR, OCR: always}"),
        rule("{Type: Manual, BoxCoordinates: [[0, 0, 9, 9], [1, 1, 2, 2]]}"),
        rule("{Type: OCR, Engine: rekognition}"),
    ]
    assert combine(rules, [], [], by_profile=True) == PixelRules(
        boxes=(Box(0, 0, 9, 9), Box(1, 1, 2, 2)), engine="rekognition"
    )


def test_the_profile_speaks_only_where_no_rule_does() -> None:
    assert combine([], [], [], by_profile=True) == PixelRules(catalogue=True, ultrasound=True, engine="local")
    assert combine([], [], [], by_profile=False) == PixelRules()
    assert combine([rule("{Type: Catalogue}")], [], [], by_profile=True) == PixelRules(catalogue=True)


def test_of_what_passes_the_last_that_speaks_decides() -> None:
    rules = combine([], [True, None, False, None], [None, Documents.STRIP, None], by_profile=False)
    assert rules == PixelRules(documents=Documents.STRIP)
    assert combine([], [False, True], [], by_profile=False).unchecked
