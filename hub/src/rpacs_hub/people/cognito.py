"""Users and groups of a Cognito user pool, over its API (``cognito-idp``)."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from rpacs_hub.people.errors import PeopleError, PeopleExist, PeopleMissing, PeopleRefused, PoolUnavailable
from rpacs_hub.people.names import temporary_password
from rpacs_hub.people.settings import PoolSettings

if TYPE_CHECKING:
    from mypy_boto3_cognito_idp import CognitoIdentityProviderClient

__all__ = ["Account", "Group", "UserPool"]

_AT_ONCE = 8
_SIGN_OUT_UNKNOWN = ("CognitoLocal#Unsupported", "UnsupportedOperationException")


@dataclass(frozen=True)
class Account:
    """A user of the pool.

    Attributes
    ----------
    name
        What is typed to sign in.
    email
        May be empty.
    enabled
        Whether signing in is possible.
    temporary_password
        Whether the password must be changed at the next sign-in: it is one that an administrator was shown.
    created, changed
        When.
    groups
        Groups of the pool; None where they were not asked for.
    """

    name: str
    email: str
    enabled: bool
    temporary_password: bool
    created: datetime | None
    changed: datetime | None
    groups: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Group:
    """A group of the pool."""

    name: str
    description: str = ""


class UserPool:
    """One user pool.

    Its methods wait for the network: call them from a thread.

    Parameters
    ----------
    settings
        The pool and how to reach it.
    """

    def __init__(self, settings: PoolSettings):
        self.settings = settings
        self._client: CognitoIdentityProviderClient | None = None
        self._lock = threading.Lock()

    # ---- users

    def users(self, search: str = "", page: str = "", limit: int = 50) -> tuple[list[Account], str]:
        """Return users in the pool's order, without their groups.

        Parameters
        ----------
        search
            How the user name begins, or the mail address where it holds an ``@``.
        page
            Where the last answer ended.
        limit
            At most so many, up to 60; a stand-in may not know limits.

        Returns
        -------
        tuple
            Users, and where the next page begins; empty at the end.
        """
        more: dict[str, Any] = {}
        if search:
            plain = search.replace("\\", "\\\\").replace('"', '\\"')
            more["Filter"] = f'{"email" if "@" in search else "username"} ^= "{plain}"'
        if page:
            more["PaginationToken"] = page
        with self._answers() as api:
            found = api.list_users(UserPoolId=self.settings.pool, Limit=min(limit, 60), **more)
        return [_account(user, user.get("Attributes", ())) for user in found["Users"]], found.get("PaginationToken", "")

    def user(self, name: str) -> Account:
        """Return one user with her groups.

        Raises
        ------
        PeopleMissing
            There is none of this name.
        """
        with self._answers(name) as api:
            found = api.admin_get_user(UserPoolId=self.settings.pool, Username=name)
        if found["Username"] != name:
            # Cognito also finds people by other attributes; an address must mean one person only.
            raise _no_user(name)
        return _account(found, found.get("UserAttributes", ()), self.groups_of(name))

    def groups_of(self, name: str) -> tuple[str, ...]:
        """Return the groups that a user is in."""
        with self._answers(name) as api:
            pages = api.get_paginator("admin_list_groups_for_user").paginate(
                UserPoolId=self.settings.pool, Username=name
            )
            return tuple(sorted(group["GroupName"] for page in pages for group in page["Groups"]))

    def groups_of_each(self, names: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """Return the groups of several users; one that is gone meanwhile has none."""

        def ask(name: str) -> tuple[str, ...]:
            with contextlib.suppress(PeopleMissing):
                return self.groups_of(name)
            return ()

        with ThreadPoolExecutor(_AT_ONCE) as threads:
            return dict(zip(names, threads.map(ask, names), strict=True))

    def create(self, name: str, email: str = "") -> str:
        """Create a user and return the temporary password, which is kept nowhere else.

        Raises
        ------
        PeopleExist
            There is one already.
        PeopleRefused
            The pool does not take the name, or needs a mail address.
        """
        password = temporary_password()
        attributes: list[Any] = []
        if email:
            attributes = [{"Name": "email", "Value": email}, {"Name": "email_verified", "Value": "true"}]
        with self._answers(name) as api:
            api.admin_create_user(
                UserPoolId=self.settings.pool,
                Username=name,
                TemporaryPassword=password,
                UserAttributes=attributes,
                MessageAction="SUPPRESS",
            )
        return password

    def reset_password(self, name: str) -> str:
        """Give a user a new temporary password and return it."""
        password = temporary_password()
        with self._answers(name) as api:
            api.admin_set_user_password(
                UserPoolId=self.settings.pool, Username=name, Password=password, Permanent=False
            )
        return password

    def enable(self, name: str) -> None:
        """Let a user sign in again."""
        with self._answers(name) as api:
            api.admin_enable_user(UserPoolId=self.settings.pool, Username=name)

    def disable(self, name: str) -> None:
        """Let a user no longer sign in."""
        with self._answers(name) as api:
            api.admin_disable_user(UserPoolId=self.settings.pool, Username=name)

    def sign_out(self, name: str) -> None:
        """End what a user has begun at the pool: the Hub cannot renew her session there any more."""
        with self._answers(name) as api:
            api.admin_user_global_sign_out(UserPoolId=self.settings.pool, Username=name)

    def delete(self, name: str) -> None:
        """Delete a user."""
        with self._answers(name) as api:
            api.admin_delete_user(UserPoolId=self.settings.pool, Username=name)

    # ---- groups

    def groups(self) -> list[Group]:
        """Return every group, by name."""
        with self._answers() as api:
            pages = api.get_paginator("list_groups").paginate(UserPoolId=self.settings.pool)
            found = [Group(one["GroupName"], one.get("Description") or "") for page in pages for one in page["Groups"]]
        return sorted(found, key=lambda group: group.name)

    def members(self, group: str) -> list[Account]:
        """Return the members of a group, by name.

        Raises
        ------
        PeopleMissing
            There is no such group.
        """
        with self._answers(group, "group") as api:
            pages = api.get_paginator("list_users_in_group").paginate(UserPoolId=self.settings.pool, GroupName=group)
            found = [_account(user, user.get("Attributes", ())) for page in pages for user in page["Users"]]
        return sorted(found, key=lambda account: account.name)

    def create_group(self, name: str, description: str = "") -> None:
        """Create a group."""
        more: dict[str, Any] = {"Description": description} if description else {}
        with self._answers(name, "group") as api:
            if any(group.name == name for group in self.groups()):  # not every stand-in minds
                raise PeopleExist(f"There is a group {name!r} already.")
            api.create_group(UserPoolId=self.settings.pool, GroupName=name, **more)

    def delete_group(self, name: str) -> None:
        """Delete a group; its members stay."""
        with self._answers(name, "group") as api:
            api.delete_group(UserPoolId=self.settings.pool, GroupName=name)

    def add(self, name: str, group: str) -> None:
        """Put a user into a group; she may be in it already."""
        with self._answers(name) as api:
            api.admin_add_user_to_group(UserPoolId=self.settings.pool, Username=name, GroupName=group)

    def remove(self, name: str, group: str) -> None:
        """Take a user out of a group; she may be out of it already."""
        with self._answers(name) as api:
            api.admin_remove_user_from_group(UserPoolId=self.settings.pool, Username=name, GroupName=group)

    # ---- the connection

    @contextlib.contextmanager
    def _answers(self, name: str = "", kind: str = "user") -> Iterator[CognitoIdentityProviderClient]:
        """Give a client, and say in words of ours what it raises."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield self._api()
        except ClientError as error:
            raise _in_words(error, name, kind) from None
        except BotoCoreError as error:
            raise PoolUnavailable(
                f"Cognito cannot be asked ({type(error).__name__}).",
                "See whether it can be reached, and whether the gateway's role may use the user pool.",
            ) from None

    def _api(self) -> CognitoIdentityProviderClient:
        # boto3 takes a third of a second to load, which nobody whose accounts are elsewhere need wait for.
        import boto3
        import botocore.config

        with self._lock:
            if self._client is None:
                settings = self.settings
                # A session of its own: the shared one keeps the first credentials that it saw.
                self._client = boto3.Session(
                    aws_access_key_id=settings.access_key,
                    aws_secret_access_key=settings.secret_key,
                    region_name=settings.region,
                ).client(
                    "cognito-idp",
                    endpoint_url=settings.endpoint,
                    config=botocore.config.Config(
                        connect_timeout=5, read_timeout=15, retries={"total_max_attempts": 3, "mode": "standard"}
                    ),
                )
            return self._client

    def close(self) -> None:
        """Close the connections."""
        with self._lock:
            if self._client is not None:
                self._client.close()
                self._client = None


def _account(user: Any, attributes: Iterable[Any], groups: tuple[str, ...] | None = None) -> Account:
    values = {attribute["Name"]: attribute.get("Value", "") for attribute in attributes}
    return Account(
        user["Username"],
        values.get("email", ""),
        bool(user.get("Enabled", True)),
        user.get("UserStatus") == "FORCE_CHANGE_PASSWORD",
        user.get("UserCreateDate"),
        user.get("UserLastModifiedDate"),
        groups,
    )


def _no_user(name: str) -> PeopleMissing:
    return PeopleMissing(f"There is no user {name!r}.")


def _in_words(error: Any, name: str, kind: str) -> PeopleError:
    """Return what Cognito refuses in words of ours; its own may quote what was sent."""
    code = str(error.response.get("Error", {}).get("Code", "")).rpartition("#")[2]
    if code == "UserNotFoundException":
        return _no_user(name)
    if code in ("ResourceNotFoundException", "GroupNotFoundException", "GroupNotFound"):
        return PeopleMissing(f"There is no such group, or no such user pool ({kind} {name!r}).")
    if code in ("UsernameExistsException", "AliasExistsException"):
        return PeopleExist(f"There is a user {name!r} already, or one with the same mail address.")
    if code == "GroupExistsException":
        return PeopleExist(f"There is a group {name!r} already.")
    if code in ("InvalidParameterException", "InvalidPasswordException", "UnsupportedUserStateException"):
        return PeopleRefused(
            f"Cognito does not take this ({code}).",
            "The user pool may ask for a mail address, or for other names; its settings say so.",
        )
    if code in ("AccessDeniedException", "NotAuthorizedException", "UnrecognizedClientException"):
        return PoolUnavailable(
            f"Cognito does not let the gateway do this ({code}).",
            "Its role needs the cognito-idp actions that the hub's README lists, for this user pool.",
        )
    if code in ("TooManyRequestsException", "ThrottlingException", "LimitExceededException"):
        return PoolUnavailable(f"Cognito is asked too often at the moment ({code}).", "Try again in a minute.")
    return PoolUnavailable(f"Cognito failed ({code or 'no code'}).", "Try again; then look at its own pages.")
