"""Every transfer syntax with every kind of pixels that a codec here can write: masked, and read back by another one.

What no codec here can write is listed with its reason; ``docs/masking.md`` has the table.
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from pydicom import dcmread

from deid_service import Refused
from deid_service.pixels import codecs
from deid_service.pixels.boxes import Box, Regions
from deid_service.pixels.frames import FrameReader, open_frames
from deid_service.pixels.layout import layout_of
from deid_service.pixels.mask import Black, inside
from deid_service.pixels.rewrite import rewrite_pixels
from deid_service.transforms.transcode import with_pixels
from deid_service.wire import read
from tests.fixtures import encoders

Picture = Callable[..., bytes]

IMPLICIT, EXPLICIT, BIG, DEFLATED = (f"1.2.840.10008.1.2{end}" for end in ("", ".1", ".2", ".1.99"))
NATIVE = (IMPLICIT, EXPLICIT, BIG, DEFLATED)
# What is written, and what comes out once it is masked.
SYNTAXES = {
    **{uid: uid for uid in NATIVE},
    codecs.DEFLATED_FRAMES: codecs.DEFLATED_FRAMES,
    encoders.RLE: encoders.RLE,
    encoders.BASELINE: encoders.BASELINE,
    encoders.EXTENDED: encoders.JPEG_LS,
    encoders.PROGRESSIVE: encoders.JPEG_LS,
    encoders.LOSSLESS: encoders.JPEG_LS,
    encoders.LOSSLESS_FIRST_ORDER: encoders.JPEG_LS,
    encoders.JPEG_LS: encoders.JPEG_LS,
    encoders.JPEG_LS_NEAR: encoders.JPEG_LS,
    encoders.JPEG_2000_LOSSLESS: encoders.JPEG_2000_LOSSLESS,
    encoders.JPEG_2000: encoders.JPEG_2000,
    encoders.HTJ2K_LOSSLESS: encoders.JPEG_2000_LOSSLESS,
    encoders.HTJ2K_RPCL: encoders.JPEG_2000_LOSSLESS,
    encoders.HTJ2K: encoders.JPEG_2000_LOSSLESS,
}
PHOTOMETRIC = (
    "MONOCHROME1",
    "MONOCHROME2",
    "PALETTE COLOR",
    "RGB",
    "YBR_FULL",
    "YBR_FULL_422",
    "YBR_RCT",
    "YBR_ICT",
)
DEPTHS = ((1, 1), (8, 6), (8, 8), (16, 10), (16, 12), (16, 16), (32, 20), (32, 32), (64, 64))
ROWS, COLUMNS = 33, 38
BOXES = (Box(4, 3, 21, 12), Box(30, 28, 37, 99))

Form = tuple[str, int, int, bool, int]
"""Photometric Interpretation, Bits Allocated, Bits Stored, signed, planar."""


def forms(photometric: str) -> list[Form]:
    """Return every kind of pixels of one photometric interpretation."""
    coloured = photometric not in ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR")
    return [
        (photometric, allocated, stored, signed, planar)
        for (allocated, stored), signed, planar in itertools.product(DEPTHS, (False, True), (0, 1))
        # One bit has neither colour nor sign; a palette at most 65536 entries; halved or transformed colours no planes;
        # the chrominance of a device 8 or 16 bits (PS3.3 C.7.6.3.1).
        if (allocated > 1 or not (coloured or signed or photometric == "PALETTE COLOR"))
        and (allocated <= 16 or photometric != "PALETTE COLOR")
        and (not planar or photometric in ("RGB", "YBR_FULL"))
        and not (coloured and signed)
        and (stored in (8, 16) or not photometric.startswith("YBR"))
    ]


def reason_against(syntax: str, form: Form) -> str:
    """Tell why pixels of a form are not written in a syntax here; empty if they are."""
    photometric, allocated, stored, signed, planar = form
    if allocated == 1:
        known = (IMPLICIT, EXPLICIT, DEFLATED, codecs.DEFLATED_FRAMES, encoders.RLE, encoders.JPEG_2000_LOSSLESS)
        return "" if syntax in known else "no encoder takes one bit"
    if syntax in NATIVE or syntax == codecs.DEFLATED_FRAMES:
        if photometric in ("YBR_RCT", "YBR_ICT"):
            return "a transformation of JPEG 2000"
        if photometric == "YBR_FULL_422" and syntax == codecs.DEFLATED_FRAMES:
            return "deflated frames with halved chrominance are refused"
        if photometric == "YBR_FULL_422" and (syntax == BIG or stored != 8):
            return "halved chrominance of 16 bits, or in big endian order: never met"
        if syntax == BIG and allocated > 16:
            return "big endian pixels of more than 16 bits have no single meaning: refused"
        return ""
    if planar:
        return "the samples of a pixel lie together in this syntax"
    if syntax == encoders.JPEG_2000_LOSSLESS and allocated == 32 and stored <= 24 and photometric[:4] == "MONO":
        return ""
    return encoders.unfit(syntax, photometric=photometric, stored=stored, allocated=allocated, signed=signed)


def written(picture: Picture, syntax: str, form: Form) -> bytes:
    """Write an instance of two frames: noise without loss, a slope with a box in it otherwise."""
    photometric, allocated, stored, signed, planar = form
    random = np.random.default_rng(allocated * 100 + stored)
    samples = 1 if photometric.startswith(("MONO", "PALETTE")) else 3
    shape = (2, ROWS, COLUMNS) if samples == 1 else (2, ROWS, COLUMNS, 3)
    more: dict[str, Any] = {"PhotometricInterpretation": photometric, "BitsStored": stored}
    more["PixelRepresentation"] = int(signed)
    if photometric == "PALETTE COLOR":
        colours = random.integers(2**15, 2**16, (256, 3))
        colours[20] = 0
        for index, name in enumerate(("Red", "Green", "Blue")):
            more[f"{name}PaletteColorLookupTableDescriptor"] = [256, 0, 16]
            more[f"{name}PaletteColorLookupTableData"] = (
                colours[:, index].astype(">u2" if syntax == BIG else "<u2").tobytes()
            )
    if allocated == 1:
        return _bits(picture, syntax, random.integers(0, 2, shape, np.uint8), more)
    width = allocated // 8
    whole = syntax in NATIVE or syntax in (codecs.DEFLATED_FRAMES, encoders.RLE)  # the bits beside the pixels too
    if syntax in encoders.LOSSY:
        slope = np.arange(COLUMNS) * (1 << stored) // (2 * COLUMNS) + (1 << stored) // 4
        pixels = np.broadcast_to(slope if samples == 1 else slope[:, np.newaxis], shape).astype(f"<u{width}").copy()
    else:
        pixels = random.integers(0, 2 ** (allocated if whole else stored), shape, np.uint64).astype(f"<u{width}")
    if signed:
        spare = allocated - stored
        pixels = pixels.view(f"<i{width}")
        pixels = pixels if whole else (pixels << spare) >> spare
    if syntax in NATIVE:
        return _native(picture, syntax, pixels, form, more)
    if syntax == codecs.DEFLATED_FRAMES:
        if planar:
            more["PlanarConfiguration"] = 1
        ordered = pixels.transpose(0, 3, 1, 2) if planar else pixels
        return _renamed(picture(pixels, encoders.JPEG_LS, PixelData=[_deflate(one) for one in ordered], **more))
    frames = [
        encoders.encoded(frame, syntax, photometric=photometric, stored=stored, signed=signed) for frame in pixels
    ]
    return picture(pixels, syntax, PixelData=frames, **more)


def _native(picture: Picture, syntax: str, pixels: np.ndarray, form: Form, more: dict[str, Any]) -> bytes:
    photometric, allocated, _, _, planar = form
    if planar:
        more["PlanarConfiguration"] = 1
    if photometric == "YBR_FULL_422":
        more["PixelData"] = pixels[:, :, :, :2].tobytes()
    elif syntax == BIG and allocated == 8:
        ordered = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2) if planar else pixels).tobytes()
        more["PixelData"] = ordered + b"\0" * (len(ordered) % 2)
    return picture(pixels, syntax, **more)


def _bits(picture: Picture, syntax: str, bits: np.ndarray, more: dict[str, Any]) -> bytes:
    more |= {"BitsAllocated": 1}
    packed = np.packbits(bits, bitorder="little").tobytes()
    plain = picture(bits, EXPLICIT, PixelData=packed + b"\0" * (len(packed) % 2), **more)
    if syntax in NATIVE:
        return picture(bits, syntax, PixelData=packed + b"\0" * (len(packed) % 2), **more)
    frames = [codecs.encode(frame, layout_of(read(plain)), syntax) for frame in bits]
    if syntax == codecs.DEFLATED_FRAMES:
        return _renamed(picture(bits, encoders.JPEG_LS, PixelData=frames, **more))
    return picture(bits, syntax, PixelData=frames, **more)


def _deflate(frame: np.ndarray) -> bytes:
    plain = np.ascontiguousarray(frame).tobytes()
    deflater = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed = deflater.compress(plain + b"\0" * (len(plain) % 2)) + deflater.flush()
    return packed + b"\0" * (len(packed) % 2)


def _renamed(data: bytes) -> bytes:
    """Call it deflated frames: pydicom does not know the newest syntax."""
    return data.replace(encoders.JPEG_LS.encode(), codecs.DEFLATED_FRAMES.encode() + b"\0")


def other_decoder(data: bytes, reader: FrameReader, index: int) -> np.ndarray | None:
    """Decode a frame with a codec that is no part of the product; None where there is none."""
    syntax = reader.transfer_syntax
    if reader.bits_allocated == 1 or syntax == codecs.DEFLATED_FRAMES:
        return None
    if syntax in NATIVE or syntax == encoders.RLE:
        dataset = dcmread(BytesIO(data))
        if syntax == encoders.RLE:
            dataset.pixel_array_options(raw=True, decoding_plugin="pydicom")
        else:
            dataset.pixel_array_options(raw=True)
        return np.asarray(dataset.pixel_array[index])
    raw = bytes(reader.raw(index))
    if syntax == encoders.JPEG_LS:
        return np.asarray(imagecodecs.jpegls_decode(raw))
    if syntax in (encoders.JPEG_2000_LOSSLESS, encoders.JPEG_2000):
        return np.asarray(imagecodecs.jpeg2k_decode(raw))
    return None


def low_bits(values: np.ndarray, bits: int) -> np.ndarray:
    """Return the lowest bits: codecs differ in what they do with the others and with signs."""
    return np.asarray(values.astype(np.int64) & ((1 << bits) - 1) if bits < 64 else values.astype(np.uint64))


def reachable(syntax: str, photometric: str) -> list[Form]:
    """Return the forms that can be written."""
    return [form for form in forms(photometric) if not reason_against(syntax, form)]


@pytest.mark.parametrize(
    ("syntax", "photometric"), [pair for pair in itertools.product(SYNTAXES, PHOTOMETRIC) if reachable(*pair)]
)
def test_masked_and_read_back(picture: Picture, syntax: str, photometric: str) -> None:
    for form in reachable(syntax, photometric):
        data = written(picture, syntax, form)
        regions = Regions((), {1: BOXES})
        result = rewrite_pixels(read(data), regions)
        after = b"".join(with_pixels(read(data), result))
        assert result.transfer_syntax == SYNTAXES[syntax], form
        _compare(data, after, result.regions, form)


def _compare(data: bytes, after: bytes, regions: Regions, form: Form) -> None:
    one, two = open_frames(read(data)), open_frames(read(after))
    before, now = dcmread(BytesIO(data), stop_before_pixels=True), dcmread(BytesIO(after), stop_before_pixels=True)
    for keyword in ("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "SamplesPerPixel"):
        assert before[keyword].value == now[keyword].value, (form, keyword)
    assert np.array_equal(one.decode(0), two.decode(0)), form
    old, new = one.decode(1), two.decode(1)
    covered = inside(old.shape, BOXES)
    level = one.layout.values(Black(read(data), one.layout, one.decoded_photometric).cells(old, BOXES))
    if two.transfer_syntax == encoders.BASELINE:
        black = inside(old.shape, regions.of(1))
        far = ~inside(old.shape, [box.grown(16) for box in regions.of(1)])
        brightness = (slice(None), 0) if one.decoded_photometric.startswith("YBR") else (slice(None),)
        assert black[covered].all()
        assert np.array_equal(old[far], new[far]), form
        assert (new[black][brightness] == level[0]).all(), form
        return
    assert np.array_equal(old[~covered], new[~covered]), form
    assert (new[covered] == level).all(), form
    for index in range(2):
        theirs = other_decoder(after, two, index)
        if theirs is not None:
            bits = form[2]
            mine = low_bits(two.decode(index), bits)
            assert np.array_equal(mine, low_bits(theirs.reshape(mine.shape), bits)), (form, index)


NAMES = {
    IMPLICIT: "Implicit VR Little Endian",
    EXPLICIT: "Explicit VR Little Endian",
    BIG: "Explicit VR Big Endian",
    DEFLATED: "Deflated Explicit VR",
    codecs.DEFLATED_FRAMES: "Deflated frames",
    encoders.RLE: "RLE",
    encoders.BASELINE: "JPEG baseline",
    encoders.EXTENDED: "JPEG extended",
    encoders.PROGRESSIVE: "JPEG progressive",
    encoders.LOSSLESS: "JPEG lossless, process 14",
    encoders.LOSSLESS_FIRST_ORDER: "JPEG lossless SV1",
    encoders.JPEG_LS: "JPEG-LS",
    encoders.JPEG_LS_NEAR: "JPEG-LS near-lossless",
    encoders.JPEG_2000_LOSSLESS: "JPEG 2000 lossless",
    encoders.JPEG_2000: "JPEG 2000",
    encoders.HTJ2K_LOSSLESS: "HTJ2K lossless",
    encoders.HTJ2K_RPCL: "HTJ2K lossless RPCL",
    encoders.HTJ2K: "HTJ2K",
}
BEGIN, END = "<!-- forms: begin -->\n", "<!-- forms: end -->\n"


def table() -> str:
    """Return the table for the documentation: bits stored that are written and read back, and why others are not."""
    reasons: dict[str, str] = {}
    shown = PHOTOMETRIC[1:]  # MONOCHROME1 is written as MONOCHROME2 is
    heads = ["MONOCHROME1, MONOCHROME2", *shown[1:]]
    lines = [f"| | {' | '.join(heads)} |", f"|---|{'---|' * len(heads)}"]
    for syntax, name in NAMES.items():
        cells = []
        for photometric in shown:
            forms_here = reachable(syntax, photometric)
            depths: dict[int, set[str]] = {}
            for _, _, stored, signed, planar in forms_here:
                depths.setdefault(stored, set()).update({"±"} if signed else {"p"} if planar else set())
            bits = ", ".join(f"{stored}{''.join(sorted(marks))}" for stored, marks in depths.items())
            against = [why for form in forms(photometric) if (why := reason_against(syntax, form))]
            notes = sorted({reasons.setdefault(why, chr(ord("a") + len(reasons))) for why in against})
            cells.append(" ".join(filter(None, [bits or "-", f"<sup>{' '.join(notes)}</sup>" if notes else ""])))
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", *(f"- {letter}: {why}" for why, letter in reasons.items()), ""])


def test_the_documentation_has_the_table() -> None:
    page = (Path(__file__).parents[3] / "docs" / "masking.md").read_text()
    assert page.split(BEGIN)[1].split(END)[0] == table()


def test_what_is_said_to_be_refused_is(picture: Picture) -> None:
    halved = np.zeros((2, ROWS, COLUMNS, 3), np.uint8)
    packed = [_deflate(frame) for frame in halved[..., :2]]
    deflated = _renamed(picture(halved, encoders.JPEG_LS, PhotometricInterpretation="YBR_FULL_422", PixelData=packed))
    wide = picture(np.zeros((2, ROWS, COLUMNS), np.uint32), BIG)
    for data in (deflated, wide):
        with pytest.raises(Refused, match="pixels_not_decodable"):
            rewrite_pixels(read(data), Regions(BOXES))
    video = "1.2.840.10008.1.2.4.102"
    for number in ("56", "92", "93", "94", "100", "102", "107", "110", "111", "112", "204"):
        syntax = f"1.2.840.10008.1.2.4.{number}".encode().ljust(len(video), b"\0")
        data = picture(halved, video, PixelData=[b"\0\0", b"\0\0"]).replace(video.encode(), syntax)
        with pytest.raises(Refused, match="pixels_not_decodable"):
            rewrite_pixels(read(data), Regions(BOXES))
