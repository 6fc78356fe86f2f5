"""The whole workbench: query, results, viewer and exports on one page."""

from __future__ import annotations

from typing import Any

import ipywidgets  # type: ignore[import-untyped]

from rpacs._client import Client
from rpacs.widgets.export import ExportPanel
from rpacs.widgets.grid import ResultsGrid
from rpacs.widgets.permissions import PermissionsPanel
from rpacs.widgets.query import QueryBox
from rpacs.widgets.viewer import Viewer

__all__ = ["Browser"]


class Browser(ipywidgets.VBox):  # type: ignore[misc]
    """Composes the widgets: a query fills the results, a row opens in the viewer, ticked rows are exported.

    Parameters
    ----------
    client : Client
        The connection.
    query, level : str, optional
        What it starts with.

    Attributes
    ----------
    permissions, query, results, viewer, export
        The parts, each a widget of its own.
    """

    def __init__(self, client: Client, query: str = "", level: str = "series") -> None:
        self.permissions = PermissionsPanel(client)
        self.query = QueryBox(client, query, level)
        self.results = ResultsGrid(client)
        self.viewer = Viewer(client)
        self.export = ExportPanel(client)
        main = ipywidgets.HBox([self.results, self.viewer])
        main.add_class("rpacs-main")
        super().__init__([self.permissions, self.query, main, self.export])
        self.add_class("rpacs-browser")
        self.query.observe(self._run, "runs")
        self.results.observe(self._open, "active")
        self.results.observe(self._selection, ["selected", "total", "query", "level"])
        self.permissions.observe(self._allowed, "profiles")
        self.permissions.observe(self._reasoned, "reason")
        self._run()

    def _run(self, _: Any = None) -> None:
        self.viewer.clear()
        self.results.show(self.query.query, self.query.level)

    def _reasoned(self, _: Any) -> None:
        # What was refused for want of a reason is asked again.
        if self.permissions.asked:
            self._run()

    def _open(self, change: dict[str, Any]) -> None:
        if change["new"]:
            self.viewer.show(self.results.level, change["new"])

    def _selection(self, _: Any) -> None:
        with self.export.hold_sync():
            self.export.query, self.export.level = self.results.query, self.results.level
            self.export.total, self.export.selected = self.results.total, self.results.selected

    def _allowed(self, change: dict[str, Any]) -> None:
        self.results.allowed = change["new"] != 0
