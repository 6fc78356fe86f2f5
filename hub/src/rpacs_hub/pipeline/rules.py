"""Which de-identification rules are in force."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import AsyncConnection

from rpacs_hub.pipeline._views import check_version, rows

__all__ = ["Rules", "rules_in_force"]


@dataclass(frozen=True)
class Rules:
    """The rules that the de-identifier applies.

    Attributes
    ----------
    source
        Path or S3 address of the file, as its processes name it; None if no process ever had valid rules.
    digest
        SHA-256 of the rules. None if there are none, or if the processes that live do not all have the same ones yet.
    since
        When these rules were put in force; None like `digest`.
    error
        What is wrong with the file as it is now, in words; the rules above stay in force. None if nothing is.
    """

    source: str | None
    digest: str | None
    since: datetime | None
    error: str | None


async def rules_in_force(connection: AsyncConnection[Any]) -> Rules:
    """Return the rules in force.

    Parameters
    ----------
    connection
        Of the gateway's role, in autocommit mode.

    Raises
    ------
    PipelineAbsent
        There is no de-identifier.
    """
    await check_version(connection)
    living = await rows(connection, "SELECT rules_digest, rules_error FROM deid.shown_process WHERE alive")
    digests = {row["rules_digest"] for row in living}
    digest = digests.pop() if len(digests) == 1 else None
    error = next((row["rules_error"] for row in living if row["rules_error"]), None)
    known = await rows(connection, "SELECT since, source, digest FROM deid.shown_rules ORDER BY since DESC LIMIT 1")
    if not known:
        return Rules(None, digest, None, error)
    since = known[0]["since"] if digest is not None and known[0]["digest"] == digest else None
    return Rules(known[0]["source"], digest, since, error)
