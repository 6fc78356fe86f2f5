"""The text that people transcribed from the real sample files is unreadable afterwards, to another engine too.

Each file is cleaned by the ready rules for research, and its finished copy is read: every frame, but of the long film
its first and last, whose banner is that of all others.
"""

from __future__ import annotations

import csv
import zipfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from io import BytesIO
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import dcmread

from deid_service import Cleaned, Deidentifier, PseudonymKey, load_rules
from deid_service.pixels.display import Appearance, views
from deid_service.pixels.frames import open_frames
from deid_service.rules import default_rules_path
from deid_service.wire import read
from tests.burned_in_text.other_engine import SHORT, plain, read_with_tesseract, seen

_LONGEST = 4


def _transcribed(shared: Path) -> dict[str, list[str]]:
    """Return the words that the manifest says can be read in each file."""
    with (shared / "dicom" / "MANIFEST.tsv").open() as manifest:
        rows = list(csv.DictReader(manifest, delimiter="\t"))
    words = {}
    for row in rows:
        said = row["burned_in_text"]
        if said.startswith("yes:"):
            text = said.removeprefix("yes:").split(";")[-1].removeprefix(" same banner:").replace("|", " ")
            words[row["path"]] = [word for word in text.split() if plain(word)]
    return words


def _instance(path: Path) -> bytes:
    if path.suffix != ".zip":
        return path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        data = archive.read(max(archive.infolist(), key=lambda info: info.file_size))
    frames = open_frames(read(data))
    if frames.number <= _LONGEST:
        return data
    dataset = dcmread(BytesIO(data))
    dataset.PixelData = b"".join(bytes(frames.raw(index)) for index in (0, frames.number - 1))
    dataset.NumberOfFrames = 2
    buffer = BytesIO()
    dataset.save_as(buffer)
    return buffer.getvalue()


def _pictures(instance: bytes) -> Iterator[NDArray[np.uint8]]:
    """Yield the frames as a viewer shows them, in grey."""
    source = read(instance)
    frames = open_frames(source)
    appearance = Appearance.of_source(source, frames.decoded_photometric)
    for index in range(frames.number):
        view = next(iter(views(frames.decode(index), appearance.at(index)))).image
        yield view if view.ndim == 2 else view.max(axis=2)


@pytest.mark.timeout(1800)
def test_every_transcription_is_unreadable_afterwards(shared_data: Path) -> None:
    transcribed = _transcribed(shared_data)
    assert len(transcribed) >= 11
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        counts = list(pool.map(_check, repeat(shared_data / "dicom"), *zip(*transcribed.items(), strict=True)))
    read_before = np.array(counts).sum(axis=0)
    # The other engine can read most of it to begin with; otherwise its blindness would say nothing.
    assert (read_before >= (30, 15)).all(), read_before


def _check(folder: Path, name: str, words: list[str]) -> tuple[int, int]:
    """Clean a file and see that no word is left; returns how many could be read before: longer ones, and short ones."""
    deidentifier = Deidentifier(load_rules(default_rules_path()), PseudonymKey(bytes(range(32))))
    instance = _instance(folder / name)
    outcome = deidentifier.clean(instance)
    assert isinstance(outcome, Cleaned), name
    longer = short = 0
    for before, after in zip(_pictures(instance), _pictures(b"".join(outcome.parts)), strict=True):
        found, left = read_with_tesseract(before), read_with_tesseract(after, thoroughly=True)
        for word in words:
            places = [one.box for one in found if one.text == plain(word)]
            readable = seen(word, found, places)
            if len(plain(word)) < SHORT:
                short += readable
            else:
                longer += readable
            assert not seen(word, left, places), (name, word)
    return longer, short
