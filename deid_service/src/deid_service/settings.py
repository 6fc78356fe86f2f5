"""What the de-identification service is told through its environment.

=============================  ========================================================================================
variable                       meaning
=============================  ========================================================================================
``RPACS_DATABASE_URL``         PostgreSQL address of the role that owns the schema ``deid``
``RPACS_INGEST_URL``           ingest Orthanc, ``http://user:password@host:port``
``RPACS_RESEARCH_URL``         research Orthanc, likewise
``RPACS_RULES``                rules file, a path or ``s3://bucket/key``; read again when it changes
``RPACS_PSEUDONYM_KEY_FILE``   path of the pseudonym key (``rpacs-deid keygen`` makes one)
``RPACS_INBOX``                optional: folder whose files are uploaded to the ingest Orthanc
``RPACS_INBOX_REFUSED``        needed with ``RPACS_INBOX``: where files go that are not DICOM
``RPACS_OCR_THREADS``          optional: threads that one process may use to read text in pixels; 1 unless set
=============================  ========================================================================================

The environment rather than the command line, because other users of a machine can read a process's arguments.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from deid_service.errors import RulesSourceError
from deid_service.pipeline.errors import SettingsError
from deid_service.rules import S3Address

__all__ = ["Settings"]


@dataclass(frozen=True)
class Settings:
    """Addresses and paths of one service. Addresses hold passwords and so stay out of ``repr``.

    Attributes
    ----------
    database_url
        PostgreSQL address (libpq URI).
    ingest_url, research_url
        Orthanc addresses with user and password.
    rules
        Path of the rules file, or its ``s3://bucket/key``, whose credentials are the machine's and never settings.
    pseudonym_key_file
        Path of the pseudonym key.
    inbox, inbox_refused
        Folder that is emptied into the ingest Orthanc, and where its refused files go; both None without a folder.
    """

    database_url: str = field(repr=False)
    ingest_url: str = field(repr=False)
    research_url: str = field(repr=False)
    rules: Path | str
    pseudonym_key_file: Path
    inbox: Path | None = None
    inbox_refused: Path | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Settings:
        """Read the settings.

        Parameters
        ----------
        environment
            Instead of ``os.environ``.

        Raises
        ------
        SettingsError
            Names every variable that is missing or wrong, all at once.
        """
        read = _Reader(os.environ if environment is None else environment)
        database_url = read.database("RPACS_DATABASE_URL")
        ingest_url = read.orthanc("RPACS_INGEST_URL")
        research_url = read.orthanc("RPACS_RESEARCH_URL")
        rules = read.path_or_s3("RPACS_RULES", "path of the rules file, or s3://bucket/key")
        key = read.path("RPACS_PSEUDONYM_KEY_FILE", "path of the pseudonym key; `rpacs-deid keygen` makes one")
        inbox = read.optional_path("RPACS_INBOX")
        refused = read.optional_path("RPACS_INBOX_REFUSED")
        if inbox is not None:
            if refused is None:
                read.problems.append("RPACS_INBOX_REFUSED is not set, but RPACS_INBOX is: name a folder beside it")
            elif refused.absolute().is_relative_to(inbox.absolute()):
                read.problems.append("RPACS_INBOX_REFUSED lies inside RPACS_INBOX: name a folder beside it")
        read.raise_problems()
        return cls(database_url, ingest_url, research_url, rules, key, inbox, refused if inbox is not None else None)

    @staticmethod
    def database_from_environment(environment: Mapping[str, str] | None = None) -> str:
        """Return only the database's address, for commands that need nothing else.

        Raises
        ------
        SettingsError
            If ``RPACS_DATABASE_URL`` is missing or wrong.
        """
        read = _Reader(os.environ if environment is None else environment)
        url = read.database("RPACS_DATABASE_URL")
        read.raise_problems()
        return url

    @staticmethod
    def ingest_from_environment(environment: Mapping[str, str] | None = None) -> str:
        """Return only the ingest Orthanc's address.

        Raises
        ------
        SettingsError
            If ``RPACS_INGEST_URL`` is missing or wrong.
        """
        read = _Reader(os.environ if environment is None else environment)
        url = read.orthanc("RPACS_INGEST_URL")
        read.raise_problems()
        return url


class _Reader:
    """Collects every problem, so that a wrong set-up is mended in one go. Messages never quote an address."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.environment = environment
        self.problems: list[str] = []

    def _text(self, name: str, meaning: str) -> str:
        value = self.environment.get(name, "").strip()
        if not value:
            self.problems.append(f"{name} is not set: {meaning}")
        return value

    def database(self, name: str) -> str:
        value = self._text(name, "address of the database, postgresql://user:password@host:port/name")
        if value and not value.startswith(("postgresql://", "postgres://")):
            self.problems.append(f"{name} must start with postgresql://")
        return value

    def orthanc(self, name: str) -> str:
        value = self._text(name, "address of the Orthanc server, http://user:password@host:port")
        if not value:
            return value
        try:
            parts = urlsplit(value)
            good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            good = False
        if not good:
            self.problems.append(f"{name} must look like http://user:password@host:port")
        return value

    def path(self, name: str, meaning: str) -> Path:
        return Path(self._text(name, meaning))

    def path_or_s3(self, name: str, meaning: str) -> Path | str:
        value = self._text(name, meaning)
        if not S3Address.is_one(value):
            return Path(value)
        try:
            return str(S3Address.parse(value))
        except RulesSourceError as error:
            self.problems.append(f"{name}: {error}")
            return value

    def optional_path(self, name: str) -> Path | None:
        value = self.environment.get(name, "").strip()
        return Path(value) if value else None

    def raise_problems(self) -> None:
        if self.problems:
            raise SettingsError("; ".join(self.problems))
