"""One stack and one browser for all end-to-end tests: the same stack as `make demo`, elsewhere and on other ports."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import playwright.sync_api as playwright
import pytest

from demo.parts import port_is_open
from demo.settings import Settings
from demo.stack import Stack
from tests.end_to_end import identified
from tests.fixtures.browser import running_chromium
from tests.fixtures.processes import wait_for


def _free_settings(var: Path) -> Settings:
    """Settings of a stack whose ports nothing uses."""
    for offset in range(2000, 11_000, 100):
        settings = Settings.load({"RPACS_VAR": str(var), "RPACS_PORT_OFFSET": str(offset)})
        ports = vars(settings.ports).values()
        if not any(port_is_open(port) for port in ports):
            return settings
    raise AssertionError("no free range of ports for the stack")


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """The whole workbench, empty."""
    var = Path(tempfile.mkdtemp(prefix="rpacs-e2e-"))
    var.chmod(0o755)
    running = Stack(_free_settings(var / "var"), say=print)
    try:
        running.up(samples=False)
        yield running
    finally:
        logs = os.environ.get("RPACS_KEEP_LOGS")
        left = running.stop()
        if logs:
            shutil.copytree(var / "var" / "log", logs, dirs_exist_ok=True)
        shutil.rmtree(var, ignore_errors=True)
        assert left == [], f"the stack left processes behind: {left}"


@dataclass
class Research:
    """The research Orthanc, asked directly: what is really there."""

    url: str = field(repr=False)

    def get(self, path: str) -> Any:
        return httpx.get(self.url + path, timeout=60).raise_for_status().json()

    def count(self) -> int:
        return self.get("/statistics")["CountInstances"]

    def file(self, orthanc_id: str) -> bytes:
        headers = {"Accept-Encoding": "identity"}
        return (
            httpx.get(f"{self.url}/instances/{orthanc_id}/file", timeout=60, headers=headers).raise_for_status().content
        )

    def files(self, modality: str) -> dict[str, bytes]:
        """Return the files of a modality by SOP instance UID."""
        found = httpx.post(
            f"{self.url}/tools/find",
            json={"Level": "Instance", "Query": {"Modality": modality}, "Expand": True},
            timeout=60,
        ).json()
        return {one["MainDicomTags"]["SOPInstanceUID"]: self.file(one["ID"]) for one in found}


@pytest.fixture(scope="session")
def research(stack: Stack) -> Research:
    return Research(stack.research.url)


@pytest.fixture(scope="session")
def ingest_count(stack: Stack) -> Callable[[], int]:
    """How many instances wait (or lie in quarantine) on the clinical side."""
    return Research(stack.ingest.url).count


@dataclass(frozen=True)
class Studies:
    """What a hospital sent, under its patients' names."""

    ct: list[Path]
    mr: list[Path]
    us: Path
    us_with_text: Path
    us_unreadable: Path

    @property
    def all(self) -> list[Path]:
        return [*self.ct, *self.mr, self.us, self.us_with_text, self.us_unreadable]


@pytest.fixture(scope="session")
def studies(stack: Stack, research: Research, tmp_path_factory: pytest.TempPathFactory) -> Studies:
    """A CT, an MR and three ultrasounds, sent by C-STORE and through the pipeline."""
    beside = Path(os.environ.get("RPACS_SHARED_DATA", stack.settings.root.parent / "shared" / "data"))
    shared = beside if beside.is_dir() else None  # pydicom's own examples serve where the data are absent
    folder = tmp_path_factory.mktemp("hospital")
    sent = Studies(
        identified.ct_series(shared, folder / "ct"),
        identified.mr_series(shared, folder / "mr"),
        identified.ultrasound(folder / "clean"),
        identified.ultrasound(folder / "text", written=True),
        identified.ultrasound(folder / "unreadable", readable=False),
    )
    before = research.count()
    identified.storescu(sent.all, stack.ingest.dicom_port, stack.ingest.aet)
    expected = before + len(sent.all) - 1  # the ultrasound that nobody can look at stays behind
    wait_for(lambda: research.count() == expected, 300, lambda: f"{research.count()} of {expected} arrived", every=0.2)

    def at_rest() -> bool:
        now = stack.status().pipeline
        return now.get("queued") == 0 and bool(now.get("quarantined"))

    # That it arrived is noted a moment later, and what stays behind may be the last.
    wait_for(at_rest, 60, lambda: f"the pipeline is at work: {stack.status().pipeline}", every=0.5)
    return sent


@pytest.fixture(scope="session")
def browser() -> Iterator[playwright.Browser]:
    with running_chromium() as chromium:
        yield chromium


class Person:
    """Somebody with a browser of her own, signed in through the hosted page."""

    def __init__(self, stack: Stack, browser: playwright.Browser, name: str):
        self.stack, self.name = stack, name
        self.context = browser.new_context(viewport={"width": 1360, "height": 900})
        self.hosts: set[str] = set()
        self.context.on("request", lambda request: self.hosts.add(request.url.split("/")[2]))
        self.page = self.context.new_page()
        self.page.set_default_timeout(60_000)
        self.token = ""

    def sign_in(self) -> playwright.Page:
        page = self.page
        page.goto(self.stack.hub_url)
        self.shoot("login")
        page.click("#rp-sign-in")
        page.fill("input[name=username]", self.name)
        page.fill("input[name=password]", self.stack.logins[self.name])
        self.shoot("hosted-login")
        page.click("button[type=submit]")
        page.wait_for_url(re.compile(r"/hub/home"))
        self.shoot("home")
        self.token = self._make_token()
        return page

    def open_browser_page(self) -> playwright.Page:
        """Click "Browse images" on the home page; her server starts on the way."""
        self.page.click("#rp-browse")
        self.page.wait_for_url(re.compile(r"/voila/render/"), timeout=120_000)
        self.page.wait_for_selector("[data-testid=rpacs-query]", timeout=120_000)
        return self.page

    def _make_token(self) -> str:
        """Return a token of hers that the Hub made, as a script outside the Hub would use."""
        made = self.page.evaluate(
            """async (name) => {
                const xsrf = document.cookie.match(/(?:^|; )_xsrf=([^;]*)/)[1];
                const headers = {"X-XSRFToken": xsrf, "Content-Type": "application/json"};
                const answer = await fetch(`/hub/api/users/${name}/tokens`, {method: "POST", headers, body: "{}"});
                return await answer.json();
            }""",
            self.name,
        )
        return made["token"]

    def api(self, path: str, **more: Any) -> httpx.Response:
        """Ask the gateway with her token."""
        headers = {"Authorization": f"token {self.token}"}
        return httpx.get(f"{self.stack.gateway_url}/api/v1/{path}", headers=headers, timeout=60, **more)

    def shoot(self, name: str) -> None:
        """Keep a picture of the page if somebody wants to look at it."""
        if folder := os.environ.get("RPACS_SCREENSHOTS"):
            self.page.screenshot(path=str(Path(folder) / f"{self.name}-{name}.png"), full_page=True)


@pytest.fixture(scope="session")
def person(stack: Stack, browser: playwright.Browser) -> Iterator[Callable[[str], Person]]:
    """Return somebody by her login name, signed in and on the home page."""
    known: dict[str, Person] = {}

    def get(name: str) -> Person:
        if name not in known:
            known[name] = Person(stack, browser, name)
            known[name].sign_in()
        else:
            known[name].page.goto(f"{stack.hub_url}/hub/home")
        return known[name]

    yield get
    for one in known.values():
        one.context.close()
