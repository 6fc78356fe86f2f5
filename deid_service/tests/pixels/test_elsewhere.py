"""What lies beside the pixels in Pixel Data: found and blanked, and every pixel as it was."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset, dcmread
from pydicom.encaps import encapsulate
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID

from deid_service import Refused
from deid_service.pixels.codestream_extras import blanked, extras
from deid_service.pixels.elsewhere import refuse_unseen, without_extras
from deid_service.wire import read

NAME = b"Mustermann^Erika"
BASELINE = "1.2.840.10008.1.2.4.50"
J2K = "1.2.840.10008.1.2.4.90"
EXPLICIT = "1.2.840.10008.1.2.1"


def jpeg(comment: bytes = b"") -> bytes:
    from PIL import Image

    buffer = BytesIO()
    ramp = np.add.outer(np.arange(40), np.arange(48)).astype(np.uint8)
    Image.fromarray(ramp).save(buffer, "JPEG", comment=comment, quality=90)
    return buffer.getvalue()


def jpeg_2000() -> bytes:
    from pydicom.pixels.encoders.base import get_encoder

    ramp = np.add.outer(np.arange(40), np.arange(48)).astype(np.uint8)
    return get_encoder(UID(J2K)).encode(
        ramp,
        rows=40,
        columns=48,
        samples_per_pixel=1,
        number_of_frames=1,
        bits_allocated=8,
        bits_stored=8,
        pixel_representation=0,
        photometric_interpretation="MONOCHROME2",
        encoding_plugin="pylibjpeg",
    )


def image(instance: Dataset, frames: list[bytes], *, fragments: int = 1) -> Dataset:
    instance.Rows, instance.Columns = 40, 48
    instance.BitsAllocated = instance.BitsStored = 8
    instance.HighBit, instance.PixelRepresentation = 7, 0
    if len(frames) > 1:
        instance.NumberOfFrames = len(frames)
    instance.PixelData = encapsulate(frames, fragments_per_frame=fragments)
    instance["PixelData"].VR = "OB"
    return instance


def cleaned(data: bytes) -> bytes:
    """Return the file with nothing but pixels in its pixel data."""
    source = read(data)
    result = without_extras(source)
    assert len(result.data) == len(source.data)
    return data if result is source else bytes(result.data)


def untouched(data: bytes) -> bool:
    source = read(data)
    return without_extras(source) is source


def decoded(data: bytes) -> np.ndarray:
    dataset = dcmread(BytesIO(data))
    decoder = get_decoder(dataset.file_meta.TransferSyntaxUID)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plugin = "pylibjpeg" if "pylibjpeg" in decoder.available_plugins else ""
        return decoder.as_array(dataset, raw=True, decoding_plugin=plugin)[0]


def segment(marker: int, body: bytes) -> bytes:
    return bytes([0xFF, marker]) + (len(body) + 2).to_bytes(2, "big") + body


def box(kind: bytes, body: bytes) -> bytes:
    return (len(body) + 8).to_bytes(4, "big") + kind + body


def in_tile(stream: bytes) -> bytes:
    """Put a comment into the header of a tile-part."""
    at = stream.index(b"\xff\x90")
    comment = segment(0x64, b"\0\1" + NAME)
    size = int.from_bytes(stream[at + 6 : at + 10], "big") + len(comment)
    return stream[: at + 6] + size.to_bytes(4, "big") + stream[at + 10 : at + 12] + comment + stream[at + 12 :]


def in_file(stream: bytes, *more: bytes) -> bytes:
    header = box(b"ihdr", b"\0\0\0\x28\0\0\0\x30\0\1\7\7\0\0") + box(b"colr", b"\1\0\0\0\0\0\x11")
    head = b"\0\0\0\x0cjP  \r\n\x87\n" + box(b"ftyp", b"jp2 \0\0\0\0jp2 ") + box(b"jp2h", header)
    return head + b"".join(more) + box(b"jp2c", stream)


PLACES: dict[str, tuple[str, Callable[[], bytes]]] = {
    "JPEG comment": (BASELINE, lambda: jpeg(comment=NAME)),
    "Exif": (BASELINE, lambda: jpeg()[:2] + segment(0xE1, b"Exif\0\0" + NAME) + jpeg()[2:]),
    "JFIF thumbnail": (BASELINE, lambda: jpeg()[:2] + segment(0xE0, b"JFIF\0\1\1\0\0\1\0\1\2\3" + NAME) + jpeg()[20:]),
    "after the JPEG": (BASELINE, lambda: jpeg() + NAME),
    "a picture after the picture": (BASELINE, lambda: jpeg() + jpeg(comment=NAME)),
    "between JPEG segments": (BASELINE, lambda: jpeg()[:20] + NAME + jpeg()[20:]),
    "after Adobe": (BASELINE, lambda: jpeg()[:2] + segment(0xEE, b"Adobe\0d\0\0\0\0\0" + NAME) + jpeg()[2:]),
    "comment with a program's name": (BASELINE, lambda: jpeg(comment=b"Aware " + NAME)),
    "JPEG 2000 comment": (J2K, lambda: jpeg_2000()[:45] + segment(0x64, b"\0\1" + NAME) + jpeg_2000()[45:]),
    "JPEG 2000 comment in a tile": (J2K, lambda: in_tile(jpeg_2000())),
    "after the JPEG 2000": (J2K, lambda: jpeg_2000() + NAME),
    "JP2 xml": (J2K, lambda: in_file(jpeg_2000(), box(b"xml ", NAME))),
    "JP2 uuid": (J2K, lambda: in_file(jpeg_2000(), box(b"uuid", NAME))),
    "JP2 comment": (J2K, lambda: in_file(in_tile(jpeg_2000()))),
    "after the JP2": (J2K, lambda: in_file(jpeg_2000()) + b"\0\0\0\1" + NAME),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("fragments", [1, 3])
def test_a_name_in_a_frame_goes(
    place: str, fragments: int, fresh_instance: Callable[[], Dataset], written: Callable[..., bytes]
) -> None:
    syntax, make = PLACES[place]
    plain, stream = jpeg() if syntax == BASELINE else jpeg_2000(), make()
    assert NAME in stream
    for frames in ([stream], [plain, stream, stream]):
        data = written(image(fresh_instance(), frames, fragments=fragments), syntax)
        result = cleaned(data)
        assert NAME not in b"".join(fragments_of(result))
        assert np.array_equal(decoded(result), decoded(data))
        assert cleaned(result) == result


def fragments_of(data: bytes) -> list[bytes]:
    from pydicom.encaps import generate_fragments

    return list(generate_fragments(dcmread(BytesIO(data)).PixelData))


@pytest.mark.parametrize(
    "comment",
    [
        b"",
        b"Created by OpenJPEG version 2.5.0",
        b"LEAD Technologies Inc. V1.01\0",
        b"\xff",
        b"CREATOR: gd-jpeg v1.0 (using IJG JPEG v62), quality = 90\n",
    ],
)
def test_what_programs_write_of_themselves_stays(
    comment: bytes, instance: Dataset, written: Callable[..., bytes]
) -> None:
    stream = jpeg(comment=comment)
    assert extras(stream) == []
    assert blanked(stream) is stream
    assert untouched(written(image(instance, [stream + b"\0"]), BASELINE))


@given(st.binary(max_size=400), st.sampled_from([b"", b"\xff\xd8", b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  \r\n\x87\n"]))
def test_any_bytes(data: bytes, start: bytes) -> None:
    spans = extras(start + data)
    assert all(0 <= one < two <= len(start + data) for one, two in spans)
    assert spans == sorted(spans)
    assert len(blanked(start + data)) == len(start + data)


def test_more_frames_than_the_header_says(instance: Dataset, written: Callable[..., bytes]) -> None:
    image(instance, [jpeg(), jpeg()])
    del instance.NumberOfFrames
    instance.PixelData = encapsulate([jpeg(), jpeg()])
    with pytest.raises(Refused) as refused:
        without_extras(read(written(instance, BASELINE)))
    assert refused.value.reason_code == "pixels_not_decodable"


def native(instance: Dataset, pixels: np.ndarray, stored: int, high: int, *, signed: bool = False) -> Dataset:
    instance.Rows, instance.Columns = pixels.shape
    instance.BitsAllocated = pixels.dtype.itemsize * 8
    instance.BitsStored, instance.HighBit, instance.PixelRepresentation = stored, high, int(signed)
    instance.PixelData = pixels.tobytes()
    return instance


PLANE = np.zeros((16, 16), bool)
PLANE[4:12, 7] = PLANE[4, 7:11] = True


@pytest.mark.parametrize("syntax", [EXPLICIT, "1.2.840.10008.1.2", "1.2.840.10008.1.2.2"])
@pytest.mark.parametrize(("kind", "stored", "high"), [("u2", 12, 11), ("u2", 12, 15), ("u2", 10, 12), ("u4", 24, 23)])
@pytest.mark.parametrize("declared", [True, False])
def test_an_overlay_in_the_bits_beside_the_pixels(
    syntax: str,
    kind: str,
    stored: int,
    high: int,
    declared: bool,
    fresh_instance: Callable[[], Dataset],
    written: Callable[..., bytes],
) -> None:
    order = ">" if syntax.endswith(".2.2") else "<"
    pixels = (np.arange(256).reshape(16, 16) << high - stored + 1).astype(f"{order}{kind}")
    width = 8 * pixels.dtype.itemsize
    for bit in set(range(width)) - set(range(high - stored + 1, high + 1)):
        instance = native(
            fresh_instance(), (pixels | PLANE.astype(pixels.dtype) << bit).astype(pixels.dtype), stored, high
        )
        if declared:
            instance.add_new(0x60000102, "US", bit)
        after = np.frombuffer(dcmread(BytesIO(cleaned(written(instance, syntax)))).PixelData, pixels.dtype)
        assert np.array_equal(after.reshape(16, 16), pixels)
    assert untouched(written(native(fresh_instance(), pixels, stored, high), syntax))


def test_signs_above_the_pixels_are_no_overlay(
    fresh_instance: Callable[[], Dataset], written: Callable[..., bytes]
) -> None:
    values = np.arange(-128, 128, dtype="<i2").reshape(16, 16)
    assert untouched(written(native(fresh_instance(), values, 12, 11, signed=True)))
    bare = values & 0x0FFF
    assert untouched(written(native(fresh_instance(), bare, 12, 11, signed=True)))
    for base in (values, bare):
        hidden = native(fresh_instance(), base ^ PLANE.astype("<i2") << 14, 12, 11, signed=True)
        after = np.frombuffer(dcmread(BytesIO(cleaned(written(hidden)))).PixelData, "<i2").reshape(16, 16)
        assert np.array_equal(after, base)
    # Signs that are repeated in some pixels only draw a picture too.
    mixed = native(fresh_instance(), np.where(PLANE, values, bare), 12, 11, signed=True)
    after = np.frombuffer(dcmread(BytesIO(cleaned(written(mixed)))).PixelData, "<i2").reshape(16, 16)
    assert np.array_equal(after, bare)


def test_an_overlay_among_the_bits_of_the_pixels_is_refused(
    fresh_instance: Callable[[], Dataset], written: Callable[..., bytes]
) -> None:
    instance = native(fresh_instance(), np.zeros((16, 16), "<u2"), 16, 15)
    instance.add_new(0x60000102, "US", 12)
    with pytest.raises(Refused) as refused:
        without_extras(read(written(instance)))
    assert refused.value.reason_code == "burned_in_text_possible"
    # With data of its own it lies there, whatever it says of a position.
    instance.add_new(0x60003000, "OW", bytes(32))
    assert untouched(written(instance))
    instance = image(fresh_instance(), [jpeg()])
    instance.add_new(0x60000102, "US", 12)
    with pytest.raises(Refused):
        without_extras(read(written(instance, BASELINE)))


def test_bytes_after_the_last_frame(instance: Dataset, written: Callable[..., bytes]) -> None:
    instance.PixelData += b"Doe^"
    data = written(instance)
    result = cleaned(data)
    assert dcmread(BytesIO(result)).PixelData == b"\x01\x00\x02\x00\x03\x00\x04\x00" + bytes(4)
    instance.PixelData = instance.PixelData[:8] + b"Mustermann^Erika"
    with pytest.raises(Refused) as refused:  # room for another frame
        without_extras(read(written(instance)))
    assert refused.value.reason_code == "pixels_not_decodable"


@pytest.mark.parametrize(
    ("syntax", "sop_class", "reason"),
    [
        ("1.2.840.10008.1.2.4.100", "1.2.840.10008.5.1.4.1.1.77.1.1.1", "video"),
        ("1.2.840.10008.1.2.4.103.1", "1.2.840.10008.5.1.4.1.1.77.1.1.1", "video"),
        ("1.2.840.10008.1.2.4.108", "1.2.840.10008.5.1.4.1.1.77.1.1.1", "video"),
        ("1.2.840.10008.1.2.4.94", "1.2.840.10008.5.1.4.1.1.2", "pixels_elsewhere"),
        (EXPLICIT, "1.2.840.10008.5.1.4.1.1.9.4.1", "sound"),
    ],
)
def test_what_cannot_be_looked_at_is_refused(
    syntax: str, sop_class: str, reason: str, instance: Dataset, written: Callable[..., bytes]
) -> None:
    refuse_unseen(read(written(instance)))
    instance.SOPClassUID = sop_class
    if syntax != EXPLICIT:
        instance.PixelData = encapsulate([b"\0\0\1\xb3" + bytes(12)])
        instance["PixelData"].VR = "OB"
    with pytest.raises(Refused) as refused:
        refuse_unseen(read(written(instance, syntax)))
    assert refused.value.reason_code == reason


def test_real_files(shared_data: Path) -> None:
    """In real files nothing but what is known to be beside the pixels changes, and no pixel does."""
    changed = {}
    for path in sorted((shared_data / "dicom").rglob("*.dcm")):
        if path.parent.name in ("ct", "lidc-idri-0314_chest_60slices", "siemens_t1_sag_35slices"):
            continue
        data = path.read_bytes()
        try:
            result = cleaned(data)
        except Refused:
            continue
        if result != data:
            changed[path.name] = sum(one != two for one, two in zip(data, result, strict=True))
            assert np.array_equal(decoded(result), decoded(data)) or path.name == "mlut_18.dcm"
    # A row of test values wider than the bits stored; bytes of an earlier frame after the ends of 96; boxes of JP2.
    assert changed == {"mlut_18.dcm": 256, "HasFragmentSequence.dcm": 382, "GDCMJ2K_TextGBR.dcm": 67}


@pytest.mark.parametrize("sop_class", ["1.2.840.10008.5.1.4.1.1.77.1.1.1", "1.2.840.10008.5.1.4.1.1.2"])
def test_a_video_passes_if_a_rule_says_so(
    sop_class: str, instance: Dataset, clean: Callable[..., Any], written: Callable[..., bytes]
) -> None:
    instance.SOPClassUID, instance.NumberOfFrames = sop_class, 25
    instance.PixelData = encapsulate([b"\0\0\1\xb3" + bytes(60)])
    instance["PixelData"].VR = "OB"
    data = written(instance, "1.2.840.10008.1.2.4.102")
    uids = "RandomizeUID: [{TagPatterns: '*/{UI}'}]"
    with pytest.raises(Refused) as refused:
        clean(uids, data)
    assert refused.value.reason_code == "video"
    assert "video" in refused.value.message
    assert clean(f"{uids}\nSuspectedPixels: PassUnchecked", data).PixelData == instance.PixelData


def test_an_icon_stays_with_its_pixels_where_everything_may_pass(instance: Dataset, clean: Callable[..., Any]) -> None:
    icon = Dataset()
    icon.add_new(0x7FE00010, "OW", b"\1\2\3\4")
    instance.IconImageSequence = [icon]
    instance.add_new(0x60003000, "OW", b"\1\2")
    uids = "RandomizeUID: [{TagPatterns: '*/{UI}'}]"
    result = clean(f"{uids}\nSuspectedPixels: PassUnchecked", instance)
    assert result.IconImageSequence[0].PixelData == b"\1\2\3\4"
    assert 0x60003000 in result
    result = clean(uids, instance)
    assert "IconImageSequence" not in result
    assert 0x60003000 not in result
