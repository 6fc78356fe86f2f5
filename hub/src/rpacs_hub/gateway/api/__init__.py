"""The addresses below ``api/v1/``."""

from rpacs_hub.gateway._exchange import Route
from rpacs_hub.gateway.api import exports, health, instances, me, search

__all__ = ["ROUTES"]

ROUTES: tuple[Route, ...] = (*health.ROUTES, *me.ROUTES, *search.ROUTES, *instances.ROUTES, *exports.ROUTES)
"""Every address, in the order of openapi.yaml."""
