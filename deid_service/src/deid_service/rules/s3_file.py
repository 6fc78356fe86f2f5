"""A rules file in S3, fetched only when it changed.

Credentials come from where AWS's own tools take them (environment, shared files, the machine's role), and so do region
and endpoint (``AWS_REGION``, ``AWS_ENDPOINT_URL_S3``, ``AWS_CA_BUNDLE`` and others). No credential is logged or quoted.
"""

from __future__ import annotations

import logging
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from deid_service.errors import RulesSourceError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

__all__ = ["S3Address", "S3File", "path_or_s3"]

LARGEST: Final = 4 * 1024 * 1024
"""Bytes that a rules file has at most: somebody may name an archive of images by mistake."""

# The service must notice soon that S3 is away, and must be able to stop meanwhile.
_CONNECT_SECONDS: Final = 3
_READ_SECONDS: Final = 5
_ATTEMPTS: Final = 2
_BUCKET: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._-]{1,253}[a-zA-Z0-9]|arn:aws[a-zA-Z-]*:s3[a-z-]*:[a-zA-Z0-9:.-]+")
_SAFE_CODE: Final = re.compile(r"[A-Za-z0-9.]{1,64}")
_NOT_MODIFIED: Final = "304"


@dataclass(frozen=True)
class S3Address:
    """Where an object is.

    Attributes
    ----------
    bucket, key
        Both not empty.
    """

    bucket: str
    key: str

    @classmethod
    def parse(cls, text: str) -> S3Address:
        """Read ``s3://bucket/key``.

        Raises
        ------
        RulesSourceError
            If it is not of that form.
        """
        bucket, _, key = text.removeprefix("s3://").partition("/")
        if not cls.is_one(text) or not _BUCKET.fullmatch(bucket) or not key or key.endswith("/"):
            raise RulesSourceError("an address in S3 must look like s3://bucket/key")
        return cls(bucket, key)

    @staticmethod
    def is_one(text: str) -> bool:
        """Tell whether a text is meant for an address in S3."""
        return text.startswith("s3://")

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}"


def path_or_s3(text: str) -> Path | str:
    """Make of a name what `deid_service.load_rules` takes: a path, never a text, or an address."""
    return text if S3Address.is_one(text) else Path(text)


class S3File:
    """Reads one object again and again. Not to be shared by threads.

    Parameters
    ----------
    address
        Where the object is.
    """

    def __init__(self, address: S3Address) -> None:
        self.address = address
        self._client: S3Client | None = None
        self._etag: str | None = None

    def read(self) -> bytes | None:
        """Fetch the object; blocks for some 20 s if S3 does not answer.

        Returns
        -------
        bytes or None
            None if it is what the last successful call returned (``If-None-Match`` of RFC 9110, 13.1.2).

        Raises
        ------
        RulesSourceError
            Says what is wrong and what mends it. The next call fetches the object whatever its ETag.
        """
        from botocore import exceptions as aws

        etag, self._etag = self._etag, None
        try:
            if self._client is None:
                self._client = _make_client()
            condition: Any = {"IfNoneMatch": etag} if etag else {}
            answer = self._client.get_object(Bucket=self.address.bucket, Key=self.address.key, **condition)
            with answer["Body"] as body:
                size = answer["ContentLength"]
                data = body.read() if size <= LARGEST else b""
        except aws.ClientError as error:
            if etag and _code(error) == _NOT_MODIFIED:
                self._etag = etag
                return None
            # Credentials may have been the reason, and a client looks for them only once.
            self.close()
            # "from None": the original carries the request.
            raise RulesSourceError(self._explain_answer(_code(error))) from None
        except (aws.BotoCoreError, ValueError, OSError) as error:
            message = self._explain(error)
            self.close()
            raise RulesSourceError(message) from None
        if size > LARGEST:
            raise RulesSourceError(f"it has more than {LARGEST} bytes: is this a rules file?")
        self._etag = answer.get("ETag")
        return data

    def close(self) -> None:
        """Close the connection. The file can be read again."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def _explain_answer(self, code: str) -> str:
        for codes, message in _ANSWERS:
            if code in codes:
                return message.format(bucket=self.address.bucket)
        return f"S3 refuses to hand it out ({code})"

    def _explain(self, error: Exception) -> str:
        """Say why no answer came. Only names of errors are quoted: their texts hold requests and settings."""
        from botocore import exceptions as aws

        kind = type(error).__name__
        endpoint = self._endpoint()
        if isinstance(error, aws.NoCredentialsError | aws.PartialCredentialsError | aws.CredentialRetrievalError):
            return (
                f"no AWS credentials were found ({kind}): give this machine a role that may read it, or set "
                "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            )
        if isinstance(error, aws.ProfileNotFound | aws.ConfigParseError | aws.ConfigNotFound):
            return f"the AWS configuration is not right ({kind}): check AWS_PROFILE, AWS_CONFIG_FILE and what they name"
        if isinstance(error, aws.SSLError):
            return f"the certificate of S3{endpoint} is not trusted: name its authority's file in AWS_CA_BUNDLE"
        if isinstance(error, aws.ConnectionError | aws.HTTPClientError | aws.IncompleteReadError):
            return f"S3{endpoint} does not answer ({kind}): check AWS_ENDPOINT_URL_S3, AWS_REGION and the network"
        if isinstance(error, ValueError):
            return f"the AWS settings are not right ({kind}): check AWS_ENDPOINT_URL_S3, AWS_REGION and AWS_CA_BUNDLE"
        return f"the request to S3{endpoint} failed ({kind})"

    def _endpoint(self) -> str:
        if self._client is None:
            return ""
        # Without user and password, which an address could hold.
        parts = urlsplit(self._client.meta.endpoint_url)
        return f" ({parts.scheme}://{parts.netloc.rpartition('@')[2]})"


def _code(error: Any) -> str:
    answer = error.response
    code = str(answer.get("Error", {}).get("Code", ""))
    return code if _SAFE_CODE.fullmatch(code) else f"HTTP {answer.get('ResponseMetadata', {}).get('HTTPStatusCode')}"


def _make_client() -> S3Client:
    # Imported here: it takes a third of a second, which whoever cleans files by rules on disk need not wait for.
    import boto3
    from botocore.config import Config

    # What is wrong is said by us, once; and its debug log would hold request headers.
    logging.getLogger("botocore").setLevel(logging.ERROR)
    # A session of our own, not boto3's shared one, so that credentials are looked for anew.
    session = boto3.Session(region_name=os.environ.get("AWS_REGION") or None)
    return session.client(
        "s3",
        config=Config(
            connect_timeout=_CONNECT_SECONDS,
            read_timeout=_READ_SECONDS,
            retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
        ),
    )


_ANSWERS: Final[tuple[tuple[frozenset[str], str], ...]] = (
    (frozenset({"NoSuchBucket"}), "there is no bucket named {bucket}: check its spelling"),
    (frozenset({"NoSuchKey", "404"}), "there is no such object: check its spelling, or put the rules file there"),
    (
        frozenset({"AccessDenied", "AllAccessDisabled", "Forbidden", "403"}),
        "S3 does not let us: our AWS role or user needs s3:GetObject on it, kms:Decrypt if a KMS key encrypts it, and "
        "s3:ListBucket on the bucket to be told if the object is missing",
    ),
    (
        frozenset(
            {"InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "InvalidClientTokenId", "AuthFailure"}
        ),
        "S3 does not accept our AWS credentials: check the machine's role, or the AWS_ variables and files of our user",
    ),
    (
        frozenset({"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "RequestExpired"}),
        "our AWS credentials have expired: renew them, or give this machine a role",
    ),
    (frozenset({"RequestTimeTooSkewed"}), "this machine's clock is wrong by more than S3 allows: set it"),
    (
        frozenset({"PermanentRedirect", "AuthorizationHeaderMalformed", "301"}),
        "the bucket is in another region: set AWS_REGION to it",
    ),
    (frozenset({"InvalidObjectState"}), "the object is archived: restore it to a class that can be read at once"),
)
