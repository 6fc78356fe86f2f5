"""Make the catalogue of devices that write into their images from published facts.

A build tool: it runs where somebody brings newer facts in, never at run time. The file that they are read from is not
shipped.

Source: ``ctp_regions.json``, what the public scripts of the RSNA's CTP and of Stanford's scrubber (Apache-2.0) say: a
condition on an image's header, and the rectangles (left, top, width, height) in which such images hold text. Conditions
are formulas of ``*`` (and), ``+`` (or) and tests such as ``Rows.equals("512")``.

What is written has another form. Each row is a list of tests that must all hold, each test an attribute, ``=`` (is),
``^`` (starts with) or ``~`` (contains) and one or several values of which one must fit; case does not count. A formula
whose alternatives are of different attributes becomes several rows. Boxes are left, top, right, bottom; the last row
and column belong to them.

Usage::

    python build_pixel_catalogue.py FOLDER_OF_PIXEL_RULES OUTPUT_FOLDER
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
import sys
from pathlib import Path
from typing import Final

EDITION: Final = "2026-11"
_ATTRIBUTES: Final = {
    "00080008": "ImageType",
    "00080060": "Modality",
    "00080070": "Manufacturer",
    "00080104": "CodeMeaning",
    "0008103e": "SeriesDescription",
    "00081090": "ManufacturerModelName",
    "00181018": "SecondaryCaptureDeviceManufacturerModelName",
    "10181018": "SecondaryCaptureDeviceManufacturerModelName",  # a slip of the pen: there is no group 1018
    "00181020": "SoftwareVersions",
    "00181030": "ProtocolName",
    "00280010": "Rows",
    "00280011": "Columns",
    "00280301": "BurnedInAnnotation",
    "00281051": "WindowWidth",
    "00400310": "CommentsOnRadiationDose",
    "60000022": "OverlayDescription",
    "softwareversion": "SoftwareVersions",
}
_OPERATORS: Final = {"equals": "=", "startswith": "^", "contains": "~"}
_NUMBERS: Final = frozenset({"Rows", "Columns"})
_TOKEN: Final = re.compile(r'\s*(?:([()*+])|(\[[^\]]+\]|\w+)\.(\w+)\s*\("([^"]*)"\))')

Test = tuple[str, str, tuple[str, ...]]
Rule = tuple[Test, ...]


class Formula:
    """A formula, read by descent."""

    def __init__(self, text: str) -> None:
        self._tokens: list[re.Match[str]] = []
        position = 0
        while position < len(text.rstrip()):
            token = _TOKEN.match(text, position)
            if token is None:
                raise SystemExit(f"cannot read {text[position:]!r}")
            self._tokens.append(token)
            position = token.end()

    def rules(self) -> list[Rule]:
        """Return its rules."""
        rules = self._either()
        if self._tokens:
            raise SystemExit("a formula goes on after its end")
        return rules

    def _next(self) -> str | None:
        return self._tokens[0][1] if self._tokens else None

    def _either(self) -> list[Rule]:
        rules = self._all()
        while self._next() == "+":
            self._tokens.pop(0)
            rules += self._all()
        return _joined(rules)

    def _all(self) -> list[Rule]:
        parts = [self._one()]
        while self._next() == "*":
            self._tokens.pop(0)
            parts.append(self._one())
        return [tuple(test for rule in combination for test in rule) for combination in itertools.product(*parts)]

    def _one(self) -> list[Rule]:
        token = self._tokens.pop(0)
        if token[1] == "(":
            inside = self._either()
            if self._tokens.pop(0)[1] != ")":
                raise SystemExit("a parenthesis is not closed")
            return inside
        written = token[2].strip("[]").replace(",", "").lower()
        name = _ATTRIBUTES.get(written, token[2])
        operator = _OPERATORS[token[3].lower().removesuffix("ignorecase")]
        value = token[4].strip().lower()
        if set(value) & set("|&\t;") or not value:
            raise SystemExit(f"a value that the form cannot hold: {value!r}")
        return [((_proper(name), "=" if name in _NUMBERS else operator, (value,)),)]


def _proper(name: str) -> str:
    return {key.lower(): key for key in (*_ATTRIBUTES.values(), "ImplementationVersionName", "SOPClassUID")}.get(
        name.lower(), name
    )


def _joined(rules: list[Rule]) -> list[Rule]:
    """Make one test of alternatives that differ in the value only."""
    merged: dict[object, Rule] = {}
    for rule in rules:
        key = (rule[0][0], rule[0][1]) if len(rule) == 1 else rule
        before = merged.get(key)
        if before is None or len(rule) > 1:
            merged[key] = rule
        else:
            name, operator, values = before[0]
            merged[key] = ((name, operator, tuple(dict.fromkeys((*values, *rule[0][2])))),)
    return list(merged.values())


def rows_of(entries: list[dict[str, object]]) -> list[list[str]]:
    """Return the catalogue's rows: tests, boxes, source."""
    found: dict[str, tuple[set[tuple[int, ...]], set[str]]] = {}
    for entry in entries:
        boxes = {(x, y, x + w - 1, y + h - 1) for x, y, w, h in entry["regions_xywh"]}  # type: ignore[attr-defined]
        for rule in Formula(str(entry["condition"])).rules():
            if any(name == "OverlayDescription" for name, _, _ in rule):
                continue  # what lies in an overlay is no reason to black out the image below
            text = " & ".join(f"{name}{sign}{'|'.join(values)}" for name, sign, values in sorted(set(rule)))
            known = found.setdefault(text, (set(), set()))
            known[0].update(boxes)
            known[1].add(str(entry["source"]))
    return [
        [text, "; ".join(",".join(map(str, box)) for box in sorted(boxes)), " ".join(sorted(sources))]
        for text, (boxes, sources) in sorted(found.items())
    ]


def main(facts: Path, target: Path) -> None:
    """Write the catalogue."""
    entries = json.loads((facts / "ctp_regions.json").read_text("utf-8"))
    rows = rows_of(entries)
    body = "".join("\t".join(row) + "\n" for row in rows)
    head = [
        "Devices that write into their images, and where",
        f"edition {EDITION}",
        "source facts of the public pixel scripts of CTP (RSNA) and of Stanford's scrubber (Apache-2.0)",
        f"signatures {len(entries)}",
        f"regions {sum(len(entry['regions_xywh']) for entry in entries)}",
        f"rows {len(rows)}",
        f"sha256 {hashlib.sha256(body.encode()).hexdigest()}",
    ]
    text = "".join(f"# {line}\n" for line in head) + "tests\tboxes\tsources\n" + body
    (target / "catalogue.tsv").write_text(text, "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
