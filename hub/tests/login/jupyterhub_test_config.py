"""The real configuration, plus a service in the gateway's place and a token with which tests look inside."""

import os
import sys
from pathlib import Path

c = get_config()  # noqa: F821
here = Path(__file__).resolve().parent
load_subconfig(str(here.parents[1] / "jupyterhub_config.py"))  # noqa: F821

c.JupyterHub.services[0]["command"] = [sys.executable, str(here / "tiny_gateway.py")]
c.JupyterHub.services.append({"name": "tests", "api_token": os.environ["TEST_ADMIN_TOKEN"]})
c.JupyterHub.load_roles.append(
    {
        "name": "tests",
        "scopes": ["admin:users", "admin:servers", "access:servers", "tokens", "read:roles", "admin:auth_state"],
        "services": ["tests"],
    }
)
