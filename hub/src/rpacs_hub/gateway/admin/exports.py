"""Exports of everybody: who sends what where, and stopping one."""

from __future__ import annotations

from typing import Final

from rpacs_hub.exports import EveryonesExports
from rpacs_hub.gateway._exchange import Reply
from rpacs_hub.gateway.admin._page import AdminCall, NavEntry, confirm, get, page, post, redirect, required
from rpacs_hub.permissions import Action

__all__ = ["NAV", "ROUTES"]

NAV = NavEntry("Exports", "exports")

_ROWS: Final = 50


def _exports(call: AdminCall) -> EveryonesExports:
    return EveryonesExports(call.services.pool, call.services.exporter)


async def everyones(call: AdminCall) -> Reply:
    """Show the exports, the newest first."""
    user, active = call.arguments.get("user", ""), call.arguments.get("active", "") == "yes"
    before = call.arguments.get("before", "")
    found = await _exports(call).list(user=user or None, active=active, before=before or None, limit=_ROWS + 1)
    more, found = len(found) > _ROWS, found[:_ROWS]
    call.event.count = len(found)
    chosen = {"user": user, "active": "yes" if active else ""}
    return page(
        call,
        "exports.html",
        title="Exports",
        exports=found,
        user=user,
        active=active,
        moving=any(export.state.active for export in found),
        first=call.url("exports", **chosen) if before else None,
        after=call.url("exports", **chosen, before=found[-1].id) if more else None,
    )


async def one(call: AdminCall) -> Reply:
    """Show everything about one export."""
    export = await _exports(call).get(call.path["id"])
    call.event.subject = str(export.id)
    return page(call, "export.html", title=f"Export of {export.user}", export=export)


async def cancel(call: AdminCall) -> Reply:
    """Stop an export; what was sent stays in the bucket."""
    why = required(call, "why", "The reason")[:300]
    export = await _exports(call).get(call.path["id"])
    if not call.confirmed:
        return confirm(
            call,
            f"Cancel this export of {export.user}?",
            text=f"{export.done} of {export.total} instances are in {export.destination} and stay there. {export.user} "
            f"reads why: {why}",
            button="Cancel the export",
            back=f"exports/{export.id}",
        )
    await call.begin(Action.ADMIN_CANCEL_EXPORT, str(export.id))
    call.event.reason = why
    ended = await _exports(call).cancel(export.id, why)
    return redirect(call, f"exports/{export.id}", message=ended.message)


ROUTES = (
    get("exports", everyones, Action.ADMIN_LIST_EXPORTS),
    get("exports/{id}", one, Action.ADMIN_LIST_EXPORTS),
    post("exports/{id}/cancel", cancel, Action.ADMIN_CANCEL_EXPORT),
)
