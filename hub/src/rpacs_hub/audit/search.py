"""Searching the audit: who did what, when, with which images."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TextIO

__all__ = ["COLUMNS", "AuditFilter", "csv_head", "csv_row", "read_events", "write_csv", "write_lines"]

COLUMNS = (
    "seq",
    "time",
    "user",
    "groups",
    "action",
    "decision",
    "status",
    "reason",
    "query",
    "level",
    "count",
    "bytes",
    "identifiers",
    "profiles",
    "via",
    "subject",
    "why",
    "remote",
    "method",
    "path",
    "request_id",
    "milliseconds",
)
"""Columns of a table of audit lines."""

# What a spreadsheet would take for a formula (OWASP, "CSV injection").
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True)
class AuditFilter:
    """Which lines are wanted; what is None does not matter.

    Attributes
    ----------
    user, action, decision, request_id
        Exactly these.
    since, until
        From this moment on, and before that one.
    containing
        A text that the line holds.
    identifier
        A UID or another identifier that the line names, the whole of it.
    before
        Only lines with a smaller number: the next page.
    limit
        At most so many, the newest first.
    """

    user: str | None = None
    action: str | None = None
    decision: str | None = None
    request_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    containing: str | None = None
    identifier: str | None = None
    before: int | None = None
    limit: int = 100

    def statement(self) -> tuple[str, list[Any]]:
        """Return a SELECT of lines with its parameters, the newest first."""
        where, values = self._where()
        return f"SELECT line FROM audit.event{where} ORDER BY seq DESC LIMIT %s", [*values, self.limit]  # noqa: S608

    def count_statement(self) -> tuple[str, list[Any]]:
        """Return a SELECT of how many lines there are, whatever the limit, and the highest number, with parameters."""
        where, values = self._where()
        return f"SELECT count(*), coalesce(max(seq), 0) FROM audit.event{where}", values  # noqa: S608

    def _where(self) -> tuple[str, list[Any]]:
        conditions: list[str] = []
        values: list[Any] = []
        for condition, value in (
            ('"user" = %s', self.user),
            ("action = %s", self.action),
            ("decision = %s", self.decision),
            ("request_id = %s", self.request_id),
            ("time >= %s", self.since),
            ("time < %s", self.until),
            ("strpos(line, %s) > 0", self.containing),
            # As it stands in the line: in quotes, so that 1.2.3 does not find 1.2.34.
            (
                "strpos(line, %s) > 0",
                None if self.identifier is None else json.dumps(self.identifier, ensure_ascii=False),
            ),
            ("seq < %s", self.before),
        ):
            if value is not None:
                conditions.append(condition)
                values.append(value)
        # Every condition is one of those above; the values travel apart.
        return f" WHERE {' AND '.join(conditions)}" if conditions else "", values


def write_csv(events: Iterable[dict[str, Any]], file: TextIO) -> int:
    """Write audit lines as a table.

    Parameters
    ----------
    events
        Lines, read from JSON.
    file
        Where to.

    Returns
    -------
    int
        How many there were.
    """
    file.write(csv_head())
    number = 0
    for event in events:
        file.write(csv_row(event))
        number += 1
    return number


def csv_head() -> str:
    """Return the first line of a table of audit lines, as CSV (RFC 4180)."""
    return _csv_line(COLUMNS)


def csv_row(event: dict[str, Any]) -> str:
    """Return an audit line as CSV. What a spreadsheet would take for a formula begins with an apostrophe.

    Parameters
    ----------
    event
        A line, read from JSON.
    """
    return _csv_line([_cell(event.get(name)) for name in COLUMNS])


def _csv_line(cells: Iterable[Any]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer).writerow(cells)
    return buffer.getvalue()


def write_lines(lines: Iterable[str], file: TextIO) -> int:
    """Write audit lines as they are; return how many there were."""
    number = 0
    for line in lines:
        file.write(f"{line}\n")
        number += 1
    return number


def _cell(value: Any) -> Any:
    if value is None or isinstance(value, int | float):
        return value
    text = " ".join(value) if isinstance(value, list) else str(value)
    return f"'{text}" if text.startswith(_FORMULA) else text


def read_events(lines: Iterable[str]) -> Iterable[dict[str, Any]]:
    """Read lines as JSON."""
    return (json.loads(line) for line in lines)
