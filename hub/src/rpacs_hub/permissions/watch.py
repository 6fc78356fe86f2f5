"""Keeps the permissions in force up to date with their file; a broken file leaves the last good one in force."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path

from rpacs_hub.errors import PermissionsError, Problem
from rpacs_hub.permissions.profiles import NOBODY, Permissions, parse_permissions

__all__ = ["PermissionsFile", "PermissionsState"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PermissionsState:
    """What is in force and what, if anything, is wrong with the newest file."""

    permissions: Permissions
    error: PermissionsError | None


class PermissionsFile:
    """A permissions file that is read again whenever its content changes.

    Before the first valid file nobody sees anything.

    Parameters
    ----------
    path
        Where the file is.
    """

    def __init__(self, path: Path):
        self.path = path
        self.state = PermissionsState(NOBODY, None)
        self._seen: str | None = None
        self.refresh()

    @property
    def current(self) -> Permissions:
        """The permissions in force."""
        return self.state.permissions

    def refresh(self) -> bool:
        """Look at the file; call this every few seconds.

        Returns
        -------
        bool
            Whether anything changed.
        """
        try:
            data = self.path.read_bytes()
            seen = hashlib.sha256(data).hexdigest()
        except OSError as error:
            data, seen = b"", f"unreadable: {error.strerror}"
        if seen == self._seen:
            return False
        self._seen = seen
        try:
            if seen.startswith("unreadable"):
                raise PermissionsError([Problem(1, 1, f"The file cannot be read: {seen.partition(': ')[2]}.")])
            permissions = parse_permissions(data)
        except PermissionsError as error:
            self.state = PermissionsState(self.state.permissions, error)
            kept = (
                "the last good file stays in force"
                if self.current.digest
                else "nobody sees anything until it is mended"
            )
            _log.error("permissions file refused; %s. %s", kept, error)
            return True
        self.state = PermissionsState(permissions, None)
        _log.info(
            "permissions in force: %d profiles, %d entries, digest %s",
            len(permissions.profiles),
            len(permissions.grants),
            permissions.digest[:12],
        )
        return True
