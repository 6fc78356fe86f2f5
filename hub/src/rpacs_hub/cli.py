"""The command ``rpacs-hub``."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psycopg

from rpacs_hub import database
from rpacs_hub.audit.cli import add_commands as add_audit_commands
from rpacs_hub.errors import HubError, PermissionsError, SettingsError
from rpacs_hub.exports.cli import add_commands as add_export_commands
from rpacs_hub.index import Indexer, Progress, read_status
from rpacs_hub.people.cli import add_commands as add_people_commands
from rpacs_hub.permissions import load_permissions
from rpacs_hub.permissions.cli import add_commands as add_permission_commands
from rpacs_hub.pipeline.cli import add_commands as add_pipeline_commands
from rpacs_hub.settings import GatewaySettings, IndexerSettings

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Returns
    -------
    int
        0 = done; 1 = it went wrong, and standard error says why; 2 = the command line is wrong.
    """
    arguments = _parser().parse_args(argv)
    logging.basicConfig(
        level=os.environ.get("RPACS_LOG_LEVEL", "INFO").upper(),
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    # One line for every request to Orthanc or the Hub would drown what matters.
    for name in ("httpx", "httpcore", "psycopg.pool"):
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        return int(arguments.run(arguments))
    except HubError as error:
        print(f"rpacs-hub: {error}", file=sys.stderr)
        return 1
    except psycopg.OperationalError as error:
        print(f"rpacs-hub: The database does not answer: {str(error).splitlines()[0]}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="rpacs-hub", description="The hub of the research PACS.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    index = commands.add_parser("index", help="the index of the research Orthanc").add_subparsers(
        required=True, metavar="COMMAND"
    )
    index.add_parser("run", help="follow the research Orthanc (the service)").set_defaults(run=_index_run)
    rebuild = index.add_parser(
        "rebuild",
        help="read every instance again; may run several times at once",
        description="Several of these share the work, on one machine or more. One that was stopped is gone on with.",
    )
    rebuild.add_argument("--restart", action="store_true", help="begin anew, whatever an earlier rebuild has done")
    rebuild.set_defaults(run=_index_rebuild)
    status = index.add_parser("status", help="what is in the index and how far it is")
    status.add_argument("--json", action="store_true", help="as JSON")
    status.set_defaults(run=_index_status)

    commands.add_parser("gateway", help="the gateway (a service of JupyterHub)").set_defaults(run=_gateway)

    check = commands.add_parser("check", help="check a permissions file")
    check.add_argument("file", type=Path, metavar="PERMISSIONS.yaml")
    check.set_defaults(run=_check)

    add_permission_commands(commands)
    add_audit_commands(commands)
    add_export_commands(commands)
    add_pipeline_commands(commands)
    add_people_commands(commands)

    base = commands.add_parser("database", help="the database").add_subparsers(required=True, metavar="COMMAND")
    create = base.add_parser(
        "create",
        help="create database, roles, schemas and grants; may be run again",
        description="The administrator's address comes from RPACS_DATABASE_ADMIN_URL. Passwords come from --passwords, "
        "or from RPACS_DEID_PASSWORD, RPACS_INDEXER_PASSWORD and RPACS_GATEWAY_PASSWORD; never from the command "
        "line, which every user of the machine can read.",
    )
    create.add_argument("--database", default="rpacs", help="its name (default: rpacs)")
    create.add_argument("--passwords", type=Path, metavar="FILE", help="JSON: {role: password}, mode 0600")
    create.set_defaults(run=_database_create)

    overall = commands.add_parser("status", help="index and permissions at a glance")
    overall.add_argument("--json", action="store_true", help="as JSON")
    overall.set_defaults(run=_status)
    return parser


def _index_run(_: argparse.Namespace) -> int:
    indexer = Indexer(IndexerSettings.from_environment())

    async def run() -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, indexer.stop)
        await indexer.run()

    asyncio.run(run())
    return 0


def _index_rebuild(arguments: argparse.Namespace) -> int:
    def report(progress: Progress) -> None:
        share = 100 * progress.done // max(progress.total, 1)
        print(
            f"{progress.done} of {progress.total} instances ({share} %), {progress.failed} cannot be read", flush=True
        )

    indexer = Indexer(IndexerSettings.from_environment())
    progress = asyncio.run(indexer.rebuild(report, restart=arguments.restart))
    print(f"done: {progress.done} read, {progress.removed} removed, {progress.failed} cannot be read")
    return 0


def _index_status(arguments: argparse.Namespace) -> int:
    found = read_status(IndexerSettings.from_environment().database_url)
    _show(found, arguments.json)
    return 0


def _gateway(_: argparse.Namespace) -> int:
    # The gateway's libraries take a second to load; the other commands do without.
    from rpacs_hub.gateway import serve

    asyncio.run(serve(GatewaySettings.from_environment()))
    return 0


def _check(arguments: argparse.Namespace) -> int:
    try:
        permissions = load_permissions(arguments.file)
    except PermissionsError as error:
        for problem in error.problems:
            print(f"{arguments.file}:{problem.line}:{problem.column}: {problem.message} {problem.hint}".rstrip())
        print(f"{len(error.problems)} error(s); the file cannot be used.", file=sys.stderr)
        return 1
    for warning in permissions.warnings:
        print(f"{arguments.file}:{warning.line}:{warning.column}: warning: {warning.message} {warning.hint}".rstrip())
    print(f"{arguments.file}: valid; {len(permissions.profiles)} profiles, {len(permissions.grants)} entries.")
    return 0


def _database_create(arguments: argparse.Namespace) -> int:
    admin = os.environ.get("RPACS_DATABASE_ADMIN_URL", "")
    if not admin:
        raise SettingsError("RPACS_DATABASE_ADMIN_URL is not set.", "Set it to postgresql://admin:password@host:port/.")
    database.create(admin, _passwords(arguments.passwords), arguments.database)
    print(f"The database {arguments.database} is ready.")
    return 0


def _passwords(path: Path | None) -> dict[str, str]:
    if path is None:
        named = {role: f"{role.upper()}_PASSWORD" for role in database.OWNED_SCHEMAS}
        return {role: os.environ[name] for role, name in named.items() if os.environ.get(name)}
    try:
        if path.stat().st_mode & 0o077:
            raise SettingsError(f"{path} can be read by others.", f"chmod 600 {path}")
        found = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path} cannot be read ({type(error).__name__}).", "It holds {role: password}.") from None
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise SettingsError(f"{path} is not a JSON object of texts.", "It holds {role: password}.")
    return found


def _status(arguments: argparse.Namespace) -> int:
    url = os.environ.get("RPACS_DATABASE_URL", "")
    found: dict[str, Any] = {}
    if url:
        found["index"] = read_status(url)
    if path := os.environ.get("RPACS_PERMISSIONS"):
        try:
            permissions = load_permissions(path)
            found["permissions"] = {"digest": permissions.digest, "profiles": len(permissions.profiles), "errors": []}
        except PermissionsError as error:
            found["permissions"] = {
                "digest": None,
                "profiles": 0,
                "errors": [str(problem) for problem in error.problems],
            }
    if not found:
        raise SettingsError("Neither RPACS_DATABASE_URL nor RPACS_PERMISSIONS is set.", "Set one to see its status.")
    _show(found, arguments.json)
    return 0


def _show(values: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(values, default=str))
        return
    for name, value in values.items():
        if isinstance(value, dict):
            print(f"{name}:")
            for inner, item in value.items():
                print(f"  {inner}: {item}")
        else:
            print(f"{name}: {value}")
