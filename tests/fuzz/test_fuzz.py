"""A sample of the damaged files; the long form is ``python -m tests.fuzz``."""

from __future__ import annotations

import pytest

from tests.fuzz.__main__ import run
from tests.fuzz.mutations import mutated

pytestmark = pytest.mark.filterwarnings("ignore")  # pydicom warns of the values that damage makes


@pytest.mark.timeout(120)
def test_damaged_files_are_cleaned_or_refused_and_nothing_fails() -> None:
    result = run(mutated(400))
    assert result.faults == []
    assert result.outcomes.total() == 400
    assert {"cleaned", "malformed"} <= result.outcomes.keys()
    assert result.slowest < 10
    assert result.grown < 500e6


def test_the_damage_is_the_same_every_time() -> None:
    assert list(mutated(20)) == list(mutated(20))
