"""From a source to a destination: read, clean, journal, send, confirm, log."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from deid_service.engine import Deidentifier
from deid_service.errors import Refused
from deid_service.outcomes import Cleaned, Mapping
from deid_service.sending.destinations import Destination
from deid_service.sending.sources import Original, SourceError

__all__ = ["Record", "transfer"]

# A write to the journal is shared by fewer copies where they are large.
_SEND_BYTES: Final = 64 * 2**20


@dataclass(frozen=True, slots=True)
class Record:
    """What became of one original. Free of its values.

    Attributes
    ----------
    source : str
        Orthanc id, or a keyed digest of where it lies: file names often name patients.
    outcome : str
        ``sent`` (and confirmed), ``discarded`` or ``refused``.
    reason, message : str or None
        Why it was refused.
    instance : str or None
        SOP Instance UID of the clean copy.
    """

    source: str
    outcome: str
    reason: str | None = None
    message: str | None = None
    instance: str | None = None


def transfer(
    originals: Iterable[Original],
    deidentifier: Deidentifier,
    destination: Destination,
    name: Callable[[Original], str],
    journal: Callable[[Sequence[Mapping]], None] | None = None,
    *,
    batch: int = 32,
) -> Iterator[Record]:
    """Clean and send originals.

    Parameters
    ----------
    originals : iterable of Original
        From :func:`~deid_service.sending.open_source`.
    deidentifier : Deidentifier
        Rules and key.
    destination : Destination
        From :func:`~deid_service.sending.open_destination`.
    name : callable
        Returns a neutral name for an original.
    journal : callable, optional
        Writes mappings for the honest broker, before the copies are sent.
    batch : int, optional
        Copies that share a write to the journal.

    Yields
    ------
    Record
        In order.

    Raises
    ------
    DeidError
        If source, destination or journal fail altogether. What was not yielded can be sent again.
    """
    waiting: list[tuple[str, Cleaned | Record]] = []
    size = 0
    for original in originals:
        work = _clean(original, name(original), deidentifier)
        waiting.append((name(original), work))
        size += work.size if isinstance(work, Cleaned) else 0
        if len(waiting) == batch or size >= _SEND_BYTES:
            yield from _deliver(waiting, destination, journal)
            waiting.clear()
            size = 0
    yield from _deliver(waiting, destination, journal)


def _clean(original: Original, source: str, deidentifier: Deidentifier) -> Cleaned | Record:
    try:
        outcome = deidentifier.clean(original.read())
    except Refused as refusal:
        return Record(source, "refused", refusal.reason_code, refusal.message)
    except SourceError as error:
        return Record(source, "refused", "unreadable", str(error))
    return outcome if isinstance(outcome, Cleaned) else Record(source, "discarded")


def _deliver(
    waiting: Sequence[tuple[str, Cleaned | Record]],
    destination: Destination,
    journal: Callable[[Sequence[Mapping]], None] | None,
) -> Iterator[Record]:
    mappings = [mapping for _, work in waiting if isinstance(work, Cleaned) for mapping in work.mappings]
    if journal is not None and mappings:
        journal(mappings)
    for source, work in waiting:
        if isinstance(work, Record):
            yield work
            continue
        problem = destination.send(work)
        if problem is None:
            yield Record(source, "sent", instance=work.sop_instance_uid)
        else:
            yield Record(source, "refused", *problem, instance=work.sop_instance_uid)
