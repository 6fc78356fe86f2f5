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

from deid_service.errors import Refused
from deid_service.pixels.boxes import Box, Regions
from deid_service.pixels.display import Appearance
from deid_service.pixels.frames import FrameReader, open_frames
from deid_service.pixels.mask import Black
from deid_service.pixels.ocr import Word, engine
from deid_service.pixels.ocr.search import Frames, find_text, second_look
from deid_service.wire import read
from tests.burned_in_text.images import Burned
from tests.burned_in_text.writing import Written

COVERED = 0.95
"""The least share of a word's ink that must be black for the word to count as removed. A word of ten letters of which
one can still be seen has lost less than that."""


LOOKS = 3
"""How often the de-identifier masks what a second look still sees, before it gives up and quarantines."""


@dataclass
class Tally:
    """Figures of one condition.

    Attributes
    ----------
    words
        How many were burned in.
    removed
        By the first search.
    removed_later
        Because the second look saw them, or saw something else near them.
    quarantined
        Left in an instance that is refused, because even the last look saw text.
    forwarded
        Left in an instance that would be sent on.
    lost
        Of each frame, the share of pixels that was blacked out far from any word.
    """

    words: int = 0
    removed: int = 0
    removed_later: int = 0
    quarantined: int = 0
    forwarded: int = 0
    lost: list[float] = field(default_factory=list)

    @property
    def recall(self) -> float:
        """Share of words that the first search removed."""
        return self.removed / self.words if self.words else float("nan")

    def add(self, other: Tally) -> None:
        self.words += other.words
        self.removed += other.removed
        self.removed_later += other.removed_later
        self.quarantined += other.quarantined
        self.forwarded += other.forwarded
        self.lost += other.lost


@dataclass(frozen=True)
class Outcome:
    """What became of one instance.

    Attributes
    ----------
    condition
        See :class:`Burned`.
    readable, unreadable
        Of words that a person can read by the definition in ``writing.py``, and of others.
    misses
        Readable words that the first search did not remove, for people who want to know why.
    """

    condition: dict[str, str]
    readable: Tally
    unreadable: Tally
    misses: tuple[str, ...]


@dataclass(frozen=True)
class Cleaned:
    """Where text was found, as the de-identifier goes about it under ``Type: OCR``.

    Attributes
    ----------
    first
        By the first search.
    last
        With what the second looks added.
    passed
        Whether the last look saw none.
    """

    first: Regions
    last: Regions
    passed: bool


def find_first(reader: Frames, appearance: Appearance, seeds: Iterable[str] = ()) -> Regions:
    """Search once."""
    return _regions(find_text(reader, engine("local"), seeds, appearance))


def clean(reader: Frames, instance: bytes, appearance: Appearance, seeds: Iterable[str] = ()) -> Cleaned:
    """Search, mask and look again, a few times if need be; `reader` may show fewer frames than the instance has."""
    first = find_first(reader, appearance, seeds)
    regions = first
    for _ in range(LOOKS):
        try:
            masked = Masked(reader, instance, regions)
        except Refused:  # nothing of its palette is dark: the instance goes to quarantine
            return Cleaned(first, first, passed=False)
        left = second_look(masked, engine("local"), seeds, appearance, regions)
        if not left:
            return Cleaned(first, regions, passed=True)
        regions |= _regions(left)
    return Cleaned(first, regions, passed=False)


def _regions(found: dict[int, tuple[Word, ...]]) -> Regions:
    return Regions(by_frame={index: tuple(word.box for word in words) for index, words in found.items()})


def outcome(burned: Burned) -> Outcome:
    """Clean an instance and count what became of its words. The second look is taken where the first left a word."""
    reader, appearance = opened(burned.instance)
    first = find_first(reader, appearance, burned.header)
    words_left = any(
        word.left_over(first.of(index)) > 1 - COVERED for index, words in burned.words.items() for word in words
    )
    cleaned = (
        clean(reader, burned.instance, appearance, burned.header) if words_left else Cleaned(first, first, passed=True)
    )
    readable, unreadable, misses = Tally(), Tally(), []
    for index in range(reader.number):
        words = burned.words.get(index, ())
        readable.lost.append(_lost((reader.rows, reader.columns), cleaned.last.of(index), words))
        for word in words:
            tally = readable if word.readable else unreadable
            tally.words += 1
            if word.left_over(cleaned.first.of(index)) <= 1 - COVERED:
                tally.removed += 1
                continue
            if word.left_over(cleaned.last.of(index)) <= 1 - COVERED:
                tally.removed_later += 1
            elif cleaned.passed:
                tally.forwarded += 1
            else:
                tally.quarantined += 1
            if word.readable:
                misses.append(f"{word.text!r}, {word.left_over(cleaned.last.of(index)):.0%} left, {burned.condition}")
    return Outcome(burned.condition, readable, unreadable, tuple(misses))


def opened(instance: bytes) -> tuple[FrameReader, Appearance]:
    """Return the frames of an instance and how they are shown."""
    reader = open_frames(read(instance))
    header = dcmread(BytesIO(instance), stop_before_pixels=True)
    return reader, Appearance.of(header, reader.decoded_photometric)


class Masked:
    """Frames of an instance with black boxes."""

    def __init__(self, reader: Frames, instance: bytes, regions: Regions) -> None:
        self._reader = reader
        self._whole = open_frames(read(instance))
        self._regions = regions
        self._black = Black(read(instance), self._whole.layout, self._whole.decoded_photometric)

    @property
    def number(self) -> int:
        return self._reader.number

    def raw(self, index: int) -> bytes | memoryview:
        return self._reader.raw(index)

    def decode(self, index: int) -> NDArray[np.generic]:
        cells = self._black.apply(self._whole.cells(index), self._regions.of(index))
        return self._whole.layout.values(cells)


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
    """Add outcomes up by each value of each thing that varies; ``("all", "readable")`` is every readable word."""
    sums: dict[tuple[str, str], Tally] = defaultdict(Tally)
    for one in outcomes:
        sums["all", "readable"].add(one.readable)
        sums["all", "fainter or smaller"].add(one.unreadable)
        for key in one.condition.items():
            sums[key].add(one.readable)
    return sums


def markdown(sums: dict[tuple[str, str], Tally]) -> str:
    """Return the table for the documentation."""
    lines = [
        "| what varies | value | words | recall of the first search | found by the second look | quarantined "
        "| forwarded | pixels lost |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for (name, value), tally in sorted(sums.items(), key=lambda entry: _order(entry[0])):
        if tally.words:
            lost = f"{100 * float(np.mean(tally.lost)):.2f} %" if tally.lost else ""
            lines.append(
                f"| {name} | {value} | {tally.words} | {100 * tally.recall:.2f} % | {tally.removed_later} "
                f"| {tally.quarantined} | {tally.forwarded} | {lost} |"
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
        reader, appearance = opened(instance)
        found = find_text(reader, engine("local"), (), appearance)
        boxes = [tuple(word.box for word in found.get(index, ())) for index in range(reader.number)]
        lost = [_lost((reader.rows, reader.columns), some, ()) for some in boxes]
        kept.append((path.relative_to(shared / "dicom").as_posix(), 1 - float(np.mean(lost))))
    return kept
