"""The elements of a header as rows of a table."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import pydicom
from pydicom.datadict import keyword_for_tag
from pydicom.filereader import read_partial
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag

from rpacs_hub.errors import NotAnImage

__all__ = ["HEADER_LIMIT", "list_tags"]

HEADER_LIMIT = 64 << 20
"""Bytes of a file that are read for its header."""

MAX_ROWS = 20_000
_LONGEST = 256
_PIXELS = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
_BINARY = frozenset({"OB", "OW", "OF", "OD", "OL", "OV", "UN", "OB or OW"})


def list_tags(data: bytes) -> tuple[list[dict[str, Any]], bool]:
    """List every element up to the pixels, sequences opened.

    Parameters
    ----------
    data
        The file, or its beginning up to the pixels.

    Returns
    -------
    tuple
        Rows ``{path, tag, keyword, name, vr, value}`` in the file's order, and whether there are more.

    Raises
    ------
    NotAnImage
        The header cannot be read.
    """
    pixels: list[tuple[BaseTag, str]] = []

    def stop(tag: BaseTag, vr: str | None, length: int) -> bool:  # noqa: ARG001 - pydicom's signature
        if tag in _PIXELS:
            pixels.append((tag, vr or "OW"))
        return tag in _PIXELS

    rows: list[dict[str, Any]] = []
    try:
        dataset = read_partial(io.BytesIO(data), stop_when=stop, force=True)
        for row in _rows(dataset, ""):
            if len(rows) >= MAX_ROWS:
                return rows, True
            rows.append(row)
    except Exception as error:
        raise NotAnImage("The header cannot be read.", "Download the file and look at it with other tools.") from error
    for tag, vr in pixels:
        rows.append(_row(keyword_for_tag(tag), tag, vr, keyword_for_tag(tag), "Pixel Data", "binary, not shown"))
    return rows, False


def _rows(dataset: pydicom.Dataset, prefix: str) -> Iterator[dict[str, Any]]:
    for tag in sorted(dataset.keys()):
        try:
            element = dataset[tag]
        except Exception:  # noqa: BLE001 - one value that cannot be read must not hide the others
            path = prefix + (keyword_for_tag(tag) or f"{int(tag):08X}")
            yield _row(path, tag, "", keyword_for_tag(tag), "", "cannot be read")
            continue
        path = prefix + (element.keyword or f"{int(tag):08X}")
        if element.VR == "SQ":
            items = element.value or []
            noun = "item" if len(items) == 1 else "items"
            yield _row(path, tag, "SQ", element.keyword, element.name, f"{len(items)} {noun}")
            for number, item in enumerate(items):
                yield from _rows(item, f"{path}[{number}].")
        else:
            yield _row(path, tag, element.VR, element.keyword, element.name, _display(element.VR, element.value))


def _row(path: str, tag: BaseTag, vr: str, keyword: str, name: str, value: str) -> dict[str, Any]:
    shown = f"({tag.group:04X},{tag.element:04X})"
    return {"path": path, "tag": shown, "keyword": keyword, "name": name, "vr": vr, "value": value}


def _display(vr: str, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bytes):
        return f"binary, {len(value)} bytes" if value else ""
    if vr in _BINARY:
        return "binary"
    parts = value if isinstance(value, (MultiValue, list, tuple)) else [value]
    text = "\\".join(str(part) for part in parts[:_LONGEST])
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
