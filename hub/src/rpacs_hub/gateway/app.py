"""The gateway: puts the parts together and serves them as a service that JupyterHub starts."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import psycopg
import psycopg_pool
from tornado import web
from tornado.httpserver import HTTPServer

from rpacs_hub._orthanc import Orthanc
from rpacs_hub._parent import end_with_parent
from rpacs_hub._quiet import quiet_pydicom
from rpacs_hub.audit import AuditWriter, Refusals, Verifier
from rpacs_hub.errors import HubError
from rpacs_hub.exports import Exporter
from rpacs_hub.gateway._exchange import Route
from rpacs_hub.gateway._handler import ApiHandler
from rpacs_hub.gateway.admin import CALLBACK, NAVIGATION, CallbackHandler, PageHandler
from rpacs_hub.gateway.admin import ROUTES as ADMIN_ROUTES
from rpacs_hub.gateway.api import ROUTES
from rpacs_hub.gateway.auth import Authenticator, HubAuthenticator
from rpacs_hub.gateway.dicomweb.search import Positions
from rpacs_hub.gateway.explorer import explorer_handlers
from rpacs_hub.gateway.explorer_addresses import ExplorerAddresses
from rpacs_hub.gateway.sessions import Sessions, hub_oauth
from rpacs_hub.gateway.viewer_addresses import ViewerAddresses, without_token
from rpacs_hub.index import Index
from rpacs_hub.people import UserPool
from rpacs_hub.permissions import PermissionsStore
from rpacs_hub.rendering import Renderer, render
from rpacs_hub.settings import GatewaySettings

__all__ = ["Gateway", "Services", "serve"]

_log = logging.getLogger(__name__)

_COUNT = 5.0
"""Seconds between two looks at whether refusals are to be summed up."""

_RETRY = 3.0
_LARGEST_UPLOAD = 64 << 20


@dataclass
class Services:
    """The parts that endpoints use."""

    settings: GatewaySettings
    pool: psycopg_pool.AsyncConnectionPool[Any]
    index: Index
    orthanc: Orthanc
    permissions: PermissionsStore
    audit: AuditWriter
    refusals: Refusals
    renderer: Renderer
    authenticator: Authenticator
    sessions: Sessions
    user_pool: UserPool | None
    viewer_addresses: ViewerAddresses
    explorer_addresses: ExplorerAddresses
    positions: Positions
    verifier: Verifier
    exporter: Exporter | None = None

    async def database_answers(self) -> bool:
        """Whether the database answers within a few seconds."""
        try:
            async with self.pool.connection(timeout=3) as connection:
                await connection.execute("SELECT 1")
        except (psycopg.Error, psycopg_pool.PoolTimeout):
            return False
        return True


class Gateway:
    """One running gateway.

    It starts whatever is down: what needs the missing part answers 503 until that is back.

    Parameters
    ----------
    settings
        Addresses and limits.
    authenticator
        Tells who holds a token; None = the Hub of the environment.
    """

    def __init__(self, settings: GatewaySettings, authenticator: Authenticator | None = None):
        quiet_pydicom()
        self.settings = settings
        pool: psycopg_pool.AsyncConnectionPool[Any] = psycopg_pool.AsyncConnectionPool(
            settings.database_url,
            min_size=1,
            max_size=12,
            timeout=10,
            # Plans that PostgreSQL makes once for all parameters are poor for containment in documents.
            kwargs={"autocommit": True, "prepare_threshold": None, "connect_timeout": 5},
            check=psycopg_pool.AsyncConnectionPool.check_connection,
            open=False,
            name="gateway",
        )
        authenticator = authenticator or HubAuthenticator.from_environment(settings.service_name, settings.admin_group)
        self.services = Services(
            settings=settings,
            pool=pool,
            index=Index(pool, timeout=settings.search_timeout),
            orthanc=Orthanc(settings.research_url, connections=32),
            permissions=PermissionsStore(settings.permissions, pool),
            audit=AuditWriter(pool, settings.audit_log),
            refusals=Refusals(),
            renderer=Renderer(settings.render_cache_bytes),
            authenticator=authenticator,
            sessions=Sessions(settings, authenticator, hub_oauth(settings)),
            user_pool=UserPool(settings.people.pool) if settings.people.pool else None,
            viewer_addresses=ViewerAddresses(pool),
            explorer_addresses=ExplorerAddresses(authenticator),
            positions=Positions(),
            verifier=Verifier(settings.database_url, settings.audit_log),
        )
        self._tasks: list[asyncio.Task[None]] = []
        self._server: HTTPServer | None = None

    async def start(self, port: int | None = None, host: str | None = None) -> None:
        """Open the pool and listen.

        Parameters
        ----------
        port, host
            Where; None = as ``JUPYTERHUB_SERVICE_URL`` says.
        """
        parts = urlsplit(self.settings.service_url)
        # The Hub's proxy says for whom it asks; nobody else reaches this address.
        self._server = HTTPServer(self.application(), xheaders=True, max_body_size=_LARGEST_UPLOAD)
        host = host or parts.hostname or "127.0.0.1"
        port = parts.port or 8100 if port is None else port
        # First of all: where the address is taken, nothing has been started that would have to be stopped again.
        self._server.listen(port, host)
        await self.services.pool.open(wait=False)
        self._tasks = [
            asyncio.create_task(work)
            for work in (self._watch_permissions(), self._start_exporter(), self._count_refusals())
        ]
        _log.info("gateway listens on %s:%d%s", host, port, self.settings.service_prefix)

    async def stop(self) -> None:
        """Finish: no new requests, exports interrupted, connections closed."""
        if self._server is not None:
            self._server.stop()
        await _end(self._tasks)
        if self.services.exporter is not None:
            with contextlib.suppress(psycopg.Error, psycopg_pool.PoolTimeout, HubError):
                await self.services.exporter.stop()
        if self._server is not None:
            await self._server.close_all_connections()
        await self._write_refusals(now=True)
        await self.services.verifier.close()
        self.services.renderer.close()
        self.services.audit.close()
        await self.services.authenticator.close()
        if self.services.user_pool is not None:
            self.services.user_pool.close()
        await self.services.orthanc.close()
        await self.services.pool.close()

    def application(self) -> web.Application:
        """Return the tornado application with every address of the API and of the administration."""
        by_path: dict[str, dict[str, Route]] = {}
        for route in ROUTES:
            by_path.setdefault(route.pattern, {})[route.method] = route
            if route.by_address:
                by_path.setdefault("view/(?P<token>[^/]+)/" + route.pattern, {})[route.method] = route
        base = f"{self.settings.service_prefix}api/v1/"
        handlers: list[Any] = [
            (base + pattern, ApiHandler, {"services": self.services, "routes": routes})
            for pattern, routes in by_path.items()
        ]
        handlers += self._pages()
        unknown: Mapping[str, Any] = {"services": self.services, "routes": {}}
        return web.Application(
            handlers,
            default_handler_class=ApiHandler,
            default_handler_args=dict(unknown),
            log_function=_log_request,
            compress_response=False,
            cookie_secret=self.services.sessions.secret,
        )

    def _pages(self) -> list[Any]:
        by_path: dict[str, dict[str, Route]] = {}
        for route in ADMIN_ROUTES:
            by_path.setdefault(f"admin/{route.pattern}", {})[route.method] = route
        # Who types the address without its last slash means the first page; anything else below it is no page.
        by_path |= {"admin": by_path["admin/"], "admin/.*": {}}
        prefix = self.settings.service_prefix
        common = {"services": self.services, "navigation": NAVIGATION}
        return [
            *(
                (prefix + pattern, kind, {"services": self.services, "routes": routes})
                for pattern, kind, routes in explorer_handlers()
            ),
            (prefix + CALLBACK.path, CallbackHandler, {**common, "routes": {CALLBACK.method: CALLBACK}}),
            *((prefix + pattern, PageHandler, {**common, "routes": routes}) for pattern, routes in by_path.items()),
        ]

    async def _watch_permissions(self) -> None:
        while True:
            try:
                await self.services.permissions.look()
            except Exception as error:  # noqa: BLE001 - the watch must outlive anything, the last good file stays
                _log.error("the permissions file could not be looked at: %s", type(error).__name__)
            await asyncio.sleep(self.services.permissions.interval)

    async def _count_refusals(self) -> None:
        while True:
            await asyncio.sleep(_COUNT)
            await self._write_refusals()

    async def _write_refusals(self, *, now: bool = False) -> None:
        for event in self.services.refusals.due(now=now):
            with contextlib.suppress(HubError):  # the log has it; nothing was handed out
                await self.services.audit.write(event)

    async def _start_exporter(self) -> None:
        """Start the exporter as soon as the database answers."""
        exporter = Exporter(
            self.services.pool,
            self.services.orthanc.file,
            render=render,
            allowed_endpoints=self.settings.s3_endpoints,
        )
        waiting = False
        while True:
            try:
                await exporter.start()
            except (psycopg.Error, psycopg_pool.PoolTimeout) as error:
                if not waiting:
                    _log.error("the database does not answer (%s); the gateway waits for it", type(error).__name__)
                waiting = True
                await asyncio.sleep(_RETRY)
            else:
                if waiting:
                    _log.info("the database answers")
                self.services.exporter = exporter
                return


async def _end(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Cancel tasks and wait for their end.

    Until Python 3.12 `asyncio.wait_for`, which the pool of connections uses, forgets a cancellation that comes at the
    moment in which what it waits for is there: whoever goes on is asked again.
    """
    while pending := [task for task in tasks if not task.done()]:
        for task in pending:
            task.cancel()
        await asyncio.wait(pending, timeout=1)
    await asyncio.gather(*tasks, return_exceptions=True)


def _log_request(handler: web.RequestHandler) -> None:
    """Log a request without its parameters: the audit has the query."""
    request = handler.request
    level = logging.WARNING if handler.get_status() >= 500 else logging.INFO
    _log.log(
        level,
        "%d %s %s %.0f ms",
        handler.get_status(),
        request.method,
        without_token(request.path[:200]),
        1000 * request.request_time(),
    )


async def serve(settings: GatewaySettings) -> None:
    """Run the gateway until SIGTERM or SIGINT, or until the Hub that started it is gone."""
    if "JUPYTERHUB_SERVICE_NAME" in os.environ:
        end_with_parent()
    gateway = Gateway(settings)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await gateway.start()
    await stop.wait()
    await gateway.stop()
