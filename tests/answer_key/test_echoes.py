"""Identifiers that are written in another form are found, and whatever is not is told."""

from __future__ import annotations

import pytest

from tests.answer_key.echoes import NOT_FOUND, measure

pytestmark = pytest.mark.filterwarnings("ignore")


def test_every_form_is_found_but_those_that_the_docs_tell() -> None:
    counted = measure()
    assert len(counted) > 90
    assert {which for which, (found, total) in counted.items() if found < total} == NOT_FOUND.keys()
