"""Stands in a notebook server's place: writes down the token that the hub gave it, and answers everything."""

import os
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.parse import urlsplit


class Answer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()


path = Path(os.environ["TEST_FOLDER"]) / f"{os.environ['JUPYTERHUB_USER']}.token"
path.write_text(os.environ["JUPYTERHUB_API_TOKEN"])
url = urlsplit(os.environ["JUPYTERHUB_SERVICE_URL"])
HTTPServer((url.hostname or "127.0.0.1", url.port or 80), Answer).serve_forever()
