"""A real JupyterHub with its real proxy, whose service is the gateway; nobody's password is asked."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shlex
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from demo.parts import free_ports
from hub.tests.login.rig import node_command
from hub.tests.support import PERMISSIONS, until
from tests.fixtures.processes import Server

PEOPLE = ("ada", "boss", "clara", "mara", "nemo", "olga", "petra")
"""ada sees everything, clara CT, mara MR, olga and petra Orthanc's own API (as would quinn, if she came); boss is an
administrator without a profile of images, nemo holds none."""

MORE_PERMISSIONS = """  - Users: [mara]
    Profiles: [MR only]
  - Users: [olga]
    Profiles: [Archive]
  - Users: [petra, quinn]
    Profiles: [Archive in a browser]
"""

MORE_PROFILES = """Profiles:
  MR only:
    Description: Magnetic resonance
    DICOMQueryFilter: Modality StrEquals MR
  Archive:
    Description: Orthanc's own API, read only
    OrthancPathPatterns: {Allow: ["ANY /**"], Deny: ["DELETE /**", "GET /patients/**"]}
  Archive in a browser:
    Description: Orthanc Explorer, without anything that changes
    OrthancPathPatterns: {Allow: ["GET /**", "POST /tools/find"], Deny: ["GET /statistics"]}
"""

EXPORTS_TO = "http://127.0.0.1:9"
"""An S3 endpoint that exports may name and that nobody answers."""


@dataclass
class Hub:
    """A running hub: its public address, its administration, its log."""

    url: str
    admin: dict[str, str] = field(repr=False)
    folder: Path
    server: Server = field(repr=False)

    @property
    def log(self) -> Path:
        """What it and its services have to say."""
        return self.server.log

    @property
    def base(self) -> str:
        """Where the gateway's API begins."""
        return f"{self.url}services/pacs/api/v1/"

    @property
    def audit(self) -> Path:
        """The gateway's audit file."""
        return self.folder / "audit.jsonl"

    def api(self, method: str, path: str, **more) -> httpx.Response:
        return httpx.request(method, f"{self.url}hub/api/{path}", headers=self.admin, timeout=30, **more)

    def pacs(self, path: str, token: str | None, **more) -> httpx.Response:
        headers = {"Authorization": f"token {token}"} if token else {}
        return httpx.get(f"{self.base}{path}", headers=headers, timeout=30, **more)


@contextlib.contextmanager
def running_hub(database_url: str, research_url: str, parent: Path) -> Iterator[Hub]:
    """Run a hub with `PEOPLE` on free ports beside the block."""
    folder = Path(tempfile.mkdtemp(prefix="hub-", dir=parent))
    ports = free_ports(4)
    permissions = PERMISSIONS.strip().replace("Profiles:\n", MORE_PROFILES, 1) + "\n" + MORE_PERMISSIONS
    (folder / "permissions.yaml").write_text(permissions)
    token = secrets.token_hex(24)
    url = f"http://127.0.0.1:{ports[0]}/"
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "LANG": "C.UTF-8",
        "TEST_FOLDER": str(folder),
        "TEST_PUBLIC_URL": url,
        "TEST_HUB_URL": f"http://127.0.0.1:{ports[1]}",
        "TEST_PROXY_API": f"http://127.0.0.1:{ports[2]}",
        "TEST_GATEWAY_URL": f"http://127.0.0.1:{ports[3]}",
        "TEST_PROXY_COMMAND": shlex.join(node_command("configurable-http-proxy")),
        "TEST_TOKEN": token,
        "CONFIGPROXY_AUTH_TOKEN": secrets.token_hex(24),
        "RPACS_DATABASE_URL": database_url,
        "RPACS_RESEARCH_URL": research_url,
        "RPACS_PERMISSIONS": str(folder / "permissions.yaml"),
        "RPACS_AUDIT_LOG": str(folder / "audit.jsonl"),
        "RPACS_S3_ENDPOINTS": EXPORTS_TO,
    }
    config = Path(__file__).with_name("jupyterhub_auth_config.py")
    server = Server("hub", [sys.executable, "-m", "jupyterhub", "-f", str(config)], folder, env=environment)
    hub = Hub(url, {"Authorization": f"token {token}"}, folder, server)

    def ready() -> bool:
        try:
            return hub.pacs("health", None).json()["status"] == "ok" and hub.api("GET", "users").status_code == 200
        except (httpx.HTTPError, ValueError, KeyError):
            return False

    try:
        server.start(ready, timeout=90)
        for name in PEOPLE:
            hub.api("POST", f"users/{name}")
        yield hub
    finally:
        server.stop()


def make_token(hub: Hub, user: str, **more) -> tuple[str, str]:
    """Make a user's token and return it with its number."""
    made = hub.api("POST", f"users/{user}/tokens", json={"expires_in": 600, **more}).json()
    return made["token"], made["id"]


def notebook_token(hub: Hub, user: str) -> str:
    """Start somebody's own server, unless it runs already, and return the token that it was given."""
    assert hub.api("POST", f"users/{user}/server").status_code in (201, 202, 400)
    path = hub.folder / f"{user}.token"
    return until(lambda: path.exists() and path.read_text(), f"{user}'s server", 40)


@contextlib.contextmanager
def signed_in(hub: Hub, name: str) -> Iterator[httpx.Client]:
    """Sign somebody in at the Hub; her browser follows redirects and keeps cookies."""
    with httpx.Client(base_url=hub.url, follow_redirects=True, timeout=30) as browser:
        form_token = re.search(r'name="_xsrf" value="([^"]+)"', browser.get("hub/login").text)
        assert form_token is not None
        fields = {"_xsrf": form_token[1], "username": name, "password": "any"}
        answer = browser.post("hub/login", data=fields)
        assert answer.url.path.startswith("/hub/"), answer.text
        yield browser
