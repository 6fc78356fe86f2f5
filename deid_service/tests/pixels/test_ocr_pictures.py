"""Pictures made for readers: strokes alone, and what stands out of grain."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont
from pydicom import dcmread

from deid_service.pixels.boxes import Box
from deid_service.pixels.display import Appearance, views
from deid_service.pixels.frames import open_frames
from deid_service.pixels.ocr import Word, engine
from deid_service.pixels.ocr.engine import is_known
from deid_service.pixels.ocr.evidence import is_read
from deid_service.pixels.ocr.grain import lines_in_grain
from deid_service.pixels.ocr.search import text_in_frame
from deid_service.pixels.ocr.strokes import strokes_of
from deid_service.wire import read

_FONT = "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf"


def _written(ground: np.ndarray, text: str, at: tuple[int, int], size: int, value: int) -> np.ndarray:
    image = Image.fromarray(ground)
    ImageDraw.Draw(image).text(at, text, value, font=ImageFont.truetype(_FONT, size))
    return np.asarray(image)


def _grain(seed: int, mean: float = 110, spread: float = 12) -> np.ndarray:
    return np.clip(np.random.default_rng(seed).normal(mean, spread, (400, 520)), 0, 255).astype(np.uint8)


def test_strokes_stay_and_what_is_wide_goes() -> None:
    picture = np.zeros((80, 120), np.uint8)
    picture[:, 60:] = 200
    picture[20:23, 10:110] = 100
    strokes = strokes_of(picture)
    assert (strokes[5:15, :50] == 128).all()
    assert (strokes[5:15, 70:] == 128).all()
    assert (strokes[20:23, 12:50] == 255).all()  # brighter than black
    assert (strokes[20:23, 70:108] == 0).all()  # darker than grey


def test_of_colours_the_stroke_that_stands_out_most_is_shown() -> None:
    picture = np.full((40, 60, 3), 90, np.uint8)
    picture[10:13, 5:55, 2] = 130
    picture[25:28, 5:55, 0] = 60
    strokes = strokes_of(picture)
    assert strokes.shape == (40, 60)
    assert (strokes[10:13, 8:50] == 128 + 2 * 40).all()
    assert (strokes[25:28, 8:50] == 128 - 2 * 30).all()


def test_a_word_across_a_grid_of_black_and_white_is_read() -> None:
    ground = np.kron(np.indices((5, 8)).sum(axis=0) % 2, np.full((48, 48), 255)).astype(np.uint8)
    frame = _written(ground, "MRN8543170", (40, 110), 24, 128)
    assert any("8543170" in word.text for word in text_in_frame(frame, engine("local")))


@pytest.mark.parametrize("turned", [False, True])
def test_small_letters_stand_out_of_grain(turned: bool) -> None:
    grain = _grain(3)
    there = np.rot90(grain) if turned else grain
    frame = _written(np.ascontiguousarray(there), "OKAFOR 1948", (100, 200), 9, 180)
    lines = lines_in_grain(frame)
    assert len(lines) >= 1
    assert min(box.left for box in lines) <= 104
    assert max(box.right for box in lines) >= 155
    assert all(abs((box.top + box.bottom) / 2 - 206) < 12 for box in lines)


def _compressed(picture: np.ndarray, kind: str) -> np.ndarray:
    options = {"JPEG": {"quality": 50}, "JPEG2000": {"irreversible": True, "quality_layers": [20]}}[kind]
    file = BytesIO()
    Image.fromarray(picture).save(file, kind, **options)
    return np.asarray(Image.open(file))


@pytest.mark.parametrize("kind", ["JPEG", "JPEG2000"])
@pytest.mark.parametrize("turned", [False, True])
def test_faint_letters_stand_out_of_grain_that_was_compressed_with_loss(kind: str, turned: bool) -> None:
    frame = _written(_grain(7), "GARCIA^WEI", (150, 180), 18, 145)
    frame = _compressed(np.ascontiguousarray(np.rot90(frame)) if turned else frame, kind)
    covered = np.zeros(frame.shape, bool)
    for box in lines_in_grain(frame):
        covered[box.top : box.bottom + 1, box.left : box.right + 1] = True
    upright = np.rot90(covered, -1) if turned else covered
    assert upright[186:195, 155:260].mean() > 0.95
    assert upright.mean() < 0.25


@pytest.mark.parametrize("colour", [(200, 75, 100), (60, 130, 150)])
def test_letters_as_bright_as_the_grain_stand_out_by_their_colour(colour: tuple[int, int, int]) -> None:
    image = Image.fromarray(np.repeat(_grain(8)[:, :, np.newaxis], 3, axis=2))
    ImageDraw.Draw(image).text((150, 180), "Ingrid 1948", colour, font=ImageFont.truetype(_FONT, 14))
    place = Box(160, 185, 220, 192)
    assert any(box.meets(place) for box in lines_in_grain(np.asarray(image)))
    masked = Box(140, 170, 260, 205)
    lost = np.zeros((400, 520), bool)
    for box in lines_in_grain(np.asarray(image), [masked]):
        lost[box.top : box.bottom + 1, box.left : box.right + 1] = True
    lost[masked.top : masked.bottom + 1, masked.left : masked.right + 1] = False
    assert lost.mean() < 0.01


@pytest.mark.parametrize("spread", [4, 12, 40])
def test_grain_alone_loses_hardly_anything(spread: int) -> None:
    shares = []
    for seed in range(5):
        grain = _grain(seed, spread=spread)
        for frame in (grain, _compressed(grain, "JPEG"), _compressed(grain, "JPEG2000")):
            lost = np.zeros(frame.shape, bool)
            for box in lines_in_grain(frame):
                lost[box.top : box.bottom + 1, box.left : box.right + 1] = True
            shares.append(lost.mean())
    assert np.mean(shares) < 0.001
    assert np.median(shares) == 0


@pytest.mark.filterwarnings("ignore")  # pydicom warns of the values in real files
@pytest.mark.parametrize(
    "name",
    ["nm/JPEG-LL.dcm", "us/misc/gdcm-US-ALOKA-16.dcm", "transfer-syntax/pydicom_small/MR_small.dcm", "mg/GH133.dcm"],
)
def test_no_real_picture_is_taken_for_grain(shared_data: Path, name: str) -> None:
    path = shared_data / "dicom" / name
    reader = open_frames(read(path.read_bytes()))
    appearance = Appearance.of(dcmread(path, stop_before_pixels=True), reader.decoded_photometric)
    assert [box for view in views(reader.decode(0), appearance) for box in lines_in_grain(view.image)] == []


def test_of_a_picture_nothing_is_said_and_of_an_even_one_neither() -> None:
    assert lines_in_grain(np.full((300, 300), 80, np.uint8)) == []
    ramp = np.tile(np.linspace(0, 60, 40), 13).astype(np.uint8)
    assert lines_in_grain((_grain(1) // 2 + ramp).astype(np.uint8)) == []
    assert lines_in_grain(_grain(1)[:30, :30]) == []


def test_a_longer_line_is_not_known_by_its_end() -> None:
    end = Box(10, 10, 110, 30)
    assert is_known(Box(12, 8, 100, 31), [end])
    assert not is_known(Box(2, 10, 110, 30), [end])
    assert not is_known(Box(10, 10, 130, 30), [end])


@pytest.mark.parametrize(
    ("text", "confidence", "read"),
    [("ID", 0.9, True), ("he", 0.67, False), ("I", 0.9, False), ("SMITH", 0.65, True), ("SMITH", 0.5, False)],
)
def test_what_is_read_and_what_is_only_seen(text: str, confidence: float, read: bool) -> None:
    assert is_read(Word(text, Box(0, 0, 60, 12), confidence)) is read
