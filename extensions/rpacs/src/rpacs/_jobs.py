"""Exports: jobs that run in the gateway and outlive the notebook that started them."""

from __future__ import annotations

import html
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from tqdm.auto import tqdm

from rpacs._credentials import Credentials
from rpacs._errors import ExportCancelled, ExportError, ExportFailed, ExportInterrupted, Unavailable
from rpacs._transport import Transport

__all__ = ["ExportStatus", "Job"]

_ENDED: Final = frozenset({"done", "failed", "cancelled", "interrupted"})


@dataclass(frozen=True)
class ExportStatus:
    """Where an export stands.

    Attributes
    ----------
    id : str
        The export's number.
    state : str
        ``queued``, ``running``, ``done``, ``failed``, ``cancelled`` or ``interrupted``.
    level, query, destination, format : str
        What is exported, where to and as what. `query` is empty when rows were picked one by one.
    total, done, failed : int
        Instances in all, written, and given up on.
    bytes : int
        Bytes written.
    message, hint : str
        What went wrong and what to do about it; empty when nothing did.
    resumable : bool
        Whether `Job.resume` can go on with it.
    created, started, finished : datetime or None
        With time zone.
    """

    id: str
    state: str
    level: str = ""
    query: str = ""
    destination: str = ""
    format: str = "dicom"
    total: int = 0
    done: int = 0
    failed: int = 0
    bytes: int = 0
    message: str = ""
    hint: str = ""
    resumable: bool = False
    created: datetime | None = None
    started: datetime | None = None
    finished: datetime | None = None
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> ExportStatus:
        """Return the status that a record of the gateway stands for."""

        def when(name: str) -> datetime | None:
            value = record.get(name)
            return datetime.fromisoformat(value) if isinstance(value, str) and value else None

        return cls(
            id=str(record["id"]),
            state=str(record["state"]),
            level=str(record.get("level") or ""),
            query=str(record.get("query") or ""),
            destination=str(record.get("destination") or ""),
            format=str(record.get("format") or ""),
            total=int(record.get("total") or 0),
            done=int(record.get("done") or 0),
            failed=int(record.get("failed") or 0),
            bytes=int(record.get("bytes") or 0),
            message=str(record.get("message") or ""),
            hint=str(record.get("hint") or ""),
            resumable=bool(record.get("resumable")),
            created=when("created"),
            started=when("started"),
            finished=when("finished"),
            raw=record,
        )

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen by itself."""
        return self.state in _ENDED

    def __str__(self) -> str:
        text = f"{self.state}: {self.done} of {self.total} instances to {self.destination}"
        if self.failed:
            text += f", {self.failed} failed"
        return "\n".join(part for part in (text, self.message, self.hint) if part)

    def _repr_html_(self) -> str:
        share = 100 * self.done / self.total if self.total else 0
        notes = "".join(f"<div>{html.escape(text)}</div>" for text in (self.message, self.hint) if text)
        return (
            f"<div><b>{html.escape(self.state)}</b> · {self.done:,} of {self.total:,} instances"
            f"{f' · {self.failed:,} failed' if self.failed else ''} · {html.escape(self.destination)}"
            f"<div><progress max='100' value='{share:.1f}'></progress></div>{notes}</div>"
        )


class Job:
    """One export. Made by `Client.export` and `Client.job`.

    Parameters
    ----------
    transport : Transport
        How to reach the gateway.
    status : ExportStatus
        What is known so far.

    Attributes
    ----------
    id : str
        The export's number; `Client.job` finds it again from any notebook.
    """

    def __init__(self, transport: Transport, status: ExportStatus) -> None:
        self._transport = transport
        self._last = status
        self.id = status.id

    def __repr__(self) -> str:
        return f"Job({self.id!r}, {self._last.state}, {self._last.done}/{self._last.total})"

    def _repr_html_(self) -> str:
        return self._last._repr_html_()

    def status(self) -> ExportStatus:
        """Ask the gateway where the export stands.

        Returns
        -------
        ExportStatus
            As of now.
        """
        self._last = ExportStatus.of(self._transport.get(f"exports/{self.id}"))
        return self._last

    def wait(self, progress: bool = True, *, timeout: float | None = None, poll: float = 1.0) -> ExportStatus:
        """Wait until the export has ended.

        Parameters
        ----------
        progress : bool, optional
            Whether to show a bar.
        timeout : float, optional
            Seconds after which to give up waiting; the export itself goes on.
        poll : float, optional
            Seconds between two looks.

        Returns
        -------
        ExportStatus
            With state ``done``. Images that could not be sent are counted in ``failed``, with a warning.

        Raises
        ------
        ExportFailed, ExportInterrupted, ExportCancelled
            If it ended so.
        TimeoutError
            If `timeout` passed.
        Unavailable
            If the gateway stays silent for a minute. The export may still be running: see `Client.exports`.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        silent_since: float | None = None
        with tqdm(total=self._last.total or None, unit=" images", desc="Export", disable=not progress) as bar:
            while True:
                try:
                    status = self.status()
                    silent_since = None
                except Unavailable:
                    # A gateway that restarts comes back within seconds, and the job with it.
                    silent_since = silent_since or time.monotonic()
                    if time.monotonic() - silent_since > 60:
                        raise
                    status = self._last
                bar.total = status.total or None
                bar.update(status.done + status.failed - bar.n)
                if status.ended and silent_since is None:
                    break
                if deadline is not None and time.monotonic() >= deadline:
                    raise TimeoutError(f"The export is still {status.state}; it goes on without this notebook.")
                time.sleep(poll)
        error = _ERRORS.get(status.state)
        if error is not None:
            message, hint = _WORDS[status.state]
            raise error(status.message or message, status.hint or hint, status=status)
        if status.failed:
            warnings.warn(f"{status.failed} of {status.total} images could not be exported.", stacklevel=2)
        return status

    def cancel(self) -> ExportStatus:
        """Stop the export. What is already in the bucket stays there.

        Returns
        -------
        ExportStatus
            As of now; a running export takes a moment to stop.
        """
        self._transport.delete(f"exports/{self.id}")
        return self.status()

    def resume(self, credentials: object) -> Job:
        """Go on with an export that was interrupted, cancelled or failed; what is written already is skipped.

        Parameters
        ----------
        credentials : Credentials, mapping, or object
            As for `Client.export`: the gateway did not keep the first ones.

        Returns
        -------
        Job
            This job.
        """
        keys = Credentials.of(credentials)
        self._transport.post(f"exports/{self.id}/resume", {"credentials": keys.body()})
        self.status()
        return self


_ERRORS: Final[dict[str, type[ExportError]]] = {
    "failed": ExportFailed,
    "interrupted": ExportInterrupted,
    "cancelled": ExportCancelled,
}
_WORDS: Final = {
    "failed": ("The export failed.", "Check the destination and the keys, then start it again."),
    "interrupted": ("The export was interrupted.", "Continue with job.resume(credentials)."),
    "cancelled": ("The export was cancelled.", ""),
}
