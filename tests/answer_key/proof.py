"""Writes what was measured into the documentation."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

from deid_service import Cleaned, Deidentifier, PseudonymKey, load_rules
from tests.answer_key.echoes import NOT_FOUND, PEOPLE, false_alarms, measure
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


_ECHOES = """
## What the second look finds

However clean a copy is, somebody may have typed an identifier in another form where no rule looks. Each form of each
identifier of {people} invented patients is planted into a copy that is clean otherwise ({plants} plants; `python -m
tests.answer_key.echoes` lists them all), and the copy is verified. Found in every one: {whole} of {forms} forms, among
them names in capitals, with umlauts spelled out or without accents, glued by underscores, carets or nothing, and with
digits or an initial stuck to them; numbers without separators, letters or leading zeros, and as binary numbers; dates
in every order and separator, with two-digit years, as DS, as three IS or US values, and as binary numbers. Not always:

| identifier | form | found | |
|---|---|---:|---|
"""

_ALARMS = """
The price: {copies} clean copies of the sample files, searched for what the headers of {headers} other files say of
their patients ({pairs:,} pairs of strangers), gave {alarms} false alarms. For what its own header says {held} of the
sample files are held back under `research.yaml`.
"""


def _echoes() -> str:
    counted = measure()
    missed = {which: counts for which, counts in counted.items() if counts[0] < counts[1]}
    text = _ECHOES.format(
        people=len(PEOPLE),
        plants=f"{sum(total for _, total in counted.values()):,}",
        whole=len(counted) - len(missed),
        forms=len(counted),
    )
    for (kind, form), (found, total) in missed.items():
        text += f"| {kind} | {form} | {found} of {total} | {NOT_FOUND[(kind, form)]} |\n"
    root = Path(os.environ.get("RPACS_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data")) / "dicom"
    if not root.exists():
        return text
    alarms = false_alarms([path for path in sorted(root.rglob("*")) if path.is_file()])
    return text + _ALARMS.format(**vars(alarms))


def write_proof(path: Path, scores: list[Score], *, with_table: bool) -> None:
    """Write the tables of the answer key, and what is left in 21 places by us and by the others that are here."""
    parts = [_HEAD, _TABLE if with_table else ""]
    parts += [f"\n### `{score.policy.name}.yaml`, {score.files} files\n\n{score.table()}\n" for score in scores]
    parts += [_PLACES, _places_table(), "\n", _echoes(), _DAMAGE, _damage_table()]
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
