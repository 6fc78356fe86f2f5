"""How the service is doing, from what its processes tell the database."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import psycopg
from psycopg.rows import dict_row

from deid_service._orthanc import Orthanc
from deid_service.pipeline.errors import OrthancRefusalError, OrthancUnavailableError
from deid_service.pipeline.jobs import STALLED_SECONDS
from deid_service.pipeline.schema import connect, prepare

__all__ = ["Process", "Status", "read_status"]


@dataclass(frozen=True)
class Process:
    """A process of the service.

    Attributes
    ----------
    host, pid
        Where it runs.
    alive
        Whether it reported within the last few seconds.
    silent_s
        Seconds since its last report.
    feeding
        Whether it is the one that queues what arrives.
    rules_digest, rules_error
        The rules that it applies (SHA-256), and what is wrong with the file as it is now.
    troubles
        What is wrong at the moment, in words.
    """

    host: str
    pid: int
    alive: bool
    silent_s: float
    feeding: bool
    rules_digest: str | None
    rules_error: str | None
    troubles: list[str]


@dataclass(frozen=True)
class Status:
    """The state of the whole service.

    Attributes
    ----------
    queued
        Instances waiting to be cleaned or being cleaned.
    oldest_waiting_s
        Seconds for which the oldest of them has been waiting; None if there is none.
    ingest_instances
        Instances in the ingest Orthanc, those in quarantine included; None if it does not answer.
    ingest_error
        Why it does not answer.
    quarantined
        Number of instances in quarantine by reason; those that are queued again for a retry do not count.
    counts
        Ever: ``done``, ``discarded``, ``gone`` (removed from the ingest Orthanc by somebody else), ``quarantined``,
        ``discarded_by_hand``.
    per_s
        Instances done and discarded per second, over the last one to two minutes.
    rules_digest
        Rules in force. None if there are none, or if the processes have not all read the same file yet.
    rules_error
        What is wrong with the rules file as it is now, None if it is in force.
    troubles
        What is wrong at the moment, in words, from all processes.
    processes
        Those that live or died within the hour.
    """

    queued: int
    oldest_waiting_s: float | None
    ingest_instances: int | None
    ingest_error: str | None
    quarantined: dict[str, int]
    counts: dict[str, int]
    per_s: float
    rules_digest: str | None
    rules_error: str | None
    troubles: list[str]
    processes: list[Process]

    @property
    def well(self) -> bool:
        """Whether some process lives and nothing is wrong. A quarantine that is not empty is no fault."""
        return any(process.alive for process in self.processes) and not (
            self.rules_error or self.troubles or self.ingest_error
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the status for JSON."""
        return {"well": self.well} | asdict(self)


def read_status(database_url: str, ingest_url: str | None) -> Status:
    """Read the status.

    Parameters
    ----------
    database_url
        PostgreSQL address.
    ingest_url
        Ingest Orthanc, asked how many instances it holds; None to leave that out.

    Raises
    ------
    DatabaseUnavailableError
        If the database does not answer.
    """
    prepare(database_url)
    with connect(database_url) as connection:
        queued, oldest = _row(
            connection, "SELECT count(*), extract(epoch FROM now() - min(queued_at)) FROM inbox WHERE state = 'queued'"
        )
        quarantined = _pairs(
            connection,
            """
            SELECT reason, count(*) FROM quarantine
            WHERE NOT EXISTS (SELECT FROM inbox WHERE inbox.orthanc_id = quarantine.orthanc_id)
            GROUP BY reason ORDER BY reason
            """,
        )
        counts = _pairs(
            connection, "SELECT outcome, instances FROM counter WHERE outcome <> 'arrived' ORDER BY outcome"
        )
        (per_s,) = _row(
            connection,
            """
            SELECT coalesce(sum(instances), 0)
                / extract(epoch FROM now() - date_trunc('minute', now()) + interval '1 minute')
            FROM minute
            WHERE minute >= date_trunc('minute', now()) - interval '1 minute' AND outcome IN ('done', 'discarded')
            """,
        )
        processes = _processes(connection)
    ingest_instances, ingest_error = _ingest(ingest_url)
    living = [process for process in processes if process.alive]
    digests = {process.rules_digest for process in living}
    return Status(
        queued=queued,
        oldest_waiting_s=None if oldest is None else round(float(oldest), 1),
        ingest_instances=ingest_instances,
        ingest_error=ingest_error,
        quarantined=quarantined,
        counts=counts,
        per_s=round(float(per_s), 2),
        rules_digest=digests.pop() if len(digests) == 1 else None,
        rules_error=next((process.rules_error for process in living if process.rules_error), None),
        troubles=sorted({trouble for process in living for trouble in process.troubles}),
        processes=processes,
    )


def _processes(connection: psycopg.Connection) -> list[Process]:
    with connection.cursor(row_factory=dict_row) as cursor:
        cursor.execute(
            """
            SELECT host, pid, extract(epoch FROM now() - seen)::float AS silent, feeding, rules_digest, rules_error,
                troubles
            FROM process ORDER BY host, pid
            """
        )
        return [_process(row) for row in cursor.fetchall()]


def _process(row: Mapping[str, Any]) -> Process:
    return Process(
        row["host"],
        row["pid"],
        row["silent"] < STALLED_SECONDS,
        round(row["silent"], 1),
        row["feeding"] and row["silent"] < STALLED_SECONDS,
        row["rules_digest"],
        row["rules_error"],
        row["troubles"],
    )


def _ingest(url: str | None) -> tuple[int | None, str | None]:
    if url is None:
        return None, None
    ingest = Orthanc(url, "ingest Orthanc", timeout=5)
    try:
        return ingest.count(), None
    except (OrthancUnavailableError, OrthancRefusalError) as error:
        return None, str(error)
    finally:
        ingest.close()


def _row(connection: psycopg.Connection, query: str) -> tuple[Any, ...]:
    row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return row


def _pairs(connection: psycopg.Connection, query: str) -> dict[str, int]:
    return {name: int(number) for name, number in connection.execute(query.encode()).fetchall()}
