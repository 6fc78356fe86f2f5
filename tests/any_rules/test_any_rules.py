"""Whatever legal rules meet whatever instance, the outcome keeps its promises."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from datetime import date
from io import BytesIO
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from pydicom import Dataset, config, dcmread

from deid_service import REFUSAL_REASONS, Cleaned, Deidentifier, Discarded, PseudonymKey, Refused, load_rules
from tests.any_rules.instances import DAYS, TIMES, UIDS, instances, written
from tests.any_rules.rules_files import REUSE, profiles, rules_files

KEY = PseudonymKey(bytes(range(32)))
Place = tuple[tuple[int, int], ...]

pytestmark = pytest.mark.filterwarnings("ignore")  # pydicom warns of the values that are not legal
# How many times as many examples as the suite's: `python -m tests.any_rules` looks longer.
_TIMES = int(os.environ.get("RPACS_TIMES_AS_MANY", "1"))


def examples(count: int) -> settings:
    return settings(max_examples=count * _TIMES, deadline=None, suppress_health_check=list(HealthCheck))


def cleaned(deidentifier: Deidentifier, data: bytes) -> Cleaned | Discarded | Refused:
    try:
        return deidentifier.clean(data)
    except Refused as refusal:
        return refusal


def read(data: bytes) -> Dataset:
    return dcmread(BytesIO(data))


def walk(dataset: Dataset, place: Place = ()) -> Iterator[tuple[Place, Dataset, int]]:
    """Yield the place of every element, the data set it is in, and its tag."""
    for tag in list(dataset.keys()):
        yield (*place, (int(tag), -1)), dataset, int(tag)
        with config.disable_value_validation():
            element = dataset[tag]
        if element.VR == "SQ":
            for index, item in enumerate(element.value):
                yield from walk(item, (*place, (int(tag), index)))


def faulty(data: bytes) -> dict[Place, str]:
    """Return the elements that pydicom does not read strictly, and what it says."""
    found: dict[Place, str] = {}

    def visit(dataset: Dataset, place: Place) -> None:
        for tag in list(dataset.keys()):
            try:
                with strictly():
                    element = dataset[tag]
                    str(element.value)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is what pydicom has against the value
                found[(*place, (int(tag), -1))] = repr(error)
                continue
            if element.VR == "SQ":
                for index, item in enumerate(element.value):
                    visit(item, (*place, (int(tag), index)))

    visit(read(data), ())
    return found


class strictly:  # noqa: N801 - reads as what it does
    """pydicom raises at what is not legal."""

    def __enter__(self) -> None:
        self._mode = config.settings.reading_validation_mode
        config.settings.reading_validation_mode = config.RAISE
        self._warnings = warnings.catch_warnings()
        self._warnings.__enter__()
        warnings.simplefilter("error")

    def __exit__(self, *_: object) -> None:
        self._warnings.__exit__(None, None, None)
        config.settings.reading_validation_mode = self._mode


@given(rules_files())
@examples(60)
def test_every_rules_file_of_the_language_is_read(rules: str) -> None:
    assert load_rules(rules).digest == load_rules(rules).digest
    assert set(yaml.safe_load(rules)) <= {"Labels", "Categories", "ScopeToForward", "Transformations", "Profile"}


@given(rules_files(), instances())
@examples(100)
def test_the_outcome_is_the_same_every_time_legal_and_explained(rules: str, data: bytes) -> None:
    deidentifier = Deidentifier(load_rules(rules), KEY)
    outcome = cleaned(deidentifier, data)
    event(outcome.reason_code if isinstance(outcome, Refused) else type(outcome).__name__)
    # By another de-identifier, and by the same, which remembers what it did.
    again, once_more = cleaned(Deidentifier(load_rules(rules), KEY), data), cleaned(deidentifier, data)
    assert type(once_more) is type(outcome)
    if isinstance(outcome, Cleaned) and isinstance(once_more, Cleaned):
        assert once_more.data == outcome.data
        assert once_more.changes == outcome.changes
        assert set(once_more.mappings) == set(outcome.mappings)
    if isinstance(outcome, Refused):
        assert isinstance(again, Refused)
        assert outcome.reason_code == again.reason_code
        assert outcome.reason_code in REFUSAL_REASONS
        # What is legal to begin with is never refused for how the copy was written.
        assert outcome.reason_code not in ("internal_error", "verification_failed", "malformed"), outcome.message
        return
    if isinstance(outcome, Discarded):
        assert again == outcome
        return
    assert isinstance(again, Cleaned)
    assert again.data == outcome.data
    assert again.changes == outcome.changes
    before = {tuple(tag for tag, _ in place) for place in faulty(data)}
    after = {place: why for place, why in faulty(outcome.data).items() if tuple(tag for tag, _ in place) not in before}
    assert not after, after
    _uids_agree(data, outcome)
    if "Profile" not in yaml.safe_load(rules) and "Transcode" not in rules:
        _only_what_is_reported_changed(data, outcome)


def _only_what_is_reported_changed(data: bytes, outcome: Cleaned) -> None:
    old, new = ({place: element(dataset, tag) for place, dataset, tag in walk(read(it))} for it in (data, outcome.data))
    altered = [place for place, value in new.items() if place in old and value is not None and old[place] != value]
    assert len(altered) <= len(outcome.changes), altered
    gone = [place for place in old if place not in new and not _is_structure(place)]
    assert not gone or any(change.action in ("removed", "emptied") for change in outcome.changes), gone


def _is_structure(place: Place) -> bool:
    tag = place[-1][0]
    return tag & 0xFFFF == 0 or tag == 0xFFFCFFFC


def element(dataset: Dataset, tag: int) -> Any:
    """Return what an element's value is compared by; None for sequences."""
    with config.disable_value_validation():
        found = dataset[tag]
        return None if found.VR == "SQ" else (found.VR, str(found.value))


def _uids_agree(data: bytes, outcome: Cleaned) -> None:
    """One UID becomes one UID, and no two the same."""
    pairs = {(one.original, one.replacement) for one in outcome.mappings if one.kind == "uid"}
    assert len({old for old, _ in pairs}) == len(pairs) == len({new for _, new in pairs})
    replacements = dict(pairs)
    assert not any(uid.startswith("1.2.840.10008.") for uid in replacements)
    for (place, old_set, tag), new in _both(data, outcome.data):
        if old_set[tag].VR == "UI" and old_set[tag].VM == 1 and new not in (None, "", "1.2.276.0.7230010.9.9"):
            old = str(old_set[tag].value)
            assert new in (old, replacements.get(old)), place


def _both(first: bytes, second: bytes) -> Iterator[tuple[tuple[Place, Dataset, int], str | None]]:
    after = {place: (dataset, tag) for place, dataset, tag in walk(read(second))}
    for place, dataset, tag in walk(read(first)):
        if place in after:
            copy, _ = after[place]
            yield (place, dataset, tag), str(copy[tag].value) if copy[tag].VR == "UI" else None


@st.composite
def moving_rules(draw: st.DrawFn) -> str:
    """Draw rules by which all of a patient's dates move together, and others that leave dates alone."""
    others = {
        "RandomizeText": [{"TagPatterns": ["*/{LO}", "*/{PN}"], "ReuseMapping": draw(st.sampled_from(REUSE))}],
        "RandomizeUID": [{"TagPatterns": "*/{UI}"}],
        "DeleteTags": [{"TagPatterns": "*/{LT}", "Action": "Remove"}],
    }
    entry: dict[str, Any] = {name: rule for name, rule in others.items() if draw(st.booleans())}
    sections: dict[str, Any] = {"ScopeToForward": {"Labels": "ALL"}}
    if draw(st.booleans()):
        profile = draw(profiles())
        options = [option for option in profile.get("Options", []) if option != "RetainLongitudinalFullDates"]
        sections["Profile"] = {"Name": "Basic", "Options": sorted({*options, "RetainLongitudinalModifiedDates"})}
    else:
        patterns = draw(st.permutations(["*/{DA}", "*/{DT}"]))
        entry["ShiftDateTime"] = {
            "TagPatterns": patterns,
            "ShiftBy": draw(st.integers(1, 5000)),
            "ReuseMapping": "SamePatient",
        }
    if entry:
        sections["Transformations"] = [{"Scope": {"Labels": "ALL"}, **entry}]
    return yaml.safe_dump(sections)


@given(moving_rules(), st.lists(st.tuples(DAYS, DAYS, TIMES), min_size=2, max_size=4))
@examples(50)
def test_the_days_between_a_patients_dates_survive(rules: str, visits: list[tuple[str, str, str]]) -> None:
    deidentifier = Deidentifier(load_rules(rules), KEY)
    moved = set()
    for number, (studied, asked, time) in enumerate(visits):
        dataset = Dataset()
        dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
        dataset.PatientID = "4711-08"
        dataset.SOPInstanceUID, dataset.SeriesInstanceUID = f"{UIDS[0]}.{number}", f"{UIDS[1]}.{number}"
        dataset.StudyInstanceUID = f"{UIDS[2]}.{number}"
        dataset.StudyDate, dataset.SeriesDate, dataset.StudyTime = studied, asked, time
        dataset.AcquisitionDateTime = f"{asked}{time}.25"
        item = Dataset()
        item.ContentDate, item.DateTime = asked, studied + time
        dataset.PerFrameFunctionalGroupsSequence = [item]
        outcome = deidentifier.clean(written(dataset))
        assert isinstance(outcome, Cleaned)
        copy = read(outcome.data)
        inner = copy.PerFrameFunctionalGroupsSequence[0]
        for old, new in (
            (studied, copy.StudyDate),
            (asked, copy.SeriesDate),
            (asked, str(copy.AcquisitionDateTime)),
            (asked, inner.ContentDate),
            (studied, str(inner.DateTime)),
        ):
            moved.add((_day(new) - _day(old)).days)
        assert copy.StudyTime == time
        assert str(copy.AcquisitionDateTime)[8:] == f"{time}.25"
    assert len(moved) == 1
    assert moved != {0}


def _day(text: str) -> date:
    return date(int(text[:4]), int(text[4:6]), int(text[6:8]))
