"""Things break: each gives one clear message, and no image is lost or doubled."""

from __future__ import annotations

import io
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pydicom
import pytest
from pydicom.uid import generate_uid

from tests.end_to_end.identified import CELESTE, _example
from tests.fixtures.processes import wait_for


def _small_series(count: int) -> list[bytes]:
    """MR instances of one series, small, each with its own UID."""
    dataset = pydicom.dcmread(_example("MR_small.dcm"))
    dataset.PatientName, dataset.PatientID = CELESTE.name, CELESTE.patient_id
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = generate_uid(), generate_uid()
    made = []
    for number in range(1, count + 1):
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        dataset.InstanceNumber = number
        buffer = io.BytesIO()
        dataset.save_as(buffer)
        made.append(buffer.getvalue())
    return made


def _send(stack, files: list[bytes]) -> None:
    with httpx.Client(base_url=stack.ingest.url, timeout=60) as client, ThreadPoolExecutor(4) as pool:
        for answer in pool.map(lambda data: client.post("/instances", content=data), files):
            assert answer.status_code == 200


def _new_instances(research, since: int) -> list[str]:
    """Orthanc ids of the instances that arrived after a point of the change log."""
    found, done = [], False
    while not done:
        page = research.get(f"/changes?since={since}&limit=1000")
        found += [change["ID"] for change in page["Changes"] if change["ChangeType"] == "NewInstance"]
        since, done = page["Last"], page["Done"]
    return found


def _last_change(research) -> int:
    return research.get("/changes?last")["Last"]


def _waiting(stack) -> int:
    """Instances on the clinical side that are not in quarantine."""
    ids = httpx.get(f"{stack.ingest.url}/statistics", timeout=30).json()["CountInstances"]
    return ids - sum(stack.status().pipeline["quarantined"].values())


def test_killing_the_deidentifier_in_the_middle_loses_and_doubles_nothing(stack, studies, research):
    files = _small_series(128)  # more than its two processes take in hand at once, three batches of 16 each
    start, before = _last_change(research), research.count()
    pid = stack.program_pid("deid")
    _send(stack, files)
    wait_for(lambda: research.count() >= before + 20, 60, "the de-identifier did not begin", every=0.02)
    victims = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    for victim in victims:
        victim.send_signal(signal.SIGKILL)
    in_the_middle = research.count()
    assert in_the_middle < before + 128, "everything was done before the kill: send more"
    wait_for(lambda: research.count() >= before + 128, 120, lambda: f"{research.count() - before} of 128", every=0.2)
    wait_for(lambda: _waiting(stack) == 0, 60, "the ingest Orthanc is not empty", every=0.5)
    arrived = _new_instances(research, start)
    assert len(arrived) == 128
    assert len(set(arrived)) == 128
    assert research.count() == before + 128
    assert stack.program_pid("deid") not in (0, pid)


def test_a_dead_research_orthanc_stops_nothing_for_good(stack, studies, research, person):
    clara = person("clara")
    uid = min(research.files("CT"))
    before = research.count()
    stack.supervisor.halt(["research"])
    try:
        _send(stack, _small_series(10))
        answer = clara.api(f"instances/{uid}/file")
        assert answer.status_code == 503
        assert set(answer.json()) >= {"error", "message", "hint"}
        assert clara.api("search", params={"level": "series"}).status_code == 200
        wait_for(lambda: not stack.status().healthy, 30, "status does not show it", every=0.5)
        assert _waiting(stack) == 10
    finally:
        stack.up(samples=False)
    wait_for(lambda: research.count() == before + 10, 90, lambda: f"{research.count() - before} of 10", every=0.2)
    wait_for(lambda: _waiting(stack) == 0, 60, "the ingest Orthanc is not empty", every=0.5)


def test_a_broken_rules_file_is_shown_and_the_last_good_one_stays_in_force(stack, studies, research):
    rules = stack.settings.var / "config" / "rules.yaml"
    good = rules.read_text()
    before = research.count()
    rules.write_text(good.replace("ScopeToForward:", "ScopeToForwrad:"))
    try:
        problems = wait_for(lambda: stack.status().problems, 30, "status does not show it", every=0.5)
        assert any("ScopeToForwrad" in problem and "ScopeToForward" in problem for problem in problems)
        _send(stack, _small_series(3))
        wait_for(lambda: research.count() == before + 3, 60, "the last good rules are not in force", every=0.2)
    finally:
        rules.write_text(good)
    wait_for(lambda: not stack.status().problems, 30, "the mended file was not taken up", every=0.5)


def test_a_malformed_file_in_the_inbox_is_set_aside_with_a_reason(stack, studies, tmp_path):
    inbox = stack.settings.var / "inbox"
    refused = stack.settings.var / "inbox-refused"
    (inbox / "OBERRAUTER_CELESTE.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"this is not DICOM")
    reason = wait_for(lambda: next(iter(refused.glob("*.reason.txt")), None), 60, "not set aside", every=0.2)
    assert reason.read_text().strip()
    assert "OBERRAUTER" not in reason.name + reason.read_text()
    assert not list(inbox.iterdir())


def test_a_file_dropped_into_the_inbox_becomes_searchable(stack, studies, person):
    admin = person("admin")
    before = admin.api("count", params={"level": "instance"}).json()["count"]
    (stack.settings.var / "inbox" / "scan").write_bytes(_small_series(1)[0])
    wait_for(
        lambda: admin.api("count", params={"level": "instance"}).json()["count"] == before + 1,
        60,
        "not found",
        every=0.5,
    )


@pytest.mark.parametrize(
    ("bucket", "secret", "word"),
    [
        ("research-exports", "wrong", "secret"),
        ("clinical-archive", None, "clinical-archive"),
        ("no-such-bucket-1", None, "bucket"),
    ],
)
def test_wrong_s3_keys_or_buckets_give_one_clear_message(stack, studies, person, bucket, secret, word):
    clara = person("clara")
    access = stack.s3
    body = {
        "query": "Modality StrEquals CT",
        "level": "series",
        "destination": f"s3://{bucket}/x",
        "format": "dicom",
        "endpoint_url": access.endpoint_url,
        "credentials": {"access_key": access.access_key, "secret_key": secret or access.secret_key},
    }
    headers = {"Authorization": f"token {clara.token}"}
    answer = httpx.post(f"{stack.gateway_url}/api/v1/exports", json=body, headers=headers, timeout=60)
    assert answer.status_code == 202, answer.text
    record = wait_for(
        lambda: (one := clara.api(f"exports/{answer.json()['id']}").json())["state"] == "failed" and one, 60, every=0.2
    )
    assert record["done"] == 0
    assert word in (record["message"] + record["hint"]).lower()
    assert access.secret_key not in str(record)


def test_one_audit_line_per_request_without_tokens(stack, studies, person):
    clara = person("clara")
    log = stack.settings.var / "audit" / "audit.jsonl"
    files = [log] if log.exists() else sorted(Path(stack.settings.var / "audit").iterdir())
    assert len(files) == 1
    before = files[0].read_text().splitlines()
    answer = clara.api("search", params={"query": "Rows NbEquals 77", "level": "series"})
    added = files[0].read_text().splitlines()[len(before) :]
    mine = [line for line in added if "Rows NbEquals 77" in line]
    assert len(mine) == 1
    assert answer.headers["X-Request-Id"] in mine[0]
    assert clara.token not in "".join(added)
    assert files[0].stat().st_mode & 0o077 == 0
