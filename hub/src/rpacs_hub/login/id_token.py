"""Verifying an OpenID Connect ID token against the provider's published keys.

oauthenticator reads the claims of an ID token without looking at its signature. Everything that a person may see here
follows from those claims (the user name, the groups), so they are verified: signature, algorithm, issuer, audience,
expiry, and the nonce if one was sent (OpenID Connect Core 1.0, section 3.1.3.7).
"""

import hmac
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import jwt

from rpacs_hub.login.errors import IdTokenError, SigningKeysError

__all__ = ["ASYMMETRIC_ALGORITHMS", "IdTokenVerifier", "SigningKeys"]

ASYMMETRIC_ALGORITHMS = frozenset(
    {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
)
"""The only algorithms that may be configured.

With a symmetric one (HS256) the public key, which everybody can read, would be the secret: the classic confusion.
"""

_KEY_TYPES = frozenset({"RSA", "EC", "OKP"})
_LARGEST_TOKEN = 64 * 1024

Fetch = Callable[[str], Awaitable[Any]]


class SigningKeys:
    """The provider's signing keys, fetched when first needed and again when a token names a key not yet seen.

    Parameters
    ----------
    url : str
        Address of the JSON Web Key Set (RFC 7517).
    fetch : callable
        ``await fetch(url)`` returns the decoded JSON document.
    max_age : float, optional
        Seconds after which the keys are fetched again, so that a withdrawn key stops counting.
    min_interval : float, optional
        Seconds between two fetches for unknown keys: a flood of invented key ids must not become a flood of requests.
    clock : callable, optional
        Monotonic seconds.
    """

    def __init__(
        self,
        url: str,
        fetch: Fetch,
        *,
        max_age: float = 3600.0,
        min_interval: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url = url
        self._fetch = fetch
        self._max_age = max_age
        self._min_interval = min_interval
        self._clock = clock
        self._keys: list[Mapping[str, Any]] = []
        self._fetched: float | None = None

    async def find(self, kid: str | None, algorithm: str) -> jwt.PyJWK:
        """Return the key that a token says it was signed with.

        Parameters
        ----------
        kid : str or None
            Key id of the token's header. Without one, the set must hold exactly one signing key.
        algorithm : str
            Algorithm of the token's header, already found to be allowed.

        Returns
        -------
        jwt.PyJWK
            The key, bound to `algorithm`.

        Raises
        ------
        IdTokenError
            If the provider has no such key.
        SigningKeysError
            If the key set cannot be read.
        """
        now = self._clock()
        if self._fetched is None or now - self._fetched >= self._max_age:
            await self._load(now)
        found = self._select(kid)
        if found is None and self._fetched is not None and now - self._fetched >= self._min_interval:
            await self._load(now)
            found = self._select(kid)
        if found is None:
            raise IdTokenError("key", "the ID token is signed with a key that the provider does not publish")
        try:
            return jwt.PyJWK(dict(found), algorithm=algorithm)
        except jwt.PyJWTError as error:
            raise IdTokenError("key", "the provider's key does not fit the ID token's algorithm") from error

    def _select(self, kid: str | None) -> Mapping[str, Any] | None:
        if kid is None:
            return self._keys[0] if len(self._keys) == 1 else None
        return next((key for key in self._keys if key.get("kid") == kid), None)

    async def _load(self, now: float) -> None:
        try:
            document = await self._fetch(self._url)
        except Exception as error:  # whatever the HTTP client raises, the answer is the same: nobody signs in
            raise SigningKeysError(f"the sign-in provider's keys cannot be read from {self._url}") from error
        keys = document.get("keys") if isinstance(document, Mapping) else None
        if not isinstance(keys, list):
            raise SigningKeysError(f"{self._url} does not hold a JSON Web Key Set")
        # Symmetric keys ("oct") and encryption keys have no business here; one that slips in must not verify anything.
        self._keys = [
            key
            for key in keys
            if isinstance(key, Mapping) and key.get("kty") in _KEY_TYPES and key.get("use", "sig") == "sig"
        ]
        self._fetched = now


class IdTokenVerifier:
    """Checks ID tokens of one provider for one client.

    Parameters
    ----------
    issuer : str
        Exact value of the `iss` claim.
    client_id : str
        Value that the `aud` claim must hold.
    keys : SigningKeys
        The provider's keys.
    algorithms : sequence of str, optional
        Signature algorithms to accept, out of `ASYMMETRIC_ALGORITHMS`.
    leeway : float, optional
        Seconds by which the provider's clock may differ from ours.

    Raises
    ------
    ValueError
        If an algorithm is not asymmetric, or issuer or client id are empty.
    """

    def __init__(
        self,
        issuer: str,
        client_id: str,
        keys: SigningKeys,
        *,
        algorithms: Sequence[str] = ("RS256",),
        leeway: float = 30.0,
    ) -> None:
        if not issuer or not client_id:
            raise ValueError("an ID token can only be checked against a known issuer and client id")
        wrong = sorted(set(algorithms) - ASYMMETRIC_ALGORITHMS)
        if wrong or not algorithms:
            raise ValueError(f"not usable for ID tokens: {', '.join(wrong) or 'no algorithm at all'}")
        self._issuer = issuer
        self._client_id = client_id
        self._keys = keys
        self._algorithms = tuple(algorithms)
        self._leeway = leeway

    async def verify(self, token: object, *, nonce: str | None = None, nonce_required: bool = False) -> dict[str, Any]:
        """Return the claims of a token that passes every check.

        Parameters
        ----------
        token : object
            What the provider sent as `id_token`.
        nonce : str, optional
            The nonce that was sent with the authorization request. A token that carries another one is refused.
        nonce_required : bool, optional
            Refuse a token without a nonce as well.

        Returns
        -------
        dict
            The claims.

        Raises
        ------
        IdTokenError
            With the reason of the first check that failed.
        SigningKeysError
            If the provider's keys cannot be read.
        """
        if not isinstance(token, str) or not token or len(token) > _LARGEST_TOKEN:
            raise IdTokenError("malformed", "the provider sent no usable ID token")
        try:
            header = jwt.get_unverified_header(token)
        except jwt.PyJWTError as error:
            raise IdTokenError("malformed", "the ID token is not a JSON Web Token") from error
        algorithm = header.get("alg")
        if algorithm not in self._algorithms:
            raise IdTokenError("algorithm", "the ID token's signature algorithm is not one that we accept")
        kid = header.get("kid")
        if "crit" in header or not (kid is None or isinstance(kid, str)):
            raise IdTokenError("malformed", "the ID token's header is not usable")
        key = await self._keys.find(kid, algorithm)
        claims = self._decode(token, key, algorithm)
        self._check_parties(claims)
        self._check_nonce(claims, nonce, required=nonce_required)
        return claims

    def _decode(self, token: str, key: jwt.PyJWK, algorithm: str) -> dict[str, Any]:
        try:
            return jwt.decode(
                token,
                key=key,
                algorithms=[algorithm],
                audience=self._client_id,
                issuer=self._issuer,
                leeway=self._leeway,
                options={"require": ["iss", "sub", "aud", "exp", "iat"]},
            )
        except jwt.InvalidSignatureError as error:
            raise IdTokenError("signature", "the ID token's signature is wrong") from error
        except jwt.ExpiredSignatureError as error:
            raise IdTokenError("expired", "the ID token has expired") from error
        except (jwt.InvalidIssuerError, jwt.InvalidAudienceError) as error:
            reason = "issuer" if isinstance(error, jwt.InvalidIssuerError) else "audience"
            raise IdTokenError(reason, f"the ID token was made for another {reason}") from error
        except (jwt.ImmatureSignatureError, jwt.InvalidIssuedAtError) as error:
            raise IdTokenError("claims", "the ID token is dated in the future: compare the clocks") from error
        except jwt.MissingRequiredClaimError as error:
            raise IdTokenError("claims", f"the ID token has no claim {error.claim!r}") from error
        except jwt.PyJWTError as error:
            raise IdTokenError("malformed", "the ID token cannot be read") from error

    def _check_parties(self, claims: Mapping[str, Any]) -> None:
        # Several audiences, or an `azp`: the token must have been issued to this very client.
        audience, authorized = claims["aud"], claims.get("azp")
        if authorized is not None and authorized != self._client_id:
            raise IdTokenError("audience", "the ID token was issued to another client")
        if isinstance(audience, list) and len(audience) > 1 and authorized is None:
            raise IdTokenError("audience", "the ID token names several audiences but no authorized party")
        # Cognito signs access tokens with the same keys; they carry token_use "access".
        if claims.get("token_use", "id") != "id":
            raise IdTokenError("claims", "the provider sent another kind of token in place of an ID token")

    @staticmethod
    def _check_nonce(claims: Mapping[str, Any], nonce: str | None, *, required: bool) -> None:
        if nonce is None:
            return
        got = claims.get("nonce")
        if got is None and not required:
            return
        if not isinstance(got, str) or not hmac.compare_digest(got.encode(), nonce.encode()):
            raise IdTokenError("nonce", "the ID token does not belong to this sign-in")
