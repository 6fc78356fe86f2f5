"""Who asks: a Hub token in the ``Authorization`` header, checked with the Hub, remembered for seconds only."""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Protocol
from urllib.parse import quote

import httpx

from rpacs_hub.errors import HubUnavailable, SettingsError
from rpacs_hub.gateway._exchange import ApiError
from rpacs_hub.permissions import Actor

__all__ = ["Authenticator", "HubAuthenticator", "bearer_token"]

_TOKEN = re.compile(r"[A-Za-z0-9_\-.~+/]{8,512}=*")
_HINT = "Send the header 'Authorization: token <your Hub token>'; on the Hub, rpacs.connect() does."
_REMEMBERED = 10_000
_PAGES = "application/jupyterhub-pagination+json"
_LONGEST_RENEWAL = 3700.0  # seconds; `RPACS_OIDC_REFRESH_SECONDS` is an hour at most


class Authenticator(Protocol):
    """Tells who holds a token."""

    async def actor(self, token: str, session: str = "", *, fresh: bool = False) -> Actor:
        """Return who holds the token.

        Parameters
        ----------
        token
            The Hub's.
        session
            The browser's session at the Hub, where there is one: what is remembered of the token is forgotten with it.
        fresh
            Whether to ask the Hub in any case.

        Raises
        ------
        ApiError
            401 for a token that nobody holds, 403 for one that does not open this service.
        HubUnavailable
            There is no telling at the moment.
        """
        ...

    async def person(self, name: str) -> Actor:
        """Return a user as the Hub knows her at this moment, for whom a personal address speaks.

        Raises
        ------
        ApiError
            404 where the Hub has no such user.
        HubUnavailable
            There is no telling at the moment.
        """
        ...

    async def everybody(self, token: str) -> Sequence[Actor]:
        """Return everybody on the Hub with her groups, as an administrator may ask with her own token.

        Raises
        ------
        HubUnavailable
            The Hub does not tell.
        """
        ...

    def forget(self, name: str) -> None:
        """Forget what is remembered of a user: the Hub is asked anew."""
        ...

    def withdraw(self, name: str, group: str) -> None:
        """Take a group from a user at once, whatever the Hub still says until it has renewed her session."""
        ...

    def restore(self, name: str, group: str) -> None:
        """Believe the Hub again about a group that was withdrawn."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


def bearer_token(authorization: str | None, arguments: Iterable[str]) -> str:
    """Return the token of a request's ``Authorization`` header.

    Cookies and tokens in the address do not count: the first travel without being asked, the second end in logs.

    Raises
    ------
    ApiError
        401, saying what is missing.
    """
    if {"token", "access_token"} & set(arguments):
        raise ApiError(401, "token_in_address", "A token in the address is not accepted: addresses end in logs.", _HINT)
    if not authorization:
        raise ApiError(401, "token_missing", "This request carries no token.", _HINT)
    scheme, _, token = authorization.strip().partition(" ")
    token = token.strip()
    if scheme.lower() not in ("token", "bearer") or not _TOKEN.fullmatch(token):
        raise ApiError(401, "token_invalid", "The Authorization header holds no Hub token.", _HINT)
    return token


class HubAuthenticator:
    """Asks JupyterHub's ``/user`` with the visitor's own token, so that it tells nothing the token may not know.

    Parameters
    ----------
    api_url
        ``JUPYTERHUB_API_URL``.
    service
        Name of this service; the token needs the scope ``access:services!service=<name>``.
    admin_group
        Hub group whose members are administrators.
    max_age
        Seconds that an answer is remembered: a token that is revoked works this much longer, at most.
    own_token
        The service's own token, with the scopes ``read:users:name`` and ``read:users:groups``; personal addresses
        need it, because nobody's own token comes with them.
    """

    def __init__(
        self, api_url: str, service: str, admin_group: str, *, max_age: float = 10.0, own_token: str | None = None
    ):
        self._required = {"access:services", f"access:services!service={service}"}
        self._service = service
        self._admin_group = admin_group
        self._max_age = max_age
        self._own_token = own_token
        self._known: OrderedDict[bytes, tuple[float, Actor]] = OrderedDict()
        self._withdrawn: dict[str, dict[str, float]] = {}
        self._client = httpx.AsyncClient(base_url=api_url.rstrip("/"), timeout=10, trust_env=False)

    @classmethod
    def from_environment(cls, service: str, admin_group: str, env: Mapping[str, str] | None = None) -> HubAuthenticator:
        """Make one from what JupyterHub gives its services.

        Raises
        ------
        SettingsError
            This process is no service of a Hub.
        """
        env = os.environ if env is None else env
        url = env.get("JUPYTERHUB_API_URL", "")
        if not url:
            raise SettingsError("JUPYTERHUB_API_URL is not set.", "Let JupyterHub start the gateway as its service.")
        return cls(url, service, admin_group, own_token=env.get("JUPYTERHUB_API_TOKEN") or None)

    async def close(self) -> None:
        """Close the connections to the Hub."""
        await self._client.aclose()

    def forget(self, name: str) -> None:
        """Forget what is remembered of a user; see `Authenticator`."""
        for key in [key for key, (_, actor) in self._known.items() if actor.name == name]:
            del self._known[key]

    def withdraw(self, name: str, group: str) -> None:
        """Take a group from a user at once; see `Authenticator`.

        The Hub renews sessions every minute or so, and only of people at work. It ends when the Hub no longer names the
        group, or after the longest time between two renewals that can be set.
        """
        self._withdrawn.setdefault(name, {})[group] = time.monotonic() + _LONGEST_RENEWAL
        self.forget(name)

    def restore(self, name: str, group: str) -> None:
        """Believe the Hub again about a group; see `Authenticator`."""
        self._withdrawn.get(name, {}).pop(group, None)
        self.forget(name)

    def _groups(self, name: str, told: Iterable[object]) -> frozenset[str]:
        groups = frozenset(map(str, told))
        withdrawn = self._withdrawn.get(name)
        if not withdrawn:
            return groups
        now = time.monotonic()
        for group in [group for group, until in withdrawn.items() if group not in groups or until < now]:
            del withdrawn[group]
        return groups - withdrawn.keys()

    async def actor(self, token: str, session: str = "", *, fresh: bool = False) -> Actor:
        """Return who holds the token; see `Authenticator`."""
        # Not the token itself is kept, so that a dump of this process' memory holds fewer of them.
        key = hashlib.sha256(f"{token}\0{session}".encode("utf-8", "replace")).digest()
        return await self._remembered(key, lambda: self._ask(token), fresh=fresh)

    async def person(self, name: str) -> Actor:
        """Return a user as the Hub knows her; see `Authenticator`."""
        return await self._remembered(b"person " + name.encode("utf-8", "replace"), lambda: self._look_up(name))

    async def everybody(self, token: str) -> Sequence[Actor]:
        """Return everybody on the Hub; see `Authenticator`."""
        found: list[Actor] = []
        offset: int | None = 0
        while offset is not None:
            page = await self._get(f"/users?offset={offset}", token, accept=_PAGES)
            answer = page.json() if page.status_code == 200 else {}
            users = answer.get("items", [{}])
            if any("groups" not in user for user in users):
                raise HubUnavailable(
                    f"JupyterHub does not tell who there is (status {page.status_code}).", "Sign in again."
                )
            for user in users:
                groups = self._groups(str(user["name"]), user["groups"] or ())
                found.append(Actor(str(user["name"]), groups, self._admin_group in groups))
            offset = (answer["_pagination"]["next"] or {}).get("offset")
        return found

    async def _remembered(self, key: bytes, ask: Callable[[], Awaitable[Actor]], *, fresh: bool = False) -> Actor:
        known = None if fresh else self._known.get(key)
        if known is not None and known[0] > time.monotonic():
            return known[1]
        actor = await ask()
        self._known[key] = (time.monotonic() + self._max_age, actor)
        self._known.move_to_end(key)
        while len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        return actor

    async def _look_up(self, name: str) -> Actor:
        if self._own_token is None:
            raise HubUnavailable("The gateway has no token of its own.", "Let JupyterHub start it as its service.")
        response = await self._get(f"/users/{quote(name, safe='')}", self._own_token)
        if response.status_code == 404:
            raise ApiError(404, "not_found", "The Hub has no such user.")
        model = response.json() if response.status_code == 200 else {}
        # Without the scope the groups are left out: then nothing can be said about what she may see.
        if model.get("name") != name or "groups" not in model:
            raise HubUnavailable(
                f"JupyterHub does not tell the gateway who is in which group (status {response.status_code}).",
                "Give its service the scopes read:users:name and read:users:groups.",
            )
        groups = self._groups(name, model["groups"] or ())
        return Actor(name, groups, self._admin_group in groups)

    async def _get(self, path: str, token: str, accept: str = "application/json") -> httpx.Response:
        try:
            return await self._client.get(path, headers={"Authorization": f"token {token}", "Accept": accept})
        except httpx.HTTPError as error:
            raise HubUnavailable(
                f"JupyterHub does not answer ({type(error).__name__}), so nobody can be recognised.",
                "Try again in a minute.",
            ) from error

    async def _ask(self, token: str) -> Actor:
        response = await self._get("/user", token)
        if response.status_code in (401, 403, 404):
            raise ApiError(401, "token_invalid", "The Hub does not know this token, or it has expired.", _HINT)
        if response.status_code != 200:
            raise HubUnavailable(
                f"JupyterHub answered with status {response.status_code}, so nobody can be recognised.",
                "Try again in a minute.",
            )
        model = response.json()
        if not self._required & set(model.get("scopes", ())):
            raise ApiError(
                403,
                "scope_missing",
                f"This token does not open the service {self._service!r}.",
                f"It needs the scope access:services!service={self._service}; your server's own token has it.",
            )
        if model.get("kind") != "user" or not model.get("name"):
            # A service may bear a user's name; its token must not open that user's images.
            raise ApiError(403, "user_required", "Only users may use this service.", "Use a user's token.")
        groups = self._groups(str(model["name"]), model.get("groups") or ())
        return Actor(str(model["name"]), groups, bool(model.get("admin")) or self._admin_group in groups)
