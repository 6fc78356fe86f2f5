"""Real images with words burned in, in all photometric interpretations and syntaxes that can be written here."""

from __future__ import annotations

import io
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels.processing import convert_color_space
from pydicom.uid import UID, SecondaryCaptureImageStorage

from deid_service.pixels.display import Appearance, views
from tests.burned_in_text.writing import SIZES, Style, Written, available_fonts, lines, write

Picture = NDArray[np.uint8]

# Files without text, and which frame of them. Grey ones have their real stored values in `CARRIERS`' order.
_GREY = (
    ("ct/lidc-idri-0314_chest_60slices", 0.1),
    ("ct/lidc-idri-0314_chest_60slices", 0.5),
    ("ct/lidc-idri-0314_chest_60slices", 0.9),
    ("mr/siemens_t1_sag_35slices", 0.3),
    ("mr/siemens_t1_sag_35slices", 0.6),
    ("mr/dcmstack_2D_16echo_qT2", 0.5),
    ("xa/coronary_cine", 0.0),
    ("overlay/GH1728.dcm", 0.0),
    ("cr/RG1_J2KI.dcm", 0.0),
    ("mg/GH133.dcm", 0.0),
)
_COLOUR = ("us/misc/color-pl.dcm", "transfer-syntax/htj2k/HTJ2KLossless_08_RGB.dcm", "ot/TestPattern_Palette.dcm")
_LARGEST = 900

EXPLICIT, IMPLICIT, BIG, DEFLATED = (
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.2",
    "1.2.840.10008.1.2.1.99",
)
RLE, JPEG_LS, JPEG_2000 = "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.90"
JPEG_BASELINE, JPEG_2000_LOSSY, JPEG_LS_LOSSY = (
    "1.2.840.10008.1.2.4.50",
    "1.2.840.10008.1.2.4.91",
    "1.2.840.10008.1.2.4.81",
)

SYNTAXES = {
    IMPLICIT: "Implicit VR",
    EXPLICIT: "Explicit VR",
    BIG: "Big Endian",
    DEFLATED: "Deflated",
    RLE: "RLE",
    JPEG_LS: "JPEG-LS",
    JPEG_2000: "JPEG 2000",
    JPEG_BASELINE: "JPEG baseline",
}

KINDS = (
    "MONOCHROME2 8",
    "MONOCHROME1 8",
    "MONOCHROME2 12",
    "MONOCHROME1 12",
    "MONOCHROME2 16 signed",
    "RGB",
    "RGB planar",
    "YBR_FULL",
    "YBR_FULL_422",
    "PALETTE COLOR",
)
GROUNDS = ("anatomy", "black", "noise")
LOOKS = ("white", "grey", "black", "low contrast", "coloured", "on a plate")


@dataclass(frozen=True)
class Burned:
    """An instance and what was written into it.

    Attributes
    ----------
    instance
        A complete DICOM file.
    words
        By frame, counted from 0.
    condition
        What varies, by name, for the table.
    header
        Identifiers that its header holds as well.
    """

    instance: bytes
    words: dict[int, tuple[Written, ...]]
    condition: dict[str, str]
    header: tuple[str, ...] = field(default=())


def burned(shared: Path, number: int, seed: int = 1) -> Iterator[Burned]:
    """Yield instances with text, the same for the same seed.

    Parameters
    ----------
    shared
        The folder of sample data.
    number
        How many.
    seed
        Another one gives other places, words and looks.
    """
    for index in range(number):
        yield _one(shared, random.Random(seed * 1_000_003 + index), index)


def _one(shared: Path, choose: random.Random, index: int) -> Burned:
    # Every kind in turn, everything else by chance.
    kind = KINDS[index % len(KINDS)]
    ground = choose.choices(GROUNDS, (6, 2, 1))[0]
    coloured = not kind.startswith("MONOCHROME")
    look = choose.choice([name for name in LOOKS if coloured or name != "coloured"])
    picture, name = _ground(shared, ground, choose, coloured=coloured)
    style = _style(look, choose)
    syntax = choose.choice([one for one in SYNTAXES if _fits(kind, one)])
    frames = choose.choice((1, 1, 1, 1, 3))
    with_text = choose.randrange(frames)
    texts = lines(choose)
    stack, words = [], {}
    for frame in range(frames):
        copy = np.roll(picture, 3 * frame, axis=1).copy()
        if frame == with_text:
            words[frame] = tuple(write(copy, texts, style, choose))
        stack.append(copy)
    instance = _instance(stack, kind, syntax)
    turn = "upright" if style.turn == 0 else f"turned by {style.turn}"
    condition = {
        "pixels": kind,
        "syntax": SYNTAXES[syntax],
        "size": f"{style.size} px",
        "look": look,
        "ground": ground if ground != "anatomy" else name,
        "edges": "smooth" if style.smooth else "hard",
        "direction": turn,
        "font": style.font,
        "frames": "one frame" if frames == 1 else "one frame of three",
    }
    return Burned(instance, words, condition)


def _style(look: str, choose: random.Random) -> Style:
    plain = Style(
        choose.choice(available_fonts()), choose.choice(SIZES), choose.random() < 0.7, choose.choice((0, 0, 0, 90, 270))
    )
    grey = {"white": 255, "grey": choose.choice((130, 170, 200)), "black": 0, "low contrast": 0}.get(look)
    contrast = choose.randint(50, 80) if look == "low contrast" else None
    if grey is not None:
        return Style(plain.font, plain.size, plain.smooth, plain.turn, (grey,) * 3, None, contrast)
    if look == "on a plate":
        dark = choose.random() < 0.5
        ink, plate = ((230,) * 3, (40,) * 3) if dark else ((20,) * 3, (200,) * 3)
        return Style(plain.font, plain.size, plain.smooth, plain.turn, ink, plate)
    colours = ((255, 255, 0), (0, 255, 0), (255, 60, 60), (80, 160, 255), (0, 255, 255), (255, 128, 0), (200, 0, 200))
    return Style(plain.font, plain.size, plain.smooth, plain.turn, choose.choice(colours))


def _ground(shared: Path, ground: str, choose: random.Random, *, coloured: bool) -> tuple[Picture, str]:
    if ground == "black":
        picture = np.zeros((480, 640), np.uint8)
    elif ground == "noise":
        values = np.random.default_rng(choose.randrange(2**32)).normal(choose.choice((40, 110, 190)), 12, (400, 520))
        picture = np.clip(values, 0, 255).astype(np.uint8)
    elif coloured and choose.random() < 0.5:
        path = choose.choice(_COLOUR)
        return _picture(shared, path, 0.0), path.split("/")[0]
    else:
        path, part = choose.choice(_GREY)
        picture, ground = _crop(_picture(shared, path, part), choose), path.split("/")[0]
    if coloured:
        picture = np.repeat(picture[:, :, np.newaxis], 3, axis=2)
    return picture, ground


def _crop(picture: Picture, choose: random.Random) -> Picture:
    rows, columns = picture.shape[:2]
    top, left = (choose.randint(0, max(0, size - _LARGEST)) for size in (rows, columns))
    return picture[top : top + _LARGEST, left : left + _LARGEST]


@cache
def _picture(shared: Path, path: str, part: float) -> Picture:
    """Return a file as a person sees it: in the window of its header if it has one."""
    place = shared / "dicom" / path
    if place.is_dir():
        files = sorted(file for file in place.rglob("*") if file.is_file())
        place = files[int(part * len(files))]
    header = dcmread(place)
    frame = header.pixel_array
    if int(header.get("NumberOfFrames") or 1) > 1:
        frame = frame[len(frame) // 2]
    interpretation = str(header.PhotometricInterpretation)
    shown = {
        view.name: view.image
        for view in views(frame, Appearance.of(header, "RGB" if interpretation.startswith("YBR") else interpretation))
    }
    return shown.get("window", shown.get("full", shown.get("colour")))


def _fits(kind: str, syntax: str) -> bool:
    if syntax == JPEG_BASELINE:
        return kind in ("MONOCHROME2 8", "MONOCHROME1 8", "YBR_FULL", "YBR_FULL_422")
    if kind == "YBR_FULL_422":
        return syntax in (EXPLICIT, IMPLICIT, DEFLATED)
    if kind == "RGB planar":
        return syntax in (EXPLICIT, IMPLICIT, BIG, DEFLATED)
    return True


def _instance(stack: list[Picture], kind: str, syntax: str) -> bytes:
    dataset = Dataset()
    dataset.SOPClassUID = SecondaryCaptureImageStorage
    dataset.SOPInstanceUID = "2.25.1"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "2.25.2", "2.25.3"
    dataset.Modality, dataset.PatientID, dataset.PatientName = "OT", "1", "A^B"
    dataset.ConversionType = "WSD"
    dataset.Rows, dataset.Columns = stack[0].shape[:2]
    if len(stack) > 1:
        dataset.NumberOfFrames = len(stack)
    frames = _STORED[kind.replace(" planar", "")](dataset, stack)
    samples = 3 if frames[0].ndim == 3 else 1
    dataset.SamplesPerPixel = samples
    depth = frames[0].dtype.itemsize * 8
    dataset.BitsAllocated = depth
    stored = int(dataset.get("BitsStored", depth))
    dataset.BitsStored, dataset.HighBit = stored, stored - 1
    dataset.PixelRepresentation = int(frames[0].dtype.kind == "i")
    if samples == 3:
        dataset.PlanarConfiguration = 0
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(EXPLICIT)
    if syntax == JPEG_BASELINE:
        chroma = 2 if kind == "YBR_FULL_422" else 0
        encoded = (
            [_jpeg(picture, chroma, samples) for picture in stack]
            if samples == 3
            else [_jpeg(frame, 0, 1) for frame in frames]
        )
        dataset.PixelData = encapsulate(encoded)
        dataset["PixelData"].VR = "OB"
        dataset.LossyImageCompression = "01"
        dataset.file_meta.TransferSyntaxUID = UID(syntax)
    elif kind == "YBR_FULL_422":
        dataset.PixelData = b"".join(_halved_chroma(frame) for frame in frames)
    elif kind == "RGB planar":
        dataset.PlanarConfiguration = 1
        dataset.PixelData = b"".join(frame.transpose(2, 0, 1).tobytes() for frame in frames)
    else:
        dataset.PixelData = b"".join(frame.tobytes() for frame in frames)
    if syntax != JPEG_BASELINE:
        dataset["PixelData"].VR = "OB" if depth == 8 else "OW"
    if syntax in (RLE, JPEG_LS, JPEG_2000):
        plugin = {RLE: "pylibjpeg", JPEG_LS: "pyjpegls", JPEG_2000: "pylibjpeg"}[syntax]
        dataset.compress(UID(syntax), encoding_plugin=plugin, generate_instance_uid=False)
    elif syntax == BIG and depth == 16:
        dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()
    if syntax in (IMPLICIT, BIG, DEFLATED):
        dataset.file_meta.TransferSyntaxUID = UID(syntax)
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _grey(
    photometric: str, stored: int, signed: bool = False
) -> Callable[[Dataset, list[Picture]], list[NDArray[Any]]]:
    def store(dataset: Dataset, stack: list[Picture]) -> list[NDArray[Any]]:
        dataset.PhotometricInterpretation = photometric
        dataset.BitsStored = stored
        frames = []
        for picture in stack:
            shown = 255 - picture if photometric == "MONOCHROME1" else picture
            if stored == 8:
                frames.append(shown)
            elif signed:
                # As CT has it: the window of the header holds a small part of the range.
                dataset.WindowCenter, dataset.WindowWidth = "40", "400"
                dataset.RescaleSlope, dataset.RescaleIntercept = "1", "-1024"
                frames.append((shown * (400 / 255) + 864).astype(np.int16))
            else:
                frames.append((shown.astype(np.uint32) * ((1 << stored) - 1) // 255).astype(np.uint16))
        return frames

    return store


def _colour(photometric: str) -> Callable[[Dataset, list[Picture]], list[NDArray[Any]]]:
    def store(dataset: Dataset, stack: list[Picture]) -> list[NDArray[Any]]:
        dataset.PhotometricInterpretation = photometric
        if photometric == "RGB":
            return list(stack)
        return [convert_color_space(picture, "RGB", "YBR_FULL") for picture in stack]

    return store


def _paletted(dataset: Dataset, stack: list[Picture]) -> list[NDArray[Any]]:
    dataset.PhotometricInterpretation = "PALETTE COLOR"
    whole = np.concatenate(stack)
    image = Image.fromarray(whole).quantize(256, dither=Image.Dither.NONE)
    table = np.zeros((256, 3), np.uint8)
    palette = np.asarray(image.getpalette(), np.uint8).reshape(-1, 3)
    table[: len(palette)] = palette
    for index, colour in enumerate(("Red", "Green", "Blue")):
        setattr(dataset, f"{colour}PaletteColorLookupTableDescriptor", [256, 0, 16])
        setattr(dataset, f"{colour}PaletteColorLookupTableData", (table[:, index].astype("<u2") << 8).tobytes())
    return list(np.asarray(image, np.uint8).reshape(len(stack), *stack[0].shape[:2]))


_STORED: dict[str, Callable[[Dataset, list[Picture]], list[NDArray[Any]]]] = {
    "MONOCHROME2 8": _grey("MONOCHROME2", 8),
    "MONOCHROME1 8": _grey("MONOCHROME1", 8),
    "MONOCHROME2 12": _grey("MONOCHROME2", 12),
    "MONOCHROME1 12": _grey("MONOCHROME1", 12),
    "MONOCHROME2 16 signed": _grey("MONOCHROME2", 16, signed=True),
    "RGB": _colour("RGB"),
    "YBR_FULL": _colour("YBR_FULL"),
    "YBR_FULL_422": _colour("YBR_FULL_422"),
    "PALETTE COLOR": _paletted,
}


def _halved_chroma(frame: Picture) -> bytes:
    """Lay out luma and chroma as PS3.3 C.7.6.3.1.2 has it: two lumas, then one Cb and one Cr for both."""
    rows, columns = frame.shape[:2]
    packed = np.empty((rows, columns // 2, 4), np.uint8)
    even = frame[:, : columns // 2 * 2].reshape(rows, columns // 2, 2, 3)
    packed[..., :2] = even[..., 0]
    packed[..., 2:] = even[..., 1:].mean(axis=2)
    return packed.tobytes()


def _jpeg(picture: Picture, subsampling: int, samples: int) -> bytes:
    buffer = io.BytesIO()
    if samples == 3:
        Image.fromarray(picture).save(buffer, "JPEG", quality=88, subsampling=subsampling)
    else:
        Image.fromarray(picture).save(buffer, "JPEG", quality=88)
    return buffer.getvalue()
