"""Take exports in, let them wait their turn, run them and answer questions about them.

Credentials live in this object's memory while their export waits or runs, and nowhere else. A process that dies takes
them with it; its exports are ``interrupted`` at the next start and go on when their owner brings keys again. One
process per database runs exports.
"""

from __future__ import annotations

import asyncio
import builtins
import dataclasses
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from psycopg_pool import AsyncConnectionPool

from rpacs_hub.exports._memory import MemoryBudget
from rpacs_hub.exports._pictures import Render
from rpacs_hub.exports._reasons import NOT_VISIBLE, SAME_UIDS, summarise
from rpacs_hub.exports._store import ExportStore
from rpacs_hub.exports._transfer import Fetch, TakenOver, Transfer, patiently
from rpacs_hub.exports.errors import DestinationFailed, ExportConflict, ExportNotFound, ExportRefused, SourceFailed
from rpacs_hub.exports.records import Export, ExportState, InstanceRef
from rpacs_hub.exports.request import Credentials, ExportRequest, parse_destination, parse_endpoint
from rpacs_hub.exports.s3 import Bucket

__all__ = ["Exporter", "ending_words"]

MAX_INSTANCES: Final = 1_000_000
_LISTED = 200
_LISTED_FAILURES = 20
_VISIBLE_PAGE = 1000
_AGAIN = "Resume the export to try those again; what was sent is not sent again."
_RESUME = "Resume it with your keys; what was sent is not sent again."

_logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Job:
    """An export that waits or runs in this process."""

    id: UUID
    user: str
    export: Export
    credentials: Credentials = field(repr=False)
    task: asyncio.Task[None] | None = None
    transfer: Transfer | None = None
    ended_as: ExportState | None = None
    """Set when the export is to end before its time."""
    because: str = ""
    """Why an administrator ends it."""


class Exporter:
    """Runs exports to S3 inside the gateway's process.

    Parameters
    ----------
    pool
        Open pool of connections as the role that owns the schema ``gateway``.
    fetch
        Returns the bytes of an instance, exactly as the research Orthanc holds them, by its Orthanc id. It raises
        `rpacs_hub.errors.OrthancMissing` (or a LookupError) for one that is not there.
    render
        ``render(dataset, frame, "png") -> bytes``, frames counted from 1; for exports of pictures.
    allowed_endpoints
        Addresses of S3 servers other than AWS that users may name.
    workers
        Instances in flight per export.
    running, running_per_user, waiting_per_user
        How many exports run at one time, in all and of one user, and how many of one user may wait besides.
    memory
        Bytes of files held at one time by all exports together. A larger single file goes alone.
    grace
        Seconds that objects on their way may take to end when an export is stopped.

    Examples
    --------
    >>> exporter = Exporter(pool, archive.file, render=render, allowed_endpoints=())  # doctest: +SKIP
    >>> await exporter.start()  # doctest: +SKIP
    """

    def __init__(
        self,
        pool: AsyncConnectionPool[Any],
        fetch: Fetch,
        *,
        render: Render,
        allowed_endpoints: Iterable[str],
        workers: int = 8,
        running: int = 6,
        running_per_user: int = 2,
        waiting_per_user: int = 20,
        memory: int = 512 * 1024 * 1024,
        grace: float = 5.0,
    ):
        self._store = ExportStore(pool)
        self._fetch, self._render = fetch, render
        self._allowed_endpoints = tuple(allowed_endpoints)
        self._workers, self._running = workers, running
        self._running_per_user, self._waiting_per_user = running_per_user, waiting_per_user
        self._budget = MemoryBudget(memory)
        self._grace = grace
        self._jobs: dict[UUID, _Job] = {}
        self._open = False

    async def start(self) -> None:
        """Create the tables and call ``interrupted`` what a process that died has left waiting or running."""
        interrupted = await self._store.prepare("The gateway stopped before the export was done.", _RESUME)
        if interrupted:
            _logger.warning("%d exports were interrupted by the end of the last process", len(interrupted))
        self._open = True

    async def stop(self) -> None:
        """End all exports as ``interrupted`` and return when their state is written."""
        self._open = False
        jobs = list(self._jobs.values())
        results = await asyncio.gather(
            *(self._end(job, ExportState.INTERRUPTED) for job in jobs), return_exceptions=True
        )
        for job, result in zip(jobs, results, strict=True):
            if isinstance(result, BaseException):
                # The next start calls it interrupted.
                _logger.warning("export %s: its end could not be written (%s)", job.id, type(result).__name__)

    async def submit(self, user: str, instances: Sequence[InstanceRef], request: ExportRequest) -> Export:
        """Take an export in; it starts at once or when its turn comes.

        Parameters
        ----------
        user
            Name of the owner.
        instances
            What to export; the caller has made sure that the user may see all of it. Repetitions do not count.
        request
            From `parse_request`.

        Returns
        -------
        Export
            The record, in state ``queued``.

        Raises
        ------
        ExportRefused
            Nothing to export, too much of it, or too many exports of this user wait.
        """
        self._check_open()
        parse_endpoint(request.endpoint_url, self._allowed_endpoints)
        distinct = list({instance.orthanc_id: instance for instance in instances}.values())
        if not distinct:
            raise ExportRefused("nothing_to_export", "There is nothing to export.", "Search first to see what matches.")
        if len(distinct) > MAX_INSTANCES:
            raise ExportRefused(
                "export_too_large", f"An export holds at most {MAX_INSTANCES} instances.", "Export it in several parts."
            )
        self._check_waiting(user)
        export = await self._store.insert(user, request, distinct, _same_uids(distinct))
        _logger.info("export %s: queued, %d instances", export.id, export.total)
        self._take(export, request.credentials)
        return export

    async def list(self, user: str) -> builtins.list[Export]:
        """Return the user's exports, newest first, the latest 200 of them."""
        return [self._explained(export) for export in await self._store.latest(user, _LISTED)]

    async def get(self, user: str, export_id: UUID | str) -> Export:
        """Return one export of the user, with its first 20 failures.

        Raises
        ------
        ExportNotFound
            There is none, or it is somebody else's.
        """
        return self._explained(await self._store.get(user, _id(export_id), failures=_LISTED_FAILURES))

    async def cancel(self, user: str, export_id: UUID | str, *, because: str = "") -> Export:
        """Stop an export within seconds; what was sent stays in the bucket.

        Parameters
        ----------
        user, export_id
            Whose, and which.
        because
            Why, where it is an administrator who cancels it; its owner reads that.

        Raises
        ------
        ExportNotFound
            There is none, or it is somebody else's.
        ExportConflict
            It has ended already.
        """
        export = await self._store.get(user, _id(export_id))
        if not export.state.active:
            raise ExportConflict("export_ended", f"The export has ended already: it is {export.state}.")
        job = self._jobs.get(export.id)
        if job is not None:
            job.because = because
            await self._end(job, ExportState.CANCELLED)
        else:
            words = ending_words(ExportState.CANCELLED, export, because=because)
            await self._store.finish(export.id, None, ExportState.CANCELLED, *words)
        return await self.get(user, export.id)

    async def resume(
        self,
        user: str,
        export_id: UUID | str,
        credentials: Credentials,
        *,
        visible: Callable[[Sequence[str]], Awaitable[Collection[str]]] | None = None,
    ) -> Export:
        """Go on with an export that has ended, without the instances that were sent already.

        Instances that failed are tried again.

        Parameters
        ----------
        user, export_id
            Whose, and which.
        credentials
            Keys for the rest; they need not be the ones the export began with.
        visible
            Given Orthanc ids, returns those that the user may see now: rights may have changed since the export was
            asked for. The others fail. Without it nothing is checked again.

        Raises
        ------
        ExportNotFound
            There is none, or it is somebody else's.
        ExportConflict
            It waits or runs, or everything was sent.
        ExportRefused
            Its endpoint is not allowed any more, or too many exports of this user wait.
        """
        self._check_open()
        export = await self._store.get(user, _id(export_id))
        leaving = self._jobs.get(export.id)
        if export.resumable and leaving is not None and leaving.task is not None:
            # How it ended is written a moment before it is gone from here.
            await asyncio.wait({leaving.task}, timeout=self._grace)
            export = await self._store.get(user, export.id)
        if not export.resumable or export.id in self._jobs:
            message = f"There is nothing to resume: the export is {export.state}."
            raise ExportConflict("export_not_resumable", message)
        parse_endpoint(export.endpoint_url, self._allowed_endpoints)
        self._check_waiting(user)
        if not await self._store.requeue(user, export.id):
            raise ExportConflict("export_not_resumable", "The export was resumed by another request.")
        if visible is not None:
            try:
                await self._reject_invisible(export.id, visible)
            except BaseException:
                # Nobody runs it: it must not look as if it waited.
                await self._store.finish(export.id, None, export.state, export.message, export.hint)
                raise
        _logger.info("export %s: queued again", export.id)
        queued = await self._store.get(user, export.id)
        self._take(queued, credentials)
        return queued

    async def _reject_invisible(
        self, export_id: UUID, visible: Callable[[Sequence[str]], Awaitable[Collection[str]]]
    ) -> None:
        after = -1
        while page := await self._store.pending(export_id, after, _VISIBLE_PAGE):
            allowed = set(await visible([instance.orthanc_id for instance in page]))
            hidden = [instance.ordinal for instance in page if instance.orthanc_id not in allowed]
            if hidden:
                await self._store.reject(export_id, hidden, NOT_VISIBLE)
            after = page[-1].ordinal

    def _check_open(self) -> None:
        if not self._open:
            raise ExportRefused("exporter_stopped", "Exports are not taken at the moment.", "Try again in a minute.")

    def _check_waiting(self, user: str) -> None:
        mine = sum(job.user == user for job in self._jobs.values())
        if mine >= self._running_per_user + self._waiting_per_user:
            raise ExportRefused(
                "too_many_exports", f"{mine} of your exports wait or run already.", "Let one end, or cancel one."
            )

    def _take(self, export: Export, credentials: Credentials) -> None:
        self._jobs[export.id] = _Job(export.id, export.user, export, credentials)
        self._start_waiting()

    def _start_waiting(self) -> None:
        """Start what may start: the user with the fewest running exports first, then whoever waits longest."""
        while self._open:
            running = Counter(job.user for job in self._jobs.values() if job.task is not None)
            waiting = [
                job
                for job in self._jobs.values()
                if job.task is None and job.ended_as is None and running[job.user] < self._running_per_user
            ]
            if not waiting or running.total() >= self._running:
                return
            # Jobs stand in the order in which they came, and min() takes the first of equals.
            job = min(waiting, key=lambda candidate: running[candidate.user])
            job.task = asyncio.create_task(self._run(job), name=f"export {job.id}")

    def _explained(self, export: Export) -> Export:
        """Say why a waiting export waits."""
        job = self._jobs.get(export.id)
        if export.state is not ExportState.QUEUED or job is None or job.task is not None:
            return export
        mine = sum(job.task is not None and job.user == export.user for job in self._jobs.values())
        others = "your other exports" if mine >= self._running_per_user else "other exports"
        return dataclasses.replace(export, message=f"It waits until {others} are done.")

    async def _end(self, job: _Job, state: ExportState) -> None:
        """End an export before its time, politely at first."""
        job.ended_as = job.ended_as or state
        if job.task is None:
            self._jobs.pop(job.id, None)
            export = await self._store.get(job.user, job.id)
            await self._store.finish(
                job.id, None, job.ended_as, *ending_words(job.ended_as, export, because=job.because)
            )
            return
        if job.transfer is not None:
            job.transfer.stop()
        _, still_running = await asyncio.wait({job.task}, timeout=self._grace)
        if still_running:
            if job.transfer is not None:
                job.transfer.abandon()
            job.task.cancel()
            await asyncio.wait({job.task}, timeout=self._grace)

    async def _run(self, job: _Job) -> None:
        executor = ThreadPoolExecutor(self._workers, thread_name_prefix=f"export-{job.id.hex[:8]}")
        run: int | None = None
        try:
            run = await patiently(lambda: self._store.begin(job.id))
            if run is None:
                return
            await self._transfer(job, run, executor)
        except TakenOver:
            _logger.warning("export %s: another process has taken it over", job.id)
        except (DestinationFailed, SourceFailed) as problem:
            await self._finish(job, run, ExportState.FAILED, problem.message, problem.hint)
        except asyncio.CancelledError:
            # Only _end cancels, after its grace: the state still has to be written.
            await self._finish(job, run, job.ended_as or ExportState.INTERRUPTED)
        except Exception as error:  # noqa: BLE001 - whatever it was, the export must not stay "running"
            _logger.error("export %s: unexpected %s", job.id, type(error).__name__)
            message = f"The export stopped by an error inside the gateway ({type(error).__name__})."
            await self._finish(job, run, ExportState.FAILED, message, "Tell the operator; then resume the export.")
        else:
            await self._finish(job, run, job.ended_as)
        finally:
            if job.transfer is not None:
                job.transfer.abandon()
            executor.shutdown(wait=False, cancel_futures=True)
            self._jobs.pop(job.id, None)
            self._start_waiting()

    async def _transfer(self, job: _Job, run: int, executor: ThreadPoolExecutor) -> None:
        export = job.export
        loop = asyncio.get_running_loop()
        bucket = await loop.run_in_executor(
            executor,
            lambda: Bucket(
                parse_destination(export.destination),
                job.credentials,
                endpoint_url=export.endpoint_url,
                region=export.region,
                connections=self._workers,
            ),
        )
        try:
            job.transfer = Transfer(
                job.id,
                run,
                store=self._store,
                bucket=bucket,
                fetch=self._fetch,
                render=self._render,
                budget=self._budget,
                format=export.format,
                executor=executor,
                workers=self._workers,
            )
            if job.ended_as is not None:
                job.transfer.stop()
            await job.transfer.run()
        finally:
            bucket.close()

    async def _finish(
        self, job: _Job, run: int | None, state: ExportState | None, message: str = "", hint: str = ""
    ) -> None:
        async def write() -> Export:
            export = await self._store.get(job.user, job.id)
            reasons = await self._store.reasons(job.id) if export.failed else {}
            everything = export.done + export.failed == export.total
            if state is None or (everything and not message):
                ended = ExportState.DONE if export.done else ExportState.FAILED
            else:
                ended = state
            words = (message, hint) if message else ending_words(ended, export, reasons, job.because)
            await self._store.finish(job.id, run, ended, *words)
            return await self._store.get(job.user, job.id)

        export = await patiently(write)
        _logger.info(
            "export %s: %s, %d of %d instances sent, %d failed, %d bytes",
            job.id,
            export.state,
            export.done,
            export.total,
            export.failed,
            export.bytes,
        )


def ending_words(
    state: ExportState, export: Export, reasons: dict[str, int] | None = None, because: str = ""
) -> tuple[str, str]:
    """Return the message and the hint of an export that ended.

    Parameters
    ----------
    state, export
        How it ended, and which.
    reasons
        Why instances failed, and how many.
    because
        Why an administrator cancelled it; empty if none did.
    """
    failures = summarise(reasons or {})
    if state is ExportState.CANCELLED and because:
        done = f"after {export.done} of {export.total} instances"
        return f"Cancelled by an administrator {done}: {because}", "Ask the administrator before you resume it."
    if state is ExportState.CANCELLED:
        return f"Cancelled after {export.done} of {export.total} instances.", _RESUME
    if state is ExportState.INTERRUPTED:
        return f"The gateway stopped after {export.done} of {export.total} instances.", _RESUME
    if not export.failed:
        return f"Exported {export.total} of {export.total} instances.", ""
    if not export.done:
        return f"Exported none of {export.total} instances: {failures}.", _AGAIN
    return f"Exported {export.done} of {export.total} instances; not exported: {failures}.", _AGAIN


def _same_uids(instances: Sequence[InstanceRef]) -> dict[int, str]:
    """Return the ordinals whose object would overwrite that of an earlier instance."""
    seen: set[tuple[str, str, str]] = set()
    rejected: dict[int, str] = {}
    for ordinal, instance in enumerate(instances):
        uids = (instance.study_uid, instance.series_uid, instance.sop_uid)
        if uids in seen:
            rejected[ordinal] = SAME_UIDS
        seen.add(uids)
    return rejected


def _id(export_id: UUID | str) -> UUID:
    try:
        return export_id if isinstance(export_id, UUID) else UUID(export_id)
    except ValueError:
        raise ExportNotFound from None
