"""The walk over one instance that writes its clean copy."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Callable
from functools import cached_property, lru_cache
from typing import Final

from deid_service._buffers import Part, deflated
from deid_service._memory import Memory, Replacement
from deid_service.descriptors import PatientIdentifiers, clean_text, identifiers_of
from deid_service.errors import Refused
from deid_service.outcomes import Change, Cleaned, Mapping
from deid_service.profiles.markers import CodesMarker, TextMarker
from deid_service.profiles.table import Option
from deid_service.profiles.values import CapAge, CleanText, Dummy
from deid_service.pseudonyms import PseudonymKey, is_registered_uid
from deid_service.rules import Action
from deid_service.rules.compile import Decision, Level, Plan
from deid_service.transforms import AddTags, Identity, RandomizeText, RandomizeUID, ReuseMapping, ShiftDateTime
from deid_service.transforms.transcode import transcode
from deid_service.verify import verify
from deid_service.wire import (
    DEFAULT_CHARACTER_SET,
    PIXEL_TAGS,
    TEXT_VRS,
    UNDEFINED,
    Element,
    Encoding,
    Source,
    character_set,
    decode,
    encode,
    split_values,
)
from deid_service.wire.encoding import is_deflated
from dicom_query import TagStep, tag_text

__all__ = [
    "CHARACTER_SET",
    "PATIENT_ID",
    "REQUIRED",
    "SERIES",
    "SOP_CLASS",
    "SOP_INSTANCE",
    "STUDY",
    "Cleaning",
]

SOP_CLASS: Final = 0x00080016
SOP_INSTANCE: Final = 0x00080018
STUDY: Final = 0x0020000D
SERIES: Final = 0x0020000E
PATIENT_ID: Final = 0x00100020
CHARACTER_SET: Final = 0x00080005
REQUIRED: Final = {
    SOP_CLASS: "SOP Class UID",
    SOP_INSTANCE: "SOP Instance UID",
    STUDY: "Study Instance UID",
    SERIES: "Series Instance UID",
}
"""What every instance must have, before and after."""

_PADDING: Final = 0xFFFCFFFC
_EXPLICIT_LITTLE: Final = Encoding(explicit=True, little=True)
# PS3.7 D.3.3.2: who wrote the file. A fixed number under the UUID root.
_IMPLEMENTATION_UID: Final = b"2.25.190146391238740513925704219348107266881"
_IMPLEMENTATION_VERSION: Final = b"RPACS_DEID_1"

_PIXEL_VRS: Final = frozenset({"OB", "OD", "OF", "OW", "UN"})
_Adds = list[tuple[tuple[TagStep, ...], AddTags]]
_Set = AddTags | TextMarker | CodesMarker


class Cleaning:
    """The work on one instance.

    Parameters
    ----------
    source : Source
        The instance, read.
    plan : Plan
        The rules that hold for it.
    key : PseudonymKey
        The secret behind the pseudonyms.
    identity : Identity
        Who and what it is.
    memory : Memory
        New values of earlier instances under the same rules and key.
    """

    def __init__(self, source: Source, plan: Plan, key: PseudonymKey, identity: Identity, memory: Memory) -> None:
        self._source = source
        self._data = source.data
        self._view = memoryview(source.data)
        self._plan = plan
        self._key = key
        self._identity = identity
        self._memory = memory
        self._changes: list[Change] = []
        self._mappings: dict[tuple[str, str, str], Mapping] = {}
        self._names: dict[int, str] = {}
        self._tags: list[int] = []
        self._patient: PatientIdentifiers | None = None
        self._offsets: dict[tuple[int, str], tuple[str, int]] = {}

    def finish(self, labels: tuple[str, ...]) -> Cleaned:
        """Write the clean copy and have it verified.

        Parameters
        ----------
        labels : tuple of str
            For the outcome.

        Returns
        -------
        Cleaned

        Raises
        ------
        Refused
            ``missing_uid``, ``value_not_encodable``, ``verification_failed`` or ``identifier_left``.
        """
        adds = [(rule.path.steps, rule) for rule in self._plan.adds]
        chunks, _ = self._clean_level(
            self._source.elements, self._plan.top, self._source.encoding, DEFAULT_CHARACTER_SET, adds, ""
        )
        for tag, name in REQUIRED.items():
            if not self._names.get(tag):
                raise Refused("missing_uid", f"the rules leave the instance without a {name}")
        head = self._file_meta()
        if is_deflated(self._source.transfer_syntax):
            parts = _as_parts([head, *deflated(chunks)])
        else:
            parts = _as_parts([head, *chunks])
        if self._plan.transcode is not None:
            parts, self._tags = transcode(parts, self._plan.transcode, self._tags)
            parts = _as_parts(parts)
        verify(parts, self._tags, self._source, self._patient)
        return Cleaned(
            parts,
            self._names[SOP_INSTANCE],
            self._names[STUDY],
            self._names[SERIES],
            labels,
            self._changes,
            list(self._mappings.values()),
        )

    def _file_meta(self) -> bytes:
        """Build preamble, prefix and group 0002 from nothing but what the clean data set says (PS3.10 7.1)."""
        values = {
            0x00020002: self._names[SOP_CLASS].encode(),
            0x00020003: self._names[SOP_INSTANCE].encode(),
            0x00020010: self._source.transfer_syntax.encode(),
            0x00020012: _IMPLEMENTATION_UID,
        }
        body = _EXPLICIT_LITTLE.header(0x00020001, "OB", 2) + b"\x00\x01"
        for tag, value in values.items():
            padded = value + b"\0" * (len(value) % 2)
            body += _EXPLICIT_LITTLE.header(tag, "UI", len(padded)) + padded
        body += _EXPLICIT_LITTLE.header(0x00020013, "SH", len(_IMPLEMENTATION_VERSION)) + _IMPLEMENTATION_VERSION
        length = _EXPLICIT_LITTLE.header(0x00020000, "UL", 4) + struct.pack("<I", len(body))
        return b"\0" * 128 + b"DICM" + length + body

    def _clean_level(
        self,
        elements: list[Element],
        level: Level,
        encoding: Encoding,
        codecs: tuple[str, ...],
        adds: _Adds,
        path: str,
    ) -> tuple[list[Part], bool]:
        """Clean one data set; return its bytes and whether they differ from the source's."""
        top = path == ""
        chunks: list[Part] = []
        written: list[Part] | None
        changed = False
        run_start = run_end = -1
        dropped_blocks: set[int] = set()
        here, deeper = _split_adds(adds)
        if top and self._plan.markers:
            here = {**self._plan.markers, **here}
        pending = sorted(here.keys() | deeper.keys())

        def flush() -> None:
            nonlocal run_start
            if run_start >= 0:
                chunks.append(self._data[run_start:run_end])
                run_start = -1

        def add_before(limit: int) -> None:
            nonlocal changed
            while pending and pending[0] < limit:
                tag = pending.pop(0)
                extra = self._added(tag, here.get(tag), deeper.get(tag, ()), level, encoding, codecs, path)
                if extra is not None:
                    flush()
                    chunks.append(extra)
                    changed = True
                    if top:
                        self._tags.append(tag)

        for element in elements:
            tag = element.tag
            if pending:
                add_before(tag)
            if not tag & 0xFFFF or tag == _PADDING:
                changed = True
                continue
            if tag == CHARACTER_SET:
                codecs = character_set(self._source.value(element))
            decision = level.decide(tag, element.vr, element.creator, element.items is not None)
            if (
                decision.rule is not None
                and _is_creator(tag)
                and self._block_spared(element, elements, level, decision)
            ):
                decision = Decision(Action.KEEP, element.vr)
            if dropped_blocks and tag & 0xFFFF >= 0x1000 and (tag & 0xFFFF0000 | tag >> 8 & 0xFF) in dropped_blocks:
                decision = Decision(Action.REMOVE, element.vr)
            if pending and pending[0] == tag:
                pending.pop(0)
                rule = here.get(tag)
                prevails = decision.by_profile or decision.action not in (Action.REMOVE, Action.EMPTY)
                if rule is not None and prevails and not (isinstance(rule, AddTags) and not rule.overwrite):
                    set_to = _encoded(rule, encoding, codecs)
                    flush()
                    chunks.append(self._element(tag, rule.vr, set_to, encoding))
                    changed = True
                    self._note(path, tag, "set")
                    if top:
                        self._keep_name(tag, set_to)
                        self._tags.append(tag)
                    continue
            if decision.action is Action.KEEP:
                if element.items is None:
                    written = None
                else:
                    written = self._clean_items(element, decision.below, encoding, codecs, deeper.get(tag, ()), path)
            elif decision.action is Action.REMOVE:
                self._note(path, tag, "removed")
                changed = True
                if _is_creator(tag):
                    dropped_blocks.add(tag)
                continue
            else:
                value = self._replacement(element, decision, codecs, path)
                if _is_creator(tag) and not value:
                    dropped_blocks.add(tag)
                    changed = True
                    continue
                written = None if value is None else [self._element(tag, element.vr, value, encoding, decision.vr)]
                if top and value is not None:
                    self._keep_name(tag, value)
            if top:
                self._tags.append(tag)
                if tag in REQUIRED and tag not in self._names:
                    self._keep_name(tag, self._source.value(element))
            if written is not None:
                flush()
                chunks += written
                changed = True
            elif tag in PIXEL_TAGS and top and element.vr in _PIXEL_VRS and element.items is None:
                flush()
                chunks.append(self._view[element.start : element.end])
            elif run_start >= 0 and element.start == run_end:
                run_end = element.end
            else:
                if run_start >= 0:
                    changed = True  # something was skipped, or the order is not that of the source
                flush()
                run_start, run_end = element.start, element.end
        if pending:
            add_before(1 << 32)
        flush()
        return chunks, changed

    @staticmethod
    def _block_spared(creator: Element, elements: list[Element], level: Level, decision: Decision) -> bool:
        """Tell whether the rule that deletes a private creator spares an element of its block.

        Who writes "all private elements except those of X" means to keep X itself too: without it they mean nothing.
        """
        return any(
            element.tag >> 8 == (creator.tag >> 16 << 8 | creator.tag & 0xFF)
            and level.spares(decision.rule, element.tag, element.vr, element.creator, element.items is not None)
            for element in elements
        )

    def _clean_items(
        self,
        element: Element,
        level: Level | None,
        encoding: Encoding,
        codecs: tuple[str, ...],
        adds: _Adds | tuple[()],
        path: str,
    ) -> list[Part] | None:
        """Clean the items of a sequence; None if nothing in them changed."""
        assert element.items is not None
        assert level is not None
        inner = element.item_encoding
        body: list[Part] = []
        any_changed = False
        prefix = f"{path}{tag_text(element.tag)}"
        for index, item in enumerate(element.items):
            mine = [(steps[1:], rule) for steps, rule in adds if steps[0].item in (None, index)]
            chunks, changed = self._clean_level(item.elements, level, inner, codecs, mine, f"{prefix}[{index}].")
            any_changed |= changed
            if item.undefined:
                body += [inner.item(UNDEFINED), *chunks, inner.item_end()]
            else:
                body += [inner.item(sum(map(len, chunks))), *chunks]
        if not any_changed:
            return None
        if element.undefined:
            return [encoding.header(element.tag, element.vr, UNDEFINED), *body, inner.sequence_end()]
        return [encoding.header(element.tag, element.vr, sum(map(len, body))), *body]

    def _replacement(self, element: Element, decision: Decision, codecs: tuple[str, ...], path: str) -> bytes | None:
        """Return an element's new value; None to keep the old one (a registered UID)."""
        rule, vr = decision.rule, decision.vr
        if decision.action is Action.EMPTY:
            self._note(path, element.tag, "emptied")
            return b""
        if element.value_start == element.value_end:
            return None
        if isinstance(rule, Dummy) and vr not in TEXT_VRS:
            self._note(path, element.tag, "replaced")
            return rule.numbers(element.value_end - element.value_start)
        if vr not in TEXT_VRS:
            # Text was asked for where there is none (numbers, bytes, unknown): a token would be garbage there.
            self._note(path, element.tag, "emptied")
            return b""
        if isinstance(rule, CleanText):
            return self._cleaned(element, codecs, path)
        value = self._source.value(element)
        patient_id = element.tag == PATIENT_ID and path == ""
        known = (id(rule), vr, value, codecs, patient_id, self._depends_on(rule, vr))
        found = self._memory.get(known)
        if found is None:
            found = self._work_out(rule, vr, split_values(decode(value, codecs), vr), patient_id=patient_id)
            self._memory.keep(known, found)
        if found.value is not None:
            self._note(path, element.tag, found.action)
        self._mappings.update(found.mappings)
        return found.value

    def _depends_on(self, rule: object, vr: str) -> tuple[object, ...]:
        """Return what else than rule and value decides a new value."""
        match rule:
            case ShiftDateTime():
                return self._offsets.get((id(rule), vr)) or self._offset(rule, vr)
            case RandomizeText() if vr != "UI":
                return self._identity.scope(rule.reuse)
            case Dummy():
                return self._identity.scope(ReuseMapping.SAME_PATIENT)
            case _:
                return ()

    def _work_out(self, rule: object, vr: str, old: list[str], *, patient_id: bool) -> Replacement:
        """Return what becomes of the values of an element."""
        mappings: dict[tuple[str, str, str], Mapping] = {}

        def note(kind: str, scope: tuple[str, ...], original: str, replacement: str) -> None:
            one = Mapping(kind, _scope_name(scope), original, replacement)
            mappings[(one.kind, one.scope, original)] = one

        def uid(value: str, replace: Callable[[str, PseudonymKey], str]) -> str:
            new = replace(value, self._key)
            if new != value:
                note("uid", ("always",), value, new)
            return new

        match rule:
            case ShiftDateTime():
                unit, amount = self._offsets[(id(rule), vr)]
                new = [rule.apply(value, vr, unit, amount) for value in old]
                action = "shifted" if any(new) or not any(old) else "emptied"
            case RandomizeUID():
                new = [uid(value, rule.apply) for value in old]
                action = "uid replaced"
            case RandomizeText() if vr == "UI":
                new = [uid(value, self._new_uid) for value in old]
                action = "uid replaced"
            case RandomizeText():
                scope = self._identity.scope(rule.reuse)
                kind = "patient_id" if patient_id else "text"
                new = [
                    rule.apply(value, vr, self._key, scope, lambda old, new: note(kind, scope, old, new))
                    for value in old
                ]
                action = "randomized"
            case Dummy():
                scope = self._identity.scope(ReuseMapping.SAME_PATIENT)
                new = [rule.text(value, vr, self._key, scope) for value in old]
                action = "replaced"
            case CapAge():
                new = [rule.text(value) if value.strip() else "" for value in old]
                action = "capped"
            case _:
                raise AssertionError(type(rule).__name__)
        return Replacement(None if new == old else "\\".join(new).encode("ascii"), action, mappings)

    def _cleaned(self, element: Element, codecs: tuple[str, ...], path: str) -> bytes | None:
        """Cut the patient's own identifiers out of a text that stays."""
        old = split_values(decode(self._source.value(element), codecs), element.vr)
        new = [clean_text(value, self._cut) for value in old]
        if new == old:
            return None
        self._note(path, element.tag, "cleaned")
        if not any(new):
            return b"REMOVED"  # a text that must not be empty is not
        # What the instance's own character set cannot hold was not read by it either: it goes.
        return encode("\\".join(new), codecs) or b""

    @cached_property
    def _cut(self) -> PatientIdentifiers:
        """What is cut out of texts that stay."""
        if self._plan.policy is not None and Option.RETAIN_FULL_DATES in self._plan.policy.options:
            return identifiers_of(self._source, dates=False)
        self._patient = identifiers_of(self._source)
        return self._patient

    def _new_uid(self, value: str, key: PseudonymKey) -> str:
        return value if not value or is_registered_uid(value) else key.uid(value, self._plan.uid_root)

    def _offset(self, rule: ShiftDateTime, vr: str) -> tuple[str, int]:
        """Return by what a rule moves this instance's values of one VR."""
        unit, scope, amount = rule.offset(vr, self._key, self._identity)
        moved = Mapping("date_offset", _scope_name(scope), "/".join(scope), f"{amount} {unit}")
        self._mappings[(moved.kind, moved.scope, moved.original)] = moved
        self._offsets[(id(rule), vr)] = unit, amount
        return unit, amount

    def _added(
        self,
        tag: int,
        rule: _Set | None,
        deeper: _Adds | tuple[()],
        level: Level,
        encoding: Encoding,
        codecs: tuple[str, ...],
        path: str,
    ) -> bytes | None:
        """Write an element that the instance lacks; None if it is not to be there."""
        if rule is not None:
            decision = level.decide(tag, rule.vr, None, rule.vr == "SQ")
            deleted = not decision.by_profile
            if deleted and decision.action is Action.REMOVE:
                return None
            value = b"" if deleted and decision.action is Action.EMPTY else _encoded(rule, encoding, codecs)
            self._note(path, tag, "added")
            if path == "":
                self._keep_name(tag, value)
            return self._element(tag, rule.vr, value, encoding)
        # A sequence that is absent is made if one of its items is named by number; "every item" of nothing is nothing.
        decision = level.decide(tag, "SQ", None, True)
        if decision.below is None:
            return None
        named = [(steps[1:], inner) for steps, inner in deeper if steps[0].item == 0]
        if not named:
            return None
        chunks, _ = self._clean_level([], decision.below, encoding, codecs, named, f"{path}{tag_text(tag)}[0].")
        body = b"".join(chunks)
        body = encoding.item(len(body)) + body
        return encoding.header(tag, "SQ", len(body)) + body

    @staticmethod
    def _element(tag: int, vr: str, value: bytes, encoding: Encoding, meant: str | None = None) -> bytes:
        """Write an element; `meant` is its real VR where it is written as UN, for the padding (PS3.5 6.2)."""
        if len(value) % 2:
            kind = meant or vr
            value += b" " if kind in TEXT_VRS and kind != "UI" else b"\0"
        return encoding.header(tag, vr, len(value)) + value

    def _keep_name(self, tag: int, value: bytes) -> None:
        if tag in REQUIRED:
            self._names[tag] = value.decode("ascii", "replace").strip("\0 ")

    def _note(self, path: str, tag: int, action: str) -> None:
        self._changes.append(_change(path, tag, action))


@lru_cache(maxsize=4096)
def _change(path: str, tag: int, action: str) -> Change:
    # Every instance of a series changes at the same places.
    return Change(f"{path}{tag_text(tag)}", action)


@lru_cache(maxsize=1024)
def _scope_name(scope: tuple[str, ...]) -> str:
    # Escaped, so that no two scopes look alike whatever a Patient ID holds.
    return ":".join(part.replace("%", "%25").replace(":", "%3A") for part in scope)


def _is_creator(tag: int) -> bool:
    """Tell whether an element reserves a private block (PS3.5 7.8.1)."""
    return bool(tag & 0x00010000) and 0x10 <= tag & 0xFFFF <= 0xFF


def _encoded(rule: _Set, encoding: Encoding, codecs: tuple[str, ...]) -> bytes:
    if isinstance(rule, AddTags):
        return rule.encoded(little=encoding.little, codecs=codecs)
    return rule.encoded(encoding)


def _split_adds(
    adds: _Adds,
) -> tuple[dict[int, _Set], dict[int, _Adds]]:
    """Sort what is to be added into elements of this level and paths further down; of two rules the later counts."""
    here: dict[int, _Set] = {}
    deeper: dict[int, _Adds] = {}
    for steps, rule in adds:
        if len(steps) == 1:
            here[steps[0].tag] = rule
        else:
            deeper.setdefault(steps[0].tag, []).append((steps, rule))
    return here, deeper


def _as_parts(chunks: list[Part]) -> list[Part]:
    """Join what lies between views."""
    parts: list[Part] = []
    for view, run in itertools.groupby(chunks, lambda chunk: isinstance(chunk, memoryview)):
        if view:
            parts += run
        else:
            parts.append(b"".join(run))
    return parts
