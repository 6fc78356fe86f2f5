"""What the stack is made of, from ``settings.toml`` and two environment variables."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

from demo.errors import StackError

ROOT = Path(__file__).resolve().parent.parent

# SeaweedFS opens a second port 10,000 above each of its own, and from 32,768 on the kernel hands ports out at will.
_HIGHEST_PORT = 22_700


@dataclass(frozen=True)
class Ports:
    """TCP ports on 127.0.0.1; see the comments in ``settings.toml``."""

    hub: int
    hub_api: int
    proxy_api: int
    gateway: int
    login: int
    postgres: int
    ingest_http: int
    ingest_dicom: int
    research_http: int
    research_dicom: int
    s3: int
    s3_master: int
    s3_volume: int
    s3_filer: int


@dataclass(frozen=True)
class DemoUser:
    """Somebody who can log in.

    Attributes
    ----------
    name
        Login name.
    groups
        Groups in the login server's user pool.
    sees
        What the permissions file lets her see, in words.
    """

    name: str
    groups: tuple[str, ...]
    sees: str


@dataclass(frozen=True)
class Settings:
    """One stack: where its data is and what its ports and names are.

    Attributes
    ----------
    root
        The checkout.
    var
        Folder of everything the stack writes.
    ports
        Its ports on 127.0.0.1.
    ingest_aet, research_aet
        DICOM application entity titles (PS3.5 section 6.2).
    exports_bucket, forbidden_bucket
        S3 buckets that the demo researcher may and may not write.
    users
        The demo logins.
    idle_seconds, server_memory_mb
        When a researcher's server is stopped for lack of use, and MiB of memory for each of its processes; 0 = never,
        no limit.
    """

    root: Path
    var: Path
    ports: Ports
    ingest_aet: str = "INGEST"
    research_aet: str = "RESEARCH"
    exports_bucket: str = "research-exports"
    forbidden_bucket: str = "clinical-archive"
    users: tuple[DemoUser, ...] = field(default_factory=tuple)
    idle_seconds: int = 7200
    server_memory_mb: int = 4096

    @property
    def permissions_file(self) -> Path:
        """Who may see what. In a folder of its own, because the gateway, which replaces it, owns that folder."""
        return self.var / "permissions" / "permissions.yaml"

    @property
    def rules_file(self) -> Path:
        """How images are de-identified."""
        return self.var / "config" / "rules.yaml"

    @classmethod
    def load(cls, environ: Mapping[str, str] | None = None, *, root: Path = ROOT) -> Settings:
        """Read ``demo/settings.toml``, ``RPACS_VAR`` and ``RPACS_PORT_OFFSET``.

        Raises
        ------
        StackError
            If the offset is no number or moves a port out of range, or if the file is not as expected.
        """
        environ = os.environ if environ is None else environ
        path = root / "demo" / "settings.toml"
        text = environ.get("RPACS_PORT_OFFSET", "").strip() or "0"
        try:
            offset = int(text)
        except ValueError:
            raise StackError(f"RPACS_PORT_OFFSET is {text!r}: it must be a whole number, such as 100") from None
        try:
            data = tomllib.loads(path.read_text(encoding="utf-8"))
            base: dict[str, int] = {port.name: int(data["ports"][port.name]) for port in fields(Ports)}
            users = tuple(DemoUser(user["name"], tuple(user["groups"]), user["sees"]) for user in data["logins"])
            dicom, s3 = data["dicom"], data["s3"]
            idle_seconds, memory_mb = int(data["servers"]["idle_seconds"]), int(data["servers"]["memory_mb"])
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise StackError(f"{path} cannot be used: {error!r}") from error
        ports = {name: port + offset for name, port in base.items()}
        outside = {name: port for name, port in ports.items() if not 1024 <= port <= _HIGHEST_PORT}
        if outside:
            raise StackError(
                f"ports must lie between 1024 and {_HIGHEST_PORT}, but {outside}: "
                "choose another RPACS_PORT_OFFSET or change demo/settings.toml"
            )
        if len(set(ports.values())) != len(ports):
            raise StackError(f"{path} gives two parts the same port")
        return cls(
            root=root,
            var=Path(environ.get("RPACS_VAR") or root / "var").resolve(),
            ports=Ports(**ports),
            ingest_aet=dicom["ingest_aet"],
            research_aet=dicom["research_aet"],
            exports_bucket=s3["exports_bucket"],
            forbidden_bucket=s3["forbidden_bucket"],
            users=users,
            idle_seconds=idle_seconds,
            server_memory_mb=memory_mb,
        )

    @property
    def hub_url(self) -> str:
        """The address that people open."""
        return f"http://127.0.0.1:{self.ports.hub}"

    @property
    def gateway_url(self) -> str:
        """The gateway as clients reach it, through the Hub's proxy."""
        return f"{self.hub_url}/services/pacs"

    @property
    def login_url(self) -> str:
        """The local stand-in for Amazon Cognito."""
        return f"http://127.0.0.1:{self.ports.login}"

    @property
    def s3_url(self) -> str:
        """The S3 endpoint."""
        return f"http://127.0.0.1:{self.ports.s3}"

    @property
    def binaries(self) -> Path:
        """The folder of the virtual environment's commands."""
        return self.root / ".venv" / "bin"

    @property
    def logs(self) -> Path:
        """The folder with one log per part."""
        return self.var / "log"

    @property
    def groups(self) -> tuple[str, ...]:
        """Every group of every demo user, each once."""
        return tuple(dict.fromkeys(group for user in self.users for group in user.groups))
