"""Which instances may show a patient's identity in their pixels, and why: in words, for every instance.

What the header says decides, so that a CT slice costs nothing. It errs to the safe side: only kinds of objects that
come from a scanner without text are free of suspicion, as long as nothing about the instance speaks against it.
Everything else is suspected. "Burned In Annotation NO" is believed of no kind that is known to hold text: modalities
write it without looking.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from deid_service.pixels import header as at
from deid_service.pixels.catalogue import Signature, load_catalogue
from deid_service.pixels.header import Header
from deid_service.wire import PIXEL_TAGS

__all__ = ["Finding", "triage"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What triage says of an instance.

    Attributes
    ----------
    suspected : bool
        Whether its pixels may hold text.
    reason : str
        Why, or why not, in words; names no value that could be a patient's.
    pixels : bool
        Whether it has pixel data at all.
    document : bool
        Whether it carries a document instead: PDF, CDA, a mesh.
    signatures : tuple of Signature
        Rows of the catalogue that fit.
    """

    suspected: bool
    reason: str
    pixels: bool = True
    document: bool = False
    signatures: tuple[Signature, ...] = ()


_ROOT: Final = "1.2.840.10008.5.1.4.1.1."
_SECONDARY_CAPTURE: Final = f"{_ROOT}7"
_ENCAPSULATED: Final = f"{_ROOT}104."
_SLIDES: Final = f"{_ROOT}77.1.6"
_ULTRASOUND: Final = frozenset(f"{_ROOT}{end}" for end in ("3", "3.1", "6", "6.1", "6.2", "6.3"))
_ULTRASOUND_MODALITIES: Final = frozenset({"us", "ivus", "bdus"})

# Kinds that come from a scanner or are computed, with pixels that hold nothing but what was measured (PS3.4 B.5).
_SLICES: Final = frozenset({"2", "4", "20", "128"})
_SCANNED: Final = {
    **dict.fromkeys(("2", "2.1", "2.2"), "a CT image"),
    **dict.fromkeys(("4", "4.1", "4.2", "4.3", "4.4"), "an MR image"),
    **dict.fromkeys(("128", "130", "128.1"), "a PET image"),
    "20": "a nuclear medicine image",
    **dict.fromkeys(("12.1", "12.1.1", "12.2", "12.2.1", "13.1.1", "13.1.2"), "an angiogram or fluoroscopy"),
    **dict.fromkeys(("13.1.3", "13.1.4", "13.1.5"), "a breast tomogram or projection for one"),
    "481.1": "an RT image",
    "481.2": "an RT dose",
    **dict.fromkeys(("66.4", "66.7"), "a segmentation"),
    "30": "a parametric map",
    "77.1.5.4": "an optical coherence tomogram",
    "77.1.5.8": "an optical coherence tomogram",
    "77.1.6": "a slide",
}
# X-ray plates: their readers often write name and date into a corner, and some are scanned films.
_PLATES: Final = {
    "1": "a computed radiograph",
    **dict.fromkeys(("1.1", "1.1.1"), "a digital X-ray"),
    **dict.fromkeys(("1.2", "1.2.1"), "a mammogram"),
    **dict.fromkeys(("1.3", "1.3.1"), "an intra-oral X-ray"),
}
_CAPTURE_WORDS: Final = ("screen", "capture", "dose", "report", "film", "hardcopy", "label", "overview", "presentation")
_SERIES_WORDS: Final = (
    "dose report",
    "dose info",
    "dose record",
    "dose summary",
    "patient protocol",
    "exam protocol",
    "screen",
    "capture",
    "snapshot",
    "scanned",
    "digitized",
    "digitised",
    "film",
    "worksheet",
    "report",
)
_COLOUR: Final = ("rgb", "ybr", "palette", "argb", "hsv", "cmyk")


@lru_cache(maxsize=512)
def triage(header: Header) -> Finding:
    """Judge an instance.

    Parameters
    ----------
    header : Header
        Of the original.

    Returns
    -------
    Finding
    """
    document = at.DOCUMENT in header or header[at.SOP_CLASS].startswith(_ENCAPSULATED)
    if not any(tag in header for tag in PIXEL_TAGS):
        return Finding(suspected=False, reason="no pixel data", pixels=False, document=document)
    signatures = load_catalogue().find(header)
    for look in _LOOKS:
        if reason := look(header):
            return Finding(True, reason, True, document, signatures)
    if signatures:
        return Finding(True, "a device of the catalogue that writes into its images", True, document, signatures)
    return Finding(False, _free(header), True, document)


def _says_so(header: Header) -> str | None:
    if header[at.BURNED_IN] == "yes":
        return "the image says that text is burned into its pixels"
    if header[at.LABEL_IN_IMAGE] == "yes":
        return "the image says that it shows a label"
    return None


def _kind(header: Header) -> str | None:
    sop_class, modality = header[at.SOP_CLASS], header[at.MODALITY]
    if sop_class in _ULTRASOUND or modality in _ULTRASOUND_MODALITIES:
        return "an ultrasound image"
    if sop_class == _SECONDARY_CAPTURE or sop_class.startswith(f"{_SECONDARY_CAPTURE}."):
        return "a secondary capture"
    short = sop_class.removeprefix(_ROOT) if sop_class.startswith(_ROOT) else ""
    if short not in _SCANNED and short not in _PLATES:
        return "a kind of image that is not known to come without text"
    return None


def _captured(header: Header) -> str | None:
    """Look for a way through a screen, a printer or a film."""
    image_type = header[at.IMAGE_TYPE].split("\\")
    for value in image_type:
        for word in _CAPTURE_WORDS:
            if word in value:
                return f"its Image Type speaks of a {word}"
    if header[at.CONVERSION_TYPE]:
        return "it was converted from something else (Conversion Type)"
    if header[at.DETECTOR_TYPE] == "film":
        return "a scanned film"
    if any(header[tag] for tag in at.CAPTURE_DEVICES):
        return "it names a device that captured or printed it"
    for word in _SERIES_WORDS:
        if word in header[at.SERIES_DESCRIPTION]:
            return f'its series description holds "{word}"'
    if len(image_type) > 1 and image_type[1] == "secondary":
        return "made after the examination (Image Type SECONDARY)"
    return None


def _not_as_scanned(header: Header) -> str | None:
    """Look for slices that are none: colours, few bits, nowhere in the patient."""
    if header[at.SOP_CLASS].removeprefix(_ROOT) not in _SLICES:
        return None
    if header[at.PHOTOMETRIC].startswith(_COLOUR):
        return "in colour, where a scanner makes shades of grey"
    if 0 < header.number(at.BITS_STORED) <= 8 and not header[at.SOP_CLASS].endswith(".20"):
        return "8 bits a pixel, where a scanner makes more"
    original = header[at.IMAGE_TYPE].startswith("original")
    if at.POSITION not in header and not original and not header[at.SOP_CLASS].endswith(".20"):
        return "neither original nor with a position in the patient, as a slice is"
    return None


def _plate(header: Header) -> str | None:
    name = _PLATES.get(header[at.SOP_CLASS].removeprefix(_ROOT))
    if name and header[at.BURNED_IN] != "no":
        return f"{name}, and it does not say that no text is burned in"
    return None


_LOOKS: Final[tuple[Callable[[Header], str | None], ...]] = (_says_so, _kind, _captured, _not_as_scanned, _plate)


def _free(header: Header) -> str:
    short = header[at.SOP_CLASS].removeprefix(_ROOT)
    if short in _PLATES:
        return f"{_PLATES[short]} that says that no text is burned in"
    return f"{_SCANNED[short]} as such devices make it"
