"""Who am I here, and what may I see: the answer for the person who asks."""

from __future__ import annotations

from rpacs_hub.gateway._exchange import Call, Reply, Route
from rpacs_hub.index import MAX_COLUMNS, MAX_LIMIT
from rpacs_hub.permissions import Action, held_profiles
from rpacs_hub.rendering import MAX_SIZE

__all__ = ["MAX_EXPORT_INSTANCES", "ROUTES"]

MAX_EXPORT_INSTANCES = 200_000
"""Instances of one export."""


async def me(call: Call) -> Reply:
    """Say who asks, by which profiles what may be seen, and how those came about."""
    call.parameters(())
    permissions = call.services.permissions.current
    held = held_profiles(permissions, call.actor)
    call.event.profiles = list(held)
    profiles = [
        {
            "name": name,
            "description": permissions.profiles[name].description,
            "via": {"users": list(users), "groups": list(groups)},
            "filter": permissions.profiles[name].filter_text,
            "access_reason": permissions.profiles[name].access_reason or None,
        }
        for name, (users, groups) in held.items()
    ]
    limits = {
        "rows": MAX_LIMIT,
        "columns": MAX_COLUMNS,
        "search_seconds": call.services.settings.search_timeout,
        "picture_size": MAX_SIZE,
        "export_instances": MAX_EXPORT_INSTANCES,
        "s3_endpoints": list(call.services.settings.s3_endpoints),
    }
    actor = call.actor
    return Reply(
        json={
            "name": actor.name,
            "groups": sorted(actor.groups),
            "admin": actor.admin,
            "profiles": profiles,
            "limits": limits,
        }
    )


ROUTES = (Route("GET", "me", me, Action.ME),)
