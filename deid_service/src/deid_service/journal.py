"""The journal of pseudonyms: which original value became which replacement.

Replacements are a keyed function and need no journal to be made. It exists for the honest broker, who must find the
patient behind a finding, and for lists that map old identifiers to new ones. It is written in bulk, in the same
transaction that settles the instances, so no clean copy is released whose pseudonyms cannot be traced.

The table ``journal`` is the only place outside the ingest Orthanc where original values are kept. Only the
de-identifier's database role can read it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Protocol

import psycopg

__all__ = ["Journal", "JournalledMapping"]

_REMEMBERED = 200_000


class JournalledMapping(Protocol):
    """What the journal needs of a mapping: `deid_service.Mapping` has it."""

    @property
    def kind(self) -> str:
        """What was mapped: uid, text, ..."""

    @property
    def scope(self) -> str:
        """Within what the mapping holds: one patient, one study, everywhere."""

    @property
    def original(self) -> str:
        """The value before."""

    @property
    def replacement(self) -> str:
        """The value after."""


class Journal:
    """Writes mappings once each.

    An instance remembers what it has written, since the thousand slices of a study share most of their mappings.
    """

    def __init__(self) -> None:
        self._written: dict[bytes, None] = {}

    async def write(self, connection: psycopg.AsyncConnection, mappings: Iterable[JournalledMapping]) -> list[bytes]:
        """Add the mappings that are not in the journal yet.

        Parameters
        ----------
        connection
            Within a transaction of the caller.
        mappings
            Any number, repeated or not.

        Returns
        -------
        list of bytes
            Pass it to `remember` once the transaction is committed.
        """
        rows: dict[bytes, tuple[str, str, str, str]] = {}
        for mapping in mappings:
            row = tuple(
                _storable(text) for text in (mapping.kind, mapping.scope, mapping.original, mapping.replacement)
            )
            digest = hashlib.sha256("\0".join(row).encode()).digest()
            if digest not in self._written:
                rows[digest] = (row[0], row[1], row[2], row[3])
        if not rows:
            return []
        # One order for everybody: two batches with the same mappings would otherwise wait for each other for ever.
        digests = sorted(rows)
        await connection.execute(
            """
            INSERT INTO journal (digest, kind, scope, original, replacement)
            SELECT * FROM unnest(%s::bytea[], %s::text[], %s::text[], %s::text[], %s::text[])
            ON CONFLICT (digest) DO NOTHING
            """,
            (digests, *(list(column) for column in zip(*(rows[digest] for digest in digests), strict=True))),
        )
        return digests

    def remember(self, digests: Iterable[bytes]) -> None:
        """Note that these are in the journal for good."""
        for digest in digests:
            self._written[digest] = None
        while len(self._written) > _REMEMBERED:
            del self._written[next(iter(self._written))]


def _storable(text: str) -> str:
    """PostgreSQL takes neither NUL nor lone surrogates; both come up in damaged files."""
    return text.replace("\0", "\\0").encode("utf-8", "backslashreplace").decode("utf-8")
