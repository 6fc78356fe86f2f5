"""Users of the Hub, over its REST API, with the token of the administrator who acts."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote

import httpx

from rpacs_hub.errors import HubUnavailable
from rpacs_hub.people.errors import PeopleMissing, PeopleRefused

__all__ = ["HubUser", "HubUsers"]

_PAGE = 200
_MOST = 20_000  # users that are read for one list
_STOPPING = 45.0  # seconds


@dataclass(frozen=True)
class HubUser:
    """Somebody who signed in at least once.

    Attributes
    ----------
    name
        The Hub's user name.
    groups
        As of her last sign-in or renewal.
    last_activity
        When she, or her server, was last heard of.
    running
        Whether a server of hers runs, or is starting or stopping.
    started
        Since when.
    """

    name: str
    groups: tuple[str, ...]
    last_activity: datetime | None
    running: bool
    started: datetime | None


class HubUsers:
    """The Hub's users.

    Its methods wait for the network: call them from a thread.

    Parameters
    ----------
    api_url
        Address of the Hub's API, such as ``http://127.0.0.1:8081/hub/api``.
    token
        A token of an administrator's; it may see users, stop servers and remove users.
    """

    def __init__(self, api_url: str, token: str):
        self._client = httpx.Client(
            base_url=api_url.rstrip("/") + "/",
            headers={"Authorization": f"token {token}", "Accept": "application/jupyterhub-pagination+json"},
            timeout=30,
            trust_env=False,
        )

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def __enter__(self) -> HubUsers:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def users(self) -> list[HubUser]:
        """Return everybody whom the Hub knows, by name.

        Raises
        ------
        HubUnavailable
            The Hub does not answer, or does not let us.
        """
        found: list[HubUser] = []
        while len(found) < _MOST:
            answer = self._ask("GET", "users", params={"limit": _PAGE, "offset": len(found)})
            items = answer.json()["items"]
            found += [_user(item) for item in items]
            if not items or answer.json()["_pagination"]["next"] is None:
                break
        return sorted(found, key=lambda user: user.name)

    def user(self, name: str) -> HubUser | None:
        """Return one user, None if the Hub does not know her."""
        answer = self._ask("GET", _path(name), missing=True)
        return None if answer.status_code == 404 else _user(answer.json())

    def stop_server(self, name: str) -> bool:
        """Stop somebody's server and wait until it has stopped.

        Returns
        -------
        bool
            Whether one was running.

        Raises
        ------
        HubUnavailable
            The Hub does not answer, or the server does not stop.
        """
        user = self.user(name)
        if user is None or not user.running:
            return False
        # 400: it is stopping already, or it is still starting and is asked again below.
        self._ask("DELETE", f"{_path(name)}/server", missing=True, busy=True)
        deadline = time.monotonic() + _STOPPING
        while (user := self.user(name)) is not None and user.running:
            if time.monotonic() > deadline:
                raise HubUnavailable(f"The server of {name!r} does not stop.", "Try again in a minute.")
            time.sleep(0.2)
            self._ask("DELETE", f"{_path(name)}/server", missing=True, busy=True)
        return True

    def remove(self, name: str) -> bool:
        """Remove somebody from the Hub: her server stops, and none of her tokens and sessions is valid any more.

        She is a user of the Hub again when she signs in; her files stay. It is the Hub's one way to end every token of
        somebody without being able to make some in her name.

        Returns
        -------
        bool
            Whether the Hub knew her.
        """
        if self.user(name) is None:
            return False
        self.stop_server(name)
        return self._ask("DELETE", _path(name), missing=True).status_code != 404

    def _ask(self, method: str, path: str, *, missing: bool = False, busy: bool = False, **more: Any) -> httpx.Response:
        try:
            answer = self._client.request(method, path, **more)
        except httpx.HTTPError as error:
            raise HubUnavailable(
                f"JupyterHub does not answer ({type(error).__name__}).", "Try again in a minute."
            ) from None
        if answer.is_success or (missing and answer.status_code == 404) or (busy and answer.status_code == 400):
            return answer
        if answer.status_code in (401, 403):
            raise HubUnavailable(
                f"JupyterHub does not let this token do that (status {answer.status_code}).",
                "It must be an administrator's: on the pages, sign in again; for the command, make one on the Hub's "
                "page Token.",
            )
        if answer.status_code == 400:
            raise PeopleRefused("JupyterHub refuses to do that.", "Nobody can remove herself.")
        raise HubUnavailable(f"JupyterHub failed (status {answer.status_code}).", "Try again in a minute.")


def _path(name: str) -> str:
    if name.strip(".") == "":  # "..": another address of the Hub
        raise PeopleMissing(f"There is no user {name!r}.")
    return f"users/{quote(name, safe='')}"


def _user(model: dict[str, Any]) -> HubUser:
    servers = model.get("servers") or {}
    busy = (
        bool(model.get("server"))
        or bool(model.get("pending"))
        or any(server.get("ready") or server.get("pending") for server in servers.values())
    )
    started = [server["started"] for server in servers.values() if server.get("started")]
    return HubUser(
        str(model["name"]),
        tuple(sorted(map(str, model.get("groups") or ()))),
        _moment(model.get("last_activity")),
        busy,
        _moment(min(started)) if busy and started else None,
    )


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
