"""From arrival to searchable, beside a bare Orthanc-to-Orthanc copy of the same files in the same run."""

from __future__ import annotations

import shutil
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psycopg

from demo.settings import Settings
from demo.stack import Stack
from tests.bench.rows import Row
from tests.bench.slices import ct_slices
from tests.fixtures.parts import OrthancServer
from tests.fixtures.processes import wait_for

INSTANCES = 480
ROUNDS = 3
SENDERS = 4


def run() -> list[Row]:
    """Measure `ROUNDS` times, each time both ways, and return the medians."""
    folder = Path(tempfile.mkdtemp(prefix="rpacs-bench-"))
    folder.chmod(0o755)
    stack = Stack(Settings.load({"RPACS_VAR": str(folder / "var"), "RPACS_PORT_OFFSET": "1100"}), say=_progress)
    bare = [OrthancServer(name, folder / name) for name in ("bare-from", "bare-to")]
    try:
        stack.up(samples=False)
        for server in bare:
            server.start()
        rounds = []
        for number in range(1, ROUNDS + 1):
            files = ct_slices(INSTANCES)
            rounds.append((_bare(files, *bare), _pipeline(files, stack)))
            _progress(
                f"round {number} of {ROUNDS}: copied in {rounds[-1][0]:.1f} s, searchable in {rounds[-1][1]:.1f} s"
            )
    finally:
        for server in bare:
            server.stop()
        stack.stop()
        shutil.rmtree(folder, ignore_errors=True)
    ours = statistics.median(INSTANCES / pipeline for _, pipeline in rounds)
    theirs = statistics.median(INSTANCES / copy for copy, _ in rounds)
    ratio = statistics.median(copy / pipeline for copy, pipeline in rounds)
    peer = "bare Orthanc-to-Orthanc copy"
    return [
        Row(
            "pipeline.vs_bare_copy",
            ours,
            "instances/s",
            peer=peer,
            peer_value=theirs,
            ratio=ratio,
            command="python -m tests.bench pipeline",
        )
    ]


def _progress(line: str) -> None:
    print(line, file=sys.stderr)


def _send(files: list[bytes], url: str) -> list[str]:
    with httpx.Client(base_url=url, timeout=120) as client, ThreadPoolExecutor(SENDERS) as pool:
        answers = pool.map(lambda data: client.post("/instances", content=data).raise_for_status().json(), files)
        return [answer["ID"] for answer in answers]


def _bare(files: list[bytes], source: OrthancServer, target: OrthancServer) -> float:
    """Seconds until files that arrive at one Orthanc are in a second one, copied by the first."""
    peer = {"Url": target.url.replace(f"svc:{target.password}@", ""), "Username": "svc", "Password": target.password}
    httpx.put(f"{source.url}/peers/target", json=peer, timeout=30).raise_for_status()
    before, begun = target.count(), time.perf_counter()
    ids = _send(files, source.url)
    parts = [ids[start::SENDERS] for start in range(SENDERS)]
    with httpx.Client(base_url=source.url, timeout=300) as client, ThreadPoolExecutor(SENDERS) as pool:
        for answer in pool.map(lambda part: client.post("/peers/target/store", json=part), parts):
            answer.raise_for_status()
    took = time.perf_counter() - begun
    if target.count() != before + INSTANCES:
        raise RuntimeError(f"{target.count() - before} of {INSTANCES} were copied")
    return took


def _pipeline(files: list[bytes], stack: Stack) -> float:
    """Seconds until files that arrive at the ingest Orthanc are de-identified, forwarded and searchable."""
    with psycopg.connect(stack.database_url, autocommit=True) as database:

        def searchable() -> int:
            row = database.execute("SELECT count(*) FROM pacs.instance").fetchone()
            assert row is not None
            return int(row[0])

        before, begun = searchable(), time.perf_counter()
        _send(files, stack.ingest.url)
        wait_for(lambda: searchable() >= before + INSTANCES, 300, "not everything became searchable")
        return time.perf_counter() - begun
