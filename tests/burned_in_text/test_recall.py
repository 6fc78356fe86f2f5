"""A small measurement with a fixed seed; ``python -m tests.burned_in_text`` is the large one."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread

from deid_service.pixels.boxes import Box
from tests.burned_in_text.images import KINDS, burned
from tests.burned_in_text.score import (
    by_condition,
    find_first,
    markdown,
    opened,
    outcomes_of,
    pixels_kept,
    without_text,
)
from tests.burned_in_text.writing import Style, Written


@pytest.mark.timeout(900)
def test_text_in_each_kind_of_pixels_is_found_and_none_is_forwarded(shared_data: Path) -> None:
    half = len(KINDS) // 2
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        parts = pool.map(outcomes_of, repeat(shared_data), (range(half), range(half, len(KINDS))), repeat(3))
        outcomes = [one for part in parts for one in part]
    sums = by_condition(outcomes)
    whole = sums["all", "all"].readable
    assert {one.condition["pixels"] for one in outcomes} == set(KINDS)
    assert whole.words >= 25
    assert whole.recall >= 0.99, [miss for one in outcomes for miss in one.misses]
    assert whole.forwarded == 0
    assert "recall" in markdown(sums).splitlines()[0]


def test_the_beginning_of_a_line_over_glittering_water_is_found_with_the_rest_of_it(shared_data: Path) -> None:
    given = next(burned(shared_data, 41, seed=53, first=40))
    reader, appearance = opened(given.instance)
    assert reader.number == 1
    boxes = find_first(reader, appearance).of(0)
    left = {word.text: word.left_over(boxes) for word in given.words[0]}
    assert {"Acc:", "Dr."} <= set(left)
    assert max(left.values()) < 0.05, left


def test_real_images_without_text_keep_their_pixels(shared_data: Path) -> None:
    kept = [pixels_kept(path) for path in without_text(shared_data, 6, seed=2)]
    assert sum(one.share for one in kept) / len(kept) > 0.999, kept
    assert all(one.passed for one in kept), kept


def test_the_same_seed_gives_the_same_instances(shared_data: Path) -> None:
    one, other = (list(burned(shared_data, 4, seed=9)) for _ in range(2))
    assert [burned.instance for burned in one] == [burned.instance for burned in other]
    assert one[0].instance != next(iter(burned(shared_data, 1, seed=10))).instance


def test_what_is_generated_can_be_read_back(shared_data: Path, tmp_path: Path) -> None:
    for number, one in enumerate(burned(shared_data, 20, seed=5)):
        path = tmp_path / f"{number}.dcm"
        path.write_bytes(one.instance)
        dataset = dcmread(path)
        assert dataset.PhotometricInterpretation == one.condition["pixels"].split()[0].replace(
            "PALETTE", "PALETTE COLOR"
        )
        assert dataset.Rows > 50


@pytest.mark.parametrize(
    ("boxes", "left"),
    [([], 1.0), ([Box(10, 20, 19, 29)], 0.0), ([Box(10, 20, 14, 29)], 0.5), ([Box(0, 0, 9, 99)], 1.0)],
)
def test_what_is_left_of_a_word_is_counted_in_ink(boxes: list[Box], left: float) -> None:
    word = Written("X", Box(10, 20, 19, 29), np.ones((10, 10), bool), Style(), True)
    assert word.left_over(boxes) == left
