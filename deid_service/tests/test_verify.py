"""The second look: whatever identified the patient is found wherever it stands, and ordinary words are not."""

from __future__ import annotations

import struct
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
)

from deid_service import Cleaned, Deidentifier, PseudonymKey, Refused, default_rules_path, load_rules
from deid_service.verify import verify
from deid_service.wire import Source, read

CLEANER = Deidentifier(load_rules(default_rules_path()), PseudonymKey(bytes(range(32))))
Make = Callable[..., tuple[bytes, Source]]


@pytest.fixture
def make(instance: Dataset, written: Callable[..., bytes]) -> Make:
    """Returns a function: what to plant into the clean copy -> the copy's bytes and the original."""

    def run(plant: Callable[[Dataset], Any] | None = None, **values: Any) -> tuple[bytes, Source]:
        syntax = values.pop("syntax", ExplicitVRLittleEndian)
        for keyword, value in values.items():
            setattr(instance, keyword, value)
        original = written(instance, syntax)
        outcome = CLEANER.clean(original)
        assert isinstance(outcome, Cleaned)
        copy = dcmread(BytesIO(outcome.data))
        if plant is not None:
            plant(copy)
        buffer = BytesIO()
        copy.save_as(buffer, enforce_file_format=True)
        return buffer.getvalue(), read(original)

    return run


def look(copy: bytes, source: Source) -> None:
    verify([copy], [element.tag for element in read(copy).elements], source)


def found(copy: bytes, source: Source) -> str:
    with pytest.raises(Refused) as refusal:
        look(copy, source)
    assert refusal.value.reason_code == "identifier_left"
    for value in ("mustermann", "erika", "4711", "778812", "1964", "hausarzt", "müller"):
        assert value not in str(refusal.value).lower()
    return refusal.value.message


def nested(depth: int, keyword: str, value: str) -> Callable[[Dataset], None]:
    def plant(dataset: Dataset) -> None:
        for _ in range(depth):
            dataset.OriginalAttributesSequence = [Dataset()]
            dataset = dataset.OriginalAttributesSequence[0]
        setattr(dataset, keyword, value)

    return plant


def element(tag: int, vr: str, value: Any) -> Callable[[Dataset], None]:
    return lambda dataset: dataset.add_new(tag, vr, value)


@pytest.mark.parametrize(
    "syntax",
    [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian],
)
def test_a_clean_copy_passes_in_every_encoding(make: Make, syntax: str) -> None:
    look(*make(syntax=syntax))


@pytest.mark.parametrize(
    ("plant", "place"),
    [
        (element(0x00081030, "LO", "CT ERIKA"), "a name in StudyDescription"),
        (element(0x00081030, "LO", "x_Mustermann_y"), "a name in StudyDescription"),
        (element(0x00181030, "LO", "for Dr. Hausarzt"), "the name of another person in ProtocolName"),
        (element(0x00204000, "LT", "line\r\nErika\r\n"), "a name in ImageComments"),
        (element(0x00400275, "SQ", [Dataset()]), ""),
        (nested(1, "SeriesDescription", "PID-4711"), "an ID in OriginalAttributesSequence[0].SeriesDescription"),
        (
            nested(4, "PatientName", "Mustermann^Erika^^Dr."),
            "a name in " + "OriginalAttributesSequence[0]." * 4 + "PatientName",
        ),
        (nested(3, "PatientID", "PID-4711"), "an ID in " + "OriginalAttributesSequence[0]." * 3 + "PatientID"),
        (nested(2, "PatientBirthDate", "19640812"), "PatientBirthDate"),
        (nested(1, "OperatorsName", "Mustermann^Erika"), "OperatorsName"),
        (element(0x00081030, "LO", "xxPID4711yy"), "an ID in StudyDescription"),
        (element(0x00041500, "CS", ["DICOM", "PID4711", "IM1"]), "an ID in ReferencedFileID"),
        (element(0x00181000, "LO", "ACC778812"), "an ID in DeviceSerialNumber"),
        (element(0x00200011, "IS", "1"), ""),
        (element(0x00180015, "CS", "MUSTERMANN"), "a name in BodyPartExamined"),
        (element(0x00081030, "LO", "of 12.08.1964"), "a date in StudyDescription"),
        (element(0x00081030, "LO", "of 1964-08-12"), "a date in StudyDescription"),
        (element(0x00081030, "LO", "of 12 Aug 1964"), "a date in StudyDescription"),
        (element(0x00081030, "LO", "of August 12, 1964"), "a date in StudyDescription"),
        (element(0x00081030, "LO", "20240310101530"), "a date in StudyDescription"),
        (element(0x00081030, "LO", "see 1.2.276.0.7230010.3.1.2.1002."), "a UID in StudyDescription"),
        (element(0x00091001, "UN", b"\x01\x02MUSTERMANN\x03\x04"), "a name in 00091001"),
        (element(0x00091001, "OB", "Mustermann".encode("utf-16-le")), "a name in 00091001"),
        (element(0x00091001, "OB", b"\xff\xfePID-4711\xff\xff"), "an ID in 00091001"),
        (element(0x00091001, "OB", b"\xff\xfe12.08.1964\xff\xff"), "a date in 00091001"),
        (element(0x60003000, "OW", b"\0\1ERIKA MUSTERMANN"), "a name in 60003000"),
        (element(0x00081030, "LO", "erikamustermann"), "a name in StudyDescription"),
        (element(0x00081030, "LO", "user emustermann"), "a name in StudyDescription"),
        (element(0x00081030, "LO", "erika2"), "a name in StudyDescription"),
        (element(0x00081030, "LO", "no 778812"), "an ID in StudyDescription"),
        (element(0x00081030, "LO", "of 12081964"), "a date in StudyDescription"),
        (element(0x00081030, "LO", "of 12.8.64"), "a date in StudyDescription"),
        (element(0x00081030, "LO", "of 12 Aug 64"), "a date in StudyDescription"),
        (element(0x00081030, "LO", "of 640812"), "a date in StudyDescription"),
        (element(0x00180050, "DS", "19640812"), "a date in SliceThickness"),
        (element(0x00200013, "IS", ["2024", "3", "10"]), "a date in InstanceNumber"),
        (element(0x00200013, "IS", "778812"), "an ID in InstanceNumber"),
        (element(0x00281052, "DS", ["2024.5", "3", "10"]), ""),
        (element(0x00189087, "FD", 19640812.0), "a date in DiffusionBValue"),
        (element(0x00280106, "US", [2024, 3, 10]), "a date in SmallestImagePixelValue"),
        (element(0x00091001, "UL", 778812), "an ID in 00091001"),
        (element(0x00081030, "LO", "V 12.8.64.1 and 1.12.8.64"), ""),
    ],
)
def test_identifiers_are_found_wherever_they_stand(make: Make, plant: Callable[[Dataset], None], place: str) -> None:
    copy, source = make(plant)
    if place:
        assert place in found(copy, source)
    else:
        look(copy, source)


@pytest.mark.parametrize(
    ("name", "charset", "planted", "planted_charset"),
    [
        ("Müller^Änne", "ISO_IR 100", "MULLER", None),
        ("Müller^Änne", "ISO_IR 100", "Mueller", None),
        ("Müller^Änne", "ISO_IR 100", "MÜLLER", "ISO_IR 192"),
        ("Muller^Anne", None, "Müller", "ISO_IR 192"),
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", "\\ISO 2022 IR 87", "山田さん", "ISO_IR 192"),
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", "\\ISO 2022 IR 87", "Tarou", None),
        ("Люк^Иванович", "ISO_IR 144", "ИВАНОВИЧ", "ISO_IR 192"),
        ("Zhang^XiaoDong=张^小东", "GB18030", "张小东", "GB18030"),
        ("Hong^Gildong=洪^吉洞=홍^길동", "\\ISO 2022 IR 149", "길동", "ISO_IR 192"),
        ("Young^Long", None, "Long Young", None),
        ("Lee^Ann", None, "Lee, Ann", None),
    ],
)
def test_names_are_found_in_every_group_and_character_set(
    make: Make, name: str, charset: str | None, planted: str, planted_charset: str | None
) -> None:
    def plant(copy: Dataset) -> None:
        copy.SpecificCharacterSet = planted_charset
        copy.StudyDescription = f"CT {planted} x"

    copy, source = make(
        plant, PatientName=name, SpecificCharacterSet=charset.split("\\") if charset and "\\" in charset else charset
    )
    assert "a name in StudyDescription" in found(copy, source)


@pytest.mark.parametrize(
    ("values", "description"),
    [
        ({"PatientName": "Head^Chest"}, "Head, routine"),
        ({"PatientName": "Anonymous", "PatientID": "TEST"}, "test of an anonymous phantom"),
        ({"PatientName": "Li^Wu"}, "Li-ion"),
        ({"PatientID": "1"}, "T1 1.0"),
        ({"PatientID": "123"}, "123 slices"),
        ({"PatientID": "00000"}, "1000000"),
        ({"PatientName": "Mann^Al"}, "Mustermannsche Methode al dente"),
        ({"PatientBirthDate": "19640813"}, "12.08.1964"),
        ({"AccessionNumber": "", "PatientID": ""}, "anything"),
        ({"PatientBirthDate": ""}, "1964 and 2024"),
        ({"PatientID": "1000.5"}, "a"),
    ],
)
def test_short_and_ordinary_words_raise_no_alarm(make: Make, values: dict[str, str], description: str) -> None:
    look(*make(lambda copy: setattr(copy, "StudyDescription", description), **values))


def test_what_the_rules_keep_in_its_own_place_is_no_leak(instance: Dataset, written: Callable[..., bytes]) -> None:
    instance.StudyDescription = "of Erika Mustermann, PID-4711, born 12.08.1964"
    data = written(instance)
    clean = dcmread(BytesIO(data))
    clean.file_meta.pop("SourceApplicationEntityTitle")
    buffer = BytesIO()
    clean.save_as(buffer)
    look(buffer.getvalue(), read(data))


@pytest.mark.parametrize("top", ["PID-4711", "OTHER"])
def test_copies_in_sequences_are_no_leak_only_where_the_patient_is_kept_at_the_top(
    instance: Dataset, written: Callable[..., bytes], top: str
) -> None:
    nested(1, "PatientID", "PID-4711")(instance)
    nested(1, "AccessionNumber", "INNER-0815")(instance)
    data = written(instance)
    clean = dcmread(BytesIO(data))
    clean.file_meta.pop("SourceApplicationEntityTitle")
    clean.PatientID = top
    buffer = BytesIO()
    clean.save_as(buffer)
    if top == "PID-4711":
        look(buffer.getvalue(), read(data))
    else:
        assert "an ID in OriginalAttributesSequence[0]" in found(buffer.getvalue(), read(data))


def test_pixels_are_not_searched(make: Make) -> None:
    look(*make(lambda copy: setattr(copy, "PixelData", b"MUSTERMANN ERIKA PID-4711 19640812")))


def test_preamble_meta_and_structure(make: Make) -> None:
    copy, source = make()
    tags = [element.tag for element in read(copy).elements]
    verify([copy], tags, source)
    pixel = copy.rindex(struct.pack("<HH", 0x7FE0, 0x0010))
    for wrong in (
        b"\0" * 10 + b"MUSTERMANN" + copy[20:],
        copy.replace(b"\x02\x00\x13\x00SH", b"\x02\x00\x16\x00AE"),
        copy + b"\0" * 8,
        copy[:-1],
        copy[:pixel],
        copy[:pixel] + copy[pixel:].replace(b"\xe0\x7f\x10\x00", b"\x01\x00\x10\x00"),
    ):
        with pytest.raises(Refused) as refusal:
            verify([wrong], tags, source)
        assert refusal.value.reason_code == "verification_failed"


def test_a_uid_that_says_it_is_something_else_is_refused(make: Make) -> None:
    copy, source = make()
    tags = [element.tag for element in read(copy).elements]
    with pytest.raises(Refused) as refusal:
        verify([copy.replace(b"\x08\x00\x18\x00UI", b"\x08\x00\x18\x00LO")], tags, source)
    assert refusal.value.reason_code == "verification_failed"


@given(at=st.integers(0, 2000), new=st.binary(max_size=6), removed=st.integers(0, 6))
@settings(max_examples=300, deadline=None)
@pytest.mark.filterwarnings("ignore")
def test_the_reader_never_fails_on_damage(at: int, new: bytes, removed: int) -> None:
    copy, source, tags = _sample()
    try:
        verify([copy[:at] + new + copy[at + removed :]], tags, source)
    except Refused as refusal:
        assert refusal.reason_code in ("verification_failed", "identifier_left")  # noqa: PT017


def _sample() -> tuple[bytes, Source, list[int]]:
    if not _SAMPLE:
        inner = struct.pack("<HH2sH", 0x0010, 0x0020, b"LO", 4) + b"ABCD"
        items = struct.pack("<HHI", 0xFFFE, 0xE000, len(inner)) + inner
        body = (
            struct.pack("<HH2sH", 0x0008, 0x0018, b"UI", 4)
            + b"1.2\0"
            + struct.pack("<HH2sHI", 0x0008, 0x1140, b"SQ", 0, len(items))
            + items
            + struct.pack("<HH2sHI", 0x0008, 0x1150, b"SQ", 0, 0xFFFFFFFF)
            + struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
            + inner
            + struct.pack("<HHIHHI", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0)
            + struct.pack("<HH2sH", 0x0010, 0x0010, b"PN", 6)
            + b"Erika "
        )
        meta = struct.pack("<HH2sH", 0x0002, 0x0010, b"UI", 20) + ExplicitVRLittleEndian.encode() + b"\0"
        data = b"\0" * 128 + b"DICM" + meta + body
        source = read(data)
        _SAMPLE.append((data, source, [element.tag for element in source.elements]))
    return _SAMPLE[0]


_SAMPLE: list[tuple[bytes, Source, list[int]]] = []
