"""Queries in words, and what could come next in one."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicom_query import complete, explain, parse, value_slot, word_start
from extensions.dicom_query.tests.models import models, queries


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "every instance"),
        ("Modality Exists", "Modality is present"),
        ("Modality NotExists", "Modality is absent"),
        ("StudyDescription Empty", "Study Description has an empty value"),
        ("StudyDescription NotEmpty", "Study Description has a value that is not empty"),
        ("Modality StrEquals CT", 'Modality is "CT"'),
        ("Modality StrEquals C*", 'Modality begins with "C"'),
        ("Modality StrEquals *T", 'Modality ends with "T"'),
        ("Modality StrEquals *C*", 'Modality contains "C"'),
        ("Modality StrEquals *", "Modality is any text"),
        ("Modality StrEquals a*b", 'Modality is like "a*b"'),
        ("Modality StrNotEquals CT", 'Modality has a value other than "CT"'),
        ("Modality StrNotEquals C*", 'Modality has a value that is not like "C*"'),
        ("Modality StrIn (CT)", 'Modality is "CT"'),
        ("Modality StrIn (CT, MR)", 'Modality is one of "CT", "MR"'),
        ("Rows NbEquals 5", "Rows is the number 5"),
        ("Rows NbNotEquals 5", "Rows is a number other than 5"),
        ("Rows NbGreater 5", "Rows is greater than 5"),
        ("Rows NbGreaterEquals 5", "Rows is at least 5"),
        ("Rows NbLess 5", "Rows is less than 5"),
        ("Rows NbLessEquals 5", "Rows is at most 5"),
        ("StudyDate DateBefore 2024", "Study Date is before 2024"),
        ("StudyDate DateAfter 20240131", "Study Date is after 2024-01-31"),
        ("StudyDate DateOn 20240131", "Study Date is on 2024-01-31"),
        ("StudyDate DateOn 202401", "Study Date is in 2024-01"),
        ("00291008 Exists", "(0029,1008) is present"),
        ("ImageType[2] StrEquals AXIAL", 'value 3 of Image Type is "AXIAL"'),
        (
            "RequestAttributesSequence[0].CodeValue Exists",
            "Code Value in item 1 of Request Attributes Sequence is present",
        ),
        ("NOT (Rows Exists)", "not (Rows is present)"),
        (
            "(Modality StrEquals CT OR Modality StrEquals MR) AND Rows Exists",
            '(Modality is "CT" or Modality is "MR") and Rows is present',
        ),
    ],
)
def test_words(text, words):
    assert explain(parse(text)) == words


def test_long_lists_are_counted():
    words = explain(parse(f"PatientID StrIn ({', '.join(f'p{n}' for n in range(500))})"))
    assert words == "Patient ID is one of " + ", ".join(f'"p{n}"' for n in range(8)) + " and 492 more"


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_every_query_has_words(data):
    assert explain(data.draw(queries(data.draw(models(depth=1)))))


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("", ["Modality", "PatientID"]),
        ("Mod", ["Modality", "ModalitiesInStudy"]),
        ("mod", ["Modality", "ModalitiesInStudy"]),
        ("(", ["Modality"]),
        ("NOT (Mod", ["Modality"]),
        ("Modality ", ["Exists", "NotExists"]),
        ("Modality str", ["StrEquals", "StrNotEquals", "StrIn"]),
        ("Modality Equals", ["StrEquals", "StrNotEquals"]),
        ("Modality StrEquals CT ", ["AND", "OR"]),
        ("(Modality StrEquals CT ", [")", "AND", "OR"]),
        ("Modality StrEquals CT a", ["AND"]),
        ("Modality StrEquals CT AND Sli", ["SliceThickness", "SliceLocation"]),
        ("RequestAttributesSequence.ScheduledProcedureStepI", ["ScheduledProcedureStepID"]),
        ("Modality Exists AND RequestAttributesSequence[0].CodeV", ["CodeValue"]),
    ],
)
def test_completion(text, first):
    assert complete(text, len(text))[: len(first)] == first


@pytest.mark.parametrize("text", ["Modality StrEquals ", "Modality StrEquals C", "Modality StrEquals 'a b", "x y z "])
def test_nothing_is_offered_inside_values_and_after_errors(text):
    assert complete(text, len(text)) == []


def test_completion_looks_only_at_what_is_before_the_cursor():
    text = "Mod StrEquals CT"
    assert complete(text, 3)[0] == "Modality"
    assert word_start(text, 3) == 0
    assert word_start("A.Cod", 5) == 2
    assert len(complete("")) == 50
    assert len(complete("", limit=3)) == 3


@given(st.text(st.sampled_from("Mod ality.()'\"[0],StrEquals AND*")), st.integers(-5, 50))
def test_completion_never_fails(text, position):
    complete(text, position)


@pytest.mark.parametrize(
    ("text", "start", "typed", "context"),
    [
        ("Modality StrEquals ", 19, "", None),
        ("Modality StrEquals C", 19, "C", None),
        ("Modality strnotequals 'C", 22, "C", None),
        ("Modality StrIn (", 16, "", None),
        ('Modality StrIn (CT, "M', 20, "M", None),
        ('Modality StrEquals "two w', 19, "two w", None),
        ('Modality StrEquals "a\\"b', 19, 'a"b', None),
        ("Rows Exists AND Modality StrEquals C", 35, "C", "Rows Exists"),
        ("Rows Exists OR Columns Exists and Modality StrIn (a,", 52, "", "Columns Exists"),
        ("Rows Exists OR Modality StrEquals C", 34, "C", None),
        ("Rows Exists AND (Columns Exists AND Modality StrEquals C", 55, "C", None),
        ("StudyDescription StrEquals 'x AND Modality StrEquals C", 27, "x AND Modality StrEquals C", None),
    ],
)
def test_where_a_value_is_typed(text, start, typed, context):
    slot = value_slot(text, len(text))
    assert slot is not None
    assert (slot.start, slot.typed) == (start, typed)
    assert str(slot.path) == ("StudyDescription" if text.startswith("Study") else "Modality")
    assert slot.context == (parse(context) if context else None)


@pytest.mark.parametrize(
    "text",
    ["", "Mod", "Modality ", "Modality Str", "Modality StrEquals CT ", "Rows NbEquals ", "Rows NbEquals 5",
     "x StrEquals ", "StudyDate DateOn 2", "Modality Exists C", "Modality StrEquals 'CT'", ") StrEquals '"],
)  # fmt: skip
def test_where_no_text_is_typed(text):
    assert value_slot(text, len(text)) is None


@given(st.text(st.sampled_from("Modality StrEquals.()'\"\\[0],AND*")), st.integers(-5, 50))
def test_looking_for_a_value_never_fails(text, position):
    slot = value_slot(text, position)
    assert slot is None or 0 <= slot.start <= len(text)
