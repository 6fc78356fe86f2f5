import http.server
import json
import pickle
import threading
import traceback

import pytest

import rpacs
from extensions.rpacs.tests.gateway_server import Gateway
from rpacs._credentials import Credentials


def test_get_is_tried_again_when_the_connection_drops(gateway, pacs):
    gateway.drop = 2
    assert pacs.me().name == "clara"
    assert [path.rsplit("/", 1)[1] for _, path, _ in gateway.requests] == ["me", "me", "me"]


def test_get_is_tried_again_when_the_gateway_is_starting(gateway, pacs):
    gateway.answer_next = [(503, {"error": "starting", "message": "Starting.", "hint": ""})]
    assert pacs.me().name == "clara"


def test_search_survives_one_dropped_connection(gateway, pacs):
    gateway.drop = 1
    assert pacs.count("Modality StrEquals CT") == 2


def test_an_export_is_never_sent_twice(gateway, pacs):
    gateway.drop = 1
    with pytest.raises(rpacs.Unavailable):
        pacs.export("", "s3://b/p", credentials={"access_key": "a", "secret_key": "s"})
    assert [method for method, _, _ in gateway.requests] == ["POST"]
    assert pacs.exports().empty


def test_a_gateway_that_is_down(gateway, pacs):
    with Gateway() as other:
        client = rpacs.connect(other.url, "token-clara")
    with pytest.raises(rpacs.Unavailable, match=r"cannot be reached\.\n.*administrator") as caught:
        client.me()
    assert caught.value.__cause__ is None
    assert caught.value.code == "unreachable"


def test_a_gateway_that_hangs(gateway):
    gateway.frame_delay = 5
    client = rpacs.connect(gateway.url, "token-clara")
    client._transport._timeout = 0.2
    uid = client.search(level="instance", limit=1).index[0]
    # Reading is tried again; four times 0.2 s and the pauses between them stay far below the five seconds.
    with pytest.raises(rpacs.Unavailable):
        client.frame(uid)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, rpacs.BadRequest),
        (401, rpacs.NotLoggedIn),
        (403, rpacs.Forbidden),
        (404, rpacs.NotFound),
        (409, rpacs.BadRequest),
        (429, rpacs.Unavailable),
        (500, rpacs.Unavailable),
    ],
)
def test_statuses_become_errors_with_the_gateways_words(gateway, pacs, status, error):
    gateway.answer_next = [(status, {"error": "some_code", "message": "What happened.", "hint": "What to do."})]
    with pytest.raises(error) as caught:
        pacs.me()
    assert type(caught.value) is error
    assert str(caught.value) == "What happened.\nWhat to do."
    assert caught.value.code == "some_code"
    assert len(caught.value.request_id) == 32


@pytest.mark.parametrize("body", ["<html>proxy error</html>", "[]", '"text"', ""])
@pytest.mark.parametrize(("status", "error"), [(404, rpacs.NotFound), (500, rpacs.Unavailable)])
def test_errors_without_json_still_have_words(gateway, pacs, status, error, body):
    gateway.answer_next = [(status, body)]
    with pytest.raises(error, match=r"\w+ \w+"):
        pacs.me()


def test_success_without_json_is_an_error(gateway, pacs):
    gateway.answer_next = [(200, "<html>a login page</html>")]
    with pytest.raises(rpacs.Unavailable, match="not JSON"):
        pacs.me()


def test_a_redirect_is_not_followed_with_the_token():
    """A login page in the way means that the token is not accepted; it must not travel on to another host."""
    seen = []

    class Redirecting(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            seen.append(self.path)
            self.send_response(302)
            self.send_header("Location", "/elsewhere")
            self.end_headers()

        def log_message(self, *_):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Redirecting) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        client = rpacs.connect(f"http://127.0.0.1:{server.server_port}/services/pacs/", "secret-token")
        try:
            with pytest.raises(rpacs.NotLoggedIn):
                client.me()
        finally:
            client.close()
            server.shutdown()
            thread.join()
    assert seen == ["/services/pacs/api/v1/me"]


def test_an_expired_token_says_what_to_do(gateway, pacs):
    gateway.expired.add("clara")
    with pytest.raises(rpacs.NotLoggedIn, match="Log in again"):
        pacs.search()


def test_the_token_shows_nowhere(gateway):
    secret = "tok-6d1f0c"
    client = rpacs.connect(gateway.url, secret)
    texts = [repr(client), str(client), repr(client._transport), repr(client._transport._session.auth)]
    with pytest.raises(rpacs.NotLoggedIn) as caught:
        client.me()
    texts += [str(caught.value), repr(caught.value), "".join(traceback.format_exception(caught.value))]
    gateway.drop = 99
    with pytest.raises(rpacs.Unavailable) as caught_other:
        client.me()
    texts.append("".join(traceback.format_exception(caught_other.value)))
    assert not [text for text in texts if secret in text]
    assert gateway.requests[0][2]["Authorization"] == f"token {secret}"


def test_the_environment_cannot_replace_the_token(gateway, pacs, monkeypatch, tmp_path):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password else\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    assert pacs.me().name == "clara"


@pytest.mark.parametrize("reason", ["IRB 2026-041", "Étude 7, Zürich"])
def test_the_reason_goes_with_every_request(gateway, reason):
    client = rpacs.connect(gateway.url, "token-clara", reason=f"  {reason} ")
    client.me()
    client.count()
    sent = [headers["X-Access-Reason"].encode("latin-1").decode() for _, _, headers in gateway.requests]
    assert sent == [reason, reason]
    client.reason = None
    client.me()
    assert "X-Access-Reason" not in gateway.requests[-1][2]


@pytest.mark.parametrize("reason", ["two\nlines", "x" * 501, "bell\a"])
def test_a_reason_is_one_printable_line(gateway, reason):
    with pytest.raises(rpacs.RpacsError, match="one line"):
        rpacs.connect(gateway.url, "token-clara", reason=reason)


@pytest.mark.parametrize("url", ["ftp://host/", "host/services", "http://user:pw@host/", ""])
def test_addresses_that_are_none(url, monkeypatch):
    monkeypatch.delenv("RPACS_URL", raising=False)
    with pytest.raises(rpacs.RpacsError) as caught:
        rpacs.connect(url, "token")
    assert "pw" not in str(caught.value)


def test_connect_takes_both_from_the_environment(gateway, monkeypatch):
    monkeypatch.setenv("RPACS_URL", gateway.url)
    monkeypatch.setenv("JUPYTERHUB_API_TOKEN", "token-nora")
    assert rpacs.connect().me().name == "nora"


@pytest.mark.parametrize("missing", ["RPACS_URL", "JUPYTERHUB_API_TOKEN"])
def test_connect_elsewhere_names_the_fix(monkeypatch, missing):
    monkeypatch.setenv("RPACS_URL", "http://127.0.0.1:1/")
    monkeypatch.setenv("JUPYTERHUB_API_TOKEN", "t")
    monkeypatch.delenv(missing)
    with pytest.raises(rpacs.NotLoggedIn, match=rf"{missing} is not set\.\nOpen the notebook from the hub"):
        rpacs.connect()


@pytest.mark.parametrize(
    "given",
    [
        {"access_key": "AK", "secret_key": "SK", "session_token": "ST"},
        {"aws_access_key_id": "AK", "aws_secret_access_key": "SK", "aws_session_token": "ST"},
        {"AccessKeyId": "AK", "SecretAccessKey": "SK", "SessionToken": "ST", "Expiration": "2026"},
        type("Frozen", (), {"access_key": "AK", "secret_key": "SK", "token": "ST"})(),
        Credentials("AK", "SK", "ST"),
    ],
)
def test_credentials_in_any_usual_form(given):
    keys = Credentials.of(given)
    assert keys.body() == {"access_key": "AK", "secret_key": "SK", "session_token": "ST"}
    assert repr(keys) == str(keys) == "Credentials(…)"
    with pytest.raises(TypeError, match="not stored"):
        pickle.dumps(keys)
    with pytest.raises(TypeError):
        json.dumps(keys)


@pytest.mark.parametrize("given", [None, {}, {"access_key": "AK"}, {"secret_key": "SK", "access_key": " "}, "AK:SK"])
def test_credentials_that_are_none_do_not_come_from_elsewhere(given, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "env")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "env")
    with pytest.raises(rpacs.RpacsError, match="access key and a secret key"):
        Credentials.of(given)
