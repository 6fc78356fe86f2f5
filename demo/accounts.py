"""System users of the services, and folders that only they can read.

Started as root, every service runs under its own system user, so that a researcher's kernel (which runs under yet
another one) can read neither the services' files nor their environment. Started by anybody else, everything runs
under that one user and nothing is hidden from anything.
"""

from __future__ import annotations

import os
import pwd
import shutil
import stat
import subprocess
from pathlib import Path

from demo.errors import StackError

SERVICE_USERS = (
    "rpacs-db",
    "rpacs-orthanc",
    "rpacs-deid",
    "rpacs-index",
    "rpacs-gateway",
    "rpacs-s3",
    "rpacs-login",
)
"""System users of the services; the Hub itself must be root to start servers for other users."""

_READ_PACKAGES = """
from importlib.util import find_spec
for name in ("dicom_query", "rpacs", "deid_service", "rpacs_hub", "jupyterlab", "voila"):
    spec = find_spec(name)
    if spec is None:
        raise SystemExit(f"{name} cannot be found")
    open(spec.origin).close()
"""

NOT_ISOLATED = (
    "Users are not isolated from each other or from the services' secrets: start as root for that\n"
    "(sudo make demo). Fine for a look around with invented data; never put real data into it."
)


def is_root() -> bool:
    """Tell whether this process may start others under other users."""
    return os.geteuid() == 0


def create_service_users() -> list[str]:
    """Create the services' system users that are missing and return their names. Needs root."""
    created = []
    for name in SERVICE_USERS:
        try:
            pwd.getpwnam(name)
        except KeyError:
            subprocess.run(
                [
                    "/usr/sbin/useradd",
                    "--system",
                    "--user-group",
                    "--no-create-home",
                    "--home-dir=/nonexistent",
                    "--shell=/usr/sbin/nologin",
                    "--comment=research PACS demo",
                    name,
                ],
                check=True,
                capture_output=True,
                text=True,
            )
            created.append(name)
    return created


def run_as(user: str | None) -> str | None:
    """Return the user to run a service as: `user` when we are root, nobody in particular otherwise."""
    return user if is_root() else None


def own_folder(path: Path, user: str | None = None, mode: int = 0o700) -> Path:
    """Make sure that a folder exists, belongs to a service's user and has exactly that mode.

    Parameters
    ----------
    path
        The folder; its parent must exist.
    user
        The owner. ``None``, or not being root, leaves it with the caller.
    mode
        Its permissions.
    """
    path.mkdir(mode=0o700, exist_ok=True)
    if is_root():
        shutil.chown(path, user or "root", user or "root")
    path.chmod(mode)
    return path


def own_file(path: Path, user: str | None = None, mode: int = 0o600) -> Path:
    """Give an existing file to a service's user with exactly that mode."""
    if is_root():
        shutil.chown(path, user or "root", user or "root")
    path.chmod(mode)
    return path


def lend_file(path: Path, user: str) -> Path:
    """Let a service's user read an existing file that remains ours, and nobody else."""
    if is_root():
        shutil.chown(path, "root", user)
    path.chmod(0o640)
    return path


def give_file(path: Path, user: str, mode: int = 0o600) -> Path:
    """Give a file in a service's own folder to that service, which may replace it.

    Raises
    ------
    StackError
        If it is a link or no file: the service could have made root hand over any file of this machine.
    """
    try:
        opened = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise StackError(f"{path} is not a plain file ({error.strerror}): look at it, and remove it") from error
    try:
        if not stat.S_ISREG(os.fstat(opened).st_mode):
            raise StackError(f"{path} is not a plain file: look at it, and remove it")
        if is_root():
            entry = pwd.getpwnam(user)
            os.fchown(opened, entry.pw_uid, entry.pw_gid)
        os.fchmod(opened, mode)
    finally:
        os.close(opened)
    return path


def require_reachable(path: Path, what: str, *, readable: bool = True) -> None:
    """Stop, with the remedy, if other system users cannot reach a folder.

    Parameters
    ----------
    path
        The folder; where it does not exist yet, those above it are looked at.
    what
        What it is, for the message.
    readable
        Whether they must be able to list it, too.

    Raises
    ------
    StackError
        If the folder or one above it is closed to others.
    """
    for folder in (path, *path.parents):
        if not folder.exists():
            continue
        mode = folder.stat().st_mode
        list_it = readable and folder == path
        if not mode & stat.S_IXOTH or (list_it and not mode & stat.S_IROTH):
            raise StackError(
                f"{what} is {path}, but {folder} is closed to other users (mode {stat.S_IMODE(mode):04o}), and the "
                "services and the researchers' servers run under their own system users.\n"
                "Either move it to a place that everybody can reach, such as /srv or /opt, or open the way: "
                + (f"chmod -R a+rX {folder}" if list_it else f"chmod o+x {folder}")
            )


def require_readable_checkout(root: Path) -> None:
    """Stop, with the remedy, if other system users cannot use the checkout. Asks really, as one of them.

    Raises
    ------
    StackError
        If they cannot.
    """
    require_reachable(root, "this checkout")
    python = root / ".venv" / "bin" / "python"
    if not python.exists():
        raise StackError("the Python parts are not installed: run make setup")
    for words, closed in (
        ([str(python), "-c", _READ_PACKAGES], root),
        (["/usr/bin/test", "-r", str(root / "notebooks")], root / "notebooks"),
    ):
        done = subprocess.run(
            words, user="nobody", group="nogroup", extra_groups=[], capture_output=True, text=True, cwd="/", check=False
        )
        if done.returncode:
            detail = (done.stderr.strip().splitlines() or [f"{words[0]} failed"])[-1]
            raise StackError(
                f"other system users cannot use this checkout ({detail}), but the services and the researchers' "
                f"servers run under their own.\nOpen it for reading: chmod -R a+rX {closed}"
            )
