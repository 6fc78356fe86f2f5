"""What becomes of the values of elements."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, lru_cache
from typing import Final

from deid_service._memory import Memory, Replacement
from deid_service.descriptors import PatientIdentifiers, clean_text, identifiers_of
from deid_service.outcomes import Mapping
from deid_service.profiles.table import Option
from deid_service.profiles.values import CapAge, CleanText, Dummy
from deid_service.pseudonyms import PseudonymKey, is_registered_uid
from deid_service.rules import Action
from deid_service.rules.compile import Decision, Plan
from deid_service.transforms import Identity, RandomizeText, RandomizeUID, ReuseMapping, ShiftDateTime
from deid_service.wire import TEXT_VRS, Element, Source, decode, encode, split_values

__all__ = ["PATIENT_ID", "NewValues"]

PATIENT_ID: Final = 0x00100020


class NewValues:
    """Works out new values for one instance.

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

    Attributes
    ----------
    mappings : dict
        For the journal, by kind, scope and original: those of the whole instance, or since `start_watching`.
    patient : PatientIdentifiers or None
        All identifiers of the instance, if they were asked for.
    cut_used : bool
        Whether a value since `start_watching` depends on `cut`.
    of_instance : bool
        Whether a value since `start_watching` would be another one in another instance of the same series.
    """

    def __init__(self, source: Source, plan: Plan, key: PseudonymKey, identity: Identity, memory: Memory) -> None:
        self._source = source
        self._plan = plan
        self._key = key
        self._identity = identity
        self._memory = memory
        self._offsets: dict[tuple[int, str], tuple[str, int, Mapping]] = {}
        self.mappings: dict[tuple[str, str, str], Mapping] = {}
        self.patient: PatientIdentifiers | None = None
        self.cut_used = self.of_instance = False

    def start_watching(self) -> None:
        """Collect the mappings of one element, and what its value depends on."""
        self.mappings = {}
        self.cut_used = self.of_instance = False

    def new(
        self, element: Element, decision: Decision, codecs: tuple[str, ...], *, top: bool
    ) -> tuple[bytes | None, str | None]:
        """Work out an element's new value.

        Parameters
        ----------
        element : Element
            The element; not one that stays or goes as a whole.
        decision : Decision
            What to do with its value.
        codecs : tuple of str
            The character set that holds for it.
        top : bool
            Whether it stands at the top level.

        Returns
        -------
        value : bytes or None
            Not padded; None to keep the old one (a registered UID).
        action : str or None
            What was done, for the report; None if nothing was.
        """
        rule, vr = decision.rule, decision.vr
        if decision.action is Action.EMPTY:
            return b"", "emptied"
        if element.value_start == element.value_end:
            return None, None
        if isinstance(rule, Dummy) and vr not in TEXT_VRS:
            return rule.numbers(element.value_end - element.value_start), "replaced"
        if vr not in TEXT_VRS:
            # Text was asked for where there is none (numbers, bytes, unknown): a token would be garbage there.
            return b"", "emptied"
        if isinstance(rule, CleanText):
            return self._cleaned(element, codecs)
        value = self._source.value(element)
        patient_id = top and element.tag == PATIENT_ID
        known = (id(rule), vr, value, codecs, patient_id, self._depends_on(rule, vr))
        found = self._memory.get(known)
        if found is None:
            found = self._work_out(rule, vr, split_values(decode(value, codecs), vr), patient_id=patient_id)
            self._memory.keep(known, found)
        self.mappings.update(found.mappings)
        return found.value, None if found.value is None else found.action

    def _depends_on(self, rule: object, vr: str) -> tuple[object, ...]:
        """Return what else than rule and value decides a new value."""
        match rule:
            case ShiftDateTime():
                unit, amount, moved = self._offsets.get((id(rule), vr)) or self._offset(rule, vr)
                self.mappings[(moved.kind, moved.scope, moved.original)] = moved
                self.of_instance |= moved.scope.startswith("instance:")
                return unit, amount
            case RandomizeText() if vr != "UI":
                self.of_instance |= rule.reuse is ReuseMapping.SAME_INSTANCE
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
                unit, amount, _ = self._offsets[(id(rule), vr)]
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

    def _cleaned(self, element: Element, codecs: tuple[str, ...]) -> tuple[bytes | None, str | None]:
        """Cut the patient's own identifiers out of a text that stays."""
        old = split_values(decode(self._source.value(element), codecs), element.vr)
        self.cut_used = True
        new = [clean_text(value, self.cut) for value in old]
        if new == old:
            return None, None
        if not any(new):
            return b"REMOVED", "cleaned"  # a text that must not be empty is not
        # What the instance's own character set cannot hold was not read by it either: it goes.
        return encode("\\".join(new), codecs) or b"", "cleaned"

    @cached_property
    def cut(self) -> PatientIdentifiers:
        """What is cut out of texts that stay."""
        if self._plan.policy is not None and Option.RETAIN_FULL_DATES in self._plan.policy.options:
            return identifiers_of(self._source, dates=False)
        self.patient = identifiers_of(self._source)
        return self.patient

    def _new_uid(self, value: str, key: PseudonymKey) -> str:
        return value if not value or is_registered_uid(value) else key.uid(value, self._plan.uid_root)

    def _offset(self, rule: ShiftDateTime, vr: str) -> tuple[str, int, Mapping]:
        """Return by what a rule moves this instance's values of one VR."""
        unit, scope, amount = rule.offset(vr, self._key, self._identity)
        moved = Mapping("date_offset", _scope_name(scope), "/".join(scope), f"{amount} {unit}")
        self._offsets[(id(rule), vr)] = unit, amount, moved
        return unit, amount, moved


@lru_cache(maxsize=1024)
def _scope_name(scope: tuple[str, ...]) -> str:
    # Escaped, so that no two scopes look alike whatever a Patient ID holds.
    return ":".join(part.replace("%", "%25").replace(":", "%3A") for part in scope)
