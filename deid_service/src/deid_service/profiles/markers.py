"""The attributes that say what was done (PS3.15 E.1.1, PS3.3 C.12.1.1)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from deid_service.profiles.table import Option, load_table
from deid_service.wire.encoding import Encoding

__all__ = ["METHOD_CODES", "NO_TEXT", "CodesMarker", "TextMarker", "markers"]

METHOD_CODES: Final = 0x00120064
_BASIC: Final = ("113100", "Basic Application Confidentiality Profile")
_ORDER: Final = tuple(Option)


@dataclass(frozen=True, slots=True)
class TextMarker:
    """A marker that is a text.

    Attributes
    ----------
    tag : int
        32-bit tag.
    vr : str
        CS or LO.
    text : str
        Its value, in ASCII.
    """

    tag: int
    vr: str
    text: str

    def encoded(self, encoding: Encoding) -> bytes:
        """Return the value's bytes, without padding."""
        del encoding
        return self.text.encode("ascii")


NO_TEXT: Final = TextMarker(0x00280301, "CS", "NO")
"""Burned In Annotation, of an instance whose pixels were searched for text and hold none (PS3.3 C.7.6.1.1)."""


@dataclass(frozen=True, slots=True)
class CodesMarker:
    """De-identification Method Code Sequence.

    Attributes
    ----------
    codes : tuple of (str, str)
        Code values of the scheme DCM and their meanings.
    """

    codes: tuple[tuple[str, str], ...]

    tag = METHOD_CODES
    vr = "SQ"

    def encoded(self, encoding: Encoding) -> bytes:
        """Return the sequence's items."""
        return _items(self.codes, encoding)


@lru_cache(maxsize=64)
def _items(codes: tuple[tuple[str, str], ...], encoding: Encoding) -> bytes:
    body = b""
    for code, meaning in codes:
        item = b""
        for tag, vr, text in ((0x00080100, "SH", code), (0x00080102, "SH", "DCM"), (0x00080104, "LO", meaning)):
            value = text.encode("ascii")
            value += b" " * (len(value) % 2)
            item += encoding.header(tag, vr, len(value)) + value
        body += encoding.item(len(item)) + item
    return body


def markers(options: Iterable[Option], *, conforms: bool, dates_move: bool) -> tuple[TextMarker | CodesMarker, ...]:
    """Say what a profile with these options did.

    Parameters
    ----------
    options : iterable of Option
        Those in force.
    conforms : bool
        Whether nothing was exempted from the profile that the profile wants changed. If something was, no code claims
        the profile.
    dates_move : bool
        Whether a transformation moves dates besides.

    Returns
    -------
    tuple
        In the order of their tags.
    """
    chosen = sorted(options, key=_ORDER.index)
    method = [f"PS3.15 {load_table().edition} Basic Profile", *(option.value for option in chosen)]
    if not conforms:
        method.append("with exceptions")
    made: list[TextMarker | CodesMarker] = [
        TextMarker(0x00120062, "CS", "YES"),
        TextMarker(0x00120063, "LO", "\\".join(["rpacs-deid", *method])),
    ]
    if conforms:
        made.append(CodesMarker((_BASIC, *((option.code, option.meaning) for option in chosen))))
    if Option.RETAIN_FULL_DATES in chosen:
        dates = "UNMODIFIED"
    elif Option.RETAIN_MODIFIED_DATES in chosen or dates_move:
        dates = "MODIFIED"
    else:
        dates = "REMOVED"
    made.append(TextMarker(0x00280303, "CS", dates))
    return tuple(made)
