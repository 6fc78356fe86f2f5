"""Words burned into a picture: what they say, how they look, and whether a person could read them."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from deid_service.pixels.boxes import Box

FONTS = {
    "DejaVu Sans": "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf",
    "DejaVu Sans Bold": "/usr/share/fonts/truetype/dejavu/DejaVuSans-Bold.ttf",
    "Liberation Sans": "/usr/share/fonts/truetype/liberation/LiberationSans-Regular.ttf",
    "Liberation Sans Narrow": "/usr/share/fonts/truetype/liberation/LiberationSansNarrow-Regular.ttf",
    "Liberation Mono": "/usr/share/fonts/truetype/liberation/LiberationMono-Regular.ttf",
    "Liberation Serif": "/usr/share/fonts/truetype/liberation/LiberationSerif-Regular.ttf",
}
SIZES = (8, 10, 12, 14, 18, 24, 32, 40)

_INK = 64
READABLE_SIZE = 8
READABLE_CONTRAST = 40
READABLE_CONTRAST_TO_NOISE = 3.0
READABLE_SHARE = 0.8
"""What counts as readable by its strokes: letters of at least 8 pixels (em) of whose ink at least four fifths lie
where the strokes, as drawn, are on average at least 40 grey levels of 255 (in one of the colours) from the ground
beside them, and at least three standard deviations of that ground. Of thin, smooth letters no pixel has the full
colour, so nominal colours would say too much. What these strokes do not say, another reader may (``readable.py``).
"""
VISIBLE = 8
"""Grey levels by which a pixel must have changed for it to be ink: black on black leaves nothing to find."""

_FAMILY = ("SMITH", "MUELLER", "GARCIA", "OKAFOR", "NGUYEN", "Johnson", "Kowalski", "Rossi", "Lindqvist", "Haddad")
_GIVEN = ("JOHN", "MARIA", "Anna", "PETER", "Fatima", "WEI", "Carlos", "Ingrid", "SAMUEL", "Chloe")
_HOSPITALS = ("ST MARY HOSPITAL", "General Clinic", "UNIV MED CTR", "Bethesda North", "Klinikum Sued", "HOSP. CENTRAL")


def lines(choose: random.Random) -> list[str]:
    """Return some lines as devices write them."""
    family, given = choose.choice(_FAMILY), choose.choice(_GIVEN)
    day, month, year = choose.randint(1, 28), choose.randint(1, 12), choose.randint(1925, 2019)
    kinds = [
        f"{family}^{given}",
        f"{family}, {given}",
        f"{given} {family}",
        f"{day:02}/{month:02}/{year}",
        f"{year}-{month:02}-{day:02}",
        f"DOB: {month:02}/{day:02}/{year}",
        f"ID {choose.randint(10**6, 10**8 - 1)}",
        f"MRN{choose.randint(10**5, 10**7 - 1)}",
        f"Acc: {choose.choice('ABCX')}{choose.randint(10**5, 10**6)}",
        choose.choice(_HOSPITALS),
        f"Dr. {choose.choice(_FAMILY)}",
        f"{choose.randint(1, 12)}:{choose.randint(0, 59):02}:{choose.randint(0, 59):02} PM",
    ]
    return choose.sample(kinds, choose.randint(3, 8))


@dataclass(frozen=True)
class Style:
    """How words look.

    Attributes
    ----------
    font
        One of `FONTS`.
    size
        Em, in pixels.
    smooth
        Whether edges are anti-aliased.
    turn
        Degrees counter-clockwise: 0, 90 or 270.
    colour
        Red, green, blue; all three equal in a grey image, of 255.
    plate
        Colour of a box drawn behind the words, or None.
    contrast
        If given, the colour is grey and this far from the mean of the ground, whichever way there is room.
    """

    font: str = "DejaVu Sans"
    size: int = 14
    smooth: bool = True
    turn: int = 0
    colour: tuple[int, int, int] = (255, 255, 255)
    plate: tuple[int, int, int] | None = None
    contrast: int | None = None


@dataclass(frozen=True)
class Written:
    """A word in a picture.

    Attributes
    ----------
    text
        What it says.
    box
        Around its ink.
    ink
        Which pixels of `box` it changed so that it can be seen; letters only, no plate. Of an invisible word, where
        it is.
    style
        How it looks.
    readable
        By its strokes, see above.
    visible
        Whether it changed any pixel.
    """

    text: str
    box: Box
    ink: NDArray[np.bool_]
    style: Style
    readable: bool
    visible: bool = True

    def left_over(self, boxes: list[Box] | tuple[Box, ...]) -> float:
        """Return the share of the ink that lies outside all boxes."""
        left = self.ink.copy()
        for box in boxes:
            top, bottom = max(box.top - self.box.top, 0), box.bottom - self.box.top + 1
            start, end = max(box.left - self.box.left, 0), box.right - self.box.left + 1
            if bottom > 0 and end > 0:
                left[top:bottom, start:end] = False
        return float(left.sum() / max(1, self.ink.sum()))


def ink_of(text: str, style: Style) -> NDArray[np.uint8]:
    """Draw text upright or turned: how much ink each pixel gets, 0 to 255."""
    font = ImageFont.truetype(FONTS[style.font], style.size)
    left, top, right, bottom = font.getbbox(text)
    canvas = Image.new("L", (int(right - left) + 2, int(bottom - top) + 2))
    draw = ImageDraw.Draw(canvas)
    draw.fontmode = "L" if style.smooth else "1"
    draw.text((1 - left, 1 - top), text, fill=255, font=font)
    return np.rot90(np.asarray(canvas), style.turn // 90).copy()


def write(
    picture: NDArray[np.uint8], texts: list[str], style: Style, choose: random.Random, tries: int = 60
) -> list[Written]:
    """Write lines into a picture, in place, where no other line is.

    Parameters
    ----------
    picture
        Shape (rows, columns) or (rows, columns, 3).
    texts
        One a line; each word of it counts for itself.
    style
        The same for all of them.
    choose
        Where they go.
    tries
        How often another place is tried before a line is left out.

    Returns
    -------
    list of Written
        The words that found a place.
    """
    rows, columns = picture.shape[:2]
    taken: list[Box] = []
    written: list[Written] = []
    for text in texts:
        whole = ink_of(text, style)
        height, width = whole.shape
        if height + 4 >= rows or width + 4 >= columns:
            continue
        for _ in range(tries):
            left, top = choose.randint(2, columns - width - 2), choose.randint(2, rows - height - 2)
            box = Box(left, top, left + width - 1, top + height - 1)
            if not any(box.grown(style.size // 2).meets(other) for other in taken):
                taken.append(box)
                written += _write_line(picture, text, whole, box, style)
                break
    return written


def _write_line(
    picture: NDArray[np.uint8], text: str, whole: NDArray[np.uint8], box: Box, style: Style
) -> list[Written]:
    view = picture[box.top : box.bottom + 1, box.left : box.right + 1]
    if style.plate is not None:
        view[...] = style.plate if picture.ndim == 3 else style.plate[0]
    colour = np.array(style.colour if picture.ndim == 3 else style.colour[:1], float)
    if style.contrast is not None:
        around = box.grown(4).within(*picture.shape[:2])
        assert around is not None
        mean = float(picture[around.top : around.bottom + 1, around.left : around.right + 1].mean())
        colour[:] = mean + style.contrast if mean < 128 else mean - style.contrast
    place = box.grown(_window(style)).within(*picture.shape[:2])
    assert place is not None
    surroundings = picture[place.top : place.bottom + 1, place.left : place.right + 1]
    before = surroundings.copy()
    share = whole[..., np.newaxis] / 255.0 if picture.ndim == 3 else whole / 255.0
    view[...] = np.rint(view * (1 - share) + (colour if picture.ndim == 3 else colour[0]) * share).astype(np.uint8)
    here = (
        slice(box.top - place.top, box.bottom - place.top + 1),
        slice(box.left - place.left, box.right - place.left + 1),
    )
    drawn = np.zeros(before.shape[:2], np.uint8)
    drawn[here] = whole
    plain = _plain_strokes(before, surroundings, drawn, _window(style))[here]
    change = np.abs(surroundings.astype(np.int16) - before)[here]
    changed = (change.max(axis=2) if change.ndim == 3 else change) >= VISIBLE
    words = []
    for letters, word in _split(text, whole, style):
        visible = bool((letters & changed).any())
        ink = letters & changed if visible else letters
        readable = visible and style.size >= READABLE_SIZE and plain[letters].mean() >= READABLE_SHARE
        ys, xs = np.nonzero(ink)
        spot = Box(box.left + int(xs.min()), box.top + int(ys.min()), box.left + int(xs.max()), box.top + int(ys.max()))
        cut = ink[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1]
        words.append(Written(word, spot, cut, style, bool(readable), visible))
    return words


def _window(style: Style) -> int:
    """Return how many pixels around a pixel of a stroke are beside it."""
    return max(9, style.size // 2) | 1


def _plain_strokes(
    before: NDArray[np.uint8], after: NDArray[np.uint8], drawn: NDArray[np.uint8], window: int
) -> NDArray[np.bool_]:
    """Tell where strokes stand out from the ground beside them by as much as the definition wants."""
    ink, ground = (drawn >= _INK).astype(np.float64), (drawn == 0).astype(np.float64)

    def mean(values: NDArray[np.float64], among: NDArray[np.float64]) -> NDArray[np.float64]:
        size = (window, window)
        return cv2.blur(values * among, size) / np.maximum(cv2.blur(among, size), 1e-9)

    plain = np.zeros(drawn.shape, bool)
    for channel in range(before.shape[2] if before.ndim == 3 else 1):
        old, new = ((one[..., channel] if one.ndim == 3 else one).astype(np.float64) for one in (before, after))
        around = mean(old, ground)
        noise = np.sqrt(np.maximum(mean(old * old, ground) - around * around, 0))
        distance = np.abs(mean(new, ink) - around)
        plain |= (distance >= READABLE_CONTRAST) & (distance >= READABLE_CONTRAST_TO_NOISE * noise)
    return plain


def _split(text: str, whole: NDArray[np.uint8], style: Style) -> list[tuple[NDArray[np.bool_], str]]:
    """Tell which ink belongs to which word: what appears when the line is drawn as far as that word."""
    flat = replace(style, turn=0)
    upright = np.rot90(whole, -(style.turn // 90))
    font = ImageFont.truetype(FONTS[style.font], style.size)
    parts, begin = [], 0
    for word in text.split():
        start = text.index(word, begin)
        begin = start + len(word)
        offset = font.getbbox(text)[0]
        first = int(font.getlength(text[:start]) - offset) if start else 0
        last = int(np.ceil(font.getlength(text[:begin]) - offset)) + 2
        mask = np.zeros(upright.shape, bool)
        mask[:, first:last] = upright[:, first:last] >= _INK
        if mask.any():
            parts.append((np.rot90(mask, flat.turn // 90 + style.turn // 90), word))
    return parts


def available_fonts() -> list[str]:
    """Return the fonts of `FONTS` that are installed."""
    return [name for name, path in FONTS.items() if Path(path).exists()]
