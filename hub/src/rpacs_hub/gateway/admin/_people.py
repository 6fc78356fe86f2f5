"""People and groups for the pages: the room that does things, and what the gateway itself has to do about it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import ParamSpec, TypeVar

import psycopg
import psycopg_pool

from rpacs_hub.errors import HubError
from rpacs_hub.gateway._exchange import Reply
from rpacs_hub.gateway.admin._page import AdminCall, redirect
from rpacs_hub.index import Level
from rpacs_hub.people import HubUsers, Outcome, People
from rpacs_hub.permissions import Actor, Permissions, held_profiles, visible_to
from rpacs_hub.permissions._words import come_by, shown

__all__ = ["Held", "Seen", "Side", "held", "last_requests", "note", "people", "seen", "told"]

_P = ParamSpec("_P")
_T = TypeVar("_T")

_LAST = """
SELECT name, (SELECT max(time) FROM audit.event WHERE "user" = name) FROM unnest(%s::text[]) AS name
"""


class Side:
    """The room `rpacs_hub.people`, as the administrator of one request may use it."""

    def __init__(self, call: AdminCall, room: People):
        self._call = call
        self.room = room

    async def do(self, what: Callable[_P, _T], *arguments: _P.args, **more: _P.kwargs) -> _T:
        """Call a method of the room, which waits for the network."""
        return await asyncio.to_thread(what, *arguments, **more)

    async def locked_out(self, name: str, outcome: Outcome) -> None:
        """Do the gateway's part when somebody is locked out: her personal addresses end, and nothing is remembered."""
        self._call.services.authenticator.forget(name)
        await self.addresses_end(name, outcome)

    async def addresses_end(self, name: str, outcome: Outcome) -> None:
        """Close somebody's personal viewer addresses: no sign-in stands behind them that could be renewed."""
        try:
            number = await self._call.services.viewer_addresses.revoke_all(name)
        except HubError as error:
            outcome.failed.append(f"Her personal viewer addresses could not be closed: {error.message}")
        else:
            if number:
                outcome.done.append(f"{number} personal viewer address{'es' if number > 1 else ''} of hers ended.")


@contextlib.asynccontextmanager
async def people(call: AdminCall) -> AsyncIterator[Side]:
    """Give the room, at the Hub with the administrator's own token."""
    services = call.services
    with contextlib.ExitStack() as stack:
        hub = None
        if services.settings.hub_api_url:
            hub = stack.enter_context(HubUsers(services.settings.hub_api_url, call.token))
        yield Side(call, People(services.user_pool, hub, services.settings.admin_group, call.actor.name))


def note(call: AdminCall, outcome: Outcome) -> None:
    """Put what was done, and what was not, into the audit line."""
    call.event.why = [*outcome.done, *outcome.failed]
    if outcome.failed:
        call.event.decision = "error"


def told(call: AdminCall, back: str, outcome: Outcome) -> Reply:
    """Write down what came of it and go to a page that says it."""
    note(call, outcome)
    return redirect(call, back, message=outcome.text, warning=bool(outcome.failed))


@dataclass(frozen=True)
class Held:
    """A profile that somebody holds.

    Attributes
    ----------
    name, description
        As in the permissions file.
    by
        By which users and groups, in words.
    shows
        What it shows, in words.
    """

    name: str
    description: str
    by: str
    shows: str


def held(permissions: Permissions, name: str, groups: Sequence[str]) -> list[Held]:
    """Return the profiles that somebody in these groups holds."""
    profiles = held_profiles(permissions, Actor(name, frozenset(groups)))
    return [
        Held(profile, permissions.profiles[profile].description, come_by(*by), shown(permissions.profiles[profile]))
        for profile, by in profiles.items()
    ]


@dataclass(frozen=True)
class Seen:
    """How much somebody sees."""

    studies: int
    instances: int


async def seen(call: AdminCall, name: str, groups: Sequence[str]) -> Seen | None:
    """Count what somebody in these groups sees; None where that cannot be said now."""
    visible = visible_to(call.services.permissions.current, Actor(name, frozenset(groups)))
    index = call.services.index
    try:
        studies, instances = await asyncio.gather(
            index.count(None, Level.STUDY, visible), index.count(None, Level.INSTANCE, visible)
        )
    except HubError:
        return None
    return Seen(studies, instances)


async def last_requests(call: AdminCall, names: Sequence[str]) -> dict[str, datetime | None]:
    """Return when each user last asked the gateway for something, by the audit; nothing where it cannot be read."""
    try:
        async with call.services.pool.connection(timeout=5) as connection:
            cursor = await connection.execute(_LAST, (list(names),))
            return dict(await cursor.fetchall())
    except (psycopg.Error, psycopg_pool.PoolTimeout):
        return {}
