"""The authenticator with a provider that answers well, badly, or not at all."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from oauthenticator.oauth2 import _serialize_state
from tornado.web import HTTPError
from traitlets.config import Config

from hub.tests.login.provider import AUTHOR, CLIENT, STRANGER, Provider, public, running_provider
from rpacs_hub.login import OpenIDAuthenticator, logout_address
from rpacs_hub.login.authenticator import OpenIDLoginHandler, nonce_of


@pytest.fixture(scope="module")
def shared_provider() -> Iterator[Provider]:
    with running_provider() as provider:
        yield provider


@pytest.fixture
def provider(shared_provider: Provider) -> Provider:
    shared_provider.keys = {"keys": [public(AUTHOR, "one")]}
    shared_provider.token_status = 200
    shared_provider.token_requests.clear()
    answer(shared_provider, shared_provider.token())
    return shared_provider


def answer(provider: Provider, id_token: str | None, **more: Any) -> None:
    provider.token_answer = {"access_token": "at", "token_type": "Bearer", "id_token": id_token, **more}


def authenticator(provider: Provider, **more: Any) -> OpenIDAuthenticator:
    settings = {
        "issuer": provider.issuer,
        "jwks_url": provider.jwks_url,
        "token_url": f"{provider.url}/token",
        "authorize_url": f"{provider.url}/authorize",
        "oauth_callback_url": "http://127.0.0.1:9/hub/oauth_callback",
        "client_id": CLIENT,
        "client_secret": "the-secret",
        "userdata_from_id_token": True,
        "username_claim": "cognito:username",
        "manage_groups": True,
        "enable_auth_state": True,
        "allow_all": True,
        **more,
    }
    return OpenIDAuthenticator(config=Config({"OpenIDAuthenticator": settings}))


class Callback:
    """As much of the callback's handler as the authenticator asks for."""

    def __init__(self, verifier: str | None = "the-verifier") -> None:
        self.state = {"state_id": "1", **({"code_verifier": verifier} if verifier else {})}

    def get_argument(self, name: str, default: Any = None) -> Any:
        return {"code": "the-code"}.get(name, default)

    def get_state_cookie(self) -> str:
        return str(_serialize_state(self.state))


class Somebody:
    """As much of a hub user as `refresh_user` asks for."""

    def __init__(self, name: str, state: dict[str, Any] | None) -> None:
        self.name, self.state = name, state

    async def get_auth_state(self) -> dict[str, Any] | None:
        return self.state


def sign_in(provider: Provider, handler: Callback | None = None, **more: Any) -> dict[str, Any]:
    async def story() -> dict[str, Any]:
        return await authenticator(provider, **more).authenticate(handler or Callback())

    return asyncio.run(story())


def turned_away(provider: Provider, status: int = 403, **more: Any) -> str:
    with pytest.raises(HTTPError) as caught:
        sign_in(provider, **more)
    assert caught.value.status_code == status
    return str(caught.value.log_message)


def test_a_good_answer(provider: Provider) -> None:
    model = sign_in(provider)
    assert model["name"] == "clara"
    assert model["groups"] == ["ct-researchers"]
    assert not model["admin"]
    sent = parse_qs(provider.token_requests[0], strict_parsing=True)
    assert sent == {
        "code": ["the-code"],
        "code_verifier": ["the-verifier"],
        "grant_type": ["authorization_code"],
        "redirect_uri": ["http://127.0.0.1:9/hub/oauth_callback"],
        "client_id": [CLIENT],
        "client_secret": ["the-secret"],
    }


def test_bad_tokens_sign_nobody_in_and_leave_no_trace(provider: Provider, caplog: pytest.LogCaptureFixture) -> None:
    head, body, _ = provider.token().split(".")
    bad = {
        "signed by a stranger": provider.token(STRANGER),
        "another issuer": provider.token(iss="http://127.0.0.1:1"),
        "another audience": provider.token(aud="another-client"),
        "expired": provider.token(exp=int(time.time()) - 120),
        "another nonce": provider.token(nonce=nonce_of("another-verifier")),
        "an access token": provider.token(token_use="access"),
        "no signature": f"{head}.{body}.",
        "none at all": None,
    }
    with caplog.at_level(logging.DEBUG):
        for what, token in bad.items():
            answer(provider, token)
            message = turned_away(provider)
            assert "could not be trusted" in message, what
            assert token is None or token not in caplog.text, what
    assert caplog.text.count("ID token refused") == len(bad)
    assert "clara" not in caplog.text
    assert "the-secret" not in caplog.text


def test_nonce_goes_with_the_code_verifier(provider: Provider) -> None:
    answer(provider, provider.token(nonce=nonce_of("the-verifier")))
    assert sign_in(provider, require_nonce=True)["name"] == "clara"
    answer(provider, provider.token())
    assert sign_in(provider)["name"] == "clara"
    assert "could not be trusted" in turned_away(provider, require_nonce=True)


def test_the_nonce_is_sent_and_is_not_the_verifier(monkeypatch: pytest.MonkeyPatch) -> None:
    handler = OpenIDLoginHandler.__new__(OpenIDLoginHandler)
    verifier, challenge = handler._generate_pkce_params()
    redirected: list[str] = []
    monkeypatch.setattr(OpenIDLoginHandler, "redirect", lambda _, url: redirected.append(url))
    monkeypatch.setattr(OpenIDLoginHandler, "_OAUTH_AUTHORIZE_URL", "https://login.example.org/authorize")
    handler.authorize_redirect(
        redirect_uri="http://127.0.0.1:9/cb",
        client_id=CLIENT,
        scope=["openid"],
        extra_params={"code_challenge": challenge},
        response_type="code",
    )
    query = parse_qs(urlsplit(redirected[0]).query)
    assert query["nonce"] == [nonce_of(verifier)]
    assert query["code_challenge"] == [challenge]
    assert verifier not in redirected[0]


def test_without_pkce_nobody_comes_in(provider: Provider) -> None:
    with pytest.raises(HTTPError) as caught:
        sign_in(provider, Callback(verifier=None))
    assert caught.value.status_code == 400
    assert provider.token_requests == []


def test_a_provider_that_refuses_or_fails(provider: Provider) -> None:
    provider.token_answer, provider.token_status = {"error": "invalid_grant"}, 400
    assert "not completed in time" in turned_away(provider)
    provider.token_status = 500
    assert "cannot be reached" in turned_away(provider, 503)
    assert "cannot be reached" in turned_away(provider, 503, token_url="http://127.0.0.1:1/token")
    provider.token_status = 200
    answer(provider, provider.token())
    assert "cannot be reached" in turned_away(provider, 503, jwks_url="http://127.0.0.1:1/jwks.json")


@pytest.mark.parametrize(
    ("claim", "groups"),
    [
        (None, []),
        ([], []),
        (["b", "a"], ["a", "b"]),
        ("researchers", ["researchers"]),  # not the letters of the word
        (["a", 7, None, ""], ["a"]),
        ({"a": 1}, []),
        (7, []),
    ],
)
def test_groups(provider: Provider, claim: Any, groups: list[str]) -> None:
    answer(provider, provider.token(**{"cognito:groups": claim}))
    assert sign_in(provider)["groups"] == groups


def test_another_providers_claims(provider: Provider) -> None:
    answer(provider, provider.token(preferred_username="clara@example.org", roles=["x"]))
    model = sign_in(provider, username_claim="preferred_username", groups_claim="roles")
    assert (model["name"], model["groups"]) == ("clara@example.org", ["x"])


def test_names_keep_their_case(provider: Provider) -> None:
    answer(provider, provider.token(**{"cognito:username": "Clara"}))
    assert sign_in(provider)["name"] == "Clara"


@pytest.mark.parametrize("name", [None, "", 7, ["clara"]])
def test_a_token_that_names_nobody(provider: Provider, name: Any) -> None:
    answer(provider, provider.token(**{"cognito:username": name}))
    assert "did not say who you are" in turned_away(provider)


def test_who_is_allowed(provider: Provider) -> None:
    async def allowed(groups: list[str], **more: Any) -> bool:
        answer(provider, provider.token(**{"cognito:groups": groups}))
        checks = authenticator(provider, **more)
        model = await checks.authenticate(Callback())
        return bool(await checks.check_allowed(model["name"], model))

    members = {"allow_all": False, "allowed_groups": {"researchers"}}
    assert asyncio.run(allowed([])) is True
    assert asyncio.run(allowed([], **members)) is False
    assert asyncio.run(allowed(["visitors"], **members)) is False
    assert asyncio.run(allowed(["visitors", "researchers"], **members)) is True


class TestRefresh:
    """Asking the provider again while somebody is at work."""

    def refresh(self, provider: Provider, state: dict[str, Any] | None = None, **more: Any) -> Any:
        async def story() -> Any:
            checks = authenticator(provider, **more)
            somebody = Somebody("clara", state if state is not None else await self.state(checks, provider))
            return await checks.refresh_user(somebody, Callback())

        return asyncio.run(story())

    async def state(self, checks: OpenIDAuthenticator, provider: Provider) -> dict[str, Any]:
        kept = dict(provider.token_answer), provider.token_status
        provider.token_status = 200
        answer(provider, provider.token(), refresh_token="rt")
        state = (await checks.authenticate(Callback()))["auth_state"]
        provider.token_answer, provider.token_status = kept
        provider.token_requests.clear()
        return json.loads(json.dumps(state))

    def test_groups_are_read_again(self, provider: Provider) -> None:
        answer(provider, provider.token(**{"cognito:groups": ["mr-researchers"]}))
        model = self.refresh(provider)
        assert model["groups"] == ["mr-researchers"]
        assert model["auth_state"]["refresh_token"] == "rt"  # Cognito does not send it again
        assert parse_qs(provider.token_requests[0])["grant_type"] == ["refresh_token"]

    def test_a_new_refresh_token_is_kept(self, provider: Provider) -> None:
        answer(provider, provider.token(), refresh_token="rt2")
        assert self.refresh(provider)["auth_state"]["refresh_token"] == "rt2"

    def test_a_forged_answer_ends_the_session(self, provider: Provider) -> None:
        answer(provider, provider.token(STRANGER, **{"cognito:groups": ["pacs-admins"]}))
        assert self.refresh(provider) is False

    def test_somebody_else_ends_the_session(self, provider: Provider) -> None:
        answer(provider, provider.token(sub="0002"))
        assert self.refresh(provider) is False
        answer(provider, provider.token(**{"cognito:username": "nora"}))
        assert self.refresh(provider) is False

    def test_disabled_at_the_provider(self, provider: Provider) -> None:
        provider.token_answer, provider.token_status = {"error": "invalid_grant"}, 400
        assert self.refresh(provider) is False

    def test_no_longer_in_an_allowed_group(self, provider: Provider) -> None:
        answer(provider, provider.token(**{"cognito:groups": ["visitors"]}))
        assert self.refresh(provider, allow_all=False, allowed_groups={"ct-researchers"}) is False

    def test_an_unreachable_provider_is_waited_for_until_the_token_expires(self, provider: Provider) -> None:
        provider.token_answer, provider.token_status = {}, 500
        assert self.refresh(provider) is True
        provider.token_status = 429
        assert self.refresh(provider) is True
        expired = {"refresh_token": "rt", "oauth_user": {**provider.claims(), "exp": time.time() - 1}}
        assert self.refresh(provider, expired) is False
        assert self.refresh(provider, expired, token_url="http://127.0.0.1:1/token") is False

    def test_nothing_known(self, provider: Provider) -> None:
        assert self.refresh(provider, {}) is False

    def test_a_provider_without_refresh_tokens(self, provider: Provider) -> None:
        assert self.refresh(provider, {"oauth_user": provider.claims()}) is True
        assert self.refresh(provider, {"oauth_user": provider.claims(exp=1)}) is False


def test_logout_address() -> None:
    assert logout_address("", CLIENT, "https://pacs.example.org/hub/login") == ""
    assert logout_address("https://login.example.org/logout?x=1", CLIENT, "y") == "https://login.example.org/logout?x=1"
    made = urlsplit(logout_address("https://login.example.org/logout", CLIENT, "https://pacs.example.org/hub/login"))
    assert made.netloc + made.path == "login.example.org/logout"
    assert parse_qs(made.query) == {
        "client_id": [CLIENT],
        "logout_uri": ["https://pacs.example.org/hub/login"],
        "post_logout_redirect_uri": ["https://pacs.example.org/hub/login"],
    }
