"""What every researcher's server has in common, wherever it runs: where it opens, and why it ended."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from traitlets import Integer, Unicode
from traitlets.config import LoggingConfigurable

__all__ = ["BROWSE_PATH", "PAGES_LINK", "PROFILES", "Workspace", "in_words", "profile_of"]

PAGES_LINK = "research-pacs"
"""Name of the link in each home that leads to the Voila pages."""

BROWSE_PATH = f"voila/render/{PAGES_LINK}/Browse.ipynb"
"""The image browser, below a server's address."""

PROFILES = {"notebook": "/lab", "browser": f"/{BROWSE_PATH}"}
"""Name of each profile and the page that a server of this profile opens with."""


def profile_of(options: Mapping[str, Any] | None) -> str:
    """Return the profile that somebody asked for.

    Parameters
    ----------
    options : mapping or None
        A server's options: from a link (``opt-profile=...``: a list of texts) or from the hub's API (anything at all).

    Returns
    -------
    str
        A key of `PROFILES`; ``notebook`` for whatever else was asked for.
    """
    asked = (options or {}).get("profile")
    if isinstance(asked, list) and len(asked) == 1:
        asked = asked[0]
    return asked if isinstance(asked, str) and asked in PROFILES else "notebook"


def in_words(seconds: int) -> str:
    """Return a length of time as people say it.

    Examples
    --------
    >>> in_words(7200), in_words(60), in_words(5400), in_words(45)
    ('2 hours', '1 minute', '90 minutes', '45 seconds')
    """
    number, unit = seconds, "second"
    if seconds % 3600 == 0 and seconds:
        number, unit = seconds // 3600, "hour"
    elif seconds % 60 == 0 and seconds:
        number, unit = seconds // 60, "minute"
    return f"{number} {unit}{'' if number == 1 else 's'}"


class Workspace(LoggingConfigurable):
    """Mixed into a JupyterHub spawner, before it in the list of bases.

    Attributes
    ----------
    ended : str
        Why the last server ended: ``idle``, ``asked`` (somebody stopped it), ``by-itself``, or empty: it runs, never
        ran, or its start failed. Kept with the spawner's state: the home page can say so after a restart of the hub.
    """

    gateway_url = Unicode(help="Public address of the gateway, given to servers as `RPACS_URL`.").tag(config=True)
    idle_seconds = Integer(0, help="After this long without activity a server is stopped; 0: never.").tag(config=True)

    user_options: dict[str, Any]
    ended = ""
    _was_started = False

    @property
    def profile(self) -> str:
        """The profile that was asked for last, a key of `PROFILES`."""
        return profile_of(self.user_options)

    def options_from_query(self, query: dict[str, list[str]]) -> dict[str, str]:
        """Return a server's options from a link to `/hub/spawn?opt-profile=...`."""
        return {"profile": profile_of(query)}

    def get_env(self) -> dict[str, str]:
        """Return the environment of the server; it holds the gateway's address besides what JupyterHub puts there."""
        environment: dict[str, str] = super().get_env()  # type: ignore[misc]
        environment["RPACS_URL"] = self.gateway_url
        if self.idle_seconds:
            # What a server tells of itself must be newer than what it would be stopped for.
            environment["JUPYTERHUB_ACTIVITY_INTERVAL"] = str(min(max(self.idle_seconds // 4, 1), 300))
        return environment

    def get_args(self) -> list[str]:
        """Return the server's arguments: left alone, by the hub too, it ends in the end.

        The hub stops an idle server long before. Where the hub was killed and never came back, nobody would.
        """
        arguments: list[str] = super().get_args()  # type: ignore[misc]
        if self.idle_seconds:
            arguments.append(f"--ServerApp.shutdown_no_activity_timeout={2 * self.idle_seconds + 600}")
        return arguments

    async def start(self) -> Any:
        """Start the server, whose options can choose a profile and nothing else."""
        self.ended = ""
        self.user_options = {"profile": self.profile}
        self.default_url = PROFILES[self.profile]
        address = await super().start()  # type: ignore[misc]
        self._was_started = True
        return address

    async def stop(self, now: bool = False) -> None:
        """Stop the server, and note whether that was because nobody used it."""
        seen = self.orm_spawner.last_activity  # type: ignore[attr-defined]
        idle = self.idle_seconds and seen and _utc(seen) <= datetime.now(UTC) - timedelta(seconds=self.idle_seconds)
        self.ended = "idle" if idle else "asked"
        await super().stop(now=now)  # type: ignore[misc]

    async def poll(self) -> Any:
        """Ask how the server is; note it if the server ended without being stopped."""
        status = await super().poll()  # type: ignore[misc]
        if status is not None and self._was_started and not self.ended and self.ready:  # type: ignore[attr-defined]
            self.ended = "by-itself"
        return status

    def get_state(self) -> dict[str, Any]:
        """Return what the hub keeps in its database."""
        state: dict[str, Any] = super().get_state()  # type: ignore[misc]
        return {**state, "ended": self.ended} if self.ended else state

    def load_state(self, state: dict[str, Any]) -> None:
        """Take back what `get_state` returned."""
        super().load_state(state)  # type: ignore[misc]
        self.ended = state.get("ended", "")


def _utc(moment: datetime) -> datetime:
    # The hub's database gives times in UTC that do not say so.
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
