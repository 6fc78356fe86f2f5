"""Everything that the hub's data side raises on purpose.

::

    HubError
    ├── SettingsError             a variable of the environment is missing or wrong
    ├── PermissionsError          the permissions file is not valid (.problems lists every reason)
    ├── PermissionsUnreadable     the permissions file cannot be read where it is kept
    ├── PermissionsNotSaved       a change of the permissions was not saved, and nothing changed
    ├── DatabaseUnavailable       PostgreSQL does not answer
    ├── OrthancError              the research Orthanc answered, but not with what was asked for
    │   ├── OrthancMissing        it does not hold that instance (any more)
    │   └── OrthancUnavailable    it does not answer, or refuses the credentials
    ├── SearchError
    │   ├── SearchRefused         a level, column, sort or cursor that cannot be served
    │   └── SearchTooSlow         the statement ran into its time limit
    ├── RenderError
    │   ├── FrameMissing          the instance has no such frame
    │   └── NotAnImage            there are no pixels, or they cannot be decoded
    ├── AuditUnavailable          the audit line could not be written, so nothing may be handed out
    ├── AuditUnreadable           a file of audit lines cannot be read
    ├── HubUnavailable            JupyterHub does not answer, so nobody can be recognised
    ├── PipelineAbsent            the database holds nothing of a de-identifier, or nothing that this version reads
    ├── RequestRefused            a retry or discard that cannot be asked for like that
    └── exports, login            branches of their own: `rpacs_hub.exports.errors`, `rpacs_hub.login.errors`

Messages never hold patient data: they reach logs and answers.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "AuditUnavailable",
    "AuditUnreadable",
    "DatabaseUnavailable",
    "FrameMissing",
    "HubError",
    "HubUnavailable",
    "NotAnImage",
    "OrthancError",
    "OrthancMissing",
    "OrthancUnavailable",
    "PermissionsError",
    "PermissionsNotSaved",
    "PermissionsUnreadable",
    "PipelineAbsent",
    "Problem",
    "RenderError",
    "RequestRefused",
    "SearchError",
    "SearchRefused",
    "SearchTooSlow",
    "SettingsError",
]


class HubError(Exception):
    """Base of everything the hub's data side raises on purpose.

    Parameters
    ----------
    message
        What is wrong, in one sentence.
    hint
        What to do about it; empty where there is nothing to say.
    """

    def __init__(self, message: str, hint: str = ""):
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".rstrip()


class SettingsError(HubError):
    """A variable of the environment is missing or holds something that cannot be used."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong in a permissions file.

    Attributes
    ----------
    line, column
        Where it stands; both count from 1.
    message
        What is wrong.
    hint
        What would be right, or an empty string.
    """

    line: int
    column: int
    message: str
    hint: str = ""

    def __str__(self) -> str:
        return f"line {self.line}, column {self.column}: {self.message} {self.hint}".rstrip()


class PermissionsError(HubError):
    """The permissions file is not valid.

    Attributes
    ----------
    problems
        Every problem found, in the order of the file.
    """

    def __init__(self, problems: list[Problem]):
        self.problems = problems
        noun = "problem" if len(problems) == 1 else "problems"
        super().__init__("\n".join([f"{len(problems)} {noun} in the permissions file:", *map(str, problems)]))


class PermissionsUnreadable(HubError):  # noqa: N818 - says what happened
    """The permissions file cannot be read where it is kept."""


class PermissionsNotSaved(HubError):  # noqa: N818 - says what happened
    """A change of the permissions was not saved; what was in force is in force.

    Parameters
    ----------
    code
        Short name for programs: ``changed_meanwhile``, ``not_writable``, ``reason_missing`` or ``nothing_new``.
    """

    def __init__(self, code: str, message: str, hint: str = ""):
        super().__init__(message, hint)
        self.code = code


class DatabaseUnavailable(HubError):  # noqa: N818 - says what happened
    """PostgreSQL does not answer."""


class OrthancError(HubError):
    """The research Orthanc answered, but not with what was asked for."""


class OrthancMissing(OrthancError):  # noqa: N818 - says what happened
    """The research Orthanc does not hold the instance."""


class OrthancUnavailable(OrthancError):  # noqa: N818 - says what happened
    """The research Orthanc does not answer, or it refuses the credentials."""


class SearchError(HubError):
    """A search cannot be answered."""


class SearchRefused(SearchError):  # noqa: N818 - says what happened
    """A level, column, sort or cursor that cannot be served.

    Parameters
    ----------
    code
        Short name for programs, such as ``column_unknown``.
    """

    def __init__(self, code: str, message: str, hint: str = ""):
        super().__init__(message, hint)
        self.code = code


class SearchTooSlow(SearchError):  # noqa: N818 - says what happened
    """The statement ran into its time limit."""


class RenderError(HubError):
    """A frame cannot be drawn."""


class FrameMissing(RenderError):  # noqa: N818 - says what happened
    """The instance has no frame of that number."""


class NotAnImage(RenderError):  # noqa: N818 - says what happened
    """The instance has no pixels, or they cannot be decoded."""


class AuditUnavailable(HubError):  # noqa: N818 - says what happened
    """The audit line could not be written; nothing may be handed out without one."""


class AuditUnreadable(HubError):  # noqa: N818 - says what happened
    """A file of audit lines cannot be read."""


class HubUnavailable(HubError):  # noqa: N818 - says what happened
    """JupyterHub does not answer, so nobody can be recognised."""


class PipelineAbsent(HubError):  # noqa: N818 - says what happened
    """The database holds nothing of a de-identifier, or nothing that this version can read."""


class RequestRefused(HubError):  # noqa: N818 - says what happened
    """A retry or discard that cannot be asked for like that."""
