"""What a researcher calls: connect, search, look, export."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import pandas as pd
import pydicom
from PIL import Image
from tqdm.auto import tqdm

from rpacs._addresses import ViewerAddress, addresses_frame, study_uids
from rpacs._credentials import Credentials
from rpacs._errors import NotFound, NotLoggedIn, RpacsError, Unavailable
from rpacs._explanation import Explanation
from rpacs._frames import KEYS, check_level, level_of, search_frame, tags_frame
from rpacs._jobs import ExportStatus, Job
from rpacs._me import Me
from rpacs._slices import SLICE_COLUMNS, Slice, order_slices
from rpacs._transport import Transport

if TYPE_CHECKING:
    from rpacs.widgets import Browser, Viewer

__all__ = ["Client", "connect", "equals"]

_PAGE: Final = 1000  # the most rows that the gateway gives at once
_UID: Final = re.compile(r"[0-9.]{1,64}")
_FORMATS: Final = ("dicom", "png")


def connect(url: str | None = None, token: str | None = None, reason: str | None = None) -> Client:
    """Connect to the research PACS.

    On the hub, in a notebook or a page, no address and no secret are needed: both come from the server's environment
    (``RPACS_URL`` and ``JUPYTERHUB_API_TOKEN``). Nothing is sent until the first call.

    Parameters
    ----------
    url : str, optional
        Address of the gateway, such as ``https://hub.example.org/services/pacs/``.
    token : str, optional
        A token of the hub that may use the service ``pacs``.
    reason : str, optional
        Why the images are accessed, such as an ethics approval's number. It is written to the audit log.

    Returns
    -------
    Client
        The connection.

    Raises
    ------
    NotLoggedIn
        If there is no address or no token, neither given nor in the environment.

    Examples
    --------
    >>> pacs = rpacs.connect(reason="IRB 2026-041")  # doctest: +SKIP
    """
    url = url or os.environ.get("RPACS_URL")
    token = token or os.environ.get("JUPYTERHUB_API_TOKEN")
    if not url:
        raise NotLoggedIn(
            "This is not a notebook of the research hub: the environment variable RPACS_URL is not set.",
            "Open the notebook from the hub's home page, or pass rpacs.connect(url=..., token=...).",
            code="no_url",
        )
    if not token:
        raise NotLoggedIn(
            "There is no token of the hub: the environment variable JUPYTERHUB_API_TOKEN is not set.",
            "Open the notebook from the hub's home page, or request a token there and pass rpacs.connect(token=...).",
            code="no_token",
        )
    return Client(Transport(url, token, reason))


class Client:
    """A connection to the research PACS. Made by `connect`.

    Parameters
    ----------
    transport : Transport
        How to reach the gateway.

    Notes
    -----
    Every call may raise `NotLoggedIn`, `Forbidden` or `Unavailable`, as described in `RpacsError`.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def __repr__(self) -> str:
        return f"Client({self._transport.url!r})"

    @property
    def reason(self) -> str:
        """Why the images are accessed; goes to the audit log with every request. May be set."""
        return self._transport.reason

    @reason.setter
    def reason(self, reason: str | None) -> None:
        self._transport.set_reason(reason)

    def me(self) -> Me:
        """Return who you are and what you may see.

        Returns
        -------
        Me
            Name, groups and profiles; printed, it says so in words.
        """
        return Me.of(self._transport.get("me"))

    def search(
        self,
        query: str = "",
        level: str = "series",
        columns: Sequence[str] | None = None,
        sort: str | Sequence[str] | None = None,
        limit: int | None = None,
        *,
        dates: bool = True,
    ) -> pd.DataFrame:
        """Find patients, studies, series or instances.

        Parameters
        ----------
        query : str, optional
            In the query language, such as ``Modality StrEquals CT AND SliceThickness NbLess 2``; empty = all.
        level : str, optional
            What a row stands for: patient, study, series or instance. A row appears if at least one instance of it
            matches and may be seen by you.
        columns : sequence of str, optional
            DICOM keywords; by default those that the gateway gives for the level.
        sort : str or sequence of str, optional
            Keywords to sort by; a leading ``-`` sorts downwards.
        limit : int, optional
            The most rows to fetch; by default all.
        dates : bool, optional
            Whether dates (VR DA) become ``datetime64``; what is no full date becomes ``NaT``. ``False`` keeps the text
            that DICOM holds.

        Returns
        -------
        pandas.DataFrame
            Index: the level's key (PatientID, StudyInstanceUID, SeriesInstanceUID or SOPInstanceUID).
            ``attrs["total"]`` is how many rows there are in all, ``attrs["query"]`` the query. More than 1,000 rows
            are fetched with a progress bar.

        Raises
        ------
        QueryError
            If the query does not parse; printed, it shows where.
        """
        level = check_level(level)
        if limit is not None and limit < 0:
            raise RpacsError("A limit is 0 or more rows.")
        key = KEYS[level]
        wanted = None if columns is None else [key, *(c for c in columns if c != key)]
        rows: list[dict[str, Any]] = []
        names: list[str] = []
        total = 0
        bar: tqdm[Any] | None = None
        try:
            for page in self.pages(query, level, wanted, sort, _PAGE if limit is None else min(_PAGE, max(limit, 1))):
                names, total = page["columns"], page["total"]
                rows.extend(page["rows"])
                goal = total if limit is None else min(limit, total)
                if bar is None and goal > len(rows):
                    bar = tqdm(total=goal, unit=" rows", desc="Search")
                if bar is not None:
                    bar.update(min(len(rows), goal) - bar.n)
                if len(rows) >= goal:
                    break
        finally:
            if bar is not None:
                bar.close()
        table = search_frame(rows[:limit], wanted or names, level, dates=dates)
        table.attrs |= {"query": query, "total": total}
        return table

    def pages(
        self,
        query: str = "",
        level: str = "series",
        columns: Sequence[str] | None = None,
        sort: str | Sequence[str] | None = None,
        size: int = _PAGE,
    ) -> Iterator[dict[str, Any]]:
        """Yield the pages of a search as the gateway sends them; `search` is the friendlier form.

        Parameters
        ----------
        query, level, columns, sort
            As for `search`.
        size : int, optional
            Rows a page, at most 1,000.

        Yields
        ------
        dict
            ``{"level", "columns", "rows", "total", "next"}``.
        """
        cursor: str | None = None
        while True:
            page = self.page(query, level, columns, sort, size, cursor)
            yield page
            cursor = page["next"]
            if not cursor:
                return

    def page(
        self,
        query: str,
        level: str,
        columns: Sequence[str] | None = None,
        sort: str | Sequence[str] | None = None,
        size: int = _PAGE,
        cursor: str | None = None,
    ) -> dict[str, Any]:
        """Return one page of a search as the gateway sends it.

        Parameters
        ----------
        query, level, columns, sort
            As for `search`.
        size : int, optional
            Rows a page, at most 1,000.
        cursor : str, optional
            The ``next`` of the page before; absent for the first.

        Returns
        -------
        dict
            ``{"level", "columns", "rows", "total", "next"}``.
        """
        by = [sort] if isinstance(sort, str) else list(sort or ())
        body = {
            "query": query,
            "level": check_level(level),
            "columns": None if columns is None else list(columns),
            "sort": [{"column": s.lstrip("+-"), "descending": s.startswith("-")} for s in by] or None,
            "limit": size,
            "cursor": cursor,
        }
        answer: dict[str, Any] = self._transport.post("search", body, query=query, safe=True)
        return answer

    def count(self, query: str = "", level: str = "series") -> int:
        """Return how many patients, studies, series or instances match.

        Parameters
        ----------
        query, level : str, optional
            As for `search`.

        Returns
        -------
        int
            Their number.

        Raises
        ------
        QueryError
            If the query does not parse.
        """
        body = {"query": query, "level": check_level(level)}
        return int(self._transport.post("count", body, query=query, safe=True)["count"])

    def facets(
        self, tag: str, query: str = "", level: str = "study", *, prefix: str = "", limit: int = 20
    ) -> pd.DataFrame:
        """Return which values an element has, most frequent first.

        Parameters
        ----------
        tag : str
            A DICOM keyword, or 8 hexadecimal digits, of the top level.
        query, level : str, optional
            As for `search`: a row counts if an image of it matches, may be seen by you, and has the value.
        prefix : str, optional
            Only values that begin with it, in any case.
        limit : int, optional
            Most values, at most 100.

        Returns
        -------
        pandas.DataFrame
            Index ``value`` (text), column ``count``; ``attrs["more"]`` says whether there may be further values.

        Raises
        ------
        QueryError
            If the query does not parse.
        BadRequest
            If the element has no values that could be listed.

        Examples
        --------
        >>> pacs.facets("StudyDescription", "Modality StrEquals CT")  # doctest: +SKIP
        """
        answer = self._transport.get(
            "facets", tag=tag, query=query, level=check_level(level), prefix=prefix or None, limit=limit
        )
        values = answer["values"]
        index = pd.Index([each["value"] for each in values], name="value", dtype="object")
        table = pd.DataFrame({"count": pd.Series([each["count"] for each in values], index=index, dtype="int64")})
        table.attrs |= {"tag": answer["tag"], "query": query, "level": answer["level"], "more": answer["more"]}
        return table

    def explain(self, uid: str) -> Explanation:
        """Return why you see an instance, a series or a study: by which profiles, and how you come to have these.

        Parameters
        ----------
        uid : str
            SOPInstanceUID, SeriesInstanceUID or StudyInstanceUID.

        Returns
        -------
        Explanation
            Printed, it says so in words.

        Raises
        ------
        NotFound
            If there is no such thing or you may not see it: the answer is the same, so that nobody learns what exists.
            An administrator can say why you do not see it.

        Examples
        --------
        >>> print(pacs.explain(series_uid))  # doctest: +SKIP
        You see 120 instances of this series:
        - CT only, through group ct-researchers: shows instances where Modality is "CT", as all 120 here do.
        """
        return Explanation.of(self._transport.get("explain", uid=_checked(uid)))

    def explain_query(self, query: str) -> str:
        """Return what a query asks for, in words.

        Parameters
        ----------
        query : str
            In the query language.

        Returns
        -------
        str
            Such as ``Modality is "CT" and Slice Thickness is less than 2``.

        Raises
        ------
        QueryError
            If it does not parse; printed, it shows where.
        """
        return str(self._transport.get("explain-query", query=query)["words"])

    def complete(self, text: str, position: int | None = None, level: str = "series") -> dict[str, Any]:
        """Return what could stand at a position of a query; the query box asks this while one types.

        Parameters
        ----------
        text : str
            The query so far.
        position : int, optional
            Offset of the cursor, from 0; the end of the text by default.
        level : str, optional
            What the counts of values stand for.

        Returns
        -------
        dict
            ``{"start", "end", "words": [{"text", "kind", "label", "count"?}]}``: a word replaces what is from start
            to end; kind is keyword, operator, connective or value.
        """
        answer: dict[str, Any] = self._transport.get("complete", text=text, position=position, level=check_level(level))
        return answer

    def dicom(self, uid: str) -> pydicom.Dataset:
        """Return one instance with its pixels.

        Parameters
        ----------
        uid : str
            SOPInstanceUID.

        Returns
        -------
        pydicom.Dataset
            A complete file dataset: ``.pixel_array`` and ``.save_as`` work.

        Raises
        ------
        NotFound
            If there is no such instance, or none that you may see.
        """
        data, _ = self._transport.get_bytes(f"instances/{_checked(uid)}/file")
        return pydicom.dcmread(io.BytesIO(data))

    def tags(self, uid: str) -> pd.DataFrame:
        """Return the elements of one instance, without fetching its pixels.

        Parameters
        ----------
        uid : str
            SOPInstanceUID.

        Returns
        -------
        pandas.DataFrame
            Columns tag, keyword, name, vr, value; index ``path``. Sequences' items are rows of their own.

        Raises
        ------
        NotFound
            If there is no such instance, or none that you may see.
        """
        return tags_frame(self._transport.get(f"instances/{_checked(uid)}/tags"))

    def slices(self, series_uid: str) -> list[Slice]:
        """Return the pictures of a series in reading order.

        Parameters
        ----------
        series_uid : str
            SeriesInstanceUID.

        Returns
        -------
        list of Slice
            By position along the planes' normal where there is one, else by InstanceNumber; a multi-frame instance
            gives one entry a frame. Empty if the series holds no pixels.

        Raises
        ------
        NotFound
            If there is no such series, or none that you may see.
        """
        query = equals("SeriesInstanceUID", _checked(series_uid))
        rows = [row for page in self.pages(query, "instance", SLICE_COLUMNS) for row in page["rows"]]
        if not rows:
            raise NotFound("There is no such series, or none that you may see.")
        return order_slices(rows)

    def frame(
        self,
        uid: str,
        number: int = 1,
        *,
        format: str = "jpeg",  # noqa: A002 - the gateway's own word
        window: tuple[float, float] | None = None,
        size: int | None = None,
    ) -> bytes:
        """Return one frame as an encoded picture.

        Parameters
        ----------
        uid : str
            SOPInstanceUID.
        number : int, optional
            The frame, from 1.
        format : str, optional
            ``jpeg`` (small) or ``png`` (exact).
        window : tuple of float, optional
            (centre, width) in the modality's units; by default the file's own.
        size : int, optional
            Longest side in pixels; by default as stored.

        Returns
        -------
        bytes
            The picture, 8 bits a sample.

        Raises
        ------
        NotFound
            If there is no such frame, or none that you may see.
        """
        centre, width = window or (None, None)
        path = f"instances/{_checked(uid)}/frames/{int(number)}"
        data, kind = self._transport.get_bytes(path, format=format, center=centre, width=width, size=size)
        if not kind.startswith("image/"):
            raise Unavailable("The image gateway sent something that is not a picture.", code="not_a_picture")
        return data

    def preview(self, series_uid: str, *, window: tuple[float, float] | None = None) -> Image.Image:
        """Return the middle picture of a series, which a notebook shows.

        Parameters
        ----------
        series_uid : str
            SeriesInstanceUID.
        window : tuple of float, optional
            (centre, width) in the modality's units; by default the file's own.

        Returns
        -------
        PIL.Image.Image
            Mode L or RGB. For scrolling see `viewer`.

        Raises
        ------
        NotFound
            If there is no such series, none that you may see, or it holds no pixels.
        """
        slices = self.slices(series_uid)
        if not slices:
            raise NotFound("This series holds no pictures.", "See its elements with tags(instance_uid).")
        middle = slices[len(slices) // 2]
        picture = Image.open(io.BytesIO(self.frame(middle.uid, middle.frame, format="png", window=window)))
        picture.load()
        return picture

    def export(
        self,
        what: str | pd.DataFrame | pd.Series[Any] | pd.Index[Any] | Iterable[str],
        destination: str,
        *,
        credentials: object,
        format: str = "dicom",  # noqa: A002 - reads as the researcher would say it
        level: str | None = None,
        endpoint_url: str | None = None,
        region: str | None = None,
    ) -> Job:
        """Copy images to an S3 bucket. The work is done by the gateway and goes on when the notebook ends.

        Parameters
        ----------
        what : str, DataFrame, Series, Index or iterable of str
            A query, a table that `search` returned (or some of its rows), or the level's keys.
        destination : str
            ``s3://bucket/prefix``. Files are named ``prefix/<study>/<series>/<instance>.dcm``.
        credentials : Credentials, mapping, or object
            Keys that may write there: ``{"access_key": ..., "secret_key": ..., "session_token": ...}``, boto3's names
            or what ``boto3.Session().get_credentials()`` returns. Always given, never looked up. The gateway holds
            them in memory while the export runs.
        format : str, optional
            ``dicom``: files exactly as they are stored; ``png``: one picture a frame.
        level : str, optional
            What the query's rows, or the keys, stand for (default series). A table says so itself. Every image under
            a matching row is exported that you may see.
        endpoint_url : str, optional
            For an S3 server other than AWS; must be one that the administrator allows.
        region : str, optional
            The bucket's region.

        Returns
        -------
        Job
            The running export.

        Raises
        ------
        QueryError
            If the query does not parse.
        BadRequest
            If the destination is none that exports may go to.
        """
        if format not in _FORMATS:
            raise RpacsError(f"There is no export format {format!r}.", f"Use one of {', '.join(_FORMATS)}.")
        body: dict[str, Any] = {
            "destination": destination,
            "format": format,
            "credentials": Credentials.of(credentials).body(),
        }
        query = ""
        if isinstance(what, str):
            query = what
            body |= {"query": what, "level": check_level(level or "series")}
        else:
            table = isinstance(what, pd.DataFrame | pd.Index) or (isinstance(what, pd.Series) and level is None)
            rank = level_of(what) if table else check_level(level or "series")  # type: ignore[arg-type]
            keys = list(
                what.index if isinstance(what, pd.DataFrame) or (table and isinstance(what, pd.Series)) else what
            )
            if not keys:
                raise RpacsError("There is nothing to export: the selection is empty.")
            body |= {"uids": [{"level": rank, "uid": str(k)} for k in dict.fromkeys(keys)], "level": rank}
        body |= {k: v for k, v in {"endpoint_url": endpoint_url, "region": region}.items() if v}
        return Job(self._transport, ExportStatus.of(self._transport.post("exports", body, query=query)))

    def exports(self) -> pd.DataFrame:
        """Return your exports, newest first.

        Returns
        -------
        pandas.DataFrame
            Index ``id``; columns created, state, done, total, failed, bytes, format, destination, query, message.
        """
        columns = ["created", "state", "done", "total", "failed", "bytes", "format", "destination", "query", "message"]
        statuses = self.export_statuses()
        return pd.DataFrame(
            [[getattr(s, c) for c in columns] for s in statuses],
            columns=columns,
            index=pd.Index([s.id for s in statuses], name="id"),
        )

    def export_statuses(self) -> list[ExportStatus]:
        """Return the statuses of your exports, newest first; `exports` gives them as a table."""
        return [ExportStatus.of(record) for record in self._transport.get("exports")["exports"]]

    def job(self, id: str) -> Job:  # noqa: A002 - the column it is read from
        """Return an export that was started earlier, here or elsewhere.

        Parameters
        ----------
        id : str
            As in the index of `exports`.

        Returns
        -------
        Job
            The export.

        Raises
        ------
        NotFound
            If you have no such export.
        """
        return Job(self._transport, ExportStatus.of(self._transport.get(f"exports/{quote(str(id), safe='')}")))

    def viewer_address(
        self,
        studies: str | pd.DataFrame | pd.Series[Any] | pd.Index[Any] | Iterable[str] | None = None,
        minutes: float | None = None,
    ) -> ViewerAddress:
        """Make a short-lived address of DICOMweb for a viewer that cannot send a header, such as OHIF or 3D Slicer.

        Whoever has the address sees what you see until it ends: name the studies that you need.

        Parameters
        ----------
        studies : str, DataFrame, Series, Index or iterable of str, optional
            StudyInstanceUIDs, or a table of `search`; at most 100 studies. By default all that you may see.
        minutes : float, optional
            How long it lives, an hour by default; the operator sets the most.

        Returns
        -------
        ViewerAddress
            Its ``url`` is what the viewer is given; ``revoke()`` closes it.

        Raises
        ------
        NotFound
            If one of the studies does not exist, or you may not see it.
        Unavailable
            If you have too many open addresses.

        Examples
        --------
        >>> pacs.viewer_address(study_uid).url  # doctest: +SKIP
        """
        body = {"studies": study_uids(studies), "minutes": minutes}
        return ViewerAddress(self._transport, self._transport.post("viewer-address", body))

    def viewer_addresses(self) -> pd.DataFrame:
        """Return your open personal addresses, newest first, without what opens them.

        Returns
        -------
        pandas.DataFrame
            Index ``id``; columns studies, created, expires, last_used.
        """
        return addresses_frame(self._transport.get("viewer-address"))

    def revoke_viewer_address(self, id: str) -> None:  # noqa: A002 - the column it is read from
        """Close a personal address at once.

        Parameters
        ----------
        id : str
            As in the index of `viewer_addresses`.

        Raises
        ------
        NotFound
            If you have no such open address.
        """
        self._transport.delete(f"viewer-address/{quote(str(id), safe='')}")

    def viewer(self, series_uid: str) -> Viewer:
        """Return a widget to scroll through a series.

        Parameters
        ----------
        series_uid : str
            SeriesInstanceUID.

        Returns
        -------
        Viewer
            Show it as the last line of a cell.
        """
        from rpacs.widgets import Viewer

        viewer = Viewer(self)
        viewer.show_series(series_uid)
        return viewer

    def browser(self, query: str = "", level: str = "series") -> Browser:
        """Return the whole workbench as a widget: query, results, viewer and exports.

        Parameters
        ----------
        query, level : str, optional
            What it starts with.

        Returns
        -------
        Browser
            Show it as the last line of a cell.
        """
        from rpacs.widgets import Browser

        return Browser(self, query=query, level=check_level(level))

    def close(self) -> None:
        """Close the connections to the gateway."""
        self._transport.close()


def equals(keyword: str, value: str) -> str:
    """Return the query that asks for one value of one keyword, quoted.

    Parameters
    ----------
    keyword : str
        A DICOM keyword.
    value : str
        The value; every character of it stands for itself, ``*`` too.

    Returns
    -------
    str
        Such as ``PatientID StrEquals "R000001"``.
    """
    quoted = value.replace("\\", "\\\\").replace('"', '\\"').replace("*", "\\*")
    return f'{keyword} StrEquals "{quoted}"'


def _checked(uid: str) -> str:
    """Return `uid`, or raise: it goes into addresses and queries, so it must be one (PS3.5, 9.1)."""
    uid = str(uid).strip()
    if not _UID.fullmatch(uid):
        raise RpacsError(f"{uid[:80]!r} is not a UID.", "A UID holds digits and dots, at most 64 characters.")
    return uid
