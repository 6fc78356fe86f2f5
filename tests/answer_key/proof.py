"""Writes what was measured into the documentation."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from deid_service import Cleaned, Deidentifier, PseudonymKey, load_rules
from tests.answer_key.places import PLACES, leaks, object_with_21_places
from tests.answer_key.policies import POLICIES
from tests.answer_key.scorer import Score
from tests.bench.deid import peers, places_left
from tests.fuzz.__main__ import run
from tests.fuzz.mutations import mutated

_HEAD = """# What shows that nothing leaks

Written by `python -m tests.answer_key --write`; the suite checks the same on every run.

## The answer key

In the manner of the MIDI-B challenge: identifiers of invented patients are planted into every place of real files
(those that come with pydicom: CT, MR, radiotherapy, reports, waveforms, segmentations; explicit and implicit, both byte
orders, compressed), and for each element the key says what must become of it. The scorer reads the clean copies with
pydicom and searches them as bytes; it shares no code with the de-identifier. The two actions that look at pixels are
not part of it.
"""

_TABLE = """
A quarter of the files carry a word of their own in every attribute of PS3.15 table E.1-1 that can hold one.
"""

_PLACES = """
## One object, 21 places

A CT slice with an identifying word in each of 21 places. Every tool with its default settings; a cross means that the
word is still in the copy.

"""


_DAMAGE = """
## Damaged files

50,000 files made from the planted ones by flipping bits, cutting, lying about lengths, inserting, repeating and giving
elements another value representation (`python -m tests.fuzz`), cleaned by one process with `research.yaml`. Everything
but the first line is a refusal, by reason.

| outcome | files |
|---|---:|
"""


def write_proof(path: Path, scores: list[Score], *, with_table: bool) -> None:
    """Write the tables of the answer key, and what is left in 21 places by us and by the others that are here."""
    parts = [_HEAD, _TABLE if with_table else ""]
    parts += [f"\n### `{score.policy.name}.yaml`, {score.files} files\n\n{score.table()}\n" for score in scores]
    parts += [_PLACES, _places_table(), "\n", _DAMAGE, _damage_table()]
    path.write_text("".join(parts))


def _places_table() -> str:
    columns: dict[str, list[str] | None] = {}
    for policy in POLICIES:
        outcome = Deidentifier(load_rules(policy.path), PseudonymKey(bytes(range(32)))).clean(object_with_21_places())
        columns[f"`{policy.name}.yaml`"] = leaks(outcome.data) if isinstance(outcome, Cleaned) else None
    with tempfile.TemporaryDirectory() as folder:
        for peer, python in peers().items():
            columns[f"{peer} {_version(peer, python)}"] = places_left(peer, python, Path(folder))
    lines = ["| place | " + " | ".join(columns) + " |", "|---|" + ":-:|" * len(columns)]
    for place in PLACES:
        cells = ("fails" if left is None else "✗" if place in left else "" for left in columns.values())
        lines.append(f"| {place} | " + " | ".join(cells) + " |")
    totals = ("fails" if left is None else f"**{len(left)}**" for left in columns.values())
    lines.append("| **left** | " + " | ".join(totals) + " |")
    if any(column.startswith("dcmanon") for column in columns):
        lines.append("\ndcmanon reads no file with a partial date; it was given the object without one.")
    return "\n".join(lines)


def _damage_table() -> str:
    result = run(mutated(50_000, seed=1))
    cleaned = result.outcomes.pop("cleaned")
    lines = [f"| {outcome} | {count:,} |" for outcome, count in [("cleaned", cleaned), *result.outcomes.most_common()]]
    return "\n".join(lines) + (
        f"\n\n{len(result.faults)} failures of the process; the slowest file took {result.slowest:.1f} s, and the "
        f"process grew by {result.grown / 1e6:.0f} MB.\n"
    )


def _version(peer: str, python: Path) -> str:
    code = f"import importlib.metadata as m; print(m.version({peer!r}))"
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
