"""Patterns of the Orthanc API that a profile opens, such as ``GET /instances/*/preview``, and the paths they meet.

Patterns are parsed and checked here, so that a permissions file says what is wrong with it as a whole. A path is met in
one form only, the one that is sent to Orthanc; what has more than one reading is no path (`normalised_path`).
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from urllib.parse import unquote, unquote_to_bytes

__all__ = ["VERBS", "PathPattern", "normalised_path", "overrides_method"]

VERBS = ("GET", "POST", "PUT", "DELETE", "HEAD", "PATCH", "ANY")
"""The verbs a pattern may begin with; ``ANY`` stands for all of them."""

_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_PATH = re.compile(r"/(?:[A-Za-z0-9._~!$&'()*+,=:@-]+(?:/[A-Za-z0-9._~!$&'()*+,=:@-]+)*)?")
_LONGEST = 2000
_DECODINGS = 8


def normalised_path(raw: str) -> str:
    """Return the one form of a path in which patterns meet it and in which it is sent to Orthanc.

    It is decoded once, and has no slash at its end: Orthanc reads ``/instances/`` as ``/instances``. The case stays, as
    Orthanc tells it apart.

    Parameters
    ----------
    raw
        The path of a request line, percent-encoded, from its ``/``.

    Raises
    ------
    ValueError
        It could be read in more than one way: encoded twice, dot segments, empty segments, ``;``, backslashes, control
        characters, or anything beyond the characters that RFC 3986 allows in a segment of a path.
    """
    if len(raw) > _LONGEST or _ESCAPE.search(raw):
        raise ValueError("too long, or a % that encodes nothing")
    path = unquote_to_bytes(raw).decode("latin-1")
    if len(path) > 1 and path.endswith("/"):
        path = path[:-1]
    if not _PATH.fullmatch(path) or any(segment in (".", "..") for segment in path.split("/")):
        raise ValueError("has more than one reading")
    return path


def overrides_method(query: str) -> bool:
    """Return whether a query string asks Orthanc to take a request for one with another method.

    Orthanc takes ``GET ...?_method=DELETE`` for a DELETE, which would make nothing of ``Deny: DELETE``.
    """
    for _ in range(_DECODINGS):
        if "_method" in query.casefold():
            return True
        decoded = unquote(query.replace("+", " "))
        if decoded == query:
            return False
        query = decoded
    return True


@functools.lru_cache(4096)
def _expression(path: str, ignore_case: bool) -> re.Pattern[str]:
    parts = re.split(r"(\*\*|\*)", path.rstrip("/") or "/")
    words = {"**": ".*", "*": "[^/]*"}
    expression = "".join(words.get(part) or re.escape(part) for part in parts)
    return re.compile(expression, re.IGNORECASE if ignore_case else 0)


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

    def allows(self, verb: str, path: str) -> bool:
        """Whether a normalised path meets the pattern."""
        return self.verb in (verb, "ANY") and _expression(self.path, False).fullmatch(path) is not None

    def denies(self, verb: str, path: str) -> bool:
        """Whether a normalised path meets the pattern; in doubt it does.

        Here case does not count, and ``/x/**`` meets ``/x`` as well, which is how ``/x/`` is normalised.
        """
        expression = _expression(self.path, True)
        return self.verb in (verb, "ANY") and any(expression.fullmatch(form) for form in (path, path.rstrip("/") + "/"))

    def __str__(self) -> str:
        return f"{self.verb} {self.path}"
