"""What an ID token must have to be believed."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from hub.tests.login.provider import AUTHOR, CLIENT, CURVE, STRANGER, Provider, public, running_provider
from rpacs_hub.login import IdTokenError, IdTokenVerifier, SigningKeys, SigningKeysError


@pytest.fixture(scope="module")
def shared_provider() -> Iterator[Provider]:
    with running_provider() as provider:
        yield provider


@pytest.fixture
def provider(shared_provider: Provider) -> Provider:
    shared_provider.keys = {"keys": [public(AUTHOR, "one", use="sig", alg="RS256")]}
    shared_provider.key_requests = 0
    return shared_provider


async def fetch(url: str) -> Any:
    async with httpx.AsyncClient(trust_env=False) as client:
        return (await client.get(url)).raise_for_status().json()


def verifier(provider: Provider, **more: Any) -> IdTokenVerifier:
    return IdTokenVerifier(provider.issuer, CLIENT, SigningKeys(provider.jwks_url, fetch), **more)


def verify(provider: Provider, token: object, **more: Any) -> dict[str, Any]:
    return asyncio.run(verifier(provider).verify(token, **more))


def refused(provider: Provider, token: object, **more: Any) -> str:
    with pytest.raises(IdTokenError) as caught:
        verify(provider, token, **more)
    text = str(caught.value)
    assert "clara" not in text
    assert not isinstance(token, str) or len(token) < 20 or token not in text
    return caught.value.reason


def test_a_good_token(provider: Provider) -> None:
    claims = verify(provider, provider.token())
    assert claims["cognito:username"] == "clara"
    assert claims["cognito:groups"] == ["ct-researchers"]


def segment(document: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(document).encode()).rstrip(b"=").decode()


def test_no_signature(provider: Provider) -> None:
    for algorithm in ("none", "None", "NONE", ""):
        token = f"{segment({'alg': algorithm, 'typ': 'JWT', 'kid': 'one'})}.{segment(provider.claims())}."
        assert refused(provider, token) == "algorithm"


def test_the_public_key_used_as_a_secret(provider: Provider) -> None:
    """HS256 with what everybody can read as the key: algorithm confusion."""
    public_key = AUTHOR.public_key()
    for secret in (
        public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        json.dumps(provider.keys["keys"][0]).encode(),
    ):
        head = f"{segment({'alg': 'HS256', 'typ': 'JWT', 'kid': 'one'})}.{segment(provider.claims())}"
        mac = hmac.new(secret, head.encode(), hashlib.sha256).digest()
        assert refused(provider, f"{head}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}") == "algorithm"


def test_symmetric_algorithms_cannot_even_be_configured(provider: Provider) -> None:
    for wrong in (["HS256"], ["RS256", "none"], []):
        with pytest.raises(ValueError, match="not usable"):
            verifier(provider, algorithms=wrong)
    with pytest.raises(ValueError, match="known issuer"):
        IdTokenVerifier("", CLIENT, SigningKeys(provider.jwks_url, fetch))


def test_a_symmetric_key_in_the_set_verifies_nothing(provider: Provider) -> None:
    provider.keys = {"keys": [{"kty": "oct", "kid": "one", "k": segment({"a": 1}), "alg": "RS256"}]}
    assert refused(provider, provider.token()) == "key"


def test_signed_by_a_stranger(provider: Provider) -> None:
    assert refused(provider, provider.token(STRANGER)) == "signature"
    assert refused(provider, provider.token(STRANGER, kid="theirs")) == "key"


def test_the_strangers_key_inside_the_token_is_not_looked_at(provider: Provider) -> None:
    for header in (
        {"jwk": public(STRANGER, "one")},
        {"jku": "http://127.0.0.1:1/keys"},
        {"x5u": "http://127.0.0.1:1/chain"},
    ):
        token = jwt.encode(provider.claims(), STRANGER, "RS256", headers={"kid": "one", **header})
        assert refused(provider, token) == "signature"


def test_a_header_that_demands_something_unknown(provider: Provider) -> None:
    token = jwt.encode(provider.claims(), AUTHOR, "RS256", headers={"kid": "one", "crit": ["exp2"], "exp2": 1})
    assert refused(provider, token) == "malformed"


@dataclass(frozen=True)
class Now:
    """So many seconds after a test begins: the parameters below are made long before, when tests are collected."""

    seconds: int


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"iss": "http://127.0.0.1:1/other"}, "issuer"),
        ({"iss": None}, "claims"),
        ({"aud": "another-client"}, "audience"),
        ({"aud": ["another-client"]}, "audience"),
        ({"aud": None}, "claims"),
        ({"aud": [CLIENT, "another-client"]}, "audience"),  # several audiences need an authorized party
        ({"azp": "another-client"}, "audience"),
        ({"exp": Now(-120)}, "expired"),
        ({"exp": None}, "claims"),
        ({"iat": Now(+600)}, "claims"),
        ({"iat": None}, "claims"),
        ({"sub": None}, "claims"),
        ({"token_use": "access"}, "claims"),
        ({"nbf": Now(+600)}, "claims"),
    ],
)
def test_wrong_claims(provider: Provider, changes: dict[str, Any], reason: str) -> None:
    now = int(time.time())
    changes = {name: now + value.seconds if isinstance(value, Now) else value for name, value in changes.items()}
    assert refused(provider, provider.token(**changes)) == reason


def test_audiences_that_are_right(provider: Provider) -> None:
    assert verify(provider, provider.token(aud=[CLIENT]))
    assert verify(provider, provider.token(aud=[CLIENT, "another"], azp=CLIENT))


def test_the_clocks_may_differ_a_little(provider: Provider) -> None:
    now = int(time.time())
    assert verify(provider, provider.token(exp=now - 10))
    assert verify(provider, provider.token(iat=now + 10))


def test_nonce(provider: Provider) -> None:
    assert verify(provider, provider.token(nonce="n1"), nonce="n1", nonce_required=True)
    assert refused(provider, provider.token(nonce="n2"), nonce="n1") == "nonce"
    assert refused(provider, provider.token(nonce=7), nonce="n1") == "nonce"
    assert verify(provider, provider.token(), nonce="n1")
    assert refused(provider, provider.token(), nonce="n1", nonce_required=True) == "nonce"


@pytest.mark.parametrize("token", [None, "", 7, "x", "a.b", "a.b.c", "a.b.c.d", "é.é.é", "x" * 100_000])
def test_not_a_token(provider: Provider, token: object) -> None:
    assert refused(provider, token) == "malformed"


async def keys_at_hand(url: str) -> Any:
    return {"keys": [public(AUTHOR, "one")]}


@settings(deadline=None)
@given(st.text(alphabet="abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.=é \n", max_size=200))
def test_no_text_is_a_token(text: str) -> None:
    checks = IdTokenVerifier("http://127.0.0.1:1/pool", CLIENT, SigningKeys("", keys_at_hand))
    with pytest.raises(IdTokenError):
        asyncio.run(checks.verify(text))


TOKEN = Provider(1).token(iat=1_700_000_000, exp=4_000_000_000)


@settings(deadline=None)
@given(st.integers(0, len(TOKEN) - 1), st.sampled_from("AbZ09-_."))
def test_no_changed_token_is_believed(at: int, other: str) -> None:
    changed = TOKEN[:at] + other + TOKEN[at + 1 :]
    assume(_decoded(changed) != _decoded(TOKEN))  # base64 leaves some bits of the last character unused
    checks = IdTokenVerifier("http://127.0.0.1:1/pool", CLIENT, SigningKeys("", keys_at_hand))
    assert asyncio.run(checks.verify(TOKEN))["sub"] == "0001"
    with pytest.raises(IdTokenError):
        asyncio.run(checks.verify(changed))


def _decoded(token: str) -> object:
    try:
        return [base64.urlsafe_b64decode(part + "==") for part in token.split(".")]
    except ValueError:
        return token


def test_another_algorithm_and_key_kind(provider: Provider) -> None:
    provider.keys = {"keys": [public(CURVE, "curve", "ES256")]}
    checks = verifier(provider, algorithms=["ES256"])
    token = provider.token(CURVE, "ES256", "curve")
    assert asyncio.run(checks.verify(token))["sub"] == "0001"
    # An RS256 token for the same key id: the key does not fit.
    provider.keys = {"keys": [public(CURVE, "one", "ES256")]}
    assert refused(provider, provider.token()) == "key"


def test_a_key_for_encryption_does_not_sign(provider: Provider) -> None:
    provider.keys = {"keys": [public(AUTHOR, "one", use="enc")]}
    assert refused(provider, provider.token()) == "key"


def test_without_a_key_id_there_must_be_one_key(provider: Provider) -> None:
    assert verify(provider, provider.token(kid=None))
    provider.keys = {"keys": [public(STRANGER, "zero"), public(AUTHOR, "one")]}
    assert refused(provider, provider.token(kid=None)) == "key"


def test_new_keys_are_found_and_invented_ones_do_not_flood_the_provider(provider: Provider) -> None:
    now = 1000.0
    keys = SigningKeys(provider.jwks_url, fetch, clock=lambda: now)
    checks = IdTokenVerifier(provider.issuer, CLIENT, keys)

    async def story() -> None:
        nonlocal now
        await checks.verify(provider.token())
        await checks.verify(provider.token())
        assert provider.key_requests == 1
        for number in range(20):
            with pytest.raises(IdTokenError):
                await checks.verify(provider.token(STRANGER, kid=f"invented-{number}"))
        assert provider.key_requests == 1
        # The provider changes its key: the old one is still good until it is withdrawn, the new one at once.
        provider.keys = {"keys": [public(STRANGER, "two")]}
        now += 11
        await checks.verify(provider.token(STRANGER, kid="two"))
        assert provider.key_requests == 2
        with pytest.raises(IdTokenError):
            await checks.verify(provider.token())

    asyncio.run(story())


def test_a_withdrawn_key_stops_counting(provider: Provider) -> None:
    now = 0.0
    keys = SigningKeys(provider.jwks_url, fetch, clock=lambda: now)
    checks = IdTokenVerifier(provider.issuer, CLIENT, keys)

    async def story() -> None:
        nonlocal now
        await checks.verify(provider.token())
        provider.keys = {"keys": [public(STRANGER, "two")]}
        now += 3600
        with pytest.raises(IdTokenError):
            await checks.verify(provider.token())

    asyncio.run(story())


@pytest.mark.parametrize("document", [None, [], {}, {"keys": None}, {"keys": "x"}])
def test_keys_that_are_none(provider: Provider, document: Any) -> None:
    provider.keys = document
    with pytest.raises(SigningKeysError):
        verify(provider, provider.token())


def test_a_provider_that_does_not_answer(provider: Provider) -> None:
    keys = SigningKeys("http://127.0.0.1:1/jwks.json", fetch)
    with pytest.raises(SigningKeysError, match="cannot be read"):
        asyncio.run(IdTokenVerifier(provider.issuer, CLIENT, keys).verify(provider.token()))
