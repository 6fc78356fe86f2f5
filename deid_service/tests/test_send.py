"""``rpacs-deid send``: from Orthanc, S3 and files, to Orthanc, S3 and folders; confirmed, logged, repeatable."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import httpx
import psycopg
import pytest
from pydicom import Dataset, dcmread

from deid_service import PseudonymKey, default_rules_path
from deid_service.cli import main
from deid_service.pipeline.schema import conninfo
from deid_service.sending import DestinationError, SourceError, open_destination, open_source


@pytest.fixture
def series(fresh_instance: Callable[[], Dataset], written: Callable[..., bytes]) -> list[bytes]:
    """Three slices of a patient."""
    made = []
    for number in range(3):
        instance = fresh_instance()
        instance.SOPInstanceUID = f"1.2.276.0.7230010.3.1.4.{number + 1}"
        made.append(written(instance))
    return made


@pytest.fixture
def folder(tmp_path: Path, series: list[bytes]) -> Path:
    """The slices as files, beside one that is no DICOM."""
    folder = tmp_path / "Mustermann"
    folder.mkdir()
    for number, data in enumerate(series):
        (folder / f"Erika{number}.dcm").write_bytes(data)
    return folder


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The environment of the service, without servers; returns a folder."""
    PseudonymKey.generate(tmp_path / "key")
    monkeypatch.setenv("RPACS_PSEUDONYM_KEY_FILE", str(tmp_path / "key"))
    monkeypatch.setenv("RPACS_RULES", str(default_rules_path()))
    for name in ("RPACS_DATABASE_URL", "RPACS_INGEST_URL", "RPACS_RESEARCH_URL"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def cloud(s3, monkeypatch: pytest.MonkeyPatch) -> str:
    """The environment that reaches the S3 server; returns the bucket."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.endpoint_url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3.secret_key)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    return str(s3.bucket)


def lines(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_from_files_to_a_folder_and_again(service: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "note.txt").write_text("Erika Mustermann")
    target, log = service / "clean", service / "log.jsonl"
    command = ["send", str(folder), "--destination", str(target), "--log", str(log)]
    assert main(command) == 1  # the note is not DICOM
    copies = {path: path.read_bytes() for path in target.rglob("*.dcm")}
    assert len(copies) == 3
    said = capsys.readouterr()
    assert "3 sent and confirmed, 0 discarded, 1 refused" in said.out
    assert "1 not_dicom" in said.out
    assert "not journalled" in said.err
    assert log.stat().st_mode & 0o777 == 0o600
    found = lines(log)
    assert [line["outcome"] for line in found] == ["sent"] * 3 + ["refused"]
    assert {line["instance"] for line in found[:3]} == {path.stem for path in copies}
    assert found[3]["reason"] == "not_dicom"
    everything = said.out + said.err + log.read_text()
    for value in ("Erika", "Mustermann", "PID-4711", "1.2.276"):
        assert value not in everything
    assert main(command) == 1
    assert {path: path.read_bytes() for path in target.rglob("*.dcm")} == copies
    assert [line["source"] for line in lines(log)[4:]] == [line["source"] for line in found]


def test_a_copy_made_otherwise_is_never_overwritten(
    service: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = service / "clean"
    command = ["send", str(folder / "Erika0.dcm"), "--destination", str(target)]
    assert main(command) == 0
    [copy] = target.rglob("*.dcm")
    copy.write_bytes(b"other")
    assert main(command) == 1
    assert "1 conflict" in capsys.readouterr().out
    assert copy.read_bytes() == b"other"


def test_own_rules_are_used(service: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RPACS_RULES")
    rules = service / "own.yaml"
    rules.write_text(
        "ScopeToForward: {Labels: ALL}\nProfile: {Name: Basic}\nTransformations:\n  - Scope: {Labels: ALL}\n"
        "    AddTags: {Tag: DeidentificationMethod, VR: LO, Value: own rules, OverwriteIfExists: true}\n"
    )
    assert main(["send", str(folder), "--destination", str(service / "a")]) == 2
    assert main(["send", str(folder), "--destination", str(service / "a"), "--rules", str(rules)]) == 0
    assert {dcmread(path).DeidentificationMethod for path in (service / "a").rglob("*.dcm")} == {"own rules"}


def test_from_orthanc_at_every_level_to_the_research_orthanc(
    service: Path,
    series: list[bytes],
    orthanc_pair,
    postgres,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    ingest, research = orthanc_pair
    answers = [ingest.upload(data) for data in series]
    monkeypatch.setenv("RPACS_INGEST_URL", ingest.url)
    monkeypatch.setenv("RPACS_RESEARCH_URL", research.url)
    monkeypatch.setenv("RPACS_DATABASE_URL", postgres.create_database())
    log = service / "log.jsonl"
    assert main(["send", f"orthanc://{answers[0]['ID']}", "--log", str(log)]) == 0
    assert research.count() == 1
    for level in ("ParentSeries", "ParentStudy", "ParentPatient"):
        assert main(["send", f"orthanc://{answers[0][level]}", "--log", str(log)]) == 0
        assert research.count() == 3
    assert "3 sent and confirmed" in capsys.readouterr().out
    assert {line["source"] for line in lines(log)} == {answer["ID"] for answer in answers}
    assert ingest.count() == 3
    files = [
        dcmread(BytesIO(httpx.get(f"{research.url}/instances/{i}/file").content)) for i in research.get("/instances")
    ]
    assert {file.SOPInstanceUID for file in files} == {line["instance"] for line in lines(log)}
    assert all(file.PatientIdentityRemoved == "YES" for file in files)
    with psycopg.connect(conninfo(os.environ["RPACS_DATABASE_URL"])) as connection:
        rows = connection.execute("SELECT original, replacement FROM journal WHERE kind = 'patient_id'").fetchall()
    assert rows == [("PID-4711", files[0].PatientID)]
    assert main(["send", "orthanc://00000000-00000000-00000000-00000000-00000000"]) == 1
    assert "has no patient, study, series or instance" in capsys.readouterr().err


def test_from_s3_to_s3(service: Path, series: list[bytes], s3, cloud: str, capsys: pytest.CaptureFixture[str]) -> None:
    client = s3.client()
    for number, data in enumerate(series):
        client.put_object(Bucket=cloud, Key=f"in/Erika/{number}.dcm", Body=data)
    client.put_object(Bucket=cloud, Key="in/Erikas.dcm", Body=b"another")
    log = service / "log.jsonl"
    assert main(["send", f"s3://{cloud}/in/Erika/0.dcm", "--destination", f"s3://{cloud}/out"]) == 0
    command = ["send", f"s3://{cloud}/in/Erika", "--destination", f"s3://{cloud}/out/", "--log", str(log)]
    assert main(command) == 0
    assert main(command) == 0
    assert "3 sent and confirmed, 0 discarded, 0 refused" in capsys.readouterr().out
    keys = [item["Key"] for item in client.list_objects_v2(Bucket=cloud, Prefix="out/")["Contents"]]
    assert len(keys) == 3
    assert "Erika" not in log.read_text()
    copy = dcmread(BytesIO(client.get_object(Bucket=cloud, Key=keys[0])["Body"].read()))
    assert keys[0] == f"out/{copy.StudyInstanceUID}/{copy.SeriesInstanceUID}/{copy.SOPInstanceUID}.dcm"
    client.put_object(Bucket=cloud, Key=keys[0], Body=b"other")
    assert main(command) == 1
    assert "1 conflict" in capsys.readouterr().out


def test_s3_that_refuses_is_told(
    service: Path, folder: Path, s3, cloud: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["send", str(folder), "--destination", f"s3://{s3.forbidden_bucket}/x"]) == 1
    said = capsys.readouterr().err
    assert "AccessDenied" in said
    assert "nothing was sent" in said
    assert main(["send", f"s3://{s3.forbidden_bucket}/x", "--destination", str(service / "a")]) == 1
    assert main(["send", f"s3://{cloud}/nothing/here", "--destination", str(service / "a")]) == 1
    assert "nothing at this address" in capsys.readouterr().err


def test_servers_that_do_not_answer_are_told(
    service: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ELSEWHERE", "http://svc:hidden@127.0.0.1:1")
    assert main(["send", str(folder), "--destination", "env:ELSEWHERE"]) == 1
    said = capsys.readouterr().err
    assert "does not answer" in said
    assert "hidden" not in said
    monkeypatch.setenv("RPACS_DATABASE_URL", "postgresql://nobody:hidden@127.0.0.1:1/rpacs")
    assert main(["send", str(folder), "--destination", str(service / "a")]) == 1
    assert "hidden" not in capsys.readouterr().err
    assert not (service / "a").exists()


def test_wrong_locations_and_destinations_say_what_would_be_right(service: Path, folder: Path) -> None:
    for location in ("ftp://x/y", "orthanc://x", "s3://", str(service / "missing")):
        with pytest.raises(SourceError):
            open_source(location)
    for destination in ("http://svc:secret@host:1", "s3://", str(folder / "Erika0.dcm")):
        with pytest.raises(DestinationError) as error:
            open_destination(destination)
        assert "secret" not in str(error.value)
    assert main(["send", str(folder)]) == 2  # RPACS_RESEARCH_URL is not set
