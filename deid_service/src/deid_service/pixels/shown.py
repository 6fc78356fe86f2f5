"""What the engine makes of the pixels of one instance, to be looked at. For the clinical side only.

An instance is cleaned as it always is, and then its frames are shown: as they came, with the boxes that the rules
found, and as they are in the clean copy. If the instance is refused, the boxes found until then are shown, the frame
as it would have become, and the text that was left in it.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from deid_service._buffers import Data, open_file, spool
from deid_service._output import private_text
from deid_service.descriptors import identifiers_of
from deid_service.engine import Deidentifier, dataset_of
from deid_service.errors import DeidError, Refused
from deid_service.outcomes import Cleaned, Discarded, PixelReport
from deid_service.pixels.boxes import Box, Regions
from deid_service.pixels.display import Appearance, View, views
from deid_service.pixels.frames import FrameReader, open_frames
from deid_service.pixels.header import SOP_CLASS, header_of
from deid_service.pixels.mask import Black, inside
from deid_service.pixels.seeds import seeds_of
from deid_service.pseudonyms import PseudonymKey
from deid_service.rules import Rules, default_rules_path, load_rules
from deid_service.wire import PIXEL_TAGS, Source, read

if TYPE_CHECKING:
    from deid_service.pixels.ocr import Word

__all__ = ["PixelsShown", "ShownBox", "ShownFrame", "deidentifier_for_looking", "look_at", "show_pixels"]

Picture = NDArray[np.uint8]

_MOST: Final = 6


@dataclass(frozen=True, slots=True)
class ShownBox:
    """A box of a frame.

    Attributes
    ----------
    rule : str
        Who found it: ``Manual``, ``Catalogue``, ``UltrasoundRegions`` or ``OCR``; ``Text left`` for text that was
        found after masking.
    box : Box
        Where.
    text : str or None
        What an engine reads there; None unless it was asked for.
    """

    rule: str
    box: Box
    text: str | None = None

    def __repr__(self) -> str:
        return f"ShownBox({self.rule}, {self.box})"


@dataclass(frozen=True, slots=True, eq=False)
class ShownFrame:
    """A frame before and after.

    Attributes
    ----------
    index : int
        Counted from 0.
    before : ndarray of uint8, shape (rows, columns) or (rows, columns, 3)
        The original, as a viewer shows it.
    after : ndarray of uint8 or None
        The same of the clean copy, in the same window; if the instance was refused, what would have become of it. None
        if there is no such thing.
    boxes : tuple of ShownBox
        What was to be blacked out.
    left : tuple of ShownBox
        Text that was found after masking and held the instance back.
    """

    index: int
    before: Picture
    after: Picture | None
    boxes: tuple[ShownBox, ...]
    left: tuple[ShownBox, ...]

    @property
    def black(self) -> float:
        """Share of the frame that its boxes cover, 0 to 1."""
        return float(inside(self.before.shape, [one.box for one in self.boxes]).mean())

    def __repr__(self) -> str:
        return f"ShownFrame({self.index}, {len(self.boxes)} boxes, {len(self.left)} places with text left)"


@dataclass(frozen=True, slots=True, eq=False)
class PixelsShown:
    """What became of the pixels of one instance. A notebook shows it as pictures; they identify the patient.

    Attributes
    ----------
    name : str
        What the instance is called here; may name the patient.
    outcome : str
        ``cleaned``, ``discarded`` or ``refused``.
    reason, message : str
        Of a refusal, as code and in words.
    report : PixelReport or None
        What was thought, found and done; None if nobody came so far.
    number : int
        How many frames the instance has.
    frames : tuple of ShownFrame
        Those that are shown.
    problem : str
        Why some or all of it cannot be shown; empty if it can.
    """

    name: str
    outcome: str
    reason: str = ""
    message: str = ""
    report: PixelReport | None = None
    number: int = 0
    frames: tuple[ShownFrame, ...] = ()
    problem: str = ""

    @property
    def changed(self) -> bool:
        """Whether something was blacked out, or the instance was refused."""
        return self.outcome == "refused" or bool(self.report and self.report.found)

    def __repr__(self) -> str:
        return f"PixelsShown({self.outcome}, {len(self.frames)} of {self.number} frames; pictures not shown)"

    def _repr_html_(self) -> str:
        from deid_service.pixels.page import fragment

        return fragment(self)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a page with the pictures, readable by its owner only. It needs no network and runs no script.

        Parameters
        ----------
        path : path-like
            Where to, on the clinical side; an existing file is replaced.

        Raises
        ------
        OutputError
            If it cannot be written.
        """
        from deid_service.pixels.page import PixelPage

        with PixelPage("Pixels of one instance") as page, private_text(Path(path)) as file:
            page.add(self)
            page.write(file)


def deidentifier_for_looking(rules: Rules | str | os.PathLike[str] | None = None) -> Deidentifier:
    """Return an engine whose copies are looked at and thrown away: its key is a fresh one that nobody keeps.

    Parameters
    ----------
    rules : Rules or path-like, optional
        By default the built-in ones.

    Raises
    ------
    RulesError
        If they are not in order.
    """
    if not isinstance(rules, Rules):
        rules = load_rules(default_rules_path() if rules is None else rules)
    return Deidentifier(rules, PseudonymKey(secrets.token_bytes(32)))


def show_pixels(
    instance: bytes | str | os.PathLike[str],
    rules: Rules | str | os.PathLike[str] | None = None,
    *,
    frames: Iterable[int] | None = None,
    most: int = _MOST,
    view: str | None = None,
    show_values: bool = False,
) -> PixelsShown:
    """Show what the rules do to the pixels of an instance: original, boxes and result, side by side.

    For the clinical side only, where originals may be seen. Nothing is written or sent. Pseudonyms play no part, so
    that no key is needed.

    Parameters
    ----------
    instance : bytes or path-like
        A DICOM file.
    rules : Rules or path-like, optional
        By default the built-in ones.
    frames : iterable of int, optional
        Which frames, counted from 0. By default those with text left; or else with boxes of their own, frames with
        the same boxes once; or else the first, the middle and the last.
    most : int, optional
        How many frames at most, where `frames` does not say which.
    view : str, optional
        A view of :func:`deid_service.pixels.display.views`, for instance ``full`` or ``local``, which shows faint
        text. By default the header's window, where it has one.
    show_values : bool, optional
        Whether to say what an OCR engine reads in each box: it reads the shown frames once more.

    Returns
    -------
    PixelsShown
        Also where the instance is refused.

    Raises
    ------
    RulesError
        If the rules are not in order.
    OSError
        If the file cannot be read.
    IndexError
        If there is no such frame.
    """
    data = instance if isinstance(instance, bytes) else open_file(Path(instance))
    name = "instance" if isinstance(instance, bytes) else Path(instance).name
    wanted = None if frames is None else tuple(frames)
    return look_at(
        data, deidentifier_for_looking(rules), name, frames=wanted, most=most, view=view, show_values=show_values
    )


def look_at(
    data: Data,
    deidentifier: Deidentifier,
    name: str,
    *,
    frames: Sequence[int] | None = None,
    most: int = _MOST,
    view: str | None = None,
    show_values: bool = False,
) -> PixelsShown:
    """Clean an instance and show what became of its pixels. See :func:`show_pixels`.

    Parameters
    ----------
    data : bytes or mmap
        The instance.
    deidentifier : Deidentifier
        By whose rules.
    name : str
        What to call it.
    frames, most, view, show_values
        As for :func:`show_pixels`.

    Returns
    -------
    PixelsShown
    """
    outcome: Cleaned | Discarded | Refused
    try:
        outcome = deidentifier.clean(data)
    except Refused as refusal:
        outcome = refusal
    report = None if isinstance(outcome, Discarded) else outcome.pixels
    number, problem = 0, ""
    shown: tuple[ShownFrame, ...] = ()
    try:
        work = _Looking(data, outcome, report, view)
        number = work.number
        shown = work.frames(_known(frames, number), most)
        problem = work.problem
        if show_values and shown:
            shown = work.with_values(shown, deidentifier)
    except IndexError:
        raise
    except DeidError as error:
        problem = f"{problem}; {error}" if problem else str(error)
    except Exception as error:  # noqa: BLE001 - one instance that cannot be shown must not end a page of many
        problem = f"cannot be shown ({type(error).__name__})"
    if isinstance(outcome, Refused):
        words = outcome.reason_code, outcome.message
        return PixelsShown(name, "refused", *words, report, number, shown, problem)
    kind = "cleaned" if isinstance(outcome, Cleaned) else "discarded"
    return PixelsShown(name, kind, "", "", report, number, shown, problem)


def _known(frames: Sequence[int] | None, number: int) -> Sequence[int] | None:
    for index in frames or ():
        if not 0 <= index < number:
            raise IndexError(f"frames are counted from 0, and there are {number}: there is no frame {index}")
    return frames


class _Looking:
    """The frames of one instance, before and after."""

    def __init__(
        self, data: Data, outcome: Cleaned | Discarded | Refused, report: PixelReport | None, view: str | None
    ) -> None:
        self.problem = ""
        self.number = 0
        self._outcome = outcome
        self._report = report
        self._view = view
        self._data = data
        self._source = source = read(data)
        if not any(element.tag in PIXEL_TAGS for element in source.elements):
            self.problem = "it has no pixels"
            return
        self._before = open_frames(source)
        self.number = self._before.number
        self._appearance = Appearance.of_source(source, self._before.decoded_photometric)
        self._regions = _regions(report)
        self._after: FrameReader | None = None
        if isinstance(outcome, Cleaned):
            copy = read(spool(outcome.parts))
            self._after = open_frames(copy)
            self._appearance_after = Appearance.of_source(copy, self._after.decoded_photometric)

    def frames(self, wanted: Sequence[int] | None, most: int) -> tuple[ShownFrame, ...]:
        """Show the frames that are wanted, or that tell most."""
        if not self.number:
            return ()
        left = {one.frame or 0: one.boxes for one in (self._report.left if self._report else ())}
        if wanted is None:
            wanted = _telling(self.number, self._regions, left, most)
        return tuple(self._frame(index, left.get(index, ())) for index in wanted)

    def _frame(self, index: int, left: Sequence[Box]) -> ShownFrame:
        before = self._before.decode(index)
        after = self._result(index)
        if after is not None and self._is_alike(before, after):
            # Stretched together, so that equal values look equal.
            both = self._picture(np.concatenate([before, after]), self._appearance.at(index))
            pictures: tuple[Picture, Picture | None] = both[: len(before)], both[len(before) :]
        else:
            shown = None if after is None else self._picture(after, self._appearance_after.at(index))
            pictures = self._picture(before, self._appearance.at(index)), shown
        boxes = tuple(
            ShownBox(one.rule, box)
            for one in (self._report.found if self._report else ())
            if one.frame in (None, index)
            for box in one.boxes
        )
        return ShownFrame(index, *pictures, boxes, tuple(ShownBox("Text left", box) for box in left))

    def _is_alike(self, before: NDArray[Any], after: NDArray[Any]) -> bool:
        if self._after is not None and self._after.decoded_photometric != self._before.decoded_photometric:
            return False
        return before.shape == after.shape and before.dtype == after.dtype

    def _result(self, index: int) -> NDArray[Any] | None:
        """Return a frame as it is in the copy, or as it would have become."""
        if self._after is not None:
            return self._after.decode(index)
        if not isinstance(self._outcome, Refused) or not self._regions.of(index):
            return None
        try:
            return _masked(self._source, self._before, self._regions, index)
        except Refused as refusal:
            self.problem = str(refusal)
            return None

    def _picture(self, frame: NDArray[Any], appearance: Appearance) -> Picture:
        wanted = self._view
        if wanted is None:
            usual = "full" if frame.dtype == np.uint8 else "middle"
            wanted = "window" if appearance.windows and frame.ndim == 2 else usual
        first: View | None = None
        for one in views(frame, appearance):
            first = first or one
            if one.name in (wanted, "colour" if self._view is None else wanted):
                return one.image
        assert first is not None
        return first.image

    def with_values(self, shown: Sequence[ShownFrame], deidentifier: Deidentifier) -> tuple[ShownFrame, ...]:
        """Have the shown frames read once more, and say what stands in each box."""
        from deid_service.pixels.ocr import engine
        from deid_service.pixels.ocr.evidence import prepared_seeds
        from deid_service.pixels.ocr.search import text_in_frame

        reader = engine(self._engine(deidentifier))
        seeds = prepared_seeds(self._seeds())
        found = []
        for frame in shown:
            words = text_in_frame(self._before.decode(frame.index), reader, seeds, self._appearance.at(frame.index))
            boxes, left = (
                tuple(ShownBox(one.rule, one.box, _text_in(one.box, words)) for one in group)
                for group in (frame.boxes, frame.left)
            )
            found.append(ShownFrame(frame.index, frame.before, frame.after, boxes, left))
        return tuple(found)

    def _engine(self, deidentifier: Deidentifier) -> str:
        """Return the engine that the rules in force name: no other one may see the pictures, but the local one."""
        rules = deidentifier.rules
        labels = rules.labels_of(lambda: dataset_of(self._data))
        return rules.plan(labels, header_of(self._source)[SOP_CLASS]).pixels.engine or "local"

    def _seeds(self) -> frozenset[str]:
        return seeds_of(identifiers_of(self._source))


def _masked(source: Source, frames: FrameReader, regions: Regions, index: int) -> NDArray[Any]:
    black = Black(source, frames.layout, frames.decoded_photometric)
    return frames.layout.values(black.apply(frames.cells(index), regions.of(index)))


def _regions(report: PixelReport | None) -> Regions:
    regions = Regions()
    for one in report.found if report else ():
        regions |= Regions(one.boxes) if one.frame is None else Regions(by_frame={one.frame: one.boxes})
    return regions


def _telling(number: int, regions: Regions, left: Mapping[int, Sequence[Box]], most: int) -> list[int]:
    """Choose the frames to show."""
    groups: dict[tuple[Box, ...], int] = {}
    for index in sorted(left or (index for index, boxes in regions.by_frame.items() if boxes)):
        groups.setdefault((*regions.of(index), *left.get(index, ())), index)
    chosen = list(groups.values()) or sorted({0, number // 2, number - 1})
    if len(chosen) <= most:
        return chosen
    return [chosen[round(step * (len(chosen) - 1) / max(most - 1, 1))] for step in range(most)]


def _text_in(box: Box, words: Iterable[Word]) -> str:
    return " ".join(word.text for word in words if word.text and box.meets(word.box))
