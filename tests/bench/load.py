"""Fifty researchers at once, searching and scrolling through the proxy and the gateway, with tokens of their own.

Each of them searches, counts, looks at the values of an element, turns a page, and scrolls through a series, with the
pauses of somebody who looks at what she sees. Everything is real: Hub, proxy, gateway, PostgreSQL and Orthanc, which
share this machine with the researchers.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
from pydicom import dcmread
from pydicom.filebase import DicomBytesIO
from pydicom.uid import generate_uid

from hub.tests.real_hub import Hub, make_token, running_hub
from rpacs_hub.database import OWNED_SCHEMAS, create, role_url
from tests.bench.rows import Row
from tests.bench.slices import ct_slices
from tests.fixtures.parts import OrthancServer, running_postgres

USERS = 50
SECONDS = 60.0
WARM_UP = 10.0
SERIES = 50
SLICES = 48
SCROLLED = 20
BETWEEN_FRAMES = (0.3, 0.7)
BETWEEN_PAGES = (1.0, 3.0)
COMMAND = "python -m tests.bench load"

QUERIES = (
    "Modality StrEquals CT",
    "Modality StrEquals CT AND SliceThickness NbLess 3",
    "PatientID StrEquals 'LOAD-1*'",
    "SeriesDescription StrEquals '*axial*' AND Rows NbGreaterEquals 256",
    "NOT (PatientID StrEquals 'LOAD-2*')",
    "",
)


@dataclass
class Measured:
    """What the researchers met.

    Attributes
    ----------
    took
        Seconds of each answer, by kind of request.
    errors
        What was no answer, in words.
    memory
        Resident bytes of the gateway over the time.
    """

    took: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    errors: list[str] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)

    @property
    def everything(self) -> list[float]:
        return [seconds for kind in self.took.values() for seconds in kind]


def run() -> list[Row]:
    """Let them work for a minute and return the rows.

    Raises
    ------
    RuntimeError
        An answer was no answer: figures of a gateway that fails are no figures.
    """
    folder = Path(tempfile.mkdtemp(prefix="rpacs-bench-"))
    folder.chmod(0o755)
    orthanc = OrthancServer("research", folder / "research")
    try:
        orthanc.start()
        with running_postgres(folder) as postgres:
            passwords = dict.fromkeys(OWNED_SCHEMAS, postgres.password)
            create(postgres.admin_url, passwords, "bench")
            urls = {role: role_url(postgres.admin_url, role, postgres.password, "bench") for role in OWNED_SCHEMAS}
            _fill(orthanc, urls["rpacs_indexer"])
            with running_hub(urls["rpacs_gateway"], orthanc.url, folder) as hub:
                measured = asyncio.run(_let_them_work(hub, _tokens(hub)))
    finally:
        orthanc.stop()
        shutil.rmtree(folder, ignore_errors=True)
    for kind, took in sorted(measured.took.items()):
        print(f"{kind:8} {_line(took)}", file=sys.stderr)
    if measured.errors:
        raise RuntimeError(f"{len(measured.errors)} requests failed, the first: {measured.errors[0]}")
    return list(_rows(measured))


def _fill(orthanc: OrthancServer, indexer_url: str) -> None:
    """Put the series into Orthanc and into the index."""
    with httpx.Client(base_url=orthanc.url, timeout=60) as client, ThreadPoolExecutor(4) as pool:
        for answer in pool.map(lambda data: client.post("/instances", content=data), _slices()):
            answer.raise_for_status()
    environment = {**os.environ, "RPACS_DATABASE_URL": indexer_url, "RPACS_RESEARCH_URL": orthanc.url}
    command = [str(Path(sys.executable).with_name("rpacs-hub")), "index", "rebuild"]
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)


def _slices() -> Iterator[bytes]:
    """Yield the slices of `SERIES` series: true headers and pixels, identifiers of their own."""
    originals = [dcmread(DicomBytesIO(data)) for data in ct_slices(SLICES)]
    for number in range(SERIES):
        study, series = generate_uid(), generate_uid()
        for place, dataset in enumerate(originals):
            dataset.PatientID = f"LOAD-{number}"
            dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study, series
            dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
            dataset.SeriesDescription, dataset.InstanceNumber = "axial", place + 1
            buffer = DicomBytesIO()
            dataset.save_as(buffer)
            yield buffer.getvalue()


def _tokens(hub: Hub) -> list[str]:
    """Make the researchers, members of the group that sees CT, and a token for each."""
    names = [f"researcher{number}" for number in range(USERS)]
    for name in names:
        hub.api("POST", f"users/{name}").raise_for_status()
    hub.api("POST", "groups/ct-researchers/users", json={"users": names}).raise_for_status()
    return [make_token(hub, name)[0] for name in names]


async def _let_them_work(hub: Hub, tokens: list[str]) -> Measured:
    measured = Measured()
    gateway = next(child for child in psutil.Process(hub.server.pid).children() if "gateway" in child.cmdline())
    begun = time.perf_counter()
    end = begun + WARM_UP + SECONDS
    limits = httpx.Limits(max_connections=USERS, max_keepalive_connections=USERS)
    async with httpx.AsyncClient(base_url=hub.base, timeout=60, limits=limits, trust_env=False) as client:
        people = [
            asyncio.create_task(
                _Researcher(client, token, random.Random(number), measured, begun + WARM_UP, end).work()
            )
            for number, token in enumerate(tokens)
        ]
        while time.perf_counter() < end:
            measured.memory.append(gateway.memory_info().rss)
            await asyncio.sleep(0.5)
        await asyncio.gather(*people)
    return measured


class _Researcher:
    """One of them."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        token: str,
        chance: random.Random,
        measured: Measured,
        counts_from: float,
        end: float,
    ):
        self._client, self._chance, self._measured = client, chance, measured
        self._headers = {"Authorization": f"token {token}"}
        self._counts_from, self._end = counts_from, end

    async def work(self) -> None:
        """Search and scroll until the time is over."""
        await self._rest(BETWEEN_PAGES)
        while time.perf_counter() < self._end:
            query = self._chance.choice(QUERIES)
            page = await self._post("search", {"query": query, "level": "series", "limit": 20})
            await self._post("count", {"query": query, "level": "instance"})
            await self._rest(BETWEEN_PAGES)
            await self._get("facets", "facets", {"tag": "SeriesDescription", "query": query})
            if page and page["next"]:
                body = {"query": query, "level": "series", "limit": 20, "cursor": page["next"]}
                page = await self._post("search", body) or page
            await self._rest(BETWEEN_PAGES)
            if page and page["rows"]:
                await self._scroll(self._chance.choice(page["rows"])["SeriesInstanceUID"])

    async def _scroll(self, series: str) -> None:
        query = f"SeriesInstanceUID StrEquals {series}"
        columns = ["SOPInstanceUID", "InstanceNumber"]
        body = {"query": query, "level": "instance", "columns": columns, "limit": 1000}
        slices = await self._post("search", {**body, "sort": [{"column": "InstanceNumber"}]})
        if not slices:
            return
        first = self._chance.randrange(max(len(slices["rows"]) - SCROLLED, 1))
        picture = self._chance.choice([{"format": "png"}, {"format": "jpeg", "center": "40", "width": "400"}])
        for row in slices["rows"][first : first + SCROLLED]:
            if time.perf_counter() > self._end:
                return
            await self._get("frame", f"instances/{row['SOPInstanceUID']}/frames/1", picture)
            await self._rest(BETWEEN_FRAMES)

    async def _post(self, what: str, body: dict[str, Any]) -> Any:
        answer = await self._ask(what, "POST", what, json=body)
        return answer.json() if answer is not None else None

    async def _get(self, what: str, path: str, params: dict[str, str]) -> None:
        await self._ask(what, "GET", path, params=params)

    async def _ask(self, what: str, method: str, path: str, **more: Any) -> httpx.Response | None:
        begun = time.perf_counter()
        try:
            answer = await self._client.request(method, path, headers=self._headers, **more)
        except httpx.HTTPError as error:
            self._measured.errors.append(f"{what}: {type(error).__name__}")
            return None
        if answer.status_code != 200:
            self._measured.errors.append(f"{what}: {answer.status_code} {answer.text[:200]}")
            return None
        if begun >= self._counts_from:
            self._measured.took[what].append(time.perf_counter() - begun)
        return answer

    async def _rest(self, seconds: tuple[float, float]) -> None:
        await asyncio.sleep(self._chance.uniform(*seconds))


def _rows(measured: Measured) -> Iterator[Row]:
    everything = measured.everything
    yield Row(f"load.{USERS}users.p95_ms", 1000 * share(everything, 0.95), "ms", command=COMMAND)
    yield Row(f"load.{USERS}users.p50_ms", 1000 * share(everything, 0.5), "ms", command=COMMAND)
    yield Row(f"load.{USERS}users.per_s", len(everything) / SECONDS, "answers/s", command=COMMAND)
    yield Row(f"load.{USERS}users.errors", len(measured.errors), "requests", command=COMMAND)
    for kind, took in sorted(measured.took.items()):
        yield Row(f"load.{kind}.p50_ms", 1000 * share(took, 0.5), "ms", command=COMMAND)
        yield Row(f"load.{kind}.p95_ms", 1000 * share(took, 0.95), "ms", command=COMMAND)
    yield Row("load.gateway.start_mb", measured.memory[0] / 2**20, "MiB", command=COMMAND)
    yield Row("load.gateway.peak_mb", max(measured.memory) / 2**20, "MiB", command=COMMAND)


def share(values: list[float], part: float) -> float:
    """Return the value that this part of all values does not exceed."""
    ordered = sorted(values)
    return ordered[min(int(part * len(ordered)), len(ordered) - 1)]


def _line(took: list[float]) -> str:
    parts = " ".join(f"p{100 * part:.0f} {1000 * share(took, part):7.1f} ms" for part in (0.5, 0.95, 1.0))
    return f"{len(took):6} answers  {parts}"
