"""Why a query is not true of a document."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_query import conditions_of, evaluate_document, index_document, parse, to_text, unmet
from extensions.dicom_query.tests.models import build, models, queries

DOCUMENT = {"00080060": ["mr"], "00180050": ["3"], "00080008": ["derived", "axial"], "00081030": [""]}


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", []),
        ("Modality StrEquals MR", []),
        ("Modality StrEquals CT", [("Modality StrEquals CT", {"Modality": ("mr",)})]),
        ("Rows Exists", [("Rows Exists", {"Rows": ()})]),
        ("NOT (Modality StrEquals MR)", [("NOT (Modality StrEquals MR)", {"Modality": ("mr",)})]),
        (
            "Modality StrEquals CT AND SliceThickness NbLess 5 AND StudyDescription NotEmpty",
            [
                ("Modality StrEquals CT", {"Modality": ("mr",)}),
                ("StudyDescription NotEmpty", {"StudyDescription": ("",)}),
            ],
        ),
        (
            "Modality StrEquals CT OR (SliceThickness NbLess 5 AND ImageType StrEquals ORIGINAL)",
            [
                (
                    "Modality StrEquals CT OR SliceThickness NbLess 5 AND ImageType StrEquals ORIGINAL",
                    {"Modality": ("mr",), "ImageType": ("derived", "axial")},
                )
            ],
        ),
    ],
)
def test_the_false_parts_and_what_is_there_instead(query, found):
    assert [
        (to_text(one.part), {str(path): values for path, values in one.found}) for one in unmet(parse(query), DOCUMENT)
    ] == found


@given(st.data())
def test_there_is_a_reason_exactly_where_the_query_is_false(data):
    model = data.draw(models(depth=1))
    query, document = data.draw(queries(model)), index_document(build(model))
    reasons = unmet(query, document)
    assert (not reasons) is evaluate_document(query, document)
    paths = {condition.path for condition in conditions_of(query)}
    for reason in reasons:
        assert not evaluate_document(reason.part, document)
        assert {path for path, _ in reason.found} <= paths
