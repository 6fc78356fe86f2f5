"""Triage: which pixels are suspected, and why."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom.datadict import tag_for_keyword

from deid_service.errors import Refused
from deid_service.pixels.header import Header, header_of
from deid_service.pixels.triage import triage
from deid_service.wire import read

ROOT = "1.2.840.10008.5.1.4.1.1"
CT = {
    "SOPClassUID": f"{ROOT}.2",
    "Modality": "ct",
    "ImageType": "original\\primary\\axial",
    "PhotometricInterpretation": "monochrome2",
    "BitsStored": "12",
    "Rows": "512",
    "Columns": "512",
    "ImagePositionPatient": "",
    "PixelData": "",
}
CR = CT | {"SOPClassUID": f"{ROOT}.1", "Modality": "cr"}


def header(values: dict[str, str | None]) -> Header:
    return Header({tag_for_keyword(word) or 0: value for word, value in values.items() if value is not None})


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (CT | {"BurnedInAnnotation": "yes"}, "says that text is burned"),
        (CT | {"SpecimenLabelInImage": "yes"}, "a label"),
        (CT | {"Modality": "us"}, "ultrasound"),
        (CT | {"Modality": "us", "BurnedInAnnotation": "no"}, "ultrasound"),
        (CT | {"SOPClassUID": f"{ROOT}.6.1", "BurnedInAnnotation": "no"}, "ultrasound"),
        (CT | {"SOPClassUID": f"{ROOT}.7", "BurnedInAnnotation": "no"}, "secondary capture"),
        (CT | {"SOPClassUID": f"{ROOT}.7.4"}, "secondary capture"),
        (CT | {"SOPClassUID": f"{ROOT}.77.1.1"}, "not known"),
        (CT | {"SOPClassUID": "1.2.3.4"}, "not known"),
        (CT | {"SOPClassUID": None}, "not known"),
        (CT | {"ImageType": "derived\\primary\\screen save"}, "Image Type speaks of a screen"),
        (CT | {"ImageType": "original\\primary\\dose_info"}, "Image Type speaks of a dose"),
        (CT | {"SOPClassUID": f"{ROOT}.77.1.6", "ImageType": "original\\primary\\label\\none"}, "of a label"),
        (CT | {"ConversionType": "wsd"}, "Conversion Type"),
        (CR | {"DetectorType": "film", "BurnedInAnnotation": "no"}, "film"),
        (CT | {"SecondaryCaptureDeviceManufacturer": "vidar"}, "captured or printed"),
        (CT | {"SeriesDescription": "patient protocol"}, '"patient protocol"'),
        (CT | {"SeriesDescription": "1.25mm dose report"}, '"dose report"'),
        (CT | {"ImageType": "derived\\secondary\\mpr"}, "SECONDARY"),
        (CT | {"PhotometricInterpretation": "rgb"}, "colour"),
        (CT | {"PhotometricInterpretation": "palette color"}, "colour"),
        (CT | {"BitsStored": "8"}, "8 bits"),
        (CT | {"ImageType": "derived\\primary", "ImagePositionPatient": None}, "position"),
        (CR, "computed radiograph"),
        (CT | {"SOPClassUID": f"{ROOT}.1.2"}, "mammogram"),
        (CT | {"Manufacturer": "ge medical systems", "CommentsOnRadiationDose": "total dlp"}, "catalogue"),
        (CT, None),
        (CT | {"BurnedInAnnotation": "no"}, None),
        (CT | {"ImageType": "derived\\primary\\axial"}, None),
        (CT | {"SOPClassUID": f"{ROOT}.4", "Modality": "mr", "BitsStored": "16"}, None),
        (CR | {"BurnedInAnnotation": "no"}, None),
        (CT | {"SOPClassUID": f"{ROOT}.66.4", "BitsStored": "1"}, None),
        (CT | {"PixelData": None, "Modality": "us"}, None),
    ],
)
def test_who_is_suspected_and_why(values: dict[str, str | None], words: str | None) -> None:
    finding = triage(header(values))
    assert finding.suspected == (words is not None)
    assert (words or "") in finding.reason
    assert finding.reason


def test_an_instance_without_pixels_is_told_apart() -> None:
    assert not triage(header(CT | {"PixelData": None})).pixels
    assert triage(header(CT)).pixels


def test_documents_are_seen() -> None:
    assert triage(header({"SOPClassUID": f"{ROOT}.104.1"})).document
    assert triage(header(CT | {"PixelData": None, "EncapsulatedDocument": ""})).document


def test_one_reason_for_a_whole_series(instance: object, written: Callable[..., bytes]) -> None:
    data = written(instance)
    assert header_of(read(data)) is header_of(read(data))


def test_every_known_text_is_suspected_and_most_slices_are_not(shared_data: Path) -> None:
    with (shared_data / "dicom" / "MANIFEST.tsv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    with_text = suspected = images = 0
    for row in rows:
        try:
            finding = triage(header_of(read((shared_data / "dicom" / row["path"]).read_bytes())))
        except Refused:
            continue
        images += finding.pixels
        suspected += finding.suspected
        if row["burned_in_text"].startswith("yes"):
            assert finding.suspected, row["path"]
            with_text += 1
        if row["path"].startswith(("ct/", "mr/")):
            assert not finding.suspected, (row["path"], finding.reason)
    assert with_text == 10
    assert images > 270
    assert suspected / images < 0.26  # a collection of odd files: a hospital's day has far fewer
