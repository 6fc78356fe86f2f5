"""The commands ``rpacs-hub explain`` and ``rpacs-hub profiles``: who sees what and why, and how that is changed."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psycopg_pool

from rpacs_hub.audit.terminal import at_terminal, terminal_user
from rpacs_hub.errors import PermissionsNotSaved, SettingsError
from rpacs_hub.index import Index, Level, Visible
from rpacs_hub.permissions.changes import holders, paths_of, sight
from rpacs_hub.permissions.decide import Action, Actor
from rpacs_hub.permissions.explanation import Explanation, explain
from rpacs_hub.permissions.preview import Preview, preview
from rpacs_hub.permissions.profiles import Permissions, parse_permissions
from rpacs_hub.permissions.store import PermissionsStore
from rpacs_hub.permissions.versions import Version, difference_of
from rpacs_hub.permissions.watch import load_permissions
from rpacs_hub.settings import permissions_place

__all__ = ["add_commands"]

_LONG = 600.0
"""Seconds that counting may take at a terminal."""


def add_commands(commands: Any) -> None:
    """Add ``explain`` and ``profiles`` to the commands of ``rpacs-hub``."""
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
    _add_profiles(commands)


def _add_profiles(commands: Any) -> None:
    profiles = commands.add_parser(
        "profiles",
        help="the permissions: look at them, change them, go back",
        description="Run it with the settings of the gateway (RPACS_DATABASE_URL, RPACS_PERMISSIONS).",
    ).add_subparsers(required=True, metavar="COMMAND")
    listed = profiles.add_parser("list", help="the profiles in force, who has them, and how many studies they show")
    listed.add_argument("--json", action="store_true", help="as JSON")
    listed.set_defaults(run=_run(_list))
    show = profiles.add_parser("show", help="the permissions file in force, or an earlier version of it")
    show.add_argument("version", nargs="?", type=int, metavar="VERSION")
    show.set_defaults(run=_run(_show))
    seen = profiles.add_parser("preview", help="what a new permissions file would change, for whom, in studies")
    seen.add_argument("file", metavar="FILE", help="the new permissions file; - = standard input")
    _add_people(seen)
    seen.set_defaults(run=_run(_preview))
    applied = profiles.add_parser(
        "apply",
        help="put a new permissions file in force, after its preview",
        description="Exit code 0 = in force, 1 = not, and nothing changed.",
    )
    applied.add_argument("file", metavar="FILE", help="the new permissions file; - = standard input (with --yes)")
    applied.add_argument("--expect", metavar="DIGEST", help="only if the file in force has this digest")
    _add_people(applied)
    _add_saving(applied)
    applied.set_defaults(run=_run(_apply))
    versions = profiles.add_parser("versions", help="every content that was in force, newest first")
    versions.add_argument("--limit", type=int, default=50, metavar="N", help="the most to show (default: 50)")
    versions.add_argument("--json", action="store_true", help="as JSON")
    versions.set_defaults(run=_run(_versions))
    diff = profiles.add_parser("diff", help="the lines in which two versions differ; exit code 1 = they do")
    diff.add_argument("old", type=int, metavar="VERSION")
    diff.add_argument("new", type=int, nargs="?", metavar="VERSION", help="the file as it is now if left out")
    diff.set_defaults(run=_run(_diff))
    back = profiles.add_parser("rollback", help="put an earlier version in force again, after its preview")
    back.add_argument("version", type=int, metavar="VERSION")
    _add_people(back)
    _add_saving(back)
    back.set_defaults(run=_run(_roll_back))


def _add_people(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--person",
        action="append",
        default=[],
        metavar="NAME[:GROUP,...]",
        help="also preview for this user with these groups of hers, which live in the Hub; may be repeated. "
        "Groups, and users whom the files name, are previewed anyway",
    )


def _add_saving(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--why", required=True, metavar="TEXT", help="the reason; it is kept with the version")
    parser.add_argument("--yes", action="store_true", help="do not ask")


def _explain(arguments: argparse.Namespace) -> int:
    url, place = _settings()
    permissions = load_permissions(place)
    level = next(one for one in (Level.INSTANCE, Level.SERIES, Level.STUDY) if getattr(arguments, one))
    actor = Actor(arguments.user, frozenset(arguments.group))
    found = asyncio.run(_ask(url, permissions, actor, getattr(arguments, level).strip(), level))
    if found is None:
        print(f"The index has no {level} with this UID.")
        return 1
    print(found.words(actor.name))
    return 0 if found.allowed else 1


async def _ask(url: str, permissions: Permissions, actor: Actor, uid: str, level: Level) -> Explanation | None:
    async with _pool(url) as pool:
        return await explain(Index(pool), permissions, actor, uid, (level,), everything=True)


def _settings() -> tuple[str, Path | str]:
    url, place = os.environ.get("RPACS_DATABASE_URL", ""), os.environ.get("RPACS_PERMISSIONS", "")
    if not url or not place:
        raise SettingsError(
            f"{'RPACS_DATABASE_URL' if not url else 'RPACS_PERMISSIONS'} is not set.",
            "Run this with the settings of the gateway.",
        )
    return url, permissions_place(place)


@asynccontextmanager
async def _pool(url: str) -> AsyncIterator[psycopg_pool.AsyncConnectionPool[Any]]:
    pool: psycopg_pool.AsyncConnectionPool[Any] = psycopg_pool.AsyncConnectionPool(
        url,
        min_size=1,
        max_size=1,
        timeout=10,
        open=False,
        kwargs={"autocommit": True, "prepare_threshold": None, "connect_timeout": 5},
    )
    async with pool:
        yield pool


Command = Callable[[argparse.Namespace, PermissionsStore, Index], Awaitable[int]]


def _run(command: Command) -> Callable[[argparse.Namespace], int]:
    """Return what runs a command with the permissions and the index of the settings."""

    async def work(arguments: argparse.Namespace) -> int:
        url, place = _settings()
        async with _pool(url) as pool:
            store = PermissionsStore(place, pool)
            await store.look(keep=False)
            if store.state.error is not None:
                print(f"rpacs-hub: {store.name} is not in force. {store.state.error}", file=sys.stderr)
            return await command(arguments, store, Index(pool, timeout=60))

    return lambda arguments: asyncio.run(work(arguments))


async def _list(arguments: argparse.Namespace, store: PermissionsStore, index: Index) -> int:
    permissions = store.current
    users, groups = holders(permissions)
    found: list[dict[str, Any]] = []
    for name, profile in permissions.profiles.items():
        found.append(
            {
                "name": name,
                "description": profile.description,
                "shows": sight(profile),
                "orthanc": paths_of(profile),
                "access_reason": profile.access_reason,
                "users": [user for user, held in users.items() if name in held],
                "groups": [group for group, held in groups.items() if name in held],
                "studies": await index.count(profile.filter, Level.STUDY, Visible.everything()),
            }
        )
    if arguments.json:
        print(json.dumps(found, ensure_ascii=False))
        return 0
    for one in found:
        print(f"{one['name']}: {one['studies']} studies; shows {one['shows']}")
        for title, key in (("about", "description"), ("Orthanc", "orthanc"), ("asks for", "access_reason")):
            if one[key]:
                print(f"  {title}: {one[key]}")
        held = [f"user {name}" for name in one["users"]] + [f"group {name}" for name in one["groups"]]
        print(f"  held by: {', '.join(held) or 'nobody'}")
    return 0


async def _show(arguments: argparse.Namespace, store: PermissionsStore, _: Index) -> int:
    text = store.state.text if arguments.version is None else (await _version(store, arguments.version)).text
    sys.stdout.write(text)
    return 0


async def _preview(arguments: argparse.Namespace, store: PermissionsStore, index: Index) -> int:
    _print_preview(await _preview_of(arguments, store, index, _read(arguments.file)))
    return 0


async def _apply(arguments: argparse.Namespace, store: PermissionsStore, index: Index) -> int:
    if arguments.expect is not None and arguments.expect != store.state.found_digest:
        raise PermissionsNotSaved(
            "changed_meanwhile",
            "The permissions file does not have that digest.",
            "Look at what changed: profiles diff.",
        )
    text = _read(arguments.file)
    _print_preview(await _preview_of(arguments, store, index, text))
    if not _agreed(arguments):
        return 1
    expected = store.state.found_digest
    with at_terminal(Action.CHANGE_PERMISSIONS, [store.name], arguments.why):
        made = await store.save(text, expected=expected, who=terminal_user(), why=arguments.why)
    _print_saved(made)
    return 0


async def _roll_back(arguments: argparse.Namespace, store: PermissionsStore, index: Index) -> int:
    old = await _version(store, arguments.version)
    _print_preview(await _preview_of(arguments, store, index, old.text))
    if not _agreed(arguments):
        return 1
    expected = store.state.found_digest
    with at_terminal(Action.CHANGE_PERMISSIONS, [store.name], arguments.why):
        made = await store.roll_back(old.number, expected=expected, who=terminal_user(), why=arguments.why)
    _print_saved(made)
    return 0


async def _versions(arguments: argparse.Namespace, store: PermissionsStore, _: Index) -> int:
    for one in await store.versions.list(max(arguments.limit, 1)):
        if arguments.json:
            found = {"version": one.number, "at": one.at.isoformat(), "who": one.who, "why": one.why}
            print(json.dumps({**found, "source": one.source, "digest": one.digest}, ensure_ascii=False))
        else:
            print(f"{one.number:5}  {one.at:%Y-%m-%d %H:%M:%S}  {one.digest[:12]}  {one.who}: {one.why}")
    return 0


async def _diff(arguments: argparse.Namespace, store: PermissionsStore, _: Index) -> int:
    old = await _version(store, arguments.old)
    if arguments.new is None:
        text, name = store.state.text, "in force"
    else:
        text, name = (await _version(store, arguments.new)).text, f"version {arguments.new}"
    lines = difference_of(old.text, text, f"version {old.number}", name)
    if lines:
        print("\n".join(lines))
    return 1 if lines else 0


async def _version(store: PermissionsStore, number: int) -> Version:
    found = await store.versions.get(number)
    if found is None:
        raise PermissionsNotSaved("version_unknown", f"There is no version {number}.", "See: profiles versions.")
    return found


async def _preview_of(arguments: argparse.Namespace, store: PermissionsStore, index: Index, text: str) -> Preview:
    people = []
    for word in arguments.person:
        name, _, groups = word.partition(":")
        people.append(Actor(name, frozenset(filter(None, groups.split(",")))))
    return await preview(index, store.current, parse_permissions(text), people, seconds=_LONG)


def _print_preview(found: Preview) -> None:
    print("\n".join(found.changes) or "Nothing changes for anybody.")
    for effect in found.effects:
        if effect.overlap is None:
            print(f"- {effect.summary}")
        else:
            before, after = effect.overlap.before.studies, effect.overlap.after.studies
            print(f"- {effect.summary}: sees {before} studies now, {after} then")
        for words in effect.words:
            print(f"    {words}")
    print(f"For {found.unchanged} people and groups nothing changes.")


def _print_saved(made: Version) -> None:
    print(f"Version {made.number} is saved; the gateway puts it in force within ten seconds.")


def _agreed(arguments: argparse.Namespace) -> bool:
    if arguments.yes:
        return True
    if not sys.stdin.isatty():
        print("Nothing was changed: say --yes where nobody can be asked.", file=sys.stderr)
        return False
    print("Put this in force? [yes/no] ", end="", flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _read(name: str) -> str:
    try:
        data = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
        return data.decode()
    except OSError as error:
        raise SettingsError(f"{name} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        parse_permissions(data)  # says where
        raise
