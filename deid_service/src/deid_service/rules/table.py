"""The section ``Table``: how the columns of a table of health records correspond to DICOM elements.

::

    Table:
      Columns:
        mrn: PatientID
        seen: {Keyword: StudyDate, Format: "%d.%m.%Y"}
        sex: Keep
        note: Remove
      Constants: {IssuerOfPatientID: KLINIKUM}
      Others: Remove

A column that is not listed is an error, unless ``Others: Remove``: who adds a column to an export does not ask the
privacy officer first.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from pydicom.datadict import dictionary_VR, keyword_dict
from yaml.nodes import MappingNode, Node, ScalarNode

from deid_service.rules.schema import Problems, nearest_word
from deid_service.wire.encoding import TEXT_VRS

__all__ = ["KEEP", "REMOVE", "Column", "Table", "read_table"]

KEEP: Final = "Keep"
"""What a column says that is copied as it is."""

REMOVE: Final = "Remove"
"""What a column says that is left out."""

_DIRECTIVES: Final = re.compile(r"%(.?)")
_DATE_DIRECTIVES: Final = frozenset("YmdbBj")
_TIME_DIRECTIVES: Final = frozenset("HIMSfp")
_CHARACTER_SET: Final = 0x00080005


@dataclass(frozen=True, slots=True)
class Column:
    """What a column is.

    Attributes
    ----------
    tag : int or None
        The element whose rules hold for it; None for a column that is kept or removed.
    vr : str
        Value representation of that element; empty without one.
    keep : bool
        Whether it is copied as it is.
    form : str or None
        ``Format``: how dates and times are written, in the notation of :meth:`datetime.datetime.strptime`. None means
        as in DICOM or as in ISO 8601.
    """

    tag: int | None = None
    vr: str = ""
    keep: bool = False
    form: str | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """What a table's columns are.

    Attributes
    ----------
    columns : mapping of str to Column
        By name, in the order of the rules file.
    constants : mapping of int to str
        ``Constants``: values by tag that every row has though no column says so, for instance who issued the IDs.
    remove_others : bool
        Whether columns that are not listed are left out (``Others: Remove``); otherwise they are an error.
    delimiter : str
        ``Delimiter``: what stands between two columns.
    """

    columns: Mapping[str, Column]
    constants: Mapping[int, str]
    remove_others: bool
    delimiter: str


def read_table(node: Node | None, problems: Problems) -> Table | None:
    """Read the section ``Table``.

    Parameters
    ----------
    node : Node or None
        A mapping with ``Columns`` and any of ``Constants``, ``Others``, ``Delimiter``.
    problems : Problems
        Where complaints go.

    Returns
    -------
    Table or None
        None if there is no such section.
    """
    if node is None:
        return None
    keys = problems.read_mapping(node, "Table", ("Columns", "Constants", "Others", "Delimiter"))
    problems.require(node, keys, "Table", "Columns")
    columns: dict[str, Column] = {}
    taken: set[int] = set()
    for name, item in _pairs(keys.get("Columns"), "Columns", problems):
        column = _read_column(item, name, problems)
        if column.tag is not None and column.tag in taken:
            problems.add(item, f'two columns are the same element, the second is "{name}"', "map each element once")
        if column.tag is not None:
            taken.add(column.tag)
        columns[name] = column
    constants: dict[int, str] = {}
    for name, item in _pairs(keys.get("Constants"), "Constants", problems):
        tag = _read_keyword(item, name, problems)
        text = problems.read_text(item, name)
        if tag in taken:
            problems.add(item, f"{name} is a constant and a column", "keep one of them")
        if tag is not None and text is not None:
            constants[tag] = text.strip()
    others = problems.read_choice(keys.get("Others"), "Others", [REMOVE])
    delimiter = "," if "Delimiter" not in keys else _read_delimiter(keys["Delimiter"], problems)
    return Table(MappingProxyType(columns), MappingProxyType(constants), others is not None, delimiter)


def _pairs(node: Node | None, what: str, problems: Problems) -> list[tuple[str, Node]]:
    """Read a mapping with any keys; a key given twice is noted."""
    if node is None:
        return []
    if not isinstance(node, MappingNode) or not node.value:
        problems.add(node, f"{what} must be a mapping of names")
        return []
    found: dict[str, Node] = {}
    for key, value in node.value:
        if not isinstance(key, ScalarNode):
            problems.add(key, f"{what} has a key that is not a word")
        elif key.value in found:
            problems.add(key, f'"{key.value}" is given twice in {what}', "keep one of them")
        else:
            found[key.value] = value
    return list(found.items())


def _read_column(node: Node, name: str, problems: Problems) -> Column:
    if isinstance(node, MappingNode):
        keys = problems.read_mapping(node, f'column "{name}"', ("Keyword", "Format"))
        problems.require(node, keys, f'column "{name}"', "Keyword")
        word = problems.read_text(keys.get("Keyword"), "Keyword")
        tag = None if word is None else _read_keyword(keys["Keyword"], word.strip(), problems)
        if tag is None:
            return Column()
        vr = dictionary_VR(tag)
        return Column(tag, vr, form=_read_format(keys.get("Format"), vr, problems))
    word = problems.read_text(node, f'column "{name}"')
    if word is None or word.strip() == REMOVE:
        return Column()
    if word.strip() == KEEP:
        return Column(keep=True)
    tag = _read_keyword(node, word.strip(), problems)
    return Column() if tag is None else Column(tag, dictionary_VR(tag))


def _read_keyword(node: Node, word: str, problems: Problems) -> int | None:
    tag = keyword_dict.get(word)
    if tag is None:
        problems.add(node, f'"{word}" is neither a DICOM keyword nor {KEEP} nor {REMOVE}', nearest_word(word, _WORDS))
        return None
    if dictionary_VR(tag) not in TEXT_VRS or tag == _CHARACTER_SET or tag >> 16 <= 0x0006:
        problems.add(node, f"{word} is not an element that a column can hold", "only elements with text, dates, UIDs")
        return None
    return tag


def _read_format(node: Node | None, vr: str, problems: Problems) -> str | None:
    text = problems.read_text(node, "Format")
    if text is None:
        return None
    if vr not in ("DA", "DT", "TM"):
        problems.add(node, f"Format is for dates and times, not for VR {vr}")
        return None
    allowed = {"DA": _DATE_DIRECTIVES, "TM": _TIME_DIRECTIVES, "DT": _DATE_DIRECTIVES | _TIME_DIRECTIVES | {"z"}}[vr]
    used = set(_DIRECTIVES.findall(text.replace("%%", "")))
    if "y" in used:
        problems.add(node, "Format has a year of two digits, which can mean two centuries", "use %Y")
    elif not used <= allowed:
        wrong = ", ".join(f"%{letter}" for letter in sorted(used - allowed))
        problems.add(node, f"Format cannot have {wrong} for VR {vr}", "a column with date and time is a DT")
    elif vr != "TM" and not ("Y" in used and ("j" in used or ("d" in used and used & {"m", "b", "B"}))):
        problems.add(node, "Format must name year, month and day", "for instance %d.%m.%Y")
    elif vr == "TM" and not used & {"H", "I"}:
        problems.add(node, "Format must name the hour", "for instance %H:%M")
    elif ("I" in used) != ("p" in used):
        problems.add(node, "Format must have both %I and %p or neither of them", "%H is the hour of 24")
    else:
        return text
    return None


def _read_delimiter(node: Node, problems: Problems) -> str:
    text = node.value if isinstance(node, ScalarNode) else ""
    if len(text) == 1 and text not in '"\r\n\0' and text.isascii():
        return str(text)
    problems.add(node, "Delimiter must be one character", 'for instance ";"')
    return ","


_WORDS: Final = frozenset({KEEP, REMOVE, *(word for word, tag in keyword_dict.items() if word and tag >> 16 < 0x0090)})
