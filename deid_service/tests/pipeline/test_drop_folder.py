"""The folder whose files go to the ingest Orthanc."""

from __future__ import annotations

import io
import logging
import os
import pwd
import shutil
import subprocess
import tempfile
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from deid_service._orthanc import Orthanc
from deid_service.pipeline.drop_folder import DropFolder
from deid_service.pipeline.troubles import Troubles
from tests.fixtures.processes import wait_for


@pytest.fixture
def drop(deployment, client):
    """A drop folder that takes files at the second look, without a service around it."""
    deployment.inbox.mkdir()
    folder = DropFolder(
        deployment.inbox,
        deployment.refused,
        client(deployment.ingest.url),
        Troubles(),
        settle_seconds=0,
    )
    yield folder
    folder.close()


def test_files_of_any_nesting_are_uploaded_and_the_folder_is_left_clean(deployment, drop, make_instance):
    deep = deployment.inbox / "Doe Jane" / "CT 1"
    deep.mkdir(parents=True)
    (deep / "IM1").write_bytes(make_instance(number=1))
    (deployment.inbox / "x.dcm").write_bytes(make_instance(number=2))
    assert drop.sweep() == 2
    assert deployment.ingest.count() == 2
    wait_for(lambda: (drop.sweep(), list(deployment.inbox.iterdir()) == [])[1], 30, "folders are left")
    assert not deployment.refused.exists()


@pytest.mark.parametrize("malformed", [b"", b"hello", b"\0" * 128 + b"DICM" + b"\1" * 50])
def test_what_is_not_dicom_is_set_aside_under_a_neutral_name(deployment, drop, malformed):
    (deployment.inbox / "Doe Jane 1970-01-01.dcm").write_bytes(malformed)
    drop.sweep()
    assert list(deployment.inbox.iterdir()) == []
    kept, reason = sorted(deployment.refused.iterdir())
    assert kept.read_bytes() == malformed
    assert reason.name == f"{kept.name}.reason.txt"
    assert "does not take this file" in reason.read_text()
    assert "Doe" not in kept.name + reason.read_text()
    assert kept.stat().st_mode & 0o077 == 0


def test_zip_archive_is_unpacked(deployment, drop, make_instance):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("study/1", make_instance(number=1))
        file.writestr("study/2", make_instance(number=2))
        file.writestr("study/readme.txt", "about Jane Doe")
    (deployment.inbox / "study.zip").write_bytes(archive.getvalue())
    (deployment.inbox / "broken.zip").write_bytes(archive.getvalue()[:-200])
    drop.sweep()
    assert deployment.ingest.count() == 2
    assert len(list(deployment.refused.glob("*.reason.txt"))) == 2
    assert list(deployment.inbox.iterdir()) == []


def test_unfinished_and_odd_files_are_left_alone(deployment, drop, make_instance):
    for name in ("a.dcm.part", ".a.dcm.x7", "b.TMP"):
        (deployment.inbox / name).write_bytes(make_instance())
    (deployment.inbox / "link").symlink_to(deployment.key)
    os.mkfifo(deployment.inbox / "pipe")
    assert drop.sweep() == 0
    assert drop.is_empty()
    assert len(list(deployment.inbox.iterdir())) == 5


def test_growing_file_is_not_taken(deployment, client, make_instance):
    deployment.inbox.mkdir()
    troubles = Troubles()
    folder = DropFolder(
        deployment.inbox, deployment.refused, client(deployment.ingest.url), troubles, settle_seconds=0.4
    )
    data = make_instance()
    growing = deployment.inbox / "a.dcm"
    for part in range(8):
        growing.write_bytes(data[: len(data) * (part + 1) // 8])
        assert folder.sweep() == 0
    wait_for(folder.sweep, 30, "the finished file was not taken")
    assert deployment.ingest.count() == 1
    folder.close()


def test_only_one_process_works_on_a_folder(deployment, drop, client, make_instance):
    assert drop.sweep() == 0
    other = DropFolder(
        deployment.inbox, deployment.refused, client(deployment.ingest.url), Troubles(), settle_seconds=0
    )
    (deployment.inbox / "a.dcm").write_bytes(make_instance())
    assert other.sweep() == 0
    drop.close()
    assert other.sweep() == 1
    other.close()


def test_other_file_under_uids_that_are_waiting_is_set_aside(deployment, drop, make_instance):
    uids = {"study": "1.2.3", "SOPInstanceUID": "1.2.3.4"}
    (deployment.inbox / "a").write_bytes(make_instance(number=1, **uids))
    drop.sweep()
    (deployment.inbox / "a").write_bytes(make_instance(number=2, **uids))
    wait_for(drop.sweep, 30)
    assert "same UIDs" in next(deployment.refused.glob("*.reason.txt")).read_text()
    assert deployment.ingest.count() == 1


def test_dead_ingest_orthanc_leaves_the_files(deployment, client, make_instance):
    deployment.inbox.mkdir()
    troubles = Troubles()
    folder = DropFolder(deployment.inbox, deployment.refused, client("http://127.0.0.1:1"), troubles, settle_seconds=0)
    (deployment.inbox / "a.dcm").write_bytes(make_instance())
    assert folder.sweep() == 0
    assert "connection refused" in troubles.current()[0]
    assert (deployment.inbox / "a.dcm").exists()
    folder.close()


def test_file_that_cannot_be_removed_is_uploaded_once_and_keeps_no_other(deployment, drop, make_instance, monkeypatch):
    (deployment.inbox / "a.dcm").write_bytes(make_instance(number=1))
    with monkeypatch.context() as patch:  # root, who may run this, is refused nothing
        patch.setattr(Path, "unlink", lambda *_, **__: (_ for _ in ()).throw(PermissionError(1, "not permitted")))
        assert drop.sweep() == 0
    assert deployment.ingest.count() == 1
    client = Orthanc(deployment.ingest.url, "ingest Orthanc")
    client.delete_instances(client.instances())
    client.close()
    (deployment.inbox / "b.dcm").write_bytes(make_instance(number=2))
    assert drop.sweep() == 2
    assert deployment.ingest.count() == 1
    assert list(deployment.inbox.iterdir()) == []


@pytest.fixture
def foreign(deployment, client, make_instance):
    """A folder inbox of another user than the service's, and what its sweeps tell."""
    place = Path(tempfile.mkdtemp())  # pytest's own folders may not be entered by others
    place.chmod(0o755)
    inbox, refused, troubles = place / "in box", place / "refused", Troubles()
    for folder in (inbox, refused):
        folder.mkdir()
        folder.chmod(0o777)
    folder = DropFolder(inbox, refused, client(deployment.ingest.url), troubles, settle_seconds=0)

    def sweep() -> int:
        # Root is refused nothing. Threads and children of this process lose the right as well, for the moment.
        before = os.geteuid()
        if before == 0:
            os.seteuid(pwd.getpwnam("nobody").pw_uid)
        try:
            return folder.sweep()
        finally:
            os.seteuid(before)

    yield SimpleNamespace(look=sweep, inbox=inbox, aside=refused, told=troubles, folder=folder)
    folder.close()
    subprocess.run(["chmod", "-R", "u+rwX", str(place)], check=True)
    shutil.rmtree(place)


def user_name() -> str:
    return "nobody" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name


@pytest.mark.parametrize("what", ["file", "folder"])
def test_what_may_not_be_read_is_told_once_with_the_command_that_mends_it(
    deployment, foreign, make_instance, caplog, what
):
    secret = foreign.inbox / "Doe Jane"
    secret.mkdir()
    (secret / "Doe.dcm").write_bytes(make_instance(number=1))
    closed = secret / "Doe.dcm" if what == "file" else secret
    closed.chmod(0)
    with caplog.at_level(logging.INFO):
        assert [foreign.look() for _ in range(5)] == [0] * 5
        (text,) = foreign.told.current()
        assert f"the service's user {user_name()} may not read" in text
        assert f"`chmod -R a+rX '{foreign.inbox}'`" in text
        assert [record.getMessage() for record in caplog.records] == [f"{text}. Nothing is lost; trying again."]
        if what == "file":
            assert foreign.folder.is_empty(), "nothing to wait for"
        # What may be read goes on meanwhile.
        (foreign.inbox / "b.dcm").write_bytes(make_instance(number=2))
        wait_for(foreign.look, 30)
        assert foreign.told.current() == [text]
        secret.chmod(0o777)
        (secret / "Doe.dcm").chmod(0o644)
        wait_for(foreign.look, 30)
    assert foreign.told.current() == []
    assert deployment.ingest.count() == 2
    assert len(caplog.records) == 2, "one line when it began, one when it was over"
    assert "Doe" not in caplog.text


def test_what_may_not_be_removed_is_taken_once_and_told(deployment, foreign, make_instance):
    (foreign.inbox / "Doe.dcm").write_bytes(make_instance())
    (foreign.inbox / "Doe.txt").write_text("no DICOM")
    for file in foreign.inbox.iterdir():
        file.chmod(0o644)
    foreign.inbox.chmod(0o555)
    for _ in range(3):
        assert foreign.look() == 0
        (text,) = foreign.told.current()
        assert f"{user_name()} may not remove from the folder inbox what it has taken: `chown -R " in text
        assert "Doe" not in text
    assert foreign.folder.is_empty()
    assert deployment.ingest.count() == 1
    assert len(list(foreign.aside.iterdir())) == 2
    foreign.inbox.chmod(0o777)
    assert foreign.look() == 2
    assert foreign.told.current() == []


def test_refused_files_that_have_no_place_to_go_wait(foreign):
    (foreign.inbox / "Doe.txt").write_text("no DICOM")
    (foreign.inbox / "Doe.txt").chmod(0o644)
    foreign.aside.chmod(0o555)
    assert foreign.look() == 0
    (text,) = foreign.told.current()
    assert f"may not write to the folder of refused files: `chown -R {user_name()} {foreign.aside} " in text
    assert (foreign.inbox / "Doe.txt").exists()
    foreign.aside.chmod(0o777)
    assert foreign.look() == 1
    assert foreign.told.current() == []


def test_permissions_are_told_apart_from_a_dead_server(foreign, make_instance, client):
    (foreign.inbox / "a.dcm").write_bytes(make_instance())
    (foreign.inbox / "a.dcm").chmod(0)
    foreign.look()
    (text,) = foreign.told.current()
    foreign.folder._ingest = client("http://127.0.0.1:1")
    (foreign.inbox / "0.dcm").write_bytes(make_instance())  # looked at first
    foreign.look()
    assert len(foreign.told.current()) == 2
    assert text in foreign.told.current()


def test_folder_that_may_not_be_opened_is_told(foreign):
    foreign.inbox.chmod(0)
    assert foreign.look() == 0
    assert "chmod -R a+rX" in foreign.told.current()[0]
    foreign.inbox.chmod(0o777)
    foreign.look()
    assert foreign.told.current() == []


def test_service_takes_files_from_the_folder_to_the_research_orthanc(deployment, make_instance):
    deployment.inbox.mkdir()
    (deployment.inbox / "a.dcm").write_bytes(make_instance())
    (deployment.inbox / "b.txt").write_text("Jane Doe")
    deployment.run("--processes", "2")
    deployment.wait_idle(1)
    assert deployment.research.count() == 1
    deployment.wait(lambda: list(deployment.inbox.iterdir()) == [], "the folder is not clean")
    assert len(list(deployment.refused.iterdir())) == 2
    assert "b.txt" not in deployment.log_text()
