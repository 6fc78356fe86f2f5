"""The service that stops servers which nobody uses (`jupyterhub-idle-culler`)."""

import os
import pwd
import sys
from typing import Any

from rpacs_hub.login.roles import CULLER_NAME
from rpacs_hub.login.settings import HubSettings

__all__ = ["idle_culler_service"]


def idle_culler_service(settings: HubSettings) -> dict[str, Any]:
    """Return the idle culler's entry for `JupyterHub.services`.

    Parameters
    ----------
    settings : HubSettings
        The hub's settings; `idle_seconds` must not be 0.

    Returns
    -------
    dict
        The service. It gets no setting but the time, and under a hub that runs as root it runs as the unprivileged user
        ``nobody``, where there is one. What it may do stands in `roles`.
    """
    seconds = settings.idle_seconds
    service: dict[str, Any] = {
        "name": CULLER_NAME,
        "command": [
            sys.executable,
            "-m",
            "rpacs_hub.culler",
            f"--timeout={seconds}",
            f"--cull-every={min(max(seconds // 4, 1), 300)}",
        ],
        "cwd": "/",
        "display": False,
    }
    if os.geteuid() == 0 and any(entry.pw_name == "nobody" for entry in pwd.getpwall()):
        service["user"] = "nobody"
    return service
