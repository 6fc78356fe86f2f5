# ruff: noqa: N818 - the names are the words that a researcher reads
"""Every error that this package raises.

::

    RpacsError
    ├── NotLoggedIn          no token, or one that the hub no longer accepts (HTTP 401)
    ├── Forbidden            known user, action not allowed (HTTP 403)
    │   └── ReasonRequired   a profile asks why the images are needed, and no reason was given
    ├── NotFound             no such image, or none that you may see (HTTP 404)
    ├── BadRequest           the gateway refused the request's content (HTTP 400, 409, 413, 422)
    │   └── QueryError       the query text does not parse; has a position and a hint
    ├── Unavailable          the gateway, or what stands behind it, cannot be reached just now
    └── ExportError          an export ended otherwise than done; has the export's last status
        ├── ExportFailed
        ├── ExportInterrupted    the gateway restarted; resume it with credentials
        └── ExportCancelled

An error's text holds the message and, on a line of its own, what to do about it. No error holds a token or a
credential.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rpacs._jobs import ExportStatus

__all__ = [
    "BadRequest",
    "ExportCancelled",
    "ExportError",
    "ExportFailed",
    "ExportInterrupted",
    "Forbidden",
    "NotFound",
    "NotLoggedIn",
    "QueryError",
    "ReasonRequired",
    "RpacsError",
    "Unavailable",
]

_CARET_WIDTH = 100  # longer queries are shown as a window around the position


class RpacsError(Exception):
    """Base of all errors of this package.

    Parameters
    ----------
    message : str
        What went wrong, in words.
    hint : str, optional
        What to do about it.
    code : str, optional
        The gateway's short name of the error, such as ``"query_invalid"``.
    request_id : str, optional
        The gateway's number of the request, for the admin who looks it up.

    Attributes
    ----------
    message, hint, code, request_id : str
        As given; empty when absent.
    """

    def __init__(self, message: str, hint: str = "", *, code: str = "", request_id: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.code = code
        self.request_id = request_id

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message


class NotLoggedIn(RpacsError):
    """There is no token, or the hub does not accept it any more."""


class Forbidden(RpacsError):
    """The hub knows you, and this is not allowed."""


class ReasonRequired(Forbidden):
    """A profile asks why the images are needed. Set `Client.reason`, or pass ``rpacs.connect(reason=...)``."""


class NotFound(RpacsError):
    """No such image, series, study or export, or none that you may see: the gateway does not tell which."""


class BadRequest(RpacsError):
    """The gateway refused what was asked for, and asking again will not help."""


class QueryError(BadRequest):
    """The query text is wrong. Its text shows the query with a caret under the position.

    Parameters
    ----------
    message, hint, code, request_id : str
        As for `RpacsError`.
    query : str
        The text that was sent.
    position : int
        Index of the first wrong character in `query`, from 0; at most ``len(query)``.
    expected : tuple of str
        What could have stood there.
    """

    def __init__(
        self,
        message: str,
        hint: str = "",
        *,
        query: str = "",
        position: int = 0,
        expected: tuple[str, ...] = (),
        code: str = "query_invalid",
        request_id: str = "",
    ) -> None:
        super().__init__(message, hint, code=code, request_id=request_id)
        self.query = query
        self.position = max(0, min(position, len(query)))
        self.expected = expected

    def caret(self) -> str:
        """Return the line of the query that is wrong, and under it a caret.

        Returns
        -------
        str
            Two lines. Lines longer than 100 characters are cut around the position.
        """
        start = self.query.rfind("\n", 0, self.position) + 1
        end = self.query.find("\n", self.position)
        line = self.query[start : end if end >= 0 else len(self.query)]
        column = self.position - start
        if len(line) > _CARET_WIDTH:
            left = max(0, min(column - _CARET_WIDTH // 2, len(line) - _CARET_WIDTH))
            line = ("…" if left else "") + line[left : left + _CARET_WIDTH]
            column = column - left + (1 if left else 0)
        return f"{line}\n{' ' * column}^"

    def __str__(self) -> str:
        text = f"{self.message} (at character {self.position + 1})\n{self.caret()}" if self.query else self.message
        return f"{text}\n{self.hint}" if self.hint else text


class Unavailable(RpacsError):
    """The gateway did not answer, or answered that a part behind it is down. Trying again later may help."""


class ExportError(RpacsError):
    """An export did not end as done.

    Parameters
    ----------
    message, hint : str
        As for `RpacsError`.
    status : ExportStatus
        The export's last known status.
    """

    def __init__(self, message: str, hint: str = "", *, status: ExportStatus) -> None:
        super().__init__(message, hint, code=f"export_{status.state}")
        self.status = status


class ExportFailed(ExportError):
    """The export stopped with an error, such as a bucket that may not be written."""


class ExportInterrupted(ExportError):
    """The gateway was restarted while the export ran. `Job.resume` continues where it stopped."""


class ExportCancelled(ExportError):
    """The export was cancelled."""
