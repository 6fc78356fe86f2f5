"""Cleaning a batch: original in, confirmed clean copy out, and only then the original goes.

For each batch::

    read originals -> clean -> send and confirm -> one transaction: journal, outcomes
                   -> delete originals -> forget them

A process may be killed between any two steps: the batch is then done again from the start, with the same result.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
import traceback
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import psycopg
import psycopg_pool

from deid_service._buffers import Data, SpoolError, size_of
from deid_service._orthanc import Orthanc
from deid_service.engine import Cleaned, Discarded
from deid_service.errors import CleaningStoppedError, Refused
from deid_service.journal import Journal, JournalledMapping
from deid_service.pipeline.errors import (
    InterruptedBatchError,
    OrthancRefusalError,
    OrthancUnavailableError,
)
from deid_service.pipeline.jobs import STALLED_SECONDS, enqueue
from deid_service.pipeline.kinds import kind_of, kind_of_parts
from deid_service.pipeline.outcomes import BatchResult, QuarantineReason, record, remove_settled
from deid_service.pipeline.rules_file import RulesFile, RulesInForce
from deid_service.pipeline.send import CleanCopy, send_clean_copies
from deid_service.pipeline.troubles import Gate, Troubles

__all__ = ["Worker"]

_log = logging.getLogger("deid_service.pipeline")

# Clean copies are sent as soon as they add up to this, so that a batch of large files does not fill the memory.
_SEND_BYTES = 64 * 2**20
# An ingest Orthanc that is well but cannot read one file is given this many tries over some minutes.
_READ_ATTEMPTS = 8
# An OCR engine that is throttled, unreachable or out of memory may be well again in some minutes.
_OCR_ATTEMPTS = 12
# To look for text takes minutes where a header is cleaned in milliseconds. A batch that has taken so long is closed:
# what is finished arrives, and what has not begun goes back into the queue, for whoever has time.
_BATCH_SECONDS = 30.0
_LONGEST_DELAY = 15.0


class Worker:
    """Cleans batches. One per process; several batches may be under way in it at a time.

    Parameters
    ----------
    ingest, research
        The two servers.
    rules
        The rules file, valid at least once.
    troubles
        Where trouble is reported.
    """

    def __init__(self, ingest: Orthanc, research: Orthanc, rules: RulesFile, troubles: Troubles) -> None:
        self._ingest, self._research, self._rules = ingest, research, rules
        self._ingest_gate = Gate(ingest.name, troubles, ingest.ping)
        self._research_gate = Gate(research.name, troubles, research.ping)
        self._journal = Journal()
        self._stop = threading.Event()

    def stop(self) -> None:
        """Finish the instances under way, but for those whose frames are searched for text, and put the rest back."""
        self._stop.set()

    async def clean_batch(
        self, pool: psycopg_pool.AsyncConnectionPool[psycopg.AsyncConnection], ids: Sequence[str], attempt: int
    ) -> None:
        """Take a batch from its originals to its end.

        Parameters
        ----------
        pool
            Database connections.
        ids
            Orthanc ids of the originals.
        attempt
            How often the batch was put off before.

        Raises
        ------
        InterruptedBatchError
            If the service stops before the batch began.
        psycopg.Error
            If the database is gone; the batch will be done again.
        """
        rules = self._rules.in_force
        while rules is None or not await asyncio.to_thread(self._servers_are_well):
            if self._stop.is_set():
                raise InterruptedBatchError("the service is stopping")
            await asyncio.sleep(0.1)
            rules = self._rules.in_force
        started = time.monotonic()
        result = await asyncio.to_thread(self._work, ids, rules, attempt)
        worked = time.monotonic()
        async with pool.connection() as connection, connection.transaction():
            written = await self._journal.write(connection, result.mappings)
            counts = await record(connection, result, rules.digest)
            await self._put_off(connection, result.left, attempt)
            await enqueue(connection, result.unbegun, attempt=attempt)
        self._journal.remember(written)
        recorded = time.monotonic()
        await self._delete_originals(pool, result.settled, attempt, recorded)
        _log.info(
            "batch of %d: %s%s in %.0f ms (%.0f working, %.0f recording, %.0f deleting)",
            len(ids),
            ", ".join(f"{number} {outcome}" for outcome, number in counts.items()) or "nothing new",
            (f", {len(result.left)} put off" if result.left else "")
            + (f", {len(result.unbegun)} left to others" if result.unbegun else ""),
            (time.monotonic() - started) * 1e3,
            (worked - started) * 1e3,
            (recorded - worked) * 1e3,
            (time.monotonic() - recorded) * 1e3,
        )

    def look_at_servers(self) -> None:
        """Ask a server that was in trouble whether it is well again. Blocks; to be called again and again."""
        self._ingest_gate.look()
        self._research_gate.look()

    def _servers_are_well(self) -> bool:
        return self._ingest_gate.is_open() and self._research_gate.is_open()

    async def _put_off(self, connection: psycopg.AsyncConnection, ids: Sequence[str], attempt: int) -> None:
        # When stopping, others shall go on with it at once.
        delay = 0.0 if self._stop.is_set() else min(_LONGEST_DELAY, 0.5 * 2 ** min(attempt, 10))
        await enqueue(connection, ids, attempt=attempt + (0 if self._stop.is_set() else 1), delay=delay)

    async def _delete_originals(
        self,
        pool: psycopg_pool.AsyncConnectionPool[psycopg.AsyncConnection],
        settled: Sequence[str],
        attempt: int,
        recorded: float,
    ) -> None:
        if not settled:
            return
        deleted = False
        # A process that slept meanwhile (a suspended machine) may have been replaced, and the same ids may have
        # arrived again since. Then it looks again instead of deleting.
        if time.monotonic() - recorded < STALLED_SECONDS:
            try:
                await asyncio.to_thread(self._ingest.delete_instances, settled)
                deleted = True
            except OrthancUnavailableError as error:
                self._ingest_gate.failed(str(error), unreachable=True)
            except OrthancRefusalError as error:
                self._ingest_gate.failed(str(error), unreachable=False)
        async with pool.connection() as connection, connection.transaction():
            if deleted:
                await remove_settled(connection, settled)
            else:
                await self._put_off(connection, settled, attempt)

    # In a thread: everything that blocks or computes

    def _work(self, ids: Sequence[str], rules: RulesInForce, attempt: int) -> BatchResult:
        result = BatchResult()
        waiting: list[CleanCopy] = []
        mappings: dict[str, list[JournalledMapping]] = {}
        todo = list(ids)
        started = time.monotonic()
        while todo and not self._stop.is_set():
            if len(todo) < len(ids) and time.monotonic() - started > _BATCH_SECONDS:
                result.unbegun = todo
                todo = []
                break
            orthanc_id = todo[0]
            try:
                original = self._ingest.file(orthanc_id)
            except OrthancUnavailableError as error:
                self._ingest_gate.failed(str(error), unreachable=True)
                break
            except (OrthancRefusalError, SpoolError) as error:
                todo.pop(0)
                if attempt >= _READ_ATTEMPTS:
                    result.quarantined[orthanc_id] = (
                        QuarantineReason("too_large", str(error))
                        if isinstance(error, SpoolError)
                        else QuarantineReason(
                            "unreadable", f"the ingest Orthanc cannot read its file (HTTP {error.status})"
                        )
                    )
                else:
                    result.left.append(orthanc_id)
                continue
            todo.pop(0)
            self._ingest_gate.succeeded()
            if original is None:
                result.gone.append(orthanc_id)
                continue
            try:
                outcome = _clean(rules, orthanc_id, original, self._stop)
            except CleaningStoppedError:
                todo.insert(0, orthanc_id)
                break
            if isinstance(outcome, QuarantineReason) and outcome.reason == "ocr_failed" and attempt < _OCR_ATTEMPTS:
                _log.warning("instance %s is put off: %s", orthanc_id, outcome.message)
                result.left.append(orthanc_id)
                continue
            if isinstance(outcome, QuarantineReason):
                outcome = replace(outcome, kind=kind_of(original))
            del original
            if isinstance(outcome, QuarantineReason):
                result.quarantined[orthanc_id] = outcome
            elif isinstance(outcome, Discarded):
                result.discarded.append(orthanc_id)
            else:
                waiting.append(CleanCopy(orthanc_id, outcome.sop_instance_uid, outcome.parts))
                mappings[orthanc_id] = list(outcome.mappings)
                if sum(size_of(copy.parts) for copy in waiting) >= _SEND_BYTES:
                    self._send(waiting, result)
                    waiting = []
        self._send(waiting, result)
        result.left += todo
        for orthanc_id in result.done:
            result.mappings += mappings[orthanc_id]
        return result

    def _send(self, copies: Sequence[CleanCopy], result: BatchResult) -> None:
        if not copies:
            return
        waiting = {copy.orthanc_id: copy for copy in copies}
        try:
            for orthanc_id, problem in send_clean_copies(self._research, copies):
                copy = waiting.pop(orthanc_id)
                if problem is None:
                    result.done.append(orthanc_id)
                else:
                    result.quarantined[orthanc_id] = replace(problem, kind=kind_of_parts(copy.parts))
            self._research_gate.succeeded()
        except OrthancUnavailableError as error:
            self._research_gate.failed(str(error), unreachable=True)
        except OrthancRefusalError as error:
            self._research_gate.failed(str(error), unreachable=False)
        result.left += waiting


def _clean(
    rules: RulesInForce, orthanc_id: str, original: Data, stop: threading.Event | None = None
) -> Cleaned | Discarded | QuarantineReason:
    try:
        return rules.deidentifier.clean(original, stop=stop)
    except CleaningStoppedError:
        raise
    except Refused as refusal:
        return QuarantineReason(refusal.reason_code, refusal.message)
    except MemoryError:
        return QuarantineReason("too_large", "the memory does not suffice to clean this instance")
    except Exception as error:  # noqa: BLE001 - fail closed: whatever happens, the instance is not forwarded
        # The text of an unknown exception can quote the file. Where it came from cannot.
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{type(error).__name__} in {Path(place.filename).name}, line {place.lineno}"
        _log.error("instance %s could not be cleaned: %s", orthanc_id, where)
        return QuarantineReason("unexpected_error", f"unexpected {where}")
