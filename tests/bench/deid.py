"""How fast an instance is cleaned, and what is left of it, beside other de-identifiers.

The others are never dependencies. ``RPACS_BENCH_PEERS`` names a folder with an environment for each, so that
``PEERS/dcmanon/bin/python`` can import it; what is not there is left out, and said so::

    for peer in dicom-anonymizer dcm-anonymizer deid dcmanon; do
        uv venv PEERS/$peer && uv pip install --python PEERS/$peer/bin/python $peer
    done
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from deid_service import Cleaned, Deidentifier, PseudonymKey, default_rules_path, load_rules
from deid_service._buffers import write_parts
from tests.answer_key.places import PLACES, leaks, object_with_21_places
from tests.bench.rows import Row
from tests.bench.slices import ct_slices

_COUNT = 60
_ROUNDS = 5
_PEERS = ("dicom-anonymizer", "dcm-anonymizer", "deid", "dcmanon")
_COMMAND = "python -m tests.bench deid"


def run() -> list[Row]:
    """Measure cleaning in memory and from file to file, and count leaks."""
    deidentifier = Deidentifier(load_rules(default_rules_path()), PseudonymKey(bytes(range(32))))
    slices = ct_slices(_COUNT)
    ours = _COUNT / _shortest(lambda: [deidentifier.clean(data) for data in slices])
    rows = [Row("deid.ct.per_s_core", ours, "slices/s", command=_COMMAND)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = []
        for number, data in enumerate(slices):
            paths.append(folder / f"{number}.dcm")
            paths[-1].write_bytes(data)
        rows.append(_from_file_to_file(deidentifier, paths))
        outcome = deidentifier.clean(object_with_21_places())
        left = len(leaks(outcome.data)) if isinstance(outcome, Cleaned) else len(PLACES)
        for peer, python in peers().items():
            rows += _beside(peer, python, paths, folder, ours, left)
    return rows


def _from_file_to_file(deidentifier: Deidentifier, paths: list[Path]) -> Row:
    """Compare with plainly reading and writing the same files."""
    target = paths[0].parent / "out.dcm"

    def clean() -> None:
        for path in paths:
            outcome = deidentifier.clean(path.read_bytes())
            assert isinstance(outcome, Cleaned)
            with target.open("wb", buffering=0) as file:
                write_parts(file.fileno(), outcome.parts)

    def copy() -> None:
        for path in paths:
            target.write_bytes(path.read_bytes())

    cleaned, copied = len(paths) / _shortest(clean), len(paths) / _shortest(copy)
    return Row(
        "deid.ct.files_vs_copy",
        cleaned,
        "slices/s",
        limit="reading and writing the files",
        limit_value=copied,
        ratio=cleaned / copied,
        command=_COMMAND,
    )


def _beside(peer: str, python: Path, paths: list[Path], folder: Path, ours: float, left: int) -> list[Row]:
    """Measure a peer, and see what it leaves of the object with 21 places."""
    name = peer.replace("-", "_")
    seconds = _work(peer, python, folder / "peer.dcm", 2, paths)
    rows = []
    if seconds:
        theirs = len(paths) / seconds
        rows.append(
            Row(f"deid.ct.vs_{name}", ours, "slices/s", peer, theirs, ratio=ours / theirs, command=_COMMAND),
        )
    found = places_left(peer, python, folder)
    if found is not None:
        rows.append(Row(f"deid.places.vs_{name}", left, "places left", peer, len(found), command=_COMMAND))
    return rows


def peers() -> dict[str, Path]:
    """Return the other de-identifiers that are here, and the Python of each."""
    folder = os.environ.get("RPACS_BENCH_PEERS")
    found = {peer: Path(folder) / peer / "bin" / "python" for peer in _PEERS} if folder else {}
    for peer in _PEERS:
        if peer not in found or not found[peer].exists():
            print(f"{peer} is not in RPACS_BENCH_PEERS: left out")
    return {peer: python for peer, python in found.items() if python.exists()}


def places_left(peer: str, python: Path, folder: Path) -> list[str] | None:
    """Return what a peer leaves of the object with 21 places; None if it fails on it.

    One that reads no partial date is given the object with 20.
    """
    planted, copy = folder / "places.dcm", folder / "places.out.dcm"
    for partial_date in (True, False):
        planted.write_bytes(object_with_21_places(partial_date=partial_date))
        if _work(peer, python, copy, 0, [planted]) is not None:
            found = leaks(copy.read_bytes())
            print(f"{peer} leaves {len(found)} of {21 if partial_date else 20} places: {', '.join(found)}")
            return found
        print(f"{peer} fails on the object with {21 if partial_date else 20} places")
    return None


def _work(peer: str, python: Path, out: Path, rounds: int, paths: list[Path]) -> float | None:
    """Run the peer; return its shortest time over all files, None if it fails."""
    # -P: or "import deid" would find this module
    worker = Path(__file__).with_name("_peer_worker.py")
    done = subprocess.run(
        [python, "-P", worker, peer, out, str(rounds), *paths], capture_output=True, text=True, check=False, timeout=600
    )
    if done.returncode:
        return None
    return float(json.loads(done.stdout.splitlines()[-1])["seconds"])


def _shortest(work: Callable[[], object]) -> float:
    times = []
    for _ in range(_ROUNDS):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)
