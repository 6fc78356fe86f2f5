"""What goes into an endpoint and what comes out of it, free of any web framework."""

from __future__ import annotations

import difflib
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rpacs_hub.audit import AuditEvent
from rpacs_hub.errors import HubError
from rpacs_hub.index import Visible
from rpacs_hub.permissions import (
    Action,
    Actor,
    Collection,
    Decision,
    Instance,
    OrthancPath,
    decide,
    missing_reason,
    visible_to,
)

if TYPE_CHECKING:
    from rpacs_hub.gateway.app import Services
    from rpacs_hub.gateway.viewer_addresses import ViewerAddress

__all__ = ["ApiError", "Call", "Endpoint", "Reply", "Route", "known_keys"]


class ApiError(HubError):
    """An answer that is an error.

    Parameters
    ----------
    status
        HTTP status.
    code
        Short name for programs, such as ``query_invalid``.
    message, hint
        For people.
    extra
        Further keys of the JSON body.
    """

    def __init__(self, status: int, code: str, message: str, hint: str = "", **extra: Any):
        super().__init__(message, hint)
        self.status = status
        self.code = code
        self.extra = extra


@dataclass
class Reply:
    """An answer.

    Attributes
    ----------
    status
        HTTP status.
    json
        Body as a JSON value; None when there is another body.
    body
        Body as bytes.
    stream
        Body as chunks; `length` is then their sum, where known.
    content_type
        Media type of `body` and `stream`.
    headers
        Further headers.
    close
        What to close when the answer has left.
    """

    status: int = 200
    json: Any = None
    body: bytes | None = None
    stream: AsyncIterator[bytes] | None = None
    length: int | None = None
    content_type: str = "application/json; charset=utf-8"
    headers: dict[str, str] = field(default_factory=dict)
    close: AsyncExitStack | None = None


@dataclass
class Call:
    """One request to an endpoint.

    Attributes
    ----------
    services
        The parts of the gateway.
    actor
        Who asks; nobody at an open endpoint.
    path
        The variable parts of the path.
    arguments
        Parameters of the query string, the last of each name.
    body
        The decoded JSON body of a POST, None elsewhere.
    event
        The audit line in the making.
    all_arguments
        Parameters of the query string, every one.
    accept
        The header ``Accept``.
    base
        Absolute address of the API as the client reaches it, ending in ``/``; below a personal address, that one.
    address
        The personal address that the request came by; None for a Hub token.
    target
        The request line's path and query string as they came.
    headers
        The request's headers, for what is passed on.
    stream
        The body as chunks, for a route that `streams`; None where the request has none.
    """

    services: Services
    actor: Actor
    path: Mapping[str, str]
    arguments: Mapping[str, str]
    body: Any
    event: AuditEvent
    all_arguments: Mapping[str, Sequence[str]] = field(default_factory=dict)
    accept: str = ""
    base: str = ""
    address: ViewerAddress | None = None
    target: str = ""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    stream: AsyncIterator[bytes] | None = None

    def decide(self, action: Action, resource: Instance | Collection | OrthancPath) -> Decision:
        """Decide by the permissions in force and put the decision into the audit line."""
        decision = decide(self.services.permissions.current, self.actor, action, resource)
        self.event.decision = "allowed" if decision.allowed else "denied"
        self.event.why = [reason.text for reason in decision.reasons]
        self.event.profiles = list(decision.profiles)
        return decision

    def require_reason(self) -> None:
        """Make sure that the request says why, where a profile of the actor asks for it.

        Raises
        ------
        ApiError
            403, saying what is asked for.
        """
        decision = missing_reason(self.services.permissions.current, self.actor, self.event.reason)
        if decision is None:
            return
        self.event.decision, self.event.why = "denied", [reason.text for reason in decision.reasons]
        raise ApiError(
            403,
            "reason_required",
            f"Say first why you need the images. {' '.join(self.event.why)}",
            'In a notebook: pacs = rpacs.connect(reason="…"). Over HTTP: the header X-Access-Reason.',
        )

    def visible(self) -> Visible:
        """Return what the actor may see."""
        return visible_to(self.services.permissions.current, self.actor)

    def parameters(self, allowed: Iterable[str]) -> dict[str, Any]:
        """Return the JSON body of a POST, the query string's parameters of anything else.

        Raises
        ------
        ApiError
            400 for anything that is not among `allowed`.
        """
        values = dict(self.arguments if self.body is None else known_keys(self.body, allowed, "The body"))
        if self.body is not None and self.arguments:
            raise ApiError(400, "request_invalid", "Parameters belong into the JSON body of a POST.")
        return dict(known_keys(values, allowed, "The request"))


Endpoint = Callable[[Call], Awaitable[Reply]]


@dataclass(frozen=True)
class Route:
    """An address of the API.

    Attributes
    ----------
    method
        HTTP method.
    path
        Below ``api/v1/``, with ``{name}`` for its variable parts.
    endpoint
        What answers.
    action
        What it is called in the audit; None for the one open address that hands out nothing.
    by_address
        Whether personal addresses lead here as well, below ``view/{token}/``.
    streams
        Whether the endpoint takes the body as it comes, whatever it is; the last name of `path` may hold slashes.
    """

    method: str
    path: str
    endpoint: Endpoint
    action: Action | None
    by_address: bool = False
    streams: bool = False

    @property
    def pattern(self) -> str:
        """The path as a regular expression with named groups."""
        if self.streams:
            return re.escape(self.path.rpartition("/")[0]) + "(?:/.*)?"
        return re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(self.path))


def known_keys(values: Any, allowed: Iterable[str], what: str) -> Mapping[str, Any]:
    """Return `values` if it is an object whose keys are all known.

    Raises
    ------
    ApiError
        400 with the nearest key as a hint.
    """
    allowed = tuple(allowed)
    if not isinstance(values, Mapping):
        raise ApiError(400, "request_invalid", f"{what} must be a JSON object.", f"Its keys are {', '.join(allowed)}.")
    for key in values:
        if key not in allowed:
            near = difflib.get_close_matches(str(key), allowed, 1)
            hint = f"Did you mean {near[0]}?" if near else f"Known: {', '.join(allowed) or 'none'}."
            raise ApiError(400, "request_invalid", f"{what} has an unknown key {str(key)[:40]!a}.", hint)
    return values
