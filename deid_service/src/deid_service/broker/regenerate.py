"""Making the journal anew, from the originals, the rules and the key.

Pseudonyms are a function of these three: whoever cleans the same originals once more gets the same pseudonyms, whatever
became of the journal.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from deid_service._buffers import open_file
from deid_service.engine import Deidentifier
from deid_service.errors import Refused
from deid_service.outcomes import Cleaned, Mapping

__all__ = ["Regenerated", "regenerate"]


@dataclass(frozen=True, slots=True)
class Regenerated:
    """What one original gave.

    Attributes
    ----------
    outcome : str
        ``cleaned``, ``discarded`` or ``refused``.
    reason : str or None
        Reason code of a refusal.
    mappings : tuple of Mapping
        Its pseudonyms.
    """

    outcome: str
    reason: str | None = None
    mappings: tuple[Mapping, ...] = ()


def regenerate(paths: Iterable[Path], deidentifier: Deidentifier) -> Iterator[Regenerated]:
    """Clean originals for the sake of their pseudonyms.

    Parameters
    ----------
    paths : iterable of Path
        DICOM files.
    deidentifier : Deidentifier
        The rules and the key of that time.

    Yields
    ------
    Regenerated
        One for each file.
    """
    for path in paths:
        try:
            outcome = deidentifier.clean(open_file(path))
        except Refused as refusal:
            yield Regenerated("refused", refusal.reason_code)
        except OSError:
            yield Regenerated("refused", "unreadable")
        else:
            if isinstance(outcome, Cleaned):
                yield Regenerated("cleaned", mappings=tuple(outcome.mappings))
            else:
                yield Regenerated("discarded")
