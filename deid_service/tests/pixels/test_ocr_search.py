"""Searching frames: every distinct one, only where it changed, in tiles, and again after masking."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from deid_service.pixels.boxes import Box, Regions
from deid_service.pixels.display import Appearance, View
from deid_service.pixels.frames import open_frames
from deid_service.pixels.ocr import Word, engine
from deid_service.pixels.ocr.engine import is_known
from deid_service.pixels.ocr.evidence import is_text, prepared_seeds
from deid_service.pixels.ocr.look import _laid, _spans
from deid_service.pixels.ocr.search import (
    _LOOKS,
    _SECOND_LOOKS,
    FrameKey,
    _looks_like,
    _painted_over,
    find_text,
    second_look,
    text_in_frame,
)
from deid_service.wire import read

_FONT = "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf"


class Stack:
    """Frames that were decoded already; keeps which ones were asked for."""

    def __init__(self, frames: Sequence[NDArray[Any]]) -> None:
        self.frames = frames
        self.decoded: list[int] = []

    @property
    def number(self) -> int:
        return len(self.frames)

    def raw(self, index: int) -> bytes:
        return self.frames[index].tobytes()

    def decode(self, index: int) -> NDArray[Any]:
        self.decoded.append(index)
        return self.frames[index]


class Counting:
    """The local engine, with the sizes of the pictures it was given."""

    name = "counting"
    largest_side = 1536

    def __init__(self) -> None:
        self.sizes: list[tuple[int, ...]] = []

    def find(self, image: NDArray[np.uint8], known: Sequence[Box] = ()) -> list[Word]:
        self.sizes.append(image.shape[:2])
        return engine("local").find(image, known)


def _frame(*texts: tuple[int, int, str, int], rows: int = 240, columns: int = 320, ground: int = 0) -> np.ndarray:
    image = Image.new("L", (columns, rows), ground)
    draw = ImageDraw.Draw(image)
    for left, top, text, size in texts:
        draw.text((left, top), text, 255, font=ImageFont.truetype(_FONT, size))
    return np.asarray(image)


def _texts(words: Sequence[Word]) -> list[str]:
    return sorted(word.text for word in words)


def test_text_in_one_frame_of_many_is_found_in_that_frame_only() -> None:
    plain = _frame((10, 10, "ECHO 5cm", 16))
    named = _frame((10, 10, "ECHO 5cm", 16), (100, 150, "SMITH^JOHN", 14))
    stack = Stack([plain] * 37 + [named] + [plain] * 3)
    found = find_text(stack, engine("local"))
    assert {index: len(words) for index, words in found.items()} == {index: 1 + (index == 37) for index in range(41)}
    assert "SMITH^JOHN" in _texts(found[37])
    assert stack.decoded == [0, 37, 0]


def test_of_a_frame_that_changed_in_a_part_only_that_part_is_looked_at() -> None:
    before = _frame((10, 10, "KLINIKUM SUED", 16), rows=480, columns=640)
    after = _frame((10, 10, "KLINIKUM SUED", 16), (300, 300, "ROSSI", 14), rows=480, columns=640)
    counting = Counting()
    find_text(Stack([before]), counting)
    first = len(counting.sizes)
    counting.sizes.clear()
    found = find_text(Stack([before, after]), counting)
    assert _texts(found[1]) == ["KLINIKUM SUED", "ROSSI"]
    assert max(rows for rows, _ in counting.sizes[first:]) < 480


class Forgetful:
    """The local engine, blind in the pictures of some frames: those whose corner is of a certain grey."""

    name = "forgetful"
    largest_side = 1536

    def find(self, image: NDArray[np.uint8], known: Sequence[Box] = ()) -> list[Word]:
        return [] if np.median(image[-8:, -8:]) > 100 else engine("local").find(image, known)


def test_a_banner_that_is_missed_in_one_frame_is_masked_there_as_in_the_others() -> None:
    noise = np.random.default_rng(1)
    frames = []
    for index in range(5):
        frame = _frame((10, 10, "NGUYEN WEI", 16)).astype(np.int16) + noise.integers(0, 30, (240, 320))
        frame[-20:, -20:] = 200 if index in (0, 3) else 0
        frames.append(np.clip(frame, 0, 255).astype(np.uint8))
    gone = np.clip(noise.integers(0, 30, (240, 320)), 0, 255).astype(np.uint8)
    gone[-20:, -20:] = 200
    found = find_text(Stack([*frames, gone]), Forgetful())
    assert {index for index, words in found.items() if any("NGUYEN" in word.text for word in words)} == set(range(5))


# Places of a moving heart, from which a film of 30 frames was taken for text; and letters that it shows throughout.
SPECKLE = [Box(173, 46, 200, 56), Box(132, 48, 140, 68)]
LETTERS = [Box(121, 226, 172, 239), Box(0, 0, 46, 16)]


def test_in_a_film_in_colour_only_letters_look_the_same_throughout(shared_data: Path) -> None:
    path = shared_data / "dicom" / "transfer-syntax" / "pydicom_small" / "examples_ybr_color.dcm"
    reader = open_frames(read(path.read_bytes()))
    frames = [reader.decode(index) for index in range(reader.number)]
    assert len(frames) == 30
    for boxes, least, most in ((SPECKLE, 1, 9), (LETTERS, 30, 30)):
        for box in boxes:
            pieces = [frame[box.top : box.bottom + 1, box.left : box.right + 1] for frame in frames]
            assert least <= sum(_looks_like(pieces[10], piece) for piece in pieces) <= most


class Blind:
    """Counts how often it was asked to look, and sees nothing."""

    name = "blind"
    largest_side = 1536

    def __init__(self) -> None:
        self.asked = 0

    def find(self, image: NDArray[np.uint8], known: Sequence[Box] = ()) -> list[Word]:
        self.asked += bool(image.size) or len(known)
        return []


def test_a_frame_in_which_nothing_was_left_is_not_read_again_until_more_of_it_is_black() -> None:
    stack = Stack([_frame((10, 10 + 20 * index, "ECHO", 16)) for index in range(3)])
    clean: set[FrameKey] = set()
    first, again, masked = Blind(), Blind(), Blind()
    assert second_look(stack, first, clean=clean) == {}
    assert len(clean) == 3
    assert second_look(stack, again, clean=clean) == {}
    assert second_look(stack, masked, masked=Regions(by_frame={1: (Box(0, 0, 9, 9),)}), clean=clean) == {}
    assert first.asked > masked.asked > again.asked == 0
    found = second_look(stack, engine("local"), clean=(others := set()))
    assert set(found) == {0, 1, 2}
    assert others == set()


def test_a_text_that_went_away_is_not_carried_on() -> None:
    found = find_text(Stack([_frame((10, 10, "ROSSI ANNA", 16)), _frame()]), engine("local"))
    assert list(found) == [0]


@pytest.mark.parametrize("size", [8, 10, 14, 40])
def test_small_and_large_letters(size: int) -> None:
    words = text_in_frame(_frame((20, 100, "Kowalski 1961", size)), engine("local"))
    assert any("kowals" in word.text.casefold() for word in words)


def test_text_at_the_highest_value_of_a_deep_image_and_text_inside_its_window() -> None:
    ramp = np.linspace(900, 1200, 320).astype(np.int16)[np.newaxis].repeat(240, axis=0)
    highest = np.where(_frame((20, 40, "GARCIA MARIA", 14)) > 100, np.int16(32767), ramp)
    inside = np.where(_frame((20, 40, "GARCIA MARIA", 14)) > 100, np.int16(1264), ramp)
    corner = inside.copy()
    corner[0, 0] = 32767
    window = Appearance("MONOCHROME2", ((1064.0, 400.0),))
    for frame in (highest, inside, corner):
        assert any("GARCIA" in word.text for word in text_in_frame(frame, engine("local"), appearance=window))
        assert any("GARCIA" in word.text for word in text_in_frame(frame, engine("local")))


def test_boxes_cover_every_pixel_of_the_letters() -> None:
    frame = _frame((60, 100, "Ängström (jgq)", 18))
    covered = np.zeros(frame.shape, bool)
    for word in text_in_frame(frame, engine("local")):
        covered[word.box.top : word.box.bottom + 1, word.box.left : word.box.right + 1] = True
    assert not frame[~covered].any()


def test_a_large_picture_is_looked_at_in_tiles() -> None:
    frame = _frame((1450, 1000, "HADDAD SAMUEL", 24), rows=1100, columns=1700)
    counting = Counting()
    assert "HADDAD SAMUEL" in _texts(text_in_frame(frame, counting))
    assert max(max(size) for size in counting.sizes) <= counting.largest_side


def test_a_flat_frame_costs_nothing() -> None:
    counting = Counting()
    assert text_in_frame(np.full((512, 512), 17, np.uint8), counting) == ()
    assert counting.sizes == []


def test_the_second_look_sees_what_is_left_and_not_the_edges_of_boxes() -> None:
    frame = _frame((20, 40, "OKAFOR PETER", 16), (20, 150, "ID 4711884", 16), ground=120)
    words = text_in_frame(frame, engine("local"))
    boxes = tuple(word.box for word in words)
    for count, left in ((len(boxes), False), (len(boxes) - 1, True)):
        masked = frame.copy()
        for box in boxes[:count]:
            masked[box.top : box.bottom + 1, box.left : box.right + 1] = 0
        looked = second_look(Stack([masked]), engine("local"), (), None, Regions(boxes[:count]))
        assert bool(looked) is left


_boxes = st.builds(
    lambda left, top, width, height: Box(left, top, left + width, top + height),
    *[st.integers(-10, 60), st.integers(-10, 40)] + [st.integers(0, 50)] * 2,
)


@given(st.lists(_boxes, min_size=1, max_size=12), st.booleans())
def test_what_is_black_is_painted_over_with_what_is_shown_and_never_with_black(boxes: list[Box], colour: bool) -> None:
    picture = np.full((40, 60, 3) if colour else (40, 60), 170, np.uint8)
    shown = np.ones((40, 60), bool)
    for box in boxes:
        if (inside := box.within(40, 60)) is not None:
            shown[inside.top : inside.bottom + 1, inside.left : inside.right + 1] = False
    picture[~shown] = 0
    painted = _painted_over(View("full", picture), boxes)
    assert (painted == (170 if shown.any() else 0)).all()


def test_boxes_that_overlap_on_grain_are_no_writing() -> None:
    frame = np.random.default_rng(5).normal(110, 12, (300, 400)).clip(0, 255).astype(np.uint8)
    boxes = (Box(30, 40, 250, 80), Box(200, 20, 240, 200), Box(205, 60, 330, 95), Box(32, 44, 200, 78))
    for box in boxes:
        frame[box.top : box.bottom + 1, box.left : box.right + 1] = 0
    assert second_look(Stack([frame]), engine("local"), masked=Regions(boxes)) == {}


class Stubborn:
    """Sees a line in each picture at the same place, as the edge of a black box can be seen."""

    name = "stubborn"
    largest_side = 1536

    def find(self, image: NDArray[np.uint8], known: Sequence[Box] = ()) -> list[Word]:
        factor, upright = image.shape[0] // 240, 3 * image.shape[1] == 4 * image.shape[0]
        box = Box(50 * factor, 60 * factor, 120 * factor, 80 * factor)
        return [] if is_known(box, known) or not upright else [Word("SMITH", box, 0.9)]


def test_what_is_black_nearly_all_over_is_no_text_any_more() -> None:
    frame = np.random.default_rng(3).integers(0, 200, (240, 320)).astype(np.uint8)
    for black, left in ((Box(48, 61, 122, 82), False), (Box(48, 68, 122, 82), True)):
        looked = second_look(Stack([frame]), Stubborn(), masked=Regions((black,)))
        assert bool(looked) is left


def test_the_search_looks_as_closely_as_the_second_look() -> None:
    """A word can be seen with the rest of its line that cannot be seen any more when that is black."""
    assert all(set(_SECOND_LOOKS[view]) <= set(_LOOKS[view]) for view in _SECOND_LOOKS)


@given(st.integers(1, 9000), st.integers(64, 4000))
def test_tiles_cover_everything_and_overlap(length: int, side: int) -> None:
    spans = _spans(length, side)
    assert spans[0][0] == 0
    assert spans[-1][1] == length - 1
    sizes = {end - begin + 1 for begin, end in spans}
    assert len(sizes) == 1
    assert max(sizes) <= side
    # What is read twice is the overlap, and what evens the sizes out.
    assert len(spans) * max(sizes) < length + (len(spans) - 1) * min(192, side // 4) + len(spans)
    assert all(after[0] + min(192, side // 4) <= before[1] + 2 for before, after in itertools.pairwise(spans))


@pytest.mark.parametrize("quarters", [1, 3])
def test_a_box_is_laid_on_its_side_with_its_picture_and_back(quarters: int) -> None:
    picture = np.zeros((20, 50), bool)
    box = Box(7, 3, 30, 11)
    picture[box.top : box.bottom + 1, box.left : box.right + 1] = True
    ys, xs = np.nonzero(np.rot90(picture, quarters))
    laid = _laid(box, 20, 50, quarters)
    assert laid == Box(int(xs.min()), int(ys.min()), int(xs.max()), int(ys.max()))
    assert _laid(laid, 50, 20, -quarters) == box


def _word(text: str, confidence: float, detection: float = 0.7, width: int = 60, height: int = 14) -> Word:
    return Word(text, Box(0, 0, width - 1, height - 1), confidence, detection)


@pytest.mark.parametrize(
    ("word", "text"),
    [
        (_word("SMITH", 0.9), True),
        (_word("SMITH", 0.4), False),
        (_word("1972-11-27", 0.67, 0.3, 80), True),
        (_word("0888000", 0.84, 0.39, 232, 307), False),
        (_word("10", 1.0, 0.32, 67, 70), False),
        (_word("0000", 0.97, 0.53, 211, 87), False),
        (_word("0000", 0.83, 0.38, 176, 68), False),
        (_word("60988", 0.97, 0.8, 211, 50), True),
        (_word("021020", 0.62, 0.74, 216, 90), False),
        (_word("11", 0.96, 0.52, 60, 71), False),
        (_word("CA.", 0.65, 0.58, 105, 77), False),
        (_word("PM", 0.9, 0.7, 80, 48), True),
        (_word("green", 0.95, 0.74, 216, 90), True),
        (_word("O", 0.95, 0.8, 200, 200), False),
        (_word("M", 0.95, 0.8, 12, 16), True),
        (_word("M", 0.5, 0.8, 12, 16), False),
        (_word("II", 0.88, 0.78, 9, 7), False),
        (_word("1", 0.92, 0.76, 7, 5), False),
        (_word("11", 0.88, 0.78, 14, 18), True),
        (_word("11:11", 0.88, 0.78, 24, 7), True),
        (_word("", 0.0, 0.8), True),
        (_word("", 0.0, 0.8, 20, 20), False),
    ],
)
def test_what_counts_as_text(word: Word, text: bool) -> None:
    assert is_text(word, frozenset(), 512 * 512) is text


def test_what_resembles_an_identifier_of_the_header_counts_even_if_badly_read() -> None:
    seeds = prepared_seeds(["Mustermann^Erika^^Dr.", "PID-4711", "19640812", ""])
    assert {"mustermann", "erika", "pid4711", "19640812"} <= seeds
    assert "dr" not in seeds
    assert is_text(_word("Mustemann", 0.4, 0.2), seeds, 512 * 512)
    assert is_text(_word("PID-47l1", 0.35, 0.2), seeds, 512 * 512)
    assert not is_text(_word("GAIN 60", 0.4, 0.2), seeds, 512 * 512)


@given(st.text(max_size=12), st.lists(st.text(max_size=12), max_size=4), st.floats(0, 1), st.floats(0, 1))
def test_seeds_never_turn_text_into_none(text: str, seeds: list[str], confidence: float, detection: float) -> None:
    word = _word(text, confidence, detection)
    if is_text(word, frozenset(), 512 * 512):
        assert is_text(word, prepared_seeds(seeds), 512 * 512)
