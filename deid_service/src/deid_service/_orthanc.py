"""A small client of Orthanc's REST API that is cheap enough to stand between two servers.

It is built on the standard library's blocking ``http.client``: to copy a CT slice of 526 KB costs 0.6 ms of processor
time that way and 4.3 ms with httpx, more than all the cleaning. Threads share one client; each request takes an idle
connection or opens one. Every request made here may be repeated without harm, so one that meets a connection which the
server has just closed is sent again.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

from deid_service._buffers import LARGE, Data, Part, pieces, size_of, spool
from deid_service.pipeline.errors import OrthancRefusalError, OrthancUnavailableError

__all__ = ["ChangePage", "Orthanc", "Stored", "md5_of"]

# Orthanc closes a connection that was idle for one second (its "Keep-Alive: timeout=1").
_IDLE_SECONDS = 0.7
_PIECE = 16 * 2**20
_UNAVAILABLE = {401, 403, 408, 429, 502, 503, 504}


_Answer = TypeVar("_Answer", bound=Data)


@dataclass(frozen=True)
class Stored:
    """Answer to an upload: the instance's Orthanc id, and whether the server had it before."""

    orthanc_id: str
    already: bool


@dataclass(frozen=True)
class ChangePage:
    """A page of the change log.

    Attributes
    ----------
    new_instances
        Orthanc ids of the instances that arrived, in order of arrival.
    last
        Number of the last change of the page.
    done
        False if the log goes on.
    """

    new_instances: tuple[str, ...]
    last: int
    done: bool


def md5_of(parts: Iterable[Part]) -> str:
    """Return a file's MD5 digest as Orthanc shows it. It detects damage, it is no protection against an attacker."""
    digest = hashlib.md5(usedforsecurity=False)
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


class _Body:
    """A file to upload, in parts; from its start each time it is asked for, as a request may have to be repeated."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self._parts = parts
        self.size = size_of(parts)

    def __iter__(self) -> Iterator[Part]:
        # One write for each part, but for those so large that TLS would copy them whole.
        return pieces(self._parts, _PIECE)


class Orthanc:
    """One Orthanc server.

    Parameters
    ----------
    url
        ``http://user:password@host:port``, or https. No message of this class quotes user or password.
    name
        What messages call the server, for example ``research Orthanc``.
    timeout
        Seconds without a byte after which a request is given up.
    """

    def __init__(self, url: str, name: str, *, timeout: float = 60.0) -> None:
        parts = urlsplit(url)
        self.name = name
        self.address = f"{parts.scheme}://{parts.hostname}:{parts.port or (443 if parts.scheme == 'https' else 80)}"
        self._host = parts.hostname or ""
        self._port = parts.port
        self._secure = parts.scheme == "https"
        self._root = parts.path.rstrip("/")
        self._timeout = timeout
        self._idle: list[tuple[float, http.client.HTTPConnection]] = []
        self._lock = threading.Lock()
        # Without "identity" Orthanc would compress each file, 20 times slower and hardly smaller.
        self._headers = {"Accept-Encoding": "identity"}
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            self._headers["Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode("ascii")

    def __repr__(self) -> str:
        return f"Orthanc({self.address!r}, {self.name!r})"

    def close(self) -> None:
        """Close the idle connections."""
        with self._lock:
            idle, self._idle = self._idle, []
        for _, connection in idle:
            connection.close()

    # Instances

    def file(self, orthanc_id: str) -> Data | None:
        """Return the DICOM file of an instance, None if there is no such instance.

        Returns
        -------
        bytes, mmap or None
            A large file is put into a temporary one without a name, and mapped.

        Raises
        ------
        SpoolError
            If the temporary folder does not take a large one.
        OrthancRefusalError, OrthancUnavailableError
            As by all requests.
        """
        status, body = self._exchange("GET", f"/instances/{orthanc_id}/file", None, None, _receive)
        if status == 404:
            return None
        return self._good("GET /instances/…/file", status, body)

    def store(self, parts: Sequence[Part]) -> Stored:
        """Upload a DICOM file, part by part.

        Raises
        ------
        OrthancRefusalError
            With ``status`` 400 if the server does not take it for DICOM, 5xx if it could not store it.
        OrthancUnavailableError
            If the server does not answer or is not ready.
        """
        status, body = self._request("POST", "/instances", _Body(parts), "application/dicom")
        answer = self._json("POST /instances", self._good("POST /instances", status, body))
        if not isinstance(answer, dict) or answer.get("Status") not in ("Success", "AlreadyStored"):
            raise OrthancRefusalError(f"{self.name} ({self.address}) did not say that it stored the file", 500)
        return Stored(str(answer["ID"]), answer["Status"] == "AlreadyStored")

    def md5(self, orthanc_id: str) -> str | None:
        """Return the MD5 digest of an instance's file as it was stored, None if there is no such instance."""
        status, body = self._request("GET", f"/instances/{orthanc_id}/attachments/dicom/md5")
        if status == 404:
            return None
        return self._good("GET /instances/…/md5", status, body).decode("ascii").strip()

    def find_instances(self, sop_instance_uids: Sequence[str]) -> dict[str, list[str]]:
        """Return the Orthanc ids of the instances with these SOP Instance UIDs, by UID. One request for all."""
        if not sop_instance_uids:
            return {}
        query = {
            "Level": "Instance",
            "Expand": True,
            "Query": {"SOPInstanceUID": "\\".join(sop_instance_uids)},
        }
        found: dict[str, list[str]] = {}
        for item in self._call("POST", "/tools/find", query):
            found.setdefault(item["MainDicomTags"]["SOPInstanceUID"], []).append(item["ID"])
        return found

    def delete_instances(self, orthanc_ids: Iterable[str]) -> None:
        """Delete instances; those that are gone already do not matter."""
        resources = list(orthanc_ids)
        if not resources:
            return
        status, body = self._request(
            "POST", "/tools/bulk-delete", json.dumps({"Resources": resources}).encode(), "application/json"
        )
        self._good("POST /tools/bulk-delete", status, body)

    def instances(self) -> list[str]:
        """Return the Orthanc ids of all instances."""
        return list(self._call("GET", "/instances"))

    def instances_of(self, orthanc_id: str) -> list[str]:
        """Return the Orthanc ids of the instances of a patient, study or series; of an instance its own.

        Parameters
        ----------
        orthanc_id
            Any of these; which, the server says.

        Returns
        -------
        list of str
            Empty if the server has no such thing.
        """
        for level in ("instances", "series", "studies", "patients"):
            status, body = self._request("GET", f"/{level}/{orthanc_id}")
            if status == 404:
                continue
            self._good(f"GET /{level}/…", status, body)
            if level == "instances":
                return [orthanc_id]
            return [str(item["ID"]) for item in self._call("GET", f"/{level}/{orthanc_id}/instances")]
        return []

    def count(self) -> int:
        """Return how many instances the server holds."""
        return int(self._call("GET", "/statistics")["CountInstances"])

    # Changes

    def changes(self, since: int, limit: int = 1000) -> ChangePage:
        """Return the changes after number `since`.

        The kind of change is filtered here: Orthanc before 1.12 ignores its ``type`` option without a word.
        """
        page = self._call("GET", f"/changes?since={since}&limit={limit}")
        return ChangePage(
            tuple(change["ID"] for change in page["Changes"] if change["ChangeType"] == "NewInstance"),
            int(page["Last"]),
            bool(page["Done"]),
        )

    def last_change(self) -> int:
        """Return the number of the newest change, 0 if there is none."""
        return int(self._call("GET", "/changes?last")["Last"])

    def ping(self) -> None:
        """Raise OrthancUnavailableError unless the server answers."""
        self._call("GET", "/system")

    # Requests

    def _call(self, method: str, path: str, body: object = None) -> Any:
        payload = None if body is None else json.dumps(body).encode()
        status, answer = self._request(method, path, payload, "application/json")
        what = f"{method} {path.split('?')[0]}"
        return self._json(what, self._good(what, status, answer))

    def _json(self, what: str, body: bytes) -> Any:
        try:
            return json.loads(body)
        except ValueError:
            raise OrthancUnavailableError(
                f"{self.name} ({self.address}) answered {what} with something that is not JSON: is it an Orthanc?"
            ) from None

    def _good(self, what: str, status: int, body: _Answer) -> _Answer:
        if status == 200:
            return body
        # The body of an error can quote the file, so only the status goes on.
        if status in (401, 403):
            raise OrthancUnavailableError(
                f"{self.name} ({self.address}) refuses our user or password (HTTP {status}): check its address variable"
            )
        if status in _UNAVAILABLE:
            raise OrthancUnavailableError(f"{self.name} ({self.address}) is not ready: HTTP {status} for {what}")
        raise OrthancRefusalError(f"{self.name} ({self.address}) answers HTTP {status} for {what}", status)

    def _request(
        self,
        method: str,
        path: str,
        body: bytes | _Body | None = None,
        content_type: str | None = None,
    ) -> tuple[int, bytes]:
        return self._exchange(method, path, body, content_type, lambda response: response.read())

    def _exchange(
        self,
        method: str,
        path: str,
        body: bytes | _Body | None,
        content_type: str | None,
        receive: Callable[[http.client.HTTPResponse], _Answer],
    ) -> tuple[int, _Answer]:
        headers = self._headers
        if content_type is not None and body is not None:
            headers = headers | {"Content-Type": content_type}
        if isinstance(body, _Body):
            headers = headers | {"Content-Length": str(body.size)}
        while True:
            connection, fresh = self._connection()
            try:
                connection.request(method, self._root + path, body=body, headers=headers)
                response = connection.getresponse()
                answer = receive(response)
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                if not fresh and not isinstance(error, TimeoutError):
                    continue
                raise OrthancUnavailableError(
                    f"{self.name} ({self.address}) does not answer ({_reason(error)}): is it running?"
                ) from None
            except BaseException:
                connection.close()
                raise
            if response.will_close:
                connection.close()
            else:
                with self._lock:
                    self._idle.append((time.monotonic(), connection))
            return response.status, answer

    def _connection(self) -> tuple[http.client.HTTPConnection, bool]:
        now = time.monotonic()
        stale: list[http.client.HTTPConnection] = []
        found: http.client.HTTPConnection | None = None
        with self._lock:
            while self._idle:
                since, connection = self._idle.pop()
                if now - since < _IDLE_SECONDS:
                    found = connection
                    break
                stale.append(connection)
        for connection in stale:
            with contextlib.suppress(OSError):
                connection.close()
        if found is not None:
            return found, False
        kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
        return kind(self._host, self._port, timeout=self._timeout), True


def _receive(response: http.client.HTTPResponse) -> Data:
    """Read an answer that may be large."""
    if (response.length or 0) < LARGE:
        return response.read()
    data = spool(iter(lambda: response.read(_PIECE), b""))
    if response.length:
        raise http.client.IncompleteRead(b"", response.length)
    return data


def _reason(error: BaseException) -> str:
    """Name a transport error without quoting anything that travelled."""
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, TimeoutError):
        return "timed out"
    if isinstance(error, socket.gaierror):
        return "its host name is unknown"
    return type(error).__name__
