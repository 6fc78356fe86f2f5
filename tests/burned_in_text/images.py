"""Real images with words burned in, in all photometric interpretations and syntaxes that can be written here."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread

from deid_service.pixels.display import Appearance, views
from tests.burned_in_text.storing import KINDS, SYNTAXES, fits, instance
from tests.burned_in_text.writing import SIZES, Style, Written, available_fonts, lines, write

__all__ = ["KINDS", "Burned", "burned"]

Picture = NDArray[np.uint8]

# Files without text, and which frame of them. Grey ones have their real stored values in `CARRIERS`' order.
_GREY = (
    ("ct/lidc-idri-0314_chest_60slices", 0.1),
    ("ct/lidc-idri-0314_chest_60slices", 0.5),
    ("ct/lidc-idri-0314_chest_60slices", 0.9),
    ("mr/siemens_t1_sag_35slices", 0.3),
    ("mr/siemens_t1_sag_35slices", 0.6),
    ("mr/dcmstack_2D_16echo_qT2", 0.5),
    ("xa/coronary_cine", 0.0),
    ("overlay/GH1728.dcm", 0.0),
    ("cr/RG1_J2KI.dcm", 0.0),
    ("mg/GH133.dcm", 0.0),
)
_COLOUR = ("us/misc/color-pl.dcm", "transfer-syntax/htj2k/HTJ2KLossless_08_RGB.dcm", "ot/TestPattern_Palette.dcm")
_LARGEST = 900

GROUNDS = ("anatomy", "black", "noise")
LOOKS = ("white", "grey", "black", "low contrast", "coloured", "on a plate")


@dataclass(frozen=True)
class Burned:
    """An instance and what was written into it.

    Attributes
    ----------
    instance
        A complete DICOM file.
    words
        By frame, counted from 0.
    condition
        What varies, by name, for the table.
    drawn
        By frame, the picture with the words before it was compressed.
    header
        Identifiers that its header holds as well.
    """

    instance: bytes
    words: dict[int, tuple[Written, ...]]
    condition: dict[str, str]
    drawn: dict[int, Picture] = field(default_factory=dict)
    header: tuple[str, ...] = field(default=())


def burned(shared: Path, number: int, seed: int = 1, first: int = 0) -> Iterator[Burned]:
    """Yield instances with text, the same for the same seed.

    Parameters
    ----------
    shared
        The folder of sample data.
    number
        How many.
    seed
        Another one gives other places, words and looks.
    first
        Leave out those before this one.
    """
    for index in range(first, number):
        yield _one(shared, random.Random(seed * 1_000_003 + index), index)


def _one(shared: Path, choose: random.Random, index: int) -> Burned:
    # Every kind in turn, everything else by chance.
    kind = tuple(KINDS)[index % len(KINDS)]
    ground = choose.choices(GROUNDS, (6, 2, 1))[0]
    coloured = not kind.startswith("MONOCHROME")
    look = choose.choice([name for name in LOOKS if coloured or name != "coloured"])
    if kind == "MONOCHROME2 1" and look in ("grey", "low contrast"):
        look = "white"
    picture, name = _ground(shared, ground, choose, coloured=coloured)
    style = _style(look, choose)
    if kind == "YBR_FULL_422":
        picture = picture[:, : picture.shape[1] // 2 * 2]  # pixels share their chrominance in pairs
    elif kind == "MONOCHROME2 1":
        # What a scanner of documents makes: no greys, and so no soft edges.
        picture, style = np.where(picture < 128, 0, 255).astype(np.uint8), replace(style, smooth=False)
    syntax = choose.choice([one for one in SYNTAXES if fits(kind, one)])
    frames = choose.choice((1, 1, 1, 1, 3))
    with_text = choose.randrange(frames)
    texts = lines(choose)
    stack, words, drawn = [], {}, {}
    for frame in range(frames):
        copy = np.roll(picture, 3 * frame, axis=1).copy()
        if frame == with_text:
            words[frame] = tuple(write(copy, texts, style, choose))
            drawn[frame] = copy
        stack.append(copy)
    turn = "upright" if style.turn == 0 else f"turned by {style.turn}"
    condition = {
        "pixels": kind,
        "syntax": SYNTAXES[syntax],
        "size": f"{style.size} px",
        "look": look,
        "ground": ground if ground != "anatomy" else name,
        "edges": "smooth" if style.smooth else "hard",
        "direction": turn,
        "font": style.font,
        "frames": "one frame" if frames == 1 else "one frame of three",
    }
    return Burned(instance(stack, kind, syntax, choose), words, condition, drawn)


def _style(look: str, choose: random.Random) -> Style:
    plain = Style(
        choose.choice(available_fonts()), choose.choice(SIZES), choose.random() < 0.7, choose.choice((0, 0, 0, 90, 270))
    )
    grey = {"white": 255, "grey": choose.choice((130, 170, 200)), "black": 0, "low contrast": 0}.get(look)
    contrast = choose.randint(50, 80) if look == "low contrast" else None
    if grey is not None:
        return Style(plain.font, plain.size, plain.smooth, plain.turn, (grey,) * 3, None, contrast)
    if look == "on a plate":
        dark = choose.random() < 0.5
        ink, plate = ((230,) * 3, (40,) * 3) if dark else ((20,) * 3, (200,) * 3)
        return Style(plain.font, plain.size, plain.smooth, plain.turn, ink, plate)
    colours = ((255, 255, 0), (0, 255, 0), (255, 60, 60), (80, 160, 255), (0, 255, 255), (255, 128, 0), (200, 0, 200))
    return Style(plain.font, plain.size, plain.smooth, plain.turn, choose.choice(colours))


def _ground(shared: Path, ground: str, choose: random.Random, *, coloured: bool) -> tuple[Picture, str]:
    if ground == "black":
        picture = np.zeros((480, 640), np.uint8)
    elif ground == "noise":
        values = np.random.default_rng(choose.randrange(2**32)).normal(choose.choice((40, 110, 190)), 12, (400, 520))
        picture = np.clip(values, 0, 255).astype(np.uint8)
    elif coloured and choose.random() < 0.5:
        path = choose.choice(_COLOUR)
        return _picture(shared, path, 0.0), path.split("/")[0]
    else:
        path, part = choose.choice(_GREY)
        picture, ground = _crop(_picture(shared, path, part), choose), path.split("/")[0]
    if coloured:
        picture = np.repeat(picture[:, :, np.newaxis], 3, axis=2)
    return picture, ground


def _crop(picture: Picture, choose: random.Random) -> Picture:
    rows, columns = picture.shape[:2]
    top, left = (choose.randint(0, max(0, size - _LARGEST)) for size in (rows, columns))
    return picture[top : top + _LARGEST, left : left + _LARGEST]


@cache
def _picture(shared: Path, path: str, part: float) -> Picture:
    """Return a file as a person sees it: in the window of its header if it has one."""
    place = shared / "dicom" / path
    if place.is_dir():
        files = sorted(file for file in place.rglob("*") if file.is_file())
        place = files[int(part * len(files))]
    header = dcmread(place)
    frame = header.pixel_array
    if int(header.get("NumberOfFrames") or 1) > 1:
        frame = frame[len(frame) // 2]
    interpretation = str(header.PhotometricInterpretation)
    shown = {
        view.name: view.image
        for view in views(frame, Appearance.of(header, "RGB" if interpretation.startswith("YBR") else interpretation))
    }
    return shown.get("window", shown.get("full", shown.get("colour")))
