"""Large files pass through the gateway in small pieces, and one that breaks off never looks whole."""

from __future__ import annotations

import contextlib
import hashlib
import socket
import time

import numpy as np
import psycopg
import pytest

from hub.tests.support import as_bytes, gateway_settings, image, indexing, serving, until
from rpacs_hub.settings import IndexerSettings

SIDE = 5000  # two bytes a pixel: 50 MB


@pytest.fixture
def large(base, orthanc_factory, tmp_path):
    """A gateway before an Orthanc with one large image, and a count of the bytes that it has taken from there."""
    research = orthanc_factory("large")
    pixels = np.arange(SIDE * SIDE, dtype=np.uint32).astype(np.uint16).astype(np.int16).reshape(SIDE, SIDE)
    dataset = image(pixels=pixels)
    data = as_bytes(dataset)
    research.upload(data)
    with indexing(IndexerSettings(base.indexer, research.url, poll=0.1)), psycopg.connect(base.gateway) as connection:

        def there() -> bool:
            try:
                with connection.transaction():
                    return connection.execute("SELECT count(*) FROM pacs.instance").fetchone() == (1,)
            except psycopg.errors.UndefinedTable:
                return False

        until(there, "the image in the index")
    with serving(gateway_settings(base, research.url, tmp_path)) as served:
        ada = served.tokens.add("ada")
        orthanc = served.gateway.services.orthanc
        taken = [0]
        original = orthanc.stream_file

        @contextlib.asynccontextmanager
        async def counted(name):
            async with original(name) as (length, chunks):

                async def count():
                    async for chunk in chunks:
                        taken[0] += len(chunk)
                        yield chunk

                yield length, count()

        orthanc.stream_file = counted
        yield served, ada, f"instances/{dataset.SOPInstanceUID}/file", data, taken, research


def slow_reader(served, path, headers) -> socket.socket:
    """Ask for a file and read nothing of it."""
    reader = socket.socket()
    # Set before connecting, so that the kernel cannot take the whole file in.
    reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    reader.connect(("127.0.0.1", int(served.client.base_url.port)))
    lines = [f"GET {served.client.base_url.path}{path} HTTP/1.1", "Host: x", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    reader.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
    reader.settimeout(30)
    return reader


def settled(taken) -> int:
    """Wait until nothing more is taken from Orthanc."""
    until(lambda: taken[0], "the first bytes")
    while True:
        before = taken[0]
        time.sleep(0.5)
        if taken[0] == before:
            return before


def test_a_slow_reader_slows_the_reading_from_orthanc(large):
    served, ada, path, data, taken, _ = large
    with slow_reader(served, path, ada) as reader:
        assert settled(taken) < len(data) / 4
        received = bytearray()
        while chunk := reader.recv(1 << 20):
            received += chunk
    head, _, body = bytes(received).partition(b"\r\n\r\n")
    assert f"Content-Length: {len(data)}".encode() in head
    assert hashlib.sha256(body).digest() == hashlib.sha256(data).digest()


def test_a_file_that_breaks_off_is_cut_and_never_looks_whole(large):
    served, ada, path, data, taken, research = large
    with slow_reader(served, path, ada) as reader:
        settled(taken)
        research.kill()
        received = 0
        with contextlib.suppress(ConnectionError):
            while chunk := reader.recv(1 << 20):
                received += len(chunk)
    assert received < len(data)
    assert served.get("me", ada).status_code == 200
    # Now that Orthanc is gone the answer is a status, not the beginning of a file.
    assert served.get(path, ada).status_code == 503


def test_a_reader_who_leaves_stops_the_reading(large):
    served, ada, path, data, taken, _ = large
    slow_reader(served, path, ada).close()
    assert settled(taken) < len(data)
    assert served.get("me", ada).status_code == 200


def test_a_file_beyond_the_limit_is_not_drawn(large, base, tmp_path):
    _, ada, path, *_, research = large
    with serving(gateway_settings(base, research.url, tmp_path, render_limit_bytes=1 << 20)) as served:
        served.tokens.add("ada")
        answer = served.get(path.replace("/file", "/frames/1"), ada)
        assert (answer.status_code, answer.json()["error"]) == (422, "not_an_image")
        assert answer.json()["message"] == "The file is larger than 1 MB, which is too much to draw here."
        tags = served.get(path.replace("/file", "/tags"), ada).json()
        assert {"path": "Rows", "value": str(SIDE)}.items() <= next(
            r for r in tags["tags"] if r["path"] == "Rows"
        ).items()
