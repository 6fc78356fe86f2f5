"""Patterns of the Orthanc API that a profile opens, such as ``GET /instances/*/preview``.

Here they are parsed and checked, so that a permissions file says what is wrong with it as a whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import unquote

__all__ = ["VERBS", "PathPattern"]

VERBS = ("GET", "POST", "PUT", "DELETE", "HEAD", "PATCH", "ANY")
"""The verbs a pattern may begin with; ``ANY`` stands for all of them."""


@dataclass(frozen=True)
class PathPattern:
    """``VERB /path``; ``*`` stands for anything without a slash, ``**`` for anything.

    Attributes
    ----------
    verb
        One of `VERBS`.
    path
        The path with its wildcards, decoded.
    """

    verb: str
    path: str

    @classmethod
    def parse(cls, text: str) -> PathPattern:
        """Read a pattern.

        Raises
        ------
        ValueError
            It is none; the message says why.
        """
        verb, _, path = text.strip().partition(" ")
        path = path.strip()
        if verb.upper() not in VERBS:
            raise ValueError(f"{text!r} does not begin with a verb ({', '.join(VERBS)})")
        if not path.startswith("/"):
            raise ValueError(f"{text!r} needs a path that begins with '/' after the verb")
        if unquote(path) != path:
            raise ValueError(f"{text!r} is percent-encoded; patterns match the decoded path")
        if any(char in path for char in "?# \t\\") or any(part in (".", "..") for part in path.split("/")):
            raise ValueError(f"{text!r} holds something that never occurs in a normalised path ('.', '..', '?', '#')")
        if "//" in path or "***" in path:
            raise ValueError(f"{text!r} holds '//' or '***', which match nothing")
        return cls(verb.upper(), path)

    def __str__(self) -> str:
        return f"{self.verb} {self.path}"
