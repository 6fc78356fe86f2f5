"""CT slices of 526 KB to measure with."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid


def ct_slices(count: int) -> list[bytes]:
    """Return CT slices of one new study: true ones where the sample data are, noise elsewhere."""
    beside = Path(os.environ.get("RPACS_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data"))
    true = sorted((beside / "dicom/ct/lidc-idri-0314_chest_60slices").glob("*.dcm"))
    sources = [dcmread(path) for path in true] or [_noise()]
    study, series = generate_uid(), generate_uid()
    made = []
    for number in range(count):
        dataset = sources[number % len(sources)]
        dataset.PatientName, dataset.PatientID = "BENCHMARK^BEATE", "BENCH-1"
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.InstanceNumber = study, series, number + 1
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        buffer = io.BytesIO()
        dataset.save_as(buffer)
        made.append(buffer.getvalue())
    return made


def _noise() -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = CTImageStorage
    dataset.Modality, dataset.StudyDate, dataset.PatientBirthDate = "CT", "20240131", "19600229"
    dataset.Rows = dataset.Columns = 512
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, 1
    dataset.PixelData = np.random.default_rng(1).integers(-1000, 1000, (512, 512), dtype=np.int16).tobytes()
    return dataset
