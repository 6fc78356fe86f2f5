"""Requests of nobody: kept one by one up to a point, then counted, so that a flood of them does not fill the disk."""

from __future__ import annotations

import time
from collections.abc import Callable

from rpacs_hub.audit.event import AuditEvent

__all__ = ["Refusals"]


class Refusals:
    """Decides which requests without a valid token get a line of their own.

    They hand out nothing, and anybody who reaches the address can send as many as he likes. Within each minute the
    first ones of an address are kept one by one; how many more there were is kept in one line when the minute is over.

    Parameters
    ----------
    singly
        How many of one address are kept one by one in a minute.
    addresses
        How many addresses are told apart in a minute; all others count together.
    clock
        Seconds, monotonic.
    """

    _OTHERS = "other addresses"

    def __init__(self, singly: int = 20, addresses: int = 1000, clock: Callable[[], float] = time.monotonic):
        self._singly, self._addresses, self._clock = singly, addresses, clock
        self._counts: dict[str, int] = {}
        self._begun = clock()

    def keep(self, remote: str) -> bool:
        """Tell whether a refusal gets a line of its own, and count it if not."""
        if remote not in self._counts and len(self._counts) >= self._addresses:
            remote = self._OTHERS
        self._counts[remote] = self._counts.get(remote, 0) + 1
        return self._counts[remote] <= self._singly

    def due(self, *, now: bool = False) -> list[AuditEvent]:
        """Return lines about what was only counted, once a minute is over.

        Parameters
        ----------
        now
            Whether not to wait for the minute's end: the gateway stops.
        """
        if not now and self._clock() - self._begun < 60:
            return []
        counts, self._counts, self._begun = self._counts, {}, self._clock()
        return [
            AuditEvent(
                "",
                remote=remote,
                action="unknown",
                decision="denied",
                status=401,
                count=number - self._singly,
                why=[f"{number - self._singly} more requests without a valid token within a minute."],
            )
            for remote, number in counts.items()
            if number > self._singly
        ]
