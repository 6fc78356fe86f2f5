"""Names and passwords that Cognito, the Hub and the machine all can live with."""

from __future__ import annotations

import re
import secrets
import string

from rpacs_hub.people.errors import PeopleRefused

__all__ = ["check_email", "check_group_name", "check_user_name", "temporary_password"]

_USER = re.compile(r"[a-z0-9][a-z0-9._@-]{0,62}[a-z0-9]|[a-z0-9]")
_GROUP = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_EMAIL = re.compile(r"[^@\s<>\"',;]{1,64}@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+")

_LOOK_ALIKE = set("0O1lI")
_SIGNS = "-+=_"


def check_user_name(name: str) -> str:
    """Return the name of a new user, if it can be one.

    Cognito would take nearly every character. The Hub puts the name into addresses and takes Clara and clara for two
    people where Cognito takes them for one; system users have names of lower-case letters (`rpacs_hub.system_users`
    shortens what is too long for them).

    Raises
    ------
    PeopleRefused
        It cannot.
    """
    if not _USER.fullmatch(name) or ".." in name:
        raise PeopleRefused(
            "This cannot be a user name.",
            "Use 1 to 64 lower-case letters, digits, and within the name . _ - or @.",
        )
    return name


def check_group_name(name: str) -> str:
    """Return the name of a new group, if it can be one.

    Raises
    ------
    PeopleRefused
        It cannot.
    """
    if not _GROUP.fullmatch(name):
        raise PeopleRefused(
            "This cannot be a group's name.", "Use 1 to 63 letters, digits, and after the first one . _ or -."
        )
    return name


def check_email(address: str) -> str:
    """Return a mail address, if it looks like one; empty stays empty.

    Raises
    ------
    PeopleRefused
        It does not.
    """
    if address and (not _EMAIL.fullmatch(address) or len(address) > 254):
        raise PeopleRefused(
            "This does not look like a mail address.", "Write it like clara@example.org, or leave it out."
        )
    return address


def temporary_password() -> str:
    """Draw a password: 16 characters of every kind that Cognito's password policies can ask for, about 90 bits."""
    letters = (string.ascii_lowercase, string.ascii_uppercase)
    kinds = ["".join(c for c in kind if c not in _LOOK_ALIKE) for kind in (*letters, string.digits, _SIGNS)]
    # The first and the last one are letters: a sign there is easily lost when it is copied.
    while True:
        drawn = "".join(secrets.choice("".join(kinds)) for _ in range(16))
        if drawn[0].isalpha() and drawn[-1].isalpha() and all(set(kind) & set(drawn) for kind in kinds):
            return drawn
