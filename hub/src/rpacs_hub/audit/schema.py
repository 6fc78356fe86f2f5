"""The table of audit lines. It belongs to the database's administrator: the gateway may add to it and read it."""

from __future__ import annotations

from psycopg import Connection, sql

__all__ = ["READ_AND_ADD", "create_table"]

READ_AND_ADD = "rpacs_gateway"
"""The role that may add lines and read them, and nothing else."""

# The line is what counts: what can be searched is derived from it by the database, so the two cannot disagree.
_TABLE = """
CREATE TABLE IF NOT EXISTS audit.event (
    seq         bigint PRIMARY KEY,
    time        timestamptz NOT NULL,
    line        text NOT NULL,
    "user"      text GENERATED ALWAYS AS (line::jsonb ->> 'user') STORED,
    action      text GENERATED ALWAYS AS (line::jsonb ->> 'action') STORED,
    decision    text GENERATED ALWAYS AS (line::jsonb ->> 'decision') STORED,
    request_id  text GENERATED ALWAYS AS (line::jsonb ->> 'request_id') STORED
);
CREATE INDEX IF NOT EXISTS event_time ON audit.event (time);
CREATE INDEX IF NOT EXISTS event_user ON audit.event ("user", time);
CREATE INDEX IF NOT EXISTS event_request ON audit.event (request_id);
"""


def create_table(connection: Connection) -> None:
    """Make schema and table where they are missing, and set who may do what.

    Parameters
    ----------
    connection
        Of the administrator, to the product's database.
    """
    connection.execute("CREATE SCHEMA IF NOT EXISTS audit")
    connection.execute(_TABLE)
    gateway = sql.Identifier(READ_AND_ADD)
    for statement in (
        "REVOKE ALL ON audit.event FROM PUBLIC, {gateway}",
        "GRANT USAGE ON SCHEMA audit TO {gateway}",
        "GRANT SELECT, INSERT ON audit.event TO {gateway}",
    ):
        connection.execute(sql.SQL(statement).format(gateway=gateway))
