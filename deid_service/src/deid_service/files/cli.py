"""``rpacs-deid file``: clean files or folders."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from deid_service._output import check_place, private_text
from deid_service.files.cleaning import Task, clean_files, files_below
from deid_service.files.progress import Progress
from deid_service.rules import default_rules_path, path_or_s3

__all__ = ["add_commands"]


def add_commands(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``file`` to the commands of ``rpacs-deid``.

    Parameters
    ----------
    subparsers
        What ``ArgumentParser.add_subparsers`` returned.
    """
    file = subparsers.add_parser("file", help="clean files or folders", description=_file.__doc__)
    file.add_argument("source", type=Path, metavar="SRC", help="a DICOM file, or a folder (with all below it)")
    file.add_argument("destination", type=Path, metavar="DST", help="a file for a file, a folder for a folder")
    file.add_argument(
        "--rules", type=path_or_s3, default=default_rules_path(), help="or s3://BUCKET/KEY; default: the built-in rules"
    )
    file.add_argument("--key-file", type=Path, required=True, help="pseudonym key; make one with keygen")
    file.add_argument("--report", type=Path, help="write what was done as JSON")
    file.add_argument(
        "--dry-run", action="store_true", help="write no copies; without --report, print what would be done"
    )
    file.add_argument(
        "--show-values", action="store_true", help="say what each value was and became; for the clinical side only"
    )
    file.add_argument(
        "--processes",
        type=_positive,
        default=len(os.sched_getaffinity(0)),
        help="how many clean at a time (default: one per processor)",
    )
    file.set_defaults(function=_file)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


def _file(arguments: argparse.Namespace) -> int:
    """Clean files or folders, without any server.

    What is refused or outside the rules' scope is not written. Exit code 1 says that something was refused. Report and
    dry run tell, file by file, the labels, the outcome and each change by tag path, without values unless asked to.
    """
    source, destination = arguments.source, arguments.destination
    task = Task(arguments.rules, arguments.key_file, source, destination, arguments.dry_run, arguments.show_values)
    digest = task.deidentifier().rules.digest
    problem = _unfit(source, destination)
    if not problem and arguments.show_values and not (arguments.report or arguments.dry_run):
        problem = "--show-values goes with --report or --dry-run"
    if problem:
        print(f"rpacs-deid: {problem}", file=sys.stderr)
        return 2
    paths = list(files_below(source))
    if not paths:
        print(f"rpacs-deid: {source} holds no files", file=sys.stderr)
        return 1
    if arguments.report:
        check_place(arguments.report)
    if source.is_dir() and not arguments.dry_run:
        check_place(destination, folder=True)
    progress = Progress(len(paths))
    report = []
    complete = False
    try:
        for number, record in enumerate(clean_files(task, paths, arguments.processes), 1):
            progress.count(record["outcome"])
            if record["outcome"] == "refused":
                # File names of originals often name patients: the terminal gets a number, the report the name.
                progress.say(f"file {number} refused: {record['reason']}: {record['message']}")
            if arguments.report:
                report.append(record)
            elif arguments.dry_run:
                _print(number, record)
        complete = True
    finally:
        # Also when it is broken off: what was written is told.
        progress.finish()
        if arguments.report:
            document = {"rules_sha256": digest, "dry_run": arguments.dry_run, "complete": complete, "files": report}
            with private_text(arguments.report) as file:  # it names the originals' files
                json.dump(document, file, indent=2)
    refused = progress.counts["refused"]
    if refused and not arguments.report and len(paths) > 1:
        print("which file has which number: run again with --dry-run --report FILE", file=sys.stderr)
    return 1 if refused else 0


def _print(number: int, record: dict[str, Any]) -> None:
    """Print what would become of a file."""
    labels = f" (labels: {', '.join(record['labels'])})" if "labels" in record else ""
    reason = f" ({record['reason']})" if "reason" in record else ""
    print(f"file {number}: {record['outcome']}{reason}{labels}")
    if pixels := record.get("pixels"):
        print(f"  pixels        {_pixels_in_words(pixels)}")
    for change in record.get("changes", ()):
        line = f"  {change['action']:13} {change['path']}"
        if "before" in change:
            line += f": {_quoted(change['before'])} -> {_quoted(change['after'])}"
        print(line)


def _pixels_in_words(pixels: dict[str, Any]) -> str:
    """Say why pixels were suspected or not, which rules found how many boxes, and what the second look says."""
    words = [f"{'suspected' if pixels['suspected'] else 'not suspected'} ({pixels['reason']})"]
    for rule, number in Counter(box["rule"] for box in pixels["boxes"]).items():
        words.append(f"{number} box{'' if number == 1 else 'es'} by {rule}")
    if pixels["frames_masked"]:
        words.append(f"masked in {pixels['frames_masked']} of {pixels['frames']} frames")
    if pixels["second_look"] != "not made":
        words.append(f"second look: {pixels['second_look']}" if pixels["boxes"] else "no text found")
    return ", ".join(words)


def _quoted(value: str | None) -> str:
    return "absent" if value is None else json.dumps(value, ensure_ascii=False)


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
