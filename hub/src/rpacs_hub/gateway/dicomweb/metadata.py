"""Headers as DICOM JSON (PS3.18 section 10.4.1.1.2 and annex F), with addresses in the place of bulk data."""

from __future__ import annotations

import io
import json
import math
from typing import Any

import pydicom
from pydicom.dataelem import DataElement
from pydicom.filereader import read_partial
from pydicom.tag import BaseTag

from rpacs_hub.errors import NotAnImage

__all__ = ["INLINE", "header_json"]

INLINE = 1024
"""The longest binary value, in bytes of its base64 form, that stands in the JSON itself."""

_PIXELS = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})


def header_json(data: bytes, length: int, bulk_address: str) -> bytes:
    """Return the header of a file as JSON.

    Parameters
    ----------
    data
        The file, or its beginning up to the pixels.
    length
        Bytes of the whole file.
    bulk_address
        Absolute address below which bulk data are found: ``<bulk_address>/7FE00010``, and for an element inside
        sequences ``<bulk_address>/<sequence>.<item, from 0>.<element>``.

    Raises
    ------
    NotAnImage
        The header cannot be read.
    """
    pixels: list[tuple[int, str]] = []

    def stop(tag: BaseTag, vr: str | None, _: int) -> bool:
        if tag in _PIXELS:
            pixels.append((int(tag), vr or "OW"))
        return tag in _PIXELS

    try:
        dataset = read_partial(io.BytesIO(data), stop_when=stop, force=True)
        if not pixels and len(data) < length:
            raise ValueError("the header goes on")
        paths: dict[int, str] = {}
        _collect_paths(dataset, "", paths)

        def address(element: DataElement) -> str:
            return f"{bulk_address}/{paths.get(id(element), f'{int(element.tag):08X}')}"

        model = dataset.to_json_dict(INLINE, address, suppress_invalid_tags=True)
        for tag, vr in pixels:
            model[f"{tag:08X}"] = {"vr": vr, "BulkDataURI": f"{bulk_address}/{tag:08X}"}
        return json.dumps(_corrected(model), ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode(
            "utf-8", "replace"
        )
    except Exception as error:
        raise NotAnImage(
            "The header cannot be read.", "Retrieve the instance and look at it with other tools."
        ) from error


def _collect_paths(dataset: pydicom.Dataset, prefix: str, paths: dict[int, str]) -> None:
    """Note where each element stands, by the identity of the object that pydicom keeps for it."""
    for tag in dataset.keys():  # noqa: SIM118 - iterating would stop at the first element that cannot be read
        path = f"{prefix}{int(tag):08X}"
        try:
            element = dataset[tag]
        except Exception:  # noqa: BLE001, S112 - what cannot be read is left out of the answer as well
            continue
        paths[id(element)] = path
        if element.VR == "SQ":
            for number, item in enumerate(element.value or ()):
                _collect_paths(item, f"{path}.{number}.", paths)


def _corrected(model: dict[str, Any]) -> dict[str, Any]:
    """Return the model in UTF-8's own terms: no other character set (PS3.18 F.2.1), no number that JSON cannot hold."""
    if "00080005" in model:
        model["00080005"] = {"vr": "CS", "Value": ["ISO_IR 192"]}
    for element in model.values():
        values = element.get("Value")
        if element["vr"] == "SQ":
            for item in values or ():
                _corrected(item)
        elif values and element["vr"] in ("FL", "FD", "DS"):
            element["Value"] = [
                None if isinstance(value, float) and not math.isfinite(value) else value for value in values
            ]
    return model
