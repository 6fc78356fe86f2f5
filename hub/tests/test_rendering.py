"""Frames become pictures as PS3.3 says: windows, inversion, colours, palettes, frames, and clear refusals."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.pixels import convert_color_space

from hub.tests.support import as_bytes, image
from rpacs_hub._quiet import quiet_pydicom
from rpacs_hub.errors import FrameMissing, NotAnImage, RenderError
from rpacs_hub.rendering import PictureFormat, Renderer, frame_count, render
from rpacs_hub.rendering.cache import ByteCache
from rpacs_hub.rendering.pixels import window


@pytest.fixture(autouse=True)
def _quiet():
    quiet_pydicom()


def drawn(source, *arguments, **named) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(render(source, *arguments, **named))))


def ramp(**elements) -> pydicom.Dataset:
    """A row of stored values 0 to 9, twice, so that the picture has two rows."""
    return image(pixels=np.tile(np.arange(10, dtype=np.int16), (2, 1)), **elements)


@pytest.mark.parametrize(
    ("elements", "expected"),
    [
        # LINEAR (C.11.2.1.2.1) of centre 5.5 and width 10 is ((x - 5) / 9 + 0.5) * 255.
        ({"WindowCenter": 5.5, "WindowWidth": 10}, [0, 14, 43, 71, 99, 128, 156, 184, 213, 241]),
        ({"WindowCenter": 5, "WindowWidth": 10, "VOILUTFunction": "LINEAR_EXACT"}, [n * 25.5 for n in range(10)]),
        ({"WindowCenter": 5, "WindowWidth": 1}, [0, 0, 0, 0, 0, 255, 255, 255, 255, 255]),
        ({"WindowCenter": [5, 100], "WindowWidth": [1, 9]}, [0, 0, 0, 0, 0, 255, 255, 255, 255, 255]),
        # Rescaled values are windowed, not stored ones.
        ({"RescaleSlope": 2, "RescaleIntercept": -10, "WindowCenter": 0, "WindowWidth": 1}, [0] * 5 + [255] * 5),
        ({"PhotometricInterpretation": "MONOCHROME1", "WindowCenter": 5, "WindowWidth": 1}, [255] * 5 + [0] * 5),
        ({"PresentationLUTShape": "INVERSE", "WindowCenter": 5, "WindowWidth": 1}, [255] * 5 + [0] * 5),
    ],
)
def test_windows(elements, expected):
    np.testing.assert_allclose(drawn(ramp(**elements))[0], expected, atol=1)


def test_a_sigmoid_window_is_half_at_its_centre():
    picture = drawn(ramp(WindowCenter=5, WindowWidth=4, VOILUTFunction="SIGMOID"))[0]
    assert abs(int(picture[5]) - 128) <= 1
    assert picture[0] < 6 < 249 < picture[9]


def test_without_a_window_the_values_decide_and_padding_does_not_count():
    pixels = np.tile(np.linspace(0, 1000, 100, dtype=np.int16), (2, 1))
    pixels[:, 0] = -2000
    dataset = image(pixels=pixels, PixelPaddingValue=-2000)
    picture = drawn(dataset)[0].astype(int)
    assert picture[0] == 0
    assert (np.diff(picture) >= 0).all()
    assert (picture[2], picture[-1]) < (20, 256)
    assert len(set(picture)) > 80


def test_what_is_asked_for_beats_the_file():
    dataset = ramp(WindowCenter=1000, WindowWidth=10)
    assert set(drawn(dataset)[0]) == {0}
    assert list(drawn(dataset, center=5, width=1)[0]) == [0] * 5 + [255] * 5
    assert drawn(dataset, width=10)[0][0] < drawn(dataset, width=10)[0][9]
    assert len(set(drawn(dataset, center=5)[0])) > 5


@pytest.mark.parametrize(
    "element", [{"WindowWidth": 0, "WindowCenter": 5}, {"WindowWidth": None, "WindowCenter": None}]
)
def test_a_window_that_is_none_is_not_used(element):
    picture = drawn(ramp(**element))[0]
    assert (picture[0], picture[9]) == (0, 255)


@given(
    st.lists(st.floats(-1e5, 1e5), min_size=2, max_size=20),
    st.floats(-1e4, 1e4),
    st.floats(1, 1e4),
    st.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID"]),
)
def test_a_window_keeps_the_order_and_stays_within_bounds(values, center, width, function):
    ordered = np.sort(np.array(values, dtype=np.float32))
    grey = window(ordered, center, width, function)
    assert (grey >= 0).all()
    assert (grey <= 1).all()
    assert (np.diff(grey) >= 0).all()


def test_frames_are_counted_from_one():
    pixels = np.stack([np.full((4, 4), n, dtype=np.int16) for n in range(3)])
    dataset = image(pixels=pixels, WindowCenter=1, WindowWidth=2, VOILUTFunction="LINEAR_EXACT")
    assert frame_count(dataset) == 3
    assert [drawn(dataset, n)[0, 0] for n in (1, 2, 3)] == [0, 128, 255]
    for number in (0, 4):
        with pytest.raises(FrameMissing, match=f"no frame {number}"):
            render(dataset, number)


def test_each_frame_of_an_enhanced_object_has_its_own_values():
    pixels = np.stack([np.full((4, 4), 10, dtype=np.int16)] * 2)
    dataset = image(pixels=pixels)
    groups = []
    for slope in (1, 10):
        transformation, view, group = Dataset(), Dataset(), Dataset()
        transformation.RescaleSlope, transformation.RescaleIntercept = slope, 0
        view.WindowCenter, view.WindowWidth = 55, 1
        group.PixelValueTransformationSequence, group.FrameVOILUTSequence = [transformation], [view]
        groups.append(group)
    dataset.PerFrameFunctionalGroupsSequence = groups
    assert [drawn(dataset, n)[0, 0] for n in (1, 2)] == [0, 255]


def test_size_makes_smaller_only_and_keeps_the_shape():
    dataset = image(pixels=np.arange(100 * 50, dtype=np.int16).reshape(100, 50))
    assert drawn(dataset, size=20).shape == (20, 10)
    assert drawn(dataset, size=1000).shape == (100, 50)
    jpeg = Image.open(io.BytesIO(render(dataset, 1, "jpeg", size=50)))
    assert (jpeg.format, jpeg.size) == ("JPEG", (25, 50))
    for wrong in ({"size": 0}, {"size": 4097}, {"width": 0}, {"width": -1}):
        with pytest.raises(RenderError):
            render(dataset, **wrong)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("CT_small.dcm", (128, 128)),
        ("MR_small_RLE.dcm", (64, 64)),
        ("MR_small_bigendian.dcm", (64, 64)),
        ("MR_small_jp2klossless.dcm", (64, 64)),
        ("MR_small_jpeg_ls_lossless.dcm", (64, 64)),
        ("SC_rgb_rle.dcm", (100, 100, 3)),
        ("SC_rgb_jpeg_dcmtk.dcm", (100, 100, 3)),
        ("examples_palette.dcm", (350, 800, 3)),
        ("JPEG2000.dcm", (1024, 256)),
        ("examples_ybr_color.dcm", (240, 320, 3)),
    ],
)
def test_the_usual_encodings(name, shape):
    path = get_testdata_file(name, download=False)
    if path is None:
        pytest.skip(f"this pydicom does not ship {name}")
    picture = drawn(Path(path).read_bytes())
    assert picture.shape == shape
    assert picture.min() < picture.max()


def test_a_lossless_picture_does_not_depend_on_its_encoding():
    plain, *others = (
        drawn(Path(get_testdata_file(name)).read_bytes())
        for name in ("MR_small.dcm", "MR_small_RLE.dcm", "MR_small_bigendian.dcm", "MR_small_jp2klossless.dcm")
    )
    for other in others:
        np.testing.assert_array_equal(plain, other)


@pytest.mark.parametrize("planar", [0, 1])
@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL"])
def test_colours_come_out_right(photometric, planar):
    rgb = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [0, 0, 0], [255, 255, 255], [200, 100, 50]], dtype=np.uint8)
    stored = np.tile(rgb, (2, 1, 1))
    if photometric == "YBR_FULL":
        stored = convert_color_space(stored, "RGB", "YBR_FULL")
    if planar:
        stored = np.moveaxis(stored, -1, 0)
    dataset = image(
        pixels=np.zeros((2, 6), dtype=np.int16),
        SamplesPerPixel=3,
        PhotometricInterpretation=photometric,
        PlanarConfiguration=planar,
        BitsAllocated=8,
        BitsStored=8,
        HighBit=7,
        PixelRepresentation=0,
        PixelData=np.ascontiguousarray(stored).tobytes(),
    )
    assert np.abs(drawn(dataset)[0].astype(int) - rgb).max() <= 2


def test_what_has_no_pixels_says_so():
    with pytest.raises(NotAnImage) as caught:
        render(Path(get_testdata_file("test-SR.dcm")).read_bytes())
    assert caught.value.message == "This SR object holds no pixels."
    assert caught.value.hint
    with pytest.raises(NotAnImage):
        render(b"this is no DICOM file at all" * 20)


def test_pixels_that_cannot_be_decoded_say_so():
    dataset = ramp()
    dataset.PixelData = dataset.PixelData[:10]
    with pytest.raises(NotAnImage, match=r"cannot be decoded \(Explicit VR Little Endian, ValueError\)"):
        render(dataset)


def test_nothing_in_the_sample_files_crashes_it(shared_data):
    """Every file is drawn or refused in words; at least two hundred are drawn."""
    drawn_, refused = 0, []
    for path in sorted((shared_data / "dicom").rglob("*.dcm")):
        if "lidc" in str(path) or path.stat().st_size > 3_000_000:
            continue
        try:
            drawn_ += render(path.read_bytes(), size=64)[:4] == b"\x89PNG"
        except RenderError as error:
            refused.append(error.message)
    assert drawn_ > 150
    assert all(refused)


def test_a_renderer_fetches_a_file_once_for_frames_asked_together():
    pixels = np.stack([np.full((4, 4), n, dtype=np.int16) for n in range(8)])
    data = as_bytes(image(pixels=pixels, WindowCenter=4, WindowWidth=8))
    fetched = []

    async def fetch() -> bytes:
        fetched.append(1)
        await asyncio.sleep(0.01)
        return data

    async def run(cache: int) -> list[bytes]:
        renderer = Renderer(cache)
        try:
            first = await asyncio.gather(*[renderer.draw("a", fetch, n, PictureFormat.PNG) for n in range(1, 9)])
            again = [await renderer.draw("a", fetch, n, PictureFormat.PNG) for n in range(1, 9)]
            assert first == again
            return first
        finally:
            renderer.close()

    assert len(set(asyncio.run(run(1 << 20)))) == 8
    assert len(fetched) == 1
    # Without any memory it still works, only slower.
    asyncio.run(run(0))
    assert len(fetched) == 1 + 1 + 8


def test_a_failed_fetch_is_tried_again_and_reaches_everybody_who_waits():
    attempts = []

    async def fetch() -> bytes:
        attempts.append(1)
        await asyncio.sleep(0.01)
        if len(attempts) == 1:
            raise NotAnImage("broken")
        return as_bytes(ramp())

    async def run() -> None:
        renderer = Renderer(1 << 20)
        try:
            both = await asyncio.gather(
                *[renderer.draw("a", fetch, 1, PictureFormat.PNG) for _ in range(2)], return_exceptions=True
            )
            assert [type(one) for one in both] == [NotAnImage, NotAnImage]
            assert await renderer.draw("a", fetch, 1, PictureFormat.PNG)
        finally:
            renderer.close()

    asyncio.run(run())


def test_the_memory_is_bounded_in_bytes():
    cache: ByteCache[str, int] = ByteCache(100)
    cache.put("a", 1, 40)
    cache.put("b", 2, 40)
    assert cache.get("a") == 1
    cache.put("c", 3, 40)
    assert (cache.get("a"), cache.get("b"), cache.get("c")) == (1, None, 3)
    cache.put("huge", 4, 101)
    assert cache.get("huge") is None
    cache.put("a", 5, 10)
    assert (cache.used, len(cache), cache.get("a")) == (50, 2, 5)
