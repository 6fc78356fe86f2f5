"""One run of one export: take the pending instances in order, send several at a time, note what became of each."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar
from uuid import UUID

import psycopg
import psycopg_pool

from rpacs_hub.errors import OrthancMissing
from rpacs_hub.exports._memory import MemoryBudget
from rpacs_hub.exports._pictures import Render, pictures
from rpacs_hub.exports._reasons import INVALID_UIDS, NOT_FOUND, SOURCE_FAILED, UNEXPECTED, UPLOAD_FAILED
from rpacs_hub.exports._store import ExportStore, Mark, PendingInstance
from rpacs_hub.exports.errors import DestinationFailed, ExportError, InstanceFailed, SourceFailed
from rpacs_hub.exports.records import ExportFormat
from rpacs_hub.exports.s3 import PART_SIZE, Bucket

Fetch = Callable[[str], Awaitable[bytes]]

_logger = logging.getLogger(__name__)
_Value = TypeVar("_Value")

_PAGE = 1000
_FLUSH_SECONDS = 0.4
# An archive that worked a moment ago may be restarting; one that never answered gets a quicker verdict.
_FETCH_PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0)
_FIRST_FETCH_PAUSES = (0.25, 1.0)
_DATABASE_PAUSES = (0.25, 0.5, 1.0, 2.0, 5.0)
# So many failures in a row, with no success between them, are not the fault of single instances.
_IN_A_ROW = 12
_FIRST_IN_A_ROW = 3
_FIRST_GUESS = 8 * 1024 * 1024
_UID = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,63}")


class TakenOver(Exception):  # noqa: N818
    """Another process or another run speaks for this export now."""


class Transfer:
    """One run of one export.

    Parameters
    ----------
    export_id, run
        What is written to the store.
    store, bucket, fetch, render, budget
        Its surroundings; `bucket` is closed by whoever made it.
    format
        Files or pictures.
    executor
        Threads for S3 and for decoding, as many as `workers`.
    workers
        Number of instances in flight.
    """

    def __init__(
        self,
        export_id: UUID,
        run: int,
        *,
        store: ExportStore,
        bucket: Bucket,
        fetch: Fetch,
        render: Render,
        budget: MemoryBudget,
        format: ExportFormat,  # noqa: A002
        executor: ThreadPoolExecutor,
        workers: int,
    ):
        self._id, self._run = export_id, run
        self._store, self._bucket, self._fetch, self._render, self._budget = store, bucket, fetch, render, budget
        self._format, self._executor, self._workers = format, executor, workers
        self._stopping = asyncio.Event()
        self._problem: ExportError | None = None
        self._marks: list[Mark] = []
        # Failures that may turn out to be the archive's or S3's: noted when something gets through after them.
        self._suspects: list[Mark] = []
        self._over = asyncio.Event()
        self._flushing = asyncio.Lock()
        self._pending = self._read_pending()
        self._turn = asyncio.Lock()
        self._proven = False
        self._source_failures = self._upload_failures = 0
        self._largest = 0

    def stop(self) -> None:
        """Take up no further instance; `run` returns when those in flight have ended."""
        self._stopping.set()

    def abandon(self) -> None:
        """Give up what is in flight too: a thread that waits to try again sends nothing more."""
        self._stopping.set()
        self._bucket.stop()

    async def run(self) -> None:
        """Send everything that is pending, or as much as there is time for before `stop`.

        Raises
        ------
        DestinationFailed, SourceFailed
            Nothing more gets through. What was sent is noted.
        TakenOver
            The store belongs to another run.
        """
        flusher = asyncio.create_task(self._flush_often())
        try:
            # One instance alone, until one got through: wrong keys or a missing bucket show at the first object.
            while not self._proven and await self._next_one():
                pass
            async with asyncio.TaskGroup() as group:
                for _ in range(self._workers):
                    group.create_task(self._work())
        finally:
            # Not cancelled: it may be in the middle of writing marks.
            self._over.set()
            await flusher
        if self._problem is None:
            self._clear_suspects()
        await self.flush()
        if self._problem is not None:
            raise self._problem

    async def flush(self) -> None:
        """Write the marks that were gathered; waits for a database that is away."""
        async with self._flushing:
            while self._marks:
                marks, self._marks = self._marks, []
                if not await patiently(functools.partial(self._store.mark, self._id, self._run, marks)):
                    self.abandon()
                    raise TakenOver

    async def _flush_often(self) -> None:
        while not self._over.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._over.wait(), _FLUSH_SECONDS)
            with contextlib.suppress(TakenOver):
                await self.flush()

    def _clear_suspects(self) -> None:
        """Something got through: what failed before failed for reasons of its own."""
        self._marks += self._suspects
        self._suspects = []

    async def _work(self) -> None:
        while await self._next_one():
            pass

    async def _next_one(self) -> bool:
        """Deal with the next pending instance; False when there is none or the run ends."""
        if self._stopping.is_set() or self._problem is not None:
            return False
        async with self._turn:
            instance = await anext(self._pending, None)
        if instance is None:
            return False
        try:
            sent = await self._send(instance)
        except InstanceFailed as failure:
            # A request that was cut off by the end of the run says nothing about its instance.
            if not self._stopping.is_set():
                certain = failure.code not in (SOURCE_FAILED, UPLOAD_FAILED)
                (self._marks if certain else self._suspects).append(Mark(instance.ordinal, 0, failure.code))
        except (DestinationFailed, SourceFailed) as problem:
            self._problem = self._problem or problem
        except Exception as error:  # noqa: BLE001 - one instance must not end the others
            # The kind only: an exception's text may quote the file.
            _logger.error("export %s: unexpected %s", self._id, type(error).__name__)
            self._marks.append(Mark(instance.ordinal, 0, UNEXPECTED))
        else:
            self._marks.append(Mark(instance.ordinal, sent))
            self._clear_suspects()
        return True

    async def _read_pending(self) -> AsyncIterator[PendingInstance]:
        after = -1
        while page := await patiently(functools.partial(self._store.pending, self._id, after, _PAGE)):
            for instance in page:
                yield instance
            after = page[-1].ordinal

    async def _send(self, instance: PendingInstance) -> int:
        """Fetch and upload one instance and return the number of bytes sent."""
        uids = (instance.study_uid, instance.series_uid, instance.sop_uid)
        if not all(_UID.fullmatch(uid) for uid in uids):
            raise InstanceFailed(INVALID_UIDS, "The instance's UIDs make no object name.")
        held = instance.size or self._largest or _FIRST_GUESS
        await self._budget.take(held)
        try:
            data = await self._fetch_patiently(instance.orthanc_id)
            self._budget.swap(held, len(data))
            held = len(data)
            self._largest = max(self._largest, held)
            name = self._bucket.destination.key(*uids)
            if self._format is ExportFormat.DICOM:
                await self._upload(name + ".dcm", data, "application/dicom")
                return len(data)
            return await self._send_pictures(name, data)
        finally:
            self._budget.give(held)

    async def _send_pictures(self, name: str, data: bytes) -> int:
        sent = 0
        frames = pictures(data, self._render)
        while not self._stopping.is_set():
            frame = await self._in_thread(next, frames, None)
            if frame is None:
                return sent
            await self._upload(name + frame[0], frame[1], "image/png")
            sent += len(frame[1])
        raise InstanceFailed(UPLOAD_FAILED, "The export was stopped.")

    async def _fetch_patiently(self, orthanc_id: str) -> bytes:
        pauses, in_a_row = (_FETCH_PAUSES, _IN_A_ROW) if self._proven else (_FIRST_FETCH_PAUSES, _FIRST_IN_A_ROW)
        for pause in (*pauses, None):
            try:
                data = await self._fetch(orthanc_id)
            except Exception as error:  # noqa: BLE001 - the archive's client is not known here
                if _is_missing(error):
                    self._source_failures = 0
                    raise InstanceFailed(NOT_FOUND, "The archive does not have it any more.") from None
                kind = type(error).__name__
            else:
                self._source_failures = 0
                return data
            if pause is None or self._stopping.is_set() or self._problem is not None:
                break
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause)
        self._source_failures += 1
        if self._source_failures >= in_a_row:
            raise SourceFailed(
                "source_unreachable",
                f"The research Orthanc does not hand out files ({kind}).",
                "Nothing is lost: resume the export when the archive is back.",
            )
        raise InstanceFailed(SOURCE_FAILED, "The archive did not hand it out.")

    async def _upload(self, key: str, data: bytes, content_type: str) -> None:
        put = self._bucket.put if len(data) <= 2 * PART_SIZE else self._bucket.put_in_parts
        try:
            await self._in_thread(put, key, data, content_type)
        except InstanceFailed as failure:
            self._upload_failures += 1
            if not self._stopping.is_set() and (self._upload_failures >= _IN_A_ROW or not self._proven):
                raise DestinationFailed(
                    "destination_failing",
                    failure.message,
                    "Nothing is lost: resume the export later; what was sent is not sent again.",
                ) from None
            raise
        self._upload_failures = 0
        self._proven = True

    async def _in_thread(self, function: Callable[..., _Value], *arguments: object) -> _Value:
        return await asyncio.get_running_loop().run_in_executor(self._executor, function, *arguments)


async def patiently(ask: Callable[[], Awaitable[_Value]]) -> _Value:
    """Ask the database until it answers, however long it is away."""
    attempt = 0
    while True:
        try:
            return await ask()
        except (psycopg.OperationalError, psycopg_pool.PoolTimeout) as error:
            pause = _DATABASE_PAUSES[min(attempt, len(_DATABASE_PAUSES) - 1)]
            attempt += 1
            _logger.warning("the database does not answer (%s); trying again in %s s", type(error).__name__, pause)
            await asyncio.sleep(pause)


def _is_missing(error: Exception) -> bool:
    """Whether the archive answered that there is no such instance (rather than not answering)."""
    return isinstance(error, OrthancMissing | LookupError | FileNotFoundError)
