"""supervisord with small programs."""

import os
import signal
import stat
import sys
import time
from pathlib import Path

import pytest

from demo.errors import StackError
from demo.processes import descendants
from demo.supervision import Program, Supervisor
from tests.fixtures.processes import wait_for

SLEEP = "import time; print('here I am', flush=True); time.sleep(120)"
# Leaves a grandchild behind when it is killed.
PARENT = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {SLEEP!r}], start_new_session=True)"


@pytest.fixture
def supervisor(tmp_path):
    for name in ("run", "log"):
        (tmp_path / name).mkdir()
    supervisor = Supervisor(tmp_path / "run", tmp_path / "log", str(tmp_path))
    supervisor.start()
    yield supervisor
    supervisor.shut_down()


def program(name: str, code: str, **environment: str) -> Program:
    return Program(name, (sys.executable, "-c", code), environment, Path("/"), patience=5)


def running(supervisor, name):
    return wait_for(lambda: s if (s := supervisor.state(name)).state == "RUNNING" else None, 20)


def test_a_program_runs_with_its_log_and_is_started_again_when_it_dies(supervisor):
    assert supervisor.launch(program("one", SLEEP)) is True
    first = running(supervisor, "one")
    assert supervisor.launch(program("one", SLEEP)) is False  # as it is
    os.kill(first.pid, signal.SIGKILL)
    second = wait_for(lambda: s if (s := running(supervisor, "one")).pid != first.pid else None, 20)
    assert second.pid
    wait_for(lambda: supervisor.log("one").read_text().count("here I am") == 2, 20)


def test_secrets_are_in_a_private_file_and_in_no_command_line(supervisor):
    secret = "p%a$s'w;o#rd,x y%(z)s\\"
    code = "import os, time; print(os.environ['SECRET'], flush=True); time.sleep(120)"
    supervisor.launch(program("one", code, SECRET=secret))
    wait_for(lambda: secret in supervisor.log("one").read_text(), 20)  # it arrives unharmed
    for path in (supervisor.programs / "one.conf", supervisor.run / "supervisord.conf", supervisor.socket):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for process in supervisor.processes():
        assert secret not in process.command()


@pytest.mark.parametrize("value", ['a"b', "a\nb", "'a"])
def test_what_supervisord_cannot_pass_on_is_refused(supervisor, value):
    with pytest.raises(StackError, match="quote or a line break"):
        supervisor.launch(program("one", SLEEP, SECRET=value))


def test_a_changed_program_is_started_anew(supervisor):
    supervisor.launch(program("one", SLEEP, X="1"))
    first = running(supervisor, "one")
    assert supervisor.launch(program("one", SLEEP, X="2")) is True
    assert running(supervisor, "one").pid != first.pid


def test_a_program_that_cannot_live_is_told_apart(supervisor):
    supervisor.launch(program("bad", "raise SystemExit('no such thing')"))
    state = wait_for(lambda: s if (s := supervisor.state("bad")).state == "BACKOFF" else None, 20)
    assert state.pid == 0
    assert "no such thing" in supervisor.log("bad").read_text()
    supervisor.halt(["bad"])
    assert supervisor.state("bad").state in ("STOPPED", "FATAL", "EXITED")


def test_halting_waits_and_an_unknown_program_is_merely_stopped(supervisor):
    supervisor.launch(program("one", SLEEP))
    pid = running(supervisor, "one").pid
    supervisor.halt(["one", "none"])
    assert descendants(pid) == []
    assert supervisor.state("none").state == "STOPPED"


def test_orphans_stay_in_the_family(supervisor):
    supervisor.launch(program("parent", PARENT))
    pid = running(supervisor, "parent").pid
    child = wait_for(lambda: found[1] if len(found := descendants(pid)) == 2 else None, 20)
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: child.pid in {p.pid for p in supervisor.processes() if p.parent == supervisor.pid}, 20)
    os.kill(child.pid, signal.SIGKILL)


def test_shutting_down_leaves_nothing_and_starting_twice_is_harmless(supervisor):
    pid = supervisor.pid
    supervisor.start()
    assert supervisor.pid == pid
    supervisor.launch(program("one", SLEEP))
    running(supervisor, "one")
    family = supervisor.processes()
    assert len(family) == 2
    supervisor.shut_down()
    assert supervisor.pid is None
    assert supervisor.states() == []
    wait_for(lambda: not any(process.alive for process in family), 30)


def test_a_path_too_long_for_a_socket(tmp_path):
    folder = tmp_path / ("x" * 100)
    for name in ("run", "log"):
        (folder / name).mkdir(parents=True)
    supervisor = Supervisor(folder / "run", folder / "log", str(folder))
    assert not supervisor.socket.is_relative_to(folder)
    try:
        supervisor.start()
        assert stat.S_IMODE(supervisor.socket.parent.stat().st_mode) == 0o700
        supervisor.launch(program("one", SLEEP))
        running(supervisor, "one")
    finally:
        supervisor.shut_down()
    supervisor.socket.parent.rmdir()


def test_a_socket_folder_of_somebody_else_is_refused(tmp_path):
    folder = tmp_path / ("y" * 100)
    for name in ("run", "log"):
        (folder / name).mkdir(parents=True)
    supervisor = Supervisor(folder / "run", folder / "log", str(folder))
    supervisor.socket.parent.mkdir(mode=0o755)
    begun = time.monotonic()
    try:
        with pytest.raises(StackError, match="only this user can open"):
            supervisor.start()
    finally:
        supervisor.socket.parent.rmdir()
    assert time.monotonic() - begun < 10
