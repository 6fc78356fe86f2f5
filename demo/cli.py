"""The commands ``up``, ``status``, ``stop`` and ``logs``, which the Makefile calls, and ``rpacs-hub``."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from typing import Any

from demo.accounts import NOT_ISOLATED, is_root
from demo.errors import StackError, tail_of
from demo.settings import Settings
from demo.stack import Stack
from demo.status import StackStatus
from demo.terminal import run_rpacs_hub


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Parameters
    ----------
    arguments
        Instead of ``sys.argv``.

    Returns
    -------
    int
        Exit code: 0 if all is well.
    """
    parsed = _parser().parse_args(arguments)
    try:
        code: int = parsed.run(parsed)
    except StackError as error:
        print(f"demo: {error}", file=sys.stderr)
        if parsed.run is _up and _is_up():
            print(
                "What has been started so far keeps running: `make demo` goes on, `make stop` ends it.", file=sys.stderr
            )
        return 1
    except PermissionError as error:
        print(f"demo: {error}: was the stack started with sudo? Then use sudo here, too.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ndemo: interrupted; `make stop` ends what has been started", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    up = commands.add_parser("up", help="start everything that does not run")
    up.add_argument("--no-samples", action="store_true", help="send no sample studies")
    up.set_defaults(run=_up)
    status = commands.add_parser("status", help="ask every part how it is; exit code 0 only if all are well")
    status.add_argument("--json", action="store_true", help="for programs")
    status.set_defaults(run=_status)
    stop = commands.add_parser("stop", help="stop everything; the data stay")
    stop.set_defaults(run=_stop)
    logs = commands.add_parser("logs", help="show the end of the logs")
    logs.add_argument("part", nargs="*", help="only of these parts")
    logs.add_argument("--lines", type=int, default=15, help="how many lines (default: 15)")
    logs.set_defaults(run=_logs)
    hub = commands.add_parser(
        "rpacs-hub", help="what administrators do at a terminal, on this stack: python -m demo rpacs-hub profiles list"
    )
    hub.add_argument("words", nargs=argparse.REMAINDER, metavar="...", help="as for rpacs-hub itself")
    hub.set_defaults(run=_rpacs_hub)
    return parser


def _is_up() -> bool:
    try:
        return Stack(Settings.load()).supervisor.pid is not None
    except StackError:
        return False


def _say(line: str) -> None:
    try:
        print(f"  {line}", flush=True)
    except BrokenPipeError:
        # Nobody reads any more (`make demo | head`); starting or stopping is finished all the same.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _up(arguments: argparse.Namespace) -> int:
    begun = time.monotonic()
    settings = Settings.load()
    stack = Stack(settings, _say)
    print(f"Starting the research PACS workbench; its data are in {settings.var}", flush=True)
    stack.up(samples=not arguments.no_samples)
    print(f"\nEverything is up after {time.monotonic() - begun:.0f} s.\n")
    _print_how_to_use(stack)
    return 0


def _print_how_to_use(stack: Stack) -> None:
    settings, s3 = stack.settings, stack.s3
    print(f"  Open         {settings.hub_url}\n")
    print("  Demo logins  name     password         sees")
    for user in settings.users:
        print(f"               {user.name:<8} {stack.logins[user.name]:<16} {user.sees}")
    print(f"\n  Export to    s3://{s3.bucket}/   (not allowed: s3://{s3.forbidden_bucket}/)")
    print(f"  endpoint     {s3.endpoint_url}")
    print(f"  clara's key  {s3.access_key}")
    print(f"  and secret   {s3.secret_key}\n")
    print(f"  Send DICOM   C-STORE to {settings.ingest_aet} at 127.0.0.1 port {settings.ports.ingest_dicom}")
    print(f"               or drop files into {settings.var / 'inbox'}/")
    print(f"  Rules        {settings.var / 'config' / 'rules.yaml'}")
    print(f"  Permissions  {settings.permissions_file}")
    print("\n  make status shows how every part is, make stop ends it all; the data stay.")
    if not is_root():
        print("\n" + "\n".join("  " + line for line in NOT_ISOLATED.splitlines()))


def _status(arguments: argparse.Namespace) -> int:
    stack = Stack(Settings.load())
    status = stack.status()
    if arguments.json:
        print(json.dumps(status.as_dict(), indent=2))
    elif not status.running:
        print("\n".join(status.problems) or "The stack is not running: `make demo` starts it.")
    else:
        _print_status(status)
        print()
        _print_how_to_use(stack)
    return 0 if status.healthy else 1


def _print_status(status: StackStatus) -> None:
    width = max(len(part.title) for part in status.parts)
    for part in status.parts:
        since = _duration(part.since) if part.pid else ""
        pid = f"pid {part.pid}" if part.pid else ""
        print(f"  {'ok  ' if part.healthy else 'FAIL'}  {part.title:<{width}}  {part.detail}")
        more = "  ".join(word for word in (part.address, pid, part.user, since) if word)
        print(f"        {'':<{width}}  {more}" if more else "", end="\n" if more else "")
        if not part.healthy:
            print(f"        {'':<{width}}  log: {part.log}")
    print()
    _print_pipeline(status.pipeline)
    for problem in status.problems:
        print("  PROBLEM  " + "\n           ".join(line.strip() for line in problem.splitlines()))


def _print_pipeline(pipeline: dict[str, Any]) -> None:
    if "queued" in pipeline:
        counts = pipeline.get("counts", {})
        print(
            f"  Pipeline     {pipeline['queued']} waiting, {counts.get('done', 0)} cleaned, "
            f"{counts.get('discarded', 0)} discarded, {pipeline.get('searchable', '?')} searchable, "
            f"{pipeline.get('per_s', 0):.1f}/s"
        )
        held = pipeline.get("quarantined") or {}
        words = ", ".join(f"{number} {reason}" for reason, number in held.items())
        print(f"  Quarantine   {words or 'empty'}")


def _duration(seconds: int) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"up {seconds // size} {unit}"
    return f"up {seconds} s"


def _stop(_: argparse.Namespace) -> int:
    begun = time.monotonic()
    stack = Stack(Settings.load(), _say)
    if not stack.settings.var.exists():
        print("Nothing was ever started here.")
        return 0
    print("Stopping (the S3 server takes some 15 s)", flush=True)
    for forced in stack.stop():
        print(f"  ended the hard way: {forced}")
    print(f"Nothing of it runs any more ({time.monotonic() - begun:.0f} s). The data stay in {stack.settings.var}")
    return 0


def _rpacs_hub(arguments: argparse.Namespace) -> int:
    return run_rpacs_hub(Stack(Settings.load()).services, arguments.words)


def _logs(arguments: argparse.Namespace) -> int:
    stack = Stack(Settings.load())
    files = sorted(stack.settings.logs.glob("*.log"))
    for file in files:
        if not arguments.part or file.stem in arguments.part:
            print(f"==== {file}\n{tail_of(file, arguments.lines)}\n")
    if not files:
        print(f"no logs in {stack.settings.logs} yet")
    return 0
