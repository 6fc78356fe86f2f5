"""What the client writes as a query means to the query language what the client meant."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset

from dicom_query import evaluate, parse
from rpacs._client import equals

# A backslash separates values (PS3.5 section 6.4), so no single value holds one; control characters neither.
_VALUES = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cc", "Cs"), exclude_characters="\\"), min_size=1, max_size=40
).filter(lambda text: text.strip() == text)


def _patient(value: str) -> Dataset:
    dataset = Dataset()
    dataset.add_new("PatientID", "LO", value)
    return dataset


@given(value=_VALUES, other=_VALUES)
def test_equals_means_exactly_that_value(value, other):
    query = parse(equals("PatientID", value))
    assert evaluate(query, _patient(value))
    assert evaluate(query, _patient(other)) == (value.casefold() == other.casefold())


def test_a_star_in_a_value_is_no_wildcard():
    assert not evaluate(parse(equals("PatientID", "A*")), _patient("AB"))
