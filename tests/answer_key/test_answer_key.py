"""The shipped rules score 100 % on the answer key, and leave nothing of the object with 21 places."""

from __future__ import annotations

from io import BytesIO

import pytest
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from deid_service import Cleaned, Deidentifier, PseudonymKey, load_rules
from tests.answer_key.__main__ import ps315_table, score
from tests.answer_key.patients import patient
from tests.answer_key.places import MARKERS, PLACES, leaks, object_with_21_places
from tests.answer_key.plants import Check, Planted, at, planted_files
from tests.answer_key.policies import POLICIES, Policy
from tests.answer_key.scorer import Score

pytestmark = pytest.mark.filterwarnings("ignore")  # pydicom warns of the values in real files
SHIFTING = next(policy for policy in POLICIES if policy.dates_shifted)
EACH = pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.name)


@EACH
def test_every_answer_is_right(policy: Policy) -> None:
    result = score(policy, table=ps315_table())
    assert result.failures == [], result.failures[:10]
    assert result.held == []
    assert result.total.total() >= 20_000
    assert min(result.total.values()) > 100


@EACH
def test_nothing_is_left_in_21_places(policy: Policy) -> None:
    data = object_with_21_places()
    assert leaks(data) == list(PLACES)
    assert len(PLACES) == 21
    outcome = Deidentifier(load_rules(policy.path), PseudonymKey(bytes(range(32)))).clean(data)
    assert isinstance(outcome, Cleaned)
    assert leaks(outcome.data) == []
    copy = dcmread(BytesIO(outcome.data))
    for keyword in MARKERS:
        assert keyword in copy
    if policy.whole_profile:
        assert "DeidentificationMethodCodeSequence" in copy
        assert "LongitudinalTemporalInformationModified" in copy


def test_the_key_is_the_same_every_time() -> None:
    first, second = (list(planted_files(SHIFTING, variants=1)) for _ in range(2))
    assert [(one.name, one.data, one.checks) for one in first] == [(two.name, two.data, two.checks) for two in second]


def test_the_scorer_notices_every_fault() -> None:
    """What goes in is handed back unchanged, emptied, or mixed up: no action passes by accident."""
    files = list(planted_files(SHIFTING, variants=4))
    unchanged = Score(SHIFTING)
    for planted in files:
        unchanged.add(planted, planted.data)
    for action in ("text_removed", "date_shifted", "uid_changed"):
        assert unchanged.total[action] > 100
        assert unchanged.passed[action] <= unchanged.total[action] * 0.02, action
    for action in ("tag_retained", "text_retained", "uid_consistent"):
        assert unchanged.passed[action] == unchanged.total[action], action
    emptied = Score(SHIFTING)
    for planted in files:
        emptied.add(planted, _header_only(planted))
    # What is left is what makes it a file: its kind and its own UID.
    assert emptied.passed["text_notnull"] == emptied.total["text_notnull"] * 2 / 5
    for action in ("tag_retained", "text_retained", "date_shifted", "patid_consistent"):
        assert emptied.passed[action] <= emptied.total[action] * 0.1, action
    held = Score(SHIFTING)
    for planted in files:
        held.add(planted, None, "why")
    assert len(held.held) == sum(not planted.may_be_held for planted in files)


def test_the_scorer_notices_what_is_inconsistent() -> None:
    person = patient(1)
    result = Score(SHIFTING)
    for number, (uid, identity, day) in enumerate(
        [("1.2.3", "A", "20200102"), ("1.2.4", "B", "20200103"), ("1.2.3", "A", "20200102")]
    ):
        dataset = Dataset()
        dataset.StudyInstanceUID, dataset.PatientID, dataset.StudyDate = uid, identity, day
        checks = [
            Check("uid_consistent", at("StudyInstanceUID"), "9.9.9" if number < 2 else "8.8.8"),
            Check("patid_consistent", at("PatientID"), "P"),
            Check("date_shifted", at("StudyDate"), "20200101"),
        ]
        result.add(Planted("x", person, b"", checks), _written(dataset))
    assert [(check.action, fault) for _, check, fault in result.failures] == [
        ("uid_consistent", "two UIDs for one"),
        ("patid_consistent", "another pseudonym"),
        ("date_shifted", "moved by another number of days"),
        ("uid_consistent", "one UID for two"),
    ]


def _header_only(planted: Planted) -> bytes:
    return _written(Dataset())


def _written(dataset: Dataset) -> bytes:
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", "1.2"
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
