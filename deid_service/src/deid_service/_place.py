"""A data set on its way: what holds in it, and what is written in its place so far."""

from __future__ import annotations

from collections.abc import Iterable

from deid_service._buffers import Data, Part
from deid_service._memory import Remembered
from deid_service.profiles.markers import CodesMarker, TextMarker
from deid_service.rules.compile import Level
from deid_service.transforms import AddTags
from deid_service.wire import Element, Encoding
from dicom_query import TagStep

__all__ = ["Added", "Adds", "Place", "encoded", "split_adds"]

Adds = list[tuple[tuple[TagStep, ...], AddTags]]
Added = AddTags | TextMarker | CodesMarker


class Place:
    """A data set that is being cleaned, what holds in it, and what is written in its place so far."""

    __slots__ = (
        "_data",
        "_run_end",
        "_run_start",
        "changed",
        "chunks",
        "codecs",
        "deeper",
        "dropped",
        "elements",
        "encoding",
        "here",
        "known",
        "level",
        "path",
        "pending",
    )

    def __init__(
        self,
        data: Data,
        elements: list[Element],
        level: Level,
        encoding: Encoding,
        codecs: tuple[str, ...],
        path: str,
        here: dict[int, Added],
        deeper: dict[int, Adds],
    ) -> None:
        self._data = data
        self.elements = elements
        self.level = level
        self.encoding = encoding
        self.codecs = codecs
        self.path = path
        self.here = here
        self.deeper = deeper
        self.dropped: set[int] = set()  # private creators that went
        self.pending = sorted(here.keys() | deeper.keys())  # what may have to be added further on
        self.known: Remembered | None = None
        self.chunks: list[Part] = []
        self.changed = False
        self._run_start = self._run_end = -1  # what is copied from the source as it is, up to now

    def copy(self, element: Element, *, joined: bool) -> None:
        """Copy an element from the source; `joined` to what was copied last, if it follows."""
        if joined and self._run_start >= 0 and element.start == self._run_end:
            self._run_end = element.end
            return
        if self._run_start >= 0:
            self.changed = True  # something was skipped, or the order is not that of the source
            self.flush()
        self._run_start, self._run_end = element.start, element.end

    def write(self, chunks: Iterable[Part]) -> None:
        """Write something else than stood there."""
        self.flush()
        self.chunks += chunks
        self.changed = True

    def flush(self) -> None:
        """End what is copied in one piece."""
        if self._run_start >= 0:
            self.chunks.append(self._data[self._run_start : self._run_end])
            self._run_start = -1


def encoded(rule: Added, encoding: Encoding, codecs: tuple[str, ...]) -> bytes:
    if isinstance(rule, AddTags):
        return rule.encoded(little=encoding.little, codecs=codecs)
    return rule.encoded(encoding)


def split_adds(
    adds: Adds,
) -> tuple[dict[int, Added], dict[int, Adds]]:
    """Sort what is to be added into elements of this level and paths further down; of two rules the later counts."""
    here: dict[int, Added] = {}
    deeper: dict[int, Adds] = {}
    for steps, rule in adds:
        if len(steps) == 1:
            here[steps[0].tag] = rule
        else:
            deeper.setdefault(steps[0].tag, []).append((steps, rule))
    return here, deeper
