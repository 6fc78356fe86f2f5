"""What a person may see of a frame: stored values turned into grey or colour pictures (PS3.3 C.7.6.3, C.11.2).

Text that is lost in one picture is plain in another: written at the highest value of a 16-bit image it needs the whole
range, drawn into the window of the header it needs that window, faint on bright bone it needs local contrast. So a
frame has several views, and whoever looks for text looks at all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from io import BytesIO
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.filereader import read_dataset
from pydicom.pixels.processing import apply_color_lut, convert_color_space

from deid_service.pixels.functional_groups import frame_displays
from deid_service.wire import Source

__all__ = ["Appearance", "View", "views"]

Picture = NDArray[np.uint8]

_IMAGE: Final = 0x0028
_WINDOWS_LOOKED_AT: Final = 3
_ENTRIES: Final = 65536
# Larger than a letter, smaller than what a picture is made of; and what keeps even ground from becoming all noise.
_NEIGHBOURHOOD: Final = 31
_STEADY: Final = 2.0


@dataclass(frozen=True, slots=True)
class View:
    """One picture of a frame.

    Attributes
    ----------
    name : str
        How it was made: ``full``, ``window``, ``middle``, ``local``, ``colour``, ``saturation``, ``red`` and so on.
    image : ndarray of uint8, shape (rows, columns) or (rows, columns, 3)
        Grey, black is 0; or red, green, blue.
    """

    name: str
    image: Picture


@dataclass(frozen=True, slots=True)
class Appearance:
    """How an instance's header wants its pixels shown.

    Attributes
    ----------
    photometric : str
        Photometric Interpretation of the decoded frames.
    windows : tuple of (float, float)
        Window centre and width, in stored values: the rescale of the header is taken out.
    palette : ndarray of uint8, shape (entries, 3), or None
        Colours of a PALETTE COLOR image.
    palette_first : int
        Stored value of the first entry.
    windows_by_frame : mapping of (int or None) to tuple of (float, float)
        Windows in functional groups, by frame from 0; under None those of frames that are not in it.
    """

    photometric: str = "MONOCHROME2"
    windows: tuple[tuple[float, float], ...] = ()
    palette: Picture | None = None
    palette_first: int = 0
    windows_by_frame: Mapping[int | None, tuple[tuple[float, float], ...]] = field(default_factory=dict)

    def at(self, frame: int) -> Appearance:
        """Return how one frame, counted from 0, is to be shown."""
        windows = self.windows_by_frame.get(frame, self.windows_by_frame.get(None))
        return replace(self, windows=windows) if windows else self

    @classmethod
    def of(cls, header: Dataset, photometric: str | None = None) -> Appearance:
        """Read it from a header; functional groups are left aside.

        Parameters
        ----------
        header : Dataset
            Pixel data is not needed.
        photometric : str, optional
            Of the decoded frames, where the codec changed it.

        Returns
        -------
        Appearance
            A window or palette that is missing or broken is left out: the other views remain.
        """
        interpretation = photometric or str(header.get("PhotometricInterpretation", "MONOCHROME2"))
        palette, first = _palette(header) if interpretation == "PALETTE COLOR" else (None, 0)
        return cls(interpretation, _windows(header), palette, first)

    @classmethod
    def of_source(cls, source: Source, photometric: str | None = None) -> Appearance:
        """Read it from an instance, with what functional groups say of its frames.

        Parameters
        ----------
        source : Source
            The instance, read.
        photometric : str, optional
            Of the decoded frames, where the codec changed it.

        Returns
        -------
        Appearance
            As by :meth:`of`; :meth:`at` has that of a frame.
        """
        # Windows, rescale and palette are all of group 0028; a sequence among them could be unreadable.
        head = b"".join(
            source.data[element.start : element.end]
            for element in source.elements
            if element.tag >> 16 == _IMAGE and element.items is None
        )
        header = read_dataset(BytesIO(head), not source.encoding.explicit, source.encoding.little)
        whole = cls.of(header, photometric)
        slope, intercept = _rescale(header)
        by_frame = {
            frame: _in_stored_values(
                one.windows,
                slope if one.slope is None else one.slope,
                intercept if one.intercept is None else one.intercept,
            )
            for frame, one in frame_displays(source).items()
        }
        return replace(whole, windows_by_frame=by_frame)


def views(frame: NDArray[Any], appearance: Appearance) -> Iterator[View]:
    """Yield the pictures of a frame, the most telling first.

    Parameters
    ----------
    frame : ndarray, shape (rows, columns) or (rows, columns, 3)
        Decoded stored values, of any integer or floating point type.
    appearance : Appearance
        How they are to be shown.

    Yields
    ------
    View
        At least one. Pictures equal to an earlier one are left out.
    """
    if frame.ndim == 3 and frame.shape[2] == 1:
        frame = frame[:, :, 0]
    if appearance.photometric == "PALETTE COLOR" and appearance.palette is not None and frame.ndim == 2:
        yield from _colour_views(_look_up(frame, appearance.palette, appearance.palette_first))
    elif frame.ndim == 3:
        yield from _colour_views(_to_rgb(_to_bytes(frame), appearance.photometric))
    else:
        yield from _grey_views(frame, appearance)


def _grey_views(frame: NDArray[Any], appearance: Appearance) -> Iterator[View]:
    values = frame.astype(np.float32)
    if not np.isfinite(values).all():
        values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
    inverted = appearance.photometric == "MONOCHROME1"
    seen: list[Picture] = []

    def fresh(name: str, low: float, high: float) -> Iterator[View]:
        image = _stretched(values, low, high, inverted)
        if not any(_alike(image, other) for other in seen):
            seen.append(image)
            yield View(name, image)

    low, high = float(values.min()), float(values.max())
    if frame.dtype == np.uint8:
        # Eight bits are shown as they are: stretching them would only magnify noise.
        yield from fresh("full", 0.0, 255.0 if high > 1 else 1.0)
    else:
        yield from fresh("full", low, high)
    for centre, width in appearance.windows[:_WINDOWS_LOOKED_AT]:
        yield from fresh("window", centre - width / 2, centre + width / 2)
    middle = np.percentile(values[:: max(1, len(values) // 512), :: max(1, values.shape[1] // 512)], (1.0, 99.0))
    yield from fresh("middle", float(middle[0]), float(middle[1]))
    yield View("local", _local(values, inverted))


def _stretched(values: NDArray[np.float32], low: float, high: float, inverted: bool) -> Picture:
    spread = high - low if high > low else 1.0
    scaled = np.clip((values - np.float32(low)) * np.float32(255.0 / spread), 0, 255)
    picture: Picture = np.rint(scaled).astype(np.uint8)
    return 255 - picture if inverted else picture


def _local(values: NDArray[np.float32], inverted: bool) -> Picture:
    """Show each pixel by how far it stands out from its neighbourhood, in standard deviations of that."""
    import cv2

    low, high = float(values.min()), float(values.max())
    scaled = (values - np.float32(low)) * np.float32(255.0 / (high - low if high > low else 1.0))
    around = (_NEIGHBOURHOOD, _NEIGHBOURHOOD)
    mean = cv2.blur(scaled, around)
    spread = np.sqrt(np.maximum(cv2.blur(scaled * scaled, around) - mean * mean, 0))
    shown = np.clip(128 + 50 * (scaled - mean) / (spread + np.float32(_STEADY)), 0, 255)
    picture: Picture = shown.astype(np.uint8)
    return 255 - picture if inverted else picture


def _colour_views(colours: Picture) -> Iterator[View]:
    yield View("colour", colours)
    lowest, highest = colours.min(axis=2), colours.max(axis=2)
    yield View("local", _local(highest.astype(np.float32), inverted=False))
    saturation: Picture = highest - lowest
    if not saturation.any():
        return
    # Letters of one brightness with their ground differ in at least one of the three.
    for name, channel in zip(("red", "green", "blue"), range(3), strict=True):
        yield View(name, np.ascontiguousarray(colours[:, :, channel]))
    yield View("saturation", saturation)


def _to_rgb(frame: Picture, photometric: str) -> Picture:
    if photometric.startswith("YBR") and photometric not in ("YBR_ICT", "YBR_RCT"):
        converted: Picture = convert_color_space(frame, "YBR_FULL", "RGB")
        return converted
    return frame[:, :, :3]


def _to_bytes(frame: NDArray[Any]) -> Picture:
    if frame.dtype == np.uint8:
        return frame
    values = frame.astype(np.float32)
    return _stretched(values, float(values.min()), float(values.max()), inverted=False)


def _look_up(frame: NDArray[Any], palette: Picture, first: int) -> Picture:
    # Values beyond either end take the colour of that end (PS3.3 C.7.6.3.1.5).
    picture: Picture = palette[np.clip(frame.astype(np.int64) - first, 0, len(palette) - 1)]
    return picture


def _alike(one: Picture, other: Picture) -> bool:
    return bool(np.abs(one[::3, ::3].astype(np.int16) - other[::3, ::3]).mean() < 2.0)


def _windows(header: Dataset) -> tuple[tuple[float, float], ...]:
    try:
        centres, widths = _numbers(header.get("WindowCenter")), _numbers(header.get("WindowWidth"))
    except (TypeError, ValueError):
        return ()
    pairs = zip(centres, widths, strict=False)
    return _in_stored_values(tuple((centre, width) for centre, width in pairs if width > 0), *_rescale(header))


def _rescale(header: Dataset) -> tuple[float, float]:
    """Return slope and intercept; a slope of 0, which has no inverse, if they are malformed."""
    try:
        slope = header.get("RescaleSlope")
        return 1.0 if slope in (None, "") else float(slope), float(header.get("RescaleIntercept") or 0)
    except (TypeError, ValueError):
        return 0.0, 0.0


def _in_stored_values(
    windows: tuple[tuple[float, float], ...], slope: float, intercept: float
) -> tuple[tuple[float, float], ...]:
    if slope == 0:
        return ()
    return tuple(((centre - intercept) / slope, abs(width / slope)) for centre, width in windows)


def _numbers(value: Any) -> list[float]:
    if value is None or value == "":
        return []
    return [float(one) for one in value] if hasattr(value, "append") else [float(value)]


def _palette(header: Dataset) -> tuple[Picture | None, int]:
    """Read a palette, plain or segmented (PS3.3 C.7.9); None if it is missing or broken."""
    try:
        entries, first, _ = (int(part) for part in header["RedPaletteColorLookupTableDescriptor"].value)
        indices = np.arange(first, first + (entries or _ENTRIES))
        colours = apply_color_lut(indices, header)
    except (ArithmeticError, AttributeError, IndexError, KeyError, TypeError, ValueError):
        return None, 0
    # Some writers give 16-bit tables whose values need only 8.
    shift = 8 if colours.dtype.itemsize > 1 and colours.max(initial=0) > 255 else 0
    return (colours >> shift).astype(np.uint8), first
