"""Looking for text in the frames of an instance, and looking again after it was blacked out.

Each frame is looked at in several pictures (:mod:`deid_service.pixels.display`, :mod:`.strokes`, :mod:`.ink`) and at
two scales, one of them with its greys turned round. What one look found is not read again by the next. Frames with
equal bytes are looked at once; of a frame that differs from the one before in a part only, just that part and its
surroundings. Text that one frame has is then looked for at the same place of all others.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from deid_service.pixels.boxes import Box, Regions, cut, outside
from deid_service.pixels.display import Appearance, View, views
from deid_service.pixels.ocr.engine import Engine, Word, is_known
from deid_service.pixels.ocr.evidence import is_read, is_read_well, is_text, prepared_seeds
from deid_service.pixels.ocr.grain import lines_in_grain
from deid_service.pixels.ocr.ink import pictures_of_ink
from deid_service.pixels.ocr.lines import more_of_lines
from deid_service.pixels.ocr.look import Look, looked_at
from deid_service.pixels.ocr.strokes import strokes_of

__all__ = ["FrameKey", "Frames", "find_text", "second_look", "text_in_frame"]

Picture = NDArray[np.uint8]
FrameKey = tuple[bytes, tuple[Box, ...]]
"""What a frame holds, as a digest, and what is black in it."""


_AROUND_A_CHANGE: Final = 96
_EDGE: Final = 2
_LEAST_SHOWN: Final = 0.1
_SMALL_LETTERS: Final = 2.0
_SMALLEST_SIDE: Final = 8
_SAME: Final = 0.8
_FINE: Final = 15


class Frames(Protocol):
    """The part of :class:`deid_service.pixels.frames.FrameReader` that is needed here."""

    @property
    def number(self) -> int:
        """How many frames there are."""

    def raw(self, index: int) -> bytes | memoryview:
        """Return a frame's stored bytes."""

    def decode(self, index: int) -> NDArray[Any]:
        """Return a frame's values, shape (rows, columns) or (rows, columns, samples)."""


_MAIN: Final = ("full", "colour", "window")
_TURNED_LARGER: Final = Look(_SMALL_LETTERS, turned=True)
_AT_BOTH_SCALES: Final = (Look(), Look(_SMALL_LETTERS))
# Small text that runs up or down is seen less well than the same text upright.
_ON_ITS_SIDE: Final = (Look(_SMALL_LETTERS, quarters=1), Look(_SMALL_LETTERS, quarters=3))
_SECOND_LOOKS: Final[dict[str, tuple[Look, ...]]] = {
    **dict.fromkeys(("full", "colour"), (*_AT_BOTH_SCALES, *_ON_ITS_SIDE)),
    "window": _AT_BOTH_SCALES,
    "strokes": (_TURNED_LARGER,),
    "local": (Look(turned=True),),
    "ink": (_TURNED_LARGER,),
}
# Turned round and larger, or as it is: what one of the two is blind to the other one sees, and so it is with strokes.
# The search has all looks: a word that is seen with the rest of its line may not be seen any more when that is black.
_LOOKS: Final[dict[str, tuple[Look, ...]]] = {
    **dict.fromkeys(("full", "colour"), (Look(), _TURNED_LARGER, Look(_SMALL_LETTERS), *_ON_ITS_SIDE)),
    "window": (Look(), _TURNED_LARGER, Look(_SMALL_LETTERS)),
    "strokes": (Look(turned=True), Look(_SMALL_LETTERS), _TURNED_LARGER),
    "local": (Look(turned=True), *_ON_ITS_SIDE),
    "ink": (_TURNED_LARGER,),
}
_OTHER_LOOKS: Final = (Look(),)
_MAIN_OF_LARGE: Final = ("full", "colour")
# Letters of a large picture are not tiny: what is looked at closely is a screen's worth of pixels.
_LARGE: Final = 1_600_000


def _looks(view: str, rows: int, columns: int, side: int, *, again: bool) -> tuple[Look, ...]:
    """Return how a view of a size is looked at, with an engine that takes sides of at most `side`."""
    if rows * columns > _LARGE:
        overview = Look(min(1.0, side / max(rows, columns)), turned=True)
        return (Look(), overview) if view in _MAIN_OF_LARGE else (overview,)
    return (_SECOND_LOOKS if again else _LOOKS).get(view, _OTHER_LOOKS)


def _must_be_read(view: str, look: Look) -> Callable[[Word], bool] | None:
    """Return how well a find must be read where much looks like writing: folds, vessels, chance. None elsewhere."""
    if view == "ink" or (view == "local" and look.quarters):
        return is_read_well
    return is_read if view == "strokes" else None


def find_text(
    reader: Frames,
    engine: Engine,
    seeds: Iterable[str] = (),
    appearance: Appearance | None = None,
    masked: Regions | None = None,
) -> dict[int, tuple[Word, ...]]:
    """Find all text in all frames.

    Parameters
    ----------
    reader : Frames
        An instance's frames; one is in memory at a time, and the one before it.
    engine : Engine
        Reads the pictures.
    seeds : iterable of str
        The header's identifiers. What resembles one of them counts as text even if it was read with little certainty.
    appearance : Appearance, optional
        How the frames are shown; grey by default.
    masked : Regions, optional
        What will be black whatever is found: nothing is looked for there.

    Returns
    -------
    dict of int to tuple of Word
        By index of the frame, counted from 0; frames without text are left out. Boxes have a margin and lie in the
        frame.

    Raises
    ------
    OcrError
        If the engine fails.
    Refused
        If a frame cannot be decoded.
    """
    return _over_frames(reader, engine, seeds, appearance or Appearance(), masked or Regions(), again=False)


def second_look(
    reader: Frames,
    engine: Engine,
    seeds: Iterable[str] = (),
    appearance: Appearance | None = None,
    masked: Regions | None = None,
    clean: set[FrameKey] | None = None,
) -> dict[int, tuple[Word, ...]]:
    """Look for text that is left after masking: whatever this returns is a reason not to forward the instance.

    Parameters
    ----------
    reader, engine, seeds, appearance
        As for :func:`find_text`; the frames are the masked ones.
    masked : Regions, optional
        What was blacked out, so that the edges of black boxes are not taken for letters.
    clean : set of FrameKey, optional
        Frames in which an earlier look of this kind found nothing: they are not read again as long as they and what is
        black in them stay as they were. Those of this look are added.

    Returns
    -------
    dict of int to tuple of Word
        Text by frame; empty if none is left, by the criterion of :func:`find_text` and with its closer looks.

    Raises
    ------
    OcrError
        If the engine fails.
    Refused
        If a frame cannot be decoded.
    """
    return _over_frames(reader, engine, seeds, appearance or Appearance(), masked or Regions(), again=True, clean=clean)


def _over_frames(
    reader: Frames,
    engine: Engine,
    seeds: Iterable[str],
    appearance: Appearance,
    masked: Regions,
    *,
    again: bool,
    clean: set[FrameKey] | None = None,
) -> dict[int, tuple[Word, ...]]:
    wanted = prepared_seeds(seeds)
    known: dict[FrameKey, tuple[Word, ...]] = {}
    keys: list[FrameKey] = []
    before: tuple[NDArray[Any], tuple[Word, ...]] | None = None
    seen: list[_Seen] = []
    for index in range(reader.number):
        boxes = masked.of(index)
        key = (hashlib.blake2b(reader.raw(index)).digest(), boxes)
        keys.append(key)
        if clean is not None and key in clean:
            known[key], before = (), None
        elif key not in known:
            frame = reader.decode(index)
            carried, part = _carried(frame, before)
            words = tuple(carried)
            if part is not None:
                words += text_in_frame(frame, engine, wanted, appearance.at(index), boxes, part, words, again=again)
            known[key] = words
            before = frame, words
            there = [one.word.box for one in seen]
            seen += [_Seen(word, cut(frame, word.box).copy()) for word in words if not is_known(word.box, there)]
    if len(known) > 1:
        _agree(reader, keys, known, seen)
    if clean is not None:
        clean.update(key for key, words in known.items() if not words)
    return {index: words for index, key in enumerate(keys) if (words := known[key])}


@dataclass(frozen=True, slots=True)
class _Seen:
    """A word of some frame, and how it looked there."""

    word: Word
    values: NDArray[Any]


def _agree(
    reader: Frames, keys: Sequence[FrameKey], known: dict[FrameKey, tuple[Word, ...]], seen: Sequence[_Seen]
) -> None:
    """Add to each frame the words that another frame shows at the same place, and that this one shows as well.

    A banner that lossy compression stores a little differently in each frame must not be missed in one of them.
    """
    done: set[FrameKey] = set()
    for index, key in enumerate(keys):
        if key in done:
            continue
        done.add(key)
        own = [word.box for word in known[key]]
        missing = [one for one in seen if not is_known(one.word.box, own)]
        if missing:
            frame = reader.decode(index)
            known[key] += tuple(one.word for one in missing if _looks_like(cut(frame, one.word.box), one.values))


def _looks_like(here: NDArray[Any], there: NDArray[Any]) -> bool:
    """Tell whether two pieces of the same size show the same letters, by their correlation.

    Only what is as fine as letters counts, each sample of a colour by itself: two pieces of a sector's edge are shaded
    alike, and chrominance lies far from luminance in any two pieces.
    """
    if here.shape != there.shape:
        return False
    one, other = _fine(here), _fine(there)
    size = float(np.sqrt((one @ one) * (other @ other)))
    return bool(size > 0 and float(one @ other) >= _SAME * size)


def _fine(piece: NDArray[Any]) -> NDArray[np.float64]:
    import cv2

    values = piece.astype(np.float64)
    fine = values - np.asarray(cv2.blur(values, (_FINE, _FINE)), np.float64).reshape(values.shape)
    return np.asarray(fine - fine.mean(axis=(0, 1)), np.float64).ravel()


def _carried(
    frame: NDArray[Any], before: tuple[NDArray[Any], tuple[Word, ...]] | None
) -> tuple[list[Word], Box | None]:
    """Return the words of the frame before that still stand, and the part of the frame that must be looked at."""
    rows, columns = frame.shape[:2]
    whole = Box(0, 0, columns - 1, rows - 1)
    if before is None or before[0].shape != frame.shape:
        return [], whole
    changed, words = frame != before[0], before[1]
    if changed.ndim == 3:
        changed = changed.any(axis=2)
    ys, xs = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
    if not len(ys):
        return list(words), None
    part = Box(int(xs[0]), int(ys[0]), int(xs[-1]), int(ys[-1])).grown(_AROUND_A_CHANGE).within(rows, columns)
    stand = [word for word in words if not cut(changed, word.box).any()]
    return stand, part


def text_in_frame(
    frame: NDArray[Any],
    engine: Engine,
    seeds: Collection[str] = frozenset(),
    appearance: Appearance | None = None,
    masked: Sequence[Box] = (),
    part: Box | None = None,
    known: Sequence[Word] = (),
    *,
    again: bool = False,
) -> tuple[Word, ...]:
    """Find text in one frame.

    Parameters
    ----------
    frame : ndarray, shape (rows, columns) or (rows, columns, samples)
        Stored values.
    engine : Engine
        Reads the pictures.
    seeds : collection of str
        From :func:`~deid_service.pixels.ocr.evidence.prepared_seeds`.
    appearance : Appearance, optional
        How the frame is shown.
    masked : sequence of Box
        What is black already.
    part : Box, optional
        Look only here.
    known : sequence of Word
        Found before: not to be reported again.
    again : bool
        Whether this is the second look, which leaves out what only the search needs.

    Returns
    -------
    tuple of Word
        New finds, with a margin, within the frame.
    """
    rows, columns = frame.shape[:2]
    part = part or Box(0, 0, columns - 1, rows - 1)
    if min(rows, columns) < _SMALLEST_SIDE:
        return ()
    boxes = [word.box for word in known]
    found: list[Word] = []
    doubtful: list[Word] = []
    unread: set[Word] = set()
    side = engine.largest_side
    shown = outside(masked, rows, columns)

    def add(words: Iterable[Word]) -> None:
        for word in words:
            if (grown := _with_margin(word.box).within(rows, columns)) is not None:
                found.append(replace(word, box=grown))
                boxes.append(grown)

    def pictures() -> Iterator[tuple[str, Picture]]:
        yield from _pictures(frame, appearance or Appearance(), masked)
        # Last: words that were found by then say what the ink is.
        yield from (("ink", ink) for ink in pictures_of_ink(frame, boxes, masked, part))

    for name, picture in pictures():
        for look in _looks(name, part.bottom - part.top + 1, part.right - part.left + 1, side, again=again):
            there = [box.shifted(-part.left, -part.top) for box in boxes]
            finds = [
                replace(word, box=box)
                for word in looked_at(cut(picture, part), engine, look, there)
                # Where a box is black, its own edge in the ground can be all that is seen.
                if _is_shown(shown, box := word.box.shifted(part.left, part.top))
            ]
            is_read_here = _must_be_read(name, look)
            text = [
                word
                for word in finds
                if (is_read_here is None or is_read_here(word)) and is_text(word, seeds, rows * columns)
            ]
            rest = [word for word in finds if word not in text]
            if is_read_here is not None:
                unread.update(rest)
            add(text)
            doubtful += rest
        if name in _MAIN:
            lines = _in_grain(picture, [*masked, *boxes], part)
            found += lines
            boxes += [line.box for line in lines]
    add(more_of_lines(doubtful, boxes, unread))
    return tuple(found)


def _pictures(frame: NDArray[Any], appearance: Appearance, masked: Sequence[Box]) -> Iterator[tuple[str, Picture]]:
    """Yield the views of a frame, what is masked painted over, and of the main ones their strokes."""
    for view in views(frame, appearance):
        picture = _painted_over(view, masked)
        yield view.name, picture
        if view.name in _MAIN:
            yield "strokes", strokes_of(picture)


def _in_grain(picture: Picture, known: Sequence[Box], part: Box) -> list[Word]:
    """Return what stands out of mere grain, as words that cannot be read."""
    rows, columns = picture.shape[:2]
    words: list[Word] = []
    for line in lines_in_grain(picture, known):
        new = line.meets(part) and not is_known(line, [word.box for word in words])
        # An area that stands out reaches beyond the letters already.
        if new and (grown := line.grown(_EDGE).within(rows, columns)) is not None:
            words.append(Word("", grown, 0.0))
    return words


def _painted_over(view: View, boxes: Sequence[Box]) -> Picture:
    """Return the picture with each box in the middle colour of what is shown around it."""
    if not boxes:
        return view.image
    # The ground beside a box may itself be black: what lies in any box says nothing of the picture.
    rows, columns = view.image.shape[:2]
    shown = outside(boxes, rows, columns)
    if not shown.any():
        return np.zeros_like(view.image)
    picture = view.image.copy()
    for one in boxes:
        box = one.within(rows, columns)
        around = one.grown(_EDGE).within(rows, columns)
        if box is None or around is None:
            continue
        while not cut(shown, around).any():
            around = around.grown(around.bottom - around.top + _EDGE).within(rows, columns) or around
        cut(picture, box)[...] = np.median(cut(view.image, around)[cut(shown, around)], axis=0)
    return picture


def _is_shown(shown: NDArray[np.bool_], box: Box) -> bool:
    """Tell whether enough of a box is not black for anything to be seen there."""
    inside = box.within(*shown.shape)
    return inside is not None and float(cut(shown, inside).mean()) >= _LEAST_SHOWN


def _with_margin(box: Box) -> Box:
    """Grow a box so that accents, tails and soft edges of letters lie in it, and at both ends more than a letter."""
    width, height = box.right - box.left + 1, box.bottom - box.top + 1
    around = max(2, round(0.15 * min(width, height)))
    along = max(around, round(0.9 * min(width, height)))
    across_it, down_it = (along, around) if width >= height else (around, along)
    return Box(box.left - across_it, box.top - down_it, box.right + across_it, box.bottom + down_it)
