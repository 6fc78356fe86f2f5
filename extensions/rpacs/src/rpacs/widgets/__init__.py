"""Widgets for notebooks and pages. Scripts and styles are packaged; nothing is fetched from other hosts.

`Browser` is the whole workbench; its parts can be used alone, each with a `rpacs.Client`.
"""

from __future__ import annotations

from rpacs.widgets.browser import Browser
from rpacs.widgets.export import ExportPanel
from rpacs.widgets.grid import ResultsGrid
from rpacs.widgets.permissions import PermissionsPanel
from rpacs.widgets.problem import Problem
from rpacs.widgets.query import QueryBox
from rpacs.widgets.viewer import Viewer

__all__ = ["Browser", "ExportPanel", "PermissionsPanel", "Problem", "QueryBox", "ResultsGrid", "Viewer"]
