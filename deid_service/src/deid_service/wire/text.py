"""Character sets and values of text elements (PS3.5 section 6.1, PS3.3 C.12.1.1.2)."""

from __future__ import annotations

import re
from typing import Final

from pydicom.charset import CODES_TO_ENCODINGS, handled_encodings, python_encoding

from deid_service.wire.encoding import SINGLE_VALUE_VRS

__all__ = ["DEFAULT_CHARACTER_SET", "character_set", "decode", "encode", "split_values"]

DEFAULT_CHARACTER_SET: Final = ("iso8859",)
"""What holds where (0008,0005) is absent. Latin-1 rather than ASCII: real files hold such bytes undeclared."""

_ESCAPE: Final = b"\x1b"
_FRAGMENTS: Final = re.compile(b"(^[^\x1b]+|\x1b[^\x1b]*)")
# PS3.5 6.1.2.5.3: these return to the initial character set.
_RESETS: Final = re.compile(rb"[\\^=\r\n\f\t]")


def character_set(value: bytes) -> tuple[str, ...]:
    """Turn the value of Specific Character Set into Python codecs.

    Parameters
    ----------
    value : bytes
        Value of (0008,0005), several terms separated by backslashes.

    Returns
    -------
    tuple of str
        One codec a term. A term that the standard does not know counts as Latin-1, which loses no byte.
    """
    terms = [term.strip("\0 ") for term in value.decode("latin-1").split("\\")]
    return tuple(python_encoding.get(term, "iso8859") for term in terms)


def decode(value: bytes, codecs: tuple[str, ...]) -> str:
    r"""Decode a text value.

    Parameters
    ----------
    value : bytes
        With or without ISO 2022 escape sequences.
    codecs : tuple of str
        From :func:`character_set`.

    Returns
    -------
    str
        Bytes that are not legal in the character set become ``\xNN``, so that different values stay different.
    """
    if _ESCAPE not in value:
        return value.decode(codecs[0], "backslashreplace")
    return "".join(_decode_fragment(fragment, codecs) for fragment in _FRAGMENTS.findall(value))


def _decode_fragment(fragment: bytes, codecs: tuple[str, ...]) -> str:
    length = 4 if fragment.startswith((b"\x1b$(", b"\x1b$)")) else 3
    codec = CODES_TO_ENCODINGS.get(fragment[:length])
    if not fragment.startswith(_ESCAPE) or codec is None:
        return fragment.decode(codecs[0], "backslashreplace")
    if codec in handled_encodings:  # Python's codec reads the escape sequence itself
        return fragment.decode(codec, "backslashreplace")
    body = fragment[length:]
    reset = _RESETS.search(body)
    cut = reset.start() if reset else len(body)
    return body[:cut].decode(codec, "backslashreplace") + body[cut:].decode(codecs[0], "backslashreplace")


def encode(text: str, codecs: tuple[str, ...]) -> bytes | None:
    """Encode a text in the first of the character sets that can hold it without escape sequences.

    Parameters
    ----------
    text : str
        What to write.
    codecs : tuple of str
        From :func:`character_set`; only the first can be used without an escape sequence.

    Returns
    -------
    bytes or None
        None if the character set cannot hold the text.
    """
    try:
        return text.encode("ascii")
    except UnicodeEncodeError:
        pass
    if codecs == DEFAULT_CHARACTER_SET:
        return None  # the default repertoire is ASCII; Latin-1 is only our lenience in reading
    try:
        return text.encode(codecs[0])
    except UnicodeEncodeError:
        return None


def split_values(text: str, vr: str) -> list[str]:
    """Split a decoded value into its values, without padding.

    Parameters
    ----------
    text : str
        The decoded value.
    vr : str
        Its value representation.

    Returns
    -------
    list of str
        One value for the VRs in which a backslash is a character.
    """
    if vr in SINGLE_VALUE_VRS:
        return [text.rstrip("\0 ")]
    return [value.strip("\0 ") for value in text.split("\\")]
