"""A real hub with its real proxy, a local Cognito, and a browser: each started once for the tests in a module."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import boto3
import botocore.config
import playwright.sync_api as playwright
import pytest

from demo.parts.ports import free_port
from hub.tests.login.logout_page import logout_page
from hub.tests.login.rig import HERE, Cognito, Hub, People, Visitor, answers, node_command, sign_in_and_start
from rpacs_hub.system_users import account_name
from tests.fixtures.browser import running_chromium
from tests.fixtures.processes import Server


@pytest.fixture(scope="module")
def hub_folder() -> Iterator[Path]:
    """A folder that the servers' system users can pass through."""
    path = Path(tempfile.mkdtemp(prefix="rpacs-hub-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="module")
def people() -> Iterator[People]:
    mark = secrets.token_hex(4)
    names = People(f"clara.{mark}", f"nora{mark}", f"boss{mark}", f"guest{mark}")
    yield names
    if os.geteuid() == 0:
        for name in names.everybody():
            subprocess.run(["userdel", account_name(name)], capture_output=True, check=False)


@pytest.fixture(scope="module")
def hub_ports() -> list[int]:
    """Public ports of the two hubs; the user pool must know them before they start."""
    return [free_port(), free_port()]


@pytest.fixture(scope="module")
def cognito(hub_folder: Path, hub_ports: list[int], people: People) -> Iterator[Cognito]:
    folder, port = hub_folder / "cognito", free_port()
    (folder / ".cognito").mkdir(parents=True)
    pool = Cognito(f"http://127.0.0.1:{port}")
    settings = {"UserPoolDefaults": {"UsernameAttributes": []}, "TokenConfig": {"IssuerDomain": pool.url}}
    (folder / ".cognito" / "config.json").write_text(json.dumps(settings))
    command = ["sh", "-c", 'cd "$0" && exec "$@"', str(folder), *node_command("cognito-local")]
    server = Server("cognito", command, hub_folder, env={**os.environ, "PORT": str(port), "HOST": "127.0.0.1"})
    pool.api = boto3.client(
        "cognito-idp",
        endpoint_url=pool.url,
        region_name="local",
        aws_access_key_id="local",
        aws_secret_access_key="local",
        config=botocore.config.Config(retries={"total_max_attempts": 1}),
    )
    stack = contextlib.ExitStack()
    try:
        server.start(lambda: answers(f"{pool.url}/health"))
        pool.pool = pool.api.create_user_pool(PoolName="test")["UserPool"]["Id"]
        client = pool.api.create_user_pool_client(
            UserPoolId=pool.pool,
            ClientName="hub",
            GenerateSecret=True,
            CallbackURLs=[f"http://127.0.0.1:{port}/hub/oauth_callback" for port in hub_ports],
            AllowedOAuthFlows=["code"],
            AllowedOAuthScopes=["openid", "email", "profile"],
        )["UserPoolClient"]
        pool.client_id, pool.client_secret = client["ClientId"], client["ClientSecret"]
        hubs = {f"http://127.0.0.1:{port}/hub/login" for port in hub_ports}
        pool.logout_url = stack.enter_context(logout_page(pool.client_id, hubs))
        pool.add_user(people.clara, "researchers", "ct-researchers")
        pool.add_user(people.nora)
        pool.add_user(people.admin, "pacs-admins")
        yield pool
    finally:
        stack.close()
        server.stop()
        pool.api.close()


@contextlib.contextmanager
def running_hub(folder: Path, port: int, cognito: Cognito, **more: str) -> Iterator[Hub]:
    """Run the real configuration, with a tiny service in the gateway's place and a token for the tests."""
    folder.mkdir(mode=0o755)
    url = f"http://127.0.0.1:{port}/"
    planted = {name: f"planted-{secrets.token_hex(12)}" for name in ("database", "orthanc", "proxy", "file", "config")}
    planted |= {
        "test_token": secrets.token_hex(24),
        "crypt_key": secrets.token_hex(32),
        "client": cognito.client_secret,
    }
    # What every stack has lying about: secrets in files of mode 0600, some of them in folders of mode 0700.
    (folder / "secrets").mkdir(mode=0o700)
    for path, name in ((folder / "secrets" / "orthanc.json", "file"), (folder / "research.json", "config")):
        path.touch(0o600)
        path.write_text(json.dumps({"RegisteredUsers": {"svc": planted[name]}}))
    root = os.geteuid() == 0
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "LANG": "C.UTF-8",
        "RPACS_OIDC_ISSUER": cognito.issuer,
        "RPACS_OIDC_AUTHORIZE_URL": f"{cognito.url}/oauth2/authorize",
        "RPACS_OIDC_TOKEN_URL": f"{cognito.url}/oauth2/token",
        "RPACS_OIDC_JWKS_URL": f"{cognito.issuer}/.well-known/jwks.json",
        "RPACS_OIDC_LOGOUT_URL": cognito.logout_url,
        "RPACS_OIDC_CLIENT_ID": cognito.client_id,
        "RPACS_OIDC_CLIENT_SECRET": planted["client"],
        "RPACS_OIDC_REFRESH_SECONDS": "1",
        "RPACS_HUB_PUBLIC_URL": url,
        "RPACS_HUB_PORT": str(free_port()),
        "RPACS_PROXY_API_PORT": str(free_port()),
        "RPACS_HUB_STATE": str(folder / "state"),
        "RPACS_HOMES": str(folder / "homes"),
        "RPACS_SPAWNER": "system-users" if root else "simple",
        "RPACS_NOTEBOOKS": str(HERE / "pages"),
        "RPACS_PROXY_COMMAND": shlex.join(node_command("configurable-http-proxy")),
        "RPACS_GATEWAY_PORT": str(free_port()),
        "RPACS_GATEWAY_USER": "nobody" if root else "",
        "RPACS_GATEWAY_DATABASE_URL": f"postgresql://rpacs_gateway:{planted['database']}@127.0.0.1:1/rpacs",
        "RPACS_GATEWAY_RESEARCH_URL": f"http://svc:{planted['orthanc']}@127.0.0.1:1",
        "JUPYTERHUB_CRYPT_KEY": planted["crypt_key"],
        "CONFIGPROXY_AUTH_TOKEN": planted["proxy"],
        "TEST_ADMIN_TOKEN": planted["test_token"],
        **more,
    }
    command = [sys.executable, "-m", "jupyterhub", "-f", str(HERE / "jupyterhub_test_config.py")]
    server = Server("hub", command, folder, env=environment)
    hub = Hub(url, folder, planted, server.log, server)

    try:
        server.start(hub.ready)
        yield hub
    finally:
        server.stop()
        if "RPACS_SCREENSHOTS" in os.environ:
            shutil.copy(server.log, Path(os.environ["RPACS_SCREENSHOTS"]) / f"{folder.name}.log")


@pytest.fixture(scope="module")
def hub(hub_folder: Path, hub_ports: list[int], cognito: Cognito) -> Iterator[Hub]:
    """A hub that lets in whomever the provider lets in."""
    with running_hub(hub_folder / "open", hub_ports[0], cognito) as hub:
        yield hub


@pytest.fixture
def closed_hub(hub_folder: Path, hub_ports: list[int], cognito: Cognito) -> Iterator[Hub]:
    """A hub for the members of one group."""
    with running_hub(hub_folder / "closed", hub_ports[1], cognito, RPACS_ALLOWED_GROUPS="ct-researchers") as hub:
        yield hub


@pytest.fixture(scope="module")
def chromium() -> Iterator[playwright.Browser]:
    """A browser for one module: while it runs, Playwright's event loop keeps `asyncio.run` from working."""
    with running_chromium() as browser:
        yield browser


@pytest.fixture
def visitor(chromium: playwright.Browser, hub: Hub) -> Iterator[Visitor]:
    somebody = Visitor(chromium, hub)
    yield somebody
    somebody.context.close()


@pytest.fixture(scope="module")
def claras_token(hub: Hub, people: People, chromium: playwright.Browser) -> str:
    """Clara has signed in and her server runs; this is the token that her notebooks hold."""
    return sign_in_and_start(chromium, hub, people.clara)
