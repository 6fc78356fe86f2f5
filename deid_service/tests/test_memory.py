"""What is remembered of earlier instances changes nothing but the time."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from deid_service import Cleaned, Deidentifier, PseudonymKey, Refused, default_rules_path, load_rules

from .conftest import EVERYTHING, ct_slice, to_bytes

KEY = PseudonymKey(bytes(range(32)))
SCOPES = ("SameInstance", "SameSeries", "SameStudy", "SamePatient", "Always")

EVERY_SCOPE = EVERYTHING + "\n".join(
    [
        "    ShiftDateTime:",
        "      - {TagPatterns: StudyDate, ShiftBy: 50, ReuseMapping: SameInstance}",
        "      - {TagPatterns: ContentDate, ShiftBy: 50, ReuseMapping: SameSeries}",
        "      - {TagPatterns: '*/{TM}', ShiftBy: 500, ReuseMapping: SamePatient}",
        "    RandomizeText:",
        "      - {TagPatterns: AccessionNumber, ReuseMapping: SameInstance}",
        "      - {TagPatterns: PatientName, ReuseMapping: SamePatient}",
        "      - {TagPatterns: PatientID, ReuseMapping: Always}",
        "      - {TagPatterns: '*/StudyDescription', ReuseMapping: SameStudy}",
        "      - {TagPatterns: '*/CodeMeaning', ReuseMapping: SameSeries}",
        "    RandomizeUID: {TagPatterns: '*/{UI}'}",
        "    AddTags:",
        "      - {Tag: PatientComments, VR: LT, Value: added, OverwriteIfExists: true}",
        "      - {Tag: 'ProcedureCodeSequence[%].CodeValue', VR: SH, Value: X, OverwriteIfExists: true}",
        "    DeleteTags:",
        "      - {TagPatterns: '*/XXX@XXXX', ExceptTagPatterns: '*/0019{KEEP}XX', Action: Remove}",
    ]
)


def instances() -> st.SearchStrategy[bytes]:
    few: dict[str, Any] = {
        "patient": st.sampled_from(["PID-4711", "PID-4712", ""]),
        "study": st.integers(1, 2),
        "series": st.integers(1, 2),
        "number": st.integers(1, 3),
        "charset": st.sampled_from([None, "ISO_IR 100", "ISO_IR 192"]),
        "text": st.sampled_from(["Thorax", "Mustermann seen", "M\xfcller 4711", "on 20240310", "PID-4712"]),
        "date": st.sampled_from(["20240310", "20240311", ""]),
        "creator": st.sampled_from([None, "KEEP", "SIEMENS CT VA0  COAD"]),
        "comment": st.booleans(),
        "syntax": st.sampled_from([ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian]),
    }
    return st.fixed_dictionaries(few).map(_instance)


def _instance(given: dict[str, Any]) -> bytes:
    dataset = ct_slice()
    if given["charset"]:
        dataset.SpecificCharacterSet = given["charset"]
    dataset.PatientID = given["patient"]
    dataset.StudyInstanceUID += f".{given['study']}"
    dataset.SeriesInstanceUID += f".{given['study']}.{given['series']}"
    dataset.SOPInstanceUID += f".{given['study']}.{given['series']}.{given['number']}"
    dataset.InstanceNumber = given["number"]
    text = given["text"] if given["charset"] or given["text"].isascii() else "plain"
    dataset.StudyDescription = text
    dataset.StudyDate = given["date"]
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = "1", "99", text
    item.StudyDate = given["date"]
    dataset.ProcedureCodeSequence = [item]
    dataset.AnatomicRegionSequence = [item, item]
    if given["comment"]:
        dataset.PatientComments = text
    if given["creator"]:
        block = dataset.private_block(0x0019, given["creator"], create=True)
        block.add_new(0x01, "LO", text)
        block.add_new(0x02, "DA", given["date"])
    return to_bytes(dataset, given["syntax"])


def result(deidentifier: Deidentifier, data: bytes) -> object:
    try:
        outcome = deidentifier.clean(data)
    except Refused as refusal:
        return str(refusal)
    assert isinstance(outcome, Cleaned)
    return outcome.data, outcome.changes, outcome.mappings, outcome.sop_instance_uid


@pytest.mark.parametrize("rules", ["every scope", "research"])
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(sequence=st.lists(instances(), min_size=2, max_size=8))
def test_earlier_instances_change_nothing(rules, sequence):
    loaded = load_rules(EVERY_SCOPE if rules == "every scope" else default_rules_path())
    warm = Deidentifier(loaded, KEY)
    for data in [*sequence, *sequence]:
        assert result(warm, data) == result(Deidentifier(loaded, KEY), data)
