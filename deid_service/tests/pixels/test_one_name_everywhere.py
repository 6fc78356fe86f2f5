"""One name, drawn in every place of an instance that can show something: none of it is left, with any rules."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw, UnidentifiedImageError
from pydicom import Dataset, dcmread
from pydicom.encaps import encapsulate, generate_fragments

from deid_service import Cleaned, Deidentifier, PseudonymKey, load_rules
from deid_service.rules import __file__ as rules_folder

NAME = "ERIKA MUSTERMANN"
ROWS, COLUMNS = 16, 128


def drawn() -> NDArray[np.bool_]:
    picture = Image.new("1", (COLUMNS, ROWS))
    ImageDraw.Draw(picture).text((4, 2), NAME, fill=1)
    return np.asarray(picture)


WORD = drawn()
POINTS = np.argwhere(WORD)[:, ::-1]  # column, row


def picture(kind: str) -> bytes:
    buffer = BytesIO()
    Image.fromarray(np.where(WORD, 255, 0).astype(np.uint8)).save(buffer, kind, quality=95)
    return buffer.getvalue()


def packed() -> bytes:
    return np.packbits(WORD, axis=None, bitorder="little").tobytes()


def icon() -> Dataset:
    item = Dataset()
    item.Rows, item.Columns, item.SamplesPerPixel = ROWS, COLUMNS, 1
    item.PhotometricInterpretation = "MONOCHROME2"
    item.BitsAllocated = item.BitsStored = 8
    item.HighBit, item.PixelRepresentation = 7, 0
    item.add_new(0x7FE00010, "OW", np.where(WORD, 255, 0).astype(np.uint8).tobytes())
    return item


def annotation() -> Dataset:
    text, graphic, item = Dataset(), Dataset(), Dataset()
    text.UnformattedTextValue = NAME
    graphic.GraphicAnnotationUnits, graphic.GraphicDimensions = "PIXEL", 2
    graphic.NumberOfGraphicPoints = len(POINTS)
    graphic.GraphicData = [float(number) for number in POINTS.ravel()]
    graphic.GraphicType, graphic.GraphicFilled = "POLYLINE", "N"
    item.GraphicLayer = "NAME"
    item.TextObjectSequence, item.GraphicObjectSequence = [text], [graphic]
    return item


def full(instance: Dataset) -> Dataset:
    """Draw the name wherever it can be drawn, in an image of 12 bits that does not show it."""
    instance.Rows, instance.Columns = ROWS, COLUMNS
    instance.BitsStored, instance.HighBit, instance.PixelRepresentation = 12, 11, 0
    instance.PatientName = "Mustermann^Erika"
    ramp = np.arange(ROWS * COLUMNS).reshape(ROWS, COLUMNS) % 4096
    instance.PixelData = (ramp | WORD.astype(int) << 13).astype("<u2").tobytes() + packed()
    for group in (0x6000, 0x6002):
        start = group << 16
        instance.add_new(start | 0x0010, "US", ROWS)
        instance.add_new(start | 0x0011, "US", COLUMNS)
        instance.add_new(start | 0x0022, "LO", NAME)
        instance.add_new(start | 0x0040, "CS", "G")
        instance.add_new(start | 0x0050, "SS", [1, 1])
        instance.add_new(start | 0x0100, "US", 1)
        instance.add_new(start | 0x0102, "US", 0)
        instance.add_new(start | 0x1500, "LO", NAME)
        instance.add_new(start | 0x3000, "OW", packed())
    instance.add_new(0x60040100, "US", 16)
    instance.add_new(0x60040102, "US", 13)
    instance.add_new(0x50000005, "US", 2)
    instance.add_new(0x50000010, "US", len(POINTS))
    instance.add_new(0x50000103, "US", 0)
    instance.add_new(0x50003000, "OW", POINTS.astype("<u2").tobytes())
    instance.IconImageSequence = [icon()]
    reference = icon()
    reference.IconImageSequence = [icon()]
    reference.ReferencedSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    reference.ReferencedSOPInstanceUID = "1.2.276.0.7230010.3.1.4.2001"
    instance.ReferencedImageSequence = [reference]
    instance.GraphicAnnotationSequence = [annotation()]
    wave = Dataset()
    wave.UnformattedTextValue = NAME
    instance.WaveformAnnotationSequence = [wave]
    block = instance.private_block(0x0029, "ACME PICTURES", create=True)
    block.add_new(0x10, "OB", picture("PNG") + b"\0" * (len(picture("PNG")) % 2))
    block.add_new(0x11, "SQ", [icon()])
    block.add_new(0x12, "UN", packed())
    return instance


def values(dataset: Dataset, path: str = "") -> Iterator[tuple[str, bytes]]:
    for element in dataset:
        here = f"{path}{element.tag:08X}" if isinstance(element.tag, int) else f"{path}{element.tag}"
        if element.VR == "SQ":
            for item in element.value:
                yield from values(item, here + "/")
        elif isinstance(element.value, bytes):
            yield here, element.value
        elif element.VR == "FL":
            yield here, np.atleast_1d(np.asarray(element.value, "<f4")).tobytes()
        else:
            yield here, str(element.value).encode()


def shown(value: bytes) -> bool:
    """Look at a value as text, as packed bits, as cells of 8 and 16 bits plane by plane, as points, as a picture."""
    text = value.upper()
    if b"MUSTERMANN" in text or b"ERIKA" in text:
        return True
    wanted = WORD.astype(np.uint8).tobytes()
    planes = [np.unpackbits(np.frombuffer(value, np.uint8), bitorder=order) for order in ("little", "big")]
    for kind in ("u1", "<u2"):
        cells = np.frombuffer(value[: len(value) // np.dtype(kind).itemsize * np.dtype(kind).itemsize], kind)
        planes += [(cells >> bit & 1).astype(np.uint8) for bit in range(8 * cells.dtype.itemsize)]
    if any(wanted in plane.tobytes() for plane in planes):
        return True
    return drawn_by_points(value) or drawn_in_picture(value)


def drawn_by_points(value: bytes) -> bool:
    for kind in ("<f4", "<u2"):
        size = 2 * np.dtype(kind).itemsize
        points = np.frombuffer(value[: len(value) // size * size], kind).reshape(-1, 2)
        if len(points) > 20:
            found = {(int(x), int(y)) for x, y in points[:5000] if 0 <= x < COLUMNS and 0 <= y < ROWS}
            if len(found & {(int(x), int(y)) for x, y in POINTS}) > 0.9 * len(POINTS):
                return True
    return False


def drawn_in_picture(value: bytes) -> bool:
    for start in (b"\x89PNG", b"\xff\xd8\xff"):
        position = value.find(start)
        while position >= 0:
            try:
                pixels = np.asarray(Image.open(BytesIO(value[position:])).convert("L"))
            except (UnidentifiedImageError, OSError, SyntaxError, ValueError):
                pixels = np.zeros((1, 1))
            if pixels.shape == WORD.shape and ((pixels > 127) == WORD).mean() > 0.98:
                return True
            position = value.find(start, position + 1)
    return False


def places(dataset: Dataset) -> list[str]:
    return [path for path, value in values(dataset) if shown(value)]


def ready(name: str) -> str:

    return Path(rules_folder).with_name(f"{name}.yaml").read_text("utf-8")


NO_PROFILE = (
    "ScopeToForward: {Labels: ALL}\n"
    "Transformations:\n"
    "  - Scope: {Labels: ALL}\n"
    "    RandomizeUID: [{TagPatterns: '*/{UI}'}]\n"
    "    RandomizeText: [{TagPatterns: ['*/{PN}', PatientID]}]\n"
    "    DeleteTags:\n"
    "      - TagPatterns: ['*/XXX@XXXX', '*/UnformattedTextValue', '*/{DA}', '*/{TM}', '*/{DT}', AccessionNumber]\n"
    "        Action: Remove\n"
    "      - {TagPatterns: GraphicAnnotationSequence, Action: Remove}\n"
)


def test_the_name_is_found_in_every_place_of_the_original(instance: Dataset) -> None:
    found = set(places(full(instance)))
    assert {
        "00081140/7FE00010",
        "00081140/00880200/7FE00010",
        "00291010",
        "00291011/7FE00010",
        "00291012",
        "0040B020/00700006",
        "00700001/00700008/00700006",
        "00700001/00700009/00700022",
        "00880200/7FE00010",
        "50003000",
        "60000022",
        "60001500",
        "60003000",
        "60023000",
        "7FE00010",
    } <= found


@pytest.mark.parametrize("rules", ["basic", "research", "no profile"])
def test_nothing_of_it_is_left(
    rules: str, clean: Callable[..., Any], instance: Dataset, written: Callable[..., bytes]
) -> None:
    result = clean(NO_PROFILE if rules == "no profile" else ready(rules), written(full(instance)))
    assert places(result) == []
    assert not [element for element in result.iterall() if element.tag.group >> 8 in (0x50, 0x60)]
    pixels = np.frombuffer(result.PixelData, "<u2")
    assert np.array_equal(pixels[: ROWS * COLUMNS], np.arange(ROWS * COLUMNS) % 4096)
    assert not pixels[ROWS * COLUMNS :].any()


@pytest.mark.parametrize("rules", ["basic", "research"])
def test_nothing_of_it_is_left_in_compressed_frames(
    rules: str, key: PseudonymKey, instance: Dataset, written: Callable[..., bytes]
) -> None:
    frame = BytesIO()
    Image.fromarray(np.full((64, 64), 90, np.uint8)).save(frame, "JPEG", comment=NAME.encode())
    stream = frame.getvalue()
    small = picture("JPEG")
    stream = stream[:2] + b"\xff\xe1" + (len(small) + 8).to_bytes(2, "big") + b"Exif\0\0" + small + stream[2:]
    stream += picture("PNG") + small
    instance.SOPClassUID, instance.Modality, instance.BurnedInAnnotation = "1.2.840.10008.5.1.4.1.1.1", "CR", "NO"
    instance.PatientName = "Mustermann^Erika"
    instance.Rows = instance.Columns = 64
    instance.BitsAllocated = instance.BitsStored = 8
    instance.HighBit, instance.PixelRepresentation = 7, 0
    instance.PixelData = encapsulate([stream])
    instance["PixelData"].VR = "OB"
    assert [shown(fragment) for fragment in generate_fragments(instance.PixelData)] == [False, True]
    data = written(instance, "1.2.840.10008.1.2.4.50")
    outcome = Deidentifier(load_rules(ready(rules)), key).clean(data)
    assert isinstance(outcome, Cleaned)

    result = dcmread(BytesIO(outcome.data))
    _, fragment = generate_fragments(result.PixelData)  # a table of offsets comes first
    assert not shown(fragment)
    assert len(fragment) == len(stream) + len(stream) % 2
    assert np.array_equal(np.asarray(Image.open(BytesIO(fragment))), np.asarray(Image.open(BytesIO(stream))))


@pytest.mark.parametrize("rules", ["basic", "research"])
def test_real_overlays_curves_and_icons(shared_data: Path, key: PseudonymKey, rules: str) -> None:
    unchecked = "  - {Scope: {Labels: ALL}, SuspectedPixels: PassUnchecked}\n"
    deidentifier = Deidentifier(load_rules(ready(rules) + unchecked), key)
    names = [
        "xa/coronary_cine/HasFragmentSequence.dcm",
        "overlay/GH1728.dcm",
        "overlay/MR-SIEMENS-DICOM-WithOverlays.dcm",
        "transfer-syntax/pydicom_small/examples_overlay.dcm",
    ]
    shows_more = []
    for name in names:
        data = (shared_data / "dicom" / name).read_bytes()
        before = dcmread(BytesIO(data))
        shows_more += [element.tag for element in before.iterall() if more(element.tag)]
        outcome = deidentifier.clean(data)
        assert isinstance(outcome, Cleaned), name
        after = dcmread(BytesIO(outcome.data))
        assert [element.tag for element in after.iterall() if more(element.tag)] == []
        assert len(after.PixelData) == len(before.PixelData)
        if not before.file_meta.TransferSyntaxUID.is_compressed:
            assert after.PixelData == before.PixelData
    assert {tag >> 24 for tag in shows_more} == {0x00, 0x50, 0x60}


def more(tag: int) -> bool:
    return tag >> 24 in (0x50, 0x60) or tag == 0x00880200
