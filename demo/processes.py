"""Which processes of a stack are alive, from ``/proc``.

Processes are told apart by pid and start time, because the kernel gives pids out again.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

MARK = "RPACS_STACK"
"""Environment variable that every program of a stack is started with; its value is the stack's var folder."""

_PROC = Path("/proc")


@dataclass(frozen=True)
class Process:
    """A process, by pid and start time (clock ticks since boot)."""

    pid: int
    started: int
    parent: int = field(compare=False)
    name: str = field(compare=False)

    @property
    def alive(self) -> bool:
        """Whether this very process still runs (a zombie does not)."""
        now = _look(self.pid)
        return now is not None and now.started == self.started

    @property
    def seconds(self) -> int:
        """How long it has been running."""
        since_boot = float((_PROC / "uptime").read_text().split()[0])
        return max(0, int(since_boot - self.started / os.sysconf("SC_CLK_TCK")))

    def command(self) -> str:
        """Return the beginning of its command line, for people."""
        try:
            words = (_PROC / str(self.pid) / "cmdline").read_bytes().split(b"\0")
        except OSError:
            return self.name
        return b" ".join(words).decode("utf-8", "replace").strip()[:120] or self.name


def _look(pid: int) -> Process | None:
    try:
        text = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # pid (name) state parent ...: the name may hold spaces and parentheses itself. See proc(5).
    name = text[text.index("(") + 1 : text.rindex(")")]
    rest = text[text.rindex(")") + 2 :].split()
    if rest[0] in "ZX":
        return None
    return Process(pid, int(rest[19]), int(rest[1]), name)


def process(pid: int) -> Process | None:
    """Return a live process by its pid."""
    return _look(pid)


def all_processes() -> list[Process]:
    """Return every live process."""
    found = (_look(int(entry.name)) for entry in _PROC.iterdir() if entry.name.isdecimal())
    return [process for process in found if process is not None]


def descendants(pid: int) -> list[Process]:
    """Return a process and everything below it, the process itself first; empty if it is gone."""
    everything = all_processes()
    children: dict[int, list[Process]] = {}
    for process in everything:
        children.setdefault(process.parent, []).append(process)
    found = [process for process in everything if process.pid == pid]
    for process in found:
        found.extend(children.get(process.pid, ()))
    return found


def marked(var: Path, hub_api_port: int) -> list[Process]:
    """Return the processes that belong to the stack in `var` by their environment.

    A researcher's server does not get the mark, but it knows the address of its Hub.
    """
    mark = f"{MARK}={var}".encode()
    api = f"JUPYTERHUB_API_URL=http://127.0.0.1:{hub_api_port}/".encode()
    found = []
    for process in all_processes():
        if process.pid == os.getpid():
            continue
        try:
            environment = (_PROC / str(process.pid) / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if mark in environment or any(entry.startswith(api) for entry in environment):
            found.append(process)
    return found


def wait_gone(processes: Iterable[Process], timeout: float) -> list[Process]:
    """Wait until the processes are gone and return those that are not after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    left = [process for process in processes if process.alive]
    while left and time.monotonic() < deadline:
        time.sleep(0.1)
        left = [process for process in left if process.alive]
    return left


def end(processes: Iterable[Process], *, polite: float) -> list[Process]:
    """End processes: SIGTERM, `polite` seconds, SIGKILL. Return those that even that did not end."""
    left = list(processes)
    for how, patience in ((signal.SIGTERM, polite), (signal.SIGKILL, 10.0)):
        for process in left:
            if process.alive:
                try:
                    os.kill(process.pid, how)
                except (ProcessLookupError, PermissionError):
                    continue
        left = wait_gone(left, patience)
        if not left:
            break
    return left


def listeners(ports: Iterable[int]) -> dict[int, Process | None]:
    """Return the ports of 127.0.0.1 (or of any address) that somebody listens on, with the process if we may know."""
    wanted = set(ports)
    inodes: dict[str, int] = {}
    for table in ("tcp", "tcp6"):
        try:
            lines = (_PROC / "net" / table).read_text(encoding="ascii").splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            columns = line.split()
            port = int(columns[1].rsplit(":", 1)[1], 16)
            if columns[3] == "0A" and port in wanted:  # TCP_LISTEN
                inodes[columns[9]] = port
    found: dict[int, Process | None] = dict.fromkeys(inodes.values())
    if not inodes:
        return found
    for process in all_processes():
        for target in _handles(process.pid):
            if target.startswith("socket:[") and target[8:-1] in inodes:
                found[inodes[target[8:-1]]] = process
    return found


def _handles(pid: int) -> Iterator[str]:
    """Yield what a process has open, as far as we may know."""
    with contextlib.suppress(OSError):
        for handle in (_PROC / str(pid) / "fd").iterdir():
            # Some are closed while we look; our own listing of the folder always is.
            with contextlib.suppress(OSError):
                yield str(handle.readlink())
