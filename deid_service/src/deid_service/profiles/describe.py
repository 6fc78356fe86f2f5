"""What the ready rules files do to each attribute of the standard's table, as a page of the documentation.

Run as ``python -m deid_service.profiles.describe docs/rules-files.md`` to write the page anew; a test holds it current.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from pydicom.datadict import dictionary_has_tag, dictionary_VR

from deid_service.profiles.policy import Mode
from deid_service.profiles.safe_private import safe_private_elements
from deid_service.profiles.table import Option, Row, load_table
from deid_service.profiles.types import TypesHere, known_sop_classes
from deid_service.rules import Action, Plan, default_rules_path, load_rules
from deid_service.rules.compile import Decision, Level

__all__ = ["READY", "page"]

READY: Final = ("basic", "research", "minimal")
"""Names of the ready rules files."""

_WORDS: Final = {
    Action.KEEP: "kept",
    Action.SHIFT: "moved",
    Action.TEXT: "token",
    Action.UID: "new UID",
    Action.DUMMY: "made up",
    Action.CLEAN: "cleaned",
    Action.AGE: "kept up to 89",
    Action.EMPTY: "emptied",
    Action.REMOVE: "removed",
}
_MODES: Final = {Mode.CLEAN: "cleaned", Mode.DUMMY: "made up", Mode.IDENTITY: "made up"}
_HEAD: Final = """# What the ready rules files do

This page is made from the code: `python -m deid_service.profiles.describe docs/rules-files.md`.

The package brings three rules files along, in `deid_service/src/deid_service/rules/`:

- `research.yaml`, the built-in rules: the Basic Profile with {research}.
- `basic.yaml`, the strictest: the Basic Profile with `CleanPixelData` and no option that keeps anything; the patient's
  name and ID are pseudonyms.
- `minimal.yaml`, what the older system came with: new identifiers for studies, series and instances and nothing else.
  It is no de-identification.

The table is that of DICOM PS3.15 Annex E (table E.1-1, edition {edition}, {rows} rows, SHA-256 of the rows
`{digest}`).
Action codes: X remove, Z empty, D dummy, U new UID; with slashes, the attribute's Type in the instance's kind of object
(PS3.3) decides: what must have a value gets a made-up one, what must be there is emptied, what is optional goes.
The same rule guards every other row: should an object require what the table removes, it is emptied or made up. In an
object of an unknown kind the form that is legal everywhere is chosen.

| word | means |
|---|---|
| kept | unchanged; of a sequence: itself, while each element inside meets its own row |
| kept up to 89 | ages of 90 and more become `090Y` |
| moved | by the patient's secret number of days |
| token | eight letters and digits, the same for the same original of one patient (of devices: everywhere) |
| new UID | by value: whatever referred to it still does |
| made up | a legal value that says nothing: a token for names and labels, 1900-01-01 for dates, `removed` for long \
text; of a sequence: itself, with all its words made up (in reports, graphics and waveforms measurements stay, and so \
do codes that PS3.16 publishes) |
| cleaned | the patient's own names, numbers and dates are cut out; of a sequence: of all texts in it |
| emptied, removed | no value; no element |

Beyond the table, wherever a rules file has a `Profile`: elements that no dictionary knows go; every other instance UID
gets a new one; other dates, person names, web addresses and long texts (LT, ST, UC, UT) are treated as the table treats
their like; the rest of an overlay goes with its data. Private elements go, but for those that are known as safe
({safe}, by private creator and VR) under `RetainSafePrivate`.

"""


class _Fixed(TypesHere):
    """An IOD in which every attribute has the same Type."""

    __slots__ = ("_kind",)

    def __init__(self, kind: str) -> None:
        super().__init__({})
        self._kind = kind

    def type_of(self, tag: int) -> str:
        del tag
        return self._kind


def _word(decision: Decision) -> str:
    mode = decision.below.mode if decision.below is not None else Mode.PLAIN
    return _MODES.get(mode, _WORDS[decision.action])


def _outcome(row: Row, plan: Plan) -> str:
    """Say in a few words what becomes of an attribute at the top level."""
    patterns = {"50xxxxxx": 0x50003000, "60xx3000": 0x60003000, "60xx4000": 0x60004000, "gggg odd": 0x00091001}
    tag = patterns[row.tag] if row.tag in patterns else int(row.tag, 16)
    vr = dictionary_VR(tag).split(" or ")[0] if dictionary_has_tag(tag) else "UN"
    creator = "of any vendor" if row.tag == "gggg odd" else None
    if tag >> 16 in (0x0000, 0x0002):
        return "not in a file" if tag >> 16 == 0 else "made anew"
    if tag == 0x00420011:
        return "refused"
    if tag == 0xFFFCFFFC:
        return "removed"
    by_type = {
        kind: _word(Level(plan, (), _Fixed(kind)).decide(tag, vr, creator, vr == "SQ")) for kind in ("3", "2", "1")
    }
    words = by_type["3"]
    if "/" in row.basic:
        words += "".join(f"; Type {kind}: {by_type[kind]}" for kind in ("2", "1") if by_type[kind] != by_type["3"])
    if row.tag == "gggg odd" and plan.policy is not None and Option.RETAIN_SAFE_PRIVATE in plan.policy.options:
        words = "removed unless safe"
    return words


def page() -> str:
    """Return the page.

    Returns
    -------
    str
        Markdown.
    """
    table = load_table()
    folder = default_rules_path().parent
    rules = {name: load_rules(folder / f"{name}.yaml") for name in READY}
    plans = {name: rules[name].plan(("ALL",), next(iter(known_sop_classes()))) for name in READY}
    profile = rules["research"].profile
    options = [option.value for option in Option if profile and option in profile.options]
    lines = [
        _HEAD.format(
            research=", ".join(f"`{option}`" for option in options),
            edition=table.edition,
            rows=len(table.rows),
            digest=table.digest,
            safe=len(safe_private_elements()),
        ),
        "| tag | attribute | PS3.15 | options | basic.yaml | research.yaml | minimal.yaml |\n",
        "|---|---|---|---|---|---|---|\n",
    ]
    for row in table.rows:
        tag = row.tag if "g" in row.tag else f"({row.tag[:4]},{row.tag[4:]})".upper().replace("X", "x")
        said = ", ".join(f"{option.value} {action}" for option, action in row.options.items())
        outcomes = " | ".join(_outcome(row, plans[name]) for name in READY)
        lines.append(f"| {tag} | {row.keyword} | {row.basic} | {said} | {outcomes} |\n")
    return "".join(lines)


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page(), "utf-8")
