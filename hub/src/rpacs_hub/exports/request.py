"""Read what a user sends to start an export, and refuse what cannot work before anything is started.

The body is closed: an unknown key is an error, so that a misspelt ``session_token`` is not silently left out. No error
message ever repeats a value that could be a credential.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn
from urllib.parse import urlsplit

from rpacs_hub.exports.errors import ExportRefused
from rpacs_hub.exports.records import ExportFormat

__all__ = [
    "Credentials",
    "Destination",
    "ExportRequest",
    "Selection",
    "parse_credentials",
    "parse_destination",
    "parse_endpoint",
    "parse_request",
]

LEVELS = ("patient", "study", "series", "instance")
MAX_SELECTIONS = 10_000
MAX_QUERY = 100_000
# S3 allows 1024 bytes a key; three UIDs of 64, a frame number and separators need the rest.
MAX_PREFIX_BYTES = 1024 - 3 * 65 - 16

_BODY_KEYS = ("query", "uids", "level", "destination", "format", "credentials", "endpoint_url", "region")
_CREDENTIAL_KEYS = ("access_key", "secret_key", "session_token")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_REGION = re.compile(r"[a-z]{2,8}(-[a-z0-9]{1,12}){1,4}")
# What S3's guide on object keys tells to avoid, plus what changes meaning in a URL or a shell's path.
_PREFIX_AVOID = frozenset('\\{}^%`[]"<>~#|?*')


@dataclass(frozen=True, slots=True)
class Credentials:
    """S3 keys, held in memory only. Neither ``repr`` nor ``str`` nor a pickle shows them."""

    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)

    def __reduce__(self) -> NoReturn:
        raise TypeError("credentials are never written anywhere")


@dataclass(frozen=True, slots=True)
class Destination:
    """A bucket and the prefix below which objects are written (empty: the bucket's root)."""

    bucket: str
    prefix: str

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}" if self.prefix else f"s3://{self.bucket}"

    def key(self, *parts: str) -> str:
        """Return the key of an object: the prefix and `parts`, joined by slashes."""
        return "/".join((self.prefix, *parts) if self.prefix else parts)


@dataclass(frozen=True, slots=True)
class Selection:
    """One entity to export whole: its level and UID (for patients: the PatientID)."""

    level: str
    uid: str


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """A checked request.

    Attributes
    ----------
    level
        Level of the rows that `query` selects; every visible instance below such a row is exported.
    query
        Query text (empty: everything the user sees), or None when `uids` is given.
    uids
        Entities to export, or empty when `query` is given.
    destination, format, endpoint_url, region
        Where to and as what; ``endpoint_url=None`` is AWS.
    credentials
        Never shown.
    """

    level: str
    query: str | None
    uids: tuple[Selection, ...]
    destination: Destination
    format: ExportFormat
    credentials: Credentials = field(repr=False)
    endpoint_url: str | None = None
    region: str | None = None


def parse_request(body: object, allowed_endpoints: Iterable[str]) -> ExportRequest:
    """Check the JSON body of ``POST exports``.

    Parameters
    ----------
    body
        The decoded JSON.
    allowed_endpoints
        Addresses of S3 servers other than AWS that may be named as ``endpoint_url``.

    Returns
    -------
    ExportRequest
        The checked request.

    Raises
    ------
    ExportRefused
        With a code, one sentence and a hint; it names the key at fault, never a credential's value.
    """
    values = _mapping(body, "The request", _BODY_KEYS)
    query, uids = values.get("query"), values.get("uids")
    if (query is None) == (uids is None):
        raise ExportRefused(
            "selection_invalid", "Name either a query or uids.", 'An empty query ("") exports all that you may see.'
        )
    return ExportRequest(
        level=_choice(values.get("level", "instance"), "level", LEVELS),
        query=None if query is None else _query(query),
        uids=() if uids is None else _selections(uids),
        destination=parse_destination(values.get("destination")),
        format=ExportFormat(_choice(values.get("format", "dicom"), "format", tuple(ExportFormat))),
        credentials=parse_credentials(values.get("credentials")),
        endpoint_url=parse_endpoint(values.get("endpoint_url"), allowed_endpoints),
        region=_region(values.get("region")),
    )


def parse_destination(value: object) -> Destination:
    """Check ``s3://bucket/prefix``.

    Slashes at either end of the prefix do not count. Bucket names follow the rules of S3; a prefix may hold letters of
    any script, digits, spaces and the signs that are safe in keys.

    Raises
    ------
    ExportRefused
        Code ``destination_invalid``.
    """

    def refuse(message: str, hint: str = "Write it as s3://bucket/prefix.") -> ExportRefused:
        return ExportRefused("destination_invalid", message, hint)

    if not isinstance(value, str) or not value.strip():
        raise refuse("The destination is missing.")
    scheme, separator, rest = value.strip().partition("://")
    if not separator or scheme.lower() != "s3":
        raise refuse("The destination is not an S3 address.")
    bucket, _, prefix = rest.partition("/")
    if not _BUCKET.fullmatch(bucket) or ".." in bucket or _is_address(bucket):
        raise refuse(
            "The destination's bucket name is not valid.",
            "A bucket name has 3 to 63 lower-case letters, digits, dots and hyphens: s3://bucket/prefix.",
        )
    prefix = prefix.strip("/")
    for character in prefix:
        if character.isprintable() and character not in _PREFIX_AVOID:
            continue
        raise refuse(
            f"The destination's prefix holds a character that is not safe in S3 keys: {character!a}.",
            "Use letters, digits, spaces and - _ . ! ' ( ) = + , : ; @ & $ between slashes.",
        )
    if prefix and any(part in ("", ".", "..") or part != part.strip() for part in prefix.split("/")):
        raise refuse("The destination's prefix has an empty part, '.', '..' or a blank beside a slash.")
    if len(prefix.encode()) > MAX_PREFIX_BYTES:
        raise refuse(f"The destination's prefix is longer than {MAX_PREFIX_BYTES} bytes.", "Choose a shorter one.")
    return Destination(bucket, prefix)


def parse_credentials(value: object) -> Credentials:
    """Check ``{access_key, secret_key, session_token?}``; blanks around a pasted key do not count.

    Raises
    ------
    ExportRefused
        Code ``credentials_invalid``.
    """
    if value is None:
        raise ExportRefused(
            "credentials_invalid",
            "The credentials are missing.",
            "Send credentials: {access_key, secret_key, session_token?}. They are kept in memory only.",
        )
    values = _mapping(value, "The credentials", _CREDENTIAL_KEYS, code="credentials_invalid", name_keys=False)
    token = values.get("session_token")
    return Credentials(
        access_key=_secret(values.get("access_key"), "access_key", 256),
        secret_key=_secret(values.get("secret_key"), "secret_key", 1024),
        session_token=None if token is None or token == "" else _secret(token, "session_token", 16_384),
    )


def parse_endpoint(value: object, allowed_endpoints: Iterable[str]) -> str | None:
    """Return the allowed address that `value` names, or None for AWS.

    The gateway can reach servers that its users cannot, so that it only ever connects to addresses its operator listed.

    Raises
    ------
    ExportRefused
        Code ``endpoint_not_allowed``.
    """
    if value is None or value == "":
        return None
    wanted = _origin(value) if isinstance(value, str) else None
    for allowed in allowed_endpoints:
        if wanted is not None and _origin(allowed) == wanted:
            return allowed
    raise ExportRefused(
        "endpoint_not_allowed",
        "Exports to this endpoint_url are not allowed here.",
        "Leave endpoint_url out for AWS, or ask the operator to add the address to RPACS_S3_ENDPOINTS.",
    )


def _origin(url: str) -> tuple[str, str, int] | None:
    """Return (scheme, host, port) of a bare ``http(s)://host[:port][/]``, None for anything else."""
    try:
        parts = urlsplit(url.strip())
        port = parts.port
    except ValueError:
        return None
    extra = parts.username is not None or parts.password is not None or parts.query or parts.fragment
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path not in ("", "/") or extra:
        return None
    return parts.scheme, parts.hostname, port or (443 if parts.scheme == "https" else 80)


def _is_address(text: str) -> bool:
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return True


def _mapping(
    value: object, what: str, keys: tuple[str, ...], *, code: str = "request_invalid", name_keys: bool = True
) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ExportRefused(code, f"{what} must be a JSON object.", f"Its keys are {', '.join(keys)}.")
    for key in value:
        if key not in keys:
            # Somebody may have pasted the secret itself as a key of the credentials: do not repeat it there.
            message = f"{what}: unknown key" + (f" {str(key)[:40]!a}." if name_keys else ".")
            near = difflib.get_close_matches(str(key), keys, 1)
            raise ExportRefused(code, message, f"Did you mean {near[0]}?" if near else f"Known: {', '.join(keys)}.")
    return value


def _choice(value: object, name: str, choices: tuple[str, ...]) -> str:
    if not isinstance(value, str) or value.lower() not in choices:
        raise ExportRefused(f"{name}_invalid", f"The {name} is not one of {', '.join(choices)}.", "")
    return value.lower()


def _query(value: object) -> str:
    if not isinstance(value, str) or len(value) > MAX_QUERY or "\x00" in value:
        raise ExportRefused("selection_invalid", f"The query must be a text of at most {MAX_QUERY} characters.", "")
    return value


def _selections(value: object) -> tuple[Selection, ...]:
    if not isinstance(value, list) or not value:
        raise ExportRefused("selection_invalid", "uids must be a list that is not empty.", "[{level, uid}, ...]")
    if len(value) > MAX_SELECTIONS:
        raise ExportRefused("selection_invalid", f"uids holds more than {MAX_SELECTIONS} entries.", "Use a query.")
    found: dict[Selection, None] = {}
    for entry in value:
        values = _mapping(entry, "An entry of uids", ("level", "uid"), code="selection_invalid")
        uid = values.get("uid")
        if not isinstance(uid, str) or not 0 < len(uid) <= 64 or "\x00" in uid:
            raise ExportRefused(
                "selection_invalid", "A uid must be a text of 1 to 64 characters.", "[{level, uid}, ...]"
            )
        found[Selection(_choice(values.get("level"), "level", LEVELS), uid)] = None
    return tuple(found)


def _region(value: object) -> str | None:
    if value is None or value == "":
        return None
    if not isinstance(value, str) or not _REGION.fullmatch(value) or len(value) > 40:
        raise ExportRefused("region_invalid", "The region is not a region's name.", "Such as eu-central-1.")
    return value


def _secret(value: object, name: str, longest: int) -> str:
    text = value.strip() if isinstance(value, str) else ""
    # They travel in HTTP headers: nothing but printable ASCII may get there.
    if not text or len(text) > longest or not all("!" <= character <= "~" for character in text):
        raise ExportRefused(
            "credentials_invalid", f"The {name} is missing or holds characters that no key has.", "Copy it again."
        )
    return text
