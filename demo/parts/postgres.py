"""A private PostgreSQL cluster that listens on 127.0.0.1 only and asks everybody for a password."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

_DEBIAN_BINARIES = Path("/usr/lib/postgresql")


def _binary(name: str) -> str:
    """Return the newest installed PostgreSQL program of that name: Debian keeps the server's off PATH."""
    found = sorted(_DEBIAN_BINARIES.glob(f"*/bin/{name}"), key=lambda path: int(path.parent.parent.name))
    program = str(found[-1]) if found else shutil.which(name)
    if program is None:
        raise RuntimeError(f"PostgreSQL's {name} is not installed: run `make setup` (or: apt-get install postgresql)")
    return program


def prepare_postgres(data: Path, *, admin_password: str, run_as: str | None = None) -> None:
    """Create the cluster unless it is there already.

    Parameters
    ----------
    data
        Data directory. Its parent must be reachable for `run_as`.
    admin_password
        Password of the superuser ``postgres``.
    run_as
        System user that owns the cluster. PostgreSQL refuses to run as root.
    """
    if (data / "PG_VERSION").exists():
        return
    data.mkdir(parents=True, exist_ok=True)
    if run_as:
        shutil.chown(data, run_as, run_as)
    data.chmod(0o700)
    identity = run_as if os.geteuid() == 0 else None
    # The folder that holds the data directory may belong to somebody else; the password file must be readable.
    with tempfile.NamedTemporaryFile("w", prefix="rpacs-", suffix=".pw") as password_file:
        password_file.write(admin_password)
        password_file.flush()
        if run_as:
            shutil.chown(password_file.name, run_as)
        subprocess.run(
            [
                _binary("initdb"),
                f"--pgdata={data}",
                "--username=postgres",
                f"--pwfile={password_file.name}",
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                # C sorts and compares bytes: the same order on every machine, and indexes that LIKE can use.
                "--locale=C.UTF-8",
            ],
            check=True,
            capture_output=True,
            text=True,
            cwd="/",
            user=identity,
            group=identity,
            extra_groups=[] if identity else None,
        )


def postgres_command(data: Path, port: int, *, durable: bool = True) -> list[str]:
    """Return the command line of the server, which stays in the foreground.

    ``durable=False`` gives up safety at power loss for speed; only tests of other things want it.
    """
    command = [
        _binary("postgres"),
        "-D",
        str(data),
        "-p",
        str(port),
        "-c",
        "listen_addresses=127.0.0.1",
        "-c",
        f"unix_socket_directories={data}",
        "-c",
        "max_connections=200",
        "-c",
        "shared_buffers=256MB",
    ]
    if not durable:
        command += ["-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off"]
    return command
