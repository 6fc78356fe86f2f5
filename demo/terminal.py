"""``rpacs-hub`` at a terminal, with the settings of the stack's gateway and as its system user."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence

from demo.accounts import is_root
from demo.errors import StackError
from demo.services import Services

__all__ = ["run_rpacs_hub"]

_PREFIX = "RPACS_GATEWAY_"
_NOT_ITS_OWN = {"RPACS_GATEWAY_USER", "RPACS_GATEWAY_PORT"}
_KEPT = ("PATH", "LANG", "LC_ALL", "TERM", "COLUMNS", "RPACS_LOG_LEVEL", "RPACS_HUB_API_TOKEN")


def run_rpacs_hub(services: Services, words: Sequence[str]) -> int:
    """Run a command and return its exit code.

    Parameters
    ----------
    services
        Of the stack.
    words
        Of the command, such as ``profiles list``.

    Raises
    ------
    StackError
        The stack was never started, so that there is nothing to run it on.
    """
    program = next(part.program for part in services.parts() if part.name == "jupyterhub" and part.program is not None)
    try:
        given = program().environment
    except OSError as error:
        raise StackError("the stack was never started: make demo") from error
    environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
    environment.setdefault("RPACS_LOG_LEVEL", "ERROR")
    # Passwords go by the environment, which only this user and root can read; never by the command line.
    environment |= {
        "RPACS_" + name.removeprefix(_PREFIX): value
        for name, value in given.items()
        if name.startswith(_PREFIX) and name not in _NOT_ITS_OWN
    }
    if "RPACS_HUB_API_TOKEN" in environment:
        environment["RPACS_HUB_API_URL"] = f"http://127.0.0.1:{services.settings.ports.hub_api}/hub/api"
    user = "rpacs-gateway" if is_root() else None
    # Who really sits there goes into the audit; the system user's name would say nothing.
    environment["LOGNAME"] = os.environ.get("SUDO_USER") or os.environ.get("LOGNAME") or "root"
    done = subprocess.run(
        [str(services.settings.binaries / "rpacs-hub"), *words],
        env=environment,
        user=user,
        group=user,
        extra_groups=[] if user else None,
        check=False,
    )
    return done.returncode
