"""Exports of everybody, for administrators: who sends what where, and stopping one."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import psycopg
from psycopg_pool import AsyncConnectionPool

from rpacs_hub.errors import DatabaseUnavailable
from rpacs_hub.exports._store import ExportStore
from rpacs_hub.exports.errors import ExportConflict, ExportNotFound
from rpacs_hub.exports.exporter import Exporter, ending_words
from rpacs_hub.exports.records import Export, ExportState

__all__ = ["EveryonesExports"]

_LISTED_FAILURES = 20


class EveryonesExports:
    """The exports of one database, whoever they belong to.

    Parameters
    ----------
    pool
        Open pool of connections as the role that owns the schema ``gateway``.
    exporter
        The one that runs exports in this process. Without it an export is cancelled in the database, and the process
        that runs it gives up when it next notes its progress.
    """

    def __init__(self, pool: AsyncConnectionPool[Any], exporter: Exporter | None = None):
        self._store, self._exporter = ExportStore(pool), exporter

    async def list(
        self, *, user: str | None = None, active: bool = False, before: UUID | str | None = None, limit: int = 50
    ) -> list[Export]:
        """Return exports, newest first.

        Parameters
        ----------
        user
            Of this user only.
        active
            Only those that wait or run.
        before
            The last one of the page before.
        limit
            At most so many.

        Raises
        ------
        DatabaseUnavailable
            No gateway has ever made the tables.
        """
        try:
            return await self._store.everyones(
                user=user, active=active, before=_id(before) if before else None, limit=limit
            )
        except psycopg.errors.UndefinedTable:
            raise DatabaseUnavailable(
                "There are no tables of exports yet.", "The gateway makes them when it starts."
            ) from None

    async def get(self, export_id: UUID | str) -> Export:
        """Return one export, with its first 20 failures.

        Raises
        ------
        ExportNotFound
            There is none.
        """
        found = _id(export_id)
        return await self._store.get(await self._store.owner(found), found, failures=_LISTED_FAILURES)

    async def cancel(self, export_id: UUID | str, because: str) -> Export:
        """Stop an export; what was sent stays in the bucket.

        Parameters
        ----------
        export_id
            Which.
        because
            Why; its owner reads that.

        Raises
        ------
        ExportNotFound
            There is none.
        ExportConflict
            It has ended already.
        """
        export = await self.get(export_id)
        if self._exporter is not None:
            return await self._exporter.cancel(export.user, export.id, because=because)
        words = ending_words(ExportState.CANCELLED, export, because=because)
        if not await self._store.finish(export.id, None, ExportState.CANCELLED, *words):
            raise ExportConflict("export_ended", f"The export has ended already: it is {export.state}.")
        return await self.get(export.id)


def _id(export_id: UUID | str) -> UUID:
    try:
        return export_id if isinstance(export_id, UUID) else UUID(export_id)
    except ValueError:
        raise ExportNotFound from None
