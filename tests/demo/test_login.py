"""The local stand-in for Amazon Cognito, as the Hub, a browser and an intruder use it."""

import base64
import hashlib
import html
import json
import re
import secrets
import subprocess
from dataclasses import replace
from urllib.parse import parse_qs, urlsplit

import botocore.exceptions
import httpx
import jwt
import pytest

from demo.login import LoginClient, client_secret, cognito, login_command, login_environment, prepare_login, seed
from demo.parts import free_port, port_is_open
from demo.settings import Settings
from tests.fixtures.processes import Server

KEY = "an-administration-key"
PASSWORDS = {"admin": "pw-admin", "clara": "pw-clara", "nora": "pw-nora"}


class Login:
    """A running, seeded server."""

    def __init__(self, folder):
        base = Settings.load({"RPACS_VAR": str(folder)})
        self.settings = replace(base, ports=replace(base.ports, login=free_port()))
        self.record = folder / "login.json"
        prepare_login(self.settings, folder)
        self.server = Server(
            "login", ["env", "-C", str(folder), *login_command(self.settings)], folder,
            env={"PATH": "/usr/bin:/bin", **login_environment(self.settings, KEY)},
        )  # fmt: skip

    def start(self):
        self.server.start(lambda: port_is_open(self.settings.ports.login))

    def url(self, path):
        return self.settings.login_url + path

    def authorize_fields(self, known, **more):
        return {
            "client_id": known.client_id,
            "redirect_uri": f"{self.settings.hub_url}/hub/oauth_callback",
            "response_type": "code",
            "code_challenge": "x" * 43,
            "code_challenge_method": "S256",
            "scope": "openid",
            "state": "s",
            **more,
        }


@pytest.fixture(scope="module")
def login(tmp_path_factory):
    login = Login(tmp_path_factory.mktemp("login"))
    login.start()
    login.known = seed(login.settings, KEY, PASSWORDS, login.record)
    yield login
    login.server.stop()


def test_signing_in_through_the_page_gives_a_signed_token_with_groups(login):
    verifier = secrets.token_urlsafe(48)
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    fields = login.authorize_fields(login.known, code_challenge=challenge)
    page = httpx.get(login.url("/oauth2/authorize"), params=fields)
    hidden = {k: html.unescape(v) for k, v in re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', page.text)}
    assert hidden == fields
    answer = httpx.post(login.url("/oauth2/authorize"), data={**hidden, "username": "clara", "password": "pw-clara"})
    assert answer.status_code == 302
    target = urlsplit(answer.headers["location"])
    assert f"{target.scheme}://{target.netloc}{target.path}" == fields["redirect_uri"]
    tokens = httpx.post(
        login.url("/oauth2/token"),
        data={
            "grant_type": "authorization_code",
            "code": parse_qs(target.query)["code"][0],
            "redirect_uri": fields["redirect_uri"],
            "client_id": login.known.client_id,
            "code_verifier": verifier,
        },
    ).json()
    keys = httpx.get(login.url(f"/{login.known.pool_id}/.well-known/jwks.json")).json()
    claims = jwt.decode(
        tokens["id_token"],
        jwt.PyJWK(keys["keys"][0]),
        audience=login.known.client_id,
        issuer=f"{login.settings.login_url}/{login.known.pool_id}",
        algorithms=["RS256"],
    )
    assert claims["cognito:username"] == "clara"
    assert set(claims["cognito:groups"]) == {"researchers", "ct-researchers"}


def test_a_wrong_password_is_told_and_nothing_is_put_into_the_page_as_it_came(login):
    evil = '"><script>alert(1)</script>'
    fields = login.authorize_fields(login.known, state=evil, username=evil, password="wrong")
    page = httpx.post(login.url("/oauth2/authorize"), data=fields)
    assert page.status_code == 200
    assert "do not go together" in page.text
    assert "wrong" not in page.text
    assert "<script" not in page.text
    assert page.text.count(html.escape("<script>").replace("&lt;", "&#60;").replace("&gt;", "&#62;")) == 2
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "access-control-allow-origin" not in page.headers
    assert page.headers["cache-control"] == "no-store"
    assert not re.search(r'(?:src|href)="', page.text)  # it loads nothing


def test_an_unknown_client_or_callback_gets_no_page(login):
    for more in ({"client_id": "other"}, {"redirect_uri": "http://127.0.0.1:1/elsewhere"}):
        answer = httpx.get(login.url("/oauth2/authorize"), params=login.authorize_fields(login.known, **more))
        assert answer.status_code == 400
        assert "<form" not in answer.text


def test_administration_asks_for_its_key(login):
    with pytest.raises(botocore.exceptions.ClientError, match="AccessDenied"):
        cognito(login.settings, "guessed").admin_add_user_to_group(
            UserPoolId=login.known.pool_id, Username="clara", GroupName="pacs-admins"
        )
    headers = {"x-amz-target": "AWSCognitoIdentityProviderService.ListUserPools"}
    for authorization in ({}, {"authorization": f"Bearer {KEY}"}, {"authorization": "Credential=/x"}):
        answer = httpx.post(login.url("/"), headers=headers | authorization, json={"MaxResults": 1})
        assert answer.status_code == 403
    members = cognito(login.settings, KEY).list_users_in_group(UserPoolId=login.known.pool_id, GroupName="pacs-admins")
    assert [user["Username"] for user in members["Users"]] == ["admin"]


def test_a_form_of_any_size_is_not_read(login):
    answer = httpx.post(login.url("/oauth2/authorize"), data={"username": "x" * 100_000})
    assert answer.status_code == 400


def test_seeding_again_changes_nothing_that_an_administrator_changed(tmp_path):
    login = Login(tmp_path)
    login.start()
    try:
        known = seed(login.settings, KEY, PASSWORDS, login.record)
        secret = client_secret(login.settings, KEY, known)
        assert len(secret) > 20
        api = cognito(login.settings, KEY)
        api.admin_delete_user(UserPoolId=known.pool_id, Username="nora")
        login.server.stop()
        login.start()
        moved = replace(login.settings, ports=replace(login.settings.ports, hub=1234))
        assert seed(moved, KEY, PASSWORDS, login.record) == known == LoginClient.read(login.record)
        assert client_secret(moved, KEY, known) == secret
        assert {user["Username"] for user in api.list_users(UserPoolId=known.pool_id)["Users"]} == {"admin", "clara"}
        client = api.describe_user_pool_client(UserPoolId=known.pool_id, ClientId=known.client_id)["UserPoolClient"]
        assert client["CallbackURLs"] == ["http://127.0.0.1:1234/hub/oauth_callback"]  # the port was changed
        # An interrupted first start left a pool, but no record of it: begun again.
        login.record.unlink()
        again = seed(login.settings, KEY, PASSWORDS, login.record)
        assert again != known
        assert len(api.list_user_pools(MaxResults=10)["UserPools"]) == 1
    finally:
        login.server.stop()


def test_it_does_not_start_without_a_key(tmp_path):
    login = Login(tmp_path)
    environment = {"PATH": "/usr/bin:/bin", **login_environment(login.settings, "")}
    done = subprocess.run(login_command(login.settings), env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1
    assert "RPACS_LOGIN_ADMIN_KEY is not set" in done.stderr


def test_its_log_names_nobody(login):
    text = login.server.log.read_text()
    assert "pw-clara" not in text
    assert KEY not in text
    json.loads(login.record.read_text())
