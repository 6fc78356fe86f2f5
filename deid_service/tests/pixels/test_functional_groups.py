"""Windows and rescale of enhanced multi-frames: what is shown, and which end of the range is black."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pydicom import Dataset

from deid_service import Refused
from deid_service.pixels.boxes import Box
from deid_service.pixels.display import Appearance, views
from deid_service.pixels.frames import open_frames
from deid_service.pixels.functional_groups import FrameDisplay, frame_displays
from deid_service.pixels.mask import Black
from deid_service.wire import Source, read

Picture = Callable[..., bytes]
IMPLICIT, EXPLICIT, BIG = (f"1.2.840.10008.1.2{end}" for end in ("", ".1", ".2"))


def group(window: tuple[Any, Any] | None = None, rescale: tuple[Any, Any] | None = None) -> Dataset:
    """Return an item of functional groups: centre and width, slope and intercept."""
    item = Dataset()
    if window:
        voi = Dataset()
        voi.WindowCenter, voi.WindowWidth = window
        item.FrameVOILUTSequence = [voi]
    if rescale:
        transformation = Dataset()
        transformation.RescaleSlope, transformation.RescaleIntercept = rescale
        transformation.RescaleType = "US"
        item.PixelValueTransformationSequence = [transformation]
    return item


def enhanced(
    picture: Picture, shared: Dataset | None, frames: list[Dataset], syntax: str = EXPLICIT, **more: Any
) -> Source:
    if shared is not None:
        more["SharedFunctionalGroupsSequence"] = [shared]
    if frames:
        more["PerFrameFunctionalGroupsSequence"] = frames
    cells = np.arange(3 * 32 * 40).reshape(3, 32, 40).astype("<u2")
    return read(picture(cells, syntax, **more))


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG])
def test_what_frames_have_completes_what_they_share(picture: Picture, syntax: str) -> None:
    shared = group(("100", "50"), ("2", "-1000"))
    frames = [group(("300", "20")), group(None, ("4", "0")), Dataset()]
    displays = frame_displays(enhanced(picture, shared, frames, syntax))
    assert displays == {
        None: FrameDisplay(((100, 50),), 2, -1000),
        0: FrameDisplay(((300, 20),), 2, -1000),
        1: FrameDisplay(((100, 50),), 4, 0),
    }


def test_windows_are_those_of_the_frame_in_stored_values(picture: Picture) -> None:
    frames = [group((["300", "10"], ["20", "5"])), group(None, ("4", "0")), Dataset()]
    source = enhanced(picture, group(("100", "50"), ("2", "-1000")), frames)
    appearance = Appearance.of_source(source)
    assert appearance.at(0).windows == ((650, 10), (505, 2.5))
    assert appearance.at(1).windows == ((25, 12.5),)
    assert appearance.at(2).windows == appearance.at(7).windows == ((550, 25),)
    frame = open_frames(source).decode(2)
    (window,) = [view.image for view in views(frame, appearance.at(2)) if view.name == "window"]
    assert window[frame < 537].max(initial=0) == 0
    assert {view.name for view in views(frame, appearance)} == {"full", "local"}


def test_windows_of_the_top_level_hold_where_functional_groups_have_none(picture: Picture) -> None:
    more = {"WindowCenter": "40", "WindowWidth": "400"}
    source = enhanced(picture, group(None, ("1", "0")), [], **more)
    assert Appearance.of_source(source).at(1).windows == ((40, 400),)
    plain = enhanced(picture, None, [], **more)
    assert Appearance.of_source(plain).at(1) is not None
    assert Appearance.of_source(plain).at(1).windows == ((40, 400),)


@pytest.mark.parametrize("window", [("", "50"), ("100", "0"), ("100", "-3"), ("1e999", "50")])
def test_windows_that_are_none_are_left_out(picture: Picture, window: tuple[str, str]) -> None:
    item = group()
    voi = Dataset()
    voi.add_new("WindowCenter", "DS", "12345")
    voi.add_new("WindowWidth", "DS", "98765")
    item.FrameVOILUTSequence = [voi]
    data = bytes(enhanced(picture, item, []).data)
    for old, new in zip((b"12345 ", b"98765 "), window, strict=True):
        data = data.replace(old, new.encode().ljust(6))
    source = read(data)
    assert Appearance.of_source(source).at(0).windows == ()


FALLING, RISING = group(None, ("-1", "0")), group(None, ("1", "0"))


@pytest.mark.parametrize(
    ("shared", "frames", "more", "dark"),
    [
        (FALLING, [], {}, "high"),
        (FALLING, [], {"PhotometricInterpretation": "MONOCHROME1"}, "low"),
        (None, [FALLING] * 3, {}, "high"),
        (RISING, [FALLING] * 3, {}, "high"),
        (FALLING, [RISING] * 3, {}, "low"),
        (group(("1", "2")), [FALLING] * 3, {}, "high"),
        (group(("1", "2")), [], {"RescaleSlope": "-1", "RescaleIntercept": "0"}, "high"),
        (RISING, [], {}, "low"),
    ],
)
def test_black_follows_the_rescale_of_the_frames(
    picture: Picture, shared: Dataset | None, frames: list[Dataset], more: dict[str, Any], dark: str
) -> None:
    source = enhanced(picture, shared, frames, **more)
    reader = open_frames(source)
    masked = Black(source, reader.layout, reader.decoded_photometric).apply(reader.cells(1), [Box(2, 2, 5, 5)])
    assert masked[3, 3] == (0 if dark == "low" else 0xFFFF)


def test_frames_that_are_shown_opposite_ways_round_are_refused(picture: Picture) -> None:
    for frames in ([FALLING, RISING, RISING], [FALLING, FALLING]):
        source = enhanced(picture, None, frames)
        with pytest.raises(Refused, match="pixels_not_maskable"):
            Black(source, open_frames(source).layout, "MONOCHROME2")
