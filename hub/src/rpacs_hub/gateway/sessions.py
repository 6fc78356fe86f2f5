"""Who sits at a browser: a session that begins with a sign-in at the Hub and ends with a sign-out there.

The browser holds one signed cookie with the OAuth token that the Hub gave for her (`HubOAuth`). Scripts cannot read it,
other sites cannot make the browser send a form with it, and each use asks the Hub, as for every other token: a token
that the Hub has revoked, which it does when she signs out, opens nothing.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field

from jupyterhub.services.auth import HubOAuth  # type: ignore[import-untyped]
from tornado import web
from tornado.httputil import url_concat

from rpacs_hub.errors import HubUnavailable
from rpacs_hub.gateway._exchange import ApiError
from rpacs_hub.gateway.auth import Authenticator
from rpacs_hub.permissions import Actor
from rpacs_hub.settings import GatewaySettings

__all__ = ["SESSION_COOKIE", "Session", "Sessions", "hub_oauth"]

_log = logging.getLogger(__name__)

SESSION_COOKIE = "rpacs-session"
"""Name of the cookie; its path is the gateway's."""

_HUB_SESSION = "jupyterhub-session-id"  # the Hub's; it takes it away at sign-out
_LONGEST_TARGET = 2000  # characters of the address that somebody comes back to after signing in
_LONGEST = 0.5  # days; after that the Hub is asked again who this is, which mostly nobody notices


@dataclass(frozen=True)
class Session:
    """A person who signed in with a browser.

    Attributes
    ----------
    actor
        Who, in which groups, as the Hub says now.
    token
        Her OAuth token: what it may do at the Hub, `rpacs_hub.login.gateway_service` says.
    at_hub
        Name of her session at the Hub.
    """

    actor: Actor
    token: str = field(repr=False)
    at_hub: str = field(default="", repr=False)


def hub_oauth(settings: GatewaySettings, env: Mapping[str, str] | None = None) -> HubOAuth | None:
    """Return the client of the Hub's OAuth, from what JupyterHub gives its services.

    Returns
    -------
    HubOAuth or None
        None where this process is no service of a Hub: then nobody can sign in.
    """
    env = os.environ if env is None else env
    if not env.get("JUPYTERHUB_CLIENT_ID") or not env.get("JUPYTERHUB_API_TOKEN"):
        return None
    return HubOAuth(
        api_url=env["JUPYTERHUB_API_URL"],
        api_token=env["JUPYTERHUB_API_TOKEN"],
        base_url=settings.service_prefix,
        hub_prefix=settings.hub_path,
        oauth_client_id=env["JUPYTERHUB_CLIENT_ID"],
        oauth_redirect_uri=env.get("JUPYTERHUB_OAUTH_CALLBACK_URL") or f"{settings.service_prefix}oauth_callback",
        cookie_options={"samesite": "Lax"},
    )


class Sessions:
    """Begins, finds and guards sessions.

    Parameters
    ----------
    settings
        The gateway's addresses.
    authenticator
        Tells who holds a token.
    hub
        The Hub's OAuth; None = nobody can sign in.
    """

    def __init__(self, settings: GatewaySettings, authenticator: Authenticator, hub: HubOAuth | None):
        self._path = settings.service_prefix
        self._https = settings.public_url.startswith("https:") if settings.public_url else None
        self._authenticator = authenticator
        self._hub = hub
        self.secret = secrets.token_bytes(32)
        """Signs the cookies. Drawn at each start: a gateway that starts anew asks the Hub again who is there."""

    async def signed_in(self, handler: web.RequestHandler, *, fresh: bool = True) -> Session | None:
        """Return whose browser this is; None if nobody is signed in (any more).

        Parameters
        ----------
        handler
            The request.
        fresh
            Whether to ask the Hub in any case, or to be content with an answer that is some seconds old.

        Raises
        ------
        HubUnavailable
            There is no telling at the moment.
        """
        value = handler.get_secure_cookie(SESSION_COOKIE, max_age_days=_LONGEST)
        if value is None:
            return None
        token = value.decode("ascii", "replace")
        try:
            # What is remembered about the token counts for this session of the Hub's only: it is gone at sign-out.
            at_hub = handler.get_cookie(_HUB_SESSION) or ""
            actor = await self._authenticator.actor(token, at_hub, fresh=fresh)
        except ApiError:
            return None
        return Session(actor, token, at_hub)

    def sign_in_address(self, handler: web.RequestHandler) -> str:
        """Return where to send a browser to sign in; it comes back to the page that it asked for.

        Raises
        ------
        HubUnavailable
            The gateway is no service of a Hub.
        """
        hub = self._need_hub()
        verifier, challenge, method = hub.generate_pkce_code_challenge()
        # It is kept in memory for ten minutes, and anybody can begin a sign-in.
        target = handler.request.uri or ""
        target = target if len(target) <= _LONGEST_TARGET else handler.request.path[:_LONGEST_TARGET]
        state = hub.set_state_cookie(handler, next_url=target, code_verifier=verifier)
        return str(
            url_concat(hub.login_url, {"state": state, "code_challenge": challenge, "code_challenge_method": method})
        )

    async def finish(self, handler: web.RequestHandler) -> tuple[Session, str]:
        """Take the browser that comes back from the Hub, and give it its cookie.

        Returns
        -------
        tuple
            The session, and the path of the page that was asked for.

        Raises
        ------
        ApiError
            403: this browser did not start that sign-in, or the Hub did not vouch for it.
        """
        hub = self._need_hub()
        code = handler.get_query_argument("code", "")
        given = handler.get_query_argument("state", "")
        kept = handler.get_secure_cookie(hub.get_state_cookie_name(given), max_age_days=1) if given else None
        if not code or kept is None or not hmac.compare_digest(kept.decode("ascii", "replace"), given):
            raise _not_completed()
        target, verifier = hub.get_next_url(given), hub.get_code_verifier(given)
        hub.clear_oauth_state(given)
        hub.clear_oauth_state_cookies(handler)
        if not verifier:
            raise _not_completed()
        try:
            token = await hub.token_for_code(code, code_verifier=verifier, sync=False)
        except web.HTTPError as error:
            _log.warning("the Hub did not take a sign-in's code (status %d)", error.status_code)
            raise _not_completed() from None
        actor = await self._authenticator.actor(token, handler.get_cookie(_HUB_SESSION) or "")
        handler.set_secure_cookie(
            SESSION_COOKIE,
            token,
            expires_days=None,
            path=self._path,
            httponly=True,
            samesite="Lax",
            secure=self.https(handler),
        )
        return Session(actor, token), str(target)

    def https(self, handler: web.RequestHandler) -> bool:
        """Tell whether the browser came by https, so that its cookies must stay there."""
        return handler.request.protocol == "https" if self._https is None else self._https

    def form_token(self, session: Session) -> str:
        """Return what a form must bring along (``_xsrf``): only a page of this session's can know it."""
        return hmac.new(self.secret, b"form\0" + session.token.encode(), hashlib.sha256).hexdigest()

    def check_form(self, session: Session, given: str) -> None:
        """Make sure that a form comes from a page of this session's.

        Raises
        ------
        ApiError
            403; nothing has been done.
        """
        if not hmac.compare_digest(self.form_token(session).encode(), given.encode("utf-8", "replace")):
            raise ApiError(
                403,
                "form_expired",
                "This form is out of date, so nothing was done.",
                "Go back, load the page again and send the form once more.",
            )

    def _need_hub(self) -> HubOAuth:
        if self._hub is None:
            raise HubUnavailable(
                "Nobody can sign in here: the gateway is no service of a Hub.", "Let JupyterHub start it."
            )
        return self._hub


def _not_completed() -> ApiError:
    return ApiError(
        403, "sign_in_failed", "The sign-in was not completed.", "Open the page again; it sends you to sign in."
    )
