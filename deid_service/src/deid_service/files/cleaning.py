"""From files to files: one at a time, or many in several processes.

A process cleans a file and writes the copy beside its place under a name of its own; only the parent, which sees all of
them in order, puts it in its place. So of two files that are the same instance always the first wins.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import re
import secrets
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from deid_service._buffers import Data, open_file
from deid_service._output import write_whole
from deid_service.comparison import values_by_path
from deid_service.engine import Deidentifier, dataset_of
from deid_service.errors import InputError, OutputError, Refused
from deid_service.outcomes import Cleaned
from deid_service.pseudonyms import PseudonymKey
from deid_service.rules import load_rules

__all__ = ["Task", "clean_files", "files_below"]

# To start processes takes about a second.
_FEW: Final = 48
_CHUNK: Final = 8


@dataclass(frozen=True, slots=True)
class Task:
    """What to do with files.

    Attributes
    ----------
    rules : Path or str
        Rules file: a path, or ``s3://bucket/key``.
    key_file : Path
        Read by each process: a key does not travel.
    source, destination : Path
        A file and a file, or a folder and a folder.
    dry_run : bool
        Whether to write nothing.
    show_values : bool
        Whether records say what each value was and became.
    run : str
        Marks the drafts of this run, so that they can be told from those of another.
    """

    rules: Path | str
    key_file: Path
    source: Path
    destination: Path
    dry_run: bool = False
    show_values: bool = False
    run: str = field(default_factory=lambda: secrets.token_hex(4))

    def deidentifier(self) -> Deidentifier:
        """Read rules and key."""
        return Deidentifier(load_rules(self.rules), PseudonymKey.from_file(self.key_file))


def files_below(root: Path) -> Iterator[Path]:
    """Yield a file, or all files below a folder in order of their names, but hidden ones.

    Raises
    ------
    InputError
        If a folder cannot be looked into: its files would be missed without a word.
    """
    if not root.is_dir():
        yield root
        return

    def stop(error: OSError) -> None:
        raise InputError(f"cannot read the folder {error.filename}: {error.strerror}") from None

    found = [Path(folder, name) for folder, _, names in os.walk(root, onerror=stop) for name in names]
    for path in sorted(found):
        if path.is_file() and not path.name.startswith("."):
            yield path


def clean_files(task: Task, paths: Sequence[Path], processes: int = 1) -> Iterator[dict[str, Any]]:
    """Clean files.

    Parameters
    ----------
    task : Task
        What to do.
    paths : sequence of Path
        The originals.
    processes : int, optional
        How many to use; few files are not worth a second one.

    Yields
    ------
    dict
        What became of each file, in order: ``source``, ``outcome`` (cleaned, discarded, refused), and as it applies
        ``reason`` and ``message``, ``labels``, ``destination``, ``pixels``, ``changes``.

    Raises
    ------
    OutputError
        If a copy cannot be written.
    """
    try:
        yield from _clean_all(task, paths, processes)
    except BaseException:
        _sweep(task)
        raise


def _sweep(task: Task) -> None:
    """Remove the copies that were finished and not yet put in their places."""
    if not task.dry_run:
        folder = task.destination if task.source.is_dir() else task.destination.parent
        for draft in folder.rglob(f".rpacs-{task.run}-*"):
            draft.unlink(missing_ok=True)


def _clean_all(task: Task, paths: Sequence[Path], processes: int) -> Iterator[dict[str, Any]]:
    written: set[str] = set()
    if processes <= 1 or len(paths) <= _FEW:
        deidentifier = task.deidentifier()
        for path in paths:
            yield _place(_clean(task, deidentifier, path), written)
        return
    # Spawned rather than forked: whoever calls may have threads.
    pool = ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), _start, (task,))
    with pool:
        try:
            # Ctrl-C is for this process. The others would meet it in the middle of their start, before they ignore it:
            # they inherit that it is blocked.
            unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            try:
                records = pool.map(_clean_there, paths, chunksize=_CHUNK)
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
            for record in records:
                yield _place(record, written)
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


_there: tuple[Task, Deidentifier] | None = None


def _start(task: Task) -> None:
    global _there
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which stops us
    _there = task, task.deidentifier()


def _clean_there(path: Path) -> dict[str, Any]:
    assert _there is not None
    return _clean(*_there, path)


def _place(record: dict[str, Any], written: set[str]) -> dict[str, Any]:
    """Put a finished copy in its place, unless an earlier file took it."""
    draft = record.pop("draft", None)
    target = record.get("destination")
    if target is None:
        return record
    if target in written:
        if draft is not None:
            Path(draft).unlink(missing_ok=True)
        message = "another file is the same instance"
        return {"source": record["source"], "outcome": "refused", "reason": "duplicate", "message": message}
    written.add(target)
    if draft is not None:
        try:
            Path(draft).replace(target)
        except OSError as error:
            raise OutputError(f"cannot write {target}: {error.strerror}") from None
    return record


def _clean(task: Task, deidentifier: Deidentifier, path: Path) -> dict[str, Any]:
    """Clean one file and say what became of it; the copy is a draft yet."""
    record: dict[str, Any] = {"source": str(path)}
    try:
        data = open_file(path)
    except OSError as error:
        return record | {"outcome": "refused", "reason": "unreadable", "message": error.strerror or "cannot be read"}
    try:
        outcome = deidentifier.clean(data)
    except Refused as refusal:
        record |= {"outcome": "refused", "reason": refusal.reason_code, "message": refusal.message}
        if refusal.pixels is not None:
            record["pixels"] = refusal.pixels.as_json()
        labels = _labels(deidentifier, data)
        return record if labels is None else record | {"labels": labels}
    if not isinstance(outcome, Cleaned):
        return record | {"outcome": "discarded", "labels": list(outcome.labels)}
    target = task.destination
    if task.source.is_dir():
        # Folders and file names of originals often hold names and numbers of patients: the copies get none of them.
        target = target / _name(outcome.study_instance_uid) / _name(outcome.series_instance_uid)
        target /= f"{_name(outcome.sop_instance_uid)}.dcm"
    elif target.is_dir():
        target = target / f"{_name(outcome.sop_instance_uid)}.dcm"
    if not task.dry_run:
        digest = hashlib.sha256(str(path).encode("utf-8", "surrogateescape")).hexdigest()[:16]
        draft = target.with_name(f".rpacs-{task.run}-{digest}")
        write_whole(draft, outcome.parts)
        record["draft"] = str(draft)
    return record | {
        "outcome": "cleaned",
        "destination": str(target),
        "labels": list(outcome.labels),
        "pixels": None if outcome.pixels is None else outcome.pixels.as_json(),
        "changes": _changes(task, data, outcome),
    }


def _labels(deidentifier: Deidentifier, data: Data) -> list[str] | None:
    """Return the labels of an instance that was refused; None if they cannot be told."""
    try:
        return list(deidentifier.rules.labels_of(lambda: dataset_of(data)))
    except Exception:  # noqa: BLE001 - it was refused already, and for a reason
        return None


def _changes(task: Task, data: Data, outcome: Cleaned) -> list[dict[str, str | None]]:
    changes: list[dict[str, str | None]] = [{"path": c.path, "action": c.action} for c in outcome.changes]
    if task.show_values:
        before, after = values_by_path(data), values_by_path(outcome.data)
        for change in changes:
            path = change["path"] or ""
            change |= {"before": before.get(path), "after": after.get(path)}
    return changes


def _name(uid: str) -> str:
    """Make a file name of a UID. Rules that keep UIDs could hand us one such as ``../x``."""
    return uid if re.fullmatch(r"[0-9][0-9.]*", uid) else hashlib.sha256(uid.encode()).hexdigest()[:32]
