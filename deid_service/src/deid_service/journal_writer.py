"""Writing the journal from a command that does one thing after the other; the service does so with its outcomes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import psycopg

from deid_service.journal import Journal
from deid_service.outcomes import Mapping
from deid_service.pipeline.errors import DatabaseUnavailableError
from deid_service.pipeline.schema import conninfo, explain, prepare

__all__ = ["JournalWriter"]


class JournalWriter:
    """Writes pseudonyms into the journal before the copies that bear them are sent.

    Parameters
    ----------
    database_url : str
        Address of the de-identifier's database.
    """

    def __init__(self, database_url: str) -> None:
        prepare(database_url)
        self._conninfo = conninfo(database_url)
        self._journal = Journal()

    def __call__(self, mappings: Sequence[Mapping]) -> None:
        """Write mappings; those that this process wrote before cost nothing.

        Raises
        ------
        DatabaseUnavailableError
            If the database does not answer any more.
        """
        try:
            asyncio.run(self._write(mappings))
        except psycopg.OperationalError as error:
            raise DatabaseUnavailableError(explain(error)) from None

    async def _write(self, mappings: Sequence[Mapping]) -> None:
        async with await psycopg.AsyncConnection.connect(self._conninfo) as connection:
            written = await self._journal.write(connection, mappings)
        self._journal.remember(written)
