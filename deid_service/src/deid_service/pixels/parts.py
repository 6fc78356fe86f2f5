"""A long value made of pieces of another and of new bytes, without a copy of what stays.

New bytes beyond a limit go to a temporary file that has no name and is mapped: a value of gigabytes takes little
memory. It lies where temporary files do (TMPDIR), and is gone when nobody holds the value any more.
"""

from __future__ import annotations

import mmap
import tempfile
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import IO

from deid_service._buffers import LARGE, explained, write_parts

__all__ = ["Joined", "Parts"]


class Parts:
    """Pieces of a value, in order.

    Parameters
    ----------
    base : memoryview
        What pieces are copied from.

    Attributes
    ----------
    length : int
        Bytes so far.
    """

    def __init__(self, base: memoryview) -> None:
        self.length = 0
        self._base = base
        self._pieces: list[tuple[bool, int, int]] = []  # whether new, begin, end
        self._new = bytearray()
        self._file: IO[bytes] | None = None
        self._written = 0

    def copy(self, start: int, end: int) -> None:
        """Append what stands at a place of `base`."""
        self._append(False, start, end)

    def write(self, data: bytes | memoryview) -> None:
        """Append new bytes.

        Raises
        ------
        SpoolError
            If there is no room for the temporary file.
        """
        if self._file is None and self._written + len(data) <= LARGE:
            self._new += data
        else:
            with explained():
                if self._file is None:
                    self._file = tempfile.TemporaryFile(prefix="rpacs-", buffering=0)  # noqa: SIM115 - closed below
                    write_parts(self._file.fileno(), [memoryview(self._new)])
                    self._new = bytearray()
                write_parts(self._file.fileno(), [data])
        self._append(True, self._written, self._written + len(data))
        self._written += len(data)

    def _append(self, new: bool, start: int, end: int) -> None:
        if start == end:
            return
        self.length += end - start
        if self._pieces:
            last_new, last_start, last_end = self._pieces[-1]
            if last_new == new and last_end == start:
                self._pieces[-1] = (new, last_start, end)
                return
        self._pieces.append((new, start, end))

    def buffers(self) -> list[memoryview]:
        """Return the pieces. Nothing can be appended afterwards."""
        if self._file is None:
            written = memoryview(self._new).toreadonly()
        else:
            with explained(), self._file:
                written = memoryview(mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ))
        return [(written if new else self._base)[start:end] for new, start, end in self._pieces]


class Joined:
    """Reads buffers as if they were one.

    Parameters
    ----------
    buffers : sequence of memoryview
        In order.
    """

    def __init__(self, buffers: Sequence[memoryview]) -> None:
        self._buffers = buffers
        self._starts = [0, *accumulate(map(len, buffers))]

    def __len__(self) -> int:
        return self._starts[-1]

    def read(self, start: int, end: int) -> bytes | memoryview:
        """Return the bytes from `start` to `end`: a view if they lie in one buffer."""
        index = bisect_right(self._starts, start) - 1
        found: list[memoryview] = []
        while start < end and index < len(self._buffers):
            begin, stop = self._starts[index], min(self._starts[index + 1], end)
            found.append(self._buffers[index][start - begin : stop - begin])
            start, index = stop, index + 1
        return found[0] if len(found) == 1 else b"".join(found)
