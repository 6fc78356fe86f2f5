"""One row of a table: into a small instance, through the rules, and back.

The row takes the very way that an image takes, :meth:`~deid_service.Deidentifier.clean` from its first byte to its
verification: whatever a rule does to Patient ID or Study Date in an image, it does to the row.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping as MappingOf
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pydicom.datadict import dictionary_VR, keyword_for_tag

from deid_service.engine import Deidentifier
from deid_service.errors import DeidError, Refused
from deid_service.outcomes import Cleaned, Mapping
from deid_service.rules.table import Column
from deid_service.tables.formats import from_dicom, to_dicom
from deid_service.wire import Encoding, character_set, decode, read, split_values
from deid_service.wire.encoding import LONG_VRS

__all__ = ["BadRowError", "RowCleaner"]

_SOP_CLASS: Final = 0x00080016
_UIDS: Final = {0x00080018: "instance", 0x0020000D: "study", 0x0020000E: "series"}
_CHARACTER_SET: Final = 0x00080005
_PATIENT_ID: Final = 0x00100020
_UTF8: Final = "ISO_IR 192"
_EXPLICIT: Final = Encoding(explicit=True, little=True)
# What a row is taken for where neither column nor constant says it: the class decides which elements must have a value.
_CT_IMAGE: Final = "1.2.840.10008.5.1.4.1.1.2"
_WORDS: Final = re.compile(r"[^\W_]+")
_SHORTEST: Final = 4


class BadRowError(DeidError):
    """A row that cannot be cleaned. The message holds no value of it."""


@dataclass(slots=True)
class _Cell:
    column: Column
    index: int


class RowCleaner:
    """Cleans rows by the rules' section ``Table``.

    Parameters
    ----------
    deidentifier : Deidentifier
        Rules and key.
    columns : sequence of Column
        What each cell of a row is, in the order of the file.
    constants : mapping of int to str
        What every row has besides, by tag.

    Attributes
    ----------
    mappings : list of Mapping
        Pseudonyms that were given and not fetched yet: whoever wants them for the journal empties the list.
    """

    def __init__(self, deidentifier: Deidentifier, columns: Sequence[Column], constants: MappingOf[int, str]) -> None:
        self._deidentifier = deidentifier
        self._columns = columns
        self._constants = {_SOP_CLASS: _CT_IMAGE, **constants}
        self._mapped = [_Cell(column, index) for index, column in enumerate(columns) if column.tag is not None]
        self.mappings: list[Mapping] = []
        self._kept = [index for index, column in enumerate(columns) if column.keep]

    @property
    def written(self) -> list[int]:
        """Positions of the columns that are in the result."""
        return [index for index, column in enumerate(self._columns) if column.keep or column.tag is not None]

    def clean(self, cells: Sequence[str], number: int) -> list[str] | None:
        """Clean one row.

        Parameters
        ----------
        cells : sequence of str
            The row.
        number : int
            Of the row; two rows without UIDs must not share theirs.

        Returns
        -------
        list of str or None
            The columns of :attr:`written`; None if the row is outside of ``ScopeToForward``.

        Raises
        ------
        BadRowError
            If it cannot be cleaned. The message holds no value.
        """
        if len(cells) != len(self._columns):
            raise BadRowError(f"has {len(cells)} cells, the header {len(self._columns)}")
        values = dict(self._constants)
        for cell in self._mapped:
            text = cells[cell.index].strip()
            value = to_dicom(text, cell.column.vr, cell.column.form) if text else ""
            if value is None:
                raise BadRowError(f"column {cell.index + 1} is not written as its column says")
            if "\0" in value:
                raise BadRowError(f"column {cell.index + 1} holds a character that a DICOM text cannot")
            assert cell.column.tag is not None
            values[cell.column.tag] = value
        invented = self._fill_uids(values, number)
        try:
            outcome = self._deidentifier.clean(_instance(values))
        except Refused as refusal:
            raise BadRowError(f"is refused: {refusal}") from None
        if not isinstance(outcome, Cleaned):
            return None
        self._check_scopes(outcome, invented)
        after = _values(outcome.data)
        result = list(cells)
        for cell in self._mapped:
            assert cell.column.tag is not None
            before, new = values[cell.column.tag], after.get(cell.column.tag, "")
            if new != before:
                result[cell.index] = from_dicom(new, cell.column.vr, cell.column.form, cells[cell.index].strip())
        self._check_kept(cells, result)
        made_up = set(invented.values())
        self.mappings += [mapping for mapping in outcome.mappings if mapping.original not in made_up]
        return [result[index] for index in self.written]

    @staticmethod
    def _fill_uids(values: dict[int, str], number: int) -> dict[str, str]:
        """Give a row the UIDs that it lacks, since every instance must have them."""
        invented = {}
        for tag, level in _UIDS.items():
            if not values.get(tag):
                invented[level] = values[tag] = f"2.25.{number}.{tag}"
        return invented

    @staticmethod
    def _check_scopes(outcome: Cleaned, invented: MappingOf[str, str]) -> None:
        """Refuse a pseudonym that holds only within something which the row does not name: nothing would join."""
        for mapping in outcome.mappings:
            for level, uid in invented.items():
                if mapping.scope == f"{level}:{uid}":
                    kind = mapping.kind.replace("_", " ")
                    raise BadRowError(
                        f"has a {kind} whose replacement holds within one {level} only, and the row names no {level}:"
                        " it could not be joined with the images (is the Patient ID empty, or ReuseMapping absent?)"
                    )

    def _check_kept(self, cells: Sequence[str], result: Sequence[str]) -> None:
        """Refuse a row whose kept cells repeat an identifier that was replaced."""
        if not self._kept:
            return
        kept = "\n".join(cells[index] for index in self._kept).casefold()
        for cell in self._mapped:
            original = cells[cell.index].strip().casefold()
            if original == result[cell.index].strip().casefold():
                continue
            words = _WORDS.findall(original) if cell.column.vr == "PN" else [original]
            if any(len(word) >= _SHORTEST and _stands_in(word, kept) for word in words):
                raise BadRowError(f"repeats the value of column {cell.index + 1} in a column that is kept")


def _stands_in(word: str, text: str) -> bool:
    position = text.find(word)
    while position >= 0:
        before, after = text[:position][-1:], text[position + len(word) :][:1]
        if not before.isalnum() and not after.isalnum():
            return True
        position = text.find(word, position + 1)
    return False


def _instance(values: MappingOf[int, str]) -> bytes:
    """Write the instance that stands for a row: explicit little endian, UTF-8."""
    meta = b"".join(
        _element(tag, vr, value)
        for tag, vr, value in (
            (0x00020002, "UI", values[_SOP_CLASS]),
            (0x00020003, "UI", values[0x00080018]),
            (0x00020010, "UI", "1.2.840.10008.1.2.1"),
        )
    )
    length = _EXPLICIT.header(0x00020000, "UL", 4) + struct.pack("<I", len(meta))
    body = b"".join(
        _element(tag, dictionary_VR(tag), value) for tag, value in sorted({**values, _CHARACTER_SET: _UTF8}.items())
    )
    return b"\0" * 128 + b"DICM" + length + meta + body


def _element(tag: int, vr: str, value: str) -> bytes:
    encoded = value.encode("utf-8")
    encoded += (b"\0" if vr == "UI" else b" ") * (len(encoded) % 2)
    if len(encoded) > 0xFFFF and vr not in LONG_VRS:
        raise BadRowError(f"has a value that is too long for {keyword_for_tag(tag)}")
    return _EXPLICIT.header(tag, vr, len(encoded)) + encoded


def _values(data: bytes) -> dict[int, str]:
    """Read the top-level texts of a clean copy."""
    source = read(data)
    codecs = character_set(_UTF8.encode())
    return {
        element.tag: "\\".join(split_values(decode(source.value(element), codecs), element.vr))
        for element in source.elements
        if element.items is None
    }
