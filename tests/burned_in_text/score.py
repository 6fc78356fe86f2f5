"""How much of the text that was burned in is found, what it costs in pixels, and what a second look still sees."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread

from deid_service.pixels.boxes import Box, Regions
from deid_service.pixels.display import Appearance
from deid_service.pixels.frames import FrameReader, open_frames
from deid_service.pixels.mask import Black
from deid_service.pixels.ocr import engine
from deid_service.pixels.ocr.search import find_text, second_look
from deid_service.wire import read
from tests.burned_in_text.images import Burned
from tests.burned_in_text.writing import Written

COVERED = 0.95
"""The least share of a word's ink that must be black for the word to count as removed. A word of ten letters of which
one can still be seen has lost less than that."""


@dataclass
class Tally:
    """Figures of one condition."""

    words: int = 0
    removed: int = 0
    left: int = 0
    seen_again: int = 0
    forwarded: int = 0
    lost: list[float] = field(default_factory=list)

    @property
    def recall(self) -> float:
        """Share of readable words that the first look removed."""
        return self.removed / self.words if self.words else float("nan")

    def add(self, other: Tally) -> None:
        self.words += other.words
        self.removed += other.removed
        self.left += other.left
        self.seen_again += other.seen_again
        self.forwarded += other.forwarded
        self.lost += other.lost


@dataclass(frozen=True)
class Outcome:
    """What became of one instance.

    Attributes
    ----------
    condition
        See :class:`Burned`.
    tally
        Of readable words.
    unreadable
        Of words that nobody need be able to read.
    misses
        What was not removed by the first look, for people who want to know why.
    """

    condition: dict[str, str]
    tally: Tally
    unreadable: Tally
    misses: tuple[str, ...]


def outcome(burned: Burned) -> Outcome:
    """Find, mask and look again, as the de-identifier does under ``Type: OCR``."""
    reader = open_frames(read(burned.instance))
    appearance = Appearance.of(dcmread(BytesIO(burned.instance), stop_before_pixels=True), reader.decoded_photometric)
    found = find_text(reader, engine("local"), burned.header, appearance)
    boxes = {index: tuple(word.box for word in words) for index, words in found.items()}
    regions = Regions(by_frame=boxes)
    left = second_look(Masked(reader, burned.instance, regions), engine("local"), burned.header, appearance, regions)
    readable, unreadable, misses = Tally(), Tally(), []
    for index in range(reader.number):
        words = burned.words.get(index, ())
        readable.lost.append(_lost((reader.rows, reader.columns), boxes.get(index, ()), words))
        for word in words:
            tally = readable if word.readable else unreadable
            removed = word.left_over(boxes.get(index, ())) <= 1 - COVERED
            tally.words += 1
            tally.removed += removed
            if not removed:
                tally.left += 1
                tally.seen_again += bool(left)
                tally.forwarded += not left
                if word.readable:
                    misses.append(f"{word.text!r} {word.left_over(boxes.get(index, ())):.0%} left, {burned.condition}")
    return Outcome(burned.condition, readable, unreadable, tuple(misses))


class Masked:
    """Frames with black boxes."""

    def __init__(self, reader: FrameReader, instance: bytes, regions: Regions) -> None:
        self._reader = reader
        self._regions = regions
        self._black = Black(read(instance), reader.layout, reader.decoded_photometric)

    @property
    def number(self) -> int:
        return self._reader.number

    def raw(self, index: int) -> bytes | memoryview:
        return self._reader.raw(index)

    def decode(self, index: int) -> NDArray[np.generic]:
        cells = self._black.apply(self._reader.cells(index), self._regions.of(index))
        return self._reader.layout.values(cells)


def _lost(shape: tuple[int, int], boxes: Sequence[Box], words: Iterable[Written]) -> float:
    """Return the share of a frame that was blacked out although no letter is near."""
    lost = np.zeros(shape, bool)
    for box in boxes:
        lost[box.top : box.bottom + 1, box.left : box.right + 1] = True
    for word in words:
        near = word.box.grown(word.style.size).within(*shape)
        assert near is not None
        lost[near.top : near.bottom + 1, near.left : near.right + 1] = False
    return float(lost.mean())


def by_condition(outcomes: Iterable[Outcome]) -> dict[tuple[str, str], Tally]:
    """Add outcomes up by each value of each thing that varies; ``("all", "")`` is everything."""
    sums: dict[tuple[str, str], Tally] = defaultdict(Tally)
    for one in outcomes:
        sums["all", ""].add(one.tally)
        sums["all", "unreadable by the definition"].add(one.unreadable)
        for key in one.condition.items():
            sums[key].add(one.tally)
    return sums


def markdown(sums: dict[tuple[str, str], Tally]) -> str:
    """Return the table for the documentation."""
    lines = [
        "| what varies | value | words | removed | recall | left | seen by the second look | forwarded | pixels lost |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for (name, value), tally in sorted(sums.items(), key=lambda entry: _order(entry[0])):
        if not tally.words:
            continue
        lost = f"{100 * float(np.mean(tally.lost)):.3f} %" if tally.lost else ""
        lines.append(
            f"| {name} | {value} | {tally.words} | {tally.removed} | {100 * tally.recall:.2f} % | {tally.left} "
            f"| {tally.seen_again} | {tally.forwarded} | {lost} |"
        )
    return "\n".join(lines) + "\n"


def _order(key: tuple[str, str]) -> tuple[bool, str, float, str]:
    name, value = key
    digits = value.removesuffix(" px")
    return (name != "all", name, float(digits) if digits.isdecimal() else 0.0, value)


def pixels_kept(shared: Path, number: int, seed: int = 1) -> list[tuple[str, float]]:
    """Return the share of pixels that images without text keep, by file, of a sample of the real ones."""
    files = [
        path
        for folder in ("ct", "mr", "xa", "mg", "cr", "dx", "enhanced", "nm", "overlay", "private")
        for path in sorted((shared / "dicom" / folder).rglob("*"))
        if path.is_file()
    ]
    kept = []
    for path in random.Random(seed).sample(files, min(number, len(files))):
        instance = path.read_bytes()
        reader = open_frames(read(instance))
        header = dcmread(BytesIO(instance), stop_before_pixels=True)
        found = find_text(reader, engine("local"), (), Appearance.of(header, reader.decoded_photometric))
        boxes = [tuple(word.box for word in found.get(index, ())) for index in range(reader.number)]
        lost = [_lost((reader.rows, reader.columns), some, ()) for some in boxes]
        kept.append((path.relative_to(shared / "dicom").as_posix(), 1 - float(np.mean(lost))))
    return kept
