"""Exports: asked for here, carried out by `rpacs_hub.exports`.

What may be exported is decided when the export is asked for, and again when it is resumed.
"""

from __future__ import annotations

from rpacs_hub.errors import DatabaseUnavailable
from rpacs_hub.exports import Exporter, ExportRequest, InstanceRef, parse_credentials, parse_request
from rpacs_hub.gateway._exchange import ApiError, Call, Reply, Route, known_keys
from rpacs_hub.gateway.api.me import MAX_EXPORT_INSTANCES
from rpacs_hub.gateway.api.search import parse_query
from rpacs_hub.index import Entity, IndexedInstance, Level
from rpacs_hub.permissions import Action, Collection

__all__ = ["ROUTES"]


def _exporter(call: Call) -> Exporter:
    if call.services.exporter is None:
        raise DatabaseUnavailable("Exports are not ready yet.", "Try again in a minute.")
    return call.services.exporter


async def submit(call: Call) -> Reply:
    """Take an export in: the selected instances that the user may see, with the user's own S3 keys."""
    exporter = _exporter(call)
    request = parse_request(call.body, call.services.settings.s3_endpoints)
    call.event.query, call.event.level = request.query, request.level
    call.event.identifiers = [selection.uid for selection in request.uids[:1000]]
    call.decide(Action.EXPORT, Collection())
    instances = await _select(call, request)
    call.event.count = len(instances)
    refs = [
        InstanceRef(one.orthanc_id, one.patient_id, one.study_uid, one.series_uid, one.sop_uid, size=one.bytes)
        for one in instances
    ]
    export = await exporter.submit(call.actor.name, refs, request)
    return Reply(202, export.to_json())


async def _select(call: Call, request: ExportRequest) -> list[IndexedInstance]:
    index, visible = call.services.index, call.visible()
    if request.query is not None:
        query = parse_query(request.query)
        return await index.select(visible, query=query, level=Level(request.level), limit=MAX_EXPORT_INSTANCES)
    entities = [Entity(Level(selection.level), selection.uid) for selection in request.uids]
    found = await index.select(visible, entities=entities, limit=MAX_EXPORT_INSTANCES)
    seen = {
        (level, uid)
        for instance in found
        for level, uid in (
            (Level.PATIENT, instance.patient_id),
            (Level.STUDY, instance.study_uid),
            (Level.SERIES, instance.series_uid),
            (Level.INSTANCE, instance.sop_uid),
        )
    }
    missing = [entity for entity in entities if (entity.level, entity.uid) not in seen]
    if missing:
        call.event.decision = "denied"
        call.event.why = [*call.event.why, f"{len(missing)} of {len(entities)} do not exist or may not be seen."]
        raise ApiError(
            404,
            "not_found",
            f"{len(missing)} of the {len(entities)} named do not exist, or you may not see them.",
            f"The first is {missing[0].level} {missing[0].uid}. Nothing was exported.",
        )
    return found


async def exports(call: Call) -> Reply:
    """List the user's own exports, newest first."""
    call.parameters(())
    found = await _exporter(call).list(call.actor.name)
    call.event.count = len(found)
    return Reply(json={"exports": [export.to_json() for export in found]})


async def export(call: Call) -> Reply:
    """Return one export of the user."""
    call.parameters(())
    call.event.identifiers = [call.path["id"][:64]]
    return Reply(json=(await _exporter(call).get(call.actor.name, call.path["id"])).to_json())


async def cancel(call: Call) -> Reply:
    """Stop an export; what was sent stays."""
    call.parameters(())
    call.event.identifiers = [call.path["id"][:64]]
    return Reply(json=(await _exporter(call).cancel(call.actor.name, call.path["id"])).to_json())


async def resume(call: Call) -> Reply:
    """Go on with an export that was interrupted, with keys brought again."""
    call.event.identifiers = [call.path["id"][:64]]
    body = known_keys(call.body, ("credentials",), "The body")
    credentials = parse_credentials(body.get("credentials"))
    call.decide(Action.RESUME_EXPORT, Collection())
    visible, index = call.visible(), call.services.index
    found = await _exporter(call).resume(
        call.actor.name, call.path["id"], credentials, visible=lambda ids: index.visible_ids(ids, visible)
    )
    return Reply(202, found.to_json())


ROUTES = (
    Route("POST", "exports", submit, Action.EXPORT),
    Route("GET", "exports", exports, Action.LIST_EXPORTS),
    Route("GET", "exports/{id}", export, Action.READ_EXPORT),
    Route("DELETE", "exports/{id}", cancel, Action.CANCEL_EXPORT),
    Route("POST", "exports/{id}/resume", resume, Action.RESUME_EXPORT),
)
