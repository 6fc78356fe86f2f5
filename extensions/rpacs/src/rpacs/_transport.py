"""HTTP to the gateway: one session, one place where an answer becomes a value or an error.

The token is held here and nowhere else. It is sent in a header, never in an address, and appears in no ``repr``, error
or log line.
"""

from __future__ import annotations

import re
import time
from typing import Any, Final
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.util.retry import Retry

from rpacs._errors import (
    BadRequest,
    Forbidden,
    NotFound,
    NotLoggedIn,
    QueryError,
    ReasonRequired,
    RpacsError,
    Unavailable,
)

__all__ = ["Transport"]

_CONNECT_TIMEOUT: Final = 5.0
_READ_TIMEOUT: Final = 120.0
_RETRIES: Final = 3
_REASON_LIMIT: Final = 500


class _TokenAuth(requests.auth.AuthBase):
    """Puts the token on requests; its ``repr`` tells nothing."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"token {self._token}"
        return request

    def __repr__(self) -> str:
        return "<token>"


class Transport:
    """Requests to the gateway's API.

    Parameters
    ----------
    url : str
        Address of the gateway, such as ``https://hub.example.org/services/pacs/``; the API lies under ``api/v1/``.
    token : str
        The user's own token of the hub.
    reason : str, optional
        Why the data are accessed; sent as ``X-Access-Reason`` and written to the audit log.
    timeout : float, optional
        Seconds that a single answer may take.

    Notes
    -----
    A GET that fails before an answer arrives, or is answered 502, 503 or 504, is tried again up to three times within
    about two seconds, and so is a POST that only asks (`post` with ``safe=True``), once. Nothing else is repeated: an
    export must not start twice.
    """

    def __init__(self, url: str, token: str, reason: str | None = None, timeout: float = _READ_TIMEOUT) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.netloc or "@" in parts.netloc:
            raise RpacsError(
                "The gateway's address must start with http:// or https:// and hold no user name.",
                "On the hub it comes from the environment variable RPACS_URL.",
            )
        self.url = url.rstrip("/") + "/"
        self._timeout = timeout
        self._session = requests.Session()
        # Neither ~/.netrc nor a proxy variable may replace the token or send it elsewhere.
        self._session.trust_env = False
        self._session.auth = _TokenAuth(token)
        retry = Retry(
            total=_RETRIES,
            status=_RETRIES,
            backoff_factor=0.2,
            allowed_methods={"GET"},
            status_forcelist=(502, 503, 504),
            raise_on_status=False,
            redirect=0,
        )
        adapter = HTTPAdapter(max_retries=retry, pool_maxsize=8)
        self._session.mount("http://", adapter)
        self._session.mount("https://", adapter)
        self._reason = ""
        self.set_reason(reason)

    def __repr__(self) -> str:
        return f"Transport({self.url!r})"

    @property
    def reason(self) -> str:
        """Why the data are accessed; empty when none was given."""
        return self._reason

    def set_reason(self, reason: str | None) -> None:
        """Set the reason that goes with every request from now on.

        Parameters
        ----------
        reason : str or None
            At most 500 characters on one line; ``None`` or empty sends none.

        Raises
        ------
        RpacsError
            If it is longer or holds control characters.
        """
        reason = (reason or "").strip()
        if len(reason) > _REASON_LIMIT or not reason.isprintable():
            raise RpacsError(f"A reason for access is one line of at most {_REASON_LIMIT} characters.")
        self._reason = reason

    def get(self, path: str, **params: object) -> Any:
        """GET ``api/v1/<path>`` and return the decoded JSON.

        Parameters
        ----------
        path : str
            Path below ``api/v1/``.
        **params : object
            Query parameters; ``None`` values are left out.

        Returns
        -------
        Any
            The decoded JSON.

        Raises
        ------
        RpacsError
            One of its subclasses, by the answer's status.
        """
        # An error in a query points into its text.
        return self._json(self._send("GET", path, params=params, query=str(params.get("query") or "")))

    def get_bytes(self, path: str, **params: object) -> tuple[bytes, str]:
        """GET ``api/v1/<path>`` and return the body and its content type."""
        response = self._send("GET", path, params=params)
        return response.content, response.headers.get("Content-Type", "").split(";")[0]

    def post(self, path: str, body: dict[str, Any], *, query: str = "", safe: bool = False) -> Any:
        """POST JSON to ``api/v1/<path>`` and return the decoded JSON.

        Parameters
        ----------
        path : str
            Path below ``api/v1/``.
        body : dict
            What is sent, as JSON.
        query : str, optional
            The query text inside `body`, for an error that points into it.
        safe : bool, optional
            Whether the request changes nothing, so that a dropped connection may be answered by asking once more.

        Returns
        -------
        Any
            The decoded JSON.
        """
        return self._json(self._send("POST", path, body=body, query=query, safe=safe))

    def delete(self, path: str) -> Any:
        """DELETE ``api/v1/<path>`` and return the decoded JSON, or ``None`` for an empty answer."""
        return self._json(self._send("DELETE", path))

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def _send(
        self,
        method: str,
        path: str,
        *,
        params: dict[str, object] | None = None,
        body: dict[str, Any] | None = None,
        query: str = "",
        safe: bool = False,
    ) -> requests.Response:
        headers: dict[str, str | bytes] = {}
        if path.startswith("instances/"):
            headers["Accept-Encoding"] = "identity"  # pixels do not compress; zipping them costs more than the wire
        if self._reason:
            headers["X-Access-Reason"] = self._reason.encode()  # UTF-8, which is ASCII where the text is
        started = time.monotonic()
        tries = 2 if safe else 1
        while True:
            tries -= 1
            try:
                response = self._session.request(
                    method,
                    f"{self.url}api/v1/{path}",
                    params={k: str(v) for k, v in (params or {}).items() if v is not None},
                    json=body,
                    headers=headers,
                    timeout=(_CONNECT_TIMEOUT, self._timeout),
                    allow_redirects=False,
                )
            except requests.Timeout:
                what = f"did not answer within {time.monotonic() - started:.0f} seconds"
                break
            except requests.RequestException:
                if tries:
                    continue
                what = "cannot be reached"
                break
            if response.ok and not response.is_redirect:
                return response
            raise _error_of(response, query)
        # Raised outside "except": the text of requests' errors names internal addresses and helps no researcher.
        raise Unavailable(
            f"The image gateway {what}.",
            "Try again in a minute. If it stays so, tell your administrator that the service 'pacs' is down.",
            code="unreachable",
        )

    @staticmethod
    def _json(response: requests.Response) -> Any:
        if response.status_code == 204 or not response.content:
            return None
        try:
            return response.json()
        except ValueError:
            raise Unavailable(
                "The image gateway answered with something that is not JSON.",
                "Check the address: it should end in /services/pacs/.",
                code="not_json",
            ) from None


def _error_of(response: requests.Response, query: str) -> RpacsError:
    """Return the error that an answer stands for."""
    try:
        body = response.json()
    except ValueError:
        body = {}
    if not isinstance(body, dict):
        body = {}
    status = response.status_code
    message = str(body.get("message") or "")
    hint = str(body.get("hint") or "")
    hint = hint[:1].upper() + hint[1:]
    code = str(body.get("error") or "")
    request_id = response.headers.get("X-Request-Id", "")
    if code == "query_invalid":
        expected = body.get("expected") or ()
        # The error says the position itself, beside a caret; once is enough.
        message = re.sub(r" ?\(at character \d+\)$", "", message)
        return QueryError(
            message or "The query is not valid.",
            hint,
            query=query,
            position=int(body.get("position") or 0),
            expected=(expected,) if isinstance(expected, str) else tuple(str(e) for e in expected),
            request_id=request_id,
        )
    kind: type[RpacsError]
    if status == 401 or 300 <= status < 400:
        kind = NotLoggedIn
        message = message or "The hub does not accept this server's token."
        hint = hint or "Log in again, then stop and start your server from the hub's home page."
    elif status == 403:
        kind, message = ReasonRequired if code == "reason_required" else Forbidden, message or "You may not do this."
    elif status == 404:
        kind, message = NotFound, message or "Not found, or not among what you may see."
    elif status == 429 or status >= 500:
        kind = Unavailable
        message = message or f"The image gateway answered with an error ({status})."
        hint = hint or "Try again in a minute. If it stays so, tell your administrator."
    else:
        kind, message = BadRequest, message or f"The image gateway refused the request ({status})."
    return kind(message, hint, code=code, request_id=request_id)
