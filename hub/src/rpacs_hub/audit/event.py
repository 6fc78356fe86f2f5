"""One line of the audit: who did what with which images, when, and why it was allowed or not."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

__all__ = ["AuditEvent"]


@dataclass
class AuditEvent:
    """What is kept of one request. Never a token or a credential; identifiers are the de-identified ones.

    Attributes
    ----------
    request_id
        Also in the answer's ``X-Request-Id``.
    time
        When the request came (UTC).
    user, groups
        Who; None when the token told nobody.
    remote
        Network address of the client.
    method, path
        The request line without its parameters.
    action
        What was asked for, a `rpacs_hub.permissions.Action`.
    reason
        What the user gave in ``X-Access-Reason``, or when the personal address was made.
    subject
        Whom or what an administrator acted on, such as a user's name.
    via
        Identifier of the personal viewer address that the request came by or that it made; None for a Hub token.
    query, level
        What was searched for.
    identifiers
        UIDs that were asked for by name, at most 1000 of them.
    count
        Rows, instances or identifiers that the answer or the export holds.
    bytes
        Length of the answer's body.
    decision
        ``allowed``, ``denied`` or ``error``.
    why
        The reasons of the decision.
    profiles
        The profiles that allowed it.
    status
        HTTP status of the answer.
    milliseconds
        Time from the request until the answer was ready.
    """

    request_id: str
    time: datetime = field(default_factory=lambda: datetime.now(UTC))
    user: str | None = None
    groups: list[str] = field(default_factory=list)
    remote: str = ""
    method: str = ""
    path: str = ""
    action: str = ""
    reason: str | None = None
    query: str | None = None
    level: str | None = None
    identifiers: list[str] = field(default_factory=list)
    count: int | None = None
    bytes: int | None = None
    decision: str = "denied"
    why: list[str] = field(default_factory=list)
    profiles: list[str] = field(default_factory=list)
    via: str | None = None
    subject: str | None = None
    status: int = 0
    milliseconds: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """Return the event as JSON values, its time in ISO 8601."""
        return {**dataclasses.asdict(self), "time": self.time.isoformat(timespec="milliseconds")}
