"""Free text that is kept loses the patient's own identifiers, and nothing else."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset

from deid_service._needles import Needles
from deid_service.descriptors import PatientIdentifiers, clean_text, identifiers_of
from deid_service.wire import read

HEADER = PatientIdentifiers(
    [
        (0x00100010, "PN", "Müller-Lüdenscheidt^Erika^^Dr.=山田^太郎=やまだ^たろう"),
        (0x00101001, "PN", "Łukasz^Żółć"),
        (0x00100020, "LO", "PID-4711"),
        (0x00100030, "DA", "19640812"),
        (0x00080020, "DA", "20240310"),
        (0x00080090, "PN", "O'Brien^Head^van"),
        (0x00081070, "PN", "김^희중"),
        (0x00080050, "SH", "00778812"),
        (0x00080080, "LO", "St. Mary Hospital"),
        (0x00100040, "CS", "F"),
    ]
)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        # names: case, accents, transliteration, all three groups, physicians
        ("Thorax Fr. MÜLLER", "Thorax Fr."),
        ("mueller, erika CT", "CT"),
        ("E. Muller chest", "chest"),
        ("for Müller's knee", "for knee"),
        ("LUKASZ zolc", ""),
        ("Lüdenscheidt follow-up", "follow-up"),
        ("患者山田太郎さん", "患者さん"),
        ("やまだ CT", "CT"),
        ("김희중 scan", "scan"),
        ("Dr OBrien; call", "call"),
        ("Dr. O'Brien Head", ""),
        ("CT (Erika)", "CT"),
        ("Mullersche Methode", "Mullersche Methode"),
        # ordinary words only where they are names
        ("Head CT", "Head CT"),
        ("Dr. Head", ""),
        ("van der Waals", "van der Waals"),
        # numbers
        ("PID 4711", ""),
        ("pid4711x", ""),
        ("see PID-4711, left", "see, left"),
        ("Acc 778812", "Acc"),
        ("471 1 x 4711", "471 1 x 4711"),
        # dates as people write them
        ("scan 10.03.2024 done", "scan done"),
        ("scan 2024-03-10 done", "scan done"),
        ("scan 2024/3/10 done", "scan done"),
        ("scan 3/10/2024 done", "scan done"),
        ("scan 10.3.24 done", "scan done"),
        ("scan 240310 done", "scan done"),
        ("scan of March 10, 2024", "scan of"),
        ("10-MAR-2024", ""),
        ("10Mar2024", ""),
        ("10. März 2024", ""),
        ("10 mars 2024", ""),
        ("March 10th, 2024", ""),
        ("March 2024", ""),
        ("20240310101500", ""),
        ("20240310", ""),
        ("10032024", ""),
        ("CT of 12 Aug 1964 (Erika)", "CT of"),
        ("born 1964", "born"),
        ("in 1964", "in 1964"),
        ("scan 11.03.2024", "scan 11.03.2024"),
        # institutions as a whole
        ("St Mary Hospital MRI", "MRI"),
        ("hospital MRI of Mary", "hospital MRI of Mary"),
        # what is nobody's business
        ("T1 3D 1.0 x 1.0", "T1 3D 1.0 x 1.0"),
        ("Thorax routine  1.0  B30f", "Thorax routine  1.0  B30f"),
        ("", ""),
    ],
)
def test_words_that_name_the_patient_go_and_others_stay(text: str, left: str) -> None:
    assert clean_text(text, HEADER) == left


def test_values_and_lines_stay_apart() -> None:
    assert clean_text("Erika\\Müller\\CT", HEADER) == "\\\\CT"
    assert clean_text("Name:\r\nErika\r\nCT", HEADER) == "Name:\r\n\r\nCT"


@given(st.text(max_size=60))
def test_nothing_is_cut_where_nothing_is_known(text: str) -> None:
    assert clean_text(text, PatientIdentifiers([])) == text


@given(st.text(alphabet="Müler Eika^=,.-0123456789PID/\\\n()Head太郎山田'", max_size=60))
def test_what_is_left_holds_none_and_no_new_characters(text: str) -> None:
    left = clean_text(text, HEADER)
    remaining = iter(text)
    assert all(letter in remaining for letter in left)  # a subsequence: nothing is made up
    assert HEADER.spans(left) == []


FORMS = [
    "Müller",
    "MUELLER",
    "muller",
    "Lüdenscheidt",
    "Erika",
    "PID-4711",
    "pid 4711",
    "PID4711",
    "x4711",
    "PID 47 11",
    "00778812",
    "778812",
    "x00778812y",
    "12.08.1964",
    "1964-08-12",
    "19640812",
    "12 Aug 1964",
    "August 12, 1964",
    "20240310101530",
    "2024/3/10",
    "12081964",
    "12.8.64",
    "12 Aug 64",
    "12Aug64",
    "120864",
    "8/12/64",
    "lüdenscheidt2",
    "xludenscheidts",
    "Lüdenscheidtsche",
    "MuellerErika",
    "erikamüller",
    "4711",
    "3/10/2024",
    "10.03.24",
    "2024 03 10",
    "20240310_1",
    "D20240310",
    "O'Brien",
    "OBRIEN",
    "Lukasz",
    "山田",
    "山田太郎",
    "born 1964",
    "CT",
    "THORAX",
    "1.0",
    "B30f",
    "+C",
    "Head",
    "Dr.",
    "(",
    "T1",
    "of",
]
SEPARATORS = [" ", ", ", "_", "-", "^", "/", "; ", "."]


@given(st.lists(st.tuples(st.sampled_from(FORMS), st.sampled_from(SEPARATORS)), max_size=5))
@settings(max_examples=500, deadline=None)
def test_the_second_look_finds_nothing_in_what_is_left(parts: list[tuple[str, str]]) -> None:
    left = clean_text("".join(form + separator for form, separator in parts), HEADER)
    needles = Needles(HEADER, PatientIdentifiers([]))
    assert needles.kinds_in_text(left.lower().encode()) == set()
    assert needles.kinds_in_string(left) == set()


def test_short_names_are_cut_beside_the_other() -> None:
    header = PatientIdentifiers([(0x00100010, "PN", "Li^Weizhou")])
    assert clean_text("Li Weizhou Li7Nb", header) == "Li7Nb"
    assert clean_text("Li-ion", header) == "Li-ion"
    header = PatientIdentifiers([(0x00100010, "PN", "Young^Long")])
    assert clean_text("Long Young: the long bones", header) == ": the long bones"


def test_identifiers_come_from_every_depth_and_are_made_once(instance: Dataset, written: Callable[..., bytes]) -> None:
    item = Dataset()
    item.SpecificCharacterSet = "ISO_IR 144"
    item.PatientName = "Дмитрий"
    item.PatientID = "AB 12-34"
    instance.OtherPatientIDsSequence = [item]
    data = written(instance)
    found = identifiers_of(read(data))
    assert {"mustermann", "erika", "дмитрии"} <= found.names
    assert found.people == {"hausarzt", "hans"}
    assert found.ids == {"pid4711", "acc778812", "ab1234"}
    assert found.dates == {"19640812", "20240310", "20240312"}
    assert found is identifiers_of(read(bytes(data)))
    assert identifiers_of(read(data), dates=False).dates == frozenset()
