"""The ready rules files over every real file: cleaned or refused, and no less conformant than before."""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from deid_service import Cleaned, Deidentifier, PseudonymKey, Refused, Rules, default_rules_path

READY = ("basic", "research", "minimal")
# dciodvfy stops at this file's first element out of order, and first reads the rest of it in the clean copy.
UNREADABLE = {"privateTag.dcm"}
_VARIABLE = re.compile(r"<[^>]*>|\b[0-9]+(\.[0-9]+)+|`[^`]*'|\b[0-9]+\b")

pytestmark = pytest.mark.filterwarnings("ignore")  # pydicom warns of the values in real files


@pytest.fixture(scope="module")
def corpus(shared_data: Path) -> list[Path]:
    skipped = (".txt", ".tsv", ".zip", ".md")
    return [
        path
        for path in sorted((shared_data / "dicom").rglob("*"))
        if path.is_file() and path.suffix not in skipped and not path.name.startswith("README")
    ]


def rules_file(name: str) -> Path:
    return default_rules_path().with_name(f"{name}.yaml")


def test_the_built_in_rules_are_those_for_research() -> None:
    assert default_rules_path() == rules_file("research")


@pytest.mark.parametrize(("name", "least"), [("basic", 330), ("research", 330), ("minimal", 320)])
def test_every_file_is_cleaned_or_refused(
    name: str, least: int, corpus: list[Path], header_rules: Callable[[str], Rules]
) -> None:
    deidentifier = Deidentifier(header_rules(name), PseudonymKey(bytes(range(32))))
    outcomes: Counter[str] = Counter()
    for path in corpus:
        try:
            outcome = deidentifier.clean(path.read_bytes())
        except Refused as refusal:
            outcomes[refusal.reason_code] += 1
        else:
            assert isinstance(outcome, Cleaned)
            outcomes["cleaned"] += 1
    assert outcomes["cleaned"] >= least, outcomes
    assert outcomes["internal_error"] == outcomes["identifier_left"] == 0


def faults(path: Path) -> Counter[str]:
    """What dciodvfy calls an error, without names and values, so that those of two files compare."""
    run = subprocess.run(["dciodvfy", str(path)], capture_output=True, check=False, timeout=60)
    lines = (run.stderr + run.stdout).decode("latin-1").splitlines()
    return Counter(_VARIABLE.sub("#", line) for line in lines if line.startswith("Error"))


# The same originals for all rules.
faults_of_original = functools.cache(faults)


@pytest.mark.parametrize("name", ["basic", "research"])
def test_no_fault_that_the_original_did_not_have(
    name: str, corpus: list[Path], tmp_path: Path, header_rules: Callable[[str], Rules]
) -> None:
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy (Debian package dicom3tools) is not installed")
    deidentifier = Deidentifier(header_rules(name), PseudonymKey(bytes(range(32))))
    copy = tmp_path / "copy.dcm"
    checked = 0
    worse = {}
    for path in corpus:
        if path.name in UNREADABLE:
            continue
        try:
            outcome = deidentifier.clean(path.read_bytes())
        except Refused:
            continue
        assert isinstance(outcome, Cleaned)
        copy.write_bytes(outcome.data)
        now = faults(copy)
        new = now.keys() - faults_of_original(path).keys() if now else set()
        checked += 1
        if new:
            worse[path.name] = sorted(new)
    assert not worse
    assert checked >= 325
