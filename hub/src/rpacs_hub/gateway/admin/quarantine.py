"""The quarantine: what could not be cleaned, why, and what to do about it. Never the image."""

from __future__ import annotations

import asyncio
from typing import Any, Final, Literal

from psycopg import AsyncConnection

from rpacs_hub import pipeline
from rpacs_hub.errors import PipelineAbsent
from rpacs_hub.gateway._exchange import ApiError, Reply
from rpacs_hub.gateway.admin._database import working
from rpacs_hub.gateway.admin._page import AdminCall, NavEntry, confirm, get, page, post, redirect, required
from rpacs_hub.permissions import Action
from rpacs_hub.pipeline import Entry, Request

__all__ = ["NAV", "ROUTES"]

NAV = NavEntry("Quarantine", "quarantine")

_ROWS: Final = 50
_PATIENCE: Final = 4.0
_ALL: Final = "all"
_UNKNOWN: Final = "unknown"


async def quarantined(call: AdminCall) -> Reply:
    """Count by reason, and list."""
    reason, modality = call.arguments.get("reason", ""), call.arguments.get("modality", "")
    before = call.arguments.get("before", "")
    async with working(call) as connection:
        try:
            held = await pipeline.held_by_reason(connection)
            found = await pipeline.entries(
                connection,
                reason=reason or None,
                modality=None if not modality else "" if modality == _UNKNOWN else modality,
                before=_number(before) if before else None,
                limit=_ROWS + 1,
            )
            known = await pipeline.modalities(connection)
            asked = await pipeline.requests(connection, 10)
        except PipelineAbsent as error:
            return page(call, "quarantine.html", title="Quarantine", absent=error)
    more, found = len(found) > _ROWS, found[:_ROWS]
    call.event.count = len(found)
    chosen = {"reason": reason, "modality": modality}
    return page(
        call,
        "quarantine.html",
        title="Quarantine",
        absent=None,
        held=held,
        this=next((one for one in held if one.reason == reason), None),
        entries=found,
        requests=asked,
        reason=reason,
        modality=modality,
        unknown=_UNKNOWN,
        modalities=known,
        first=call.url("quarantine", **chosen) if before else None,
        after=call.url("quarantine", **chosen, before=found[-1].number) if more else None,
    )


async def one(call: AdminCall) -> Reply:
    """Show everything about one entry but the image."""
    async with working(call) as connection:
        entry = await _entry(connection, call.path["number"])
    call.event.subject = f"quarantine {entry.number}"
    return page(call, "quarantine_entry.html", title=f"Quarantine {entry.number}", entry=entry)


async def retry(call: AdminCall) -> Reply:
    """Ask for one or all with a reason to be cleaned again."""
    why = call.form.get("why", "")[:500] or "retried on the page"
    async with working(call) as connection:
        numbers, what = await _chosen(connection, call)
        return await _ask(call, connection, "retry", Action.ADMIN_RETRY_QUARANTINE, numbers, what, why)


async def discard(call: AdminCall) -> Reply:
    """Ask for the originals of one or all with a reason to be deleted, after it was confirmed."""
    why = required(call, "why", "The reason")[:500]
    async with working(call) as connection:
        numbers, what = await _chosen(connection, call)
        if not call.confirmed:
            many = f"{len(numbers)} instances are" if len(numbers) != 1 else "One instance is"
            return confirm(
                call,
                f"Discard {what}?",
                text=f"{many} deleted from the ingest archive for good, without a clean copy. This cannot be undone. "
                f"The reason that is kept: {why}",
                button="Discard",
                back="quarantine",
            )
        return await _ask(call, connection, "discard", Action.ADMIN_DISCARD_QUARANTINE, numbers, what, why)


async def _chosen(connection: AsyncConnection[Any], call: AdminCall) -> tuple[list[int], str]:
    """Return the numbers that are meant, and in words."""
    if call.path["number"] != _ALL:
        entry = await _entry(connection, call.path["number"])
        return [entry.number], f"number {entry.number}"
    reason = required(call, "reason", "The reason code")
    # Not what came since the page was made: nobody has seen that.
    through = _number(required(call, "through", "The highest number"))
    numbers = await pipeline.numbers(connection, reason, through)
    if not numbers:
        raise ApiError(409, "nothing_there", "Nothing of this is in quarantine any more.", "Look at the list again.")
    return numbers, f"all {len(numbers)} with the reason {reason}"


async def _ask(
    call: AdminCall,
    connection: AsyncConnection[Any],
    action: Literal["retry", "discard"],
    name: Action,
    numbers: list[int],
    what: str,
    why: str,
) -> Reply:
    call.event.identifiers, call.event.count, call.event.reason = [str(n) for n in numbers[:1000]], len(numbers), why
    await call.begin(name, f"quarantine: {what}")
    asked = await pipeline.ask(connection, action, numbers, by=call.actor.name, why=why)
    deadline = asyncio.get_running_loop().time() + _PATIENCE
    while asked.state == "waiting" and asyncio.get_running_loop().time() < deadline:
        await asyncio.sleep(0.1)
        asked = await pipeline.request(connection, asked.id) or asked
    return redirect(call, "quarantine", message=_outcome(asked), warning=asked.state != "done")


def _outcome(asked: Request) -> str:
    if asked.state != "waiting":
        return f"Request {asked.id}: {asked.outcome}."
    why = asked.outcome or "the de-identifier has not taken it yet. Does one run? See Pipeline"
    return f"Request {asked.id} waits: {why}."


async def _entry(connection: AsyncConnection[Any], text: str) -> Entry:
    entry = await pipeline.entry(connection, _number(text))
    if entry is None:
        raise ApiError(
            404, "not_found", "This is not in quarantine (any more).", "It was cleaned or discarded: see the list."
        )
    return entry


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise ApiError(404, "not_found", "There is no such number in quarantine.")
    return int(text)


ROUTES = (
    get("quarantine", quarantined, Action.ADMIN_LOOK_AT_QUARANTINE),
    get("quarantine/{number}", one, Action.ADMIN_LOOK_AT_QUARANTINE),
    post("quarantine/{number}/retry", retry, Action.ADMIN_RETRY_QUARANTINE),
    post("quarantine/{number}/discard", discard, Action.ADMIN_DISCARD_QUARANTINE),
)
