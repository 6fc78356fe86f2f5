"""Exports to a real S3 server, with their state in a real PostgreSQL."""

import asyncio
import logging

import psycopg
import psycopg_pool
import pytest

from hub.tests.exports.support import Archive, done_is, ended, until
from rpacs_hub.exports import (
    Credentials,
    ExportConflict,
    Exporter,
    ExportNotFound,
    ExportRefused,
    ExportState,
    InstanceRef,
)
from rpacs_hub.exports.exporter import _Job

pytestmark = pytest.mark.anyio


async def test_every_byte_arrives_under_its_uids(running, archive, request_for, objects, s3, prefix):
    instances = archive.add(30) + archive.add(3, size=700_000, study=2)
    async with running() as exporter:
        submitted = await exporter.submit("clara", instances, request_for(query="Modality StrEquals CT"))
        export = await ended(exporter, submitted)
    assert submitted.state is ExportState.QUEUED
    assert (export.state, export.total, export.done, export.failed) == (ExportState.DONE, 33, 33, 0)
    assert export.bytes == sum(map(len, archive.files.values()))
    assert export.message == "Exported 33 of 33 instances."
    assert export.query == "Modality StrEquals CT"
    assert export.destination == f"s3://{s3.bucket}/{prefix}"
    assert export.created <= export.started <= export.finished
    assert objects() == {
        f"{i.study_uid}/{i.series_uid}/{i.sop_uid}.dcm": archive.files[i.orthanc_id] for i in instances
    }


async def test_the_record_as_json(running, archive, request_for):
    async with running() as exporter:
        export = await ended(exporter, await exporter.submit("clara", archive.add(1), request_for(level="series")))
    record = export.to_json()
    assert {key: record[key] for key in ("id", "user", "state", "level", "format", "total", "done", "failed")} == {
        "id": str(export.id),
        "user": "clara",
        "state": "done",
        "level": "series",
        "format": "dicom",
        "total": 1,
        "done": 1,
        "failed": 0,
    }
    assert record["created"] == export.created.isoformat()
    assert (record["resumable"], record["failures"], record["hint"]) == (False, [], "")


async def test_progress_is_visible_while_it_runs(running, archive, request_for):
    instances = archive.add(40)
    archive.stall_after = 20
    async with running() as exporter:
        export = await exporter.submit("clara", instances, request_for())

        await until(lambda: done_is(exporter, export, 20))
        now = await exporter.get("clara", export.id)
        assert (now.state, now.total, now.failed, now.bytes) == (ExportState.RUNNING, 40, 0, 20 * 2000)
        archive.go_on.set()
        assert (await ended(exporter, export)).done == 40


async def test_others_see_nothing_of_it(running, archive, request_for, s3):
    async with running() as exporter:
        first = await ended(exporter, await exporter.submit("clara", archive.add(1), request_for()))
        second = await ended(exporter, await exporter.submit("clara", archive.add(1), request_for()))
        assert [export.id for export in await exporter.list("clara")] == [second.id, first.id]
        assert await exporter.list("nora") == []
        keys = Credentials(s3.access_key, s3.secret_key)
        for ask in (
            lambda: exporter.get("nora", first.id),
            lambda: exporter.cancel("nora", first.id),
            lambda: exporter.resume("nora", first.id, keys),
            lambda: exporter.get("clara", "made-up"),
            lambda: exporter.get("clara", "00000000-0000-0000-0000-000000000000"),
        ):
            with pytest.raises(ExportNotFound):
                await ask()


async def test_repetitions_are_sent_once_and_equal_uids_do_not_overwrite(running, archive, request_for, objects):
    one, other = archive.add(2)
    twin = InstanceRef(other.orthanc_id, "P2", one.study_uid, one.series_uid, one.sop_uid)
    async with running() as exporter:
        export = await ended(exporter, await exporter.submit("clara", [one, one, twin], request_for()))
    assert (export.state, export.total, export.done, export.failed) == (ExportState.DONE, 2, 1, 1)
    assert export.message == "Exported 1 of 2 instances; not exported: 1 with the UIDs of another one in this export."
    assert list(objects().values()) == [archive.files[one.orthanc_id]]


async def test_failing_instances_are_named_and_the_others_go_on(running, archive, request_for, objects):
    instances = archive.add(10)
    del archive.files[instances[3].orthanc_id]
    odd = InstanceRef(instances[5].orthanc_id, "P1", "1.2", "..", "1.2.3/../4")
    instances[5] = odd
    async with running() as exporter:
        export = await ended(exporter, await exporter.submit("clara", instances, request_for()))
    assert (export.state, export.done, export.failed) == (ExportState.DONE, 8, 2)
    assert export.message == (
        "Exported 8 of 10 instances; not exported: 1 with UIDs that make no object name, 1 no longer in the archive."
    )
    assert "Resume" in export.hint
    assert [(f.sop_uid, f.reason) for f in export.failures] == [
        (instances[3].sop_uid, "not_found"),
        (odd.sop_uid, "invalid_uids"),
    ]
    assert len(objects()) == 8


async def test_nothing_to_export(running, request_for):
    async with running() as exporter:
        with pytest.raises(ExportRefused) as refused:
            await exporter.submit("clara", [], request_for())
        assert refused.value.code == "nothing_to_export"
        assert await exporter.list("clara") == []


# --- what S3 refuses ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"access_key": "AKIANOBODY"}, "S3 does not know this access key."),
        ({"secret_key": "wrong"}, "The secret key does not belong to the access key."),
        ({"bucket": "clinical-archive"}, "These keys may not write to s3://clinical-archive/"),
        ({"bucket": "no-such-bucket"}, "no-such-bucket"),
    ],
)
async def test_each_refusal_is_one_message_and_nothing_is_lost(
    running, archive, request_for, objects, s3, prefix, change, message
):
    instances = archive.add(20)
    keys = {"access_key": s3.access_key, "secret_key": s3.secret_key}
    bucket = change.pop("bucket", s3.bucket)
    async with running() as exporter:
        wrong = request_for(credentials=keys | change, destination=f"s3://{bucket}/{prefix}")
        export = await ended(exporter, await exporter.submit("clara", instances, wrong), timeout=30)
        assert export.state is ExportState.FAILED
        assert message in export.message
        assert export.hint
        assert (export.done, export.failed, export.resumable) == (0, 0, True)
        assert archive.fetched.total() == 1
        if bucket == s3.bucket:
            resumed = await exporter.resume("clara", export.id, Credentials(s3.access_key, s3.secret_key))
            export = await ended(exporter, resumed)
            assert (export.state, export.done) == (ExportState.DONE, 20)
            assert len(objects()) == 20


async def test_a_server_that_does_not_answer(running, archive, request_for):
    nobody = "http://127.0.0.1:9"
    async with running(allowed_endpoints=(nobody,)) as exporter:
        export = await ended(
            exporter, await exporter.submit("clara", archive.add(5), request_for(endpoint_url=nobody)), timeout=60
        )
    assert export.state is ExportState.FAILED
    assert "cannot be reached" in export.message
    assert "endpoint_url" in export.hint


async def test_an_endpoint_that_is_not_allowed_any_more_is_not_resumed(running, archive, request_for, s3):
    async with running() as exporter:
        bad = request_for(credentials={"access_key": "AKIANOBODY", "secret_key": "x"})
        export = await ended(exporter, await exporter.submit("clara", archive.add(1), bad))
    async with running(allowed_endpoints=()) as exporter:
        with pytest.raises(ExportRefused) as refused:
            await exporter.resume("clara", export.id, Credentials(s3.access_key, s3.secret_key))
        assert refused.value.code == "endpoint_not_allowed"
        with pytest.raises(ExportRefused):
            await exporter.submit("clara", archive.add(1), request_for())


async def test_an_export_of_which_the_end_was_just_written_can_be_resumed(running, archive, request_for, s3):
    keys = Credentials(s3.access_key, s3.secret_key)
    async with running() as exporter:
        bad = request_for(credentials={"access_key": "AKIANOBODY", "secret_key": "x"})
        export = await ended(exporter, await exporter.submit("clara", archive.add(1), bad))

        async def leave() -> None:
            for _ in range(5):  # longer than resume() takes to read what it wants to resume
                await exporter.get("clara", export.id)
            del exporter._jobs[export.id]

        exporter._jobs[export.id] = _Job(export.id, "clara", export, keys, asyncio.create_task(leave()))
        assert (await ended(exporter, await exporter.resume("clara", export.id, keys))).state is ExportState.DONE


# --- what the archive refuses --------------------------------------------------------------------------------------


async def test_a_dead_archive_is_one_message_and_nothing_is_lost(running, archive, request_for, s3):
    instances = archive.add(30)
    archive.dead = True
    async with running() as exporter:
        export = await ended(exporter, await exporter.submit("clara", instances, request_for()))
        assert (export.state, export.done, export.failed) == (ExportState.FAILED, 0, 0)
        assert "research Orthanc" in export.message
        archive.dead = False
        resumed = await exporter.resume("clara", export.id, Credentials(s3.access_key, s3.secret_key))
        assert (await ended(exporter, resumed)).done == 30


async def test_an_archive_that_restarts_is_waited_for(running, archive, request_for):
    instances = archive.add(40)
    archive.stall_after = 10
    async with running() as exporter:
        export = await exporter.submit("clara", instances, request_for())
        await archive.stalled.wait()
        archive.dead = True
        archive.go_on.set()
        await asyncio.sleep(1)
        archive.dead = False
        export = await ended(exporter, export)
    assert (export.state, export.done, export.failed) == (ExportState.DONE, 40, 0)


# --- turns ----------------------------------------------------------------------------------------------------------


async def test_turns_are_fair_and_limits_hold(running, archive, request_for):
    archive.stall_after = 0
    async with running(running=3, running_per_user=2, waiting_per_user=2) as exporter:
        clara = [await exporter.submit("clara", archive.add(1), request_for()) for _ in range(4)]
        with pytest.raises(ExportRefused) as refused:
            await exporter.submit("clara", archive.add(1), request_for())
        assert refused.value.code == "too_many_exports"
        nora = [await exporter.submit("nora", archive.add(1), request_for()) for _ in range(2)]
        states = {export.id: export.state for user in ("clara", "nora") for export in await exporter.list(user)}

        async def three_run():
            exports = await exporter.list("clara") + await exporter.list("nora")
            states.update({export.id: export.state for export in exports})
            return list(states.values()).count(ExportState.RUNNING) == 3

        await until(three_run)
        assert [states[export.id] for export in clara + nora] == ["running"] * 2 + ["queued"] * 2 + [
            "running",
            "queued",
        ]
        assert (await exporter.get("clara", clara[2].id)).message == "It waits until your other exports are done."
        assert (await exporter.get("nora", nora[1].id)).message == "It waits until other exports are done."
        archive.go_on.set()
        for export in clara + nora:
            assert (await ended(exporter, export)).state is ExportState.DONE


# --- endings before the end -----------------------------------------------------------------------------------------


async def test_cancel_stops_and_resume_sends_only_the_rest(running, archive, request_for, objects, s3):
    instances = archive.add(60)
    archive.stall_after = 25
    keys = Credentials(s3.access_key, s3.secret_key)
    async with running(grace=0.5) as exporter:
        export = await exporter.submit("clara", instances, request_for())
        await until(lambda: done_is(exporter, export, 25))
        with pytest.raises(ExportConflict):
            await exporter.resume("clara", export.id, keys)
        async with asyncio.timeout(30):
            cancelled = await exporter.cancel("clara", export.id)
        assert cancelled.state is ExportState.CANCELLED
        assert (cancelled.done, cancelled.failed) == (25, 0)
        assert cancelled.message == "Cancelled after 25 of 60 instances."
        assert len(objects()) == 25
        with pytest.raises(ExportConflict):
            await exporter.cancel("clara", export.id)

        archive.stall_after = None
        archive.fetched.clear()
        done = await ended(exporter, await exporter.resume("clara", export.id, keys))
        assert (done.state, done.done, done.bytes) == (ExportState.DONE, 60, 60 * 2000)
        assert archive.fetched.total() == 35
        assert len(objects()) == 60
        with pytest.raises(ExportConflict):
            await exporter.resume("clara", export.id, keys)


async def test_cancel_while_it_waits(running, archive, request_for):
    archive.stall_after = 0
    async with running(running_per_user=1) as exporter:
        await exporter.submit("clara", archive.add(1), request_for())
        second = await exporter.submit("clara", archive.add(1), request_for())
        assert (await exporter.cancel("clara", second.id)).state is ExportState.CANCELLED
        assert (await exporter.get("clara", second.id)).message == "Cancelled after 0 of 1 instances."


async def test_an_orderly_stop_interrupts(running, archive, request_for, objects, s3):
    instances = archive.add(30)
    archive.stall_after = 10
    async with running(grace=0.5, running_per_user=1) as exporter:
        export = await exporter.submit("clara", instances, request_for())
        waiting = await exporter.submit("clara", archive.add(1), request_for())
        await until(lambda: done_is(exporter, export, 10))
        await exporter.stop()
        with pytest.raises(ExportRefused):
            await exporter.submit("clara", instances, request_for())
    archive.stall_after = None
    async with running() as exporter:
        export = await exporter.get("clara", export.id)
        assert (export.state, export.done) == (ExportState.INTERRUPTED, 10)
        assert "Resume" in export.hint
        assert (await exporter.get("clara", waiting.id)).state is ExportState.INTERRUPTED
        export = await ended(
            exporter, await exporter.resume("clara", export.id, Credentials(s3.access_key, s3.secret_key))
        )
        assert (export.state, export.done) == (ExportState.DONE, 30)
        assert len(objects()) == 30


@pytest.fixture
def soon_given_up(monkeypatch):
    """An archive that never answered is given up at once, where that is not what the test is about."""
    monkeypatch.setattr("rpacs_hub.exports._transfer._FIRST_FETCH_PAUSES", (0.01,))


async def test_rights_that_were_taken_away_count_at_resume(running, archive, request_for, objects, s3, soon_given_up):
    instances = archive.add(20)
    hidden = {instance.orthanc_id for instance in instances[12:17]}
    archive.dead = True

    async def visible(orthanc_ids):
        return [orthanc_id for orthanc_id in orthanc_ids if orthanc_id not in hidden]

    async with running() as exporter:
        export = await ended(exporter, await exporter.submit("clara", instances, request_for()))
        archive.dead = False
        keys = Credentials(s3.access_key, s3.secret_key)
        export = await ended(exporter, await exporter.resume("clara", export.id, keys, visible=visible))
        assert (export.state, export.done, export.failed) == (ExportState.DONE, 15, 5)
        assert export.message == "Exported 15 of 20 instances; not exported: 5 not visible to you any more."
        assert not hidden & set(archive.fetched)
        assert len(objects()) == 15


async def test_rights_that_cannot_be_asked_for_leave_the_export_as_it_was(
    running, archive, request_for, s3, soon_given_up
):
    archive.dead = True

    async def visible(orthanc_ids):
        raise RuntimeError("the permissions cannot be read")

    async with running() as exporter:
        export = await ended(exporter, await exporter.submit("clara", archive.add(3), request_for()))
        keys = Credentials(s3.access_key, s3.secret_key)
        with pytest.raises(RuntimeError):
            await exporter.resume("clara", export.id, keys, visible=visible)
        now = await exporter.get("clara", export.id)
        assert (now.state, now.message, now.resumable) == (ExportState.FAILED, export.message, True)
        archive.dead = False
        assert (await ended(exporter, await exporter.resume("clara", export.id, keys))).done == 3


async def test_a_run_that_was_taken_over_writes_nothing(running, archive, request_for, database, objects):
    instances = archive.add(30)
    archive.stall_after = 10
    async with running(grace=0.5) as exporter:
        export = await exporter.submit("clara", instances, request_for())
        await archive.stalled.wait()
        # What another gateway does when it starts on the same database.
        async with running():
            assert (await exporter.get("clara", export.id)).state is ExportState.INTERRUPTED
            archive.go_on.set()

            async def gone():
                return not exporter._jobs

            await until(gone)
            now = await exporter.get("clara", export.id)
            assert now.state is ExportState.INTERRUPTED
            assert now.done <= 10


async def test_a_database_that_goes_away_is_waited_for(postgres, database, archive, request_for, s3):
    archive.add(60)
    instances = [InstanceRef(name, "P", "1.1", "1.2", f"1.3.{n}") for n, name in enumerate(archive.files)]
    archive.stall_after = 20
    # Without a check, the pool hands out connections that the server has cut.
    async with psycopg_pool.AsyncConnectionPool(database, min_size=1, max_size=2, open=False, timeout=1) as pool:
        exporter = Exporter(pool, archive.fetch, render=None, allowed_endpoints=(s3.endpoint_url,))
        await exporter.start()
        export = await exporter.submit("clara", instances, request_for())
        await archive.stalled.wait()
        name = database.rpartition("/")[2]
        with psycopg.connect(postgres.admin_url, autocommit=True) as admin:
            admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
            admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))
            archive.go_on.set()
            await asyncio.sleep(1.5)
            admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        await exporter._jobs[export.id].task
        export = await exporter.get("clara", export.id)
        assert (export.state, export.done, export.failed) == (ExportState.DONE, 60, 0)
        await exporter.stop()


# --- secrets ---------------------------------------------------------------------------------------------------------


async def test_credentials_are_in_no_table_and_no_log(running, archive, request_for, database, s3, caplog):
    caplog.set_level(logging.DEBUG)
    logging.getLogger("asyncio").setLevel(logging.DEBUG)
    secrets = ("AKIANOBODY0123", "WRONGSECRET0123", "SESSIONTOKEN0123", s3.access_key, s3.secret_key)
    wrong = {"access_key": secrets[0], "secret_key": secrets[1], "session_token": secrets[2]}
    instances = archive.add(5)
    async with running() as exporter:
        export = await ended(exporter, await exporter.submit("clara", instances, request_for(credentials=wrong)))
        assert export.state is ExportState.FAILED
        shown = repr(export) + str(export.to_json())
        export = await ended(
            exporter, await exporter.resume("clara", export.id, Credentials(s3.access_key, s3.secret_key))
        )
        assert export.state is ExportState.DONE
        shown += repr(export) + str(export.to_json())
    with psycopg.connect(database) as connection:
        tables = connection.execute(
            "SELECT format('%I.%I', table_schema, table_name) FROM information_schema.tables"
            " WHERE table_schema NOT IN ('pg_catalog', 'information_schema')"
        ).fetchall()
        assert {name for (name,) in tables} == {"gateway.exports", "gateway.export_instances"}
        dump = "".join(str(connection.execute(f"SELECT t::text FROM {name} t").fetchall()) for (name,) in tables)
    assert "orthanc-1" in dump
    assert "queued" in caplog.text
    for secret in secrets:
        assert secret not in dump
        assert secret not in caplog.text
        assert secret not in shown


async def test_logs_name_no_destination_query_or_uid(running, archive, request_for, prefix, caplog):
    caplog.set_level(logging.DEBUG, "rpacs_hub")
    instances = archive.add(3)
    archive.broken = {instances[1].orthanc_id}
    request = request_for(query="PatientName StrEquals 'Somebody'")
    async with running() as exporter:
        await exporter.submit("clara", instances, request)
        await asyncio.sleep(0)
        await exporter.stop()
    ours = " ".join(record.getMessage() for record in caplog.records if record.name.startswith("rpacs_hub"))
    assert "queued, 3 instances" in ours
    assert not any(word in ours for word in (prefix, "Somebody", instances[0].sop_uid, "orthanc-"))


async def test_tables_by_the_role_that_owns_the_schema_only(postgres, archive, request_for, s3):
    database = postgres.create_database()
    name = database.rpartition("/")[2]
    with psycopg.connect(database, autocommit=True) as admin:
        role = f"gateway_{name}"
        admin.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'pw'")
        admin.execute(f"CREATE SCHEMA gateway AUTHORIZATION {role}")
        admin.execute(f"ALTER ROLE {role} SET search_path = gateway")
    url = postgres.url(role, "pw", name)
    async with psycopg_pool.AsyncConnectionPool(
        url, min_size=1, open=False, kwargs={"row_factory": psycopg.rows.dict_row, "autocommit": True}
    ) as pool:
        for _ in range(2):
            exporter = Exporter(pool, Archive().fetch, render=None, allowed_endpoints=())
            await exporter.start()
            assert await exporter.list("clara") == []
            await exporter.stop()
