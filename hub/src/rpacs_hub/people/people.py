"""What an administrator does with people: in the user pool and in the Hub at once.

An action goes on where one side fails: that somebody is locked out of the pool must not wait for the Hub. What was done
and what was not stands in the `Outcome`; doing the same again does the rest and no harm.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial

from rpacs_hub.errors import HubError
from rpacs_hub.people.cognito import Account, Group, UserPool
from rpacs_hub.people.errors import NoUserPool, PeopleMissing, PeopleRefused
from rpacs_hub.people.hub import HubUser, HubUsers
from rpacs_hub.people.names import check_email, check_group_name, check_user_name

__all__ = ["Outcome", "People", "Person"]

_AT_ONCE = 8

# Two administrators who take each other's rights away at the same moment would leave none.
_ONE_AT_A_TIME = threading.Lock()


@dataclass(frozen=True)
class Person:
    """One person, as both sides know her.

    Attributes
    ----------
    name
        Her user name.
    account
        In the user pool; None where there is no pool, or she is not in it.
    hub
        In the Hub; None where she has never signed in, or the Hub does not answer.
    """

    name: str
    account: Account | None
    hub: HubUser | None

    @property
    def groups(self) -> tuple[str, ...]:
        """Her groups: the pool's where they are known, else the Hub's."""
        if self.account is not None and self.account.groups is not None:
            return self.account.groups
        return self.hub.groups if self.hub is not None else ()


@dataclass
class Outcome:
    """What an action did.

    Attributes
    ----------
    done
        Sentences.
    failed
        Sentences about what could not be done, with what to do; empty when all is well.
    password
        A temporary password, to be shown once.
    """

    done: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    password: str = field(default="", repr=False)

    @property
    def text(self) -> str:
        """All of it."""
        again = ["Do the same again when that is mended: what was done stays done."] if self.failed else []
        return " ".join([*self.done, *self.failed, *again])

    def attempt(self, what: Callable[[], object], done: str, failed: str) -> bool:
        """Do one step and note what came of it; return whether it worked."""
        try:
            what()
        except HubError as error:
            self.failed.append(f"{failed}: {error.message} {error.hint}".rstrip())
            return False
        if done:
            self.done.append(done)
        return True


class People:
    """The users and groups, for one administrator.

    Its methods wait for the network: call them from a thread.

    Parameters
    ----------
    pool
        The user pool; None = accounts are managed elsewhere, and only the Hub's side is here.
    hub
        The Hub's users, as the administrator may see and change them; None = the Hub's side is not reachable.
    admin_group
        Group of the administrators.
    acting
        Who acts; empty for somebody at the machine itself.
    """

    def __init__(self, pool: UserPool | None, hub: HubUsers | None, admin_group: str, acting: str = ""):
        self.pool = pool
        self.hub = hub
        self._admin_group = admin_group
        self._acting = acting

    # ---- looking

    def person(self, name: str) -> Person:
        """Return one person.

        Raises
        ------
        PeopleMissing
            Neither side knows her.
        """
        account: Account | None = None
        if self.pool is not None:
            try:
                account = self.pool.user(name)
            except PeopleMissing:
                account = None
        hub = self.hub.user(name) if self.hub is not None else None
        if account is None and hub is None:
            raise PeopleMissing(f"There is no user {name!r}.")
        return Person(name, account, hub)

    def some(self, search: str = "", page: str = "") -> tuple[list[Person], str]:
        """Return a page of people.

        Parameters
        ----------
        search
            How the user name begins (or the mail address, where it holds an ``@``).
        page
            Where the last answer ended.

        Returns
        -------
        tuple
            People, and where the next page begins; empty at the end.
        """
        if self.pool is None:
            found = self.hub.users() if self.hub is not None else []
            return [Person(user.name, None, user) for user in found if user.name.startswith(search)], ""
        accounts, further = self.pool.users(search, page)
        groups = self.pool.groups_of_each([account.name for account in accounts])
        known = {user.name: user for user in self.hub.users()} if self.hub is not None else {}
        return [
            Person(one.name, replace(one, groups=groups[one.name]), known.get(one.name)) for one in accounts
        ], further

    # ---- users

    def create(self, name: str, email: str = "", groups: Iterable[str] = ()) -> Outcome:
        """Create a user with a temporary password, and put her into groups.

        Raises
        ------
        PeopleError
            Nothing was done.
        """
        pool = self._need_pool()
        check_user_name(name)
        check_email(email)
        outcome = Outcome(password=pool.create(name, email))
        outcome.done.append(f"{name} was created.")
        for group in dict.fromkeys(groups):
            outcome.attempt(partial(pool.add, name, group), f"She is in {group}.", f"She could not be put into {group}")
        return outcome

    def disable(self, name: str) -> Outcome:
        """Lock somebody out: no sign-in, no renewal, no server, no token. Her files stay.

        Raises
        ------
        PeopleError
            Nothing was done.
        """
        pool = self._need_pool()
        with _ONE_AT_A_TIME:
            self._not_me(name, "disable")
            self._not_the_last_admin(name)
            pool.disable(name)
        outcome = Outcome([f"{name} can no longer sign in."])
        outcome.attempt(lambda: pool.sign_out(name), "", "What she had begun at Cognito could not be ended")
        self._remove_from_hub(name, outcome)
        return outcome

    def enable(self, name: str) -> Outcome:
        """Let somebody sign in again."""
        self._need_pool().enable(name)
        return Outcome([f"{name} can sign in again."])

    def reset_password(self, name: str) -> Outcome:
        """Give somebody a new temporary password.

        Raises
        ------
        PeopleError
            Nothing was done.
        """
        pool = self._need_pool()
        self._not_me(name, "reset the password of")
        outcome = Outcome([f"{name} has a new temporary password."], password=pool.reset_password(name))
        outcome.attempt(lambda: pool.sign_out(name), "", "What she had begun at Cognito could not be ended")
        return outcome

    def delete(self, name: str) -> Outcome:
        """Delete somebody from the pool and the Hub. Her files, exports and audit lines stay.

        Raises
        ------
        PeopleError
            Nothing was done.
        """
        outcome = Outcome()
        with _ONE_AT_A_TIME:
            self._not_me(name, "delete")
            if self.pool is not None:
                self._not_the_last_admin(name)
                try:
                    self.pool.delete(name)
                    outcome.done.append(f"{name} was deleted.")
                except PeopleMissing:
                    # What an earlier attempt left is the Hub's side.
                    if self.hub is None or self.hub.user(name) is None:
                        raise
        self._remove_from_hub(name, outcome)
        return outcome

    def stop_server(self, name: str) -> Outcome:
        """Stop somebody's server."""
        was_running = self._need_hub().stop_server(name)
        return Outcome([f"The server of {name} was stopped." if was_running else f"No server of {name} is running."])

    # ---- groups

    def create_group(self, name: str, description: str = "") -> Outcome:
        """Create a group."""
        self._need_pool().create_group(check_group_name(name), description.strip()[:2048])
        return Outcome([f"The group {name} was created."])

    def delete_group(self, name: str) -> Outcome:
        """Delete a group.

        Raises
        ------
        PeopleError
            Nothing was done.
        """
        if name == self._admin_group:
            raise PeopleRefused(f"{name} is the administrators' group.", "It cannot be deleted here.")
        self._need_pool().delete_group(name)
        return Outcome([f"The group {name} was deleted."])

    def add(self, name: str, group: str) -> Outcome:
        """Put somebody into a group."""
        self._need_pool().add(name, group)
        return Outcome(
            [f"{name} is in {group}.", "It counts from the next time her session is renewed, in a minute or so."]
        )

    def remove(self, name: str, group: str) -> Outcome:
        """Take somebody out of a group.

        Raises
        ------
        PeopleError
            Nothing was done.
        """
        pool = self._need_pool()
        with _ONE_AT_A_TIME:
            if group == self._admin_group:
                self._not_me(name, "take the administrator's rights from")
                self._not_the_last_admin(name)
            pool.remove(name, group)
        return Outcome([f"{name} is no longer in {group}."])

    def groups(self) -> list[Group]:
        """Return every group, by name."""
        return self._need_pool().groups()

    def members(self, group: str) -> list[Person]:
        """Return the members of a group, by name: the pool's where there is one, else those whom the Hub knows.

        Raises
        ------
        PeopleMissing
            There is no such group.
        """
        if self.pool is not None:
            return [Person(one.name, one, None) for one in self.pool.members(group)]
        found = {known.name: members for known, members in self.groups_with_members()}
        if group not in found:
            raise PeopleMissing(f"Nobody whom the Hub knows is in a group {group!r}.")
        return found[group]

    def group(self, name: str) -> tuple[Group, list[Person]]:
        """Return one group and its members.

        Raises
        ------
        PeopleMissing
            There is no such group.
        """
        members = self.members(name)
        found = self.pool.groups() if self.pool is not None else []
        return next((group for group in found if group.name == name), Group(name)), members

    def groups_with_members(self) -> list[tuple[Group, list[Person]]]:
        """Return every group with its members, by name."""
        if self.pool is None:
            by_name: dict[str, list[Person]] = {}
            for user in self.hub.users() if self.hub is not None else ():
                for group in user.groups:
                    by_name.setdefault(group, []).append(Person(user.name, None, user))
            return [(Group(name), by_name[name]) for name in sorted(by_name)]
        groups = self.pool.groups()
        with ThreadPoolExecutor(_AT_ONCE) as threads:
            return list(zip(groups, threads.map(self.members, [group.name for group in groups]), strict=True))

    # ---- rails

    def _not_me(self, name: str, what: str) -> None:
        if name == self._acting:
            raise PeopleRefused(f"You cannot {what} yourself.", "Ask another administrator.")

    def _not_the_last_admin(self, name: str) -> None:
        try:
            members = self._need_pool().members(self._admin_group)
        except PeopleMissing:  # then nobody has that right by the pool
            return
        others = [one.name for one in members if one.enabled and one.name != name]
        if not others and any(one.name == name for one in members):
            raise PeopleRefused(
                f"{name} is the last administrator who can sign in.",
                f"Put somebody else into {self._admin_group} first.",
            )

    def _need_pool(self) -> UserPool:
        if self.pool is None:
            raise NoUserPool(
                "Accounts and groups are not managed here.", "Do it at the identity provider by which people sign in."
            )
        return self.pool

    def _need_hub(self) -> HubUsers:
        if self.hub is None:
            raise PeopleRefused(
                "This needs the Hub.", "Set RPACS_HUB_API_URL, and RPACS_HUB_API_TOKEN to an administrator's token."
            )
        return self.hub

    def _remove_from_hub(self, name: str, outcome: Outcome) -> None:
        if self.hub is None:
            outcome.failed.append(
                "The Hub was not asked, so what she has open there works until her session is renewed (a minute or so)."
            )
            return
        hub = self.hub
        outcome.attempt(
            lambda: hub.remove(name),
            "Her server and every session and token of hers at the Hub ended.",
            "What she has open at the Hub could not be ended",
        )
