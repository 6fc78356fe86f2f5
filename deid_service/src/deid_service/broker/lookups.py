"""Reading the journal of pseudonyms, each time leaving a line that says who did, when and why.

The line is committed before the first value is shown: a reader that fails or is interrupted has been recorded all the
same. The table ``lookup`` holds no values; a trigger refuses to change or remove its lines. The owner of the schema
could take the trigger away: who must be held to it is not given the de-identifier's database role but the command.
"""

from __future__ import annotations

import os
import pwd
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Self, TypedDict
from urllib.parse import unquote

import psycopg
from psycopg import IsolationLevel
from psycopg.rows import class_row

from deid_service.pipeline.schema import SCHEMA, connect, prepare

__all__ = ["KINDS", "Broker", "Entry", "system_user"]

KINDS: Final = ("uid", "patient_id", "text", "date_offset")
"""Kinds of mappings; see :class:`deid_service.Mapping`."""

# Any number will do, as long as all take the same one (pg_advisory_lock).
_SETUP_LOCK: Final = 0x6465_6964_0002
_BATCH: Final = 5_000

_TABLES: Final = """
CREATE TABLE IF NOT EXISTS lookup (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    who text NOT NULL,
    host text NOT NULL,
    action text NOT NULL CHECK (action IN ('lookup', 'export')),
    kind text NOT NULL,
    reason text NOT NULL,
    found bigint NOT NULL
);
CREATE OR REPLACE FUNCTION lookup_is_append_only() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'the record of lookups is append-only'; END $$;
CREATE OR REPLACE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON lookup
    FOR EACH STATEMENT EXECUTE FUNCTION lookup_is_append_only();
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the journal. For the honest broker only: it names the patient.

    Attributes
    ----------
    kind, scope, original, replacement : str
        See :class:`deid_service.Mapping`.
    first_seen : datetime
        When it was written.
    """

    kind: str
    scope: str
    original: str
    replacement: str
    first_seen: datetime

    def __repr__(self) -> str:
        return f"Entry({self.kind}, <values not shown>)"

    @property
    def issuer(self) -> str:
        """Issuer of the Patient ID, if the scope is a patient; otherwise empty."""
        parts = [unquote(part) for part in self.scope.split(":")]
        return parts[2] if parts[0] == "patient" and len(parts) > 2 else ""


class LookupRecord(TypedDict):
    """A line of the record of lookups."""

    at: datetime
    who: str
    host: str
    action: str
    kind: str
    reason: str
    found: int


class Broker:
    """Reads the journal under the de-identifier's database role.

    Parameters
    ----------
    database_url : str
        Address of the database.

    Raises
    ------
    DatabaseUnavailableError
        If the database does not answer or refuses us.
    """

    def __init__(self, database_url: str) -> None:
        prepare(database_url)
        self._url = database_url
        self._connection = connect(database_url)
        try:
            self._set_up()
            self._connection.set_isolation_level(IsolationLevel.REPEATABLE_READ)
        except BaseException:
            self._connection.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _set_up(self) -> None:
        with self._connection.transaction():
            self._connection.execute("SELECT pg_advisory_xact_lock(%s)", (_SETUP_LOCK,))
            row = self._connection.execute("SELECT to_regclass(%s)", (f"{SCHEMA}.lookup",)).fetchone()
            if row is None or row[0] is None:
                self._connection.execute(_TABLES)
        self._connection.commit()
        row = self._connection.execute("SELECT to_regclass(%s)", (f"{SCHEMA}.journal_original",)).fetchone()
        self._connection.commit()
        if row is None or row[0] is None:
            # The service never looks for originals: the index is made for the first who does, without holding it up.
            self._connection.autocommit = True
            self._connection.execute(
                "CREATE INDEX CONCURRENTLY IF NOT EXISTS journal_original ON journal USING hash (original)"
            )
            self._connection.autocommit = False

    def look_up(self, kind: str, value: str, reason: str) -> list[Entry]:
        """Find what a value became, and what became that value.

        Parameters
        ----------
        kind : str
            One of :data:`KINDS`.
        value : str
            An original or a pseudonym.
        reason : str
            Why; goes into the record.

        Returns
        -------
        list of Entry
            Every line of that kind that has the value on either side.

        Raises
        ------
        ValueError
            If there is no such kind, or the reason is empty.
        """
        _check(kind, reason)
        with self._connection.transaction(), self._connection.cursor(row_factory=class_row(Entry)) as cursor:
            found = cursor.execute(
                """
                SELECT kind, scope, original, replacement, first_seen FROM journal
                WHERE (original = %(value)s OR replacement = %(value)s) AND kind = %(kind)s
                ORDER BY first_seen, original, scope
                """,
                {"value": value, "kind": kind},
            ).fetchall()
            self._record("lookup", kind, reason, len(found))
        return found

    def export(self, kind: str, reason: str) -> Iterator[Entry]:
        """Go through all lines of a kind.

        Parameters
        ----------
        kind : str
            One of :data:`KINDS`.
        reason : str
            Why; goes into the record.

        Returns
        -------
        iterator of Entry
            In the order in which they were written; as many as the record says, whatever is written meanwhile.

        Raises
        ------
        ValueError
            If there is no such kind, or the reason is empty.
        """
        _check(kind, reason)
        return self._export(kind, reason)

    def _export(self, kind: str, reason: str) -> Iterator[Entry]:
        with self._connection.transaction():
            row = self._connection.execute("SELECT count(*) FROM journal WHERE kind = %s", (kind,)).fetchone()
            assert row is not None
            # By another connection, so that it stays should the export be broken off.
            with connect(self._url) as recorder:
                self._record("export", kind, reason, row[0], recorder)
            with self._connection.cursor("export", row_factory=class_row(Entry)) as cursor:
                cursor.itersize = _BATCH
                cursor.execute(
                    "SELECT kind, scope, original, replacement, first_seen FROM journal WHERE kind = %s"
                    " ORDER BY first_seen, digest",
                    (kind,),
                )
                yield from cursor

    def lookups(self) -> list[LookupRecord]:
        """Return the record of lookups and exports, oldest first."""
        with self._connection.transaction():
            rows = self._connection.execute(
                "SELECT at, who, host, action, kind, reason, found FROM lookup ORDER BY number"
            ).fetchall()
        return [
            LookupRecord(at=at, who=who, host=host, action=action, kind=kind, reason=reason, found=found)
            for at, who, host, action, kind, reason, found in rows
        ]

    def _record(
        self, action: str, kind: str, reason: str, found: int, connection: psycopg.Connection | None = None
    ) -> None:
        (connection or self._connection).execute(
            "INSERT INTO lookup (who, host, action, kind, reason, found) VALUES (%s, %s, %s, %s, %s, %s)",
            (system_user(), socket.gethostname(), action, kind, reason.strip(), found),
        )


def _check(kind: str, reason: str) -> None:
    if kind not in KINDS:
        raise ValueError(f"there are no mappings of kind {kind!r}; known: {', '.join(KINDS)}")
    if not reason.strip():
        raise ValueError("a reason is needed: it goes into the record of lookups")


def system_user() -> str:
    """Name the system user behind this process.

    The process's own user, from the system and not from the environment, which anybody can set. Under sudo the person
    is added as sudo states it.
    """
    uid = os.getuid()
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = f"uid {uid}"
    person = os.environ.get("SUDO_USER", "")
    return f"{name} (sudo: {person})" if person and person != name else name
