"""Services end with the Hub that started them, also where it was killed and could not stop them."""

from __future__ import annotations

import ctypes
import os
import signal

__all__ = ["end_with_parent"]

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def end_with_parent() -> None:
    """Ask the kernel for SIGTERM when this process' parent dies, see prctl(2).

    A Hub that was killed cannot stop its services. The next one gives its own a new token, and the old ones, whose
    token is void by then, would hold their address and ask in vain for ever. To be called by the service itself: a
    change of user clears it.
    """
    parent = os.getppid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
    if os.getppid() != parent:  # it died just now
        os.kill(os.getpid(), signal.SIGTERM)
