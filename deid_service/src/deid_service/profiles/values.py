"""What stands in the place of a value: dummies that are legal for the VR, capped ages, cleaned words."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, cast

from deid_service.pseudonyms import PseudonymKey
from deid_service.transforms.randomize_text import token

__all__ = ["OLDEST_AGE", "CapAge", "CleanText", "Dummy", "DummyUnlessPublished"]

OLDEST_AGE: Final = 89
"""Highest age in years that is told; who is older is ``090Y`` (45 CFR 164.514(b)(2)(i)(C))."""

_AGE: Final = re.compile(r"([0-9]{1,3}) ?([DWMY])")
_FIXED: Final = {
    "AS": "000Y",
    "DA": "19000101",
    "DS": "0",
    "DT": "19000101000000",
    "IS": "0",
    "LT": "removed",
    "ST": "removed",
    "TM": "000000",
    "UR": "about:blank",
    "UT": "removed",
}
_NUMBERS: Final = 4096
# Codes of DCM and SNOMED (also the older ones of letter and digits) and LOINC; versions of schemes.
_CODE_FORM: Final = re.compile(r"[0-9]{1,18}|[A-Z]-[0-9A-F]{4,5}|[0-9]{1,5}-[0-9]|[0-9]{1,2}\.[0-9]{1,2}")


@dataclass(frozen=True, slots=True)
class Dummy:
    """Action D: a value that says nothing, legal for the VR (PS3.5 6.2).

    Names, labels and identifiers become keyed tokens: the same label of the same patient is the same token, so that
    what was told apart still is. Dates, times, numbers and long texts become constants.

    Attributes
    ----------
    scope_always : bool
        Whether a token holds for everybody, as for devices, rather than for one patient.
    as_label : bool
        Whether a long text is a label, which becomes a token too.
    """

    scope_always: bool = False
    as_label: bool = False

    def text(self, value: str, vr: str, key: PseudonymKey, scope: tuple[str, ...]) -> str:
        """Replace one value of a text VR; an empty one stays empty.

        Parameters
        ----------
        value : str
            The original, without padding.
        vr : str
            A text VR other than UI.
        key : PseudonymKey
            The secret.
        scope : tuple of str
            For whom a token holds.

        Returns
        -------
        str
        """
        value = value.strip()
        if not value:
            return ""
        fixed = _FIXED.get(vr)
        if fixed is not None and not self.as_label:
            return fixed
        made = token(key.digest("text", ("always",) if self.scope_always else scope, value), vr)
        return made.upper() if vr == "AE" else made

    @staticmethod
    def numbers(length: int) -> bytes:
        """Return zeros in place of bytes or numbers of a VR that is not text.

        Parameters
        ----------
        length : int
            Length of the original in bytes.

        Returns
        -------
        bytes
            As many, so that counts still agree; of very long ones the first 4096.
        """
        return bytes(min(length, _NUMBERS))


@dataclass(frozen=True, slots=True)
class DummyUnlessPublished(Dummy):
    """Action D for the words of a code where codes stay: what is published stays, everything else becomes a token.

    What a site or vendor calls a thing in a scheme of its own may be anything, also a name. What DICOM's own context
    groups list (PS3.16), in whatever scheme, and what has the form of a code of a large public scheme is none.
    """

    def text(self, value: str, vr: str, key: PseudonymKey, scope: tuple[str, ...]) -> str:
        """Replace one value; one that is published, and an empty one, stays."""
        if _CODE_FORM.fullmatch(value.strip()) or value.strip().casefold() in _published():
            return value.strip()
        return Dummy.text(self, value, vr, key, scope)


@lru_cache(maxsize=1)
def _published() -> frozenset[str]:
    """Return values, meanings and schemes of the codes in PS3.16, folded: 18,000 codes, read when first needed."""
    from pydicom.sr._concepts_dict import concepts as schemes

    words = {"srt", "snm3", "99sdm", "iso639_1", "iso639_2", "iso3166_1", "iso5218_1", "acr", "umls", "c4", "i9c"}
    listed = cast("dict[str, dict[str, dict[str, tuple[str, list[int]]]]]", schemes)
    for scheme, concepts in listed.items():
        words.add(scheme.casefold())
        for codes in concepts.values():
            for value, (meaning, _) in codes.items():
                words.add(value.casefold())
                words.add(meaning.casefold())
    return frozenset(words)


@dataclass(frozen=True, slots=True)
class CapAge:
    """Ages over 89 become ``090Y``; what is no age is emptied."""

    @staticmethod
    def text(value: str) -> str:
        """Return the age that may be told.

        Parameters
        ----------
        value : str
            An age string (VR AS).

        Returns
        -------
        str
            Three digits and D, W, M or Y.
        """
        match = _AGE.fullmatch(value.strip().upper())
        if match is None:
            return ""
        number, unit = int(match[1]), match[2]
        if unit == "Y" and number > OLDEST_AGE:
            return f"{OLDEST_AGE + 1:03d}Y"
        return f"{number:03d}{unit}"


@dataclass(frozen=True, slots=True)
class CleanText:
    """Action C for words: they stay, without the patient's own identifiers."""
