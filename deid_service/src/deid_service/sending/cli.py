"""``rpacs-deid send``: clean what lies somewhere and send it, without the service."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from collections import Counter
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

import psycopg

from deid_service.engine import Deidentifier
from deid_service.errors import DeidError, KeyFileError, OutputError, RulesError
from deid_service.journal_writer import JournalWriter
from deid_service.pipeline.errors import SettingsError
from deid_service.pipeline.schema import explain
from deid_service.pseudonyms import PseudonymKey
from deid_service.rules import load_rules, path_or_s3
from deid_service.sending.destinations import open_destination
from deid_service.sending.sources import Original, open_source
from deid_service.sending.transfer import Record, transfer

__all__ = ["add_commands"]


def add_commands(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``send`` to the commands of ``rpacs-deid``.

    Parameters
    ----------
    subparsers
        What ``ArgumentParser.add_subparsers`` returned.
    """
    send = subparsers.add_parser("send", help="clean instances and send them somewhere", description=_send.__doc__)
    send.add_argument("location", help="orthanc://ID (of the ingest Orthanc), s3://BUCKET/KEY, a file or a folder")
    send.add_argument("--rules", type=path_or_s3, help="default: those of the service (RPACS_RULES)")
    send.add_argument("--key-file", type=Path, help="default: that of the service (RPACS_PSEUDONYM_KEY_FILE)")
    send.add_argument("--destination", help="a folder, s3://BUCKET/PREFIX or env:NAME; default: env:RPACS_RESEARCH_URL")
    send.add_argument("--log", type=Path, help="append a line of JSON for each instance, without values")
    send.set_defaults(function=_send)


def _send(arguments: argparse.Namespace) -> int:
    """Clean instances by the service's rules or others, and send them to the research Orthanc or elsewhere.

    Each copy is confirmed; to send it again does no harm. The originals stay where they are. With RPACS_DATABASE_URL
    the pseudonyms go into the journal first. Exit code 1 says that something was refused or could not be sent.
    """
    try:
        rules = arguments.rules or path_or_s3(_variable("RPACS_RULES", "name a rules file with --rules"))
        key_file = arguments.key_file or Path(_variable("RPACS_PSEUDONYM_KEY_FILE", "name a key with --key-file"))
        key = PseudonymKey.from_file(key_file)
        deidentifier = Deidentifier(load_rules(rules), key)
        destination = open_destination(arguments.destination)
        database_url = os.environ.get("RPACS_DATABASE_URL", "").strip()
    except (SettingsError, KeyFileError, RulesError) as error:
        print(f"rpacs-deid: {error}", file=sys.stderr)
        return 2

    def name(original: Original) -> str:
        return original.name if original.neutral else key.digest("location", (), original.name).hex()[:32]

    counts: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    failure = None
    stack = contextlib.ExitStack()
    stack.callback(destination.close)
    try:
        source = stack.enter_context(contextlib.closing(open_source(arguments.location)))
        journal = JournalWriter(database_url) if database_url else None
        if journal is None:
            print("RPACS_DATABASE_URL is not set: the pseudonyms are not journalled", file=sys.stderr)
        log = stack.enter_context(_open_log(arguments.log))
        for record in transfer(source.originals, deidentifier, destination, name, journal):
            counts[record.outcome] += 1
            if record.reason:
                reasons[record.reason] += 1
            _write(log, record, deidentifier.rules.digest)
    except psycopg.Error as error:
        failure = explain(error)
    except DeidError as error:
        failure = str(error)
    finally:
        stack.close()
    if failure and not counts:
        print(f"rpacs-deid: {failure}; nothing was sent", file=sys.stderr)
        return 1
    print(f"{counts['sent']} sent and confirmed, {counts['discarded']} discarded, {counts['refused']} refused")
    for reason, number in sorted(reasons.items()):
        print(f"  {number} {reason}")
    if failure:
        print(f"rpacs-deid: {failure}", file=sys.stderr)
        print("rpacs-deid: broken off; the same command goes on from here", file=sys.stderr)
    return 1 if failure or counts["refused"] else 0


def _variable(name: str, hint: str) -> str:
    value = os.environ.get(name, "").strip()
    if not value:
        raise SettingsError(f"{name} is not set: {hint}")
    return value


def _open_log(path: Path | None) -> TextIO:
    """Open the log for appending, readable by its owner only."""
    target = os.devnull if path is None else path
    try:
        return os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "a", encoding="utf-8")
    except OSError as error:
        raise OutputError(f"cannot write the log {path}: {error.strerror}") from None


def _write(log: TextIO, record: Record, rules: str) -> None:
    line = {"at": datetime.now(UTC).isoformat(timespec="seconds"), **asdict(record), "rules_sha256": rules}
    log.write(json.dumps(line) + "\n")
    log.flush()
