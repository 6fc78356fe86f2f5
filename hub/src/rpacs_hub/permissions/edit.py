"""Small changes of the permissions file that leave the rest of it, its comments and its order as they are.

Each takes the whole text and returns the whole new text; nothing is saved here. ruamel.yaml keeps comments, quotes and
order; how the text is indented is found out by trying. A comment right after what is removed goes with it.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq

from rpacs_hub.errors import HubError
from rpacs_hub.permissions.profiles import parse_permissions

__all__ = ["EditError", "give", "remove_profile", "set_profile", "take_away"]

_INDENTS = ((2, 4, 2), (2, 2, 0), (4, 4, 2), (4, 4, 0), (4, 6, 4))
"""Ways to indent: mapping, sequence, offset of the dash."""


class EditError(HubError):
    """A change that does not fit the file."""


def set_profile(
    text: str,
    name: str,
    *,
    description: str = "",
    query: str = "",
    allow: Sequence[str] = (),
    deny: Sequence[str] = (),
    access_reason: str = "",
) -> str:
    """Make a profile, or change the one of that name.

    Parameters
    ----------
    text
        The permissions file.
    name, description, query, access_reason
        What the profile holds from now on; an empty text = the file does not have that key.
    allow, deny
        Patterns of Orthanc's paths.

    Raises
    ------
    EditError
        It has no name.
    PermissionsError
        `text`, or what would come of it, is not valid.
    """
    if not name.strip():
        raise EditError("A profile needs a name.")

    def change(file: CommentedMap) -> None:
        profiles = _section(file, "Profiles", CommentedMap)
        profile = profiles.get(name)
        if not isinstance(profile, CommentedMap):
            profile = profiles[name] = CommentedMap()
        patterns = {key: list(values) for key, values in (("Allow", allow), ("Deny", deny)) if values}
        for key, value in (
            ("Description", description.strip()),
            ("DICOMQueryFilter", query.strip()),
            ("OrthancPathPatterns", patterns),
            ("AccessReason", access_reason.strip()),
        ):
            if not value:
                profile.pop(key, None)
            elif _differs(profile.get(key), value):
                profile[key] = value

    return _changed(text, change)


def remove_profile(text: str, name: str) -> str:
    """Take a profile out of the file, and out of every entry that names it.

    Raises
    ------
    EditError
        There is no such profile.
    PermissionsError
        `text` is not valid.
    """

    def change(file: CommentedMap) -> None:
        profiles = _section(file, "Profiles", CommentedMap)
        if name not in profiles:
            raise EditError(f"There is no profile {name!r}.")
        del profiles[name]
        entries = _section(file, "Permissions", CommentedSeq)
        for number in reversed(range(len(entries))):
            _drop(entries, number, "Profiles", name)

    return _changed(text, change)


def give(text: str, profile: str, *, user: str = "", group: str = "") -> str:
    """Give a profile to a user or a group, who may have it already.

    Raises
    ------
    EditError
        Neither a user nor a group is named, or both are.
    PermissionsError
        `text` is not valid, or there is no such profile.
    """
    key, name = _who(user, group)

    def change(file: CommentedMap) -> None:
        entries = _section(file, "Permissions", CommentedSeq)
        if any(name in _names(entry, key) and profile in _names(entry, "Profiles") for entry in entries):
            return
        for entry in entries:
            if _names(entry, "Profiles") == [profile] and key in entry:
                entry[key] = _with(entry[key], name)
                return
        entries.append(CommentedMap({key: [name], "Profiles": [profile]}))

    return _changed(text, change)


def take_away(text: str, profile: str, *, user: str = "", group: str = "") -> str:
    """Take a profile from a user or a group; nobody else's profiles change.

    Raises
    ------
    EditError
        Neither a user nor a group is named, or both are, or nothing in the file gives the profile to them.
    PermissionsError
        `text` is not valid.
    """
    key, name = _who(user, group)

    def change(file: CommentedMap) -> None:
        entries = _section(file, "Permissions", CommentedSeq)
        found = [n for n, one in enumerate(entries) if name in _names(one, key) and profile in _names(one, "Profiles")]
        if not found:
            raise EditError(f"Nothing gives the profile {profile!r} to {name!r}.")
        for number in reversed(found):
            entry = entries[number]
            kept = [one for one in _names(entry, "Profiles") if one != profile]
            alone = sorted([*_names(entry, "Users"), *_names(entry, "Groups")]) == [name]
            if alone:
                _drop(entries, number, "Profiles", profile)
                continue
            _drop(entries, number, key, name)
            if kept:
                entries.insert(number + 1, CommentedMap({key: [name], "Profiles": kept}))

    return _changed(text, change)


def _changed(text: str, change: Callable[[CommentedMap], None]) -> str:
    parse_permissions(text)  # what is not valid is mended as a text
    yaml = _fitting(text)
    file = yaml.load(text)
    if not isinstance(file, CommentedMap):
        file = CommentedMap()
    before = _dump(yaml, file)
    change(file)
    after = _dump(yaml, file)
    result = text if after == before else after
    parse_permissions(result)
    return result


def _fitting(text: str) -> YAML:
    """Return a reader and writer that would give the text back as it is, if there is one."""
    for indent in _INDENTS:
        yaml = _yaml(*indent)
        if _dump(yaml, yaml.load(text)) == text:
            return yaml
    return _yaml(*_INDENTS[0])


def _yaml(mapping: int, sequence: int, offset: int) -> YAML:
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 10_000  # long queries stay on one line
    yaml.indent(mapping=mapping, sequence=sequence, offset=offset)
    return yaml


def _dump(yaml: YAML, file: Any) -> str:
    buffer = io.StringIO()
    yaml.dump(file, buffer)
    return buffer.getvalue()


def _section(file: CommentedMap, name: str, kind: type[Any]) -> Any:
    if file.get(name) is None:
        file[name] = kind()
    return file[name]


def _who(user: str, group: str) -> tuple[str, str]:
    user, group = user.strip(), group.strip()
    if bool(user) == bool(group):
        raise EditError("Say for which user or for which group.")
    return ("Users", user) if user else ("Groups", group)


def _names(entry: Any, key: str) -> list[str]:
    value = entry.get(key)
    return [] if value is None else [str(one) for one in value] if isinstance(value, list) else [str(value)]


def _with(value: Any, name: str) -> Any:
    if isinstance(value, list):
        value.append(name)
        return value
    return [name] if value is None else [value, name]


def _drop(entries: CommentedSeq, number: int, key: str, name: str) -> None:
    """Take a name out of an entry, and the entry away where it says nothing any more."""
    entry = entries[number]
    if name not in _names(entry, key):
        return
    value = entry[key]
    if isinstance(value, list):
        for place in reversed([n for n, one in enumerate(value) if str(one) == name]):
            del value[place]
    if not isinstance(value, list) or not value:
        del entry[key]
    if not _names(entry, "Profiles") or not (_names(entry, "Users") or _names(entry, "Groups")):
        del entries[number]


def _differs(old: Any, new: Any) -> bool:
    if isinstance(new, dict):
        have = {key: _names(old, key) for key in ("Allow", "Deny")} if isinstance(old, dict) else {}
        return {key: value for key, value in have.items() if value} != new
    return bool(str(old).strip() != new) if old is not None else True
