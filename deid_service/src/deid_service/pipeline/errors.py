"""What the service raises, a branch of the tree in `deid_service.errors`.

::

    DeidError
    └── ServiceError
        ├── SettingsError               an environment variable is missing or wrong
        ├── DatabaseUnavailableError    PostgreSQL does not answer; passes
        ├── DatabaseVersionError        the tables belong to another version of the service
        ├── OrthancUnavailableError     an Orthanc does not answer or lets us not in; passes
        ├── OrthancRefusalError         an Orthanc answers, but not with what was asked for
        │   └── NotStoredError          it could not store a file just now; passes
        ├── InterruptedBatchError       the service is stopping; the batch goes back into the queue
        └── QuarantineError             a quarantine command that cannot be carried out

No message holds patient data or a password: each may be logged.
"""

from __future__ import annotations

from deid_service.errors import DeidError

__all__ = [
    "DatabaseUnavailableError",
    "DatabaseVersionError",
    "InterruptedBatchError",
    "NotStoredError",
    "OrthancRefusalError",
    "OrthancUnavailableError",
    "QuarantineError",
    "ServiceError",
    "SettingsError",
]


class ServiceError(DeidError):
    """Base of the service's errors."""


class SettingsError(ServiceError):
    """The environment does not say what the service needs."""


class DatabaseUnavailableError(ServiceError):
    """The database does not answer or refuses us."""


class DatabaseVersionError(ServiceError):
    """The tables belong to another version of the service."""


class OrthancUnavailableError(ServiceError):
    """An Orthanc server does not answer, is not ready, or refuses our password."""


class OrthancRefusalError(ServiceError):
    """An Orthanc server answered, with an error.

    Attributes
    ----------
    status
        HTTP status.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class NotStoredError(OrthancRefusalError):
    """An Orthanc server could not store a file, though the file is good."""


class InterruptedBatchError(ServiceError):
    """A batch was not begun because the service is stopping."""


class QuarantineError(ServiceError):
    """A quarantine command that cannot be carried out."""
