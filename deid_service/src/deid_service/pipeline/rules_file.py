"""The rules in force: read at the start, read again when the file changes."""

from __future__ import annotations

import hashlib
import logging
import threading
from dataclasses import dataclass
from pathlib import Path

from deid_service.engine import Deidentifier
from deid_service.errors import RulesError
from deid_service.pseudonyms import PseudonymKey
from deid_service.rules import load_rules

__all__ = ["RulesFile", "RulesInForce"]

_log = logging.getLogger("deid_service.pipeline")


@dataclass(frozen=True)
class RulesInForce:
    """A valid rules file, ready to be applied.

    Attributes
    ----------
    deidentifier
        Applies the rules.
    digest
        SHA-256 of the rules, in hex.
    """

    deidentifier: Deidentifier
    digest: str


class RulesFile:
    """Follows a rules file. A file that is not valid leaves the last valid one in force.

    Parameters
    ----------
    path
        The rules file.
    key
        The pseudonym key.

    Attributes
    ----------
    in_force
        The rules to apply; None as long as the file was never valid. Work takes it once per batch.
    error
        What is wrong with the file as it is now, None if it is in force.
    """

    def __init__(self, path: Path, key: PseudonymKey) -> None:
        self._path, self._key = path, key
        self._lock = threading.Lock()
        self._seen: str | None = None
        self.in_force: RulesInForce | None = None
        self.error: str | None = None

    def refresh(self) -> None:
        """Read the file and, if it changed, put it in force or say what is wrong."""
        with self._lock:
            try:
                text = self._path.read_bytes()
            except OSError as error:
                # A file that is being replaced may be missing for a moment: no reason to stop.
                self._reject(f"cannot read {self._path}: {error.strerror or type(error).__name__}")
                self._seen = None
                return
            digest = hashlib.sha256(text).hexdigest()
            if digest == self._seen:
                return
            self._seen = digest
            try:
                rules = load_rules(self._path)
            except RulesError as error:
                self._reject(f"the rules file is not valid: {error}")
                return
            self.in_force = RulesInForce(Deidentifier(rules, self._key), rules.digest)
            _log.info("rules %s are in force (%s)", rules.digest[:12], self._path)
            self.error = None

    def _reject(self, error: str) -> None:
        if error != self.error:
            consequence = (
                f"rules {self.in_force.digest[:12]} stay in force"
                if self.in_force
                else "nothing is processed until it is mended"
            )
            _log.error("%s\n%s", error, consequence)
        self.error = error
