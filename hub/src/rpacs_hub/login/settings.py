"""The hub's settings, all from the environment."""

import ipaddress
import os
import re
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from rpacs_hub.containers import ContainerSettings
from rpacs_hub.errors import SettingsError

__all__ = ["HubSettings"]

SpawnerKind = Literal["system-users", "simple", "docker", "kubernetes"]

_OWN_GATEWAY_SETTINGS = frozenset({"RPACS_GATEWAY_USER", "RPACS_GATEWAY_PORT"})


@dataclass(frozen=True, kw_only=True)
class HubSettings:
    """Everything that `jupyterhub_config.py` needs to know.

    Attributes
    ----------
    issuer, authorize_url, token_url, jwks_url : str
        The OpenID provider (`RPACS_OIDC_ISSUER`, `..._AUTHORIZE_URL`, `..._TOKEN_URL`, `..._JWKS_URL`).
    logout_url : str
        `RPACS_OIDC_LOGOUT_URL`, the provider's logout endpoint; empty: signing out ends the hub's session only.
    client_id, client_secret : str
        `RPACS_OIDC_CLIENT_ID`, `RPACS_OIDC_CLIENT_SECRET`.
    username_claim, groups_claim : str
        `RPACS_OIDC_USERNAME_CLAIM`, `RPACS_OIDC_GROUPS_CLAIM`; by default Cognito's.
    require_nonce : bool
        `RPACS_OIDC_NONCE` is `required` (else `if-present`, the default).
    refresh_seconds : int
        `RPACS_OIDC_REFRESH_SECONDS`: how old the groups of a person at work may be; 60 by default.
    public_url : str
        `RPACS_HUB_PUBLIC_URL`, ending in a slash.
    bind_url : str
        `RPACS_HUB_BIND_URL`: where the proxy listens; the public address by default.
    hub_port, proxy_api_port : int
        `RPACS_HUB_PORT` (8081) and `RPACS_PROXY_API_PORT` (8001): on 127.0.0.1, for the hub's own parts.
    admin_group : str
        `RPACS_ADMIN_GROUP`, `pacs-admins` by default.
    allowed_groups : frozenset of str
        `RPACS_ALLOWED_GROUPS`, a comma list; empty: everybody whom the provider lets in.
    state : Path
        `RPACS_HUB_STATE`: database, cookie secret; only the hub may read it.
    homes : Path
        `RPACS_HOMES`: the researchers' home folders; beside `state` by default.
    spawner : {'system-users', 'simple', 'docker', 'kubernetes'}
        `RPACS_SPAWNER`; by default one of the first two, by whether we are root.
    hub_host, hub_api_url : str
        `RPACS_HUB_API_HOST`, the address of this machine that the hub's own port listens on (127.0.0.1), and
        `RPACS_HUB_API_URL`, the address by which servers reach it. Both must be set for containers.
    containers : ContainerSettings or None
        Containers only: `RPACS_SERVER_IMAGE`; `RPACS_DOCKER_NETWORK`; `RPACS_KUBERNETES_NAMESPACE`,
        `RPACS_KUBERNETES_STORAGE_CLASS`, `RPACS_SERVER_STORAGE_GB` (10).
    idle_seconds : int
        `RPACS_IDLE_SECONDS`: a server that nobody used for so long is stopped; 7200 by default, 0: never.
    memory_mb : int
        `RPACS_SERVER_MEMORY_MB`: MiB of memory; of each process where servers are processes of this machine, of a whole
        server where they are containers. 4096 by default, 0: no limit.
    cpus : float
        `RPACS_SERVER_CPUS`: processors of one server. Containers are held to it; processes of this machine are told it
        (`CPU_LIMIT`). 0, the default: no limit.
    processes : int
        `RPACS_SERVER_PROCESSES`: processes and threads of one person; 2048 by default, 0: no limit.
    open_files : int
        `RPACS_SERVER_OPEN_FILES`: open files of one process; 8192 by default, 0: no limit.
    nice : int
        `RPACS_SERVER_NICE`: how far servers stand back when others need the processor, 0 to 19; 5 by default.
    notebooks : Path
        `RPACS_NOTEBOOKS`: the pages that every researcher finds as `research-pacs`.
    gateway_user : str
        `RPACS_GATEWAY_USER`: the gateway's system user; empty: the hub's own.
    gateway_port : int
        `RPACS_GATEWAY_PORT`, on 127.0.0.1.
    gateway_environment : dict
        The gateway's environment variables: every other `RPACS_GATEWAY_X` of ours, as `RPACS_X`; a
        `RPACS_GATEWAY_AWS_X` as `AWS_X`, for permissions that are kept in S3.
    proxy_command : list of str
        `RPACS_PROXY_COMMAND`, split as a shell would; `configurable-http-proxy` by default.
    """

    issuer: str
    authorize_url: str
    token_url: str
    jwks_url: str
    client_id: str
    client_secret: str = field(repr=False)
    public_url: str
    bind_url: str
    state: Path
    homes: Path
    notebooks: Path
    gateway_port: int
    logout_url: str = ""
    username_claim: str = "cognito:username"
    groups_claim: str = "cognito:groups"
    require_nonce: bool = False
    refresh_seconds: int = 60
    hub_port: int = 8081
    proxy_api_port: int = 8001
    admin_group: str = "pacs-admins"
    allowed_groups: frozenset[str] = frozenset()
    spawner: SpawnerKind = "system-users"
    hub_host: str = "127.0.0.1"
    hub_api_url: str = ""
    containers: ContainerSettings | None = None
    idle_seconds: int = 7200
    memory_mb: int = 4096
    cpus: float = 0.0
    processes: int = 2048
    open_files: int = 8192
    nice: int = 5
    gateway_user: str = ""
    gateway_environment: dict[str, str] = field(default_factory=dict, repr=False)
    proxy_command: list[str] = field(default_factory=lambda: ["configurable-http-proxy"])

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> "HubSettings":
        """Read and check the settings.

        Parameters
        ----------
        environment : mapping, optional
            `os.environ` by default.

        Returns
        -------
        HubSettings
            The settings.

        Raises
        ------
        SettingsError
            Naming the first variable that is missing or wrong, and what to do.
        """
        env = _Environment(os.environ if environment is None else environment)
        if env.text("JUPYTERHUB_CRYPT_KEY", "") == "":
            raise SettingsError(
                "JUPYTERHUB_CRYPT_KEY is not set; sessions are stored encrypted.",
                "Make one with `openssl rand -hex 32`.",
            )
        if env.text("CONFIGPROXY_AUTH_TOKEN", "") == "":
            raise SettingsError("CONFIGPROXY_AUTH_TOKEN is not set.", "Make one with `openssl rand -hex 32`.")
        public_url = env.web_address("RPACS_HUB_PUBLIC_URL").rstrip("/") + "/"
        spawner = env.spawner()
        containers = env.containers(spawner) if spawner in ("docker", "kubernetes") else None
        state = env.folder("RPACS_HUB_STATE")
        return cls(
            issuer=env.web_address("RPACS_OIDC_ISSUER"),
            authorize_url=env.web_address("RPACS_OIDC_AUTHORIZE_URL"),
            token_url=env.web_address("RPACS_OIDC_TOKEN_URL"),
            jwks_url=env.web_address("RPACS_OIDC_JWKS_URL"),
            logout_url=env.web_address("RPACS_OIDC_LOGOUT_URL", ""),
            client_id=env.text("RPACS_OIDC_CLIENT_ID"),
            client_secret=env.text("RPACS_OIDC_CLIENT_SECRET"),
            username_claim=env.text("RPACS_OIDC_USERNAME_CLAIM", "cognito:username"),
            groups_claim=env.text("RPACS_OIDC_GROUPS_CLAIM", "cognito:groups"),
            require_nonce=env.choice("RPACS_OIDC_NONCE", ("if-present", "required")) == "required",
            refresh_seconds=env.number("RPACS_OIDC_REFRESH_SECONDS", 60, 1, 3600),
            public_url=public_url,
            bind_url=env.text("RPACS_HUB_BIND_URL", public_url),
            hub_port=env.number("RPACS_HUB_PORT", 8081, 1, 65535),
            proxy_api_port=env.number("RPACS_PROXY_API_PORT", 8001, 1, 65535),
            admin_group=env.text("RPACS_ADMIN_GROUP", "pacs-admins"),
            allowed_groups=frozenset(env.words("RPACS_ALLOWED_GROUPS")),
            state=state,
            homes=env.folder("RPACS_HOMES", state.parent / "homes"),
            spawner=spawner,
            hub_host=env.text("RPACS_HUB_API_HOST") if containers else "127.0.0.1",
            hub_api_url=env.reachable("RPACS_HUB_API_URL") if containers else "",
            containers=containers,
            idle_seconds=env.number_or_none("RPACS_IDLE_SECONDS", 7200, 10, 30 * 86400),
            memory_mb=env.number_or_none("RPACS_SERVER_MEMORY_MB", 4096, 512, 16 * 2**20),
            cpus=env.share("RPACS_SERVER_CPUS"),
            processes=env.number_or_none("RPACS_SERVER_PROCESSES", 2048, 128, 2**20),
            open_files=env.number_or_none("RPACS_SERVER_OPEN_FILES", 8192, 256, 2**20),
            nice=env.number("RPACS_SERVER_NICE", 5, 0, 19),
            notebooks=env.folder("RPACS_NOTEBOOKS"),
            gateway_user=env.text("RPACS_GATEWAY_USER", ""),
            gateway_port=env.number("RPACS_GATEWAY_PORT", None, 1, 65535),
            gateway_environment=env.for_gateway(),
            proxy_command=shlex.split(env.text("RPACS_PROXY_COMMAND", "configurable-http-proxy")),
        )

    @property
    def gateway_public_url(self) -> str:
        """Address of the gateway as browsers and notebooks see it."""
        return f"{self.public_url}services/pacs/"

    @property
    def programs(self) -> Path:
        """Folder of the programs installed beside this Python: `rpacs-hub`, `jupyterhub-singleuser`."""
        return Path(sys.executable).parent


class _Environment:
    """Environment variables, read with checks that name the variable."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = values

    def text(self, name: str, default: str | None = None) -> str:
        value = self._values.get(name, "").strip()
        if value:
            return value
        if default is None:
            raise SettingsError(f"{name} is not set.")
        return default

    def words(self, name: str) -> list[str]:
        return [word for word in re.split(r"[,\s]+", self.text(name, "")) if word]

    def folder(self, name: str, default: Path | None = None) -> Path:
        path = Path(self.text(name, None if default is None else str(default)))
        if not path.is_absolute():
            raise SettingsError(f"{name} is {str(path)!r}, which is not an absolute path.")
        return path

    def number(self, name: str, default: int | None, least: int, most: int) -> int:
        text = self.text(name, None if default is None else str(default))
        if not text.isascii() or not text.isdigit() or not least <= int(text) <= most:
            raise SettingsError(f"{name} is {text!r}, which is not a whole number from {least} to {most}.")
        return int(text)

    def number_or_none(self, name: str, default: int, least: int, most: int) -> int:
        """Read a limit: 0 for none, or a number that something can still run with."""
        if self.text(name, str(default)) == "0":
            return 0
        try:
            return self.number(name, default, least, most)
        except SettingsError as error:
            raise SettingsError(f"{error} 0 means: no limit.") from None

    def share(self, name: str) -> float:
        """Read a number of processors, which may be a part of one; 0: no limit."""
        text = self.text(name, "0")
        if not re.fullmatch(r"[0-9]{1,4}(\.[0-9]{1,3})?", text):
            raise SettingsError(f"{name} is {text!r}, which is not a number such as 2 or 0.5. 0 means: no limit.")
        return float(text)

    def choice(self, name: str, choices: tuple[str, ...]) -> str:
        text = self.text(name, choices[0])
        if text not in choices:
            raise SettingsError(f"{name} is {text!r}.", f"It must be one of: {', '.join(choices)}.")
        return text

    def spawner(self) -> SpawnerKind:
        root = os.geteuid() == 0
        local = ("system-users", "simple") if root else ("simple", "system-users")
        kind = self.choice("RPACS_SPAWNER", (*local, "docker", "kubernetes"))
        if kind == "docker":
            return "docker"
        if kind == "kubernetes":
            return "kubernetes"
        if kind == "simple":
            if root:
                raise SettingsError(
                    "RPACS_SPAWNER is simple: every notebook would run as root.",
                    "Use system-users, or start the hub as another user.",
                )
            return "simple"
        if not root:
            raise SettingsError("RPACS_SPAWNER is system-users: that needs a hub that runs as root.", "Use simple.")
        return "system-users"

    def containers(self, kind: SpawnerKind) -> ContainerSettings:
        return ContainerSettings(
            image=self.text("RPACS_SERVER_IMAGE"),
            memory=self.number_or_none("RPACS_SERVER_MEMORY_MB", 4096, 512, 16 * 2**20) * 2**20,
            cpus=self.share("RPACS_SERVER_CPUS"),
            processes=self.number_or_none("RPACS_SERVER_PROCESSES", 2048, 128, 2**20),
            open_files=self.number_or_none("RPACS_SERVER_OPEN_FILES", 8192, 256, 2**20),
            network=self.text("RPACS_DOCKER_NETWORK") if kind == "docker" else "",
            namespace=self.text("RPACS_KUBERNETES_NAMESPACE") if kind == "kubernetes" else "",
            storage_class=self.text("RPACS_KUBERNETES_STORAGE_CLASS", ""),
            storage_gb=self.number("RPACS_SERVER_STORAGE_GB", 10, 1, 10_000),
        )

    def reachable(self, name: str) -> str:
        """Read an address that containers can reach: not this machine's own."""
        text = self.text(name)
        parts = urlsplit(text)
        if parts.scheme not in ("http", "https") or not parts.hostname or _is_this_machine(parts.hostname):
            raise SettingsError(
                f"{name} is {text!r}, which no container can reach.",
                "Give the hub's address on their network, such as http://10.0.0.5:8081.",
            )
        return text.rstrip("/")

    def web_address(self, name: str, default: str | None = None) -> str:
        """Read an address whose answers we trust: https, or this machine."""
        text = self.text(name, default)
        if not text:
            return text
        parts = urlsplit(text)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise SettingsError(f"{name} is {text!r}, which is not an http(s) address.")
        if parts.scheme == "http" and name != "RPACS_HUB_PUBLIC_URL" and not _is_this_machine(parts.hostname):
            raise SettingsError(
                f"{name} is {text!r}: what it says decides who is signed in.", "It must begin with https."
            )
        return text

    def for_gateway(self) -> dict[str, str]:
        prefix = "RPACS_GATEWAY_"
        return {
            ("" if name.startswith(prefix + "AWS_") else "RPACS_") + name.removeprefix(prefix): value
            for name, value in self._values.items()
            if name.startswith(prefix) and name not in _OWN_GATEWAY_SETTINGS
        }


def _is_this_machine(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
