"""Reading the de-identifier's views."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypeVar

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import class_row, dict_row

from rpacs_hub.errors import PipelineAbsent

__all__ = ["check_version", "objects", "rows"]

VERSION: Final = 1
"""The version of the views that is understood here."""

_Row = TypeVar("_Row")

# A schema that nobody may use, no such schema, no such view or function: in each case nobody has made the views.
_ABSENT = (
    psycopg.errors.InsufficientPrivilege,
    psycopg.errors.InvalidSchemaName,
    psycopg.errors.UndefinedTable,
    psycopg.errors.UndefinedFunction,
    psycopg.errors.UndefinedColumn,
)


def _absent() -> PipelineAbsent:
    return PipelineAbsent(
        "This database holds nothing of a de-identifier.",
        "That is as it should be where only the portal runs. Otherwise start `rpacs-deid run` of this version: it lets"
        " the hub look.",
    )


async def rows(connection: AsyncConnection[Any], query: str, values: Sequence[Any] = ()) -> list[dict[str, Any]]:
    """Return rows of the views.

    Parameters
    ----------
    connection
        Of the gateway's role, in autocommit mode.
    query, values
        A statement and what goes into it.

    Raises
    ------
    PipelineAbsent
        There are no such views.
    """
    try:
        async with connection.cursor(row_factory=dict_row) as cursor:
            await cursor.execute(query.encode(), values)
            return await cursor.fetchall()
    except _ABSENT:
        raise _absent() from None


async def objects(
    connection: AsyncConnection[Any], kind: type[_Row], query: str, values: Sequence[Any] = ()
) -> list[_Row]:
    """Return rows of the views as objects whose attributes are the columns.

    Raises
    ------
    PipelineAbsent
        There are no such views.
    """
    try:
        async with connection.cursor(row_factory=class_row(kind)) as cursor:
            await cursor.execute(query.encode(), values)
            return await cursor.fetchall()
    except _ABSENT:
        raise _absent() from None


async def check_version(connection: AsyncConnection[Any]) -> None:
    """Make sure that the views are of a version that is understood here.

    Raises
    ------
    PipelineAbsent
        There are none, or they are of a later version.
    """
    (found,) = await rows(connection, "SELECT version FROM deid.shown_version")
    if found["version"] != VERSION:
        raise PipelineAbsent(
            f"The de-identifier shows its state in version {found['version']}; this hub reads {VERSION}.",
            "Bring hub and de-identifier to versions that belong together.",
        )
