"""QIDO-RS matching (PS3.18 section 8.3.4.1, PS3.4 section C.2.2.2) as conditions of the query language.

A key and a value become a tree, never text that is parsed again, so that no value can be anything but a value.

Where the two differ, the query language decides: case never counts, and the keys of one sequence may be met by
different items. ``?`` for a single character does not exist there and is refused.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

from pydicom.datadict import dictionary_VR

import dicom_query
from dicom_query import Condition, Node, Number, Operator, Or, PartialDate, TagPath, TextPattern
from rpacs_hub.gateway._exchange import ApiError

__all__ = ["equals", "matching", "vr_of"]

NUMERIC_VRS = frozenset({"DS", "IS", "US", "SS", "UL", "SL", "UV", "SV", "FL", "FD"})
UNMATCHED_VRS = frozenset({"OB", "OW", "OF", "OD", "OL", "OV", "UN", "OB or OW"})

_DT = r"[0-9]{4,14}(?:\.[0-9]{1,6})?(?:[+-](?:0[0-9]|1[0-4])[0-5][0-9])?"
_DATE_RANGE = re.compile(r"([0-9.]*)-([0-9.]*)")
_DT_RANGE = re.compile(f"({_DT})?-({_DT})?")
_TIME = re.compile(r"([01][0-9]|2[0-3])(?:([0-5][0-9])(?:([0-5][0-9]|60)(\.[0-9]{1,6})?)?)?")


def equals(keyword: str, *values: str) -> Node:
    """Return the condition that an element is one of some literal texts, ``*`` being an ordinary character."""
    return Condition(TagPath.parse(keyword), Operator.STR_IN, tuple(TextPattern.literal(value) for value in values))


def vr_of(path: TagPath) -> str:
    """Return the value representation of what a path leads to, of the dictionary; ``LO`` where it has none."""
    try:
        return dictionary_VR(path.steps[-1].tag)
    except KeyError:
        return "LO"


def matching(path: TagPath, value: str, *, empty_values: bool = False) -> Node | None:
    """Return the condition for one key.

    Parameters
    ----------
    path
        The element.
    value
        As it stands in the address, decoded. Empty or ``*`` matches everything (universal matching).
    empty_values
        Whether ``""`` asks for absent and empty elements (empty value matching).

    Returns
    -------
    Node or None
        None where every instance matches.

    Raises
    ------
    ApiError
        400 for a value that cannot be matched, saying what could be.
    """
    if value in ("", "*"):
        return None
    if empty_values and value == '""':
        return Or((Condition(path, Operator.NOT_EXISTS), Condition(path, Operator.EMPTY)))
    vr = vr_of(path)
    if vr == "SQ":
        raise _refused(path, "is a sequence", f"Match an element of its items, such as {path}.CodeValue.")
    if vr in UNMATCHED_VRS:
        raise _refused(path, "is binary", "Binary elements cannot be matched.")
    if vr == "UI":
        return _one_of(path, [TextPattern.literal(uid.strip()) for uid in re.split(r"[\\,]", value) if uid.strip()])
    if vr in ("DA", "DT"):
        return _date(path, value, vr)
    if vr == "TM":
        return _time(path, value)
    if vr in NUMERIC_VRS:
        return _number(path, value)
    # A comma cannot stand inside a code string, so viewers use it for lists as well.
    parts = re.split(r"[\\,]", value) if vr == "CS" else value.split("\\")
    return _one_of(path, [_pattern(path, part) for part in parts])


def _refused(path: TagPath, what: str, hint: str) -> ApiError:
    return ApiError(400, "matching_invalid", f"{path} {what}.", hint)


def _pattern(path: TagPath, text: str) -> TextPattern:
    if "?" in text:
        raise _refused(path, "is matched with '?', which is not offered", "Use * for any number of characters.")
    try:
        return TextPattern(tuple(text.split("*")))
    except ValueError:
        raise _refused(path, "is matched with too many wildcards", "At most 100 in one value.") from None


def _one_of(path: TagPath, patterns: list[TextPattern]) -> Node:
    if not patterns:
        raise _refused(path, "has a list without values", "Give UIDs separated by commas.")
    return Condition(path, Operator.STR_IN, tuple(patterns))


def _number(path: TagPath, value: str) -> Node:
    try:
        conditions = tuple(
            Condition(path, Operator.NB_EQUALS, (Number(part.strip()),)) for part in value.split("\\") if part.strip()
        )
    except ValueError:
        conditions = ()
    if not conditions:
        raise _refused(path, "is compared with what is no number", "Such as 5 or 2.5.")
    return conditions[0] if len(conditions) == 1 else Or(conditions)


def _date(path: TagPath, value: str, vr: str) -> Node:
    value = value.strip()
    if vr == "DT" and re.fullmatch(_DT, value):
        return Condition(path, Operator.DATE_ON, (_partial_date(path, value),))
    span = (_DT_RANGE if vr == "DT" else _DATE_RANGE).fullmatch(value)
    if span is None:
        return Condition(path, Operator.DATE_ON, (_partial_date(path, value),))
    low, high = span[1], span[2]
    if not low and not high:
        raise _refused(path, "has a range without ends", "Such as 20260101-20260131, 20260101- or -20260131.")
    conditions = []
    for text, beyond in ((low, Operator.DATE_AFTER), (high, Operator.DATE_BEFORE)):
        if text:
            limit = (_partial_date(path, text),)
            # A range holds its ends.
            conditions.append(Or((Condition(path, beyond, limit), Condition(path, Operator.DATE_ON, limit))))
    return dicom_query.all_of(conditions)


def _partial_date(path: TagPath, text: str) -> PartialDate:
    # Times compare as written, as everywhere in the query language.
    digits = (re.sub(r"[+-].*", "", text) if re.fullmatch(_DT, text) else text).replace(".", "")
    with contextlib.suppress(ValueError):
        return PartialDate(digits)
    raise _refused(path, "is compared with what is no date", "Such as 20260131, or 20260101-20260131 for a range.")


def _time(path: TagPath, value: str) -> Node:
    """Return the condition for a time or a range of times: every value that begins as one of a few prefixes.

    A partial time stands for its whole span, as dates do: 0930 is all of that minute.
    """
    low, dash, high = value.strip().partition("-")
    if not dash:
        _checked_time(path, low)
        return _one_of(path, [TextPattern((low, ""))])
    if not low and not high:
        raise _refused(path, "has a range without ends", "Such as 0800-1200, 0800- or -1200.")
    first = _checked_time(path, low)[:6].ljust(6, "0") if low else "000000"
    # The end's own span counts: -0930 is until the end of that minute.
    last = _filled(_checked_time(path, high)[:6]) if high else "235959"
    prefixes = list(_prefixes("", first, last))
    if not prefixes:
        raise _refused(path, "has a range whose end lies before its beginning", "Such as 0800-1200.")
    return _one_of(path, [TextPattern((prefix, "")) for prefix in prefixes])


def _checked_time(path: TagPath, text: str) -> str:
    if not _TIME.fullmatch(text):
        raise _refused(path, "is compared with what is no time", "Such as 0930, or 0800-1200 for a range.")
    return text


def _filled(prefix: str) -> str:
    """Return the last second whose text begins with the prefix."""
    return prefix + ("235959" if prefix in ("", "2") else "295959")[len(prefix) :]


def _prefixes(prefix: str, first: str, last: str) -> Iterator[str]:
    """Yield the fewest prefixes of HHMMSS that together are all seconds from `first` to `last`."""
    least, most = prefix.ljust(6, "0"), _filled(prefix)
    if least > last or most < first:
        return
    if first <= least and most <= last:
        yield prefix
        return
    tops = ("2", "3" if prefix == "2" else "9", "5", "9", "5", "9")
    for digit in range(int(tops[len(prefix)]) + 1):
        yield from _prefixes(f"{prefix}{digit}", first, last)
