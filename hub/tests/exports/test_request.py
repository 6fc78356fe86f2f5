"""What users may send to start an export."""

import pickle
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpacs_hub.exports import (
    Credentials,
    Destination,
    ExportFormat,
    ExportRefused,
    Selection,
    parse_credentials,
    parse_destination,
    parse_endpoint,
    parse_request,
)

KEYS = {"access_key": "AKIAEXAMPLE", "secret_key": "wJalr/K7MDENG+bPx"}
BODY = {"query": "Modality StrEquals CT", "destination": "s3://my-bucket/a/b", "credentials": KEYS}


def test_a_query_and_its_defaults():
    request = parse_request(BODY, [])
    assert request.query == "Modality StrEquals CT"
    assert request.uids == ()
    assert request.level == "instance"
    assert request.format is ExportFormat.DICOM
    assert request.destination == Destination("my-bucket", "a/b")
    assert (request.endpoint_url, request.region) == (None, None)
    assert request.credentials == Credentials("AKIAEXAMPLE", "wJalr/K7MDENG+bPx")


def test_uids_in_place_of_a_query_repetitions_do_not_count():
    body = {key: value for key, value in BODY.items() if key != "query"}
    uids = [{"level": "series", "uid": "1.2.3"}, {"level": "Study", "uid": "1.2"}, {"level": "series", "uid": "1.2.3"}]
    request = parse_request(body | {"uids": uids, "format": "png", "level": "series"}, [])
    assert request.query is None
    assert request.uids == (Selection("series", "1.2.3"), Selection("study", "1.2"))
    assert request.format is ExportFormat.PNG


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        ({"uids": [{"level": "study", "uid": "1"}]}, "selection_invalid", "either"),
        ({"query": None}, "selection_invalid", "either"),
        ({"query": 5}, "selection_invalid", "text"),
        ({"query": "x" * 100_001}, "selection_invalid", "100000"),
        ({"query": None, "uids": []}, "selection_invalid", "not empty"),
        ({"query": None, "uids": [{"level": "study", "uid": ""}]}, "selection_invalid", "1 to 64"),
        ({"query": None, "uids": [{"level": "frame", "uid": "1"}]}, "level_invalid", "patient, study"),
        ({"query": None, "uids": [{"level": "study", "uid": "1"}] * 10_001}, "selection_invalid", "10000"),
        ({"level": "frame"}, "level_invalid", "patient, study"),
        ({"format": "nifti"}, "format_invalid", "dicom, png"),
        ({"region": "eu central"}, "region_invalid", "region"),
        ({"region": "evil.example.com/"}, "region_invalid", "region"),
        ({"destination": None}, "destination_invalid", "missing"),
        ({"credentials": None}, "credentials_invalid", "missing"),
        ({"credentials": "AKIA"}, "credentials_invalid", "object"),
        ({"endpoint_url": "http://169.254.169.254/"}, "endpoint_not_allowed", "not allowed"),
        ({"anonymize": True}, "request_invalid", "'anonymize'"),
    ],
)
def test_each_mistake_has_its_own_message(change, code, words):
    with pytest.raises(ExportRefused) as refused:
        parse_request(BODY | change, [])
    assert refused.value.code == code
    assert words in refused.value.message


def test_a_misspelt_key_brings_the_right_one():
    with pytest.raises(ExportRefused) as refused:
        parse_request(BODY | {"destinaton": "s3://x"}, [])
    assert refused.value.hint == "Did you mean destination?"


@pytest.mark.parametrize("body", [None, [], "s3://bucket", 3])
def test_the_body_must_be_an_object(body):
    with pytest.raises(ExportRefused) as refused:
        parse_request(body, [])
    assert refused.value.code == "request_invalid"


# --- destination ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "bucket", "prefix"),
    [
        ("s3://bucket", "bucket", ""),
        ("s3://bucket/", "bucket", ""),
        ("S3://bucket/a/", "bucket", "a"),
        ("  s3://bucket//a/b  ", "bucket", "a/b"),
        ("s3://my.bucket-1/Lungenstudie Köln/2026", "my.bucket-1", "Lungenstudie Köln/2026"),
    ],
)
def test_destinations(text, bucket, prefix):
    assert parse_destination(text) == Destination(bucket, prefix)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "bucket/prefix",
        "http://bucket/prefix",
        "https://s3.amazonaws.com/bucket",
        "s3:/bucket",
        "s3://",
        "s3:///prefix",
        "s3://ab/x",
        "s3://Bucket/x",
        "s3://my_bucket/x",
        "s3://a..b/x",
        "s3://-bucket/x",
        "s3://192.168.0.1/x",
        "s3://" + "b" * 64,
        "s3://arn:aws:s3:us-east-1:123456789012:accesspoint/x",
        "s3://bucket/a//b",
        "s3://bucket/../other",
        "s3://bucket/a/./b",
        "s3://bucket/a?b",
        "s3://bucket/a\x00b",
        "s3://bucket/a\nb",
        "s3://bucket/a\\b",
        "s3://bucket/a /b",
        "s3://bucket/\u202eab",
        "s3://bucket/\ud800",
        "s3://bucket/" + "a" * 900,
        17,
        b"s3://bucket",
    ],
)
def test_destinations_that_cannot_be(text):
    with pytest.raises(ExportRefused) as refused:
        parse_destination(text)
    assert refused.value.code == "destination_invalid"
    assert refused.value.hint


@given(
    st.one_of(st.text(), st.text().map("s3://bucket/".__add__), st.text(string.printable).map("s3://bucket/".__add__))
)
def test_any_text_is_refused_or_makes_keys_that_stay_below_its_prefix(text):
    try:
        destination = parse_destination(text)
    except ExportRefused:
        return
    assert parse_destination(str(destination)) == destination
    uid = "1." + "2" * 62
    key = destination.key(uid, uid, uid) + "-0001.png"
    assert len(key.encode()) <= 1024
    assert key.isprintable()
    assert not set(key.split("/")) & {"", ".", ".."}
    assert key.startswith(destination.prefix)


@given(
    st.from_regex(r"[a-z0-9]{3}([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True),
    st.lists(st.text(string.ascii_letters + string.digits + "-_", min_size=1, max_size=20), max_size=5),
)
def test_plain_names_are_always_accepted(bucket, parts):
    assert parse_destination(f"s3://{bucket}/{'/'.join(parts)}") == Destination(bucket, "/".join(parts))


# --- endpoint ------------------------------------------------------------------------------------------------------

ALLOWED = ("http://127.0.0.1:8333", "https://s3.example.org")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (None, None),
        ("", None),
        ("http://127.0.0.1:8333", "http://127.0.0.1:8333"),
        ("http://127.0.0.1:8333/", "http://127.0.0.1:8333"),
        ("https://S3.example.org:443", "https://s3.example.org"),
    ],
)
def test_endpoints_that_are_listed(text, found):
    assert parse_endpoint(text, ALLOWED) == found


@pytest.mark.parametrize(
    "text",
    [
        "http://127.0.0.1:8334",
        "http://127.0.0.1",
        "https://127.0.0.1:8333",
        "http://localhost:8333",
        "http://s3.example.org",
        "https://s3.example.org@169.254.169.254",
        "https://user:pw@s3.example.org",
        "https://s3.example.org/?x",
        "https://s3.example.org/path",
        "https://s3.example.org#169.254.169.254",
        "https://s3.example.org.evil.test",
        "file:///etc/passwd",
        "http://[::1",
        "http://127.0.0.1:port",
        5,
        {"url": "http://127.0.0.1:8333"},
    ],
)
def test_endpoints_that_are_not(text):
    with pytest.raises(ExportRefused) as refused:
        parse_endpoint(text, ALLOWED)
    assert refused.value.code == "endpoint_not_allowed"
    assert "RPACS_S3_ENDPOINTS" in refused.value.hint


# --- credentials ---------------------------------------------------------------------------------------------------


def test_blanks_around_pasted_keys_do_not_count():
    keys = parse_credentials({"access_key": " AKIA\n", "secret_key": "\tabc ", "session_token": ""})
    assert (keys.access_key, keys.secret_key, keys.session_token) == ("AKIA", "abc", None)


def test_credentials_do_not_show():
    keys = Credentials("AKIASECRET1", "secret2", "token3")
    request = parse_request(
        BODY | {"credentials": {"access_key": "AKIASECRET1", "secret_key": "secret2", "session_token": "token3"}}, []
    )
    shown = f"{keys} {keys!r} {request} {request!r}"
    assert not any(secret in shown for secret in ("AKIASECRET1", "secret2", "token3"))
    with pytest.raises(TypeError):
        pickle.dumps(keys)


@pytest.mark.parametrize(
    "credentials",
    [
        {},
        {"access_key": "SECRETPART"},
        {"access_key": "SECRETPART", "secret_key": ""},
        {"access_key": "SECRETPART", "secret_key": 5},
        {"access_key": "SECRETPART\r\nHost: evil", "secret_key": "SECRETPART"},
        {"access_key": "SECRETPARTé", "secret_key": "SECRETPART"},
        {"access_key": "SECRETPART", "secret_key": "SECRETPART" * 200},
        {"access_key": "SECRETPART", "secret_key": "SECRETPART", "SECRETPART": "pasted at the wrong place"},
        {"access_key": "SECRETPART", "secret_key": "SECRETPART", "session_token": ["SECRETPART"]},
    ],
)
def test_wrong_credentials_are_refused_without_repeating_them(credentials):
    with pytest.raises(ExportRefused) as refused:
        parse_credentials(credentials)
    assert refused.value.code == "credentials_invalid"
    assert "SECRETPART" not in repr(refused.value) + refused.value.message + refused.value.hint
