"""The service's tables, in the schema ``deid`` of the database.

================  =====================================================================================================
table             holds
================  =====================================================================================================
``inbox``         instances of the ingest Orthanc that are queued (``queued``) or whose outcome is settled and whose
                  original is about to be deleted (``settled``)
``quarantine``    instances that could not be cleaned, each with its reason; the originals stay in the ingest Orthanc
``journal``       which original value became which replacement (see `deid_service.journal`)
``counter``       how many instances were done, discarded, ... ever
``minute``        the same by minute, for a day, to tell the rate
``process``       the running processes, what each says about its rules file and its troubles
``rules``         which rules were put in force when
``request``       retries and discards that were asked for from elsewhere (see `shown`), and what came of them
``feed``          the position in the ingest Orthanc's change log
``version``       the version of these tables and of the queue's
================  =====================================================================================================

The queue's own tables (``procrastinate_*``) are in the same schema. No table but ``journal`` holds patient data.
Nobody but the schema's owner reads any of them; what others may see is in the views of `shown`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import procrastinate.schema
import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from deid_service.pipeline.errors import DatabaseUnavailableError, DatabaseVersionError
from deid_service.pipeline.shown import publish

__all__ = ["SCHEMA", "connect", "conninfo", "prepare"]

SCHEMA = "deid"
_VERSION = "2"
# Any number will do, as long as all processes of the service take the same one (pg_advisory_lock).
_SETUP_LOCK = 0x6465_6964_0001

_TABLES = """
CREATE TABLE inbox (
    orthanc_id text PRIMARY KEY,
    state text NOT NULL DEFAULT 'queued' CHECK (state IN ('queued', 'settled')),
    queued_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX inbox_queued_at ON inbox (queued_at);
CREATE TABLE quarantine (
    orthanc_id text PRIMARY KEY,
    reason text NOT NULL,
    message text NOT NULL,
    rules_digest text NOT NULL,
    attempts integer NOT NULL DEFAULT 1,
    first_seen timestamptz NOT NULL DEFAULT now(),
    last_seen timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX quarantine_reason ON quarantine (reason);
CREATE TABLE journal (
    digest bytea PRIMARY KEY,
    kind text NOT NULL,
    scope text NOT NULL,
    original text NOT NULL,
    replacement text NOT NULL,
    first_seen timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX journal_replacement ON journal USING hash (replacement);
CREATE TABLE counter (
    outcome text PRIMARY KEY,
    instances bigint NOT NULL DEFAULT 0
);
CREATE TABLE minute (
    minute timestamptz NOT NULL,
    outcome text NOT NULL,
    instances bigint NOT NULL,
    PRIMARY KEY (minute, outcome)
);
CREATE TABLE process (
    id uuid PRIMARY KEY,
    host text NOT NULL,
    pid integer NOT NULL,
    started timestamptz NOT NULL DEFAULT now(),
    seen timestamptz NOT NULL DEFAULT now(),
    feeding boolean NOT NULL DEFAULT false,
    rules_digest text,
    rules_error text,
    troubles jsonb NOT NULL DEFAULT '[]'
);
CREATE TABLE feed (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    position bigint,
    reconciled timestamptz
);
INSERT INTO feed DEFAULT VALUES;
"""

# What makes the tables of a version those of the next. New ones go this way too: there is one way to each version.
_MIGRATIONS = {
    "1": """
ALTER TABLE quarantine
    ADD COLUMN number bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    ADD COLUMN modality text,
    ADD COLUMN sop_class text,
    ADD COLUMN bytes bigint;
CREATE TABLE rules (
    since timestamptz NOT NULL DEFAULT clock_timestamp(),
    source text NOT NULL,
    digest text NOT NULL
);
CREATE INDEX rules_since ON rules (since);
CREATE TABLE request (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    made timestamptz NOT NULL DEFAULT now(),
    action text NOT NULL CHECK (action IN ('retry', 'discard')),
    asked_by text NOT NULL,
    why text NOT NULL,
    numbers bigint[] NOT NULL,
    state text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'done', 'failed')),
    tried timestamptz,
    instances integer,
    outcome text NOT NULL DEFAULT '',
    finished timestamptz
);
CREATE INDEX request_waiting ON request (id) WHERE state = 'waiting';
"""
}


def conninfo(database_url: str) -> str:
    """Return the address with what every connection of the service sets: schema, name, time limits."""
    given = conninfo_to_dict(database_url)
    options = f"{given.get('options') or ''} -c search_path={SCHEMA}".strip()
    given.setdefault("connect_timeout", "5")
    # A server that vanished without a word is noticed within about 20 s.
    limits: dict[str, Any] = {"keepalives_idle": 5, "keepalives_interval": 5, "keepalives_count": 3}
    return make_conninfo("", **(limits | given | {"options": options, "application_name": "rpacs-deid"}))


def connect(database_url: str) -> psycopg.Connection:
    """Open a connection.

    Raises
    ------
    DatabaseUnavailableError
        If the database does not answer or refuses us. The message holds no password.
    """
    try:
        return psycopg.connect(conninfo(database_url))
    except psycopg.OperationalError as error:
        raise DatabaseUnavailableError(explain(error)) from None


def explain(error: BaseException) -> str:
    """Say in words that may be logged why the database does not serve us."""
    # libpq's messages name host, port, user and database, but no password; the first line says it.
    detail = str(error).strip().splitlines()[0] if isinstance(error, psycopg.OperationalError) and str(error) else ""
    return (
        f"the database does not answer ({detail or type(error).__name__}): is it running, is RPACS_DATABASE_URL right?"
    )


def prepare(database_url: str) -> None:
    """Bring schema, tables and views to this version. Any number of processes may do so at once.

    Raises
    ------
    DatabaseUnavailableError
        If the database does not answer.
    DatabaseVersionError
        If the tables belong to a later version of the service.
    """
    connection = connect(database_url)
    try:
        with connection, connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (_SETUP_LOCK,))
            # CREATE SCHEMA IF NOT EXISTS wants the right to create even where nothing is to be created.
            if _scalar(connection, "SELECT to_regnamespace(%s) IS NULL", SCHEMA):
                connection.execute(f"CREATE SCHEMA {SCHEMA}")
            if _scalar(connection, "SELECT to_regclass(%s) IS NULL", f"{SCHEMA}.version"):
                connection.execute("CREATE TABLE version (part text PRIMARY KEY, version text NOT NULL)")
                connection.execute(_TABLES.encode())
                connection.execute(procrastinate.schema.SchemaManager.get_schema().encode())
                newest = max(_queue_migrations(), default="")
                connection.execute("INSERT INTO version VALUES ('service', '1'), ('queue', %s)", (newest,))
            versions: dict[str, str] = dict(connection.execute("SELECT part, version FROM version").fetchall())
            _migrate_service(connection, versions.get("service", ""))
            _migrate_queue(connection, versions.get("queue", ""))
            publish(connection)
    except psycopg.OperationalError as error:
        raise DatabaseUnavailableError(explain(error)) from None
    finally:
        connection.close()


def _migrate_service(connection: psycopg.Connection, have: str) -> None:
    while have != _VERSION:
        if have not in _MIGRATIONS:
            raise DatabaseVersionError(
                f"the tables in schema {SCHEMA} are of version {have}, this service needs"
                f" {_VERSION}: run the version of rpacs-deid that belongs to them"
            )
        connection.execute(_MIGRATIONS[have].encode())
        have = str(int(have) + 1)
        connection.execute("UPDATE version SET version = %s WHERE part = 'service'", (have,))


def _migrate_queue(connection: psycopg.Connection, have: str) -> None:
    """Apply the queue library's own migrations that are newer than the one the tables stand at."""
    folder = Path(procrastinate.schema.SchemaManager.get_migrations_path())
    for name in _queue_migrations():
        if name > have:
            connection.execute((folder / name).read_bytes())
            connection.execute("UPDATE version SET version = %s WHERE part = 'queue'", (name,))


def _queue_migrations() -> list[str]:
    return sorted(path.name for path in Path(procrastinate.schema.SchemaManager.get_migrations_path()).glob("*.sql"))


def _scalar(connection: psycopg.Connection, query: str, *values: object) -> Any:
    row = connection.execute(query.encode(), values).fetchone()
    return None if row is None else row[0]
