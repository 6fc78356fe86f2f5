"""The files in force: the permissions and the de-identification rules, their digests, and what is wrong with them."""

from __future__ import annotations

import psycopg
import psycopg_pool

from rpacs_hub.errors import HubError
from rpacs_hub.gateway._exchange import Reply
from rpacs_hub.gateway.admin import versions
from rpacs_hub.gateway.admin._page import AdminCall, NavEntry, get, page
from rpacs_hub.pipeline import Rules, rules_in_force

__all__ = ["NAV", "ROUTES"]

NAV = NavEntry("Files in force", "files")


async def show(call: AdminCall) -> Reply:
    """Show them."""
    store = call.services.permissions
    rules, unknown = await _rules(call)
    return page(
        call,
        "files.html",
        title="Files in force",
        name=store.name,
        state=store.state,
        problems=store.state.error.problems if store.state.error else (),
        newest=await versions.newest(call),
        rules=rules,
        unknown=unknown,
    )


async def _rules(call: AdminCall) -> tuple[Rules | None, str]:
    """Return what the de-identifier says of its rules, or why nothing is known of them."""
    try:
        async with call.services.pool.connection() as connection:
            return await rules_in_force(connection), ""
    except HubError as error:
        return None, str(error)
    except (psycopg.Error, psycopg_pool.PoolTimeout):
        return None, "The database does not answer."


ROUTES = (get("files", show),)
