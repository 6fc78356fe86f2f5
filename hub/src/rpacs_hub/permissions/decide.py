"""Who may do what: the one decision behind enforcement, the audit line and the answer to "why can't I see this?"."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import dicom_query
from rpacs_hub.index.visible import Visible
from rpacs_hub.permissions._words import come_by, difference, shown
from rpacs_hub.permissions.profiles import Permissions, Profile

__all__ = [
    "Action",
    "Actor",
    "Collection",
    "Decision",
    "Instance",
    "OrthancPath",
    "Reason",
    "decide",
    "held_profiles",
    "missing_reason",
    "visible_to",
]


_SHORTEST_REASON = 3  # "x" is none


class Action(enum.StrEnum):
    """What somebody wants to do; also the name that the audit line carries."""

    ME = "me"
    SEARCH = "search"
    COUNT = "count"
    READ_TAGS = "read_tags"
    READ_FILE = "read_file"
    READ_FRAME = "read_frame"
    EXPORT = "export"
    LIST_EXPORTS = "list_exports"
    READ_EXPORT = "read_export"
    CANCEL_EXPORT = "cancel_export"
    RESUME_EXPORT = "resume_export"
    MAKE_ADDRESS = "make_address"
    LIST_ADDRESSES = "list_addresses"
    REVOKE_ADDRESS = "revoke_address"
    FACETS = "facets"
    QUERY_HELP = "query_help"
    EXPLAIN = "explain"
    ORTHANC = "orthanc"
    OPEN_EXPLORER = "open_explorer"
    SIGN_IN = "sign_in"
    ADMIN_VIEW = "admin_view"
    CHANGE_PERMISSIONS = "change_permissions"
    ADMIN_SEARCH_AUDIT = "admin_search_audit"
    ADMIN_VERIFY_AUDIT = "admin_verify_audit"
    ADMIN_LIST_EXPORTS = "admin_list_exports"
    ADMIN_CANCEL_EXPORT = "admin_cancel_export"
    ADMIN_LOOK_AT_QUARANTINE = "admin_look_at_quarantine"
    ADMIN_RETRY_QUARANTINE = "admin_retry_quarantine"
    ADMIN_DISCARD_QUARANTINE = "admin_discard_quarantine"
    CREATE_USER = "create_user"
    ENABLE_USER = "enable_user"
    DISABLE_USER = "disable_user"
    DELETE_USER = "delete_user"
    RESET_PASSWORD = "reset_password"  # noqa: S105 - the name of an action
    STOP_SERVER = "stop_server"
    CREATE_GROUP = "create_group"
    DELETE_GROUP = "delete_group"
    ADD_TO_GROUP = "add_to_group"
    REMOVE_FROM_GROUP = "remove_from_group"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Actor:
    """A Hub user at the moment of the request.

    Attributes
    ----------
    name
        The Hub's user name.
    groups
        Groups of the Hub.
    admin
        Administrators see no more images than their profiles show.
    """

    name: str
    groups: frozenset[str] = frozenset()
    admin: bool = False


@dataclass(frozen=True)
class Instance:
    """One instance: its index document (`dicom_query.index_document`) decides."""

    sop_uid: str
    document: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True)
class Collection:
    """Whatever matches a search: the rows themselves are filtered by `visible_to`."""


@dataclass(frozen=True)
class OrthancPath:
    """A request to Orthanc's own API.

    Attributes
    ----------
    verb
        The HTTP method.
    path
        As `normalised_path` returns it; None = whether any path at all is open.
    """

    verb: str
    path: str | None


@dataclass(frozen=True)
class Reason:
    """One sentence of a decision.

    Attributes
    ----------
    profile
        The profile that speaks; empty when none does.
    allows
        Whether it speaks for the action.
    text
        The sentence.
    """

    profile: str
    allows: bool
    text: str


@dataclass(frozen=True)
class Decision:
    """The answer and why.

    Attributes
    ----------
    allowed
        Whether the action may go on.
    reasons
        At least one, those that allow first.
    """

    allowed: bool
    reasons: tuple[Reason, ...]

    @property
    def profiles(self) -> tuple[str, ...]:
        """Names of the profiles that allow it."""
        return tuple(reason.profile for reason in self.reasons if reason.allows and reason.profile)


def held_profiles(permissions: Permissions, actor: Actor) -> dict[str, tuple[tuple[str, ...], tuple[str, ...]]]:
    """Return the profiles that somebody holds, in the file's order, with the users and groups they come by.

    Returns
    -------
    dict
        Profile name -> (user names, group names).
    """
    users: dict[str, set[str]] = {}
    groups: dict[str, set[str]] = {}
    for grant in permissions.grants:
        by_user = {actor.name} & grant.users
        by_group = actor.groups & grant.groups
        if by_user or by_group:
            for name in grant.profiles:
                users.setdefault(name, set()).update(by_user)
                groups.setdefault(name, set()).update(by_group)
    return {
        name: (tuple(sorted(users[name])), tuple(sorted(groups[name])))
        for name in permissions.profiles
        if name in users
    }


def decide(
    permissions: Permissions, actor: Actor, action: Action, resource: Instance | Collection | OrthancPath
) -> Decision:
    """Decide whether somebody may do something.

    Profiles add up: one that shows the instance, or opens the path, is enough. No profile = nothing. Within a profile
    ``Deny`` beats ``Allow``.

    Parameters
    ----------
    permissions
        The permissions file in force.
    actor, action, resource
        Who, what, with what. Today every profile allows every action on what it shows.

    Returns
    -------
    Decision
        With one reason for each profile that was asked.
    """
    held = held_profiles(permissions, actor)
    if not held:
        return Decision(False, (Reason("", False, "No profile is held, so nothing is shown."),))
    reasons = []
    for name, (users, groups) in held.items():
        profile = permissions.profiles[name]
        who = f"{name}, {come_by(users, groups)}"
        if isinstance(resource, OrthancPath):
            allows, text = _opens(profile, resource)
            reasons.append(Reason(name, allows, f"{who}: {text}."))
        elif isinstance(resource, Collection):
            reasons.append(Reason(name, True, f"{who}: shows {shown(profile)}; only such rows are used for {action}."))
        elif profile.filter is None:
            reasons.append(Reason(name, True, f"{who}: shows {shown(profile)}."))
        elif dicom_query.evaluate_document(profile.filter, resource.document):
            reasons.append(Reason(name, True, f"{who}: shows {shown(profile)}, as this one does."))
        else:
            reasons.append(Reason(name, False, f"{who}: {difference(profile.filter, resource.document)}."))
    reasons.sort(key=lambda reason: not reason.allows)
    return Decision(reasons[0].allows, tuple(reasons))


def _opens(profile: Profile, asked: OrthancPath) -> tuple[bool, str]:
    if not profile.allow:
        return False, "opens no paths of Orthanc"
    if asked.path is None:
        return True, "opens paths of Orthanc"
    denies = next((one for one in profile.deny if one.denies(asked.verb, asked.path)), None)
    if denies is not None:
        return False, f"denies {denies}"
    allows = next((one for one in profile.allow if one.allows(asked.verb, asked.path)), None)
    return allows is not None, f"allows {allows}" if allows else "allows no such request"


def missing_reason(permissions: Permissions, actor: Actor, given: str | None) -> Decision | None:
    """Decide whether somebody must first say why the images are needed.

    Parameters
    ----------
    permissions, actor
        The permissions file in force, and who asks.
    given
        The reason that came with the request.

    Returns
    -------
    Decision or None
        A refusal with one reason for each profile that asks; None if none does, or if a reason was given.
    """
    if len((given or "").strip()) >= _SHORTEST_REASON:
        return None
    asking = [
        Reason(name, False, f"{name} asks for a reason: {permissions.profiles[name].access_reason}.")
        for name in held_profiles(permissions, actor)
        if permissions.profiles[name].access_reason
    ]
    return Decision(False, tuple(asking)) if asking else None


def visible_to(permissions: Permissions, actor: Actor) -> Visible:
    """Return what holds exactly for the instances that `decide` allows, for the methods of `rpacs_hub.index.Index`.

    Somebody without a profile sees nothing.
    """
    filters = []
    for name in held_profiles(permissions, actor):
        query = permissions.profiles[name].filter
        if query is None:
            return Visible.everything()
        filters.append(query)
    return Visible(tuple(filters))
