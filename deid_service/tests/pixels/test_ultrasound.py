"""Ultrasound regions: kept where they can be trusted."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.sequence import Sequence

from deid_service.pixels.boxes import Box
from deid_service.pixels.ultrasound import outside, regions_of, text_around
from deid_service.wire import read


def painted(boxes: tuple[Box, ...], rows: int, columns: int) -> np.ndarray:
    image = np.zeros((rows, columns), int)
    for box in boxes:
        image[box.top : box.bottom + 1, box.left : box.right + 1] += 1
    return image


regions = st.builds(
    lambda x, y, w, h: Box(x, y, x + w, y + h),
    *(st.integers(0, 40), st.integers(0, 30), st.integers(0, 20), st.integers(0, 20)),
)


@given(st.lists(regions, max_size=6), st.integers(1, 40), st.integers(1, 50))
def test_the_rest_is_covered_once_and_the_regions_not_at_all(boxes: list[Box], rows: int, columns: int) -> None:
    kept = np.zeros((rows, columns), bool)
    for box in boxes:
        kept[box.top : box.bottom + 1, box.left : box.right + 1] = True
    rest = outside(boxes, rows, columns)
    assert np.array_equal(painted(rest, rows, columns), ~kept)
    assert all(box.within(rows, columns) == box for box in rest)


def test_a_banner_above_one_region() -> None:
    assert text_around((Box(0, 20, 99, 79),), 80, 100) == (Box(0, 0, 99, 19),)


@pytest.mark.parametrize(
    "distrusted",
    [
        (Box(0, 0, 99, 79),),  # the whole frame
        (Box(0, 1, 98, 79),),  # nearly
        (Box(0, 0, 99, 39), Box(0, 40, 99, 79)),  # the whole frame, in two
        (Box(0, 20, 99, 81),),  # below the image
        (Box(0, 20, 101, 79),),  # right of it
        (Box(50, 20, 40, 79),),  # the wrong way round
        (Box(10, 20, 10, 79),),  # a line
        (Box(0, 20, 99, 79), Box(0, 0, 0, 0)),  # one of them is nothing
        (Box(5, 5, 6, 6),),  # a few pixels
        (),
    ],
)
def test_regions_that_cannot_be_are_no_answer(distrusted: tuple[Box, ...]) -> None:
    assert text_around(distrusted, 80, 100) is None


def test_a_region_counted_one_too_far_is_clipped() -> None:
    assert text_around((Box(0, 20, 100, 80),), 80, 100) == (Box(0, 0, 99, 19),)


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"])
def test_regions_are_read_in_every_layout(picture: Callable[..., bytes], syntax: str) -> None:
    items = []
    for left, top, right, bottom in ((1, 2, 30, 40), (5, 6, 70, 8)):
        item = Dataset()
        item.RegionLocationMinX0, item.RegionLocationMinY0 = left, top
        item.RegionLocationMaxX1, item.RegionLocationMaxY1 = right, bottom
        items.append(item)
    pixels = np.zeros((1, 80, 100), np.uint8)
    whole = picture(pixels, syntax, SequenceOfUltrasoundRegions=Sequence(items))
    assert regions_of(read(whole)) == (Box(1, 2, 30, 40), Box(5, 6, 70, 8))
    del items[1].RegionLocationMaxX1
    lacking = picture(pixels, syntax, SequenceOfUltrasoundRegions=Sequence(items))
    assert regions_of(read(lacking)) is None
    assert regions_of(read(picture(pixels, syntax))) is None
