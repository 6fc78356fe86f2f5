"""Pictures of what has the colour of writing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from deid_service.pixels.boxes import Box
from deid_service.pixels.ocr import engine
from deid_service.pixels.ocr.ink import pictures_of_ink
from deid_service.pixels.ocr.search import text_in_frame

_FONT = "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf"
_ROWS, _COLUMNS = 240, 320
_WHOLE = Box(0, 0, _COLUMNS - 1, _ROWS - 1)


def _letters(text: str, at: tuple[int, int], size: int = 14) -> NDArray[np.bool_]:
    """Return which pixels some letters with hard edges have."""
    image = Image.new("1", (_COLUMNS, _ROWS))
    ImageDraw.Draw(image).text(at, text, 1, font=ImageFont.truetype(_FONT, size))
    return np.asarray(image)


def _around(letters: NDArray[np.bool_]) -> Box:
    ys, xs = np.nonzero(letters)
    return Box(int(xs.min()) - 2, int(ys.min()) - 2, int(xs.max()) + 2, int(ys.max()) + 2)


def _restless(seed: int, dtype: Any, spread: float = 25) -> NDArray[Any]:
    """Return a ground of all values around 100."""
    return np.random.default_rng(seed).normal(100, spread, (_ROWS, _COLUMNS)).clip(1, 254).astype(dtype)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.float32])
def test_of_a_restless_ground_only_chance_is_left(dtype: Any) -> None:
    letters, frame = _letters("Kowalski 1963", (60, 100)), _restless(1, np.int16).astype(dtype)
    frame[letters] = 106
    (picture,) = pictures_of_ink(frame, (), (), _WHOLE)
    assert (picture[letters] == 255).all()
    assert 0.01 < np.mean(picture[~letters] == 255) < 0.05
    assert set(np.unique(picture)) == {0, 255}


def test_values_that_are_no_number_hide_nothing() -> None:
    found, missed = _letters("Kowalski", (40, 60)), _letters("Kowalski 1963", (60, 100))
    frame = _restless(1, np.float64)
    frame[:20], frame[20:40] = np.nan, np.inf
    frame[found | missed] = 106
    like, single = pictures_of_ink(frame[:, :, np.newaxis], [_around(found)], (), _WHOLE)
    assert np.median(like[missed]) > 180
    assert (single[missed] == 255).all()


def test_a_colour_is_an_ink_by_all_its_samples() -> None:
    letters = _letters("Kowalski 1963", (60, 100))
    frame = np.stack([_restless(seed, np.uint8) for seed in range(3)], axis=2)
    frame[letters] = (101, 99, 104)
    (picture,) = pictures_of_ink(frame, (), (), _WHOLE)
    assert (picture[letters] == 255).all()
    assert np.mean(picture[~letters]) < 0.1


def test_what_is_as_wide_as_a_plate_is_no_ink() -> None:
    frame = _restless(2, np.uint8)
    frame[50:90, 40:200] = 104
    assert list(pictures_of_ink(frame, (), (), _WHOLE)) == []


def test_without_an_ink_there_is_no_picture() -> None:
    assert list(pictures_of_ink(_restless(3, np.uint8), (), (), _WHOLE)) == []
    assert list(pictures_of_ink(np.zeros((_ROWS, _COLUMNS), np.uint8), (), (), _WHOLE)) == []


def test_ink_that_was_found_in_full_is_not_shown_again() -> None:
    letters, frame = _letters("Kowalski 1963", (60, 100)), _restless(4, np.uint8)
    frame[letters] = 106
    pictures = list(pictures_of_ink(frame, [_around(letters)], (), _WHOLE))
    assert all(set(np.unique(picture)) != {0, 255} for picture in pictures)
    assert list(pictures_of_ink(frame, (), [_around(letters)], _WHOLE)) == []
    assert list(pictures_of_ink(frame, (), (), Box(0, 0, _COLUMNS - 1, 60))) == []


def test_what_is_like_words_that_were_found_is_light() -> None:
    """With compression: no single value is the ink."""
    found, missed = _letters("Kowalski", (40, 60)), _letters("1963-07-01", (120, 160))
    frame = _restless(5, np.int16, spread=6)
    noise = np.random.default_rng(6).normal(0, 2, frame.shape)
    frame[found | missed] = (130 + noise[found | missed]).astype(np.int16)
    like = next(pictures_of_ink(frame, [_around(found)], (), _WHOLE))
    assert like.dtype == np.uint8
    assert np.median(like[missed]) > 180
    assert np.mean(like[~(found | missed)]) < 10
    masked = next(pictures_of_ink(frame, [_around(found)], [_around(missed)], _WHOLE))
    assert not masked[missed].any()


@pytest.mark.parametrize("turn", [0, 1])
def test_letters_hardly_lighter_than_their_ground_are_read_by_their_ink(turn: int) -> None:
    letters, frame = _letters("DOB: 06/11/1981", (60, 100)), _restless(7, np.uint8)
    frame[letters] = 109
    frame = np.ascontiguousarray(np.rot90(frame, turn))
    words = text_in_frame(frame, engine("local"))
    covered = np.zeros(frame.shape, bool)
    for word in words:
        covered[word.box.top : word.box.bottom + 1, word.box.left : word.box.right + 1] = True
    assert covered[np.rot90(letters, turn)].mean() > 0.95
