"""Everybody's exports: seen and stopped by an administrator, here and from another process."""

import asyncio
import json

import psycopg
import psycopg_pool
import pytest

from hub.tests.exports.support import done_is, ended, until
from rpacs_hub.cli import main
from rpacs_hub.errors import DatabaseUnavailable
from rpacs_hub.exports import EveryonesExports, ExportConflict, ExportNotFound, ExportState

pytestmark = pytest.mark.anyio


@pytest.fixture
async def pool(database):
    async with psycopg_pool.AsyncConnectionPool(database, min_size=1, max_size=2, open=False) as found:
        yield found


async def test_exports_of_all_are_listed_and_paged(running, archive, request_for, pool):
    async with running() as exporter:
        everyones = EveryonesExports(pool, exporter)
        made = [
            await ended(exporter, await exporter.submit(user, archive.add(1), request_for()))
            for user in ("clara", "ada", "clara")
        ]
        newest = [export.id for export in reversed(made)]
        assert [export.id for export in await everyones.list()] == newest
        assert [export.user for export in await everyones.list(user="ada")] == ["ada"]
        assert [export.id for export in await everyones.list(limit=2)] == newest[:2]
        assert [export.id for export in await everyones.list(before=newest[1])] == newest[2:]
        assert await everyones.list(active=True) == []
        assert (await everyones.get(str(newest[0]))).bytes == 2000
        for unknown in ("made-up", "00000000-0000-0000-0000-000000000000"):
            with pytest.raises(ExportNotFound):
                await everyones.get(unknown)
        with pytest.raises(ExportConflict):
            await everyones.cancel(newest[0], "too late")


async def test_an_administrator_cancels_and_the_owner_reads_why(running, archive, request_for, objects, pool):
    archive.stall_after = 5
    async with running(grace=0.5) as exporter:
        export = await exporter.submit("clara", archive.add(20), request_for())
        await until(lambda: done_is(exporter, export, 5))
        everyones = EveryonesExports(pool, exporter)
        assert [one.id for one in await everyones.list(active=True)] == [export.id]
        cancelled = await everyones.cancel(export.id, "the wrong bucket")
        assert cancelled.state is ExportState.CANCELLED
        seen = await exporter.get("clara", export.id)
        assert seen.message == "Cancelled by an administrator after 5 of 20 instances: the wrong bucket"
        assert len(objects()) == 5


async def test_one_that_waits_is_cancelled_too(running, archive, request_for, pool):
    archive.stall_after = 0
    async with running(running_per_user=1) as exporter:
        await exporter.submit("clara", archive.add(1), request_for())
        second = await exporter.submit("clara", archive.add(1), request_for())
        assert (await EveryonesExports(pool, exporter).cancel(second.id, "no")).state is ExportState.CANCELLED


async def test_another_process_cancels_and_the_one_that_runs_it_gives_up(running, archive, request_for, pool):
    archive.stall_after = 5
    async with running() as exporter:
        export = await exporter.submit("clara", archive.add(20), request_for())
        await until(lambda: done_is(exporter, export, 5))
        cancelled = await EveryonesExports(pool).cancel(export.id, "from the terminal")
        assert (cancelled.state, cancelled.done) == (ExportState.CANCELLED, 5)
        archive.go_on.set()
        archive.stall_after = None

        async def gone() -> bool:
            return not exporter._jobs

        await until(gone)
        now = await exporter.get("clara", export.id)
        # What was on its way may have arrived; the run itself ended when it wanted to note that.
        assert (now.state, now.done) == (ExportState.CANCELLED, 5)
        with pytest.raises(ExportConflict):
            await EveryonesExports(pool).cancel(export.id, "again")


async def test_before_any_gateway_ran_there_is_nothing_to_list(pool):
    with pytest.raises(DatabaseUnavailable, match="no tables of exports yet"):
        await EveryonesExports(pool).list()


async def test_the_commands(running, archive, request_for, new_base, monkeypatch, capsys):
    base = new_base()
    monkeypatch.setenv("RPACS_DATABASE_URL", base.gateway)
    monkeypatch.setattr("getpass.getuser", lambda: "ann")

    async def command(*arguments: str) -> int:
        return await asyncio.to_thread(main, list(arguments))

    assert await command("exports", "list") == 1
    assert "no tables of exports yet" in capsys.readouterr().err
    archive.stall_after = 0
    async with running(url=base.gateway) as exporter:
        assert await command("exports", "list") == 0
        assert capsys.readouterr().out == "There are no such exports.\n"
        export = await exporter.submit("clara", archive.add(2), request_for())
        assert await command("exports", "list", "--active", "--user", "clara") == 0
        assert capsys.readouterr().out.split()[0] == str(export.id)
        assert await command("exports", "cancel", str(export.id), "--why", "wrong bucket") == 0
        assert capsys.readouterr().out == "Cancelled by an administrator after 0 of 2 instances: wrong bucket\n"
        assert await command("exports", "cancel", str(export.id), "--why", "again") == 1
        assert "has ended already" in capsys.readouterr().err
        assert await command("exports", "list", "--json") == 0
        (listed,) = json.loads(capsys.readouterr().out)
        assert (listed["user"], listed["state"]) == ("clara", "cancelled")
    with psycopg.connect(base.gateway) as connection:
        lines = [json.loads(line) for (line,) in connection.execute("SELECT line FROM audit.event ORDER BY seq")]
    assert [(one["user"], one["action"], one["identifiers"], one["reason"], one["decision"]) for one in lines] == [
        ("ann (terminal)", "admin_cancel_export", [str(export.id)], "wrong bucket", "allowed"),
        ("ann (terminal)", "admin_cancel_export", [str(export.id)], "again", "error"),
    ]
