"""Table E.1-1 of PS3.15: what the Basic Profile and each of its options do to an attribute."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from importlib.resources import files
from typing import Final

__all__ = ["Option", "Row", "Table", "load_table", "read_table"]

PRIVATE: Final = "gggg odd"
_CURVES: Final = "50xxxxxx"


_FACTS: Final = {
    "RetainSafePrivate": ("safe_private", "113111", "Retain Safe Private Option"),
    "RetainUIDs": ("uids", "113110", "Retain UIDs Option"),
    "RetainDeviceIdentity": ("device", "113109", "Retain Device Identity Option"),
    "RetainInstitutionIdentity": ("institution", "113112", "Retain Institution Identity Option"),
    "RetainPatientCharacteristics": ("characteristics", "113108", "Retain Patient Characteristics Option"),
    "RetainLongitudinalFullDates": (
        "full_dates",
        "113106",
        "Retain Longitudinal Temporal Information Full Dates Option",
    ),
    "RetainLongitudinalModifiedDates": (
        "modified_dates",
        "113107",
        "Retain Longitudinal Temporal Information Modified Dates Option",
    ),
    "CleanDescriptors": ("descriptors", "113105", "Clean Descriptors Option"),
    "CleanStructuredContent": ("structured", "113104", "Clean Structured Content Option"),
    "CleanGraphics": ("graphics", "113103", "Clean Graphics Option"),
    "CleanPixelData": ("", "113101", "Clean Pixel Data Option"),
}


class Option(Enum):
    """An option of the Basic Profile (PS3.15 E.3), by its name in a rules file."""

    RETAIN_SAFE_PRIVATE = "RetainSafePrivate"
    RETAIN_UIDS = "RetainUIDs"
    RETAIN_DEVICE = "RetainDeviceIdentity"
    RETAIN_INSTITUTION = "RetainInstitutionIdentity"
    RETAIN_CHARACTERISTICS = "RetainPatientCharacteristics"
    RETAIN_FULL_DATES = "RetainLongitudinalFullDates"
    RETAIN_MODIFIED_DATES = "RetainLongitudinalModifiedDates"
    CLEAN_DESCRIPTORS = "CleanDescriptors"
    CLEAN_STRUCTURED = "CleanStructuredContent"
    CLEAN_GRAPHICS = "CleanGraphics"
    CLEAN_PIXELS = "CleanPixelData"

    @property
    def column(self) -> str:
        """Its column in the data; empty if it has none."""
        return _FACTS[self.value][0]

    @property
    def code(self) -> str:
        """What stands for it in De-identification Method Code Sequence (PS3.16 CID 7050, coding scheme DCM)."""
        return _FACTS[self.value][1]

    @property
    def meaning(self) -> str:
        """Code Meaning of :attr:`code`."""
        return _FACTS[self.value][2]


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table.

    Attributes
    ----------
    tag : str
        8 hexadecimal digits in lower case, ``x`` for any digit of a repeating group, or ``gggg odd``.
    keyword : str
        The attribute's keyword.
    basic : str
        Action of the Basic Profile: ``X`` remove, ``Z`` empty, ``D`` dummy, ``U`` new UID, or several with slashes,
        among which the attribute's Type decides.
    options : dict of Option to str
        ``K`` keep or ``C`` clean, for the options that speak of it.
    """

    tag: str
    keyword: str
    basic: str
    options: Mapping[Option, str]


class Table:
    """The whole table.

    Attributes
    ----------
    edition : str
        Edition of the standard, such as ``2026c``.
    digest : str
        SHA-256 of the rows, in hexadecimal digits; recorded in the data and checked when it is read.
    rows : tuple of Row
        In the order of tags.
    """

    def __init__(self, edition: str, digest: str, rows: tuple[Row, ...]) -> None:
        self.edition = edition
        self.digest = digest
        self.rows = rows
        self._by_tag = {int(row.tag, 16): row for row in rows if "x" not in row.tag and row.tag != PRIVATE}
        self._curves = next(row for row in rows if row.tag == _CURVES)
        self._overlays = {int(row.tag[4:], 16): row for row in rows if row.tag.startswith("60xx")}

    def row(self, tag: int) -> Row | None:
        """Find the row of a tag.

        Parameters
        ----------
        tag : int
            32-bit tag of an even group.

        Returns
        -------
        Row or None
            An element of an overlay plane that the table does not list follows the overlay's data: a plane without
            data would be no plane (PS3.3 C.9.2).
        """
        group = tag >> 16
        if group & 0xFF00 == 0x5000:
            return self._curves
        if group & 0xFF00 == 0x6000:
            return self._overlays.get(tag & 0xFFFF, self._overlays[0x3000])
        return self._by_tag.get(tag)


def read_table(name: str, package: str = "deid_service.profiles") -> tuple[dict[str, str], list[list[str]]]:
    """Read one of the package's tables.

    Parameters
    ----------
    name : str
        File name.
    package : str, optional
        The package in whose folder ``data`` it lies.

    Returns
    -------
    facts : dict of str to str
        What the comment lines say: ``edition``, ``rows``, ``sha256`` and so on.
    rows : list of list of str
        The fields.

    Raises
    ------
    RuntimeError
        If the rows are not those that the file says it has: a table that was edited or cut is not used.
    """
    text = files(package).joinpath("data", name).read_text("utf-8")
    lines = text.splitlines(keepends=True)
    comments = [line for line in lines if line.startswith("# ")]
    body = lines[len(comments) + 1 :]
    facts = {word: rest.strip() for word, _, rest in (line[2:].partition(" ") for line in comments)}
    digest = hashlib.sha256("".join(body).encode()).hexdigest()
    if digest != facts["sha256"] or len(body) != int(facts["rows"]):
        raise RuntimeError(f"{name} of deid_service is not as it was built; install the package again")
    return facts, [line.rstrip("\n").split("\t") for line in body]


@lru_cache(maxsize=1)
def load_table() -> Table:
    """Return the table; read once.

    Returns
    -------
    Table
    """
    facts, lines = read_table("attributes.tsv")
    columns = [option for option in Option if option.column]
    rows = tuple(
        Row(
            tag,
            keyword,
            basic,
            {option: action for option, action in zip(columns, actions, strict=True) if action},
        )
        for tag, keyword, basic, *actions in lines
    )
    return Table(facts["edition"], facts["sha256"], rows)
