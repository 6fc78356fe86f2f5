"""Keeps the permissions in force up to date with their file; a broken file leaves the last good one in force."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from rpacs_hub.errors import PermissionsError, PermissionsUnreadable, Problem
from rpacs_hub.permissions.profiles import NOBODY, Permissions, parse_permissions
from rpacs_hub.permissions.source import Source, digest_of, open_source

__all__ = ["PermissionsFile", "PermissionsState", "load_permissions"]

_log = logging.getLogger(__name__)

_MOST_WAITING = 100


@dataclass(frozen=True)
class PermissionsState:
    """What is in force and what, if anything, is wrong with the newest file.

    Attributes
    ----------
    permissions
        In force.
    error
        Why the file, as it is now, is not; None if it is.
    text
        Content of the file that is in force.
    since
        When it came into force; None before the first.
    found
        Content of the file as it is now; None where it cannot be read.
    """

    permissions: Permissions
    error: PermissionsError | None
    text: str = ""
    since: datetime | None = None
    found: bytes | None = None

    @property
    def found_digest(self) -> str:
        """SHA-256 of the file as it is now; empty where it cannot be read."""
        return digest_of(self.found) if self.found is not None else ""


class PermissionsFile:
    """A permissions file that is read again whenever its content changes.

    Before the first valid file nobody sees anything.

    Parameters
    ----------
    source
        Where the file is: a path, an ``s3://bucket/key``, or what `open_source` made of it. A file on the disk is read
        at once, one in S3 at the first `refresh`, which may take seconds.
    """

    def __init__(self, source: Path | str | Source):
        self.source: Source = open_source(source) if isinstance(source, Path | str) else source
        self.state = PermissionsState(NOBODY, _unread("The file was not read yet."))
        self._seen: str | None = None
        self._waiting: tuple[PermissionsState, ...] = ()
        self._lock = threading.Lock()
        if not self.source.name.startswith("s3://"):
            self.refresh()

    @property
    def current(self) -> Permissions:
        """The permissions in force."""
        return self.state.permissions

    @property
    def waiting(self) -> tuple[PermissionsState, ...]:
        """What came into force and was not yet `kept`, oldest first."""
        return self._waiting

    def kept(self, states: tuple[PermissionsState, ...]) -> None:
        """Forget some that were `waiting`."""
        with self._lock:
            self._waiting = tuple(one for one in self._waiting if not any(one is other for other in states))

    def refresh(self) -> bool:
        """Look at the file; call this every few seconds. It blocks; threads may call it at once.

        Returns
        -------
        bool
            Whether anything changed.
        """
        with self._lock:
            return self._refresh()

    def replace(self, data: bytes, expected: str) -> None:
        """Put another content into the file, see `Source.write`; the next `refresh` puts it in force."""
        with self._lock:
            self.source.write(data, expected)

    def restore(self, text: str, since: datetime) -> bool:
        """Put an earlier content of the same file in force, if nothing is: the file is broken or away at the start.

        Returns
        -------
        bool
            Whether it is in force now.
        """
        with self._lock:
            if self.current.digest:
                return False
            try:
                permissions = parse_permissions(text.encode())
            except PermissionsError:
                _log.error("the last good permissions are no longer valid; nobody sees anything")
                return False
            self.state = PermissionsState(permissions, self.state.error, text, since, self.state.found)
            _log.warning("permissions %s of %s are in force again", permissions.digest[:12], since.date())
            return True

    def in_force_since(self, digest: str, since: datetime) -> None:
        """Note since when a content has been in force, for it may have been long before this process began."""
        with self._lock:
            if self.current.digest == digest:
                self.state = replace(self.state, since=since)

    def _refresh(self) -> bool:
        data: bytes | None = None
        try:
            data = self.source.read()
            seen = digest_of(data)
        except PermissionsUnreadable as error:
            unread, seen = error, f"unreadable: {error}"
        if seen == self._seen:
            return False
        self._seen = seen
        try:
            if data is None:
                raise _unread(str(unread))
            permissions = parse_permissions(data)
        except PermissionsError as error:
            self.state = PermissionsState(self.state.permissions, error, self.state.text, self.state.since, found=data)
            kept = (
                "the last good file stays in force"
                if self.current.digest
                else "nobody sees anything until it is mended"
            )
            # Its words may quote a filter, but name no patient: they are the operator's own.
            _log.error("permissions file refused; %s. %s", kept, error)
            return True
        known = self.current.digest == permissions.digest
        since = self.state.since if known else datetime.now(UTC)
        self.state = PermissionsState(permissions, None, data.decode(), since, data)
        if not known:
            self._waiting = (*self._waiting[-_MOST_WAITING:], self.state)
        _log.info(
            "permissions in force: %d profiles, %d entries, digest %s",
            len(permissions.profiles),
            len(permissions.grants),
            permissions.digest[:12],
        )
        return True


def load_permissions(place: Path | str) -> Permissions:
    """Read a permissions file.

    Parameters
    ----------
    place
        A path or an ``s3://bucket/key``.

    Raises
    ------
    PermissionsError
        The file cannot be read or is not valid; it lists every problem.
    """
    try:
        data = open_source(place).read()
    except PermissionsUnreadable as error:
        raise _unread(str(error)) from error
    return parse_permissions(data)


def _unread(why: str) -> PermissionsError:
    return PermissionsError([Problem(1, 1, why)])
