"""Send objects to S3, make sure that they arrived whole, and say in words why S3 refuses.

Every object carries its MD5 (``Content-MD5``), which S3 compares with what it received, and S3's own answer is compared
where its ETag is the object's MD5 (it is not for objects encrypted with KMS keys). Large objects go in parts. Nothing
here reads the environment's AWS settings or keys: a user's export never runs with the operator's rights.

All calls block; the caller gives them threads. The client may be shared by threads.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import re
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeVar

import botocore.session
from botocore import exceptions as aws
from botocore.config import Config

from rpacs_hub.exports._reasons import UPLOAD_FAILED
from rpacs_hub.exports.errors import DestinationFailed, ExportError, InstanceFailed
from rpacs_hub.exports.request import Credentials, Destination

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

__all__ = ["PART_SIZE", "Bucket", "explain"]

PART_SIZE: Final = 32 * 1024 * 1024
"""Objects above twice this size go in parts of this size (bytes); S3 allows 10,000 parts."""

_CONNECT_SECONDS = 5
_READ_SECONDS = 60
_ATTEMPTS = 6
_FIRST_ATTEMPTS = 3
_DEFAULT_REGION = "us-east-1"
_PLAIN_ETAG = re.compile(r"[0-9a-f]{32}(-[0-9]+)?")
_SAFE_CODE = re.compile(r"[A-Za-z0-9.]{1,64}")
_SAFE_REGION = re.compile(r"[a-z0-9-]{4,40}")
_WRITES = ("PutObject", "CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload")

# botocore writes request headers, among them session tokens, to its debug log.
logging.getLogger("botocore").setLevel(logging.INFO)

_Answer = TypeVar("_Answer")

_session_lock = threading.Lock()
_session: botocore.session.Session | None = None


class _Stopped(Exception):  # noqa: N818
    """The export was stopped while a request was about to be sent."""


class Bucket:
    """One user's bucket, reached with her keys.

    Parameters
    ----------
    destination
        Bucket and prefix.
    credentials
        Her keys; kept by the client for as long as this object lives.
    endpoint_url
        An allowed S3 server, or None for AWS.
    region
        Region of the bucket; without it AWS is asked where the bucket is.
    connections
        Number of requests in flight at most.
    """

    def __init__(
        self,
        destination: Destination,
        credentials: Credentials,
        *,
        endpoint_url: str | None,
        region: str | None,
        connections: int,
    ):
        self.destination = destination
        self._stopped = threading.Event()

        def client(attempts: int) -> S3Client:
            return _client(credentials, endpoint_url, region, connections, attempts, self._refuse_when_stopped)

        # The first object decides whether keys, bucket and address are right: that answer must not take minutes.
        self._hesitant, self._patient = client(_FIRST_ATTEMPTS), client(_ATTEMPTS)
        self._proven = False

    def __repr__(self) -> str:
        return f"Bucket({str(self.destination)!r})"

    def stop(self) -> None:
        """Send nothing more, not even a retry of what is on its way."""
        self._stopped.set()

    def close(self) -> None:
        """Let go of the connections and the keys."""
        self._hesitant.close()
        self._patient.close()

    def put(self, key: str, data: bytes, content_type: str) -> None:
        """Write one object with one request and compare S3's answer.

        Raises
        ------
        DestinationFailed
            S3 refuses this and would refuse every other object.
        InstanceFailed
            This object did not get through after several attempts.
        """
        digest = hashlib.md5(data, usedforsecurity=False)

        def send() -> str | None:
            answer = self._client.put_object(
                Bucket=self.destination.bucket,
                Key=key,
                Body=data,
                ContentType=content_type,
                ContentMD5=base64.b64encode(digest.digest()).decode(),
            )
            return _comparable_etag(answer)

        if self._ask(send) not in (None, digest.hexdigest()):
            raise _damaged()
        self._proven = True

    def put_in_parts(self, key: str, data: bytes, content_type: str, part_size: int = PART_SIZE) -> None:
        """Write a large object in parts; what was sent is taken back if it cannot be completed.

        Raises
        ------
        DestinationFailed, InstanceFailed
            As `put`.
        """
        target: Any = {"Bucket": self.destination.bucket, "Key": key}
        upload = self._ask(lambda: self._client.create_multipart_upload(**target, ContentType=content_type))
        target["UploadId"] = upload["UploadId"]
        try:
            parts: list[Any] = []
            digests: list[bytes] = []
            for number, start in enumerate(range(0, len(data), part_size), 1):
                part = data[start : start + part_size]
                digest = hashlib.md5(part, usedforsecurity=False)
                etag = self._part(target, number, part, digest.digest())
                parts.append({"PartNumber": number, "ETag": etag})
                digests.append(digest.digest())
            whole = hashlib.md5(b"".join(digests), usedforsecurity=False)
            answer = self._ask(
                lambda: self._client.complete_multipart_upload(**target, MultipartUpload={"Parts": parts})
            )
            if _comparable_etag(answer) not in (None, f"{whole.hexdigest()}-{len(parts)}"):
                raise _damaged()
        except BaseException:
            self._abandon(target)
            raise
        self._proven = True

    def _part(self, target: Any, number: int, part: bytes, digest: bytes) -> str:
        answer = self._ask(
            lambda: self._client.upload_part(
                **target, PartNumber=number, Body=part, ContentMD5=base64.b64encode(digest).decode()
            )
        )
        if _comparable_etag(answer) not in (None, digest.hex()):
            raise _damaged()
        return answer["ETag"]

    def _abandon(self, target: Any) -> None:
        try:
            self._hesitant.abort_multipart_upload(**target)
        except (aws.ClientError, aws.BotoCoreError) as error:
            # The bucket's lifecycle rules sweep up parts; the reason that matters is already on its way.
            logging.getLogger(__name__).warning("parts could not be taken back: %s", type(error).__name__)

    @property
    def _client(self) -> S3Client:
        return self._patient if self._proven else self._hesitant

    def _ask(self, send: Callable[[], _Answer]) -> _Answer:
        try:
            return send()
        except _Stopped:
            raise InstanceFailed(UPLOAD_FAILED, "The export was stopped.") from None
        except (aws.ClientError, aws.BotoCoreError) as error:
            # "from None": the original carries the request, and with it the access key.
            raise explain(error, self.destination) from None

    def _refuse_when_stopped(self, **_: object) -> None:
        if self._stopped.is_set():
            raise _Stopped


def explain(error: Exception, destination: Destination) -> ExportError:
    """Say why S3 refuses: `DestinationFailed` if it would refuse every object, else `InstanceFailed`.

    Parameters
    ----------
    error
        From botocore.
    destination
        Named in the message.
    """
    if isinstance(error, aws.ClientError):
        return _explain_answer(error, destination)
    for kind, code, message, hint in _LOCAL:
        if isinstance(error, kind):
            return DestinationFailed(code, message.format(destination=destination), hint)
    return InstanceFailed(UPLOAD_FAILED, f"S3 broke off the connection ({type(error).__name__}).")


def _explain_answer(error: aws.ClientError, destination: Destination) -> ExportError:
    details: Any = error.response.get("Error", {})
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    code = str(details.get("Code", ""))
    for codes, name, message, hint in _ANSWERS:
        if code in codes:
            if name == "destination_region":
                hint = _region_hint(error) or hint
            return DestinationFailed(name, message.format(destination=destination, bucket=destination.bucket), hint)
    shown = code if _SAFE_CODE.fullmatch(code) else f"HTTP {status}"
    if status == 501 or code.startswith("KMS."):
        return DestinationFailed(
            "destination_refused", f"S3 refuses to write to {destination} ({shown}).", "Ask the owner of the bucket."
        )
    return InstanceFailed(UPLOAD_FAILED, f"S3 did not take the object ({shown}).")


def _region_hint(error: aws.ClientError) -> str:
    headers = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    details: Any = error.response.get("Error", {})
    region = str(headers.get("x-amz-bucket-region") or details.get("Region") or "")
    return f"Try again with region {region}." if _SAFE_REGION.fullmatch(region) else ""


def _damaged() -> InstanceFailed:
    return InstanceFailed(UPLOAD_FAILED, "S3 received other bytes than were sent.")


def _comparable_etag(answer: Any) -> str | None:
    """Return the ETag if it is made of MD5 sums (PutObject's documentation: not with KMS or customer keys)."""
    if answer.get("SSECustomerAlgorithm") or str(answer.get("ServerSideEncryption", "AES256")) != "AES256":
        return None
    etag = str(answer.get("ETag", "")).strip('"').lower()
    return etag if _PLAIN_ETAG.fullmatch(etag) else None


def _client(
    credentials: Credentials,
    endpoint_url: str | None,
    region: str | None,
    connections: int,
    attempts: int,
    before_send: Callable[..., None],
) -> S3Client:
    global _session
    with _session_lock:
        # Shared for its parsed service models, which take 0.2 s; it holds no keys and looks for none.
        if _session is None:
            _session = botocore.session.Session()
        client = _session.create_client(
            "s3",
            region_name=region or _DEFAULT_REGION,
            endpoint_url=endpoint_url,
            aws_access_key_id=credentials.access_key,
            aws_secret_access_key=credentials.secret_key,
            aws_session_token=credentials.session_token,
            config=Config(
                ignore_configured_endpoint_urls=True,  # type: ignore[call-arg]  # unknown to the stubs
                connect_timeout=_CONNECT_SECONDS,
                read_timeout=_READ_SECONDS,
                max_pool_connections=connections,
                retries={"mode": "standard", "total_max_attempts": attempts},
                tcp_keepalive=True,
                # Content-MD5 is sent instead, which S3-compatible servers know too.
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                s3={"addressing_style": "path" if endpoint_url else "auto"},
            ),
        )
    for operation in _WRITES:
        client.meta.events.register(f"before-send.s3.{operation}", before_send)
    return client  # type: ignore[return-value]


_KEYS_AGAIN = "Copy the keys again and resume the export; nothing that was sent is sent twice."
_ANSWERS: Final[tuple[tuple[frozenset[str], str, str, str], ...]] = (
    (
        frozenset({"InvalidAccessKeyId", "InvalidClientTokenId", "UnrecognizedClientException", "AuthFailure"}),
        "credentials_wrong",
        "S3 does not know this access key.",
        _KEYS_AGAIN,
    ),
    (
        frozenset({"SignatureDoesNotMatch"}),
        "credentials_wrong",
        "The secret key does not belong to the access key.",
        _KEYS_AGAIN,
    ),
    (
        frozenset({"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "RequestExpired"}),
        "credentials_expired",
        "The credentials have expired.",
        "Get new ones and resume the export; nothing that was sent is sent twice.",
    ),
    (
        frozenset({"InvalidToken", "InvalidSecurity", "NotSignedUp", "InvalidPayer"}),
        "credentials_wrong",
        "S3 does not accept the session token or the account of these keys.",
        _KEYS_AGAIN,
    ),
    (
        frozenset({"AccessDenied", "AccessDeniedException", "AllAccessDisabled", "AccountProblem", "Forbidden", "403"}),
        "destination_forbidden",
        "These keys may not write to {destination}.",
        "They need s3:PutObject on it: ask the owner of the bucket, or choose another destination.",
    ),
    (
        frozenset({"NoSuchBucket", "404"}),
        "destination_missing",
        "There is no bucket named {bucket}.",
        "Check the destination's spelling; the bucket must exist before the export.",
    ),
    (
        frozenset({"InvalidBucketName"}),
        "destination_invalid",
        "S3 does not accept the bucket name {bucket}.",
        "Check the destination's spelling.",
    ),
    (
        frozenset(
            {
                "PermanentRedirect",
                "TemporaryRedirect",
                "AuthorizationHeaderMalformed",
                "IllegalLocationConstraintException",
                "301",
                "307",
            }
        ),
        "destination_region",
        "The bucket {bucket} is in another region.",
        "Start the export again with the bucket's region.",
    ),
    (
        frozenset({"RequestTimeTooSkewed"}),
        "clock_wrong",
        "S3 says that the clock of this server is wrong.",
        "Tell the operator; then resume the export.",
    ),
    (
        frozenset({"MethodNotAllowed", "NotImplemented", "QuotaExceeded", "ServiceQuotaExceededException"}),
        "destination_refused",
        "S3 refuses to write to {destination}.",
        "Ask the owner of the bucket.",
    ),
)
_UNREACHABLE = "Check the region or endpoint_url; if they are right, resume the export later."
_LOCAL: Final[tuple[tuple[type[Exception], str, str, str], ...]] = (
    (
        aws.SSLError,
        "destination_unreachable",
        "The certificate of the S3 server for {destination} is not trusted.",
        "Tell the operator.",
    ),
    (
        aws.EndpointConnectionError,
        "destination_unreachable",
        "The S3 server for {destination} cannot be reached.",
        _UNREACHABLE,
    ),
    (
        aws.ConnectTimeoutError,
        "destination_unreachable",
        "The S3 server for {destination} cannot be reached.",
        _UNREACHABLE,
    ),
    (
        aws.ProxyConnectionError,
        "destination_unreachable",
        "The S3 server for {destination} cannot be reached through the proxy.",
        "Tell the operator.",
    ),
    (
        aws.NoCredentialsError,
        "credentials_wrong",
        "The credentials are missing.",
        _KEYS_AGAIN,
    ),
)
