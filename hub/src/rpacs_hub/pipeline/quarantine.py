"""The quarantine as the hub sees it, and what can be asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

import psycopg
from psycopg import AsyncConnection
from pydicom.uid import UID

from rpacs_hub.errors import RequestRefused
from rpacs_hub.pipeline._views import check_version, objects, rows

__all__ = [
    "Entry",
    "Held",
    "Request",
    "ask",
    "entries",
    "entry",
    "held_by_reason",
    "modalities",
    "numbers",
    "request",
    "requests",
]

_ENTRY: Final = (
    "SELECT number, reason, coalesce(meaning, '') AS meaning, coalesce(remedy, '') AS remedy, message, modality,"
    " sop_class, bytes, rules_digest, attempts, first_seen, last_seen, retrying"
    " FROM deid.shown_quarantine LEFT JOIN deid.shown_reason USING (reason)"
)
_REQUEST: Final = (
    "SELECT id, made, action, asked_by, why, entries, state, instances, outcome, finished FROM deid.shown_request"
)


@dataclass(frozen=True)
class Entry:
    """An instance in quarantine.

    Attributes
    ----------
    number
        What it is called, here and by ``rpacs-deid quarantine`` on the clinical side.
    reason, meaning, remedy
        Why, as a code and in words, and what can be done about it.
    message
        What was found, without patient data.
    modality, sop_class
        What kind of instance it is, where that is known and one of the standard's.
    bytes
        Length of its file, where that is known.
    rules_digest
        SHA-256 of the rules that were in force.
    attempts
        How often it was tried.
    first_seen, last_seen
        When it was put there first and last.
    retrying
        Whether it is queued again at the moment.
    """

    number: int
    reason: str
    meaning: str
    remedy: str
    message: str
    modality: str | None
    sop_class: str | None
    bytes: int | None
    rules_digest: str
    attempts: int
    first_seen: datetime
    last_seen: datetime
    retrying: bool

    @property
    def kind(self) -> str:
        """What kind of instance it is, in words."""
        return UID(self.sop_class).name if self.sop_class else "unknown"


@dataclass(frozen=True)
class Held:
    """Instances that are held back for one reason.

    Attributes
    ----------
    reason, meaning, remedy
        Why, as a code and in words, and what can be done about it.
    instances
        How many.
    newest
        The highest number among them.
    """

    reason: str
    meaning: str
    remedy: str
    instances: int
    newest: int


@dataclass(frozen=True)
class Request:
    """A retry or discard that was asked for.

    Attributes
    ----------
    id, made
        Its number and when it was made.
    action
        ``retry`` or ``discard``.
    asked_by, why
        Who asks, and the reason given.
    entries
        How many instances it names.
    state
        ``waiting``, ``done`` or ``failed``.
    instances
        For how many it was carried out; None until then.
    outcome
        What came of it, in words; why it waits, as long as it does.
    finished
        When it was carried out.
    """

    id: int
    made: datetime
    action: str
    asked_by: str
    why: str
    entries: int
    state: str
    instances: int | None
    outcome: str
    finished: datetime | None


async def held_by_reason(connection: AsyncConnection[Any]) -> list[Held]:
    """Count what is in quarantine by reason, the most frequent first.

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
    return await objects(
        connection,
        Held,
        "SELECT reason, coalesce(meaning, '') AS meaning, coalesce(remedy, '') AS remedy, count(*) AS instances,"
        " max(number) AS newest FROM deid.shown_quarantine LEFT JOIN deid.shown_reason USING (reason)"
        " GROUP BY reason, meaning, remedy ORDER BY instances DESC, reason",
    )


async def entries(
    connection: AsyncConnection[Any],
    *,
    reason: str | None = None,
    modality: str | None = None,
    before: int | None = None,
    limit: int = 50,
) -> list[Entry]:
    """Return instances in quarantine, the newest first.

    Parameters
    ----------
    connection
        Of the gateway's role, in autocommit mode.
    reason
        With this reason code only.
    modality
        Of this modality only; an empty text means those whose modality is not known.
    before
        Only those with a smaller number: the next page.
    limit
        At most so many.

    Raises
    ------
    PipelineAbsent
        There is no de-identifier.
    """
    await check_version(connection)
    return await objects(
        connection,
        Entry,
        f"{_ENTRY} WHERE (%s::text IS NULL OR reason = %s) AND (%s::text IS NULL OR coalesce(modality, '') = %s)"
        " AND (%s::bigint IS NULL OR number < %s) ORDER BY number DESC LIMIT %s",
        (reason, reason, modality, modality, before, before, limit),
    )


async def modalities(connection: AsyncConnection[Any]) -> list[str]:
    """Return the modalities of what is in quarantine, as far as they are known.

    Raises
    ------
    PipelineAbsent
        There is no de-identifier.
    """
    found = await rows(
        connection, "SELECT DISTINCT modality FROM deid.shown_quarantine WHERE modality IS NOT NULL ORDER BY 1"
    )
    return [row["modality"] for row in found]


async def entry(connection: AsyncConnection[Any], number: int) -> Entry | None:
    """Return one instance in quarantine; None if it is not there (any more).

    Raises
    ------
    PipelineAbsent
        There is no de-identifier.
    """
    await check_version(connection)
    found = await objects(connection, Entry, f"{_ENTRY} WHERE number = %s", (number,))
    return found[0] if found else None


async def numbers(connection: AsyncConnection[Any], reason: str, through: int) -> list[int]:
    """Return the numbers of the instances with a reason, up to a number, those that are retried left out.

    What is asked for in bulk is exactly what was there when it was confirmed; later arrivals have higher numbers.

    Raises
    ------
    PipelineAbsent
        There is no de-identifier.
    """
    await check_version(connection)
    found = await rows(
        connection,
        "SELECT number FROM deid.shown_quarantine WHERE reason = %s AND number <= %s AND NOT retrying ORDER BY number",
        (reason, through),
    )
    return [row["number"] for row in found]


async def ask(
    connection: AsyncConnection[Any],
    action: Literal["retry", "discard"],
    wanted: Sequence[int],
    *,
    by: str,
    why: str,
) -> Request:
    """Ask for a retry or a discard. The de-identifier carries it out, within a second if it is well.

    Parameters
    ----------
    connection
        Of the gateway's role, in autocommit mode.
    action
        ``retry`` cleans again by the rules that are in force then; ``discard`` deletes the originals for good.
    wanted
        Numbers of the instances; what is not in quarantine any more is left out.
    by, why
        Who asks, and the reason.

    Raises
    ------
    PipelineAbsent
        There is no de-identifier.
    RequestRefused
        No reason is given, it is too long, too many requests wait, or nothing of it is in quarantine.
    """
    await check_version(connection)
    if not why.strip() or len(why) > 500:
        raise RequestRefused(
            "No reason is given." if not why.strip() else "The reason is too long.",
            "Say in up to 500 characters why: it is kept.",
        )
    try:
        (made,) = await rows(
            connection,
            "SELECT deid.ask_quarantine(%s, %s, %s, %s::bigint[]) AS id",
            (action, by[:200], why, list(wanted)),
        )
    except (psycopg.errors.InvalidParameterValue, psycopg.errors.ConfigurationLimitExceeded) as error:
        raise RequestRefused(f"The de-identifier refuses: {error.diag.message_primary}.") from None
    found = None if made["id"] is None else await request(connection, made["id"])
    if found is None:
        raise RequestRefused("Nothing of this is in quarantine any more.", "Look at the list again.")
    return found


async def request(connection: AsyncConnection[Any], number: int) -> Request | None:
    """Return one request, None if there is none of this number.

    Raises
    ------
    PipelineAbsent
        There is no de-identifier.
    """
    found = await objects(connection, Request, f"{_REQUEST} WHERE id = %s", (number,))
    return found[0] if found else None


async def requests(connection: AsyncConnection[Any], limit: int = 20) -> list[Request]:
    """Return the latest requests, the newest first.

    Raises
    ------
    PipelineAbsent
        There is no de-identifier.
    """
    return await objects(connection, Request, f"{_REQUEST} ORDER BY id DESC LIMIT %s", (limit,))
