"""The research Orthanc over its REST API: few calls, kept-alive connections, errors that say whose fault it is.

Works with Orthanc 1.10.1 and later, so it relies on none of the filters that came after (1.10.1 ignores options that it
does not know, silently). Files are always asked for with ``Accept-Encoding: identity``: compressing pixels costs
Orthanc a factor of twenty in throughput.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

import httpx

from rpacs_hub._orthanc_files import FileConnections
from rpacs_hub.errors import OrthancError, OrthancMissing, OrthancUnavailable

__all__ = ["Change", "Changes", "Orthanc", "StoredInstance", "raw_chunks"]

T = TypeVar("T")

_SERIES_PAGE = 1000

_RELAY_TIMEOUT = 600.0  # seconds without a byte: Orthanc packs archives before it answers

_HINT = "Is the research Orthanc running, and are RPACS_RESEARCH_URL's address and password right?"


@dataclass(frozen=True)
class Change:
    """One entry of the changes feed."""

    seq: int
    kind: str
    resource_id: str


@dataclass(frozen=True)
class Changes:
    """A page of the changes feed.

    Attributes
    ----------
    entries
        In the order of their numbers.
    done
        Whether the feed holds nothing newer.
    last
        Number of the last entry of this page.
    """

    entries: tuple[Change, ...]
    done: bool
    last: int


@dataclass(frozen=True)
class StoredInstance:
    """An instance as Orthanc lists it; `file_uuid` changes whenever its content is overwritten."""

    orthanc_id: str
    file_uuid: str


class Orthanc:
    """An asynchronous client.

    Parameters
    ----------
    url
        ``http://user:password@host:port``; the password goes into a header and is never shown.
    connections
        How many requests may run at once.
    timeout
        Seconds without a byte after which a request is given up.
    """

    def __init__(self, url: str, *, connections: int = 10, timeout: float = 30.0):
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
        auth = httpx.BasicAuth(parts.username, parts.password or "") if parts.username else None
        self._client = httpx.AsyncClient(
            base_url=urlunsplit((parts.scheme, host, parts.path.rstrip("/"), "", "")),
            auth=auth,
            headers={"Accept-Encoding": "identity"},
            timeout=httpx.Timeout(timeout, connect=5.0),
            limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
            trust_env=False,
        )
        self._files = FileConnections(url, timeout)
        self._threads = ThreadPoolExecutor(min(connections, 16), thread_name_prefix="orthanc")

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()
        self._threads.shutdown(wait=False, cancel_futures=True)
        await asyncio.to_thread(self._threads.shutdown)
        self._files.close()

    async def system(self) -> dict[str, Any]:
        """Return ``/system``: name, version and the like."""
        return dict(await self._json("/system"))

    async def last_change(self) -> int:
        """Return the number of the newest change, 0 in an empty Orthanc."""
        return int((await self._json("/changes?last"))["Last"])

    async def changes(self, since: int, limit: int) -> Changes:
        """Return the changes after number `since`, at most `limit`."""
        page = await self._json(f"/changes?since={since}&limit={limit}")
        entries = tuple(Change(int(c["Seq"]), str(c["ChangeType"]), str(c["ID"])) for c in page["Changes"])
        return Changes(entries, bool(page["Done"]), int(page["Last"]))

    async def instance_ids(self) -> set[str]:
        """Return the identifiers of all instances, in one request: pages would shift under a deletion."""
        return set(await self._json("/instances"))

    async def instances_by_series(self) -> list[list[str]]:
        """Return the identifiers of all instances, those of a series together.

        What comes or goes meanwhile may be missing or listed twice: compare with `instance_ids`.
        """
        found: list[list[str]] = []
        since = 0
        while page := await self._json(f"/series?expand&since={since}&limit={_SERIES_PAGE}"):
            found += [[str(name) for name in series["Instances"]] for series in page]
            since += len(page)
        return found

    async def stored(self, orthanc_ids: Sequence[str]) -> list[StoredInstance]:
        """Return those of the instances that are there, with the identity of their content."""
        if not orthanc_ids:
            return []
        found = await self._json("/tools/bulk-content", {"Resources": list(orthanc_ids), "Metadata": False})
        return [StoredInstance(str(item["ID"]), str(item["FileUuid"])) for item in found]

    async def file(self, orthanc_id: str) -> bytes:
        """Return a whole DICOM file.

        Raises
        ------
        OrthancMissing
            It is not there.
        """
        return await self.load(orthanc_id, lambda data, _: data)

    async def load(self, orthanc_id: str, convert: Callable[[bytes, int], T], limit: int | None = None) -> T:
        """Read a DICOM file and make something of it, both in a thread.

        Parameters
        ----------
        orthanc_id
            Which.
        convert
            Given the file, or its first `limit` bytes, and the length of the whole.
        limit
            The most that is read.

        Raises
        ------
        OrthancMissing
            It is not there.
        """

        def work() -> T:
            status, data, length = self._files.read(orthanc_id, limit)
            _check(status)
            return convert(data, length)

        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    @contextlib.asynccontextmanager
    async def stream_file(self, orthanc_id: str) -> AsyncIterator[tuple[int | None, AsyncIterator[bytes]]]:
        """Open a DICOM file; the block gets its length in bytes, where known, and its chunks.

        Raises
        ------
        OrthancMissing
            It is not there.
        OrthancUnavailable
            Orthanc does not answer, or goes away while the file is read.
        """
        with _translated():
            async with self._client.stream("GET", f"/instances/{orthanc_id}/file") as response:
                _check(response.status_code)
                length = response.headers.get("Content-Length")
                # aiter_bytes would undo a Content-Encoding; none was asked for, so what comes is the file.
                yield (int(length) if length else None), response.aiter_raw(1 << 18)

    async def relay(
        self, method: str, target: str, headers: Mapping[str, str], body: AsyncIterator[bytes] | None
    ) -> httpx.Response:
        """Send a request of somebody else's as it is, with this client's credentials.

        Parameters
        ----------
        method
            HTTP method.
        target
            Path and query string, encoded.
        headers
            Those to send; with ``Content-Length`` where the length of `body` is known.
        body
            Its chunks; None = no body.

        Returns
        -------
        httpx.Response
            Whatever Orthanc answers, its body not read yet: the caller closes it.

        Raises
        ------
        OrthancUnavailable
            Orthanc does not answer, or refuses the credentials.
        """
        base = self._client.base_url
        url = base.copy_with(raw_path=(base.path.rstrip("/") + target).encode("ascii"))
        request = self._client.build_request(
            method, url, headers=dict(headers), content=body, timeout=httpx.Timeout(_RELAY_TIMEOUT, connect=5.0)
        )
        with _translated():
            response = await self._client.send(request, stream=True, follow_redirects=False)
        if response.status_code == 401:
            await response.aclose()
            _check(401)
        return response

    @property
    def root(self) -> str:
        """Orthanc's address without credentials, ending in ``/``."""
        return str(self._client.base_url).rstrip("/") + "/"

    async def _json(self, path: str, body: object = None) -> Any:
        with _translated():
            if body is None:
                response = await self._client.get(path)
            else:
                response = await self._client.post(path, json=body)
            _check(response.status_code)
            return response.json()


async def raw_chunks(response: httpx.Response) -> AsyncIterator[bytes]:
    """Yield the body of an answer as it comes.

    Raises
    ------
    OrthancUnavailable
        Orthanc went away meanwhile.
    """
    with _translated():
        async for chunk in response.aiter_raw(1 << 18):
            yield chunk


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except httpx.HTTPError as error:
        raise OrthancUnavailable(f"The research Orthanc does not answer ({type(error).__name__}).", _HINT) from error


def _check(status: int) -> None:
    if status in (401, 403):
        raise OrthancUnavailable("The research Orthanc refuses the credentials.", _HINT)
    if status == 404:
        raise OrthancMissing("The research Orthanc does not hold this instance.", "The index follows within a minute.")
    if status in (502, 503, 504):
        raise OrthancUnavailable(f"The research Orthanc is not ready (status {status}).", _HINT)
    if status != 200:
        raise OrthancError(f"The research Orthanc answered with status {status}.", "See Orthanc's log.")
