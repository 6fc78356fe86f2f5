"""An instance before and after, side by side. For the clinical side only: it shows what identifies the patient."""

from __future__ import annotations

import html
import os
import struct
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from deid_service._buffers import Data, open_file
from deid_service.wire import (
    DEFAULT_CHARACTER_SET,
    PIXEL_TAGS,
    TEXT_VRS,
    Element,
    Encoding,
    Source,
    character_set,
    decode,
    read,
    split_values,
)
from dicom_query import tag_text

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Comparison", "Difference", "compare", "values_by_path"]

_CHARACTER_SET: Final = 0x00080005
_LONGEST: Final = 200
_MOST: Final = 16
_NUMBERS: Final = {
    "AT": "I",
    "FD": "d",
    "FL": "f",
    "OD": "d",
    "OF": "f",
    "SL": "i",
    "SS": "h",
    "SV": "q",
    "UL": "I",
    "US": "H",
    "UV": "Q",
}


@dataclass(frozen=True, slots=True)
class Difference:
    """One element before and after.

    Attributes
    ----------
    path : str
        Tag path.
    vr : str
        Value representation, after where it is there.
    before, after : str or None
        Values, shortened; None where the element is absent.
    change : str
        ``same``, ``changed``, ``emptied``, ``removed`` or ``added``.
    """

    path: str
    vr: str
    before: str | None
    after: str | None
    change: str


class Comparison:
    """Two instances, element by element. A notebook shows it as a table of what changed.

    Attributes
    ----------
    rows : list of Difference
        Every element of either, in the order of their tags.
    """

    def __init__(self, rows: list[Difference]) -> None:
        self.rows = rows

    def __repr__(self) -> str:
        return f"Comparison({len(self.changed)} of {len(self.rows)} elements differ; values not shown)"

    @property
    def changed(self) -> list[Difference]:
        """The elements that differ."""
        return [row for row in self.rows if row.change != "same"]

    def to_frame(self, *, everything: bool = False) -> pd.DataFrame:
        """Return the table as a pandas DataFrame; with `everything` also what is the same."""
        import pandas as pd

        rows = self.rows if everything else self.changed
        columns = list(Difference.__dataclass_fields__)
        return pd.DataFrame([asdict(row) for row in rows], columns=columns)

    def _repr_html_(self) -> str:
        def cell(text: str | None) -> str:
            return "<td><i>absent</i></td>" if text is None else f"<td>{html.escape(text)}</td>"

        body = "".join(
            f"<tr><td>{html.escape(row.path)}</td><td>{row.vr}</td>{cell(row.before)}{cell(row.after)}"
            f"<td>{row.change}</td></tr>"
            for row in self.changed
        )
        same = len(self.rows) - len(self.changed)
        return (
            "<p><b>Before shows what identifies the patient: keep this page on the clinical side.</b></p>"
            "<table><thead><tr><th>Element</th><th>VR</th><th>Before</th><th>After</th><th>Change</th></tr></thead>"
            f"<tbody>{body}</tbody></table><p>{same} further elements are the same.</p>"
        )


def compare(before: bytes | str | os.PathLike[str], after: bytes | str | os.PathLike[str]) -> Comparison:
    """Put an original and its clean copy side by side.

    For the clinical side only, where originals may be seen.

    Parameters
    ----------
    before, after : bytes or path-like
        DICOM files.

    Returns
    -------
    Comparison

    Raises
    ------
    Refused
        If one of them is not readable as DICOM.
    OSError
        If a file cannot be read.
    """
    old, new = _elements(_bytes(before)), _elements(_bytes(after))
    rows = []
    for key in sorted(old.keys() | new.keys()):
        (path, vr, before_value) = old.get(key, ("", "", None))
        if key in new:
            path, vr, after_value = new[key]
        else:
            after_value = None
        rows.append(Difference(path, vr, before_value, after_value, _change(before_value, after_value)))
    return Comparison(rows)


def values_by_path(data: Data) -> dict[str, str]:
    """Return the values of an instance by tag path, shortened. They identify the patient.

    Parameters
    ----------
    data : bytes or mmap
        A DICOM file.
    """
    return {path: value for path, _, value in _elements(data).values() if value is not None}


def _bytes(source: bytes | str | os.PathLike[str]) -> Data:
    return source if isinstance(source, bytes) else open_file(Path(source))


def _change(before: str | None, after: str | None) -> str:
    if before == after:
        return "same"
    if before is None:
        return "added"
    if after is None:
        return "removed"
    return "emptied" if not after else "changed"


_Found = dict[tuple[int, ...], tuple[str, str, str | None]]


def _elements(data: Data) -> _Found:
    """Return path, VR and value by place: tags and item numbers from the top, which sort as the file does."""
    source = read(data)
    return {
        place: (path, vr, value)
        for place, path, vr, value in _walk(source, source.elements, source.encoding, DEFAULT_CHARACTER_SET, (), "")
    }


def _walk(
    source: Source,
    elements: list[Element],
    encoding: Encoding,
    codecs: tuple[str, ...],
    place: tuple[int, ...],
    path: str,
) -> Iterator[tuple[tuple[int, ...], str, str, str]]:
    for element in elements:
        here, name = (*place, element.tag), f"{path}{tag_text(element.tag)}"
        if element.tag == _CHARACTER_SET:
            codecs = character_set(source.value(element))
        if element.items is None:
            yield here, name, element.vr, _shown(source, element, encoding, codecs)
            continue
        count = len(element.items)
        yield here, name, "SQ", f"{count} item{'' if count == 1 else 's'}" if count else ""
        for index, item in enumerate(element.items):
            yield from _walk(source, item.elements, element.item_encoding, codecs, (*here, index), f"{name}[{index}].")


def _shown(source: Source, element: Element, encoding: Encoding, codecs: tuple[str, ...]) -> str:
    length = element.value_end - element.value_start
    letter = _NUMBERS.get(element.vr)
    if element.tag in PIXEL_TAGS or (element.vr not in TEXT_VRS and letter is None):
        return f"{length} bytes" if length else ""
    if letter is None:
        text = "\\".join(split_values(decode(source.value(element), codecs), element.vr))
    else:
        size = struct.calcsize(f"={letter}")
        count = min(length // size, _MOST)
        numbers = struct.unpack_from(f"{encoding.order}{count}{letter}", source.data, element.value_start)
        text = "\\".join(f"{number:g}" if isinstance(number, float) else str(number) for number in numbers)
        text += " …" if length // size > _MOST else ""
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} … ({len(text)} characters)"
