"""Reading frames: native and encapsulated, by any table of offsets, and what is refused."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.pixels.decoders.base import get_decoder

from deid_service import Refused
from deid_service.pixels.codecs import DEFLATED_FRAMES, JPEG_2000_LOSSLESS, JPEG_LS_LOSSLESS, RLE, encode
from deid_service.pixels.frames import FrameReader, open_frames
from deid_service.pixels.layout import layout_of
from deid_service.wire import read

Picture = Callable[..., bytes]


def opened(data: bytes) -> FrameReader:
    return open_frames(read(data))


def noise(shape: tuple[int, ...], dtype: str = "<u2") -> np.ndarray:
    return np.random.default_rng(1).integers(0, 2**16, shape).astype(dtype)


def compressed(picture: Picture, pixels: np.ndarray, syntax: str) -> list[bytes]:
    layout = layout_of(read(picture(pixels)))
    return [encode(frame.view(layout.dtype), layout, syntax) for frame in pixels]


def refused(data: bytes) -> str:
    with pytest.raises(Refused) as refusal:
        opened(data).decode(0)
    assert refusal.value.reason_code == "pixels_not_decodable"
    return refusal.value.message


@given(frames=st.integers(1, 5), rows=st.integers(1, 7), columns=st.integers(1, 7), seed=st.integers(0, 2**32 - 1))
def test_frames_of_single_bits_need_not_begin_with_a_byte(
    picture: Picture, frames: int, rows: int, columns: int, seed: int
) -> None:
    pixels = np.random.default_rng(seed).integers(0, 2, (frames, rows, columns), np.uint8)
    packed = np.packbits(pixels, bitorder="little").tobytes()
    reader = opened(picture(pixels, BitsAllocated=1, PixelData=packed + b"\0" * (len(packed) % 2)))
    assert all(np.array_equal(reader.decode(index), pixels[index]) for index in range(frames))
    assert reader.raw(frames - 1) == np.packbits(pixels[-1], bitorder="little").tobytes()


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"])
@pytest.mark.parametrize("dtype", ["u1", "<u2", "<i2"])
@pytest.mark.parametrize("planar", [0, 1])
def test_native_frames(picture: Picture, syntax: str, dtype: str, planar: int) -> None:
    for shape in ((3, 4, 6), (3, 4, 6, 3)):
        pixels = noise(shape, dtype)
        extra = {"PlanarConfiguration": planar} if len(shape) == 4 else {}
        reader = opened(picture(pixels, syntax, **extra))
        for index in range(3):
            frame = reader.decode(index)
            assert frame.dtype.newbyteorder("=") == pixels.dtype.newbyteorder("=")
            assert np.array_equal(frame, pixels[index])
        assert reader.number == 3
        assert reader.decoded_photometric == reader.photometric


def test_values_leave_out_what_is_not_stored(picture: Picture) -> None:
    cells = noise((1, 5, 5))
    reader = opened(picture(cells, BitsStored=12))
    assert np.array_equal(reader.cells(0), cells[0])
    assert np.array_equal(reader.decode(0), cells[0] & 0x0FFF)
    signed = opened(picture(cells, BitsStored=12, PixelRepresentation=1)).decode(0)
    assert np.array_equal(signed, (cells[0] << 4).view("<i2") >> 4)
    # Left-justified pixels, as in old images: the high bit is the cell's own.
    assert np.array_equal(opened(picture(cells, BitsStored=12, HighBit=15)).decode(0), cells[0] >> 4)


def test_pixels_that_share_their_chrominance_in_pairs(picture: Picture) -> None:
    stored = np.arange(2 * 4 * 8, dtype="u1")  # 2 frames of 4 rows of 4 pixels: Y Y Cb Cr
    reader = opened(
        picture(np.zeros((2, 4, 4, 3), "u1"), PhotometricInterpretation="YBR_FULL_422", PixelData=stored.tobytes())
    )
    assert reader.decoded_photometric == "YBR_FULL"
    assert reader.decode(0)[0].tolist() == [[0, 2, 3], [1, 2, 3], [4, 6, 7], [5, 6, 7]]
    assert reader.decode(1)[3, 3].tolist() == [61, 62, 63]
    whole = noise((2, 4, 4, 3), "u1")  # some writers say 422 and store every sample
    assert np.array_equal(opened(picture(whole, PhotometricInterpretation="YBR_FULL_422")).decode(1), whole[1])


@pytest.mark.parametrize("keyword", ["FloatPixelData", "DoubleFloatPixelData"])
def test_floating_point_pixels(picture: Picture, keyword: str) -> None:
    dtype = "<f4" if keyword == "FloatPixelData" else "<f8"
    pixels = np.random.default_rng(2).normal(size=(2, 3, 4)).astype(dtype)
    data = picture(pixels, PixelData=b"", **{keyword: pixels.tobytes()}, BitsStored=None, HighBit=None)
    dataset = dcmread(BytesIO(data))
    del dataset.PixelData
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    assert np.array_equal(opened(buffer.getvalue()).decode(1), pixels[1])


@pytest.mark.parametrize("syntax", [RLE, JPEG_LS_LOSSLESS, JPEG_2000_LOSSLESS])
@pytest.mark.parametrize("table", ["none", "basic", "extended", "fragments", "fragments, basic", "fragments, extended"])
def test_encapsulated_frames_by_any_table(
    picture: Picture, items: Callable[[list[bytes]], bytes], syntax: str, table: str
) -> None:
    pixels = noise((3, 33, 40))
    frames = compressed(picture, pixels, syntax)
    parts = [[frame[:100], frame[100:300], frame[300:]] if "fragments" in table else [frame] for frame in frames]
    starts = np.cumsum([0, *(sum(len(part) + 8 for part in frame) for frame in parts)])[:3]
    basic = starts.astype("<u4").tobytes() if "basic" in table else b""
    extra = {"ExtendedOffsetTable": starts.astype("<u8").tobytes()} if "extended" in table else {}
    value = items([basic, *(part for frame in parts for part in frame)])
    data = picture(pixels, syntax, PixelData=value, encapsulated=True, **extra)
    if table == "fragments" and syntax == RLE:
        assert "frames" in refused(data)  # nothing tells where a frame begins
        return
    reader = opened(data)
    for index in range(3):
        assert np.array_equal(reader.decode(index), pixels[index])
        assert bytes(reader.raw(index)) == frames[index]


def test_frames_of_single_bits_that_are_compressed(picture: Picture) -> None:
    pixels = np.random.default_rng(3).integers(0, 2, (2, 37, 41), np.uint8)
    layout = layout_of(read(picture(pixels, BitsAllocated=1, PixelData=bytes(400))))
    for syntax in (RLE, JPEG_2000_LOSSLESS, DEFLATED_FRAMES):
        frames = [encode(frame, layout, syntax) for frame in pixels]
        known = JPEG_LS_LOSSLESS if syntax == DEFLATED_FRAMES else syntax  # pydicom does not know the newest
        data = picture(pixels, known, BitsAllocated=1, PixelData=frames)
        reader = opened(data.replace(JPEG_LS_LOSSLESS.encode(), DEFLATED_FRAMES.encode() + b"\0"))
        assert np.array_equal(reader.decode(1), pixels[1])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"NumberOfFrames": 3}, "longer or shorter"),
        ({"NumberOfFrames": 1}, "longer or shorter"),
        ({"Rows": 5}, "longer or shorter"),
        ({"Rows": 0}, "no rows"),
        ({"SamplesPerPixel": 3}, "do not agree"),
        ({"PhotometricInterpretation": "XYZ"}, "do not agree"),
        ({"BitsAllocated": 12}, "Bits Allocated"),
        ({"BitsStored": 17}, "Bits Stored"),
        ({"HighBit": 3}, "Bits Stored"),
        ({"BitsAllocated": None}, "(0028,0100)"),
        ({"PixelData": None}, "no pixel data"),
    ],
)
def test_a_header_that_does_not_fit_the_pixels_is_refused(
    picture: Picture, changes: dict[str, object], message: str
) -> None:
    value = changes.pop("PixelData", noise((2, 4, 4)).tobytes())
    data = picture(noise((2, 4, 4)), PixelData=value or b"", **changes)
    if value is None:
        data = data[: data.index(b"\xe0\x7f\x10\x00")]
    assert message in refused(data)


def test_compressed_frames_that_do_not_fit_the_header_are_refused(picture: Picture) -> None:
    pixels = noise((2, 33, 40))
    frames = compressed(picture, pixels, JPEG_2000_LOSSLESS)
    for changes in ({"NumberOfFrames": 3}, {"NumberOfFrames": 1}, {"Rows": 34}, {"BitsAllocated": 8}):
        assert refused(picture(pixels, JPEG_2000_LOSSLESS, PixelData=frames, **changes))
    assert refused(picture(pixels, JPEG_2000_LOSSLESS, PixelData=[frames[0][:200], frames[1]]))
    assert refused(picture(pixels, JPEG_2000_LOSSLESS, PixelData=[b"\xff\x4f", frames[1]]))
    assert "not encapsulated" in refused(picture(pixels).replace(b"1.2.840.10008.1.2.1\0", RLE.encode() + b"\0"))
    rows = compressed(picture, pixels, RLE)
    assert refused(picture(pixels, RLE, PixelData=rows, Rows=34))
    assert refused(picture(pixels, RLE, PixelData=rows, BitsAllocated=8))
    assert "video" in refused(picture(pixels, "1.2.840.10008.1.2.4.102", PixelData=[b"\0\0", b"\0\0"]))
    assert "no decoder" in refused(
        picture(pixels, "1.2.840.10008.1.2.4.102", PixelData=[b"\0\0", b"\0\0"]).replace(b".4.102", b".4.110")
    )


def test_real_files_decode_as_pydicom_decodes_them(shared_data: Path) -> None:
    same = 0
    for path in sorted((shared_data / "dicom" / "transfer-syntax").rglob("*.dcm")):
        data = path.read_bytes()
        try:
            reader = opened(data)
            mine = [reader.decode(index) for index in range(reader.number)]
        except Refused:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = dcmread(BytesIO(data))
            try:
                decoder = get_decoder(dataset.file_meta.TransferSyntaxUID)
            except NotImplementedError:
                continue
            named = {"decoding_plugin": "pylibjpeg"} if "pylibjpeg" in decoder.available_plugins else {}
            theirs, _ = decoder.as_array(dataset, raw=True, **named)
        assert np.array_equal(np.squeeze(np.stack(mine)), np.squeeze(theirs)), path.name
        same += 1
    assert same >= 35


@pytest.mark.parametrize("runs", [0, 1, 5, 40])
def test_run_lengths_of_another_size_are_refused_whatever_the_codec_does(picture: Picture, runs: int) -> None:
    # The codec, written in Rust, panics where a segment is too long: that is no Exception, and would end the service.
    segment = b"\x81\x07" * runs
    header = np.array([2, 64, 64 + len(segment), *[0] * 13], "<u4").tobytes()
    assert refused(picture(noise((1, 10, 40)), RLE, PixelData=[header + segment + segment]))
