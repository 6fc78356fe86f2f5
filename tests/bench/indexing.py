"""How many instances a second are indexed: `rpacs-hub index rebuild`, alone, twice at once, one of two killed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
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
_PER_SERIES = 100
COMMAND = "python -m tests.bench index"


def run(instances: int = INSTANCES) -> list[Row]:
    """Rebuild the same index from the same Orthanc with one process, then with two of which one is killed on the way.

    Parameters
    ----------
    instances
        How many Orthanc holds: slices with real headers and four pixels each.
    """
    folder = Path(tempfile.mkdtemp(prefix="rpacs-bench-"))
    folder.chmod(0o755)
    orthanc = OrthancServer("research", folder / "research")
    try:
        orthanc.start()
        with running_postgres(folder) as postgres:
            passwords = dict.fromkeys(OWNED_SCHEMAS, postgres.password)
            create(postgres.admin_url, passwords, "bench")
            url = role_url(postgres.admin_url, "rpacs_indexer", postgres.password, "bench")
            _send(orthanc.url, instances)
            first = _rebuild(url, orthanc.url, 1, instances)
            alone, both = _rebuild(url, orthanc.url, 1, instances), _rebuild(url, orthanc.url, 2, instances)
            killed = _rebuild(url, orthanc.url, 2, instances, kill=True)
    finally:
        orthanc.stop()
        shutil.rmtree(folder, ignore_errors=True)
    return [
        Row("index.first_build", instances / first, "instances/s", command=COMMAND),
        Row("index.rebuild", instances / alone, "instances/s", command=COMMAND),
        Row(
            "index.rebuild.two",
            instances / both,
            "instances/s",
            peer="one process",
            peer_value=instances / alone,
            ratio=alone / both,
            command=COMMAND,
        ),
        Row("index.rebuild.one_of_two_killed", instances / killed, "instances/s", command=COMMAND),
    ]


def _send(research_url: str, instances: int) -> None:
    """Fill the Orthanc, a thousand at a time."""
    # Orthanc ends a connection that rests for a second, which on a busy machine may be between two requests.
    limits = httpx.Limits(max_keepalive_connections=0)
    with httpx.Client(base_url=research_url, timeout=60, limits=limits) as client, ThreadPoolExecutor(4) as pool:
        headers = _headers(instances)
        while some := list(islice(headers, 1000)):
            for answer in pool.map(lambda data: client.post("/instances", content=data), some):
                answer.raise_for_status()


def _headers(instances: int) -> Iterator[bytes]:
    """Yield slices of CT series, with real headers and hardly any pixels."""
    dataset = dcmread(DicomBytesIO(next(iter(ct_slices(1)))))
    dataset.Rows = dataset.Columns = 2
    dataset.PixelData = bytes(8)
    dataset.StudyInstanceUID = generate_uid()
    for n in range(instances):
        if n % _PER_SERIES == 0:
            dataset.SeriesInstanceUID = generate_uid()
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        dataset.InstanceNumber = n % _PER_SERIES + 1
        dataset.SliceLocation = dataset.InstanceNumber * 2.5
        buffer = DicomBytesIO()
        dataset.save_as(buffer)
        yield buffer.getvalue()


def _rebuild(url: str, research_url: str, processes: int, instances: int, *, kill: bool = False) -> float:
    """Return the seconds that a rebuild takes, without the start of the processes.

    With `kill`, the first process gets SIGKILL when a third is done; whoever is left does the rest.
    """
    environment = {**os.environ, "RPACS_DATABASE_URL": url, "RPACS_RESEARCH_URL": research_url}
    begun = time.perf_counter()
    subprocess.run([_command(), "--version"], capture_output=True, check=False)
    start = time.perf_counter() - begun
    begun = time.perf_counter()
    running = [
        subprocess.Popen([_command(), "index", "rebuild"], env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(processes)
    ]
    with ThreadPoolExecutor(processes) as readers:
        victim = running[0] if kill else None
        for process in running:
            readers.submit(_follow, process, instances // 3 if process is victim else None)
    if any(process.wait(60) for process in running if process is not victim):
        raise RuntimeError("a rebuild failed")
    took = time.perf_counter() - begun - start
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT count(*), count(DISTINCT sop_uid) FROM pacs.instance").fetchone()
    if row != (instances, instances):
        raise RuntimeError(f"{row} of {instances} are in the index")
    print(f"{processes} at once{', one killed' if kill else ''}: {took:.1f} s for {instances}", file=sys.stderr)
    return took


def _follow(process: subprocess.Popen[str], killed_at: int | None) -> None:
    """Read what a rebuild says until it ends; kill it when so many instances are done."""
    assert process.stdout is not None
    for line in process.stdout:
        done = line.partition(" of ")[0]
        if killed_at is not None and done.isdigit() and int(done) >= killed_at:
            process.kill()


def _command() -> str:
    return str(Path(sys.executable).with_name("rpacs-hub"))
