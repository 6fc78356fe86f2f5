"""Large instances without large memory: files mapped instead of read, copies passed on as parts.

What is read is bytes or a mapped file, whose slices are bytes as well. A clean copy is a list of parts: its header as
bytes, its pixels as a view of the original. Whoever writes or sends it takes the parts one after another, so that no
step holds the pixels of a large instance in memory of its own.
"""

from __future__ import annotations

import contextlib
import io
import mmap
import os
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

from deid_service.errors import DeidError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

__all__ = [
    "LARGE",
    "Data",
    "Part",
    "PartsReader",
    "SpoolError",
    "as_data",
    "deflated",
    "explained",
    "open_file",
    "pieces",
    "same_bytes",
    "size_of",
    "spool",
    "write_parts",
]

Data = bytes | mmap.mmap
"""What is read: slices of both are bytes."""

Part = bytes | memoryview
"""What is written: a list of these makes a file."""

LARGE: Final = 32 * 2**20
"""From this size on, in bytes, data are mapped or put into a temporary file instead of being held in memory."""

_PIECE: Final = 2**20
_MOST_AT_ONCE: Final = 1024  # parts in one call of writev (IOV_MAX)


class SpoolError(DeidError):
    """The temporary folder does not take what is too large for the memory."""


def as_data(source: bytes | bytearray | memoryview | mmap.mmap) -> Data:
    """Return something whose slices are bytes.

    Parameters
    ----------
    source : bytes, bytearray, memoryview or mmap
        A file's content. A view of a whole bytes object or mapped file costs nothing; any other is copied.
    """
    if isinstance(source, bytes | mmap.mmap):
        return source
    if isinstance(source, memoryview):
        whole = source.obj
        if isinstance(whole, bytes | mmap.mmap) and source.contiguous and source.nbytes == len(whole):
            return whole
        if source.nbytes > LARGE:
            return spool([source.cast("B")])
    return bytes(source)


def open_file(path: Path | str) -> Data:
    """Read a file; map it if it is large.

    Parameters
    ----------
    path : path-like
        The file. While a large one is mapped, nobody may shorten it: the operating system ends a process that looks
        behind the new end.

    Returns
    -------
    bytes or mmap
        A mapping lasts as long as somebody refers to it.

    Raises
    ------
    OSError
        If it cannot be read.
    """
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - Path.open is slower
        if os.fstat(file.fileno()).st_size >= LARGE:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return file.read()


def spool(chunks: Iterable[Part], memory: int = LARGE) -> Data:
    """Collect data: in memory while they are small, otherwise in a temporary file.

    Parameters
    ----------
    chunks : iterable of bytes-like
        The data, in order. May be a generator that makes them one at a time.
    memory : int, optional
        How many bytes stay in memory.

    Returns
    -------
    bytes or mmap
        The file has no name: it is gone with the mapping, whatever happens to the process. It lies where
        ``TMPDIR`` says, otherwise in ``/tmp`` or ``/var/tmp``.

    Raises
    ------
    SpoolError
        If there is no room for it.
    """
    held: list[Part] = []
    size = 0
    with contextlib.ExitStack() as stack:
        file: IO[bytes] | None = None
        for chunk in chunks:
            size += memoryview(chunk).nbytes
            if file is None and size <= memory:
                held.append(bytes(chunk))
                continue
            with explained():
                if file is None:
                    file = stack.enter_context(tempfile.TemporaryFile(prefix="rpacs-", buffering=0))
                write_parts(file.fileno(), [*held, chunk])
            held.clear()
        if file is None:
            return b"".join(held)
        with explained():
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Turn errors of temporary files into one that says what to do about it."""
    try:
        yield
    except OSError as error:
        raise SpoolError(
            f"a large instance does not fit into {tempfile.gettempdir()} ({error.strerror}): make room there, or let"
            " TMPDIR name a folder on a larger disk"
        ) from None


def size_of(parts: Iterable[Part]) -> int:
    """Return the number of bytes in all parts."""
    return sum(part.nbytes if isinstance(part, memoryview) else len(part) for part in parts)


def pieces(parts: Iterable[Part], size: int = _PIECE) -> Iterator[Part]:
    """Yield the parts, large ones in pieces of `size` bytes."""
    for part in parts:
        if len(part) <= size:
            yield part
            continue
        view = memoryview(part)
        for start in range(0, len(view), size):
            yield view[start : start + size]


def deflated(parts: Iterable[Part]) -> list[Part]:
    """Compress a data set as a whole (PS3.5 A.5).

    Parameters
    ----------
    parts : iterable of bytes-like
        The data set.

    Returns
    -------
    list of bytes or memoryview
        Of even length.
    """
    deflater = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)

    def compressed() -> Iterator[bytes]:
        for piece in pieces(parts):
            yield deflater.compress(piece)
        yield deflater.flush()

    found = spool(compressed())
    return [found if isinstance(found, bytes) else memoryview(found), b"\0" * (len(found) % 2)]


def write_parts(handle: int, parts: Sequence[Part]) -> None:
    """Write parts to an open file, without joining them.

    Parameters
    ----------
    handle : int
        File descriptor.
    parts : sequence of bytes-like
        What to write.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    left: list[Part] = [part for part in parts if len(part)]
    while left:
        written = os.writev(handle, left[:_MOST_AT_ONCE])
        while left and written >= len(left[0]):
            written -= len(left.pop(0))
        if written:
            left[0] = memoryview(left[0])[written:]


def same_bytes(parts: Iterable[Part], other: Iterable[Part]) -> bool:
    """Tell whether two files are the same, a piece at a time.

    Parameters
    ----------
    parts : iterable of bytes-like
        One of them.
    other : iterable of bytes-like
        Pieces of the other, of any size.
    """
    waiting = memoryview(b"")
    rest = iter(other)
    for piece in pieces(parts):
        done = 0
        while done < len(piece):
            if not waiting:
                following = next(rest, None)
                if following is None:
                    return False
                waiting = memoryview(following)
                continue
            count = min(len(waiting), len(piece) - done)
            # Views are compared item by item, bytes all at once.
            if bytes(waiting[:count]) != bytes(piece[done : done + count]):
                return False
            waiting = waiting[count:]
            done += count
    return not waiting and not any(rest)


class PartsReader(io.RawIOBase):
    """Parts as a file that is read, for those who want a file.

    Parameters
    ----------
    parts : sequence of bytes-like
        The file.
    """

    def __init__(self, parts: Sequence[Part]) -> None:
        super().__init__()
        self._views = [memoryview(part) for part in parts]
        self._size = size_of(parts)
        self._position = 0

    def readable(self) -> bool:
        """Tell that it can be read."""
        return True

    def seekable(self) -> bool:
        """Tell that it can be read from anywhere."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a position, as every file does."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError("a position before the start")
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        """Return what follows, all of it or `size` bytes if there are so many."""
        left = self._size - self._position if size is None or size < 0 else size
        found = []
        start = self._position
        for view in self._views:
            if not left:
                break
            piece = view[start : start + left]
            start = max(0, start - len(view))
            left -= len(piece)
            self._position += len(piece)
            found.append(piece)
        return b"".join(found)

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Fill a buffer with what follows; return how much it was."""
        target = memoryview(buffer).cast("B")
        found = self.read(len(target))
        target[: len(found)] = found
        return len(found)
