"""What can go wrong with users and groups, in words for the administrator.

::

    PeopleError (a HubError)
    ├── PeopleRefused         what is asked for must not be done: a name that cannot be used, the last administrator
    ├── PeopleMissing         there is no such user or group
    ├── PeopleExist           there is one of this name already
    ├── NoUserPool            accounts are managed elsewhere
    └── PoolUnavailable       Cognito does not answer, or does not let us

None of them holds a password.
"""

from rpacs_hub.errors import HubError

__all__ = ["NoUserPool", "PeopleError", "PeopleExist", "PeopleMissing", "PeopleRefused", "PoolUnavailable"]


class PeopleError(HubError):
    """Base of all errors of this package.

    Attributes
    ----------
    status
        The HTTP status that says the same.
    code
        Short name for programs.
    """

    status = 400
    code = "people_error"


class PeopleRefused(PeopleError):  # noqa: N818 - says what happened
    """What is asked for must not be done; nothing was."""

    status, code = 409, "refused"


class PeopleMissing(PeopleError):  # noqa: N818 - says what happened
    """There is no such user or group."""

    status, code = 404, "not_found"


class PeopleExist(PeopleError):  # noqa: N818 - says what happened
    """There is a user or group of this name already; nothing was done."""

    status, code = 409, "exists"


class NoUserPool(PeopleError):  # noqa: N818 - says what happened
    """Accounts are managed elsewhere, at the identity provider itself."""

    status, code = 409, "managed_elsewhere"


class PoolUnavailable(PeopleError):  # noqa: N818 - says what happened
    """Cognito does not answer, or does not let us."""

    status, code = 503, "pool_unavailable"
