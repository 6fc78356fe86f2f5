"""What each transformation does to an instance."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian

from deid_service import PseudonymKey
from deid_service.transforms.randomize_text import MAX_LENGTHS, token

Clean = Callable[..., Any]


def day(text: str) -> date:
    return date(int(text[:4]), int(text[4:6]), int(text[6:8]))


# ---- ShiftDateTime


def test_one_offset_for_all_dates_of_a_patient(clean: Clean, fresh_instance: Callable[[], Dataset]) -> None:
    rules = "ShiftDateTime: [{TagPatterns: ['*/{DA}', '*/{DT}'], ShiftBy: 100, ReuseMapping: SamePatient}]"
    first, second = fresh_instance(), fresh_instance()
    second.StudyInstanceUID, second.SOPInstanceUID = "1.2.3.77", "1.2.3.78"
    second.StudyDate = "20250101"
    one, two = clean(rules, first), clean(rules, second)
    offset = day(one.StudyDate) - day("20240310")
    assert 0 < abs(offset.days) <= 100
    assert day(one.ContentDate) - day("20240312") == offset
    assert day(one.PatientBirthDate) - day("19640812") == offset
    assert day(two.StudyDate) - day("20250101") == offset
    assert one.AcquisitionDateTime == f"{one.StudyDate}101530.250000+0100"
    assert one.StudyTime == "101530.25"


def test_dt_moves_by_days_only_beside_dates(clean: Clean, instance: Dataset) -> None:
    alone = clean("ShiftDateTime: [{TagPatterns: '*/{DT}', ShiftBy: 30, ReuseMapping: Always}]", instance)
    assert str(alone.AcquisitionDateTime)[:12] in ("202403101015", "202403101016", "202403101014")
    assert alone.AcquisitionDateTime != "20240310101530.250000+0100"
    beside = clean(
        "ShiftDateTime:\n"
        "  - {TagPatterns: '*/{DT}', ShiftBy: 30, ReuseMapping: Always}\n"
        "  - {TagPatterns: StudyDate, ShiftBy: 50, ReuseMapping: SamePatient}",
        instance,
    )
    assert str(beside.AcquisitionDateTime) == f"{beside.StudyDate}101530.250000+0100"


def test_times_move_by_seconds_and_keep_their_fraction(clean: Clean, instance: Dataset) -> None:
    result = clean("ShiftDateTime: [{TagPatterns: '*/{TM}', ShiftBy: 20, ReuseMapping: SameSeries}]", instance)
    assert re.fullmatch(r"1015[0-5][0-9]\.25", result.StudyTime)
    assert result.StudyTime != "101530.25"


def test_what_is_no_date_is_emptied_and_several_values_move_each(
    clean: Clean, instance: Dataset, written: Callable[..., bytes]
) -> None:
    instance.add_new(0x00181200, "DA", ["20240101", "20240111"])
    data = written(instance).replace(b"20240312", b"00000000")
    result = clean("ShiftDateTime: [{TagPatterns: '*/{DA}', ShiftBy: 9, ReuseMapping: SameStudy}]", data)
    assert result.ContentDate == ""
    first, second = result.DateOfLastCalibration
    assert (day(second) - day(first)).days == 10
    assert {(change.path, change.action) for change in result.outcome.changes} >= {("ContentDate", "emptied")}


def test_scopes_of_reuse_differ(clean: Clean, fresh_instance: Callable[[], Dataset]) -> None:
    def shifted(reuse: str, **changes: str) -> str:
        instance = fresh_instance()
        for keyword, value in changes.items():
            setattr(instance, keyword, value)
        reuse = f", ReuseMapping: {reuse}" if reuse else ""
        rules = f"ShiftDateTime: [{{TagPatterns: '*/{{DA}}', ShiftBy: 100000{reuse}}}]"
        return str(clean(rules, instance).ContentDate)

    other_instance = {"SOPInstanceUID": "1.2.9"}
    other_series = other_instance | {"SeriesInstanceUID": "1.2.8"}
    other_study = other_series | {"StudyInstanceUID": "1.2.7"}
    other_patient = other_study | {"PatientID": "PID-0815"}
    assert shifted("") == shifted("SameInstance") != shifted("", **other_instance)
    assert shifted("SameSeries") == shifted("SameSeries", **other_instance) != shifted("SameSeries", **other_series)
    assert shifted("SameStudy") == shifted("SameStudy", **other_series) != shifted("SameStudy", **other_study)
    assert shifted("SamePatient") == shifted("SamePatient", **other_study) != shifted("SamePatient", **other_patient)
    assert shifted("Always") == shifted("Always", **other_patient)
    assert shifted("SamePatient") != shifted("SamePatient", IssuerOfPatientID="ELSEWHERE")
    # Without a Patient ID the study stands for the patient.
    assert shifted("SamePatient", PatientID="") == shifted("SameStudy")


# ---- RandomizeText


def test_tokens_are_legal_for_every_vr(clean: Clean, instance: Dataset) -> None:
    instance.PatientAge = "059Y"
    instance.PatientWeight = "81.5"
    instance.InstanceNumber = "7"
    instance.add_new(0x00400280, "ST", "a comment")
    instance.add_new(0x00080054, "AE", ["ARCHIVE1", "ARCHIVE2"])
    result = clean(
        "RandomizeText: [{TagPatterns: ['*/{CS}', '*/{AS}', '*/{DS}', '*/{IS}', '*/{ST}', '*/{AE}', "
        "'*/{DA}', '*/{TM}', '*/{DT}', '*/{LO}', '*/{UI}']}]",
        instance,
    )
    assert all(re.fullmatch("[A-Z0-9]{8}", value) for value in [result.Modality, *result.ImageType])
    assert re.fullmatch("[0-9]{3}Y", result.PatientAge)
    assert re.fullmatch("[0-9]{8}", str(result.PatientWeight))
    assert re.fullmatch("[0-9]{8}", str(result.InstanceNumber))
    assert len(result[0x00400280].value) == 8
    assert len(set(result[0x00080054].value)) == 2
    assert day(result.StudyDate) != day("20240310")
    assert re.fullmatch("[0-9]{6}", result.StudyTime)
    assert re.fullmatch("[0-9]{14}", str(result.AcquisitionDateTime))
    assert result.StudyInstanceUID.startswith("2.25.")
    assert result.SOPClassUID == "1.2.840.10008.5.1.4.1.1.2"


def test_numbers_are_emptied_because_a_token_is_not_a_number(clean: Clean, instance: Dataset) -> None:
    result = clean("RandomizeText: [{TagPatterns: BitsStored}]", instance)
    assert result["BitsStored"].value is None
    assert result.outcome.changes[0].action == "emptied"


def test_a_name_keeps_its_groups(clean: Clean, instance: Dataset) -> None:
    instance.SpecificCharacterSet = "ISO_IR 192"
    instance.PatientName = "Yamada^Tarou=山田^太郎=やまだ^たろう"
    result = clean("RandomizeText: [{TagPatterns: '*/{PN}', ReuseMapping: Always}]", instance)
    groups = str(result.PatientName).split("=")
    assert len(groups) == len(set(groups)) == 3
    assert all(re.fullmatch("[A-Za-z0-9]{8}", group) for group in groups)


def test_split_really_splits(clean: Clean, instance: Dataset) -> None:
    instance.PatientName = "john^smith"
    instance.ReferringPhysicianName = "SMITH^John"
    rules = "RandomizeText: [{TagPatterns: '*/{PN}', Split: ^, IgnoreCase: true, ReuseMapping: Always}]"
    result = clean(rules, instance)
    family, given_name = str(result.PatientName).split("^")
    assert str(result.ReferringPhysicianName) == f"{given_name}^{family}"
    instance.PatientName = "Mustermann^Erika^^Dr."
    assert [len(part) for part in str(clean(rules, instance).PatientName).split("^")] == [8, 8, 0, 8]


def test_split_falls_back_to_one_token_where_many_would_not_fit(clean: Clean, instance: Dataset) -> None:
    instance.StudyID = "a-b-c"
    result = clean("RandomizeText: [{TagPatterns: StudyID, Split: '-'}]", instance)
    assert re.fullmatch("[A-Za-z0-9]{8}", result.StudyID)


def test_case_counts_unless_ignored(clean: Clean, instance: Dataset) -> None:
    instance.PatientName = "DOE^JANE"
    instance.ReferringPhysicianName = "Doe^Jane^^"
    same = "RandomizeText: [{TagPatterns: '*/{PN}', ReuseMapping: Always, IgnoreCase: true}]"
    result = clean(same, instance)
    assert result.PatientName == result.ReferringPhysicianName
    result = clean(same.replace("true", "false"), instance)
    assert result.PatientName != result.ReferringPhysicianName


def test_a_name_is_the_same_whatever_its_character_set(clean: Clean, fresh_instance: Callable[[], Dataset]) -> None:
    rules = "RandomizeText: [{TagPatterns: '*/{PN}', ReuseMapping: Always}]"
    names = set()
    for charset in ("ISO_IR 100", "ISO_IR 192"):
        instance = fresh_instance()
        instance.SpecificCharacterSet = charset
        instance.PatientName = "Müller^Jürgen"
        names.add(str(clean(rules, instance).PatientName))
    assert len(names) == 1


def test_a_backslash_inside_a_multibyte_character_separates_nothing(
    clean: Clean, instance: Dataset, written: Callable[..., bytes]
) -> None:
    instance.SpecificCharacterSet = "GB18030"
    instance.PatientID = "ABCDEFGH"
    data = written(instance).replace(b"ABCDEFGH", "誠".encode("gb18030") + b"\x81\x5cABCD")  # a trail byte 0x5C
    result = clean("RandomizeText: [{TagPatterns: PatientID}]", data)
    assert re.fullmatch("[A-Za-z0-9]{8}", result.PatientID)


def test_empty_values_stay_empty(clean: Clean, instance: Dataset) -> None:
    instance.PatientID = ""
    instance.add_new(0x00081048, "PN", ["A^B", "", "C^D"])
    result = clean("RandomizeText: [{TagPatterns: ['*/{PN}', PatientID]}]", instance)
    assert result.PatientID == ""
    assert [len(str(name)) for name in result[0x00081048].value] == [8, 0, 8]


@given(st.binary(min_size=32, max_size=32), st.sampled_from(sorted(MAX_LENGTHS.keys() - {"UI"})))
def test_tokens_fit(digest: bytes, vr: str) -> None:
    assert 0 < len(token(digest, vr)) <= MAX_LENGTHS[vr]


# ---- RandomizeUID


def test_uids_are_mapped_by_value_everywhere(clean: Clean, instance: Dataset, key: PseudonymKey) -> None:
    item = Dataset()
    item.ReferencedSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    item.ReferencedSOPInstanceUID = instance.SOPInstanceUID
    item.add_new(0x00081140, "SQ", [Dataset()])
    item[0x00081140].value[0].ReferencedSOPInstanceUID = "1.2.3.4.5"
    instance.ReferencedImageSequence = [item]
    instance.add_new(0x00280303, "CS", "MODIFIED")
    instance.add_new(0x00081195, "UI", ["1.2.3.4.5", "", "1.2.840.10008.1.20.1.1"])
    result = clean("RandomizeUID: [{TagPatterns: '*/{UI}'}]", instance)
    assert result.SOPInstanceUID == key.uid(instance.SOPInstanceUID) == result.file_meta.MediaStorageSOPInstanceUID
    assert result.ReferencedImageSequence[0].ReferencedSOPInstanceUID == result.SOPInstanceUID
    assert result.ReferencedImageSequence[0].ReferencedSOPClassUID == "1.2.840.10008.5.1.4.1.1.2"
    nested = result.ReferencedImageSequence[0][0x00081140].value[0]
    assert nested.ReferencedSOPInstanceUID == key.uid("1.2.3.4.5")
    assert result[0x00081195].value == [key.uid("1.2.3.4.5"), "", "1.2.840.10008.1.20.1.1"]
    assert result.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
    assert ("uid", "always", "1.2.3.4.5") in {(m.kind, m.scope, m.original) for m in result.outcome.mappings}


def test_vendors_sop_classes_are_kinds_not_things(clean: Clean, instance: Dataset) -> None:
    instance.SOPClassUID = "1.3.12.2.1107.5.9.1"
    result = clean("RandomizeUID: [{TagPatterns: '*/{UI}'}]\nSuspectedPixels: PassUnchecked", instance)
    assert result.SOPClassUID == "1.3.12.2.1107.5.9.1" == result.file_meta.MediaStorageSOPClassUID


@pytest.mark.parametrize("odd", ["1.2." + "3" * 70, "not.a.uid", "1.02.3", "0"])
def test_invalid_and_overlong_uids_are_mapped_too(
    clean: Clean, instance: Dataset, key: PseudonymKey, odd: str, written: Callable[..., bytes]
) -> None:
    def element(uid: str) -> bytes:
        value = uid.encode() + b"\0" * (len(uid) % 2)
        return struct.pack("<HH2sH", 0x0020, 0x0052, b"UI", len(value)) + value

    data = written(instance)
    old = element(instance.FrameOfReferenceUID)
    assert old in data
    result = clean("RandomizeUID: [{TagPatterns: '*/{UI}'}]", data.replace(old, element(odd)))
    assert result.FrameOfReferenceUID == key.uid(odd)


def test_a_prefix_leads_the_new_uids(clean: Clean, instance: Dataset) -> None:
    result = clean(
        "RandomizeUID: [{TagPatterns: '*/{UI}', ExceptTagPatterns: '*/FrameOfReferenceUID', "
        "PrefixUID: 1.2.826.0.1.3680043.9.9}]",
        instance,
    )
    assert re.fullmatch(r"1\.2\.826\.0\.1\.3680043\.9\.9\.[1-9][0-9]*", result.StudyInstanceUID)
    assert len(result.StudyInstanceUID) <= 64
    assert result.FrameOfReferenceUID == instance.FrameOfReferenceUID


@pytest.mark.parametrize("profile", ["", "Profile: {Name: Basic}\n"])
def test_one_uid_never_becomes_two_whatever_makes_the_new_one(clean: Clean, instance: Dataset, profile: str) -> None:
    item = Dataset()
    item.ReferencedSOPInstanceUID = item.UID = instance.SOPInstanceUID
    instance.PerFrameFunctionalGroupsSequence = [item]
    rules = (
        f"{profile}Labels: [{{Name: MR, DICOMQueryFilter: Modality StrEquals MR}}]\nScopeToForward: {{Labels: ALL}}\n"
        "Transformations:\n"
        "  - {Scope: {Labels: MR}, RandomizeUID: {TagPatterns: StudyInstanceUID, PrefixUID: 1.2.3.4}}\n"
        "  - {Scope: {Labels: ALL}, RandomizeUID: {TagPatterns: '*/*InstanceUID'}}\n"
        "  - {Scope: {Labels: ALL}, RandomizeText: {TagPatterns: '*/UID'}}\n"
    )
    result = clean(rules, instance)
    inner = result.PerFrameFunctionalGroupsSequence[0]
    assert result.SOPInstanceUID == inner.ReferencedSOPInstanceUID == inner.UID
    assert result.SOPInstanceUID.startswith("1.2.3.4.")


# ---- AddTags


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_values_are_converted_to_their_vr(
    clean: Clean, instance: Dataset, written: Callable[..., bytes], syntax: str
) -> None:
    instance.PixelData = b"\0" * 8
    rules = (
        "AddTags:\n"
        "  - {Tag: Rows, VR: US, Value: 513, OverwriteIfExists: true}\n"
        "  - {Tag: Columns, VR: US, Value: 9}\n"
        "  - {Tag: PixelAspectRatio, VR: IS, Value: '1\\1'}\n"
        "  - {Tag: RecommendedDisplayFrameRateInFloat, VR: FL, Value: 1.5}\n"
        "  - {Tag: FrameIncrementPointer, VR: AT, Value: FrameTime}\n"
        "  - {Tag: 00091002, VR: SL, Value: -5}\n"
        "  - {Tag: 00090010, VR: LO, Value: OURS}\n"
        "  - {Tag: PatientComments, VR: LT, Value: 'a\\b'}\n"
        "  - {Tag: InstitutionName, VR: LO, Value: ''}"
    )
    result = clean(rules, written(instance, syntax))
    assert result.Rows == 513
    assert result.Columns == 2
    assert result.PixelAspectRatio == [1, 1]
    assert result.FrameIncrementPointer == 0x00181063
    assert result.PatientComments == "a\\b"
    assert result.InstitutionName == ""
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    assert struct.pack(f"{order}i", -5) in result.outcome.data
    tags = [element.tag for element in result]
    assert tags == sorted(tags)


def test_nested_paths(clean: Clean, instance: Dataset) -> None:
    instance.ReferencedStudySequence = [Dataset(), Dataset()]
    instance.ReferencedStudySequence[1].ReferencedSOPInstanceUID = "1.2.3"
    rules = (
        "AddTags:\n"
        "  - {Tag: 'ReferencedStudySequence[1].ReferencedSOPInstanceUID', VR: UI, Value: 1.9, "
        "OverwriteIfExists: true}\n"
        "  - {Tag: 'ReferencedStudySequence.ReferencedSOPClassUID', VR: UI, Value: 1.2.840.10008.3.1.2.3.1}\n"
        "  - {Tag: 'ReferencedSeriesSequence[0].Modality', VR: CS, Value: MR}\n"
        "  - {Tag: 'ReferencedImageSequence[%].Modality', VR: CS, Value: MR}\n"
        "  - {Tag: 'ReferencedStudySequence[7].Modality', VR: CS, Value: MR}"
    )
    result = clean(rules, instance)
    first, second = result.ReferencedStudySequence
    assert first.ReferencedSOPClassUID == second.ReferencedSOPClassUID == "1.2.840.10008.3.1.2.3.1"
    assert "ReferencedSOPInstanceUID" not in first
    assert second.ReferencedSOPInstanceUID == "1.9"
    assert result.ReferencedSeriesSequence[0].Modality == "MR"
    assert "ReferencedImageSequence" not in result
    assert "Modality" not in first
    assert "Modality" not in second


def test_what_the_character_set_cannot_hold_is_refused(clean: Clean, instance: Dataset) -> None:
    from deid_service import Refused

    rules = "AddTags: [{Tag: InstitutionName, VR: LO, Value: Zürich}]"
    with pytest.raises(Refused) as refusal:
        clean(rules, instance)
    assert refusal.value.reason_code == "value_not_encodable"
    instance.SpecificCharacterSet = "ISO_IR 192"
    assert clean(rules, instance).InstitutionName == "Zürich"


# ---- DeleteTags


def test_sequences_match_too(clean: Clean, instance: Dataset) -> None:
    instance.ReferencedStudySequence = [Dataset()]
    instance.ReferencedStudySequence[0].ReferencedSOPInstanceUID = "1.2.3"
    instance.RequestAttributesSequence = [Dataset()]
    instance.RequestAttributesSequence[0].ScheduledProcedureStepID = "77"
    result = clean(
        "DeleteTags:\n"
        "  - {TagPatterns: '*/ReferencedStudySequence', Action: Remove}\n"
        "  - {TagPatterns: '*/{SQ}', Action: Empty, ExceptTagPatterns: ReferencedStudySequence}",
        instance,
    )
    assert "ReferencedStudySequence" not in result
    assert len(result.RequestAttributesSequence) == 0


def test_the_later_of_two_rules_decides_and_exceptions_spare(clean: Clean, instance: Dataset) -> None:
    result = clean(
        "DeleteTags:\n"
        "  - {TagPatterns: '*/Patient*', Action: Remove, ExceptTagPatterns: '*/PatientSex'}\n"
        "  - {TagPatterns: PatientName, Action: Empty}",
        instance,
    )
    assert "PatientID" not in result
    assert result.PatientName == ""
    assert result.PatientSex == "F"


def test_the_last_transformation_decides_on_the_original_value(
    clean: Clean, instance: Dataset, key: PseudonymKey
) -> None:
    """Whatever the order of the file: shift, randomize, add, delete; and nothing twice."""
    rules = (
        "DeleteTags: [{TagPatterns: ContentDate, Action: Empty}]\n"
        "AddTags: [{Tag: AccessionNumber, VR: SH, Value: NONE, OverwriteIfExists: true}, "
        "{Tag: ContentDate, VR: DA, Value: '20200101', OverwriteIfExists: true}]\n"
        "RandomizeText:\n"
        "  - {TagPatterns: ['*/{DA}', AccessionNumber, PatientID], ReuseMapping: Always, "
        "ExceptTagPatterns: StudyDate}\n"
        "  - {TagPatterns: PatientID, ReuseMapping: Always, IgnoreCase: true}\n"
        "ShiftDateTime: [{TagPatterns: '*/{DA}', ShiftBy: 5, ReuseMapping: Always}]"
    )
    result = clean(rules, instance)
    assert result.AccessionNumber == "NONE"
    assert result.ContentDate == ""
    assert result.PatientBirthDate == token(key.digest("text", ("always",), "19640812"), "DA")
    assert abs((day(result.StudyDate) - day("20240310")).days) in range(1, 6)
    assert result.PatientID == token(key.digest("text", ("always",), "pid-4711"), "LO")


def test_text_and_dates_have_namespaces_of_their_own(key: PseudonymKey) -> None:
    assert key.digest("text", ("always",), "30") != key.digest("date", ("always",), "30")
