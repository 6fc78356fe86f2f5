"""Black boxes in JPEG pictures: the blocks asked for are black in two decoders, all others are what they were."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from io import BytesIO
from itertools import pairwise
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from libjpeg import decode
from numpy.typing import NDArray
from PIL import Image
from pydicom import Dataset, dcmread
from pydicom.encaps import encapsulate, generate_fragments, generate_frames

from deid_service.pixels.boxes import Box, Regions
from deid_service.pixels.jpeg import BlackArea, black_area, mask_jpeg
from deid_service.pixels.jpeg_huffman import HuffmanTable, UnsupportedJpegError, _Bits, find_blocks
from deid_service.pixels.rewrite import rewrite_pixels
from deid_service.wire import read

SUBSAMPLING = {"4:4:4": 0, "4:2:2": 1, "4:2:0": 2}


def picture(rows: int, columns: int, samples: int, noise: float = 8) -> NDArray[np.uint8]:
    """Soft waves and noise, in colours that differ from place to place."""
    random = np.random.default_rng(rows * columns)
    y, x = np.mgrid[:rows, :columns]
    waves = [128 + 100 * np.sin(x / 17 + shift) * np.cos(y / 23 + shift) for shift in range(samples)]
    pixels = np.stack(waves, -1) + random.normal(0, noise, (rows, columns, samples))
    return np.clip(pixels, 0, 255).astype(np.uint8)


def encoded(pixels: NDArray[np.uint8], **options: Any) -> bytes:
    buffer = BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(buffer, "JPEG", **options)
    return buffer.getvalue()


def masked(stream: bytes, boxes: list[Box], photometric: str = "") -> bytes:
    result = mask_jpeg(stream, boxes, photometric)
    assert result is not None
    return result


def area(stream: bytes, boxes: list[Box]) -> BlackArea:
    result = black_area(stream, boxes)
    assert result is not None
    return result


def covered(found: BlackArea, shape: tuple[int, ...], margin: int = 0) -> NDArray[np.bool_]:
    """Return which pixels are black, or at most `margin` pixels from them; a negative margin means the inside only."""
    inside = np.zeros(shape[:2], np.bool_)
    for box in found.boxes:
        grown = box.grown(margin).within(shape[0], shape[1])
        if grown is not None:
            inside[grown.top : grown.bottom + 1, grown.left : grown.right + 1] = True
    return inside


def pillow(stream: bytes) -> NDArray[np.uint8]:
    return np.asarray(Image.open(BytesIO(stream)))


def pylibjpeg(stream: bytes) -> NDArray[np.uint8]:
    """Decode without a transformation of colours."""
    return np.asarray(decode(stream))


def check(stream: bytes, boxes: list[Box], photometric: str = "", *, black: tuple[int, ...] = (0, 128, 128)) -> bytes:
    """Mask and compare in both decoders."""
    new = masked(stream, boxes, photometric)
    found = area(stream, boxes)
    for decoder in (pillow, pylibjpeg):
        before, after = decoder(stream), decoder(new)
        outside = ~covered(found, before.shape, found.margin)
        assert np.array_equal(before[outside], after[outside])
        inside = covered(found, before.shape, -found.margin)
        wanted = black if decoder is pylibjpeg and before.ndim == 3 else (black[0],)
        assert (after[inside] == wanted).all()
    # Brightness has the full resolution: it is exact to the last pixel.
    before, after = (pylibjpeg(one)[..., :1] for one in (stream, new))
    if before.ndim == 3 and after.shape[-1] == 1:
        all_black = covered(found, before.shape)
        assert (after[all_black] == black[0]).all()
        assert np.array_equal(before[~all_black], after[~all_black])
    return new


@pytest.mark.parametrize("subsampling", SUBSAMPLING)
@pytest.mark.parametrize("optimised", [False, True])
@pytest.mark.parametrize("restart", [0, 3])
@pytest.mark.parametrize("size", [(96, 160), (97, 131)])
def test_colours(subsampling: str, optimised: bool, restart: int, size: tuple[int, int]) -> None:
    rows, columns = size
    for quality in (30, 75, 100):
        stream = encoded(
            picture(rows, columns, 3),
            quality=quality,
            subsampling=SUBSAMPLING[subsampling],
            optimize=optimised,
            restart_marker_blocks=restart,
        )
        boxes = [Box(10, 20, 60, 41), Box(columns - 9, rows - 5, columns + 4, rows + 30)]
        new = check(stream, boxes)
        for box in boxes:
            part = box.within(rows, columns)
            assert part is not None
            # The box itself is dark for every eye, also where colours flow in from outside.
            assert pillow(new)[part.top : part.bottom + 1, part.left : part.right + 1].max() <= 40


@pytest.mark.parametrize("restart", [0, 5])
@pytest.mark.parametrize(("photometric", "black"), [("MONOCHROME2", 0), ("MONOCHROME1", 255)])
def test_grey(restart: int, photometric: str, black: int) -> None:
    for quality in (20, 60, 100):
        stream = encoded(picture(97, 131, 1), quality=quality, restart_marker_blocks=restart)
        check(stream, [Box(0, 0, 0, 0), Box(40, 30, 70, 44)], photometric, black=(black,))


def test_blocks_are_never_smaller_than_the_box() -> None:
    stream = encoded(picture(64, 64, 3), subsampling=2)
    assert area(stream, [Box(15, 16, 16, 31)]) == BlackArea((Box(0, 16, 31, 31),), 1)
    assert area(encoded(picture(64, 60, 1)), [Box(59, 7, 59, 8)]) == BlackArea((Box(56, 0, 59, 15),), 0)


def test_boxes_outside_of_the_picture_change_nothing() -> None:
    stream = encoded(picture(64, 64, 3), subsampling=2)
    for boxes in ([], [Box(64, 0, 90, 9)], [Box(-9, -9, -1, -1)]):
        assert np.array_equal(pillow(masked(stream, boxes)), pillow(stream))
        assert area(stream, boxes).boxes == ()


def test_all_black() -> None:
    for samples in (1, 3):
        new = masked(encoded(picture(50, 70, samples)), [Box(0, 0, 69, 49)])
        assert pillow(new).max() == 0


def test_a_box_beside_a_box_in_every_row() -> None:
    boxes = [Box(8 * column, 8 * row, 8 * column, 8 * row) for row in range(12) for column in range(row % 2, 16, 2)]
    check(encoded(picture(96, 128, 3), subsampling=0, optimize=True), boxes)


def test_codes_that_a_table_lacks_are_appended() -> None:
    flat = np.full((64, 64, 3), 200, np.uint8)
    for quality in (50, 100):
        stream = encoded(flat, quality=quality, optimize=True, subsampling=0)
        check(stream, [Box(20, 20, 30, 30)])
        check(stream, [Box(60, 60, 63, 63)])


def test_a_code_stays_what_it_is_when_others_are_appended() -> None:
    table = HuffmanTable(bytes([0, 2, 1]) + bytes(13), b"\x02\x03\x04")
    more = table.with_symbols([0, 2, 11])
    assert {symbol: more.codes[symbol] for symbol in table.codes} == table.codes
    assert more.codes.keys() == {0, 2, 3, 4, 11}
    codes = [format(code, f"0{length}b") for code, length in more.codes.values()]
    assert not any(one != other and other.startswith(one) for one in codes for other in codes)
    assert not any(set(code) == {"1"} for code in codes)
    full = HuffmanTable(bytes([1] * 16), bytes(range(16)))
    with pytest.raises(UnsupportedJpegError):
        full.with_symbols([16])


def segments(stream: bytes) -> Iterator[tuple[int, bytes]]:
    """Return the marker segments up to the first scan, each with what it holds."""
    position = 2
    while True:
        marker, length = stream[position + 1], int.from_bytes(stream[position + 2 : position + 4], "big")
        yield marker, stream[position + 4 : position + 2 + length]
        position += 2 + length
        if marker == 0xDA:
            yield 0, stream[position:-2]
            return


def test_thumbnails_comments_and_what_follows_the_picture_go() -> None:
    exif = Image.Exif()
    exif[0x010E] = "Mustermann Erika"
    stream = encoded(picture(64, 64, 3), exif=exif.tobytes(), comment=b"Mustermann Erika", icc_profile=b"Mustermann")
    stream = stream[:2] + b"\xff\xe0\x00\x19JFXX\0\x10 Mustermann Erika" + stream[2:] + b"Mustermann"
    assert stream.count(b"Mustermann") == 5
    new = masked(stream, [Box(0, 0, 9, 9)])
    assert b"Mustermann" not in new
    assert [marker for marker, _ in segments(new) if 0xE0 <= marker <= 0xEF or marker == 0xFE] == [0xE0]
    check(stream, [Box(0, 0, 9, 9)])


def with_components(stream: bytes, names: bytes) -> bytes:
    """Rename the components, leave the JFIF marker out."""
    result = b"\xff\xd8"
    for marker, body in segments(stream):
        if marker == 0xC0:
            body = body[:6] + b"".join(bytes([names[i]]) + body[7 + 3 * i : 9 + 3 * i] for i in range(3))
        elif marker == 0xDA:
            body = body[:1] + b"".join(bytes([names[i]]) + body[2 + 2 * i : 3 + 2 * i] for i in range(3)) + body[-3:]
        if marker == 0:
            result += body + b"\xff\xd9"
        elif marker != 0xE0:
            result += bytes([0xFF, marker]) + (len(body) + 2).to_bytes(2, "big") + body
    return result


def test_rgb_that_is_not_transformed() -> None:
    stream = with_components(encoded(picture(64, 64, 3), subsampling=0), b"RGB")
    new = masked(stream, [Box(3, 3, 20, 20)])
    assert pillow(new)[:24, :24].max() == 0
    assert pylibjpeg(new)[:24, :24].max() == 0
    # Of a stream that says nothing of its colours the header of the instance is believed.
    stream = with_components(encoded(picture(64, 64, 3), subsampling=0), b"\1\2\3")
    assert pylibjpeg(masked(stream, [Box(3, 3, 20, 20)], "RGB"))[:24, :24].max() == 0
    assert (pylibjpeg(masked(stream, [Box(3, 3, 20, 20)], "YBR_FULL"))[:24, :24] == (0, 128, 128)).all()
    # The Adobe marker decides, whatever the header says.
    for transform, black in ((0, (0, 0, 0)), (1, (0, 128, 128))):
        adobe = b"\xff\xee\x00\x0eAdobe\x00\x64\0\0\0\0" + bytes([transform])
        marked = stream[:2] + adobe + stream[2:]
        for photometric in ("RGB", "YBR_FULL"):
            new = masked(marked, [Box(3, 3, 20, 20)], photometric)
            assert adobe in new
            assert (pylibjpeg(new)[:24, :24] == black).all()
            assert pillow(new)[:24, :24].max() == 0


def test_black_by_value() -> None:
    stream = encoded(picture(64, 64, 3), subsampling=0)
    for black in ((0, 0, 0), (0, 128, 128), (255, 0, 128)):
        new = mask_jpeg(stream, [Box(3, 3, 20, 20)], "YBR_FULL", black)
        assert new is not None
        assert (pylibjpeg(new)[:24, :24] == black).all()
    grey = encoded(picture(64, 64, 1))
    for value in (0, 128, 255):
        new = mask_jpeg(grey, [Box(3, 3, 20, 20)], "MONOCHROME2", [value])
        assert new is not None
        assert (pillow(new)[:24, :24] == value).all()
    assert mask_jpeg(grey, [Box(3, 3, 20, 20)], "MONOCHROME2", [17]) is None
    assert mask_jpeg(grey, [Box(3, 3, 20, 20)], "MONOCHROME2", [0, 0, 0]) is None


@pytest.mark.parametrize(("keyword", "value"), [("PresentationLUTShape", "INVERSE"), ("RescaleSlope", -1)])
def test_bright_is_black_where_the_instance_is_shown_inverted(
    keyword: str, value: object, instance: Dataset, written: Callable[..., bytes]
) -> None:
    instance.Rows = instance.Columns = 64
    instance.BitsAllocated = instance.BitsStored = 8
    instance.HighBit, instance.PixelRepresentation = 7, 0
    setattr(instance, keyword, value)
    instance.PixelData = encapsulate([encoded(picture(64, 64, 1))])
    instance["PixelData"].VR = "OB"
    rewritten = rewrite_pixels(
        read(written(instance, "1.2.840.10008.1.2.4.50")), Regions((Box(3, 3, 20, 20),)), "1.2.840.10008.1.2.4.50"
    )
    assert rewritten.transfer_syntax == "1.2.840.10008.1.2.4.50"
    assert rewritten.regions == Regions(by_frame={0: (Box(0, 0, 23, 23),)})
    (stream,) = [one for one in generate_fragments(b"".join(rewritten.elements[0x7FE00010] or [])[12:]) if len(one) > 8]
    assert (pillow(stream)[:24, :24] == 255).all()


def in_separate_scans(stream: bytes, sampling: tuple[tuple[int, int], ...]) -> bytes:
    """Write a stream of one scan with one scan for each component."""
    parts = list(segments(stream))
    tables = {}
    for marker, body in parts:
        while marker == 0xC4 and body:
            size = sum(body[1:17])
            tables[body[0]] = HuffmanTable(body[1:17], body[17 : 17 + size])
            body = body[17 + size :]
    frame = next(body for marker, body in parts if marker == 0xC0)
    rows, columns = int.from_bytes(frame[1:3], "big"), int.from_bytes(frame[3:5], "big")
    wide, high = max(h for h, _ in sampling), max(v for _, v in sampling)
    across, down = ceil(columns / (8 * wide)), ceil(rows / (8 * high))
    pattern = [
        (number, tables[min(number, 1)], tables[0x10 | min(number, 1)])
        for number, (h, v) in enumerate(sampling)
        for _ in range(h * v)
    ]
    data = parts[-1][1].replace(b"\xff\0", b"\xff")
    blocks = find_blocks(data, across * down, pattern, 3)
    places: list[dict[tuple[int, int], tuple[int, int, int]]] = [{}, {}, {}]
    bounds = zip(pairwise(blocks.starts), blocks.dc_ends, blocks.levels, strict=True)
    for unit in range(across * down):
        for number, (h, v) in enumerate(sampling):
            for y in range(v):
                for x in range(h):
                    (_, end), dc_end, level = next(bounds)
                    places[number][unit // across * v + y, unit % across * h + x] = dc_end, end, level
    result = b"\xff\xd8"
    for marker, body in parts[:-2]:
        result += bytes([0xFF, marker]) + (len(body) + 2).to_bytes(2, "big") + body
    for number, (h, v) in enumerate(sampling):
        bits, last = _Bits(), 0
        for row in range(ceil(ceil(rows * v / high) / 8)):
            for column in range(ceil(ceil(columns * h / wide) / 8)):
                dc_end, end, level = places[number][row, column]
                difference, last = level - last, level
                size = abs(difference).bit_length()
                bits.write(*tables[min(number, 1)].codes[size])
                bits.write(difference if difference > 0 else difference + (1 << size) - 1, size)
                bits.copy(data, dc_end, end)
        table = min(number, 1)
        result += b"\xff\xda\x00\x08\x01" + bytes([frame[6 + 3 * number], table << 4 | table]) + b"\0\x3f\0"
        result += bits.finish().replace(b"\xff", b"\xff\0")
    return result + b"\xff\xd9"


@pytest.mark.parametrize("subsampling", SUBSAMPLING)
def test_a_scan_for_each_component(subsampling: str) -> None:
    stream = encoded(picture(83, 121, 3), subsampling=SUBSAMPLING[subsampling])
    luma = {"4:4:4": (1, 1), "4:2:2": (2, 1), "4:2:0": (2, 2)}[subsampling]
    separate = in_separate_scans(stream, (luma, (1, 1), (1, 1)))
    assert np.array_equal(pillow(separate), pillow(stream))
    check(separate, [Box(30, 30, 50, 45), Box(118, 80, 120, 82)])


@pytest.mark.parametrize("kind", ["progressive", "CMYK", "cut off", "two pictures", "no height", "12 bits", "palette"])
def test_what_is_not_supported_is_told(kind: str) -> None:
    photometric = ""
    stream = encoded(picture(64, 64, 3), progressive=kind == "progressive")
    size = stream.index(b"\xff\xc0") + 4 if b"\xff\xc0" in stream else 0
    match kind:
        case "CMYK":
            buffer = BytesIO()
            Image.fromarray(picture(64, 64, 4), "CMYK").save(buffer, "JPEG")
            stream = buffer.getvalue()
        case "cut off":
            stream = stream[:-700] + b"\xff\xd9"
        case "two pictures":
            stream += stream
        case "no height":
            stream = stream[: size + 1] + b"\0\0" + stream[size + 3 :]
        case "12 bits":
            stream = stream[:size] + b"\x0c" + stream[size + 1 :]
        case "palette":
            stream, photometric = encoded(picture(64, 64, 1)), "PALETTE COLOR"
    assert mask_jpeg(stream, [Box(0, 0, 9, 9)], photometric) is None


GREY = encoded(picture(40, 40, 1), restart_marker_blocks=4)
COLOUR = encoded(picture(40, 40, 3), optimize=True)


@settings(max_examples=400, deadline=None)
@given(
    stream=st.sampled_from([GREY, COLOUR]),
    changes=st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=0, max_size=3)), min_size=1, max_size=5),
    cut=st.floats(0.5, 1),
)
def test_damaged_streams_never_raise(stream: bytes, changes: list[tuple[float, bytes]], cut: float) -> None:
    damaged = bytearray(stream)
    for place, new in changes:
        position = int(place * (len(stream) - 1))
        damaged[position : position + len(new)] = new
    data = bytes(damaged[: int(cut * len(damaged))])
    result = mask_jpeg(data, [Box(0, 0, 20, 9)])
    assert (result is None) or result.startswith(b"\xff\xd8")
    assert (black_area(data, [Box(0, 0, 20, 9)]) is None) <= (result is None)


@given(data=st.binary(max_size=300))
def test_any_bytes(data: bytes) -> None:
    for start in (b"", b"\xff\xd8", GREY[:-200]):
        mask_jpeg(start + data, [Box(0, 0, 9, 9)])


def test_long_runs_of_fill_bytes_take_no_time() -> None:
    filled = GREY[:-2] + b"\xff" * 2_000_000 + b"\xd9"
    assert mask_jpeg(filled, [Box(0, 0, 9, 9)]) == mask_jpeg(GREY, [Box(0, 0, 9, 9)])
    mask_jpeg(GREY[:-2] + b"\xff" * 2_000_000, [Box(0, 0, 9, 9)])
    mask_jpeg(GREY[:2] + b"\xff" * 2_000_000, [Box(0, 0, 9, 9)])


@pytest.mark.parametrize(
    ("name", "frames"),
    [
        ("transfer-syntax/pydicom_small/SC_rgb_jpeg_dcmtk.dcm", 1),
        ("transfer-syntax/pydicom_small/examples_ybr_color.dcm", 6),
        ("transfer-syntax/pydicom_small/JPGExtended.dcm", 0),
        ("xa/coronary_cine/HasFragmentSequence.dcm", 4),
    ],
)
def test_real_files(shared_data: Path, name: str, frames: int) -> None:
    dataset = dcmread(shared_data / "dicom" / name)
    photometric = dataset.PhotometricInterpretation
    black = (0,) if dataset.SamplesPerPixel == 1 else (0, 128, 128)
    number = int(dataset.get("NumberOfFrames") or 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        streams = list(generate_frames(dataset.PixelData, number_of_frames=number))
    boxes = [Box(5, 5, 40, 20), Box(dataset.Columns - 60, 50, dataset.Columns - 1, 60)]
    for stream in streams[:frames]:
        check(stream, boxes, photometric, black=black)
    if not frames:
        assert mask_jpeg(streams[0], boxes, photometric) is None  # 12 bits
