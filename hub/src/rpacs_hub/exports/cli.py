"""``rpacs-hub exports``: everybody's exports at the terminal."""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import psycopg_pool

from rpacs_hub.audit.terminal import at_terminal
from rpacs_hub.exports.everyones import EveryonesExports
from rpacs_hub.exports.records import Export
from rpacs_hub.permissions import Action
from rpacs_hub.settings import database_url_of_environment

__all__ = ["add_commands"]


def add_commands(commands: Any) -> None:
    """Add ``exports`` to the commands of ``rpacs-hub``.

    Parameters
    ----------
    commands
        What `argparse.ArgumentParser.add_subparsers` returned.
    """
    exports = commands.add_parser("exports", help="everybody's exports").add_subparsers(
        required=True, metavar="COMMAND"
    )
    listing = exports.add_parser(
        "list",
        help="show exports, the newest first",
        description="The database's address comes from RPACS_DATABASE_URL (the gateway's role).",
    )
    listing.add_argument("--user", help="of this user")
    listing.add_argument("--active", action="store_true", help="only those that wait or run")
    listing.add_argument("--limit", type=int, default=50, metavar="N", help="at most so many (default: 50)")
    listing.add_argument("--json", action="store_true", help="as JSON")
    listing.set_defaults(run=_list)
    cancel = exports.add_parser("cancel", help="stop an export; what was sent stays in the bucket")
    cancel.add_argument("id", metavar="ID")
    cancel.add_argument("--why", required=True, metavar="TEXT", help="why; its owner reads that")
    cancel.set_defaults(run=_cancel)


def _list(arguments: argparse.Namespace) -> int:
    async def work(exports: EveryonesExports) -> list[Export]:
        return await exports.list(user=arguments.user, active=arguments.active, limit=max(1, arguments.limit))

    found = _with(work)
    if arguments.json:
        print(json.dumps([export.to_json() for export in found]))
        return 0
    if not found:
        print("There are no such exports.")
    for export in found:
        print(
            f"{export.id}  {export.created:%Y-%m-%d %H:%M}  {export.user:16}  {export.state:11}"
            f"  {export.done}/{export.total}  {export.bytes / 1e6:.1f} MB  {export.destination}"
        )
    return 0


def _cancel(arguments: argparse.Namespace) -> int:
    async def work(exports: EveryonesExports) -> Export:
        return await exports.cancel(arguments.id, arguments.why.strip())

    with at_terminal(Action.ADMIN_CANCEL_EXPORT, [arguments.id[:64]], arguments.why):
        export = _with(work)
    print(export.message)
    return 0


def _with(work: Callable[[EveryonesExports], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        pool: psycopg_pool.AsyncConnectionPool[Any] = psycopg_pool.AsyncConnectionPool(
            database_url_of_environment(), min_size=1, max_size=2, timeout=10, open=False, kwargs={"autocommit": True}
        )
        async with pool:
            return await work(EveryonesExports(pool))

    return asyncio.run(run())
