"""An Orthanc server from the checked-in templates in ``orthanc/``."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_PLUGINS = Path("/usr/share/orthanc/plugins")
# Only these: Orthanc's GDCM plugin crashes the server while transcoding.
_WANTED_PLUGINS = ("libOrthancDicomWeb.so",)


@dataclass(frozen=True)
class OrthancSettings:
    """What differs from one Orthanc to the next.

    Attributes
    ----------
    name
        Name shown in the server's own pages, ``ingest`` or ``research``.
    folder
        Where its storage, index and configuration go.
    http_port, dicom_port
        TCP ports on 127.0.0.1.
    aet
        DICOM application entity title, 16 characters at most (PS3.5 section 6.2).
    users
        User names and passwords of the REST API.
    extra
        Further Orthanc options, which win over the template's.
    """

    name: str
    folder: Path
    http_port: int
    dicom_port: int
    aet: str
    users: dict[str, str]
    extra: dict[str, Any] = field(default_factory=dict)


def prepare_orthanc(settings: OrthancSettings, *, run_as: str | None = None) -> Path:
    """Write the server's configuration (mode 0600: it holds passwords) and return its path."""
    settings.folder.mkdir(parents=True, exist_ok=True)
    storage = settings.folder / "storage"
    storage.mkdir(exist_ok=True)
    configuration = {
        "Name": settings.name,
        "StorageDirectory": str(storage),
        "IndexDirectory": str(storage),
        "TemporaryDirectory": str(storage),
        "HttpPort": settings.http_port,
        "DicomPort": settings.dicom_port,
        "DicomAet": settings.aet,
        "DicomCheckCalledAet": False,
        "DicomAlwaysAllowEcho": True,
        "DicomAlwaysAllowStore": True,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": True,
        "RegisteredUsers": settings.users,
        # gzip makes a file 20 times slower to fetch and hardly smaller.
        "HttpCompressionEnabled": False,
        "KeepAlive": True,
        "TcpNoDelay": True,
        "HttpThreadsCount": 20,
        "StableAge": 2,
        "OverwriteInstances": False,
        "MaximumStorageSize": 0,
        "ExecuteLuaEnabled": False,
        "HttpServerEnabled": True,
        "DicomServerEnabled": True,
        "Plugins": [str(_PLUGINS / name) for name in _WANTED_PLUGINS if (_PLUGINS / name).exists()],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
        **settings.extra,
    }
    path = settings.folder / "orthanc.json"
    path.touch(mode=0o600)
    path.chmod(0o600)
    path.write_text(json.dumps(configuration, indent=2) + "\n", encoding="utf-8")
    if run_as:
        for owned in (settings.folder, storage, path):
            shutil.chown(owned, run_as, run_as)
        storage.chmod(0o700)
    return path


def orthanc_command(configuration: Path) -> list[str]:
    """Return the command line of the server, which stays in the foreground."""
    program = shutil.which("Orthanc") or "/usr/sbin/Orthanc"
    if not Path(program).exists():
        raise RuntimeError("Orthanc is not installed: run `make setup` (or: apt-get install orthanc)")
    return [program, str(configuration)]
