"""Find, look at and export de-identified DICOM images from a notebook.

>>> import rpacs
>>> pacs = rpacs.connect(reason="IRB 2026-041")  # doctest: +SKIP
>>> series = pacs.search("Modality StrEquals CT")  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rpacs._addresses import ViewerAddress
from rpacs._client import Client, connect
from rpacs._credentials import Credentials
from rpacs._errors import (
    BadRequest,
    ExportCancelled,
    ExportError,
    ExportFailed,
    ExportInterrupted,
    Forbidden,
    NotFound,
    NotLoggedIn,
    QueryError,
    ReasonRequired,
    RpacsError,
    Unavailable,
)
from rpacs._explanation import Explanation, Reason
from rpacs._frames import Level
from rpacs._jobs import ExportStatus, Job
from rpacs._me import Me, Profile
from rpacs._slices import Slice

if TYPE_CHECKING:
    from rpacs.widgets import Browser, Problem

__all__ = [
    "BadRequest",
    "Client",
    "Credentials",
    "Explanation",
    "ExportCancelled",
    "ExportError",
    "ExportFailed",
    "ExportInterrupted",
    "ExportStatus",
    "Forbidden",
    "Job",
    "Level",
    "Me",
    "NotFound",
    "NotLoggedIn",
    "Profile",
    "QueryError",
    "Reason",
    "ReasonRequired",
    "RpacsError",
    "Slice",
    "Unavailable",
    "ViewerAddress",
    "browser",
    "connect",
]

__version__ = "0.1.0"


def browser(url: str | None = None, token: str | None = None, reason: str | None = None) -> Browser | Problem:
    """Return the workbench as a widget, or one that says why there is none: for pages whose readers see no code.

    Parameters
    ----------
    url, token, reason : str, optional
        As for `connect`.

    Returns
    -------
    Browser or Problem
        Show it as the last line of a cell.
    """
    from rpacs.widgets import Problem

    try:
        return connect(url, token, reason).browser()
    except RpacsError as error:
        return Problem(error)
