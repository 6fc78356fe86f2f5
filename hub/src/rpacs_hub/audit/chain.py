"""The chain of audit lines: each holds its number and the digest of the one before.

A line is one JSON object. ``seq`` and ``previous`` come first; ``hash`` comes last and is the SHA-256 of everything
before it. So a line that was edited does not fit its own digest, and one that was removed, added or moved does not fit
its neighbours. Lines cut off at the end leave a chain that is whole: they are found by comparing the table with the
file, or with a number and digest that somebody noted (``rpacs-hub audit verify`` prints the last one).
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any, Final

__all__ = ["BEGINNING", "Head", "Link", "link", "read_link"]

_TAIL: Final = re.compile(r',"hash":"([0-9a-f]{64})"\}\Z')
_START: Final = re.compile(r'\A\{"seq":([1-9][0-9]{0,17}),"previous":"([0-9a-f]{64})"')


@dataclass(frozen=True, slots=True)
class Head:
    """The end of a chain.

    Attributes
    ----------
    seq
        Number of its last line; 0 where there is none yet.
    hash
        That line's digest, hexadecimal.
    """

    seq: int
    hash: str


BEGINNING: Final = Head(0, "0" * 64)
"""What the first line follows."""


@dataclass(frozen=True, slots=True)
class Link:
    """A line in its place.

    Attributes
    ----------
    seq, previous, hash
        As the line says.
    line
        The whole line, without a line break.
    sound
        Whether the digest is that of the line.
    """

    seq: int
    previous: str
    hash: str
    line: str
    sound: bool

    @property
    def head(self) -> Head:
        """The chain's end, were this its last line."""
        return Head(self.seq, self.hash)


def link(head: Head, event: dict[str, Any]) -> Link:
    """Make the line that follows.

    Parameters
    ----------
    head
        The chain's end.
    event
        JSON values.

    Returns
    -------
    Link
    """
    content = {"seq": head.seq + 1, "previous": head.hash, **event}
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))[:-1]
    digest = hashlib.sha256(text.encode()).hexdigest()
    return Link(head.seq + 1, head.hash, digest, f'{text},"hash":"{digest}"}}', True)


def read_link(line: str) -> Link | None:
    """Read a line.

    Returns
    -------
    Link or None
        None if it is no line of a chain at all.
    """
    start, tail = _START.match(line), _TAIL.search(line)
    if start is None or tail is None:
        return None
    digest = hashlib.sha256(line[: tail.start()].encode("utf-8", "surrogatepass")).hexdigest()
    return Link(int(start[1]), start[2], tail[1], line, digest == tail[1])
