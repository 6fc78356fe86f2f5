"""What hides in frames beside their pixels: bits that no header speaks of, and bytes after the last pixel."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deid_service import Refused
from deid_service.pixels import codecs
from deid_service.pixels.compressed_planes import without_planes
from deid_service.pixels.elsewhere import without_extras, without_hidden
from deid_service.pixels.frame_ends import beside_runs
from deid_service.pixels.frames import open_frames
from deid_service.pixels.layout import layout_of
from deid_service.rules.pixels import PixelRules
from deid_service.wire import read
from tests.fixtures import encoders

Picture = Callable[..., bytes]
EXPLICIT, BIG = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
SECRET = b"Mustermann^Erika 1950"
ROWS, COLUMNS = 36, 40
LOSSLESS = {
    codecs.RLE: codecs.RLE,
    codecs.DEFLATED_FRAMES: codecs.DEFLATED_FRAMES,
    encoders.LOSSLESS: codecs.JPEG_LS_LOSSLESS,
    encoders.LOSSLESS_FIRST_ORDER: codecs.JPEG_LS_LOSSLESS,
    encoders.JPEG_LS: codecs.JPEG_LS_LOSSLESS,
    encoders.JPEG_2000_LOSSLESS: codecs.JPEG_2000_LOSSLESS,
    encoders.HTJ2K_LOSSLESS: codecs.JPEG_2000_LOSSLESS,
}
WHOLE = {"photometric": "MONOCHROME2", "stored": 16, "signed": False}


def deflate(plain: bytes) -> bytes:
    deflater = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed = deflater.compress(plain) + deflater.flush()
    return packed + b"\0" * (len(packed) % 2)


def stored(picture: Picture, cells: np.ndarray, syntax: str, *, bits: int, signed: bool = False) -> bytes:
    """Write frames of 16 bits whose header says that there are fewer."""
    more = {"BitsStored": bits, "PixelRepresentation": int(signed)}
    if syntax == codecs.DEFLATED_FRAMES:
        data = picture(cells, encoders.JPEG_LS, PixelData=[deflate(frame.tobytes()) for frame in cells], **more)
        return data.replace(encoders.JPEG_LS.encode(), codecs.DEFLATED_FRAMES.encode() + b"\0")
    frames = [encoders.encoded(frame.view("<u2"), syntax, **WHOLE) for frame in cells]
    return picture(cells, syntax, PixelData=frames, **more)


def noise(bits: int) -> np.ndarray:
    return np.random.default_rng(bits).integers(0, 1 << bits, (3, ROWS, COLUMNS)).astype("<u2")


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("syntax", LOSSLESS)
def test_bit_planes_that_no_header_speaks_of_are_cleared(picture: Picture, syntax: str, signed: bool) -> None:
    pixels = noise(12)
    if signed:
        pixels = ((pixels.view("<i2") << 4) >> 4).view("<u2")
    clean = read(stored(picture, pixels, syntax, bits=12, signed=signed))
    assert without_planes(clean) is clean
    assert without_hidden(clean, PixelRules()) is clean
    hidden = pixels.copy()
    hidden[1, 5:9, 3:30] ^= 0x2000
    source = read(stored(picture, hidden, syntax, bits=12, signed=signed))
    before = open_frames(source)
    assert np.array_equal(before.decode(1), open_frames(clean).decode(1))
    result = without_hidden(source, PixelRules())
    after = open_frames(result)
    assert after.transfer_syntax == LOSSLESS[syntax]
    for index in range(3):
        assert np.array_equal(after.decode(index), before.decode(index))
        assert np.array_equal(after.cells(index), pixels[index])
    assert [element.tag for element in result.elements] == [element.tag for element in source.elements]


def test_bits_below_the_pixels_are_cleared(picture: Picture) -> None:
    cells = noise(12) << 4
    frames = [encoders.encoded(frame, codecs.RLE, **WHOLE) for frame in cells]
    clean = read(picture(cells, codecs.RLE, PixelData=frames, BitsStored=12, HighBit=15))
    assert without_planes(clean) is clean
    frames[2] = encoders.encoded(cells[2] | 1, codecs.RLE, **WHOLE)
    source = read(picture(cells, codecs.RLE, PixelData=frames, BitsStored=12, HighBit=15))
    assert np.array_equal(open_frames(without_planes(source)).cells(2), cells[2])


def test_what_has_no_spare_bits_is_never_decoded(picture: Picture, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(codecs, "decode", never)
    how = {"photometric": "MONOCHROME2", "stored": 12, "signed": False}
    frames = [encoders.encoded(frame, encoders.LOSSLESS, **how) for frame in noise(12)]
    for data in (
        picture(noise(12), encoders.LOSSLESS, PixelData=frames, BitsStored=12),
        stored(picture, noise(16), codecs.RLE, bits=16),
    ):
        source = read(data)
        assert without_planes(source) is source
    with pytest.raises(AssertionError, match="decoded"):
        without_planes(read(stored(picture, noise(12), codecs.RLE, bits=12)))


def test_lossy_pixels_with_a_plane_are_refused_and_such_that_overshoot_are_not(picture: Picture) -> None:
    pixels = np.full((1, ROWS, COLUMNS), 100, "<u2")
    pixels[0, 4:30] = 3900
    pixels[0, 10:16] = 4150  # as lossy wavelets make of a bright edge
    hidden = pixels.copy()
    hidden[0, 14:18, 3:30] |= 0x2000
    for syntax in (encoders.JPEG_2000, encoders.HTJ2K, encoders.JPEG_LS_NEAR):
        source = read(stored(picture, pixels, syntax, bits=12))
        assert int(open_frames(source).cells(0).max()) > 4095
        assert without_planes(source) is source
        with pytest.raises(Refused, match="burned_in_text_possible"):
            without_planes(read(stored(picture, hidden, syntax, bits=12)))


def test_a_syntax_that_nothing_decodes_stays_for_others_to_judge(picture: Picture) -> None:
    data = stored(picture, noise(12), encoders.JPEG_LS, bits=12)
    source = read(data.replace(encoders.JPEG_LS.encode(), b"1.2.840.10008.1.2.4.92"))
    assert without_planes(source) is source


def frame_of_runs(segments: list[bytes], gap: bytes = b"", header: bytes = b"") -> bytes:
    starts = 64 + len(gap) + np.cumsum([0, *map(len, segments)])[:-1]
    head = struct.pack(f"<{len(segments) + 1}I", len(segments), *starts)
    return (head + header).ljust(64, b"\0") + gap + b"".join(segments)


def runs(picture: Picture) -> list[bytes]:
    """Return the two segments of a frame of 16 bits, each of an even length."""
    frame = encoders.encoded(noise(16)[0], codecs.RLE, **WHOLE)
    _, first, second = struct.unpack_from("<3I", frame)
    return [frame[first:second], frame[second:]]


@pytest.mark.parametrize("place", ["after a segment", "after the last", "in a gap", "in the header"])
def test_bytes_beside_the_runs_of_rle_are_blanked(picture: Picture, place: str) -> None:
    pixels = noise(16)[:1]
    one, two = runs(picture)
    secret = bytes([len(SECRET) - 1]) + SECRET  # as a run of its own
    frame = {
        "after a segment": frame_of_runs([one + secret, two]),
        "after the last": frame_of_runs([one, two + b"\x80" + SECRET + b"\0" * 2]),
        "in a gap": frame_of_runs([one, two], gap=SECRET + b"\0"),
        "in the header": frame_of_runs([one, two], header=SECRET),
    }[place]
    data = picture(pixels, codecs.RLE, PixelData=[frame + b"\0" * (len(frame) % 2)])
    assert SECRET in data
    result = without_extras(read(data))
    assert SECRET not in result.data
    assert len(result.data) == len(data)
    if place != "in a gap":  # which the codec here does not take
        assert np.array_equal(open_frames(result).cells(0), pixels[0])
    assert without_extras(result) is result


def test_runs_without_anything_beside_them_stay(picture: Picture) -> None:
    for end in (b"", b"\0\0", b"\x80\x80"):
        source = read(
            picture(noise(16)[:1], codecs.RLE, PixelData=[frame_of_runs([*runs(picture)[:1], runs(picture)[1] + end])])
        )
        assert without_extras(source) is source


@given(data=st.binary(max_size=300), number=st.integers(0, 20))
def test_damaged_runs_are_for_the_decoder_to_judge(picture: Picture, data: bytes, number: int) -> None:
    layout = layout_of(read(picture(np.zeros((1, 4, 5), "<u2"))))
    head = struct.pack("<4I", number, 64, 70, 80).ljust(64, b"\0")
    for frame in (data, head + data):
        for (start, end), _ in beside_runs(frame, layout):
            assert 0 <= start < end <= len(frame)


def test_bytes_after_a_deflated_frame_are_blanked(picture: Picture) -> None:
    pixels = noise(16)[:2]
    frames = [deflate(frame.tobytes()) for frame in pixels]
    plain = picture(pixels, encoders.JPEG_LS, PixelData=frames)
    secret = picture(pixels, encoders.JPEG_LS, PixelData=[frames[0], frames[1] + SECRET + b"\0"])
    name = encoders.JPEG_LS.encode(), codecs.DEFLATED_FRAMES.encode() + b"\0"
    clean = read(plain.replace(*name))
    assert without_extras(clean) is clean
    result = without_extras(read(secret.replace(*name)))
    assert SECRET not in result.data
    assert np.array_equal(open_frames(result).cells(1), pixels[1])
    damaged = read(picture(pixels, encoders.JPEG_LS, PixelData=[b"\xff" * 20, frames[1]]).replace(*name))
    assert without_extras(damaged) is damaged


@pytest.mark.parametrize("syntax", [EXPLICIT, BIG])
@pytest.mark.parametrize(("tag", "vr", "kind"), [(0x0008, b"OF", "f4"), (0x0009, b"OD", "f8")])
def test_bytes_after_floating_point_pixels_are_blanked(
    picture: Picture, syntax: str, tag: int, vr: bytes, kind: str
) -> None:
    order = ">" if syntax == BIG else "<"
    pixels = np.random.default_rng(2).normal(size=(2, ROWS, COLUMNS)).astype(f"{order}{kind}")
    data = picture(pixels.astype(f"<{kind}"), syntax, PixelData=b"", BitsStored=None, HighBit=None)
    start = data.index(struct.pack(f"{order}HH", 0x7FE0, 0x0010))
    values = {}
    for name, rest in (("plain", b""), ("secret", SECRET.ljust(24))):
        value = pixels.tobytes() + rest
        values[name] = read(data[:start] + struct.pack(f"{order}HH2sHI", 0x7FE0, tag, vr, 0, len(value)) + value)
    assert without_extras(values["plain"]) is values["plain"]
    result = without_extras(values["secret"])
    assert SECRET not in result.data
    assert np.array_equal(open_frames(result).cells(1), pixels[1].astype(f"<{kind}"))
