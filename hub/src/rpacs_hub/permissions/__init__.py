"""Who may see what: the permissions file, the decision and its SQL form."""

from rpacs_hub.permissions.decide import (
    Action,
    Actor,
    Collection,
    Decision,
    Instance,
    OrthancPath,
    Reason,
    decide,
    held_profiles,
    missing_reason,
    visible_to,
)
from rpacs_hub.permissions.explanation import Explanation, ProfileSays, explain
from rpacs_hub.permissions.paths import PathPattern, normalised_path, overrides_method
from rpacs_hub.permissions.profiles import NOBODY, Grant, Permissions, Profile, parse_permissions
from rpacs_hub.permissions.store import PermissionsStore
from rpacs_hub.permissions.versions import Version, Versions, difference_of
from rpacs_hub.permissions.watch import PermissionsFile, PermissionsState, load_permissions

__all__ = [
    "NOBODY",
    "Action",
    "Actor",
    "Collection",
    "Decision",
    "Explanation",
    "Grant",
    "Instance",
    "OrthancPath",
    "PathPattern",
    "Permissions",
    "PermissionsFile",
    "PermissionsState",
    "PermissionsStore",
    "Profile",
    "ProfileSays",
    "Reason",
    "Version",
    "Versions",
    "decide",
    "difference_of",
    "explain",
    "held_profiles",
    "load_permissions",
    "missing_reason",
    "normalised_path",
    "overrides_method",
    "parse_permissions",
    "visible_to",
]
