"""The profiles: who may see what, and how an administrator changes that, with a preview before anything is saved."""

from __future__ import annotations

from dataclasses import dataclass

from rpacs_hub.errors import DatabaseUnavailable, HubError, PermissionsError, PermissionsNotSaved, SearchError
from rpacs_hub.gateway._exchange import ApiError, Reply
from rpacs_hub.gateway.admin import _permissions_text as editor
from rpacs_hub.gateway.admin import versions
from rpacs_hub.gateway.admin._page import AdminCall, NavEntry, get, page, post, redirect, required
from rpacs_hub.index import Level, Visible
from rpacs_hub.permissions import Action, Profile, held_profiles, parse_permissions
from rpacs_hub.permissions.changes import holders, paths_of, sight
from rpacs_hub.permissions.edit import EditError, give, remove_profile, set_profile, take_away

__all__ = ["NAV", "ROUTES"]

NAV = NavEntry("Profiles", "profiles")


@dataclass(frozen=True)
class Row:
    """A profile as the list shows it.

    Attributes
    ----------
    profile
        The profile itself.
    shows, paths
        What it shows and which paths of Orthanc it opens, in words.
    users, groups
        Who holds it.
    studies
        Number of studies it shows; None where that cannot be counted.
    """

    profile: Profile
    shows: str
    paths: str
    users: tuple[str, ...]
    groups: tuple[str, ...]
    studies: int | None


async def show(call: AdminCall) -> Reply:
    """List the profiles in force."""
    state = call.services.permissions.state
    users, groups = holders(state.permissions)
    rows = [
        _row(profile, users, groups, await _studies(call, profile)) for profile in state.permissions.profiles.values()
    ]
    return page(
        call,
        "profiles.html",
        title="Profiles",
        rows=rows,
        state=state,
        problems=state.error.problems if state.error else (),
        newest=await versions.newest(call),
        name=call.services.permissions.name,
    )


async def show_one(call: AdminCall) -> Reply:
    """Show the form of one profile, or an empty one for a new profile."""
    permissions = call.services.permissions.current
    name = call.arguments.get("name", "")
    profile = permissions.profiles.get(name)
    if name and profile is None:
        raise ApiError(404, "not_found", "There is no such profile (any more).", "Go back to the list.")
    users, groups = holders(permissions)
    try:
        people = await call.services.authenticator.everybody(call.token) if profile else ()
    except HubError:
        people = None
    return page(
        call,
        "profile.html",
        people=people and sorted(one.name for one in people if name in held_profiles(permissions, one)),
        title=f"Profile {name}" if name else "New profile",
        row=_row(profile, users, groups, None) if profile else None,
        profile=profile or Profile(""),
        expected=call.services.permissions.state.found_digest,
        broken=call.services.permissions.state.error is not None,
        known=sorted({group for grant in permissions.grants for group in grant.groups}),
    )


async def change_one(call: AdminCall) -> Reply:
    """Show what a change of one profile would do."""
    state = call.services.permissions.state
    if state.error is not None:
        raise ApiError(
            409, "file_broken", "The permissions file has errors, which must be mended first.", "Open Edit the text."
        )
    form, name = call.form, required(call, "name", "The name")
    what = form.get("what", "")
    try:
        if what == "set":
            text = set_profile(
                state.text,
                name,
                description=form.get("description", ""),
                query=" ".join(form.get("query", "").split()),
                allow=_lines(form.get("allow", "")),
                deny=_lines(form.get("deny", "")),
                access_reason=form.get("access_reason", ""),
            )
        elif what == "give":
            text = give(state.text, name, user=form.get("user", ""), group=form.get("group", ""))
        elif what == "take":
            text = take_away(state.text, name, user=form.get("user", ""), group=form.get("group", ""))
        elif what == "remove":
            text = remove_profile(state.text, name)
        else:
            raise ApiError(400, "request_invalid", "The form does not say what to do.", "Go back and try again.")
    except EditError as error:
        raise ApiError(400, "change_invalid", error.message, error.hint or "Go back and try again.") from None
    except PermissionsError as error:
        words = "; ".join(f"{problem.message} {problem.hint}".strip() for problem in error.problems)
        raise ApiError(400, "change_invalid", words, "Go back and correct it.") from None
    return await editor.preview_page(call, text, form.get("expected", ""))


async def edit(call: AdminCall) -> Reply:
    """Show the text, to be changed."""
    state = call.services.permissions.state
    text = state.text if state.found is None else state.found.decode("utf-8-sig", "replace")
    return editor.edit_page(call, text, state.found_digest, state.error if state.found is not None else None)


async def edit_again(call: AdminCall) -> Reply:
    """Show a text that was previewed once more."""
    return editor.edit_page(call, editor.text_of(call), call.form.get("expected", ""), None)


async def preview(call: AdminCall) -> Reply:
    """Show what a new text would do, or what is wrong with it."""
    text, expected = editor.text_of(call), call.form.get("expected", "")
    try:
        parse_permissions(text)
    except PermissionsError as error:
        call.event.why = ["The text is not valid; nothing was saved."]
        return editor.edit_page(call, text, expected, error)
    return await editor.preview_page(call, text, expected)


async def save(call: AdminCall) -> Reply:
    """Put a new text in force."""
    text, expected = editor.text_of(call), call.form.get("expected", "")
    store = call.services.permissions
    try:
        parse_permissions(text)
    except PermissionsError as error:
        return editor.refused(call, error, editor.edit_page(call, text, expected, error))
    await call.begin(Action.CHANGE_PERMISSIONS, store.name)
    call.event.reason = call.form.get("why", "")[:500]
    try:
        made = await store.save(text, expected=expected, who=call.actor.name, why=call.form.get("why", ""))
    except PermissionsNotSaved as error:
        if error.code == "changed_meanwhile":
            store.refresh()
            return editor.refused(call, error, editor.conflict_page(call, text, store.state.found_digest))
        return editor.refused(call, error, await editor.preview_page(call, text, expected, complaint=error))
    except HubError as error:
        return editor.refused(call, error, await editor.preview_page(call, text, expected, complaint=error))
    call.event.identifiers = [made.digest]
    return redirect(call, "profiles", message=f"Version {made.number} is in force: {made.why}")


def _row(profile: Profile, users: dict[str, list[str]], groups: dict[str, list[str]], studies: int | None) -> Row:
    by_user, by_group = (tuple(who for who, held in found.items() if profile.name in held) for found in (users, groups))
    return Row(profile, sight(profile), paths_of(profile), by_user, by_group, studies)


async def _studies(call: AdminCall, profile: Profile) -> int | None:
    try:
        return await call.services.index.count(profile.filter, Level.STUDY, Visible.everything())
    except (SearchError, DatabaseUnavailable):
        return None


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


ROUTES = (
    get("profiles", show),
    get("profiles/one", show_one),
    post("profiles/one", change_one, Action.ADMIN_VIEW),
    get("profiles/edit", edit),
    post("profiles/edit", edit_again, Action.ADMIN_VIEW),
    post("profiles/preview", preview, Action.ADMIN_VIEW),
    post("profiles/save", save, Action.CHANGE_PERMISSIONS),
    *versions.ROUTES,
)
