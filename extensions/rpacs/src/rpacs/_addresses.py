"""Personal addresses of DICOMweb, for viewers that cannot send a header."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pandas as pd

from rpacs._errors import RpacsError
from rpacs._frames import level_of

if TYPE_CHECKING:
    from rpacs._transport import Transport

__all__ = ["ViewerAddress", "addresses_frame", "study_uids"]


class ViewerAddress:
    """A personal address. Made by `Client.viewer_address`.

    Whoever has `url` sees what its owner may see, so printing the object does not show it: a notebook keeps what its
    cells print.

    Parameters
    ----------
    transport : Transport
        How to reach the gateway.
    record : mapping
        What the gateway sent.

    Attributes
    ----------
    id : str
        To revoke it by; opens nothing.
    url : str
        Root of the DICOMweb service, without a slash at its end.
    studies : tuple of str or None
        StudyInstanceUIDs that it is limited to; None = all that you may see.
    expires : datetime
        When it ends, with its time zone.
    """

    def __init__(self, transport: Transport, record: Mapping[str, Any]) -> None:
        self._transport = transport
        self.id = str(record["id"])
        self.url = str(record["url"])
        self.studies = None if record["studies"] is None else tuple(record["studies"])
        self.expires = datetime.fromisoformat(record["expires"])

    def __repr__(self) -> str:
        what = "all that you may see" if self.studies is None else f"{len(self.studies)} of your studies"
        return f"<ViewerAddress of {what} until {self.expires:%Y-%m-%d %H:%M %Z}; .url holds it>"

    def revoke(self) -> None:
        """Close the address at once.

        Raises
        ------
        NotFound
            If it has ended already.
        """
        self._transport.delete(f"viewer-address/{quote(self.id, safe='')}")


def study_uids(
    studies: str | pd.DataFrame | pd.Series[Any] | pd.Index[Any] | Iterable[str] | None,
) -> list[str] | None:
    """Return the StudyInstanceUIDs that somebody names; None for all.

    Parameters
    ----------
    studies : str, DataFrame, Series, Index, iterable of str or None
        UIDs, or a table of `Client.search`: of studies, or with a column StudyInstanceUID.

    Raises
    ------
    RpacsError
        If there is none in it.
    """
    if studies is None:
        return None
    if isinstance(studies, str):
        found: list[str] = [studies]
    elif isinstance(studies, pd.DataFrame) and "StudyInstanceUID" in studies.columns:
        found = [str(uid) for uid in studies["StudyInstanceUID"]]
    elif isinstance(studies, pd.DataFrame | pd.Index):
        if level_of(studies) != "study":
            raise RpacsError(
                "This table does not say which studies its rows belong to.",
                "Search with level='study', or with the column StudyInstanceUID.",
            )
        index = studies if isinstance(studies, pd.Index) else studies.index
        found = [str(uid) for uid in index]
    else:
        found = [str(uid) for uid in studies]
    if not found:
        raise RpacsError("There is nothing to show: no study is named.", "Leave studies out for all that you may see.")
    return list(dict.fromkeys(found))


def addresses_frame(answer: Mapping[str, Any]) -> pd.DataFrame:
    """Return the open addresses as a table: index ``id``; columns studies, created, expires, last_used."""
    columns = ["studies", "created", "expires", "last_used"]
    records = answer["addresses"]
    table = pd.DataFrame(
        [[record[column] for column in columns] for record in records],
        columns=columns,
        index=pd.Index([record["id"] for record in records], name="id"),
    )
    for column in columns[1:]:
        table[column] = pd.to_datetime(table[column], utc=True)
    return table
