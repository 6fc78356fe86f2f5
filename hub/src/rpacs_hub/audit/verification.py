"""Checking the audit beside the gateway: a process of its own does it, so that nobody's request waits for it.

The result of each check is kept in ``gateway.audit_check``, for whoever asks when the audit was last found whole.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import psycopg
from psycopg.rows import dict_row

from rpacs_hub.audit.verify import Verification, verify_audit
from rpacs_hub.errors import AuditUnreadable

__all__ = ["Check", "Running", "Verifier", "last_check", "main", "record_check"]

_log = logging.getLogger(__name__)

_KEPT_FINDINGS: Final = 100
_NICE: Final = 10
_NOT_WHOLE: Final = 3
# Any number that nothing else locks: one process at a time makes the table.
_LOCK: Final = 0x4155_4443
_TABLE: Final = """
CREATE TABLE IF NOT EXISTS gateway.audit_check (
    finished timestamptz NOT NULL DEFAULT clock_timestamp(),
    started timestamptz NOT NULL,
    asked_by text NOT NULL,
    places text NOT NULL,
    lines bigint NOT NULL,
    seq bigint NOT NULL,
    hash text NOT NULL,
    findings integer NOT NULL,
    first_findings jsonb NOT NULL,
    error text
);
"""


@dataclass(frozen=True)
class Check:
    """A check that has ended.

    Attributes
    ----------
    started, finished
        When.
    asked_by
        Who asked for it.
    places
        What was checked: ``table and file``, ``table``.
    lines
        How many lines the table had.
    seq, hash
        Number and digest of the last one, to be noted elsewhere.
    findings
        How many things were wrong; 0 = the audit is whole.
    first_findings
        The first hundred of them, in words.
    error
        Why the check could not be carried out; None if it was.
    """

    started: datetime
    finished: datetime
    asked_by: str
    places: str
    lines: int
    seq: int
    hash: str
    findings: int
    first_findings: list[str]
    error: str | None

    @property
    def whole(self) -> bool:
        """Whether the check was carried out and found nothing."""
        return self.error is None and not self.findings


@dataclass(frozen=True)
class Running:
    """A check that is under way.

    Attributes
    ----------
    asked_by, started
        Who asked for it, and when it began.
    lines, total
        Lines read so far, in table and file together, and about how many there are.
    """

    asked_by: str
    started: datetime
    lines: int
    total: int


def record_check(
    connection: psycopg.Connection[Any],
    result: Verification | None,
    *,
    started: datetime,
    asked_by: str,
    places: str,
    error: str | None = None,
    create: bool = False,
) -> None:
    """Keep the result of a check.

    Parameters
    ----------
    connection
        In autocommit mode, of the role that owns the schema ``gateway``.
    result
        What was found; None if the check could not be carried out.
    started, asked_by, places, error
        See `Check`.
    create
        Whether to make the table where it is missing.
    """
    if create and connection.execute("SELECT to_regclass('gateway.audit_check')").fetchone() == (None,):
        with connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
            connection.execute(_TABLE)
    result = result or Verification()
    connection.execute(
        "INSERT INTO gateway.audit_check (started, asked_by, places, lines, seq, hash, findings, first_findings, error)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)",
        (
            started,
            asked_by,
            places,
            result.lines,
            result.head.seq,
            result.head.hash,
            len(result.findings),
            json.dumps([str(finding) for finding in result.findings[:_KEPT_FINDINGS]]),
            error,
        ),
    )


async def last_check(connection: psycopg.AsyncConnection[Any]) -> Check | None:
    """Return the latest check, None if there was none."""
    try:
        async with connection.cursor(row_factory=dict_row) as cursor:
            await cursor.execute("SELECT * FROM gateway.audit_check ORDER BY finished DESC LIMIT 1")
            row = await cursor.fetchone()
    except psycopg.errors.UndefinedTable:
        return None
    return Check(**row) if row else None


class Verifier:
    """Runs one check at a time.

    Parameters
    ----------
    database_url
        Address of the database for the gateway's role.
    log
        The file of audit lines.
    """

    def __init__(self, database_url: str, log: Path):
        self._database_url, self._path = database_url, log
        self._task: asyncio.Task[None] | None = None
        self._progress: Running | None = None

    @property
    def running(self) -> Running | None:
        """The check that is under way; None if there is none."""
        return None if self._task is None or self._task.done() else self._progress

    def start(self, asked_by: str) -> bool:
        """Begin a check; return False if one is under way already."""
        if self.running is not None:
            return False
        self._progress = Running(asked_by, datetime.now(UTC), 0, 0)
        self._task = asyncio.create_task(self._run(asked_by), name="audit check")
        return True

    async def wait(self, seconds: float) -> bool:
        """Wait for the end of a check, but not longer than so; return whether none is under way any more."""
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=seconds)
        return self.running is None

    async def close(self) -> None:
        """Give up a check that is under way."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self, asked_by: str) -> None:
        # Neither the address, which holds a password, nor anything else of value is on the command line.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("JUPYTERHUB_")}
        environment |= {
            "RPACS_DATABASE_URL": self._database_url,
            "RPACS_AUDIT_LOG": str(self._path),
            "RPACS_ASKED_BY": asked_by,
        }
        process: asyncio.subprocess.Process | None = None
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-c",
                "import sys; from rpacs_hub.audit.verification import main; sys.exit(main())",
                env=environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
            )
            assert process.stdout is not None
            async for line in process.stdout:
                lines, total = map(int, line.split())
                assert self._progress is not None
                self._progress = Running(asked_by, self._progress.started, lines, total)
            code = await process.wait()
            _log.info(
                "the audit was checked: %s", {0: "whole", _NOT_WHOLE: "NOT WHOLE"}.get(code, "it could not be read")
            )
        except OSError as error:
            _log.error("the audit cannot be checked: %s", type(error).__name__)
        finally:
            if process is not None and process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()


def main() -> int:
    """Check the audit of the environment's database and file, keep the result, and write progress to standard output.

    Returns
    -------
    int
        0 = whole; 3 = something was found; 2, and 1 as of any program that fails = it could not be checked.
    """
    os.nice(_NICE)
    started, path = datetime.now(UTC), Path(os.environ["RPACS_AUDIT_LOG"])
    files = [path] if path.exists() else []
    before, counted = 0, 0
    with psycopg.connect(os.environ["RPACS_DATABASE_URL"], autocommit=True, connect_timeout=10) as connection:
        row = connection.execute("SELECT count(*) FROM audit.event").fetchone()
        total = (row[0] if row else 0) * (2 if files else 1)

        def progress(lines: int) -> None:
            nonlocal before, counted
            if lines < before:  # the file is done, the table begins
                counted += before
            before = lines
            sys.stdout.write(f"{counted + lines} {total}\n")
            sys.stdout.flush()

        result, error = None, None
        try:
            result = verify_audit(connection, files, progress=progress)
        except AuditUnreadable as problem:
            error = str(problem)
        asked_by = os.environ.get("RPACS_ASKED_BY", "")
        places = "table and file" if files else "table"
        record_check(connection, result, started=started, asked_by=asked_by, places=places, error=error, create=True)
    return 2 if result is None else 0 if result.whole else _NOT_WHOLE
