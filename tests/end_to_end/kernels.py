"""Run code in a kernel of somebody's own server, as her notebook would."""

from __future__ import annotations

import json
import time
import uuid
from urllib.parse import urlsplit

import requests
import websocket


def run_code(server_url: str, token: str, code: str, timeout: float = 60) -> str:
    """Start a kernel in a running single-user server, run code in it and return what it printed.

    Raises
    ------
    AssertionError
        If the code raises; the message holds the traceback.
    """
    headers = {"Authorization": f"token {token}"}
    kernel = requests.post(f"{server_url}api/kernels", headers=headers, timeout=30)
    kernel.raise_for_status()
    parts = urlsplit(f"{server_url}api/kernels/{kernel.json()['id']}")
    address = f"ws://{parts.netloc}{parts.path}/channels"
    channel = websocket.create_connection(address, header=[f"Authorization: token {token}"], timeout=timeout)
    try:
        return _execute(channel, code, timeout)
    finally:
        channel.close()
        requests.delete(f"{server_url}api/kernels/{kernel.json()['id']}", headers=headers, timeout=30)


def _execute(channel: websocket.WebSocket, code: str, timeout: float) -> str:
    request = uuid.uuid4().hex
    message = {
        "header": {
            "msg_id": request,
            "msg_type": "execute_request",
            "session": request,
            "username": "",
            "version": "5.3",
        },
        "parent_header": {},
        "metadata": {},
        "content": {"code": code, "silent": False, "store_history": False, "allow_stdin": False, "stop_on_error": True},
        "channel": "shell",
        "buffers": [],
    }
    channel.send(json.dumps(message))
    printed, deadline = "", time.monotonic() + timeout
    while time.monotonic() < deadline:
        answer = json.loads(channel.recv())
        if answer["parent_header"].get("msg_id") != request:
            continue
        kind, content = answer["msg_type"], answer["content"]
        if kind == "stream":
            printed += content["text"]
        elif kind == "error":
            raise AssertionError("\n".join(content["traceback"]))
        elif kind == "status" and content["execution_state"] == "idle":
            return printed
    raise AssertionError(f"the kernel did not finish within {timeout} s; it printed {printed!r}")
