"""The tornado handlers of the administration: as the API's, but for people with a browser."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from rpacs_hub.audit import AuditEvent
from rpacs_hub.errors import HubError
from rpacs_hub.gateway._exchange import ApiError, Call, Reply, Route
from rpacs_hub.gateway._handler import ApiHandler
from rpacs_hub.gateway.admin._page import HTML, AdminCall, NavEntry, PageReply, read_said, render, said_cookie
from rpacs_hub.gateway.sessions import Session
from rpacs_hub.permissions import Action

if TYPE_CHECKING:
    from rpacs_hub.gateway.app import Services

__all__ = ["CALLBACK", "CallbackHandler", "PageHandler"]

_SAID = "rpacs-said"
_FIELDS = 2000  # of one form


class PageHandler(ApiHandler):
    """Answers the addresses below ``admin/``, for administrators who signed in with a browser.

    Attributes
    ----------
    admins_only
        False for pages of everybody who signed in.
    where
        What the pages belong to, as their heads say.
    sandboxed
        True for pages without an origin and without scripts.
    """

    admins_only = True
    where = "Administration"
    sandboxed = False

    def initialize(self, services: Services, routes: Mapping[str, Route], navigation: Sequence[NavEntry] = ()) -> None:
        """Take the routes of this address by HTTP method, and the pages that there are."""
        super().initialize(services, routes)
        self.navigation = navigation
        self.session: Session | None = None

    def set_default_headers(self) -> None:
        """Let nothing run but what the page itself brings, and nobody put the page into another one."""
        super().set_default_headers()
        self.nonce = secrets.token_urlsafe(16)
        own = f"'nonce-{self.nonce}'"
        policy = (
            f"default-src 'none'; style-src {own}; script-src {own}; img-src 'self' data:; form-action 'self'; "
            "base-uri 'none'; frame-ancestors 'none'"
        )
        self.set_header("Content-Security-Policy", f"sandbox; {policy}" if self.sandboxed else policy)
        self.set_header("X-Frame-Options", "DENY")

    async def answer(self, route: Route | None, event: AuditEvent, path: Mapping[str, str]) -> Reply:
        """Let an administrator in, everybody else not.

        Raises
        ------
        ApiError
            401 for a token in the header, 403 for somebody else or a form that comes from elsewhere.
        """
        if "Authorization" in self.request.headers:
            raise ApiError(
                401,
                "sign_in_required",
                "Tokens do not open pages, not even an administrator's.",
                "Open this address in a browser and sign in.",
            )
        self.session = session = await self.services.sessions.signed_in(self)
        if session is None:
            return self._sign_in(event)
        event.user, event.groups = session.actor.name, sorted(session.actor.groups)
        if self.admins_only and not session.actor.admin:
            raise ApiError(403, "admins_only", "Only administrators may open these pages.", "Ask one of them.")
        self.check_source()
        fields = self._fields() if event.method == "POST" else {}
        if event.method == "POST":
            self.services.sessions.check_form(session, (fields.get("_xsrf") or [""])[-1])
        event.decision = "allowed"
        route = self.existing(route)
        everything = self.query_values(path)
        reply = await route.endpoint(self._call(session, event, path, everything, fields))
        if isinstance(reply, PageReply) and reply.said:
            place = f"{self.services.settings.service_prefix}admin/"
            secure = self.services.sessions.https(self)
            self.set_secure_cookie(
                _SAID, said_cookie(reply), None, path=place, httponly=True, samesite="Strict", secure=secure
            )
        return reply

    def error_answer(self, error: HubError | None) -> Reply:
        """Return a page that says what is wrong; JSON for a program that came with a token."""
        plain = super().error_answer(error)
        if "Authorization" in self.request.headers:
            return plain
        words = plain.json
        session = self.session
        body = render(
            "error.html",
            status=plain.status,
            message=words["message"],
            hint=words["hint"],
            name=session.actor.name if session else "",
            navigation=self.navigation if session and session.actor.admin else (),
            admin=f"{self.services.settings.service_prefix}admin/",
            hub=self.services.settings.hub_path,
            nonce=self.nonce,
            where=self.where,
        )
        return Reply(plain.status, body=body, content_type=HTML, headers=plain.headers)

    def _sign_in(self, event: AuditEvent) -> Reply:
        if self.request.method != "GET":
            raise ApiError(
                403,
                "signed_out",
                "You are not signed in (any more), so nothing was done.",
                "Open the page again; it sends you to sign in.",
            )
        event.why = ["Nobody is signed in with this browser."]
        address = self.services.sessions.sign_in_address(self)
        return Reply(302, body=b"", content_type=HTML, headers={"Location": address})

    def check_source(self) -> None:
        """Refuse what a script or a page within a page asks for, where the browser says so.

        Researchers' servers have the Hub's address, too: what runs on such a page must not be able to read these.
        """
        headers = self.request.headers
        wrong = headers.get("Sec-Fetch-Mode", "navigate") != "navigate"
        wrong |= headers.get("Sec-Fetch-Dest", "document") != "document"
        if self.request.method == "POST":
            wrong |= headers.get("Sec-Fetch-Site", "same-origin") != "same-origin"
        if wrong:
            raise ApiError(
                403, "page_required", "This address is opened as a page, not by a script.", "Open it itself."
            )

    def _fields(self) -> dict[str, list[str]]:
        body = self.body()
        if self.content_type() != "application/x-www-form-urlencoded":
            raise ApiError(415, "not_a_form", "What was sent is no form.", "Go back and load the page again.")
        try:
            fields = parse_qs(body.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=_FIELDS)
        except ValueError:
            raise ApiError(400, "request_invalid", "The form cannot be read.", "Go back and try again.") from None
        if any("\0" in value for values in fields.values() for value in values):
            raise ApiError(400, "request_invalid", "The form holds a NUL character.")
        return fields

    def _call(
        self,
        session: Session,
        event: AuditEvent,
        path: Mapping[str, str],
        everything: dict[str, list[str]],
        fields: dict[str, list[str]],
    ) -> AdminCall:
        said, warning = read_said(self.get_secure_cookie(_SAID, max_age_days=1))
        if said and event.method == "GET":
            self.clear_cookie(_SAID, path=f"{self.services.settings.service_prefix}admin/")
        return AdminCall(
            self.services,
            session.actor,
            path,
            {name: values[-1].strip() for name, values in everything.items()},
            None,
            event,
            all_arguments=everything,
            target=self.request.uri or "",
            headers=self.request.headers,
            # Browsers end lines in forms with CR LF (HTML, "constructing the entry list").
            form={name: values[-1].strip().replace("\r\n", "\n") for name, values in fields.items()},
            form_lists={name: [value.replace("\r\n", "\n") for value in values] for name, values in fields.items()},
            token=session.token,
            at_hub=session.at_hub,
            form_token=self.services.sessions.form_token(session),
            nonce=self.nonce,
            said=said,
            warning=warning,
            navigation=self.navigation,
        )


class CallbackHandler(PageHandler):
    """Takes the browser that comes back from signing in at the Hub, whoever it is, to the page it had asked for."""

    async def answer(self, route: Route | None, event: AuditEvent, path: Mapping[str, str]) -> Reply:
        """Finish the sign-in.

        Raises
        ------
        ApiError
            403 if this browser did not begin it.
        """
        self.existing(route)
        self.query_values(path)
        self.session, target = await self.services.sessions.finish(self)
        event.user, event.groups = self.session.actor.name, sorted(self.session.actor.groups)
        event.decision = "allowed"
        return Reply(302, body=b"", content_type=HTML, headers={"Location": target})


async def _finished(_: Call) -> Reply:
    """Stand in the table of routes: `CallbackHandler` itself answers."""
    return Reply(404)


CALLBACK = Route("GET", "oauth_callback", _finished, Action.SIGN_IN)
"""Where the Hub sends the browser back to, below the gateway's own path."""
