"""What a client wants to get: the Accept header (RFC 9110 section 12.5.1) with DICOM's parameters (PS3.18 8.7)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from rpacs_hub.gateway._exchange import ApiError

__all__ = ["Wanted", "not_acceptable", "parse_accept", "wants_json"]

_PART = re.compile(r'(?:"(?:[^"\\]|\\.)*"|[^,"])+')
_PARAMETER = re.compile(r';\s*([\w.-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;,\s]*))')
_MOST = 50


@dataclass(frozen=True)
class Wanted:
    """One acceptable form.

    Attributes
    ----------
    multipart
        Whether several parts are acceptable, each of `type`.
    single
        Whether the bare content is.
    type
        Media type of the content, lower case, perhaps with ``*``.
    transfer_syntax
        UID or ``*``; None where nothing was said.
    """

    multipart: bool
    single: bool
    type: str
    transfer_syntax: str | None = None

    def takes(self, media_type: str) -> bool:
        """Whether content of that type is acceptable."""
        return fnmatchcase(media_type, self.type)


def parse_accept(header: str) -> list[Wanted]:
    """Read an Accept header.

    Returns
    -------
    list of Wanted
        What is liked best first; everything where the header is empty.

    Raises
    ------
    ApiError
        406 for a header that nothing can be made of.
    """
    if not header.strip():
        return [Wanted(True, True, "*/*")]
    found: list[tuple[float, Wanted]] = []
    for part in _PART.findall(header)[:_MOST]:
        media = part.split(";", 1)[0].strip().lower()
        parameters = {name.lower(): quoted or bare for name, quoted, bare in _PARAMETER.findall(part)}
        try:
            quality = float(parameters.get("q", "1"))
        except ValueError:
            quality = 0.0
        if quality <= 0 or not re.fullmatch(r"[\w.+*-]+/[\w.+*-]+", media):
            continue
        syntax = parameters.get("transfer-syntax") or None
        inner = (parameters.get("type") or "*/*").strip().lower()
        if media == "multipart/related":
            found.append((quality, Wanted(True, False, inner, syntax)))
        else:
            found.append((quality, Wanted(media == "*/*", True, media, syntax)))
    if not found:
        raise not_acceptable("nothing that can be understood", "Send an Accept header such as */*.")
    found.sort(key=lambda pair: -pair[0])
    return [wanted for _, wanted in found]


def not_acceptable(what: str, hint: str) -> ApiError:
    """Return the error for a form that is not offered."""
    return ApiError(406, "not_acceptable", f"The request accepts only {what}.", hint)


def wants_json(wanted: Sequence[Wanted]) -> str:
    """Return the media type of a JSON answer.

    Raises
    ------
    ApiError
        406 where JSON is not acceptable; XML (PS3.18 section F.1, PS3.19) is not offered.
    """
    for one in wanted:
        for offered in ("application/dicom+json", "application/json"):
            if one.single and one.takes(offered):
                return offered
    raise not_acceptable("what is not offered here", "Answers are application/dicom+json; XML is not offered.")
