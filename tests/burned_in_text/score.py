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
from deid_service.pixels.display import Appearance, views
from deid_service.pixels.frames import FrameReader, open_frames
from deid_service.pixels.mask import Black
from deid_service.pixels.ocr import Word, engine
from deid_service.pixels.ocr.search import FrameKey, Frames, find_text, second_look
from deid_service.wire import read
from tests.burned_in_text.images import Burned, burned
from tests.burned_in_text.readable import read_by_another, still_there
from tests.burned_in_text.writing import Written

COVERED = 0.95
"""The least share of a word's ink that must be black for the word to count as removed. A word of ten letters of which
one can still be seen has lost less than that."""

SPECKS = 2
"""So many pixels of ink are no letter: of a word that is nearly invisible they can be more than 5 %."""


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

    @property
    def gone(self) -> float:
        """Share of words that were not forwarded."""
        return 1 - self.forwarded / self.words if self.words else float("nan")

    def count(self, fate: str) -> None:
        """Count a word: ``removed``, ``removed_later``, ``quarantined`` or ``forwarded``."""
        self.words += 1
        setattr(self, fate, getattr(self, fate) + 1)

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
    readable, other
        Of words that can be read, by the definition in ``writing.py`` or by another engine (``readable.py``), and of
        all others that changed a pixel. Black on black counts nowhere.
    helped
        How many of the readable ones only the other engine made so.
    misses
        Visible words that the first search did not remove, for people who want to know why.
    """

    condition: dict[str, str]
    readable: Tally
    other: Tally
    helped: int
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
    without: set[FrameKey] = set()
    for _ in range(LOOKS):
        try:
            masked = Masked(reader, instance, regions)
        except Refused:  # nothing of its palette is dark: the instance goes to quarantine
            return Cleaned(first, first, passed=False)
        left = second_look(masked, engine("local"), seeds, appearance, regions, without)
        if not left:
            return Cleaned(first, regions, passed=True)
        regions |= _regions(left)
    return Cleaned(first, regions, passed=False)


def _regions(found: dict[int, tuple[Word, ...]]) -> Regions:
    return Regions(by_frame={index: tuple(word.box for word in words) for index, words in found.items()})


def outcome(given: Burned) -> Outcome:
    """Clean an instance as the product does and count what became of its words."""
    reader, appearance = opened(given.instance)
    cleaned = clean(reader, given.instance, appearance, given.header)
    readable, other, misses = Tally(), Tally(), []
    helped = 0
    for index in range(reader.number):
        written = given.words.get(index, ())
        words = [word for word in written if word.visible]
        readable.lost.append(_lost((reader.rows, reader.columns), cleaned.last.of(index), written))
        if not words:
            continue
        shown = _shown(reader, index, appearance)
        strokes = {id(word): word.readable and still_there(given.drawn[index], shown, word) for word in words}
        faint = [word for word in words if not strokes[id(word)]]
        read = dict(zip(map(id, faint), read_by_another(shown, faint), strict=True))
        helped += sum(read.values())
        for word in words:
            can_be_read = strokes[id(word)] or read[id(word)]
            fate = _fate(word, cleaned, index)
            (readable if can_be_read else other).count(fate)
            if fate != "removed":
                left = f"{word.left_over(cleaned.last.of(index)):.0%} left"
                kind = "readable" if can_be_read else "other"
                misses.append(f"{kind} {word.text!r} {fate}, {left}, {given.condition}")
    return Outcome(given.condition, readable, other, helped, tuple(misses))


def outcomes_of(shared: Path, which: range, seed: int) -> list[Outcome]:
    """Make some of the instances of a seed and clean them."""
    return [outcome(one) for one in burned(shared, which.stop, seed, which.start)]


def _fate(word: Written, cleaned: Cleaned, frame: int) -> str:
    if _is_gone(word, cleaned.first.of(frame)):
        return "removed"
    if _is_gone(word, cleaned.last.of(frame)):
        return "removed_later"
    return "forwarded" if cleaned.passed else "quarantined"


def _is_gone(word: Written, boxes: Sequence[Box]) -> bool:
    left = word.left_over(tuple(boxes))
    return left <= 1 - COVERED or left * word.ink.sum() <= SPECKS


def _shown(reader: Frames, frame: int, appearance: Appearance) -> NDArray[np.uint8]:
    """Return a frame as a person sees it: in the window of its header if it has one."""
    pictures = {view.name: view.image for view in views(reader.decode(frame), appearance)}
    return pictures.get("window", next(iter(pictures.values())))


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


@dataclass
class Sums:
    """Figures of one condition: of words that can be read, and of all that changed a pixel."""

    readable: Tally = field(default_factory=Tally)
    visible: Tally = field(default_factory=Tally)


def by_condition(outcomes: Iterable[Outcome]) -> dict[tuple[str, str], Sums]:
    """Add outcomes up by each value of each thing that varies; ``("all", "all")`` is every word."""
    sums: dict[tuple[str, str], Sums] = defaultdict(Sums)
    for one in outcomes:
        for key in [("all", "all"), *one.condition.items()]:
            sums[key].readable.add(one.readable)
            sums[key].visible.add(one.readable)
            sums[key].visible.add(one.other)
    return sums


def markdown(sums: dict[tuple[str, str], Sums]) -> str:
    """Return the table for the documentation."""
    lines = [
        "| what varies | value | readable words | recall of the first search | found by the second look | quarantined "
        "| forwarded | all visible words | recall | forwarded | pixels lost |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for (name, value), both in sorted(sums.items(), key=lambda entry: _order(entry[0])):
        tally, every = both.readable, both.visible
        if every.words:
            recall = f"{100 * tally.recall:.2f} %" if tally.words else ""
            lines.append(
                f"| {name} | {value} | {tally.words} | {recall} | {tally.removed_later} | {tally.quarantined} "
                f"| {tally.forwarded} | {every.words} | {100 * every.recall:.2f} % | {every.forwarded} "
                f"| {100 * float(np.mean(tally.lost)):.2f} % |"
            )
    return "\n".join(lines) + "\n"


def _order(key: tuple[str, str]) -> tuple[bool, str, float, str]:
    name, value = key
    digits = value.removesuffix(" px")
    return (name != "all", name, float(digits) if digits.isdecimal() else 0.0, value)


@dataclass(frozen=True)
class Kept:
    """What became of an image without text.

    Attributes
    ----------
    name
        The file.
    share
        Of its pixels, how many were not blacked out.
    passed
        Whether it would be sent on.
    """

    name: str
    share: float
    passed: bool


def without_text(shared: Path, number: int, seed: int = 1) -> list[Path]:
    """Return a sample of the real files without burned-in text."""
    files = [
        path
        for folder in ("ct", "mr", "xa", "mg", "cr", "dx", "enhanced", "nm", "overlay", "private")
        for path in sorted((shared / "dicom" / folder).rglob("*"))
        if path.is_file() and _has_pixels(path)
    ]
    return random.Random(seed).sample(files, min(number, len(files)))


def _has_pixels(path: Path) -> bool:
    try:
        opened(path.read_bytes())
    except Refused:
        return False
    return True


def pixels_kept(path: Path) -> Kept:
    """Clean an image without text as the product does where it suspects it, and say what that cost."""
    instance = path.read_bytes()
    reader, appearance = opened(instance)
    cleaned = clean(reader, instance, appearance)
    lost = [_lost((reader.rows, reader.columns), cleaned.last.of(index), ()) for index in range(reader.number)]
    return Kept(path.name, 1 - float(np.mean(lost)), cleaned.passed)
