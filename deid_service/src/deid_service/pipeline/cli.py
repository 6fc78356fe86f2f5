"""The service's commands: ``rpacs-deid run``, ``status`` and ``quarantine``."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import psycopg

from deid_service._orthanc import Orthanc
from deid_service.errors import DeidError, KeyFileError
from deid_service.pipeline import quarantine
from deid_service.pipeline.errors import DatabaseVersionError, SettingsError
from deid_service.pipeline.quarantine import Quarantined, Selection
from deid_service.pipeline.schema import explain, prepare
from deid_service.pipeline.service import Service, supervise
from deid_service.pipeline.status import Status, read_status
from deid_service.pseudonyms import PseudonymKey
from deid_service.rules import path_or_s3
from deid_service.settings import Settings

__all__ = ["add_commands"]


def add_commands(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the service's commands to those of ``rpacs-deid``.

    Each sets ``function`` in the parsed arguments: called with them, it returns the exit code.

    Parameters
    ----------
    subparsers
        What ``ArgumentParser.add_subparsers`` returned.
    """
    run = subparsers.add_parser("run", help="run the service", description=_run.__doc__)
    run.add_argument(
        "--processes",
        type=_positive,
        help="processes that clean (default: one per processor; 1 needs no parent process)",
    )
    run.add_argument("--concurrency", type=_positive, default=3, help="batches at a time in each process (default: 3)")
    run.add_argument("--once", action="store_true", help="process what is there, then end")
    run.set_defaults(function=_command(_run))

    status = subparsers.add_parser("status", help="show how the service is doing", description=_status.__doc__)
    status.add_argument("--json", action="store_true", help="for programs")
    status.add_argument("--check", action="store_true", help="exit with 1 unless all is well")
    status.set_defaults(function=_command(_status))

    held = subparsers.add_parser("quarantine", help="look after instances that could not be cleaned")
    actions = held.add_subparsers(dest="action", required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="show what is in quarantine")
    listing.add_argument("--reason", help="only with this reason code")
    listing.add_argument("--json", action="store_true", help="for programs")
    listing.set_defaults(function=_command(_list))
    show = actions.add_parser("show", help="show everything about instances in quarantine")
    show.add_argument("ids", nargs="+", metavar="ID", help="number, or Orthanc id")
    show.add_argument("--json", action="store_true", help="for programs")
    show.add_argument(
        "--page", type=Path, help="write a page with their pixels before and after, for the clinical side only"
    )
    show.add_argument("--rules", type=path_or_s3, help="for the page; default: those of the service (RPACS_RULES)")
    show.add_argument("--show-values", action="store_true", help="say on the page what an OCR engine reads in each box")
    show.set_defaults(function=_command(_show))
    retry = actions.add_parser("retry", help="try again, after a change of the rules for instance")
    _add_selection(retry)
    retry.set_defaults(function=_command(_retry))
    discard = actions.add_parser("discard", help="delete originals for good, without forwarding anything")
    _add_selection(discard)
    discard.add_argument("--yes", action="store_true", help="really do it")
    discard.set_defaults(function=_command(_discard))


def _add_selection(parser: argparse.ArgumentParser) -> None:
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("ids", nargs="*", default=[], metavar="ID", help="number, or Orthanc id")
    which.add_argument("--reason", help="those with this reason code")
    which.add_argument("--all", action="store_true", help="all of them")


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


def _command(function: Callable[[argparse.Namespace], int]) -> Callable[[argparse.Namespace], int]:
    """Let a command's errors end in one line on stderr: code 2 for a wrong set-up, 1 for everything else."""

    def call(arguments: argparse.Namespace) -> int:
        try:
            return function(arguments)
        except (SettingsError, KeyFileError, DatabaseVersionError) as error:
            print(f"rpacs-deid: {error}", file=sys.stderr)
            return 2
        except psycopg.Error as error:
            print(f"rpacs-deid: {explain(error)}", file=sys.stderr)
            return 1
        except DeidError as error:
            print(f"rpacs-deid: {error}", file=sys.stderr)
            return 1

    return call


def _run(arguments: argparse.Namespace) -> int:
    """Run the service: whatever the ingest Orthanc receives is cleaned and sent to the research Orthanc.

    It is set up through environment variables (RPACS_DATABASE_URL, RPACS_INGEST_URL, RPACS_RESEARCH_URL, RPACS_RULES,
    RPACS_PSEUDONYM_KEY_FILE, optionally RPACS_INBOX with RPACS_INBOX_REFUSED) and stops at SIGTERM. It may run any
    number of times, on any number of machines.
    """
    _set_up_logging()
    settings = Settings.from_environment()
    # Checked here too, so that a parent says it once instead of starting children that say it again and again.
    PseudonymKey.from_file(settings.pseudonym_key_file)
    if arguments.once:
        asyncio.run(Service(settings, concurrency=arguments.concurrency).run_once())
        return 0
    processes = arguments.processes or len(os.sched_getaffinity(0))
    if processes > 1:
        return supervise(processes, ["run", "--processes", "1", "--concurrency", str(arguments.concurrency)])
    asyncio.run(Service(settings, concurrency=arguments.concurrency).run())
    return 0


def _set_up_logging() -> None:
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s"
    )
    # Both report each failed attempt to reach the database; the service says it once.
    logging.getLogger("psycopg").setLevel(logging.CRITICAL)
    logging.getLogger("procrastinate").setLevel(logging.CRITICAL)


def _status(arguments: argparse.Namespace) -> int:
    """Show how the service is doing: what waits, what was done, what is wrong."""
    ingest = Settings.ingest_from_environment() if os.environ.get("RPACS_INGEST_URL") else None
    status = read_status(Settings.database_from_environment(), ingest)
    if arguments.json:
        print(json.dumps(status.as_dict(), indent=2))
    else:
        _print_status(status)
    return 1 if arguments.check and not status.well else 0


def _print_status(status: Status) -> None:
    living = [process for process in status.processes if process.alive]
    oldest = "" if status.oldest_waiting_s is None else f", the oldest for {status.oldest_waiting_s:.0f} s"
    ingest = "unknown" if status.ingest_instances is None else str(status.ingest_instances)
    ever = ", ".join(f"{number} {outcome.replace('_', ' ')}" for outcome, number in status.counts.items())
    lines = [
        ("processes", f"{len(living)} alive" if living else "NONE is alive: start `rpacs-deid run`"),
        ("rules", status.rules_digest[:12] if status.rules_digest else "none in force"),
        ("queued", f"{status.queued}{oldest}"),
        ("in ingest", ingest),
        ("rate", f"{status.per_s} per second"),
        ("ever", ever or "nothing yet"),
        ("quarantined", str(sum(status.quarantined.values()))),
    ]
    lines += [("", f"{number} {reason}") for reason, number in status.quarantined.items()]
    wrong = [text for text in (status.rules_error, status.ingest_error) if text]
    lines += [("TROUBLE" if not number else "", text) for number, text in enumerate([*wrong, *status.troubles])]
    for name, text in lines:
        print(f"{name:12} " + text.replace("\n", "\n" + " " * 13))


def _list(arguments: argparse.Namespace) -> int:
    found = _quarantined(Selection(reason=arguments.reason, everything=arguments.reason is None))
    if arguments.json:
        print(_as_json(found))
        return 0
    if not found:
        print("nothing is in quarantine")
        return 0
    width = max(len(row.reason) for row in found)
    print(f"{'number':>6}  {'id':44}  {'reason':{max(width, 6)}}  {'tries':>5}  {'since':16}  message")
    for row in found:
        since = row.first_seen.astimezone().strftime("%Y-%m-%d %H:%M")
        message = row.message + (" (being retried)" if row.retrying else "")
        print(
            f"{row.number:>6}  {row.orthanc_id:44}  {row.reason:{max(width, 6)}}  {row.attempts:>5}  {since}  {message}"
        )
    return 0


def _show(arguments: argparse.Namespace) -> int:
    found = _quarantined(Selection(ids=arguments.ids))
    if arguments.page is not None:
        return _show_pixels(arguments, found)
    if arguments.json:
        print(_as_json(found))
        return 0
    for row in found:
        for name, value in asdict(row).items():
            print(f"{name.replace('_', ' '):12} {value}")
        print()
    return 0


def _show_pixels(arguments: argparse.Namespace, found: Sequence[Quarantined]) -> int:
    """Write a page with the pixels of instances in quarantine, fetched from the ingest Orthanc."""
    from deid_service.pixels.cli import write_page
    from deid_service.pixels.shown import PixelsShown, deidentifier_for_looking, look_at

    if arguments.rules is None and not os.environ.get("RPACS_RULES", "").strip():
        raise SettingsError("RPACS_RULES is not set: name a rules file with --rules")
    deidentifier = deidentifier_for_looking(arguments.rules or path_or_s3(os.environ["RPACS_RULES"].strip()))
    ingest = Orthanc(Settings.ingest_from_environment(), "ingest Orthanc")

    def looked_at() -> Iterator[tuple[PixelsShown, Sequence[str]]]:
        for row in found:
            since = row.first_seen.astimezone().strftime("%Y-%m-%d %H:%M")
            notes = [f"In quarantine since {since}: {row.reason}: {row.message}"]
            if row.rules_digest != deidentifier.rules.digest:
                notes.append("The rules were others then; what is shown is what these make of it.")
            data = ingest.file(row.orthanc_id)
            if data is None:
                gone = "the ingest Orthanc does not have it any more"
                yield PixelsShown(row.orthanc_id, "refused", row.reason, row.message, problem=gone), notes
            else:
                yield look_at(data, deidentifier, row.orthanc_id, show_values=arguments.show_values), notes

    with contextlib.closing(ingest):
        return 0 if write_page(arguments.page, looked_at(), len(found), deidentifier) else 130


def _retry(arguments: argparse.Namespace) -> int:
    number = asyncio.run(quarantine.retry(_prepared_database(), _selection(arguments)))
    print(f"{number} queued again")
    return 0


def _discard(arguments: argparse.Namespace) -> int:
    ingest = Settings.ingest_from_environment()
    if not arguments.yes:
        number = len(_quarantined(_selection(arguments)))
        print(f"this would delete {number} originals for good; add --yes to do it", file=sys.stderr)
        return 2
    number = asyncio.run(quarantine.discard(_prepared_database(), ingest, _selection(arguments)))
    print(f"{number} deleted")
    return 0


def _selection(arguments: argparse.Namespace) -> Selection:
    return Selection(arguments.ids, arguments.reason, arguments.all)


def _quarantined(selection: Selection) -> list[Quarantined]:
    return asyncio.run(quarantine.read(_prepared_database(), selection))


def _prepared_database() -> str:
    url = Settings.database_from_environment()
    prepare(url)
    return url


def _as_json(found: Sequence[Quarantined]) -> str:
    return json.dumps([asdict(row) for row in found], indent=2, default=lambda value: value.isoformat())
