from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread

from deid_service import PseudonymKey
from deid_service.cli import main
from deid_service.files.progress import Progress


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    PseudonymKey.generate(tmp_path / "key")
    return tmp_path / "key"


@pytest.fixture
def originals(tmp_path: Path, fresh_instance: Callable[[], Dataset], written: Callable[..., bytes]) -> Path:
    folder = tmp_path / "Mustermann_Erika"
    (folder / "deep").mkdir(parents=True)
    for number in range(3):
        instance = fresh_instance()
        instance.SOPInstanceUID = f"1.2.3.{number + 1}"
        (folder / "deep" / f"{number}.dcm").write_bytes(written(instance))
    return folder


def test_check_accepts_and_tells_every_problem(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check"]) == 0
    assert "in order" in capsys.readouterr().out
    bad = tmp_path / "bad.yaml"
    bad.write_text("Scope: 1\nTransformations: []\n")
    assert main(["check", str(bad)]) == 1
    error = capsys.readouterr().err
    assert "bad.yaml: 3 problems" in error
    assert "line 1, column 1" in error
    assert "line 2, column 18" in error
    assert main(["check", str(tmp_path / "missing.yaml")]) == 1


def test_keygen_makes_a_private_key_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keygen", str(tmp_path / "k")]) == 0
    assert (tmp_path / "k").stat().st_mode & 0o777 == 0o600
    assert main(["keygen", str(tmp_path / "k")]) == 2
    assert "never overwritten" in capsys.readouterr().err


def test_a_folder_is_cleaned_without_names_in_names(
    tmp_path: Path, originals: Path, key_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (originals / "note.txt").write_text("Erika Mustermann")
    target, report = tmp_path / "clean", tmp_path / "report.json"
    arguments = ["file", str(originals), str(target), "--key-file", str(key_file), "--report", str(report)]
    assert main(arguments) == 1  # the note is not DICOM
    copies = sorted(target.rglob("*.dcm"))
    assert len(copies) == 3
    for copy in copies:
        dataset = dcmread(copy)
        assert copy.relative_to(target).parts == (
            dataset.StudyInstanceUID,
            dataset.SeriesInstanceUID,
            f"{dataset.SOPInstanceUID}.dcm",
        )
        assert dataset.PatientID != "PID-4711"
    captured = capsys.readouterr()
    assert "3 cleaned, 0 discarded, 1 refused" in captured.err
    assert "not_dicom" in captured.err
    assert "Mustermann" not in captured.err + captured.out
    found = json.loads(report.read_text())
    assert [file["outcome"] for file in found["files"]] == ["cleaned"] * 3 + ["refused"]
    assert {"path": "PatientID", "action": "randomized"} in found["files"][0]["changes"]
    assert "PID-4711" not in report.read_text()  # the digits alone may stand in a new UID
    assert len(found["rules_sha256"]) == 64


def test_a_dry_run_writes_nothing(tmp_path: Path, originals: Path, key_file: Path) -> None:
    target = tmp_path / "clean"
    assert main(["file", str(originals), str(target), "--key-file", str(key_file), "--dry-run"]) == 0
    assert not target.exists()


def test_a_dry_run_tells_every_change_and_values_only_when_asked(
    tmp_path: Path, originals: Path, key_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["file", str(originals), str(tmp_path / "clean"), "--key-file", str(key_file), "--dry-run"]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert said.startswith("file 1: cleaned (labels: ALL)\n")
    assert re.search("^  randomized +PatientID$", said, re.MULTILINE)
    assert re.search("^  shifted +StudyDate$", said, re.MULTILINE)
    for value in ("Mustermann", "4711", "20240310", "1.2.276"):
        assert value not in said
    assert main([*command, "--show-values"]) == 0
    said = capsys.readouterr().out
    assert re.search('^  randomized +PatientID: "PID-4711" -> "[A-Za-z0-9]{8}"$', said, re.MULTILINE)
    report = tmp_path / "report.json"
    assert main([*command, "--show-values", "--report", str(report)]) == 0
    assert capsys.readouterr().out == ""
    assert report.stat().st_mode & 0o777 == 0o600
    changes = {change["path"]: change for change in json.loads(report.read_text())["files"][0]["changes"]}
    assert changes["StudyDate"]["before"] == "20240310"
    assert changes["StudyDate"]["after"] != "20240310"
    assert changes["IssuerOfPatientID"] == {
        "path": "IssuerOfPatientID",
        "action": "removed",
        "before": "KLINIKUM",
        "after": None,
    }
    assert main(["file", str(originals), str(tmp_path / "c"), "--key-file", str(key_file), "--show-values"]) == 2


def test_many_files_in_several_processes_are_the_same_as_in_one(
    tmp_path: Path, fresh_instance: Callable[[], Dataset], written: Callable[..., bytes], key_file: Path
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(60):
        instance = fresh_instance()
        instance.SOPInstanceUID = f"1.2.3.{number % 59 + 1}"  # the last is the first again
        (folder / f"{number:02}.dcm").write_bytes(written(instance))
    (folder / "note.txt").write_text("no DICOM")
    trees = []
    for processes in ("1", "2"):
        target, report = tmp_path / f"out{processes}", tmp_path / f"report{processes}.json"
        command = ["file", str(folder), str(target), "--key-file", str(key_file), "--report", str(report)]
        assert main([*command, "--processes", processes]) == 1
        files = json.loads(report.read_text())["files"]
        assert [file.get("reason") for file in files] == [None] * 59 + ["duplicate", "not_dicom"]
        trees.append({path.relative_to(target): path.read_bytes() for path in target.rglob("*") if path.is_file()})
    assert len(trees[0]) == 59
    assert trees[0] == trees[1]


def test_a_refused_instance_has_its_labels_told(
    tmp_path: Path, instance: Dataset, written: Callable[..., bytes], key_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    instance.BurnedInAnnotation = "YES"
    (tmp_path / "a.dcm").write_bytes(written(instance))
    rules = tmp_path / "rules.yaml"
    rules.write_text(
        "Labels: [{Name: CT, DICOMQueryFilter: Modality StrEquals CT}]\nScopeToForward: {Labels: CT}\n"
        "Transformations: [{Scope: {Labels: ALL}, RandomizeUID: [{TagPatterns: '*/{UI}'}]}]\n"
    )
    command = ["file", str(tmp_path / "a.dcm"), str(tmp_path / "b.dcm"), "--rules", str(rules), "--key-file"]
    assert main([*command, str(key_file), "--dry-run"]) == 1
    assert capsys.readouterr().out == (
        "file 1: refused (burned_in_text_possible) (labels: ALL, CT)\n"
        "  pixels        suspected (the image says that text is burned into its pixels)\n"
    )


def test_the_bar_is_for_terminals(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deid_service.files.progress._QUIET_SECONDS", -1)
    monkeypatch.setattr("deid_service.files.progress._REPORT_SECONDS", -1)
    progress = Progress(4)
    progress.count("cleaned")
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    progress.count("refused")
    assert f"[{'#' * 15}{'.' * 15}] 2 of 4 files: 1 cleaned, 0 discarded, 1 refused" in capsys.readouterr().err
    progress.finish()
    assert capsys.readouterr().err.endswith("/s)\n")


def test_one_file_and_a_discarded_one(
    tmp_path: Path, originals: Path, key_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = originals / "deep" / "0.dcm"
    assert main(["file", str(source), str(tmp_path / "a.dcm"), "--key-file", str(key_file)]) == 0
    assert dcmread(tmp_path / "a.dcm").PatientIdentityRemoved == "YES"
    rules = tmp_path / "rules.yaml"
    rules.write_text(
        "Labels: [{Name: MR, DICOMQueryFilter: Modality StrEquals MR}]\nScopeToForward: {Labels: MR}\n"
        "Transformations: [{Scope: {Labels: ALL}, RandomizeUID: [{TagPatterns: '*/{UI}'}]}]\n"
    )
    arguments = ["file", str(source), str(tmp_path / "b.dcm"), "--key-file", str(key_file), "--rules", str(rules)]
    assert main(arguments) == 0
    assert not (tmp_path / "b.dcm").exists()
    assert "1 discarded" in capsys.readouterr().err


def test_originals_are_never_overwritten(tmp_path: Path, originals: Path, key_file: Path) -> None:
    source = originals / "deep" / "0.dcm"
    before = source.read_bytes()
    assert main(["file", str(source), str(source), "--key-file", str(key_file)]) == 2
    assert main(["file", str(originals), str(originals / "clean"), "--key-file", str(key_file)]) == 2
    assert main(["file", str(originals), str(originals), "--key-file", str(key_file)]) == 2
    assert main(["file", str(tmp_path / "nothing"), str(tmp_path / "x"), "--key-file", str(key_file)]) == 2
    assert source.read_bytes() == before


def test_wrong_keys_and_rules_stop_everything(
    tmp_path: Path, originals: Path, key_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key_file.chmod(0o644)
    assert main(["file", str(originals), str(tmp_path / "c"), "--key-file", str(key_file)]) == 2
    assert "chmod 600" in capsys.readouterr().err
    key_file.chmod(0o600)
    rules = tmp_path / "rules.yaml"
    rules.write_text("nonsense: 1\n")
    arguments = ["file", str(originals), str(tmp_path / "c"), "--key-file", str(key_file), "--rules", str(rules)]
    assert main(arguments) == 2
    assert '"nonsense" is not a key' in capsys.readouterr().err
    assert not (tmp_path / "c").exists()


def test_a_uid_never_leads_out_of_the_folder(
    tmp_path: Path, fresh_instance: Callable[[], Dataset], written: Callable[..., bytes], key_file: Path
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    instance = fresh_instance()
    data = written(instance).replace(instance.StudyInstanceUID.encode(), b"../../../../../../../../etc/")
    (folder / "evil.dcm").write_bytes(data)
    rules = tmp_path / "rules.yaml"
    rules.write_text(
        "ScopeToForward: {Labels: ALL}\n"
        "Transformations: [{Scope: {Labels: ALL}, DeleteTags: [{TagPatterns: PatientName, Action: Empty}]}]\n"
    )
    arguments = ["file", str(folder), str(tmp_path / "out"), "--key-file", str(key_file), "--rules", str(rules)]
    assert main(arguments) == 0
    assert len(list((tmp_path / "out").rglob("*.dcm"))) == 1


def test_the_same_instance_twice_in_a_folder_is_told(tmp_path: Path, originals: Path, key_file: Path) -> None:
    (originals / "deep" / "again.dcm").write_bytes((originals / "deep" / "0.dcm").read_bytes())
    report = tmp_path / "r.json"
    arguments = ["file", str(originals), str(tmp_path / "c"), "--key-file", str(key_file), "--report", str(report)]
    assert main(arguments) == 1
    assert [f.get("reason") for f in json.loads(report.read_text())["files"]].count("duplicate") == 1


def test_match_prints_the_files_that_match(originals: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["match", "Modality StrEquals CT AND SOPInstanceUID StrEquals '*.2'", str(originals)]) == 0
    assert capsys.readouterr().out.splitlines() == [str(originals / "deep" / "1.dcm")]
    assert main(["match", "Modality StrEquals MR", str(originals)]) == 1
    assert main(["match", "Modalitee StrEquals MR", str(originals)]) == 2
    assert "Modality" in capsys.readouterr().err
    (originals / "note.txt").write_text("no DICOM")
    assert main(["match", "Modality StrEquals CT", str(originals)]) == 0
    said = capsys.readouterr()
    assert len(said.out.splitlines()) == 3
    assert said.err == "rpacs-deid: 1 of the files are not DICOM files\n"
    assert main(["match", "Modality StrEquals CT", str(originals / "note.txt")]) == 2
    assert main(["match", "Modality StrEquals CT", str(originals / "absent")]) == 2
    assert "No such file" in capsys.readouterr().err


def test_the_installed_command_runs() -> None:
    command = Path(sys.executable).with_name("rpacs-deid")
    done = subprocess.run([command, "--help"], capture_output=True, text=True, check=True, env=os.environ)
    for word in ("check", "file", "match", "keygen"):
        assert word in done.stdout


def test_a_missing_file_has_no_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(tmp_path / "missing.yaml")]) == 1
    assert "\n  cannot read the file: No such file" in capsys.readouterr().err


def test_what_cannot_be_written_or_read_is_told_before_the_work(
    tmp_path: Path, originals: Path, key_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "taken").write_text("")
    (tmp_path / "empty").mkdir()
    common = ["--key-file", str(key_file)]
    for arguments, said, code in (
        ([originals, tmp_path / "taken" / "out"], "cannot write", 2),
        ([originals, tmp_path / "out", "--report", tmp_path / "absent" / "r.json"], "r.json: No such file", 2),
        ([tmp_path / "empty", tmp_path / "out"], "holds no files", 1),
        ([originals, tmp_path / "out", "--key-file", tmp_path / "none"], "make one with: rpacs-deid keygen", 2),
    ):
        assert main(["file", *common, *map(str, arguments)]) == code
        error = capsys.readouterr().err
        assert said in error
        assert "cleaned" not in error
    assert not list(tmp_path.glob("out/*"))
    with pytest.raises(SystemExit):
        main(["file", *common, str(originals), str(tmp_path / "out"), "--dry-run", "--show"])


def test_an_interrupted_run_leaves_no_drafts_and_tells_what_it_did(
    tmp_path: Path, originals: Path, key_file: Path
) -> None:
    one = (originals / "deep" / "0.dcm").read_bytes()
    for number in range(8000):  # enough to be interrupted in the middle, on a busy machine too
        (originals / f"{number}.dcm").write_bytes(one.replace(b"1.2.3.1\0", b"1.%05d\0" % number))
    target, report = tmp_path / "clean", tmp_path / "report.json"
    command = [Path(sys.executable).with_name("rpacs-deid"), "file", originals, target, "--processes", "2"]
    process = subprocess.Popen(
        [*map(str, command), "--key-file", str(key_file), "--report", str(report)],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while not list(target.rglob("*.dcm")) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all of them
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert said.splitlines()[-1] == "rpacs-deid: interrupted"
    assert "Traceback" not in said
    document = json.loads(report.read_text())
    assert document["complete"] is False
    copies = [path for path in target.rglob("*") if path.is_file()]
    assert copies
    assert not [path for path in copies if path.suffix != ".dcm"]
    assert len(copies) <= sum(record["outcome"] == "cleaned" for record in document["files"]) + 1
