"""What the tests of exports share: an archive in memory, waiting, and an S3 server that misbehaves on request."""

# ruff: noqa: ASYNC109, ASYNC110 - tests wait as clients do, by asking again

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from rpacs_hub.errors import OrthancMissing
from rpacs_hub.exports import Export, Exporter, InstanceRef


@dataclass
class Archive:
    """What the research Orthanc is for the exporter: files by id, with switches to make it slow or dead."""

    files: dict[str, bytes] = field(default_factory=dict)
    fetched: Counter[str] = field(default_factory=Counter)
    broken: set[str] = field(default_factory=set)
    dead: bool = False
    stall_after: int | None = None
    stalled: asyncio.Event = field(default_factory=asyncio.Event)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)

    def add(self, count: int, size: int = 2000, study: int = 1) -> list[InstanceRef]:
        """Put files of random bytes there and return their names."""
        names = []
        for _ in range(count):
            number = len(self.files) + 1
            name = InstanceRef(f"orthanc-{number}", "P1", f"1.2.{study}", f"1.2.{study}.1", f"1.2.{study}.1.{number}")
            self.files[name.orthanc_id] = os.urandom(size)
            names.append(name)
        return names

    async def fetch(self, orthanc_id: str) -> bytes:
        await asyncio.sleep(0)
        if self.dead or orthanc_id in self.broken:
            raise ConnectionError("nobody answers")
        if orthanc_id not in self.files:
            raise OrthancMissing("not there")
        self.fetched[orthanc_id] += 1
        if self.stall_after is not None and self.fetched.total() > self.stall_after:
            self.stalled.set()
            await self.go_on.wait()
        return self.files[orthanc_id]


def no_pictures(source, frame, format):  # noqa: A002
    raise AssertionError("no pictures were asked for")


async def ended(exporter: Exporter, export: Export, timeout: float = 60) -> Export:
    """Wait for the end of an export, as a client does: by asking."""
    async with asyncio.timeout(timeout):
        while (now := await exporter.get(export.user, export.id)).state.active:
            await asyncio.sleep(0.05)
    return now


async def done_is(exporter: Exporter, export: Export, count: int) -> bool:
    """Whether so many instances are noted as sent."""
    return (await exporter.get(export.user, export.id)).done == count


async def until(condition, timeout: float = 30) -> None:
    """Wait until a coroutine function returns something true."""
    async with asyncio.timeout(timeout):
        while not await condition():
            await asyncio.sleep(0.02)


Answer = tuple[int, dict[str, str], bytes]


class FaultyS3:
    """Speaks just enough S3 to answer PUTs with the faults that a real server shows only on bad days.

    Parameters
    ----------
    answer
        Given the number of the request (from 0), the key and the body, returns (status, headers, XML).
    """

    def __init__(self, answer: Callable[[int, str, bytes], Answer]):
        self.requests: list[str] = []
        lock = threading.Lock()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_PUT(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with lock:
                    number = len(server.requests)
                    server.requests.append(self.path)
                status, headers, text = answer(number, self.path, body)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    @classmethod
    @contextlib.contextmanager
    def serving(cls, answer: Callable[[int, str, bytes], Answer]) -> Iterator[FaultyS3]:
        server = cls(answer)
        thread = threading.Thread(target=server._server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server
        finally:
            server._server.shutdown()
            thread.join()
            server._server.server_close()


def refusal(status: int, code: str, **headers: str) -> Answer:
    """An error as S3 writes it."""
    text = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>words</Message></Error>"
    return status, {"Content-Type": "application/xml", **headers}, text.encode()
