"""``rpacs-hub audit``: searching the audit, and finding out whether it is whole."""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg

from rpacs_hub.audit.chain import Head
from rpacs_hub.audit.search import AuditFilter, read_events, write_csv, write_lines
from rpacs_hub.audit.terminal import terminal_user
from rpacs_hub.audit.verification import record_check
from rpacs_hub.audit.verify import verify_audit
from rpacs_hub.errors import SettingsError

__all__ = ["add_commands"]


def add_commands(commands: Any) -> None:
    """Add ``audit`` to the commands of ``rpacs-hub``.

    Parameters
    ----------
    commands
        What `argparse.ArgumentParser.add_subparsers` returned.
    """
    audit = commands.add_parser("audit", help="who did what").add_subparsers(required=True, metavar="COMMAND")

    search = audit.add_parser(
        "search",
        help="show audit lines, the newest first",
        description="The database's address comes from RPACS_DATABASE_URL (the gateway's role may read the lines).",
    )
    search.add_argument("--user", help="of this user")
    search.add_argument("--action", help="this action, for instance read_file, search, export")
    search.add_argument("--decision", choices=("allowed", "denied", "error"))
    search.add_argument("--request", metavar="ID", help="the X-Request-Id of an answer")
    search.add_argument("--since", type=_moment, metavar="DATE[THH:MM]", help="from then on (UTC if no zone is given)")
    search.add_argument("--until", type=_moment, metavar="DATE[THH:MM]", help="before then")
    search.add_argument("--containing", metavar="TEXT", help="whose line holds this text, for instance a UID")
    search.add_argument("--identifier", metavar="UID", help="whose line names this identifier")
    search.add_argument("--limit", type=_positive, default=100, metavar="N", help="at most so many (default: 100)")
    search.add_argument("--json", action="store_true", help="JSON lines instead of CSV")
    search.set_defaults(run=_search)

    verify = audit.add_parser(
        "verify",
        help="find lines that were changed, removed, added or moved",
        description="Checks the table and, where it is given or RPACS_AUDIT_LOG is set, the file, and each against the "
        "other. The last line's number and digest are printed: note them elsewhere now and then, and "
        "--noted proves later that nothing up to there was cut off.",
    )
    verify.add_argument("files", nargs="*", type=Path, metavar="FILE", help="the log and its rotated parts")
    verify.add_argument("--no-database", action="store_true", help="check files only")
    verify.add_argument("--noted", type=_noted, metavar="NUMBER:DIGEST", help="a line that must still be there")
    verify.set_defaults(run=_verify)


def _moment(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no date: write 2026-03-31 or 2026-03-31T14:00") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _positive(text: str) -> int:
    if not text.isdigit() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of lines")
    return int(text)


def _noted(text: str) -> Head:
    found = re.fullmatch(r"([0-9]{1,18}):([0-9a-f]{64})", text.strip().lower())
    if not found:
        raise argparse.ArgumentTypeError("write it as `rpacs-hub audit verify` prints it: NUMBER:DIGEST")
    return Head(int(found[1]), found[2])


def _connect() -> psycopg.Connection[Any]:
    url = os.environ.get("RPACS_DATABASE_URL", "")
    if not url:
        raise SettingsError("RPACS_DATABASE_URL is not set.", "Set it to the gateway's address of the database.")
    return psycopg.connect(url, autocommit=True, connect_timeout=10)


def _search(arguments: argparse.Namespace) -> int:
    wanted = AuditFilter(
        user=arguments.user,
        action=arguments.action,
        decision=arguments.decision,
        request_id=arguments.request,
        since=arguments.since,
        until=arguments.until,
        containing=arguments.containing,
        identifier=arguments.identifier,
        limit=arguments.limit,
    )
    statement, values = wanted.statement()
    with _connect() as connection:
        lines = (line for (line,) in connection.execute(statement.encode(), values))
        number = write_lines(lines, sys.stdout) if arguments.json else write_csv(read_events(lines), sys.stdout)
    if number == arguments.limit:
        print(f"These are the newest {number}; --limit shows more.", file=sys.stderr)
    return 0


def _verify(arguments: argparse.Namespace) -> int:
    files = list(arguments.files)
    if not files and (log := os.environ.get("RPACS_AUDIT_LOG")) and Path(log).exists():
        files = [Path(log)]
    if arguments.no_database:
        if not files:
            raise SettingsError("There is nothing to check.", "Name the log's files, or set RPACS_AUDIT_LOG.")
        result = verify_audit(None, files, noted=arguments.noted, progress=_progress())
    else:
        with _connect() as connection:
            started = datetime.now(UTC)
            result = verify_audit(connection, files, noted=arguments.noted, progress=_progress())
            # The page of the audit tells of this check too, where a gateway has made its table.
            with contextlib.suppress(psycopg.errors.UndefinedTable, psycopg.errors.InsufficientPrivilege):
                places = "table and file" if files else "table"
                record_check(connection, result, started=started, asked_by=terminal_user(), places=places)
    where = "the file" if arguments.no_database else "the table and the file" if files else "the table"
    for finding in result.findings:
        print(finding)
    if result.whole:
        print(f"{where}: {result.lines} lines, all in their place. The last one: {result.head.seq}:{result.head.hash}")
        return 0
    print(f"{where}: {len(result.findings)} findings in {result.lines} lines.", file=sys.stderr)
    return 1


def _progress() -> Callable[[int], None]:
    if not sys.stderr.isatty():
        return lambda _: None
    return lambda number: print(f"\r{number} lines", end="", file=sys.stderr, flush=True)
