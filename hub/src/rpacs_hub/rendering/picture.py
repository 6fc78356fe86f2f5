"""Frames as PNG or JPEG."""

from __future__ import annotations

import enum
import io

import numpy as np
import numpy.typing as npt
import pydicom
from PIL import Image

from rpacs_hub.errors import RenderError
from rpacs_hub.rendering.pixels import Array, decode_frame, read_dataset, to_display

__all__ = ["MAX_SIZE", "PictureFormat", "encode", "render"]

MAX_SIZE = 4096
"""The longest side that may be asked for, in pixels."""


class PictureFormat(enum.StrEnum):
    """How a picture is encoded."""

    PNG = "png"
    JPEG = "jpeg"

    @property
    def content_type(self) -> str:
        """The HTTP media type."""
        return f"image/{self.value}"


def render(
    source: pydicom.Dataset | bytes,
    frame: int = 1,
    format: PictureFormat | str = PictureFormat.PNG,  # noqa: A002 - the name that every caller knows it by
    center: float | None = None,
    width: float | None = None,
    size: int | None = None,
) -> bytes:
    """Draw one frame.

    Parameters
    ----------
    source
        A dataset with its pixels, or a whole DICOM file.
    frame
        From 1.
    format
        ``png`` or ``jpeg``.
    center, width
        Window in modality units; None = the file's own, else from the values.
    size
        Longest side in pixels; larger pictures are made smaller, smaller ones stay as they are.

    Returns
    -------
    bytes
        The encoded picture.

    Raises
    ------
    FrameMissing
        There is no such frame.
    NotAnImage
        There are no pixels, or they cannot be decoded.
    RenderError
        `size` or `width` is out of range.
    """
    dataset = read_dataset(source) if isinstance(source, bytes) else source
    return encode(decode_frame(dataset, frame), dataset, frame, PictureFormat(format), center, width, size)


def encode(
    stored: Array,
    dataset: pydicom.Dataset,
    frame: int,
    format: PictureFormat,  # noqa: A002
    center: float | None = None,
    width: float | None = None,
    size: int | None = None,
) -> bytes:
    """Draw a frame that was decoded already; see `render`."""
    if size is not None and not 1 <= size <= MAX_SIZE:
        raise RenderError(f"size is {size}.", f"It may be 1 to {MAX_SIZE}.")
    if width is not None and not width > 0:
        raise RenderError(f"width is {width:g}.", "A window is wider than 0.")
    shown: npt.NDArray[np.uint8] = to_display(stored, dataset, frame, center, width)
    picture = Image.fromarray(np.ascontiguousarray(shown))
    if size is not None and max(picture.size) > size:
        factor = size / max(picture.size)
        target = (max(1, round(picture.width * factor)), max(1, round(picture.height * factor)))
        picture = picture.resize(target, Image.Resampling.BOX if factor <= 0.5 else Image.Resampling.BILINEAR)
    output = io.BytesIO()
    if format is PictureFormat.JPEG:
        picture.save(output, "JPEG", quality=88)
    else:
        # Level 1 is six times as fast as the default, for pictures a tenth larger.
        picture.save(output, "PNG", compress_level=1)
    return output.getvalue()
