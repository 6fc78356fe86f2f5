"""Starting a researcher's own server on this machine: JupyterLab and the Voila pages.

A server gets its hub token and the gateway's address. No other part of the hub's environment reaches it.
"""

import asyncio
import ctypes
import logging
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from jupyterhub.spawner import LocalProcessSpawner, set_user_setuid  # type: ignore[import-untyped]
from traitlets import Integer, Unicode, default

from rpacs_hub.process_limits import ProcessLimits
from rpacs_hub.system_users import Account, SystemUserError, SystemUsers, account_name
from rpacs_hub.workspace import PAGES_LINK, Workspace

__all__ = ["PAGES_LINK", "ResearchSpawner", "SimpleSpawner", "SystemUserSpawner"]

log = logging.getLogger(__name__)

_PR_SET_NO_NEW_PRIVS = 38  # linux/prctl.h
_libc = ctypes.CDLL(None, use_errno=True)


class ResearchSpawner(Workspace, LocalProcessSpawner):  # type: ignore[misc]
    """What both ways to start a server have in common. Use one of the subclasses."""

    homes = Unicode(help="Folder of the home folders.").tag(config=True)
    notebooks = Unicode(help="Folder of the Voila pages, linked into each home as `research-pacs`.").tag(config=True)
    jupyter_config = Unicode(help="Folder of the Jupyter configuration of every server.").tag(config=True)
    process_limit = Integer(0, help="Processes and threads of one person; 0: no limit.").tag(config=True)
    open_files_limit = Integer(0, help="Open files of one process; 0: no limit.").tag(config=True)
    nice = Integer(0, help="How far servers stand back when others need the processor, 0 to 19.").tag(config=True)

    account: Account

    @default("cmd")
    def _cmd(self) -> list[str]:
        return [str(Path(sys.executable).parent / "jupyterhub-singleuser")]

    @default("env_keep")
    def _kept_environment(self) -> list[str]:
        return ["LANG", "LC_ALL", "TZ"]

    def user_env(self, env: dict[str, str]) -> dict[str, str]:
        """Add what belongs to this person's server to its environment."""
        env.update(
            USER=self.account.name,
            LOGNAME=self.account.name,
            HOME=str(self.account.home),
            SHELL="/bin/bash",
            PATH=f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin",
            JUPYTER_CONFIG_PATH=self.jupyter_config,
        )
        return env

    async def start(self) -> Any:
        """Prepare account and home, then start the server.

        Returns
        -------
        tuple of (str, int)
            Address and port that the server will listen on.
        """
        try:
            self.account = await self.prepare_account()
        except SystemUserError as error:
            # Shown to the person; what exactly is wrong with which account is for the log.
            error.jupyterhub_message = "Your account on the hub's machine could not be prepared."  # type: ignore[attr-defined]
            raise
        _link_pages(self.account.home, Path(self.notebooks))
        self.popen_kwargs = {"cwd": str(self.account.home)}
        return await super().start()

    async def stop(self, now: bool = False) -> None:  # noqa: ARG002
        """Stop the server with SIGTERM, which it obeys at once and in order; SIGKILL if it does not.

        JupyterHub begins with SIGINT, at which a server without a terminal leaves its kernels behind.
        """
        await super().stop(now=True)

    async def prepare_account(self) -> Account:
        """Return the account that the server will run as."""
        raise NotImplementedError

    @property
    def limits(self) -> ProcessLimits:
        """What the processes of one person may use."""
        return ProcessLimits(int(self.mem_limit or 0), self.process_limit, self.open_files_limit, self.nice)

    def make_preexec_fn(self, name: str) -> Callable[[], None]:  # noqa: ARG002
        """Return what the new process does before it becomes the server."""
        account, limits = self.account, self.limits
        become = None if os.geteuid() == account.uid else set_user_setuid(account.name, chdir=False)

        def preexec() -> None:
            limits.apply()
            if become is not None:
                become()
            os.umask(0o077)
            # From here on no setuid program (sudo, su) can raise this process or any kernel that it starts.
            _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)

        return preexec


class SystemUserSpawner(ResearchSpawner):
    """Runs each person's server as a system user of its own. Needs a hub that runs as root."""

    # One at a time: choosing a free number and taking it are two steps. One lock for all spawners of this hub.
    _creating: ClassVar[asyncio.Lock] = asyncio.Lock()

    async def prepare_account(self) -> Account:
        """Make the system user if there is none.

        Raises
        ------
        SystemUserError
            If there is one that is not ours to use.
        """
        users = SystemUsers(Path(self.homes))
        async with self._creating:
            account = await asyncio.to_thread(users.ensure, self.user.name)
        if account.uid == os.geteuid():
            raise SystemUserError("a server must not run as the hub's own user")
        return account


class SimpleSpawner(ResearchSpawner):
    """Runs every server as the hub's own user, for a machine where the hub is not root.

    Nobody is isolated from anybody: for a demonstration on one person's machine.
    """

    @property
    def limits(self) -> ProcessLimits:
        """What one server's processes may use; how many they are cannot be limited apart from the hub's own."""
        return replace(super().limits, processes=0)

    async def prepare_account(self) -> Account:
        """Make the home folder."""
        if os.geteuid() == 0:
            raise SystemUserError("as root, servers must run as system users: set RPACS_SPAWNER=system-users")
        home = Path(self.homes) / account_name(self.user.name)
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        return Account(home.name, os.geteuid(), os.getegid(), home)


def _link_pages(home: Path, notebooks: Path) -> None:
    """Let `research-pacs` in a home lead to the pages; a file that the person put there stays."""
    link = home / PAGES_LINK
    try:
        if link.is_symlink():
            if link.readlink() == notebooks:
                return
            link.unlink()
        link.symlink_to(notebooks)
    except OSError as error:
        # The home is the person's own: whatever stands in the way there must not keep the server from starting.
        log.warning("The link to the pages could not be made in a home folder: %s", error.strerror)
