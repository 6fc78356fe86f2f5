"""The local stand-in for Amazon Cognito, as the Hub, a browser and an intruder use it."""

import html
import json
import re
import secrets
import subprocess
from dataclasses import replace

import botocore.exceptions
import httpx
import jwt
import pytest

from demo.login import LoginClient, client_secret, cognito, login_command, login_environment, seed
from tests.fixtures.login import KEY, PASSWORDS, Login, hidden_fields, sign_in


@pytest.fixture(scope="module")
def login(tmp_path_factory):
    login = Login(tmp_path_factory.mktemp("login"))
    login.start()
    login.known = seed(login.settings, KEY, PASSWORDS, login.record)
    yield login
    login.server.stop()


def test_signing_in_through_the_page_gives_a_signed_token_with_groups(login):
    page = httpx.get(login.url("/oauth2/authorize"), params=login.authorize_fields(login.known))
    assert hidden_fields(page) == login.authorize_fields(login.known)
    tokens = sign_in(login, "clara", "pw-clara").tokens()
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


@pytest.fixture
def visitor(login):
    """Somebody with a temporary password."""
    api, name = cognito(login.settings, KEY), f"visitor{secrets.token_hex(3)}"
    api.admin_create_user(
        UserPoolId=login.known.pool_id, Username=name, TemporaryPassword="Temporary-1", MessageAction="SUPPRESS"
    )
    return name


def choose(login, page, new, repeated=None):
    fields = {**hidden_fields(page), "new_password": new, "repeated": new if repeated is None else repeated}
    return httpx.post(login.url("/oauth2/authorize"), data=fields)


def test_a_temporary_password_must_be_replaced_before_anything_else(login, visitor):
    attempt = sign_in(login, visitor, "Temporary-1")
    assert attempt.answer.status_code == 200
    assert "Choose a new one" in attempt.answer.text
    assert "Temporary-1" not in attempt.answer.text
    assert "not the same" in choose(login, attempt.answer, "Chosen-by-me", "Chosen-by-him").text
    assert "at least 8" in choose(login, attempt.answer, "short").text
    assert "the temporary one" in choose(login, attempt.answer, "Temporary-1").text
    done = choose(login, attempt.answer, "Chosen-by-me")
    assert done.status_code == 302
    attempt.answer = done
    assert attempt.tokens()["refresh_token"]
    assert "took too long" in choose(login, httpx.Response(200, text=attempt.page), "Chosen-by-another").text
    assert "do not go together" in sign_in(login, visitor, "Temporary-1").answer.text
    assert sign_in(login, visitor, "Chosen-by-me").tokens()["id_token"]


def test_a_made_up_choice_changes_no_password(login):
    fields = login.authorize_fields(
        login.known, choice="made-up", username="clara", new_password="Owned-by-me", repeated="Owned-by-me"
    )
    assert "took too long" in httpx.post(login.url("/oauth2/authorize"), data=fields).text
    assert sign_in(login, "clara", "pw-clara").tokens()["id_token"]


def test_who_is_disabled_neither_signs_in_nor_renews_a_session(login):
    api, who = cognito(login.settings, KEY), {"UserPoolId": login.known.pool_id, "Username": "nora"}
    tokens = sign_in(login, "nora", "pw-nora").tokens()
    assert login.renew(tokens).status_code == 200
    api.admin_disable_user(**who)
    try:
        assert login.renew(tokens).status_code == 400
        attempt = sign_in(login, "nora", "pw-nora")
        assert "This account is disabled" in attempt.answer.text
        assert "do not go together" in sign_in(login, "nora", "wrong").answer.text
    finally:
        api.admin_enable_user(**who)
    assert login.renew(tokens).status_code == 200
    assert sign_in(login, "nora", "pw-nora").tokens()["id_token"]


def test_signing_somebody_out_ends_every_session_of_hers(login):
    api = cognito(login.settings, KEY)
    tokens = [sign_in(login, "nora", "pw-nora").tokens() for _ in range(2)]
    other = sign_in(login, "clara", "pw-clara").tokens()
    api.admin_user_global_sign_out(UserPoolId=login.known.pool_id, Username="nora")
    assert [login.renew(one).status_code for one in (*tokens, other)] == [400, 400, 200]
    with pytest.raises(api.exceptions.UserNotFoundException):
        api.admin_user_global_sign_out(UserPoolId=login.known.pool_id, Username="nobody")
    with pytest.raises(botocore.exceptions.ClientError, match="AccessDenied"):
        cognito(login.settings, "guessed").admin_user_global_sign_out(UserPoolId=login.known.pool_id, Username="clara")


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
