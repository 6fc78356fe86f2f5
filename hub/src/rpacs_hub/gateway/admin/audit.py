"""The audit: searching it, taking it away as CSV, and whether it is whole."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from rpacs_hub.audit.search import AuditFilter, csv_head, csv_row
from rpacs_hub.audit.verification import last_check
from rpacs_hub.gateway._exchange import ApiError, Reply
from rpacs_hub.gateway.admin._database import reading, working
from rpacs_hub.gateway.admin._page import AdminCall, NavEntry, get, page, post, redirect
from rpacs_hub.permissions import Action

__all__ = ["NAV", "ROUTES"]

NAV = NavEntry("Audit", "audit")

_ROWS: Final = 50
_BATCH: Final = 1000
_PATIENCE: Final = 2.0
_DECISIONS: Final = ("allowed", "denied", "error")
_FIELDS: Final = ("user", "action", "decision", "since", "until", "containing", "identifier", "request_id")


async def search(call: AdminCall) -> Reply:
    """Show the lines that are asked for, the newest first, and whether the audit is whole."""
    given = {name: call.arguments.get(name, "") for name in _FIELDS}
    before = _number(call.arguments.get("before", ""))
    wanted, problem = _filter(given)
    lines: list[dict[str, Any]] = []
    async with reading(call) as connection:
        if not problem:
            statement, values = replace(wanted, before=before, limit=_ROWS + 1).statement()
            cursor = await connection.execute(statement.encode(), values)
            lines = [json.loads(line) for (line,) in await cursor.fetchall()]
    async with working(call) as connection:
        check = await last_check(connection)
    more, lines = len(lines) > _ROWS, lines[:_ROWS]
    call.event.query, call.event.count = _words(given), len(lines)
    return page(
        call,
        "audit.html",
        title="Audit",
        status=400 if problem else 200,
        given=given,
        problem=problem,
        lines=lines,
        actions=[str(action) for action in Action],
        decisions=_DECISIONS,
        first=call.url("audit", **given) if before else None,
        after=call.url("audit", **given, before=lines[-1]["seq"]) if more else None,
        table=call.url("audit.csv", **given),
        check=check,
        running=call.services.verifier.running,
    )


async def one_line(call: AdminCall) -> Reply:
    """Show everything about one line."""
    seq = _number(call.path["seq"])
    async with reading(call) as connection:
        cursor = await connection.execute("SELECT line FROM audit.event WHERE seq = %s", (seq,))
        row = await cursor.fetchone()
    if row is None:
        raise ApiError(404, "not_found", "The audit has no such line.")
    call.event.subject = f"line {seq}"
    return page(call, "audit_line.html", title=f"Audit line {seq}", line=json.loads(row[0]))


async def table(call: AdminCall) -> Reply:
    """Hand out all lines that are asked for as CSV, as they stood when it was asked."""
    given = {name: call.arguments.get(name, "") for name in _FIELDS}
    wanted, problem = _filter(given)
    if problem:
        raise ApiError(400, "request_invalid", problem)
    async with reading(call) as connection:
        statement, values = wanted.count_statement()
        row = await (await connection.execute(statement.encode(), values)).fetchone()
    count, newest = row or (0, 0)
    call.event.query, call.event.count = _words(given), count
    name = f"audit-{datetime.now(UTC):%Y%m%d-%H%M%S}.csv"
    return Reply(
        stream=_rows(call, replace(wanted, before=newest + 1, limit=_BATCH)),
        content_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


async def _rows(call: AdminCall, wanted: AuditFilter) -> AsyncIterator[bytes]:
    # One batch after another, so that no transaction is held open by a slow reader.
    yield csv_head().encode()
    while True:
        async with reading(call) as connection:
            statement, values = wanted.statement()
            found = [
                json.loads(line) for (line,) in await (await connection.execute(statement.encode(), values)).fetchall()
            ]
        if found:
            yield "".join(map(csv_row, found)).encode()
        if len(found) < _BATCH:
            return
        wanted = replace(wanted, before=found[-1]["seq"])


async def verify(call: AdminCall) -> Reply:
    """Check the whole audit now; the page shows how far it is, and later what was found."""
    await call.begin(Action.ADMIN_VERIFY_AUDIT, "audit")
    verifier = call.services.verifier
    if not verifier.start(call.actor.name):
        return redirect(call, "audit", message="A check is under way already.")
    if not await verifier.wait(_PATIENCE):
        return redirect(call, "audit", message="The audit is being checked.")
    async with working(call) as connection:
        check = await last_check(connection)
    if check is None or check.error is not None:
        why = check.error if check and check.error else "the gateway's log says why"
        return redirect(call, "audit", message=f"The audit could not be checked: {why}", warning=True)
    if check.findings:
        words = f"The audit is NOT whole: {check.findings} findings in {check.lines} lines."
        return redirect(call, "audit", message=words, warning=True)
    return redirect(call, "audit", message=f"The audit is whole: {check.lines} lines, all in their place.")


def _filter(given: Mapping[str, str]) -> tuple[AuditFilter, str]:
    """Return what is asked for, and what is wrong with it in words."""
    times: dict[str, datetime | None] = {}
    for name, words in (("since", "The beginning"), ("until", "The end")):
        try:
            found = datetime.fromisoformat(given[name]) if given[name] else None
        except ValueError:
            return AuditFilter(), f"{words} is no date: write 2026-03-31 or 2026-03-31T14:00."
        times[name] = found.replace(tzinfo=UTC) if found is not None and found.tzinfo is None else found
    if given["decision"] and given["decision"] not in _DECISIONS:
        return AuditFilter(), f"A decision is one of {', '.join(_DECISIONS)}."
    texts = {name: given[name] or None for name in _FIELDS if name not in times}
    wanted = AuditFilter(
        user=texts["user"],
        action=texts["action"],
        decision=texts["decision"],
        request_id=texts["request_id"],
        containing=texts["containing"],
        identifier=texts["identifier"],
        since=times["since"],
        until=times["until"],
    )
    return wanted, ""


def _words(given: Mapping[str, str]) -> str:
    """Return what was asked for, for the audit line of the search itself."""
    return " ".join(f"{name}={value!r}" for name, value in given.items() if value)[:1000]


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


ROUTES = (
    get("audit", search, Action.ADMIN_SEARCH_AUDIT),
    get("audit.csv", table, Action.ADMIN_SEARCH_AUDIT),
    post("audit/verify", verify, Action.ADMIN_VERIFY_AUDIT),
    get("audit/{seq}", one_line, Action.ADMIN_SEARCH_AUDIT),
)
