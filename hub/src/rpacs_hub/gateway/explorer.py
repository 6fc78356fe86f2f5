"""Orthanc Explorer in a plain browser, for those whose profiles open its page.

Its pages load whatever they need without a header, and show what is in images, markup too. So they get no cookie and
no origin: they lie below a secret address and run in a sandbox, where they reach that address and nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import cast

from rpacs_hub.audit import AuditEvent
from rpacs_hub.errors import HubError
from rpacs_hub.gateway._exchange import ApiError, Call, Endpoint, Reply, Route
from rpacs_hub.gateway._handler import ApiHandler
from rpacs_hub.gateway.admin import PageHandler
from rpacs_hub.gateway.admin._page import AdminCall, page
from rpacs_hub.gateway.api.orthanc import pass_on
from rpacs_hub.gateway.explorer_addresses import ExplorerAddress
from rpacs_hub.gateway.sessions import Session
from rpacs_hub.gateway.viewer_addresses import ViewerAddress
from rpacs_hub.permissions import Action, Actor, OrthancPath, decide, missing_reason

__all__ = ["ROUTES", "explorer_handlers"]

_PAGE = "/app/explorer.html"
_HOST = re.compile(r"[A-Za-z0-9.-]+(:\d+)?|\[[0-9A-Fa-f:.]+\](:\d+)?")


async def open_explorer(call: AdminCall) -> Reply:
    """Make an address for this session and send the browser there; ask for a reason first where a profile does.

    Raises
    ------
    ApiError
        404 for whom no profile opens the page, or where it is switched off.
    """
    services = call.services
    if not _offered(call):
        if call.decide(Action.ORTHANC, OrthancPath("GET", _PAGE)).allowed:
            call.event.why = ["Orthanc Explorer is switched off here."]
        call.event.decision, call.event.profiles = "denied", []
        raise ApiError(404, "not_found", "There is no such address.")
    call.event.reason = call.form.get("reason", "")[:500] or call.event.reason
    asking = missing_reason(services.permissions.current, call.actor, call.event.reason)
    if asking is not None:
        call.event.why = ["Asked for a reason first; nothing was opened."]
        return page(
            call,
            "explorer.html",
            title="Orthanc Explorer",
            where="Images",
            asked={
                reason.profile: services.permissions.current.profiles[reason.profile].access_reason
                for reason in asking.reasons
            },
            too_short=call.event.method == "POST",
            status=400 if call.event.method == "POST" else 200,
        )
    call.decide(Action.ORTHANC, OrthancPath("GET", _PAGE))
    address, secret = services.explorer_addresses.create(
        Session(call.actor, call.token, call.at_hub), services.settings.explorer_minutes, call.event.reason
    )
    call.event.via = str(address.id)
    where = f"{services.settings.service_prefix}explorer/{secret}{_PAGE}"
    return Reply(303, body=b"", content_type="text/html; charset=utf-8", headers={"Location": where})


async def offered(call: Call) -> Reply:
    """Tell whether Orthanc Explorer would open for her: the home page shows the way there if so."""
    return Reply(json={"offered": _offered(call)})


async def below(call: Call) -> Reply:
    """Pass a request at a secret address on to Orthanc, as one with a token."""
    public = call.base.rstrip("/")
    return await pass_on(call, public[public.rindex("/explorer/") :], public)


def _offered(call: Call) -> bool:
    asked = OrthancPath("GET", _PAGE)
    opens = decide(call.services.permissions.current, call.actor, Action.ORTHANC, asked).allowed
    return opens and call.services.settings.explorer_minutes > 0


_OPEN = (
    Route("GET", "explorer", cast(Endpoint, open_explorer), Action.OPEN_EXPLORER),
    Route("POST", "explorer", cast(Endpoint, open_explorer), Action.OPEN_EXPLORER),
)
_OFFERED = (Route("GET", "explorer-offered", offered, Action.ME),)
_BELOW = tuple(
    Route(method, "explorer/{secret}/{path}", below, Action.ORTHANC, streams=True)
    for method in ("GET", "POST", "PUT", "DELETE")
)

ROUTES = (*_OPEN, *_OFFERED, *_BELOW)
"""Every address, below the gateway's own path, in the order of openapi.yaml."""


class OpenHandler(PageHandler):
    """Answers ``explorer``, for everybody who signed in with a browser."""

    admins_only = False
    where = "Images"


class OfferedHandler(OpenHandler):
    """Answers ``explorer-offered``, which the home page's script asks."""

    def check_source(self) -> None:
        """Let scripts ask: what they learn is one word."""


class AddressHandler(PageHandler):
    """Answers below a secret address. Nobody signs in here: tokens that come along do not count."""

    where = "Images"
    sandboxed = True  # errors, too: a page of the Hub's host that opened the window could read the address of one

    async def answer(self, route: Route | None, event: AuditEvent, path: Mapping[str, str]) -> Reply:
        """Answer as the API does, in a sandbox in which Orthanc's own scripts run.

        Raises
        ------
        ApiError
            403 for a request of a page that is not Orthanc Explorer's.
        """
        self.check_source()
        reply = await ApiHandler.answer(self, route, event, path)
        own = f"{self._site()}{self._place()}/"
        # No allow-same-origin. What is loaded, and where data and forms are sent, is this one address.
        self.set_header(
            "Content-Security-Policy",
            "sandbox allow-scripts allow-forms allow-popups allow-modals allow-downloads; "
            f"default-src {own} data: blob: 'unsafe-inline'; script-src {own} 'unsafe-inline' 'unsafe-eval'; "
            f"connect-src {own}; form-action {own}; object-src 'none'; base-uri {own}; frame-ancestors 'none'",
        )
        return reply

    def error_answer(self, error: HubError | None) -> Reply:
        """Return a page to who opened it as one, JSON to scripts."""
        if self._is_opened():
            return super().error_answer(error)
        return ApiHandler.error_answer(self, error)

    def check_source(self) -> None:
        """Refuse pages with an origin of their own: a page of ours has none.

        Raises
        ------
        ApiError
            403.
        """
        headers = self.request.headers
        site, mode = headers.get("Sec-Fetch-Site", "none"), headers.get("Sec-Fetch-Mode", "navigate")
        wrong = headers.get("Origin", "null") != "null"
        wrong |= mode != "navigate" and site in ("same-origin", "same-site")
        wrong |= headers.get("Sec-Fetch-Dest", "") in ("iframe", "frame", "object", "embed")
        if wrong:
            raise ApiError(403, "page_required", "This address is for its own pages.", "Open it itself.")

    async def _recognised(
        self,
        event: AuditEvent,
        path: Mapping[str, str],  # noqa: ARG002 - the parent's signature
        names: Iterable[str],  # noqa: ARG002 - the parent's signature
    ) -> tuple[Actor, ViewerAddress | None]:
        """Return whose session the address belongs to."""
        fresh = event.method not in ("GET", "HEAD") or self._is_opened()
        found = await self.services.explorer_addresses.open(self.path_kwargs["secret"], fresh=fresh)
        if found is None:
            event.why = ["There is no such address of Orthanc Explorer, or it or its session has ended."]
            raise _ended()
        address, actor = found
        event.via = str(address.id)
        if self._is_opened() and not await self._in_its_browser(address, event):
            raise _ended()
        event.reason = event.reason or address.reason
        return actor, None

    def _is_opened(self) -> bool:
        """Tell whether a browser opens this as a page (or to save it), and not a script or a page as part of it."""
        headers = self.request.headers
        mode = headers.get("Sec-Fetch-Mode")
        if mode is not None:
            return mode == "navigate"
        # By plain http browsers do not say. All of them accept HTML first when they open something, and only then.
        return headers.get("Accept", "").startswith("text/html") and "X-Requested-With" not in headers

    async def _in_its_browser(self, address: ExplorerAddress, event: AuditEvent) -> bool:
        """Tell whether the browser is the one in which the address was made.

        Cookies come along with what is opened only, not with what a page without an origin loads.
        """
        session = await self.services.sessions.signed_in(self, fresh=False)
        if session is not None and (session.actor.name, session.at_hub) == (
            address.session.actor.name,
            address.session.at_hub,
        ):
            return True
        if session is not None:
            event.user, event.groups = session.actor.name, sorted(session.actor.groups)
        event.decision, event.why = "denied", ["The address of Orthanc Explorer was made in another browser."]
        return False

    def _place(self) -> str:
        return f"{self.services.settings.service_prefix}explorer/{self.path_kwargs['secret']}"

    def _site(self) -> str:
        host = self.request.host
        scheme = "https" if self.services.sessions.https(self) else "http"
        return f"{scheme}://{host if _HOST.fullmatch(host) else 'invalid'}"

    def _base(self, token: str | None) -> str:  # noqa: ARG002 - the parent's signature
        return self._place()

    def _allow_origin(self) -> bool:
        """Let a page without an origin read the answers: who has none, but knows the address, is such a page."""
        self.set_header("Vary", "Origin")
        if self.request.headers.get("Origin") != "null":
            return False
        self.set_header("Access-Control-Allow-Origin", "null")
        return True

    async def _preflight(self) -> None:
        """Answer what a browser asks first; the same for every address, whether there is one or not."""
        self.set_status(204)
        self.set_header("Access-Control-Allow-Methods", "GET, POST, PUT, DELETE")
        self.set_header("Access-Control-Allow-Headers", "Accept, Content-Type, If-Match, Range, X-Requested-With")
        self.set_header("Access-Control-Max-Age", "600")
        await self.finish()


def _ended() -> ApiError:
    return ApiError(
        404,
        "address_invalid",
        "This address does not exist, or it has ended.",
        "Open Orthanc Explorer again, from the home page.",
    )


def explorer_handlers() -> list[tuple[str, type[PageHandler], dict[str, Route]]]:
    """Return each pattern below the gateway's path, what answers there, and its routes by method."""
    table: list[tuple[str, type[PageHandler], tuple[Route, ...]]] = [
        ("explorer", OpenHandler, _OPEN),
        ("explorer-offered", OfferedHandler, _OFFERED),
        (r"explorer/(?P<secret>[A-Za-z0-9_-]{43})(?:/.*)?", AddressHandler, _BELOW),
    ]
    return [(pattern, kind, {route.method: route for route in routes}) for pattern, kind, routes in table]
