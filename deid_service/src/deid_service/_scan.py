"""A reader of finished copies that shares no code with the one that reads originals."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Final

from pydicom.datadict import dictionary_has_tag, dictionary_VR

from deid_service._buffers import Data, Part, spool

__all__ = ["ITEM", "SEQUENCE_END", "Run", "Scan", "Seen", "UnreadableError"]

ITEM: Final = 0xFFFEE000
"""Starts an item in :attr:`Scan.entries`."""

SEQUENCE_END: Final = 0xFFFEE0DD
"""Ends a sequence in :attr:`Scan.entries`, whether the file has a delimiter or not."""

_ITEM_END: Final = 0xFFFEE00D
_LONG: Final = frozenset(
    name.encode() for name in ("OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV")
)
_Entry = tuple[int, bytes, int, int]
_PIXELS: Final = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
_PIXEL_VRS: Final = frozenset((b"OB", b"OD", b"OF", b"OW", b"UN"))
_PIECE: Final = 2**16
_INFLATED_PIECE: Final = 2**20
_LONGEST: Final = 4096  # of an element in a run
_MOST_RUNS: Final = 256
_HEADERS: Final = {True: struct.Struct("<HH2sH"), False: struct.Struct(">HH2sH")}
_TAG_LENGTHS: Final = {True: struct.Struct("<HHI"), False: struct.Struct(">HHI")}
_LENGTHS: Final = {True: struct.Struct("<I"), False: struct.Struct(">I")}


class UnreadableError(Exception):
    """The copy is not what it should be: never leaves this package."""


class Run:
    """Top-level elements one after another that an earlier copy of the series held with the very same bytes.

    Attributes
    ----------
    raw : bytes
        Their bytes.
    start : int
        The position that `entries` count from.
    entries : list of (tag, value representation, start, end)
        What reading `raw` gave, when it was read at `start`.
    top : list of int
        Tags of the top level.
    kept, searched_for : object
        For whoever searches copies: what was found in these bytes, and for what they were searched in vain.
    """

    __slots__ = ("entries", "kept", "raw", "searched_for", "start", "top")

    def __init__(self, raw: bytes, start: int, entries: list[_Entry], top: list[int]) -> None:
        self.raw = raw
        self.start = start
        self.entries = entries
        self.top = top
        self.kept: tuple[list[tuple[int, str, bytes]], bytes] | None = None
        self.searched_for: object = None


class Seen:
    """What the copies of a series have in common, byte for byte, learnt from copies that were read in full.

    An element stands in a run as long as every copy has the same bytes there; the first that differs is read anew in
    every copy from then on. Runs are compared with the copy's own bytes, so a wrong guess costs time and nothing else.

    Attributes
    ----------
    runs : dict of bytes to Run
        By the tag of the first element, as it is encoded.
    layouts : set
        For whoever checks layouts: those that were checked, as runs and what is between them.
    """

    __slots__ = ("_encoding", "_last", "_varying", "layouts", "runs")

    def __init__(self) -> None:
        self.runs: dict[bytes, Run] = {}
        self.layouts: set[object] = set()
        self._encoding: tuple[bool, bool] | None = None
        self._last: dict[int, bytes] = {}
        self._varying: set[int] = set()

    def use_for(self, encoding: tuple[bool, bool]) -> None:
        """Forget everything if it was learnt in another encoding."""
        if self._encoding != encoding:
            self._encoding = encoding
            for learnt in (self.runs, self.layouts, self._last, self._varying):
                learnt.clear()

    def learn(self, scan: Scan, may_be_shared: Callable[[bytes, bytes], bool]) -> None:
        """Learn from a copy.

        Parameters
        ----------
        scan : Scan
            Of a copy in which nothing was found.
        may_be_shared : callable
            Tells from value representation and value whether an element may stand in a run.
        """
        group: list[tuple[int, int, int, int]] = []
        for element in scan.read_anew:
            start, stop, first, last = element
            tag = scan.entries[first][0]
            if group and group[-1][1] != start:
                self._add(scan, group)
                group = []
            if tag not in self._varying:
                raw = scan.data[start:stop] if stop - start <= _LONGEST else b""
                entries = scan.entries[first:last]
                shared = raw and all(may_be_shared(vr, scan.data[a:b]) for _, vr, a, b in entries)
                if shared and self._last.setdefault(tag, raw) == raw:
                    group.append(element)
                    continue
                self._varying.add(tag)
            if group:
                self._add(scan, group)
                group = []
        if group:
            self._add(scan, group)

    def _add(self, scan: Scan, group: list[tuple[int, int, int, int]]) -> None:
        start, stop, first, last = group[0][0], group[-1][1], group[0][2], group[-1][3]
        tags = [scan.entries[element[2]][0] for element in group]
        raw = scan.data[start:stop]
        if len(self.runs) < _MOST_RUNS:
            self.runs[raw[:4]] = Run(raw, start, scan.entries[first:last], tags)


class Scan:
    """A DICOM file as a flat list.

    Parameters
    ----------
    parts : sequence of bytes or memoryview
        The file. A memoryview may hold nothing but one element of top-level pixel data, with its header or without; it
        is walked over and neither searched nor copied. The first part is bytes.
    seen : Seen, optional
        What earlier copies of the series held.

    Attributes
    ----------
    data : bytes or mmap
        What the positions point into: the file without its views, or the inflated data set.
    entries : list of (tag, value representation, start, end)
        Elements in the order of the file; items and the ends of sequences stand between them under their own tags.
        Pixels in views are there without a value.
    top : list of int
        Tags of the top level.
    meta : dict of int to bytes
        File meta information.
    runs : list of Run
        What this copy has in common with earlier ones.
    fresh : list of (tag, value representation, start, end)
        The entries that are in no run.
    read_anew : list of (start, end, first entry, last entry + 1)
        The top-level elements that are in no run.

    Raises
    ------
    UnreadableError, struct.error, zlib.error, SpoolError
        If the file is not read completely.
    """

    def __init__(self, parts: Sequence[Part], seen: Seen | None = None) -> None:
        file, views = _without_views(parts)
        if file[:128].strip(b"\0") or file[128:132] != b"DICM":
            raise UnreadableError("preamble")
        self.meta: dict[int, bytes] = {}
        position = 132
        while file[position : position + 2] == b"\x02\x00":
            group, number, vr, length = _HEADERS[True].unpack_from(file, position)
            start = position + 8
            if vr in _LONG:
                (length,) = _LENGTHS[True].unpack_from(file, position + 8)
                start = position + 12
            position = start + length
            self.meta[group << 16 | number] = file[start:position]
        syntax = self.meta.get(0x00020010, b"").rstrip(b"\0 ")
        self.explicit = syntax not in (b"1.2.840.10008.1.2", b"1.2.840.113619.5.2")
        self.little = syntax != b"1.2.840.10008.1.2.2"
        self.deflated = syntax in (b"1.2.840.10008.1.2.1.99", b"1.2.840.10008.1.2.4.95", b"1.2.840.10008.1.2.4.205")
        self.data: Data = file
        if self.deflated:
            self.data = spool(_inflated(parts, position))
            position, views = 0, []
        self.entries: list[_Entry] = []
        self.top: list[int] = []
        self.runs: list[Run] = []
        self.fresh: list[_Entry] = []
        self.read_anew: list[tuple[int, int, int, int]] = []
        known: dict[bytes, Run] = {}
        if seen is not None:
            seen.use_for((self.explicit, self.little))
            known = seen.runs
        while views:
            # Nothing but pixels may lie in a view or reach into one.
            if position > views[0][0]:
                raise UnreadableError("view")
            end = views[0][0]
            position = self._top_level(position, end, known, to_pixels=True)
            position = self._pixels(position, views)
        if self._top_level(position, len(self.data), known, to_pixels=False) != len(self.data):
            raise UnreadableError("length")

    def _top_level(self, position: int, end: int, known: dict[bytes, Run], *, to_pixels: bool) -> int:
        """Read elements of the top level up to `end` or pixel data; return where they end."""
        data, entries, top = self.data, self.entries, self.top
        # A mapped data set starts with nothing known: it is read in full.
        starts_with = (data if isinstance(data, bytes) else b"").startswith
        while position < end:
            run = known.get(data[position : position + 4]) if known else None
            if run is not None and starts_with(run.raw, position, end) and (not top or run.top[0] > top[-1]):
                shift = position - run.start
                entries += [(tag, vr, a + shift, b + shift) for tag, vr, a, b in run.entries] if shift else run.entries
                top += run.top
                self.runs.append(run)
                position += len(run.raw)
                continue
            first = len(entries)
            stop = self._elements(
                position, end, self.explicit, self.little, top, delimited=False, to_pixels=to_pixels, single=True
            )
            if stop == position:
                return position
            self.fresh += entries[first:]
            self.read_anew.append((position, stop, first, len(entries)))
            position = stop
        return position

    def _pixels(self, position: int, views: list[tuple[int, memoryview]]) -> int:
        """Walk over pixel data that lie in one view or more, and take these off the list; return where they end."""
        walk = _Walk(self.data, position, views)
        group, number, *stated = (_HEADERS if self.explicit else _TAG_LENGTHS)[self.little].unpack(walk.take(8))
        tag = group << 16 | number
        vr, length = stated if self.explicit else (b"OW", stated[0])
        if self.explicit and vr in _LONG:
            (length,) = _LENGTHS[self.little].unpack(walk.take(4))
        sequence = vr == b"UN" and length == 0xFFFFFFFF
        if tag not in _PIXELS or vr not in _PIXEL_VRS or sequence or (self.top and tag <= self.top[-1]):
            raise UnreadableError("view")
        if length != 0xFFFFFFFF:
            walk.skip(length)
        else:
            size = 0
            while (group, number) != (0xFFFE, 0xE0DD):
                walk.skip(size)
                group, number, size = _TAG_LENGTHS[self.little].unpack(walk.take(8))
                if group != 0xFFFE or number not in (0xE000, 0xE0DD):
                    raise UnreadableError("fragments")
        position = walk.end()
        self.top.append(tag)
        entry = (tag, vr, position, position)
        self.entries.append(entry)
        self.fresh.append(entry)
        return position

    def _elements(
        self,
        position: int,
        end: int,
        explicit: bool,
        little: bool,
        top: list[int] | None,
        *,
        delimited: bool,
        to_pixels: bool = False,
        single: bool = False,
    ) -> int:
        """Read elements up to `end`, the item's delimiter or pixel data, or one; return where they end."""
        data, entries = self.data, self.entries
        headers, lengths = (_HEADERS if explicit else _TAG_LENGTHS)[little], _LENGTHS[little]
        last = top[-1] if top else -1
        while position < end:
            if explicit:
                group, number, vr, length = headers.unpack_from(data, position)
                tag = group << 16 | number
                start = position + 8
                if tag == _ITEM_END and delimited:
                    return start
                if vr in _LONG:
                    (length,) = lengths.unpack_from(data, start)
                    start += 4
            else:
                group, number, length = headers.unpack_from(data, position)
                tag = group << 16 | number
                start = position + 8
                if tag == _ITEM_END and delimited:
                    return start
                vr = _dictionary_vr(tag)
            if to_pixels and tag in _PIXELS:
                return position
            if tag <= last or group == 0xFFFE:
                raise UnreadableError("order")
            last = tag
            if top is not None:
                top.append(tag)
            if vr == b"SQ" or (length == 0xFFFFFFFF and vr == b"UN"):
                entries.append((tag, b"SQ", start, start))
                inner = (explicit, little) if vr == b"SQ" else (False, True)
                position = self._items(start, end, length, *inner)
                entries.append((SEQUENCE_END, b"", position, position))
                if single:
                    return position
                continue
            stop = self._fragments(start, end, little) if length == 0xFFFFFFFF else start + length
            if stop > end:
                raise UnreadableError("length")
            entries.append((tag, vr, start, stop))
            if single:
                return stop
            position = stop
        if delimited:
            raise UnreadableError("delimiter")
        return position

    def _items(self, position: int, end: int, length: int, explicit: bool, little: bool) -> int:
        delimited = length == 0xFFFFFFFF
        stop = end if delimited else position + length
        if stop > end:
            raise UnreadableError("length")
        while position < stop:
            group, number, size = _TAG_LENGTHS[little].unpack_from(self.data, position)
            position += 8
            tag = group << 16 | number
            if tag == SEQUENCE_END and delimited:
                return position
            if tag != ITEM:
                raise UnreadableError("item")
            self.entries.append((ITEM, b"", position, position))
            item_end = stop if size == 0xFFFFFFFF else position + size
            if item_end > stop:
                raise UnreadableError("length")
            position = self._elements(position, item_end, explicit, little, None, delimited=size == 0xFFFFFFFF)
            if size != 0xFFFFFFFF and position != item_end:
                raise UnreadableError("length")
        if delimited or position != stop:
            raise UnreadableError("delimiter")
        return position

    def _fragments(self, position: int, end: int, little: bool) -> int:
        while position + 8 <= end:
            group, number, size = _TAG_LENGTHS[little].unpack_from(self.data, position)
            position += 8
            if (group, number) == (0xFFFE, 0xE0DD):
                return position
            if (group, number) != (0xFFFE, 0xE000):
                break
            position += size
        raise UnreadableError("fragments")


def _without_views(parts: Sequence[Part]) -> tuple[bytes, list[tuple[int, memoryview]]]:
    """Return what is to be searched, and the views with the position that each has in it."""
    if len(parts) == 1 and isinstance(parts[0], bytes):
        return parts[0], []
    views = []
    plain = []
    size = 0
    for part in parts:
        if not isinstance(part, memoryview):
            plain.append(part)
            size += len(part)
        elif len(part):
            views.append((size, part))
    return plain[0] if len(plain) == 1 else b"".join(plain), views


def _inflated(parts: Sequence[Part], start: int) -> Iterator[bytes]:
    """Yield what was compressed after the file meta information, all of which is in the first part."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    for part in parts:
        view = memoryview(part)
        for place in range(start, len(view), _PIECE):
            waiting: bytes | memoryview = view[place : place + _PIECE]
            # After its end the decompressor goes on saying that it has something left.
            while len(waiting) and not inflater.eof:
                yield inflater.decompress(waiting, _INFLATED_PIECE)
                waiting = inflater.unconsumed_tail
            if inflater.eof and bytes(waiting).strip(b"\0"):
                raise UnreadableError("deflated")
        start = 0
    while not inflater.eof:
        chunk = inflater.decompress(b"", _INFLATED_PIECE)
        if not chunk and not inflater.eof:
            raise UnreadableError("deflated")
        yield chunk
    if inflater.unused_data.strip(b"\0"):
        raise UnreadableError("deflated")


class _Walk:
    """Walks over pixel data that are spread over views and what is between them.

    Parameters
    ----------
    data : bytes or mmap
        What is between them.
    position : int
        In `data`: where to start.
    views : list of (position in `data`, view)
        Those that were walked over are taken off.
    """

    def __init__(self, data: Data, position: int, views: list[tuple[int, memoryview]]) -> None:
        self._data, self._position, self._views = data, position, views
        self._inside = 0  # how much of the first view was walked over

    def _left(self) -> int:
        """Return how many bytes follow before the next border."""
        if self._views and self._views[0][0] == self._position:
            return len(self._views[0][1]) - self._inside
        return (self._views[0][0] if self._views else len(self._data)) - self._position

    def skip(self, size: int) -> None:
        while size:
            left = self._left()
            step = min(size, left)
            if self._views and self._views[0][0] == self._position:
                self._inside += step
                if self._inside == len(self._views[0][1]):
                    self._views.pop(0)
                    self._inside = 0
            elif not left:
                raise UnreadableError("length")
            else:
                self._position += step
            size -= step

    def take(self, size: int) -> bytes:
        taken = b""
        while len(taken) < size:
            count = min(size - len(taken), self._left())
            if self._views and self._views[0][0] == self._position:
                taken += bytes(self._views[0][1][self._inside : self._inside + count])
            elif not count:
                raise UnreadableError("length")
            else:
                taken += self._data[self._position : self._position + count]
            self.skip(count)
        return taken

    def end(self) -> int:
        """Return the position, at which no view may be half walked over."""
        if self._inside:
            raise UnreadableError("view")
        return self._position


@lru_cache(maxsize=20_000)
def _dictionary_vr(tag: int) -> bytes:
    """Return the value representation of an element that does not state it."""
    if tag & 0x00010000:
        return b"LO" if 0x10 <= tag & 0xFFFF <= 0xFF else b"UN"
    if not dictionary_has_tag(tag):
        return b"UN"
    return dictionary_VR(tag)[-2:].encode()
