"""Counts and a bar on the terminal."""

from __future__ import annotations

import sys
import time
from collections import Counter
from typing import Final

__all__ = ["Progress"]

_QUIET_SECONDS: Final = 1.0
_REPORT_SECONDS: Final = 0.2
_WIDTH: Final = 30


class Progress:
    """Counts outcomes: a live bar on a terminal once it takes a while, and a summary at the end, on stderr.

    Parameters
    ----------
    total : int
        How many files there are.

    Attributes
    ----------
    counts : Counter of str
        By outcome.
    """

    def __init__(self, total: int) -> None:
        self.counts: Counter[str] = Counter()
        self._total = total
        self._start = self._shown = time.monotonic()
        self._live = False

    def count(self, outcome: str) -> None:
        """Count one file."""
        self.counts[outcome] += 1
        now = time.monotonic()
        if now - self._start > _QUIET_SECONDS and now - self._shown > _REPORT_SECONDS and sys.stderr.isatty():
            self._shown = now
            self._live = True
            sys.stderr.write(f"\r\x1b[K{self.bar()} {self.summary()}")
            sys.stderr.flush()

    def say(self, line: str) -> None:
        """Print a line without breaking the bar."""
        if self._live:
            sys.stderr.write("\r\x1b[K")
            self._live = False
        sys.stderr.write(f"{line}\n")

    def finish(self) -> None:
        """Print the summary."""
        self.say(self.summary())

    def bar(self) -> str:
        """Draw the bar."""
        done = self._total and _WIDTH * self.counts.total() // self._total
        return f"[{'#' * done}{'.' * (_WIDTH - done)}]"

    def summary(self) -> str:
        """Say how many files had which outcome."""
        done = self.counts.total()
        parts = [f"{self.counts[outcome]} {outcome}" for outcome in ("cleaned", "discarded", "refused")]
        seconds = max(time.monotonic() - self._start, 1e-6)
        return f"{done} of {self._total} files: {', '.join(parts)} ({done / seconds:.0f}/s)"
