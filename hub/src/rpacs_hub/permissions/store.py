"""The permissions in force, their versions, and the one way to change them from within."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import psycopg_pool

from rpacs_hub.errors import DatabaseUnavailable, PermissionsNotSaved
from rpacs_hub.permissions.profiles import Permissions, parse_permissions
from rpacs_hub.permissions.source import digest_of
from rpacs_hub.permissions.versions import OUTSIDE, Version, Versions
from rpacs_hub.permissions.watch import PermissionsFile, PermissionsState

__all__ = ["SHORTEST_REASON", "PermissionsStore"]

_log = logging.getLogger(__name__)

SHORTEST_REASON = 3
"""Characters of the reason for a change; "x" is none."""

_LONGEST_REASON = 500
_DECODING = "utf-8"


class PermissionsStore:
    """The permissions: what is in force, what was, and how they are changed.

    Parameters
    ----------
    place
        Path or ``s3://bucket/key`` of the permissions file.
    pool
        Connections, in autocommit mode, of the role that owns schema ``gateway``.

    Attributes
    ----------
    file
        The file, and what of it is in force.
    versions
        What was in force.
    """

    def __init__(self, place: Path | str, pool: psycopg_pool.AsyncConnectionPool[Any]):
        self.file = PermissionsFile(place)
        self.versions = Versions(pool)
        self._away = False

    @property
    def current(self) -> Permissions:
        """The permissions in force."""
        return self.file.current

    @property
    def state(self) -> PermissionsState:
        """What is in force, and what is wrong with the file."""
        return self.file.state

    @property
    def name(self) -> str:
        """Path or address of the file."""
        return self.file.source.name

    @property
    def interval(self) -> float:
        """Seconds between two calls of `look`."""
        return self.file.source.interval

    def refresh(self) -> bool:
        """Look at the file at once; see `PermissionsFile.refresh`."""
        return self.file.refresh()

    async def look(self, *, keep: bool = True) -> None:
        """Look at the file once, keep what came into force, and go back to the last good content where none is.

        Nothing is raised where the database is away: the next look makes up for it.

        Parameters
        ----------
        keep
            False for who only reads: the gateway keeps what comes into force.
        """
        await asyncio.to_thread(self.file.refresh)
        try:
            if not self.current.digest:
                await self._restore()
            elif keep and self.file.waiting:
                await self._keep()
            self._away = False
        except (DatabaseUnavailable, psycopg.Error) as error:
            if not self._away:
                _log.error("the versions of the permissions cannot be kept: %s", type(error).__name__)
            self._away = True

    async def save(self, text: str, *, expected: str, who: str, why: str) -> Version:
        """Put a new content in force.

        Parameters
        ----------
        text
            The whole new file.
        expected
            Digest of the file that the change was made from (`PermissionsState.found_digest`).
        who, why
            Who changes it, and the reason that she gave.

        Returns
        -------
        Version
            What is in force now; other processes that follow the file notice within seconds.

        Raises
        ------
        PermissionsError
            The text is not valid; it lists every problem.
        PermissionsNotSaved
            No reason was given, the file was changed meanwhile, it cannot be written, or nothing would change.
        PermissionsUnreadable
            What the file holds cannot be told.
        DatabaseUnavailable
            The database does not answer. In all these cases nothing changed.
        """
        why = " ".join(why.split())
        if not SHORTEST_REASON <= len(why) <= _LONGEST_REASON:
            raise PermissionsNotSaved(
                "reason_missing",
                "A change of the permissions needs a reason.",
                f"Say in {SHORTEST_REASON} to {_LONGEST_REASON} characters why; it is kept with the version.",
            )
        # Forms send CR LF; the file is the operator's, who edits it on this system.
        data = text.replace("\r\n", "\n").encode(_DECODING, "replace")
        permissions = parse_permissions(data)
        if permissions.digest == expected:
            raise PermissionsNotSaved("nothing_new", "This is what the file holds already.", "")
        async with self.versions.adding() as adding:
            # Within the lock, so that whoever follows the file finds the version there, with its author.
            made = await adding.add(
                at=datetime.now(UTC),
                who=who,
                why=why,
                source=self.name,
                digest=permissions.digest,
                text=data.decode(_DECODING),
            )
            await asyncio.to_thread(self.file.replace, data, expected)
        await asyncio.to_thread(self.file.refresh)
        self.file.in_force_since(made.digest, made.at)
        _log.info("permissions version %d (%s) was saved", made.number, made.digest[:12])
        return made

    async def roll_back(self, number: int, *, expected: str, who: str, why: str) -> Version:
        """Put an earlier version in force again, as a new version.

        Parameters
        ----------
        number
            Of the earlier version.
        expected, who, why
            As for `save`.

        Raises
        ------
        PermissionsNotSaved, PermissionsError, PermissionsUnreadable, DatabaseUnavailable
            As `save`; also where there is no such version.
        """
        old = await self.versions.get(number)
        if old is None:
            raise PermissionsNotSaved("version_unknown", f"There is no version {number}.", "")
        given = f"back to version {number}: {why.strip()}" if len(why.strip()) >= SHORTEST_REASON else ""
        return await self.save(old.text, expected=expected, who=who, why=given)

    async def _restore(self) -> None:
        """Put the last good content of this file in force: a restart must not change who sees what."""
        newest = await self.versions.newest(self.name)
        if newest is not None and digest_of(newest.text.encode()) == newest.digest:
            self.file.restore(newest.text, newest.at)

    async def _keep(self) -> None:
        """Keep what came into force as versions, unless it is the newest one already."""
        async with self.versions.adding() as adding:
            # While this waited for its turn, somebody may have saved a version of hers.
            await asyncio.to_thread(self.file.refresh)
            waiting = self.file.waiting
            newest = await adding.newest()
            for state in waiting:
                since, digest = state.since or datetime.now(UTC), state.permissions.digest
                if newest is None or newest.source != self.name or (newest.digest != digest and newest.at < since):
                    newest = await adding.add(
                        at=since,
                        who=OUTSIDE,
                        why="the first one that was found" if newest is None else "changed in the file itself",
                        source=self.name,
                        digest=digest,
                        text=state.text,
                    )
                elif newest.digest == digest:
                    self.file.in_force_since(digest, newest.at)
        self.file.kept(waiting)
