"""What the headers of a series have in common, byte for byte.

The instances of a series share most of their header. Where the bytes at hand are those of an earlier instance, reading
them again could give nothing else, so the elements of then are handed out once more. That holds because what stands in
a run is read from its own bytes alone:

* A run is compared with the bytes at hand in full: a wrong guess costs time and nothing else.
* It holds whole elements of the top level, one after another, in ascending order.
* It holds a private group with its creators as a whole or not at all: the creators say what the others are.
* It holds neither the character set, which says how to read what follows, nor pixel data, nor unknown elements of
  undefined length, whose end is found by trial.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from deid_service._buffers import Data
from deid_service.wire.elements import PIXEL_TAGS, Element
from deid_service.wire.encoding import Encoding

__all__ = ["HeaderRuns", "PlacedRun", "Run", "SeriesRuns"]

_CHARACTER_SET: Final = 0x00080005
_SERIES: Final = 0x0020000E
_PRIVATE: Final = 0x00010000
_LONGEST: Final = 4096  # of an element
_LONGEST_RUN: Final = 2**13
# Bounds of what one series may hold, whatever is sent: bytes of runs, places of each, elements that are compared
_MOST_BYTES: Final = 2**15
_MOST_PLACES: Final = 16
_MOST_ELEMENTS: Final = 2**12
_MOST_SERIES: Final = 8
_NEAR: Final = 2**14  # how far from the start of a file the name of its series is looked for

_T = TypeVar("_T")


class PlacedRun:
    """A run at one position in a file.

    Attributes
    ----------
    raw : bytes
        The run's bytes; always the same object for one run.
    first, last : int
        Tags of its first and last element.
    elements : list of Element
        Read at this position. Shared between instances: nobody may change them.
    """

    __slots__ = ("_derived", "elements", "first", "last", "raw")

    def __init__(self, raw: bytes, elements: list[Element]) -> None:
        self.raw = raw
        self.elements = elements
        self.first = elements[0].tag
        self.last = elements[-1].tag
        self._derived: dict[object, object] = {}

    def derived(self, key: object, work_out: Callable[[Sequence[Element]], _T]) -> _T:
        """Return what follows from the elements and their bytes.

        Parameters
        ----------
        key : hashable
            All that the result depends on besides the run. There may be few of them.
        work_out : callable
            Gets the elements; asked the first time only.
        """
        found = self._derived.get(key, self)
        if found is self:
            found = self._derived[key] = work_out(self.elements)
        return found  # type: ignore[return-value]


class Run:
    """Elements that stood one after another in an earlier instance.

    Parameters
    ----------
    raw : bytes
        Their bytes.
    elements : list of Element
        As they were read then.
    """

    __slots__ = ("_first", "_last", "_order", "_places", "raw")

    def __init__(self, raw: bytes, elements: list[Element], encoding: Encoding) -> None:
        self.raw = raw
        self._first, self._last = elements[0].tag, elements[-1].tag
        self._order: Final = "little" if encoding.little else "big"
        self._places = {elements[0].start: PlacedRun(raw, elements)}

    def stands_at(self, data: bytes, position: int, end: int, last: int) -> bool:
        """Tell whether it stands at a position, behind the tag `last`."""
        if self._first <= last or not data.startswith(self.raw, position, end):
            return False
        if self._first & _PRIVATE and self._first >> 16 == last >> 16:
            return False
        if self._last & _PRIVATE:
            stop = position + len(self.raw)
            group = data[stop : min(stop + 2, end)]
            return int.from_bytes(group, self._order) != self._last >> 16
        return True

    def placed(self, position: int, read: Callable[[int, int], list[Element]]) -> PlacedRun:
        """Return it at a position, where `read` reads it if it never stood there."""
        found = self._places.get(position)
        if found is None:
            if len(self._places) >= _MOST_PLACES:
                self._places.clear()
            found = PlacedRun(self.raw, read(position, position + len(self.raw)))
            self._places[position] = found
        return found


class SeriesRuns:
    """The runs of one series, learnt from instances that were read.

    An element stands in a run as long as every instance has the same bytes there; the first that differs is read anew
    in every instance from then on.

    Attributes
    ----------
    runs : dict of bytes to Run
        By the first four bytes: the tag of the first element, as it is encoded.
    encoding : Encoding
        Of the instances.
    """

    __slots__ = ("_last", "_varying", "encoding", "runs")

    def __init__(self, encoding: Encoding) -> None:
        self.encoding = encoding
        self.runs: dict[bytes, Run] = {}
        self._last: dict[int, bytes] = {}
        self._varying: set[int] = set()

    def learn(self, data: bytes, segments: Sequence[Element | PlacedRun]) -> None:
        """Learn from an instance.

        Parameters
        ----------
        data : bytes
            What the elements point into.
        segments : sequence of Element or PlacedRun
            Its top level, in ascending order.
        """
        varying = self._varying
        if all(isinstance(segment, PlacedRun) or segment.tag in varying for segment in segments):
            return
        group: list[Element] = []
        previous = before = -1
        for segment in segments:
            element = segment if isinstance(segment, Element) else None
            shared = element is not None and self._is_shared(data, element)
            first = element.tag if element is not None else segment.first  # type: ignore[union-attr]
            if group and not (
                element is not None
                and shared
                and group[-1].end == element.start
                and element.end - group[0].start <= _LONGEST_RUN
            ):
                self._add(data, group, before >> 16, first >> 16)
                group = []
            if element is not None and shared:
                if not group:
                    before = previous
                group.append(element)
            previous = element.tag if element is not None else segment.last  # type: ignore[union-attr]
        if group:
            self._add(data, group, before >> 16, -1)

    def _is_shared(self, data: bytes, element: Element) -> bool:
        tag = element.tag
        if tag in self._varying:
            return False
        if (
            element.end - element.start <= _LONGEST
            and tag != _CHARACTER_SET
            and tag not in PIXEL_TAGS
            and _ends_by_itself(element)
            and len(self._last) < _MOST_ELEMENTS
        ):
            raw = data[element.start : element.end]
            if self._last.setdefault(tag, raw) == raw:
                return True
        self._varying.add(tag)
        return False

    def _add(self, data: bytes, group: list[Element], before: int, after: int) -> None:
        """Make a run of elements; `before` and `after` are the groups of their neighbours."""
        split = {number for number in (before, after) if number & 1}
        group = [element for element in group if element.tag >> 16 not in split]
        if group:
            raw = data[group[0].start : group[-1].end]
            if sum(len(run.raw) for run in self.runs.values()) + len(raw) > _MOST_BYTES:
                self.runs.clear()
            self.runs[raw[:4]] = Run(raw, group, self.encoding)


class HeaderRuns:
    """The runs of the series that came last. In memory only.

    Thread-safe: two threads may at worst learn the same twice, or forget what the other learnt.
    """

    def __init__(self) -> None:
        self._series: tuple[tuple[bytes, SeriesRuns], ...] = ()

    def find(self, data: Data, position: int, encoding: Encoding) -> SeriesRuns | None:
        """Guess from the bytes of an instance to which known series it belongs; None if to none."""
        known = self._series
        # A mapped file is read in full.
        if isinstance(data, bytes):
            for one in known:
                name, runs = one
                if data.find(name, position, position + _NEAR) >= 0 and runs.encoding == encoding:
                    if one is not known[0]:
                        self._series = (one, *(other for other in known if other is not one))
                    return runs
        return None

    def start(self, data: Data, elements: Sequence[Element], encoding: Encoding) -> SeriesRuns | None:
        """Start to learn about the series of an instance that was read in full; None if that is not worth it."""
        series = next((one for one in elements if one.tag == _SERIES), None)
        if series is None:
            return None
        name = data[series.start : series.end]
        if not isinstance(data, bytes) or not 8 < len(name) <= _LONGEST or series.end - elements[0].start > _NEAR:
            return None
        runs = SeriesRuns(encoding)
        self._series = ((name, runs), *self._series[: _MOST_SERIES - 1])
        return runs


def _ends_by_itself(element: Element) -> bool:
    """Tell whether nothing behind an element has a say in where it ends and what it holds."""
    if element.undefined and element.vr == "UN":
        return False
    return all(_ends_by_itself(inner) for item in element.items or () for inner in item.elements)
