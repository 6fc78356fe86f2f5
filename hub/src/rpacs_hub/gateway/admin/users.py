"""Users: who there is, what each may see, and everything that is done with an account."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rpacs_hub.gateway._exchange import Reply
from rpacs_hub.gateway.admin._page import AdminCall, NavEntry, confirm, get, page, post, quoted, required
from rpacs_hub.gateway.admin._people import held, last_requests, note, people, seen, told
from rpacs_hub.people import Outcome, People, PeopleError, Person
from rpacs_hub.permissions import Action

__all__ = ["NAV", "ROUTES"]

NAV = NavEntry("Users", "users")


async def users(call: AdminCall) -> Reply:
    """Show a page of users."""
    search, further = call.arguments.get("search", ""), call.arguments.get("page", "")
    async with people(call) as side:
        found, following = await side.do(side.room.some, search, further)
    call.event.count = len(found)
    return page(
        call,
        "users.html",
        title="Users",
        found=found,
        search=search,
        first=not further,
        following=following,
        last=await last_requests(call, [person.name for person in found]),
        managed_here=call.services.user_pool is not None,
        accounts_at=call.services.settings.people.accounts_at,
    )


async def user(call: AdminCall) -> Reply:
    """Show one user."""
    name = call.path["name"]
    call.event.subject = name
    async with people(call) as side:
        person = await side.do(side.room.person, name)
        groups = await side.do(side.room.groups) if side.room.pool is not None else []
    return await _shown(call, person, [group.name for group in groups])


async def _shown(call: AdminCall, person: Person, groups: list[str]) -> Reply:
    permissions = call.services.permissions.current
    return page(
        call,
        "user.html",
        title=person.name,
        person=person,
        joinable=[group for group in groups if group not in person.groups],
        profiles=held(permissions, person.name, person.groups),
        seen=await seen(call, person.name, person.groups),
        last=(await last_requests(call, [person.name])).get(person.name),
        managed_here=call.services.user_pool is not None,
        accounts_at=call.services.settings.people.accounts_at,
        admin_group=call.services.settings.admin_group,
        own=person.name == call.actor.name,
    )


async def new_user(call: AdminCall) -> Reply:
    """Show the form for a new user."""
    async with people(call) as side:
        groups = await side.do(side.room.groups)
    return page(call, "new_user.html", title="New user", groups=groups, wrong="", form={}, chosen=())


async def create(call: AdminCall) -> Reply:
    """Create a user and show her temporary password, this once."""
    name, groups = call.form.get("name", ""), call.form_lists.get("group", ())
    async with people(call) as side:
        await call.begin(Action.CREATE_USER, name[:100])
        try:
            outcome = await side.do(side.room.create, name, call.form.get("email", ""), groups)
        except PeopleError as error:
            # What was typed stays in the form.
            call.event.decision, call.event.why = "denied", [error.message]
            known = await side.do(side.room.groups)
            wrong = f"{error.message} {error.hint}".rstrip()
            values = {"groups": known, "wrong": wrong, "form": call.form, "chosen": groups}
            return page(call, "new_user.html", title="New user", status=error.status, **values)
    note(call, outcome)
    return _password(call, name, outcome)


def _password(call: AdminCall, name: str, outcome: Outcome) -> Reply:
    return page(call, "password.html", title=name, name=name, outcome=outcome, address=_hub_address(call))


@dataclass(frozen=True)
class _Question:
    """What is asked before something is done; ``{name}`` stands for whom it is about."""

    heading: str
    text: str
    button: str


@dataclass(frozen=True)
class _Deed:
    """What can be done with an account: asked about first, written down, and only then done.

    Attributes
    ----------
    action
        As what it is written down.
    do
        What does it.
    question
        What is asked first; None where it harms nobody.
    locks_out
        Whether what the gateway remembers of the person ends, too.
    back
        The page that says what was done.
    password
        Whether a password comes of it, which that request's own answer shows.
    """

    action: Action
    do: Callable[[People, str], Outcome]
    question: _Question | None = None
    locks_out: bool = False
    back: str = "users/{name}"
    password: bool = False

    async def __call__(self, call: AdminCall) -> Reply:
        """Answer the form."""
        name = call.path["name"]
        own_page = f"users/{quoted(name)}"
        if self.question is not None and not call.confirmed:
            heading, button = self.question.heading.format(name=name), self.question.button
            return confirm(call, heading, text=self.question.text.format(name=name), button=button, back=own_page)
        async with people(call) as side:
            await call.begin(self.action, name)
            outcome = await side.do(self.do, side.room, name)
            if self.locks_out:
                await side.locked_out(name, outcome)
        if self.password:
            note(call, outcome)
            return _password(call, name, outcome)
        return told(call, self.back.format(name=quoted(name)), outcome)


_DEEDS = {
    "disable": _Deed(
        Action.DISABLE_USER,
        People.disable,
        _Question(
            "Disable {name}?",
            "{name} can no longer sign in. The server stops, unsaved work in it is lost, every session and token "
            "and every personal viewer address ends. Files and exports stay, and the account can be enabled again.",
            "Disable",
        ),
        locks_out=True,
    ),
    "enable": _Deed(Action.ENABLE_USER, People.enable),
    "delete": _Deed(
        Action.DELETE_USER,
        People.delete,
        _Question(
            "Delete {name}?",
            "The account of {name} goes, and cannot be brought back. The server stops. Files, exports and lines "
            "of the audit stay. Whoever is given this user name later finds those files: do not give it to anybody "
            "else. To lock somebody out, disable the account instead.",
            "Delete",
        ),
        locks_out=True,
        back="users",
    ),
    "reset-password": _Deed(
        Action.RESET_PASSWORD,
        People.reset_password,
        _Question(
            "Give {name} a new temporary password?",
            "The old password no longer works. At the next sign-in the temporary one must be replaced.",
            "Make a new password",
        ),
        password=True,
    ),
    "stop-server": _Deed(
        Action.STOP_SERVER,
        People.stop_server,
        _Question(
            "Stop the server of {name}?",
            "What is computed there ends, and unsaved work is lost. Files stay; the server can be started again.",
            "Stop the server",
        ),
    ),
}
"""By the last part of the address."""


async def join(call: AdminCall) -> Reply:
    """Put a user into a group."""
    return await change_group(call, call.path["name"], required(call, "group", "The group"), joins=True)


async def leave(call: AdminCall) -> Reply:
    """Take a user out of a group."""
    return await change_group(call, call.path["name"], required(call, "group", "The group"), joins=False)


async def change_group(call: AdminCall, name: str, group: str, *, joins: bool, back: str = "") -> Reply:
    """Put somebody into a group, or take her out, and go back to her page or another one."""
    authenticator = call.services.authenticator
    back = back or f"users/{quoted(name)}"
    if not joins and not call.confirmed:
        return confirm(
            call,
            f"Take {name} out of {group}?",
            text="What this group shows is shown to her no longer, at once. Her personal viewer addresses end.",
            button="Take out",
            back=back,
        )
    if joins and group == call.services.settings.admin_group and not call.confirmed:
        return confirm(
            call,
            f"Make {name} an administrator?",
            text="Administrators manage people and permissions, and may read the whole audit.",
            button="Make administrator",
            back=back,
            danger=False,
        )
    async with people(call) as side:
        await call.begin(Action.ADD_TO_GROUP if joins else Action.REMOVE_FROM_GROUP, f"{name}: {group}")
        outcome = await side.do(side.room.add if joins else side.room.remove, name, group)
        if joins:
            authenticator.restore(name, group)
        else:
            authenticator.withdraw(name, group)
            await side.addresses_end(name, outcome)
    return told(call, back, outcome)


def _hub_address(call: AdminCall) -> str:
    """Return the address at which people sign in."""
    public = call.services.settings.public_url
    prefix = call.services.settings.service_prefix
    return public.removesuffix(prefix) + "/" if public.endswith(prefix) else call.services.settings.hub_path


ROUTES = (
    get("users", users),
    get("users/{name}", user),
    *(post(f"users/{{name}}/{what}", deed, deed.action) for what, deed in _DEEDS.items()),
    post("users/{name}/join", join, Action.ADD_TO_GROUP),
    post("users/{name}/leave", leave, Action.REMOVE_FROM_GROUP),
    get("new-user", new_user),
    post("new-user", create, Action.CREATE_USER),
)
