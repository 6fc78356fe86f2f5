"""Secret addresses of Orthanc's own API for one browser that cannot send a header: the pages of Orthanc Explorer.

Each belongs to a session at the Hub and ends with it. They live in this process' memory: sessions do not outlive it
either, and what is in no table cannot be read from one, nor be taken for a viewer's address.
"""

from __future__ import annotations

import hashlib
import secrets
import time
import uuid
from dataclasses import dataclass, field

from rpacs_hub.gateway._exchange import ApiError
from rpacs_hub.gateway.auth import Authenticator
from rpacs_hub.gateway.sessions import Session
from rpacs_hub.permissions import Actor

__all__ = ["ExplorerAddress", "ExplorerAddresses"]

_MOST_OPEN = 20


@dataclass(frozen=True)
class ExplorerAddress:
    """An address, without its secret.

    Attributes
    ----------
    id
        Names it in the audit; opens nothing.
    session
        Whose it is.
    reason
        Why the images are needed, as it was given when the address was made.
    expires
        When it ends, in seconds of the monotonic clock.
    """

    id: uuid.UUID
    session: Session = field(repr=False)
    reason: str | None
    expires: float


class ExplorerAddresses:
    """The addresses that are open.

    Parameters
    ----------
    authenticator
        Tells whether a session goes on, and in which groups its owner is.
    """

    def __init__(self, authenticator: Authenticator):
        self._authenticator = authenticator
        self._open: dict[bytes, ExplorerAddress] = {}

    def create(self, session: Session, minutes: float, reason: str | None) -> tuple[ExplorerAddress, str]:
        """Make an address and return it with its secret of 256 random bits, which is kept nowhere.

        One person has 20 at most: a further one ends her oldest.
        """
        secret = secrets.token_urlsafe(32)
        now = time.monotonic()
        self._open = {key: each for key, each in self._open.items() if each.expires > now}
        own = [key for key, each in self._open.items() if each.session.actor.name == session.actor.name]
        for key in own[: max(0, len(own) - _MOST_OPEN + 1)]:
            del self._open[key]
        address = ExplorerAddress(uuid.uuid4(), session, reason, now + 60 * minutes)
        self._open[_hash(secret)] = address
        return address, secret

    async def open(self, secret: str, *, fresh: bool) -> tuple[ExplorerAddress, Actor] | None:
        """Return the address with this secret, and its owner as the Hub knows her now.

        Parameters
        ----------
        secret
            What the address holds.
        fresh
            Whether to ask the Hub in any case, or to be content with an answer that is some seconds old.

        Returns
        -------
        tuple or None
            None where there is no such address, or where it or its session has ended.

        Raises
        ------
        HubUnavailable
            There is no telling at the moment.
        """
        key = _hash(secret)
        address = self._open.get(key)
        if address is None:
            return None
        if address.expires <= time.monotonic():
            self._open.pop(key, None)
            return None
        session = address.session
        try:
            actor = await self._authenticator.actor(session.token, session.at_hub, fresh=fresh)
        except ApiError:
            # She signed out, was locked out or removed: what ended does not come back.
            self._open.pop(key, None)
            return None
        return address, actor


def _hash(secret: str) -> bytes:
    # Nothing to guess, so a fast digest is enough; and looking it up tells nothing by how long it takes.
    return hashlib.sha256(secret.encode("utf-8", "replace")).digest()
