"""The text that people transcribed from the real sample files is unreadable afterwards, to another engine too."""

from __future__ import annotations

import csv
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from pydicom import dcmread

from deid_service.pixels.boxes import Regions
from deid_service.pixels.display import Appearance, views
from deid_service.pixels.frames import open_frames
from deid_service.pixels.ocr import engine
from deid_service.pixels.ocr.search import Frames, find_text, second_look
from deid_service.wire import read
from tests.burned_in_text.other_engine import read_with_tesseract, seen
from tests.burned_in_text.score import Masked

# US1_J2KR shows the same pixels as US1_UNCR.
_SAME = "US1_J2KR.dcm"


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


def test_every_transcription_is_unreadable_afterwards(shared_data: Path, tmp_path: Path) -> None:
    transcribed = _transcribed(shared_data)
    assert len(transcribed) >= 10
    seen_before = 0
    for name, words in transcribed.items():
        instance = _instance(shared_data / "dicom" / name)
        reader = open_frames(read(instance))
        appearance = Appearance.of(dcmread(BytesIO(instance), stop_before_pixels=True), reader.decoded_photometric)
        frame = 0
        part = _First(reader)
        found = find_text(part, engine("local"), (), appearance)
        regions = Regions(by_frame={index: tuple(word.box for word in some) for index, some in found.items()})
        assert not second_look(_First(Masked(reader, instance, regions)), engine("local"), (), appearance, regions)
        before = _read(reader.decode(frame), appearance)
        after = _read(Masked(reader, instance, regions).decode(frame), appearance)
        seen_before += sum(seen(word, before) for word in words)
        assert [word for word in words if seen(word, after)] == [], name
    assert seen_before >= 30


class _First:
    """The first frame alone: a cine's banner is the same in all, and other tests look at many frames."""

    number = 1

    def __init__(self, frames: Frames) -> None:
        self.raw = frames.raw
        self.decode = frames.decode


def _read(frame: NDArray[Any], appearance: Appearance) -> set[str]:
    view = next(iter(views(frame, appearance))).image
    return read_with_tesseract(view if view.ndim == 2 else view.max(axis=2))
