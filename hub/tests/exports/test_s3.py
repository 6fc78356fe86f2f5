"""How objects get to S3, and what each of its refusals means."""

# ruff: noqa: ARG005, SIM117 - answers of a server that look at a part of the question

import hashlib
import os
import threading
import time

import pytest
from botocore import exceptions as aws

from hub.tests.exports.support import FaultyS3, ended, refusal
from rpacs_hub.exports import Credentials, Destination, DestinationFailed, ExportState, InstanceFailed
from rpacs_hub.exports.s3 import Bucket, explain

KEYS = Credentials("AKIAEXAMPLE", "secret")
HERE = Destination("bucket", "prefix")


def ok(body: bytes, **headers: str):
    return 200, {"ETag": f'"{hashlib.md5(body).hexdigest()}"', **headers}, b""


@pytest.fixture
def bucket_at():
    opened = []

    def open_bucket(url, credentials=KEYS, destination=HERE):
        opened.append(Bucket(destination, credentials, endpoint_url=url, region=None, connections=4))
        return opened[-1]

    yield open_bucket
    for bucket in opened:
        bucket.close()


def test_large_objects_go_in_parts(s3, prefix, bucket_at):
    bucket = bucket_at(s3.endpoint_url, Credentials(s3.access_key, s3.secret_key), Destination(s3.bucket, prefix))
    data = os.urandom(12 * 1024 * 1024 + 1)
    bucket.put_in_parts(f"{prefix}/large.dcm", data, "application/dicom", part_size=5 * 1024 * 1024)
    found = s3.client().get_object(Bucket=s3.bucket, Key=f"{prefix}/large.dcm")
    assert found["Body"].read() == data
    assert found["ContentType"] == "application/dicom"
    assert found["ETag"].strip('"').endswith("-3")


def test_parts_are_taken_back_when_a_stop_comes_between(s3, prefix, bucket_at, monkeypatch):
    bucket = bucket_at(s3.endpoint_url, Credentials(s3.access_key, s3.secret_key), Destination(s3.bucket, prefix))
    send_part = bucket._part

    def stop_at_the_second(target, number, part, digest):
        if number == 2:
            bucket.stop()
        return send_part(target, number, part, digest)

    monkeypatch.setattr(bucket, "_part", stop_at_the_second)
    with pytest.raises(InstanceFailed, match="stopped"):
        bucket.put_in_parts(f"{prefix}/large.dcm", os.urandom(11_000_000), "application/dicom", part_size=5_300_000)
    admin = s3.client(admin=True)
    assert admin.list_objects_v2(Bucket=s3.bucket, Prefix=prefix).get("KeyCount", 0) == 0
    assert not admin.list_multipart_uploads(Bucket=s3.bucket, Prefix=prefix).get("Uploads")


def test_a_stopped_bucket_sends_nothing(bucket_at):
    with FaultyS3.serving(lambda n, key, body: ok(body)) as server:
        bucket = bucket_at(server.url)
        bucket.stop()
        with pytest.raises(InstanceFailed, match="stopped"):
            bucket.put("prefix/a", b"bytes", "image/png")
        assert server.requests == []


def test_a_stop_ends_retries_too(bucket_at):
    with FaultyS3.serving(lambda n, key, body: refusal(503, "SlowDown")) as server:
        bucket = bucket_at(server.url)
        timer = threading.Timer(0.3, bucket.stop)
        timer.start()
        begin = time.monotonic()
        with pytest.raises(InstanceFailed):
            bucket.put("prefix/a", b"bytes", "image/png")
        timer.join()
        assert time.monotonic() - begin < 10
        assert 1 <= len(server.requests) <= 3


def test_throttling_is_retried(bucket_at):
    answers = [refusal(503, "SlowDown"), refusal(500, "InternalError")]
    with FaultyS3.serving(lambda n, key, body: answers[n] if n < 2 else ok(body)) as server:
        bucket_at(server.url).put("prefix/a", b"bytes", "image/png")
        assert server.requests == ["/bucket/prefix/a"] * 3


@pytest.mark.parametrize(
    ("etag", "headers", "accepted"),
    [
        (hashlib.md5(b"bytes").hexdigest(), {}, True),
        (hashlib.md5(b"byt").hexdigest(), {}, False),
        (hashlib.md5(b"byt").hexdigest(), {"x-amz-server-side-encryption": "AES256"}, False),
        # With KMS or a customer's key the ETag is no MD5 sum.
        (hashlib.md5(b"other").hexdigest(), {"x-amz-server-side-encryption": "aws:kms"}, True),
        (hashlib.md5(b"other").hexdigest(), {"x-amz-server-side-encryption-customer-algorithm": "AES256"}, True),
        ("some-other-kind-of-tag", {}, True),
    ],
)
def test_a_truncated_object_is_an_error(bucket_at, etag, headers, accepted):
    with FaultyS3.serving(lambda n, key, body: (200, {"ETag": f'"{etag}"', **headers}, b"")) as server:
        bucket = bucket_at(server.url)
        if accepted:
            bucket.put("prefix/a", b"bytes", "image/png")
        else:
            with pytest.raises(InstanceFailed, match="other bytes"):
                bucket.put("prefix/a", b"bytes", "image/png")


@pytest.mark.parametrize(
    ("status", "code", "name", "words"),
    [
        (403, "InvalidAccessKeyId", "credentials_wrong", "does not know this access key"),
        (403, "SignatureDoesNotMatch", "credentials_wrong", "secret key does not belong"),
        (400, "InvalidToken", "credentials_wrong", "session token"),
        (400, "ExpiredToken", "credentials_expired", "have expired"),
        (403, "AccessDenied", "destination_forbidden", "may not write to s3://bucket/prefix"),
        (404, "NoSuchBucket", "destination_missing", "no bucket named bucket"),
        (301, "PermanentRedirect", "destination_region", "another region"),
        (400, "AuthorizationHeaderMalformed", "destination_region", "another region"),
        (403, "RequestTimeTooSkewed", "clock_wrong", "clock"),
        (400, "KMS.DisabledException", "destination_refused", "refuses to write"),
        (501, "NotImplemented", "destination_refused", "refuses to write"),
    ],
)
def test_refusals_that_stop_everything(bucket_at, status, code, name, words):
    with FaultyS3.serving(lambda n, key, body: refusal(status, code)) as server:
        with pytest.raises(DestinationFailed) as failed:
            bucket_at(server.url).put("prefix/a", b"bytes", "image/png")
    assert failed.value.code == name
    assert words in failed.value.message
    assert failed.value.hint
    assert failed.value.__cause__ is None
    assert failed.value.__suppress_context__


def test_the_region_that_s3_names_is_passed_on():
    error = aws.ClientError(
        {
            "Error": {"Code": "PermanentRedirect", "Message": ""},
            "ResponseMetadata": {"HTTPStatusCode": 301, "HTTPHeaders": {"x-amz-bucket-region": "eu-central-1"}},
        },
        "PutObject",
    )
    assert explain(error, HERE).hint == "Try again with region eu-central-1."


def test_other_refusals_are_the_objects_own(bucket_at):
    with FaultyS3.serving(lambda n, key, body: refusal(400, "KeyTooLongError")) as server:
        with pytest.raises(InstanceFailed, match="KeyTooLongError"):
            bucket_at(server.url).put("prefix/a", b"bytes", "image/png")


def test_words_of_a_strange_server_are_not_repeated(bucket_at):
    with FaultyS3.serving(lambda n, key, body: refusal(400, "<![CDATA[<script>]]>")) as server:
        with pytest.raises(InstanceFailed, match="HTTP 400"):
            bucket_at(server.url).put("prefix/a", b"bytes", "image/png")


def test_the_environment_of_the_gateway_does_not_count(bucket_at, monkeypatch, tmp_path):
    config = tmp_path / "config"
    config.write_text("[default]\nregion = eu-west-3\nendpoint_url = http://127.0.0.1:9\n")
    with FaultyS3.serving(lambda n, key, body: ok(body)) as server:
        for name, value in {
            "AWS_CONFIG_FILE": str(config),
            "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
            "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9",
            "AWS_ACCESS_KEY_ID": "OPERATOR",
            "AWS_SECRET_ACCESS_KEY": "operator",
            "AWS_SESSION_TOKEN": "operator",
        }.items():
            monkeypatch.setenv(name, value)
        bucket = bucket_at(server.url)
        bucket.put("prefix/a", b"bytes", "image/png")
        amazon = Bucket(HERE, KEYS, endpoint_url=None, region="eu-central-1", connections=1)
        assert amazon._patient.meta.endpoint_url == "https://s3.eu-central-1.amazonaws.com"
        signer = amazon._patient._request_signer._credentials
        assert (signer.access_key, signer.token) == ("AKIAEXAMPLE", None)
        amazon.close()


# --- bad days, seen from an export ---------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_keys_that_expire_in_the_middle(running, archive, request_for, s3):
    instances = archive.add(50)
    with FaultyS3.serving(lambda n, key, body: ok(body) if n < 20 else refusal(400, "ExpiredToken")) as server:
        async with running(allowed_endpoints=(server.url,)) as exporter:
            request = request_for(endpoint_url=server.url)
            export = await ended(exporter, await exporter.submit("clara", instances, request))
    assert (export.state, export.done, export.failed) == (ExportState.FAILED, 20, 0)
    assert export.message == "The credentials have expired."
    assert "resume" in export.hint
    # Those in flight may learn it too, but nobody tries all the rest.
    assert len(server.requests) <= 20 + 8


@pytest.mark.anyio
async def test_one_object_that_s3_does_not_take(running, archive, request_for):
    instances = archive.add(30)
    odd = instances[11].sop_uid + ".dcm"

    def answer(n, key, body):
        return refusal(400, "EntityTooLarge") if key.endswith(f"/{odd}") else ok(body)

    with FaultyS3.serving(answer) as server:
        async with running(allowed_endpoints=(server.url,)) as exporter:
            export = await ended(
                exporter, await exporter.submit("clara", instances, request_for(endpoint_url=server.url))
            )
    assert (export.state, export.done, export.failed) == (ExportState.DONE, 29, 1)
    assert export.message == "Exported 29 of 30 instances; not exported: 1 not taken by S3."
    assert [failure.sop_uid for failure in export.failures] == [instances[11].sop_uid]


@pytest.mark.anyio
async def test_a_server_that_breaks_down_stops_the_export(running, archive, request_for):
    instances = archive.add(100)

    def answer(n, key, body):
        return ok(body) if n < 10 else refusal(400, "Broken")

    with FaultyS3.serving(answer) as server:
        async with running(allowed_endpoints=(server.url,)) as exporter:
            export = await ended(
                exporter, await exporter.submit("clara", instances, request_for(endpoint_url=server.url))
            )
    assert (export.state, export.done, export.failed) == (ExportState.FAILED, 10, 0)
    assert "Broken" in export.message
    assert export.resumable
    assert len(server.requests) < 40


@pytest.mark.anyio
async def test_a_first_object_that_arrives_damaged_stops_at_once(running, archive, request_for):
    with FaultyS3.serving(lambda n, key, body: ok(body[:-1])) as server:
        async with running(allowed_endpoints=(server.url,)) as exporter:
            request = request_for(endpoint_url=server.url)
            export = await ended(exporter, await exporter.submit("clara", archive.add(30), request))
    assert (export.state, export.done) == (ExportState.FAILED, 0)
    assert export.message == "S3 received other bytes than were sent."
    assert len(server.requests) == 1
