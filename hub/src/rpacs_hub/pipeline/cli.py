"""``rpacs-hub pipeline`` and ``rpacs-hub quarantine``: the de-identifier as the hub sees it, at the terminal."""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from typing import Any, TypeVar

from psycopg import AsyncConnection

from rpacs_hub.audit.terminal import at_terminal, terminal_user
from rpacs_hub.errors import RequestRefused
from rpacs_hub.permissions import Action
from rpacs_hub.pipeline import quarantine
from rpacs_hub.pipeline.quarantine import Entry, Request
from rpacs_hub.pipeline.state import OUTCOMES, PipelineState, read_state
from rpacs_hub.settings import database_url_of_environment

__all__ = ["add_commands"]

_Result = TypeVar("_Result")
_PATIENCE = 20.0
_ACTIONS = {"retry": Action.ADMIN_RETRY_QUARANTINE, "discard": Action.ADMIN_DISCARD_QUARANTINE}
_SOURCE = "The database's address comes from RPACS_DATABASE_URL (the gateway's role)."


def add_commands(commands: Any) -> None:
    """Add ``pipeline`` and ``quarantine`` to the commands of ``rpacs-hub``.

    Parameters
    ----------
    commands
        What `argparse.ArgumentParser.add_subparsers` returned.
    """
    pipeline = commands.add_parser("pipeline", help="the de-identifier").add_subparsers(
        required=True, metavar="COMMAND"
    )
    status = pipeline.add_parser("status", help="how the de-identifier is doing", description=_SOURCE)
    status.add_argument("--json", action="store_true", help="as JSON")
    status.set_defaults(run=_status)

    held = commands.add_parser("quarantine", help="instances that could not be cleaned").add_subparsers(
        required=True, metavar="COMMAND"
    )
    listing = held.add_parser("list", help="show what is in quarantine, the newest first", description=_SOURCE)
    listing.add_argument("--reason", help="only with this reason code")
    listing.add_argument("--modality", help="only of this modality")
    listing.add_argument("--limit", type=int, default=100, metavar="N", help="at most so many (default: 100)")
    listing.add_argument("--json", action="store_true", help="as JSON")
    listing.set_defaults(run=_list)
    show = held.add_parser("show", help="show everything about one instance but the image", description=_SOURCE)
    show.add_argument("number", type=int, metavar="NUMBER")
    show.add_argument("--json", action="store_true", help="as JSON")
    show.set_defaults(run=_show)
    for action, words in (
        ("retry", "clean again, after a change of the rules for instance"),
        ("discard", "delete originals for good, without forwarding anything"),
    ):
        command = held.add_parser(action, help=words, description=f"The de-identifier carries it out. {_SOURCE}")
        which = command.add_mutually_exclusive_group(required=True)
        which.add_argument("numbers", nargs="*", type=int, default=[], metavar="NUMBER")
        which.add_argument("--reason", help="all with this reason code")
        command.add_argument("--why", required=True, metavar="TEXT", help="why; it is kept")
        if action == "discard":
            command.add_argument("--yes", action="store_true", help="really do it")
        command.set_defaults(run=_ask, action=action)


def _status(arguments: argparse.Namespace) -> int:
    state = _with(read_state)
    if arguments.json:
        print(json.dumps(state.to_json(), default=str))
    else:
        _print_status(state)
    return 0


def _print_status(state: PipelineState) -> None:
    oldest = "" if state.oldest_seconds is None else f", the oldest for {state.oldest_seconds:.0f} s"
    rules = f"{state.rules.digest[:12]} ({state.rules.source})" if state.rules.digest else "none in force"
    since = f", since {state.rules.since:%Y-%m-%d %H:%M}" if state.rules.since else ""
    lines = [
        ("processes", f"{state.alive} alive" if state.alive else "NONE is alive: start `rpacs-deid run`"),
        ("rules", f"{rules}{since}"),
        ("queued", f"{state.queued}{oldest}"),
    ]
    for outcome, words in OUTCOMES.items():
        if state.ever.get(outcome):
            lines.append(
                (
                    words,
                    f"{state.minute.get(outcome, 0)} in the last minute, {state.hour.get(outcome, 0)} in the last hour,"
                    f" {state.day.get(outcome, 0)} in the last day, {state.ever[outcome]} ever",
                )
            )
    lines += [("in quarantine", f"{number} {reason}") for reason, number in state.quarantined.items()]
    lines += [("TROUBLE", text) for text in [*filter(None, [state.rules.error]), *state.troubles]]
    for name, text in lines:
        print(f"{name:42} {text}")


def _list(arguments: argparse.Namespace) -> int:
    async def work(connection: AsyncConnection[Any]) -> list[Entry]:
        return await quarantine.entries(
            connection, reason=arguments.reason, modality=arguments.modality, limit=max(1, arguments.limit)
        )

    found = _with(work)
    if arguments.json:
        print(json.dumps([asdict(entry) for entry in found], default=str))
        return 0
    if not found:
        print("Nothing of this kind is in quarantine.")
    for entry in found:
        note = " (being retried)" if entry.retrying else ""
        print(
            f"{entry.number:>6}  {entry.first_seen:%Y-%m-%d %H:%M}  {entry.modality or '?':4}  {entry.reason:24}"
            f"  tried {entry.attempts}x  {entry.message}{note}"
        )
    return 0


def _show(arguments: argparse.Namespace) -> int:
    async def work(connection: AsyncConnection[Any]) -> Entry:
        entry = await quarantine.entry(connection, arguments.number)
        if entry is None:
            raise RequestRefused(f"Number {arguments.number} is not in quarantine.", "See `rpacs-hub quarantine list`.")
        return entry

    entry = _with(work)
    if arguments.json:
        print(json.dumps(asdict(entry), default=str))
        return 0
    for name, value in {**asdict(entry), "kind": entry.kind}.items():
        print(f"{name.replace('_', ' '):13} {'unknown' if value is None else value}")
    return 0


def _ask(arguments: argparse.Namespace) -> int:
    async def chosen(connection: AsyncConnection[Any]) -> list[int]:
        if arguments.reason is None:
            return list(arguments.numbers)
        held = await quarantine.held_by_reason(connection)
        newest = next((one.newest for one in held if one.reason == arguments.reason), 0)
        return await quarantine.numbers(connection, arguments.reason, newest)

    wanted: Sequence[int] = _with(chosen)
    if not wanted:
        raise RequestRefused("Nothing of this is in quarantine.", "See `rpacs-hub quarantine list`.")
    if arguments.action == "discard" and not arguments.yes:
        print(f"This would delete {len(wanted)} originals for good; add --yes to do it.")
        return 2

    async def work(connection: AsyncConnection[Any]) -> Request:
        asked = await quarantine.ask(connection, arguments.action, wanted, by=terminal_user(), why=arguments.why)
        deadline = asyncio.get_running_loop().time() + _PATIENCE
        while asked.state == "waiting" and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.2)
            asked = await quarantine.request(connection, asked.id) or asked
        return asked

    named = [str(number) for number in wanted]
    with at_terminal(_ACTIONS[arguments.action], named, arguments.why) as event:
        event.count = len(wanted)
        asked = _with(work)
    if asked.state == "waiting":
        reason = asked.outcome or "no process of the de-identifier has taken it: does one run?"
        print(f"Request {asked.id} waits: {reason}")
        return 1
    print(f"{asked.outcome}.")
    return 0 if asked.state == "done" else 1


def _with(work: Callable[[AsyncConnection[Any]], Awaitable[_Result]]) -> _Result:
    async def run() -> _Result:
        url = database_url_of_environment()
        async with await AsyncConnection.connect(url, autocommit=True, connect_timeout=10) as connection:
            return await work(connection)

    return asyncio.run(run())
