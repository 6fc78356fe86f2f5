"""What could go wrong around the queue: lost jobs, a lost change log, a database that is away, a worker asleep."""

from __future__ import annotations

import os
import signal
import textwrap
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

DISK_FULL_PLUGIN = textwrap.dedent(
    """
    import os, orthanc
    FOLDER = {folder!r}
    def create(uuid, content_type, data):
        if os.path.exists(os.path.join(FOLDER, "full")):
            raise OSError("No space left on device")
        with open(os.path.join(FOLDER, uuid), "wb") as file:
            file.write(data)
    def read(uuid, content_type):
        with open(os.path.join(FOLDER, uuid), "rb") as file:
            return file.read()
    def remove(uuid, content_type):
        os.remove(os.path.join(FOLDER, uuid))
    orthanc.RegisterStorageArea(create, read, remove)
    """
)


def test_instances_whose_jobs_are_lost_are_queued_again(deployment, make_instance):
    deployment.run("--once").wait(60)
    deployment.upload(make_instance())
    with psycopg.connect(deployment.database_url) as connection:
        connection.execute(
            "INSERT INTO deid.inbox (orthanc_id, queued_at) VALUES (%s, now() - interval '1 hour')",
            (deployment.ingest.get("/instances")[0],),
        )
    deployment.run("--once").wait(60)
    assert deployment.research.count() == 1
    assert deployment.status().queued == 0


def test_new_ingest_orthanc_with_a_younger_change_log_is_followed(deployment, make_instance):
    deployment.run("--once").wait(60)
    with psycopg.connect(deployment.database_url) as connection:
        connection.execute("UPDATE deid.feed SET position = 1000000000")
    deployment.upload(make_instance())
    deployment.run("--processes", "1")
    deployment.wait_idle(1)
    deployment.upload(make_instance())
    deployment.wait_idle(2)
    assert deployment.research.count() == 2


def test_instance_that_somebody_removed_is_counted_as_gone(deployment, make_instance):
    deployment.run("--once").wait(60)
    with psycopg.connect(deployment.database_url) as connection:
        connection.execute(
            "INSERT INTO deid.inbox (orthanc_id, queued_at) VALUES ('no-such-id', now() - interval '1 hour')"
        )
        connection.execute(
            "INSERT INTO deid.quarantine (orthanc_id, reason, message, rules_digest, last_seen)"
            " VALUES ('nor-this-one', 'malformed', '', '', now() - interval '1 hour')"
        )
    deployment.run("--once").wait(60)
    assert deployment.status().counts == {"gone": 2}
    assert deployment.status().quarantined == {}


def test_database_that_is_away_is_waited_for(deployment, make_instance):
    deployment.run("--processes", "1")
    deployment.wait(lambda: deployment.status().well, "the service is not well")
    parts = urlsplit(deployment.database_url)
    name = parts.path.lstrip("/")
    admin = deployment.database_url.removesuffix(name) + "postgres"
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))
        deployment.upload(*(make_instance(number=number) for number in range(20)))
        deployment.wait_log("the database does not answer")
        answer = deployment.call("status")
        assert answer.returncode == 1
        assert "the database does not answer" in answer.stderr
        connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
    deployment.wait_idle(20)
    assert deployment.research.count() == 20
    deployment.wait(lambda: deployment.status().well, "status still tells of trouble")
    assert parts.password not in deployment.log_text()


def test_sleeping_worker_is_replaced_and_does_no_harm_when_it_wakes(deployment, make_instance):
    deployment.upload(*(make_instance(number=number) for number in range(150)))
    sleeper = deployment.run("--processes", "1")
    deployment.wait(lambda: deployment.research.count() >= 20, "nothing was forwarded")
    os.kill(sleeper.pid, signal.SIGSTOP)
    # The sleeper keeps its database session and so the feeder's lock, as a suspended machine would: cut it off.
    name = urlsplit(deployment.database_url).path.lstrip("/")
    with psycopg.connect(deployment.database_url) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()",
            (name,),
        )
    deployment.run("--processes", "1")
    deployment.wait_idle(150)
    os.kill(sleeper.pid, signal.SIGCONT)
    deployment.upload(make_instance(number=4000))
    deployment.wait_idle(151)
    deployment.wait(lambda: deployment.ingest.count() == 0, "originals are still there")
    assert deployment.research.count() == 151
    assert deployment.status().counts == {"done": 151}


def test_full_disk_of_the_research_orthanc_is_waited_for(deployment, orthanc_factory, make_instance, tmp_path):
    plugin = "/usr/share/orthanc/plugins/libOrthancPython.so"
    if not Path(plugin).exists():
        pytest.skip("Orthanc's Python plugin is not installed")
    (tmp_path / "area").mkdir()
    script = tmp_path / "area.py"
    script.write_text(DISK_FULL_PLUGIN.format(folder=str(tmp_path / "area")))
    deployment.research = orthanc_factory("full", Plugins=[plugin], PythonScript=str(script))
    (tmp_path / "area" / "full").touch()
    deployment.upload(*(make_instance(number=number) for number in range(20)))
    deployment.run("--processes", "1")
    deployment.wait_log("is its disk full?")
    deployment.wait(lambda: deployment.status().queued == 20, "not all of them wait")
    assert deployment.status().quarantined == {}
    (tmp_path / "area" / "full").unlink()
    deployment.wait_idle(20)
    assert deployment.research.count() == 20
    deployment.wait(lambda: deployment.ingest.count() == 0, "originals are still there")
