"""One system user for each hub user, made when first needed.

The operating system then keeps notebooks apart: from each other, and from the services that hold credentials.
"""

import hashlib
import os
import pwd
import re
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path

from rpacs_hub.errors import HubError

__all__ = ["Account", "SystemUserError", "SystemUsers", "account_name"]

_PREFIX = "rpacs-u-"
_LONGEST = 32  # useradd's limit
_UIDS = range(20_000, 60_000)  # clear of people's and services' accounts, below login.defs' UID_MAX
_HASH_END = re.compile(r"-[0-9a-f]{10}\Z")


class SystemUserError(HubError):
    """The system user of a hub user cannot be used or made; the text says why and what to do."""


@dataclass(frozen=True)
class Account:
    """A system user.

    Attributes
    ----------
    name : str
        Name in the password database.
    uid, gid : int
        Numeric ids.
    home : Path
        Home folder, mode 0700.
    """

    name: str
    uid: int
    gid: int
    home: Path


def account_name(hub_user: str) -> str:
    """Return the system user name for a hub user.

    Parameters
    ----------
    hub_user : str
        Any hub user name.

    Returns
    -------
    str
        `rpacs-u-` and the name; where that would be too long, hold other characters, or look like a shortened one, a
        shortened name and ten digits of a hash. Different hub users get different names, but for collisions of the
        hash, which `SystemUsers.ensure` notices.

    Examples
    --------
    >>> account_name("clara")
    'rpacs-u-clara'
    >>> account_name("Clara@example.org")
    'rpacs-u-clara-exampl-9a1c0c3b0e'
    """
    plain = re.sub(r"[^a-z0-9_]+", "-", hub_user.lower()).strip("-")
    if plain == hub_user and plain and len(_PREFIX) + len(plain) <= _LONGEST and not _HASH_END.search(plain):
        return _PREFIX + plain
    digest = hashlib.sha256(hub_user.encode()).hexdigest()[:10]
    room = _LONGEST - len(_PREFIX) - len(digest) - 1
    return f"{_PREFIX}{plain[:room].rstrip('-') or 'x'}-{digest}"


def _marker(hub_user: str) -> str:
    """Return what stands in the account's comment field: whose it is, without a name."""
    return f"rpacs {hashlib.sha256(hub_user.encode()).hexdigest()}"


class SystemUsers:
    """Makes and checks the system users of this machine's researchers.

    Parameters
    ----------
    homes : Path
        Folder of the home folders. A home folder's owner is also the record of the user's numeric id, so that homes
        which outlive the machine never fall to somebody else.
    """

    def __init__(self, homes: Path) -> None:
        self._homes = homes

    def ensure(self, hub_user: str) -> Account:
        """Return the system user of a hub user, made now if there is none.

        Parameters
        ----------
        hub_user : str
            The hub user's name.

        Returns
        -------
        Account
            An unprivileged account with its own group, no others, no password, and a home folder of mode 0700.

        Raises
        ------
        SystemUserError
            If an account of this name is not ours, has privileges, or its home belongs to somebody else.
        """
        name = account_name(hub_user)
        self._prepare_homes()
        home = self._homes / name
        entry = _lookup(name)
        if entry is None:
            entry = self._create(name, _marker(hub_user), home)
        self._check(entry, _marker(hub_user))
        self._prepare_home(home, entry)
        return Account(name, entry.pw_uid, entry.pw_gid, home)

    def _prepare_homes(self) -> None:
        # 0711: everybody can pass through to the own home, nobody can list the others.
        self._homes.mkdir(mode=0o711, parents=True, exist_ok=True)
        status = self._homes.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
            raise SystemUserError(f"{self._homes} must be a folder that belongs to the hub's user")
        if stat.S_IMODE(status.st_mode) != 0o711:
            self._homes.chmod(0o711)

    def _create(self, name: str, marker: str, home: Path) -> pwd.struct_passwd:
        for _ in range(5):  # another hub on this machine may take the same number at the same moment
            command = ["useradd", "--no-log-init", "--user-group", "--uid", str(self._free_uid(home))]
            command += ["--no-create-home", "--home-dir", "/nonexistent", "--shell", "/bin/bash"]
            done = subprocess.run([*command, "--comment", marker, name], capture_output=True, text=True, check=False)
            entry = _lookup(name)
            if entry is not None:
                return entry
        raise SystemUserError(f"useradd could not make {name}: {done.stderr.strip() or done.returncode}")

    def _free_uid(self, home: Path) -> int:
        if home.exists():
            # The machine is new, the homes are not: the same person gets the same number again.
            uid = home.lstat().st_uid
            if uid not in _UIDS or _uid_taken(uid):
                raise SystemUserError(f"{home} belongs to user id {uid}, which is in use or out of range; move it away")
            return uid
        owned = {folder.lstat().st_uid for folder in self._homes.iterdir()}
        for uid in _UIDS:
            if uid not in owned and not _uid_taken(uid):
                return uid
        raise SystemUserError("no free user id is left")

    def _check(self, entry: pwd.struct_passwd, marker: str) -> None:
        if entry.pw_gecos != marker:
            raise SystemUserError(f"the system user {entry.pw_name} exists and belongs to somebody else")
        if entry.pw_uid not in _UIDS:
            raise SystemUserError(f"the system user {entry.pw_name} has the id {entry.pw_uid}, out of our range")
        if set(os.getgrouplist(entry.pw_name, entry.pw_gid)) != {entry.pw_gid} or entry.pw_gid not in _UIDS:
            raise SystemUserError(f"the system user {entry.pw_name} is in groups of others; take it out of them")

    def _prepare_home(self, home: Path, entry: pwd.struct_passwd) -> None:
        try:
            home.mkdir(mode=0o700)
        except FileExistsError:
            status = home.lstat()
            if not stat.S_ISDIR(status.st_mode) or status.st_uid not in (entry.pw_uid, os.geteuid()):
                raise SystemUserError(
                    f"{home} belongs to user id {status.st_uid}, not to {entry.pw_name} ({entry.pw_uid}); "
                    "move it away or give it back with `chown -R --no-dereference`"
                ) from None
        os.chown(home, entry.pw_uid, entry.pw_gid, follow_symlinks=False)
        home.chmod(0o700)


def _lookup(name: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None


def _uid_taken(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True
