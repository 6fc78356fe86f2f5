"""The one tornado handler: recognises, answers, writes the audit line, and only then sends."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import secrets
import time
import traceback
from collections.abc import Awaitable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tornado import web
from tornado.http1connection import HTTP1Connection
from tornado.httputil import HTTPServerRequest
from tornado.iostream import StreamClosedError

from rpacs_hub.audit import AuditEvent
from rpacs_hub.errors import (
    AuditUnavailable,
    DatabaseUnavailable,
    FrameMissing,
    HubError,
    HubUnavailable,
    NotAnImage,
    OrthancError,
    OrthancMissing,
    OrthancUnavailable,
    PipelineAbsent,
    RenderError,
    RequestRefused,
    SearchRefused,
    SearchTooSlow,
)
from rpacs_hub.exports import ExportConflict, ExportError, ExportNotFound
from rpacs_hub.gateway._body import BodyStream
from rpacs_hub.gateway._exchange import ApiError, Call, Reply, Route
from rpacs_hub.gateway.auth import bearer_token
from rpacs_hub.gateway.viewer_addresses import ViewerAddress, without_token
from rpacs_hub.people import PeopleError
from rpacs_hub.permissions import Action, Actor

if TYPE_CHECKING:
    from rpacs_hub.gateway.app import Services

__all__ = ["ApiHandler", "error_reply"]

_log = logging.getLogger(__name__)

MAX_BODY = 4 << 20
_LARGEST_STREAM = 64 << 30  # bytes of a body that is passed on and never held
_NOBODY = Actor("")
_REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{8,64}")

# What shows no image: that a reason is asked for, and how one's own exports are.
_WITHOUT_REASON = frozenset({Action.ME, Action.UNKNOWN, Action.LIST_EXPORTS, Action.READ_EXPORT, Action.CANCEL_EXPORT})

_STATUS: tuple[tuple[type[HubError], int, str], ...] = (
    (SearchTooSlow, 503, "search_too_slow"),
    (DatabaseUnavailable, 503, "database_unavailable"),
    (OrthancUnavailable, 503, "archive_unavailable"),
    (OrthancMissing, 404, "not_found"),
    (OrthancError, 502, "archive_error"),
    (HubUnavailable, 503, "hub_unavailable"),
    (PipelineAbsent, 503, "pipeline_absent"),
    (RequestRefused, 409, "request_refused"),
    (AuditUnavailable, 503, "audit_unavailable"),
    (FrameMissing, 404, "frame_not_found"),
    (NotAnImage, 422, "not_an_image"),
    (RenderError, 400, "picture_invalid"),
)


def error_reply(error: HubError) -> Reply:
    """Return the answer for an error: ``{error, message, hint}`` and a status that fits."""
    extra: Mapping[str, Any] = {}
    if isinstance(error, ApiError):
        status, code, extra = error.status, error.code, error.extra
    elif isinstance(error, SearchRefused):
        status, code = 400, error.code
    elif isinstance(error, ExportError):
        status = 404 if isinstance(error, ExportNotFound) else 409 if isinstance(error, ExportConflict) else 400
        status = {"too_many_exports": 429, "exporter_stopped": 503}.get(error.code, status)
        code = error.code
    elif isinstance(error, PeopleError):
        status, code = error.status, error.code
    else:
        status, code = next(((s, c) for kind, s, c in _STATUS if isinstance(error, kind)), (500, "internal_error"))
    reply = Reply(status, {"error": code, "message": error.message, "hint": error.hint, **extra})
    if status == 401:
        reply.headers["WWW-Authenticate"] = 'Bearer realm="research PACS"'
    if status == 503:
        reply.headers["Retry-After"] = "5"
    return reply


@web.stream_request_body
class ApiHandler(web.RequestHandler):
    """Answers every address of the API, and every other one with 404."""

    def initialize(self, services: Services, routes: Mapping[str, Route]) -> None:
        """Take the routes of this address by HTTP method; none for an unknown address."""
        self.services = services
        self.routes = routes
        self.started = time.monotonic()
        self.chunks: list[bytes] = []
        self.received = 0
        self.request_id = secrets.token_hex(8)
        self.stream: BodyStream | None = None
        self.serving: asyncio.Task[None] | None = None

    def prepare(self) -> None:
        """Begin with a request whose body is passed on as it comes; the others wait until it is there."""
        route = self.routes.get(self.request.method or "")
        if route is not None and route.streams:
            connection = self.request.connection
            if isinstance(connection, HTTP1Connection):
                connection.set_max_body_size(_LARGEST_STREAM)
            self.stream = BodyStream()
            self.serving = asyncio.create_task(self._respond({}))

    def on_connection_close(self) -> None:
        """Give up what waits for the rest of a body."""
        super().on_connection_close()
        if self.serving is not None and self.stream is not None and not self.stream.ended:
            self.serving.cancel()

    def set_default_headers(self) -> None:
        """Leave out the server's name; keep images out of every cache."""
        self.clear_header("Server")
        self.set_header("Cache-Control", "no-store")
        self.set_header("X-Content-Type-Options", "nosniff")
        # A page that shows what came from here must not tell others the address: it may be a personal one.
        self.set_header("Referrer-Policy", "no-referrer")

    def check_xsrf_cookie(self) -> None:
        """Do nothing: cookies are no credentials here."""

    def compute_etag(self) -> str | None:
        """Give no digest of an answer: nothing of it stays in a cache, so nothing has to be compared."""
        return None

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        """Collect the body up to a limit; the rest is read and dropped, so that the answer can be sent."""
        self.received += len(chunk)
        if self.stream is not None:
            return self.stream.put(chunk)
        if self.received <= MAX_BODY:
            self.chunks.append(chunk)
        else:
            self.chunks.clear()
        return None

    async def _serve(self, **path: str) -> None:
        if self.serving is None or self.stream is None:
            await self._respond(path)
            return
        await self.stream.put(None)
        await self.serving

    async def _respond(self, path: Mapping[str, str]) -> None:
        method = self.request.method or ""
        route = self.routes.get(method)
        if method == "OPTIONS" and self._allow_origin():
            await self._preflight()
            return
        self._allow_origin()
        event = AuditEvent(
            self.request_id,
            remote=self.request.remote_ip or "",
            method=method,
            path=without_token(self.request.path)[:500],
            action=str(route.action if route and route.action else Action.UNKNOWN),
            reason=_header(self.request, "X-Access-Reason"),
        )
        try:
            reply = await self.answer(route, event, path)
        except web.HTTPError:
            # tornado's own: parameters that are no UTF-8, for one.
            reply = self.error_answer(ApiError(400, "request_invalid", "The request cannot be understood."))
            event.decision = "error"
        except HubError as error:
            reply = self.error_answer(error)
            event.decision = "denied" if reply.status in (401, 403) or event.decision == "denied" else "error"
            event.why = event.why or [error.message]
        except Exception as error:  # noqa: BLE001 - whatever happened, the caller gets JSON and no details
            _log.error("request %s failed: %s at %s", self.request_id, type(error).__name__, _where(error))
            event.decision = "error"
            reply = self.error_answer(None)
        try:
            body = _encode(reply)
            event.status = reply.status
            event.bytes = reply.length if reply.stream is not None else len(body)
            event.milliseconds = round((time.monotonic() - self.started) * 1000, 1)
            audited = route is None or route.action is not None
            if audited and event.user is None and reply.status in (302, 401, 403, 404):
                audited = self.services.refusals.keep(event.remote)
            if audited:
                try:
                    await self.services.audit.write(event)
                except AuditUnavailable as error:
                    if reply.close is not None:
                        await reply.close.aclose()
                    reply = self.error_answer(error)
                    body = _encode(reply)
            await self._send(reply, body)
        finally:
            if reply.close is not None:
                await reply.close.aclose()

    get = post = put = patch = delete = head = options = _serve

    def error_answer(self, error: HubError | None) -> Reply:
        """Return the answer for an error; None = an unforeseen one, of which the caller learns its number only."""
        return _internal(self.request_id) if error is None else error_reply(error)

    async def answer(self, route: Route | None, event: AuditEvent, path: Mapping[str, str]) -> Reply:
        """Recognise who asks and let the route's endpoint answer.

        Parameters
        ----------
        route
            Of this address and method, None if there is none.
        event
            The audit line in the making.
        path
            The variable parts of the path.

        Raises
        ------
        HubError
            The answer is an error; see `error_answer`.
        """
        actor, address = _NOBODY, None
        names = self.request.arguments
        if route is None or route.action is not None:
            actor, address = await self._recognised(event, path, names)
            event.user, event.groups = actor.name, sorted(actor.groups)
            # Whoever was recognised may ask; what comes of it is decided below.
            event.decision = "allowed"
        route = self.existing(route)
        everything = self.query_values(path)
        body = self._body() if event.method == "POST" and not (route.by_address or route.streams) else None
        call = Call(
            self.services,
            actor,
            {name: value for name, value in path.items() if name != "token"},
            {name: values[-1].strip() for name, values in everything.items()},
            body,
            event,
            all_arguments=everything,
            accept=",".join(self.request.headers.get_list("Accept")),
            base=self._base(path.get("token")),
            address=address,
            target=self.request.uri or "",
            headers=self.request.headers,
            stream=aiter(self.stream) if self.stream is not None and self._has_body() else None,
        )
        if route.action is not None and route.action not in _WITHOUT_REASON:
            call.require_reason()
        return await route.endpoint(call)

    def existing(self, route: Route | None) -> Route:
        """Return the route if there is one.

        Raises
        ------
        ApiError
            404 for an unknown address, 405 for another method.
        """
        if not self.routes:
            raise ApiError(404, "not_found", "There is no such address.", "See openapi.yaml for those that are.")
        if route is None:
            allowed = ", ".join(sorted(self.routes))
            raise ApiError(405, "method_not_allowed", f"{self.request.method} is not possible here.", f"Use {allowed}.")
        return route

    def query_values(self, path: Mapping[str, str]) -> dict[str, list[str]]:
        """Return the parameters of the query string, every one.

        Raises
        ------
        ApiError
            400 for a NUL character in them or in `path`.
        """
        everything = {name: self.get_query_arguments(name, strip=False) for name in self.request.query_arguments}
        if any("\0" in value for values in (*everything.values(), path.values()) for value in values):
            raise ApiError(400, "request_invalid", "The address holds a NUL character.")
        return everything

    async def _recognised(
        self, event: AuditEvent, path: Mapping[str, str], names: Iterable[str]
    ) -> tuple[Actor, ViewerAddress | None]:
        """Return who asks, by a Hub token in the header or by the personal address itself."""
        if "token" not in path:
            token = bearer_token(self.request.headers.get("Authorization"), names)
            return await self.services.authenticator.actor(token), None
        address = await self.services.viewer_addresses.open(path["token"])
        if address is None:
            event.why = ["There is no such personal address, or it has ended or was revoked."]
            raise _no_address()
        event.via, event.reason = str(address.id), event.reason or address.reason
        try:
            return await self.services.authenticator.person(address.user), address
        except ApiError:
            # Its owner is gone: nobody is left to whom anything may be shown.
            event.user, event.why = address.user, ["The owner of the personal address is no user of the Hub."]
            raise _no_address() from None

    def _base(self, token: str | None) -> str:
        """Return the absolute address of the API as this client reaches it."""
        settings = self.services.settings
        root = settings.public_url or f"{self.request.protocol}://{self.request.host}{settings.service_prefix}"
        return f"{root}api/v1/" + (f"view/{token}/" if token else "")

    def _allow_origin(self) -> bool:
        """Let a configured web viewer read the answers of DICOMweb (CORS); return whether it is one."""
        origin = self.request.headers.get("Origin")
        if not any(route.by_address for route in self.routes.values()):
            return False
        if self.services.settings.viewer_origins:
            self.set_header("Vary", "Origin")
        if origin not in self.services.settings.viewer_origins:
            return False
        self.set_header("Access-Control-Allow-Origin", origin)
        self.set_header("Access-Control-Expose-Headers", "Content-Type, Warning, X-Request-Id, X-Total-Count")
        return True

    async def _preflight(self) -> None:
        """Answer what a browser asks before a request with a header of its own; nothing of the data is in it."""
        self.set_status(204)
        self.set_header("Access-Control-Allow-Methods", "GET")
        self.set_header("Access-Control-Allow-Headers", "Accept, Authorization, X-Access-Reason")
        self.set_header("Access-Control-Max-Age", "600")
        await self.finish()

    def body(self) -> bytes:
        """Return the body of a request whose route does not stream.

        Raises
        ------
        ApiError
            413 for one that is too large.
        """
        if self.received > MAX_BODY:
            raise ApiError(
                413, "body_too_large", f"The body is larger than {MAX_BODY >> 20} MB.", "Send a query instead."
            )
        return b"".join(self.chunks)

    def content_type(self) -> str:
        """Return the media type of the body, without parameters."""
        return self.request.headers.get("Content-Type", "").partition(";")[0].strip().lower()

    def _body(self) -> Any:
        body = self.body()
        if self.content_type() != "application/json":
            raise ApiError(415, "not_json", "The body must be JSON.", "Send the header Content-Type: application/json.")
        try:
            return json.loads(body or b"null") or {}
        except (ValueError, RecursionError):
            raise ApiError(400, "not_json", "The body is not valid JSON.") from None

    def _has_body(self) -> bool:
        headers = self.request.headers
        return "Transfer-Encoding" in headers or headers.get("Content-Length", "0") != "0"

    async def _drop_body(self) -> None:
        """Read what is left of a body, so that the client hears the answer; of a large one, end the connection."""
        if self.stream is None:
            return
        length = self.request.headers.get("Content-Length", "0" if not self._has_body() else "")
        if length.isdigit() and int(length) <= MAX_BODY:
            await self.stream.drop()
        self.stream.close()

    async def _send(self, reply: Reply, body: bytes) -> None:
        await self._drop_body()
        self.set_status(reply.status)
        self.set_header("X-Request-Id", self.request_id)
        self.set_header("Content-Type", reply.content_type)
        for name, value in reply.headers.items():
            self.set_header(name, value)
        if reply.status == 204:
            self.clear_header("Content-Type")
        if reply.status == 405:
            self.set_header("Allow", ", ".join(sorted(self.routes)))
        try:
            if reply.stream is None:
                await self.finish(body or None)
                return
            if reply.length is not None:
                self.set_header("Content-Length", str(reply.length))
            # flush() ends when the socket has taken the bytes: a slow reader slows the reading from Orthanc.
            async for chunk in reply.stream:
                self.write(chunk)
                await self.flush()
            await self.finish()
        except StreamClosedError:
            _log.info("request %s: the client went away", self.request_id)
        except (HubError, asyncio.CancelledError, web.HTTPError, OSError) as error:
            # The status has left already; only a cut connection can tell the client that the file is not whole.
            _log.error("request %s: the answer was cut short (%s)", self.request_id, type(error).__name__)
            stream = getattr(self.request.connection, "stream", None)
            if stream is not None:
                stream.close()

    def write_error(self, status_code: int, **kwargs: Any) -> None:  # noqa: ARG002 - tornado's signature
        """Answer in JSON what tornado itself refuses."""
        self.set_header("X-Request-Id", self.request_id)
        self.set_header("Content-Type", "application/json; charset=utf-8")
        if status_code >= 500:
            self.finish(_encode(_internal(self.request_id)))
        else:
            body = {"error": "request_invalid", "message": "The request cannot be understood.", "hint": ""}
            self.finish(json.dumps(body))

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:  # noqa: ARG002 - tornado's signature
        """Log kind and place of an error; its words may quote data."""
        if isinstance(value, Exception) and not isinstance(value, web.HTTPError):
            _log.error("request %s failed: %s at %s", self.request_id, type(value).__name__, _where(value))


def _no_address() -> ApiError:
    return ApiError(
        404,
        "address_invalid",
        "This personal address does not exist, has ended or was revoked.",
        "Make a new one: in a notebook, rpacs.connect().viewer_address().",
    )


def _internal(request_id: str) -> Reply:
    return Reply(
        500,
        {
            "error": "internal_error",
            "message": "Something went wrong inside the gateway.",
            "hint": f"Tell your administrator the request's number: {request_id}.",
        },
    )


def _encode(reply: Reply) -> bytes:
    if reply.stream is not None:
        return b""
    if reply.body is not None:
        return reply.body
    return json.dumps(reply.json, ensure_ascii=False, separators=(",", ":"), default=str).encode("utf-8", "replace")


def _header(request: HTTPServerRequest, name: str) -> str | None:
    value = request.headers.get(name)
    if not value:
        return None
    # Header bytes reach us as Latin-1 (RFC 9110 section 5.5); clients send text as UTF-8.
    return value.encode("latin-1", "replace").decode("utf-8", "replace")[:500]


def _where(error: Exception) -> str:
    """Return the places of the last calls, without any value."""
    frames = traceback.extract_tb(error.__traceback__)[-4:]
    return " < ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in reversed(frames))
