"""Tags and tag paths."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_query import (
    PathStep,
    TagPath,
    TagPathError,
    TagStep,
    keyword_of,
    known_keywords,
    nearest_keyword,
    parse_tag,
    path_text,
    tag_text,
)


@pytest.mark.parametrize("text", ["PatientName", "patientname", "PATIENTNAME", "00100010"])
def test_tags(text):
    assert parse_tag(text) == 0x00100010


@pytest.mark.parametrize("tag", [0x00100010, 0x00291008, 0x60023000, 0x0000FFFF, 0xFFFFFFFF, 0x00080000])
def test_tag_text_reads_back(tag):
    assert parse_tag(tag_text(tag)) == tag


def test_keywords():
    assert keyword_of(0x60023000) == "OverlayData"
    assert tag_text(0x60023000) == "60023000"
    assert keyword_of(0x00291008) == ""
    assert len(known_keywords()) > 5000
    assert all(parse_tag(keyword) for keyword in ("Modality", "TransferSyntaxUID"))


def test_every_keyword_reads_back():
    for keyword in known_keywords():
        assert tag_text(parse_tag(keyword)) == keyword


@pytest.mark.parametrize(
    ("word", "keyword"),
    [
        ("Modalty", "Modality"),
        ("patientid", "PatientID"),
        ("StudyDscription", "StudyDescription"),
        ("qqqq", None),
        ("", None),
    ],
)
def test_nearest_keyword(word, keyword):
    assert nearest_keyword(word) == keyword


def test_nearest_keyword_of_a_very_long_word_is_none():
    assert nearest_keyword("Modality" * 10_000) is None


@pytest.mark.parametrize(
    ("text", "steps", "canonical"),
    [
        ("PatientName", [(0x00100010, None)], "PatientName"),
        ("00100010", [(0x00100010, None)], "PatientName"),
        ("00291008", [(0x00291008, None)], "00291008"),
        ("0029100a", [(0x0029100A, None)], "0029100A"),
        (
            "RequestAttributesSequence[0].CodeValue",
            [(0x00400275, 0), (0x00080100, None)],
            "RequestAttributesSequence[0].CodeValue",
        ),
        ("00400275[%].00080100", [(0x00400275, None), (0x00080100, None)], "RequestAttributesSequence.CodeValue"),
        ("ImageType[2]", [(0x00080008, 2)], "ImageType[2]"),
    ],
)
def test_paths(text, steps, canonical):
    path = TagPath.parse(text)
    assert path.steps == tuple(TagStep(*each) for each in steps)
    assert str(path) == canonical


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("", 0),
        (".", 0),
        ("PatientName.", 12),
        ("PatientName.Foo", 12),
        ("PatientName[", 11),
        ("PatientName[-1]", 11),
        ("PatientName[1", 11),
        ("PatientName[99999999999]", 11),
        ("PatientName[0]x", 14),
        ("Patient Name", 0),
        ("*Date", 0),
        ("(0010,0010)", 0),
    ],
)
def test_bad_paths(text, position):
    with pytest.raises(TagPathError) as caught:
        TagPath.parse(text)
    assert caught.value.position == position
    assert caught.value.expected


def test_paths_have_limits():
    assert len(TagPath.parse(".".join(["00400275"] * 32)).steps) == 32
    with pytest.raises(TagPathError, match="at most 32"):
        TagPath.parse(".".join(["00400275"] * 33))
    for steps in [
        (),
        (TagStep(1),) * 33,
        (TagStep(-1),),
        (TagStep(1 << 32),),
        (TagStep(1, -1),),
        (TagStep(1, 1 << 31),),
    ]:
        with pytest.raises(ValueError, match="a tag"):
            TagPath(steps)


STEPS = st.lists(
    st.builds(
        TagStep,
        st.integers(0, 0xFFFFFFFF) | st.sampled_from([0x00100010, 0x60003000]),
        st.none() | st.integers(0, 10**9 - 1),
    ),
    min_size=1,
    max_size=32,
)


@given(STEPS)
def test_every_path_reads_back(steps):
    path = TagPath(tuple(steps))
    assert TagPath.parse(str(path)) == path


def test_the_text_of_a_place_holds_no_value():
    place = (PathStep(0x00291010, "SQ", "DOE^JOHN", 1), PathStep(0x00100010, "PN"))
    assert path_text(place) == "00291010[1].PatientName"
