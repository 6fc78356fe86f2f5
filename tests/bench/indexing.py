"""How many instances a second are indexed: `rpacs-hub index rebuild`, alone and twice at once."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psycopg
from pydicom import dcmread
from pydicom.filebase import DicomBytesIO
from pydicom.uid import generate_uid

from rpacs_hub.database import OWNED_SCHEMAS, create, role_url
from tests.bench.rows import Row
from tests.bench.slices import ct_slices
from tests.fixtures.parts import OrthancServer, running_postgres

INSTANCES = 3000
SERIES = 30
COMMAND = "python -m tests.bench index"


def run() -> list[Row]:
    """Rebuild the same index from the same Orthanc with one process, then with two."""
    folder = Path(tempfile.mkdtemp(prefix="rpacs-bench-"))
    folder.chmod(0o755)
    orthanc = OrthancServer("research", folder / "research")
    try:
        orthanc.start()
        with running_postgres(folder) as postgres:
            passwords = dict.fromkeys(OWNED_SCHEMAS, postgres.password)
            create(postgres.admin_url, passwords, "bench")
            url = role_url(postgres.admin_url, "rpacs_indexer", postgres.password, "bench")
            with httpx.Client(base_url=orthanc.url, timeout=60) as client, ThreadPoolExecutor(4) as pool:
                for answer in pool.map(lambda data: client.post("/instances", content=data), _headers()):
                    answer.raise_for_status()
            first = _rebuild(url, orthanc.url, 1)
            alone, both = _rebuild(url, orthanc.url, 1), _rebuild(url, orthanc.url, 2)
    finally:
        orthanc.stop()
        shutil.rmtree(folder, ignore_errors=True)
    return [
        Row("index.first_build", INSTANCES / first, "instances/s", command=COMMAND),
        Row("index.rebuild", INSTANCES / alone, "instances/s", command=COMMAND),
        Row(
            "index.rebuild.two",
            INSTANCES / both,
            "instances/s",
            peer="one process",
            peer_value=INSTANCES / alone,
            ratio=alone / both,
            command=COMMAND,
        ),
    ]


def _headers() -> Iterator[bytes]:
    """Yield slices of CT series, with real headers and hardly any pixels."""
    dataset = dcmread(DicomBytesIO(next(iter(ct_slices(1)))))
    dataset.Rows = dataset.Columns = 2
    dataset.PixelData = bytes(8)
    series = [generate_uid() for _ in range(SERIES)]
    dataset.StudyInstanceUID = generate_uid()
    for n in range(INSTANCES):
        dataset.SeriesInstanceUID = series[n * SERIES // INSTANCES]
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        dataset.InstanceNumber = n % (INSTANCES // SERIES) + 1
        dataset.SliceLocation = dataset.InstanceNumber * 2.5
        buffer = DicomBytesIO()
        dataset.save_as(buffer)
        yield buffer.getvalue()


def _rebuild(url: str, research_url: str, processes: int) -> float:
    """Return the seconds that a rebuild takes, without the start of the processes."""
    environment = {**os.environ, "RPACS_DATABASE_URL": url, "RPACS_RESEARCH_URL": research_url}
    begun = time.perf_counter()
    subprocess.run([_command(), "--version"], capture_output=True, check=False)
    start = time.perf_counter() - begun
    begun = time.perf_counter()
    running = [
        subprocess.Popen([_command(), "index", "rebuild"], env=environment, stdout=subprocess.DEVNULL)
        for _ in range(processes)
    ]
    if any(process.wait(600) for process in running):
        raise RuntimeError("a rebuild failed")
    took = time.perf_counter() - begun - start
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT count(*) FROM pacs.instance").fetchone()
    if row is None or row[0] != INSTANCES:
        raise RuntimeError(f"{row} of {INSTANCES} are in the index")
    print(f"{processes} at once: {took:.1f} s for {INSTANCES}", file=sys.stderr)
    return took


def _command() -> str:
    return str(Path(sys.executable).with_name("rpacs-hub"))
