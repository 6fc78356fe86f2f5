"""What the data side reads from its environment, checked once at the start.

=============================  ==================================================================================
variable                       meaning
=============================  ==================================================================================
``RPACS_DATABASE_URL``         PostgreSQL address of the service's own role
``RPACS_RESEARCH_URL``         research Orthanc, ``http://user:password@host:port``
``RPACS_PERMISSIONS``          permissions file (YAML), a path or ``s3://bucket/key``; gateway only
``RPACS_AUDIT_LOG``            audit file (one JSON object a line); gateway only
``RPACS_S3_ENDPOINTS``         comma-separated addresses of S3 servers, other than AWS, that exports may write to
``RPACS_ADMIN_GROUP``          Hub group of the administrators (default ``pacs-admins``)
``RPACS_SEARCH_TIMEOUT``       seconds that one search may take in the database (default 20)
``RPACS_RENDER_CACHE_MB``      memory for decoded images, in MB (default 256)
``RPACS_RENDER_LIMIT_MB``      the largest file that the gateway decodes for pictures, in MB (default 1024)
``RPACS_URL``                  the gateway's public address, for the addresses in its answers; else as the client says
``RPACS_VIEWER_MINUTES``       the longest life of a personal viewer address (default 480); 0 = none can be made
``RPACS_VIEWER_ORIGINS``       comma-separated origins of web viewers that may call DICOMweb from a browser (CORS)
``RPACS_EXPLORER_MINUTES``     minutes until an opened Orthanc Explorer ends (default 60); 0 = it cannot be opened
``RPACS_INDEX_CONNECTIONS``    concurrent requests of the indexer to Orthanc (default 6)
``RPACS_INDEX_POLL``           seconds between two looks at an idle changes feed (default 0.5)
``RPACS_INDEX_RECONCILE``      seconds between two comparisons of the lists of instances (default 60)
``RPACS_INDEX_VERIFY``         seconds between two comparisons that also see changed content (default 21600)
=============================  ==================================================================================

Where accounts are managed (``RPACS_COGNITO_*``), `rpacs_hub.people.settings` says.

What JupyterHub gives a managed service comes on top: ``JUPYTERHUB_API_TOKEN``, ``JUPYTERHUB_API_URL``,
``JUPYTERHUB_SERVICE_PREFIX``, ``JUPYTERHUB_SERVICE_NAME``, ``JUPYTERHUB_SERVICE_URL`` and ``JUPYTERHUB_BASE_URL``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from rpacs_hub.errors import SettingsError
from rpacs_hub.people.settings import PeopleSettings

__all__ = ["GatewaySettings", "IndexerSettings", "database_url_of_environment", "permissions_place"]


def _required(env: Mapping[str, str], name: str, meaning: str) -> str:
    value = env.get(name, "").strip()
    if not value:
        raise SettingsError(f"{name} is not set.", f"Set it to {meaning}.")
    return value


def _address(env: Mapping[str, str], name: str, meaning: str, schemes: tuple[str, ...]) -> str:
    value = _required(env, name, meaning)
    # The value itself stays out of the message: it may hold a password.
    if urlsplit(value).scheme not in schemes or not urlsplit(value).hostname:
        raise SettingsError(f"{name} is not an address.", f"It begins with {' or '.join(s + '://' for s in schemes)}.")
    return value


def _number(env: Mapping[str, str], name: str, default: float, least: float) -> float:
    text = env.get(name, "").strip()
    try:
        value = float(text) if text else default
    except ValueError:
        value = float("nan")
    if not least <= value < 1e9:
        raise SettingsError(f"{name} is {text!r}.", f"Give a number of at least {least:g}, or leave it out.")
    return value


def _database(env: Mapping[str, str]) -> str:
    return _address(env, "RPACS_DATABASE_URL", "postgresql://role:password@host:port/rpacs", ("postgresql", "postgres"))


def database_url_of_environment(env: Mapping[str, str] | None = None) -> str:
    """Return ``RPACS_DATABASE_URL``, for commands that need nothing else.

    Raises
    ------
    SettingsError
        It is missing or no address.
    """
    return _database(os.environ if env is None else env)


def _research(env: Mapping[str, str]) -> str:
    return _address(env, "RPACS_RESEARCH_URL", "http://user:password@host:port", ("http", "https")).rstrip("/")


def permissions_place(text: str) -> Path | str:
    """Return where the permissions are kept: a path, or the text itself if it is an ``s3://bucket/key``."""
    return text if text.startswith("s3://") else Path(text)


def _public_url(env: Mapping[str, str]) -> str:
    url = env.get("RPACS_URL", "").strip()
    if url and (urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname):
        raise SettingsError("RPACS_URL is not an address.", "Such as https://hub.example.org/services/pacs/.")
    return url.rstrip("/") + "/" if url else ""


@dataclass(frozen=True)
class IndexerSettings:
    """What the indexer needs. Addresses hold passwords, so they do not show in ``repr``."""

    database_url: str = field(repr=False)
    research_url: str = field(repr=False)
    connections: int = 6
    poll: float = 0.5
    reconcile: float = 60.0
    verify: float = 21600.0

    @classmethod
    def from_environment(cls, env: Mapping[str, str] | None = None) -> IndexerSettings:
        """Read the settings; see the table at the top of this module.

        Raises
        ------
        SettingsError
            A variable is missing or cannot be used.
        """
        env = os.environ if env is None else env
        return cls(
            database_url=_database(env),
            research_url=_research(env),
            connections=int(_number(env, "RPACS_INDEX_CONNECTIONS", 6, 1)),
            poll=_number(env, "RPACS_INDEX_POLL", 0.5, 0.05),
            reconcile=_number(env, "RPACS_INDEX_RECONCILE", 60, 0.1),
            verify=_number(env, "RPACS_INDEX_VERIFY", 21600, 0.1),
        )


@dataclass(frozen=True)
class GatewaySettings:
    """What the gateway needs. Addresses and tokens hold secrets, so they do not show in ``repr``."""

    database_url: str = field(repr=False)
    research_url: str = field(repr=False)
    permissions: Path | str
    audit_log: Path
    s3_endpoints: tuple[str, ...] = ()
    admin_group: str = "pacs-admins"
    search_timeout: float = 20.0
    render_cache_bytes: int = 256 << 20
    render_limit_bytes: int = 1 << 30
    public_url: str = ""
    viewer_minutes: float = 480
    viewer_origins: tuple[str, ...] = ()
    explorer_minutes: float = 60
    service_name: str = "pacs"
    service_prefix: str = "/services/pacs/"
    service_url: str = "http://127.0.0.1:8100"
    hub_path: str = "/hub/"
    hub_api_url: str = ""
    people: PeopleSettings = field(default_factory=PeopleSettings)

    @classmethod
    def from_environment(cls, env: Mapping[str, str] | None = None) -> GatewaySettings:
        """Read the settings; see the table at the top of this module.

        Raises
        ------
        SettingsError
            A variable is missing or cannot be used.
        """
        env = os.environ if env is None else env
        endpoints = [part.strip().rstrip("/") for part in env.get("RPACS_S3_ENDPOINTS", "").split(",")]
        for endpoint in filter(None, endpoints):
            if urlsplit(endpoint).scheme not in ("http", "https") or not urlsplit(endpoint).hostname:
                raise SettingsError(
                    f"RPACS_S3_ENDPOINTS holds {endpoint!r}.", "Give addresses such as https://s3.example.org."
                )
        origins = tuple(part.strip() for part in env.get("RPACS_VIEWER_ORIGINS", "").split(",") if part.strip())
        for origin in origins:
            parts = urlsplit(origin)
            if parts.scheme not in ("http", "https") or origin != f"{parts.scheme}://{parts.netloc}" or "@" in origin:
                raise SettingsError(
                    f"RPACS_VIEWER_ORIGINS holds {origin!r}.", "Give origins such as https://viewer.example.org."
                )
        prefix = env.get("JUPYTERHUB_SERVICE_PREFIX", "/services/pacs/")
        return cls(
            database_url=_database(env),
            research_url=_research(env),
            permissions=permissions_place(
                _required(env, "RPACS_PERMISSIONS", "the path of the permissions file, or s3://bucket/key")
            ),
            audit_log=Path(_required(env, "RPACS_AUDIT_LOG", "the path of the audit file")),
            s3_endpoints=tuple(filter(None, endpoints)),
            admin_group=env.get("RPACS_ADMIN_GROUP") or "pacs-admins",
            search_timeout=_number(env, "RPACS_SEARCH_TIMEOUT", 20, 0.1),
            render_cache_bytes=int(_number(env, "RPACS_RENDER_CACHE_MB", 256, 0) * (1 << 20)),
            render_limit_bytes=int(_number(env, "RPACS_RENDER_LIMIT_MB", 1024, 1) * (1 << 20)),
            public_url=_public_url(env),
            viewer_minutes=_number(env, "RPACS_VIEWER_MINUTES", 480, 0),
            viewer_origins=origins,
            explorer_minutes=_number(env, "RPACS_EXPLORER_MINUTES", 60, 0),
            service_name=env.get("JUPYTERHUB_SERVICE_NAME") or "pacs",
            service_prefix="/" + prefix.strip("/") + "/",
            service_url=env.get("JUPYTERHUB_SERVICE_URL") or "http://127.0.0.1:8100",
            hub_path=f"/{env.get('JUPYTERHUB_BASE_URL', '').strip('/')}/hub/".replace("//", "/"),
            hub_api_url=env.get("JUPYTERHUB_API_URL", ""),
            people=PeopleSettings.from_environment(env),
        )
