"""The text that people transcribed from the real sample files is unreadable afterwards, to another engine too."""

from __future__ import annotations

import csv
import zipfile
from pathlib import Path
from typing import Any

import pytest
from numpy.typing import NDArray

from deid_service.pixels.display import Appearance, views
from deid_service.pixels.ocr.search import Frames
from tests.burned_in_text.other_engine import read_with_tesseract, seen
from tests.burned_in_text.score import Masked, clean, opened

# They show what US1_UNCR.dcm and OBXXXX1A.dcm show.
_SAME = ("US1_J2KR.dcm", "US1_J2KI.dcm", "OBXXXX1A_rle_2frame.dcm")


def _transcribed(shared: Path) -> dict[str, list[str]]:
    """Return what the manifest says can be read in each file: words of at least four letters or digits.

    Shorter ones occur by chance in what is read out of speckle.
    """
    with (shared / "dicom" / "MANIFEST.tsv").open() as manifest:
        rows = list(csv.DictReader(manifest, delimiter="\t"))
    words = {}
    for row in rows:
        said = row["burned_in_text"]
        if said.startswith("yes:") and not row["path"].endswith(_SAME):
            text = said.removeprefix("yes:").split(";")[-1].removeprefix(" same banner:").replace("|", " ")
            words[row["path"]] = [
                word for word in text.split() if sum(map(str.isalnum, word)) >= 4 and not word.endswith(":")
            ]
    return words


def _instance(path: Path) -> bytes:
    if path.suffix != ".zip":
        return path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        return archive.read(max(archive.infolist(), key=lambda info: info.file_size))


@pytest.mark.timeout(900)
def test_every_transcription_is_unreadable_afterwards(shared_data: Path) -> None:
    transcribed = _transcribed(shared_data)
    assert len(transcribed) >= 8
    seen_before = 0
    for name, words in transcribed.items():
        instance = _instance(shared_data / "dicom" / name)
        reader, appearance = opened(instance)
        cleaned = clean(_First(reader), instance, appearance)
        assert cleaned.passed, name
        before = _read(reader.decode(0), appearance)
        seen_before += sum(seen(word, before) for word in words)
        after = _read(Masked(reader, instance, cleaned.last).decode(0), appearance, thoroughly=True)
        assert [word for word in words if seen(word, after)] == [], name
    assert seen_before >= 20


class _First:
    """The first frame alone: a cine's banner is the same in all, and other tests look at many frames."""

    number = 1

    def __init__(self, frames: Frames) -> None:
        self.raw = frames.raw
        self.decode = frames.decode


def _read(frame: NDArray[Any], appearance: Appearance, *, thoroughly: bool = False) -> set[str]:
    view = next(iter(views(frame, appearance))).image
    return read_with_tesseract(view if view.ndim == 2 else view.max(axis=2), thoroughly=thoroughly)
