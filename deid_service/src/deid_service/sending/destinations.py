"""Where clean copies go, and how each is confirmed.

To send a copy twice does no harm: cleaning is deterministic, so a copy that is there with the same bytes is left alone.
One with other bytes (made by other rules, or by another key) is never overwritten.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import re
from collections.abc import Mapping
from io import BufferedReader
from pathlib import Path
from typing import Protocol

from deid_service._buffers import PartsReader, same_bytes
from deid_service._orthanc import Orthanc, md5_of
from deid_service._output import write_whole
from deid_service.errors import DeidError, OutputError
from deid_service.outcomes import Cleaned
from deid_service.pipeline.errors import SettingsError
from deid_service.pipeline.send import CleanCopy, send_clean_copies
from deid_service.sending import _s3

__all__ = ["Destination", "DestinationError", "file_name", "open_destination"]

_CONFLICT = ("conflict", "another file is there under the same SOP Instance UID: made by other rules or another key?")
_PIECE = 2**20
_MISSING = frozenset({"404", "NoSuchKey", "NotFound"})


class DestinationError(DeidError):
    """A destination that cannot be used: nothing more can be sent there now."""


class Destination(Protocol):
    """Takes clean copies."""

    def send(self, copy: Cleaned) -> tuple[str, str] | None:
        """Send one copy and confirm that it is there, byte by byte.

        Returns
        -------
        tuple of (str, str) or None
            Reason code and message if it is not there; None if it is.

        Raises
        ------
        DeidError
            If the destination fails altogether.
        """

    def close(self) -> None:
        """Close connections."""


def open_destination(text: str | None, environment: Mapping[str, str] | None = None) -> Destination:
    """Open a destination.

    Parameters
    ----------
    text : str or None
        ``s3://bucket/prefix``, a folder, or ``env:NAME``: the variable that holds the address of an Orthanc, since
        other users of this machine can read a command's arguments. None means ``env:RPACS_RESEARCH_URL``.
    environment : mapping, optional
        Instead of ``os.environ``.

    Returns
    -------
    Destination

    Raises
    ------
    DestinationError
        If the text is none of these.
    SettingsError
        If the variable is not set or holds no address.
    """
    environment = os.environ if environment is None else environment
    text = text or "env:RPACS_RESEARCH_URL"
    if text.startswith("env:"):
        url = environment.get(text.removeprefix("env:"), "").strip()
        if not re.match(r"https?://[^/]", url):
            raise SettingsError(f"{text.removeprefix('env:')} must look like http://user:password@host:port")
        return _ToOrthanc(Orthanc(url, "destination"))
    if text.startswith("s3://"):
        bucket, prefix = _s3.address(text)
        if not bucket:
            raise DestinationError("s3:// is followed by a bucket")
        return _ToS3(bucket, prefix)
    if "://" in text:
        raise DestinationError(
            "a destination is a folder, s3://BUCKET/PREFIX or env:NAME; put the address of an Orthanc, which holds a"
            " password, into an environment variable and say env: and its name"
        )
    return _ToFolder(Path(text))


def file_name(copy: Cleaned) -> str:
    """Name a copy by its new UIDs: ``study/series/instance.dcm``."""
    uids = (copy.study_instance_uid, copy.series_instance_uid, copy.sop_instance_uid)
    # Rules that keep UIDs could hand us one such as ``../x``.
    safe = [
        uid if re.fullmatch(r"[0-9][0-9.]*", uid) else hashlib.sha256(uid.encode()).hexdigest()[:32] for uid in uids
    ]
    return f"{'/'.join(safe)}.dcm"


class _ToOrthanc:
    def __init__(self, orthanc: Orthanc) -> None:
        self._orthanc = orthanc

    def send(self, copy: Cleaned) -> tuple[str, str] | None:
        clean = CleanCopy("", copy.sop_instance_uid, copy.parts)
        for _, problem in send_clean_copies(self._orthanc, [clean]):
            return None if problem is None else (problem.reason, problem.message)
        return "not_confirmed", "the Orthanc did not say what became of the copy"

    def close(self) -> None:
        self._orthanc.close()


class _ToFolder:
    def __init__(self, folder: Path) -> None:
        if folder.exists() and not folder.is_dir():
            raise DestinationError(f"{folder} is not a folder")
        self._folder = folder

    def send(self, copy: Cleaned) -> tuple[str, str] | None:
        path = self._folder / file_name(copy)
        try:
            if path.exists():
                return None if _holds(path, copy) else _CONFLICT
            write_whole(path, copy.parts)
            if not _holds(path, copy):
                return "not_confirmed", "the file does not read back as it was written"
        except OSError as error:
            raise OutputError(f"cannot write below {self._folder}: {error.strerror}") from None
        return None

    def close(self) -> None:
        pass


def _holds(path: Path, copy: Cleaned) -> bool:
    with path.open("rb") as file:
        return same_bytes(copy.parts, iter(lambda: file.read(_PIECE), b""))


class _ToS3:
    def __init__(self, bucket: str, prefix: str) -> None:
        self._bucket, self._prefix = bucket, prefix.rstrip("/")
        self._s3 = _s3.client()

    def send(self, copy: Cleaned) -> tuple[str, str] | None:
        from botocore.exceptions import BotoCoreError, ClientError

        key = f"{self._prefix}/{file_name(copy)}".lstrip("/")
        try:
            there = self._holds(key, copy)
            if there is not None:
                return None if there else _CONFLICT
            digest = base64.b64encode(bytes.fromhex(md5_of(copy.parts))).decode()
            self._s3.put_object(
                Bucket=self._bucket,
                Key=key,
                Body=BufferedReader(PartsReader(copy.parts)),
                ContentLength=copy.size,
                ContentMD5=digest,
                ContentType="application/dicom",
            )
            if not self._holds(key, copy):
                return "not_confirmed", "the object does not read back as it was written"
        except (BotoCoreError, ClientError) as error:
            raise DestinationError(f"S3 does not take the copies: {_s3.reason(error)}") from None
        return None

    def close(self) -> None:
        self._s3.close()

    def _holds(self, key: str, copy: Cleaned) -> bool | None:
        """Tell whether an object is the copy; None if there is no such object."""
        from botocore.exceptions import ClientError

        try:
            body = self._s3.get_object(Bucket=self._bucket, Key=key)["Body"]
            with contextlib.closing(body):
                return same_bytes(copy.parts, body.iter_chunks(_PIECE))
        except ClientError as error:
            if _s3.reason(error) in _MISSING:
                return None
            raise
