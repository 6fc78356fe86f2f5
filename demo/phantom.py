"""Phantom scans: computed, not acquired, of geometric bodies whose sizes and values are known.

They are labelled as phantoms in their headers, not in their pixels, and lie in the patient coordinate system
(PS3.3 section C.7.6.2) as an axial scan of a patient on the back.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, MRImageStorage, generate_uid

_Volume = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Ellipsoid:
    """A body of one material.

    Attributes
    ----------
    center, radii
        In mm, patient coordinates (x to the left, y to the back, z to the head).
    value
        What is in it: HU for CT, arbitrary units for MR.
    """

    center: tuple[float, float, float]
    radii: tuple[float, float, float]
    value: float


CT_BODIES = (
    Ellipsoid((0, 0, 0), (165, 115, 400), 45),  # soft tissue
    Ellipsoid((-75, -10, 10), (58, 78, 95), -780),  # lungs
    Ellipsoid((75, -10, 10), (58, 78, 95), -780),
    Ellipsoid((15, -25, -10), (42, 38, 48), 60),  # a heart
    Ellipsoid((0, 80, 0), (22, 20, 400), 420),  # a spine
    Ellipsoid((0, 80, 0), (9, 8, 400), 30),
    Ellipsoid((-80, 5, 25), (9, 9, 9), 40),  # nodules, 18 and 10 mm
    Ellipsoid((70, -30, -15), (5, 5, 5), 40),
)
"""The CT phantom's bodies, in HU; later ones lie over earlier ones. Around them is air, -1000 HU."""

MR_BODIES = (
    Ellipsoid((0, 0, 0), (85, 105, 90), 300),  # scalp
    Ellipsoid((0, 0, 0), (79, 99, 84), 40),  # skull
    Ellipsoid((0, 0, 0), (73, 93, 78), 620),  # brain
    Ellipsoid((-16, -8, 5), (10, 28, 14), 150),  # ventricles
    Ellipsoid((16, -8, 5), (10, 28, 14), 150),
    Ellipsoid((32, 38, 12), (11, 11, 11), 900),  # a lesion
)
"""The MR phantom's bodies, in arbitrary units; around them is nothing."""


def render(
    bodies: tuple[Ellipsoid, ...], around: float, shape: tuple[int, int, int], spacing: tuple[float, float, float]
) -> _Volume:
    """Return the volume around the origin, with edges as soft as one voxel.

    Parameters
    ----------
    bodies
        What is in it.
    around
        Value where there is no body.
    shape
        Slices, rows, columns.
    spacing
        Of slices, rows and columns, in mm.

    Returns
    -------
    ndarray of shape (slices, rows, columns)
        Values in the bodies' unit.
    """
    z, y, x = (
        ((np.arange(count) - (count - 1) / 2) * step).astype(np.float32)
        for count, step in zip(shape, spacing, strict=True)
    )
    volume = np.full(shape, around, dtype=np.float32)
    for body in bodies:
        (cx, cy, cz), (rx, ry, rz) = body.center, body.radii
        # Only the box around the body: most of them are small.
        box = tuple(
            slice(*np.searchsorted(axis, (middle - radius - 2 * step, middle + radius + 2 * step)))
            for axis, middle, radius, step in zip((z, y, x), (cz, cy, cx), (rz, ry, rx), spacing, strict=True)
        )
        near = (((z[box[0]] - cz) / rz) ** 2)[:, None, None] + (((y[box[1]] - cy) / ry) ** 2)[None, :, None]
        distance = np.sqrt(near + (((x[box[2]] - cx) / rx) ** 2)[None, None, :])
        inside = np.clip((1 - distance) * np.float32(min(rx, ry) / spacing[2]) + np.float32(0.5), 0, 1)
        volume[box] += inside * (np.float32(body.value) - volume[box])
    return volume


def ct_volume(slices: int = 40, size: int = 512, seed: int = 1) -> Iterator[Dataset]:
    """Yield a CT phantom of the chest, slice by slice, feet first.

    Parameters
    ----------
    slices
        Number of slices, 2.5 mm apart.
    size
        Rows and columns; the field of view is 360 mm whatever their number.
    seed
        Of the noise (20 HU), so that every run makes the same images.
    """
    pixel = 360 / size
    volume = render(CT_BODIES, -1000, (slices, size, size), (2.5, pixel, pixel))
    volume += 20 * np.random.default_rng(seed).standard_normal(volume.shape, dtype=np.float32)
    stored = (np.clip(volume, -1024, 3071) + 1024).round().astype("<u2")
    frame = generate_uid()
    study, series = generate_uid(), generate_uid()
    for index in range(slices):
        dataset = _slice(CTImageStorage, "CT", study, series, frame, index, slices, 2.5, pixel, stored[index])
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        dataset.StudyDescription = "Chest CT"
        dataset.SeriesDescription = "PHANTOM chest 2.5 mm"
        dataset.BodyPartExamined = "CHEST"
        dataset.Manufacturer = "Computed phantom"
        dataset.ManufacturerModelName = "Ellipsoids"
        dataset.KVP = "120"
        dataset.XRayTubeCurrent = "200"
        dataset.ExposureTime = "500"
        dataset.ConvolutionKernel = "NONE"
        dataset.RescaleIntercept = "-1024"
        dataset.RescaleSlope = "1"
        dataset.RescaleType = "HU"
        dataset.WindowCenter = ["40", "-600"]
        dataset.WindowWidth = ["400", "1500"]
        dataset.WindowCenterWidthExplanation = ["SOFT TISSUE", "LUNG"]
        yield dataset


def mr_volume(slices: int = 24, size: int = 256, seed: int = 2) -> Iterator[Dataset]:
    """Yield an MR phantom of the head, slice by slice, feet first.

    Parameters
    ----------
    slices
        Number of slices, 6 mm apart.
    size
        Rows and columns; the field of view is 240 mm whatever their number.
    seed
        Of the noise, so that every run makes the same images.
    """
    pixel = 240 / size
    volume = render(MR_BODIES, 0, (slices, size, size), (6.0, pixel, pixel))
    noise = np.random.default_rng(seed)
    # The magnitude of a complex signal: where there is nothing, noise is not centred at zero.
    real, imaginary = (15 * noise.standard_normal(volume.shape, dtype=np.float32) for _ in range(2))
    volume = np.hypot(volume + real, imaginary)
    stored = np.clip(volume, 0, 4095).round().astype("<u2")
    frame = generate_uid()
    study, series = generate_uid(), generate_uid()
    for index in range(slices):
        dataset = _slice(MRImageStorage, "MR", study, series, frame, index, slices, 6.0, pixel, stored[index])
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND"]
        dataset.StudyDescription = "Brain MR"
        dataset.SeriesDescription = "PHANTOM head T1"
        dataset.BodyPartExamined = "HEAD"
        dataset.Manufacturer = "Computed phantom"
        dataset.ManufacturerModelName = "Ellipsoids"
        dataset.ScanningSequence = "GR"
        dataset.SequenceVariant = "SP"
        dataset.ScanOptions = ""
        dataset.MRAcquisitionType = "2D"
        dataset.RepetitionTime = "500"
        dataset.EchoTime = "10"
        dataset.EchoTrainLength = "1"
        dataset.MagneticFieldStrength = "1.5"
        dataset.FlipAngle = "70"
        dataset.WindowCenter = "450"
        dataset.WindowWidth = "900"
        yield dataset


def _slice(
    sop_class: UID,
    modality: str,
    study: str,
    series: str,
    frame: str,
    index: int,
    slices: int,
    step: float,
    pixel: float,
    stored: npt.NDArray[np.uint16],
) -> Dataset:
    """Return what a slice of either modality has: image plane, pixels, UIDs."""
    rows, columns = stored.shape
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = sop_class
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = sop_class
    dataset.SOPInstanceUID = generate_uid()
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.StudyInstanceUID = study
    dataset.SeriesInstanceUID = series
    dataset.FrameOfReferenceUID = frame
    dataset.PositionReferenceIndicator = ""
    dataset.Modality = modality
    dataset.SeriesNumber = "1"
    dataset.AcquisitionNumber = "1"
    dataset.InstanceNumber = str(index + 1)
    dataset.PatientPosition = "HFS"
    z = (index - (slices - 1) / 2) * step
    corner = -(columns - 1) / 2 * pixel
    dataset.ImageOrientationPatient = ["1", "0", "0", "0", "1", "0"]
    dataset.ImagePositionPatient = [f"{corner:.4f}", f"{-(rows - 1) / 2 * pixel:.4f}", f"{z:.4f}"]
    dataset.SliceLocation = f"{z:.4f}"
    dataset.SliceThickness = f"{step:g}"
    dataset.SpacingBetweenSlices = f"{step:g}"
    dataset.PixelSpacing = [f"{pixel:.6f}", f"{pixel:.6f}"]
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = rows, columns
    dataset.BitsAllocated = 16
    dataset.BitsStored, dataset.HighBit = 12, 11
    dataset.PixelRepresentation = 0
    dataset.PixelData = stored.tobytes()
    return dataset
