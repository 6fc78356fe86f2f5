"""The running service: one process with its parts, or a parent that keeps several such processes alive."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Coroutine, Sequence
from typing import Any

import procrastinate
import procrastinate.exceptions
import psycopg
import psycopg_pool

from deid_service._orthanc import Orthanc
from deid_service.pipeline.drop_folder import DropFolder
from deid_service.pipeline.errors import DatabaseUnavailableError, InterruptedBatchError
from deid_service.pipeline.inbox import Feeder, pause
from deid_service.pipeline.jobs import QUEUE, STALLED_SECONDS, TASK, AlwaysRetry
from deid_service.pipeline.requests import Requests
from deid_service.pipeline.rules_file import RulesFile
from deid_service.pipeline.schema import conninfo, explain, prepare
from deid_service.pipeline.troubles import Troubles
from deid_service.pipeline.worker import Worker
from deid_service.pseudonyms import PseudonymKey
from deid_service.settings import Settings

__all__ = ["Service", "supervise"]

_log = logging.getLogger("deid_service.pipeline")

_REPORT_SECONDS = 1.0
_FOLDER_SECONDS = 0.5
_GRACE_SECONDS = 20.0
_LONGEST_RETRY = 10.0
_RESTART_SECONDS = 2.0
# Set by `supervise` for its children, to the process id that they must not outlive.
_PARENT = "RPACS_DEID_PARENT_PID"


class Service:
    """One process of the service: feeder, worker, folder inbox, and its report to `status`.

    Parameters
    ----------
    settings
        Addresses and paths.
    concurrency
        Batches under way at a time. More than one lets the reading and sending of one batch overlap with the
        computing of another; more processes are what uses more processors.
    """

    def __init__(self, settings: Settings, *, concurrency: int = 3) -> None:
        self._settings = settings
        self._concurrency = concurrency
        self._troubles = Troubles()
        self._ingest = Orthanc(settings.ingest_url, "ingest Orthanc")
        self._research = Orthanc(settings.research_url, "research Orthanc")
        self._rules = RulesFile(settings.rules, PseudonymKey.from_file(settings.pseudonym_key_file))
        self._worker = Worker(self._ingest, self._research, self._rules, self._troubles)
        self._feeder = Feeder(settings.database_url, self._ingest, self._troubles)
        self._requests = Requests(settings.database_url, self._ingest, self._feeder, self._troubles)
        self._folder = (
            DropFolder(settings.inbox, settings.inbox_refused, self._ingest, self._troubles)
            if settings.inbox is not None and settings.inbox_refused is not None
            else None
        )
        self._id = uuid.uuid4()
        self._told: str | None = None

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT.

        Raises
        ------
        DatabaseVersionError
            If the tables belong to another version of the service.
        """
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        # What a library leaves unhandled in its own tasks can quote values: name the class only.
        loop.set_exception_handler(
            lambda _, context: _log.debug("in the background: %s", type(context.get("exception")).__name__)
        )
        await self._prepare(stop)
        try:
            await _all_or_none(
                stop,
                self._follow_rules(stop),
                self._feeder.run(stop),
                self._requests.run(stop),
                self._work(stop),
                self._report(stop),
                self._look_at_servers(stop),
                self._empty_folder(stop),
            )
        finally:
            self._close()

    async def run_once(self) -> None:
        """Process what is there and return once nothing is left but what is in quarantine.

        Raises
        ------
        ServiceError
            If a part does not answer or the rules file is not valid.
        """
        prepare(self._settings.database_url)
        self._rules.refresh()
        if self._rules.in_force is None:
            raise InterruptedBatchError(self._rules.error or "no rules")
        try:
            self._ingest.ping()
            self._research.ping()
            await self._requests.run_once()
            while True:
                if self._folder is not None:
                    await asyncio.to_thread(self._folder.sweep)
                await self._feeder.run_once()
                stop = asyncio.Event()
                await self._run_worker(stop, wait=False)
                if await self._is_idle():
                    return
                await asyncio.sleep(0.5)
        finally:
            self._close()

    def _close(self) -> None:
        if self._folder is not None:
            self._folder.close()
        self._rules.close()
        self._ingest.close()
        self._research.close()

    async def _prepare(self, stop: asyncio.Event) -> None:
        delay = 0.5
        while not stop.is_set():
            try:
                await asyncio.to_thread(prepare, self._settings.database_url)
            except DatabaseUnavailableError as error:
                self._troubles.report("database", str(error))
                await pause(stop, delay)
                delay = min(_LONGEST_RETRY, delay * 2)
            else:
                self._troubles.clear("database")
                return

    async def _follow_rules(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            await asyncio.to_thread(self._rules.refresh)
            await pause(stop, self._rules.interval)

    async def _look_at_servers(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            await asyncio.to_thread(self._worker.look_at_servers)
            await pause(stop, _REPORT_SECONDS)

    async def _empty_folder(self, stop: asyncio.Event) -> None:
        while self._folder is not None and not stop.is_set():
            taken = await asyncio.to_thread(self._folder.sweep)
            if taken:
                _log.info("%d files of the folder inbox were taken", taken)
            await pause(stop, _FOLDER_SECONDS)

    async def _work(self, stop: asyncio.Event) -> None:
        delay = 0.5
        while not stop.is_set():
            if self._rules.in_force is None:
                await pause(stop, 0.2)
                continue
            started = time.monotonic()
            try:
                await self._run_worker(stop, wait=True)
            except (psycopg.Error, procrastinate.exceptions.ProcrastinateException) as error:
                cause = error.__cause__ or error
                if isinstance(cause, psycopg.OperationalError):
                    self._troubles.report("database", explain(cause))
                else:  # it was thought dead, for one, and its registration removed
                    _log.warning("the queue's worker ended (%s): starting it again", type(cause).__name__)
            if time.monotonic() - started > 30:
                delay = 0.5
            await pause(stop, delay)
            delay = min(_LONGEST_RETRY, delay * 2)

    async def _run_worker(self, stop: asyncio.Event, *, wait: bool) -> None:
        """Run the queue's worker until the stop, or until it finds no job, or until the database fails."""
        pool: psycopg_pool.AsyncConnectionPool[psycopg.AsyncConnection] = psycopg_pool.AsyncConnectionPool(
            conninfo(self._settings.database_url),
            min_size=1,
            max_size=self._concurrency + 3,
            timeout=5,
            open=False,
            check=psycopg_pool.AsyncConnectionPool.check_connection,
        )
        app = procrastinate.App(connector=procrastinate.PsycopgConnector())

        @app.task(name=TASK, queue=QUEUE, retry=AlwaysRetry())
        async def clean_batch(ids: list[str], attempt: int) -> None:
            try:
                await self._worker.clean_batch(pool, ids, attempt)
            except InterruptedBatchError:
                raise
            except psycopg.OperationalError as error:
                self._troubles.report("database", explain(error))
                raise
            except Exception as error:
                _log.error("a batch could not be finished and will be done again: %s", type(error).__name__)
                raise

        async with pool, app.open_async(pool):
            worker = asyncio.create_task(
                app.run_worker_async(
                    queues=[QUEUE],
                    concurrency=self._concurrency,
                    wait=wait,
                    fetch_job_polling_interval=1.0,
                    abort_job_polling_interval=60.0,
                    shutdown_graceful_timeout=_GRACE_SECONDS,
                    delete_jobs="successful",
                    install_signal_handlers=False,
                    update_heartbeat_interval=1.0,
                    stalled_worker_timeout=STALLED_SECONDS,
                )
            )
            stopping = asyncio.create_task(stop.wait())
            await asyncio.wait({worker, stopping}, return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            if not worker.done():
                self._worker.stop()
                worker.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await worker

    async def _is_idle(self) -> bool:
        async with await psycopg.AsyncConnection.connect(conninfo(self._settings.database_url)) as connection:
            cursor = await connection.execute("SELECT NOT EXISTS (SELECT FROM inbox)")
            row = await cursor.fetchone()
        return bool(row and row[0]) and (self._folder is None or self._folder.is_empty())

    async def _report(self, stop: asyncio.Event) -> None:
        """Tell the database every second what this process does, for `rpacs-deid status`."""
        while not stop.is_set():
            try:
                async with await psycopg.AsyncConnection.connect(
                    conninfo(self._settings.database_url), autocommit=True
                ) as connection:
                    try:
                        while not stop.is_set():
                            await self._report_to(connection)
                            self._troubles.clear("database")
                            self._stop_with_parent(stop)
                            await pause(stop, _REPORT_SECONDS)
                    finally:
                        if not connection.closed:
                            await connection.execute("DELETE FROM process WHERE id = %s", (self._id,))
            except psycopg.Error as error:
                self._troubles.report("database", explain(error))
                self._stop_with_parent(stop)
                await pause(stop, _REPORT_SECONDS)

    async def _report_to(self, connection: psycopg.AsyncConnection) -> None:
        rules = self._rules.in_force
        if rules is not None and rules.digest != self._told:
            # All processes read the file, and the first one that does writes down since when it is in force.
            await connection.execute(
                """
                INSERT INTO rules (source, digest) SELECT %(source)s, %(digest)s
                WHERE %(digest)s IS DISTINCT FROM (SELECT digest FROM rules ORDER BY since DESC LIMIT 1)
                """,
                {"source": str(self._settings.rules), "digest": rules.digest},
            )
            self._told = rules.digest
        await connection.execute(
            """
            WITH dead AS (DELETE FROM process WHERE seen < now() - interval '1 hour')
            INSERT INTO process (id, host, pid, feeding, rules_digest, rules_error, troubles)
            VALUES (%(id)s, %(host)s, %(pid)s, %(feeding)s, %(digest)s, %(error)s, %(troubles)s)
            ON CONFLICT (id) DO UPDATE SET seen = now(), feeding = excluded.feeding,
                rules_digest = excluded.rules_digest, rules_error = excluded.rules_error, troubles = excluded.troubles
            """,
            {
                "id": self._id,
                "host": socket.gethostname(),
                "pid": os.getpid(),
                "feeding": self._feeder.active,
                "digest": rules.digest if rules else None,
                "error": self._rules.error,
                "troubles": json.dumps(self._troubles.current()),
            },
        )

    def _stop_with_parent(self, stop: asyncio.Event) -> None:
        # A child whose parent was killed would go on unsupervised, beside the ones a new parent starts.
        parent = os.environ.get(_PARENT)
        if parent is not None and os.getppid() != int(parent):
            _log.warning("the parent process is gone: stopping")
            stop.set()


async def _all_or_none(stop: asyncio.Event, *parts: Coroutine[Any, Any, None]) -> None:
    """Run the parts until all have ended; if one fails, stop the others and raise its error."""
    tasks = [asyncio.create_task(part) for part in parts]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    stop.set()
    await asyncio.wait(tasks)
    for task in tasks:
        task.result()


def supervise(processes: int, arguments: Sequence[str]) -> int:
    """Keep several processes of the service alive until SIGTERM or SIGINT.

    Parameters
    ----------
    processes
        How many.
    arguments
        Command line of each, after ``rpacs-deid``.

    Returns
    -------
    int
        0, or the code 2 with which a child said that it can never run (wrong settings).
    """
    stopping = False

    def stop(*_: object) -> None:
        nonlocal stopping
        stopping = True

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    command = [sys.executable, "-c", "import sys; from deid_service.cli import main; sys.exit(main())", *arguments]
    environment = os.environ | {_PARENT: str(os.getpid())}
    children: list[subprocess.Popen[bytes] | None] = [None] * processes
    started = [-_RESTART_SECONDS] * processes
    code = 0
    while not stopping:
        for place, child in enumerate(children):
            if child is not None and child.poll() is not None:
                children[place] = None
                if child.returncode == 2:
                    stopping, code = True, 2
                else:
                    _log.error(
                        "process %d of the service ended (code %d): starting it again", child.pid, child.returncode
                    )
            elif child is None and time.monotonic() - started[place] >= _RESTART_SECONDS:
                started[place] = time.monotonic()
                children[place] = subprocess.Popen(command, env=environment, start_new_session=True)
        time.sleep(0.1)
    running = [child for child in children if child is not None and child.poll() is None]
    for child in running:
        child.terminate()
    deadline = time.monotonic() + _GRACE_SECONDS + 10
    for child in running:
        try:
            child.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
    return code
