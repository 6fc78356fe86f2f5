"""Keys for the bucket that an export goes to.

They are taken only from what the caller hands over, never from the environment or ``~/.aws``: on a shared machine a
key found there may be another person's, and an export must go out under the researcher's own name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rpacs._errors import RpacsError

__all__ = ["Credentials"]

_NAMES = {
    "access_key": ("access_key", "aws_access_key_id", "AccessKeyId"),
    "secret_key": ("secret_key", "aws_secret_access_key", "SecretAccessKey"),
    "session_token": ("session_token", "aws_session_token", "SessionToken", "token"),
}


class Credentials:
    """An access key, its secret and, for temporary ones, the session token.

    Parameters
    ----------
    access_key, secret_key : str
        The pair as the bucket's owner gave it.
    session_token : str, optional
        Comes with temporary credentials, such as those of AWS STS.

    Raises
    ------
    RpacsError
        If a key is empty.

    Notes
    -----
    Not a dataclass on purpose: ``repr``, ``vars``-style displays and pickling must not show or store the secret.
    """

    __slots__ = ("_access_key", "_secret_key", "_session_token")

    def __init__(self, access_key: str, secret_key: str, session_token: str | None = None) -> None:
        self._access_key = str(access_key or "").strip()
        self._secret_key = str(secret_key or "").strip()
        self._session_token = str(session_token or "").strip() or None
        if not self._access_key or not self._secret_key:
            raise RpacsError(
                "An export needs an access key and a secret key for the bucket.",
                'Pass credentials={"access_key": ..., "secret_key": ...}; they are used for this export only.',
            )

    @classmethod
    def of(cls, given: object) -> Credentials:
        """Return credentials from whatever form they come in.

        Parameters
        ----------
        given : Credentials, mapping, or object
            A `Credentials`; a mapping with the names ``access_key``/``secret_key``/``session_token``, those of boto3
            (``aws_access_key_id`` ...) or those of STS (``AccessKeyId`` ...); or an object with such attributes, like
            what ``boto3.Session().get_credentials()`` returns.

        Returns
        -------
        Credentials
            The same keys.

        Raises
        ------
        RpacsError
            If there is no pair of keys in it.
        """
        if isinstance(given, cls):
            return given

        def find(name: str) -> str:
            for spelling in _NAMES[name]:
                value: Any = given.get(spelling) if isinstance(given, Mapping) else getattr(given, spelling, None)
                if isinstance(value, str) and value:
                    return value
            return ""

        return cls(find("access_key"), find("secret_key"), find("session_token"))

    def body(self) -> dict[str, str]:
        """Return the keys as the gateway takes them."""
        keys = {"access_key": self._access_key, "secret_key": self._secret_key}
        return keys | ({"session_token": self._session_token} if self._session_token else {})

    def __repr__(self) -> str:
        return "Credentials(…)"

    def __reduce__(self) -> str:
        raise TypeError("Credentials are not stored: create them again where they are needed.")
