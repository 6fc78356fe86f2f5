"""Signing in through Amazon Cognito or any other OpenID Connect provider."""

import hashlib
import logging
import time
from typing import Any
from urllib.parse import urlencode

from oauthenticator.generic import GenericOAuthenticator  # type: ignore[import-untyped]
from oauthenticator.oauth2 import (  # type: ignore[import-untyped]
    OAuthLoginHandler,
    _deserialize_state,
)
from tornado import web
from tornado.httpclient import HTTPClientError
from traitlets import Bool, List, Unicode, default

from rpacs_hub.login.errors import IdTokenError, SigningKeysError
from rpacs_hub.login.id_token import IdTokenVerifier, SigningKeys

__all__ = ["OpenIDAuthenticator", "OpenIDLoginHandler", "logout_address"]

log = logging.getLogger(__name__)

_TRY_AGAIN = "Sign-in did not work: the answer of the sign-in service could not be trusted. Please sign in again."
_UNAVAILABLE = "The sign-in service cannot be reached at the moment. Please try again in a minute."


def nonce_of(code_verifier: str) -> str:
    """Return the nonce that goes with a PKCE code verifier.

    Both must be unguessable and bound to this browser's sign-in; deriving one from the other keeps a second secret out
    of the state cookie. The hash is one way, so the nonce in the address bar tells nothing about the verifier.

    Parameters
    ----------
    code_verifier : str
        The PKCE code verifier (RFC 7636) of this sign-in.

    Returns
    -------
    str
        64 hexadecimal digits.
    """
    return hashlib.sha256(b"rpacs nonce\0" + code_verifier.encode()).hexdigest()


def logout_address(endpoint: str, client_id: str, return_to: str) -> str:
    """Return the address that ends the session at the provider, too.

    Parameters
    ----------
    endpoint : str
        The provider's logout endpoint; one that already has a query is taken as it is.
    client_id : str
        Our client id.
    return_to : str
        Where the provider shall send the browser afterwards; it must be registered there.

    Returns
    -------
    str
        `endpoint` with Cognito's `logout_uri` and OpenID Connect's `post_logout_redirect_uri`; each provider ignores
        the other's.
    """
    if not endpoint or "?" in endpoint:
        return endpoint
    query = {"client_id": client_id, "logout_uri": return_to, "post_logout_redirect_uri": return_to}
    return f"{endpoint}?{urlencode(query)}"


class OpenIDLoginHandler(OAuthLoginHandler):  # type: ignore[misc]
    """Starts a sign-in, with a nonce beside PKCE and state."""

    _nonce: str | None = None

    def _generate_pkce_params(self) -> tuple[str, str]:
        verifier, challenge = super()._generate_pkce_params()
        self._nonce = nonce_of(verifier)
        return verifier, challenge

    def authorize_redirect(self, *args: Any, **kwargs: Any) -> None:
        """Send the browser to the provider."""
        kwargs["extra_params"] = {**(kwargs.get("extra_params") or {}), "nonce": self._nonce}
        super().authorize_redirect(*args, **kwargs)


class OpenIDAuthenticator(GenericOAuthenticator):  # type: ignore[misc]
    """An OpenID Connect authenticator that believes nothing it has not verified.

    What it adds to oauthenticator's generic one: the ID token's signature, issuer, audience, expiry and nonce are
    checked (`rpacs_hub.login.id_token`); groups are read again from the provider every `auth_refresh_age` seconds, so
    that a person taken out of a group, or disabled, loses access without signing out; user names keep their case, so
    that two accounts of a provider never become one here; no token reaches a log or an error page.
    """

    login_handler = OpenIDLoginHandler

    issuer = Unicode(help="Exact value of the `iss` claim of the provider's ID tokens.").tag(config=True)
    jwks_url = Unicode(help="Address of the provider's JSON Web Key Set.").tag(config=True)
    id_token_algorithms = List(
        Unicode(), default_value=["RS256"], help="Signature algorithms to accept in ID tokens; asymmetric ones only."
    ).tag(config=True)
    require_nonce = Bool(
        False,
        help="""
        Refuse an ID token that does not repeat the nonce. A nonce that differs is refused in any case.
        Off because the local stand-in for Cognito drops it; PKCE binds the code to the browser all the same.
        """,
    ).tag(config=True)
    groups_claim = Unicode("cognito:groups", help="Claim of the ID token that lists the person's groups.").tag(
        config=True
    )

    _verifier: IdTokenVerifier | None = None

    @default("auth_state_groups_key")
    def _groups_from_auth_state(self) -> Any:
        return self._groups

    def _groups(self, auth_state: dict[str, Any]) -> list[str]:
        groups = auth_state[self.user_auth_state_key].get(self.groups_claim)
        if isinstance(groups, str):  # set("abc") would be three groups
            return [groups]
        if isinstance(groups, list):
            return [group for group in groups if isinstance(group, str) and group]
        return []  # Cognito leaves the claim out for a person in no group

    @property
    def verifier(self) -> IdTokenVerifier:
        """The ID token verifier for this configuration."""
        if self._verifier is None:
            keys = SigningKeys(self.jwks_url, self._fetch_keys)
            self._verifier = IdTokenVerifier(self.issuer, self.client_id, keys, algorithms=self.id_token_algorithms)
        return self._verifier

    async def _fetch_keys(self, url: str) -> Any:
        return await self.httpfetch(url, "fetching signing keys", validate_cert=self.validate_server_cert)

    def normalize_username(self, username: str) -> str:
        """Return the hub's name for a provider's user name: the same one, in the same case.

        JupyterHub lower-cases. A provider may have both `Clara` and `clara`; folding them would give one the other's
        files. Where the provider ignores case, it sends one spelling anyway.
        """
        return str(self.username_map.get(username, username))

    def build_access_tokens_request_params(self, handler: Any, data: Any = None) -> dict[str, Any]:
        """Return the form fields of the token request, without those that have no value."""
        params = super().build_access_tokens_request_params(handler, data)
        return {name: value for name, value in params.items() if value is not None}

    async def authenticate(self, handler: Any, data: Any = None, **kwargs: Any) -> Any:  # noqa: ARG002
        """Exchange the code for tokens, verify the ID token, and return who this is.

        Raises
        ------
        tornado.web.HTTPError
            403 if the provider or its token is not to be trusted, 503 if it cannot be reached.
        """
        params = self.build_access_tokens_request_params(handler, data)
        verifier = _deserialize_state(handler.get_state_cookie()).get("code_verifier")
        if not verifier:
            raise web.HTTPError(400, "Sign-in was started without PKCE. Please sign in again.")
        try:
            token_info = await self.get_token_info(handler, params)
            await self.verifier.verify(
                token_info.get("id_token"), nonce=nonce_of(verifier), nonce_required=self.require_nonce
            )
        except IdTokenError as error:
            log.error("ID token refused (%s): %s", error.reason, error)
            raise web.HTTPError(403, _TRY_AGAIN) from None
        except SigningKeysError as error:
            log.error("%s", error)
            raise web.HTTPError(503, _UNAVAILABLE) from None
        except HTTPClientError as error:
            if 400 <= error.code < 500:
                raise web.HTTPError(403, "Sign-in was not completed in time. Please sign in again.") from None
            raise web.HTTPError(503, _UNAVAILABLE) from None
        except OSError as error:
            log.error("Token endpoint: %s", error)
            raise web.HTTPError(503, _UNAVAILABLE) from None
        return await self._token_to_auth_model(token_info)

    async def token_to_user(self, token_info: dict[str, Any]) -> dict[str, Any]:
        """Return the verified claims of the ID token in a token response.

        Everything that oauthenticator derives (name, groups, admin) comes from here, whatever way it was called.

        Raises
        ------
        tornado.web.HTTPError
            403 if the token is refused or names nobody, 503 if the provider's keys cannot be read.
        """
        try:
            claims = await self.verifier.verify(token_info.get("id_token"))
        except IdTokenError as error:
            log.error("ID token refused (%s): %s", error.reason, error)
            raise web.HTTPError(403, _TRY_AGAIN) from None
        except SigningKeysError as error:
            log.error("%s", error)
            raise web.HTTPError(503, _UNAVAILABLE) from None
        name = self.username_claim(claims) if callable(self.username_claim) else claims.get(self.username_claim)
        if not isinstance(name, str) or not name:
            log.error("ID token without the user name claim %s", self.username_claim)
            raise web.HTTPError(403, "The sign-in service did not say who you are. Please tell your administrators.")
        return claims

    async def refresh_user(self, user: Any, handler: Any = None, **kwargs: Any) -> Any:  # noqa: ARG002
        """Ask the provider again who this is and in which groups.

        oauthenticator would be content with the stored ID token until it expires, an hour with Cognito. Here the
        refresh token is used each time, so that groups are as fresh as `auth_refresh_age` says.

        Returns
        -------
        dict or bool
            A new authentication model; True to keep the present one because the provider cannot be reached and the
            last ID token is still valid; False if the person has to sign in again.
        """
        if handler is not None and not hasattr(handler, "_token_authenticated"):
            # JupyterHub 6.1 reads this when we answer False, and has only set it for requests with a token.
            handler._token_authenticated = False  # noqa: SLF001
        state = await user.get_auth_state()
        if not state:
            return False
        known = state.get(self.user_auth_state_key) or {}
        refresh_token = state.get("refresh_token")
        if not refresh_token:
            # A provider without refresh tokens: good as long as its last word is.
            return self._still_valid(known)
        try:
            params = self.build_refresh_token_request_params(refresh_token)
            token_info = await self.get_token_info(handler, params)
        except HTTPClientError as error:
            if 400 <= error.code < 500 and error.code != 429:
                log.info("%s has to sign in again: the provider refused to renew the session", user.name)
                return False
            return self._still_valid(known)
        except OSError:
            return self._still_valid(known)
        except web.HTTPError:
            return False
        token_info.setdefault("refresh_token", refresh_token)  # not every provider sends it again
        try:
            model = await self._token_to_auth_model(token_info)
        except web.HTTPError as error:
            return self._still_valid(known) if error.status_code == 503 else False
        claims = model["auth_state"][self.user_auth_state_key]
        if model["name"] != user.name or claims.get("sub") != known.get("sub"):
            log.error("A renewed session of %s names somebody else; it was ended", user.name)
            return False
        if not await self.check_allowed(model["name"], model):
            log.info("%s is no longer in an allowed group", user.name)
            return False
        return model

    @staticmethod
    def _still_valid(claims: dict[str, Any]) -> bool:
        expires = claims.get("exp")
        return isinstance(expires, int | float) and expires > time.time()
