"""Which instances an address names, of those that its visitor may see."""

from __future__ import annotations

import dicom_query
from rpacs_hub.errors import NotAnImage
from rpacs_hub.gateway._exchange import ApiError, Call
from rpacs_hub.gateway.dicomweb.accept import Wanted, parse_accept
from rpacs_hub.gateway.dicomweb.matching import equals
from rpacs_hub.index import Entity, IndexedInstance, Level
from rpacs_hub.permissions import Action, Collection, Instance

__all__ = [
    "MAX_INSTANCES",
    "address_of",
    "check_size",
    "instances_below",
    "not_found",
    "one_instance",
    "scope",
    "wanted",
]

MAX_INSTANCES = 50_000
"""Instances of one study or series that are handed out in one answer."""

_LONGEST_UID = 128


def wanted(call: Call) -> list[Wanted]:
    """Return what is acceptable; the parameter ``accept`` stands in for the header (PS3.18 section 8.3.3.1)."""
    return parse_accept(call.arguments.get("accept") or call.accept)


def scope(call: Call) -> list[dicom_query.Node]:
    """Return the conditions of the personal address that is used, none for a request with a token of its own."""
    if call.address is None or call.address.studies is None:
        return []
    return [equals("StudyInstanceUID", *call.address.studies)]


def _in_scope(call: Call, study_uid: str) -> bool:
    return call.address is None or call.address.studies is None or study_uid in call.address.studies


def not_found(level: str) -> ApiError:
    """Return the answer for what does not exist or may not be seen: the same words."""
    return ApiError(
        404, "not_found", f"There is no such {level}, or you may not see it.", "Search to see which there are."
    )


async def one_instance(call: Call, action: Action) -> IndexedInstance:
    """Return the instance of the address ``studies/{study}/series/{series}/instances/{instance}``.

    Raises
    ------
    ApiError
        404 where it does not exist, may not be seen, or belongs to another study or series.
    """
    study, series, uid = call.path["study"], call.path["series"], call.path["instance"]
    call.event.identifiers = [uid[:_LONGEST_UID]]
    if len(uid) <= _LONGEST_UID and _in_scope(call, study):
        for instance in await call.services.index.instances(uid):
            if (instance.study_uid, instance.series_uid) != (study, series):
                continue
            if call.decide(action, Instance(uid, instance.document)).allowed:
                return instance
    if not call.event.why:
        call.event.decision, call.event.why = "denied", ["There is no such instance in the index."]
    raise not_found("instance")


async def instances_below(call: Call, action: Action) -> list[IndexedInstance]:
    """Return the visible instances of the study or series of the address, sorted by series.

    Raises
    ------
    ApiError
        404 where there is none.
    SearchRefused
        There are more than `MAX_INSTANCES`.
    """
    study, series = call.path["study"], call.path.get("series")
    uid, level = (study, Level.STUDY) if series is None else (series, Level.SERIES)
    call.event.identifiers, call.event.level = [uid[:_LONGEST_UID]], level
    call.decide(action, Collection())
    found: list[IndexedInstance] = []
    if len(uid) <= _LONGEST_UID and _in_scope(call, study):
        below = await call.services.index.select(call.visible(), entities=[Entity(level, uid)], limit=MAX_INSTANCES)
        found = [one for one in below if one.study_uid == study]
    if not found:
        call.event.decision, call.event.why = "denied", ["It does not exist, or none of it may be seen."]
        raise not_found(level)
    call.event.count = len(found)
    return found


def address_of(call: Call, instance: IndexedInstance) -> str:
    """Return the absolute address of an instance, under which it can be fetched the way this call came."""
    return (
        f"{call.base}dicom-web/studies/{instance.study_uid}/series/{instance.series_uid}/instances/{instance.sop_uid}"
    )


def check_size(call: Call, instance: IndexedInstance) -> None:
    """Refuse to take a file apart that is too large for the memory.

    Raises
    ------
    NotAnImage
        It is larger than the setting allows.
    """
    limit = call.services.settings.render_limit_bytes
    if instance.bytes > limit:
        raise NotAnImage(f"The file is larger than {limit >> 20} MB.", "Retrieve the whole instance instead.")
