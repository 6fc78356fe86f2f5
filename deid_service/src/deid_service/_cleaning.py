"""The walk over one instance that writes its clean copy."""

from __future__ import annotations

import itertools
from functools import lru_cache
from typing import Final

from deid_service._buffers import Part, deflated, spool
from deid_service._file_meta import file_meta
from deid_service._memory import LONGEST, MOST_ELEMENTS, MOST_RUNS, Known, Memory, Remembered
from deid_service._place import Adds, Place, encoded, split_adds
from deid_service._values import PATIENT_ID, NewValues
from deid_service.errors import Refused
from deid_service.outcomes import Change, Cleaned
from deid_service.pixels.cleaning import PixelWork
from deid_service.pixels.codecs import TARGETS
from deid_service.pixels.copies import rewrite_copy
from deid_service.pseudonyms import PseudonymKey
from deid_service.rules import Action
from deid_service.rules.compile import Decision, Level, Plan
from deid_service.transforms import AddTags, Identity
from deid_service.transforms.transcode import transcode
from deid_service.verify import verify
from deid_service.wire import (
    DEFAULT_CHARACTER_SET,
    PIXEL_TAGS,
    TEXT_VRS,
    UNDEFINED,
    Element,
    Encoding,
    PlacedRun,
    Source,
    character_set,
    read,
)
from deid_service.wire.encoding import is_deflated
from dicom_query import tag_text

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
CHARACTER_SET: Final = 0x00080005
REQUIRED: Final = {
    SOP_CLASS: "SOP Class UID",
    SOP_INSTANCE: "SOP Instance UID",
    STUDY: "Study Instance UID",
    SERIES: "Series Instance UID",
}
"""What every instance must have, before and after."""

_PADDING: Final = 0xFFFCFFFC
_PIXEL_DATA: Final = 0x7FE00010
_PIXEL_VRS: Final = frozenset({"OB", "OD", "OF", "OW", "UN"})


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
    pixels : PixelWork
        What is done about its pixels.
    """

    def __init__(
        self,
        source: Source,
        plan: Plan,
        key: PseudonymKey,
        identity: Identity,
        memory: Memory,
        pixels: PixelWork,
    ) -> None:
        self._source = source
        self._data = source.data
        self._view = memoryview(source.data)
        self._plan = plan
        self._identity = identity
        self._memory = memory
        self._pixels = pixels
        self._markers = plan.markers_after_look if pixels.looked_at else plan.markers
        self._values = NewValues(source, plan, key, identity, memory)
        self._changes: list[Change] = []
        self._names: dict[int, str] = {}
        self._tags: list[int] = []

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
        head = file_meta(self._names[SOP_CLASS], self._names[SOP_INSTANCE], self._source.transfer_syntax)
        if is_deflated(self._source.transfer_syntax):
            parts = _as_parts([head, *deflated(chunks)])
        else:
            parts = _as_parts([head, *chunks])
        if self._pixels.regions:
            parts = self._masked(parts)
        elif self._plan.transcode is not None:
            parts, self._tags = transcode(parts, self._plan.transcode, self._tags)
            parts = _as_parts(parts)
        verify(parts, self._tags, self._source, self._values.patient, self._names[SERIES])
        return Cleaned(
            parts,
            self._names[SOP_INSTANCE],
            self._names[STUDY],
            self._names[SERIES],
            labels,
            self._changes,
            list(self._values.mappings.values()),
            self._pixels.report,
        )

    def _masked(self, parts: list[Part]) -> list[Part]:
        """Black out what is to be blacked out, until no text is left (or the pixel work refuses the instance)."""
        copy = read(spool(parts))
        wanted = self._plan.transcode
        if wanted is not None and TARGETS[wanted].encoder and _PIXEL_DATA not in self._tags:
            wanted = None  # floating point pixels have no compressed form
        while True:
            new = rewrite_copy(copy, self._tags, self._pixels.regions, wanted)
            if self._pixels.look_again(new.source, new.masked):
                break
        self._tags = new.tags
        self._note("", next(tag for tag in new.tags if tag in PIXEL_TAGS), "masked")
        return new.parts

    def _clean_level(
        self,
        elements: list[Element],
        level: Level,
        encoding: Encoding,
        codecs: tuple[str, ...],
        adds: Adds,
        path: str,
    ) -> tuple[list[Part], bool]:
        """Clean one data set; return its bytes and whether they differ from the source's."""
        top = path == ""
        here, deeper = split_adds(adds)
        if top and self._markers:
            here = {**self._markers, **here}
        place = Place(self._data, elements, level, encoding, codecs, path, here, deeper)
        if top:
            place.known = self._known(place)
        for segment in (self._source.segments if top else None) or elements:
            if isinstance(segment, Element):
                self._clean_next(segment, place)
            else:
                self._clean_run(segment, place)
        place.flush()
        self._add_missing(place, 0x1_0000_0000)
        return place.chunks, place.changed

    def _add_missing(self, place: Place, before: int) -> None:
        """Add what is to be there in front of a tag."""
        pending = place.pending
        while pending and pending[0] < before:
            extra = self._added(pending.pop(0), place)
            if extra is not None:
                place.write([extra])

    def _clean_next(self, element: Element, place: Place) -> None:
        """Clean the next element of a data set."""
        tag, top = element.tag, place.path == ""
        pending = place.pending
        if pending and pending[0] <= tag:
            self._add_missing(place, tag)
            if pending and pending[0] == tag:
                pending.pop(0)
        if not tag & 0xFFFF or tag == _PADDING:
            place.changed = True
            return
        known = place.known
        raw = None
        if known is not None and element.end - element.start <= LONGEST:
            raw = self._data[element.start : element.end]
            same = known.elements.get(raw)
            if same is not None and (same.cut is None or same.cut is self._values.cut):
                self._do_again(same, place)
                return
        if tag == CHARACTER_SET:
            place.codecs = character_set(self._source.value(element))
            known = place.known = self._known(place) if top else None
        if raw is not None and known is not None and _may_be_remembered(tag, place):
            written = self._clean_and_remember(known, raw, element, place)
        else:
            written = self._clean_element(element, place)
        if written is not None and not written:
            place.changed = True
            return
        if top:
            self._tags.append(tag)
            if tag in REQUIRED and tag not in self._names:
                self._keep_name(tag, self._source.value(element))
        if written is not None:
            place.write(written)
        elif tag in PIXEL_TAGS and top and element.vr in _PIXEL_VRS and element.items is None:
            place.write([self._view[element.start : element.end]])
        else:
            place.copy(element, joined=tag not in PIXEL_TAGS)

    def _clean_run(self, run: PlacedRun, place: Place) -> None:
        """Clean elements that earlier instances held too.

        What becomes of them follows from their bytes and from what :meth:`_known` asks for, as it does for a single
        element: no run has part of a private group, or the character set. That goes for what is added in between, too.
        """
        self._add_missing(place, run.first)
        known, values = place.known, self._values
        same = known.runs.get(run.raw) if known is not None else None
        if same is not None and (same.cut is None or same.cut is values.cut):
            self._do_again(same, place)
            while place.pending and place.pending[0] <= run.last:
                place.pending.pop(0)
            return
        place.flush()
        chunks, changes, tags = len(place.chunks), len(self._changes), len(self._tags)
        names, mappings = set(self._names), values.mappings
        values.start_watching()
        place.known = None  # each element is worked out, for its part in the watch
        for element in run.elements:
            self._clean_next(element, place)
        place.flush()
        place.known = known
        new, values.mappings = values.mappings, mappings
        mappings.update(new)
        if known is not None and not values.of_instance and len(known.runs) < MOST_RUNS:
            known.runs[run.raw] = Known(
                b"".join(place.chunks[chunks:]),
                tuple(self._tags[tags:]),
                tuple(self._changes[changes:]),
                new,
                values.cut if values.cut_used else None,
                {tag: name for tag, name in self._names.items() if tag not in names},
            )

    def _do_again(self, same: Known, place: Place) -> None:
        """Do what was done for an earlier instance."""
        self._changes += same.changes
        self._values.mappings.update(same.mappings)
        self._names.update(same.names)
        self._tags += same.tags
        place.write([same.written] if same.written else ())

    def _known(self, place: Place) -> Remembered:
        """Return what became of elements of instances for which the same holds in all that an element can tell."""
        identity = self._identity
        who = (identity.patient_id, identity.issuer, identity.study, identity.series)
        return self._memory.elements((self._plan, self._pixels.looked_at, place.encoding, place.codecs, *who))

    def _clean_and_remember(self, known: Remembered, raw: bytes, element: Element, place: Place) -> list[Part] | None:
        """Clean an element, and remember the result unless it holds for this instance only."""
        values = self._values
        noted, mappings = len(self._changes), values.mappings
        values.start_watching()
        written = self._clean_element(element, place)
        new, values.mappings = values.mappings, mappings
        mappings.update(new)
        if not values.of_instance and len(known.elements) < MOST_ELEMENTS:
            tag = element.tag
            result = raw if written is None else b"".join(written)
            cut = values.cut if values.cut_used else None
            names = {}
            if tag in REQUIRED and result:
                if written is None:
                    self._keep_name(tag, self._source.value(element))
                names[tag] = self._names[tag]
            tags = (tag,) if result else ()
            known.elements[raw] = Known(result, tags, tuple(self._changes[noted:]), new, cut, names)
        return written

    def _clean_element(self, element: Element, place: Place) -> list[Part] | None:
        """Clean one element; return what is written, nothing at all if it goes, None if it stays as it is."""
        tag, path, level, encoding = element.tag, place.path, place.level, place.encoding
        decision = level.decide(tag, element.vr, element.creator, element.items is not None)
        if (
            decision.rule is not None
            and _is_creator(tag)
            and self._block_spared(element, place.elements, level, decision)
        ):
            decision = Decision(Action.KEEP, element.vr)
        if place.dropped and tag & 0xFFFF >= 0x1000 and (tag & 0xFFFF0000 | tag >> 8 & 0xFF) in place.dropped:
            decision = Decision(Action.REMOVE, element.vr)
        rule = place.here.get(tag)
        prevails = decision.by_profile or decision.action not in (Action.REMOVE, Action.EMPTY)
        if rule is not None and prevails and not (isinstance(rule, AddTags) and not rule.overwrite):
            set_to = encoded(rule, encoding, place.codecs)
            self._note(path, tag, "set")
            if path == "":
                self._keep_name(tag, set_to)
            return [self._element(tag, rule.vr, set_to, encoding)]
        if decision.action is Action.KEEP:
            if element.items is None:
                return None
            adds = place.deeper.get(tag, ())
            return self._clean_items(element, decision.below, encoding, place.codecs, adds, path)
        if decision.action is Action.REMOVE:
            self._note(path, tag, "removed")
            if _is_creator(tag):
                place.dropped.add(tag)
            return []
        value, action = self._values.new(element, decision, place.codecs, top=path == "")
        if action is not None:
            self._note(path, tag, action)
        if _is_creator(tag) and not value:
            place.dropped.add(tag)
            return []
        if value is None:
            return None
        if path == "":
            self._keep_name(tag, value)
        return [self._element(tag, element.vr, value, encoding, decision.vr)]

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
        adds: Adds | tuple[()],
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

    def _added(self, tag: int, place: Place) -> bytes | None:
        """Write an element that the instance lacks; None if it is not to be there."""
        extra = self._added_element(tag, place)
        if extra is not None and place.path == "":
            self._tags.append(tag)
        return extra

    def _added_element(self, tag: int, place: Place) -> bytes | None:
        level, encoding, codecs, path = place.level, place.encoding, place.codecs, place.path
        rule = place.here.get(tag)
        if rule is not None:
            decision = level.decide(tag, rule.vr, None, rule.vr == "SQ")
            deleted = not decision.by_profile
            if deleted and decision.action is Action.REMOVE:
                return None
            value = b"" if deleted and decision.action is Action.EMPTY else encoded(rule, encoding, codecs)
            self._note(path, tag, "added")
            if path == "":
                self._keep_name(tag, value)
            return self._element(tag, rule.vr, value, encoding)
        # A sequence that is absent is made if one of its items is named by number; "every item" of nothing is nothing.
        decision = level.decide(tag, "SQ", None, True)
        if decision.below is None:
            return None
        named = [(steps[1:], inner) for steps, inner in place.deeper.get(tag, ()) if steps[0].item == 0]
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


def _is_creator(tag: int) -> bool:
    """Tell whether an element reserves a private block (PS3.5 7.8.1)."""
    return bool(tag & 0x00010000) and 0x10 <= tag & 0xFFFF <= 0xFF


def _may_be_remembered(tag: int, place: Place) -> bool:
    """Tell whether what becomes of a top-level element depends on nothing but its bytes, the plan and the patient."""
    # Private elements depend on their creator; the instance's own UID never comes again.
    special = tag & 0x00010000 or tag in (SOP_INSTANCE, CHARACTER_SET) or tag in PIXEL_TAGS
    return not special and tag not in place.here and tag not in place.deeper


def _as_parts(chunks: list[Part]) -> list[Part]:
    """Join what lies between views."""
    parts: list[Part] = []
    for view, run in itertools.groupby(chunks, lambda chunk: isinstance(chunk, memoryview)):
        if view:
            parts += run
        else:
            parts.append(b"".join(run))
    return parts
