"""Keeps the index equal to the research Orthanc: follows its changes feed, and compares the lists now and then.

The feed tells of what arrives. It does not tell of what is deleted, so the lists of identifiers are compared at the
start and on a schedule. The position in the feed is stored in the transaction that stores the rows: a killed indexer
loses nothing and doubles nothing.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import psycopg

from rpacs_hub._orthanc import Changes, Orthanc, StoredInstance
from rpacs_hub._quiet import quiet_pydicom
from rpacs_hub.errors import OrthancError, OrthancMissing, OrthancUnavailable
from rpacs_hub.index._read import Unreadable, read_file
from rpacs_hub.index._rebuild import RebuildQueue, in_parts
from rpacs_hub.index._store import Failure, Read, Store
from rpacs_hub.settings import IndexerSettings

__all__ = ["Indexer", "Progress"]

_log = logging.getLogger(__name__)

_BATCH = 100
"""Changes of one transaction: large enough to insert in bulk, small enough to be searchable within two seconds."""

_BATCHES = 50
"""Batches after which the schedule is looked at although the feed holds more."""

_HEADER_LIMIT = 64 << 20
"""Bytes of a file that are read for its header: a film of two gigabytes must not fill the memory."""

_PAGE = 500
"""Instances whose identity is asked for in one request of a comparison."""

_SOON = 2.0
"""Seconds between two attempts while something is down."""

_PATIENCE = 600.0
"""Seconds that a comparison which is due waits for the feed to rest."""


@dataclass(frozen=True)
class Progress:
    """How far a comparison is.

    Attributes
    ----------
    done, total
        Instances read again, of those that need it.
    removed
        Instances that are gone.
    failed
        Instances that cannot be read.
    """

    done: int
    total: int
    removed: int
    failed: int


@dataclass(frozen=True)
class Batch:
    """What was read, what cannot be read, and what Orthanc does not hold any more."""

    reads: list[Read]
    failures: list[Failure]
    missing: list[str]


class Indexer:
    """The service behind ``rpacs-hub index run``.

    Parameters
    ----------
    settings
        Addresses and intervals.
    """

    def __init__(self, settings: IndexerSettings):
        quiet_pydicom()
        self.settings = settings
        self._stop = asyncio.Event()
        self._down: str | None = None

    def stop(self) -> None:
        """Finish the batch in hand and return from `run`."""
        self._stop.set()

    async def run(self) -> None:
        """Index until `stop`; wait out whatever is down."""
        orthanc = Orthanc(self.settings.research_url, connections=self.settings.connections)
        try:
            while not self._stop.is_set():
                try:
                    async with await self._connect() as connection:
                        await self._serve(Store(connection), orthanc)
                except psycopg.OperationalError as error:
                    self._note_down("the database does not answer", str(error).splitlines()[0])
                    await self._wait(_SOON)
        finally:
            await orthanc.close()

    async def rebuild(self, report: Callable[[Progress], None], *, restart: bool = False) -> Progress:
        """Read every instance again, whatever the index holds.

        Any number of processes may do so at once: they share the work. A rebuild that was not finished is gone on with.

        Parameters
        ----------
        report
            Called after every part, with what all processes together have done.
        restart
            Begin anew, instead of going on with a rebuild that was not finished.

        Raises
        ------
        OrthancUnavailable
            The research Orthanc does not answer.
        psycopg.OperationalError
            The database does not answer.
        """
        orthanc = Orthanc(self.settings.research_url, connections=self.settings.connections)
        try:
            async with await self._connect() as connection:
                store, queue = Store(connection), RebuildQueue(connection)
                await store.prepare()
                if restart or not await queue.left():
                    parts = in_parts(await orthanc.instances_by_series(), await orthanc.instance_ids())
                    await queue.put(parts, restart=restart)
                progress = Progress(0, await queue.left(), 0, 0)
                while not self._stop.is_set():
                    failed = await self._rebuild_part(store, queue, orthanc)
                    if failed is None:
                        break
                    done = max(progress.total - await queue.left(), 0)
                    progress = replace(progress, done=done, failed=progress.failed + failed)
                    report(progress)
                # Others may still be at work on the last parts; what they hold is not gone.
                gone = set(await store.known()) - await orthanc.instance_ids()
                if gone:
                    await store.write((), (), gone)
                await store.sweep()
                await connection.execute("ANALYZE")
                return replace(progress, removed=len(gone))
        finally:
            await orthanc.close()

    async def _rebuild_part(self, store: Store, queue: RebuildQueue, orthanc: Orthanc) -> int | None:
        """Read a part again; return how many of its instances cannot be read, None if there is no part left."""
        async with queue.take() as part:
            if part is None:
                return None
            number, names = part
            batch = await self._fetch(orthanc, await orthanc.stored(names))
            missing = set(names) - {read.stored.orthanc_id for read in batch.reads}
            missing -= {failure.stored.orthanc_id for failure in batch.failures}
            stored = await store.write(batch.reads, batch.failures, missing, part=number)
        return stored.failed

    async def _connect(self) -> psycopg.AsyncConnection[tuple[object, ...]]:
        return await psycopg.AsyncConnection.connect(self.settings.database_url, autocommit=True, connect_timeout=5)

    async def _wait(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stop.wait()
        except TimeoutError:
            pass

    def _note_down(self, what: str, detail: str) -> None:
        """Log once when something goes down or a different thing does, not at every attempt."""
        if self._down != what:
            self._down = what
            _log.error("indexing pauses: %s (%s); trying again every %g s", what, detail, _SOON)

    def _note_up(self) -> None:
        if self._down is not None:
            _log.info("indexing goes on: all parts answer again")
            self._down = None

    async def _serve(self, store: Store, orthanc: Orthanc) -> None:
        await store.prepare()
        while not await store.try_lock():
            self._note_down("another indexer is at work", "this one stands by")
            await self._wait(_SOON)
            if self._stop.is_set():
                return
        next_verify = 0.0
        next_reconcile = 0.0
        replaced = True
        while not self._stop.is_set():
            try:
                if replaced:
                    await self._check_feed(store, orthanc)
                    replaced = False
                idle = await self._follow(store, orthanc)
                self._note_up()
                # The feed comes first: at a first start it brings everything, and the comparison then finds nothing.
                # A feed that never rests must not put the comparison off for ever.
                now = time.monotonic() - (0 if idle else _PATIENCE)
                if now >= next_verify:
                    await self._check_feed(store, orthanc)
                    await self._verify(store, orthanc)
                    next_verify = time.monotonic() + self.settings.verify
                    next_reconcile = time.monotonic() + self.settings.reconcile
                elif now >= next_reconcile:
                    await self._check_feed(store, orthanc)
                    await self._reconcile(store, orthanc)
                    next_reconcile = time.monotonic() + self.settings.reconcile
                elif idle:
                    await self._wait(self.settings.poll)
            except OrthancError as error:
                self._note_down("the research Orthanc does not answer", error.message)
                await store.note(trouble=error.message)
                # What happened to Orthanc while it was away is unknown: compare when it is back.
                next_verify, replaced = 0.0, True
                await self._wait(_SOON)

    async def _check_feed(self, store: Store, orthanc: Orthanc) -> None:
        """Start again when Orthanc's numbers do: its database was replaced."""
        if await orthanc.last_change() < await store.position():
            _log.warning("the research Orthanc's changes feed starts anew; so does the index's position")
            await store.rewind()

    async def _follow(self, store: Store, orthanc: Orthanc) -> bool:
        """Index what the feed holds, at most some batches of it; return whether there is nothing more to do now.

        The next batch is fetched while the one before is written.
        """
        position = await store.position()
        writing: asyncio.Task[None] | None = None
        done = False
        try:
            for _ in range(_BATCHES):
                page = await orthanc.changes(position, _BATCH)
                done = page.done or not page.entries
                if page.entries:
                    batch = await self._read_page(orthanc, page)
                    if writing is not None:
                        await writing
                    writing = asyncio.create_task(self._write_page(store, batch, page))
                    position = page.last
                if done or self._stop.is_set():
                    break
        finally:
            # Also when the next batch could not be fetched: this one was.
            if writing is not None:
                await writing
        await store.note(newest=position if done else await orthanc.last_change())
        return done

    async def _read_page(self, orthanc: Orthanc, page: Changes) -> Batch:
        new = list(dict.fromkeys(change.resource_id for change in page.entries if change.kind == "NewInstance"))
        # The content's identity is asked for before the content: if it is overwritten in between, the next
        # comparison sees an identity that differs and reads it again.
        present = await orthanc.stored(new)
        batch = await self._fetch(orthanc, present)
        return replace(batch, missing=[*batch.missing, *(set(new) - {instance.orthanc_id for instance in present})])

    async def _write_page(self, store: Store, batch: Batch, page: Changes) -> None:
        started = time.monotonic()
        stored = await store.write(batch.reads, batch.failures, batch.missing, page.last)
        if stored.written or stored.failed:
            trouble = f"; {stored.failed} cannot be read" if stored.failed else ""
            _log.info("indexed %d instances%s (%.2f s)", stored.written, trouble, time.monotonic() - started)

    async def _fetch(self, orthanc: Orthanc, wanted: Iterable[StoredInstance]) -> Batch:
        """Fetch and read files, several at once."""
        batch = Batch([], [], [])
        waiting = iter(wanted)

        async def work() -> None:
            for stored in waiting:
                try:
                    file = await orthanc.load(stored.orthanc_id, read_file, _HEADER_LIMIT)
                    batch.reads.append(Read(stored, file))
                except OrthancMissing:
                    batch.missing.append(stored.orthanc_id)
                except OrthancUnavailable:
                    raise
                except Unreadable as error:
                    batch.failures.append(Failure(stored, str(error)))
                except OrthancError as error:
                    batch.failures.append(Failure(stored, error.message))

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self.settings.connections):
                    group.create_task(work())
        except* OrthancError as errors:
            # All tasks meet the same trouble; the first one's words are enough.
            raise OrthancUnavailable(str(errors.exceptions[0])) from errors
        return batch

    async def _reconcile(self, store: Store, orthanc: Orthanc) -> None:
        """Compare the lists of identifiers: what is gone goes, what the feed did not tell of is read."""
        known = await store.known()
        present = await orthanc.instance_ids()
        await self._apply(store, orthanc, sorted(present - set(known)), set(known) - present)
        await store.note(reconciled=True)

    async def _verify(self, store: Store, orthanc: Orthanc) -> None:
        """Compare the lists and the identity of each content; read again what differs."""
        known = await store.known()
        present = await orthanc.instance_ids()
        differing: list[str] = []
        names = sorted(present)
        for start in range(0, len(names), _PAGE):
            page = names[start : start + _PAGE]
            listed = await orthanc.stored(page)
            differing += [stored.orthanc_id for stored in listed if known.get(stored.orthanc_id) != stored.file_uuid]
            # A comparison of a large archive takes a while; what arrives meanwhile does not wait for it.
            await self._follow(store, orthanc)
        await self._apply(store, orthanc, differing, set(known) - present)
        await store.sweep()
        await store.note(reconciled=True, verified=True)

    async def _apply(self, store: Store, orthanc: Orthanc, wanted: Sequence[str], gone: set[str]) -> None:
        """Read what is wanted, those of a series together, and remove what is gone."""
        failed = 0
        if gone:
            await store.write((), (), gone)
        several = len(wanted) > _BATCH
        parts = in_parts(await orthanc.instances_by_series() if several else [], set(wanted))
        done = 0
        for part in parts:
            batch = await self._fetch(orthanc, await orthanc.stored(part))
            stored = await store.write(batch.reads, batch.failures, batch.missing)
            failed += stored.failed
            done += len(part)
            if several:
                _log.info("reading what the index lacks: %d of %d", done, len(wanted))
                # What arrives meanwhile does not wait for it.
                await self._follow(store, orthanc)
            if self._stop.is_set():
                break
        if wanted or gone:
            _log.info(
                "compared with the research Orthanc: %d read, %d removed, %d cannot be read", done, len(gone), failed
            )
