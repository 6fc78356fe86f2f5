"""Errors of the login side, a branch of the hub's tree (`rpacs_hub.errors`).

::

    HubError
    └── LoginError
        ├── IdTokenError          an ID token did not pass; nobody is signed in
        └── SigningKeysError      the provider's signing keys cannot be read; nobody is signed in

A setting that is missing or wrong is a `rpacs_hub.errors.SettingsError`. No text of theirs holds a token, a claim or a
secret: they go to logs and to the browser.
"""

from rpacs_hub.errors import HubError

__all__ = ["IdTokenError", "LoginError", "SigningKeysError"]


class LoginError(HubError):
    """Base of what the login side raises on purpose."""


class IdTokenError(LoginError):
    """An ID token did not pass one of the checks.

    Parameters
    ----------
    reason : str
        A short code, the same for the same failed check: ``signature``, ``issuer``, ``audience``, ``expired``,
        ``algorithm``, ``key``, ``nonce``, ``malformed``, ``claims``.
    message : str
        One sentence for the log.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class SigningKeysError(LoginError):
    """The provider's JSON Web Key Set could not be read, so no token can be checked."""
