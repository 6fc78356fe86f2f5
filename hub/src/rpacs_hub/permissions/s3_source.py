"""Permissions in S3: an object that is fetched when it changed, and replaced only if it is the one that was seen.

Credentials come from where AWS's own tools take them (environment, shared files, the machine's role), and so do region
and endpoint. No credential is logged or quoted; of errors only names are.
"""

from __future__ import annotations

import logging
import os
import re
from typing import TYPE_CHECKING, Any, Final

import boto3
from botocore import exceptions as aws
from botocore.config import Config

from rpacs_hub.errors import HubError, PermissionsNotSaved, PermissionsUnreadable, SettingsError
from rpacs_hub.permissions.source import LARGEST, changed_meanwhile, digest_of

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

__all__ = ["S3Source"]

# Two looks, one of which may fail, must fit into the ten seconds after which a change is in force.
_CONNECT_SECONDS: Final = 2
_READ_SECONDS: Final = 4
_SAFE_CODE: Final = re.compile(r"[A-Za-z0-9.]{1,64}")
_BUCKET: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._-]{1,253}[a-zA-Z0-9]|arn:aws[a-zA-Z-]*:s3[a-z-]*:[a-zA-Z0-9:.-]+")
_MISSING: Final = frozenset({"NoSuchKey", "404"})
_CHANGED: Final = frozenset({"PreconditionFailed", "ConditionalRequestConflict", "412", "409"})


class S3Source:
    """An object in S3; see `rpacs_hub.permissions.source.Source`.

    Parameters
    ----------
    address
        ``s3://bucket/key``.

    Raises
    ------
    SettingsError
        The address is not of that form.
    """

    interval = 4.0

    def __init__(self, address: str):
        self.bucket, _, self.key = address.removeprefix("s3://").partition("/")
        if not address.startswith("s3://") or not _BUCKET.fullmatch(self.bucket) or self.key in ("", "/"):
            raise SettingsError(f"{address!r} is no address in S3.", "Write it as s3://bucket/key.")
        self.name = address
        self._client: S3Client | None = None
        self._seen: tuple[str, bytes] | None = None  # ETag and content

    def read(self) -> bytes:
        """Return the whole content; see `Source`. Blocks for some seconds where S3 does not answer."""
        condition: Any = {"IfNoneMatch": self._seen[0]} if self._seen else {}
        try:
            self._seen = self._fetch(condition)
        except aws.ClientError as error:
            if self._seen is not None and _code(error) == "304":
                return self._seen[1]
            raise self._unreadable(error) from None
        except (aws.BotoCoreError, ValueError, OSError) as error:
            raise self._unreadable(error) from None
        return self._seen[1]

    def write(self, data: bytes, expected: str) -> None:
        """Replace the object if it is the expected one; see `Source`. S3 itself compares (``If-Match``)."""
        try:
            found = self._fetch({})
        except aws.ClientError as error:
            if _code(error) not in _MISSING:
                raise self._unreadable(error) from None
            found = None
        except (aws.BotoCoreError, ValueError, OSError) as error:
            raise self._unreadable(error) from None
        if (digest_of(found[1]) if found else "") != expected:
            raise changed_meanwhile()
        condition: Any = {"IfMatch": found[0]} if found else {"IfNoneMatch": "*"}
        try:
            self._connected().put_object(
                Bucket=self.bucket, Key=self.key, Body=data, ContentType="application/yaml", **condition
            )
        except aws.ClientError as error:
            if _code(error) in _CHANGED:
                raise changed_meanwhile() from None
            raise self._refused(error) from None
        except (aws.BotoCoreError, ValueError, OSError) as error:
            raise self._refused(error) from None

    def _fetch(self, condition: Any) -> tuple[str, bytes]:
        answer = self._connected().get_object(Bucket=self.bucket, Key=self.key, **condition)
        with answer["Body"] as body:
            if answer["ContentLength"] > LARGEST:
                raise PermissionsUnreadable(
                    f"The object has more than {LARGEST >> 10} KB: is this the permissions file?"
                )
            return answer["ETag"], body.read()

    def _connected(self) -> S3Client:
        if self._client is None:
            # What is wrong is said by us, once; and botocore's debug log would hold request headers.
            logging.getLogger("botocore").setLevel(logging.ERROR)
            # A session of its own, not boto3's shared one, so that credentials are looked for anew.
            session = boto3.Session(region_name=os.environ.get("AWS_REGION") or None)
            self._client = session.client(
                "s3",
                config=Config(
                    connect_timeout=_CONNECT_SECONDS,
                    read_timeout=_READ_SECONDS,
                    retries={"mode": "standard", "total_max_attempts": 1},
                ),
            )
        return self._client

    def _forget(self) -> None:
        # Credentials may have been the reason, and a client looks for them only once.
        if self._client is not None:
            self._client.close()
            self._client = None

    def _unreadable(self, error: Exception) -> HubError:
        self._forget()
        self._seen = None
        return PermissionsUnreadable(f"{self.name} cannot be read: {_explain(error, 's3:GetObject')}.")

    def _refused(self, error: Exception) -> HubError:
        self._forget()
        return PermissionsNotSaved(
            "not_writable",
            f"{self.name} cannot be replaced: {_explain(error, 's3:PutObject')}. Whether it was is unknown."
            if isinstance(error, aws.ReadTimeoutError)
            else f"{self.name} cannot be replaced: {_explain(error, 's3:PutObject')}. Nothing was saved.",
            "Look at the permissions in force, and try again.",
        )


def _code(error: Any) -> str:
    answer = error.response
    code = str(answer.get("Error", {}).get("Code", ""))
    return code if _SAFE_CODE.fullmatch(code) else f"HTTP {answer.get('ResponseMetadata', {}).get('HTTPStatusCode')}"


def _explain(error: Exception, right: str) -> str:
    """Say why S3 did not do it. Texts of errors hold requests and settings, so only their names are quoted."""
    if isinstance(error, aws.ClientError):
        code = _code(error)
        for codes, words in _ANSWERS:
            if code in codes:
                return words.format(right=right)
        return f"S3 answers {code}"
    kind = type(error).__name__
    if isinstance(error, aws.NoCredentialsError | aws.PartialCredentialsError | aws.CredentialRetrievalError):
        return (
            f"no AWS credentials were found ({kind}); give this machine a role that may, or set AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY"
        )
    if isinstance(error, aws.SSLError):
        return "the certificate of the S3 server is not trusted; name its authority's file in AWS_CA_BUNDLE"
    if isinstance(error, aws.ConnectionError | aws.HTTPClientError):
        return f"S3 does not answer ({kind}); check AWS_ENDPOINT_URL_S3, AWS_REGION and the network"
    return f"the AWS settings are not right or S3 broke off ({kind}); check AWS_REGION and the other AWS_ variables"


_ANSWERS: Final[tuple[tuple[frozenset[str], str], ...]] = (
    (frozenset({"NoSuchBucket"}), "there is no such bucket; check its spelling"),
    (_MISSING, "there is no such object; check its spelling, or put the permissions file there"),
    (
        frozenset({"AccessDenied", "AllAccessDisabled", "Forbidden", "403"}),
        "S3 does not let us; our AWS role needs {right} on it, the rights to its KMS key if there is one, and "
        "s3:ListBucket to be told whether it exists",
    ),
    (
        frozenset({"InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "InvalidClientTokenId"}),
        "S3 does not accept our AWS credentials; check the machine's role, or the AWS_ variables",
    ),
    (
        frozenset({"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "RequestExpired"}),
        "our AWS credentials have expired; renew them, or give this machine a role",
    ),
    (frozenset({"RequestTimeTooSkewed"}), "this machine's clock is wrong by more than S3 allows; set it"),
    (
        frozenset({"PermanentRedirect", "AuthorizationHeaderMalformed", "301"}),
        "the bucket is in another region; set AWS_REGION to it",
    ),
)
