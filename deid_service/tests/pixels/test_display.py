"""What a person may see of a frame: every photometric interpretation, and text that only one picture shows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset

from deid_service.pixels.display import Appearance, views


def _shown(frame: np.ndarray, appearance: Appearance | None = None) -> dict[str, np.ndarray]:
    return {view.name: view.image for view in views(frame, appearance or Appearance())}


def _header(**values: object) -> Dataset:
    header = Dataset()
    for name, value in values.items():
        setattr(header, name, value)
    return header


def test_eight_bits_are_shown_as_they_are() -> None:
    frame = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert (_shown(frame)["full"] == frame).all()


def test_monochrome1_is_turned_round() -> None:
    frame = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert (_shown(frame, Appearance("MONOCHROME1"))["full"] == 255 - frame).all()


def test_a_bitmap_is_black_and_white() -> None:
    frame = np.eye(16, dtype=np.uint8)
    assert np.unique(_shown(frame)["full"]).tolist() == [0, 255]


@pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.uint32, np.int32, np.float32, np.float64])
def test_the_whole_range_of_deep_pixels_is_shown(dtype: type) -> None:
    frame = np.zeros((16, 16), dtype)
    frame[0, 0], frame[8, 8] = 1000, 500
    full = _shown(frame)["full"]
    assert (full[0, 0], full[8, 8], full[3, 3]) == (255, 128, 0)


def test_the_window_of_the_header_is_taken_in_stored_values() -> None:
    header = _header(WindowCenter=["40"], WindowWidth=["400"], RescaleSlope="1", RescaleIntercept="-1024")
    frame = np.linspace(0, 4095, 64 * 64).astype(np.int16).reshape(64, 64)
    window = _shown(frame, Appearance.of(header))["window"]
    assert window[frame <= 864].max() == 0
    assert window[frame >= 1264].min() == 255
    assert abs(int(window[np.abs(frame - 1064).argmin() // 64, np.abs(frame - 1064).argmin() % 64]) - 128) <= 1


@pytest.mark.parametrize(
    "values",
    [
        {"WindowCenter": "", "WindowWidth": ""},
        {"WindowCenter": "40", "WindowWidth": "0"},
        {"WindowCenter": "40", "WindowWidth": "400", "RescaleSlope": "0"},
    ],
)
def test_a_broken_window_is_left_out(values: dict[str, str]) -> None:
    assert Appearance.of(_header(**values)).windows == () or Appearance.of(_header(**values)).windows[0][1] > 0


def test_a_palette_gives_colours_and_what_lies_beyond_it_its_ends() -> None:
    header = _header(PhotometricInterpretation="PALETTE COLOR")
    for colour, first in (("Red", 10), ("Green", 20), ("Blue", 30)):
        setattr(header, f"{colour}PaletteColorLookupTableDescriptor", [2, 5, 16])
        setattr(header, f"{colour}PaletteColorLookupTableData", np.array([first << 8, 250 << 8], "<u2").tobytes())
    frame = np.array([[0, 5], [6, 200]], np.uint8).repeat(8, axis=0).repeat(8, axis=1)
    colours = _shown(frame, Appearance.of(header))["colour"]
    assert colours[0, 0].tolist() == colours[0, 8].tolist() == [10, 20, 30]
    assert colours[8, 0].tolist() == colours[8, 8].tolist() == [250, 250, 250]


def test_a_palette_of_bytes_is_understood() -> None:
    header = _header(PhotometricInterpretation="PALETTE COLOR")
    for colour in ("Red", "Green", "Blue"):
        setattr(header, f"{colour}PaletteColorLookupTableDescriptor", [2, 0, 8])
        setattr(header, f"{colour}PaletteColorLookupTableData", bytes([7, 99]))
    assert _shown(np.eye(16, dtype=np.uint8), Appearance.of(header))["colour"][0, 0].tolist() == [99, 99, 99]


def test_a_missing_palette_leaves_the_indices_to_look_at() -> None:
    appearance = Appearance.of(_header(PhotometricInterpretation="PALETTE COLOR"))
    assert "full" in _shown(np.eye(16, dtype=np.uint8), appearance)


def test_luma_and_chroma_become_colours() -> None:
    frame = np.zeros((16, 16, 3), np.uint8)
    frame[...] = (76, 85, 255)
    red, green, blue = _shown(frame, Appearance("YBR_FULL"))["colour"][0, 0]
    assert (red > 250, green < 5, blue < 5) == (True, True, True)
    assert _shown(frame, Appearance("RGB"))["colour"][0, 0].tolist() == [76, 85, 255]


def test_letters_of_one_brightness_with_their_ground_show_in_one_channel() -> None:
    frame = np.zeros((32, 32, 3), np.uint8)
    frame[...] = (120, 40, 90)
    frame[10:20, 10:20] = (40, 79, 90)
    shown = _shown(frame)
    assert abs(int(shown["red"][15, 15]) - int(shown["red"][0, 0])) == 80


def test_faint_letters_stand_out_locally() -> None:
    frame = np.full((64, 64), 2, np.uint8)
    frame[30:34, 20:40] = 6
    frame[0, 0] = 255
    shown = _shown(frame)["local"]
    assert int(shown[32, 30]) - int(shown[60, 60]) > 50


@given(
    st.sampled_from(["MONOCHROME1", "MONOCHROME2", "PALETTE COLOR"]),
    st.sampled_from([np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.float32]),
    st.integers(0, 2**32 - 1),
)
def test_any_frame_has_pictures_of_its_size(photometric: str, dtype: type, seed: int) -> None:
    random = np.random.default_rng(seed)
    raw = random.integers(0, 256, 12 * 9 * np.dtype(dtype).itemsize, np.uint8)
    frame = raw.view(dtype).reshape(12, 9)
    with np.errstate(all="ignore"):
        pictures = list(views(frame, Appearance(photometric)))
    assert pictures
    assert all(view.image.shape[:2] == (12, 9) and view.image.dtype == np.uint8 for view in pictures)
