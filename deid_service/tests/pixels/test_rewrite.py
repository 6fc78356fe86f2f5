"""Pixel data written anew: every transfer syntax with every kind of pixels, with and without boxes.

What comes out is decoded by pydicom as well as by the reader of the package.
"""

from __future__ import annotations

import struct
import warnings
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate
from pydicom.pixels.decoders.base import get_decoder

from deid_service import Refused
from deid_service.pixels import codecs
from deid_service.pixels.boxes import Box, Regions
from deid_service.pixels.codecs import DEFLATED_FRAMES, JPEG_2000, JPEG_2000_LOSSLESS, JPEG_LS_LOSSLESS, RLE
from deid_service.pixels.frames import open_frames
from deid_service.pixels.layout import layout_of
from deid_service.pixels.mask import Black
from deid_service.pixels.rewrite import Rewritten, rewrite_pixels
from deid_service.transforms.transcode import with_pixels
from deid_service.wire import read
from tests.bench.mask_worker import REGIONS as REGIONS_OF_THE_BENCH
from tests.bench.masking import peak_masked, write_frames

Picture = Callable[..., bytes]
IMPLICIT, EXPLICIT, BIG_ENDIAN, DEFLATED = (f"1.2.840.10008.1.2{end}" for end in ("", ".1", ".2", ".1.99"))
NATIVE = (IMPLICIT, EXPLICIT, BIG_ENDIAN, DEFLATED)
COMPRESSED = (RLE, JPEG_LS_LOSSLESS, JPEG_2000_LOSSLESS)
ROWS, COLUMNS, FRAMES = 33, 38, 3
REGIONS = Regions((Box(30, 28, 99, 99), Box(4, 2, 9, 5)), {1: (Box(5, 4, 20, 12),)})

# photometric interpretation, samples, bits allocated, bits stored, signed, planar
KINDS = [
    ("MONOCHROME2", 1, 8, 8, 0, 0),
    ("MONOCHROME1", 1, 8, 8, 0, 0),
    ("MONOCHROME2", 1, 8, 8, 1, 0),
    ("MONOCHROME2", 1, 8, 6, 0, 0),
    ("MONOCHROME2", 1, 16, 16, 0, 0),
    ("MONOCHROME2", 1, 16, 16, 1, 0),
    ("MONOCHROME1", 1, 16, 12, 0, 0),
    ("MONOCHROME2", 1, 16, 12, 1, 0),
    ("MONOCHROME2", 1, 16, 10, 0, 0),
    ("PALETTE COLOR", 1, 8, 8, 0, 0),
    ("PALETTE COLOR", 1, 16, 16, 0, 0),
    ("RGB", 3, 8, 8, 0, 0),
    ("RGB", 3, 8, 8, 0, 1),
    ("RGB", 3, 16, 16, 0, 0),
    ("YBR_FULL", 3, 8, 8, 0, 0),
    ("YBR_FULL", 3, 8, 8, 0, 1),
]
ONLY_NATIVE = [
    ("MONOCHROME2", 1, 1, 1, 0, 0),
    ("MONOCHROME2", 1, 32, 32, 0, 0),
    ("MONOCHROME2", 1, 32, 24, 1, 0),
    ("MONOCHROME1", 1, 64, 64, 0, 0),
    ("YBR_FULL_422", 3, 8, 8, 0, 0),
]

Kind = tuple[str, int, int, int, int, int]


def named(value: object) -> str:
    return "-".join(map(str, value)) if isinstance(value, tuple) else str(value)


def instance(picture: Picture, kind: Kind, syntax: str, frames: int = FRAMES, **more: Any) -> bytes:
    """Write an instance with noise; native pixels also have noise in the bits above those stored."""
    photometric, samples, allocated, stored, signed, planar = kind
    random = np.random.default_rng(allocated * 100 + stored)
    shape = (frames, ROWS, COLUMNS) if samples == 1 else (frames, ROWS, COLUMNS, 3)
    attributes: dict[str, Any] = {"PhotometricInterpretation": photometric, "BitsStored": stored, **more}
    attributes["PixelRepresentation"] = signed
    if planar and syntax != JPEG_2000_LOSSLESS:  # which has no planes
        attributes["PlanarConfiguration"] = 1
    if photometric == "PALETTE COLOR":
        colours = random.integers(2**15, 2**16, (256, 3))
        colours[77] = 0
        for index, name in enumerate(("Red", "Green", "Blue")):
            attributes[f"{name}PaletteColorLookupTableDescriptor"] = [256, 0, 16]
            attributes[f"{name}PaletteColorLookupTableData"] = colours[:, index].astype("<u2").tobytes()
    if allocated == 1:
        bits = random.integers(0, 2, shape, np.uint8)
        packed = np.packbits(bits, bitorder="little").tobytes()
        return picture(bits, syntax, BitsAllocated=1, PixelData=packed + b"\0" * (len(packed) % 2), **attributes)
    width = allocated // 8
    limit = 2 ** (allocated if syntax in NATIVE or syntax == RLE else stored)
    pixels = random.integers(0, limit, shape, np.uint64).astype(f"<u{width}")
    if photometric == "YBR_FULL_422":
        half = random.integers(0, 256, (frames, ROWS, COLUMNS * 2), np.uint8).tobytes()
        attributes["PixelData"] = half
    if syntax in COMPRESSED:
        layout = layout_of(read(picture(pixels, EXPLICIT, **attributes)))
        attributes["PixelData"] = [codecs.encode(frame, layout, syntax) for frame in pixels]
    if syntax == BIG_ENDIAN and width == 1:
        stored_bytes = (
            attributes.get("PixelData")
            or np.ascontiguousarray(pixels.transpose(0, 3, 1, 2) if planar else pixels).tobytes()
        )
        attributes["PixelData"] = stored_bytes + b"\0" * (len(stored_bytes) % 2)
    return picture(pixels, syntax, **attributes)


def written(data: bytes, regions: Regions, syntax: str | None = None) -> tuple[bytes, Rewritten]:
    """Rewrite the pixels of an instance; returns the whole file."""
    source = read(data)
    result = rewrite_pixels(source, regions, syntax)
    return b"".join(with_pixels(source, result)), result


def by_pydicom(data: bytes) -> np.ndarray | None:
    """Decode as pydicom does: (frames, rows, columns[, samples]); None if it cannot."""
    dataset = dcmread(BytesIO(data))
    try:
        decoder = get_decoder(dataset.file_meta.TransferSyntaxUID)
    except NotImplementedError:
        return None
    encapsulated = dataset.file_meta.TransferSyntaxUID.is_encapsulated
    if encapsulated and dataset.BitsAllocated == 1:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        array, _ = decoder.as_array(dataset, raw=True, decoding_plugin="pylibjpeg" if encapsulated else "")
    single = int(dataset.get("NumberOfFrames", 1)) == 1
    return array[np.newaxis] if single else array


def check(before: bytes, after: bytes, regions: Regions, *, cells: bool) -> None:
    """Compare two instances pixel by pixel: equal outside, black inside."""
    one, two = open_frames(read(before)), open_frames(read(after))
    assert (one.number, one.rows, one.columns) == (two.number, two.rows, two.columns)
    assert (one.bits_allocated, one.bits_stored, one.high_bit, one.signed) == (
        two.bits_allocated,
        two.bits_stored,
        two.high_bit,
        two.signed,
    )
    black = Black(read(before), one.layout, one.decoded_photometric)
    theirs = by_pydicom(after)
    for index in range(one.number):
        old, new = (one.cells(index), two.cells(index)) if cells else (one.decode(index), two.decode(index))
        level = one.layout.values(black.cells(one.cells(index), regions.of(index)))
        inside = two.decode(index)
        for row in range(one.rows):
            within = np.zeros(one.columns, bool)
            for box in regions.of(index):
                if box.top <= row <= box.bottom:
                    within[max(box.left, 0) : max(box.right + 1, 0)] = True
            assert np.array_equal(new[row, ~within], old[row, ~within])
            assert (inside[row, within] == level).all()
        if theirs is not None:
            assert np.array_equal(np.squeeze(two.decode(index)), np.squeeze(theirs[index]))


@pytest.mark.parametrize("kind", [*KINDS, *ONLY_NATIVE], ids=named)
@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG_ENDIAN])
@pytest.mark.parametrize("frames", [1, 11])
def test_native_pixels_stay_native(picture: Picture, kind: Kind, syntax: str, frames: int) -> None:
    if syntax == BIG_ENDIAN and kind[2] > 16:
        with pytest.raises(Refused, match="pixels_not_decodable"):
            written(instance(picture, kind, syntax), REGIONS)
        return
    data = instance(picture, kind, syntax, frames)
    even = Regions((Box(4, 2, 9, 5), Box(30, 28, 99, 99)))
    for regions in (even, REGIONS) if kind[0] != "YBR_FULL_422" else (even,):
        after, result = written(data, regions)
        assert result.transfer_syntax == syntax
        assert list(result.elements) == [0x7FE00010]
        assert len(after) == len(data)
        check(data, after, regions, cells=True)
    assert rewrite_pixels(read(data), Regions()).elements == {}
    assert rewrite_pixels(read(data), Regions((Box(38, 0, 50, 40), Box(3, 40, 5, 50), Box(9, 9, 8, 8)))).elements == {}


@pytest.mark.parametrize("kind", KINDS, ids=named)
@pytest.mark.parametrize("syntax", COMPRESSED)
def test_compressed_pixels_stay_compressed(picture: Picture, kind: Kind, syntax: str) -> None:
    data = instance(picture, kind, syntax)
    regions = Regions((), {1: REGIONS.every})
    after, result = written(data, regions)
    assert result.transfer_syntax == syntax
    check(data, after, regions, cells=True)
    before, now = open_frames(read(data)), open_frames(read(after))
    for index in (0, 2):
        assert bytes(now.raw(index)) == bytes(before.raw(index))
    assert now.raw(1) != before.raw(1)
    assert dcmread(BytesIO(after)).PhotometricInterpretation == kind[0]
    check(data, written(data, REGIONS)[0], REGIONS, cells=True)


@pytest.mark.parametrize("kind", [*KINDS, ONLY_NATIVE[-1]], ids=named)
@pytest.mark.parametrize("target", [IMPLICIT, EXPLICIT, *COMPRESSED])
def test_masked_and_transcoded_at_once(picture: Picture, kind: Kind, target: str) -> None:
    for syntax in (EXPLICIT, RLE, JPEG_2000_LOSSLESS):
        if syntax != EXPLICIT and kind[0] == "YBR_FULL_422":
            continue
        data = instance(picture, kind, syntax)
        for regions in (Regions(), REGIONS):
            after, result = written(data, regions, target)
            assert result.transfer_syntax == target
            dataset = dcmread(BytesIO(after))
            assert dataset.file_meta.TransferSyntaxUID == target
            whole = target not in (JPEG_LS_LOSSLESS, JPEG_2000_LOSSLESS)
            check(data, after, regions, cells=whole)
            if syntax != target and (target in COMPRESSED or syntax in COMPRESSED):
                assert dataset.PhotometricInterpretation == kind[0].replace("_422", "")
                if kind[1] == 3:
                    assert dataset.PlanarConfiguration == 0


def test_a_box_that_splits_a_pair_of_pixels(picture: Picture) -> None:
    data = instance(picture, ONLY_NATIVE[-1], EXPLICIT)
    for box in (Box(5, 2, 9, 5), Box(4, 2, 8, 5)):
        after, _ = written(data, Regions((box,)))
        assert dcmread(BytesIO(after)).PhotometricInterpretation == "YBR_FULL"
        assert len(dcmread(BytesIO(after)).PixelData) == FRAMES * ROWS * COLUMNS * 3
        check(data, after, Regions((box,)), cells=True)
    partial = data.replace(b"YBR_FULL_422", b"YBR_PARTIAL_422 "[:12])
    assert b"YBR_PARTIAL_" in partial
    with pytest.raises(Refused):
        written(partial, Regions((Box(5, 2, 9, 5),)))


@pytest.mark.parametrize("syntax", [RLE, JPEG_2000_LOSSLESS, DEFLATED_FRAMES])
def test_single_bits_stay_compressed(picture: Picture, syntax: str) -> None:
    plain = instance(picture, ONLY_NATIVE[0], EXPLICIT)
    reader = open_frames(read(plain))
    frames = [codecs.encode(reader.cells(index), reader.layout, syntax) for index in range(FRAMES)]
    known = JPEG_LS_LOSSLESS if syntax == DEFLATED_FRAMES else syntax  # pydicom does not know the newest
    data = picture(np.zeros((FRAMES, ROWS, COLUMNS), np.uint8), known, BitsAllocated=1, PixelData=frames)
    data = data.replace(JPEG_LS_LOSSLESS.encode(), DEFLATED_FRAMES.encode() + b"\0")
    after, result = written(data, REGIONS)
    assert result.transfer_syntax == syntax
    check(data, after, REGIONS, cells=True)
    if syntax != DEFLATED_FRAMES:
        check(data, written(data, REGIONS, EXPLICIT)[0], REGIONS, cells=True)


@pytest.mark.parametrize("keyword", ["FloatPixelData", "DoubleFloatPixelData"])
@pytest.mark.parametrize("syntax", [EXPLICIT, BIG_ENDIAN])
def test_floating_point_pixels(picture: Picture, keyword: str, syntax: str) -> None:
    dtype = "<f4" if keyword == "FloatPixelData" else "<f8"
    pixels = np.random.default_rng(2).normal(size=(FRAMES, ROWS, COLUMNS)).astype(dtype)
    pixels[0, 0] = np.nan
    stored = pixels.astype(pixels.dtype.newbyteorder(">")) if syntax == BIG_ENDIAN else pixels
    data = picture(pixels, syntax, PixelData=b"", BitsStored=None, HighBit=None)
    tag = 0x7FE00008 if keyword == "FloatPixelData" else 0x7FE00009
    vr = b"OF" if keyword == "FloatPixelData" else b"OD"
    order = ">" if syntax == BIG_ENDIAN else "<"
    start = data.index(struct.pack(f"{order}HH", 0x7FE0, 0x0010))
    data = data[:start] + struct.pack(f"{order}HH2sHI", 0x7FE0, tag & 0xFFFF, vr, 0, stored.nbytes) + stored.tobytes()
    after, result = written(data, REGIONS)
    assert list(result.elements) == [tag]
    one, two = open_frames(read(data)), open_frames(read(after))
    for index in range(FRAMES):
        black = Black(read(data), one.layout, "MONOCHROME2")
        black.check(one.cells(index), two.cells(index), REGIONS.of(index))


@given(
    boxes=st.lists(
        st.builds(Box, st.integers(-9, 45), st.integers(-9, 45), st.integers(-9, 45), st.integers(-9, 45)), max_size=4
    ),
    frame=st.integers(0, 4),
    syntax=st.sampled_from([EXPLICIT, RLE, JPEG_LS_LOSSLESS]),
    kind=st.sampled_from([KINDS[7], KINDS[12], ONLY_NATIVE[0], ONLY_NATIVE[4]]),
)
@settings(max_examples=60, deadline=None)
def test_any_boxes(picture: Picture, boxes: list[Box], frame: int, syntax: str, kind: Kind) -> None:
    data = instance(picture, kind, EXPLICIT if kind in ONLY_NATIVE else syntax)
    regions = Regions(tuple(boxes[:2]), {frame: tuple(boxes[2:])})
    after, _ = written(data, regions)
    check(data, after, regions, cells=True)


def _tables(data: bytes) -> tuple[list[int], list[int], list[int]]:
    """Return the offsets by the basic table, by the extended one, and those of the items themselves."""
    dataset = dcmread(BytesIO(data))
    value = dataset.PixelData
    length = struct.unpack("<I", value[4:8])[0]
    basic = list(struct.unpack(f"<{length // 4}I", value[8 : 8 + length]))
    extended = list(np.frombuffer(dataset.get("ExtendedOffsetTable", b""), "<u8"))
    found, position = [], 8 + length
    while value[position : position + 4] == b"\xfe\xff\x00\xe0":
        found.append(position - 8 - length)
        position += 8 + struct.unpack("<I", value[position + 4 : position + 8])[0]
    return basic, extended, found


def test_tables_of_offsets_are_made_anew(picture: Picture, items: Callable[[list[bytes]], bytes]) -> None:
    kind = KINDS[4]
    data = instance(picture, kind, JPEG_LS_LOSSLESS)
    regions = Regions((), {1: REGIONS.every})
    basic, extended, found = _tables(written(data, regions)[0])
    assert basic == found
    assert not extended
    reader = open_frames(read(data))
    frames = [bytes(reader.raw(index)) for index in range(FRAMES)]
    pixels = np.zeros((FRAMES, ROWS, COLUMNS), np.uint16)
    starts = np.cumsum([0, *(len(frame) + 8 for frame in frames)])[:FRAMES].astype("<u8").tobytes()
    lengths = np.array([len(frame) for frame in frames], "<u8").tobytes()
    wide = picture(
        pixels, JPEG_LS_LOSSLESS, PixelData=frames, ExtendedOffsetTable=starts, ExtendedOffsetTableLengths=lengths
    )
    after = written(wide, regions)[0]
    basic, extended, found = _tables(after)
    assert not basic
    assert extended == found
    sizes = np.frombuffer(dcmread(BytesIO(after)).ExtendedOffsetTableLengths, "<u8")
    assert sizes.tolist() == [len(open_frames(read(after)).raw(index)) for index in range(FRAMES)]
    plain = dcmread(BytesIO(written(wide, regions, EXPLICIT)[0]))
    assert "ExtendedOffsetTable" not in plain
    assert "ExtendedOffsetTableLengths" not in plain
    # Fragments of frames that no box touches stay as they are.
    pieces = items([b"", frames[0][:100], frames[0][100:], frames[1][:50], frames[1][50:], frames[2]])
    broken = picture(pixels, JPEG_LS_LOSSLESS, PixelData=pieces, encapsulated=True)
    after = written(broken, regions)[0]
    basic, _, found = _tables(after)
    assert len(found) == 4
    assert basic == [found[0], found[2], found[3]]
    check(broken, after, regions, cells=True)


# Lossless in, the same out; what has no encoder comes out as JPEG-LS, and what is lossy says so.
EXPECTED = {
    "1.2.840.10008.1.2.4.50": "1.2.840.10008.1.2.4.50",
    "1.2.840.10008.1.2.4.51": JPEG_LS_LOSSLESS,
    "1.2.840.10008.1.2.4.53": JPEG_LS_LOSSLESS,
    "1.2.840.10008.1.2.4.55": JPEG_LS_LOSSLESS,
    "1.2.840.10008.1.2.4.57": JPEG_LS_LOSSLESS,
    "1.2.840.10008.1.2.4.70": JPEG_LS_LOSSLESS,
    "1.2.840.10008.1.2.4.80": JPEG_LS_LOSSLESS,
    "1.2.840.10008.1.2.4.81": JPEG_LS_LOSSLESS,
    "1.2.840.10008.1.2.4.90": JPEG_2000_LOSSLESS,
    "1.2.840.10008.1.2.4.91": JPEG_2000,
    "1.2.840.10008.1.2.4.201": JPEG_2000_LOSSLESS,
    "1.2.840.10008.1.2.5": RLE,
}
BOX = Regions((Box(3, 5, 40, 30),))


def check_file(data: bytes) -> str:
    """Mask a real file; returns the transfer syntax it had."""
    before = dcmread(BytesIO(data))
    syntax = str(before.file_meta.TransferSyntaxUID)
    after, result = written(data, BOX)
    assert result.transfer_syntax == EXPECTED.get(syntax, syntax)
    dataset = dcmread(BytesIO(after))
    for keyword in ("BitsStored", "HighBit", "PixelRepresentation", "SamplesPerPixel", "LossyImageCompressionRatio"):
        assert dataset.get(keyword) == before.get(keyword)
    if syntax in ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51"):
        assert result.transfer_syntax == syntax or dataset.LossyImageCompression == "01"
    if result.transfer_syntax != "1.2.840.10008.1.2.4.50":
        check(data, after, BOX, cells=False)
        return syntax
    # Masked in blocks: what is black is told, and everything else is as before.
    one, two = open_frames(read(data)), open_frames(read(after))
    for index in range(one.number):
        old, new = one.decode(index), two.decode(index)
        area = np.zeros(old.shape[:2], bool)
        for box in result.regions.of(index):
            area[box.top : box.bottom + 1, box.left : box.right + 1] = True
        assert area[5:31, 3:41].all()
        assert area.sum() <= 48 * 48
        brightness = (slice(None), 0) if old.ndim == 3 else (slice(None),)
        assert np.array_equal(old[~area][brightness], new[~area][brightness])
        assert (new[area][brightness] == 0).all()
    return syntax


@pytest.mark.parametrize("name", ["SC_rgb_jpeg_dcmtk.dcm", "JPGExtended.dcm", "JPEG2000.dcm", "examples_jpeg2k.dcm"])
def test_files_that_pydicom_brings(name: str) -> None:
    assert check_file(Path(str(get_testdata_file(name, download=False))).read_bytes())


def test_real_files_of_every_syntax(shared_data: Path) -> None:
    folder = shared_data / "dicom"
    names = [*folder.glob("transfer-syntax/ctimage_13ts/*1.2.4.*"), *folder.glob("transfer-syntax/*/*RGB*.dcm")]
    names += [*folder.glob("transfer-syntax/pydicom_small/MR_small*.dcm"), folder / "enhanced/emri_small_RLE.dcm"]
    found = [path.read_bytes() for path in names]
    seen = {check_file(data) for data in found if data[128:132] == b"DICM"}
    assert set(EXPECTED) - seen <= {"1.2.840.10008.1.2.4.51"}
    assert {EXPLICIT, BIG_ENDIAN, IMPLICIT} <= seen


def test_what_is_written_is_read_back(picture: Picture, monkeypatch: pytest.MonkeyPatch) -> None:
    data = instance(picture, KINDS[4], RLE)
    right = codecs.encode

    def wrong(cells: np.ndarray, *args: Any, **more: Any) -> bytes:
        changed = cells.copy()
        changed[0, 0] ^= 1
        return right(changed, *args, **more)

    monkeypatch.setattr(codecs, "encode", wrong)
    with pytest.raises(Refused, match="verification_failed"):
        written(data, REGIONS)
    with pytest.raises(Refused, match="verification_failed"):
        written(data, Regions(), JPEG_LS_LOSSLESS)


def test_what_no_box_touches_is_never_decoded(picture: Picture, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(codecs, "decode", never)
    data = instance(picture, KINDS[4], RLE)
    for regions in (Regions(), Regions((Box(COLUMNS, 0, 99, 99),)), Regions((), {FRAMES: REGIONS.every})):
        assert rewrite_pixels(read(data), regions).elements == {}
    with pytest.raises(AssertionError, match="decoded"):
        rewrite_pixels(read(data), REGIONS)
    unknown = data.replace(RLE.encode() + b"\0", b"1.2.840.10008.1.2.7\0")
    assert rewrite_pixels(read(unknown), Regions()).elements == {}


def test_video_is_refused(picture: Picture) -> None:
    data = picture(np.zeros((2, 4, 4, 3), np.uint8), "1.2.840.10008.1.2.4.102", PixelData=[b"\0\0", b"\0\0"])
    with pytest.raises(Refused, match="video"):
        written(data, REGIONS)


@pytest.mark.parametrize("syntax", [EXPLICIT, RLE])
def test_a_large_multi_frame_is_masked_within_little_memory(tmp_path: Path, syntax: str) -> None:
    original, copy = tmp_path / "original.dcm", tmp_path / "copy.dcm"
    write_frames(original, syntax, 1)
    little = peak_masked(original, copy)
    frames = 160 if syntax == EXPLICIT else 100  # 80 and 50 MB of pixels, all of which are written anew
    write_frames(original, syntax, frames)
    assert peak_masked(original, copy) - little < 60 * 2**20
    before, after = open_frames(read(original.read_bytes())), open_frames(read(copy.read_bytes()))
    black = Black(read(original.read_bytes()), before.layout, "MONOCHROME2")
    black.check(before.cells(frames - 1), after.cells(frames - 1), REGIONS_OF_THE_BENCH.of(frames - 1))


def test_only_the_frames_of_jpeg_with_a_box_change() -> None:
    data = Path(str(get_testdata_file("SC_rgb_jpeg_dcmtk.dcm", download=False))).read_bytes()
    dataset = dcmread(BytesIO(data))
    frame = bytes(open_frames(read(data)).raw(0))
    dataset.NumberOfFrames = 3
    dataset.PixelData = encapsulate([frame] * 3, fragments_per_frame=2)
    buffer = BytesIO()
    dataset.save_as(buffer)
    after, result = written(buffer.getvalue(), Regions((), {1: (Box(20, 20, 30, 30),)}))
    assert result.transfer_syntax == dataset.file_meta.TransferSyntaxUID
    assert list(result.regions.by_frame) == [1]
    one, two = open_frames(read(buffer.getvalue())), open_frames(read(after))
    assert [two.raw(index) == one.raw(index) for index in range(3)] == [True, False, True]
    assert [len(two.fragments(index)) for index in range(3)] == [2, 1, 2]
    assert (two.decode(1)[20:31, 20:31, 0] == 0).all()


def test_jpeg_of_twelve_bits_is_decoded_once_and_stays_marked_as_lossy() -> None:
    data = Path(str(get_testdata_file("JPGExtended.dcm", download=False))).read_bytes()
    result = rewrite_pixels(read(data), REGIONS, None)
    assert result.transfer_syntax == JPEG_LS_LOSSLESS
    assert b"".join(result.elements[0x00282110] or []).endswith(b"01")
    assert (result.elements[0x7FE00010] or [b""])[0][:8] == b"\xe0\x7f\x10\x00OB\0\0"
