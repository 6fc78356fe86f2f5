"""What the hub's role sees of the service and may ask of it: its views, one function, and nothing else."""

from __future__ import annotations

import contextlib
import io
import json

import psycopg
import pydicom
import pytest
from pydicom.uid import generate_uid

from deid_service.errors import REFUSAL_REASONS
from deid_service.pipeline import schema, shown
from deid_service.pipeline.kinds import MODALITIES, Kind, kind_of, kind_of_parts
from deid_service.pipeline.reasons import REASONS, REMEDIES


@pytest.fixture(scope="module")
def reader(postgres):
    """Make the role that may look, unless other tests have made it; roles belong to the whole cluster."""
    with (
        psycopg.connect(postgres.admin_url, autocommit=True) as connection,
        contextlib.suppress(psycopg.errors.DuplicateObject),
    ):
        connection.execute(f"CREATE ROLE {shown.READER} LOGIN")
    return shown.READER


def ask(url: str, statement: str, *values: object) -> list[tuple]:
    """Run a statement as the reader."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"SET ROLE {shown.READER}")
        return connection.execute(statement, values).fetchall()


def test_every_reason_says_what_to_do():
    assert set(REASONS) == set(REMEDIES)
    assert set(REFUSAL_REASONS) <= set(REASONS)
    assert all(text.endswith(".") for text in REMEDIES.values())


def test_the_reader_reads_the_views_and_no_table_and_calls_one_function(postgres, reader):
    url = postgres.create_database()
    schema.prepare(url)
    with psycopg.connect(url) as connection:
        names = connection.execute(
            "SELECT relname, relkind FROM pg_class WHERE relnamespace = 'deid'::regnamespace AND relkind IN"
            " ('r', 'v', 'm', 'p', 'S')"
        ).fetchall()
        functions = connection.execute(
            "SELECT oid::regprocedure::text, has_function_privilege(%s, oid, 'EXECUTE') FROM pg_proc"
            " WHERE pronamespace = 'deid'::regnamespace",
            (reader,),
        ).fetchall()
    assert {name for name, kind in names if kind == "v"} == set(shown.VIEWS)
    tables = {name for name, kind in names if kind != "v"}
    assert {"journal", "inbox", "quarantine", "request", "procrastinate_jobs", "feed"} <= tables
    for name in tables:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            ask(url, f"SELECT * FROM deid.{name}")
        if not name.endswith("_seq"):
            for statement in ("DELETE FROM deid.{}", "INSERT INTO deid.{} DEFAULT VALUES", "TRUNCATE deid.{}"):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    ask(url, statement.format(name))
    for view in shown.VIEWS:
        ask(url, f"SELECT * FROM deid.{view}")
        # Some views could not be written by anybody, and say that instead.
        with pytest.raises((psycopg.errors.InsufficientPrivilege, psycopg.errors.ObjectNotInPrerequisiteState)):
            ask(url, f"DELETE FROM deid.{view}")
    assert [name for name, allowed in functions if allowed] == ["deid.ask_quarantine(text,text,text,bigint[])"]
    assert len(functions) > 10
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        ask(url, "CREATE TABLE deid.mine (n int)")


def test_no_view_has_an_id_of_the_clinical_side(postgres):
    url = postgres.create_database()
    schema.prepare(url)
    with schema.connect(url) as connection:
        columns = connection.execute(
            "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'deid'"
            " AND table_name = ANY(%s)",
            (list(shown.VIEWS),),
        ).fetchall()
    assert len(columns) > 30
    assert {name for _, name in columns} & {
        "orthanc_id",
        "original",
        "replacement",
        "scope",
        "args",
        "numbers",
    } == set()


def test_a_role_that_comes_later_is_let_in_at_the_next_start_and_others_never(postgres, reader):
    url = postgres.create_database()
    schema.prepare(url)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"REVOKE ALL ON SCHEMA deid FROM {reader}")
        connection.execute(f"REVOKE ALL ON ALL TABLES IN SCHEMA deid FROM {reader}")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        ask(url, "SELECT * FROM deid.shown_queue")
    schema.prepare(url)
    assert ask(url, "SELECT queued, oldest FROM deid.shown_queue") == [(0, None)]
    with psycopg.connect(url, autocommit=True) as connection:
        stranger = f"stranger_{url.rsplit('_', 1)[1]}"
        connection.execute(f"CREATE ROLE {stranger}")
        connection.execute(f"SET ROLE {stranger}")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("SELECT * FROM deid.shown_queue")


def test_a_start_leaves_views_alone_that_are_as_they_should_be(postgres, reader):
    url = postgres.create_database()
    schema.prepare(url)
    with psycopg.connect(url) as connection:
        connection.execute("SELECT * FROM deid.shown_quarantine")  # holds a lock on it
        schema.prepare(url + "?options=-c%20lock_timeout%3D2000")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (("delete", "ann", "why", [1]), "retry or discard"),
        ((None, "ann", "why", [1]), "retry or discard"),
        (("retry", " ", "why", [1]), "who asks, and why"),
        (("retry", None, "why", [1]), "who asks, and why"),
        (("discard", "ann", "", [1]), "who asks, and why"),
        (("discard", "ann", "x" * 501, [1]), "who asks, and why"),
        (("retry", "ann", "why", []), "between 1 and"),
        (("retry", "ann", "why", None), "between 1 and"),
    ],
)
def test_a_request_that_says_too_little_is_refused(postgres, reader, asked_url, values, words):
    with pytest.raises(psycopg.errors.InvalidParameterValue, match=words):
        ask(asked_url, "SELECT deid.ask_quarantine(%s, %s, %s, %s::bigint[])", *values)
    assert ask(asked_url, "SELECT count(*) FROM deid.shown_request") == [(0,)]


@pytest.fixture(scope="module")
def asked_url(postgres, reader):
    url = postgres.create_database()
    schema.prepare(url)
    return url


def test_a_request_for_what_is_not_there_is_none(asked_url):
    assert ask(asked_url, "SELECT deid.ask_quarantine('retry', 'ann', 'why', '{1,2}')") == [(None,)]


def test_requests_are_carried_out_by_the_service(deployment, make_instance, reader):
    deployment.write_rules("病院")  # cannot be written in ISO_IR 100
    held = [make_instance(number=number) for number in range(1, 4)]
    deployment.upload(*held)
    deployment.upload(make_instance(number=4, SpecificCharacterSet="ISO_IR 192"))
    service = deployment.run("--processes", "1")
    deployment.wait_idle(1)
    url = deployment.database_url

    def one(statement: str, *values: object):
        return ask(url, statement, *values)[0][0]

    deployment.wait(lambda: one("SELECT count(*) FROM deid.shown_quarantine") == 3, "three are not in quarantine")
    assert dict(ask(url, "SELECT outcome, instances FROM deid.shown_count")) == {
        "arrived": 4,
        "done": 1,
        "quarantined": 3,
    }
    assert one("SELECT sum(instances) FROM deid.shown_minute WHERE outcome = 'arrived'") == 4
    rows = ask(
        url,
        "SELECT number, reason, modality, sop_class, bytes, attempts, retrying FROM deid.shown_quarantine ORDER BY 1",
    )
    kinds = {row[1:4] + row[5:] for row in rows}
    assert kinds == {("value_not_encodable", "CT", "1.2.840.10008.5.1.4.1.1.2", 1, False)}
    assert sorted(row[4] for row in rows) == sorted(map(len, held))
    numbers = [row[0] for row in rows]
    assert one("SELECT meaning FROM deid.shown_reason WHERE reason = 'value_not_encodable'").startswith("a value")
    ((source, digest),) = ask(url, "SELECT source, digest FROM deid.shown_rules")
    assert (source, digest) == (str(deployment.rules), deployment.status().rules_digest)
    deployment.wait(  # it reports now and then only
        lambda: (
            ask(url, "SELECT pid, alive, feeding, troubles FROM deid.shown_process") == [(service.pid, True, True, [])]
        ),
        "the process does not say that it lives and feeds",
    )

    def request(action: str, why: str, *which: int) -> tuple:
        given = one("SELECT deid.ask_quarantine(%s, 'ann', %s, %s::bigint[])", action, why, list(which))
        read = "SELECT state, entries, instances, outcome, asked_by, why FROM deid.shown_request WHERE id = %s"
        deployment.wait(lambda: ask(url, read, given)[0][0] != "waiting", f"the request to {action} is not carried out")
        return ask(url, read, given)[0]

    # The same rules: tried again, and back with its reason.
    assert request("retry", "once more", numbers[0]) == ("done", 1, 1, "1 of 1 queued again", "ann", "once more")
    deployment.wait(
        lambda: one("SELECT attempts FROM deid.shown_quarantine WHERE number = %s", numbers[0]) == 2,
        "it was not tried again",
    )
    # Other rules: it goes through.
    deployment.write_rules("Clinic")
    deployment.wait(lambda: one("SELECT count(*) FROM deid.shown_rules") == 2, "the rules are not read")
    assert request("retry", "new rules", numbers[0], numbers[1])[2] == 2
    deployment.wait_idle(3)
    assert deployment.research.count() == 3
    # What is gone already is told, and nothing happens to others.
    done = request("discard", "a phantom", numbers[2], numbers[0])
    assert done == ("done", 1, 1, "1 of 1 discarded", "ann", "a phantom")
    deployment.wait(lambda: deployment.ingest.count() == 0, "the original is still there")
    counts = dict(ask(url, "SELECT outcome, instances FROM deid.shown_count"))
    assert counts == {"arrived": 4, "done": 3, "quarantined": 4, "discarded_by_hand": 1}
    assert "Doe" not in deployment.log_text()


def test_a_discard_waits_for_a_dead_ingest_orthanc_and_retries_pass_it(deployment, make_instance, reader):
    deployment.write_rules("病院")
    deployment.upload(make_instance(number=1), make_instance(number=2))
    deployment.run("--processes", "1")
    url = deployment.database_url
    schema.prepare(url)
    deployment.wait(
        lambda: ask(url, "SELECT count(*) FROM deid.shown_quarantine") == [(2,)], "two are not in quarantine"
    )
    (first,), (second,) = ask(url, "SELECT number FROM deid.shown_quarantine ORDER BY 1")
    deployment.ingest.kill()
    ((discard,),) = ask(url, "SELECT deid.ask_quarantine('discard', 'ann', 'phantom', ARRAY[%s::bigint])", first)
    ((retry,),) = ask(url, "SELECT deid.ask_quarantine('retry', 'ann', 'again', ARRAY[%s::bigint])", second)

    def state(given: int) -> tuple:
        return ask(url, "SELECT state, outcome FROM deid.shown_request WHERE id = %s", given)[0]

    deployment.wait(lambda: state(retry)[0] == "done", "the retry waits behind the discard")
    deployment.wait(lambda: state(discard)[1].startswith("waits: ingest Orthanc"), "nobody says why it waits")
    assert state(discard)[0] == "waiting"
    deployment.ingest.start()
    deployment.wait(lambda: state(discard) == ("done", "1 of 1 discarded"), "it was not carried out")
    assert deployment.status().counts["discarded_by_hand"] == 1


def test_once_carries_out_requests_too_and_lists_show_the_number(deployment, make_instance, reader):
    deployment.write_rules("病院")
    original = make_instance()
    deployment.upload(original)
    assert deployment.run("--once").wait(60) == 0
    (held,) = json.loads(deployment.call("quarantine", "list", "--json").stdout)
    assert (held["modality"], held["bytes"]) == ("CT", len(original))
    assert str(held["number"]) in deployment.call("quarantine", "list").stdout.splitlines()[1].split()
    number = str(held["number"])
    assert held["orthanc_id"] in deployment.call("quarantine", "show", number).stdout
    ask(deployment.database_url, "SELECT deid.ask_quarantine('discard', 'ann', 'phantom', %s::bigint[])", [number])
    assert deployment.run("--once").wait(60) == 0
    assert deployment.ingest.count() == 0


# Kinds


def test_a_kind_holds_terms_of_the_standard_only(make_instance):
    data = make_instance()
    assert kind_of(data) == Kind("CT", "1.2.840.10008.5.1.4.1.1.2", len(data))
    assert "MR" in MODALITIES
    assert kind_of(make_instance(Modality="DOE JANE")).modality is None
    assert kind_of(make_instance(SOPClassUID="1.2.3.4.5")).sop_class is None
    transfer_syntax = "1.2.840.10008.1.2.1"
    assert kind_of(make_instance(SOPClassUID=transfer_syntax)).sop_class is None
    assert kind_of(make_instance()[:300]).size == 300
    assert kind_of(b"") == Kind(size=0)
    assert kind_of(b"no DICOM" * 100) == Kind(size=800)
    assert kind_of_parts([data[:3000], memoryview(data)[3000:]]) == kind_of(data)


def test_a_damaged_header_tells_no_kind(make_instance):
    dataset = pydicom.dcmread(io.BytesIO(make_instance()))
    dataset.SOPInstanceUID = generate_uid()
    data = make_instance()
    place = data.index(b"\x08\x00\x60\x00CS")
    assert kind_of(data[: place + 4] + b"\xff\xff\xff\xff" + data[place + 8 :]).modality is None
