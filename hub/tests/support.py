"""What the tests of the data side share: a database with its roles, services in threads, made-up images."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psycopg
import pydicom
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from tornado.web import create_signed_value

from demo.parts import free_port
from rpacs_hub.gateway import Gateway
from rpacs_hub.gateway._exchange import ApiError
from rpacs_hub.gateway.sessions import SESSION_COOKIE, Session
from rpacs_hub.index import Indexer
from rpacs_hub.permissions import Actor
from rpacs_hub.settings import GatewaySettings, IndexerSettings

PERMISSIONS = """
Profiles:
  CT only:
    Description: Computed tomography
    DICOMQueryFilter: Modality StrEquals CT
  Everything:
    Description: All images
Permissions:
  - Groups: [ct-researchers]
    Profiles: CT only
  - Users: [ada]
    Profiles: [Everything]
"""

OPEN = "/services/pacs/api/v1/health"
"""The one address that hands out nothing and leaves no line."""


@dataclass(frozen=True)
class Base:
    """A fresh database with roles and schemas."""

    name: str
    urls: dict[str, str]
    admin_url: str

    @property
    def indexer(self) -> str:
        return self.urls["rpacs_indexer"]

    @property
    def gateway(self) -> str:
        return self.urls["rpacs_gateway"]


def until(condition: Callable[[], Any], what: str, seconds: float = 20) -> Any:
    """Poll until the condition is true and return its value."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.05)
    return found


class Looped:
    """An event loop in a thread, for services that run beside a test."""

    def __enter__(self) -> Looped:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()
        return self

    def do(self, coroutine: Any, seconds: float = 30) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(seconds)

    def __exit__(self, *_: object) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(10)
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()


@contextlib.contextmanager
def indexing(settings: IndexerSettings) -> Iterator[Indexer]:
    """Run an indexer beside the block."""
    with Looped() as looped:
        indexer = looped.do(_make(Indexer, settings))
        running = asyncio.run_coroutine_threadsafe(indexer.run(), looped.loop)
        try:
            yield indexer
        finally:
            looped.loop.call_soon_threadsafe(indexer.stop)
            running.result(30)


async def _make(kind: Callable[..., Any], *arguments: Any) -> Any:
    return kind(*arguments)


class Tokens:
    """An authenticator that knows the tokens of a test."""

    def __init__(self) -> None:
        self.actors: dict[str, Actor] = {}

    def add(self, name: str, *groups: str, admin: bool = False) -> dict[str, str]:
        token = f"token-of-{name}"
        self.actors[token] = Actor(name, frozenset(groups), admin)
        return {"Authorization": f"token {token}"}

    async def actor(self, token: str, session: str = "", *, fresh: bool = False) -> Actor:  # noqa: ARG002 - its signature
        if token not in self.actors:
            raise ApiError(401, "token_invalid", "Nobody holds this token.")
        return self.actors[token]

    async def person(self, name: str) -> Actor:
        found = next((actor for actor in self.actors.values() if actor.name == name), None)
        if found is None:
            raise ApiError(404, "not_found", "The Hub has no such user.")
        return found

    async def everybody(self, token: str) -> list[Actor]:  # noqa: ARG002 - its signature
        return list(self.actors.values())

    def forget(self, name: str) -> None:
        pass

    def withdraw(self, name: str, group: str) -> None:
        for token, actor in self.actors.items():
            if actor.name == name:
                self.actors[token] = replace(actor, groups=actor.groups - {group})

    def restore(self, name: str, group: str) -> None:
        pass

    async def close(self) -> None:
        pass


@dataclass
class Served:
    """A gateway that runs, and its users' headers."""

    gateway: Gateway
    url: str
    client: httpx.Client
    tokens: Tokens
    settings: GatewaySettings
    looped: Looped
    answered: list[str] = field(default_factory=list)
    """Numbers of all answers that handed something out, in order."""

    def get(self, path: str, user: dict[str, str] | None = None, **params: Any) -> httpx.Response:
        return self.client.get(path, headers=user or {}, params=params or None)

    def post(self, path: str, user: dict[str, str] | None, body: Any) -> httpx.Response:
        return self.client.post(path, headers=user or {}, json=body)

    def browser(self, name: str, *groups: str, admin: bool = True, token: str = "") -> Pages:
        """Return a browser in which somebody is signed in; it follows no redirects.

        `token` is her token of a real Hub, where the pages are to act there.
        """
        made = self.tokens.add(name, *groups, admin=admin)["Authorization"].split()[1]
        if token:
            self.tokens.actors[token] = self.tokens.actors[made]
        token = token or made
        sessions = self.gateway.services.sessions
        cookie = create_signed_value(sessions.secret, SESSION_COOKIE, token).decode()
        form_token = sessions.form_token(Session(self.tokens.actors[token], token))
        return Pages(self.url.replace("/api/v1/", "/admin/"), cookie, form_token, self.note)

    def note(self, answer: httpx.Response) -> None:
        """Remember an answer that must have its audit line: all that hand something out but the open address."""
        if answer.status_code < 400 and answer.request.method != "OPTIONS" and answer.url.path != OPEN:
            self.answered.append(answer.headers["X-Request-Id"])

    def check_audit(self) -> None:
        """Make sure that each answer of this gateway has its line: whichever tests asked, whatever they were about."""
        with psycopg.connect(self.settings.database_url) as connection:
            lines = connection.execute(
                "SELECT request_id FROM audit.event WHERE request_id = ANY(%s)", (self.answered,)
            ).fetchall()
        missing = set(self.answered) - {number for (number,) in lines}
        assert not missing, f"{len(missing)} of {len(self.answered)} answers have no audit line"


class Pages:
    """The pages of the administration, in somebody's browser."""

    def __init__(self, url: str, cookie: str, form_token: str, note: Callable[[httpx.Response], None]) -> None:
        self.cookies, self.form_token = {SESSION_COOKIE: cookie}, form_token
        hooks = {"response": [note]}
        self._client = httpx.Client(base_url=url, timeout=30, trust_env=False, cookies=self.cookies, event_hooks=hooks)

    def get(self, path: str = "", **more: Any) -> httpx.Response:
        return self._client.get(path, **more)

    def post(self, path: str, fields: dict[str, Any] | None = None, **more: Any) -> httpx.Response:
        """Send a form of a page."""
        return self._client.post(path, data={"_xsrf": self.form_token, **(fields or {})}, **more)

    def follow(self, answer: httpx.Response) -> httpx.Response:
        """Go where an answer sends the browser."""
        assert answer.status_code == 303, answer.text
        return self._client.get(str(answer.url.join(answer.headers["Location"])))

    def close(self) -> None:
        self._client.close()


@contextlib.contextmanager
def serving(settings: GatewaySettings, authenticator: Any = None) -> Iterator[Served]:
    """Serve a gateway on a free port beside the block."""
    port = free_port()
    root = f"http://127.0.0.1:{port}"
    # dicomweb-client sends a Host without the port, so the address that answers name is set, as the Hub does.
    settings = replace(settings, service_url=root, public_url=f"{root}/services/pacs/")
    tokens = Tokens() if authenticator is None else authenticator
    url = f"http://127.0.0.1:{port}/services/pacs/api/v1/"
    with Looped() as looped, httpx.Client(base_url=url, timeout=30, trust_env=False) as client:
        gateway = looped.do(_make(Gateway, settings, tokens))
        looped.do(gateway.start())
        served = Served(gateway, url, client, tokens, settings, looped)
        client.event_hooks["response"].append(served.note)
        try:
            yield served
        finally:
            looped.do(gateway.stop())
        if served.answered:
            served.check_audit()


def without_nonce(page: str) -> str:
    """Return a page without what is random in it: its nonce may hold any few letters that a test looks for."""
    return re.sub(r'nonce="[^"]+"', "", page)


def image(
    *,
    modality: str = "CT",
    patient: str = "P1",
    issuer: str | None = None,
    study: str | None = None,
    series: str | None = None,
    number: int = 1,
    size: int = 16,
    pixels: np.ndarray | None = None,
    **elements: Any,
) -> FileDataset:
    """Make an image; further elements by keyword."""
    dataset = FileDataset("", {}, file_meta=FileMetaDataset(), preamble=b"\0" * 128)
    dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    dataset.SOPInstanceUID = generate_uid()
    dataset.StudyInstanceUID = study or generate_uid()
    dataset.SeriesInstanceUID = series or generate_uid()
    dataset.PatientID, dataset.PatientName = patient, f"{patient}^Pseudo"
    if issuer is not None:
        dataset.IssuerOfPatientID = issuer
    dataset.Modality, dataset.InstanceNumber = modality, number
    dataset.StudyDate, dataset.StudyDescription = "20260102", "Chest"
    array = np.arange(size * size, dtype=np.int16).reshape(size, size) if pixels is None else pixels
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = array.shape[-2:]
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 16, 15
    dataset.PixelRepresentation = 1
    if array.ndim == 3:
        dataset.NumberOfFrames = array.shape[0]
    dataset.PixelData = array.astype("<i2").tobytes()
    dataset["PixelData"].VR = "OW"
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    return dataset


def audit_lines(base: Base, request_id: str) -> list[dict[str, Any]]:
    """Return the audit lines of one request."""
    statement = "SELECT line FROM audit.event WHERE request_id = %s ORDER BY seq"
    with psycopg.connect(base.gateway) as connection:
        found = connection.execute(statement, (request_id,)).fetchall()
    return [json.loads(line) for (line,) in found]


def as_bytes(dataset: pydicom.Dataset) -> bytes:
    """Return a dataset as a DICOM file."""
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def gateway_settings(base: Base, research_url: str, folder: Path, **changes: Any) -> GatewaySettings:
    """Return settings of a gateway whose files lie in a folder; the permissions are `PERMISSIONS`."""
    permissions = folder / "permissions.yaml"
    if not permissions.exists():
        permissions.write_text(PERMISSIONS)
    settings = GatewaySettings(
        database_url=base.gateway,
        research_url=research_url,
        permissions=permissions,
        audit_log=folder / "audit.jsonl",
    )
    return replace(settings, **changes)
