"""``ShiftDateTime``: dates and times move, the intervals between them stay."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import Final

from pydicom.datadict import dictionary_VR, keyword_dict
from yaml.nodes import Node

from deid_service.pseudonyms import PseudonymKey
from deid_service.rules.schema import Problems
from deid_service.transforms.reuse import Identity, ReuseMapping, read_reuse
from dicom_query import PatternSet, TagPattern

__all__ = ["ShiftDateTime", "share_days", "shift_date", "shift_date_time", "shift_time"]

_DA: Final = re.compile(r"([0-9]{4})(?:(\.?)([0-9]{2})(?:\2([0-9]{2}))?)?")
_TM: Final = re.compile(r"([0-9]{2})(?:(:?)([0-9]{2})(?:\2([0-9]{2})(\.[0-9]{1,6})?)?)?")
_DT: Final = re.compile(
    r"([0-9]{4})(?:([0-9]{2})(?:([0-9]{2})(?:([0-9]{2})(?:([0-9]{2})(?:([0-9]{2})(\.[0-9]{1,6})?)?)?)?)?)?"
    r"([+-][0-9]{4})?"
)
_LAST_PART: Final = re.compile(r"(?:[^.{}]|\{[^}]*\})+$")
_DAY: Final = 86400


@dataclass(frozen=True, slots=True)
class ShiftDateTime:
    """One rule that moves dates and times.

    Attributes
    ----------
    patterns, exceptions : PatternSet
        ``TagPatterns`` and ``ExceptTagPatterns``.
    limit : int
        ``ShiftBy``: the offset is drawn from [-limit, limit] without 0, by the key: one offset for each scope value,
        so that whatever lies ten days apart stays ten days apart.
    reuse : ReuseMapping
        Who shares an offset.
    days_limit : int or None
        The limit of the rule that moves the dates of the same ``Transformations`` entry. If there is one, DT values
        move by that rule's days, so that a DT and the DA beside it still agree; otherwise they move by seconds.
    days_reuse : ReuseMapping
        That rule's reuse.
    """

    patterns: PatternSet
    exceptions: PatternSet
    limit: int
    reuse: ReuseMapping
    days_limit: int | None = None
    days_reuse: ReuseMapping = ReuseMapping.SAME_INSTANCE

    @classmethod
    def read(cls, node: Node, problems: Problems) -> ShiftDateTime | None:
        """Read one item of ``ShiftDateTime``; None if it is wrong."""
        keys = problems.read_mapping(
            node,
            "ShiftDateTime",
            ("TagPatterns", "ExceptTagPatterns", "ShiftBy", "ReuseMapping"),
            {"NotTagPatterns": "ExceptTagPatterns"},
        )
        problems.require(node, keys, "ShiftDateTime", "TagPatterns", "ShiftBy")
        limit = problems.read_integer(keys.get("ShiftBy"), "ShiftBy")
        if limit is not None and not 1 <= limit <= 10_000_000:
            problems.add(keys["ShiftBy"], "ShiftBy must be between 1 and 10000000", "0 would leave every date as it is")
            limit = None
        patterns = problems.read_patterns(keys.get("TagPatterns"), "TagPatterns")
        exceptions = problems.read_patterns(keys.get("ExceptTagPatterns"), "ExceptTagPatterns")
        reuse = read_reuse(keys.get("ReuseMapping"), problems)
        return None if limit is None else cls(patterns, exceptions, limit, reuse)

    @property
    def moves_dates(self) -> bool:
        """Whether a pattern can match an element that the dictionary knows as a date (VR DA)."""
        return any(_means_dates(pattern.text) for pattern in self.patterns)

    def offset(self, vr: str, key: PseudonymKey, identity: Identity) -> tuple[str, tuple[str, ...], int]:
        """Choose the offset for one value.

        Parameters
        ----------
        vr : str
            ``DA``, ``DT`` or ``TM``.
        key : PseudonymKey
            The secret.
        identity : Identity
            The instance.

        Returns
        -------
        unit : str
            ``"days"`` or ``"seconds"``.
        scope : tuple of str
            Who shares the offset.
        amount : int
            Never 0.
        """
        if vr == "DT" and self.days_limit is not None:
            scope = identity.scope(self.days_reuse)
            return "days", scope, key.offset(scope, self.days_limit)
        scope = identity.scope(self.reuse)
        return ("days" if vr == "DA" else "seconds"), scope, key.offset(scope, self.limit)

    @staticmethod
    def apply(value: str, vr: str, unit: str, amount: int) -> str:
        """Move one value.

        Parameters
        ----------
        value : str
            Without padding, may be empty.
        vr : str
            ``DA``, ``DT`` or ``TM``.
        unit, amount : str, int
            From :meth:`offset`.

        Returns
        -------
        str
            With the precision of the original. Empty if the value is no date or time, or would leave the calendar: what
            cannot be moved must not stay.
        """
        if not value:
            return ""
        if vr == "DA":
            return shift_date(value, amount) or ""
        if vr == "TM":
            return shift_time(value, amount) or ""
        step = timedelta(days=amount) if unit == "days" else timedelta(seconds=amount)
        return shift_date_time(value, step) or ""


def share_days(rules: list[ShiftDateTime]) -> list[ShiftDateTime]:
    """Let the DT values of one ``Transformations`` entry move with its dates.

    Parameters
    ----------
    rules : list of ShiftDateTime
        The rules of one entry.

    Returns
    -------
    list of ShiftDateTime
        A rule that moves dates itself keeps to its own days; the others follow the first one that does.
    """
    leader = next((rule for rule in rules if rule.moves_dates), None)
    shared = []
    for rule in rules:
        follow = rule if rule.moves_dates else leader
        shared.append(replace(rule, days_limit=follow.limit, days_reuse=follow.reuse) if follow else rule)
    return shared


@lru_cache(maxsize=1)
def _date_tags() -> tuple[int, ...]:
    return tuple(tag for tag in keyword_dict.values() if dictionary_VR(tag) == "DA")


@lru_cache(maxsize=1024)
def _means_dates(pattern: str) -> bool:
    last = _LAST_PART.search(pattern.removeprefix("*/").removeprefix("+/"))
    level = PatternSet([TagPattern.parse(f"*/{last[0] if last else pattern}")]).level()
    return any(level.matches(tag, "DA") for tag in _date_tags())


def shift_date(value: str, days: int) -> str | None:
    """Move a date (VR DA, PS3.5 6.2).

    Parameters
    ----------
    value : str
        ``YYYYMMDD``, the older ``YYYY.MM.DD``, or a partial ``YYYYMM`` or ``YYYY``.
    days : int
        How far.

    Returns
    -------
    str or None
        In the same form; None if it is no date or leaves the years 1 to 9999. A partial date moves from its middle.
    """
    match = _DA.fullmatch(value)
    if not match:
        return None
    year, dot, month, day = match.groups()
    try:
        moved = date(int(year), int(month or 7), int(day or (15 if month else 1))) + timedelta(days=days)
    except (ValueError, OverflowError):
        return None
    parts = [f"{moved.year:04d}", f"{moved.month:02d}", f"{moved.day:02d}"]
    return (dot or "").join(parts[: 1 + (month is not None) + (day is not None)])


def shift_time(value: str, seconds: int) -> str | None:
    """Move a time of day (VR TM, PS3.5 6.2); midnight wraps round.

    Parameters
    ----------
    value : str
        ``HHMMSS.FFFFFF`` or the older ``HH:MM:SS``, with any number of trailing parts missing.
    seconds : int
        How far.

    Returns
    -------
    str or None
        In the same form, fraction kept; None if it is no time of day.
    """
    match = _TM.fullmatch(value)
    if not match:
        return None
    hour, colon, minute, second, fraction = match.groups()
    if int(hour) > 23 or int(minute or 0) > 59 or int(second or 0) > 60:
        return None
    total = (int(hour) * 3600 + int(minute or 0) * 60 + int(second or 0) + seconds) % _DAY
    parts = [f"{total // 3600:02d}", f"{total // 60 % 60:02d}", f"{total % 60:02d}"]
    kept = 1 + (minute is not None) + (second is not None)
    return (colon or "").join(parts[:kept]) + (fraction or "")


def shift_date_time(value: str, step: timedelta) -> str | None:
    """Move a date with a time of day (VR DT, PS3.5 6.2).

    Parameters
    ----------
    value : str
        ``YYYYMMDDHHMMSS.FFFFFF&ZZXX`` with any number of parts missing from the right.
    step : timedelta
        How far.

    Returns
    -------
    str or None
        With the same parts, fraction and UTC offset kept; None if it is no date or leaves the years 1 to 9999.
    """
    match = _DT.fullmatch(value)
    if not match:
        return None
    *texts, fraction, zone = match.groups()
    kept = sum(text is not None for text in texts)
    middle = (1, 7, 15 if kept == 2 else 1, 12, 30, 0)
    year, month, day, hour, minute, second = (
        int(text) if text is not None else middle[index] for index, text in enumerate(texts)
    )
    leap = second == 60
    try:
        moment = datetime(year, month, day, hour, minute, 59 if leap else second)  # noqa: DTZ001 - wall clock time
        moved = moment + step + timedelta(seconds=leap)
    except (ValueError, OverflowError):
        return None
    text = f"{moved.year:04d}{moved.month:02d}{moved.day:02d}{moved.hour:02d}{moved.minute:02d}{moved.second:02d}"
    return text[: 2 + 2 * kept] + (fraction or "") + (zone or "")
