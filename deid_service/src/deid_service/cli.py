"""The command ``rpacs-deid``.

======================  ================================================================
``check RULES``         says whether a rules file is in order, or everything that is not
``file SRC DST``        cleans files or folders, without any server
``match QUERY FILES``   prints the files that a query finds
``keygen PATH``         makes a pseudonym key
``table IN.csv OUT.csv`` cleans a table of health records; see :mod:`deid_service.tables`
``send LOCATION``       cleans what lies somewhere and sends it; see :mod:`deid_service.sending`
``mapping``             looks up pseudonyms; see :mod:`deid_service.broker`
``run`` and others      the service; see :mod:`deid_service.pipeline.cli`
======================  ================================================================

Exit codes: 0 all is well; 1 something was refused, is wrong or was not found; 2 the command cannot be carried out.
No command but ``mapping`` prints a value of an instance.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from deid_service._output import write_whole
from deid_service.engine import Deidentifier
from deid_service.errors import DeidError, Refused, RulesError
from deid_service.outcomes import Cleaned
from deid_service.pseudonyms import PseudonymKey
from deid_service.rules import default_rules_path, load_rules
from deid_service.tables.cli import add_commands as add_table

__all__ = ["main"]

_OK: Final = 0
_REFUSED: Final = 1
_USAGE: Final = 2
_SERVICE: Final = ("pipeline", "broker", "sending")
_QUIET_SECONDS: Final = 2.0
_REPORT_SECONDS: Final = 1.0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments; those of the process by default.

    Returns
    -------
    int
        Exit code.
    """
    arguments = _parser().parse_args(argv)
    try:
        code: int = arguments.function(arguments)
    except DeidError as error:
        print(f"rpacs-deid: {error}", file=sys.stderr)
        return _USAGE
    except BrokenPipeError:
        # Whoever read the output has seen enough; do not let the interpreter complain when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _OK
    except KeyboardInterrupt:
        print("rpacs-deid: interrupted", file=sys.stderr)
        return 130
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rpacs-deid", description="De-identify DICOM by rules: a clean copy, or quarantine, never a third way."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    check = commands.add_parser("check", help="say whether a rules file is in order", description=_check.__doc__)
    check.add_argument("rules", type=Path, nargs="?", default=default_rules_path(), help="default: the built-in rules")
    check.set_defaults(function=_check)

    file = commands.add_parser("file", help="clean files or folders", description=_file.__doc__)
    file.add_argument("source", type=Path, metavar="SRC", help="a DICOM file, or a folder (with all below it)")
    file.add_argument("destination", type=Path, metavar="DST", help="a file for a file, a folder for a folder")
    file.add_argument("--rules", type=Path, default=default_rules_path(), help="default: the built-in rules")
    file.add_argument("--key-file", type=Path, required=True, help="pseudonym key; make one with keygen")
    file.add_argument("--report", type=Path, help="write what was done as JSON, without values")
    file.add_argument("--dry-run", action="store_true", help="do everything but write the copies")
    file.set_defaults(function=_file)

    match = commands.add_parser("match", help="print the files that a query finds", description=_match.__doc__)
    match.add_argument("query", help="for instance: Modality StrEquals CT AND SliceThickness NbLess 2")
    match.add_argument("files", type=Path, nargs="+", help="DICOM files or folders")
    match.set_defaults(function=_match)

    keygen = commands.add_parser("keygen", help="make a pseudonym key", description=_keygen.__doc__)
    keygen.add_argument("path", type=Path, help="where to; must not exist")
    keygen.set_defaults(function=_keygen)

    add_table(commands)

    # The service's commands need a database driver and more: a workstation that only cleans files may lack them.
    try:
        modules = [importlib.import_module(f"deid_service.{name}.cli") for name in _SERVICE]
    except ModuleNotFoundError:
        parser.epilog = "The commands of the service are not installed here."
    else:
        for module in modules:
            module.add_commands(commands)
    return parser


def _check(arguments: argparse.Namespace) -> int:
    """Say whether a rules file is in order; if not, everything that is wrong, with line and column."""
    try:
        rules = load_rules(arguments.rules)
    except RulesError as error:
        print(error, file=sys.stderr)
        return _REFUSED
    labels, entries = len(rules.labels), len(rules.entries)
    print(f"{arguments.rules}: in order ({labels} labels, {entries} entries of transformations)")
    print(f"sha256 {rules.digest}")
    return _OK


def _keygen(arguments: argparse.Namespace) -> int:
    """Make a pseudonym key: 32 random bytes, readable by you only.

    Keep a copy in a safe place. It regenerates every pseudonym; without it, new images of known patients get new ones.
    """
    PseudonymKey.generate(arguments.path)
    print(f"wrote {arguments.path}; keep a copy in a safe place", file=sys.stderr)
    return _OK


def _match(arguments: argparse.Namespace) -> int:
    """Print the files that a query finds, one a line. Exit code 1 if there is none."""
    from dicom_query import QueryError, evaluate, parse
    from pydicom import dcmread

    try:
        query = parse(arguments.query)
    except QueryError as error:
        print(f"rpacs-deid: {error}", file=sys.stderr)
        return _USAGE
    found = unreadable = 0
    for root in arguments.files:
        for path in _files(root):
            try:
                dataset = dcmread(path, defer_size=65_536)
                hit = evaluate(query, dataset)
            except Exception as error:  # noqa: BLE001 - pydicom raises many kinds, and messages may quote values
                print(f"rpacs-deid: {path}: not readable as DICOM ({type(error).__name__})", file=sys.stderr)
                unreadable += 1
                continue
            if hit:
                print(path)
                found += 1
    if unreadable:
        return _USAGE
    return _OK if found else _REFUSED


def _file(arguments: argparse.Namespace) -> int:
    """Clean files or folders, without any server.

    What is refused or outside the rules' scope is not written. Exit code 1 says that something was refused.
    """
    rules = load_rules(arguments.rules)
    deidentifier = Deidentifier(rules, PseudonymKey.from_file(arguments.key_file))
    source, destination = arguments.source, arguments.destination
    problem = _unfit(source, destination)
    if problem:
        print(f"rpacs-deid: {problem}", file=sys.stderr)
        return _USAGE
    paths = list(_files(source))
    progress = _Progress(len(paths))
    report = []
    written: set[Path] = set()
    for number, path in enumerate(paths):
        record = _clean_one(deidentifier, path, source, destination, written, dry_run=arguments.dry_run)
        report.append(record)
        progress.count(record["outcome"])
        if record["outcome"] == "refused":
            # File names of originals often name patients: the terminal gets a number, the report the name.
            progress.say(f"file {number + 1} refused: {record['reason']}: {record['message']}")
    progress.finish()
    if arguments.report:
        document = {"rules_sha256": rules.digest, "dry_run": arguments.dry_run, "files": report}
        write_whole(arguments.report, json.dumps(document, indent=2).encode())
    return _REFUSED if progress.counts["refused"] else _OK


def _unfit(source: Path, destination: Path) -> str | None:
    if not source.exists():
        return f"{source} does not exist"
    if source.is_dir():
        if destination.exists() and not destination.is_dir():
            return f"{source} is a folder and {destination} is not"
        if destination.resolve().is_relative_to(source.resolve()):
            return "the clean copies must not go below the folder of the originals"
    elif destination.resolve() == source.resolve():
        return "the clean copy must not replace its original"
    return None


def _clean_one(
    deidentifier: Deidentifier, path: Path, source: Path, destination: Path, written: set[Path], *, dry_run: bool
) -> dict[str, Any]:
    """Clean one file and say what became of it."""
    record: dict[str, Any] = {"source": str(path)}
    try:
        outcome = deidentifier.clean(path.read_bytes())
    except Refused as refusal:
        return record | {"outcome": "refused", "reason": refusal.reason_code, "message": refusal.message}
    except OSError as error:
        return record | {"outcome": "refused", "reason": "unreadable", "message": error.strerror or "cannot be read"}
    if not isinstance(outcome, Cleaned):
        return record | {"outcome": "discarded", "labels": list(outcome.labels)}
    target = destination
    if source.is_dir():
        # Folders and file names of originals often hold names and numbers of patients: the copies get none of them.
        target = destination / _name(outcome.study_instance_uid) / _name(outcome.series_instance_uid)
        target /= f"{_name(outcome.sop_instance_uid)}.dcm"
    elif destination.is_dir():
        target = destination / f"{_name(outcome.sop_instance_uid)}.dcm"
    if target in written:
        return record | {"outcome": "refused", "reason": "duplicate", "message": "another file is the same instance"}
    written.add(target)
    if not dry_run:
        write_whole(target, outcome.data)
    return record | {
        "outcome": "cleaned",
        "destination": str(target),
        "labels": list(outcome.labels),
        "changes": [{"path": change.path, "action": change.action} for change in outcome.changes],
    }


def _name(uid: str) -> str:
    """Make a file name of a UID. Rules that keep UIDs could hand us one such as ``../x``."""
    return uid if re.fullmatch(r"[0-9][0-9.]*", uid) else hashlib.sha256(uid.encode()).hexdigest()[:32]


def _files(root: Path) -> Iterator[Path]:
    if not root.is_dir():
        yield root
        return
    for path in sorted(root.rglob("*")):
        if path.is_file() and not path.name.startswith("."):
            yield path


class _Progress:
    """Counts, on stderr: live on a terminal once it takes a while, and a summary at the end."""

    def __init__(self, total: int) -> None:
        self.counts: Counter[str] = Counter()
        self._total = total
        self._start = self._shown = time.monotonic()
        self._live = False

    def count(self, outcome: str) -> None:
        self.counts[outcome] += 1
        now = time.monotonic()
        if now - self._start > _QUIET_SECONDS and now - self._shown > _REPORT_SECONDS and sys.stderr.isatty():
            self._shown = now
            self._live = True
            print(f"\r{self._summary()}", end="", file=sys.stderr, flush=True)

    def say(self, line: str) -> None:
        if self._live:
            print(file=sys.stderr)
            self._live = False
        print(line, file=sys.stderr)

    def finish(self) -> None:
        self.say(self._summary())

    def _summary(self) -> str:
        done = sum(self.counts.values())
        parts = [f"{self.counts[outcome]} {outcome}" for outcome in ("cleaned", "discarded", "refused")]
        seconds = max(time.monotonic() - self._start, 1e-6)
        return f"{done} of {self._total} files: {', '.join(parts)} ({done / seconds:.0f}/s)"
