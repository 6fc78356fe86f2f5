"""Batches of Orthanc ids in the job queue.

A job's arguments are Orthanc ids and a count of attempts, nothing of a patient. A job is never the only trace of an
instance: the table ``inbox`` lists what is queued, and the ingest Orthanc holds it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import procrastinate
import procrastinate.retry
import psycopg
from procrastinate.jobs import Job
from procrastinate.manager import JobManager

__all__ = ["BATCH", "QUEUE", "STALLED_SECONDS", "TASK", "AlwaysRetry", "enqueue", "recover_stalled"]

QUEUE = "deid"
TASK = "deid.clean_batch"
# Large enough to share the database's round trips, small enough that several workers share one study.
BATCH = 16
# A worker that has not reported for so long is dead and its jobs go to others. It reports every second; a live one
# that is taken for dead does no harm, because whatever two workers do to one instance comes out the same.
STALLED_SECONDS = 5.0

# To defer through a connection of ours the manager needs no pool of its own.
_manager = JobManager(procrastinate.PsycopgConnector())


async def enqueue(
    connection: psycopg.AsyncConnection, orthanc_ids: Sequence[str], *, attempt: int = 0, delay: float = 0
) -> None:
    """Defer the instances' batches, in the caller's transaction.

    Parameters
    ----------
    connection
        Within a transaction.
    orthanc_ids
        Any number; cut into batches.
    attempt
        How often this was tried and put off before.
    delay
        Seconds to wait.
    """
    if not orthanc_ids:
        return
    scheduled_at = datetime.now(UTC) + timedelta(seconds=delay) if delay else None
    jobs = [
        Job(
            id=None,
            queue=QUEUE,
            lock=None,
            queueing_lock=None,
            task_name=TASK,
            task_kwargs={"ids": list(orthanc_ids[start : start + BATCH]), "attempt": attempt},
            scheduled_at=scheduled_at,
        )
        for start in range(0, len(orthanc_ids), BATCH)
    ]
    for start in range(0, len(jobs), 1000):
        await _manager.batch_defer_jobs_async(jobs[start : start + 1000], connection=connection)


async def recover_stalled(connection: psycopg.AsyncConnection) -> int:
    """Put the jobs of dead workers back into the queue and return how many there were.

    One statement of our own rather than `JobManager.get_stalled_jobs` and ``retry_job``: between those two a job
    could be finished or taken by somebody else.
    """
    cursor = await connection.execute(
        """
        WITH stalled AS (
            SELECT job.id FROM procrastinate_jobs job
            LEFT JOIN procrastinate_workers worker ON worker.id = job.worker_id
            WHERE job.status = 'doing' AND job.queue_name = %s
                AND (worker.id IS NULL OR worker.last_heartbeat < now() - make_interval(secs => %s))
            FOR UPDATE OF job SKIP LOCKED
        )
        SELECT count(procrastinate_retry_job_v2(id, now(), NULL, NULL, NULL)) FROM stalled
        """,
        (QUEUE, STALLED_SECONDS),
    )
    row = await cursor.fetchone()
    return int(row[0]) if row else 0


class AlwaysRetry(procrastinate.retry.BaseRetryStrategy):
    """A batch that ended in an exception is tried again soon, for ever."""

    def get_retry_decision(self, *, exception: BaseException, job: Job) -> procrastinate.RetryDecision:  # noqa: ARG002
        """Return when to try again: up to 15 s later, longer the more often the job failed."""
        return procrastinate.RetryDecision(retry_in={"seconds": min(15, 2 ** min(job.attempts, 4) - 1)})
