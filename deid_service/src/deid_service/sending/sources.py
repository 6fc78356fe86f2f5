"""Where originals come from: ``orthanc://id``, ``s3://bucket/key``, or a path."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from deid_service._buffers import Data, open_file, spool
from deid_service._orthanc import Orthanc
from deid_service.errors import DeidError
from deid_service.sending import _s3
from deid_service.settings import Settings

__all__ = ["Original", "Source", "SourceError", "open_source"]

_PIECE = 2**20
_ORTHANC_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{8}){4}")


class SourceError(DeidError):
    """A location that does not exist, cannot be read, or is none."""


@dataclass(frozen=True, slots=True)
class Original:
    """An instance to clean.

    Attributes
    ----------
    name : str
        Where it lies. May name the patient: not for logs.
    neutral : bool
        Whether the name may be logged as it is: Orthanc's ids are digests.
    read : callable
        Returns bytes, or a mapped file if it is large; raises :class:`SourceError`.
    """

    name: str
    neutral: bool
    read: Callable[[], Data]


@dataclass(frozen=True, slots=True)
class Source:
    """An open location.

    Attributes
    ----------
    originals : tuple of Original
        What lies there, in order.
    close : callable
        Closes connections.
    """

    originals: tuple[Original, ...]
    close: Callable[[], None] = lambda: None


def open_source(location: str) -> Source:
    """List the instances at a location.

    Parameters
    ----------
    location : str
        ``orthanc://`` and the Orthanc id of an instance, series, study or patient of the ingest Orthanc
        (``RPACS_INGEST_URL``); ``s3://bucket/key`` or a folder-like prefix; a file, or a folder with all below it.

    Returns
    -------
    Source
        To be closed.

    Raises
    ------
    SourceError
        If there is nothing.
    SettingsError
        If the ingest Orthanc's address is needed and not set.
    OrthancUnavailableError
        If the ingest Orthanc does not answer.
    """
    if location.startswith("orthanc://"):
        return _from_orthanc(location.removeprefix("orthanc://").strip("/"))
    if location.startswith("s3://"):
        return _from_s3(location)
    if "://" in location:
        raise SourceError("a location is orthanc://ID, s3://BUCKET/KEY or a path")
    return _from_files(Path(location))


def _from_orthanc(orthanc_id: str) -> Source:
    if not _ORTHANC_ID.fullmatch(orthanc_id):
        raise SourceError("orthanc:// is followed by an Orthanc id: five groups of eight digits, with hyphens")
    ingest = Orthanc(Settings.ingest_from_environment(), "ingest Orthanc")
    try:
        found = ingest.instances_of(orthanc_id)
    except BaseException:
        ingest.close()
        raise
    if not found:
        ingest.close()
        raise SourceError("the ingest Orthanc has no patient, study, series or instance with this id")

    def reader(instance: str) -> Callable[[], Data]:
        def read() -> Data:
            data = ingest.file(instance)
            if data is None:
                raise SourceError("the ingest Orthanc does not have it any more")
            return data

        return read

    return Source(tuple(Original(instance, neutral=True, read=reader(instance)) for instance in found), ingest.close)


def _from_s3(location: str) -> Source:
    from botocore.exceptions import BotoCoreError, ClientError

    bucket, key = _s3.address(location)
    if not bucket:
        raise SourceError("s3:// is followed by a bucket")
    s3 = _s3.client()

    def reader(name: str) -> Callable[[], Data]:
        def read() -> Data:
            try:
                body = s3.get_object(Bucket=bucket, Key=name)["Body"]
                with contextlib.closing(body):
                    return spool(body.iter_chunks(_PIECE))
            except (BotoCoreError, ClientError) as error:
                raise SourceError(f"S3 does not give it: {_s3.reason(error)}") from None

        return read

    names = []
    try:
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=key):
            for item in page.get("Contents", ()):
                name = item["Key"]
                # "a/b" means the object a/b and what is below it, not a/bc.
                inside = not key or name == key or name.startswith(f"{key.rstrip('/')}/")
                if inside and not name.endswith("/"):
                    names.append(name)
    except (BotoCoreError, ClientError) as error:
        s3.close()
        raise SourceError(f"S3 does not list the bucket: {_s3.reason(error)}") from None
    if not names:
        s3.close()
        raise SourceError("there is nothing at this address on S3")
    originals = tuple(Original(f"s3://{bucket}/{name}", neutral=False, read=reader(name)) for name in names)
    return Source(originals, s3.close)


def _from_files(root: Path) -> Source:
    if not root.exists():
        raise SourceError("there is no such file or folder")

    def reader(path: Path) -> Callable[[], Data]:
        def read() -> Data:
            try:
                return open_file(path)
            except OSError as error:
                raise SourceError(f"the file cannot be read: {error.strerror}") from None

        return read

    paths = [root]
    if root.is_dir():
        paths = [path for path in sorted(root.rglob("*")) if path.is_file() and not path.name.startswith(".")]
        if not paths:
            raise SourceError("the folder is empty")
    return Source(tuple(Original(str(path.absolute()), neutral=False, read=reader(path)) for path in paths))
