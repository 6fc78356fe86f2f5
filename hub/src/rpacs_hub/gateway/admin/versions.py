"""The versions of the permissions: what was in force, by whom and why, how two differ, and the way back."""

from __future__ import annotations

from rpacs_hub.errors import DatabaseUnavailable, HubError, PermissionsError, PermissionsNotSaved
from rpacs_hub.gateway._exchange import ApiError, Reply
from rpacs_hub.gateway.admin import _permissions_text as editor
from rpacs_hub.gateway.admin._page import AdminCall, get, page, post, redirect
from rpacs_hub.permissions import Action, Version, difference_of, parse_permissions

__all__ = ["ROUTES", "newest"]

_SHOWN = 200


async def newest(call: AdminCall) -> Version | None:
    """Return the version in force, None where the database does not tell."""
    store = call.services.permissions
    try:
        found = await store.versions.newest(store.name)
    except DatabaseUnavailable:
        return None
    return found if found is not None and found.digest == store.current.digest else None


async def show(call: AdminCall) -> Reply:
    """List the versions, newest first."""
    return page(
        call,
        "versions.html",
        title="Versions of the permissions",
        versions=await call.services.permissions.versions.list(_SHOWN),
        digest=call.services.permissions.current.digest,
        most=_SHOWN,
    )


async def show_one(call: AdminCall) -> Reply:
    """Show the text of a version."""
    found = await _version(call, call.path["number"])
    return page(
        call,
        "version.html",
        title=f"Version {found.number} of the permissions",
        version=found,
        lines=found.text.splitlines(),
        in_force=found.digest == call.services.permissions.current.digest,
        expected=call.services.permissions.state.found_digest,
    )


async def show_difference(call: AdminCall) -> Reply:
    """Show in which lines two versions differ; without a second one, a version and what is in force."""
    old = await _version(call, call.arguments.get("old", ""))
    if second := call.arguments.get("new"):
        new = await _version(call, second)
        text, name = new.text, f"version {new.number}"
    else:
        text, name = call.services.permissions.state.text, "in force"
    return page(
        call,
        "difference.html",
        title=f"From version {old.number} to {'what is in force' if name == 'in force' else name}",
        lines=difference_of(old.text, text, f"version {old.number}", name),
    )


async def preview(call: AdminCall) -> Reply:
    """Show what going back to a version would do."""
    old = _still_valid(await _version(call, call.path["number"]))
    return await editor.preview_page(call, old.text, call.form.get("expected", ""), version=old.number)


async def roll_back(call: AdminCall) -> Reply:
    """Put a version in force again."""
    old = _still_valid(await _version(call, call.path["number"]))
    store, expected = call.services.permissions, call.form.get("expected", "")
    await call.begin(Action.CHANGE_PERMISSIONS, f"back to version {old.number}")
    call.event.reason = call.form.get("why", "")[:500]
    try:
        made = await store.roll_back(old.number, expected=expected, who=call.actor.name, why=call.form.get("why", ""))
    except HubError as error:
        if isinstance(error, PermissionsNotSaved) and error.code == "changed_meanwhile":
            store.refresh()
            expected = store.state.found_digest
        again = await editor.preview_page(call, old.text, expected, complaint=error, version=old.number)
        return editor.refused(call, error, again)
    call.event.identifiers = [made.digest]
    return redirect(call, "profiles", message=f"Version {made.number} is in force: {made.why}")


async def _version(call: AdminCall, number: str) -> Version:
    found = (
        await call.services.permissions.versions.get(int(number)) if number.isdecimal() and len(number) < 16 else None
    )
    if found is None:
        raise ApiError(404, "not_found", "There is no such version.", "See the list of versions.")
    return found


def _still_valid(version: Version) -> Version:
    """Return a version if this release of the product still understands it."""
    try:
        parse_permissions(version.text)
    except PermissionsError as error:
        raise ApiError(
            409, "version_invalid", f"Version {version.number} is not valid any more: {error}", "Edit the text instead."
        ) from None
    return version


ROUTES = (
    get("profiles/versions", show),
    get("profiles/versions/{number}", show_one),
    get("profiles/difference", show_difference),
    post("profiles/versions/{number}", preview, Action.ADMIN_VIEW),
    post("profiles/versions/{number}/back", roll_back, Action.CHANGE_PERMISSIONS),
)
