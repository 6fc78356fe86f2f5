"""The research Orthanc's own API, for those whose profiles open paths of it.

What arrives is matched and sent in one form only (`normalised_path`), with the headers listed here and the gateway's
own credentials. What Orthanc answers passes as it is, errors too, but for cookies and addresses.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from contextlib import AsyncExitStack
from urllib.parse import urljoin, urlsplit

from rpacs_hub._orthanc import raw_chunks
from rpacs_hub.gateway._exchange import ApiError, Call, Reply, Route
from rpacs_hub.gateway.viewer_addresses import without_token
from rpacs_hub.permissions import Action, OrthancPath, normalised_path, overrides_method

__all__ = ["ROUTES", "pass_on"]

_BELOW = "orthanc"
_LONGEST_QUERY = 8000

_REQUEST_HEADERS = (
    *("Accept", "Accept-Language", "Content-Type", "Content-Encoding", "Content-Length"),
    *("If-Match", "If-None-Match", "If-Modified-Since", "Range"),
)
"""What is passed on. Not among them: cookies, tokens, who asks for whom, and ``X-HTTP-Method-Override``, with which
Orthanc would take a GET for a DELETE."""

_ANSWER_HEADERS = (
    *("Content-Disposition", "Content-Encoding", "Content-Language", "Content-Range", "Accept-Ranges"),
    *("ETag", "Last-Modified", "Allow"),
)


async def proxy(call: Call) -> Reply:
    """Pass a request with a Hub token on to Orthanc; see `pass_on`."""
    return await pass_on(call, f"/api/v1/{_BELOW}", urlsplit(call.base).path + _BELOW)


async def pass_on(call: Call, marker: str, public: str) -> Reply:
    """Pass a request on to Orthanc if a profile opens its path.

    Parameters
    ----------
    call
        The request.
    marker
        What Orthanc's path comes after, in the request's own.
    public
        The path that stands for Orthanc's root at this address, without a slash at its end.

    Raises
    ------
    ApiError
        404 where no profile does, 400 for an address that has more than one reading.
    """
    method = call.event.method
    raw, _, query = call.target.partition("?")
    below = raw[raw.index(marker) + len(marker) :]
    if not call.decide(Action.ORTHANC, OrthancPath(method, None)).allowed:
        raise _not_found()
    try:
        path = normalised_path(below or "/")
    except ValueError as error:
        call.event.decision, call.event.profiles = "denied", []
        call.event.why = [f"The path {error}."]
        raise ApiError(
            400,
            "path_invalid",
            "This path cannot be passed on.",
            "Write it plainly, each character encoded at most once.",
        ) from None
    call.event.path, call.event.query = without_token(f"{public}{path}")[:500], query[:500] or None
    if not call.decide(Action.ORTHANC, OrthancPath(method, path)).allowed:
        raise _not_found()
    if len(query) > _LONGEST_QUERY or not query.isascii() or not query.isprintable() or overrides_method(query):
        call.event.decision, call.event.profiles = "denied", []
        call.event.why = ["The query string is too long, or asks for another method."]
        raise ApiError(
            400,
            "query_string_invalid",
            "This query string cannot be passed on.",
            "Send the method that is meant itself.",
        )
    if method not in ("GET", "HEAD"):
        await _note_change(call)
    return await _answer(call, method, path, query, public)


async def _note_change(call: Call) -> None:
    """Write a line before anything changes; another one, with what came of it, follows before the answer leaves."""
    before = copy.deepcopy(call.event)
    before.why = [*before.why, "Passed on to Orthanc; the next line of this request says what came of it."]
    await call.services.audit.write(before)


async def _answer(call: Call, method: str, path: str, query: str, public: str) -> Reply:
    headers = {name: value for name in _REQUEST_HEADERS if (value := call.headers.get(name))}
    headers["Accept-Encoding"] = "identity"  # compressing pixels costs Orthanc a factor of twenty
    target = f"{path}?{query}" if query else path
    response = await call.services.orthanc.relay(method, target, headers, call.stream)
    stack = AsyncExitStack()
    stack.push_async_callback(response.aclose)
    length = response.headers.get("Content-Length", "")
    reply = Reply(
        status=response.status_code,
        stream=raw_chunks(response),
        length=int(length) if length.isdigit() else None,
        content_type=response.headers.get("Content-Type", "application/octet-stream"),
        headers=_answer_headers(response.headers, call.services.orthanc.root, path, public),
        close=stack,
    )
    if response.status_code in (204, 304):
        reply.stream, reply.body, reply.length = None, b"", None
    return reply


def _answer_headers(headers: Mapping[str, str], root: str, path: str, public: str) -> dict[str, str]:
    kept = {name: headers[name] for name in _ANSWER_HEADERS if name in headers}
    for name in ("Location", "Content-Location"):
        address = urljoin(urljoin(root, path.lstrip("/")), headers[name]) if name in headers else ""
        # An address elsewhere would lead past the gateway, so nobody is sent there.
        if address.startswith(root):
            kept[name] = f"{public}/{address.removeprefix(root)}"
    return kept


def _not_found() -> ApiError:
    return ApiError(404, "not_found", "There is no such address.", "See openapi.yaml for those that are.")


ROUTES = tuple(
    Route(method, f"{_BELOW}/{{path}}", proxy, Action.ORTHANC, streams=True)
    for method in ("GET", "POST", "PUT", "DELETE")
)
