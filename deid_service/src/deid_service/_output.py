"""Files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO

from deid_service._buffers import Part, write_parts
from deid_service.errors import OutputError

__all__ = ["check_place", "private_text", "write_whole"]


def check_place(path: Path, *, folder: bool = False) -> None:
    """Try whether a file can be written, before hours of work depend on it.

    Parameters
    ----------
    path : Path
        The file, or with `folder` the folder of many, which is made.
    folder : bool, optional
        Which of the two it is.

    Raises
    ------
    OutputError
        If it cannot.
    """
    try:
        if folder:
            path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path if folder else path.parent):
            pass
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}") from None


def write_whole(path: Path, parts: Sequence[Part]) -> None:
    """Write a file whole or not at all, with the rights that a new file gets.

    Parameters
    ----------
    path : Path
        Where to; folders are made, an existing file is replaced.
    parts : sequence of bytes or memoryview
        What to write, one after another.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".rpacs-", delete=False) as file:
            try:
                write_parts(file.fileno(), parts)
                Path(file.name).chmod(0o666 & ~_umask())
                Path(file.name).replace(path)
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}") from None


@contextlib.contextmanager
def private_text(path: Path, encoding: str = "utf-8") -> Iterator[TextIO]:
    """Write a text file whole or not at all, readable by its owner only.

    Parameters
    ----------
    path : Path
        Where to; an existing file is replaced at the end of the block, unless the block raised.
    encoding : str, optional
        Of the text.

    Yields
    ------
    TextIO
        Line ends are written as they are given.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    try:
        with tempfile.NamedTemporaryFile(  # made with mode 0600
            "w", encoding=encoding, newline="", dir=path.parent, prefix=".rpacs-", delete=False
        ) as file:
            try:
                yield file  # type: ignore[misc]
                file.flush()
                os.fsync(file.fileno())
                Path(file.name).replace(path)
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}") from None


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
