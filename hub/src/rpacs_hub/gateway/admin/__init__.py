"""Pages for administrators, below ``admin/``: each module of a page has ``ROUTES`` and its place, ``NAV``."""

from rpacs_hub.gateway._exchange import Route
from rpacs_hub.gateway.admin import (
    audit,
    exports,
    files,
    groups,
    overview,
    pipeline,
    profiles,
    quarantine,
    users,
    who_sees,
)
from rpacs_hub.gateway.admin._handler import CALLBACK, CallbackHandler, PageHandler
from rpacs_hub.gateway.admin._page import NavEntry

__all__ = ["CALLBACK", "NAVIGATION", "ROUTES", "CallbackHandler", "PageHandler"]

_PAGES = (overview, users, groups, profiles, who_sees, audit, exports, pipeline, quarantine, files)

NAVIGATION: tuple[NavEntry, ...] = tuple(module.NAV for module in _PAGES)
"""The pages, in the order of the navigation."""

ROUTES: tuple[Route, ...] = tuple(route for module in _PAGES for route in module.ROUTES)
"""Every address below ``admin/``, in the order of openapi.yaml."""
