"""``RandomizeText``: texts become tokens that are legal where they stand."""

from __future__ import annotations

import string
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import Final

from yaml.nodes import Node

from deid_service.pseudonyms import PseudonymKey
from deid_service.rules.schema import Problems
from deid_service.transforms.reuse import ReuseMapping, read_reuse
from dicom_query import PatternSet

__all__ = ["MAX_LENGTHS", "RandomizeText", "token"]

MAX_LENGTHS: Final = {
    "AE": 16,
    "AS": 4,
    "CS": 16,
    "DA": 8,
    "DS": 16,
    "DT": 26,
    "IS": 12,
    "LO": 64,
    "PN": 64,
    "SH": 16,
    "TM": 14,
    "UI": 64,
}
"""Longest value in characters, where PS3.5 6.2 sets a short limit; for PN of one group."""

_LETTERS: Final = string.ascii_letters + string.digits
_CAPITALS: Final = string.ascii_uppercase + string.digits
_LENGTH: Final = 8


def token(digest: bytes, vr: str) -> str:
    """Turn a hash into a value that is legal for a value representation.

    Parameters
    ----------
    digest : bytes, shape (32,)
        From :meth:`~deid_service.PseudonymKey.digest`.
    vr : str
        A text VR other than UI.

    Returns
    -------
    str
        8 letters and digits; capitals for CS, digits for DS and IS, a date, a time or an age for DA, DT, TM and AS.
    """
    number = int.from_bytes(digest[:16], "big")
    match vr:
        case "DS" | "IS":
            return str(10_000_000 + number % 90_000_000)
        case "AS":
            return f"{number % 90:03d}Y"
        case "DA":
            return _date(number)
        case "TM":
            return _time(number)
        case "DT":
            return _date(number) + _time(number >> 32)
        case "CS":
            return _letters(number, _CAPITALS)
        case _:
            return _letters(number, _LETTERS)


def _letters(number: int, alphabet: str) -> str:
    letters = []
    for _ in range(_LENGTH):
        number, index = divmod(number, len(alphabet))
        letters.append(alphabet[index])
    return "".join(letters)


def _date(number: int) -> str:
    return date.fromordinal(date(1900, 1, 1).toordinal() + number % 36_500).strftime("%Y%m%d")


def _time(number: int) -> str:
    second = number % 86_400
    return f"{second // 3600:02d}{second // 60 % 60:02d}{second % 60:02d}"


@dataclass(frozen=True, slots=True)
class RandomizeText:
    """One rule that replaces texts.

    Attributes
    ----------
    patterns, exceptions : PatternSet
        ``TagPatterns`` and ``ExceptTagPatterns``.
    separator : str or None
        ``Split``: each part between separators gets a token of its own.
    ignore_case : bool
        ``IgnoreCase``: texts that differ in case only get the same token.
    reuse : ReuseMapping
        For whom a text keeps its token.
    """

    patterns: PatternSet
    exceptions: PatternSet
    separator: str | None
    ignore_case: bool
    reuse: ReuseMapping

    @classmethod
    def read(cls, node: Node, problems: Problems) -> RandomizeText:
        """Read one item of ``RandomizeText``."""
        keys = problems.read_mapping(
            node,
            "RandomizeText",
            ("TagPatterns", "ExceptTagPatterns", "Split", "IgnoreCase", "ReuseMapping"),
            {"NotTagPatterns": "ExceptTagPatterns"},
        )
        problems.require(node, keys, "RandomizeText", "TagPatterns")
        separator = None
        if "Split" in keys:
            separator = problems.read_text(keys["Split"], "Split", empty=True)
            if separator == "":
                problems.add(keys["Split"], "Split is empty", 'leave it out, or name a separator such as "^"')
        return cls(
            problems.read_patterns(keys.get("TagPatterns"), "TagPatterns"),
            problems.read_patterns(keys.get("ExceptTagPatterns"), "ExceptTagPatterns"),
            separator or None,
            problems.read_boolean(keys.get("IgnoreCase"), "IgnoreCase"),
            read_reuse(keys.get("ReuseMapping"), problems),
        )

    def apply(
        self,
        value: str,
        vr: str,
        key: PseudonymKey,
        scope: tuple[str, ...],
        record: Callable[[str, str], None] | None = None,
    ) -> str:
        """Replace one value.

        Parameters
        ----------
        value : str
            Without padding; an empty one stays empty.
        vr : str
            A text VR other than UI.
        key : PseudonymKey
            The secret.
        scope : tuple of str
            For whom the token holds.
        record : callable, optional
            Is told each (original, token).

        Returns
        -------
        str
            Legal for `vr`. The alphabetic, ideographic and phonetic group of a name (PS3.5 6.2.1) are replaced one by
            one, and so are the parts that ``Split`` makes. Should that become too long for the VR, one token stands
            for all of it.
        """

        def replaced(text: str) -> str:
            text = text.strip()
            if not text:
                return ""
            new = token(key.digest("text", scope, text.lower() if self.ignore_case else text), vr)
            if record is not None:
                record(text, new)
            return new

        def split(text: str) -> str:
            if self.separator is None or self.separator not in text:
                return replaced(text)
            parts = self.separator.join(replaced(part) for part in text.split(self.separator))
            limit = MAX_LENGTHS.get(vr)
            illegal = vr in ("AS", "DA", "DS", "DT", "IS", "TM") or (vr == "CS" and self.separator.strip(" _"))
            if illegal or (limit is not None and len(parts) > limit):
                return replaced(text)
            return parts

        if vr == "PN":
            # Trailing separators say nothing: DOE^JOHN and DOE^JOHN^^ are one person.
            return "=".join(split(group.rstrip("^ ")) for group in value.split("=")).rstrip("=")
        return split(value)
