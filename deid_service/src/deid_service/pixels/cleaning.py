"""What is done about the pixels of one instance: triage, regions, removal, second look.

The rules in force decide which ways to find text are used (:class:`~deid_service.rules.pixels.PixelRules`). Their
regions add up. Text is looked for by an OCR engine where a rule says so, in what the other ways leave visible. What was
blacked out, by whatever rule, is looked at again in the finished copy: text that is still there refuses the instance.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from numpy.typing import NDArray

from deid_service.errors import CleaningStoppedError, Refused
from deid_service.outcomes import FoundBoxes, PixelReport
from deid_service.pixels.boxes import Box, Regions
from deid_service.pixels.frames import FrameReader, open_frames
from deid_service.pixels.header import COLUMNS, ROWS, Header, header_of
from deid_service.pixels.triage import Finding, triage
from deid_service.pixels.ultrasound import regions_of, text_around
from deid_service.rules.pixels import PixelRules
from deid_service.transforms.remove_burned_in_annotations import Find
from deid_service.transforms.unchecked import Documents
from deid_service.wire import Source

if TYPE_CHECKING:
    from deid_service.pixels.display import Appearance
    from deid_service.pixels.ocr import Engine, Word
    from deid_service.pixels.ocr.search import FrameKey

__all__ = ["PixelWork"]

_LOG = logging.getLogger(__name__)
_SLOW_SECONDS: Final = 10.0
_LOOKS: Final = 3
_DEFAULT_ENGINE: Final = "local"
_LEFT: Final = "Text left"
# One at a time in a process: an engine holds some hundred megabytes while it reads.
_reading = threading.Lock()

_T = TypeVar("_T")
_Words = Mapping[int, tuple["Word", ...]]


class _Reader(NamedTuple):
    """Who looks for text in an instance, and for what besides."""

    engine: Engine
    seeds: frozenset[str]
    appearance: Appearance


class _Frames:
    """Frames that are handed out until somebody asks to stop."""

    def __init__(self, frames: FrameReader, stop: threading.Event | None) -> None:
        self._frames, self._stop = frames, stop
        self.number = frames.number

    def raw(self, index: int) -> bytes | memoryview:
        if self._stop is not None and self._stop.is_set():
            raise CleaningStoppedError("the search for text was broken off")
        return self._frames.raw(index)

    def decode(self, index: int) -> NDArray[Any]:
        return self._frames.decode(index)


class PixelWork:
    """The work on the pixels of one instance. Made before its header is cleaned, finished after.

    Parameters
    ----------
    source : Source
        The original, without what is hidden in it.
    rules : PixelRules
        In force for it.
    seeds : callable
        Returns what its header says about the patient; called only if text is looked for.
    stop : threading.Event, optional
        Breaks off the search for text between two frames.

    Attributes
    ----------
    regions : Regions
        What is to be blacked out.
    report : PixelReport
        What was found and done so far.

    Raises
    ------
    Refused
        ``encapsulated_document`` or ``burned_in_text_possible`` if the instance may name the patient and no rule looks
        there or finds where; ``pixels_not_decodable``; ``ocr_failed``.
    CleaningStoppedError
        If `stop` was set.
    """

    def __init__(
        self,
        source: Source,
        rules: PixelRules,
        seeds: Callable[[], Iterable[str]],
        stop: threading.Event | None = None,
    ) -> None:
        self._stop = stop
        self._source = source
        self._rules = rules
        self._seeds = seeds
        self._clean: set[FrameKey] = set()
        header = header_of(source)
        self._finding = finding = triage(header)
        self.regions = Regions()
        self.report = PixelReport(finding.suspected, finding.reason)
        if finding.document and rules.documents is Documents.QUARANTINE:
            raise Refused("encapsulated_document")
        if not finding.pixels:
            return
        try:
            self._find(header, finding)
        except Refused as refusal:
            refusal.pixels = self.report
            raise

    @property
    def looked_at(self) -> bool:
        """Whether the copy will have been searched for text, and none found, if the work does not refuse it."""
        return self.report.second_look != "not made" or self._looks_again

    @property
    def _looks_again(self) -> bool:
        """Whether the copy is to be looked at."""
        return bool(self.regions) and (self._rules.engine is not None or not self._rules.unchecked)

    def _find(self, header: Header, finding: Finding) -> None:
        rules = self._rules
        rows, columns = header.number(ROWS), header.number(COLUMNS)
        if rules.boxes:
            self._add(Find.MANUAL, None, rules.boxes, rows, columns)
        if rules.catalogue:
            boxes = tuple(dict.fromkeys(box for row in finding.signatures for box in row.boxes))
            self._add(Find.CATALOGUE, None, boxes, rows, columns)
        if rules.ultrasound and (pictures := regions_of(self._source)) is not None:
            self._add(Find.ULTRASOUND, None, text_around(pictures, rows, columns) or (), rows, columns)
        if rules.engine is not None and (rules.always or finding.suspected):
            self._read(rules.engine)
        elif finding.suspected and not self.regions and not rules.unchecked:
            unknown = "no rule found where it may be" if rules.any else "no rule says what to do about it"
            raise Refused("burned_in_text_possible", f"{finding.reason}; {unknown}")

    def _add(self, find: Find, frame: int | None, boxes: Iterable[Box], rows: int, columns: int) -> None:
        within = tuple(box for one in boxes if (box := one.within(rows, columns)) is not None)
        if not within:
            return
        self.regions |= Regions(within) if frame is None else Regions(by_frame={frame: within})
        self.report = replace(self.report, found=(*self.report.found, FoundBoxes(find.value, frame, within)))

    def _read(self, name: str) -> None:
        """Look for text in what the other rules leave visible."""
        from deid_service.pixels.ocr.search import find_text

        frames = open_frames(self._source)
        reader = self._reader(name, frames)
        started = time.monotonic()
        found = _looking(lambda: find_text(_Frames(frames, self._stop), *reader, self.regions))
        _tell(frames.number, started)
        self._add_words(found, frames)
        self.report = replace(self.report, frames=frames.number, second_look="nothing found")

    def _add_words(self, found: _Words, frames: FrameReader) -> None:
        for frame, words in found.items():
            self._add(Find.OCR, frame, (word.box for word in words), frames.rows, frames.columns)

    def _reader(self, name: str, frames: FrameReader) -> _Reader:
        from deid_service.pixels.display import Appearance
        from deid_service.pixels.ocr import engine

        return _Reader(
            _looking(lambda: engine(name)),
            frozenset(self._seeds()),
            Appearance.of_source(self._source, frames.decoded_photometric),
        )

    def look_again(self, copy: Source, masked: Regions) -> bool:
        """Look at the pixels of the finished copy.

        Parameters
        ----------
        copy : Source
            The copy, read.
        masked : Regions
            What is black in it.

        Returns
        -------
        bool
            True if no text is left, or nobody asked for a look. False if there was and :attr:`regions` has grown: mask
            again and look again.

        Raises
        ------
        Refused
            ``text_left_in_pixels``, ``ocr_failed``.
        """
        if not self._looks_again:
            return True
        from deid_service.pixels.ocr.search import second_look

        frames = open_frames(copy)
        reader = self._reader(self._rules.engine or _DEFAULT_ENGINE, frames)
        started = time.monotonic()
        left = _looking(lambda: second_look(_Frames(frames, self._stop), *reader, masked, self._clean))
        _tell(frames.number, started)
        looks = self.report.looks + 1
        black = sum(1 for index in range(frames.number) if masked.of(index))
        if not left:
            self.report = replace(
                self.report, frames=frames.number, frames_masked=black, looks=looks, second_look="nothing left"
            )
            return True
        self.report = replace(
            self.report, frames=frames.number, frames_masked=black, looks=looks, second_look="text left"
        )
        if self._rules.engine is None or looks == _LOOKS:
            number = sum(map(len, left.values()))
            places = (FoundBoxes(_LEFT, frame, tuple(word.box for word in words)) for frame, words in left.items())
            self.report = replace(self.report, left=tuple(places))
            raise Refused(
                "text_left_in_pixels",
                f"text is left in {len(left)} of {frames.number} frames, in {number} places",
                pixels=self.report,
            )
        self._add_words(left, frames)
        return False


def _looking(look: Callable[[], _T]) -> _T:
    from deid_service.pixels.ocr import OcrError

    try:
        with _reading:
            return look()
    except OcrError as error:
        raise Refused("ocr_failed", f"the pixels could not be searched for text: {error}") from None


def _tell(frames: int, started: float) -> None:
    """Say what takes long, so that nobody takes a worker that reads for one that hangs."""
    seconds = time.monotonic() - started
    if seconds > _SLOW_SECONDS:
        _LOG.info("looked for text in %d frames in %.0f s", frames, seconds)
