"""What looking for text in pixels costs, by size of a frame, and how often triage saves it."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread

from deid_service.errors import Refused
from deid_service.pixels.display import Appearance
from deid_service.pixels.frames import open_frames
from deid_service.pixels.header import header_of
from deid_service.pixels.ocr import engine
from deid_service.pixels.ocr.search import find_text, text_in_frame
from deid_service.pixels.triage import triage
from deid_service.wire import read
from tests.bench.rows import Row

_SHARED = Path(__file__).parents[3] / "shared" / "data" / "dicom"
_COMMAND = "python -m tests.bench pixels"
_ROUNDS = 2
_DUKE_SHARE = 1.5
# A frame with text for each common size; the smaller ones are its corners.
_FRAMES = {
    "256x256": ("us/philips_epiq_burnedin/GREYSCALE_IMAGE.dcm", 256, 256),
    "480x640": ("us/ge_lymphnode_burnedin/US1_UNCR.dcm", 480, 640),
    "768x1024": ("us/philips_epiq_burnedin/GREYSCALE_IMAGE.dcm", 768, 1024),
    "1955x1841": ("cr/RG1_J2KI.dcm", 1955, 1841),
    "3062x2394": ("mg/GH133.dcm", 3062, 2394),
}
_READ_IN_SAMPLE = 30


def run() -> list[Row]:
    """Measure one frame of each size, and the mixed sample with and without triage. One thread."""
    engine("local").find(np.zeros((64, 64), np.uint8))
    rows = [_frame(name, *place) for name, place in _FRAMES.items()]
    return [*rows, *_sample()]


def _frame(name: str, path: str, rows: int, columns: int) -> Row:
    instance = (_SHARED / path).read_bytes()
    reader = open_frames(read(instance))
    appearance = Appearance.of(dcmread(BytesIO(instance), stop_before_pixels=True), reader.decoded_photometric)
    frame: NDArray[np.generic] = np.ascontiguousarray(reader.decode(0)[:rows, :columns])
    shortest = _shortest(lambda: text_in_frame(frame, engine("local"), appearance=appearance))
    return Row(f"ocr.ms_per_frame.{name}", 1000 * shortest, "ms of one processor", command=_COMMAND)


def _sample() -> list[Row]:
    """Take all images of the sample data: what triage costs and saves."""
    instances = []
    for path in sorted(_SHARED.rglob("*")):
        if path.is_file():
            data = path.read_bytes()
            try:
                finding = triage(header_of(read(data)))
            except Refused:
                continue
            if finding.pixels:
                instances.append((data, finding.suspected))
    sources = [read(data) for data, _ in instances]
    triaged = _shortest(lambda: [triage(header_of(source)) for source in sources]) / len(sources)
    suspected = sum(suspected for _, suspected in instances) / len(instances)
    # Every n-th, with the first frame alone: a few long cines would otherwise be all that is measured.
    some = instances[:: max(1, len(instances) // _READ_IN_SAMPLE)]
    times = [(_read_first(data), wanted) for data, wanted in some]
    readable = [(seconds, wanted) for seconds, wanted in times if seconds is not None]
    always = statistics.fmean(seconds for seconds, _ in readable)
    with_triage = triaged + statistics.fmean(seconds if wanted else 0.0 for seconds, wanted in readable)
    return [
        Row(
            "ocr.share_of_mixed",
            100 * suspected,
            "% of images",
            peer="Duke, its own archive (published)",
            peer_value=_DUKE_SHARE,
            command=_COMMAND,
        ),
        Row("ocr.triage_us", 1e6 * triaged, "us/instance", command=_COMMAND),
        Row(
            "ocr.images_per_s",
            1 / with_triage,
            "images/s",
            peer="the same without triage",
            peer_value=1 / always,
            ratio=always / with_triage,
            command=_COMMAND,
        ),
    ]


def _read_first(data: bytes) -> float | None:
    try:
        reader = open_frames(read(data))
        appearance = Appearance.of(dcmread(BytesIO(data), stop_before_pixels=True), reader.decoded_photometric)
        begun = time.process_time()
        find_text(_First(reader.raw, reader.decode), engine("local"), (), appearance)
    except Refused:
        return None
    return time.process_time() - begun


class _First:
    number = 1

    def __init__(self, raw: Callable[[int], bytes | memoryview], decode: Callable[[int], NDArray[np.generic]]) -> None:
        self.raw, self.decode = raw, decode


def _shortest(work: Callable[[], object]) -> float:
    """Return the processor's seconds in the quickest round: one thread works, and what else runs does not count."""
    times = []
    for _ in range(_ROUNDS):
        begun = time.process_time()
        work()
        times.append(time.process_time() - begun)
    return min(times)
