"""What holds whatever the rules say, and the corners in which identities hide."""

from __future__ import annotations

import struct
import threading
import zlib
from collections.abc import Callable
from io import BytesIO
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset, dcmread
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
)

from deid_service import (
    REFUSAL_REASONS,
    Cleaned,
    Deidentifier,
    Discarded,
    PseudonymKey,
    Refused,
    default_rules_path,
    load_rules,
)
from deid_service.wire import read

Clean = Callable[..., Any]
UIDS = "RandomizeUID: [{TagPatterns: '*/{UI}'}]"
PRIVATE = "DeleteTags: [{TagPatterns: '*/XXX@XXXX', Action: Remove}]"


def long_element(tag: int, vr: bytes, value: bytes, length: int | None = None) -> bytes:
    length = len(value) if length is None else length
    return struct.pack("<HH2sHI", tag >> 16, tag & 0xFFFF, vr, 0, length) + value


def short_element(tag: int, vr: bytes, value: bytes) -> bytes:
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr, len(value)) + value


def implicit_element(tag: int, value: bytes) -> bytes:
    return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, len(value)) + value


def with_element(data: bytes, element: bytes) -> bytes:
    """Insert an element where its tag belongs."""
    source = read(data)
    tag = struct.unpack_from("<HH", element)
    number = tag[0] << 16 | tag[1]
    at = next((other.start for other in source.elements if other.tag > number), len(data))
    return data[:at] + element + data[at:]


def refused(clean: Clean, rules: str, data: Any) -> Refused:
    with pytest.raises(Refused) as refusal:
        clean(rules, data)
    return refusal.value


# ---- always


@pytest.mark.parametrize(
    "syntax",
    [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian],
)
def test_preamble_and_file_meta_are_made_anew_and_the_rest_stays(
    clean: Clean, instance: Dataset, written: Callable[..., bytes], syntax: str
) -> None:
    original = written(instance, syntax, preamble=b"MUSTERMANN ERIKA".ljust(128, b"!"))
    assert b"SECRETSCANNER" in original
    result = clean(UIDS, original)
    data = result.outcome.data
    assert data[:132] == b"\0" * 128 + b"DICM"
    assert b"SECRETSCANNER" not in data
    assert b"MUSTERMANN" not in data
    assert result.file_meta.TransferSyntaxUID == syntax
    assert result.file_meta.MediaStorageSOPInstanceUID == result.SOPInstanceUID == result.outcome.sop_instance_uid
    assert [element.tag & 0xFFFF for element in result.file_meta] == [0, 1, 2, 3, 0x10, 0x12, 0x13]
    before = dcmread(BytesIO(original))
    untouched = [element for element in before if element.VR != "UI"]
    assert [element for element in result if element.VR != "UI"] == untouched


def test_same_rules_key_and_bytes_give_the_same_bytes_in_every_thread(
    instance: Dataset, written: Callable[..., bytes], key: PseudonymKey
) -> None:
    rules = default_rules_path().read_text()
    data = written(instance)
    shared = Deidentifier(load_rules(rules), key)
    results = []

    def work() -> None:
        for _ in range(20):
            outcome = shared.clean(data)
            assert isinstance(outcome, Cleaned)
            results.append(outcome.data)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    fresh = Deidentifier(load_rules(rules), PseudonymKey(bytes(range(32)))).clean(data)
    assert isinstance(fresh, Cleaned)
    assert len(results) == 80
    assert set(results) == {fresh.data}


def test_another_key_gives_other_pseudonyms(clean: Clean, instance: Dataset) -> None:
    other = PseudonymKey(bytes(range(1, 33)))
    assert clean(UIDS, instance).SOPInstanceUID != clean(UIDS, instance, key=other).SOPInstanceUID


def test_out_of_scope_is_discarded(clean: Clean, instance: Dataset) -> None:
    rules = (
        "Labels: [{Name: CT, DICOMQueryFilter: Modality StrEquals ct}, {Name: Old, DICOMQueryFilter: "
        "'StudyDate DateBefore 20000101'}]\n"
        "Categories: [{Name: Xray, Labels: [CT]}]\n"
        "ScopeToForward: SCOPE\n"
        "Transformations: [{Scope: {Labels: ALL}, RandomizeUID: [{TagPatterns: '*/{UI}'}]}]\n"
    )
    assert clean(rules.replace("SCOPE", "{Labels: Old}"), instance) == Discarded(("ALL", "CT"))
    assert clean(rules.replace("SCOPE", "{Labels: ALL, ExceptCategories: Xray}"), instance) == Discarded(("ALL", "CT"))
    assert clean(rules.replace("SCOPE", "{Categories: Xray, ExceptLabels: Old}"), instance).outcome.labels == (
        "ALL",
        "CT",
    )


def test_rules_hold_only_in_their_scope(clean: Clean, instance: Dataset) -> None:
    rules = (
        "Labels: [{Name: CT, DICOMQueryFilter: Modality StrEquals CT}, "
        "{Name: MR, DICOMQueryFilter: Modality StrEquals MR}]\n"
        "ScopeToForward: {Labels: ALL}\n"
        "Transformations:\n"
        "  - {Scope: {Labels: CT}, DeleteTags: [{TagPatterns: StudyDescription, Action: Remove}]}\n"
        "  - {Scope: {Labels: MR}, DeleteTags: [{TagPatterns: PatientSex, Action: Remove}]}\n"
        "  - {Scope: {Labels: ALL, ExceptLabels: CT}, DeleteTags: [{TagPatterns: PatientID, Action: Remove}]}\n"
    )
    result = clean(rules, instance)
    assert "StudyDescription" not in result
    assert result.PatientSex == "F"
    assert result.PatientID == "PID-4711"


def test_group_lengths_and_padding_go_at_every_depth(
    clean: Clean, instance: Dataset, written: Callable[..., bytes]
) -> None:
    inner = implicit_element(0x00080000, b"\4\0\0\0") + implicit_element(0x00081155, b"1.2\0")
    item = struct.pack("<HHI", 0xFFFE, 0xE000, len(inner)) + inner
    data = with_element(written(instance), short_element(0x00080000, b"UL", b"\4\0\0\0"))
    data = with_element(data, long_element(0x00081140, b"UN", item))
    data += long_element(0xFFFCFFFC, b"OB", b"\0" * 64)
    result = clean("DeleteTags: [{TagPatterns: PatientID, Action: Remove}]", data)
    assert not [element for element in result.iterall() if element.tag.element == 0]
    assert 0xFFFCFFFC not in result
    assert result.ReferencedImageSequence[0].ReferencedSOPInstanceUID == "1.2"


def test_untouched_values_are_copied_byte_for_byte(
    clean: Clean, instance: Dataset, written: Callable[..., bytes]
) -> None:
    odd = short_element(0x00181030, b"LO", b"  odd, padded \0")  # pydicom would tidy this up
    data = with_element(written(instance), odd)
    assert odd in clean(PRIVATE, data).outcome.data


def test_pixel_data_is_not_touched(clean: Clean, instance: Dataset, written: Callable[..., bytes]) -> None:
    pixels = instance.PixelData
    assert clean(UIDS, instance).PixelData == pixels
    fragment = b"\xff\xd8" + bytes(200) + b"\xff\xd9"
    body = struct.pack("<HHI", 0xFFFE, 0xE000, 0) + struct.pack("<HHI", 0xFFFE, 0xE000, len(fragment)) + fragment
    element = long_element(0x7FE00010, b"OB", body + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0), 0xFFFFFFFF)
    del instance.PixelData
    data = with_element(written(instance), element).replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.4.50", 1)
    # The transfer syntax has another length now: build the file anew around the same data set.
    data = (
        b"\0" * 128
        + b"DICM"
        + short_element(0x00020010, b"UI", JPEGBaseline8Bit.encode())
        + data[read_meta_end(data) :]
    )
    result = clean(UIDS, data)
    assert result.file_meta.TransferSyntaxUID == JPEGBaseline8Bit
    assert result.outcome.data.endswith(element)


def read_meta_end(data: bytes) -> int:
    return data.index(struct.pack("<HH2s", 0x0008, 0x0008, b"CS"))


# ---- hiding places


@pytest.mark.parametrize("undefined", [True, False])
@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian])
def test_depth_four(
    clean: Clean, instance: Dataset, written: Callable[..., bytes], key: PseudonymKey, syntax: str, undefined: bool
) -> None:
    level = Dataset()
    level.PatientID = "PID-4711"
    level.StudyDate = "20240310"
    for _ in range(4):
        outer = Dataset()
        outer.OriginalAttributesSequence = [level]
        outer["OriginalAttributesSequence"].is_undefined_length = undefined
        level.is_undefined_length_sequence_item = undefined
        level = outer
    instance.OriginalAttributesSequence = level.OriginalAttributesSequence
    rules = (
        "RandomizeText: [{TagPatterns: '*/PatientID', ReuseMapping: Always}]\n"
        "ShiftDateTime: [{TagPatterns: '*/{DA}', ShiftBy: 9, ReuseMapping: SamePatient}]"
    )
    result = clean(rules, written(instance, syntax))
    assert b"4711" not in result.outcome.data
    inner = result
    for _ in range(4):
        inner = inner.OriginalAttributesSequence[0]
    assert inner.PatientID == result.PatientID
    assert inner.StudyDate == result.StudyDate != "20240310"


def private_sequence(value: bytes, tag: int = 0x00091002) -> bytes:
    """A private sequence that a gateway wrote as UN: implicit little endian inside."""
    item = struct.pack("<HHI", 0xFFFE, 0xE000, len(value)) + value
    return short_element(0x00090010, b"LO", b"ACME 1.0") + long_element(tag, b"UN", item)


def test_a_private_sequence_encoded_as_un_is_searched(
    clean: Clean, instance: Dataset, written: Callable[..., bytes]
) -> None:
    inner = implicit_element(0x00100010, b"Mustermann^Erika") + implicit_element(0x00100020, b"PID-4711")
    result = clean(
        "RandomizeText: [{TagPatterns: ['*/{PN}', '*/PatientID'], ReuseMapping: Always}]",
        with_element(written(instance), private_sequence(inner)),
    )
    assert b"Mustermann" not in result.outcome.data
    assert b"4711" not in result.outcome.data
    source = read(result.outcome.data)
    sequence = next(element for element in source.elements if element.tag == 0x00091002)
    assert sequence.items is not None
    name, number = sequence.items[0].elements
    assert source.value(number).decode() == result.PatientID
    assert len(source.value(name)) == 8


def test_standard_elements_encoded_as_un_are_known(
    clean: Clean, instance: Dataset, written: Callable[..., bytes]
) -> None:
    data = with_element(written(instance), long_element(0x00081010, b"UN", b"SCANNER7"))
    data = with_element(data, long_element(0x00080012, b"UN", b"20240310"))
    rules = (
        "ShiftDateTime: [{TagPatterns: '*/{DA}', ShiftBy: 9, ReuseMapping: SamePatient}]\n"
        "RandomizeText: [{TagPatterns: '*/{SH}'}]"
    )
    result = clean(rules, data)
    assert result.InstanceCreationDate == result.StudyDate
    assert b"SCANNER7" not in result.outcome.data


def test_un_that_nobody_knows_stays_only_if_the_rules_let_it(
    clean: Clean, instance: Dataset, written: Callable[..., bytes]
) -> None:
    blob = long_element(0x00091003, b"UN", b"\x01\x02 opaque \xff\xfe")
    data = with_element(with_element(written(instance), blob), short_element(0x00090010, b"LO", b"ACME 1.0"))
    assert blob in clean(UIDS, data).outcome.data
    assert b"opaque" not in clean(PRIVATE, data).outcome.data
    assert b"opaque" not in clean("DeleteTags: [{TagPatterns: '*/{UN}', Action: Remove}]", data).outcome.data
    assert clean("RandomizeText: [{TagPatterns: '0009{ACME 1.0}03'}]", data)[0x00091003].value in (None, b"")


def test_private_children_go_with_their_creator(clean: Clean, instance: Dataset, written: Callable[..., bytes]) -> None:
    data = written(instance)
    for block, creator in ((0x10, b"ACME 1.0"), (0x11, b"OTHER CO")):
        data = with_element(data, short_element(0x00090000 | block, b"LO", creator))
        data = with_element(data, short_element(0x00090000 | block << 8 | 1, b"LO", b"child of " + creator[:1]))
    result = clean("DeleteTags: [{TagPatterns: '00090010', Action: Remove}]", data)
    assert 0x00090010 not in result
    assert 0x00091001 not in result
    assert result[0x00091101].value == "child of O"
    emptied = clean("DeleteTags: [{TagPatterns: '00090010', Action: Empty}]", data)
    assert 0x00091001 not in emptied
    chosen = clean(
        "DeleteTags: [{TagPatterns: '*/XXX@XXXX', Action: Remove, ExceptTagPatterns: '*/0009{OTHER CO}XX'}]",
        data,
    )
    assert [hex(element.tag) for element in chosen if element.tag.is_private] == ["0x90011", "0x91101"]


def test_elements_out_of_order_are_read_and_written_in_order(
    clean: Clean, instance: Dataset, written: Callable[..., bytes]
) -> None:
    data = written(instance)
    pixel = data.index(struct.pack("<HH", 0x7FE0, 0x0010))
    data = data[:pixel] + short_element(0x00081030, b"LO", b"late").replace(b"\x30\x10", b"\x32\x10") + data[pixel:]
    data = data.replace(b"\x08\x00\x32\x10LO", b"\x08\x00\x33\x10LO")
    result = clean(UIDS, data)
    tags = [element.tag for element in read(result.outcome.data).elements]
    assert tags == sorted(tags)
    assert 0x00081033 in tags


def test_an_identifier_left_in_a_description_is_refused_and_the_place_named(clean: Clean, instance: Dataset) -> None:
    rules = "RandomizeText: [{TagPatterns: [PatientName, PatientID, AccessionNumber], ReuseMapping: Always}]\n" + UIDS
    instance.StudyDescription = "Thorax Fr. MUSTERMANN"
    refusal = refused(clean, rules, instance)
    assert refusal.reason_code == "identifier_left"
    assert refusal.message.endswith("a name in StudyDescription")
    instance.StudyDescription = "Mustermannsche Methode"  # a word that only contains the name
    assert clean(rules, instance).StudyDescription == "Mustermannsche Methode"
    instance.SeriesDescription = "for PID-4711"
    assert "an ID in SeriesDescription" in refused(clean, rules, instance).message
    instance.SeriesDescription = f"see {instance.StudyInstanceUID}."
    assert "a UID in SeriesDescription" in refused(clean, rules, instance).message


def test_a_date_left_in_a_description_is_refused(clean: Clean, instance: Dataset) -> None:
    rules = "ShiftDateTime: [{TagPatterns: '*/{DA}', ShiftBy: 4000, ReuseMapping: SamePatient}]"
    instance.StudyDescription = "born 19640812"
    refusal = refused(clean, rules, instance)
    assert "a date in StudyDescription" in refusal.message
    assert "1964" not in str(refusal)


def test_two_issuers_two_patients(clean: Clean, fresh_instance: Callable[[], Dataset]) -> None:
    rules = "RandomizeText: [{TagPatterns: PatientID, ReuseMapping: SamePatient}]"
    other = fresh_instance()
    other.IssuerOfPatientID = "PRAXIS"
    assert clean(rules, fresh_instance()).PatientID != clean(rules, other).PatientID


def test_mappings_name_every_pseudonym(clean: Clean, instance: Dataset) -> None:
    rules = (
        "RandomizeText: [{TagPatterns: [PatientID, AccessionNumber], ReuseMapping: SamePatient}]\n"
        "ShiftDateTime: [{TagPatterns: '*/{DA}', ShiftBy: 9, ReuseMapping: SamePatient}]\n" + UIDS
    )
    result = clean(rules, instance)
    found = {(m.kind, m.scope, m.original): m.replacement for m in result.outcome.mappings}
    instance.PatientID = "PID:4711"
    result = clean(rules, instance)
    found = {(m.kind, m.scope, m.original): m.replacement for m in result.outcome.mappings}
    scope = "patient:PID%3A4711:KLINIKUM"
    assert found["patient_id", scope, "PID:4711"] == result.PatientID
    assert found["text", scope, "ACC778812"] == result.AccessionNumber
    assert found["uid", "always", "1.2.276.0.7230010.3.1.2.1002"] == result.StudyInstanceUID
    assert found["date_offset", scope, "patient/PID:4711/KLINIKUM"].endswith(" days")
    assert "4711" not in repr(result.outcome)
    assert "4711" not in repr(result.outcome.mappings)


# ---- triage


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"BurnedInAnnotation": "YES"}, "burned_in_text_possible"),
        ({"Modality": "US"}, "burned_in_text_possible"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}, "burned_in_text_possible"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7.2"}, "burned_in_text_possible"),
        ({"ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]}, "burned_in_text_possible"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.104.1"}, "encapsulated_document"),
        ({"EncapsulatedDocument": b"%PDF"}, "encapsulated_document"),
        ({"Modality": "US", "BurnedInAnnotation": "NO"}, "burned_in_text_possible"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7", "BurnedInAnnotation": "NO"}, "burned_in_text_possible"),
        ({"Modality": "US", "PixelData": None}, None),
    ],
)
def test_pixels_that_may_name_the_patient_are_refused(
    clean: Clean, instance: Dataset, changes: dict[str, Any], reason: str | None
) -> None:
    for keyword, value in changes.items():
        if value is None:
            delattr(instance, keyword)
        else:
            setattr(instance, keyword, value)
    if reason is None:
        clean(UIDS, instance)
    else:
        assert refused(clean, UIDS, instance).reason_code == reason


def test_an_overlay_in_bits_of_the_pixels_is_cleared_or_refused(clean: Clean, instance: Dataset) -> None:
    instance.add_new(0x60000100, "US", 16)
    instance.add_new(0x60000102, "US", 0)
    clean(UIDS, instance)
    instance.add_new(0x60000102, "US", 12)
    assert refused(clean, UIDS, instance).reason_code == "burned_in_text_possible"
    instance.BitsStored, instance.HighBit, instance.PixelRepresentation = 12, 11, 0
    instance.PixelData = b"\x01\x10\x02\x00\x03\x10\x04\x00"
    result = clean(UIDS, instance)
    assert result.PixelData == b"\x01\x00\x02\x00\x03\x00\x04\x00"
    assert not [element for element in result if element.tag.group == 0x6000]


# ---- malformed input


def test_every_truncation_is_refused(clean: Clean, instance: Dataset, written: Callable[..., bytes]) -> None:
    instance.ReferencedStudySequence = [Dataset()]
    instance.ReferencedStudySequence[0].ReferencedSOPInstanceUID = "1.2.3"
    data = written(instance)
    boundaries = {element.end for element in read(data).elements}
    for length in range(len(data)):
        try:
            clean(UIDS, data[:length])
        except Refused as refusal:
            assert refusal.reason_code in ("malformed", "not_dicom", "missing_uid")  # noqa: PT017
        else:
            # Cut exactly between two elements: nothing in the file says that something is missing.
            assert length in boundaries


@pytest.mark.parametrize("garbage", [b"\0", b"\0" * 8, b"GARBAGE!" * 4, b"\xfe\xff\x0d\xe0\0\0\0\0"])
def test_trailing_garbage_is_refused(
    clean: Clean, instance: Dataset, written: Callable[..., bytes], garbage: bytes
) -> None:
    assert refused(clean, UIDS, written(instance) + garbage).reason_code == "malformed"


@pytest.mark.parametrize(
    "element",
    [
        long_element(0x00081140, b"SQ", b"\xfe\xff\x00\xe0\x20\0\0\0"),  # an item longer than its sequence
        long_element(0x00081140, b"SQ", b"not items"),
        long_element(0x00081140, b"UN", b"\xfe\xff\x00\xe0\x20\0\0\0"),  # a standard sequence as UN, unreadable
        long_element(0x00081140, b"SQ", b"", 0xFFFFFFFF),  # no delimiter
        long_element(0x00420011, b"UT", b"", 0xFFFFFFFF),  # a text of undefined length
        short_element(0x00100030, b"XX", b"19640812"),
        short_element(0x00100030, b"??", b"19640812"),
        short_element(0x00100030, b"DA", b"19640812") * 2,
        short_element(0x00000002, b"UI", b"1.2.3\0"),
    ],
)
def test_broken_structure_is_refused(
    clean: Clean, instance: Dataset, written: Callable[..., bytes], element: bytes
) -> None:
    refusal = refused(clean, UIDS, with_element(written(instance), element))
    assert refusal.reason_code == "malformed"
    assert "1964" not in str(refusal)


def test_endless_nesting_is_refused_without_a_recursion_error(
    clean: Clean, instance: Dataset, written: Callable[..., bytes]
) -> None:
    value = b""
    for _ in range(400):
        item = struct.pack("<HHI", 0xFFFE, 0xE000, len(value)) + value
        value = long_element(0x00081140, b"SQ", item)
    assert refused(clean, UIDS, with_element(written(instance), value)).reason_code == "too_deep"


def test_a_damaged_deflated_file_is_refused(clean: Clean, instance: Dataset, written: Callable[..., bytes]) -> None:
    data = written(instance, DeflatedExplicitVRLittleEndian)
    assert refused(clean, UIDS, data[:-20]).reason_code == "malformed"
    assert refused(clean, UIDS, data + zlib.compress(b"more")).reason_code == "malformed"


@pytest.mark.parametrize("keyword", ["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"])
def test_missing_uids_are_refused(clean: Clean, instance: Dataset, keyword: str) -> None:
    rule = f"DeleteTags: [{{TagPatterns: {keyword}, Action: Empty}}]"
    refusal = refused(clean, rule, instance)
    assert refusal.reason_code == "missing_uid"
    assert "the rules" in refusal.message
    setattr(instance, keyword, "")
    assert refused(clean, UIDS, instance).reason_code == "missing_uid"


def test_two_uids_where_one_belongs_are_refused(clean: Clean, instance: Dataset) -> None:
    instance.SeriesInstanceUID = ["1.2.3", "1.2.4"]
    assert refused(clean, UIDS, instance).reason_code == "malformed"


def test_a_registered_uid_as_a_name_is_refused(clean: Clean, instance: Dataset) -> None:
    instance.StudyInstanceUID = "1.2.840.10008.77.1"
    assert refused(clean, UIDS, instance).reason_code == "registered_uid"


@pytest.mark.parametrize(
    ("data", "reason"),
    [(b"", "not_dicom"), (b"%PDF-1.4" * 50, "not_dicom"), (b"\0" * 128 + b"DICM", "malformed")],
)
def test_what_is_not_dicom_is_refused(clean: Clean, data: bytes, reason: str) -> None:
    assert refused(clean, UIDS, data).reason_code == reason


def test_an_unexpected_failure_refuses_and_quotes_nothing(
    instance: Dataset, written: Callable[..., bytes], key: PseudonymKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (
        "ScopeToForward: {Labels: ALL}\n"
        "Transformations: [{Scope: {Labels: ALL}, RandomizeUID: [{TagPatterns: '*/{UI}'}]}]"
    )
    deidentifier = Deidentifier(load_rules(text), key)

    def fail(*arguments: object) -> None:
        raise ValueError("Mustermann^Erika")

    monkeypatch.setattr(PseudonymKey, "uid", fail)
    with pytest.raises(Refused) as refusal:
        deidentifier.clean(written(instance))
    assert refusal.value.reason_code == "internal_error"
    assert "Mustermann" not in str(refusal.value)
    assert refusal.value.__suppress_context__


@pytest.mark.filterwarnings("ignore")  # pydicom warns of the values that mutation makes
@given(st.lists(st.tuples(st.integers(132, 1200), st.binary(max_size=4), st.integers(0, 4)), min_size=1, max_size=6))
@settings(max_examples=300, deadline=None)
def test_mutated_files_are_cleaned_or_refused_and_never_fail(changes: list[tuple[int, bytes, int]]) -> None:
    data = _MUTABLE
    for at, new, removed in changes:
        data = data[:at] + new + data[at + removed :]
    try:
        outcome = _DEFAULT.clean(data)
    except Refused as refusal:
        assert refusal.reason_code in REFUSAL_REASONS.keys() - {"internal_error"}  # noqa: PT017
    else:
        assert isinstance(outcome, Cleaned)
        assert dcmread(BytesIO(outcome.data)).SOPInstanceUID == outcome.sop_instance_uid


def _mutable() -> bytes:
    elements = [
        short_element(0x00080005, b"CS", b"ISO_IR 100"),
        short_element(0x00080016, b"UI", b"1.2.840.10008.5.1.4.1.1.2\0"),
        short_element(0x00080018, b"UI", b"1.2.276.0.7230010.3.1.4.10"),
        short_element(0x00080020, b"DA", b"20240310"),
        private_sequence(implicit_element(0x00100020, b"PID-4711")),
        short_element(0x00100010, b"PN", b"Mustermann^Erika"),
        short_element(0x00100020, b"LO", b"PID-4711"),
        short_element(0x0020000D, b"UI", b"1.2.276.0.7230010.3.1.2.10"),
        short_element(0x0020000E, b"UI", b"1.2.276.0.7230010.3.1.3.10"),
        long_element(0x7FE00010, b"OW", bytes(64)),
    ]
    meta = short_element(0x00020010, b"UI", ExplicitVRLittleEndian.encode() + b"\0")
    return b"\0" * 128 + b"DICM" + meta + b"".join(elements)


_MUTABLE = _mutable()
_DEFAULT = Deidentifier(load_rules(default_rules_path()), PseudonymKey(bytes(range(32))))
