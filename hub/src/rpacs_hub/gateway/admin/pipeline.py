"""The pipeline: from the ingest Orthanc through the de-identifier and the index to what can be searched."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, Final

from rpacs_hub.errors import DatabaseUnavailable, PipelineAbsent
from rpacs_hub.gateway._exchange import Reply
from rpacs_hub.gateway.admin._database import working
from rpacs_hub.gateway.admin._page import AdminCall, NavEntry, get, page
from rpacs_hub.gateway.api.health import part_states
from rpacs_hub.index import read_status
from rpacs_hub.pipeline import OUTCOMES, Hour, PipelineState, read_state

__all__ = ["NAV", "ROUTES"]

NAV = NavEntry("Pipeline", "pipeline")

_SHOWN: Final = ("done", "quarantined", "discarded")
_HEIGHT: Final = 100
_WIDTH: Final = 20


@dataclass(frozen=True)
class Bar:
    """A piece of the picture: `outcome` of one hour, in the picture's units from its upper left corner."""

    outcome: str
    x: float
    y: float
    width: float
    height: float


async def pipeline(call: AdminCall) -> Reply:
    """Show how each part is and how much goes through it."""
    states, index = await asyncio.gather(part_states(call.services), _index(call.services.settings.database_url))
    state: PipelineState | None = None
    absent: PipelineAbsent | None = None
    async with working(call) as connection:
        try:
            state = await read_state(connection)
        except PipelineAbsent as error:
            absent = error
    return page(
        call,
        "pipeline.html",
        title="Pipeline",
        state=state,
        absent=absent,
        outcomes=OUTCOMES,
        bars=_bars(state.hours) if state else (),
        highest=max((_shown(hour) for hour in state.hours), default=0) if state else 0,
        width=_WIDTH * 24,
        height=_HEIGHT,
        states=states,
        index=index,
        refresh=call.arguments.get("refresh") != "no",
    )


def _shown(hour: Hour) -> int:
    return sum(hour.counts.get(outcome, 0) for outcome in _SHOWN)


def _bars(hours: list[Hour]) -> list[Bar]:
    highest = max((_shown(hour) for hour in hours), default=0)
    bars = []
    for place, hour in enumerate(hours):
        top = float(_HEIGHT)
        for outcome in _SHOWN:
            number = hour.counts.get(outcome, 0)
            if number:
                # What happened at all is to be seen, however much there was in other hours.
                height = max(1.5, round(_HEIGHT * number / highest, 1))
                top = max(0.0, top - height)
                bars.append(Bar(outcome, place * _WIDTH + 2, round(top, 1), _WIDTH - 4, height))
    return bars


async def _index(url: str) -> dict[str, Any]:
    try:
        return await asyncio.to_thread(read_status, url)
    except DatabaseUnavailable:
        return {}


ROUTES = (get("pipeline", pipeline),)
