"""Where the permissions are kept: a file on the disk, or an object in S3.

A source is read whole and written whole, and written only if it still holds what the writer saw last: two
administrators, or one and somebody with an editor, do not overwrite each other unseen.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pwd
import tempfile
from pathlib import Path
from typing import Protocol

from rpacs_hub.errors import PermissionsNotSaved, PermissionsUnreadable

__all__ = ["LARGEST", "FileSource", "Source", "changed_meanwhile", "digest_of", "open_source"]

LARGEST = 1 << 20
"""Bytes that a permissions file has at most; somebody may name an archive of images by mistake."""


class Source(Protocol):
    """What `PermissionsFile` follows. All calls block; only one thread at a time uses it.

    Attributes
    ----------
    name
        Path or address, as the settings name it.
    interval
        Seconds between two looks at it.
    """

    name: str
    interval: float

    def read(self) -> bytes:
        """Return the whole content.

        Raises
        ------
        PermissionsUnreadable
            Says why there is none.
        """
        ...

    def write(self, data: bytes, expected: str) -> None:
        """Put another content there, if it still holds the expected one.

        Parameters
        ----------
        data
            The new content.
        expected
            `digest_of` the content that is to be replaced; empty = there is none yet.

        Raises
        ------
        PermissionsNotSaved
            It holds something else by now, or it cannot be written. Nothing changed.
        PermissionsUnreadable
            What it holds cannot be told.
        """
        ...


def open_source(place: Path | str) -> Source:
    """Return the source for a path or an ``s3://bucket/key``.

    Raises
    ------
    SettingsError
        It begins with ``s3://`` and is not complete.
    """
    if str(place).startswith("s3://"):
        # boto3 takes a third of a second to load, which nobody with a file need wait for.
        from rpacs_hub.permissions.s3_source import S3Source

        return S3Source(str(place))
    return FileSource(Path(place))


def digest_of(data: bytes) -> str:
    """Return the SHA-256 of a content, hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def changed_meanwhile() -> PermissionsNotSaved:
    """Return the error for a source that no longer holds what the writer saw."""
    return PermissionsNotSaved(
        "changed_meanwhile",
        "The permissions were changed by somebody else meanwhile, so nothing was saved.",
        "Look at what changed, and make your change again.",
    )


class FileSource:
    """A file on the disk.

    It is replaced as a whole, so that no reader ever sees half of it: half a query may well be a valid, wider one.

    Parameters
    ----------
    path
        The file.
    """

    interval = 2.0

    def __init__(self, path: Path):
        self.path = path
        self.name = str(path)

    def read(self) -> bytes:
        """Return the whole content; see `Source`."""
        try:
            with self.path.open("rb") as file:
                data = file.read(LARGEST + 1)
        except OSError as error:
            raise PermissionsUnreadable(f"The file cannot be read: {error.strerror}.") from error
        if len(data) > LARGEST:
            raise PermissionsUnreadable(f"The file has more than {LARGEST >> 10} KB: is this the permissions file?")
        return data

    def write(self, data: bytes, expected: str) -> None:
        """Replace the file, keeping its owner and mode; see `Source`.

        Notes
        -----
        What is there is compared immediately before it is replaced. Writers of this product exclude each other (see
        `rpacs_hub.permissions.store`); for an editor that saves within those microseconds there is no remedy but the
        versions.
        """
        target = self.path.resolve()  # a link stays a link
        try:
            handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        except OSError as error:
            raise self._refused(error, target.parent) from error
        draft = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                self._make_alike(file.fileno(), target)
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            if (digest_of(self.read()) if target.exists() else "") != expected:
                raise changed_meanwhile()
            draft.replace(target)
            folder = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)  # the new name survives a power cut
            finally:
                os.close(folder)
        except OSError as error:
            raise self._refused(error, target) from error
        finally:
            with contextlib.suppress(OSError):
                draft.unlink(missing_ok=True)

    @staticmethod
    def _make_alike(handle: int, target: Path) -> None:
        """Give the new file owner, group and mode of the one that it replaces."""
        try:
            old = target.stat()
        except FileNotFoundError:
            os.fchmod(handle, 0o640)
            return
        made = os.fstat(handle)
        if (made.st_uid, made.st_gid) != (old.st_uid, old.st_gid):
            os.fchown(handle, old.st_uid, old.st_gid)
        os.fchmod(handle, old.st_mode & 0o7777)

    def _refused(self, error: OSError, place: Path) -> PermissionsNotSaved:
        me = _user()
        return PermissionsNotSaved(
            "not_writable",
            f"{self.path} cannot be replaced ({error.strerror}: {place}), so nothing was saved.",
            f"This runs as the system user {me}: the file must belong to it (chown {me}), and it must be able to make "
            "files in its folder. In a container, mount the folder and not the file.",
        )


def _user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return f"number {os.geteuid()}"
