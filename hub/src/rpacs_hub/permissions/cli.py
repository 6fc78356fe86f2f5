"""The command ``rpacs-hub explain``: can somebody see something, and why."""

from __future__ import annotations

import argparse
import asyncio
import os
from pathlib import Path
from typing import Any

import psycopg_pool

from rpacs_hub.errors import SettingsError
from rpacs_hub.index import Index, Level
from rpacs_hub.permissions.decide import Actor
from rpacs_hub.permissions.explanation import Explanation, explain
from rpacs_hub.permissions.profiles import Permissions, load_permissions

__all__ = ["add_commands"]


def add_commands(commands: Any) -> None:
    """Add ``explain`` to the commands of ``rpacs-hub``."""
    parser = commands.add_parser(
        "explain",
        help="can a user see an instance, a series or a study, and why",
        description="Reads the index (RPACS_DATABASE_URL) and the permissions file (RPACS_PERMISSIONS). The groups are "
        "those given here: they live in the Hub. Exit code 0 = sees (some of) it, 1 = sees none of it, or an error.",
    )
    parser.add_argument("--user", required=True, metavar="U", help="name of the user on the Hub")
    parser.add_argument("--group", action="append", default=[], metavar="G", help="a group she is in; may be repeated")
    what = parser.add_mutually_exclusive_group(required=True)
    for level in (Level.INSTANCE, Level.SERIES, Level.STUDY):
        what.add_argument(f"--{level}", metavar="UID")
    parser.set_defaults(run=_explain)


def _explain(arguments: argparse.Namespace) -> int:
    url, path = os.environ.get("RPACS_DATABASE_URL", ""), os.environ.get("RPACS_PERMISSIONS", "")
    if not url or not path:
        raise SettingsError(
            f"{'RPACS_DATABASE_URL' if not url else 'RPACS_PERMISSIONS'} is not set.",
            "Run this with the settings of the gateway.",
        )
    permissions = load_permissions(Path(path))
    level = next(one for one in (Level.INSTANCE, Level.SERIES, Level.STUDY) if getattr(arguments, one))
    actor = Actor(arguments.user, frozenset(arguments.group))
    found = asyncio.run(_ask(url, permissions, actor, getattr(arguments, level).strip(), level))
    if found is None:
        print(f"The index has no {level} with this UID.")
        return 1
    print(found.words(actor.name))
    return 0 if found.allowed else 1


async def _ask(url: str, permissions: Permissions, actor: Actor, uid: str, level: Level) -> Explanation | None:
    pool: psycopg_pool.AsyncConnectionPool[Any] = psycopg_pool.AsyncConnectionPool(
        url, min_size=1, max_size=1, timeout=10, open=False, kwargs={"autocommit": True, "connect_timeout": 5}
    )
    async with pool:
        return await explain(Index(pool), permissions, actor, uid, (level,), everything=True)
