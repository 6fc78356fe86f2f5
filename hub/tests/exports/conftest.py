"""A running exporter on a fresh database, with an archive in memory that a test can break."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import AsyncIterator, Callable

import psycopg_pool
import pytest

from hub.tests.exports.support import Archive, no_pictures
from rpacs_hub.exports import Exporter, ExportRequest, parse_request


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture
def archive():
    return Archive()


@pytest.fixture
def database(postgres):
    return postgres.create_database()


@pytest.fixture
def prefix():
    """A place in the bucket that only this test writes to."""
    return f"test-{secrets.token_hex(6)}"


@pytest.fixture
def running(database, s3, archive) -> Callable[..., contextlib.AbstractAsyncContextManager[Exporter]]:
    """Open an exporter: ``async with running() as exporter``."""

    @contextlib.asynccontextmanager
    async def open_exporter(**options) -> AsyncIterator[Exporter]:
        options = {"render": no_pictures, "allowed_endpoints": (s3.endpoint_url,)} | options
        url = options.pop("url", database)
        async with psycopg_pool.AsyncConnectionPool(url, min_size=1, max_size=4, open=False) as pool:
            exporter = Exporter(pool, options.pop("fetch", archive.fetch), **options)
            await exporter.start()
            try:
                yield exporter
            finally:
                archive.go_on.set()
                await exporter.stop()

    return open_exporter


@pytest.fixture
def request_for(s3, prefix) -> Callable[..., ExportRequest]:
    """A request to the test's prefix of the real S3 server; keywords replace parts of the body."""

    def make(**changes) -> ExportRequest:
        body = {
            "query": "",
            "destination": f"s3://{s3.bucket}/{prefix}",
            "credentials": {"access_key": s3.access_key, "secret_key": s3.secret_key},
            "endpoint_url": s3.endpoint_url,
        }
        endpoint = changes.get("endpoint_url", s3.endpoint_url)
        return parse_request(body | changes, [endpoint] if endpoint else [])

    return make


@pytest.fixture
def objects(s3, prefix) -> Callable[[], dict[str, bytes]]:
    """Return what lies below the test's prefix: the key's rest -> bytes."""

    def read() -> dict[str, bytes]:
        client = s3.client()
        found = {}
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=s3.bucket, Prefix=f"{prefix}/"):
            for item in page.get("Contents", []):
                body = client.get_object(Bucket=s3.bucket, Key=item["Key"])["Body"].read()
                found[item["Key"].removeprefix(f"{prefix}/")] = body
        return found

    return read
