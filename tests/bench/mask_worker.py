"""Black out the top and the bottom of every frame: ``python -m tests.bench.mask_worker IN OUT``.

A process of its own, so that its memory can be measured.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from deid_service._buffers import open_file, write_parts
from deid_service.pixels.boxes import Box, Regions
from deid_service.pixels.rewrite import rewrite_pixels
from deid_service.transforms.transcode import with_pixels
from deid_service.wire import read

REGIONS = Regions((Box(0, 0, 511, 39), Box(100, 480, 511, 511)))


def main() -> None:
    source = read(open_file(Path(sys.argv[1])))
    parts = with_pixels(source, rewrite_pixels(source, REGIONS))
    handle = os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        write_parts(handle, parts)
    finally:
        os.close(handle)


if __name__ == "__main__":
    main()
