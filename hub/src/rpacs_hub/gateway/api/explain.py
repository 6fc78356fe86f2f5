"""Why do I see this? The answer for the person who asks, about what she sees."""

from __future__ import annotations

from rpacs_hub.gateway._exchange import ApiError, Call, Reply, Route
from rpacs_hub.permissions import Action, Instance, explain

__all__ = ["ROUTES"]


async def explain_uid(call: Call) -> Reply:
    """Say by which profiles the caller sees an instance, a series or a study.

    Raises
    ------
    ApiError
        404, in the same words whether it does not exist or may not be seen: why not would tell that it exists.
    """
    uid = str(call.parameters(("uid",)).get("uid") or "")
    if not uid:
        raise ApiError(
            400, "request_invalid", "uid is missing.", "Give a SOPInstanceUID, SeriesInstanceUID or StudyInstanceUID."
        )
    call.event.identifiers = [uid[:128]]
    permissions, index = call.services.permissions.current, call.services.index
    found = await explain(index, permissions, call.actor, uid)
    if found is None:
        await _note_refusal(call, uid)
        raise ApiError(
            404,
            "not_found",
            "There is no such instance, series or study, or you may not see it.",
            "Search to see which there are.",
        )
    call.event.level, call.event.count = found.level, found.instances
    call.event.why = [reason.text for reason in found.reasons]
    call.event.profiles = [reason.profile for reason in found.reasons if reason.allows]
    return Reply(
        json={
            "uid": uid,
            "level": found.level,
            "instances": found.instances,
            "text": found.words(),
            "reasons": [
                {
                    "profile": reason.profile,
                    "via": {"users": list(reason.users), "groups": list(reason.groups)},
                    "instances": reason.instances,
                    "text": reason.text,
                }
                for reason in found.reasons
            ],
        }
    )


async def _note_refusal(call: Call, uid: str) -> None:
    """Put into the audit line what the answer must not tell."""
    call.event.decision, call.event.why = "denied", ["It does not exist, or none of it may be seen."]
    for instance in await call.services.index.instances(uid) if len(uid) <= 128 else ():
        call.decide(Action.EXPLAIN, Instance(uid, instance.document))


ROUTES = (Route("GET", "explain", explain_uid, Action.EXPLAIN),)
