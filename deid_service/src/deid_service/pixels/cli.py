"""``rpacs-deid pixels``: a page that shows what the rules do to pixels."""

from __future__ import annotations

import argparse
import contextlib
import secrets
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

from deid_service._buffers import Data, open_file
from deid_service._output import check_place, private_text
from deid_service.engine import Deidentifier
from deid_service.errors import DeidError, InputError
from deid_service.files.cleaning import files_below
from deid_service.files.progress import Progress
from deid_service.pixels.page import PixelPage
from deid_service.pixels.shown import PixelsShown, deidentifier_for_looking, look_at
from deid_service.rules import default_rules_path, path_or_s3

__all__ = ["add_commands", "write_page"]

_SIDE: Final = 800
_FRAMES: Final = 3


def add_commands(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``pixels`` to the commands of ``rpacs-deid``.

    Parameters
    ----------
    subparsers
        What ``ArgumentParser.add_subparsers`` returned.
    """
    pixels = subparsers.add_parser(
        "pixels", help="make a page that shows pixels before and after", description=_pixels.__doc__
    )
    pixels.add_argument(
        "source", metavar="SRC", help="a DICOM file, a folder, orthanc://ID of the ingest Orthanc, or s3://BUCKET/KEY"
    )
    pixels.add_argument("page", type=Path, metavar="PAGE", help="the page to write, for instance pixels.html")
    pixels.add_argument(
        "--rules", type=path_or_s3, default=default_rules_path(), help="or s3://BUCKET/KEY; default: the built-in rules"
    )
    pixels.add_argument("--sample", type=_positive, metavar="N", help="only N instances, drawn at random")
    pixels.add_argument(
        "--only-changed", action="store_true", help="show only what is blacked out or held back; count the rest"
    )
    pixels.add_argument(
        "--frames", type=_positive, default=_FRAMES, metavar="N", help=f"of each, at most (default: {_FRAMES})"
    )
    pixels.add_argument("--show-values", action="store_true", help="say what an OCR engine reads in each box")
    pixels.set_defaults(function=_pixels)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


def _pixels(arguments: argparse.Namespace) -> int:
    """Make a page that shows, for each instance, frames as they came, what was found in them, and the result.

    The page identifies patients: it is for the clinical side only, and readable by you only. Nothing else is written,
    and nothing is sent, but to the OCR engine that the rules name. No key is needed. Exit code 0 says
    that the page was written, whatever it shows.
    """
    deidentifier = deidentifier_for_looking(arguments.rules)
    with contextlib.ExitStack() as stack:
        originals = _originals(arguments.source, arguments.page, stack)
        total = len(originals)
        if not total:
            print(f"rpacs-deid: {arguments.source} holds no files", file=sys.stderr)
            return 1
        notes = []
        if arguments.sample and arguments.sample < total:
            chosen = sorted(secrets.SystemRandom().sample(range(total), arguments.sample))
            originals = [originals[index] for index in chosen]
            notes.append(f"A sample of {len(originals)} of {total} instances, drawn at random.")

        def looked_at() -> Iterator[tuple[PixelsShown, Sequence[str]]]:
            for name, read in originals:
                try:
                    data = read()
                except (DeidError, OSError) as error:
                    words = (error.strerror or "") if isinstance(error, OSError) else str(error)
                    yield PixelsShown(name, "refused", "unreadable", words or "it cannot be read"), ()
                    continue
                yield (
                    look_at(data, deidentifier, name, most=arguments.frames, show_values=arguments.show_values),
                    (),
                )

        complete = write_page(
            arguments.page, looked_at(), len(originals), deidentifier, notes, only_changed=arguments.only_changed
        )
    return 0 if complete else 130


def _originals(source: str, page: Path, stack: contextlib.ExitStack) -> list[tuple[str, Callable[[], Data]]]:
    """Return what there is to look at: the name of each, and how it is read."""
    if "://" in source:
        from deid_service.sending.sources import open_source

        there = stack.enter_context(contextlib.closing(open_source(source)))
        return [(one.name, one.read) for one in there.originals]
    root = Path(source)
    if not root.exists():
        raise InputError(f"{root} does not exist")
    if root.is_dir() and page.resolve().is_relative_to(root.resolve()):
        raise InputError("the page must not go below the folder of the originals")
    if page.resolve() == root.resolve():
        raise InputError("the page must not replace the original")

    def reader(path: Path) -> Callable[[], Data]:
        return lambda: open_file(path)

    folder = root if root.is_dir() else root.parent
    return [(str(path.relative_to(folder)), reader(path)) for path in files_below(root)]


def write_page(
    path: Path,
    instances: Iterator[tuple[PixelsShown, Sequence[str]]],
    total: int,
    deidentifier: Deidentifier,
    notes: Sequence[str] = (),
    *,
    only_changed: bool = False,
) -> bool:
    """Write a page of instances, one in memory at a time, with the progress on stderr.

    Parameters
    ----------
    path : Path
        Where to; the page gets mode 0600.
    instances : iterator of (PixelsShown, sequence of str)
        What to show, and further lines about each.
    total : int
        How many they are.
    deidentifier : Deidentifier
        By whose rules.
    notes : sequence of str, optional
        Lines at the top.
    only_changed : bool, optional
        Whether instances whose pixels stayed as they were are only counted.

    Returns
    -------
    bool
        False if it was interrupted: the page then shows what was looked at until then, and says so.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    check_place(path)
    made = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M")
    notes = [*notes, f"Made {made} by the rules with SHA-256 {deidentifier.rules.digest[:16]}…"]
    progress = Progress(total)
    complete = False
    with PixelPage("Pixels before and after", notes, _SIDE) as page:
        with contextlib.suppress(KeyboardInterrupt):
            for shown, more in instances:
                page.add(shown, *more, unless_unchanged=only_changed)
                progress.count(shown.outcome)
            complete = True
        progress.finish()
        if not complete:
            page.note(f"Broken off: {progress.counts.total()} of {total} instances were looked at.")
        with private_text(path) as file:
            page.write(file)
    print(f"wrote {path}: it identifies patients and must stay on the clinical side", file=sys.stderr)
    return complete
