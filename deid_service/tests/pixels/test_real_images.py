"""Real images, with the built-in rules: known text goes, and what holds none keeps its pixels."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from deid_service import Cleaned, Deidentifier, PseudonymKey, Refused, default_rules_path, load_rules
from deid_service.pixels.frames import open_frames
from deid_service.wire import Source, read

DEIDENTIFIER = Deidentifier(load_rules(default_rules_path()), PseudonymKey(bytes(range(32))))
# Name, rows and columns of known text (MANIFEST.tsv), and what share of the image may be black at most.
WITH_TEXT = [
    ("us/philips_epiq_burnedin/GREYSCALE_IMAGE.dcm", (slice(0, 38), slice(0, 1024)), 0.3),
    ("us/ge_lymphnode_burnedin/US1_J2KR.dcm", (slice(0, 41), slice(0, 640)), 0.3),
    ("us/misc/gdcm-US-ALOKA-16.dcm", (slice(0, 24), slice(0, 640)), 0.35),
]
WITHOUT_TEXT = [
    "charset/chrGerm.dcm",
    "dicomdir/dicomdirtests/98892003/MR700/4467",
    "transfer-syntax/pydicom_small/MR_small.dcm",
    "transfer-syntax/pydicom_small/SC_rgb_rle.dcm",
    "nm/JPEG-LL.dcm",
]


def cleaned(path: Path) -> tuple[Source, Cleaned, Source]:
    data = path.read_bytes()
    outcome = DEIDENTIFIER.clean(data)
    assert isinstance(outcome, Cleaned)
    assert outcome.pixels is not None
    assert outcome.pixels.suspected
    return read(data), outcome, read(outcome.data)


@pytest.mark.filterwarnings("ignore")  # pydicom warns of the values in real files
@pytest.mark.parametrize(("name", "banner", "most"), WITH_TEXT)
def test_known_text_is_black_and_little_else(
    shared_data: Path, name: str, banner: tuple[slice, slice], most: float
) -> None:
    source, outcome, copy = cleaned(shared_data / "dicom" / name)
    assert outcome.pixels is not None
    assert outcome.pixels.second_look == "nothing left"
    before, after = open_frames(source).decode(0), open_frames(copy).decode(0)
    assert len(np.unique(after[banner].reshape(-1, *after.shape[2:]), axis=0)) == 1
    changed = before != after
    assert (changed.any(axis=2) if changed.ndim == 3 else changed).mean() < most


def test_large_words_in_colour_are_black(shared_data: Path) -> None:
    _, outcome, copy = cleaned(shared_data / "dicom" / "malformed" / "pydicom" / "GDCMJ2K_TextGBR.dcm")
    assert outcome.pixels is not None
    assert outcome.pixels.second_look == "nothing left"
    after = open_frames(copy).decode(0).astype(int)
    assert (after.max(axis=2) - after.min(axis=2)).max() < 60  # grey and black: red, green and blue are gone


@pytest.mark.filterwarnings("ignore")  # pydicom warns of the values in real files
@pytest.mark.parametrize("name", WITHOUT_TEXT)
def test_what_holds_no_text_keeps_its_pixel_bytes(shared_data: Path, name: str) -> None:
    source, outcome, copy = cleaned(shared_data / "dicom" / name)
    assert outcome.pixels is not None
    assert outcome.pixels.second_look == "nothing found"
    before, after = (
        next(one.value(element) for element in one.elements if element.tag == 0x7FE00010) for one in (source, copy)
    )
    assert before == after


@pytest.mark.filterwarnings("ignore")  # pydicom warns of the values in real files
def test_boxes_are_blacked_out_in_every_form_of_pixels_that_occurs(shared_data: Path) -> None:
    rules = (
        "ScopeToForward: {Labels: ALL}\nProfile: {Name: Basic}\nTransformations:\n  - Scope: {Labels: ALL}\n"
        "    RemoveBurnedInAnnotations: {Type: Manual, BoxCoordinates: [[1, 1, 5, 3], [4, 2, 9, 9]]}\n"
        "    SuspectedPixels: PassUnchecked\n"
    )
    deidentifier = Deidentifier(load_rules(rules), PseudonymKey(bytes(range(32))))
    counts: Counter[str] = Counter()
    for path in sorted((shared_data / "dicom").rglob("*")):
        if not path.is_file():
            continue
        data = path.read_bytes()
        try:
            outcome = deidentifier.clean(data)
        except Refused as refusal:
            counts[refusal.reason_code] += 1
            continue
        assert isinstance(outcome, Cleaned)
        assert outcome.pixels is not None
        if outcome.pixels.found:
            counts["masked"] += 1
            counts["same syntax"] += read(data).transfer_syntax == read(outcome.data).transfer_syntax
    assert counts["masked"] >= 268
    assert counts["same syntax"] >= 245
    assert counts["pixels_not_decodable"] <= 3
    known = {"not_dicom", "dicomdir", "missing_uid", "malformed", "pixels_not_decodable", "masked", "same syntax"}
    assert counts.keys() <= known
