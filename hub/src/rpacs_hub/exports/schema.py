"""The tables of exports, in the schema ``gateway``. No column holds a credential.

``exports`` has one row per export; ``run`` counts its runs and fences them: every write of a run names its number, so
that a process that was believed dead cannot write into the run that took over. ``export_instances`` has one row per
instance, with what became of it: that is how a resumed export knows what was sent already.
"""

from __future__ import annotations

from typing import Any

from psycopg import AsyncConnection
from psycopg.rows import scalar_row

__all__ = ["create_tables"]

# Any number that nothing else locks: one process at a time creates tables.
_LOCK = 0x5250_4558

_TABLES = """
CREATE TABLE IF NOT EXISTS gateway.exports (
    id uuid PRIMARY KEY,
    owner text NOT NULL,
    created timestamptz NOT NULL DEFAULT clock_timestamp(),
    state text NOT NULL DEFAULT 'queued'
        CHECK (state IN ('queued', 'running', 'done', 'failed', 'cancelled', 'interrupted')),
    run integer NOT NULL DEFAULT 0,
    level text NOT NULL,
    query text,
    bucket text NOT NULL,
    prefix text NOT NULL,
    endpoint_url text,
    region text,
    format text NOT NULL CHECK (format IN ('dicom', 'png')),
    total integer NOT NULL,
    done integer NOT NULL DEFAULT 0,
    failed integer NOT NULL DEFAULT 0,
    bytes bigint NOT NULL DEFAULT 0,
    message text NOT NULL DEFAULT '',
    hint text NOT NULL DEFAULT '',
    started timestamptz,
    finished timestamptz
);
CREATE INDEX IF NOT EXISTS exports_by_owner ON gateway.exports (owner, created DESC);
CREATE INDEX IF NOT EXISTS exports_active ON gateway.exports (state) WHERE state IN ('queued', 'running');
CREATE TABLE IF NOT EXISTS gateway.export_instances (
    export_id uuid NOT NULL REFERENCES gateway.exports ON DELETE CASCADE,
    ordinal integer NOT NULL,
    orthanc_id text NOT NULL,
    study_uid text NOT NULL,
    series_uid text NOT NULL,
    sop_uid text NOT NULL,
    size bigint,
    state text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'done', 'failed')),
    bytes bigint,
    reason text,
    PRIMARY KEY (export_id, ordinal)
);
"""


async def create_tables(connection: AsyncConnection[Any]) -> None:
    """Create what is missing; several processes may call this at once.

    Parameters
    ----------
    connection
        Of the role that owns the schema ``gateway``; the schema itself is created only where it is missing, which
        needs a role that may.
    """
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        # CREATE SCHEMA IF NOT EXISTS asks for the right to create one even when there is nothing to do.
        async with connection.cursor(row_factory=scalar_row) as cursor:
            await cursor.execute("SELECT to_regnamespace('gateway') IS NULL")
            missing = await cursor.fetchone()
        if missing:
            await connection.execute("CREATE SCHEMA gateway")
        await connection.execute(_TABLES)
