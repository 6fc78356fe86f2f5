"""The file of audit lines: the same chain as in the table, for whoever collects logs."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from rpacs_hub.audit.chain import Link, read_link

__all__ = ["AuditFile"]

_LONGEST = 1 << 22


class AuditFile:
    """Appends to a file that is created with mode 0600, and opened anew after it was moved away (log rotation).

    Parameters
    ----------
    path
        The file.

    Attributes
    ----------
    last
        Number of the last line that was appended, by this or an earlier process; None while nobody knows.
    """

    def __init__(self, path: Path):
        self._path = path
        self._descriptor: int | None = None
        self._identity: tuple[int, int] | None = None
        self.last: int | None = None

    def open(self) -> None:
        """Open the file, anew where it was moved away, and find out how far it reaches.

        Raises
        ------
        OSError
            It cannot be opened or read.
        """
        try:
            status = self._path.stat()
            moved = (status.st_dev, status.st_ino) != self._identity
        except FileNotFoundError:
            moved = True
        if self._descriptor is not None and not moved:
            return
        self.close()
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        status = os.fstat(self._descriptor)
        self._identity = (status.st_dev, status.st_ino)
        if self.last is None:
            self.last = self._end(self._descriptor, status.st_size)

    @staticmethod
    def _end(descriptor: int, size: int) -> int | None:
        """Return the number of the last line, and cut off what a crash left of a half-written one."""
        tail = os.pread(descriptor, min(size, _LONGEST), max(size - _LONGEST, 0))
        whole, newline, torn = tail.rpartition(b"\n")
        if torn:
            # The table has that line; it is appended again as a whole.
            os.ftruncate(descriptor, size - len(torn))
        if not newline:
            return None
        found = read_link(whole.rpartition(b"\n")[2].decode("utf-8", "replace"))
        return found.seq if found else None

    def append(self, links: Iterable[Link]) -> None:
        """Append lines.

        Raises
        ------
        OSError
            Not all of it could be written; what was written of the last line is taken back.
        """
        assert self._descriptor is not None
        lines = list(links)
        if not lines:
            return
        data = "".join(f"{one.line}\n" for one in lines).encode()
        before = os.fstat(self._descriptor).st_size
        try:
            if os.write(self._descriptor, data) != len(data):
                raise OSError("the disk is full")
        except OSError:
            os.ftruncate(self._descriptor, before)
            raise
        self.last = lines[-1].seq

    def close(self) -> None:
        """Close the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
