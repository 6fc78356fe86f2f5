"""``rpacs-deid mapping``: the honest broker's command."""

from __future__ import annotations

import argparse
import contextlib
import csv
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TextIO

import psycopg

from deid_service._output import private_text
from deid_service.broker.lookups import KINDS, Broker, Entry
from deid_service.broker.regenerate import regenerate
from deid_service.engine import Deidentifier
from deid_service.errors import DeidError
from deid_service.files import files_below
from deid_service.journal_writer import JournalWriter
from deid_service.outcomes import Mapping
from deid_service.pipeline.schema import explain
from deid_service.pseudonyms import PseudonymKey
from deid_service.rules import load_rules, path_or_s3
from deid_service.settings import Settings

__all__ = ["add_commands"]

_EXPORT_REASON = "export"


def add_commands(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``mapping`` to the commands of ``rpacs-deid``.

    Parameters
    ----------
    subparsers
        What ``ArgumentParser.add_subparsers`` returned.
    """
    mapping = subparsers.add_parser("mapping", help="look up pseudonyms, for the honest broker")
    actions = mapping.add_subparsers(dest="action", required=True, metavar="ACTION")
    export = actions.add_parser("export", help="write all pseudonyms of a kind as CSV", description=_export.__doc__)
    export.add_argument("--kind", choices=KINDS, required=True)
    export.add_argument("--out", type=Path, metavar="FILE", help="with mode 0600 (default: standard output)")
    export.add_argument("--reason", default=_EXPORT_REASON, help="why; goes into the record of lookups")
    export.set_defaults(function=_export)
    lookup = actions.add_parser("lookup", help="find one value in both directions", description=_lookup.__doc__)
    lookup.add_argument("--kind", choices=KINDS, required=True)
    lookup.add_argument("--reason", required=True, help="why; goes into the record of lookups")
    lookup.add_argument("value", help="an original or a pseudonym; - reads it from standard input")
    lookup.set_defaults(function=_lookup)
    anew = actions.add_parser(
        "regenerate", help="make the pseudonyms anew from originals, rules and key", description=_regenerate.__doc__
    )
    anew.add_argument("sources", nargs="+", type=Path, metavar="SRC", help="DICOM files or folders: the originals")
    anew.add_argument("--rules", type=path_or_s3, required=True, help="the rules of that time")
    anew.add_argument("--key-file", type=Path, required=True, help="the pseudonym key of that time")
    where = anew.add_mutually_exclusive_group(required=True)
    where.add_argument("--out", type=Path, metavar="FILE", help="write them as CSV with mode 0600")
    where.add_argument("--journal", action="store_true", help="write them into the journal (RPACS_DATABASE_URL)")
    anew.set_defaults(function=_regenerate)
    record = actions.add_parser("record", help="show who looked up what kind, when and why")
    record.set_defaults(function=_record)


def _export(arguments: argparse.Namespace) -> int:
    """Write all pseudonyms of one kind as CSV. That it was done goes into the record of lookups, without values."""
    with _broker() as broker:
        lines = _lines(broker.export(arguments.kind, arguments.reason), arguments.kind)
        if arguments.out is None:
            csv.writer(sys.stdout, lineterminator="\n").writerows(lines)
            return 0
        with private_text(arguments.out) as file:
            csv.writer(file, lineterminator="\n").writerows(lines)
    print(f"wrote {arguments.out}; it names patients", file=sys.stderr)
    return 0


def _lookup(arguments: argparse.Namespace) -> int:
    """Find what a value became, and what became that value. Exit code 1 if the journal has neither.

    Other users of this machine can read a command's arguments: better give an original on standard input (``-``). The
    lookup goes into the record, without the value.
    """
    value = sys.stdin.readline().strip() if arguments.value == "-" else arguments.value
    with _broker() as broker:
        try:
            found = broker.look_up(arguments.kind, value, arguments.reason)
        except ValueError as error:
            print(f"rpacs-deid: {error}", file=sys.stderr)
            return 2
    if not found:
        print("rpacs-deid: the journal has no such value of this kind", file=sys.stderr)
        return 1
    csv.writer(sys.stdout, lineterminator="\n").writerows(_lines(found, arguments.kind))
    return 0


def _regenerate(arguments: argparse.Namespace) -> int:
    """Make the pseudonyms anew from the originals, the rules and the key, should the journal be lost.

    Nothing is sent. Into the journal only those are written that it lacks. Exit code 1 if an original was refused.
    """
    deidentifier = Deidentifier(load_rules(arguments.rules), PseudonymKey.from_file(arguments.key_file))
    paths = [path for source in arguments.sources for path in files_below(source)]
    counts: Counter[str] = Counter()
    with contextlib.ExitStack() as stack:
        write = _to_journal() if arguments.journal else _to_csv(stack.enter_context(private_text(arguments.out)))
        for found in regenerate(paths, deidentifier):
            counts[found.outcome] += 1
            write(found.mappings)
    print(
        f"{len(paths)} originals: {counts['cleaned']} gave their pseudonyms, {counts['discarded']} are outside of the"
        f" rules' scope, {counts['refused']} were refused",
        file=sys.stderr,
    )
    return 1 if counts["refused"] or not paths else 0


def _to_journal() -> Callable[[Sequence[Mapping]], None]:
    try:
        return JournalWriter(Settings.database_from_environment())
    except psycopg.Error as error:
        raise DeidError(explain(error)) from None


def _to_csv(file: TextIO) -> Callable[[Sequence[Mapping]], None]:
    """Return a function that writes each mapping once."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(("kind", "scope", "original", "replacement"))
    seen: set[tuple[str, str, str]] = set()

    def write(mappings: Sequence[Mapping]) -> None:
        for mapping in mappings:
            key = (mapping.kind, mapping.scope, mapping.original)
            if key not in seen:
                seen.add(key)
                writer.writerow((*key, mapping.replacement))

    return write


def _record(arguments: argparse.Namespace) -> int:  # noqa: ARG001 - every command takes them
    with _broker() as broker:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(("at", "who", "host", "action", "kind", "reason", "found"))
        for line in broker.lookups():
            writer.writerow((line["at"].isoformat(), *list(line.values())[1:]))
    return 0


class _broker:  # noqa: N801 - used like a function
    """Opens the journal; its errors end in one line on stderr, free of values."""

    def __enter__(self) -> Broker:
        try:
            self._broker = Broker(Settings.database_from_environment())
        except psycopg.Error as error:
            raise DeidError(explain(error)) from None
        return self._broker

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self._broker.close()
        if isinstance(error, psycopg.Error):
            raise DeidError(explain(error)) from None


def _lines(entries: Iterable[Entry], kind: str) -> Iterator[tuple[str, ...]]:
    """Turn journal entries into lines of CSV, with a header."""
    match kind:
        case "patient_id":
            yield "original", "issuer", "replacement", "first_seen"
            for entry in entries:
                yield entry.original, entry.issuer, entry.replacement, entry.first_seen.isoformat()
        case "uid":
            yield "original", "replacement", "first_seen"
            for entry in entries:
                yield entry.original, entry.replacement, entry.first_seen.isoformat()
        case _:
            yield "scope", "original", "replacement", "first_seen"
            for entry in entries:
                yield entry.scope, entry.original, entry.replacement, entry.first_seen.isoformat()
