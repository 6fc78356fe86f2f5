"""The catalogue of devices that write into their images."""

from __future__ import annotations

import importlib.util
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from pydicom.datadict import tag_for_keyword

from deid_service.pixels.boxes import Box
from deid_service.pixels.catalogue import load_catalogue
from deid_service.pixels.header import Header

EPIQ = {
    "Modality": "us",
    "Manufacturer": "philips medical systems",
    "ManufacturerModelName": "epiq 7g",
    "Rows": "768",
    "Columns": "1024",
}


def header(**values: str) -> Header:
    return Header({tag_for_keyword(keyword) or 0: value for keyword, value in values.items()})


def test_the_table_is_whole_and_says_where_it_comes_from() -> None:
    catalogue = load_catalogue()
    text = files("deid_service.pixels").joinpath("data", "catalogue.tsv").read_text("utf-8")
    facts = dict(re.findall(r"^# (\w+) (.*)$", text, re.MULTILINE))
    assert (facts["signatures"], facts["regions"]) == ("240", "266")
    assert len(catalogue.signatures) == int(facts["rows"])
    assert catalogue.digest == facts["sha256"]
    assert re.fullmatch(r"20\d\d-\d\d", catalogue.edition)
    assert "Apache-2.0" in facts["source"]


def test_every_row_has_tests_and_boxes_that_hold_pixels() -> None:
    for signature in load_catalogue().signatures:
        assert signature.tests
        assert all(test.values and all(test.values) and test.sign in "=^~" for test in signature.tests)
        assert all(0 <= box.left <= box.right and 0 <= box.top <= box.bottom for box in signature.boxes)


def test_what_fits_adds_up() -> None:
    found = load_catalogue().find(header(**EPIQ))
    assert {box for signature in found for box in signature.boxes} == {Box(0, 0, 1023, 23), Box(0, 0, 1023, 48)}


@pytest.mark.parametrize(
    "change", [{"Rows": "767"}, {"Columns": "1025"}, {"ManufacturerModelName": "other"}, {"Modality": "ct"}]
)
def test_every_test_counts(change: dict[str, str]) -> None:
    assert Box(0, 0, 1023, 23) not in {
        box for found in load_catalogue().find(header(**EPIQ | change)) for box in found.boxes
    }


def test_an_overlay_is_no_reason_to_black_out_an_image() -> None:
    assert 0x60000022 not in {test.tag for signature in load_catalogue().signatures for test in signature.tests}


@pytest.fixture(scope="module")
def tool() -> Any:
    path = Path(__file__).parents[2] / "tools" / "build_pixel_catalogue.py"
    spec = importlib.util.spec_from_file_location("build_pixel_catalogue", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("formula", "rows"),
    [
        ('Modality.equals("US")', ["Modality=us"]),
        (
            'Modality.equals("US") * ([0008,1090].containsIgnoreCase("A B") +[0008,1090].containsIgnoreCase("C"))',
            ["ManufacturerModelName~a b|c & Modality=us"],
        ),
        (
            '((Rows.equals("1") * Columns.equals("2")) + (Rows.equals("3") * Columns.equals("4")))',
            ["Columns=2 & Rows=1", "Columns=4 & Rows=3"],
        ),
        (
            '(Manufacturer.startsWith("G") + SoftwareVersion.equals("X")) * Rows.containsIgnoreCase("9")',
            ["Manufacturer^g & Rows=9", "Rows=9 & SoftwareVersions=x"],
        ),
    ],
)
def test_the_tool_writes_formulas_as_rows(tool: Any, formula: str, rows: list[str]) -> None:
    entry = {"condition": formula, "regions_xywh": [[1, 2, 3, 4]], "source": "somebody"}
    assert tool.rows_of([entry]) == [[row, "1,2,3,5", "somebody"] for row in rows]


def test_the_table_is_what_the_tool_makes_of_the_facts(tool: Any, shared_data: Path, tmp_path: Path) -> None:
    tool.main(shared_data / "pixel_rules", tmp_path)
    shipped = files("deid_service.pixels").joinpath("data", "catalogue.tsv").read_text("utf-8")
    assert (tmp_path / "catalogue.tsv").read_text("utf-8") == shipped
