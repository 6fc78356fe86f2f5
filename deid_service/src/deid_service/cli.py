"""The command ``rpacs-deid``.

========================  ==============================================================
``check RULES``           says whether a rules file is in order, or everything that is not
``file SRC DST``          cleans files or folders, without any server; see :mod:`deid_service.files`
``pixels SRC PAGE``       makes a page that shows pixels before and after; see :mod:`deid_service.pixels.cli`
``match QUERY FILES``     prints the files that a query finds
``keygen PATH``           makes a pseudonym key
``table IN.csv OUT.csv``  cleans a table of health records; see :mod:`deid_service.tables`
``send LOCATION``         cleans what lies somewhere and sends it; see :mod:`deid_service.sending`
``mapping``               looks up pseudonyms; see :mod:`deid_service.broker`
``run`` and others        the service; see :mod:`deid_service.pipeline.cli`
========================  ==============================================================

Exit codes: 0 all is well; 1 something was refused, is wrong or was not found; 2 the command cannot be carried out.
No command prints a value of an instance, but ``mapping``, and ``file`` with ``--show-values``. The page that ``pixels``
writes shows originals.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, cast

from deid_service.errors import DeidError, RulesError
from deid_service.files.cleaning import files_below
from deid_service.files.cli import add_commands as add_file
from deid_service.pixels.cli import add_commands as add_pixels
from deid_service.pseudonyms import PseudonymKey
from deid_service.rules import default_rules_path, load_rules, path_or_s3
from deid_service.tables.cli import add_commands as add_table

__all__ = ["main"]

_OK: Final = 0
_REFUSED: Final = 1
_USAGE: Final = 2
_SERVICE: Final = ("pipeline", "broker", "sending")


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
    commands = parser.add_subparsers(
        required=True, metavar="COMMAND", parser_class=cast("type[argparse.ArgumentParser]", _Parser)
    )

    check = commands.add_parser("check", help="say whether a rules file is in order", description=_check.__doc__)
    check.add_argument(
        "rules",
        type=path_or_s3,
        nargs="?",
        default=default_rules_path(),
        help="or s3://BUCKET/KEY; default: the built-in rules",
    )
    check.set_defaults(function=_check)

    add_file(commands)
    add_pixels(commands)

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


class _Parser(argparse.ArgumentParser):
    """A command's options are written out: nobody asks for values with ``--sh``."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **{"allow_abbrev": False, **more})


def _check(arguments: argparse.Namespace) -> int:
    """Say whether a rules file is in order; if not, everything that is wrong, with line and column."""
    try:
        rules = load_rules(arguments.rules)
    except RulesError as error:
        print(error, file=sys.stderr)
        return _REFUSED
    counts = [
        f"{number} {one if number == 1 else many}"
        for number, one, many in (
            (len(rules.labels), "label", "labels"),
            (len(rules.entries), "entry of transformations", "entries of transformations"),
        )
    ]
    print(f"{arguments.rules}: in order ({', '.join(counts)})")
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
    """Print the files that a query finds, one a line. Exit code 1 if there is none.

    What is below a folder and no DICOM file is counted and skipped; a file that is named must be one.
    """
    from pydicom import dcmread

    from dicom_query import QueryError, evaluate, parse

    try:
        query = parse(arguments.query)
    except QueryError as error:
        print(f"rpacs-deid: {error}", file=sys.stderr)
        return _USAGE
    found = wrong = skipped = 0
    for root in arguments.files:
        for path in files_below(root):
            try:
                hit = evaluate(query, dcmread(path, defer_size=65_536))
            except OSError as error:
                wrong += 1
                print(f"rpacs-deid: cannot read {path}: {error.strerror}", file=sys.stderr)
            except Exception:  # noqa: BLE001 - pydicom raises many kinds, and messages may quote values
                if path == root:
                    wrong += 1
                    print(f"rpacs-deid: {path} is not a DICOM file", file=sys.stderr)
                else:
                    skipped += 1
            else:
                if hit:
                    print(path)
                    found += 1
    if skipped:
        print(f"rpacs-deid: {skipped} of the files are not DICOM files", file=sys.stderr)
    if wrong:
        return _USAGE
    return _OK if found else _REFUSED
