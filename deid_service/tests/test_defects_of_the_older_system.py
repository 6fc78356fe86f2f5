"""Each known defect of the de-identifier that this one succeeds, by name, and that it is not here."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from io import BytesIO
from typing import Any

import cv2
import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.pixels import convert_color_space

from deid_service import (
    Cleaned,
    Deidentifier,
    Discarded,
    PseudonymKey,
    Refused,
    RulesError,
    default_rules_path,
    load_rules,
)

Clean = Callable[..., Any]
LABELS = (
    "Labels: [{{Name: Wanted, DICOMQueryFilter: '{query}'}}]\n"
    "ScopeToForward: {{Labels: Wanted}}\n"
    "Transformations: [{{Scope: {{Labels: ALL}}, RandomizeUID: [{{TagPatterns: '*/{{UI}}'}}]}}]\n"
)


def test_unknown_keys_were_ignored_even_documented_ones() -> None:
    rules = (
        "ScopeToForward: {Labels: ALL, %s: X}\nLabels: [{Name: X}]\n"
        "Transformations: [{Scope: {Labels: ALL}, DeleteTags: [{TagPatterns: PatientID, Action: Remove}]}]\n"
    )
    with pytest.raises(RulesError) as error:
        load_rules(rules % "NoLabels")
    assert "NoLabels" in str(error.value)
    assert "line 1" in str(error.value)
    for documented in ("NotLabels", "ExceptLabels"):
        assert frozenset({"ALL", "X"}) not in load_rules(rules % documented).scope_to_forward


def test_patterns_never_matched_sequences(clean: Clean, instance: Dataset) -> None:
    item = Dataset()
    item.PatientID = "inner"
    instance.OtherPatientIDsSequence = [item]
    instance.RequestAttributesSequence = [Dataset()]
    for pattern in ("OtherPatientIDsSequence", "00101002", "001010XX", "*/{SQ}", "Other*"):
        result = clean(f"DeleteTags: [{{TagPatterns: '{pattern}', Action: Remove}}]", instance)
        assert "OtherPatientIDsSequence" not in result, pattern


def test_dates_moved_by_days_but_date_times_by_seconds_each_by_its_own_draw(clean: Clean, instance: Dataset) -> None:
    item = Dataset()
    item.StudyDate = instance.StudyDate
    instance.RequestAttributesSequence = [item]
    rules = "ShiftDateTime: [{TagPatterns: ['*/{DA}', '*/{DT}'], ShiftBy: 2000, ReuseMapping: SamePatient}]"
    result = clean(rules, instance)
    days = _day(result.StudyDate) - _day("20240310")
    assert days
    assert _day(result.ContentDate) - _day("20240312") == days
    assert _day(result.PatientBirthDate) - _day("19640812") == days
    assert result.RequestAttributesSequence[0].StudyDate == result.StudyDate
    moved = f"{_day('20240310') + days:%Y%m%d}101530.250000+0100"
    assert str(result.AcquisitionDateTime) == moved


def _day(text: str) -> datetime:
    return datetime.strptime(text[:8], "%Y%m%d")  # noqa: DTZ007 - a day has no zone


def test_original_values_were_logged(
    instance: Dataset, written: Callable[..., bytes], key: PseudonymKey, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    outcome = Deidentifier(load_rules(default_rules_path()), key).clean(written(instance))
    assert isinstance(outcome, Cleaned)
    said = caplog.text + repr(outcome) + repr(outcome.mappings) + repr(outcome.changes)
    instance.StudyInstanceUID = ""
    with pytest.raises(Refused) as refusal:
        Deidentifier(load_rules(default_rules_path()), key).clean(written(instance))
    said += str(refusal.value) + caplog.text
    for value in ("Mustermann", "Erika", "4711", "778812", "19640812", "20240310", "Hausarzt", "1.2.276.0.7230010"):
        assert value not in said


def test_split_never_split(clean: Clean, instance: Dataset) -> None:
    instance.OtherPatientNames = "Erika"
    rules = "RandomizeText: [{TagPatterns: '*/{PN}', Split: ^, ReuseMapping: Always}]"
    result = clean(rules, instance)
    parts = str(result.PatientName).split("^")
    assert len(parts) == 4
    assert parts[1] == str(result.OtherPatientNames)


def test_texts_were_mapped_in_the_namespace_of_dates(clean: Clean, instance: Dataset) -> None:
    instance.StudyID = "20240310"
    rules = (
        "ShiftDateTime: [{TagPatterns: StudyDate, ShiftBy: 100, ReuseMapping: Always}]\n"
        "RandomizeText: [{TagPatterns: StudyID, ReuseMapping: Always}]"
    )
    first, second = clean(rules, instance), clean(rules.splitlines()[1], instance)
    assert first.StudyID == second.StudyID not in (first.StudyDate, "20240310")
    assert {mapping.kind for mapping in first.outcome.mappings} == {"date_offset", "text"}


@pytest.mark.filterwarnings("error")
def test_replacements_did_not_know_the_value_representation(clean: Clean, instance: Dataset) -> None:
    instance.PatientAge, instance.SliceThickness, instance.InstanceNumber = "059Y", "1.25", 7
    instance.OperatorsName = "Müller^A=山田^太郎"
    instance.SpecificCharacterSet = "ISO_IR 192"
    pattern = "'*/{%s}'"
    patterns = ", ".join(pattern % vr for vr in ("AS", "CS", "DA", "DS", "DT", "IS", "LO", "PN", "SH", "TM"))
    result = clean(
        f"RandomizeText: [{{TagPatterns: [{patterns}], ExceptTagPatterns: ['0028XXXX'], ReuseMapping: Always}}]",
        instance,
    )
    for element in result:  # pydicom checks each value against its VR; a warning is an error here
        assert element.value is not None
    assert result.PatientAge[:3].isdigit()
    assert float(result.SliceThickness) != 1.25
    assert int(result.InstanceNumber) != 7
    assert result.Modality.isupper() or result.Modality.isdigit()
    assert len(str(result.OperatorsName).split("=")) == 2


def test_sop_class_uids_were_randomised(clean: Clean, instance: Dataset) -> None:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", "1.2.276.0.1"
    instance.ReferencedImageSequence = [item]
    for rules in (
        "RandomizeUID: [{TagPatterns: '*/{UI}'}]",
        "RandomizeText: [{TagPatterns: '*/{UI}', ReuseMapping: Always}]",
    ):
        result = clean(rules, instance)
        assert result.SOPClassUID == result.file_meta.MediaStorageSOPClassUID == instance.SOPClassUID
        assert result.ReferencedImageSequence[0].ReferencedSOPClassUID == item.ReferencedSOPClassUID
        assert result.ReferencedImageSequence[0].ReferencedSOPInstanceUID != item.ReferencedSOPInstanceUID
        assert result.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"


def test_bits_stored_was_overwritten(instance: Dataset, written: Callable[..., bytes], key: PseudonymKey) -> None:
    instance.BitsStored, instance.HighBit, instance.PixelRepresentation = 12, 11, 1
    outcome = Deidentifier(load_rules(default_rules_path()), key).clean(written(instance))
    assert isinstance(outcome, Cleaned)
    result = dcmread(BytesIO(outcome.data))
    assert (result.BitsAllocated, result.BitsStored, result.HighBit, result.PixelRepresentation) == (16, 12, 11, 1)
    assert result.PixelData == instance.PixelData


BOX = "RemoveBurnedInAnnotations: {Type: Manual, BoxCoordinates: [1, 2, 4, 6]}\nSuspectedPixels: PassUnchecked"


def with_pixels(instance: Dataset, pixels: np.ndarray, photometric: str = "MONOCHROME2") -> Dataset:
    """Give an instance other pixels, shape (frames, rows, columns) or (frames, rows, columns, 3)."""
    instance.NumberOfFrames, instance.Rows, instance.Columns = pixels.shape[:3]
    instance.SamplesPerPixel, instance.PhotometricInterpretation = pixels.ndim * 2 - 5, photometric
    instance.BitsAllocated = instance.BitsStored = pixels.dtype.itemsize * 8
    instance.HighBit, instance.PixelRepresentation = instance.BitsStored - 1, int(pixels.dtype.kind == "i")
    if pixels.ndim == 4:
        instance.PlanarConfiguration = 0
    instance.PixelData = pixels.tobytes()
    return instance


def test_boxes_were_one_pixel_short(clean: Clean, instance: Dataset) -> None:
    before = np.full((1, 10, 10), 7, np.uint8)
    after = clean(BOX, with_pixels(instance, before)).pixel_array
    assert not after[2:7, 1:5].any()
    assert (after == 0).sum() == 5 * 4


def test_text_was_looked_for_in_the_first_frame_only(clean: Clean, instance: Dataset) -> None:
    before = np.full((3, 64, 200), 20, np.uint8)
    cv2.putText(before[2], "Mustermann", (8, 40), cv2.FONT_HERSHEY_SIMPLEX, 0.9, 250, 2)
    after = clean("RemoveBurnedInAnnotations: {Type: OCR, OCR: always}", with_pixels(instance, before)).pixel_array
    assert (after[:2] == before[:2]).all()
    assert after.max() < 200


def test_boxes_in_ybr_images_were_green(clean: Clean, instance: Dataset) -> None:
    before = np.full((1, 10, 10, 3), (90, 120, 140), np.uint8)
    instance = with_pixels(instance, before, "YBR_FULL")
    after = np.frombuffer(clean(BOX, instance).PixelData, np.uint8).reshape(10, 10, 3)
    shown = convert_color_space(after, "YBR_FULL", "RGB")
    assert not shown[2:7, 1:5].any()
    after_outside = after.copy()
    after_outside[2:7, 1:5] = before[0, 2:7, 1:5]
    assert (after_outside == before[0]).all()


def test_masking_overwrote_bits_stored(clean: Clean, instance: Dataset) -> None:
    instance = with_pixels(instance, np.full((1, 10, 10), -5, np.int16))
    instance.BitsStored, instance.HighBit = 12, 11
    result = clean(BOX, instance)
    assert (result.BitsAllocated, result.BitsStored, result.HighBit, result.PixelRepresentation) == (16, 12, 11, 1)
    assert (result.pixel_array[2:7, 1:5] == -2048).all()
    assert (result.pixel_array == -5).sum() == 100 - 5 * 4


def test_the_scope_of_an_instance_was_stored_as_that_of_the_study(
    clean: Clean, fresh_instance: Callable[[], Dataset]
) -> None:
    tokens = {}
    for reuse in ("SameInstance", "SameSeries", "SameStudy"):
        found = []
        for number in range(2):
            instance = fresh_instance()
            instance.SOPInstanceUID = f"1.2.276.0.1.{number}"
            result = clean(f"RandomizeText: [{{TagPatterns: StudyID, ReuseMapping: {reuse}}}]", _with(instance, "S1"))
            found.append(result.StudyID)
            assert result.outcome.mappings[0].scope.startswith(reuse.removeprefix("Same").lower())
        tokens[reuse] = len(set(found))
    assert tokens == {"SameInstance": 2, "SameSeries": 1, "SameStudy": 1}


def _with(instance: Dataset, study_id: str) -> Dataset:
    instance.StudyID = study_id
    return instance


def test_numbers_were_added_as_text(clean: Clean, instance: Dataset) -> None:
    rules = "AddTags: [{Tag: SmallestImagePixelValue, VR: US, Value: '258', OverwriteIfExists: true}]"
    result = clean(rules, instance)
    assert result.SmallestImagePixelValue == 258
    assert b"\x28\x00\x06\x01US\x02\x00\x02\x01" in result.outcome.data
    with pytest.raises(RulesError):
        clean(rules.replace("258", "many"), instance)


def test_failures_were_deleted_silently(instance: Dataset, written: Callable[..., bytes], key: PseudonymKey) -> None:
    deidentifier = Deidentifier(load_rules(default_rules_path()), key)
    data = written(instance)
    for damaged in (data[:-3], data[:300], b"", data.replace(b"DA\x08\x00", b"DA\xff\x00")):
        with pytest.raises(Refused):  # which the pipeline puts into quarantine
            deidentifier.clean(damaged)


@pytest.mark.parametrize(
    ("query", "description", "wanted"),
    [
        ("StudyDescription StrNotEquals Abdomen", "Thorax", True),
        ("StudyDescription StrNotEquals Thorax", "Thorax", False),
        ("NOT (StudyDescription StrNotEquals Thorax) AND Modality StrEquals CT", "Thorax", True),
        ("(Modality StrEquals MR OR StudyDescription StrNotEquals Abdomen)", "Thorax", True),
        ('StudyDescription StrEquals "a.c"', "abc", False),
        ('StudyDescription StrEquals "a%"', "abc", False),
        ('StudyDescription StrEquals "a_c"', "abc", False),
        ('StudyDescription StrEquals "(a|b)+"', "(a|b)+", True),
        ('StudyDescription StrEquals "a*c"', "a.%_[c", True),
        ("StudyDescription StrEquals \"it''s\"", "it''s", True),
    ],
)
def test_str_not_equals_lacked_its_parenthesis_and_values_were_not_escaped(
    clean: Clean, instance: Dataset, query: str, description: str, wanted: bool
) -> None:
    instance.StudyDescription = description
    outcome = clean(LABELS.format(query=query.replace("'", "''")), instance)
    assert isinstance(outcome, Discarded) is not wanted
