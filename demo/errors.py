"""What can go wrong with the local stack.

::

    StackError            something to tell the user, with the way out
    └── PartFailedError        one part did not get ready; holds the end of its log
"""

from __future__ import annotations

from pathlib import Path


class StackError(Exception):
    """Something the user can put right; the message says how."""


class PartFailedError(StackError):
    """A part of the stack did not get ready.

    Parameters
    ----------
    title
        Name of the part, for people.
    reason
        What was seen.
    log
        Its log file; the end of it becomes part of the message.
    """

    def __init__(self, title: str, reason: str, log: Path):
        self.log = log
        tail = tail_of(log, 25)
        shown = f"the end of {log}:\n{tail}" if tail else f"its log, {log}, is empty"
        super().__init__(f"{title} did not start: {reason}\n{shown}")


def tail_of(log: Path, lines: int) -> str:
    """Return the last `lines` lines of a log file, indented; empty if there is none."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 64_000))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return ""
    return "\n".join("    " + line for line in text.splitlines()[-lines:])
