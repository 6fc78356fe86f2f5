"""The Basic Profile with its options, as decisions about single attributes (PS3.15 Annex E)."""

from __future__ import annotations

from collections.abc import Collection
from enum import Enum, IntEnum
from functools import lru_cache
from typing import Final, NamedTuple

from pydicom.datadict import dictionary_VR

from deid_service.profiles.safe_private import safe_vr
from deid_service.profiles.table import Option, Row, Table, load_table
from deid_service.profiles.types import TypesHere
from deid_service.profiles.values import CapAge, CleanText, Dummy, DummyUnlessPublished
from deid_service.transforms.randomize_uid import REGISTERED_TAGS, RandomizeUID
from deid_service.transforms.reuse import ReuseMapping
from deid_service.transforms.shift_date_time import ShiftDateTime
from dicom_query import PatternSet

__all__ = ["DAYS", "Do", "Mode", "Policy", "Verdict", "resolve"]

DAYS: Final = 1826
"""Modified dates move by up to so many days to or fro: five years."""

_NOTHING: Final = PatternSet()
_CHARACTER_SET: Final = 0x00080005
_TIMES: Final = frozenset({"DA", "DT", "TM"})
_SHORT_TEXT: Final = frozenset({"LO", "SH"})
_LONG_TEXT: Final = frozenset({"LT", "ST", "UC", "UT"})
_TEXT: Final = _SHORT_TEXT | _LONG_TEXT | {"AE", "PN", "UR"}
_TYPED: Final = frozenset({0x00700022, 0x00700080})  # Graphic Data; Content Label, a code string that somebody types
# Sequences whose dummies keep the codes and numbers: what was measured is not who it was.
_TREES: Final = frozenset({0x0040A730, 0x00700001, 0x0040B020})
# Words that a code is made of; texts that the standard leaves free but that are names of methods, not of people.
_CODE_TAGS: Final = frozenset(
    {0x00080100, 0x00080102, 0x00080103, 0x00080104, 0x00080105, 0x00080119, 0x00080120, 0x00080122, 0x0008010F}
)
_OPAQUE: Final = frozenset({"OB", "OW", "UN"})
# One of each, so that a new value that was worked out before is known again.
_DUMMY: Final = Dummy()
_DEVICE: Final = Dummy(scope_always=True)
_LABEL: Final = Dummy(as_label=True)
_CODE: Final = DummyUnlessPublished()
_CAP: Final = CapAge()
_CLEAN: Final = CleanText()
_TRACKING_ID: Final = 0x00620020  # what is the same in two instances must stay the same
_CODE_MEANING: Final = 0x00080104
_HARMLESS: Final = frozenset(
    {
        0x0008010C,  # Coding Scheme UID
        0x0008010E,  # Coding Scheme URL
        0x00080112,  # Coding Scheme Registry
        0x00080114,  # Coding Scheme External ID
        0x00080115,  # Coding Scheme Name
        0x00080116,  # Coding Scheme Responsible Organization
        0x00186030,  # Transducer Data
        0x00187004,  # Detector Type
        0x0018702A,  # Detector Manufacturer Name
        0x00189004,  # Content Qualification
        0x00620006,  # Segment Description
        0x00660036,  # Algorithm Name
        0x00660032,  # Algorithm Parameters
        0x300A007B,  # Fraction Pattern
    }
)


class Do(Enum):
    """What the profile wants done with an element."""

    KEEP = "keep"
    REMOVE = "remove"
    EMPTY = "empty"
    DUMMY = "dummy"
    UID = "uid"
    SHIFT = "shift"
    CLEAN = "clean"
    AGE = "age"


class Mode(IntEnum):
    """How what lies inside a sequence is treated; the higher prevails further down."""

    PLAIN = 0
    CLEAN = 1
    DUMMY = 2
    IDENTITY = 3


class Verdict(NamedTuple):
    """What to do with one element.

    Attributes
    ----------
    do : Do
        What happens; for a sequence that is kept, to the sequence itself.
    rule : object
        What makes the new value; None if none is made.
    vr : str
        As which value representation the value is treated.
    mode : Mode
        For a sequence that is kept: how its items are treated.
    """

    do: Do
    rule: object = None
    vr: str = ""
    mode: Mode = Mode.PLAIN


def resolve(action: str, types: TypesHere, tag: int) -> str:
    """Choose between the actions of a conditional row by the attribute's Type (PS3.15 E.1, table E.1-1a).

    Parameters
    ----------
    action : str
        ``X``, ``Z``, ``D``, ``U`` or several, such as ``X/Z/D``.
    types : TypesHere
        Types where the element stands.
    tag : int
        32-bit tag.

    Returns
    -------
    str
        ``X``, ``Z``, ``D`` or ``U``. A required attribute is never removed, one that must have a value never emptied,
        also where the table has an optional one in mind: an empty or made-up value tells as little as none. In an
        unknown IOD the choice is the one that is legal in any: the dummy, if the row allows one.
    """
    allowed = action.replace("*", "").split("/")
    if allowed in (["D"], ["U"]):
        return allowed[0]
    if not types.known:
        return next(choice for choice in ("U", "D", "Z", "X") if choice in allowed)
    match types.type_of(tag):
        case "1":
            return "U" if "U" in allowed else "D"
        case "2":
            if "U" in allowed:
                return "U"  # emptied in one place, it would leave the references of another without their object
            return "D" if "D" in allowed and "Z" not in allowed else "Z"
        case _:
            return next(choice for choice in ("X", "Z", "D", "U") if choice in allowed)


_SHIFT: Final = ShiftDateTime(
    _NOTHING, _NOTHING, DAYS, ReuseMapping.SAME_PATIENT, days_limit=DAYS, days_reuse=ReuseMapping.SAME_PATIENT
)


@lru_cache
def _uid_rule(prefix: str | None) -> RandomizeUID:
    return RandomizeUID(_NOTHING, _NOTHING, prefix)


class Policy:
    """The Basic Profile with certain options.

    Parameters
    ----------
    options : collection of Option
        Those in force.
    exceptions : PatternSet
        ``ExceptTagPatterns``: elements that the profile does not speak of. What is inside such a sequence it does.
    uid_prefix : str or None
        Root of new UIDs, the same as that of the file's ``RandomizeUID``, so that one UID never becomes two.
    """

    def __init__(
        self, options: Collection[Option] = (), exceptions: PatternSet = _NOTHING, uid_prefix: str | None = None
    ) -> None:
        self.options = frozenset(options)
        self.exceptions = exceptions
        self.table: Table = load_table()
        self._uid = _uid_rule(uid_prefix)
        self._shift = _SHIFT

    @property
    def shift(self) -> ShiftDateTime | None:
        """The rule that moves dates; None unless modified dates are retained."""
        return self._shift if Option.RETAIN_MODIFIED_DATES in self.options else None

    def verdict(
        self, tag: int, vrs: tuple[str, ...], creator: str | None, *, sequence: bool, mode: Mode, types: TypesHere
    ) -> Verdict:
        """Decide about one element.

        Parameters
        ----------
        tag : int
            32-bit tag.
        vrs : tuple of str
            The VR that the file states, then the dictionary's if it is another.
        creator : str or None
            Private creator of its block.
        sequence : bool
            Whether it holds items.
        mode : Mode
            Of the sequence around it.
        types : TypesHere
            Types where it stands.

        Returns
        -------
        Verdict
        """
        if tag & 0x00010000:
            return self._private(tag, vrs, creator, sequence, mode)
        vr = "SQ" if sequence else vrs[-1]
        if tag == _CHARACTER_SET or tag in REGISTERED_TAGS:
            return Verdict(Do.KEEP, vr=vr)
        row = self.table.row(tag)
        if row is None:
            return self._unlisted(tag, vr, sequence, mode, types)
        kept = self._by_option(row, vr, sequence, mode)
        if kept is not None:
            return kept
        return self._act(resolve(row.basic, types, tag), tag, vr, sequence, mode)

    def _by_option(self, row: Row, vr: str, sequence: bool, mode: Mode) -> Verdict | None:
        """Return what the options make of a row; None if they leave it to the Basic Profile."""
        said = {option: action for option, action in row.options.items() if option in self.options}
        if "K" in said.values():
            if vr == "AS":
                return Verdict(Do.AGE, _CAP, vr)
            return Verdict(Do.KEEP, vr=vr, mode=mode)
        for option in said:
            match option:
                case Option.RETAIN_MODIFIED_DATES if vr in ("DA", "DT"):
                    return Verdict(Do.SHIFT, self._shift, vr)
                case Option.RETAIN_MODIFIED_DATES if vr == "TM":
                    # Whole days: the time of day stays what it was.
                    return Verdict(Do.KEEP, vr=vr)
                case Option.RETAIN_DEVICE if vr == "AE":
                    return Verdict(Do.DUMMY, _DEVICE, vr)
                case Option.CLEAN_DESCRIPTORS | Option.RETAIN_CHARACTERISTICS:
                    if sequence:
                        return Verdict(Do.KEEP, vr=vr, mode=max(mode, Mode.CLEAN))
                    if vr in _SHORT_TEXT or vr == "CS":
                        return Verdict(Do.CLEAN, _CLEAN, vr)
                case Option.CLEAN_STRUCTURED | Option.CLEAN_GRAPHICS if sequence:
                    return Verdict(Do.KEEP, vr=vr, mode=max(mode, Mode.CLEAN))
        return None

    def _act(self, action: str, tag: int, vr: str, sequence: bool, mode: Mode) -> Verdict:
        if action == "X":
            return Verdict(Do.REMOVE, vr=vr)
        if action == "Z":
            return Verdict(Do.EMPTY, vr=vr)
        if sequence:
            # New UIDs are made inside. A dummy sequence keeps its structure, and nothing in it its words.
            inner = Mode.PLAIN if action == "U" else Mode.DUMMY if tag in _TREES else Mode.IDENTITY
            return Verdict(Do.KEEP, vr=vr, mode=max(mode, inner))
        if action == "U" or vr == "UI":
            return Verdict(Do.UID, self._uid, "UI") if vr == "UI" else Verdict(Do.EMPTY, vr=vr)
        return Verdict(Do.DUMMY, _DUMMY, vr)

    def _unlisted(self, tag: int, vr: str, sequence: bool, mode: Mode, types: TypesHere) -> Verdict:
        """Decide about what the table does not list: its rows name the attributes of one edition only."""
        if not _in_dictionary(tag):
            return Verdict(Do.REMOVE, vr=vr)
        if sequence:
            return Verdict(Do.KEEP, vr=vr, mode=mode)
        if vr == "UI":
            return Verdict(Do.KEEP, vr=vr) if Option.RETAIN_UIDS in self.options else Verdict(Do.UID, self._uid, vr)
        if vr in ("DA", "DT"):
            if Option.RETAIN_FULL_DATES in self.options:
                return Verdict(Do.KEEP, vr=vr)
            if Option.RETAIN_MODIFIED_DATES in self.options:
                return Verdict(Do.SHIFT, self._shift, vr)
            return self._act(resolve("X/Z/D", types, tag), tag, vr, sequence, mode)
        if vr == "AS":
            return Verdict(Do.AGE, _CAP, vr)
        if mode is Mode.IDENTITY and (vr in _TEXT or tag in _CODE_TAGS):
            return Verdict(Do.DUMMY, _DUMMY, vr)
        if tag == _TRACKING_ID:
            return Verdict(Do.DUMMY, _LABEL, vr)
        if mode is Mode.DUMMY and tag in _CODE_TAGS and vr in _TEXT:
            return Verdict(Do.DUMMY, _CODE, vr)
        if mode in (Mode.DUMMY, Mode.IDENTITY) and (vr in _TEXT or vr in _OPAQUE or tag in _TYPED):
            return Verdict(Do.DUMMY, _DUMMY, vr)
        if tag in _HARMLESS or tag in _CODE_TAGS:
            words = tag == _CODE_MEANING or tag not in _CODE_TAGS
            return Verdict(Do.CLEAN, _CLEAN, vr) if words and self._cleans(mode, vr) else Verdict(Do.KEEP, vr=vr)
        if vr == "PN":
            return self._act(resolve("X/Z/D", types, tag), tag, vr, sequence, mode)
        if mode is Mode.CLEAN and vr in _LONG_TEXT:
            return Verdict(Do.CLEAN, _CLEAN, vr)
        if vr in _LONG_TEXT or vr == "UR":
            return self._act(resolve("X", types, tag), tag, vr, sequence, mode)
        return Verdict(Do.CLEAN, _CLEAN, vr) if self._cleans(mode, vr) else Verdict(Do.KEEP, vr=vr)

    def _cleans(self, mode: Mode, vr: str) -> bool:
        return vr in _SHORT_TEXT | _LONG_TEXT and (mode is Mode.CLEAN or Option.CLEAN_DESCRIPTORS in self.options)

    def _private(self, tag: int, vrs: tuple[str, ...], creator: str | None, sequence: bool, mode: Mode) -> Verdict:
        """Keep a private element only if it is known as safe and is of the kind that it is known as."""
        gone = Verdict(Do.REMOVE, vr=vrs[-1])
        if Option.RETAIN_SAFE_PRIVATE not in self.options or mode in (Mode.DUMMY, Mode.IDENTITY):
            return gone
        vr = safe_vr(tag, creator)
        if vr is None or sequence != (vr == "SQ") or vrs[0] not in (vr, "UN"):
            return gone
        if sequence:
            return Verdict(Do.KEEP, vr=vr, mode=mode)
        if vr == "UI":
            return Verdict(Do.KEEP, vr=vr) if Option.RETAIN_UIDS in self.options else Verdict(Do.UID, self._uid, vr)
        if vr in _TIMES and Option.RETAIN_FULL_DATES not in self.options:
            if Option.RETAIN_MODIFIED_DATES not in self.options:
                return gone
            return Verdict(Do.KEEP, vr=vr) if vr == "TM" else Verdict(Do.SHIFT, self._shift, vr)
        if vr == "AS":
            return Verdict(Do.AGE, _CAP, vr)
        if vr in _SHORT_TEXT | _LONG_TEXT:
            return Verdict(Do.CLEAN, _CLEAN, vr)
        return Verdict(Do.KEEP, vr=vr)


@lru_cache(maxsize=10_000)
def _in_dictionary(tag: int) -> bool:
    try:
        dictionary_VR(tag)
    except KeyError:
        return False
    return True
