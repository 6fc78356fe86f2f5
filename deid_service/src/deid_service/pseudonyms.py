"""Pseudonyms as a keyed function of the original value.

A pseudonym is HMAC-SHA256 of the key over (kind, scope, value), not a random draw that somebody must store: the same
input gives the same output on every worker, after every retry, with no round trip and no race. Without the key nothing
leads back, and the key alone regenerates every pseudonym.

The three kinds (UID, text, date offset) never share an input, so no output of one tells anything about another. The
parts are length-prefixed before they are hashed: no two different (kind, scope, value) encode to the same bytes.
"""

from __future__ import annotations

import hmac
import os
import secrets
import stat
from functools import lru_cache
from pathlib import Path
from typing import Final, Self

from pydicom.uid import UID_dictionary  # type: ignore[attr-defined]

from deid_service.errors import KeyFileError

__all__ = ["KEY_LENGTH", "PseudonymKey", "is_registered_uid"]

KEY_LENGTH: Final = 32
"""Length of a key in bytes."""

_DICOM_ROOT: Final = "1.2.840.10008."
_UID_LIMIT: Final = 64


def is_registered_uid(uid: str) -> bool:
    """Tell whether a UID names something public, which must never be replaced.

    Parameters
    ----------
    uid : str
        A UID without padding.

    Returns
    -------
    bool
        True for everything under DICOM's own root (SOP classes, transfer syntaxes, coding schemes, context groups,
        well-known instances; PS3.6 Annex A) and for the other entries of pydicom's UID dictionary.
    """
    return uid.startswith(_DICOM_ROOT) or uid == _DICOM_ROOT[:-1] or uid in UID_dictionary


class PseudonymKey:
    """The secret from which every pseudonym is made.

    Parameters
    ----------
    secret : bytes, shape (32,)
        Random bytes.

    Raises
    ------
    KeyFileError
        If the secret does not have 32 bytes, or all are equal (a placeholder, not a secret).
    """

    __slots__ = ("_digest", "_secret", "_uid")

    def __init__(self, secret: bytes) -> None:
        if len(secret) != KEY_LENGTH:
            raise KeyFileError(f"a pseudonym key has {KEY_LENGTH} bytes, this one has {len(secret)}")
        if len(set(secret)) == 1:
            raise KeyFileError("this pseudonym key repeats one byte; make a real one with: rpacs-deid keygen PATH")
        self._secret = bytes(secret)
        # A series names the same few UIDs, and the same patient, in each of its instances.
        self._uid = lru_cache(maxsize=4096)(self._make_uid)
        self._digest = lru_cache(maxsize=4096)(self._make_digest)

    def __repr__(self) -> str:
        return "PseudonymKey(<secret>)"

    def __reduce__(self) -> str:
        raise TypeError("a PseudonymKey is not pickled: give each process the key file's path")

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> Self:
        """Read a key that :meth:`generate` wrote.

        Parameters
        ----------
        path : path-like
            The key file: 32 bytes, mode 0600 or stricter.

        Returns
        -------
        PseudonymKey

        Raises
        ------
        KeyFileError
            If the file is missing, unreadable, of another length, or if group or others have any right on it.
        """
        path = Path(path)
        try:
            with path.open("rb") as file:
                mode = os.fstat(file.fileno()).st_mode
                secret = file.read(KEY_LENGTH + 1)
        except OSError as error:
            hint = "; make one with: rpacs-deid keygen PATH" if isinstance(error, FileNotFoundError) else ""
            raise KeyFileError(f"cannot read the pseudonym key {path}: {error.strerror}{hint}") from None
        if stat.S_IMODE(mode) & 0o077:
            raise KeyFileError(f"the pseudonym key {path} is open to others; run: chmod 600 {path}")
        if len(secret) != KEY_LENGTH:
            raise KeyFileError(f"{path} is not a pseudonym key: a key has exactly {KEY_LENGTH} bytes")
        return cls(secret)

    @classmethod
    def generate(cls, path: str | os.PathLike[str]) -> Self:
        """Make a new random key and store it with mode 0600.

        Parameters
        ----------
        path : path-like
            Where to; must not exist, because overwriting a key loses every pseudonym made with it.

        Returns
        -------
        PseudonymKey

        Raises
        ------
        KeyFileError
            If the file exists already or cannot be written.
        """
        path = Path(path)
        secret = secrets.token_bytes(KEY_LENGTH)
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            raise KeyFileError(
                f"{path} exists; a key is never overwritten, because its pseudonyms would be lost"
            ) from None
        except OSError as error:
            raise KeyFileError(f"cannot write the pseudonym key {path}: {error.strerror}") from None
        with os.fdopen(descriptor, "wb") as file:
            file.write(secret)
            file.flush()
            os.fsync(file.fileno())
        return cls(secret)

    def digest(self, kind: str, scope: tuple[str, ...], value: str) -> bytes:
        """Hash one value within a scope.

        Parameters
        ----------
        kind : str
            Namespace of the pseudonym, for instance ``"text"``.
        scope : tuple of str
            What the pseudonym holds for: the parts that name a patient, a study and so on; empty for everything.
        value : str
            The original value.

        Returns
        -------
        bytes, shape (32,)
            Uniformly distributed, reproducible with the key only.
        """
        return self._digest(kind, scope, value)

    def _make_digest(self, kind: str, scope: tuple[str, ...], value: str) -> bytes:
        parts = [kind, str(len(scope)), *scope, value]
        message = bytearray()
        for part in parts:
            encoded = part.encode("utf-8", "surrogatepass")
            message += len(encoded).to_bytes(8, "big")
            message += encoded
        return hmac.digest(self._secret, bytes(message), "sha256")

    def uid(self, value: str, prefix: str | None = None) -> str:
        """Replace a UID by value: the same original gives the same pseudonym wherever it stands.

        Parameters
        ----------
        value : str
            The original, without padding; need not be valid.
        prefix : str, optional
            Root of the new UID, ending in a dot. Without it the UID is ``2.25.`` and a 128-bit number (PS3.5 B.2).

        Returns
        -------
        str
            A valid UID of at most 64 characters.
        """
        return self._uid(value, prefix)

    def _make_uid(self, value: str, prefix: str | None) -> str:
        number = int.from_bytes(self._make_digest("uid", (), value)[:16], "big")
        if prefix is None:
            return f"2.25.{number}"
        digits = min(39, _UID_LIMIT - len(prefix))
        return f"{prefix}{number % 10**digits}"

    def offset(self, scope: tuple[str, ...], limit: int) -> int:
        """Choose how far the dates of one scope move.

        Parameters
        ----------
        scope : tuple of str
            What moves together, for instance one patient.
        limit : int
            Largest shift, at least 1.

        Returns
        -------
        int
            A number in [-limit, limit] that is never 0.
        """
        number = int.from_bytes(self.digest("date", scope, str(limit))[:16], "big") % (2 * limit)
        return number - limit if number < limit else number - limit + 1
