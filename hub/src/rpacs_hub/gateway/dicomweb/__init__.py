"""DICOMweb (PS3.18): QIDO-RS and WADO-RS below ``api/v1/dicom-web/``, within what the visitor may see; read only.

``matching`` keys to conditions · ``attributes`` what an answer holds · ``search`` QIDO-RS · ``found`` which instances
an address names · ``retrieve`` files and ``metadata`` headers · ``pixels`` frames, bulk data, pictures · ``accept`` and
``multipart`` the forms of answers.
"""

from __future__ import annotations

from rpacs_hub.gateway._exchange import ApiError, Call, Endpoint, Reply, Route
from rpacs_hub.gateway.dicomweb import pixels, retrieve, search
from rpacs_hub.permissions import Action

__all__ = ["ROUTES"]


async def _read_only(call: Call) -> Reply:
    raise ApiError(
        405,
        "method_not_allowed",
        f"{call.event.method} is not possible here: this DICOMweb service is read only.",
        "Images come in through the de-identification service. Use GET.",
    )


async def _not_offered(_: Call) -> Reply:
    raise ApiError(
        501, "not_implemented", "Worklists (UPS-RS) are not offered.", "Search (QIDO-RS) and retrieve (WADO-RS) are."
    )


def _get(path: str, endpoint: Endpoint, action: Action) -> Route:
    return Route("GET", f"dicom-web/{path}", endpoint, action, by_address=True)


_STUDY = "studies/{study}"
_SERIES = "studies/{study}/series/{series}"
_INSTANCE = "studies/{study}/series/{series}/instances/{instance}"

ROUTES = (
    _get("studies", search.search_studies, Action.SEARCH),
    _get("series", search.search_series, Action.SEARCH),
    _get("instances", search.search_instances, Action.SEARCH),
    _get(f"{_STUDY}/series", search.search_series, Action.SEARCH),
    _get(f"{_STUDY}/instances", search.search_instances, Action.SEARCH),
    _get(f"{_SERIES}/instances", search.search_instances, Action.SEARCH),
    _get(_STUDY, retrieve.retrieve_below, Action.READ_FILE),
    _get(_SERIES, retrieve.retrieve_below, Action.READ_FILE),
    _get(_INSTANCE, retrieve.instance, Action.READ_FILE),
    _get(f"{_STUDY}/metadata", retrieve.metadata_below, Action.READ_TAGS),
    _get(f"{_SERIES}/metadata", retrieve.metadata_below, Action.READ_TAGS),
    _get(f"{_INSTANCE}/metadata", retrieve.instance_metadata, Action.READ_TAGS),
    _get(f"{_INSTANCE}/frames/{{frames}}", pixels.frames, Action.READ_FRAME),
    _get(f"{_INSTANCE}/bulkdata/{{element}}", pixels.bulk_data, Action.READ_FRAME),
    _get(f"{_INSTANCE}/rendered", pixels.rendered, Action.READ_FRAME),
    _get(f"{_INSTANCE}/frames/{{frames}}/rendered", pixels.rendered_frame, Action.READ_FRAME),
    _get(f"{_STUDY}/thumbnail", pixels.thumbnail_below, Action.READ_FRAME),
    _get(f"{_SERIES}/thumbnail", pixels.thumbnail_below, Action.READ_FRAME),
    _get(f"{_INSTANCE}/thumbnail", pixels.thumbnail, Action.READ_FRAME),
    _get(f"{_INSTANCE}/frames/{{frames}}/thumbnail", pixels.thumbnail, Action.READ_FRAME),
    Route("POST", "dicom-web/studies", _read_only, Action.UNKNOWN, by_address=True),
    Route("POST", "dicom-web/studies/{study}", _read_only, Action.UNKNOWN, by_address=True),
    Route("GET", "dicom-web/workitems", _not_offered, Action.UNKNOWN, by_address=True),
    Route("POST", "dicom-web/workitems", _not_offered, Action.UNKNOWN, by_address=True),
)
"""Every address of the service, in the order of openapi.yaml."""
