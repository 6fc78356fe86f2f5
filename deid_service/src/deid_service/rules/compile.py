"""From rules to decisions: one for each element, remembered.

The order of transformations is fixed whatever the file's order: ShiftDateTime, RandomizeText, RandomizeUID, AddTags,
DeleteTags. For each element the last rule that speaks decides, on the original value, so nothing is ever applied twice:
an element that is shifted and deleted is deleted, one that two rules randomise follows the later rule.

Where no transformation speaks, the profile does, if the rules file has one (:mod:`deid_service.profiles`). Where
neither does, an element stays, but for what shows more than the image itself: overlays, curves and icons go, and so do
pixels in sequences.

A decision depends only on the element's tag, value representation and private creator and on the sequences above it,
so it is made once for each such place and then looked up. What a profile decides depends on the kind of object besides:
a plan that has one holds for one kind.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Final

from pydicom.datadict import dictionary_has_tag, dictionary_VR, private_dictionary_VR

from deid_service.profiles.markers import NO_TEXT, CodesMarker, TextMarker, markers
from deid_service.profiles.policy import Do, Mode, Policy
from deid_service.profiles.section import Profile
from deid_service.profiles.table import Option
from deid_service.profiles.types import TypesHere, known_sop_classes, types_of
from deid_service.rules.pixels import PixelRules, combine
from deid_service.rules.scope import Scope
from deid_service.transforms import AddTags, DeleteTags, RandomizeText, RandomizeUID, ShiftDateTime
from deid_service.transforms.randomize_uid import REGISTERED_TAGS
from deid_service.transforms.remove_burned_in_annotations import RemoveBurnedInAnnotations
from deid_service.transforms.unchecked import Documents
from dicom_query import ElementPath, PathStep, PatternLevel

__all__ = ["Action", "Decision", "Entry", "Level", "Plan"]

_REMEMBERED: Final = 50_000
_DATES: Final = frozenset({"DA", "DT", "TM"})
_CHARACTER_SET: Final = 0x00080005
_DOCUMENT: Final = 0x00420011
_GRAPHICS: Final = 0x00700001
_ICONS: Final = 0x00880200
_PIXELS: Final = 0x7FE0


class Action(Enum):
    """What happens to an element."""

    KEEP = "keep"
    SHIFT = "shift"
    TEXT = "randomize text"
    UID = "randomize uid"
    DUMMY = "dummy"
    CLEAN = "clean text"
    AGE = "cap age"
    EMPTY = "empty"
    REMOVE = "remove"


_PROFILE_ACTIONS: Final = {
    Do.KEEP: Action.KEEP,
    Do.REMOVE: Action.REMOVE,
    Do.EMPTY: Action.EMPTY,
    Do.DUMMY: Action.DUMMY,
    Do.UID: Action.UID,
    Do.SHIFT: Action.SHIFT,
    Do.CLEAN: Action.CLEAN,
    Do.AGE: Action.AGE,
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of ``Transformations``: a scope and its rules, each kind in the order of the file."""

    scope: Scope
    shifts: tuple[ShiftDateTime, ...] = ()
    texts: tuple[RandomizeText, ...] = ()
    uids: tuple[RandomizeUID, ...] = ()
    adds: tuple[AddTags, ...] = ()
    deletes: tuple[DeleteTags, ...] = ()
    transcode: str | None = None
    burned_in: tuple[RemoveBurnedInAnnotations, ...] = ()
    unchecked: bool | None = None
    documents: Documents | None = None


class Decision:
    """What to do with one element.

    Attributes
    ----------
    action : Action
        What happens.
    rule : object
        The rule that decided; None for KEEP.
    vr : str
        As which value representation its value is treated: that of the dictionary where the file says UN or disagrees.
    below : Level or None
        For sequences that are kept: decisions for what is inside.
    by_profile : bool
        Whether the profile decided: ``AddTags`` then still prevails.
    """

    __slots__ = ("action", "below", "by_profile", "rule", "vr")

    def __init__(
        self, action: Action, vr: str, rule: object = None, below: Level | None = None, *, by_profile: bool = False
    ) -> None:
        self.action = action
        self.vr = vr
        self.rule = rule
        self.below = below
        self.by_profile = by_profile


_NO_TYPES: Final = types_of(None)


class Level:
    """Decisions for the elements directly below certain sequences (or for the top level)."""

    __slots__ = ("_decisions", "_exceptions", "_mode", "_parents", "_plan", "_sets", "_types")

    def __init__(self, plan: Plan, parents: ElementPath, types: TypesHere = _NO_TYPES, mode: Mode = Mode.PLAIN) -> None:
        self._plan = plan
        self._parents = parents
        self._types = types
        self._mode = mode
        self._exceptions = plan.policy.exceptions.level(parents) if plan.policy else None
        self._decisions: dict[tuple[int, str, str | None, bool], Decision] = {}
        self._sets = [
            (action, [(rule.patterns.level(parents), rule.exceptions.level(parents), rule) for rule in rules])
            for action, rules in plan.rules
        ]

    @property
    def mode(self) -> Mode:
        """How the profile treats what is here, because of the sequences above."""
        return self._mode

    def decide(self, tag: int, vr: str, creator: str | None, sequence: bool) -> Decision:
        """Decide about one element.

        Parameters
        ----------
        tag : int
            32-bit tag.
        vr : str
            Value representation as encoded.
        creator : str or None
            Private creator of its block.
        sequence : bool
            Whether it holds items.

        Returns
        -------
        Decision
        """
        key = (tag, vr, creator, sequence)
        decision = self._decisions.get(key)
        if decision is None:
            decision = self._decide(tag, vr, creator, sequence)
            if len(self._decisions) < _REMEMBERED:  # creators come from files: bound what they can make us keep
                self._decisions[key] = decision
        return decision

    def spares(self, rule: object, tag: int, vr: str, creator: str | None, sequence: bool) -> bool:
        """Tell whether what removes a private creator saves an element of its block.

        A ``DeleteTags`` rule saves what its ``ExceptTagPatterns`` name; the profile, what is not removed.
        """
        if isinstance(rule, Policy):
            return self.decide(tag, vr, creator, sequence).action is not Action.REMOVE
        if not isinstance(rule, DeleteTags):
            return False
        return _matches(rule.exceptions.level(self._parents), tag, _possible_vrs(tag, vr, creator), creator)

    def _decide(self, tag: int, vr: str, creator: str | None, sequence: bool) -> Decision:
        vrs = ("SQ",) if sequence else _possible_vrs(tag, vr, creator)
        for action, rules in self._sets:
            as_vr = "SQ" if sequence else _vr_for(action, tag, vrs)
            if as_vr is None or (sequence and action is not Action.REMOVE):
                continue
            for patterns, exceptions, rule in reversed(rules):
                if _matches(patterns, tag, vrs, creator) and not _matches(exceptions, tag, vrs, creator):
                    if isinstance(rule, DeleteTags):
                        return Decision(Action.EMPTY if rule.empty else Action.REMOVE, as_vr, rule)
                    return Decision(action, as_vr, rule)
        if self._parents and tag >> 16 == _PIXELS and all(step.tag != _ICONS for step in self._parents):
            # No standard sequence but that of icons holds pixels: nobody would look for them there.
            return Decision(Action.REMOVE, vrs[0])
        policy = self._plan.policy
        if tag == _DOCUMENT and not self._parents and self._plan.pixels.documents is not Documents.QUARANTINE:
            # What becomes of documents was said by the rules, and was done before.
            return Decision(Action.KEEP, vrs[0])
        if policy is None and not self._plan.pixels.unchecked and _shows_more(tag):
            return Decision(Action.REMOVE, vrs[0])
        if (
            policy is not None
            and self._exceptions is not None
            and not _matches(self._exceptions, tag, vrs, creator)
            and not (tag in self._plan.markers and not self._parents)
        ):
            stated = (vr,) if sequence else vrs
            verdict = policy.verdict(tag, stated, creator, sequence=sequence, mode=self._mode, types=self._types)
            action = _PROFILE_ACTIONS[verdict.do]
            below = self._below(tag, creator, verdict.mode) if sequence and action is Action.KEEP else None
            decider = policy if action in (Action.REMOVE, Action.EMPTY) else verdict.rule
            return Decision(action, verdict.vr, decider, below, by_profile=True)
        if sequence:
            return Decision(Action.KEEP, "SQ", below=self._below(tag, creator, self._mode))
        return Decision(Action.KEEP, vrs[0])

    def _below(self, tag: int, creator: str | None, mode: Mode) -> Level:
        step = PathStep(tag, "SQ", creator)
        return Level(self._plan, (*self._parents, step), self._types.below(tag), mode)


class Plan:
    """The rules that hold for instances with certain labels.

    Parameters
    ----------
    entries : iterable of Entry
        Those in whose scope the instance is, in the order of the file.
    profile : Profile or None, optional
        ``Profile`` of the rules file.
    sop_class : str, optional
        SOP Class UID of the instances, for the profile's conditional actions.
    refers : bool, optional
        Whether the instances list what they refer to (PS3.3 C.12.2).
    uid_root : str or None, optional
        Root of new UIDs.

    Attributes
    ----------
    top : Level
        Decisions for the top level of the data set.
    adds : list of AddTags
        Elements to set, in the order of the file.
    rules : list
        (action, rules) from the last transformation to the first: the last that speaks decides.
    transcode : str or None
        Transfer syntax of the copy, by the last entry that asks for one; None to keep it.
    policy : Policy or None
        The profile, for what no transformation speaks of.
    markers : dict
        Elements that say what was done, by tag.
    markers_after_look : dict
        The same for an instance whose pixels were searched for text, of which none is left.
    pixels : PixelRules
        What is done about pixels and documents.
    uid_root : str or None
        Root of new UIDs.
    """

    def __init__(
        self,
        entries: Iterable[Entry],
        profile: Profile | None = None,
        sop_class: str = "",
        *,
        refers: bool = False,
        uid_root: str | None = None,
    ) -> None:
        entries = list(entries)
        self.uid_root = uid_root
        self.transcode = next((entry.transcode for entry in reversed(entries) if entry.transcode), None)
        self.rules: list[
            tuple[Action, list[ShiftDateTime] | list[RandomizeText] | list[RandomizeUID] | list[DeleteTags]]
        ] = [
            (Action.REMOVE, [rule for entry in entries for rule in entry.deletes]),
            (Action.UID, [rule for entry in entries for rule in entry.uids]),
            (Action.TEXT, [rule for entry in entries for rule in entry.texts]),
            (Action.SHIFT, [rule for entry in entries for rule in entry.shifts]),
        ]
        self.adds = [rule for entry in entries for rule in entry.adds]
        self.policy: Policy | None = None
        self.markers: dict[int, TextMarker | CodesMarker] = {}
        self.markers_after_look: dict[int, TextMarker | CodesMarker] = {NO_TEXT.tag: NO_TEXT}
        self.pixels: PixelRules = combine(
            [rule for entry in entries for rule in entry.burned_in],
            [entry.unchecked for entry in entries],
            [entry.documents for entry in entries],
            by_profile=profile is not None and Option.CLEAN_PIXELS in profile.options,
        )
        if profile is not None:
            self.policy = Policy(profile.options, profile.exceptions, uid_root)
            moves = any(rule.moves_dates for entry in entries for rule in entry.shifts)
            done = profile.options - {Option.CLEAN_PIXELS}
            for said, options in ((self.markers, done), (self.markers_after_look, done | {Option.CLEAN_PIXELS})):
                made = markers(options, conforms=profile.conforms, dates_move=moves)
                said.update({marker.tag: marker for marker in made})
        self.top = Level(
            self, (), _NO_TYPES if profile is None else types_of(known_sop_classes().get(sop_class), refers=refers)
        )

    @property
    def keeps_graphics(self) -> bool:
        """Whether the lines of graphic annotations stay, and nobody said that they may pass unchecked."""
        decision = self.top.decide(_GRAPHICS, "SQ", None, True)
        kept = decision.below is not None and decision.below.mode <= Mode.CLEAN
        return kept and not self.pixels.unchecked


def _shows_more(tag: int) -> bool:
    """Tell whether an element shows something beside the image: overlay, curve, icon (PS3.3 C.9.2, C.7.6.1.1.6)."""
    return tag == _ICONS or (not tag & 0x00010000 and tag >> 24 in (0x50, 0x60))


def _matches(level: PatternLevel, tag: int, vrs: tuple[str, ...], creator: str | None) -> bool:
    return any(level.matches(tag, vr, creator) for vr in vrs)


@lru_cache(maxsize=10_000)
def _possible_vrs(tag: int, vr: str, creator: str | None) -> tuple[str, ...]:
    """Return the VR that the file states and the one that the dictionary does.

    A rule for ``{DA}`` must not miss a date because a gateway wrote it as UN or LO; a rule for ``{UN}`` means what
    nobody knows.
    """
    try:
        if not tag & 0x00010000:
            known = dictionary_VR(tag) if dictionary_has_tag(tag) else vr
        elif creator is not None:
            known = private_dictionary_VR(tag, creator)
        else:
            known = vr
    except KeyError:
        known = vr
    if vr in known or len(known) != 2 or known == "SQ":
        return (vr,)
    return (known,) if vr == "UN" else (vr, known)


def _vr_for(action: Action, tag: int, vrs: tuple[str, ...]) -> str | None:
    """Return the VR as which a transformation treats an element, or None if it has nothing to say about it."""
    match action:
        case Action.SHIFT:
            return next((vr for vr in vrs if vr in _DATES), None)
        case Action.UID:
            return "UI" if "UI" in vrs and tag not in REGISTERED_TAGS else None
        case Action.TEXT:
            # A private creator and the character set are structure: a token there would make the rest unreadable.
            creator = tag & 0x00010000 and 0x10 <= tag & 0xFFFF <= 0xFF
            return None if creator or tag == _CHARACTER_SET or tag in REGISTERED_TAGS else vrs[0]
        case _:
            return vrs[0]
