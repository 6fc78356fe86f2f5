"""What a change of the permissions file changes, in words: profiles, and who holds them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import dicom_query
from rpacs_hub.permissions._words import come_by
from rpacs_hub.permissions.paths import PathPattern
from rpacs_hub.permissions.profiles import Permissions, Profile

__all__ = ["changes", "come_by", "holders", "paths_of", "sight"]


def sight(profile: Profile) -> str:
    """Return what a profile shows, such as ``images where Modality is "CT"``; unlike an answer, never shortened."""
    return "every image" if profile.filter is None else f"images where {dicom_query.explain(profile.filter)}"


def paths_of(profile: Profile) -> str:
    """Return which paths of Orthanc a profile opens: ``ANY /** but not DELETE /**``; empty if none."""
    if not profile.allow:
        return ""
    denied = f" but not {_listed(profile.deny)}" if profile.deny else ""
    return f"{_listed(profile.allow)}{denied}"


def holders(permissions: Permissions) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Return who holds which profiles: by user name and by group name, each in the file's order of profiles."""
    users: dict[str, set[str]] = {}
    groups: dict[str, set[str]] = {}
    for grant in permissions.grants:
        for names, found in ((grant.users, users), (grant.groups, groups)):
            for name in names:
                found.setdefault(name, set()).update(grant.profiles)
    return _in_order(users, permissions), _in_order(groups, permissions)


def changes(old: Permissions, new: Permissions) -> tuple[str, ...]:
    """Return what is different, one sentence each; none if nobody could notice."""
    words = [f"The profile {name!r} is gone." for name in old.profiles if name not in new.profiles]
    for name, profile in new.profiles.items():
        if name not in old.profiles:
            words.append(f"There is a new profile {name!r}: {_whole(profile)}.")
        else:
            words += [f"The profile {name!r} {what}." for what in _profile(old.profiles[name], profile)]
    for kind, before, after in zip(("User", "Group"), holders(old), holders(new), strict=True):
        for name in sorted({*before, *after}):
            had, has = before.get(name, []), after.get(name, [])
            gained = [profile for profile in has if profile not in had]
            lost = [profile for profile in had if profile not in has]
            if gained:
                words.append(f"{kind} {name!r} gets {_profiles(gained)}.")
            if lost:
                words.append(f"{kind} {name!r} no longer has {_profiles(lost)}.")
    return tuple(words)


def _profile(old: Profile, new: Profile) -> Iterable[str]:
    if old.filter != new.filter:
        yield f"shows {sight(new)}; until now it showed {sight(old)}"
    for verb, before, after in (("opens", old.allow, new.allow), ("closes", old.deny, new.deny)):
        if added := [one for one in after if one not in before]:
            yield f"also {verb} paths of Orthanc: {_listed(added)}"
        if gone := [one for one in before if one not in after]:
            yield f"no longer {verb} paths of Orthanc: {_listed(gone)}"
    if old.access_reason != new.access_reason:
        if not new.access_reason:
            yield "no longer asks for a reason"
        elif not old.access_reason:
            yield f"asks for a reason from now on: {new.access_reason}"
        else:
            yield f"asks for another reason: {new.access_reason}; until now: {old.access_reason}"
    if old.description != new.description:
        yield f"is described as {new.description!r}" if new.description else "has no description any more"


def _whole(profile: Profile) -> str:
    parts = [f"it shows {sight(profile)}"]
    if opened := paths_of(profile):
        parts.append(f"opens paths of Orthanc: {opened}")
    if profile.access_reason:
        parts.append(f"asks for a reason: {profile.access_reason}")
    return ", ".join(parts)


def _in_order(found: dict[str, set[str]], permissions: Permissions) -> dict[str, list[str]]:
    return {who: [name for name in permissions.profiles if name in held] for who, held in sorted(found.items())}


def _profiles(names: Sequence[str]) -> str:
    quoted = ", ".join(repr(name) for name in names)
    return f"the profile{'s' if len(names) > 1 else ''} {quoted}"


def _listed(patterns: Iterable[PathPattern]) -> str:
    return ", ".join(map(str, patterns))
