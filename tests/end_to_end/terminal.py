"""Commands of the local stack, run as an administrator of the machine runs them."""

from __future__ import annotations

import os
import subprocess
import sys

from demo.stack import Stack

__all__ = ["demo"]


def demo(stack: Stack, *command: str, words: str = "", **more: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the local stack, such as what `make status` runs, for this one."""
    settings = stack.settings
    offset = settings.ports.hub - type(settings).load({}).ports.hub
    return subprocess.run(
        [sys.executable, "-m", "demo", *command],
        input=words,
        cwd=settings.root,
        env={**os.environ, "RPACS_VAR": str(settings.var), "RPACS_PORT_OFFSET": str(offset), **more},
        capture_output=True,
        text=True,
        timeout=120,
    )
