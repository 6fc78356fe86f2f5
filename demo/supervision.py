"""Running the stack's programs under supervisord: restart on crash, one log each, secrets in a private file.

supervisord is told about each program only when that is due, by a file of its own in ``run/programs/`` (mode 0600,
because it holds the program's environment). It listens on a Unix socket only.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import signal
import stat
import subprocess
import sys
import tempfile
import time
import xmlrpc.client
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from supervisor.xmlrpc import SupervisorTransport  # type: ignore[import-untyped]

from demo.accounts import is_root, own_folder
from demo.errors import StackError, tail_of
from demo.processes import MARK, Process, descendants

_DETACH = Path(__file__).with_name("detach.py")
_LONGEST_SOCKET_PATH = 90  # sun_path holds 108 bytes, and supervisord binds a longer name first


@dataclass(frozen=True)
class Program:
    """What supervisord runs.

    Attributes
    ----------
    name
        Short name, also of the log.
    command
        Words of the command line; never secrets, which other users could read there.
    environment
        The whole environment; secrets go here.
    folder
        Current folder.
    user
        System user, if we are root.
    stop_signal
        How to ask it to end.
    patience
        Seconds that it may take to end.
    """

    name: str
    command: tuple[str, ...]
    environment: dict[str, str] = field(repr=False)
    folder: Path
    user: str | None = None
    stop_signal: str = "TERM"
    patience: int = 20

    def section(self, log: Path) -> str:
        """Return the program's section of supervisord's configuration."""
        lines = [
            f"[program:{self.name}]",
            f"command={_escape(shlex.join(self.command))}",
            f"directory={_escape(str(self.folder))}",
            f"environment={','.join(f'{name}={_quote(value)}' for name, value in self.environment.items())}",
            *([f"user={self.user}"] if self.user else []),
            "autostart=false",
            "autorestart=true",
            # A part that dies in its first second is tried again, later and later, for some three minutes.
            "startsecs=1",
            "startretries=20",
            f"stopsignal={self.stop_signal}",
            f"stopwaitsecs={self.patience}",
            "killasgroup=true",
            "redirect_stderr=true",
            f"stdout_logfile={_escape(str(log))}",
            "stdout_logfile_maxbytes=10MB",
            "stdout_logfile_backups=3",
            "umask=027",
        ]
        return "\n".join(lines) + "\n"


def _escape(text: str) -> str:
    # supervisord expands %(name)s.
    return text.replace("%", "%%")


def _quote(value: str) -> str:
    if '"' in value or "\n" in value or value.startswith("'") or value.endswith("'"):
        raise StackError("an environment value holds a quote or a line break, which supervisord cannot pass on")
    return f'"{_escape(value)}"'


@dataclass(frozen=True)
class ProgramState:
    """What supervisord says about a program.

    Attributes
    ----------
    name
        The program.
    state
        ``STOPPED``, ``STARTING``, ``RUNNING``, ``BACKOFF`` (died young, will be tried again), ``STOPPING``,
        ``EXITED`` or ``FATAL`` (given up).
    pid
        Its process, 0 if there is none.
    since
        Seconds that it has been running, 0 if it is not.
    detail
        supervisord's own words.
    """

    name: str
    state: str
    pid: int
    since: int
    detail: str


class Supervisor:
    """supervisord of one stack.

    Parameters
    ----------
    run
        Folder for its configuration, socket and pid.
    logs
        Folder for the logs.
    mark
        Value of the environment variable by which the stack's processes are known.
    """

    def __init__(self, run: Path, logs: Path, mark: str):
        self.run, self.logs, self.mark = run, logs, mark
        self.programs = run / "programs"
        self._pid_file = run / "supervisord.pid"
        self._started: subprocess.Popen[bytes] | None = None

    @property
    def socket(self) -> Path:
        """Its Unix socket: in `run`, or, where that path is too long for a socket, in a private temporary folder."""
        path = self.run / "supervisor.sock"
        if len(os.fsencode(path)) <= _LONGEST_SOCKET_PATH:
            return path
        digest = hashlib.sha256(os.fsencode(path)).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"rpacs-{os.geteuid()}-{digest}" / "s.sock"

    def log(self, name: str) -> Path:
        """Return the path of a program's log."""
        return self.logs / f"{name}.log"

    @property
    def pid(self) -> int | None:
        """Its process, None if it does not run."""
        try:
            pid = int(self._pid_file.read_text(encoding="ascii"))
        except (FileNotFoundError, ValueError):
            return None
        except PermissionError:
            raise StackError(f"{self.run} belongs to another user: was the stack started with sudo?") from None
        for process in descendants(pid)[:1]:
            if process.name.startswith(("supervisord", "python")):
                return pid
        return None

    def processes(self) -> list[Process]:
        """Return supervisord and everything that it started, however deep; empty if it does not run."""
        pid = self.pid
        return [] if pid is None else descendants(pid)

    def start(self, timeout: float = 20) -> None:
        """Start supervisord unless it runs.

        Raises
        ------
        StackError
            If it does not get ready.
        """
        if self.pid is not None and self._answers():
            return
        own_folder(self.programs)
        for old in self.programs.glob("*.conf"):
            old.unlink()
        self._private_socket_folder()
        configuration = self.run / "supervisord.conf"
        self._write(configuration, self._configuration())
        environment = {
            "PATH": f"{Path(sys.executable).parent}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "LANG": "C.UTF-8",
            MARK: self.mark,
        }
        # By its module: the script's first line may be longer than the kernel allows.
        words = [sys.executable, "-m", "supervisor.supervisord", "--nodaemon", "--configuration", str(configuration)]
        log = self.log("supervisord")
        detached = subprocess.run(
            [sys.executable, "-I", "-S", str(_DETACH), str(log), *words],
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            cwd="/",
            env=environment,
        )
        pid = int(detached.stdout)
        deadline = time.monotonic() + timeout
        while not self._answers():
            if not descendants(pid) or time.monotonic() > deadline:
                raise StackError(f"supervisord did not start; the end of {log}:\n{tail_of(log, 10)}")
            time.sleep(0.05)

    def _private_socket_folder(self) -> None:
        folder = self.socket.parent
        if folder == self.run:
            return
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o077:
            raise StackError(f"{folder} must be a folder that only this user can open: remove it and start again")

    def _configuration(self) -> str:
        log = _escape(str(self.log("supervisord")))
        lines = [
            "[supervisord]",
            *(["user=root"] if is_root() else []),
            f"logfile={log}",
            "logfile_maxbytes=10MB",
            "logfile_backups=2",
            f"pidfile={_escape(str(self._pid_file))}",
            f"childlogdir={_escape(str(self.logs))}",
            "loglevel=info",
            "silent=true",
            "",
            "[unix_http_server]",
            f"file={_escape(str(self.socket))}",
            "chmod=0600",
            "",
            "[rpcinterface:supervisor]",
            "supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface",
            "",
            "[include]",
            f"files = {_escape(str(self.programs))}/*.conf",
            "",
        ]
        return "\n".join(lines)

    @staticmethod
    def _write(path: Path, text: str) -> None:
        draft = path.with_suffix(".new")
        draft.unlink(missing_ok=True)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        draft.replace(path)

    def _call(self, method: str, *arguments: Any) -> Any:
        transport = SupervisorTransport(None, None, f"unix://{self.socket}")
        proxy = xmlrpc.client.ServerProxy("http://localhost", transport=cast("xmlrpc.client.Transport", transport))
        try:
            return getattr(proxy.supervisor, method)(*arguments)
        finally:
            transport.close()

    def _answers(self) -> bool:
        try:
            state = self._call("getState")
        except (OSError, xmlrpc.client.Error):
            return False
        return isinstance(state, dict) and state.get("statename") == "RUNNING"

    def launch(self, program: Program) -> bool:
        """Start a program unless it runs already with the same configuration. Does not wait until it is ready.

        Returns
        -------
        bool
            Whether it had to be started.
        """
        environment = {MARK: self.mark, "PYTHONUNBUFFERED": "1", **program.environment}
        text = Program(**{**program.__dict__, "environment": environment}).section(self.log(program.name))
        path = self.programs / f"{program.name}.conf"
        known = program.name in {state.name for state in self.states()}
        if not known or not path.exists() or path.read_text(encoding="utf-8") != text:
            if known:
                self.halt([program.name])
                self._call("removeProcessGroup", program.name)
            self._write(path, text)
            self._call("reloadConfig")
            self._call("addProcessGroup", program.name)
        if self.state(program.name).state in ("RUNNING", "STARTING"):
            return False
        self._call("startProcess", program.name, False)
        return True

    def states(self) -> list[ProgramState]:
        """Return what is known about every program; empty if supervisord does not run."""
        try:
            found = self._call("getAllProcessInfo")
        except (OSError, xmlrpc.client.Error):
            return []
        return [
            ProgramState(
                info["name"],
                info["statename"],
                info["pid"],
                max(0, info["now"] - info["start"]) if info["pid"] else 0,
                info["description"] or info["spawnerr"],
            )
            for info in found
        ]

    def state(self, name: str) -> ProgramState:
        """Return what is known about one program."""
        for state in self.states():
            if state.name == name:
                return state
        return ProgramState(name, "STOPPED", 0, 0, "not started")

    def halt(self, names: list[str], timeout: float = 60) -> None:
        """Stop programs together and wait until they have stopped."""
        running = {state.name for state in self.states() if state.pid or state.state in ("BACKOFF", "STARTING")}
        for name in names:
            if name in running:
                try:
                    self._call("stopProcess", name, False)
                except xmlrpc.client.Fault:
                    continue  # it ended by itself in between
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if not any(state.pid for state in self.states() if state.name in names):
                return
            time.sleep(0.1)

    def shut_down(self, timeout: float = 60) -> None:
        """Stop every program and supervisord itself, and wait until it is gone."""
        pid = self.pid
        if pid is None:
            return
        try:
            self._call("shutdown")
        except (OSError, xmlrpc.client.Error):
            os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + timeout
        while self.pid == pid and time.monotonic() < deadline:
            time.sleep(0.1)
        if self._started is not None and self.pid != pid:
            self._started.wait()  # our own child stays a zombie until we ask for its exit code
            self._started = None
