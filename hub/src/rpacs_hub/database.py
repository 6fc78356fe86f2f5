"""The one database: its roles, who owns which schema, and who may read whose.

=================  ==============  ===========================================
role               owns schema     may also
=================  ==============  ===========================================
``rpacs_deid``     ``deid``
``rpacs_indexer``  ``pacs``
``rpacs_gateway``  ``gateway``     read everything in ``pacs``; read ``audit``
                                   and add lines to it
=================  ==============  ===========================================

The schema ``audit`` belongs to the administrator who runs `create`: no service can change or remove an audit line.

Every service makes its own tables in its own schema when it starts.
No role sees the pseudonym journal but its owner: a stolen gateway password does not undo a single pseudonym.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from urllib.parse import quote, urlsplit, urlunsplit

import psycopg
from psycopg import sql

from rpacs_hub.audit.schema import create_table
from rpacs_hub.errors import DatabaseUnavailable, SettingsError

__all__ = ["OWNED_SCHEMAS", "create", "role_url"]

_log = logging.getLogger(__name__)

OWNED_SCHEMAS: dict[str, str] = {"rpacs_deid": "deid", "rpacs_indexer": "pacs", "rpacs_gateway": "gateway"}
"""Role -> the schema that it owns."""

_READERS = (("rpacs_gateway", "rpacs_indexer", "pacs"),)


def role_url(admin_url: str, role: str, password: str, database: str = "rpacs") -> str:
    """Return the address under which a role reaches the database.

    Parameters
    ----------
    admin_url
        Address of the same server; only host and port are taken from it.
    role, password, database
        What to put in.
    """
    parts = urlsplit(admin_url)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname or ""
    port = f":{parts.port}" if parts.port else ""
    netloc = f"{quote(role)}:{quote(password, safe='')}@{host}{port}"
    return urlunsplit(("postgresql", netloc, f"/{database}", parts.query, ""))


def create(admin_url: str, passwords: Mapping[str, str], database: str = "rpacs") -> None:
    """Create database, roles, schemas and grants; whatever is there already is brought up to date.

    Works as a superuser and as an administrator who may only create roles and databases (Aurora).

    Parameters
    ----------
    admin_url
        Address of the server with an administrator's name and password.
    passwords
        Password of each role of `OWNED_SCHEMAS`. They are hashed here: the server and its log see SCRAM verifiers.
    database
        Name of the database.

    Raises
    ------
    SettingsError
        A password is missing, or one for an unknown role is given.
    DatabaseUnavailable
        The server does not answer or refuses the administrator.
    """
    if missing := sorted(set(OWNED_SCHEMAS) - set(passwords)):
        raise SettingsError(f"No password for {', '.join(missing)}.", "Every role needs one.")
    if unknown := sorted(set(passwords) - set(OWNED_SCHEMAS)):
        raise SettingsError(f"No such role: {', '.join(unknown)}.", f"The roles are {', '.join(OWNED_SCHEMAS)}.")
    try:
        with psycopg.connect(admin_url, autocommit=True, connect_timeout=10) as connection:
            for role in OWNED_SCHEMAS:
                _create_role(connection, role, passwords[role])
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (database,)).fetchone():
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(database)))
        parts = urlsplit(admin_url)
        inside = urlunsplit((parts.scheme, parts.netloc, f"/{database}", parts.query, ""))
        with psycopg.connect(inside, connect_timeout=10) as connection:
            _create_schemas(connection, database)
            create_table(connection)
    except psycopg.OperationalError as error:
        raise DatabaseUnavailable(
            f"PostgreSQL refuses or does not answer: {str(error).splitlines()[0]}", "Check the administrator's address."
        ) from error
    _log.info("database %s is ready: roles %s", database, ", ".join(OWNED_SCHEMAS))


def _create_role(connection: psycopg.Connection, role: str, password: str) -> None:
    name = sql.Identifier(role)
    if not connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (role,)).fetchone():
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(name))
    verifier = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()
    connection.execute(sql.SQL("ALTER ROLE {} LOGIN PASSWORD {}").format(name, sql.Literal(verifier)))
    # Only a member of a role may give it a schema; a superuser needs no membership.
    row = connection.execute("SELECT pg_has_role(current_user, %s, 'MEMBER')", (role,)).fetchone()
    if not (row and row[0]):
        connection.execute(sql.SQL("GRANT {} TO CURRENT_USER").format(name))


def _create_schemas(connection: psycopg.Connection, database: str) -> None:
    base = sql.Identifier(database)
    connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(base))
    connection.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    # The index reckons with sets of whole numbers. The services' own roles may not add extensions.
    connection.execute("CREATE EXTENSION IF NOT EXISTS intarray SCHEMA public")
    for role, schema in OWNED_SCHEMAS.items():
        names = {"role": sql.Identifier(role), "schema": sql.Identifier(schema), "base": base}
        for statement in (
            "GRANT CONNECT, TEMPORARY ON DATABASE {base} TO {role}",
            "CREATE SCHEMA IF NOT EXISTS {schema} AUTHORIZATION {role}",
            "ALTER ROLE {role} IN DATABASE {base} SET search_path = {schema}",
        ):
            connection.execute(sql.SQL(statement).format(**names))
    for reader, owner, schema in _READERS:
        names = {"reader": sql.Identifier(reader), "owner": sql.Identifier(owner), "schema": sql.Identifier(schema)}
        for statement in (
            "GRANT USAGE ON SCHEMA {schema} TO {reader}",
            "GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {reader}",
            "ALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA {schema} GRANT SELECT ON TABLES TO {reader}",
        ):
            connection.execute(sql.SQL(statement).format(**names))
