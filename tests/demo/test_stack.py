"""Starting, asking and stopping, with small programs in the place of the real parts."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from dataclasses import astuple, replace
from pathlib import Path

import pytest

from demo.cli import main
from demo.errors import PartFailedError, StackError
from demo.health import Health
from demo.parts import free_ports
from demo.processes import MARK, descendants
from demo.services import Part
from demo.settings import ROOT, Ports, Settings
from demo.stack import Stack
from demo.supervision import Program
from tests.fixtures.processes import wait_for

SLEEP = "import time; print('hello', flush=True); time.sleep(300)"


@pytest.fixture
def folder():
    """A folder that every user can pass through, as pytest's own is not."""
    path = Path(tempfile.mkdtemp(prefix="rpacs-stack-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


class Small:
    """A stack of small programs."""

    def __init__(self, folder: Path):
        settings = replace(Settings.load({"RPACS_VAR": str(folder / "var")}), ports=Ports(*free_ports(14)))
        self.lines: list[str] = []
        self.stack = Stack(settings, self.lines.append)
        self.settled: list[str] = []
        self.parts: list[Part] = []
        self.stack.services.parts = lambda: self.parts

    def add(self, name, *after, code=SLEEP, ready=lambda: True, settle=None, timeout=20.0, ports=()):
        program = Program(name, (sys.executable, "-c", code), {"PATH": os.environ["PATH"]}, Path("/"), patience=5)
        check = lambda: Health(ready(), "fine" if ready() else "does not answer")  # noqa: E731
        settle = settle or (lambda: self.settled.append(name))
        self.parts.append(Part(name, name.upper(), "", ports, after, lambda: program, check, settle, timeout))

    def up(self):
        self.stack.up(samples=False)

    def said(self, word):
        return [line.split()[1] for line in self.lines if line.startswith(word)]


@pytest.fixture
def small(folder):
    small = Small(folder)
    yield small
    small.stack.stop()


def test_parts_start_after_those_that_they_need(small):
    small.add("b", "a")
    small.add("a")
    small.add("c", "b", "d")
    small.add("d")
    small.up()
    assert small.said("ready").index("A") < small.said("ready").index("B") < small.said("ready").index("C")
    assert small.lines.index("starting  C") > max(
        index for index, line in enumerate(small.lines) if line.startswith(("ready     B", "ready     D"))
    )
    assert sorted(small.settled) == ["a", "b", "c", "d"]


def test_starting_again_starts_only_what_is_down(small):
    for name in ("a", "b"):
        small.add(name)
    small.up()
    before = small.stack.program_pid("a")
    small.stack.supervisor.halt(["b"])
    small.lines.clear()
    small.up()
    assert (small.said("running"), small.said("starting")) == (["A"], ["B"])
    assert small.stack.program_pid("a") == before


def test_a_part_that_dies_is_reported_with_its_own_words(small):
    small.add("good")
    small.add("bad", code="raise SystemExit('the disk is on fire')", ready=lambda: False, timeout=30)
    small.add("later", "bad")
    with pytest.raises(PartFailedError) as caught:
        small.up()
    text = str(caught.value)
    assert "BAD did not start: its process ends right away" in text
    assert "the disk is on fire" in text
    assert str(small.stack.supervisor.log("bad")) in text
    assert small.said("starting") == ["GOOD", "BAD"]
    assert small.stack.program_pid("good")  # stays up, to be looked at


def test_a_part_that_never_answers_is_given_up_in_time(small):
    small.add("mute", ready=lambda: False, timeout=1.0)
    with pytest.raises(PartFailedError, match="MUTE did not start: after 1 s it still does not answer"):
        small.up()


def test_a_part_that_cannot_be_set_up_says_why(small):
    def settle():
        raise ValueError("no room")

    small.add("a", settle=settle)
    with pytest.raises(PartFailedError, match="it could not be set up: no room"):
        small.up()


def test_a_taken_port_is_named_with_who_has_it(small):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        small.add("a", ports=(port,))
        with pytest.raises(StackError) as caught:
            small.up()
    assert f"{port}: " in str(caught.value)
    assert f"(pid {os.getpid()})" in str(caught.value)
    assert "RPACS_PORT_OFFSET" in str(caught.value)
    assert small.said("starting") == []


def test_what_a_killed_stack_left_is_ended_before_the_next(small):
    left = subprocess.Popen([sys.executable, "-c", SLEEP], env={MARK: str(small.stack.settings.var)})
    try:
        small.add("a")
        small.up()
        assert left.wait(30) == -15
        assert any("an earlier start left behind" in line for line in small.lines)
    finally:
        left.kill()
        left.wait()


def test_a_killed_supervisor_is_noticed_and_its_programs_are_stopped(small):
    small.add("a")
    small.up()
    pid = small.stack.program_pid("a")
    wait_for(lambda: "hello" in small.stack.supervisor.log("a").read_text(), 20)
    os.kill(small.stack.supervisor.pid, signal.SIGKILL)
    wait_for(lambda: small.stack.supervisor.pid is None, 30)
    status = small.stack.status()
    assert (status.healthy, status.running) == (False, False)
    assert "its supervisor is gone, but 1 processes run" in status.problems[0]
    small.stack.stop()
    assert descendants(pid) == []


def test_stopping_leaves_nothing_not_even_what_ran_away(small):
    runaway = (
        "import subprocess, sys, time;"
        f"subprocess.Popen([sys.executable, '-c', {SLEEP!r}], start_new_session=True, env={{}}); time.sleep(300)"
    )
    small.add("parent", code=runaway)
    small.up()
    pid = small.stack.program_pid("parent")
    child = wait_for(lambda: found[1] if len(found := descendants(pid)) == 2 else None, 20)
    forced = small.stack.stop()
    assert not child.alive
    assert len(forced) == 1
    assert str(child.pid) in forced[0]
    assert small.stack.supervisor.pid is None
    assert small.stack.stop() == []


def test_status_asks_really(small):
    answers = {"a": True}
    small.add("a", ready=lambda: answers["a"])
    assert small.stack.status().running is False
    small.up()
    status = small.stack.status()
    assert (status.healthy, status.running, status.problems) == (True, True, [])
    (part,) = status.parts
    assert (part.healthy, part.detail, part.pid) == (True, "fine", small.stack.program_pid("a"))
    answers["a"] = False  # its process still runs
    status = small.stack.status()
    assert (status.healthy, status.parts[0].detail) == (False, "does not answer")
    small.stack.supervisor.halt(["a"])
    assert small.stack.status().parts[0].detail.startswith("stopped")
    json.dumps(status.as_dict())


def test_two_starts_at_the_same_time_do_not_mix(small):
    import fcntl

    small.add("a")
    small.up()
    with (small.stack.settings.var / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(StackError, match="right now"):
            small.up()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a folder away")
def test_data_of_another_user_are_left_alone(small):
    var = small.stack.settings.var
    var.mkdir()
    os.chown(var, 65534, 65534)
    try:
        for act in (small.up, small.stack.status, small.stack.stop):
            with pytest.raises(StackError, match="the user nobody"):
                act()
    finally:
        os.chown(var, 0, 0)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root separates users")
def test_a_closed_way_to_the_data_is_told_before_anything_starts(folder):
    folder.chmod(0o700)
    with pytest.raises(StackError, match="chmod o\\+x"):
        Small(folder).up()
    assert not (folder / "var").exists()


def test_commands_on_a_stack_that_never_ran(folder, monkeypatch, capsys):
    monkeypatch.setenv("RPACS_VAR", str(folder / "var"))
    assert main(["status"]) == 1
    assert "not running" in capsys.readouterr().out
    assert main(["status", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["healthy"], found["running"]) == (False, False)
    assert [part["name"] for part in found["parts"]] == [
        *("postgres", "ingest", "research", "s3", "login", "deid", "indexer", "jupyterhub", "gateway")
    ]
    assert main(["stop"]) == 0
    assert "Nothing was ever started" in capsys.readouterr().out
    assert main(["logs"]) == 0
    monkeypatch.setenv("RPACS_PORT_OFFSET", "ten")
    assert main(["up"]) == 1
    assert "RPACS_PORT_OFFSET" in capsys.readouterr().err
    assert not (folder / "var").exists()


def test_no_secret_is_in_a_command_line_or_readable_by_others(folder):
    stack = Stack(replace(Settings.load({"RPACS_VAR": str(folder / "var")}), ports=Ports(*free_ports(14))))
    services = stack.services
    services.prepare()
    secrets = {path.read_text().strip() for path in services.secrets.folder.iterdir() if path.name != "pseudonym.key"}
    assert len(secrets) >= 18
    assert len(secrets) == len([p for p in services.secrets.folder.iterdir() if p.name != "pseudonym.key"])
    for path in services.secrets.folder.iterdir():
        assert path.stat().st_mode & 0o077 == 0
    for program in (services._orthanc("ingest"), services._orthanc("research"), services._s3(), services._deid()):
        words = " ".join(program.command)
        assert not [secret for secret in secrets if secret in words]
    before = {path.name: path.read_bytes() for path in services.secrets.folder.iterdir()}
    services.prepare()
    assert {path.name: path.read_bytes() for path in services.secrets.folder.iterdir()} == before


def test_edited_files_survive_and_are_valid(folder):
    from deid_service import load_rules
    from rpacs_hub.permissions import load_permissions

    stack = Stack(replace(Settings.load({"RPACS_VAR": str(folder / "var")}), ports=Ports(*free_ports(14))))
    stack.services.prepare()
    config = stack.settings.var / "config"
    assert load_rules(config / "rules.yaml").digest
    path = stack.settings.permissions_file
    permissions = load_permissions(path)
    assert list(permissions.profiles) == ["CT images", "Everything"]
    path.write_text("Profiles: {}\nPermissions: []\n")
    stack.services.prepare()
    assert path.read_text().startswith("Profiles: {}")
    # Where it was in earlier versions: it moves along.
    path.rename(config / "permissions.yaml")
    stack.services.prepare()
    assert path.read_text().startswith("Profiles: {}")
    assert [one.name for one in config.iterdir()] == ["rules.yaml"]


def test_ports_of_the_checked_in_settings_are_used_by_the_parts():
    settings = Settings.load({"RPACS_VAR": "/nonexistent"}, root=ROOT)
    opened = [port for part in Stack(settings).services.parts() for port in part.ports]
    # The research Orthanc has no DICOM server.
    assert sorted(opened) == sorted(set(astuple(settings.ports)) - {settings.ports.research_dicom})
