"""``rpacs-deid table``: clinical tables, to be joined with the images."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from deid_service._output import private_text
from deid_service.engine import Deidentifier
from deid_service.outcomes import Mapping
from deid_service.pseudonyms import PseudonymKey
from deid_service.rules import default_rules_path, load_rules, path_or_s3
from deid_service.tables.files import TableError, clean_table

__all__ = ["add_commands"]

_SECONDS = 1.0


def add_commands(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``table`` to the commands of ``rpacs-deid``.

    Parameters
    ----------
    subparsers
        What ``ArgumentParser.add_subparsers`` returned.
    """
    table = subparsers.add_parser(
        "table", help="clean a CSV table, to be joined with the images", description=_table.__doc__
    )
    table.add_argument("source", type=Path, metavar="IN.csv")
    table.add_argument("destination", type=Path, metavar="OUT.csv")
    table.add_argument("--rules", type=path_or_s3, default=default_rules_path(), help="with a section Table")
    table.add_argument("--key-file", type=Path, required=True, help="pseudonym key: that of the images")
    table.add_argument("--report", type=Path, help="write what was done as JSON, without values")
    table.add_argument(
        "--journal", action="store_true", help="write the pseudonyms into the journal too (RPACS_DATABASE_URL)"
    )
    table.set_defaults(function=_table)


def _table(arguments: argparse.Namespace) -> int:
    """Give a table of health records the pseudonyms and date offsets of the images.

    The section Table of the rules says what the columns are. A row that cannot be cleaned is told by its line, and then
    nothing is written (exit code 1).
    """
    deidentifier = Deidentifier(load_rules(arguments.rules), PseudonymKey.from_file(arguments.key_file))
    source, destination = arguments.source, arguments.destination
    if source.resolve() == destination.resolve():
        print("rpacs-deid: the clean table must not replace its original", file=sys.stderr)
        return 2
    progress = _Progress()
    try:
        report = clean_table(source, destination, deidentifier, progress, _journal() if arguments.journal else None)
    except TableError as error:
        progress.clear()
        print(f"rpacs-deid: {error}", file=sys.stderr)
        return 1
    progress.clear()
    print(f"{report.rows} rows: {report.written} written, {report.discarded} discarded", file=sys.stderr)
    if arguments.report:
        with private_text(arguments.report) as file:
            json.dump(asdict(report), file, indent=2)
    return 0


def _journal() -> Callable[[Sequence[Mapping]], None]:
    """Open the journal. Only here is a database driver needed, which a workstation may lack."""
    from deid_service.journal_writer import JournalWriter
    from deid_service.settings import Settings

    return JournalWriter(Settings.database_from_environment())


class _Progress:
    """Counts rows on stderr, once a second, on a terminal only."""

    def __init__(self) -> None:
        self._start = self._shown = time.monotonic()
        self._live = False

    def __call__(self, rows: int) -> None:
        if rows % 100:
            return
        now = time.monotonic()
        if now - self._shown > _SECONDS and sys.stderr.isatty():
            self._shown = now
            self._live = True
            print(f"\r{rows} rows ({rows / (now - self._start):.0f}/s)", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        if self._live:
            print(file=sys.stderr)
