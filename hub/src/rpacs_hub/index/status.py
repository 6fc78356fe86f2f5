"""How the index is, read from its own tables: no Orthanc is asked."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg.rows import dict_row

from rpacs_hub.errors import DatabaseUnavailable

__all__ = ["read_status"]

_STATUS = """
SELECT (SELECT count(*) FROM pacs.patient) AS patients, (SELECT count(*) FROM pacs.study) AS studies,
       (SELECT count(*) FROM pacs.series) AS series, (SELECT coalesce(sum(n), 0) FROM pacs.block)::bigint AS instances,
       (SELECT count(*) FROM pacs.unreadable) AS unreadable,
       position, greatest(newest - position, 0) AS behind, moved_at, reconciled_at, verified_at, seen_at, trouble,
       coalesce(seen_at > now() - interval '15 seconds', false) AS running
FROM pacs.feed
"""


def read_status(database_url: str) -> dict[str, Any]:
    """Return how many patients, studies, series and instances there are and how far the feed was followed.

    Parameters
    ----------
    database_url
        Address of a role that may read schema ``pacs``.

    Returns
    -------
    dict
        Among others ``instances``, ``unreadable`` (with ``reasons``: reason -> count), ``behind`` (changes not yet
        looked at), ``running`` (whether an indexer gave a sign of life within 15 s), ``trouble`` (why it
        pauses; None if it does not) and times (UTC).

    Raises
    ------
    DatabaseUnavailable
        The database does not answer or holds no index.
    """
    try:
        with psycopg.connect(database_url, connect_timeout=5, row_factory=dict_row) as connection:
            found = connection.execute(_STATUS).fetchone()
            reasons = connection.execute("SELECT reason, count(*) AS n FROM pacs.unreadable GROUP BY 1 ORDER BY 1")
            return {**(found or {}), "reasons": {row["reason"]: row["n"] for row in reasons}}
    except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
        raise DatabaseUnavailable("There is no index yet.", "Start `rpacs-hub index run`.") from None
    except psycopg.OperationalError as error:
        raise DatabaseUnavailable(f"The database does not answer: {str(error).splitlines()[0]}") from None
