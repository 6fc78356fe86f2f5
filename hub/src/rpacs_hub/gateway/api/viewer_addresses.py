"""Short-lived personal addresses of DICOMweb: made, listed and revoked here, used below ``view/``."""

from __future__ import annotations

from typing import Any

from rpacs_hub.gateway._exchange import ApiError, Call, Reply, Route, known_keys
from rpacs_hub.gateway.dicomweb.matching import equals
from rpacs_hub.gateway.viewer_addresses import MAX_STUDIES
from rpacs_hub.index import Level, Search
from rpacs_hub.permissions import Action, Collection

__all__ = ["ROUTES"]

_DEFAULT_MINUTES = 60


async def create(call: Call) -> Reply:
    """Make an address for the user who asks."""
    values = known_keys(call.body, ("studies", "minutes"), "The body")
    longest = call.services.settings.viewer_minutes
    if longest <= 0:
        raise ApiError(403, "addresses_off", "Personal addresses are switched off here.", "Ask your administrator.")
    minutes = _minutes(values.get("minutes"), longest)
    studies = _studies(values.get("studies"))
    call.event.identifiers = studies or []
    call.decide(Action.MAKE_ADDRESS, Collection())
    if studies:
        await _check_visible(call, studies)
    address, token = await call.services.viewer_addresses.create(call.actor.name, studies, minutes, call.event.reason)
    call.event.via = str(address.id)
    call.event.count = 1
    url = f"{call.base}view/{token}/dicom-web"
    return Reply(201, {**address.to_json(), "url": url})


def _minutes(value: Any, longest: float) -> float:
    if value is None:
        return min(_DEFAULT_MINUTES, longest)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 1 <= value <= longest:
        raise ApiError(
            400, "request_invalid", f"minutes must be a number from 1 to {longest:g}.", "Leave it out for an hour."
        )
    return float(value)


def _studies(value: Any) -> list[str] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(uid, str) and 0 < len(uid) <= 128 for uid in value):
        raise ApiError(400, "request_invalid", "studies must be a list of StudyInstanceUIDs.", "Leave it out for all.")
    if not 1 <= len(value) <= MAX_STUDIES:
        raise ApiError(
            400, "request_invalid", f"studies must name 1 to {MAX_STUDIES} studies.", "Leave it out for all."
        )
    if any("\0" in uid for uid in value):
        raise ApiError(400, "request_invalid", "A UID holds a NUL character.")
    return list(dict.fromkeys(value))


async def _check_visible(call: Call, studies: list[str]) -> None:
    wanted = Search(equals("StudyInstanceUID", *studies), Level.STUDY, ("StudyInstanceUID",), limit=1000)
    page = await call.services.index.search(wanted, call.visible())
    missing = set(studies) - {row["StudyInstanceUID"] for row in page.rows}
    if missing:
        call.event.decision = "denied"
        call.event.why = [f"{len(missing)} of {len(studies)} studies do not exist or may not be seen."]
        raise ApiError(
            404,
            "not_found",
            f"{len(missing)} of the {len(studies)} studies do not exist, or you may not see them.",
            "No address was made. Search to see which there are.",
        )


async def addresses(call: Call) -> Reply:
    """List the user's open addresses, newest first, without their secrets."""
    call.parameters(())
    found = await call.services.viewer_addresses.list(call.actor.name)
    call.event.count = len(found)
    return Reply(json={"addresses": [address.to_json() for address in found]})


async def revoke(call: Call) -> Reply:
    """Close an address at once."""
    call.parameters(())
    call.event.identifiers = [call.path["id"][:64]]
    address = await call.services.viewer_addresses.revoke(call.actor.name, call.path["id"])
    if address is None:
        raise ApiError(404, "not_found", "You have no such open address.", "It may have ended already.")
    return Reply(json=address.to_json())


ROUTES = (
    Route("POST", "viewer-address", create, Action.MAKE_ADDRESS),
    Route("GET", "viewer-address", addresses, Action.LIST_ADDRESSES),
    Route("DELETE", "viewer-address/{id}", revoke, Action.REVOKE_ADDRESS),
)
