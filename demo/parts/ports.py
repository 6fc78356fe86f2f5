"""TCP ports on the loopback interface."""

from __future__ import annotations

import contextlib
import os
import socket

# SeaweedFS opens its gRPC ports 10,000 above the HTTP ones, so every port must stay below 55,536. The range also
# keeps clear of the kernel's ephemeral ports (32,768 and up), which any outgoing connection may take at any moment.
_LOWEST, _HIGHEST = 12_000, 22_000
# Processes start their search at different places, so that two of them seldom want the same port.
_next = _LOWEST + os.getpid() * 37 % (_HIGHEST - _LOWEST)


def free_port() -> int:
    """Return a port of 127.0.0.1 that nothing listens on, and never the same one twice in a process."""
    global _next
    for _ in range(_HIGHEST - _LOWEST):
        _next = _next + 1 if _next < _HIGHEST else _LOWEST
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", _next))
            return _next
    raise RuntimeError(f"no free port on 127.0.0.1 between {_LOWEST} and {_HIGHEST}")


def free_ports(count: int) -> list[int]:
    """Return `count` different free ports."""
    return [free_port() for _ in range(count)]


def port_is_open(port: int) -> bool:
    """Tell whether something accepts connections on a port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0
