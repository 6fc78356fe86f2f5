"""Instances with given pixels."""

from __future__ import annotations

import struct
from collections.abc import Callable
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset


def items(values: list[bytes]) -> bytes:
    """Write items of encapsulated pixel data; the first is the basic table of offsets."""
    return b"".join(b"\xfe\xff\x00\xe0" + struct.pack("<I", len(value)) + value for value in values)


def picture(pixels: np.ndarray, syntax: str = "1.2.840.10008.1.2.1", **attributes: Any) -> bytes:
    """Write an instance.

    Parameters
    ----------
    pixels : ndarray, shape (frames, rows, columns) or (frames, rows, columns, 3)
        Stored as they are, unless `attributes` has PixelData: bytes, or a list of fragments.
    syntax : str
        Transfer syntax UID; nothing is compressed here.
    attributes : dict
        By keyword. None leaves one out.
    """
    dataset = Dataset()
    dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7.4" if pixels.ndim == 4 else "1.2.840.10008.5.1.4.1.1.7.3"
    dataset.SOPInstanceUID, dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.2.276.1", "1.2.276.2", "1.2.276.3"
    dataset.PatientName, dataset.PatientID, dataset.Modality = "Mustermann^Erika", "PID-4711", "OT"
    dataset.NumberOfFrames, dataset.Rows, dataset.Columns = pixels.shape[:3]
    dataset.SamplesPerPixel = 1 if pixels.ndim == 3 else pixels.shape[3]
    dataset.PhotometricInterpretation = "MONOCHROME2" if pixels.ndim == 3 else "RGB"
    dataset.BitsAllocated = pixels.dtype.itemsize * 8
    stored = attributes.get("BitsStored") or attributes.get("BitsAllocated") or dataset.BitsAllocated
    dataset.BitsStored, dataset.HighBit = stored, stored - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    if pixels.ndim == 4:
        dataset.PlanarConfiguration = 0
        if attributes.get("PlanarConfiguration"):
            pixels = pixels.transpose(0, 3, 1, 2)
    value = attributes.pop("PixelData", None)
    encapsulated = attributes.pop("encapsulated", False)
    if value is None:
        ordered = pixels.astype(pixels.dtype.newbyteorder(">")) if syntax.endswith(".1.2.2") else pixels
        value = np.ascontiguousarray(ordered).tobytes()
        value += b"\0" * (len(value) % 2)
    dataset.PixelData = items([b"", *value]) if isinstance(value, list) else value
    dataset["PixelData"].VR = "OB" if dataset.BitsAllocated <= 8 else "OW"
    if isinstance(value, list) or encapsulated:
        dataset["PixelData"].VR = "OB"
        dataset["PixelData"].is_undefined_length = True
    for keyword, new in attributes.items():
        if new is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, new)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


@pytest.fixture(scope="session", name="picture")
def _picture() -> Callable[..., bytes]:
    """Returns the function that writes an instance with given pixels."""
    return picture


@pytest.fixture(scope="session", name="items")
def _items() -> Callable[[list[bytes]], bytes]:
    """Returns the function that writes items of encapsulated pixel data."""
    return items
