"""Finding and ending processes."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from demo.processes import MARK, all_processes, descendants, end, listeners, marked, process, wait_gone
from tests.fixtures.processes import wait_for

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('on', flush=True); time.sleep(60)",
]
FAMILY = [
    sys.executable,
    "-c",
    "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(60)'])",
]


def stop(process):
    process.kill()
    process.wait()
    if process.stdout:
        process.stdout.close()


def test_a_family_is_found_and_ended():
    parent = subprocess.Popen(FAMILY)
    try:
        family = wait_for(lambda: found if len(found := descendants(parent.pid)) == 2 else None, 20)
        assert family[0].pid == parent.pid
        assert family[1].parent == parent.pid
        assert all(process.alive for process in family)
        assert end(family, polite=5) == []
        assert not any(process.alive for process in family)  # a zombie does not count
    finally:
        stop(parent)


def test_who_does_not_listen_to_sigterm_is_killed():
    stubborn = subprocess.Popen(STUBBORN, stdout=subprocess.PIPE)
    try:
        stubborn.stdout.readline()
        begun = time.monotonic()
        assert end(descendants(stubborn.pid), polite=0.3) == []
        assert time.monotonic() - begun < 10
        assert stubborn.wait() == -signal.SIGKILL
    finally:
        stop(stubborn)


def test_a_pid_that_was_given_out_again_is_another_process():
    one = subprocess.Popen(SLEEP)
    try:
        (process,) = descendants(one.pid)
        assert process.alive
        assert not process.__class__(process.pid, process.started - 1, 0, "").alive
        assert wait_gone([process], 0) == [process]
    finally:
        stop(one)
    assert wait_gone([process], 5) == []


def test_how_long_a_process_has_been_running():
    first, own = process(1), process(os.getpid())
    since_boot = float(Path("/proc/uptime").read_text().split()[0])
    assert 0 <= own.seconds <= first.seconds <= since_boot
    assert process(2**22 + 1) is None  # more than any pid


def test_processes_are_known_by_their_environment(tmp_path):
    mine = subprocess.Popen(SLEEP, env={MARK: str(tmp_path)})
    server = subprocess.Popen(SLEEP, env={"JUPYTERHUB_API_URL": "http://127.0.0.1:12345/hub/api"})
    other = subprocess.Popen(SLEEP, env={MARK: str(tmp_path / "other")})
    try:
        found = wait_for(lambda: pids if len(pids := {p.pid for p in marked(tmp_path, 12345)}) == 2 else None, 20)
        assert found == {mine.pid, server.pid}
        assert marked(tmp_path / "none", 1234) == []
    finally:
        for process in (mine, server, other):
            stop(process)


def test_listeners_with_their_processes():
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        ports = [one.getsockname()[1], two.getsockname()[1]]
        found = listeners(ports)
        assert {port: process.pid for port, process in found.items()} == dict.fromkeys(ports, os.getpid())
    assert listeners(ports) == {}


def test_names_with_spaces_and_parentheses(tmp_path):
    program = tmp_path / "a (b) c"
    program.symlink_to("/bin/sleep")
    odd = subprocess.Popen([str(program), "60"])
    try:
        wait_for(lambda: "a (b) c" in {process.name for process in all_processes() if process.pid == odd.pid}, 20)
    finally:
        stop(odd)
