"""The export panel: a form, and the list of past exports with where each stands."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
import traitlets

from rpacs._client import Client
from rpacs._frames import KEYS, check_level
from rpacs._jobs import ExportStatus
from rpacs.widgets._panel import Panel

__all__ = ["ExportPanel"]

_SHOWN = 20  # of the past exports, newest first


class ExportPanel(Panel, script="export"):
    """Starts exports and follows them.

    Keys are passed on and not kept: neither in a trait (which would be saved in the notebook) nor in this object.

    Parameters
    ----------
    client : Client
        The connection.

    Attributes
    ----------
    query, level : str
        What "all results" means.
    total : int
        How many rows those are; -1 if not known.
    selected : list of str
        Keys of the rows that are ticked.
    """

    query = traitlets.Unicode("").tag(sync=True)
    level = traitlets.Unicode("series").tag(sync=True)
    total = traitlets.Int(-1).tag(sync=True)
    selected = traitlets.List(traitlets.Unicode()).tag(sync=True)

    def __init__(self, client: Client) -> None:
        self._client = client
        super().__init__()

    def actions(self) -> dict[str, Callable[..., Any]]:
        """See `Panel.actions`."""
        return {
            "servers": self._servers,
            "list": self._list,
            "start": self._start,
            "cancel": self._cancel,
            "resume": self._resume,
        }

    def _servers(self) -> list[str]:
        """Return the S3 servers beside Amazon's that exports may go to."""
        return [str(url) for url in self._client.me().limits.get("s3_endpoints") or ()]

    def _list(self) -> list[dict[str, Any]]:
        return [_plain(s) for s in self._client.export_statuses()[:_SHOWN]]

    def _start(
        self,
        scope: str,
        destination: str,
        format: str,  # noqa: A002 - the gateway's own word
        credentials: dict[str, str],
        endpoint_url: str = "",
        region: str = "",
    ) -> dict[str, Any]:
        level = check_level(self.level)
        what = self.query if scope == "query" else pd.Index(self.selected, name=KEYS[level])
        job = self._client.export(
            what,
            destination,
            credentials=credentials,
            format=format,
            level=level,
            endpoint_url=endpoint_url or None,
            region=region or None,
        )
        return {"id": job.id}

    def _cancel(self, id: str) -> None:  # noqa: A002
        self._client.job(id).cancel()

    def _resume(self, id: str, credentials: dict[str, str]) -> None:  # noqa: A002
        self._client.job(id).resume(credentials)


def _plain(status: ExportStatus) -> dict[str, Any]:
    return {
        "id": status.id,
        "state": status.state,
        "level": status.level,
        "query": status.query if status.raw.get("query") is not None else None,
        "destination": status.destination,
        "format": status.format,
        "total": status.total,
        "done": status.done,
        "failed": status.failed,
        "bytes": status.bytes,
        "message": status.message,
        "hint": status.hint,
        "resumable": status.resumable,
        "created": status.created.isoformat() if status.created else "",
    }
