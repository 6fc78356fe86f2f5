"""Addresses on S3, and a client whose errors can be shown."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

__all__ = ["address", "client", "reason"]


def address(location: str) -> tuple[str, str]:
    """Split ``s3://bucket/key`` into bucket and key; either may be empty."""
    parts = urlsplit(location)
    return parts.netloc, location[len("s3://") + len(parts.netloc) :].lstrip("/")


def client() -> S3Client:
    """Make a client. Credentials, region and AWS_ENDPOINT_URL come from the environment, as boto3 reads it."""
    import boto3
    from botocore.config import Config

    # Not boto3.client: the session behind that keeps the first credentials it saw.
    return boto3.Session().client("s3", config=Config(connect_timeout=10, read_timeout=60, retries={"max_attempts": 4}))


def reason(error: BaseException) -> str:
    """Name an error of boto3 without its message, which can quote keys."""
    code = getattr(error, "response", {}).get("Error", {}).get("Code")
    name = type(error).__name__
    if name in ("NoCredentialsError", "PartialCredentialsError"):
        return "there are no credentials; set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    return str(code) if code else name
