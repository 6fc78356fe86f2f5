"""What goes on where a line of text ends."""

from __future__ import annotations

import pytest

from deid_service.pixels.boxes import Box
from deid_service.pixels.ocr import Word
from deid_service.pixels.ocr.lines import more_of_lines

LINE = Box(100, 50, 220, 69)


def _turned(box: Box) -> Box:
    return Box(box.top, box.left, box.bottom, box.right)


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(
    ("box", "text", "confidence", "more"),
    [
        (Box(225, 52, 260, 68), "Jd", 0.45, True),
        (Box(232, 52, 270, 68), "Jd", 0.35, False),  # nobody can say what it is, and it is longer than a letter or two
        (Box(225, 52, 300, 68), "", 0.0, False),
        (Box(224, 52, 260, 68), "", 0.0, True),  # a short piece right at the end, however it was read
        (Box(250, 50, 268, 70), "U", 0.87, True),
        (Box(250, 50, 268, 70), "U", 0.6, False),
        (Box(300, 50, 340, 70), "GARCIA", 0.5, False),  # too far away
        (Box(225, 75, 260, 95), "GARCIA", 0.5, False),  # on another level
        (Box(225, 30, 260, 90), "GARCIA", 0.5, False),  # three times as high
        (Box(225, 57, 240, 61), "GARCIA", 0.5, False),  # a quarter as high
        (Box(40, 48, 95, 72), "Acc", 0.5, True),
    ],
)
def test_what_lies_at_an_end_of_a_line(box: Box, text: str, confidence: float, more: bool, turned: bool) -> None:
    word = Word(text, _turned(box) if turned else box, confidence, 0.5)
    line = _turned(LINE) if turned else LINE
    assert more_of_lines([word], [line]) == ([word] if more else [])


def test_pieces_that_touch_follow_each_other_and_far_ones_do_not() -> None:
    touching = [Word("", Box(left, 52, left + 20, 68), 0.0) for left in range(224, 330, 25)]
    assert set(more_of_lines(touching, [LINE])) == set(touching)
    badly = [Word("Jd", Box(left, 52, left + 25, 68), 0.5) for left in range(250, 500, 60)]
    assert more_of_lines(badly, [LINE]) == badly[:1]


def test_what_was_seen_of_strokes_alone_must_have_been_read() -> None:
    unread, read = Word("", Box(222, 52, 250, 68), 0.0), Word("U", Box(222, 52, 240, 68), 0.9)
    assert more_of_lines([unread, read], [LINE], unread={unread, read}) == [read]


def test_a_region_of_a_picture_is_no_line() -> None:
    assert more_of_lines([Word("Jd", Box(640, 100, 700, 200), 0.9)], [Box(0, 0, 639, 300)]) == []
