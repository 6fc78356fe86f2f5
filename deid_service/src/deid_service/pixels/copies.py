"""The finished copy of an instance with its pixels written anew: masked, in another transfer syntax, or both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from deid_service._buffers import Data, Part, spool
from deid_service.pixels.boxes import Regions
from deid_service.pixels.rewrite import rewrite_pixels
from deid_service.transforms.transcode import check_copy, with_pixels, with_tags
from deid_service.wire import PIXEL_TAGS, Source, read

__all__ = ["Copy", "rewrite_copy"]

# More than any file meta information of ours: it must be in the first part, whole.
_HEAD: Final = 65_536


@dataclass(frozen=True, slots=True)
class Copy:
    """A copy with other pixels.

    Attributes
    ----------
    parts : list of bytes or memoryview
        The DICOM file; a view holds nothing but pixels.
    tags : list of int
        Its top-level elements, in order.
    source : Source
        The file, read.
    masked : Regions
        What is black in it.
    """

    parts: list[Part]
    tags: list[int]
    source: Source
    masked: Regions


def rewrite_copy(copy: Source, tags: list[int], regions: Regions, transfer_syntax: str | None) -> Copy:
    """Write a copy whose header is clean with other pixels, and compare the rest with what it was.

    Parameters
    ----------
    copy : Source
        The copy so far, read.
    tags : list of int
        Its top-level elements, in order.
    regions : Regions
        What is to be black.
    transfer_syntax : str or None
        What to write, if the rules ask for one.

    Returns
    -------
    Copy
        A large one lies in a temporary file without a name.

    Raises
    ------
    Refused
        As :func:`~deid_service.pixels.rewrite.rewrite_pixels`; ``verification_failed`` if anything but the pixels
        differs.
    """
    new = rewrite_pixels(copy, regions, transfer_syntax)
    file = spool(with_pixels(copy, new))
    again = read(file)
    check_copy(copy, again, new)
    return Copy(_in_parts(file, again), with_tags(tags, new), again, new.regions)


def _in_parts(file: Data, source: Source) -> list[Part]:
    if source.data is not file:  # it is deflated as a whole
        return [file] if isinstance(file, bytes) else [file[:_HEAD], memoryview(file)[_HEAD:]]
    pixels = next(element for element in source.elements if element.tag in PIXEL_TAGS)
    return [file[: pixels.start], memoryview(file)[pixels.start : pixels.end], file[pixels.end :]]
