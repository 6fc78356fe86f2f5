"""What is wrong at the moment, said once when it starts and once when it is over."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

__all__ = ["Gate", "Troubles"]

_log = logging.getLogger("deid_service.pipeline")

_QUIET_SECONDS = 60.0


class Troubles:
    """The troubles of one process, by topic. Thread-safe.

    A dead server meets every instance of a thousand; the log gets one line when it dies and one when it is back.
    """

    def __init__(self) -> None:
        self._open: dict[str, tuple[str, float]] = {}
        self._logged: dict[str, float] = {}
        self._lock = threading.Lock()

    def report(self, topic: str, text: str) -> None:
        """Note that something is wrong; logged if it is new, or if it changed and was not logged for a minute."""
        now = time.monotonic()
        with self._lock:
            before = self._open.get(topic)
            self._open[topic] = (text, before[1] if before else now)
            said = before is not None and (before[0] == text or now - self._logged[topic] < _QUIET_SECONDS)
            if not said:
                self._logged[topic] = now
        if not said:
            _log.warning("%s Nothing is lost; trying again.", text if text.endswith(("?", ".")) else f"{text}.")

    def clear(self, topic: str) -> None:
        """Note that it is well again; logged if it was not."""
        if topic not in self._open:  # the usual case, without the lock
            return
        with self._lock:
            before = self._open.pop(topic, None)
        if before is not None:
            _log.warning("%s: all is well again after %.0f s.", topic, time.monotonic() - before[1])

    def current(self) -> list[str]:
        """Return what is wrong now, in words."""
        with self._lock:
            return [text for text, _ in self._open.values()]


class Gate:
    """Keeps everybody from a server that is in trouble, and lets them through again when it answers.

    Parameters
    ----------
    topic
        Name of the server in the log.
    troubles
        Where its state is reported.
    probe
        Raises if the server does not answer. Called, in the caller's thread, only while the gate is shut.
    longest
        Seconds between two probes at most.
    """

    def __init__(self, topic: str, troubles: Troubles, probe: Callable[[], None], *, longest: float = 10.0) -> None:
        self.topic, self._troubles, self._probe, self._longest = topic, troubles, probe, longest
        self._lock = threading.Lock()
        self._failures = 0
        self._shut_until = 0.0
        self._must_probe = False

    def failed(self, text: str, *, unreachable: bool) -> None:
        """Shut the gate for a while that doubles with each failure in a row.

        Parameters
        ----------
        text
            What happened, fit for the log.
        unreachable
            True if the server must first answer a probe; False if only work can show that it is well (full disk).
        """
        with self._lock:
            now = time.monotonic()
            self._must_probe |= unreachable
            if now >= self._shut_until:  # failures of requests that were under way together count once
                self._shut_until = now + min(self._longest, 0.25 * 2 ** min(self._failures, 10))
                self._failures += 1
        self._troubles.report(self.topic, text)

    def succeeded(self) -> None:
        """Open the gate: the server did its work."""
        if self._failures:
            with self._lock:
                self._failures, self._shut_until, self._must_probe = 0, 0.0, False
        self._troubles.clear(self.topic)

    def look(self) -> None:
        """Find out whether the server is well again where no work shows it, as other processes may do it all.

        A server that did not answer is well once it answers. Of one that answered and refused (full disk), no probe
        can tell: it counts as well when nothing has failed here for a minute.
        """
        if not self._failures:
            return
        with self._lock:
            overdue = time.monotonic() - self._shut_until
            answers_would_tell = self._must_probe
        if overdue < 0:
            return
        if answers_would_tell:
            if self.is_open():
                self.succeeded()
        elif overdue > _QUIET_SECONDS:
            self.succeeded()

    def is_open(self) -> bool:
        """Tell whether work may go through now; probes the server if its time has come."""
        if not self._failures:
            return True
        with self._lock:
            if time.monotonic() < self._shut_until:
                return False
            if not self._must_probe:
                return True
        try:
            self._probe()
        except Exception as error:  # noqa: BLE001 - whatever it is, the server is not well
            self.failed(str(error), unreachable=True)
            return False
        with self._lock:
            self._must_probe = False
        return True
