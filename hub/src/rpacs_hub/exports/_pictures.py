"""Turn the file of one instance into PNG pictures, one per frame."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

import pydicom

from rpacs_hub.exports._reasons import NO_IMAGE, NOT_DICOM, UNDECODABLE
from rpacs_hub.exports.errors import InstanceFailed

if TYPE_CHECKING:
    from pydicom import Dataset


class Render(Protocol):
    """Makes one picture; frames count from 1."""

    def __call__(self, source: Dataset, frame: int, format: str) -> bytes: ...  # noqa: A002


def pictures(data: bytes, render: Render) -> Iterator[tuple[str, bytes]]:
    """Yield (end of the object's name, PNG) for every frame.

    ``.png`` for a single frame, ``-0001.png`` and so on for several.

    Raises
    ------
    InstanceFailed
        The file is not DICOM, holds no image or cannot be decoded; the message never holds text of the file.
    """
    try:
        dataset = pydicom.dcmread(io.BytesIO(data), force=True)
        has_image = any(keyword in dataset for keyword in ("PixelData", "FloatPixelData", "DoubleFloatPixelData"))
        count = max(1, int(dataset.get("NumberOfFrames") or 1))
    except Exception as error:  # noqa: BLE001 - whatever a broken file makes pydicom do
        raise InstanceFailed(NOT_DICOM, f"The file cannot be read ({type(error).__name__}).") from None
    if not has_image:
        raise InstanceFailed(NO_IMAGE, "There is no image in the file.")
    width = max(4, len(str(count)))
    for frame in range(1, count + 1):
        try:
            picture = render(dataset, frame, "png")
        except Exception as error:  # noqa: BLE001 - decoders raise many kinds, with text of the file in some
            raise InstanceFailed(UNDECODABLE, f"Frame {frame} cannot be decoded ({type(error).__name__}).") from None
        yield ".png" if count == 1 else f"-{frame:0{width}d}.png", picture
