"""Audit lines of what administrators do at the terminal, in the same chain as those of the gateway.

They go into the table only; the gateway brings them into the file with its next line.
"""

from __future__ import annotations

import contextlib
import getpass
import secrets
from collections.abc import Iterator, Sequence
from typing import Final

import psycopg

from rpacs_hub.audit.chain import BEGINNING, link, read_link
from rpacs_hub.audit.event import AuditEvent
from rpacs_hub.audit.writer import INSERT, READ_HEAD, cleaned
from rpacs_hub.errors import AuditUnavailable, HubError
from rpacs_hub.settings import database_url_of_environment

__all__ = ["append", "at_terminal", "terminal_user"]

_ATTEMPTS: Final = 50


def terminal_user() -> str:
    """Return who sits at the terminal, as the operating system says: ``ann (terminal)``."""
    try:
        name = getpass.getuser()
    except (OSError, KeyError):
        name = "unknown"
    return f"{name} (terminal)"


@contextlib.contextmanager
def at_terminal(action: str, identifiers: Sequence[str] = (), reason: str | None = None) -> Iterator[AuditEvent]:
    """Do something under an audit line: ``allowed`` if it is done, ``error`` if it ends in an error.

    Parameters
    ----------
    action
        What is done, such as ``admin_cancel_export``.
    identifiers
        What it is done to.
    reason
        Why.

    Yields
    ------
    AuditEvent
        The line in the making, for counts.

    Raises
    ------
    AuditUnavailable
        The line cannot be written. It is tried before anything is done as well: nothing is done unseen.
    SettingsError
        ``RPACS_DATABASE_URL`` is not set.
    """
    url = database_url_of_environment()
    try:
        with psycopg.connect(url, autocommit=True, connect_timeout=10) as connection:
            connection.execute("SELECT 1 FROM audit.event LIMIT 1")
            event = AuditEvent(
                secrets.token_hex(8),
                user=terminal_user(),
                action=action,
                method="TERMINAL",
                identifiers=list(identifiers)[:1000],
                reason=reason,
                decision="allowed",
            )
            try:
                yield event
            except HubError as error:
                event.decision, event.why = "error", [error.message]
                raise
            finally:
                append(connection, event)
    except psycopg.errors.InsufficientPrivilege:
        raise AuditUnavailable(
            "This role of the database may not write to the access log.", "Use the gateway's address."
        ) from None


def append(connection: psycopg.Connection, event: AuditEvent) -> None:
    """Put a line at the chain's end.

    Parameters
    ----------
    connection
        In autocommit mode, of a role that may read the table and add to it.
    event
        What happened.

    Raises
    ------
    AuditUnavailable
        The chain's end moves too fast, or is damaged.
    """
    for _ in range(_ATTEMPTS):
        row = connection.execute(READ_HEAD).fetchone()
        last = read_link(row[0]) if row else None
        if row and last is None:
            break
        made = link(last.head if last else BEGINNING, cleaned(event.as_dict()))
        try:
            connection.execute(INSERT, ([made.seq], [event.time], [made.line]))
        except psycopg.errors.UniqueViolation:
            continue  # the gateway wrote in between
        return
    raise AuditUnavailable("The access log cannot be written.", "Run `rpacs-hub audit verify`.")
