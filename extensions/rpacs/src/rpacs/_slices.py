"""The pictures of a series, in the order in which a reader wants to scroll them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

__all__ = ["SLICE_COLUMNS", "Slice", "order_slices"]

SLICE_COLUMNS: Final = (
    "SOPInstanceUID",
    "InstanceNumber",
    "NumberOfFrames",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "Rows",
    "Columns",
    "SamplesPerPixel",
    "WindowCenter",
    "WindowWidth",
)
"""What `order_slices` and the viewer read of each instance."""

_PARALLEL: Final = 1e-3  # how far two direction cosines may differ and still be the same plane


@dataclass(frozen=True)
class Slice:
    """One picture: a single-frame instance, or one frame of a multi-frame instance.

    Attributes
    ----------
    uid : str
        SOPInstanceUID.
    frame : int
        Number of the frame inside the instance, from 1.
    number : int or None
        InstanceNumber.
    position : float or None
        Millimetres along the normal of the series' planes; ``None`` where positions do not say.
    window : tuple of float or None
        (centre, width) from the file.
    colour : bool
        Whether the pixels have colours, so that no window applies.
    shape : tuple of int
        (rows, columns) of the stored pixels.
    """

    uid: str
    frame: int = 1
    number: int | None = None
    position: float | None = None
    window: tuple[float, float] | None = None
    colour: bool = False
    shape: tuple[int, int] = (0, 0)


def order_slices(rows: Iterable[Mapping[str, Any]]) -> list[Slice]:
    """Return the pictures of one series in reading order.

    Parameters
    ----------
    rows : iterable of mapping
        Instances with the keywords of `SLICE_COLUMNS`. Those without Rows hold no pixels and are left out.

    Returns
    -------
    list of Slice
        Sorted by position along the planes' normal when every instance has one single plane and all planes are
        parallel (PS3.3 C.7.6.2.1.1), otherwise by InstanceNumber; equal places keep InstanceNumber's order. Localizers
        and other mixed series fall in the second case.
    """
    images = [row for row in rows if _number(row.get("Rows"))]
    images.sort(key=lambda row: (_instance_number(row) is None, _instance_number(row) or 0, row["SOPInstanceUID"]))
    positions = _positions(images)
    order = range(len(images)) if positions is None else sorted(range(len(images)), key=lambda i: positions[i])
    slices: list[Slice] = []
    for index in order:
        row = images[index]
        slices.extend(
            Slice(
                uid=row["SOPInstanceUID"],
                frame=frame,
                number=_instance_number(row),
                position=None if positions is None else round(positions[index], 3),
                window=_window(row),
                colour=(_number(row.get("SamplesPerPixel")) or 1) > 1,
                shape=(int(_number(row.get("Rows")) or 0), int(_number(row.get("Columns")) or 0)),
            )
            for frame in range(1, int(_number(row.get("NumberOfFrames")) or 1) + 1)
        )
    return slices


def _positions(images: Sequence[Mapping[str, Any]]) -> list[float] | None:
    """Return each plane's distance along the common normal, or ``None`` if there is no such thing."""
    planes = []
    for row in images:
        where, turn = _numbers(row.get("ImagePositionPatient")), _numbers(row.get("ImageOrientationPatient"))
        if len(where) != 3 or len(turn) != 6 or (_number(row.get("NumberOfFrames")) or 1) > 1:
            return None
        planes.append((where, turn))
    if not planes:
        return None
    first = planes[0][1]
    if any(abs(a - b) > _PARALLEL for _, turn in planes for a, b in zip(turn, first, strict=True)):
        return None
    (ax, ay, az), (bx, by, bz) = first[:3], first[3:]
    normal = (ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx)
    if math.hypot(*normal) < 0.5:  # not two directions at right angles
        return None
    return [sum(n * w for n, w in zip(normal, where, strict=True)) for where, _ in planes]


def _window(row: Mapping[str, Any]) -> tuple[float, float] | None:
    centre, width = _numbers(row.get("WindowCenter")), _numbers(row.get("WindowWidth"))
    return (centre[0], width[0]) if centre and width and width[0] >= 1 else None


def _instance_number(row: Mapping[str, Any]) -> int | None:
    number = _number(row.get("InstanceNumber"))
    return None if number is None else int(number)


def _number(value: object) -> float | None:
    numbers = _numbers(value)
    return numbers[0] if numbers else None


def _numbers(value: object) -> list[float]:
    """Return the numbers in a value: a number, its text, several joined by backslashes, or a list."""
    parts = value if isinstance(value, list | tuple) else str(value).split("\\") if value is not None else []
    try:
        numbers = [float(part) for part in parts]
    except (TypeError, ValueError):
        return []
    return numbers if all(math.isfinite(number) for number in numbers) else []
