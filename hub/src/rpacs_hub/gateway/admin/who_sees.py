"""Who sees what: somebody and a study, a series, an image or a query, and whether and why she sees it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import dicom_query
from rpacs_hub.errors import HubError, SearchError
from rpacs_hub.gateway._exchange import ApiError, Reply
from rpacs_hub.gateway.admin._page import AdminCall, NavEntry, get, page
from rpacs_hub.index import Overlap, Visible
from rpacs_hub.permissions import Actor, explain, held_profiles, visible_to
from rpacs_hub.permissions.changes import come_by, paths_of, sight

__all__ = ["NAV", "ROUTES"]

NAV = NavEntry("Who sees what", "who-sees")


@dataclass(frozen=True)
class Held:
    """One profile that somebody holds, and what it shows of what was asked.

    Attributes
    ----------
    name, via, shows, paths, access_reason
        Of the profile, in words.
    overlap
        `Overlap.before` is what it shows.
    """

    name: str
    via: str
    shows: str
    paths: str
    access_reason: str
    overlap: Overlap


async def who_sees(call: AdminCall) -> Reply:
    """Answer for a user, some groups, and a UID or a query."""
    asked = {name: call.arguments.get(name, "") for name in ("user", "groups", "uid", "query")}
    unknown = ""
    people: list[Actor] = []
    try:
        people = sorted(await call.services.authenticator.everybody(call.token), key=lambda actor: actor.name)
    except HubError as error:
        unknown = error.message
    permissions = call.services.permissions.current
    known = {group for actor in people for group in actor.groups}
    known.update(group for grant in permissions.grants for group in grant.groups)
    values: dict[str, Any] = {
        "asked": asked,
        "people": people,
        "known": sorted(known),
        "unknown": unknown,
        "actor": None,
        "held": [],
        "seen": None,
        "explanation": None,
        "complaint": "",
        "words": "",
    }
    if asked["user"] or asked["groups"]:
        values["actor"] = actor = _actor(asked["user"], asked["groups"], people)
        call.event.subject = asked["user"] or None
        try:
            values |= await _answer(call, actor, asked["uid"], asked["query"])
        except (ApiError, SearchError) as error:
            values["complaint"] = f"{error.message} {error.hint}".strip()
        except dicom_query.QueryError as error:
            values["complaint"] = (
                f"The query, character {error.position + 1}: {error.message} {error.hint or ''}".strip()
            )
    return page(call, "who_sees.html", title="Who sees what", **values)


async def _answer(call: AdminCall, actor: Actor, uid: str, text: str) -> dict[str, Any]:
    permissions, index = call.services.permissions.current, call.services.index
    if uid and text:
        raise ApiError(400, "request_invalid", "Give a UID or a query.", "Not both.")
    if uid:
        call.event.identifiers = [uid[:128]]
        found = await explain(index, permissions, actor, uid, everything=True)
        if found is None:
            raise ApiError(404, "not_found", "The index has no image, series or study with this UID.")
        return {"explanation": found}
    query = None
    if text:
        call.event.query = text[:4000]
        query = dicom_query.parse(text)
    everything = Visible.everything()
    held = []
    for name, (users, groups) in held_profiles(permissions, actor).items():
        profile = permissions.profiles[name]
        shown = everything if profile.filter is None else Visible((profile.filter,))
        overlap = await index.overlap(shown, everything, query)
        held.append(
            Held(name, come_by(users, groups), sight(profile), paths_of(profile), profile.access_reason, overlap)
        )
    return {
        "held": held,
        "seen": await index.overlap(visible_to(permissions, actor), everything, query),
        "words": dicom_query.explain(query) if query else "",
    }


def _actor(user: str, groups: str, people: list[Actor]) -> Actor:
    """Return whom it is about: with the groups that were given, otherwise with those that the Hub knows."""
    given = frozenset(filter(None, (part.strip() for part in groups.split(","))))
    known = next((actor for actor in people if actor.name == user), None)
    return known if known is not None and not given else Actor(user, given)


ROUTES = (get("who-sees", who_sees),)
