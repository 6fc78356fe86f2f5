"""The folder whose files go to the ingest Orthanc."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

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
    wait_for(lambda: (drop.sweep(), list(deployment.inbox.iterdir()) == [])[1], 5, "folders are left")
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
    wait_for(folder.sweep, 5, "the finished file was not taken")
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
    wait_for(drop.sweep, 5)
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
