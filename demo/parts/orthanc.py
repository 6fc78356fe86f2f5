"""An Orthanc server from the checked-in templates in ``orthanc/``."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_TEMPLATES = Path(__file__).resolve().parents[2] / "orthanc"
_COMMENT = re.compile(r"^\s*//.*$", re.MULTILINE)


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
    template
        Which file of ``orthanc/`` to start from: ``ingest`` or ``research``.
    """

    name: str
    folder: Path
    http_port: int
    dicom_port: int
    aet: str
    users: dict[str, str]
    extra: dict[str, Any] = field(default_factory=dict)
    template: str = "ingest"


def read_template(name: str) -> dict[str, Any]:
    """Return a checked-in configuration, without the comment lines that Orthanc allows and JSON does not."""
    text = (_TEMPLATES / f"{name}.json").read_text(encoding="utf-8")
    template: dict[str, Any] = json.loads(_COMMENT.sub("", text))
    return template


def prepare_orthanc(settings: OrthancSettings, *, run_as: str | None = None) -> Path:
    """Write the server's configuration (mode 0600: it holds passwords) and return its path."""
    settings.folder.mkdir(parents=True, exist_ok=True)
    storage = settings.folder / "storage"
    storage.mkdir(exist_ok=True)
    configuration = {
        **read_template(settings.template),
        "Name": settings.name,
        "StorageDirectory": str(storage),
        "IndexDirectory": str(storage),
        "TemporaryDirectory": str(storage),
        "HttpPort": settings.http_port,
        "DicomPort": settings.dicom_port,
        "DicomAet": settings.aet,
        "RegisteredUsers": settings.users,
        **settings.extra,
    }
    configuration["Plugins"] = [plugin for plugin in configuration["Plugins"] if Path(plugin).exists()]
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
