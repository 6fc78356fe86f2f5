"""Personal addresses of DICOMweb for viewers that cannot send a header, such as OHIF or 3D Slicer.

The address holds 256 random bits; only their SHA-256 is kept. It opens what its owner may see at the moment of use,
perhaps only some studies of it, reads only, and ends by itself.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg_pool

from rpacs_hub._own_tables import OwnTables
from rpacs_hub.gateway._exchange import ApiError

__all__ = ["MAX_STUDIES", "ViewerAddress", "ViewerAddresses", "without_token"]

MAX_STUDIES = 100
"""Studies that one address can be limited to."""

_MOST_OPEN = 20
_MOST_AN_HOUR = 60
_LOCK = 0x7669_6577
_KEPT = timedelta(days=7)
_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")
_IN_PATH = re.compile(r"(/(?:view|explorer)/)[^/]*")

_TABLE = """
CREATE TABLE IF NOT EXISTS gateway.viewer_address (
    address_id uuid PRIMARY KEY,
    token_hash bytea NOT NULL UNIQUE,
    "user"     text NOT NULL,
    studies    text[],
    reason     text,
    created    timestamptz NOT NULL,
    expires    timestamptz NOT NULL,
    revoked    timestamptz,
    last_used  timestamptz
);
CREATE INDEX IF NOT EXISTS viewer_address_user ON gateway.viewer_address ("user", created);
"""

_COLUMNS = 'address_id, "user", studies, reason, created, expires, last_used'


def without_token(path: str) -> str:
    """Return a path as it may stand in logs and in the audit: without the secret of a personal address."""
    return _IN_PATH.sub(r"\1***", path)


@dataclass(frozen=True)
class ViewerAddress:
    """A personal address, without its secret.

    Attributes
    ----------
    id
        To revoke it by; opens nothing.
    user
        Whose it is.
    studies
        StudyInstanceUIDs that it is limited to; None = all that the user may see.
    reason
        Why the images are needed, as it was given when the address was made.
    created, expires, last_used
        When (UTC); `last_used` to the minute.
    """

    id: uuid.UUID
    user: str
    studies: tuple[str, ...] | None
    reason: str | None
    created: datetime
    expires: datetime
    last_used: datetime | None = None

    def to_json(self) -> dict[str, Any]:
        """Return what its owner may know of it."""
        moments = {"created": self.created, "expires": self.expires, "last_used": self.last_used}
        return {
            "id": str(self.id),
            "studies": None if self.studies is None else list(self.studies),
            **{name: moment.isoformat(timespec="seconds") if moment else None for name, moment in moments.items()},
        }


class ViewerAddresses:
    """The addresses in table ``gateway.viewer_address``.

    Parameters
    ----------
    pool
        Connections of the role that owns schema ``gateway``.
    """

    def __init__(self, pool: psycopg_pool.AsyncConnectionPool[Any]):
        self._tables = OwnTables(pool, _TABLE, _LOCK)

    async def create(
        self, user: str, studies: Sequence[str] | None, minutes: float, reason: str | None
    ) -> tuple[ViewerAddress, str]:
        """Make an address and return it with its secret, which is kept nowhere.

        Raises
        ------
        ApiError
            429 where the user has too many open ones, or has made too many within the hour.
        DatabaseUnavailable
            The database does not answer.
        """
        token = secrets.token_urlsafe(32)
        now = datetime.now(UTC)
        address = ViewerAddress(
            uuid.uuid4(),
            user,
            tuple(studies) if studies is not None else None,
            reason,
            now,
            now + timedelta(minutes=minutes),
        )
        async with self._tables.connection() as connection, connection.transaction():
            # One at a time for each user, so that two requests cannot pass the limit together.
            await connection.execute("SELECT pg_advisory_xact_lock(%s, hashtext(%s))", (_LOCK, user))
            await connection.execute("DELETE FROM gateway.viewer_address WHERE expires < %s", (now - _KEPT,))
            cursor = await connection.execute(
                "SELECT count(*) FILTER (WHERE revoked IS NULL AND expires > %s), count(*) FILTER (WHERE created > %s) "
                'FROM gateway.viewer_address WHERE "user" = %s',
                (now, now - timedelta(hours=1), user),
            )
            row = await cursor.fetchone()
            alive, recent = row or (0, 0)
            if alive >= _MOST_OPEN or recent >= _MOST_AN_HOUR:
                raise ApiError(
                    429,
                    "too_many_addresses",
                    f"You may have {_MOST_OPEN} open addresses, and make {_MOST_AN_HOUR} an hour.",
                    "Revoke those that you no longer need, or wait until they end.",
                )
            await connection.execute(
                'INSERT INTO gateway.viewer_address (address_id, token_hash, "user", studies, reason, created, '
                "expires) VALUES (%s, %s, %s, %s, %s, %s, %s)",
                (
                    address.id,
                    _hash(token),
                    user,
                    list(studies) if studies is not None else None,
                    reason,
                    now,
                    address.expires,
                ),
            )
        return address, token

    async def list(self, user: str) -> list[ViewerAddress]:
        """Return the user's open addresses, newest first."""
        async with self._tables.connection() as connection:
            cursor = await connection.execute(
                f"SELECT {_COLUMNS} FROM gateway.viewer_address "  # noqa: S608 - names are ours
                'WHERE "user" = %s AND revoked IS NULL AND expires > %s ORDER BY created DESC'.encode(),
                (user, datetime.now(UTC)),
            )
            return [_address(row) for row in await cursor.fetchall()]

    async def revoke(self, user: str, address_id: str) -> ViewerAddress | None:
        """Close one of the user's open addresses at once; None where there is no such address."""
        try:
            wanted = uuid.UUID(address_id)
        except ValueError:
            return None
        now = datetime.now(UTC)
        async with self._tables.connection() as connection:
            cursor = await connection.execute(
                'UPDATE gateway.viewer_address SET revoked = %s WHERE address_id = %s AND "user" = %s '  # noqa: S608
                f"AND revoked IS NULL AND expires > %s RETURNING {_COLUMNS}".encode(),
                (now, wanted, user, now),
            )
            row = await cursor.fetchone()
        return _address(row) if row else None

    async def revoke_all(self, user: str) -> int:
        """Close every open address of a user's at once, and return how many there were."""
        now = datetime.now(UTC)
        async with self._tables.connection() as connection:
            cursor = await connection.execute(
                'UPDATE gateway.viewer_address SET revoked = %s WHERE "user" = %s AND revoked IS NULL AND expires > %s',
                (now, user, now),
            )
            return int(cursor.rowcount)

    async def open(self, token: str) -> ViewerAddress | None:
        """Return the address that holds this secret; None where there is none, or it has ended or was revoked."""
        if not _TOKEN.fullmatch(token):
            return None
        now = datetime.now(UTC)
        async with self._tables.connection() as connection:
            cursor = await connection.execute(
                f"SELECT {_COLUMNS} FROM gateway.viewer_address "  # noqa: S608 - names are ours
                "WHERE token_hash = %s AND revoked IS NULL AND expires > %s".encode(),
                (_hash(token), now),
            )
            row = await cursor.fetchone()
            if row is None:
                return None
            address = _address(row)
            # Viewers ask hundreds of times a minute; once a minute is often enough to know that it is in use.
            if address.last_used is None or now - address.last_used > timedelta(minutes=1):
                await connection.execute(
                    "UPDATE gateway.viewer_address SET last_used = %s WHERE address_id = %s", (now, address.id)
                )
        return address


def _hash(token: str) -> bytes:
    # The secret is random and long: there is nothing to guess, so a fast digest without salt is enough.
    return hashlib.sha256(token.encode()).digest()


def _address(row: Sequence[Any]) -> ViewerAddress:
    identity, user, studies, reason, created, expires, last_used = row
    return ViewerAddress(
        identity, user, tuple(studies) if studies is not None else None, reason, created, expires, last_used
    )
