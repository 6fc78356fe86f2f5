"""Instances to clean, built byte by byte where it matters."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Any

import pytest
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from deid_service import Cleaned, Deidentifier, PseudonymKey, Rules, default_rules_path, load_rules

EVERYTHING = "ScopeToForward: {Labels: ALL}\nTransformations:\n  - Scope: {Labels: ALL}\n"


def ct_slice() -> Dataset:
    """A small CT slice of an invented patient, with what identifies him in many places."""
    dataset = Dataset()
    dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    dataset.SOPInstanceUID = "1.2.276.0.7230010.3.1.4.1001"
    dataset.StudyInstanceUID = "1.2.276.0.7230010.3.1.2.1002"
    dataset.SeriesInstanceUID = "1.2.276.0.7230010.3.1.3.1003"
    dataset.FrameOfReferenceUID = "1.2.276.0.7230010.3.1.5.1004"
    dataset.Modality = "CT"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.PatientName = "Mustermann^Erika^^Dr."
    dataset.PatientID = "PID-4711"
    dataset.IssuerOfPatientID = "KLINIKUM"
    dataset.PatientBirthDate = "19640812"
    dataset.PatientSex = "F"
    dataset.AccessionNumber = "ACC778812"
    dataset.StudyDate = "20240310"
    dataset.ContentDate = "20240312"
    dataset.StudyTime = "101530.25"
    dataset.AcquisitionDateTime = "20240310101530.250000+0100"
    dataset.StudyDescription = "Thorax"
    dataset.ReferringPhysicianName = "Hausarzt^Hans"
    dataset.Rows = dataset.Columns = 2
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit = 15
    dataset.SamplesPerPixel = 1
    dataset.PixelRepresentation = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.PixelData = b"\x01\x00\x02\x00\x03\x00\x04\x00"
    return dataset


def to_bytes(dataset: Dataset, syntax: str = ExplicitVRLittleEndian, preamble: bytes = b"\0" * 128) -> bytes:
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.file_meta.MediaStorageSOPClassUID = dataset.get("SOPClassUID") or "1.2.840.10008.5.1.4.1.1.2"
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.get("SOPInstanceUID") or "1.2.3"
    dataset.file_meta.SourceApplicationEntityTitle = "SECRETSCANNER"
    dataset.preamble = preamble
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


@pytest.fixture(scope="session")
def header_rules() -> Callable[[str], Rules]:
    """Returns a function: a ready rules file by name, but that nobody reads the pixels, which takes long."""

    def read(name: str) -> Rules:
        text = default_rules_path().with_name(f"{name}.yaml").read_text("utf-8")
        passing = "  - Scope: {Labels: ALL}\n    SuspectedPixels: PassUnchecked\n"
        # The option CleanPixelData stands back where a rule speaks; this one's box lies beyond every image.
        box = "    RemoveBurnedInAnnotations: {Type: Manual, BoxCoordinates: [70000, 70000, 70000, 70000]}\n"
        return load_rules(text + passing + box)

    return read


@pytest.fixture
def instance() -> Dataset:
    return ct_slice()


@pytest.fixture
def written() -> Callable[..., bytes]:
    """Returns the function that writes a data set to bytes."""
    return to_bytes


@pytest.fixture
def fresh_instance() -> Callable[[], Dataset]:
    """Returns the function that makes a new instance."""
    return ct_slice


@pytest.fixture(scope="session")
def key() -> PseudonymKey:
    return PseudonymKey(bytes(range(32)))


@pytest.fixture
def clean(key: PseudonymKey) -> Callable[..., Any]:
    """Returns a function: transformations as YAML (or whole rules), an instance -> the clean data set."""

    def run(rules: str, data: Dataset | bytes, *, key: PseudonymKey = key) -> Any:
        text = (
            rules if "ScopeToForward" in rules else EVERYTHING + "".join(f"    {line}\n" for line in rules.splitlines())
        )
        outcome = Deidentifier(load_rules(text), key).clean(data if isinstance(data, bytes) else to_bytes(data))
        if not isinstance(outcome, Cleaned):
            return outcome
        result = dcmread(BytesIO(outcome.data))
        result.outcome = outcome
        return result

    return run
