"""The first page: how the parts are, how much there is, and what is in force."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from rpacs_hub.errors import DatabaseUnavailable
from rpacs_hub.gateway._exchange import Reply
from rpacs_hub.gateway.admin._page import AdminCall, NavEntry, get, page
from rpacs_hub.gateway.api.health import part_states
from rpacs_hub.index import read_status

__all__ = ["NAV", "ROUTES"]

NAV = NavEntry("Overview", "")


@dataclass(frozen=True)
class Part:
    """How one part of the workbench is.

    Attributes
    ----------
    title
        Its name.
    well
        Whether it does its work; None where nobody knows.
    text
        The same in words.
    """

    title: str
    well: bool | None
    text: str


async def overview(call: AdminCall) -> Reply:
    """Show it."""
    services = call.services
    states, index = await asyncio.gather(part_states(services), _index(services.settings.database_url))
    parts = [
        Part("Database", states["database"] == "ok", "answers" if states["database"] == "ok" else "does not answer"),
        Part("Image archive", states["orthanc"] == "ok", "answers" if states["orthanc"] == "ok" else "does not answer"),
        _indexer(index),
        Part("Exports", services.exporter is not None, "ready" if services.exporter else "waits for the database"),
    ]
    state = services.permissions.state
    return page(
        call,
        "overview.html",
        title="Overview",
        parts_of_it=parts,
        index=index,
        permissions=state.permissions,
        problems=state.error.problems if state.error else (),
        groups=sorted({group for grant in state.permissions.grants for group in grant.groups}),
    )


async def _index(url: str) -> dict[str, Any]:
    try:
        return await asyncio.to_thread(read_status, url)
    except DatabaseUnavailable:
        return {}


def _indexer(index: dict[str, Any]) -> Part:
    if not index:
        return Part("Index", None, "not known while the database does not answer")
    if not index["running"]:
        return Part("Index", False, "the indexer gives no sign of life: new images do not show")
    if index["trouble"]:
        return Part("Index", False, f"pauses: {index['trouble']}")
    if index["behind"]:
        return Part("Index", True, f"follows the archive, {index['behind']} changes behind")
    return Part("Index", True, "up to date")


ROUTES = (get("", overview),)
