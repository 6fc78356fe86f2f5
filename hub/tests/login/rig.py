"""What the tests of this folder hold in their hands: a user pool, a hub, a person's browser."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import playwright.sync_api as playwright
import pytest

from tests.end_to_end.kernels import run_code
from tests.fixtures.processes import Server, wait_for

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
PASSWORD = "Correct-horse-7"  # of users that live as long as the run


def node_command(name: str) -> list[str]:
    """Return how to run a program that `make setup` installs with npm."""
    program = ROOT / ".node" / "node_modules" / ".bin" / name
    if not program.exists():
        pytest.fail(f"{name} is not installed: run `make setup`")
    return [str(ROOT / ".node" / "node"), str(program.resolve())]


@dataclass
class Cognito:
    """A local stand-in for a Cognito user pool, with its hosted login page."""

    url: str
    pool: str = ""
    client_id: str = ""
    client_secret: str = ""
    api: Any = field(default=None, repr=False)
    logout_url: str = ""

    @property
    def issuer(self) -> str:
        return f"{self.url}/{self.pool}"

    def add_user(self, name: str, *groups: str) -> None:
        self.api.admin_create_user(UserPoolId=self.pool, Username=name, MessageAction="SUPPRESS")
        self.api.admin_set_user_password(UserPoolId=self.pool, Username=name, Password=PASSWORD, Permanent=True)
        for group in groups:
            self.join(name, group)

    def join(self, name: str, group: str) -> None:
        with contextlib.suppress(self.api.exceptions.GroupExistsException):
            self.api.create_group(UserPoolId=self.pool, GroupName=group)
        self.api.admin_add_user_to_group(UserPoolId=self.pool, Username=name, GroupName=group)

    def leave(self, name: str, group: str) -> None:
        self.api.admin_remove_user_from_group(UserPoolId=self.pool, Username=name, GroupName=group)


@dataclass
class Hub:
    """A running hub."""

    url: str
    folder: Path
    planted: dict[str, str] = field(repr=False)
    log: Path
    server: Server = field(repr=False)

    def ready(self) -> bool:
        """Tell whether it and the service in the gateway's place answer."""
        try:
            return (
                httpx.get(f"{self.url}hub/api/", timeout=2).status_code == 200
                and me(self, "made-up").status_code == 401
            )
        except httpx.HTTPError:
            return False

    def api(self, method: str, path: str, token: str | None = None, **more: object) -> httpx.Response:
        headers = {"Authorization": f"token {token or self.planted['test_token']}"}
        return httpx.request(method, f"{self.url}hub/api/{path}", headers=headers, timeout=30, **more)


@dataclass(frozen=True)
class People:
    """Names that are this run's own, so that no other run's system users are in the way."""

    clara: str
    nora: str
    admin: str
    guest: str

    def everybody(self) -> list[str]:
        return [self.clara, self.nora, self.admin, self.guest]


def answers(url: str) -> bool:
    """Tell whether anything at all answers there."""
    try:
        httpx.get(url, timeout=2)
    except httpx.HTTPError:
        return False
    return True


class Visitor:
    """One person's browser window; notes every host that it asks."""

    def __init__(self, browser: playwright.Browser, hub: Hub, **options: object):
        self.hub = hub
        self.context = browser.new_context(viewport={"width": 1200, "height": 800}, **options)
        self.hosts: set[str] = set()
        self.errors: list[str] = []
        self.context.on("request", lambda request: self.hosts.add(request.url.split("/")[2]))
        self.context.on("weberror", lambda error: self.errors.append(str(error.error)))
        self.page = self.context.new_page()
        self.page.set_default_timeout(30_000)

    def log_in(self, name: str, path: str = "hub/home") -> playwright.Page:
        self.page.goto(f"{self.hub.url}{path}")
        self.page.click("#rp-sign-in")
        self.page.fill("input[name=username]", name)
        self.page.fill("input[name=password]", PASSWORD)
        self.page.click("button[type=submit]")
        self.page.wait_for_load_state()
        return self.page

    def shoot(self, name: str) -> None:
        """Keep a picture of the page if somebody wants to look at it."""
        folder = os.environ.get("RPACS_SCREENSHOTS")
        if folder:
            self.page.screenshot(path=str(Path(folder) / f"{name}.png"), full_page=True)


def me(hub: Hub, token: str) -> httpx.Response:
    """Ask the service in the gateway's place whose token this is."""
    return httpx.get(f"{hub.url}services/pacs/api/v1/me", headers={"Authorization": f"token {token}"}, timeout=30)


def sign_in_and_start(browser: playwright.Browser, hub: Hub, name: str) -> str:
    """Let somebody sign in, start her server, and return the token that her notebooks hold."""
    visitor = Visitor(browser, hub)
    visitor.log_in(name)
    visitor.context.close()
    assert hub.api("POST", f"users/{name}/server").status_code in (201, 202)
    wait_for(lambda: hub.api("GET", f"users/{name}").json()["servers"].get("", {}).get("ready"), 60, hub.log.read_text)
    return in_kernel(hub, name, "import os; print(os.environ['JUPYTERHUB_API_TOKEN'])").strip()


def in_kernel(hub: Hub, name: str, code: str, timeout: float = 60) -> str:
    """Run code in a kernel of somebody's server and return what it printed."""
    token = hub.api("POST", f"users/{name}/tokens", json={"expires_in": 600}).json()["token"]
    return run_code(f"{hub.url}user/{name}/", token, code, timeout)
