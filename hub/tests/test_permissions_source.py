"""Where the permissions are kept: read whole, replaced whole, and only if nobody else was quicker."""

from __future__ import annotations

import os
import pwd
import stat
import subprocess
import sys
import threading
from collections.abc import Callable

import pytest

from rpacs_hub.errors import PermissionsNotSaved, PermissionsUnreadable, SettingsError
from rpacs_hub.permissions import PermissionsFile
from rpacs_hub.permissions.s3_source import S3Source
from rpacs_hub.permissions.source import LARGEST, FileSource, digest_of, open_source

OLD, NEW = b"Profiles: {}\nPermissions: []\n", b"Profiles: {A: }\nPermissions: [{Users: a, Profiles: A}]\n"


@pytest.fixture
def path(tmp_path):
    (tmp_path / "permissions.yaml").write_bytes(OLD)
    return tmp_path / "permissions.yaml"


def code(call: Callable[[], None]) -> str:
    with pytest.raises(PermissionsNotSaved) as caught:
        call()
    assert caught.value.hint
    return caught.value.code


def test_a_file_is_replaced_with_its_owner_and_mode_and_leaves_nothing_beside(path):
    path.chmod(0o604)
    if os.geteuid() == 0:
        os.chown(path, 1234, 4321)
    before = path.stat()
    FileSource(path).write(NEW, digest_of(OLD))
    after = path.stat()
    assert path.read_bytes() == NEW
    assert after.st_ino != before.st_ino  # never half written: it is another file
    assert [(one.st_uid, one.st_gid, stat.S_IMODE(one.st_mode)) for one in (before, after)] == [
        (before.st_uid, before.st_gid, 0o604)
    ] * 2
    assert list(path.parent.iterdir()) == [path]


def test_a_link_stays_a_link(path, tmp_path):
    link = tmp_path / "link.yaml"
    link.symlink_to(path)
    FileSource(link).write(NEW, digest_of(OLD))
    assert link.is_symlink()
    assert path.read_bytes() == NEW


def test_what_somebody_else_wrote_meanwhile_stays(path):
    source = FileSource(path)
    seen = digest_of(source.read())
    path.write_bytes(b"# edited on the disk\n")
    assert code(lambda: source.write(NEW, seen)) == "changed_meanwhile"
    assert path.read_bytes() == b"# edited on the disk\n"
    path.unlink()
    assert code(lambda: source.write(NEW, seen)) == "changed_meanwhile"
    assert list(path.parent.iterdir()) == []
    source.write(NEW, "")
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (NEW, 0o640)
    assert code(lambda: source.write(OLD, "")) == "changed_meanwhile"


def test_what_cannot_be_read_says_why(path):
    path.write_bytes(b"#" * (LARGEST + 1))
    with pytest.raises(PermissionsUnreadable, match="more than 1024 KB"):
        FileSource(path).read()
    path.unlink()
    with pytest.raises(PermissionsUnreadable, match="No such file"):
        FileSource(path).read()


_AS_ANOTHER = """
import sys
from pathlib import Path
from rpacs_hub.errors import PermissionsNotSaved
from rpacs_hub.permissions.source import FileSource, digest_of
source = FileSource(Path(sys.argv[1]))
try:
    source.write(b"x", digest_of(source.read()))
except PermissionsNotSaved as error:
    print(error.code, error)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
@pytest.mark.parametrize("folder_mode", [0o755, 0o777, 0o1777])
def test_who_may_not_replace_it_is_told_what_to_do(server_folder, folder_mode):
    """In a folder that everybody can write, the file could be replaced, but not with its owner."""
    folder = server_folder / f"permissions-{folder_mode:o}"
    folder.mkdir()
    path = folder / "permissions.yaml"
    path.write_bytes(OLD)
    path.chmod(0o666)
    folder.chmod(folder_mode)
    done = subprocess.run(
        [sys.executable, "-c", _AS_ANOTHER, str(path)], user="nobody", group="nogroup", capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"not_writable {path} cannot be replaced (")
    assert f"the system user {pwd.getpwnam('nobody').pw_name}: the file must belong to it (chown nobody)" in done.stdout
    assert path.read_bytes() == OLD
    assert list(folder.iterdir()) == [path]


def test_no_reader_sees_half_a_file(path):
    """Half a query may well be a valid, wider one."""
    contents = [b"# " + letter * 200_000 + b"\n" for letter in (b"a", b"b")]
    path.write_bytes(contents[0])
    source, seen, done = FileSource(path), set(), threading.Event()

    def look():
        while not done.is_set():
            seen.add(source.read())

    watcher = threading.Thread(target=look)
    watcher.start()
    for turn in range(100):
        source.write(contents[1 - turn % 2], digest_of(contents[turn % 2]))
    done.set()
    watcher.join()
    assert seen <= set(contents)


@pytest.mark.parametrize("address", ["s3://", "s3://bucket", "s3://bucket/", "s3:///key", "s3://b/key"])
def test_an_address_in_s3_is_complete(address):
    with pytest.raises(SettingsError, match="s3://bucket/key"):
        open_source(address)


@pytest.fixture
def in_s3(s3, monkeypatch) -> S3Source:
    """A source whose object exists, reached as AWS's tools would, by the environment."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3.endpoint_url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3.secret_key)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    s3.client().put_object(Bucket=s3.bucket, Key="config/permissions.yaml", Body=OLD)
    source = open_source(f"s3://{s3.bucket}/config/permissions.yaml")
    assert isinstance(source, S3Source)
    return source


def test_an_object_is_replaced_only_if_nobody_was_quicker(s3, in_s3):
    first, second = in_s3, S3Source(in_s3.name)
    assert first.read() == first.read() == second.read() == OLD
    first.write(NEW, digest_of(OLD))
    assert first.read() == second.read() == NEW
    assert code(lambda: second.write(b"other", digest_of(OLD))) == "changed_meanwhile"
    assert code(lambda: second.write(b"other", "")) == "changed_meanwhile"
    s3.client().delete_object(Bucket=s3.bucket, Key=in_s3.key)
    with pytest.raises(PermissionsUnreadable, match="no such object"):
        first.read()
    assert code(lambda: second.write(b"other", digest_of(NEW))) == "changed_meanwhile"
    second.write(OLD, "")
    assert first.read() == OLD


def test_s3_itself_compares(s3, in_s3, monkeypatch):
    """Between our look and our write somebody else writes: S3 refuses ours."""
    fetch = in_s3._fetch

    def late(condition):
        found = fetch(condition)
        s3.client().put_object(Bucket=s3.bucket, Key=in_s3.key, Body=b"# quicker\n")
        return found

    monkeypatch.setattr(in_s3, "_fetch", late)
    assert code(lambda: in_s3.write(NEW, digest_of(OLD))) == "changed_meanwhile"
    monkeypatch.undo()
    assert fetch({})[1] == b"# quicker\n"


def test_what_is_wrong_with_s3_is_said_without_keys(s3, in_s3, monkeypatch):
    def why(name: str) -> str:
        with pytest.raises(PermissionsUnreadable) as caught:
            S3Source(name).read()
        words = str(caught.value)
        assert s3.access_key not in words
        assert s3.secret_key not in words
        return words

    assert "s3:GetObject" in why(f"s3://{s3.forbidden_bucket}/permissions.yaml")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    assert "does not accept our AWS credentials" in why(in_s3.name)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    assert "does not answer (EndpointConnectionError)" in why(in_s3.name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    assert "no AWS credentials were found" in why(in_s3.name)


def test_permissions_in_s3_come_into_force_and_stay_while_s3_is_away(s3, in_s3, monkeypatch):
    watched = PermissionsFile(in_s3.name)
    assert watched.current.digest == ""
    assert watched.refresh()
    assert watched.current.digest == digest_of(OLD)
    s3.client().put_object(Bucket=s3.bucket, Key=in_s3.key, Body=NEW)
    assert watched.refresh()
    assert list(watched.current.profiles) == ["A"]
    s3.client().put_object(Bucket=s3.bucket, Key=in_s3.key, Body=b"Profils: {}")
    assert watched.refresh()
    assert "Did you mean 'Profiles'?" in str(watched.state.error)
    watched.source._forget()
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    assert watched.refresh()
    assert "does not answer" in str(watched.state.error)
    assert watched.state.found is None
    assert list(watched.current.profiles) == ["A"]
