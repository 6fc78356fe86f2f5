"""The addresses below ``api/v1/``."""

from rpacs_hub.gateway import dicomweb
from rpacs_hub.gateway._exchange import Route
from rpacs_hub.gateway.api import explain, exports, health, instances, me, orthanc, query_help, search, viewer_addresses

__all__ = ["ROUTES"]

ROUTES: tuple[Route, ...] = (
    *health.ROUTES,
    *me.ROUTES,
    *search.ROUTES,
    *query_help.ROUTES,
    *explain.ROUTES,
    *instances.ROUTES,
    *exports.ROUTES,
    *viewer_addresses.ROUTES,
    *dicomweb.ROUTES,
    *orthanc.ROUTES,
)
"""Every address, in the order of openapi.yaml."""
