"""The rules in force: read at the start, read again when the file changes."""

from __future__ import annotations

import hashlib
import logging
import threading
from dataclasses import dataclass
from pathlib import Path

from deid_service.engine import Deidentifier
from deid_service.errors import RulesError, RulesSourceError
from deid_service.pseudonyms import PseudonymKey
from deid_service.rules import S3Address, S3File, parse_rules

__all__ = ["RulesFile", "RulesInForce"]

_log = logging.getLogger("deid_service.pipeline")

_PATH_SECONDS = 2.0
_S3_SECONDS = 10.0
_S3_WAITING_SECONDS = 3.0


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
    source
        Path of the rules file, or its ``s3://bucket/key``.
    key
        The pseudonym key.

    Attributes
    ----------
    in_force
        The rules to apply; None as long as the file was never valid. Work takes it once per batch.
    error
        What is wrong with the file as it is now, None if it is in force.

    Raises
    ------
    RulesSourceError
        If `source` begins with ``s3://`` and is not complete.
    """

    def __init__(self, source: Path | str, key: PseudonymKey) -> None:
        self._source, self._key = source, key
        self._s3 = S3File(S3Address.parse(source)) if isinstance(source, str) and S3Address.is_one(source) else None
        self._lock = threading.Lock()
        self._seen: str | None = None
        self.in_force: RulesInForce | None = None
        # S3 may take its time to fail, and a service without rules is not well meanwhile.
        self.error: str | None = f"{source} has not been read yet"

    @property
    def interval(self) -> float:
        """Seconds to wait between two looks at the file."""
        if self._s3 is None:
            return _PATH_SECONDS
        return _S3_SECONDS if self.in_force else _S3_WAITING_SECONDS

    def refresh(self) -> None:
        """Read the file and, if it changed, put it in force or say what is wrong. Blocks, some 20 s if S3 is away."""
        with self._lock:
            try:
                data = Path(self._source).read_bytes() if self._s3 is None else self._s3.read()
            except OSError as error:
                # A file that is being replaced may be missing for a moment: no reason to stop.
                self._reject(f"cannot read {self._source}: {error.strerror or type(error).__name__}")
                self._seen = None
                return
            except RulesSourceError as error:
                self._reject(f"cannot read {self._source}: {error}")
                self._seen = None
                return
            if data is None:
                return
            digest = hashlib.sha256(data).hexdigest()
            if digest == self._seen:
                return
            self._seen = digest
            try:
                rules = parse_rules(data, str(self._source))
            except RulesError as error:
                self._reject(f"the rules file is not valid: {error}")
                return
            self.in_force = RulesInForce(Deidentifier(rules, self._key), rules.digest)
            _log.info("rules %s are in force (%s)", rules.digest[:12], self._source)
            self.error = None

    def close(self) -> None:
        """Close the connection to S3, if there is one."""
        if self._s3 is not None:
            with self._lock:
                self._s3.close()

    def _reject(self, error: str) -> None:
        if error != self.error:
            consequence = (
                f"rules {self.in_force.digest[:12]} stay in force"
                if self.in_force
                else "nothing is processed until it is mended"
            )
            _log.error("%s\n%s", error, consequence)
        self.error = error
