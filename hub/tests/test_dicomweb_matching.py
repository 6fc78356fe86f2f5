"""QIDO-RS keys as conditions: what each kind of matching finds, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset

import dicom_query
from dicom_query import TagPath
from rpacs_hub.gateway._exchange import ApiError
from rpacs_hub.gateway.dicomweb.accept import parse_accept, wants_json
from rpacs_hub.gateway.dicomweb.matching import matching
from rpacs_hub.gateway.dicomweb.search import read_parameters
from rpacs_hub.index import Level


def holds(key: str, value: str, **elements) -> bool:
    dataset = Dataset()
    for keyword, element in elements.items():
        setattr(dataset, keyword, element)
    node = matching(TagPath.parse(key), value)
    return node is None or dicom_query.evaluate(node, dataset)


@pytest.mark.parametrize(
    ("key", "value", "elements", "expected"),
    [
        ("PatientID", "P1", {"PatientID": "p1"}, True),
        ("PatientID", "P1", {"PatientID": "P12"}, False),
        ("00100020", "P1", {"PatientID": "P1"}, True),
        ("PatientID", "", {}, True),
        ("PatientID", "*", {}, True),
        ("PatientID", "P*", {"PatientID": "P12"}, True),
        ("StudyDescription", "*che*t*", {"StudyDescription": "CT Chest"}, True),
        ("StudyDescription", "100%_", {"StudyDescription": "100ab"}, False),
        ("StudyDescription", "a,b", {"StudyDescription": "a,b"}, True),
        ("StudyDescription", "a\\b*", {"StudyDescription": "bc"}, True),
        ("Modality", "CT,MR", {"Modality": "MR"}, True),
        ("Modality", "CT\\MR", {"Modality": "CR"}, False),
        ("StudyInstanceUID", "1.2,1.3", {"StudyInstanceUID": "1.3"}, True),
        ("StudyInstanceUID", "1.2\\1.3", {"StudyInstanceUID": "1.2"}, True),
        ("StudyInstanceUID", "1.2", {"StudyInstanceUID": "1.2.3"}, False),
        ("SeriesNumber", "3", {"SeriesNumber": "03"}, True),
        ("SliceThickness", "1.5", {"SliceThickness": "1.50"}, True),
        ("InstanceNumber", "1\\2", {"InstanceNumber": "2"}, True),
        ("StudyDate", "20260131", {"StudyDate": "20260131"}, True),
        ("StudyDate", "20260101-20260131", {"StudyDate": "20260131"}, True),
        ("StudyDate", "20260101-20260131", {"StudyDate": "20260201"}, False),
        ("StudyDate", "20260101-", {"StudyDate": "20260101"}, True),
        ("StudyDate", "-20260101", {"StudyDate": "20260102"}, False),
        ("StudyDate", "20260101-", {}, False),
        ("AcquisitionDateTime", "20260101120000-0500", {"AcquisitionDateTime": "20260101120000.5"}, True),
        ("AcquisitionDateTime", "20260101-20260102", {"AcquisitionDateTime": "20260102235959"}, True),
        ("AcquisitionDateTime", "20260101+0100-20260102+0100", {"AcquisitionDateTime": "20260103"}, False),
        ("StudyTime", "0930", {"StudyTime": "093015.25"}, True),
        ("StudyTime", "0930-1145", {"StudyTime": "114559.9"}, True),
        ("StudyTime", "0930-1145", {"StudyTime": "114600"}, False),
        ("StudyTime", "0930-1145", {"StudyTime": "10"}, True),
        ("StudyTime", "0930-1145", {"StudyTime": "09"}, False),
        ("StudyTime", "-0030", {"StudyTime": "0030"}, True),
        ("StudyTime", "2300-", {"StudyTime": "235959"}, True),
        ("RequestAttributesSequence.ScheduledProcedureStepID", "A1", {}, False),
    ],
)  # fmt: skip
def test_kinds_of_matching(key, value, elements, expected):
    assert holds(key, value, **elements) is expected


def test_items_of_sequences_are_matched():
    item = Dataset()
    item.ScheduledProcedureStepID = "A1"
    assert holds("RequestAttributesSequence.ScheduledProcedureStepID", "a*", RequestAttributesSequence=[item])
    assert holds("00400275.00400009", "A1", RequestAttributesSequence=[Dataset(), item])


@pytest.mark.parametrize(
    ("key", "value", "word"),
    [
        ("PatientID", "P?", "'?'"),
        ("RequestAttributesSequence", "x", "sequence"),
        ("PixelData", "x", "binary"),
        ("StudyDate", "yesterday", "no date"),
        ("StudyDate", "20261301", "no date"),
        ("StudyDate", "-", "without ends"),
        ("StudyDate", "2026-01-31", "no date"),
        ("StudyTime", "25", "no time"),
        ("StudyTime", "12-08", "lies before"),
        ("SeriesNumber", "three", "no number"),
        ("SeriesNumber", "1 OR TRUE", "no number"),
        ("StudyInstanceUID", ",", "without values"),
        ("PatientName", "*a" * 200, "too many wildcards"),
    ],
)
def test_what_cannot_be_matched_is_refused_with_a_reason(key, value, word):
    with pytest.raises(ApiError) as refused:
        matching(TagPath.parse(key), value)
    assert refused.value.status == 400
    assert word in refused.value.message
    assert refused.value.hint


def seconds(text: str) -> int:
    return int(text[:2]) * 3600 + int(text[2:4]) * 60 + int(text[4:])


_SECOND = st.integers(0, 86399).map(lambda s: f"{s // 3600:02d}{s // 60 % 60:02d}{s % 60:02d}")


@given(_SECOND, _SECOND, _SECOND)
def test_a_range_of_times_holds_exactly_its_seconds(one, two, stored):
    low, high = sorted((one, two))
    assert holds("StudyTime", f"{low}-{high}", StudyTime=stored) is (seconds(low) <= seconds(stored) <= seconds(high))


@given(st.text(min_size=1, max_size=40), st.sampled_from(["PatientID", "StudyDate", "StudyTime", "Rows", "Modality"]))
def test_any_text_is_matched_or_refused_and_nothing_else(value, key):
    try:
        node = matching(TagPath.parse(key), value)
    except ApiError as error:
        assert error.status == 400  # noqa: PT017 - either is right
    else:
        # The tree says the same when it has been text: no value can become anything but a value.
        assert node is None or dicom_query.parse(dicom_query.to_text(node)) == node


def test_parameters():
    asked = read_parameters(
        {
            "PatientName": ["Doe*"],
            "includefield": ["StudyComments,00080080", "all", "RequestAttributesSequence"],
            "limit": ["5000"],
            "offset": ["7"],
            "fuzzymatching": ["true"],
            "PatientID": [""],
            "SpecificCharacterSet": [""],
        },
        Level.STUDY,
    )
    assert (asked.limit, asked.offset) == (1000, 7)
    assert [dicom_query.to_text(node) for node in asked.conditions] == ["PatientName StrIn (Doe*)"]
    assert {"PatientName", "StudyComments", "InstitutionName", "PatientID", "PatientAge"} <= set(asked.fields)
    assert asked.warnings[0].startswith("The fuzzymatching parameter is not supported.")
    assert asked.warnings[1].startswith("RequestAttributesSequence cannot be part of the answer")


def test_empty_value_matching():
    asked = read_parameters({"PatientID": ['""'], "emptyvaluematching": ["true"]}, Level.STUDY)
    (node,) = asked.conditions
    full, empty, none = Dataset(), Dataset(), Dataset()
    full.PatientID, empty.PatientID = "P1", ""
    assert [dicom_query.evaluate(node, each) for each in (full, empty, none)] == [False, True, True]


@pytest.mark.parametrize(
    "arguments",
    [
        {"PatientNam": ["x"]},
        {"limi": ["5"]},
        {"limit": ["-1"]},
        {"limit": ["1e9"]},
        {"offset": ["x"]},
        {"fuzzymatching": ["perhaps"]},
        {"PatientID": ["1", "2"]},
        {"RetrieveURL": ["x"]},
        {"NumberOfStudyRelatedSeries": ["3"]},
        {"includefield": ["Nonsense"]},
        {"1=1; DROP TABLE pacs.instance; --": ["x"]},
    ],
)
def test_unknown_and_wrong_parameters_are_refused(arguments):
    with pytest.raises(ApiError) as refused:
        read_parameters(arguments, Level.STUDY)
    assert refused.value.status == 400
    assert refused.value.message


def test_modalities_in_study_belongs_to_studies():
    (node,) = read_parameters({"ModalitiesInStudy": ["CT\\MR"]}, Level.STUDY).conditions
    assert dicom_query.to_text(node) == "Modality StrIn (CT, MR)"
    with pytest.raises(ApiError, match="search of studies only"):
        read_parameters({"ModalitiesInStudy": ["CT"]}, Level.SERIES)


def test_accept_headers():
    text = 'multipart/related; type="application/dicom"; transfer-syntax=*, image/png;q=0.5, */*;q=0.1, text/html;q=0'
    first, second, third = parse_accept(text)
    assert (first.multipart, first.single, first.type, first.transfer_syntax) == (True, False, "application/dicom", "*")
    assert (second.type, third.type, third.multipart) == ("image/png", "*/*", True)
    assert parse_accept("")[0].takes("application/dicom")
    assert wants_json(parse_accept("application/json")) == "application/json"
    for unfit in ("application/dicom+xml", 'multipart/related; type="application/dicom+xml"', ";;;", "text/html"):
        with pytest.raises(ApiError) as refused:
            wants_json(parse_accept(unfit))
        assert refused.value.status == 406
