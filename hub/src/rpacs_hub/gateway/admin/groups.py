"""Groups: who is in which, and what each gives."""

from __future__ import annotations

from rpacs_hub.gateway._exchange import Reply
from rpacs_hub.gateway.admin._page import AdminCall, NavEntry, confirm, get, page, post, quoted, required
from rpacs_hub.gateway.admin._people import people, told
from rpacs_hub.gateway.admin.users import change_group
from rpacs_hub.people import PeopleError
from rpacs_hub.permissions import Action

__all__ = ["NAV", "ROUTES"]

NAV = NavEntry("Groups", "groups")


async def groups(call: AdminCall) -> Reply:
    """Show every group."""
    return await _list(call)


async def _list(call: AdminCall, *, wrong: str = "", status: int = 200) -> Reply:
    async with people(call) as side:
        found = await side.do(side.room.groups_with_members)
    given = profiles_of_groups(call)
    return page(
        call,
        "groups.html",
        title="Groups",
        status=status,
        found=found,
        given=given,
        unknown=sorted(set(given) - {group.name for group, _ in found}),
        managed_here=call.services.user_pool is not None,
        accounts_at=call.services.settings.people.accounts_at,
        admin_group=call.services.settings.admin_group,
        wrong=wrong,
        form=call.form,
    )


async def group(call: AdminCall) -> Reply:
    """Show one group with its members."""
    name = call.path["name"]
    call.event.subject = name
    async with people(call) as side:
        found, members = await side.do(side.room.group, name)
    permissions = call.services.permissions.current
    return page(
        call,
        "group.html",
        title=name,
        group=found,
        members=members,
        profiles=[permissions.profiles[profile] for profile in profiles_of_groups(call).get(name, ())],
        managed_here=call.services.user_pool is not None,
        admin_group=call.services.settings.admin_group,
    )


async def create(call: AdminCall) -> Reply:
    """Create a group."""
    name = call.form.get("name", "")
    async with people(call) as side:
        await call.begin(Action.CREATE_GROUP, name[:100])
        try:
            outcome = await side.do(side.room.create_group, name, call.form.get("description", ""))
        except PeopleError as error:
            call.event.decision, call.event.why = "denied", [error.message]
            return await _list(call, wrong=f"{error.message} {error.hint}".rstrip(), status=error.status)
    return told(call, f"groups/{quoted(name)}", outcome)


async def delete(call: AdminCall) -> Reply:
    """Delete a group."""
    name = call.path["name"]
    if not call.confirmed:
        given = profiles_of_groups(call).get(name, ())
        gives = f" It gives {', '.join(given)}: its members lose what only this group showed them." if given else ""
        return confirm(
            call,
            f"Delete the group {name}?",
            text=f"Its members stay users.{gives} Entries for it in the permissions file stay as they are, and count "
            "again when a group of this name is made.",
            button="Delete the group",
            back=f"groups/{quoted(name)}",
        )
    async with people(call) as side:
        await call.begin(Action.DELETE_GROUP, name)
        members = await side.do(side.room.members, name)
        outcome = await side.do(side.room.delete_group, name)
        for member in members:
            call.services.authenticator.withdraw(member.name, name)
            await side.addresses_end(member.name, outcome)
    return told(call, "groups", outcome)


async def add(call: AdminCall) -> Reply:
    """Put a user into the group."""
    name = required(call, "user", "The user name")
    return await change_group(call, name, call.path["name"], joins=True, back=f"groups/{quoted(call.path['name'])}")


async def remove(call: AdminCall) -> Reply:
    """Take a user out of the group."""
    name = required(call, "user", "The user name")
    return await change_group(call, name, call.path["name"], joins=False, back=f"groups/{quoted(call.path['name'])}")


def profiles_of_groups(call: AdminCall) -> dict[str, tuple[str, ...]]:
    """Return the profiles that each group of the permissions file gives."""
    given: dict[str, dict[str, None]] = {}
    for grant in call.services.permissions.current.grants:
        for name in grant.groups:
            given.setdefault(name, {}).update(dict.fromkeys(grant.profiles))
    return {name: tuple(profiles) for name, profiles in given.items()}


ROUTES = (
    get("groups", groups),
    post("groups", create, Action.CREATE_GROUP),
    get("groups/{name}", group),
    post("groups/{name}/delete", delete, Action.DELETE_GROUP),
    post("groups/{name}/add", add, Action.ADD_TO_GROUP),
    post("groups/{name}/remove", remove, Action.REMOVE_FROM_GROUP),
)
