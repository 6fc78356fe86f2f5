"""The parts of the stack: what each runs, as whom, with which secrets, after which others, and how it is asked."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo import health
from demo.accounts import give_file, is_root, lend_file, own_file, own_folder, run_as
from demo.errors import StackError
from demo.health import Health, checked
from demo.login import LoginClient, client_secret, login_command, login_environment, prepare_login, seed
from demo.parts import (
    OrthancSettings,
    S3Identity,
    SeaweedSettings,
    orthanc_command,
    postgres_command,
    prepare_orthanc,
    prepare_postgres,
    prepare_seaweedfs,
    remove_leftover_sockets,
    seaweedfs_command,
    seaweedfs_environment,
)
from demo.secret_files import SecretFiles, access_key, demo_password, hexadecimal
from demo.settings import Settings
from demo.supervision import Program

DATABASE_ROLES = ("rpacs_deid", "rpacs_indexer", "rpacs_gateway")

_ORTHANC_USERS = {"ingest": ("deid", "stack"), "research": ("deid", "indexer", "gateway", "stack")}


@dataclass(frozen=True)
class Part:
    """A part of the stack.

    Attributes
    ----------
    name
        Short name, also of its log.
    title
        Name for people.
    address
        Where it listens, for people; empty if it does not.
    ports
        TCP ports that it opens.
    after
        Parts that must be ready before it is started.
    program
        Prepares its files and returns what to run; None for a part that another one starts.
    check
        Asks it how it is.
    settle
        What to do each time when it got ready, before others may use it.
    timeout
        Seconds that it may take to get ready.
    """

    name: str
    title: str
    address: str
    ports: tuple[int, ...]
    after: tuple[str, ...]
    program: Callable[[], Program] | None
    check: Callable[[], Health]
    settle: Callable[[], None] | None = None
    timeout: float = 60


class Services:
    """All parts of one stack.

    Parameters
    ----------
    settings
        Its settings.
    """

    def __init__(self, settings: Settings):
        self.settings = settings
        self.secrets = SecretFiles(settings.var / "secrets")
        self.details: dict[str, dict[str, Any]] = {}
        """What de-identifier and gateway said of themselves when last asked."""

    # ---- folders and files ----

    def prepare(self) -> None:
        """Create the folders, the secrets and the files that people edit, or put their owners and modes right."""
        var = self.settings.var
        var.mkdir(parents=True, exist_ok=True)
        # As root, 0711: every service passes through to its own folder, nobody lists the others'.
        own_folder(var, mode=0o711 if is_root() else 0o700)
        self.secrets.prepare()
        for name in ("run", "log"):
            own_folder(var / name)
        for name, user in (
            ("postgres", "rpacs-db"),
            ("ingest", "rpacs-orthanc"),
            ("research", "rpacs-orthanc"),
            ("login", "rpacs-login"),
            ("s3", "rpacs-s3"),
            ("deid", "rpacs-deid"),
            ("index", "rpacs-index"),
            ("audit", "rpacs-gateway"),
            ("hub", None),
        ):
            own_folder(var / name, user)
        own_folder(var / "config", mode=0o755)
        self._prepare_inbox()
        self._prepare_edited_files()
        self._draw_secrets()

    def _prepare_inbox(self) -> None:
        for name in ("inbox", "inbox-refused"):
            folder = own_folder(self.settings.var / name, "rpacs-deid", 0o770 if is_root() else 0o700)
            # Who calls sudo drops files as herself. Researchers' servers run under other groups and stay out.
            if is_root() and os.environ.get("SUDO_GID", "").isdecimal():
                os.chown(folder, -1, int(os.environ["SUDO_GID"]))

    def _prepare_edited_files(self) -> None:
        from deid_service import default_rules_path

        rules = self.settings.rules_file
        if not rules.exists():
            shutil.copyfile(default_rules_path(), rules)
        # How images are cleaned is nobody else's business, and the service has no business changing it.
        lend_file(rules, "rpacs-deid")
        permissions = self.settings.permissions_file
        own_folder(permissions.parent, "rpacs-gateway")
        if not os.path.lexists(permissions):
            earlier = self.settings.var / "config" / permissions.name  # where it was before admins could change it
            shutil.copyfile(
                earlier if earlier.exists() else self.settings.root / "demo" / permissions.name, permissions
            )
            earlier.unlink(missing_ok=True)
        give_file(permissions, "rpacs-gateway")

    def _draw_secrets(self) -> None:
        from deid_service import PseudonymKey

        for role in ("postgres", *DATABASE_ROLES):
            self.secrets.get(f"database-{role}")
        for server, accounts in _ORTHANC_USERS.items():
            for account in accounts:
                self.secrets.get(f"orthanc-{server}-{account}")
        for who in ("admin", "clara"):
            self.secrets.get(f"s3-{who}-access-key", draw=access_key)
            self.secrets.get(f"s3-{who}-secret-key")
        for name in ("s3-signing", "sign-in-api-key", "hub-proxy"):
            self.secrets.get(name)
        self.secrets.get("hub-crypt", draw=hexadecimal)
        for user in self.settings.users:
            self.secrets.get(f"password-{user.name}", draw=demo_password)
        key = self.secrets.path("pseudonym.key")
        if not key.exists():
            PseudonymKey.generate(key)
        own_file(key, "rpacs-deid")

    # ---- addresses with passwords in them: for environments and in-process use, never for printing ----

    def database_url(self, role: str, database: str = "rpacs") -> str:
        """Return the address of a database for a role."""
        return health.postgres_url(self.settings, role, self.secrets.get(f"database-{role}"), database)

    @property
    def admin_url(self) -> str:
        """Address of PostgreSQL's own database for its superuser."""
        return self.database_url("postgres", "postgres")

    def orthanc_url(self, server: str, user: str) -> str:
        """Return the address of an Orthanc for one of its users."""
        ports = self.settings.ports
        port = ports.ingest_http if server == "ingest" else ports.research_http
        return f"http://{user}:{self.secrets.get(f'orthanc-{server}-{user}')}@127.0.0.1:{port}"

    # ---- what to run ----

    def _environment(self, folder: Path, **more: str) -> dict[str, str]:
        path = f"{self.settings.binaries}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        return {"PATH": path, "LANG": "C.UTF-8", "HOME": str(folder), **more}

    def _program(self, name: str, command: list[str], folder: str, user: str | None = None, **more: Any) -> Program:
        path = self.settings.var / folder
        environment = self._environment(path, **more.pop("environment", {}))
        return Program(name, tuple(command), environment, path, run_as(user), **more)

    def _postgres(self) -> Program:
        data = self.settings.var / "postgres" / "data"
        prepare_postgres(data, admin_password=self.secrets.get("database-postgres"), run_as=run_as("rpacs-db"))
        command = postgres_command(data, self.settings.ports.postgres)
        # SIGINT is its "fast shutdown"; SIGTERM would wait for every client to leave.
        return self._program("postgres", command, "postgres", "rpacs-db", stop_signal="INT", patience=30)

    def _create_database(self) -> None:
        from rpacs_hub.database import create

        create(self.admin_url, {role: self.secrets.get(f"database-{role}") for role in DATABASE_ROLES})

    def _orthanc(self, server: str) -> Program:
        ports = self.settings.ports
        ingest = server == "ingest"
        settings = OrthancSettings(
            name=server,
            folder=self.settings.var / server,
            http_port=ports.ingest_http if ingest else ports.research_http,
            dicom_port=ports.ingest_dicom if ingest else ports.research_dicom,
            aet=self.settings.ingest_aet if ingest else self.settings.research_aet,
            users={user: self.secrets.get(f"orthanc-{server}-{user}") for user in _ORTHANC_USERS[server]},
            template=server,
        )
        configuration = prepare_orthanc(settings, run_as=run_as("rpacs-orthanc"))
        return self._program(server, orthanc_command(configuration), server, "rpacs-orthanc", patience=30)

    def _login(self) -> Program:
        folder = self.settings.var / "login"
        for path in prepare_login(self.settings, folder):
            own_file(path, "rpacs-login", 0o700 if path.is_dir() else 0o600)
        environment = login_environment(self.settings, self.secrets.get("sign-in-api-key"))
        return self._program("login", login_command(self.settings), "login", "rpacs-login", environment=environment)

    def _seed_login(self) -> None:
        key = self.secrets.get("sign-in-api-key")
        known = seed(self.settings, key, self.passwords, self._login_record)
        if self.secrets.read("sign-in-client-secret") is None:
            self.secrets.put("sign-in-client-secret", client_secret(self.settings, key, known))

    @property
    def _login_record(self) -> Path:
        return self.settings.var / "hub" / "login.json"

    @property
    def passwords(self) -> dict[str, str]:
        """Password of each demo user, as drawn at the first start."""
        return {user.name: self.secrets.get(f"password-{user.name}") for user in self.settings.users}

    def _seaweed(self) -> SeaweedSettings:
        ports = self.settings.ports
        return SeaweedSettings(self.settings.var / "s3", ports.s3, ports.s3_master, ports.s3_volume, ports.s3_filer)

    def _s3(self) -> Program:
        settings = self._seaweed()
        remove_leftover_sockets(settings)
        bucket = self.settings.exports_bucket
        everything = ("Admin", "Read", "Write", "List", "Tagging")
        prepare_seaweedfs(
            settings,
            [
                S3Identity("admin", *self.s3_keys("admin"), everything),
                S3Identity("clara", *self.s3_keys("clara"), tuple(f"{action}:{bucket}" for action in everything[1:])),
            ],
            run_as=run_as("rpacs-s3"),
        )
        return self._program(
            "s3",
            seaweedfs_command(settings),
            "s3",
            "rpacs-s3",
            environment=seaweedfs_environment(self.secrets.get("s3-signing")),
            patience=40,  # it waits 15 s for streams that never end
        )

    def s3_keys(self, who: str) -> tuple[str, str]:
        """Return access key and secret key of ``admin`` or ``clara``."""
        return self.secrets.get(f"s3-{who}-access-key"), self.secrets.get(f"s3-{who}-secret-key")

    def _deid(self) -> Program:
        var = self.settings.var
        environment = {
            "RPACS_DATABASE_URL": self.database_url("rpacs_deid"),
            "RPACS_INGEST_URL": self.orthanc_url("ingest", "deid"),
            "RPACS_RESEARCH_URL": self.orthanc_url("research", "deid"),
            "RPACS_RULES": str(var / "config" / "rules.yaml"),
            "RPACS_PSEUDONYM_KEY_FILE": str(self.secrets.path("pseudonym.key")),
            "RPACS_INBOX": str(var / "inbox"),
            "RPACS_INBOX_REFUSED": str(var / "inbox-refused"),
        }
        command = [str(self.settings.binaries / "rpacs-deid"), "run"]
        return self._program("deid", command, "deid", "rpacs-deid", environment=environment, patience=30)

    def _index(self) -> Program:
        environment = {
            "RPACS_DATABASE_URL": self.database_url("rpacs_indexer"),
            "RPACS_RESEARCH_URL": self.orthanc_url("research", "indexer"),
        }
        command = [str(self.settings.binaries / "rpacs-hub"), "index", "run"]
        return self._program("indexer", command, "index", "rpacs-index", environment=environment)

    def _hub(self) -> Program:
        settings, ports = self.settings, self.settings.ports
        secret = self.secrets.read("sign-in-client-secret")
        if secret is None or not self._login_record.exists():
            raise StackError("the sign-in server was never set up: it must be started before the Hub")
        known = LoginClient.read(self._login_record)
        node = settings.root / ".node"
        proxy = [
            str(node / "node"),
            str(node / "node_modules" / "configurable-http-proxy" / "bin" / "configurable-http-proxy"),
        ]
        environment = {
            "RPACS_OIDC_ISSUER": f"{settings.login_url}/{known.pool_id}",
            "RPACS_OIDC_AUTHORIZE_URL": f"{settings.login_url}/oauth2/authorize",
            "RPACS_OIDC_TOKEN_URL": f"{settings.login_url}/oauth2/token",
            "RPACS_OIDC_JWKS_URL": f"{settings.login_url}/{known.pool_id}/.well-known/jwks.json",
            "RPACS_OIDC_CLIENT_ID": known.client_id,
            "RPACS_OIDC_CLIENT_SECRET": secret,
            "RPACS_HUB_PUBLIC_URL": f"{settings.hub_url}/",
            "RPACS_HUB_PORT": str(ports.hub_api),
            "RPACS_PROXY_API_PORT": str(ports.proxy_api),
            "RPACS_HUB_STATE": str(settings.var / "hub"),
            "RPACS_HOMES": str(settings.var / "homes"),
            "RPACS_NOTEBOOKS": str(settings.root / "notebooks"),
            "RPACS_ADMIN_GROUP": "pacs-admins",
            "RPACS_ALLOWED_GROUPS": ",".join(settings.groups),
            "RPACS_SPAWNER": "system-users" if is_root() else "simple",
            "RPACS_IDLE_SECONDS": str(settings.idle_seconds),
            "RPACS_SERVER_MEMORY_MB": str(settings.server_memory_mb),
            "RPACS_PROXY_COMMAND": shlex.join(proxy),
            "RPACS_GATEWAY_USER": run_as("rpacs-gateway") or "",
            "RPACS_GATEWAY_PORT": str(ports.gateway),
            "RPACS_GATEWAY_DATABASE_URL": self.database_url("rpacs_gateway"),
            "RPACS_GATEWAY_RESEARCH_URL": self.orthanc_url("research", "gateway"),
            "RPACS_GATEWAY_PERMISSIONS": str(settings.permissions_file),
            "RPACS_GATEWAY_AUDIT_LOG": str(settings.var / "audit" / "audit.jsonl"),
            "RPACS_GATEWAY_S3_ENDPOINTS": settings.s3_url,
            **self._user_pool(known),
            "JUPYTERHUB_CRYPT_KEY": self.secrets.get("hub-crypt"),
            "CONFIGPROXY_AUTH_TOKEN": self.secrets.get("hub-proxy"),
        }
        command = [
            str(settings.binaries / "jupyterhub"),
            "--config",
            str(settings.root / "hub" / "jupyterhub_config.py"),
        ]
        # At SIGTERM it stops every researcher's server first.
        return self._program("jupyterhub", command, "hub", environment=environment, patience=60)

    def _user_pool(self, known: LoginClient) -> dict[str, str]:
        """Return what the gateway needs to manage accounts; on AWS its role would take the place of the keys."""
        return {
            "RPACS_GATEWAY_COGNITO_POOL": known.pool_id,
            "RPACS_GATEWAY_COGNITO_ENDPOINT": self.settings.login_url,
            "RPACS_GATEWAY_COGNITO_ACCESS_KEY": self.secrets.get("sign-in-api-key"),
            "RPACS_GATEWAY_COGNITO_SECRET_KEY": "unused",
        }

    # ---- asking ----

    def _check_deid(self) -> str:
        from deid_service.pipeline.status import read_status

        status = read_status(self.database_url("rpacs_deid"), self.orthanc_url("ingest", "stack")).as_dict()
        self.details["deid"] = status
        return health.deid(status)

    def _check_gateway(self) -> str:
        self.details["gateway"] = answer = health.gateway_answer(self.settings.gateway_url)
        return health.gateway(answer)

    def parts(self) -> list[Part]:
        """Return every part, in the order in which people would name them."""
        settings, ports = self.settings, self.settings.ports
        local = "http://127.0.0.1"
        return [
            Part(
                name="postgres",
                title="PostgreSQL",
                address=f"127.0.0.1:{ports.postgres}",
                ports=(ports.postgres,),
                after=(),
                program=self._postgres,
                check=lambda: checked(lambda: health.postgres(self.admin_url)),
                settle=self._create_database,
            ),
            Part(
                name="ingest",
                title="ingest Orthanc",
                address=f"{local}:{ports.ingest_http}, DICOM {settings.ingest_aet} on {ports.ingest_dicom}",
                ports=(ports.ingest_http, ports.ingest_dicom),
                after=(),
                program=lambda: self._orthanc("ingest"),
                check=lambda: checked(lambda: health.orthanc(self.orthanc_url("ingest", "stack"))),
            ),
            Part(
                name="research",
                title="research Orthanc",
                address=f"{local}:{ports.research_http}",
                ports=(ports.research_http,),
                after=(),
                program=lambda: self._orthanc("research"),
                check=lambda: checked(lambda: health.orthanc(self.orthanc_url("research", "stack"))),
            ),
            Part(
                name="s3",
                title="S3 server (SeaweedFS)",
                address=settings.s3_url,
                ports=(ports.s3, ports.s3_master, ports.s3_volume, ports.s3_filer),
                after=(),
                program=self._s3,
                check=lambda: checked(lambda: health.s3(settings, *self.s3_keys("admin"))),
                timeout=120,
            ),
            Part(
                name="login",
                title="sign-in (Cognito stand-in)",
                address=settings.login_url,
                ports=(ports.login,),
                after=(),
                program=self._login,
                check=lambda: checked(lambda: health.login(settings.login_url)),
                settle=self._seed_login,
            ),
            Part(
                name="deid",
                title="de-identifier",
                address="",
                ports=(),
                after=("postgres", "ingest", "research"),
                program=self._deid,
                check=lambda: checked(self._check_deid),
            ),
            Part(
                name="indexer",
                title="indexer",
                address="",
                ports=(),
                after=("postgres", "research"),
                program=self._index,
                check=lambda: checked(lambda: health.indexer(self.database_url("postgres"))),
            ),
            Part(
                name="jupyterhub",
                title="JupyterHub",
                address=settings.hub_url,
                ports=(ports.hub, ports.hub_api, ports.proxy_api, ports.gateway),
                after=("login", "postgres"),
                program=self._hub,
                check=lambda: checked(lambda: health.hub(settings.hub_url)),
                timeout=90,
            ),
            Part(
                name="gateway",
                title="gateway",
                address=f"{settings.gateway_url}/",
                ports=(),
                # The Hub starts it; it waits by itself for what it needs.
                after=("jupyterhub", "postgres", "research", "indexer"),
                program=None,
                check=lambda: checked(self._check_gateway),
            ),
        ]

    def clean_up(self) -> None:
        """Remove what stopped programs leave outside the var folder."""
        remove_leftover_sockets(self._seaweed())
