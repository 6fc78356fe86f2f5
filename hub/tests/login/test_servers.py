"""Servers of researchers: how much they may take, when they are stopped, and how people are told."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import playwright.sync_api as playwright
import psutil
import pytest
from websocket import WebSocketTimeoutException

from hub.tests.login.conftest import running_hub
from hub.tests.login.rig import Cognito, Hub, People, Visitor, in_kernel, me, sign_in_and_start
from rpacs_hub.system_users import account_name
from tests.fixtures.processes import wait_for

IDLE_SECONDS = 15

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="system users need root")


@pytest.fixture(scope="module")
def hub(hub_folder: Path, hub_ports: list[int], cognito: Cognito) -> Iterator[Hub]:
    """A hub with narrow limits that stops no idle server."""
    limits = {
        "RPACS_IDLE_SECONDS": "0",
        "RPACS_SERVER_MEMORY_MB": "1024",
        "RPACS_SERVER_CPUS": "1.5",
        "RPACS_SERVER_PROCESSES": "200",
        "RPACS_SERVER_OPEN_FILES": "512",
        "RPACS_SERVER_NICE": "7",
    }
    with running_hub(hub_folder / "limited", hub_ports[0], cognito, **limits) as hub:
        yield hub


@pytest.fixture
def impatient_hub(hub_folder: Path, hub_ports: list[int], cognito: Cognito) -> Iterator[Hub]:
    """A hub that stops idle servers soon."""
    with running_hub(hub_folder / "impatient", hub_ports[1], cognito, RPACS_IDLE_SECONDS=str(IDLE_SECONDS)) as hub:
        yield hub


def server(hub: Hub, name: str) -> dict[str, object]:
    """Return what the hub says of somebody's server; empty if there is none."""
    found: dict[str, object] = hub.api("GET", f"users/{name}").json().get("servers", {}).get("", {})
    return found


def stop(hub: Hub, name: str) -> None:
    """Stop somebody's server, if she has one."""
    hub.api("DELETE", f"users/{name}/server")
    wait_for(lambda: not server(hub, name), 30, hub.log.read_text)


TRY_LIMITS = """
import json, os, resource, subprocess, sys
facts = {name: os.environ.get(name) for name in ("MEM_LIMIT", "CPU_LIMIT")}
facts["nice"] = os.getpriority(os.PRIO_PROCESS, 0)
facts["core"] = resource.getrlimit(resource.RLIMIT_CORE)
facts["oom"] = int(open("/proc/self/oom_score_adj").read())
def tried(action):
    try:
        action()
    except Exception as error:
        return type(error).__name__
    return "done"
import numpy
facts["much memory"] = tried(lambda: numpy.ones(2**28))
facts["some memory"] = tried(lambda: numpy.ones(2**24))
facts["raised"] = tried(lambda: resource.setrlimit(resource.RLIMIT_DATA, (-1, -1)))
facts["pushed ahead"] = tried(lambda: os.setpriority(os.PRIO_PROCESS, 0, 0))
started = []
facts["many files"] = tried(lambda: [started.append(open("/dev/null")) for _ in range(600)])
for file in started:
    file.close()
started = []
facts["many processes"] = tried(lambda: [started.append(subprocess.Popen(["sleep", "60"])) for _ in range(250)])
for process in started:
    process.kill()
    process.wait()
print(json.dumps(facts))
"""


@as_root
def test_a_server_takes_no_more_than_it_may(hub: Hub, people: People, chromium: playwright.Browser) -> None:
    for name in (people.clara, people.nora):
        stop(hub, name)
        sign_in_and_start(chromium, hub, name)
    assert json.loads(in_kernel(hub, people.clara, TRY_LIMITS)) == {
        "MEM_LIMIT": str(2**30),
        "CPU_LIMIT": "1.5",
        "nice": 7,
        "core": [0, 0],
        "oom": 500,
        "much memory": "MemoryError",
        "some memory": "done",
        "raised": "ValueError",
        "pushed ahead": "PermissionError",
        "many files": "OSError",
        "many processes": "BlockingIOError",
    }
    # A kernel that dies takes nothing along, and neither somebody else's server nor the hub has noticed anything.
    with pytest.raises((WebSocketTimeoutException, AssertionError)):  # it answers no more
        in_kernel(hub, people.clara, "import os; os.kill(os.getpid(), 9)", timeout=3)
    for name in (people.clara, people.nora):
        assert in_kernel(hub, name, "print(1 + 1)").strip() == "2"


def test_a_killed_hub_takes_its_services_along_and_the_next_one_finds_the_servers(
    hub_folder: Path, hub_ports: list[int], cognito: Cognito, people: People, chromium: playwright.Browser
) -> None:
    with running_hub(hub_folder / "killed", hub_ports[1], cognito, RPACS_IDLE_SECONDS="600") as hub:
        token = sign_in_and_start(chromium, hub, people.clara)
        workspace = psutil.Process(int(in_kernel(hub, people.clara, "import os; print(os.getppid())")))
        assert "--ServerApp.shutdown_no_activity_timeout=1800" in workspace.cmdline()
        culler, gateway = (_child(hub, part) for part in ("rpacs_hub.culler", "tiny_gateway.py"))
        hub.server.kill()
        for service in (culler, gateway):
            wait_for(lambda service=service: not service.is_running(), 10, f"{service} outlives the hub")
        assert workspace.is_running()

        hub.server.start(hub.ready)
        assert me(hub, token).json()["name"] == people.clara
        assert server(hub, people.clara)["ready"]
        assert in_kernel(hub, people.clara, "import os; print(os.getppid())").strip() == str(workspace.pid)
        assert culler.pid != _child(hub, "rpacs_hub.culler").pid
        stop(hub, people.clara)
        wait_for(lambda: not workspace.is_running(), 10, "the server outlives its end")


def _child(hub: Hub, part: str) -> psutil.Process:
    """Return the hub's child whose command holds this part."""
    (found,) = (
        child for child in psutil.Process(hub.server.pid).children() if any(part in word for word in child.cmdline())
    )
    return found


def test_who_computes_is_not_idle_and_who_rests_is(
    impatient_hub: Hub, people: People, chromium: playwright.Browser
) -> None:
    hub, visitor = impatient_hub, Visitor(chromium, impatient_hub)
    # An open page that nobody touches keeps nothing alive.
    page = visitor.log_in(people.nora, "hub/home")
    page.click("#rp-browse")
    page.wait_for_selector("#page")
    # Meanwhile somebody else's server is silent for longer than the idle time: no output, no connection but its own.
    sign_in_and_start(chromium, hub, people.clara)
    started = server(hub, people.clara)["started"]
    in_kernel(hub, people.clara, f"import time; time.sleep({IDLE_SECONDS * 1.4:.0f})")
    assert server(hub, people.clara)["started"] == started
    wait_for(lambda: not server(hub, people.nora), IDLE_SECONDS * 4, hub.log.read_text)

    page.goto(f"{hub.url}hub/home")
    visitor.shoot("20-home-idle")
    assert f"because nobody had used it for {IDLE_SECONDS} seconds" in page.inner_text("#rp-ended")
    page.goto(f"{hub.url}user/{people.nora}/lab")
    visitor.shoot("21-not-running-idle")
    assert "nobody had used it" in page.inner_text(".rp-panel")
    page.goto(f"{hub.url}hub/home")
    page.click("#rp-again")
    page.wait_for_url("**/user/**")
    page.goto(f"{hub.url}hub/home")
    assert page.locator("#rp-ended").count() == 0
    visitor.context.close()


def test_each_profile_opens_its_page(hub: Hub, people: People, visitor: Visitor) -> None:
    page = visitor.log_in(people.nora)
    for profile, place in (("browser", "**/voila/render/research-pacs/Browse.ipynb?*"), ("notebook", "**/lab?*")):
        stop(hub, people.nora)
        page.goto(f"{hub.url}hub/spawn/{people.nora}?opt-profile={profile}")
        page.wait_for_url(place)
    # Whatever else is asked for has no effect.
    stop(hub, people.nora)
    assert hub.api("POST", f"users/{people.nora}/server", json={"profile": "../x", "image": "evil"}).status_code < 300
    wait_for(lambda: server(hub, people.nora).get("ready"), 60)
    assert server(hub, people.nora)["user_options"] == {"profile": "notebook"}


@as_root
def test_a_server_that_ended_or_cannot_start_says_so(
    hub: Hub, people: People, visitor: Visitor, chromium: playwright.Browser
) -> None:
    stop(hub, people.nora)
    sign_in_and_start(chromium, hub, people.nora)
    os.kill(int(in_kernel(hub, people.nora, "import os; print(os.getppid())")), signal.SIGKILL)
    page = visitor.log_in(people.nora)
    wait_for(lambda: page.goto(f"{hub.url}hub/home") and page.locator("#rp-ended").count() == 1, 30)
    visitor.shoot("22-home-ended")
    assert "ended by itself" in page.inner_text("#rp-ended")

    home = hub.folder / "homes" / account_name(people.nora)
    kept = home.rename(home.with_name("kept"))
    home.symlink_to(kept)
    try:
        page.click("#rp-again")
        page.wait_for_selector("text=could not be started")
        visitor.shoot("23-failed")
        page.goto(f"{hub.url}hub/home")
        visitor.shoot("24-home-failed")
        assert "could not be started" in page.inner_text("#rp-ended")
        page.goto(f"{hub.url}hub/user-redirect/lab")
        page.wait_for_selector("text=could not be started")
        visitor.shoot("25-not-running-failed")
    finally:
        home.unlink()
        kept.rename(home)
    page.goto(f"{hub.url}hub/home")
    page.click("#rp-again")
    page.wait_for_url("**/user/**/lab**")
