"""An exporter in a process of its own, for a test to kill. Keys and the database's address come by the environment."""

from __future__ import annotations

import asyncio
import os

import psycopg_pool

from rpacs_hub.exports import Exporter, InstanceRef, parse_request

SIZE = 3000


def instances(count: int) -> list[InstanceRef]:
    """The instances of the test, the same in every process."""
    return [InstanceRef(f"orthanc-{n}", "P1", "1.2.3", "1.2.3.4", f"1.2.3.4.{n}") for n in range(count)]


def content(orthanc_id: str) -> bytes:
    """The bytes of an instance, the same in every process."""
    return (orthanc_id.encode() + b"\x00") * (SIZE // (len(orthanc_id) + 1))


async def main() -> None:
    """Export, but hang at the instance after the first ``STALL_AFTER``."""
    endpoint = os.environ["S3_ENDPOINT"]
    body = {
        "query": "",
        "destination": os.environ["S3_DESTINATION"],
        "endpoint_url": endpoint,
        "credentials": {"access_key": os.environ["S3_ACCESS_KEY"], "secret_key": os.environ["S3_SECRET_KEY"]},
    }
    fetched = 0

    async def fetch(orthanc_id: str) -> bytes:
        nonlocal fetched
        fetched += 1
        if fetched > int(os.environ["STALL_AFTER"]):
            await asyncio.Event().wait()
        return content(orthanc_id)

    async with psycopg_pool.AsyncConnectionPool(os.environ["DATABASE_URL"], min_size=1, open=False) as pool:
        exporter = Exporter(pool, fetch, render=lambda *_: b"", allowed_endpoints=(endpoint,))
        await exporter.start()
        for _ in range(2):
            await exporter.submit("clara", instances(int(os.environ["COUNT"])), parse_request(body, (endpoint,)))
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
