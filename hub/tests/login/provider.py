"""An OpenID provider in miniature: publishes keys, answers token requests with whatever a test gives it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa

CLIENT = "the-client"
AUTHOR = rsa.generate_private_key(public_exponent=65537, key_size=2048)
STRANGER = rsa.generate_private_key(public_exponent=65537, key_size=2048)
CURVE = ec.generate_private_key(ec.SECP256R1())


def public(key: Any, kid: str, algorithm: str = "RS256", **more: Any) -> dict[str, Any]:
    """Return a key as a provider publishes it."""
    return {**jwt.get_algorithm_by_name(algorithm).to_jwk(key.public_key(), as_dict=True), "kid": kid, **more}


class Provider:
    """Its address, its keys, its next answer."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.issuer = f"{self.url}/pool"
        self.jwks_url = f"{self.issuer}/.well-known/jwks.json"
        self.keys: Any = {"keys": [public(AUTHOR, "one", use="sig", alg="RS256")]}
        self.key_requests = 0
        self.token_status = 200
        self.token_answer: dict[str, Any] = {}
        self.token_requests: list[str] = []

    def claims(self, **changes: Any) -> dict[str, Any]:
        """Return the claims of a good ID token, changed; None takes a claim out."""
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "aud": CLIENT,
            "sub": "0001",
            "iat": now,
            "exp": now + 600,
            "token_use": "id",
            "cognito:username": "clara",
            "cognito:groups": ["ct-researchers"],
        }
        return {name: value for name, value in {**claims, **changes}.items() if value is not None}

    def token(self, key: Any = AUTHOR, algorithm: str = "RS256", kid: str | None = "one", **changes: Any) -> str:
        """Return a signed ID token."""
        return jwt.encode(self.claims(**changes), key, algorithm, headers={"kid": kid} if kid else None)


@contextmanager
def running_provider() -> Iterator[Provider]:
    """Serve on a port of its own until the block ends."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            provider.key_requests += 1
            self._send(200, provider.keys)

        def do_POST(self) -> None:
            provider.token_requests.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self._send(provider.token_status, provider.token_answer)

        def _send(self, status: int, document: Any) -> None:
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        provider = Provider(server.server_address[1])
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield provider
        finally:
            server.shutdown()
            thread.join()
