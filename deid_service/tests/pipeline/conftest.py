"""A whole deployment for each test: two Orthancs, a fresh database, a rules file, and the service as real processes."""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import httpx
import psutil
import psycopg
import pydicom
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from deid_service import PseudonymKey
from deid_service._orthanc import Orthanc
from deid_service.pipeline.cli import add_commands
from deid_service.pipeline.schema import conninfo
from deid_service.pipeline.status import Status, read_status
from tests.fixtures.processes import wait_for

RULES = """\
Labels:
  - {Name: Scouts, DICOMQueryFilter: "ImageType StrEquals LOCALIZER"}
ScopeToForward:
  Labels: ALL
  ExceptLabels: Scouts
Transformations:
  - Scope: {Labels: ALL}
    RandomizeUID:
      - TagPatterns: "*/{UI}"
    RandomizeText:
      - {TagPatterns: [PatientName, PatientID], ReuseMapping: SamePatient}
    AddTags:
      - {Tag: InstitutionName, VR: LO, Value: "VALUE", OverwriteIfExists: true}
"""


def make_instance(patient: str = "Doe^Jane", number: int = 1, *, study: str | None = None, **tags: object) -> bytes:
    """Return a small CT slice of a named patient."""
    dataset = FileDataset(None, {}, file_meta=FileMetaDataset(), preamble=bytes(128))
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = CTImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = generate_uid()
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.StudyInstanceUID = study or generate_uid()
    dataset.SeriesInstanceUID = f"{dataset.StudyInstanceUID[:60]}.1"
    dataset.PatientName, dataset.PatientID = patient, f"MRN-{patient}"
    dataset.Modality, dataset.ImageType = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.InstanceNumber = number
    dataset.Rows = dataset.Columns = 64
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.PixelData = (number % 4096).to_bytes(2, "little") * 64 * 64
    for keyword, value in tags.items():
        setattr(dataset, keyword, value)
    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()


class Answer(NamedTuple):
    """What a command said."""

    returncode: int
    stdout: str
    stderr: str


class Deployment:
    """The service with its parts. Orthancs come empty."""

    def __init__(self, ingest, research, database_url: str, folder: Path):
        self.ingest, self.research, self.database_url, self.folder = ingest, research, database_url, folder
        self.rules, self.key, self.log = folder / "rules.yaml", folder / "key", folder / "service.log"
        self.inbox, self.refused = folder / "inbox", folder / "refused"
        self.write_rules("Somewhere")
        PseudonymKey.generate(self.key)
        self.processes: list[subprocess.Popen[bytes]] = []
        self.extra: dict[str, str] = {}
        self.first = ""  # Python that the service's process runs before anything else

    def upload(self, *instances: bytes) -> None:
        """Let instances arrive in the ingest Orthanc."""
        client = Orthanc(self.ingest.url, "ingest Orthanc")
        for instance in instances:
            client.store([instance])
        client.close()

    def write_rules(self, value: str) -> None:
        self.rules.write_text(RULES.replace("VALUE", value), encoding="utf-8")

    @property
    def environment(self) -> dict[str, str]:
        return os.environ | {
            "RPACS_DATABASE_URL": self.database_url,
            "RPACS_INGEST_URL": self.ingest.url,
            "RPACS_RESEARCH_URL": self.research.url,
            "RPACS_RULES": str(self.rules),
            "RPACS_PSEUDONYM_KEY_FILE": str(self.key),
            "RPACS_INBOX": str(self.inbox),
            "RPACS_INBOX_REFUSED": str(self.refused),
            **self.extra,
        }

    def _command(self, *arguments: str) -> list[str]:
        code = f"{self.first}\nimport sys; from deid_service.cli import main; sys.exit(main())"
        return [sys.executable, "-c", code, *arguments]

    def run(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start `rpacs-deid run` in the background."""
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                self._command("run", *arguments), env=self.environment, stderr=log, start_new_session=True
            )
        self.processes.append(process)
        return process

    def call(self, *arguments: str) -> Answer:
        """Carry out another command of `rpacs-deid`, in this process because a new one takes a second to start."""
        parser = argparse.ArgumentParser()
        add_commands(parser.add_subparsers())
        out, err = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            for name, value in self.environment.items():
                patch.setenv(name, value)
            parsed = parser.parse_args(arguments)
            code = parsed.function(parsed)
        return Answer(code, out.getvalue(), err.getvalue())

    def status(self) -> Status:
        return read_status(self.database_url, self.ingest.url)

    def sql(self, query: str, *values: object) -> list[tuple]:
        with psycopg.connect(conninfo(self.database_url)) as connection:
            return connection.execute(query, values).fetchall()

    def wait(self, condition, what: str, timeout: float = 40, every: float = 0.1) -> None:
        wait_for(condition, timeout, lambda: f"{what}; log of the service:\n{self.log_text()[-4000:]}", every=every)

    def wait_idle(self, done: int | None = None) -> None:
        """Wait until the inbox is empty and, if given, so many instances were ever done."""

        def idle() -> bool:
            status = self.status()
            return status.queued == 0 and (done is None or status.counts.get("done", 0) >= done)

        self.wait(idle, f"the inbox did not become empty, or {done} were not done")

    def wait_log(self, text: str) -> None:
        self.wait(lambda: text in self.log_text(), f"{text!r} did not appear in the log")

    def log_text(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""

    def clean_files(self) -> list[pydicom.FileDataset]:
        """Read everything in the research Orthanc."""
        client = Orthanc(self.research.url, "research Orthanc")
        files = [pydicom.dcmread(io.BytesIO(client.file(orthanc_id) or b"")) for orthanc_id in client.instances()]
        client.close()
        return files

    def kill_all(self) -> None:
        """Kill every process of the service, parents and children, with SIGKILL, before they do much more."""
        running = [process for process in self.processes if process.poll() is None]
        children = [child for process in running for child in psutil.Process(process.pid).children(recursive=True)]
        for process in running:
            process.kill()
        for child in children:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
        for process in running:
            process.wait()

    def stop(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self.processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(30)
            if process.poll() is None:
                process.kill()
                process.wait()


def empty(server) -> None:
    """Remove everything from an Orthanc."""
    httpx.post(server.url + "/tools/bulk-delete", json={"Resources": server.get("/patients")}, timeout=60)


@pytest.fixture(scope="module")
def database_url(postgres):
    """One database for a module: a fresh one costs more than a fresh schema in it, and hundreds of files."""
    return postgres.create_database()


@pytest.fixture
def deployment(orthanc_pair, database_url, tmp_path):
    ingest, research = orthanc_pair
    for server in orthanc_pair:
        empty(server)
    with psycopg.connect(database_url) as connection:
        connection.execute("SET client_min_messages = warning; DROP SCHEMA IF EXISTS deid CASCADE")
    deployment = Deployment(ingest, research, database_url, tmp_path)
    yield deployment
    deployment.stop()


@pytest.fixture
def client():
    """Make clients of Orthancs, which are closed at the end."""
    made: list[Orthanc] = []

    def make(url: str, name: str = "ingest Orthanc") -> Orthanc:
        made.append(Orthanc(url, name))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture(name="make_instance")
def make_instance_fixture():
    return make_instance
