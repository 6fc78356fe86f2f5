"""Whether the gateway and what it needs are well; the one open address."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from rpacs_hub.errors import HubError
from rpacs_hub.gateway._exchange import Call, Reply, Route

if TYPE_CHECKING:
    from rpacs_hub.gateway.app import Services

__all__ = ["ROUTES", "part_states"]


async def part_states(services: Services) -> dict[str, str]:
    """Return ``ok`` or ``down`` for what the gateway cannot do without: ``database`` and ``orthanc``."""

    async def database() -> str:
        return "ok" if await services.database_answers() else "down"

    async def orthanc() -> str:
        try:
            async with asyncio.timeout(5):
                await services.orthanc.system()
        except (HubError, TimeoutError):
            return "down"
        return "ok"

    return dict(zip(("database", "orthanc"), await asyncio.gather(database(), orthanc()), strict=True))


async def health(call: Call) -> Reply:
    """Say what answers. 503 only when searching is impossible; no data, no secrets, no addresses."""
    states = await part_states(call.services)
    state = call.services.permissions.state
    error = None
    if state.error is not None:
        first = state.error.problems[0]
        # Its words may quote a filter, and this address is open to everybody.
        error = f"{len(state.error.problems)} problem(s), the first on line {first.line}; see `rpacs-hub check`"
    well = error is None and set(states.values()) == {"ok"}
    body: dict[str, Any] = {
        "status": "ok" if well else "down" if states["database"] == "down" else "degraded",
        **states,
        "permissions": {"digest": state.permissions.digest or None, "error": error},
    }
    return Reply(503 if states["database"] == "down" else 200, body)


ROUTES = (Route("GET", "health", health, None),)
