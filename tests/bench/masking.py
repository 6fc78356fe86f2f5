"""How long it takes to black out boxes in a frame, by transfer syntax, and how much memory in a large multi-frame."""

from __future__ import annotations

import struct
import sys
import tempfile
import time
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom.data
from pydicom import dcmread
from pydicom.uid import UID

from deid_service import PseudonymKey
from deid_service.pixels import codecs
from deid_service.pixels.layout import Layout
from deid_service.pixels.rewrite import rewrite_pixels
from deid_service.wire import read
from tests.bench.mask_worker import REGIONS
from tests.bench.memory import peak_of, write_multi_frame
from tests.bench.rows import Row

COMMAND = "python -m tests.bench masking"
_SIZE = 2 * 2**30 - 2**20
_FRAME = 512 * 512 * 2
_FRAMES_TIMED = 8
# Nobody reads 4,000 frames twice for a benchmark of memory.
_RULES = """
ScopeToForward: {Labels: ALL}
Transformations:
  - Scope: {Labels: ALL}
    RandomizeUID: {TagPatterns: "*/{UI}"}
    RemoveBurnedInAnnotations: {Type: Manual, BoxCoordinates: [[0, 0, 511, 39], [100, 480, 511, 511]]}
    SuspectedPixels: PassUnchecked
"""
_ITEM = b"\xfe\xff\x00\xe0"
_NAMES = {
    codecs.EXPLICIT_LITTLE: "native",
    codecs.RLE: "rle",
    codecs.JPEG_LS_LOSSLESS: "jpeg_ls",
    codecs.JPEG_2000_LOSSLESS: "jpeg_2000",
}


def run() -> list[Row]:
    """Mask frames of 512 x 512 cells of 16 bits, and a file of 2 GB, native and with run lengths."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="rpacs-bench-") as name:
        path = Path(name) / "original.dcm"
        for syntax, word in _NAMES.items():
            write_frames(path, syntax, _FRAMES_TIMED)
            source = read(path.read_bytes())
            start = time.process_time()
            rewrite_pixels(source, REGIONS)
            spent = (time.process_time() - start) / _FRAMES_TIMED
            rows.append(Row(f"mask.{word}.ms_per_frame", 1000 * spent, "ms", command=COMMAND))
        for syntax in (codecs.EXPLICIT_LITTLE, codecs.RLE):
            if syntax == codecs.RLE:
                write_frames(path, syntax, _SIZE // _FRAME)
            else:
                write_multi_frame(path, _SIZE)
            start = time.perf_counter()
            peak = peak_masked(path, path.with_name("copy.dcm"))
            seconds = time.perf_counter() - start
            row = f"mask.large.{_NAMES[syntax]}"
            size = _SIZE / 2**20
            rows.append(
                Row(f"{row}.peak_memory", peak / 2**20, "MiB", limit="its pixels", limit_value=size, command=COMMAND)
            )
            rows.append(Row(f"{row}.seconds", seconds, "s", command=COMMAND))
    return [*rows, *_by_rules()]


def _by_rules() -> list[Row]:
    """Mask a native file of 2 GB by a rule, with the command ``rpacs-deid file``."""
    with tempfile.TemporaryDirectory(prefix="rpacs-bench-") as name:
        folder = Path(name)
        original, copy, key, rules = (folder / one for one in ("original.dcm", "copy.dcm", "key", "rules.yaml"))
        PseudonymKey.generate(key)
        rules.write_text(_RULES)
        write_multi_frame(original, _SIZE)
        start = time.perf_counter()
        program = Path(sys.executable).with_name("rpacs-deid")
        peak = peak_of([program, "file", original, copy, "--rules", rules, "--key-file", key])
        seconds = time.perf_counter() - start
    size = _SIZE / 2**20
    return [
        Row("mask.by_rule.peak_memory", peak / 2**20, "MiB", limit="its pixels", limit_value=size, command=COMMAND),
        Row("mask.by_rule.seconds", seconds, "s", command=COMMAND),
    ]


def peak_masked(original: Path, copy: Path) -> int:
    """Mask a file in a process of its own and return the most anonymous memory that it had, in bytes."""
    return peak_of([sys.executable, "-m", "tests.bench.mask_worker", original, copy])


def write_frames(path: Path, syntax: str, number: int) -> None:
    """Write a CT instance of noisy frames, without holding more than one.

    Parameters
    ----------
    path : Path
        Where to.
    syntax : str
        Transfer syntax UID.
    number : int
        Frames, of 512 x 512 cells of 16 bits. All of them are the same.
    """
    dataset = dcmread(str(pydicom.data.get_testdata_file("CT_small.dcm")))
    dataset.NumberOfFrames = number
    dataset.Rows = dataset.Columns = 512
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    for tag in (0x7FE00010, 0xFFFCFFFC):
        del dataset[tag]
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    values = np.random.default_rng(1).normal(0, 3, (512, 512)).cumsum(axis=1)
    cells = values.astype("<i2").view("<u2")
    layout = Layout(0x7FE00010, 1, 512, 512, 1, 16, 16, 15, signed=True, photometric="MONOCHROME2", planar=0)
    with path.open("wb") as file:
        file.write(buffer.getvalue())
        if syntax == codecs.EXPLICIT_LITTLE:
            file.write(b"\xe0\x7f\x10\x00OW\0\0" + struct.pack("<I", number * _FRAME))
            for _ in range(number):
                file.write(cells.tobytes())
            return
        frame = codecs.encode(cells, layout, syntax)
        file.write(b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff" + _ITEM + bytes(4))
        for _ in range(number):
            file.write(_ITEM + struct.pack("<I", len(frame)) + frame)
        file.write(b"\xfe\xff\xdd\xe0" + bytes(4))
