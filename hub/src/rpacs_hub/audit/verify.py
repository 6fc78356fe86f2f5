"""Is the audit whole? Finds lines that were changed, removed, added or moved."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg

from rpacs_hub.audit.chain import BEGINNING, Head, Link, read_link
from rpacs_hub.errors import AuditUnreadable

__all__ = ["Finding", "Verification", "file_lines", "table_lines", "verify_audit", "verify_lines"]

_MOST = 1000
_BATCH = 5000


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Attributes
    ----------
    place
        ``table`` or the name of a file.
    seq
        The line's number; None where it has none.
    text
        What is wrong, in words.
    """

    place: str
    seq: int | None
    text: str

    def __str__(self) -> str:
        return f"{self.place}: line {self.seq}: {self.text}" if self.seq is not None else f"{self.place}: {self.text}"


@dataclass
class Verification:
    """What a verification found.

    Attributes
    ----------
    lines
        How many lines were read.
    first
        Number of the first line; None if there was none.
    head
        The chain's end.
    findings
        At most 1,000; empty if the audit is whole.
    """

    lines: int = 0
    first: int | None = None
    head: Head = BEGINNING
    findings: list[Finding] = field(default_factory=list)

    @property
    def whole(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    def note(self, place: str, seq: int | None, text: str) -> None:
        """Keep a finding."""
        if len(self.findings) < _MOST:
            self.findings.append(Finding(place, seq, text))


def verify_lines(
    place: str,
    lines: Iterable[str],
    *,
    complete: bool = False,
    progress: Callable[[int], None] = lambda _: None,
    each: Callable[[Link], None] = lambda _: None,
) -> Verification:
    """Check one place.

    Parameters
    ----------
    place
        What it is called in findings.
    lines
        Its lines, in order, without line breaks.
    complete
        Whether it must begin with the first line of all; a file may begin later (log rotation).
    progress
        Gets the number of lines read, now and then.
    each
        Gets every line that could be read.

    Returns
    -------
    Verification
    """
    result = Verification()
    last: Head | None = BEGINNING if complete else None
    for number, text in enumerate(lines, 1):
        result.lines = number
        if number % _BATCH == 0:
            progress(number)
        found = read_link(text)
        if found is None:
            result.note(place, None, f"row {number} is no audit line, or its number or digest was damaged")
            last = None  # what follows is checked from its own beginning
            continue
        result.first = found.seq if result.first is None else result.first
        if not found.sound:
            result.note(place, found.seq, "was changed: it does not fit its own digest")
        if last is not None:
            if found.seq > last.seq + 1:
                gone = f"{last.seq + 1} to {found.seq - 1}" if found.seq > last.seq + 2 else f"{last.seq + 1}"
                result.note(place, found.seq, f"follows line {last.seq}: {gone} missing")
            elif found.seq <= last.seq:
                result.note(place, found.seq, f"stands after line {last.seq}: moved, or written twice")
            elif found.previous != last.hash:
                result.note(place, found.seq, f"does not follow line {last.seq} as that one is now")
        last = found.head
        result.head = found.head
        each(found)
    return result


def file_lines(paths: Iterable[Path]) -> Iterator[str]:
    """Yield the lines of a log and of its rotated parts, by the number that each part begins with.

    Raises
    ------
    AuditUnreadable
        A file cannot be read.
    """
    try:
        for path in sorted(paths, key=_begins):
            with path.open(encoding="utf-8", errors="surrogateescape", newline="\n") as file:
                for line in file:
                    yield line.rstrip("\n")
    except OSError as error:
        raise AuditUnreadable(
            f"{error.filename} cannot be read: {error.strerror}.", "Run it as the gateway's user, or as root."
        ) from None


def _begins(path: Path) -> int:
    with path.open(encoding="utf-8", errors="replace") as file:
        found = read_link(file.readline().rstrip("\n"))
    return found.seq if found else 0


def table_lines(connection: psycopg.Connection[Any]) -> Iterator[str]:
    """Yield the table's lines in order.

    Parameters
    ----------
    connection
        Of a role that may read it.
    """
    with connection.transaction(), connection.cursor("audit") as cursor:
        cursor.itersize = _BATCH
        cursor.execute("SELECT line, seq, time FROM audit.event ORDER BY seq")
        for line, seq, time in cursor:
            # A row whose columns say something else than its line is as bad as a damaged line.
            yield line if _agrees(line, seq, time) else ""


def _agrees(line: str, seq: int, time: datetime) -> bool:
    """Tell whether the columns beside a line say the same as the line."""
    found = read_link(line)
    return found is None or (found.seq == seq and f'"time":"{_written(time)}"' in line)


def _written(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="milliseconds")


def verify_audit(
    connection: psycopg.Connection[Any] | None,
    files: Iterable[Path] = (),
    *,
    noted: Head | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> Verification:
    """Check the table and the file, and each against the other.

    Parameters
    ----------
    connection
        Of a role that may read the table, in autocommit mode; None to check files only.
    files
        The log and its rotated parts.
    noted
        A number and digest that somebody noted earlier: that line must still be there.
    progress
        Gets the number of lines read, now and then.

    Returns
    -------
    Verification
        Number of lines and end of the table, or of the files where there is no table.

    Raises
    ------
    AuditUnreadable
        A file cannot be read.
    """
    files = list(files)
    # What was in the table before the file is read must be in the file; what comes meanwhile need not.
    before = _end_of_table(connection) if connection is not None else 0
    digests: dict[int, int] = {}
    at_noted: list[str] = []

    def keep(found: Link) -> None:
        digests[found.seq] = _short(found)
        if connection is None and noted is not None and found.seq == noted.seq:
            at_noted.append(found.hash)

    result = verify_lines("file", file_lines(files), progress=progress, each=keep) if files else Verification()
    if digests and result.head.seq < before:
        result.note("file", None, f"ends with line {result.head.seq}, the table with line {before} or later")
    if connection is not None:
        missing = set(digests)
        differing: list[int] = []

        def compare(found: Link) -> None:
            missing.discard(found.seq)
            if digests.get(found.seq, _short(found)) != _short(found):
                differing.append(found.seq)
            if noted is not None and found.seq == noted.seq:
                at_noted.append(found.hash)

        table = verify_lines("table", table_lines(connection), complete=True, progress=progress, each=compare)
        table.findings[:0] = result.findings
        result = table
        for seq in differing:
            result.note("table", seq, "is another line than in the file")
        for seq in sorted(missing):
            result.note("table", seq, "is missing: the file has it")
    if noted is not None and noted.hash not in at_noted:
        words = "is another line than was noted" if at_noted else "is missing, but was noted"
        result.note("table" if connection is not None else "file", noted.seq, words)
    return result


def _short(found: Link) -> int:
    """Return enough of a digest to tell lines apart: millions of them are kept at a time."""
    return int(found.hash[:16], 16)


def _end_of_table(connection: psycopg.Connection[Any]) -> int:
    row = connection.execute("SELECT max(seq) FROM audit.event").fetchone()
    return int(row[0]) if row and row[0] is not None else 0
