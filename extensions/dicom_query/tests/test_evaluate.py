"""Queries about datasets in memory, made here and read from real files."""

from __future__ import annotations

import io
import json
import warnings
from pathlib import Path

import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.data import get_testdata_file
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from dicom_query import evaluate, evaluate_document, index_document, parse
from extensions.dicom_query.tests.cases import ANSWERS, DATES, example
from extensions.dicom_query.tests.models import Element, build, models


def ask(text: str, dataset: Dataset) -> bool:
    query = parse(text)
    truth = evaluate(query, dataset)
    assert evaluate_document(query, json.loads(json.dumps(index_document(dataset)))) is truth
    return truth


@pytest.mark.parametrize(("text", "expected"), ANSWERS)
def test_answers(text, expected):
    assert ask(text, example()) is expected


@pytest.mark.parametrize(("value", "before", "on", "after"), DATES)
def test_dates_count_where_they_are_certain(value, before, on, after):
    dataset = build({0x00081030: Element("LO", [value])})
    for literal in ("20240131", "2024-01-31"):
        assert ask(f"StudyDescription DateBefore {literal}", dataset) is before
        assert ask(f"StudyDescription DateOn {literal}", dataset) is on
        assert ask(f"StudyDescription DateAfter {literal}", dataset) is after


def test_partial_dates_in_a_query():
    dataset = build({0x00080020: Element("DA", ["20240131"])})
    for text, expected in {
        "DateOn 2024": True,
        "DateOn 2024-01": True,
        "DateOn 2023": False,
        "DateAfter 2023": True,
        "DateAfter 2023-12": True,
        "DateAfter 2024": False,
        "DateBefore 2024": False,
        "DateBefore 2024-02": True,
        "DateOn 2024-01-31T10": False,
        "DateBefore 2024-01-31T10": False,
    }.items():
        assert ask(f"StudyDate {text}", dataset) is expected, text


def test_file_meta_information_counts():
    dataset = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
    assert ask("TransferSyntaxUID StrEquals 1.2.840.10008.1.2.1", dataset)
    assert ask("MediaStorageSOPClassUID Exists AND SOPClassUID StrEquals 1.2.840.10008.5.1.4.1.1.2", dataset)


def test_pixel_data_that_was_left_out():
    path = get_testdata_file("CT_small.dcm")
    whole = index_document(pydicom.dcmread(path))
    header = index_document(pydicom.dcmread(path, stop_before_pixels=True), has_pixel_data=True)
    assert header["7FE00010"] == whole["7FE00010"] == [None]
    assert header == {tag: value for tag, value in whole.items() if tag <= "7FE00010"}


def test_documents():
    dataset = build(
        {
            0x00080060: Element("CS", ["CT"]),
            0x00080008: Element("CS", []),
            0x00104000: Element("LT", ["a\\b\0 "]),
            0x00400275: Element("SQ", [{0x00100010: Element("PN", ["Straße^="])}, {}]),
            0x00082112: Element("SQ", []),
            0x00091002: Element("OB", [b"12"]),
            0x7FE00010: Element("OW", []),
        }
    )
    assert index_document(dataset) == {
        "00080060": ["ct"],
        "00080008": [""],
        "00104000": ["a\\b"],
        "00400275": [{"00100010": ["strasse^"]}, {}],
        "00082112": [""],
        "00091002": [None],
        "7FE00010": [""],
    }


def test_lone_surrogates_cannot_break_json():
    dataset = Dataset()
    dataset.add(DataElement(0x00104000, "LT", "a\ud800b"))
    assert index_document(dataset) == {"00104000": ["a\ufffdb"]}
    assert evaluate(parse('00104000 StrEquals "a\ud800b"'), dataset)


def test_asking_leaves_the_dataset_as_it_was():
    dataset = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
    evaluate(parse("PatientName StrEquals 'x*' OR SliceThickness NbLess 0 OR StudyDate DateBefore 1900"), dataset)
    for tag in (0x00100010, 0x00180050, 0x00080020):
        assert isinstance(dataset.get_item(tag), pydicom.dataelem.RawDataElement)


def test_values_that_do_not_fit_their_vr_have_no_text():
    dataset = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
    element = dataset.get_item(0x00280010)
    dataset._dict[pydicom.tag.Tag(0x00280010)] = element._replace(value=b"abc", length=3)
    assert ask("Rows Exists AND Rows NotEmpty AND NOT (Rows Empty)", dataset)
    assert not ask("Rows StrEquals * OR Rows NbLess 1e9", dataset)


@pytest.mark.parametrize("value", [b"Doe^Jane==", b"Doe^Jane= ", b"DOE^JANE\0"])
def test_padding_of_names_does_not_count(value):
    dataset = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
    element = dataset.get_item(0x00100010)
    dataset._dict[pydicom.tag.Tag(0x00100010)] = element._replace(value=value, length=len(value))
    assert ask("PatientName StrEquals doe^jane", dataset)


def test_deep_nesting_does_not_recurse():
    dataset = root = Dataset()
    for _ in range(3000):
        item = Dataset()
        dataset.add(DataElement(0x0040A730, "SQ", Sequence([item])))
        dataset = item
    document = index_document(root)
    depth = 0
    while "0040A730" in document:
        document, depth = document["0040A730"][0], depth + 1
    assert depth == 3000


def convert(dataset: Dataset) -> None:
    """Make pydicom convert every element it can."""
    for tag in list(dataset.keys()):
        try:
            element = dataset[tag]
        except Exception:  # noqa: BLE001 - malformed on purpose
            continue
        if element.VR == "SQ":
            for item in element.value or ():
                convert(item)


def corpus(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix not in (".txt", ".tsv", ".md"))


def test_real_files_have_the_same_document_before_and_after_conversion(shared_data):
    """Elements still in bytes are read here, converted ones as pydicom has them: no difference may show."""
    compared = 0
    for path in corpus(shared_data / "dicom"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                dataset = pydicom.dcmread(path, force=True, stop_before_pixels=True)
            except Exception:  # noqa: BLE001 - malformed on purpose
                continue
            raw = index_document(dataset)
            convert(dataset)
            assert index_document(dataset) == raw, path.name
        assert json.loads(json.dumps(raw)) == raw
        compared += 1
    assert compared > 300


SYNTAXES = [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian]


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda uid: uid.name)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_a_dataset_keeps_its_document_through_a_file(syntax, data):
    model = data.draw(models(depth=2))
    model = {tag: element for tag, element in model.items() if tag >> 16 != 9}  # implicit VR loses private VRs
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = build(model)
        dataset.SpecificCharacterSet = "ISO_IR 192"
        expected = index_document(dataset)
        meta = FileMetaDataset()
        meta.TransferSyntaxUID = syntax
        buffer = io.BytesIO()
        dataset.file_meta = meta
        try:
            pydicom.dcmwrite(buffer, dataset, little_endian=syntax.is_little_endian, implicit_vr=syntax.is_implicit_VR)
        except Exception:  # noqa: BLE001 - pydicom refuses to write it
            return
        buffer.seek(0)
        read = index_document(pydicom.dcmread(buffer, force=True))
    assert without_private({tag: value for tag, value in read.items() if tag[:4] != "0002"}) == without_private(
        expected
    )


def without_private(document: dict) -> dict:
    """Leave out private elements, and bytes that may be padded."""
    return {
        tag: [without_private(value) if isinstance(value, dict) else value for value in values]
        for tag, values in document.items()
        if int(tag[:4], 16) % 2 == 0
    }
