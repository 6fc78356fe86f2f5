"""A small real hub: nobody's password is asked, the gateway is its service, servers only keep their token."""

import os
import sys
from pathlib import Path

from rpacs_hub.login import roles
from rpacs_hub.login.gateway_service import ACTING_FOR_ADMINS, MEMORY

c = get_config()  # noqa: F821
folder = Path(os.environ["TEST_FOLDER"])

c.JupyterHub.bind_url = os.environ["TEST_PUBLIC_URL"]
c.JupyterHub.hub_bind_url = os.environ["TEST_HUB_URL"]
c.JupyterHub.db_url = f"sqlite:///{folder}/jupyterhub.sqlite"
c.JupyterHub.cookie_secret_file = str(folder / "cookie_secret")
c.ConfigurableHTTPProxy.command = os.environ["TEST_PROXY_COMMAND"].split()
c.ConfigurableHTTPProxy.api_url = os.environ["TEST_PROXY_API"]
c.ConfigurableHTTPProxy.pid_file = str(folder / "proxy.pid")
c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allow_all = True
c.JupyterHub.default_url = "/hub/home"
c.JupyterHub.load_groups = {"ct-researchers": {"users": ["clara"]}, "pacs-admins": {"users": ["boss"]}}
c.JupyterHub.spawner_class = "simple"
c.Spawner.cmd = [sys.executable, str(Path(__file__).with_name("token_keeper.py"))]
c.Spawner.environment = {"TEST_FOLDER": str(folder)}
c.JupyterHub.services = [
    {
        "name": "pacs",
        "url": os.environ["TEST_GATEWAY_URL"],
        "command": [str(Path(sys.executable).with_name("rpacs-hub")), "gateway"],
        "environment": MEMORY | {name: value for name, value in os.environ.items() if name.startswith("RPACS_")},
        "oauth_no_confirm": True,
        "oauth_client_allowed_scopes": list(ACTING_FOR_ADMINS),
    },
    {"name": "tests", "api_token": os.environ["TEST_TOKEN"]},
]
c.JupyterHub.load_roles = [
    *roles("pacs-admins"),
    {
        "name": "tests",
        "scopes": ["admin:users", "admin:servers", "tokens", "admin:groups", "access:services!service=pacs"],
        "services": ["tests"],
    },
]
