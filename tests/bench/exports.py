"""An export to S3, from the research Orthanc, beside s5cmd, which reads the same files from the disk."""

from __future__ import annotations

import asyncio
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
import psycopg_pool
from pydicom import dcmread
from pydicom.filebase import DicomBytesIO

from rpacs_hub._orthanc import Orthanc
from rpacs_hub.exports import Exporter, InstanceRef, parse_request
from rpacs_hub.rendering import render
from tests.bench.rows import Row
from tests.bench.slices import ct_slices
from tests.fixtures.parts import S3, OrthancServer, running_postgres, running_s3

INSTANCES = 480
ROUNDS = 3


def run() -> list[Row]:
    """Measure `ROUNDS` times, each time both, and return the medians."""
    s5cmd = Path(sys.executable).with_name("s5cmd")
    if not s5cmd.exists():
        print("export.vs_s5cmd is left out: s5cmd is not installed (make setup)", file=sys.stderr)
        return []
    folder = Path(tempfile.mkdtemp(prefix="rpacs-bench-"))
    folder.chmod(0o755)
    orthanc = OrthancServer("research", folder / "research")
    try:
        orthanc.start()
        with running_postgres(folder) as postgres, running_s3(folder) as s3:
            files, refs = _stored(orthanc, folder)
            url = postgres.create_database()
            rounds = []
            for number in range(1, ROUNDS + 1):
                ours = asyncio.run(_export(url, orthanc.url, s3, refs, f"ours-{number}"))
                theirs = _s5cmd(s5cmd, files, s3, f"s5cmd-{number}")
                rounds.append((ours, theirs))
                print(f"round {number} of {ROUNDS}: exported in {ours:.1f} s, s5cmd in {theirs:.1f} s", file=sys.stderr)
    finally:
        orthanc.stop()
        shutil.rmtree(folder, ignore_errors=True)
    return [
        Row(
            "export.vs_s5cmd",
            statistics.median(INSTANCES / ours for ours, _ in rounds),
            "instances/s",
            peer="s5cmd from local files, 8 workers",
            peer_value=statistics.median(INSTANCES / theirs for _, theirs in rounds),
            ratio=statistics.median(theirs / ours for ours, theirs in rounds),
            command="python -m tests.bench export",
        )
    ]


def _stored(orthanc: OrthancServer, folder: Path) -> tuple[Path, list[InstanceRef]]:
    """Put the slices into Orthanc and into a folder."""
    files, refs = folder / "files", []
    files.mkdir()
    with httpx.Client(base_url=orthanc.url, timeout=60) as client:
        for number, data in enumerate(ct_slices(INSTANCES)):
            dataset = dcmread(DicomBytesIO(data), stop_before_pixels=True)
            (files / f"{number:04}.dcm").write_bytes(data)
            name = client.post("/instances", content=data).raise_for_status().json()["ID"]
            uids = (dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID)
            refs.append(InstanceRef(name, dataset.PatientID, *map(str, uids), size=len(data)))
    return files, refs


async def _export(url: str, orthanc_url: str, s3: S3, refs: list[InstanceRef], prefix: str) -> float:
    body = {
        "query": "",
        "level": "series",
        "destination": f"s3://{s3.bucket}/{prefix}",
        "format": "dicom",
        "endpoint_url": s3.endpoint_url,
        "credentials": {"access_key": s3.access_key, "secret_key": s3.secret_key},
    }
    orthanc = Orthanc(orthanc_url)
    async with psycopg_pool.AsyncConnectionPool(url, min_size=2, open=False) as pool:
        exporter = Exporter(pool, orthanc.file, render=render, allowed_endpoints=(s3.endpoint_url,))
        await exporter.start()
        begun = time.perf_counter()
        export = await exporter.submit("bench", refs, parse_request(body, (s3.endpoint_url,)))
        while (export := await exporter.get("bench", export.id)).state in {"queued", "running"}:  # noqa: ASYNC110
            await asyncio.sleep(0.02)  # a client can only ask, too
        took = time.perf_counter() - begun
        await exporter.stop()
    await orthanc.close()
    if export.done != len(refs):
        raise RuntimeError(f"{export.done} of {len(refs)} were exported: {export.message}")
    return took


def _s5cmd(program: Path, files: Path, s3: S3, prefix: str) -> float:
    keys = {"AWS_ACCESS_KEY_ID": s3.access_key, "AWS_SECRET_ACCESS_KEY": s3.secret_key, "AWS_REGION": "us-east-1"}
    command = [program, "--numworkers", "8", "--log", "error", "--endpoint-url", s3.endpoint_url, "cp", f"{files}/"]
    begun = time.perf_counter()
    subprocess.run([*command, f"s3://{s3.bucket}/{prefix}/"], check=True, env={**os.environ, **keys})
    return time.perf_counter() - begun
