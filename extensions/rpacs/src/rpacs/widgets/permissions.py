"""The strip on top: who is logged in, what she may see, and why she looks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import traitlets

from rpacs._client import Client
from rpacs.widgets._panel import Panel

__all__ = ["PermissionsPanel"]


class PermissionsPanel(Panel, script="permissions"):
    """Says what the user may see, in words, and takes the reason for access.

    Parameters
    ----------
    client : Client
        The connection.

    Attributes
    ----------
    known : bool
        Whether the gateway has answered who the user is.
    profiles : int
        How many profiles the user has; -1 before the gateway has answered.
    reason : str
        Why the user looks; goes with every request.
    asked : str
        What the user's profiles want to hear as the reason; empty if they want none.
    """

    reason = traitlets.Unicode("").tag(sync=True)
    profiles = traitlets.Int(-1)
    asked = traitlets.Unicode("")

    def __init__(self, client: Client) -> None:
        self._client = client
        super().__init__(reason=client.reason)

    def actions(self) -> dict[str, Callable[..., Any]]:
        """See `Panel.actions`."""
        return {"me": self._me, "reason": self._set_reason}

    def _me(self) -> dict[str, Any]:
        me = self._client.me()
        self.asked = " and ".join(dict.fromkeys(p.access_reason for p in me.profiles if p.access_reason))
        self.profiles = len(me.profiles)
        return {
            "name": me.name,
            "groups": list(me.groups),
            "admin": me.admin,
            "asked": self.asked,
            "profiles": [{"name": p.name, "about": p.description, "sees": p.sees, "why": p.why} for p in me.profiles],
        }

    def _set_reason(self, reason: str) -> dict[str, str]:
        self._client.reason = reason
        self.reason = self._client.reason
        return {"reason": self.reason}
