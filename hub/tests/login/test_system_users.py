"""System users: names that cannot clash, accounts that cannot be anybody else's."""

from __future__ import annotations

import grp
import os
import pwd
import re
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpacs_hub.system_users import SystemUserError, SystemUsers, account_name

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="making system users needs root")


def test_names_that_need_no_change() -> None:
    assert account_name("clara") == "rpacs-u-clara"
    assert account_name("c_1-x") == "rpacs-u-c_1-x"
    assert account_name("a" * 24) == "rpacs-u-" + "a" * 24


@pytest.mark.parametrize(
    "name",
    ["Clara", "clara@example.org", "../../etc", "root", "a" * 25, "-", "Zoë", "clara-0123456789", "a b", "x:y", "a\nb"],
)
def test_other_names_get_a_hash(name: str) -> None:
    got = account_name(name)
    if name == "root":
        assert got == "rpacs-u-root"
    else:
        assert re.fullmatch(r"rpacs-u-[a-z0-9_-]+-[0-9a-f]{10}", got)


@given(st.text(min_size=1, max_size=60))
def test_every_name_is_one_that_the_system_takes(name: str) -> None:
    got = account_name(name)
    assert re.fullmatch(r"rpacs-u-[a-z0-9_][a-z0-9_-]*", got)
    assert len(got) <= 32


@given(st.lists(st.text(alphabet="aA1-_.@ ", min_size=1, max_size=30), unique=True, max_size=20))
def test_different_people_get_different_names(names: list[str]) -> None:
    assert len({account_name(name) for name in names}) == len(names)


def test_nobody_can_take_the_name_of_a_shortened_one() -> None:
    shortened = account_name("Clara@example.org")
    assert account_name(shortened.removeprefix("rpacs-u-")) != shortened


@pytest.fixture
def homes() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="rpacs-homes-"))
    path.chmod(0o755)
    yield path / "homes"
    shutil.rmtree(path)


@pytest.fixture
def newcomer() -> Iterator[Callable[[], str]]:
    """Give names that no other test uses, and remove their system users afterwards."""
    names: list[str] = []

    def give() -> str:
        names.append(f"t{secrets.token_hex(4)}")
        return names[-1]

    yield give
    for name in names:
        subprocess.run(["userdel", account_name(name)], capture_output=True, check=False)


@as_root
class TestAccounts:
    def test_made_once_and_found_again(self, homes: Path, newcomer: Callable[[], str]) -> None:
        name, other = newcomer(), newcomer()
        account = SystemUsers(homes).ensure(name)
        entry = pwd.getpwnam(account_name(name))
        assert (account.uid, account.gid) == (entry.pw_uid, entry.pw_gid)
        assert 20_000 <= account.uid < 60_000
        assert os.getgrouplist(account.name, account.gid) == [account.gid]
        assert grp.getgrgid(account.gid).gr_name == account.name
        assert name not in entry.pw_gecos
        status = account.home.stat()
        assert (status.st_uid, status.st_mode & 0o7777) == (account.uid, 0o700)
        assert homes.stat().st_mode & 0o7777 == 0o711
        assert SystemUsers(homes).ensure(name) == account
        assert SystemUsers(homes).ensure(other).uid != account.uid
        # No password, ever.
        shadow = next(line for line in Path("/etc/shadow").read_text().splitlines() if line.startswith(account.name))
        assert shadow.split(":")[1].startswith("!")

    def test_an_account_that_is_not_ours_is_left_alone(self, homes: Path, newcomer: Callable[[], str]) -> None:
        name = newcomer()
        subprocess.run(["useradd", "--no-create-home", account_name(name)], check=True)
        with pytest.raises(SystemUserError, match="belongs to somebody else"):
            SystemUsers(homes).ensure(name)

    def test_an_account_with_more_groups_is_refused(self, homes: Path, newcomer: Callable[[], str]) -> None:
        name = newcomer()
        account = SystemUsers(homes).ensure(name)
        subprocess.run(["usermod", "--append", "--groups", "adm", account.name], check=True)
        with pytest.raises(SystemUserError, match="groups of others"):
            SystemUsers(homes).ensure(name)

    def test_homes_outlive_the_machine(self, homes: Path, newcomer: Callable[[], str]) -> None:
        first, second, third = newcomer(), newcomer(), newcomer()
        old = SystemUsers(homes).ensure(first)
        subprocess.run(["userdel", old.name], check=True)
        # Somebody new on the "new machine" must not get the number that opens the first one's home.
        assert SystemUsers(homes).ensure(second).uid != old.uid
        assert SystemUsers(homes).ensure(first) == old
        # And a home whose number is taken is not handed over.
        (homes / account_name(third)).mkdir()
        os.chown(homes / account_name(third), old.uid, old.gid)
        with pytest.raises(SystemUserError, match="in use or out of range"):
            SystemUsers(homes).ensure(third)

    def test_a_home_that_is_a_link_or_somebody_elses_is_refused(
        self, homes: Path, newcomer: Callable[[], str], tmp_path: Path
    ) -> None:
        name, other = newcomer(), newcomer()
        account = SystemUsers(homes).ensure(name)
        stranger = SystemUsers(homes).ensure(other)
        account.home.rmdir()
        account.home.symlink_to(tmp_path)
        with pytest.raises(SystemUserError):
            SystemUsers(homes).ensure(name)
        account.home.unlink()
        account.home.mkdir()
        os.chown(account.home, stranger.uid, stranger.gid)
        with pytest.raises(SystemUserError, match="not to"):
            SystemUsers(homes).ensure(name)

    def test_homes_of_another_user_are_refused(self, homes: Path, newcomer: Callable[[], str]) -> None:
        homes.mkdir()
        os.chown(homes, 65534, 65534)
        with pytest.raises(SystemUserError, match="belongs to the hub's user"):
            SystemUsers(homes).ensure(newcomer())
