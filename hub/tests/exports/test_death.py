"""The gateway's process is killed in the middle of an export."""

import asyncio
import os
import sys

import psycopg_pool
import pytest

from hub.tests.exports import dying_exporter
from hub.tests.exports.support import ended, until
from rpacs_hub.exports import Credentials, Exporter, ExportState

pytestmark = pytest.mark.anyio

COUNT = 60


async def test_kill_then_interrupted_then_resume_sends_only_the_rest(database, s3, prefix, objects):
    environment = {
        "DATABASE_URL": database,
        "S3_ENDPOINT": s3.endpoint_url,
        "S3_DESTINATION": f"s3://{s3.bucket}/{prefix}",
        "S3_ACCESS_KEY": s3.access_key,
        "S3_SECRET_KEY": s3.secret_key,
        "STALL_AFTER": "21",
        "COUNT": str(COUNT),
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, dying_exporter.__file__, env=os.environ | environment, stdout=sys.stderr
    )
    fetched = []

    async def fetch(orthanc_id):
        fetched.append(orthanc_id)
        return dying_exporter.content(orthanc_id)

    async with psycopg_pool.AsyncConnectionPool(database, min_size=1, open=False) as pool:
        exporter = Exporter(pool, fetch, render=None, allowed_endpoints=(s3.endpoint_url,))

        async def in_the_middle():
            assert process.returncode is None, "the process ended by itself"
            async with pool.connection() as connection:
                cursor = await connection.execute("SELECT to_regclass('gateway.export_instances')")
                if (await cursor.fetchone())[0] is None:
                    return False
                cursor = await connection.execute("SELECT sum(done) FROM gateway.exports")
                return (await cursor.fetchone())[0] == 21

        try:
            await until(in_the_middle)
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()

        await exporter.start()
        second, first = await exporter.list("clara")
        for export in (first, second):
            assert export.state is ExportState.INTERRUPTED
            assert export.message == "The gateway stopped before the export was done."
            assert "Resume" in export.hint
        assert first.done + second.done == 21
        await asyncio.sleep(0)
        assert fetched == []

        keys = Credentials(s3.access_key, s3.secret_key)
        for export in (first, second):
            fetched.clear()
            done = await ended(exporter, await exporter.resume("clara", export.id, keys))
            assert (done.state, done.done, done.failed) == (ExportState.DONE, COUNT, 0)
            assert len(fetched) == len(set(fetched)) == COUNT - export.done
        await exporter.stop()
    assert objects() == {
        f"{i.study_uid}/{i.series_uid}/{i.sop_uid}.dcm": dying_exporter.content(i.orthanc_id)
        for i in dying_exporter.instances(COUNT)
    }
