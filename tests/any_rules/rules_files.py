"""Draws rules files, as YAML text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml
from hypothesis import strategies as st

from deid_service.profiles.table import Option
from deid_service.transforms.transcode import TARGETS
from tests.any_rules.instances import ATTRIBUTES, CREATORS, SEQUENCES

REUSE = ("SameInstance", "SameSeries", "SameStudy", "SamePatient", "Always")
PREFIX = "1.2.276.0.7230010.7."
_VRS = ("AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "OB", "OW", "PN", "SH", "SQ", "ST", "TM", "UC", "UI")
_MORE_VRS = ("AT", "FD", "FL", "SL", "SS", "UL", "UN", "UR", "US", "UT")
_WILD = ("*Date", "*Time*", "Patient*", "*UID", "*Sequence", "*Description", "*ID", "Other*", "*Name*", "*s")
_QUERIES = (
    "Modality StrEquals CT",
    "NOT (Modality StrIn (MR, PT))",
    "StudyDate DateAfter 2000 OR StudyDate NotExists",
    "PatientWeight NbGreater 40.5",
    "RequestAttributesSequence.StudyInstanceUID Exists",
    "PatientName StrEquals '*a*' AND StudyDescription StrNotEquals \"%_[\"",
    "PatientID Empty OR Rows NbLessEquals 32",
    "00091001 Exists",
)
_VALUES = {
    "AE": "RPACS",
    "AS": "042Y",
    "CS": "YES",
    "DA": "20010203",
    "DS": "1.5\\-2e3",
    "DT": "20010203040506.5",
    "IS": "7\\-8",
    "LO": "set by rules",
    "LT": "long \\ text",
    "PN": "Set^By=Rules",
    "SH": "short",
    "ST": "short \\ text",
    "TM": "0405",
    "UC": "unlimited",
    "UI": "1.2.276.0.7230010.9.9",
    "UR": "https://example.org/",
    "UT": "unlimited text",
    "US": "1\\2",
    "SS": "-3",
    "UL": "4",
    "SL": "-5",
    "UV": "6",
    "SV": "-7",
    "FL": "1.5",
    "FD": "-2.5",
    "AT": "00100010",
}


@st.composite
def _parts(draw: st.DrawFn, tags: Sequence[int], *, last: bool) -> str:
    """Draw one part of a pattern that means one of the tags, or several."""
    form = draw(st.sampled_from(("keyword", "wild", "number", "masked", "private", "vr")))
    tag = draw(st.sampled_from(tags))
    keyword = ATTRIBUTES[tag].keyword
    if form == "private":
        element = draw(st.sampled_from(("01", "02", "0X", "XX", "@X", "0c")))
        group = draw(st.sampled_from(("0009", "00XX", "0019", "@@@@", "00@9")))
        return f"{group}{{{draw(st.sampled_from(CREATORS))}}}{element}"
    if form == "vr":
        return f"{{{draw(st.sampled_from(_VRS + _MORE_VRS)) if last else 'SQ'}}}"
    if form == "wild":
        return draw(st.sampled_from(_WILD if last else ("*Sequence", "Re*", "*")))
    if form == "keyword" and keyword:
        return draw(st.sampled_from((keyword, keyword.lower())))
    digits = list(f"{tag:08X}")
    if form == "masked":
        for index in draw(st.lists(st.integers(2, 7), max_size=4)):
            digits[index] = "@" if digits[index] in "13579BDF" and draw(st.booleans()) else "X"
    return "".join(digits)


@st.composite
def patterns(draw: st.DrawFn) -> str:
    """Draw a tag path pattern."""
    above = draw(st.lists(_parts(SEQUENCES, last=False), max_size=2)) if draw(st.integers(0, 3)) == 0 else []
    text = ".".join([*above, draw(_parts(tuple(ATTRIBUTES), last=True))])
    return draw(st.sampled_from(("", "*/", "*/", "+/"))) + text


def _some_patterns(fewest: int = 1) -> st.SearchStrategy[Any]:
    return patterns() | st.lists(patterns(), min_size=fewest, max_size=4)


@st.composite
def _selection(draw: st.DrawFn) -> dict[str, Any]:
    chosen: dict[str, Any] = {"TagPatterns": draw(_some_patterns())}
    if draw(st.integers(0, 3)) == 0:
        chosen[draw(st.sampled_from(("ExceptTagPatterns", "NotTagPatterns")))] = draw(_some_patterns())
    return chosen


@st.composite
def _shift(draw: st.DrawFn) -> dict[str, Any]:
    rule = {**draw(_selection()), "ShiftBy": draw(st.integers(1, 4000) | st.just(10_000_000))}
    if draw(st.booleans()):
        rule["TagPatterns"] = draw(st.sampled_from((["*/{DA}", "*/{DT}"], ["*/{TM}", "*/{DT}"], "*/{DA}")))
    return {**rule, **draw(_reuse)}


_reuse = st.just({}) | st.sampled_from(REUSE).map(lambda word: {"ReuseMapping": word})


@st.composite
def _text(draw: st.DrawFn) -> dict[str, Any]:
    rule = {**draw(_selection()), **draw(_reuse)}
    if draw(st.booleans()):
        rule["Split"] = draw(st.sampled_from(("^", " ", "_", "-", ", ", "a")))
    if draw(st.booleans()):
        rule["IgnoreCase"] = draw(st.booleans())
    return rule


@st.composite
def _uid(draw: st.DrawFn, prefix: str | None) -> dict[str, Any]:
    rule = draw(_selection())
    if draw(st.booleans()):
        rule["TagPatterns"] = draw(st.sampled_from(("*/{UI}", ["*/*UID"], "{UI}")))
    if prefix is not None and draw(st.booleans()):
        rule["PrefixUID"] = draw(st.sampled_from((prefix, prefix.rstrip("."))))
    return rule


@st.composite
def _add(draw: st.DrawFn) -> dict[str, Any]:
    tag = draw(st.sampled_from([tag for tag, one in ATTRIBUTES.items() if one.vr in _VALUES]))
    name = draw(st.sampled_from([f"{tag:08X}", *([ATTRIBUTES[tag].keyword] if ATTRIBUTES[tag].keyword else [])]))
    above = draw(st.lists(st.sampled_from([f"{tag:08X}" for tag in SEQUENCES if not tag >> 16 & 1]), max_size=2))
    steps = [f"{step}{draw(st.sampled_from(('', '[0]', '[1]', '[%]')))}" for step in above]
    if not above and tag in (0x00080016, 0x00080018):
        name = "StudyInstanceUID"
    rule = {"Tag": ".".join([*steps, name]), "VR": ATTRIBUTES[tag].vr, "Value": draw(_value(ATTRIBUTES[tag].vr))}
    if draw(st.booleans()):
        rule["OverwriteIfExists"] = draw(st.booleans())
    return rule


def _value(vr: str) -> st.SearchStrategy[str]:
    single = _VALUES[vr].split("\\")[0]
    return st.sampled_from((_VALUES[vr], single, "")) if vr != "UI" else st.just(single)


@st.composite
def _delete(draw: st.DrawFn) -> dict[str, Any]:
    return {**draw(_selection()), "Action": draw(st.sampled_from(("Remove", "Empty")))}


def _one_or_more(rule: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[Any]:
    return rule | st.lists(rule, min_size=1, max_size=3)


@st.composite
def _scopes(draw: st.DrawFn, labels: list[str], categories: list[str], *, wide: bool = False) -> dict[str, Any]:
    names = ["ALL", *labels]
    if wide or draw(st.integers(0, 2)) == 0:
        scope: dict[str, Any] = {"Labels": "ALL"}
    elif categories and draw(st.booleans()):
        scope = {"Categories": draw(st.sampled_from(categories) | st.lists(st.sampled_from(categories), min_size=1))}
    else:
        scope = {"Labels": draw(st.sampled_from(names) | st.lists(st.sampled_from(names), min_size=1))}
    if labels and draw(st.integers(0, 5)) == 0:
        scope[draw(st.sampled_from(("ExceptLabels", "NotLabels")))] = draw(st.sampled_from(labels))
    if categories and draw(st.integers(0, 5)) == 0:
        scope[draw(st.sampled_from(("ExceptCategories", "NotCategories")))] = [draw(st.sampled_from(categories))]
    return scope


@st.composite
def profiles(draw: st.DrawFn) -> dict[str, Any]:
    """Draw the section ``Profile``."""
    options = [option.value for option in Option if option is not Option.CLEAN_PIXELS]
    chosen = draw(st.lists(st.sampled_from(options), unique=True, max_size=len(options)))
    if "RetainLongitudinalFullDates" in chosen and "RetainLongitudinalModifiedDates" in chosen:
        chosen.remove(draw(st.sampled_from(("RetainLongitudinalFullDates", "RetainLongitudinalModifiedDates"))))
    profile: dict[str, Any] = {"Name": "Basic"}
    if chosen or draw(st.booleans()):
        profile["Options"] = chosen
    if draw(st.integers(0, 3)) == 0:
        profile["ExceptTagPatterns"] = draw(_some_patterns())
    return profile


@st.composite
def rules_files(draw: st.DrawFn) -> str:
    """Draw a rules file that uses any part of the language, as text."""
    sections: dict[str, Any] = {}
    labels = draw(st.lists(st.sampled_from(("CT", "Heavy", "a label", "NO", "0100")), unique=True, max_size=3))
    if labels:
        sections["Labels"] = [
            {"Name": name, **draw(st.just({}) | st.sampled_from(("", *_QUERIES)).map(_as_filter))} for name in labels
        ]
    categories = draw(st.lists(st.sampled_from(("Radiology", "Rest")), unique=True, max_size=2))
    if categories:
        names = st.sampled_from(["ALL", *labels])
        sections["Categories"] = [{"Name": name, "Labels": draw(st.lists(names, min_size=1))} for name in categories]
    sections["ScopeToForward"] = draw(_scopes(labels, categories, wide=bool(draw(st.integers(0, 4)))))
    prefix = draw(st.sampled_from((None, PREFIX, "1.2.3.4.5.6.7.8.9.10.11.12.13.14.15.1.")))
    entries = []
    for _ in range(draw(st.integers(0, 4))):
        entry: dict[str, Any] = {"Scope": draw(_scopes(labels, categories))}
        for name, rule in (
            ("ShiftDateTime", _shift()),
            ("RandomizeText", _text()),
            ("RandomizeUID", _uid(prefix)),
            ("AddTags", _add()),
            ("DeleteTags", _delete()),
        ):
            if draw(st.integers(0, 2)) == 0:
                entry[name] = draw(_one_or_more(rule))
        if draw(st.integers(0, 9)) == 0:
            entry["Transcode"] = draw(st.sampled_from(sorted(TARGETS)))
        if draw(st.integers(0, 4)) == 0:
            entry["RemoveBurnedInAnnotations"] = draw(_one_or_more(_boxes()))
            entry["SuspectedPixels"] = "PassUnchecked"  # to look at what was masked takes long
        if len(entry) > 1:
            entries.append(dict(draw(st.permutations(list(entry.items())))))
    if not entries or draw(st.booleans()):
        sections["Profile"] = draw(profiles())
    if entries:
        sections["Transformations"] = entries
    ordered = dict(draw(st.permutations(list(sections.items()))))
    return yaml.safe_dump(ordered, sort_keys=False, default_flow_style=draw(st.sampled_from((None, True, False))))


@st.composite
def _boxes(draw: st.DrawFn) -> dict[str, Any]:
    boxes = []
    for _ in range(draw(st.integers(1, 3))):
        left, top = draw(st.integers(0, 50)), draw(st.integers(0, 50))
        boxes.append([left, top, left + draw(st.integers(0, 20)), top + draw(st.integers(0, 20))])
    return {"Type": "Manual", "BoxCoordinates": boxes[0] if len(boxes) == 1 and draw(st.booleans()) else boxes}


def _as_filter(query: str) -> dict[str, str]:
    return {"DICOMQueryFilter": query}


__all__ = ["PREFIX", "REUSE", "patterns", "profiles", "rules_files"]
