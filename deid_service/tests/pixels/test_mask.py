"""Black boxes: what is inside is shown black, what is outside does not change."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset, dcmread
from pydicom.pixels.processing import apply_color_lut, apply_voi_lut, convert_color_space

from deid_service import Refused
from deid_service.pixels.boxes import Box
from deid_service.pixels.frames import open_frames
from deid_service.pixels.layout import Layout
from deid_service.pixels.mask import Black, fill, inside
from deid_service.pixels.palette import read_palette
from deid_service.wire import read

Picture = Callable[..., bytes]
BOX = Box(2, 1, 4, 3)

boxes = st.lists(
    st.builds(Box, st.integers(-5, 12), st.integers(-5, 12), st.integers(-5, 12), st.integers(-5, 12)), max_size=4
)


def masked(data: bytes, box: Box = BOX) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Black out a box of the first frame; returns cells before and after, values before and after."""
    source = read(data)
    reader = open_frames(source)
    black = Black(source, reader.layout, reader.decoded_photometric)
    before = reader.cells(0)
    after = black.apply(before, [box])
    black.check(before, after, [box])
    return before, after, reader.decode(0), reader.layout.values(after)


@given(found=boxes, rows=st.integers(1, 9), columns=st.integers(1, 9), samples=st.sampled_from([1, 3]))
def test_boxes_include_their_last_row_and_column(found: list[Box], rows: int, columns: int, samples: int) -> None:
    shape = (rows, columns) if samples == 1 else (rows, columns, samples)
    frame = np.random.default_rng(0).integers(1, 255, shape, np.uint8)
    after = frame.copy()
    fill(after, found, np.zeros(samples, np.uint8))
    for row in range(rows):
        for column in range(columns):
            black = any(
                one.left <= column <= one.right and one.top <= row <= one.bottom for one in found
            )  # by the definition, pixel by pixel
            assert black == inside(shape, found)[row, column]
            assert (after[row, column] == (0 if black else frame[row, column])).all()


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("stored", [8, 10, 12, 16])
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_grey_pixels_become_the_darkest_there_is(picture: Picture, photometric: str, stored: int, signed: bool) -> None:
    cells = np.random.default_rng(1).integers(0, 2**16, (1, 6, 7), np.uint16)
    data = picture(cells, BitsStored=stored, PixelRepresentation=int(signed), PhotometricInterpretation=photometric)
    before, after, _, values = masked(data)
    low, high = (-(2 ** (stored - 1)), 2 ** (stored - 1) - 1) if signed else (0, 2**stored - 1)
    assert (values[1:4, 2:5] == (low if photometric == "MONOCHROME2" else high)).all()
    outside = ~inside(before.shape, [BOX])
    assert np.array_equal(after[outside], before[outside])  # the bits above those stored, too
    upper = after[1:4, 2:5] >> stored if stored < 16 else np.zeros(1)
    assert len(np.unique(upper)) == 1


@pytest.mark.parametrize(
    ("attributes", "shown_dark"),
    [
        ({}, "low"),
        ({"PresentationLUTShape": "IDENTITY"}, "low"),
        ({"PresentationLUTShape": "INVERSE"}, "high"),
        ({"PresentationLUTShape": "INVERSE", "PhotometricInterpretation": "MONOCHROME1"}, "high"),
        ({"RescaleSlope": "-1.5", "RescaleIntercept": "0"}, "high"),
        ({"RescaleSlope": "-1", "RescaleIntercept": "0", "PhotometricInterpretation": "MONOCHROME1"}, "low"),
        ({"RescaleSlope": "2", "RescaleIntercept": "-1024", "PixelPaddingValue": 17}, "low"),
    ],
)
def test_what_inverts_an_image(picture: Picture, attributes: dict[str, Any], shown_dark: str) -> None:
    data = picture(np.full((1, 6, 7), 100, np.uint8), **attributes)
    assert (masked(data)[3][1:4, 2:5] == (0 if shown_dark == "low" else 255)).all()


@pytest.mark.parametrize("falling", [False, True])
@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"])
def test_lookup_tables_that_fall(picture: Picture, syntax: str, falling: bool) -> None:
    item = Dataset()
    item.LUTDescriptor = [256, 0, 16]
    table = np.linspace(0, 65535, 256).astype("<u2")
    item.LUTData = table[::-1].tolist() if falling else table.tolist()
    item["LUTDescriptor"].VR = item["LUTData"].VR = "US"
    data = picture(np.full((1, 6, 7), 100, np.uint8), syntax, VOILUTSequence=[item])
    _, _, before, after = masked(data)
    dataset = dcmread(BytesIO(data))
    shown = apply_voi_lut(after, dataset)
    assert shown[1, 2] == 0
    assert shown[0, 0] == apply_voi_lut(before, dataset)[0, 0] > 0


@pytest.mark.parametrize("planar", [0, 1])
@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL", "YBR_FULL_422"])
def test_colours_become_black_not_green(picture: Picture, photometric: str, planar: int) -> None:
    cells = np.random.default_rng(1).integers(1, 256, (1, 6, 8, 3)).astype("u1")
    data = picture(cells, PhotometricInterpretation=photometric, PlanarConfiguration=planar)
    _, _, before, after = masked(data)
    shown = after if photometric == "RGB" else convert_color_space(after, "YBR_FULL", "RGB")
    assert (shown[1:4, 2:5] == 0).all()
    assert np.array_equal(after[4:], before[4:])


def palette(colours: np.ndarray, first: int = 0, bits: int = 16) -> dict[str, Any]:
    """Return the attributes of a palette: (n, 3) of 8 or 16 bits."""
    attributes: dict[str, Any] = {}
    for index, name in enumerate(("Red", "Green", "Blue")):
        attributes[f"{name}PaletteColorLookupTableDescriptor"] = [len(colours) % 65536, first, bits]
        attributes[f"{name}PaletteColorLookupTableData"] = (
            colours[:, index].astype("<u2" if bits == 16 else "u1").tobytes()
        )
    return attributes


@given(
    count=st.sampled_from([2, 10, 256]),
    bits=st.sampled_from([8, 16]),
    first=st.sampled_from([0, 3]),
    seed=st.integers(0, 2**32 - 1),
)
def test_palettes_have_their_darkest_entry(picture: Picture, count: int, bits: int, first: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    colours = random.integers(2**bits // 2, 2**bits, (count, 3))
    dark = int(random.integers(0, min(count, 256 - first)))
    colours[dark] = random.integers(0, 2**bits // 20, 3)
    data = picture(
        np.full((1, 6, 7), 255, np.uint8), PhotometricInterpretation="PALETTE COLOR", **palette(colours, first, bits)
    )
    values = masked(data)[3]
    assert (values[1:4, 2:5] == first + dark).all()
    shown = apply_color_lut(values, dcmread(BytesIO(data)))
    assert shown[2, 3].tolist() == colours[dark].tolist()


def test_a_palette_without_a_dark_colour_is_refused(picture: Picture) -> None:
    bright = np.random.default_rng(1).integers(2**15, 2**16, (256, 3))
    data = picture(np.zeros((1, 6, 7), np.uint8), PhotometricInterpretation="PALETTE COLOR", **palette(bright))
    with pytest.raises(Refused) as refusal:
        masked(data)
    assert refusal.value.reason_code == "pixels_not_maskable"
    # A dark entry that no pixel of eight bits can have is of no use.
    longer = np.vstack([bright, np.zeros((1, 3), int)])
    data = picture(np.zeros((1, 6, 7), np.uint8), PhotometricInterpretation="PALETTE COLOR", **palette(longer))
    with pytest.raises(Refused, match="pixels_not_maskable"):
        masked(data)
    data = picture(np.zeros((1, 6, 7), np.uint8), PhotometricInterpretation="PALETTE COLOR")
    with pytest.raises(Refused, match="pixels_not_decodable"):
        masked(data)


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"])
def test_palettes_in_segments(picture: Picture, syntax: str) -> None:
    # From 60000 in a line down to 100 at entry 199, then 56 entries at 65535 (PS3.3 C.7.9.2).
    segments = np.array([0, 1, 60000, 1, 199, 100, 0, 1, 65535, 1, 55, 65535], "<u2")
    attributes: dict[str, Any] = {}
    for name in ("Red", "Green", "Blue"):
        attributes[f"{name}PaletteColorLookupTableDescriptor"] = [256, 0, 16]
        ordered = segments.astype(">u2") if syntax.endswith(".2.2") else segments
        attributes[f"Segmented{name}PaletteColorLookupTableData"] = ordered.tobytes()
    cells = np.full((1, 6, 8), 255, np.uint8)
    data = picture(cells, syntax, PhotometricInterpretation="PALETTE COLOR", **attributes)
    source = read(data)
    colours = read_palette(source, signed=False).colours
    assert colours.shape == (256, 3)
    assert colours[[0, 199, 200], 1].tolist() == [60000, 100, 65535]
    assert (masked(data)[3][1:4, 2:5] == 199).all()


def test_the_check_finds_every_change(picture: Picture) -> None:
    source = read(picture(np.random.default_rng(1).integers(1, 255, (1, 6, 7, 3), np.uint8)))
    reader = open_frames(source)
    black = Black(source, reader.layout, "RGB")
    before = reader.cells(0)
    good = black.apply(before, [BOX])
    black.check(before, good, [BOX])
    for row in range(6):
        for column in range(7):
            bad = good.copy()
            bad[row, column, 1] ^= 1
            with pytest.raises(Refused, match="verification_failed"):
                black.check(before, bad, [BOX])


def test_floating_point_pixels_become_the_lowest_of_the_rest(picture: Picture) -> None:
    layout = Layout(0x7FE00008, 1, 3, 4, 1, 32, 32, 31, False, "MONOCHROME2", 0)
    black = Black(read(picture(np.zeros((1, 3, 4), np.uint8))), layout, "MONOCHROME2")
    frame = np.array([[1, np.nan, -3, 4], [5, -90, 7, -np.inf], [0, 1, 2, 3]], "<f4")
    masked = black.apply(frame, [Box(1, 1, 1, 1)])
    assert masked[1, 1] == -3
    black.check(frame, masked, [Box(1, 1, 1, 1)])
    assert (black.apply(frame, [Box(0, 0, 9, 9)]) == 0).all()
