"""Before and after, side by side."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom import Dataset

from deid_service import Cleaned, Deidentifier, PseudonymKey, Refused, compare, default_rules_path, load_rules


@pytest.fixture
def pair(instance: Dataset, written: Callable[..., bytes], key: PseudonymKey) -> tuple[bytes, bytes]:
    item = Dataset()
    item.ReferencedSOPInstanceUID = "1.2.3.4"
    instance.ReferencedImageSequence = [item]
    instance.PatientComments = "<b>Mustermann</b>"
    instance.RescaleSlope = "1.5"
    instance.RecommendedDisplayFrameRateInFloat = 12.5
    before = written(instance)
    outcome = Deidentifier(load_rules(default_rules_path()), key).clean(before)
    assert isinstance(outcome, Cleaned)
    return before, outcome.data


def test_every_element_of_either_is_there_with_what_happened(pair: tuple[bytes, bytes]) -> None:
    rows = {row.path: row for row in compare(*pair).rows}
    assert (rows["PatientID"].before, rows["PatientID"].change) == ("PID-4711", "changed")
    assert (rows["PatientComments"].after, rows["PatientComments"].change) == (None, "removed")
    assert (rows["ReferringPhysicianName"].after, rows["ReferringPhysicianName"].change) == ("", "emptied")
    assert (rows["PatientIdentityRemoved"].before, rows["PatientIdentityRemoved"].change) == (None, "added")
    assert (rows["Rows"].before, rows["Rows"].after, rows["Rows"].change) == ("2", "2", "same")
    assert rows["RecommendedDisplayFrameRateInFloat"].before == "12.5"
    assert rows["PixelData"].before == "8 bytes"
    assert rows["ReferencedImageSequence"].before == "1 item"
    assert rows["ReferencedImageSequence[0].ReferencedSOPInstanceUID"].change == "changed"
    paths = list(rows)
    assert paths.index("StudyDate") < paths.index("PatientName") < paths.index("PixelData")


def test_a_notebook_shows_what_changed_escaped_and_says_where_it_may_be_shown(pair: tuple[bytes, bytes]) -> None:
    comparison = compare(*pair)
    page = comparison._repr_html_()
    assert "keep this page on the clinical side" in page
    assert "&lt;b&gt;Mustermann&lt;/b&gt;" in page
    assert "<b>Mustermann" not in page
    assert "<td>Rows</td>" not in page
    assert "PID-4711" not in repr(comparison)
    frame = comparison.to_frame()
    assert list(frame.columns) == ["path", "vr", "before", "after", "change"]
    assert frame.set_index("path").loc["PatientID", "before"] == "PID-4711"
    assert len(comparison.to_frame(everything=True)) == len(comparison.rows) > len(frame) == len(comparison.changed)


def test_files_and_what_is_no_dicom(pair: tuple[bytes, bytes], tmp_path: Path) -> None:
    for name, data in zip(("before", "after"), pair, strict=True):
        (tmp_path / name).write_bytes(data)
    assert compare(tmp_path / "before", str(tmp_path / "after")).changed == compare(*pair).changed
    assert compare(pair[0], pair[0]).changed == []
    with pytest.raises(Refused):
        compare(pair[0], b"no DICOM")
