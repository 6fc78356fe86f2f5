"""The stack's secrets: drawn at the first start, one file each, mode 0600, kept from then on."""

from __future__ import annotations

import os
import secrets
import string
from collections.abc import Callable
from pathlib import Path

from demo.accounts import own_file, own_folder


class SecretFiles:
    """A folder of secrets.

    The folder can be passed through, but not listed, by others; each file can be read by its owner alone.

    Parameters
    ----------
    folder
        Where they are.
    """

    def __init__(self, folder: Path):
        self.folder = folder

    def prepare(self) -> None:
        """Create the folder, or put its mode right."""
        own_folder(self.folder, mode=0o711)

    def path(self, name: str) -> Path:
        """Return the place of a secret's file, whether or not it exists."""
        return self.folder / name

    def get(self, name: str, *, draw: Callable[[], str] = lambda: secrets.token_urlsafe(32)) -> str:
        """Return a secret, which is drawn and stored if it is not there yet.

        Parameters
        ----------
        name
            File name.
        draw
            Makes a new secret; by default 256 random bits as URL-safe text.
        """
        found = self.read(name)
        if found is None:
            found = draw()
            self.put(name, found)
        return found

    def read(self, name: str) -> str | None:
        """Return a secret, or None if it was never stored."""
        try:
            return self.path(name).read_text(encoding="ascii").strip()
        except FileNotFoundError:
            return None

    def put(self, name: str, value: str) -> Path:
        """Store a secret so that no moment exists in which others can read it or half of it is there."""
        path, draft = self.path(name), self.path(f".{name}.new")
        draft.unlink(missing_ok=True)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(value + "\n")
            file.flush()
            os.fsync(file.fileno())
        own_file(draft)
        return draft.replace(path)


def hexadecimal() -> str:
    """Draw 256 bits as 64 hexadecimal digits, the form of JupyterHub's encryption keys."""
    return secrets.token_hex(32)


def access_key() -> str:
    """Draw an S3 access key of 20 characters, the form that AWS's own have."""
    return "RPACS" + "".join(secrets.choice(string.ascii_uppercase + string.digits) for _ in range(15))


def demo_password() -> str:
    """Draw a password that can be typed: 12 characters, no look-alikes, about 58 bits."""
    letters = "abcdefghijkmnpqrstuvwxyz23456789"
    return "-".join("".join(secrets.choice(letters) for _ in range(4)) for _ in range(3))
