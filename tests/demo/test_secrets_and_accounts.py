"""Secrets on disk, and who may read what."""

import os
import re
import stat
import subprocess

import pytest

from demo import accounts
from demo.errors import StackError
from demo.secret_files import SecretFiles, access_key, demo_password, hexadecimal

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_a_secret_is_drawn_once_and_private(tmp_path):
    secrets = SecretFiles(tmp_path / "secrets")
    secrets.prepare()
    first = secrets.get("one")
    assert len(first) == 43  # 256 bits
    assert secrets.get("one") == first == SecretFiles(tmp_path / "secrets").get("one")
    assert secrets.get("two") != first
    assert mode(secrets.path("one")) == 0o600
    assert mode(secrets.folder) == 0o711
    assert secrets.read("three") is None
    assert [path.name for path in secrets.folder.iterdir() if path.name.startswith(".")] == []


def test_forms_of_secrets():
    assert re.fullmatch(r"[0-9a-f]{64}", hexadecimal())
    assert re.fullmatch(r"RPACS[A-Z0-9]{15}", access_key())
    assert re.fullmatch(r"[a-z2-9]{4}-[a-z2-9]{4}-[a-z2-9]{4}", demo_password())
    assert len({demo_password() for _ in range(100)}) == 100


def test_a_folder_behind_a_closed_one_is_refused_with_the_remedy(tmp_path):
    closed = tmp_path / "closed"
    inside = closed / "inside"
    inside.mkdir(parents=True)
    for folder in (inside, *inside.parents):
        if folder.stat().st_uid == os.geteuid() and folder.is_relative_to(tmp_path.parent.parent):
            folder.chmod(0o755)
    accounts.require_reachable(inside, "this thing")
    closed.chmod(0o700)
    with pytest.raises(StackError, match=re.escape(f"chmod o+x {closed}")):
        accounts.require_reachable(inside, "this thing")
    closed.chmod(0o711)
    inside.chmod(0o711)
    accounts.require_reachable(inside, "this thing", readable=False)
    with pytest.raises(StackError, match=re.escape(f"chmod -R a+rX {inside}")):
        accounts.require_reachable(inside, "this thing")


@as_root
def test_another_user_can_use_this_checkout():
    accounts.require_readable_checkout(accounts.Path(__file__).resolve().parents[2])


@as_root
def test_only_its_user_reads_what_is_lent_to_it(tmp_path):
    accounts.create_service_users()
    path = tmp_path / "rules.yaml"
    path.write_text("x")
    accounts.lend_file(path, "rpacs-deid")
    assert (path.owner(), path.group(), mode(path)) == ("root", "rpacs-deid", 0o640)
    accounts.own_file(path, "rpacs-deid")
    assert (path.owner(), path.group(), mode(path)) == ("rpacs-deid", "rpacs-deid", 0o600)


def test_a_link_is_not_given_away(tmp_path):
    target = tmp_path / "shadow"
    target.write_text("x")
    target.chmod(0o640)
    link = tmp_path / "permissions.yaml"
    link.symlink_to(target)
    with pytest.raises(StackError, match="is not a plain file"):
        accounts.give_file(link, "rpacs-gateway")
    assert mode(target) == 0o640
    with pytest.raises(StackError, match="is not a plain file"):
        accounts.give_file(tmp_path, "rpacs-gateway")


@as_root
def test_a_file_is_given_to_its_service(tmp_path):
    accounts.create_service_users()
    path = tmp_path / "permissions.yaml"
    path.write_text("x")
    accounts.give_file(path, "rpacs-gateway")
    assert (path.owner(), path.group(), mode(path)) == ("rpacs-gateway", "rpacs-gateway", 0o600)


@as_root
def test_service_users_cannot_log_in():
    accounts.create_service_users()
    assert accounts.create_service_users() == []  # they are there
    for name in accounts.SERVICE_USERS:
        entry = subprocess.run(["getent", "passwd", name], capture_output=True, text=True, check=True).stdout.strip()
        assert entry.endswith(":/nonexistent:/usr/sbin/nologin")
        assert int(entry.split(":")[2]) < 1000
