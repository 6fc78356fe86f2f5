"""How pictures are stored: all kinds of pixels in all syntaxes that can be written here.

What cannot be written, and so cannot carry text: JPEG of the retired processes with spectral selection alone, samples
of more than 16 bits in JPEG and JPEG 2000, video, JPEG XL. The last two are refused; the others are decoded in tests,
from files that exist.
"""

from __future__ import annotations

import io
import random
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels.processing import convert_color_space
from pydicom.uid import UID, SecondaryCaptureImageStorage

from tests.fixtures import encoders

Picture = NDArray[np.uint8]

EXPLICIT, IMPLICIT, BIG, DEFLATED = (
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.2",
    "1.2.840.10008.1.2.1.99",
)
SYNTAXES = {
    IMPLICIT: "Implicit VR",
    EXPLICIT: "Explicit VR",
    BIG: "Big Endian",
    DEFLATED: "Deflated",
    encoders.RLE: "RLE",
    encoders.BASELINE: "JPEG baseline",
    encoders.EXTENDED: "JPEG extended, 12 bits",
    encoders.PROGRESSIVE: "JPEG progressive",
    encoders.LOSSLESS: "JPEG lossless (process 14)",
    encoders.LOSSLESS_FIRST_ORDER: "JPEG lossless SV1",
    encoders.JPEG_LS: "JPEG-LS",
    encoders.JPEG_LS_NEAR: "JPEG-LS near-lossless",
    encoders.JPEG_2000_LOSSLESS: "JPEG 2000 lossless",
    encoders.JPEG_2000: "JPEG 2000",
    encoders.HTJ2K_LOSSLESS: "HTJ2K lossless",
    encoders.HTJ2K_RPCL: "HTJ2K lossless RPCL",
    encoders.HTJ2K: "HTJ2K",
}
_NATIVE = (IMPLICIT, EXPLICIT, BIG, DEFLATED)

KINDS = {
    # Photometric Interpretation, Bits Allocated, Bits Stored, signed, planar
    "MONOCHROME2 8": ("MONOCHROME2", 8, 8, False, 0),
    "MONOCHROME1 8": ("MONOCHROME1", 8, 8, False, 0),
    "MONOCHROME2 12": ("MONOCHROME2", 16, 12, False, 0),
    "MONOCHROME1 12": ("MONOCHROME1", 16, 12, False, 0),
    "MONOCHROME2 12 signed": ("MONOCHROME2", 16, 12, True, 0),
    "MONOCHROME2 16 signed": ("MONOCHROME2", 16, 16, True, 0),
    "MONOCHROME2 32": ("MONOCHROME2", 32, 32, False, 0),
    "MONOCHROME2 1": ("MONOCHROME2", 1, 1, False, 0),
    "RGB": ("RGB", 8, 8, False, 0),
    "RGB planar": ("RGB", 8, 8, False, 1),
    "YBR_FULL": ("YBR_FULL", 8, 8, False, 0),
    "YBR_FULL planar": ("YBR_FULL", 8, 8, False, 1),
    "YBR_FULL_422": ("YBR_FULL_422", 8, 8, False, 0),
    "YBR_RCT": ("YBR_RCT", 8, 8, False, 0),
    "YBR_ICT": ("YBR_ICT", 8, 8, False, 0),
    "PALETTE COLOR": ("PALETTE COLOR", 8, 8, False, 0),
}
"""What pixels are like, by the name of it in the table."""


def fits(kind: str, syntax: str) -> bool:
    """Tell whether pixels of a kind can be written in a transfer syntax."""
    photometric, allocated, stored, signed, planar = KINDS[kind]
    if syntax in _NATIVE:
        if syntax == BIG and (photometric == "YBR_FULL_422" or allocated not in (8, 16)):
            return False
        return photometric not in ("YBR_RCT", "YBR_ICT")
    if planar or allocated == 1:
        return False
    return not encoders.unfit(syntax, photometric=photometric, stored=stored, allocated=allocated, signed=signed)


def instance(stack: list[Picture], kind: str, syntax: str, choose: random.Random) -> bytes:
    """Write pictures as the frames of an instance.

    Parameters
    ----------
    stack
        Each of shape (rows, columns), or (rows, columns, 3) for kinds in colour.
    kind
        One of `KINDS`.
    syntax
        A transfer syntax that fits it.
    choose
        How chrominance is left out.

    Returns
    -------
    bytes
        A complete DICOM file.
    """
    photometric, allocated, stored, signed, planar = KINDS[kind]
    dataset = Dataset()
    dataset.SOPClassUID = SecondaryCaptureImageStorage
    dataset.SOPInstanceUID = "2.25.1"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "2.25.2", "2.25.3"
    dataset.Modality, dataset.PatientID, dataset.PatientName = "OT", "1", "A^B"
    dataset.ConversionType = "WSD"
    dataset.Rows, dataset.Columns = stack[0].shape[:2]
    if len(stack) > 1:
        dataset.NumberOfFrames = len(stack)
    dataset.PhotometricInterpretation = photometric
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = allocated, stored, stored - 1
    dataset.PixelRepresentation = int(signed)
    dataset.SamplesPerPixel = samples = 3 if stack[0].ndim == 3 and photometric != "PALETTE COLOR" else 1
    if samples == 3:
        dataset.PlanarConfiguration = planar
    frames = (
        _paletted(dataset, stack, big=syntax == BIG)
        if photometric == "PALETTE COLOR"
        else _values(dataset, stack, photometric, stored, signed)
    )
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    if syntax in _NATIVE:
        value = b"".join(_native(frame, photometric, planar, big=syntax == BIG) for frame in frames)
        if allocated == 1:
            value = np.packbits(np.concatenate([frame.ravel() for frame in frames]), bitorder="little").tobytes()
        dataset.PixelData = value + b"\0" * (len(value) % 2)
        dataset["PixelData"].VR = "OB" if allocated <= 8 else "OW"
    else:
        chroma = choose.choice(("422", "420"))
        dataset.PixelData = encapsulate(
            [
                encoders.encoded(
                    frame, syntax, photometric=photometric, stored=stored, signed=signed, subsampling=chroma
                )
                for frame in frames
            ]
        )
        dataset["PixelData"].VR = "OB"
        if syntax in encoders.LOSSY:
            dataset.LossyImageCompression = "01"
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _values(dataset: Dataset, stack: list[Picture], photometric: str, stored: int, signed: bool) -> list[NDArray[Any]]:
    """Return stored values; the header tells how they are to be shown."""
    if photometric.startswith("YBR_FULL"):
        return [convert_color_space(picture, "RGB", "YBR_FULL") for picture in stack]
    if not photometric.startswith("MONOCHROME"):
        return list(stack)
    if stored == 1:
        return [(picture >= 128).astype(np.uint8) for picture in stack]
    shown = [255 - picture for picture in stack] if photometric == "MONOCHROME1" else stack
    if stored == 8:
        return list(shown)
    if not signed:
        # Of 32 bits only a part is used, as sums of measurements have it.
        highest = (1 << min(stored, 24)) - 1
        return [
            (picture.astype(np.uint64) * highest // 255).astype(np.uint32 if stored > 16 else np.uint16)
            for picture in shown
        ]
    # As CT has it: the window of the header holds a small part of the range.
    centre, zero = (40, 864) if stored == 16 else (0, -200)
    dataset.WindowCenter, dataset.WindowWidth = str(centre), "400"
    dataset.RescaleSlope, dataset.RescaleIntercept = "1", str(centre - 200 - zero)
    return [(picture * (400 / 255) + zero).astype(np.int16) for picture in shown]


def _native(frame: NDArray[Any], photometric: str, planar: int, *, big: bool) -> bytes:
    if photometric == "YBR_FULL_422":
        return _halved_chroma(frame)
    if planar:
        frame = frame.transpose(2, 0, 1)
    return frame.astype(frame.dtype.newbyteorder(">")).tobytes() if big else frame.tobytes()


def _paletted(dataset: Dataset, stack: list[Picture], *, big: bool) -> list[NDArray[Any]]:
    whole = np.concatenate(stack)
    image = Image.fromarray(whole).quantize(256, dither=Image.Dither.NONE)
    table = np.zeros((256, 3), np.uint8)
    palette = np.asarray(image.getpalette(), np.uint8).reshape(-1, 3)
    table[: len(palette)] = palette
    words = (table.astype(np.uint16) << 8).astype(">u2" if big else "<u2")
    for index, colour in enumerate(("Red", "Green", "Blue")):
        setattr(dataset, f"{colour}PaletteColorLookupTableDescriptor", [256, 0, 16])
        setattr(dataset, f"{colour}PaletteColorLookupTableData", words[:, index].tobytes())
    return list(np.asarray(image, np.uint8).reshape(len(stack), *stack[0].shape[:2]))


def _halved_chroma(frame: Picture) -> bytes:
    """Lay out luma and chroma as PS3.3 C.7.6.3.1.2 has it: two lumas, then one Cb and one Cr for both."""
    rows, columns = frame.shape[:2]
    packed = np.empty((rows, columns // 2, 4), np.uint8)
    even = frame[:, : columns // 2 * 2].reshape(rows, columns // 2, 2, 3)
    packed[..., :2] = even[..., 0]
    packed[..., 2:] = even[..., 1:].mean(axis=2)
    return packed.tobytes()
