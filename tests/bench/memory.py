"""How much memory it takes to clean a large instance, from file to file."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from io import BytesIO
from pathlib import Path

import pydicom.data
from pydicom import dcmread
from pydicom.dataset import Dataset

from deid_service import PseudonymKey
from tests.bench.rows import Row

_SIZE = 2 * 2**30 - 2**20  # what the 32-bit length of native pixel data holds, and pydicom reads
_FRAME = 512 * 512 * 2


def run() -> list[Row]:
    """Clean a native multi-frame of 2 GB with the command ``rpacs-deid file``."""
    with tempfile.TemporaryDirectory(prefix="rpacs-bench-") as name:
        folder = Path(name)
        original, copy, key = folder / "original.dcm", folder / "copy.dcm", folder / "key"
        PseudonymKey.generate(key)
        write_multi_frame(original, _SIZE)
        start = time.perf_counter()
        program = Path(sys.executable).with_name("rpacs-deid")
        peak = peak_of([program, "file", original, copy, "--key-file", key])
        seconds = time.perf_counter() - start
        size = copy.stat().st_size
    command = "python -m tests.bench memory"
    return [
        Row("deid.large.peak_memory", peak / 2**20, "MiB", limit="the file", limit_value=size / 2**20, command=command),
        Row("deid.large.seconds", seconds, "s", command=command),
    ]


def write_multi_frame(path: Path, size: int) -> None:
    """Write a CT instance with native pixel data of about `size` bytes, without holding them.

    Parameters
    ----------
    path : Path
        Where to. The file has holes: it takes hardly any space.
    size : int
        Length of the pixel data in bytes; rounded down to whole frames of 512 x 512 cells of 16 bits.
    """
    dataset = dcmread(str(pydicom.data.get_testdata_file("CT_small.dcm")))
    dataset.NumberOfFrames = size // _FRAME
    dataset.Rows = dataset.Columns = 512
    dataset.PixelData = b""
    tail = _encoded(dataset, after_pixels=True)
    head = _encoded(dataset, after_pixels=False)
    length = size // _FRAME * _FRAME
    with path.open("wb") as file:
        file.write(head + b"\xe0\x7f\x10\x00OW\0\0" + length.to_bytes(4, "little"))
        file.seek(length - 2, os.SEEK_CUR)
        file.write(b"\x01\x02" + tail)


def _encoded(dataset: Dataset, *, after_pixels: bool) -> bytes:
    part = Dataset()
    for element in dataset:
        if element.tag != 0x7FE00010 and (element.tag > 0x7FE00010) == after_pixels and element.tag != 0xFFFCFFFC:
            part.add(element)
    buffer = BytesIO()
    if after_pixels:
        part.save_as(buffer, implicit_vr=False, little_endian=True)
    else:
        part.file_meta = dataset.file_meta
        part.preamble = b"\0" * 128
        part.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def peak_of(command: list[str | Path]) -> int:
    """Run a command and return the most anonymous memory that it had, in bytes.

    Mapped files do not count: the operating system drops their pages when it needs the room.

    Raises
    ------
    subprocess.CalledProcessError
        If the command fails.
    """
    peak = 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        status = Path(f"/proc/{process.pid}/status")
        while process.poll() is None:
            found = re.search(r"RssAnon:\s+(\d+) kB", status.read_text())
            peak = max(peak, int(found[1]) * 1024 if found else 0)
            time.sleep(0.002)  # to sample, not to wait for something
        output = process.stdout.read() if process.stdout else ""
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command, output)
    return peak
