"""From the rules to the clean copy: what is found is black, nothing else changes, and what is left holds it back."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.sequence import Sequence

from deid_service import Cleaned, Deidentifier, PseudonymKey, Refused, load_rules
from deid_service.cli import main
from deid_service.errors import CleaningStoppedError
from deid_service.pixels.boxes import Box
from deid_service.pixels.ocr import engine
from deid_service.wire import read

Picture = Callable[..., bytes]
KEY = PseudonymKey(bytes(range(32)))
CT = "1.2.840.10008.5.1.4.1.1.2"
SLICE = {"SOPClassUID": CT, "Modality": "CT", "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"]}


def cleaned(rules: str, data: bytes, *, profile: str = "") -> Cleaned:
    head = f"Profile: {{Name: Basic, Options: [{profile}]}}\n" if profile else ""
    entry = f"Transformations:\n  - Scope: {{Labels: ALL}}\n{_indented(rules)}" if rules else ""
    outcome = Deidentifier(load_rules(f"ScopeToForward: {{Labels: ALL}}\n{head}{entry}"), KEY).clean(data)
    assert isinstance(outcome, Cleaned)
    return outcome


def _indented(rules: str) -> str:
    return "".join(f"    {line}\n" for line in rules.splitlines())


def frames(data: bytes) -> np.ndarray:
    dataset = dcmread(BytesIO(data))
    array = np.asarray(dataset.pixel_array)
    return array if int(dataset.NumberOfFrames) > 1 else array[np.newaxis]


def noise(number: int = 1, rows: int = 80, columns: int = 240) -> np.ndarray:
    """Grey frames, each a little different, too even for anybody to read anything."""
    rng = np.random.default_rng(4)
    return np.repeat(rng.integers(46, 54, (number, rows // 8, columns // 8), np.uint8), 8, 1).repeat(8, 2)


def written_on(frame: np.ndarray, text: str, place: tuple[int, int] = (16, 48)) -> np.ndarray:
    return np.asarray(cv2.putText(frame.copy(), text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.9, 250, 2))


@pytest.mark.parametrize("box", ["[10, 5, 29, 24]", "[[10, 5, 29, 24]]", "[[10, 5, 20, 24], [18, 5, 29, 24]]"])
def test_a_manual_box_is_black_to_its_last_row_and_column_in_every_frame(picture: Picture, box: str) -> None:
    before = noise(3)
    outcome = cleaned(f"RemoveBurnedInAnnotations: {{Type: Manual, BoxCoordinates: {box}}}", picture(before))
    expected = before.copy()
    expected[:, 5:25, 10:30] = 0
    assert np.array_equal(frames(outcome.data), expected)
    assert outcome.pixels is not None
    assert outcome.pixels.frames_masked == 3
    assert outcome.pixels.second_look == "nothing left"
    assert ("PixelData", "masked") in {(change.path, change.action) for change in outcome.changes}


def test_text_in_one_frame_of_many_is_found_there_and_only_there(picture: Picture) -> None:
    before = noise(5)
    before[3] = written_on(before[3], "Mustermann")
    after = frames(cleaned("RemoveBurnedInAnnotations: {Type: OCR}", picture(before)).data)
    assert all(np.array_equal(after[index], before[index]) for index in (0, 1, 2, 4))
    changed = np.argwhere(after[3] != before[3])
    assert (after[3] != 250).all()
    assert changed[:, 0].min() > 10
    assert changed[:, 0].max() < 70
    assert not after[3][tuple(changed.T)].any()


def test_without_text_the_pixel_bytes_stay_and_the_copy_says_so(picture: Picture) -> None:
    data = picture(noise(2), BurnedInAnnotation="YES")
    outcome = cleaned("", data, profile="CleanPixelData")
    source, copy = read(data), read(outcome.data)
    assert copy.value(copy.elements[-1]) == source.value(source.elements[-1])
    dataset = dcmread(BytesIO(outcome.data))
    assert dataset.BurnedInAnnotation == "NO"
    assert "113101" in [item.CodeValue for item in dataset.DeidentificationMethodCodeSequence]
    assert "CleanPixelData" in dataset.DeidentificationMethod
    assert outcome.pixels is not None
    assert outcome.pixels.second_look == "nothing found"


def test_what_nobody_suspects_is_not_read_and_not_marked(picture: Picture) -> None:
    engine.cache_clear()
    outcome = cleaned("", picture(noise().astype(np.uint16), **SLICE), profile="CleanPixelData")
    dataset = dcmread(BytesIO(outcome.data))
    assert "BurnedInAnnotation" not in dataset
    assert "113101" not in [item.CodeValue for item in dataset.DeidentificationMethodCodeSequence]
    assert "CleanPixelData" not in dataset.DeidentificationMethod
    assert engine.cache_info().currsize == 0


def test_ocr_always_reads_what_nobody_suspects(picture: Picture) -> None:
    before = np.stack([written_on(noise()[0], "Mustermann")]).astype(np.uint16)
    rule = "RemoveBurnedInAnnotations: {Type: OCR, OCR: %s}"
    assert (frames(cleaned(rule % "suspected", picture(before, **SLICE)).data) == before).all()
    outcome = cleaned(rule % "always", picture(before, **SLICE))
    assert (frames(outcome.data) != 250).all()
    assert dcmread(BytesIO(outcome.data)).BurnedInAnnotation == "NO"


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ("RandomizeUID: {TagPatterns: '*/{UI}'}", "a secondary capture; no rule says what to do about it"),
        ("RemoveBurnedInAnnotations: {Type: Catalogue}", "a secondary capture; no rule found where it may be"),
        ("RemoveBurnedInAnnotations: {Type: UltrasoundRegions}", "no rule found where it may be"),
        (
            "RemoveBurnedInAnnotations: [{Type: Catalogue}, {Type: UltrasoundRegions}]\nSuspectedPixels: Quarantine",
            "no rule found where it may be",
        ),
    ],
)
def test_suspected_and_nobody_knows_where_is_held_back(picture: Picture, rules: str, words: str) -> None:
    with pytest.raises(Refused) as refusal:
        cleaned(rules, picture(noise(), BurnedInAnnotation="NO"))
    assert refusal.value.reason_code == "burned_in_text_possible"
    assert words in refusal.value.message
    assert refusal.value.pixels is not None
    assert refusal.value.pixels.suspected


def test_suspected_pixels_pass_only_if_told_to_and_are_not_marked(picture: Picture) -> None:
    data = picture(noise(), BurnedInAnnotation="YES")
    outcome = cleaned("SuspectedPixels: PassUnchecked", data, profile="CleanDescriptors")
    assert dcmread(BytesIO(outcome.data)).BurnedInAnnotation == "YES"
    assert "113101" not in [
        item.CodeValue for item in dcmread(BytesIO(outcome.data)).DeidentificationMethodCodeSequence
    ]


def test_text_beside_the_boxes_holds_the_instance_back(picture: Picture) -> None:
    data = picture(np.stack([written_on(noise()[0], "Mustermann")]))
    rule = "RemoveBurnedInAnnotations: {Type: Manual, BoxCoordinates: [0, 0, 20, 9]}"
    with pytest.raises(Refused) as refusal:
        cleaned(rule, data)
    assert refusal.value.reason_code == "text_left_in_pixels"
    assert "1 of 1 frames" in refusal.value.message
    assert "ustermann" not in refusal.value.message.lower()
    assert refusal.value.pixels is not None
    assert refusal.value.pixels.second_look == "text left"
    (left,) = refusal.value.pixels.left
    assert (left.rule, left.frame) == ("Text left", 0)
    (entry,) = refusal.value.pixels.as_json()["left"]
    assert (entry["rule"], entry["frame"]) == ("Text left", 1)
    assert Box(16, 30, 200, 50).meets(Box(*entry["box"]))
    unchecked = cleaned(f"{rule}\nSuspectedPixels: PassUnchecked", data)
    assert (frames(unchecked.data)[0, :10, :21] == 0).all()
    assert (frames(unchecked.data) == 250).any()
    assert "BurnedInAnnotation" not in dcmread(BytesIO(unchecked.data))


def test_catalogue_and_ultrasound_regions_add_up(picture: Picture) -> None:
    before = noise(2, 768, 1024)
    item = Dataset()
    item.RegionLocationMinX0, item.RegionLocationMinY0 = 16, 40
    item.RegionLocationMaxX1, item.RegionLocationMaxY1 = 1007, 751
    data = picture(
        before,
        SOPClassUID="1.2.840.10008.5.1.4.1.1.3.1",
        Modality="US",
        Manufacturer="Philips Medical Systems",
        ManufacturerModelName="EPIQ 7G",
        SequenceOfUltrasoundRegions=Sequence([item]),
    )
    rules = "RemoveBurnedInAnnotations: [{Type: Catalogue}, {Type: UltrasoundRegions}]"
    outcome = cleaned(rules, data)
    expected = np.zeros_like(before)
    expected[:, 49:752, 16:1008] = before[:, 49:752, 16:1008]
    assert np.array_equal(frames(outcome.data), expected)
    assert outcome.pixels is not None
    assert {one.rule for one in outcome.pixels.found} == {"Catalogue", "UltrasoundRegions"}
    assert dcmread(BytesIO(outcome.data)).BurnedInAnnotation == "NO"


@pytest.mark.parametrize("uid", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.5"])
def test_masked_and_transcoded_in_one(picture: Picture, uid: str) -> None:
    before = noise(3)
    rules = f"RemoveBurnedInAnnotations: {{Type: Manual, BoxCoordinates: [0, 0, 9, 9]}}\nTranscode: {uid}"
    outcome = cleaned(rules, picture(before))
    before[:, :10, :10] = 0
    assert read(outcome.data).transfer_syntax == uid
    assert np.array_equal(frames(outcome.data), before)


def test_a_rule_of_the_file_prevails_over_the_marker(picture: Picture) -> None:
    rules = (
        "RemoveBurnedInAnnotations: {Type: OCR}\n"
        "AddTags: {Tag: BurnedInAnnotation, VR: CS, Value: 'YES', OverwriteIfExists: true}"
    )
    assert dcmread(BytesIO(cleaned(rules, picture(noise())).data)).BurnedInAnnotation == "YES"


def test_pixels_that_cannot_be_decoded_are_refused_under_a_pixel_rule(picture: Picture) -> None:
    data = picture(noise(), "1.2.840.10008.1.2.4.90", PixelData=[b"no codestream!"])
    with pytest.raises(Refused) as refusal:
        cleaned("RemoveBurnedInAnnotations: {Type: OCR}", data)
    assert refusal.value.reason_code == "pixels_not_decodable"


def test_an_engine_that_cannot_look_holds_the_instance_back(picture: Picture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RPACS_OCR_THREADS", "many")
    engine.cache_clear()
    try:
        with pytest.raises(Refused) as refusal:
            cleaned("RemoveBurnedInAnnotations: {Type: OCR}", picture(noise()))
    finally:
        engine.cache_clear()
    assert refusal.value.reason_code == "ocr_failed"
    assert "RPACS_OCR_THREADS" in refusal.value.message


def test_a_search_for_text_can_be_broken_off_and_nothing_else_is(picture: Picture) -> None:
    stop = threading.Event()
    stop.set()
    entry = "Transformations: [{Scope: {Labels: ALL}, RemoveBurnedInAnnotations: {Type: OCR}}]"
    deidentifier = Deidentifier(load_rules(f"ScopeToForward: {{Labels: ALL}}\n{entry}\n"), KEY)
    with pytest.raises(CleaningStoppedError):
        deidentifier.clean(picture(noise(2)), stop=stop)
    assert isinstance(deidentifier.clean(picture(noise().astype(np.uint16), **SLICE), stop=stop), Cleaned)


def test_a_mask_does_not_follow_from_one_instance_of_a_series_to_the_next(picture: Picture) -> None:
    rules = load_rules(
        "ScopeToForward: {Labels: ALL}\nProfile: {Name: Basic, Options: [CleanPixelData]}\n"
        "Transformations: [{Scope: {Labels: ALL}, AddTags: {Tag: PatientComments, VR: LT, Value: x}}]\n"
    )
    deidentifier = Deidentifier(rules, KEY)
    suspected, other = picture(noise(), BurnedInAnnotation="YES"), picture(noise().astype(np.uint16), **SLICE)
    for data, says in ((suspected, "NO"), (other, None), (suspected, "NO")):
        outcome = deidentifier.clean(data)
        assert isinstance(outcome, Cleaned)
        dataset = dcmread(BytesIO(outcome.data))
        assert dataset.get("BurnedInAnnotation") == says
        codes = [item.CodeValue for item in dataset.DeidentificationMethodCodeSequence]
        assert ("113101" in codes) == (says is not None)


def test_the_same_instance_gives_the_same_bytes(picture: Picture) -> None:
    data = picture(np.stack([written_on(noise()[0], "Mustermann")]))
    rules = "RemoveBurnedInAnnotations: {Type: OCR}"
    assert cleaned(rules, data).data == cleaned(rules, data).data


def test_the_report_says_what_was_thought_found_and_done(
    picture: Picture, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "rules.yaml").write_text(
        "ScopeToForward: {Labels: ALL}\nTransformations:\n  - Scope: {Labels: ALL}\n"
        "    RemoveBurnedInAnnotations: [{Type: Manual, BoxCoordinates: [0, 0, 9, 9]}, {Type: OCR}]\n"
    )
    before = noise(2)
    before[1] = written_on(before[1], "Mustermann")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.dcm").write_bytes(picture(before))
    PseudonymKey.generate(tmp_path / "key")
    command = ["file", str(tmp_path / "in"), str(tmp_path / "out"), "--rules", str(tmp_path / "rules.yaml")]
    command += ["--key-file", str(tmp_path / "key")]
    assert main([*command, "--report", str(tmp_path / "report.json")]) == 0
    text = (tmp_path / "report.json").read_text()
    report: dict[str, Any] = json.loads(text)["files"][0]["pixels"]
    assert report["suspected"] is True
    assert report["reason"] == "a secondary capture"
    assert report["boxes"][0] == {"rule": "Manual", "frame": "every", "box": [0, 0, 9, 9]}
    assert {(box["rule"], box["frame"]) for box in report["boxes"][1:]} == {("OCR", 2)}
    assert (report["frames"], report["frames_masked"], report["second_look"]) == (2, 2, "nothing left")
    assert "ustermann" not in text.replace(str(tmp_path), "")
    capsys.readouterr()
    assert main([*command, "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert "pixels        suspected (a secondary capture), 1 box by Manual" in shown
    assert "masked in 2 of 2 frames, second look: nothing left" in shown
