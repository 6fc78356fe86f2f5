"""The service from end to end: real Orthancs, real PostgreSQL, real processes."""

from __future__ import annotations

import json
import os

import pytest


def test_instance_goes_the_whole_way(deployment, make_instance):
    original = make_instance("Doe^Jane", study="1.2.3.4")
    deployment.upload(original)
    deployment.run("--processes", "1")
    deployment.wait_idle(1)
    deployment.wait(lambda: deployment.ingest.count() == 0, "the original is still there")
    (clean,) = deployment.clean_files()
    assert clean.InstitutionName == "Somewhere"
    assert clean.PatientName != "Doe^Jane"
    assert clean.StudyInstanceUID != "1.2.3.4"
    assert clean.file_meta.MediaStorageSOPInstanceUID == clean.SOPInstanceUID
    journal = dict(deployment.sql("SELECT original, replacement FROM journal"))
    assert journal["1.2.3.4"] == clean.StudyInstanceUID
    assert deployment.status().counts == {"done": 1}
    assert deployment.sql("SELECT count(*) FROM procrastinate_jobs") == [(0,)]
    for secret in ("Doe", "Jane", "MRN-", "1.2.3.4", deployment.ingest.password):
        assert secret not in deployment.log_text()


def test_instance_out_of_scope_is_discarded_and_counted(deployment, make_instance):
    deployment.upload(make_instance(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]))
    deployment.run("--processes", "1")
    deployment.wait_idle()
    deployment.wait(lambda: deployment.ingest.count() == 0, "the original is still there")
    assert deployment.status().counts == {"discarded": 1}
    assert deployment.research.count() == 0


@pytest.mark.parametrize("processes", ["1", "2"])
def test_killed_in_the_middle_loses_nothing_and_forwards_nothing_twice(deployment, make_instance, processes):
    deployment.upload(*(make_instance(f"Patient^{number % 5}", number) for number in range(200)))
    deployment.run("--processes", processes)
    deployment.wait(lambda: deployment.research.count() >= 20, "nothing was forwarded", every=0.02)
    deployment.kill_all()
    before = deployment.research.count()
    assert before < 200, "the kill came too late to show anything"
    deployment.run("--processes", processes)
    deployment.wait_idle(200)
    deployment.wait(lambda: deployment.ingest.count() == 0, "originals are still there")
    assert deployment.research.count() == 200
    files = deployment.clean_files()
    assert len({file.SOPInstanceUID for file in files}) == 200
    assert len({file.PatientID for file in files}) == 5
    assert deployment.status().counts == {"done": 200}
    changes = deployment.research.get("/changes?limit=100000")["Changes"]
    news = [change["ID"] for change in changes if change["ChangeType"] == "NewInstance"]
    assert len(set(news[-200:])) == 200


def test_two_services_share_the_work_and_one_takes_over(deployment, make_instance):
    services = [deployment.run("--processes", "1", "--concurrency", "1") for _ in range(2)]
    deployment.wait(lambda: len(deployment.status().processes) == 2, "two services do not report")
    deployment.upload(*(make_instance(number=number) for number in range(120)))
    deployment.wait_idle(120)
    assert deployment.research.count() == 120
    assert deployment.status().counts == {"done": 120}

    def feeders():
        return [process for process in deployment.status().processes if process.feeding]

    deployment.wait(feeders, "no service says that it feeds")  # they report now and then only
    feeding = feeders()
    assert len(feeding) == 1
    feeder = next(service for service in services if service.pid == feeding[0].pid)
    feeder.kill()
    feeder.wait()
    deployment.upload(make_instance(number=4000))
    deployment.wait_idle(121)
    assert deployment.research.count() == 121
    workers = {int(line.split()[2]) for line in deployment.log_text().splitlines() if "batch of" in line}
    assert workers == {service.pid for service in services}


def test_dead_research_orthanc_is_waited_for(deployment, make_instance):
    deployment.run("--processes", "1")
    deployment.wait(lambda: deployment.status().well, "the service is not well")
    deployment.research.kill()
    deployment.upload(*(make_instance(number=number) for number in range(40)))
    deployment.wait_log("research Orthanc (http://127.0.0.1")
    deployment.wait(lambda: deployment.status().troubles, "status does not tell")
    assert "connection refused" in deployment.status().troubles[0]
    deployment.wait(lambda: deployment.status().queued == 40, "not all of them wait")
    assert deployment.ingest.count() == 40
    deployment.research.start()
    deployment.wait_idle(40)
    assert deployment.research.count() == 40
    deployment.wait(lambda: deployment.ingest.count() == 0, "originals are still there")
    deployment.wait(lambda: deployment.status().well, "status still tells of trouble")
    assert deployment.status().quarantined == {}
    warnings = [line for line in deployment.log_text().splitlines() if "research Orthanc" in line and "WARNING" in line]
    assert len(warnings) == 2, "one line when it died, one when it was back"


def test_dead_ingest_orthanc_is_waited_for(deployment, make_instance):
    deployment.upload(make_instance())
    deployment.ingest.kill()
    deployment.run("--processes", "1")
    deployment.wait_log("ingest Orthanc (http://127.0.0.1")
    deployment.ingest.start()
    deployment.wait_idle(1)
    assert deployment.research.count() == 1


def test_delivery_of_the_same_instance_again_changes_nothing(deployment, make_instance):
    original = make_instance()
    deployment.run("--processes", "1")
    for time in range(1, 4):
        deployment.upload(original)
        deployment.wait_idle(time)
        deployment.wait(lambda: deployment.ingest.count() == 0, "the original is still there")
    assert deployment.research.count() == 1
    assert deployment.status().counts == {"done": 3}


def test_other_content_under_the_same_uid_is_never_overwritten(deployment, make_instance):
    uid = {"study": "1.2.3", "SOPInstanceUID": "1.2.3.9"}
    deployment.run("--processes", "1")
    deployment.upload(make_instance(number=1, **uid))
    deployment.wait_idle(1)
    deployment.wait(lambda: deployment.ingest.count() == 0, "the original is still there")
    (before,) = deployment.clean_files()
    deployment.upload(make_instance(number=2, **uid))
    deployment.wait(lambda: deployment.status().quarantined == {"conflict": 1}, "no conflict")
    # The same UIDs under another patient are another instance for Orthanc.
    deployment.upload(make_instance("Roe^Richard", number=3, **uid))
    deployment.wait(lambda: deployment.status().quarantined == {"conflict": 2}, "no second conflict")
    (after,) = deployment.clean_files()
    assert after.PixelData == before.PixelData
    assert deployment.ingest.count() == 2


def test_broken_rules_at_the_start_are_waited_for(deployment, make_instance):
    deployment.rules.write_text("ScopeToForward: {Lables: ALL}\nTransformations: []\n", encoding="utf-8")
    deployment.upload(make_instance())
    service = deployment.run("--processes", "1")
    deployment.wait_log("nothing is processed until it is mended")
    deployment.wait(lambda: "Lables" in (deployment.status().rules_error or ""), "status does not name the error")
    assert service.poll() is None
    deployment.wait(lambda: deployment.status().queued == 1, "it does not wait")
    assert deployment.call("status", "--check").returncode == 1
    deployment.write_rules("Mended")
    deployment.wait_idle(1)
    assert deployment.clean_files()[0].InstitutionName == "Mended"
    deployment.wait(lambda: deployment.status().well, "status still tells of trouble")


def test_broken_rules_during_the_run_leave_the_last_good_ones_in_force(deployment, make_instance):
    deployment.run("--processes", "1")
    deployment.wait(lambda: deployment.status().rules_digest, "no rules in force")
    digest = deployment.status().rules_digest
    deployment.rules.write_text("Transformations: {", encoding="utf-8")
    deployment.wait(lambda: deployment.status().rules_error, "status does not name the error")
    assert "stay in force" in deployment.log_text()
    deployment.upload(make_instance(number=1))
    deployment.wait_idle(1)
    assert deployment.clean_files()[0].InstitutionName == "Somewhere"
    assert deployment.status().rules_digest == digest
    deployment.write_rules("Elsewhere")
    deployment.wait(lambda: deployment.status().rules_error is None, "status still tells of an error")
    deployment.upload(make_instance(number=2))
    deployment.wait_idle(2)
    assert {file.InstitutionName for file in deployment.clean_files()} == {"Somewhere", "Elsewhere"}


def test_refused_instance_waits_in_quarantine_for_other_rules(deployment, make_instance):
    deployment.write_rules("病院")  # cannot be written in ISO_IR 100
    deployment.upload(make_instance(number=1))
    deployment.upload(make_instance(number=2, SpecificCharacterSet="ISO_IR 192"))
    deployment.run("--processes", "1")
    deployment.wait_idle(1)
    assert deployment.status().quarantined == {"value_not_encodable": 1}
    deployment.wait(lambda: deployment.ingest.count() == 1, "the other original is still there")
    (held,) = json.loads(deployment.call("quarantine", "list", "--json").stdout)
    assert held["reason"] == "value_not_encodable"
    assert held["orthanc_id"] == deployment.ingest.get("/instances")[0]
    assert held["rules_digest"] == deployment.status().rules_digest
    assert held["orthanc_id"] in deployment.call("quarantine", "list").stdout
    assert deployment.call("quarantine", "show", held["orthanc_id"]).stdout.startswith("orthanc id")
    assert deployment.call("quarantine", "list", "--reason", "conflict").stdout == "nothing is in quarantine\n"

    page = deployment.folder / "page.html"
    shown = deployment.call("quarantine", "show", held["orthanc_id"], "--page", str(page))
    assert (shown.returncode, shown.stdout) == (0, "")
    assert page.stat().st_mode & 0o777 == 0o600
    text = page.read_text(encoding="utf-8")
    assert held["orthanc_id"] in text
    assert "In quarantine since" in text
    assert "Held back: value_not_encodable" in text
    assert "The rules were others then" not in text
    assert text.count("data:image/png;base64,") == 2
    assert deployment.ingest.count() == 1

    assert deployment.call("quarantine", "retry", held["orthanc_id"]).stdout == "1 queued again\n"
    deployment.wait(lambda: deployment.sql("SELECT attempts FROM quarantine") == [(2,)], "it was not tried again")

    deployment.write_rules("Clinic")
    deployment.wait(lambda: deployment.status().rules_digest not in (None, held["rules_digest"]), "rules not read")
    assert deployment.call("quarantine", "retry", "--all").stdout == "1 queued again\n"
    deployment.wait_idle(2)
    assert deployment.status().quarantined == {}
    assert deployment.research.count() == 2
    deployment.wait(lambda: deployment.ingest.count() == 0, "the original is still there")


def test_discarding_from_quarantine_asks_first(deployment, make_instance):
    deployment.write_rules("病院")
    deployment.upload(make_instance())
    deployment.run("--processes", "1")
    deployment.wait(lambda: deployment.status().quarantined, "it is not in quarantine")
    asked = deployment.call("quarantine", "discard", "--reason", "value_not_encodable")
    assert asked.returncode == 2
    assert "--yes" in asked.stderr
    assert deployment.ingest.count() == 1
    assert deployment.call("quarantine", "discard", "--all", "--yes").stdout == "1 deleted\n"
    assert deployment.ingest.count() == 0
    assert deployment.status().counts["discarded_by_hand"] == 1
    unknown = deployment.call("quarantine", "retry", "no-such-id")
    assert unknown.returncode == 1
    assert "not in quarantine: no-such-id" in unknown.stderr


def test_once_processes_what_is_there_and_ends(deployment, make_instance):
    deployment.inbox.mkdir()
    (deployment.inbox / "a.dcm").write_bytes(make_instance(number=1))
    deployment.upload(*(make_instance(number=number) for number in range(2, 20)))
    assert deployment.run("--once").wait(60) == 0
    assert deployment.research.count() == 19
    assert deployment.ingest.count() == 0


def test_service_stops_at_sigterm_and_leaves_no_process_behind(deployment):
    parent = deployment.run("--processes", "2")
    deployment.wait(lambda: len(deployment.status().processes) == 2, "two processes do not report")
    children = [process.pid for process in deployment.status().processes]
    parent.terminate()
    assert parent.wait(30) == 0
    assert deployment.status().processes == []
    for pid in children:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_children_end_when_their_parent_is_killed(deployment):
    parent = deployment.run("--processes", "2")
    deployment.wait(lambda: len(deployment.status().processes) == 2, "two processes do not report")
    parent.kill()
    parent.wait()
    deployment.wait(lambda: deployment.status().processes == [], "children outlive their parent")


def test_wrong_settings_end_with_the_names_of_the_variables(deployment):
    deployment.key.chmod(0o644)
    service = deployment.run()
    assert service.wait(30) == 2
    assert "chmod 600" in deployment.log_text()
