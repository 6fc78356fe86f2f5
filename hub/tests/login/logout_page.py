"""Stands in the place of Cognito's sign-out page, which the local stand-in for Cognito does not have."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

SESSION = "cognito"
"""Name of the cookie of the provider's own session."""


@contextmanager
def logout_page(client_id: str, allowed: set[str]) -> Iterator[str]:
    """Serve the page beside the block and yield its address.

    Like Cognito's it ends the session and sends the browser on, but only a client that it knows, to an address that is
    registered there. A visit to ``/session`` begins a session, as the sign-in page of Cognito would.
    """

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            query = parse_qs(parts.query)
            if parts.path == "/session":
                self.send_response(200)
                self.send_header("Set-Cookie", f"{SESSION}=signed-in; Path=/; HttpOnly")
                self.send_header("Content-Type", "text/html")
                self.end_headers()
                return
            to = query.get("logout_uri", [""])[0]
            known = query.get("client_id") == [client_id] and to in allowed
            self.send_response(302 if known else 400)
            if known:
                self.send_header("Set-Cookie", f"{SESSION}=; Path=/; Max-Age=0")
                self.send_header("Location", to)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/logout"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
