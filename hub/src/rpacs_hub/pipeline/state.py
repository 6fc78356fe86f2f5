"""How the de-identifier is doing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final

from psycopg import AsyncConnection

from rpacs_hub.pipeline._views import check_version, rows
from rpacs_hub.pipeline.rules import Rules, rules_in_force

__all__ = ["OUTCOMES", "Hour", "PipelineState", "Worker", "read_state"]

OUTCOMES: Final[Mapping[str, str]] = {
    "arrived": "arrived",
    "done": "cleaned and forwarded",
    "quarantined": "held back in quarantine",
    "discarded": "discarded by the rules",
    "discarded_by_hand": "discarded by a person",
    "gone": "removed from the ingest Orthanc by others",
}
"""What can become of an instance, and in words."""

_WINDOWS: Final = """
SELECT outcome,
    coalesce(sum(instances) FILTER (WHERE minute = date_trunc('minute', now()) - interval '1 minute'), 0) AS minute,
    coalesce(sum(instances) FILTER (WHERE minute > now() - interval '1 hour'), 0) AS hour,
    coalesce(sum(instances) FILTER (WHERE minute > now() - interval '1 day'), 0) AS day
FROM deid.shown_minute GROUP BY outcome
"""
_HOURS: Final = """
SELECT start, outcome, coalesce(sum(instances), 0)::bigint AS instances
FROM generate_series(date_trunc('hour', now(), 'UTC') - interval '23 hours', now(), interval '1 hour') AS start
LEFT JOIN deid.shown_minute ON minute >= start AND minute < start + interval '1 hour'
GROUP BY start, outcome ORDER BY start
"""


@dataclass(frozen=True)
class Worker:
    """A process of the de-identifier.

    Attributes
    ----------
    host, pid
        Where it runs.
    started, seen
        When it started and gave its last sign of life.
    alive
        Whether that was within the last few seconds.
    feeding
        Whether it is the one that queues what arrives.
    troubles
        What is wrong at the moment, in words.
    """

    host: str
    pid: int
    started: datetime
    seen: datetime
    alive: bool
    feeding: bool
    troubles: list[str]


@dataclass(frozen=True)
class Hour:
    """An hour, and how many instances had which outcome in it."""

    start: datetime
    counts: Mapping[str, int]


@dataclass(frozen=True)
class PipelineState:
    """The state of the de-identifier.

    Attributes
    ----------
    queued
        Instances that wait to be cleaned or are being cleaned.
    oldest_seconds
        For how long the oldest of them has been waiting; None if none waits.
    ever, minute, hour, day
        Outcome -> instances: ever, in the last whole minute, in the last 60 minutes, in the last 24 hours.
    hours
        The last 24 hours, each by the clock (UTC), the oldest first.
    workers
        Those that live or died within the hour.
    rules
        The rules in force.
    quarantined
        Reason code -> instances in quarantine.
    troubles
        What is wrong at the moment, in words, from all processes that live.
    """

    queued: int
    oldest_seconds: float | None
    ever: Mapping[str, int]
    minute: Mapping[str, int]
    hour: Mapping[str, int]
    day: Mapping[str, int]
    hours: list[Hour]
    workers: list[Worker]
    rules: Rules
    quarantined: Mapping[str, int]
    troubles: list[str]

    @property
    def alive(self) -> int:
        """Number of processes that live."""
        return sum(worker.alive for worker in self.workers)

    @property
    def well(self) -> bool:
        """Whether some process lives and nothing is wrong. A quarantine that is not empty is no fault."""
        return bool(self.alive) and not self.troubles and not self.rules.error

    def to_json(self) -> dict[str, Any]:
        """Return the state for JSON; times are left as they are."""
        return {"well": self.well, "alive": self.alive} | asdict(self)


async def read_state(connection: AsyncConnection[Any]) -> PipelineState:
    """Read the state.

    Parameters
    ----------
    connection
        Of the gateway's role, in autocommit mode.

    Raises
    ------
    PipelineAbsent
        There is no de-identifier.
    """
    await check_version(connection)
    (queue,) = await rows(
        connection, "SELECT queued, extract(epoch FROM now() - oldest)::float AS oldest FROM deid.shown_queue"
    )
    ever = await rows(connection, "SELECT outcome, instances FROM deid.shown_count")
    windows = await rows(connection, _WINDOWS)
    held = await rows(
        connection, "SELECT reason, count(*) AS n FROM deid.shown_quarantine GROUP BY reason ORDER BY n DESC, reason"
    )
    workers = [
        Worker(**row)
        for row in await rows(
            connection,
            "SELECT host, pid, started, seen, alive, feeding, troubles FROM deid.shown_process ORDER BY host, pid",
        )
    ]
    return PipelineState(
        queued=queue["queued"],
        oldest_seconds=None if queue["oldest"] is None else round(max(queue["oldest"], 0.0), 1),
        ever={row["outcome"]: int(row["instances"]) for row in ever},
        minute={row["outcome"]: int(row["minute"]) for row in windows},
        hour={row["outcome"]: int(row["hour"]) for row in windows},
        day={row["outcome"]: int(row["day"]) for row in windows},
        hours=_hours(await rows(connection, _HOURS)),
        workers=workers,
        rules=await rules_in_force(connection),
        quarantined={row["reason"]: int(row["n"]) for row in held},
        troubles=sorted({trouble for worker in workers if worker.alive for trouble in worker.troubles}),
    )


def _hours(found: list[dict[str, Any]]) -> list[Hour]:
    by_start: dict[datetime, dict[str, int]] = {}
    for row in found:
        counts = by_start.setdefault(row["start"], {})
        if row["outcome"] is not None:
            counts[row["outcome"]] = int(row["instances"])
    return [Hour(start, counts) for start, counts in by_start.items()]
