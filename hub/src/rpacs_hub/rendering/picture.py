"""Frames as PNG or JPEG."""

from __future__ import annotations

import enum
import io
import zlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pydicom
from PIL import Image

from rpacs_hub.errors import RenderError
from rpacs_hub.rendering.pixels import Array, decode_frame, read_dataset, to_display

__all__ = ["MAX_SIZE", "PictureFormat", "Viewport", "encode", "render"]

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


@dataclass(frozen=True)
class Viewport:
    """Which part of a picture is shown, and how large (PS3.18 section 8.3.5.1.3).

    Attributes
    ----------
    width, height
        What the picture has to fit into, in pixels; its proportions stay.
    left, top
        Where the part begins, in pixels of the image; None = 0.
    source_width, source_height
        Size of the part in pixels of the image; negative = mirrored; None = all that is left.
    """

    width: int
    height: int
    left: float | None = None
    top: float | None = None
    source_width: float | None = None
    source_height: float | None = None

    def fit(self, picture: Image.Image) -> Image.Image:
        """Return the part of a picture in its size.

        Raises
        ------
        RenderError
            The size or the part is out of range.
        """
        if not (1 <= self.width <= MAX_SIZE and 1 <= self.height <= MAX_SIZE):
            raise RenderError(f"The viewport is {self.width} by {self.height}.", f"It may be 1 to {MAX_SIZE}.")
        left, top = self.left or 0.0, self.top or 0.0
        across = self.source_width if self.source_width is not None else picture.width - left
        down = self.source_height if self.source_height is not None else picture.height - top
        right, bottom = min(left + abs(across), picture.width), min(top + abs(down), picture.height)
        if not (0 <= left < right and 0 <= top < bottom):
            raise RenderError("The viewport shows nothing of the image.", "Its part must lie within the image.")
        factor = min(self.width / (right - left), self.height / (bottom - top))
        target = (max(1, round((right - left) * factor)), max(1, round((bottom - top) * factor)))
        method = Image.Resampling.BOX if factor <= 0.5 else Image.Resampling.BILINEAR
        picture = picture.resize(target, method, box=(left, top, right, bottom))
        if across < 0:
            picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        if down < 0:
            picture = picture.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
        return picture


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
    *,
    viewport: Viewport | None = None,
    function: str | None = None,
    quality: int | None = None,
) -> bytes:
    """Draw a frame that was decoded already.

    Parameters
    ----------
    stored
        From `decode_frame`.
    dataset, frame, format, center, width, size
        As for `render`.
    viewport
        Instead of `size`: the part that is shown, and what it has to fit into.
    function
        Of the window: ``LINEAR``, ``LINEAR_EXACT`` or ``SIGMOID`` (PS3.3 C.11.2.1.3); None = the file's own.
    quality
        Of a JPEG, 1 to 100; None = 88.

    Raises
    ------
    RenderError
        `size`, `width` or `viewport` is out of range.
    """
    if size is not None and not 1 <= size <= MAX_SIZE:
        raise RenderError(f"size is {size}.", f"It may be 1 to {MAX_SIZE}.")
    if width is not None and not width > 0:
        raise RenderError(f"width is {width:g}.", "A window is wider than 0.")
    shown: npt.NDArray[np.uint8] = to_display(stored, dataset, frame, center, width, function)
    picture = Image.fromarray(np.ascontiguousarray(shown))
    if viewport is not None:
        picture = viewport.fit(picture)
    elif size is not None and max(picture.size) > size:
        factor = size / max(picture.size)
        target = (max(1, round(picture.width * factor)), max(1, round(picture.height * factor)))
        picture = picture.resize(target, Image.Resampling.BOX if factor <= 0.5 else Image.Resampling.BILINEAR)
    output = io.BytesIO()
    if format is PictureFormat.JPEG:
        picture.save(output, "JPEG", quality=88 if quality is None else quality)
    else:
        # Level 1 with run lengths is six times as fast as the default, and as small on images with noise.
        picture.save(output, "PNG", compress_level=1, compress_type=zlib.Z_RLE)
    return output.getvalue()
