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
from deid_service.wire import Element, HeaderRuns, Source, read

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


def _values() -> dict[str, st.SearchStrategy[Any]]:
    return {
        "patient": st.sampled_from(["PID-4711", "PID-4712", ""]),
        "study": st.integers(1, 2),
        "series": st.integers(1, 2),
        "number": st.integers(1, 3),
        "charset": st.sampled_from([None, "ISO_IR 100", "ISO_IR 192"]),
        "text": st.sampled_from(["Thorax", "Mustermann seen", "M\xfcller 4711", "on 20240310", "PID-4712"]),
        "date": st.sampled_from(["20240310", "20240311", ""]),
        "creator": st.sampled_from([None, "KEEP", "SIEMENS CT VA0  COAD"]),
        "second": st.sampled_from([None, "KEEP", "OTHER"]),
        "extra": st.booleans(),
        "comment": st.booleans(),
        "undefined": st.booleans(),
        "syntax": st.sampled_from([ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian]),
    }


def instances() -> st.SearchStrategy[bytes]:
    return st.fixed_dictionaries(_values()).map(_instance)


def series() -> st.SearchStrategy[list[bytes]]:
    """Instances that differ in little, as those of a series do."""
    differing = st.lists(st.fixed_dictionaries({}, optional=_values()), min_size=3, max_size=8)
    few = differing.map(lambda all_of_them: [dict(list(one.items())[:2]) for one in all_of_them])
    return st.tuples(st.fixed_dictionaries(_values()), few).map(
        lambda drawn: [_instance(drawn[0] | other) for other in [{}, {}, *drawn[1]]]
    )


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
    if given["second"]:
        dataset.add_new(0x00190012, "LO", given["second"])
        dataset.add_new(0x00191201, "LO", text)
    if given["extra"]:
        dataset.add_new(0x00191099, "LO", "more")  # of a block without creator, if there is no other element of it
        dataset.add_new(0x00191299, "LO", "more")
    if given["undefined"]:
        dataset["ProcedureCodeSequence"].is_undefined_length = True
        item.is_undefined_length_sequence_item = True
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
    "second": None,
    "extra": False,
    "comment": False,
    "undefined": False,
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
@given(sequence=st.lists(instances(), min_size=2, max_size=8) | series())
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


def layout(elements: list[Element]) -> list[object]:
    return [
        (
            *(one.tag, one.vr, one.start, one.value_start, one.value_end, one.end),
            *(one.undefined, one.creator, one.item_encoding),
            one.items and [(item.undefined, layout(item.elements)) for item in one.items],
        )
        for one in elements
    ]


def assert_read_alike(known: Source, plain: Source) -> None:
    assert layout(known.elements) == layout(plain.elements)
    assert (known.meta, known.transfer_syntax, known.encoding) == (plain.meta, plain.transfer_syntax, plain.encoding)
    if known.segments is not None:
        by_segment = [[one] if isinstance(one, Element) else one.elements for one in known.segments]
        assert [one for several in by_segment for one in several] == known.elements
    assert known.select(_is_private) == [one for one in known.elements if _is_private(one)]


def _is_private(element: Element) -> bool:
    return bool(element.tag & 0x10000)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(instances(), min_size=2, max_size=8) | series())
def test_instances_of_which_parts_are_known_are_read_as_any_other(sequence):
    runs = HeaderRuns()
    for data in [*sequence, *sequence]:
        assert_read_alike(read(data, runs), read(data))


def test_what_the_instances_of_a_series_share_is_read_once():
    runs = HeaderRuns()
    for number in range(1, 4):
        source = read(_instance(PLAIN | {"number": number, "charset": "ISO_IR 100"}), runs)
    assert source.segments is not None
    alone = [one.tag for one in source.segments if isinstance(one, Element)]
    assert alone == [0x00080005, 0x00080018, 0x00200013, 0x7FE00010]
    again = read(_instance(PLAIN | {"number": 5, "charset": "ISO_IR 100"}), runs)
    assert again.elements[-2] is source.elements[-2]
    # Other bytes of the same length, in the midst of what is known
    other = read(_instance(PLAIN | {"number": 6, "date": "20240311"}), runs)
    assert_read_alike(other, read(other.data))


def test_text_that_is_known_is_cleaned_again_for_another_name():
    warm = Deidentifier(load_rules(default_rules_path()), KEY)
    for name in ["Somebody^Else"] * 4 + ["Wiesengrund^Erika"] * 2 + ["Somebody^Else"]:
        dataset = dcmread(BytesIO(_instance(PLAIN | {"text": "Wiesengrund sagt"})))
        dataset.ReferringPhysicianName = name
        cleaned = warm.clean(to_bytes(dataset))
        assert isinstance(cleaned, Cleaned)
        assert (b"Wiesengrund" in cleaned.data) == name.startswith("Somebody")


def test_what_is_known_of_a_series_is_bounded():
    runs = HeaderRuns()
    for number in range(1, 4):
        plain = _instance(PLAIN | {"number": number})
        many = [struct.pack("<HH2sH", 0x7002, tag, b"LO", 8) + b"%08d" % tag for tag in range(1, 6000)]
        data = _with(plain, *many)
        assert_read_alike(read(data, runs), read(data))
        found = runs.find(data, 0, read(data).encoding)
        assert found is not None
        assert 0 < sum(len(run.raw) for run in found.runs.values()) <= 2**15
        assert max(len(run.raw) for run in found.runs.values()) <= 2**13


def _with(data: bytes, *pieces: bytes) -> bytes:
    """Put elements in front of the pixel data."""
    place = read(data).elements[-1].start
    return data[:place] + b"".join(pieces) + data[place:]


def _private(number: int, value: bytes) -> bytes:
    return struct.pack("<HH2sH", 0x7001, number, b"LO", len(value)) + value


@pytest.mark.parametrize(
    "last",
    [
        [_private(0x10, b"KEEP"), _private(0x1001, b"AB"), _private(0x1002, b"CD")],
        [_private(0x10, b"KEEP"), _private(0x11, b"MINE"), _private(0x1001, b"AB"), _private(0x1101, b"CD")],
        [_private(0x0F, b"XX"), _private(0x10, b"KEEP"), _private(0x1001, b"AB")],
        [_private(0x1001, b"AB")],
        [_private(0x10, b"MINE"), _private(0x1001, b"AB")],
        # Not in order: the creator follows what it explains
        [_private(0x1001, b"AB"), _private(0x10, b"KEEP")],
        [_private(0x10, b"KEEP"), _private(0x1001, b"AB"), _private(0x11, b"MINE")],
    ],
)
def test_private_elements_belong_to_the_creator_of_their_own_instance(last):
    loaded, runs = load_rules(EVERY_SCOPE), HeaderRuns()
    warm = Deidentifier(loaded, KEY)
    usual = [_private(0x10, b"KEEP"), _private(0x1001, b"AB")], [_private(0x1001, b"AB"), _private(0x1101, b"CD")]
    for number, pieces in enumerate([*[usual[0]] * 3, last, *[usual[1]] * 3, last, usual[0], usual[1]]):
        data = _with(_instance(PLAIN | {"number": number}), *pieces)
        assert_read_alike(read(data, runs), read(data))
        assert result(warm, data) == result(Deidentifier(loaded, KEY), data)


def test_unknown_element_of_undefined_length_is_in_no_run():
    item = struct.pack("<HHI", 0xFFFE, 0xE000, 0) + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    unknown = struct.pack("<HH2sHI", 0x7000, 0x0001, b"UN", 0, 0xFFFFFFFF) + item
    runs = HeaderRuns()
    for number in range(1, 5):
        source = read(_with(_instance(PLAIN | {"number": number}), unknown), runs)
    assert source.segments is not None
    assert 0x70000001 in [one.tag for one in source.segments if isinstance(one, Element)]


def test_instance_that_ends_within_what_is_known_is_refused_as_any_other():
    runs = HeaderRuns()
    for number in range(1, 4):
        source = read(_instance(PLAIN | {"number": number}), runs)
    for element in source.elements[-5:]:
        for end in (element.start + 3, element.end - 1):
            with pytest.raises(Refused) as plain:
                read(source.data[:end])
            with pytest.raises(Refused) as known:
                read(source.data[:end], runs)
            assert str(known.value) == str(plain.value)


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
