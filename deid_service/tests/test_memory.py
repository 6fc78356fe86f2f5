"""What is remembered of earlier instances changes nothing but the time."""

from __future__ import annotations

import struct
from io import BytesIO
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import Dataset, dcmread
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from deid_service import Cleaned, Deidentifier, PseudonymKey, Refused, default_rules_path, load_rules, verify
from deid_service._scan import Scan, Seen, UnreadableError
from deid_service.wire import read

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


PLAIN: dict[str, Any] = {
    "patient": "PID-4711",
    "study": 1,
    "series": 1,
    "number": 1,
    "charset": None,
    "text": "Thorax",
    "date": "20240310",
    "creator": None,
    "comment": False,
    "syntax": ExplicitVRLittleEndian,
}


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
    learnt: dict[str, Seen] = {}
    with pytest.MonkeyPatch.context() as patch:
        for data in [*sequence, *sequence]:
            patch.setattr(verify, "_series", learnt)
            remembering = result(warm, data)
            patch.setattr(verify, "_series", {})
            assert remembering == result(Deidentifier(loaded, KEY), data)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(instances(), min_size=2, max_size=8))
def test_copies_of_which_parts_are_known_are_read_as_any_other(copies):
    seen = Seen()
    for copy in [*copies, *copies, *copies[:1]]:
        known, plain = Scan([copy], seen), Scan([copy])
        assert known.entries == plain.entries
        assert known.top == plain.top
        assert len(known.fresh) + sum(len(run.entries) for run in known.runs) == len(plain.entries)
        seen.learn(known, verify._may_be_shared)


def test_what_differs_from_copy_to_copy_is_in_no_run():
    seen = Seen()
    for number in range(1, 5):
        copy = _instance(PLAIN | {"number": number})
        scan = Scan([copy], seen)
        seen.learn(scan, verify._may_be_shared)
    assert {scan.entries[first][0] for _, _, first, _ in scan.read_anew} == {0x00080018, 0x00200013}
    assert {entry[0] for entry in scan.fresh} == {0x00080018, 0x00200013}
    assert len(scan.runs) == 3
    # What is cut off behind what is known is noticed all the same.
    end = copy.index(scan.runs[-1].raw) + len(scan.runs[-1].raw)
    with pytest.raises((UnreadableError, struct.error)):
        Scan([copy[: end - 1]], seen)


def verified(data: bytes, patient: str, series: str) -> None:
    """Have an instance verified as if it were a copy of the same under another patient's name."""
    copy = read(data)
    original = dcmread(BytesIO(data))
    original.PatientName, original.PatientID = patient, "OTHER-99812"
    verify.verify([data], [e.tag for e in copy.elements], read(to_bytes(original)), series=series)


def plain_instance(**values: Any) -> bytes:
    """Return an instance whose file meta information is that of a clean copy."""
    dataset = dcmread(BytesIO(_instance(PLAIN | values)))
    del dataset.file_meta.SourceApplicationEntityTitle
    buffer = BytesIO()
    dataset.save_as(buffer)
    return buffer.getvalue()


def test_bytes_that_were_searched_for_one_patient_are_searched_again_for_another(monkeypatch):
    monkeypatch.setattr(verify, "_series", {})
    for number in range(1, 6):
        verified(plain_instance(number=number, text="Wiesengrund sagt"), "Somebody^Else", "1.2.3")
    (seen,) = verify._series.values()
    assert any(b"Wiesengrund" in run.raw for run in seen.runs.values())
    with pytest.raises(Refused, match="a name in StudyDescription"):
        verified(plain_instance(number=6, text="Wiesengrund sagt"), "Wiesengrund^Erika", "1.2.3")
    verified(plain_instance(number=7, text="Wiesengrund sagt"), "Somebody^Else", "1.2.3")


def test_identifier_that_turns_up_in_the_middle_of_a_series_is_found(monkeypatch):
    monkeypatch.setattr(verify, "_series", {})
    for number in range(1, 6):
        verified(plain_instance(number=number), "Wiesengrund^Erika", "1.2.3")
    with pytest.raises(Refused, match="a name in StudyDescription"):
        verified(plain_instance(number=6, text="Wiesengrund sagt"), "Wiesengrund^Erika", "1.2.3")
