"""Who the user is and what the user may see, in words."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Me", "Profile"]


@dataclass(frozen=True)
class Profile:
    """A set of images that somebody may see.

    Attributes
    ----------
    name, description : str
        As the administrator wrote them.
    filter : str
        The query that an image must match; empty for every image.
    why : str
        How the user comes to have it, in words.
    access_reason : str
        What must be given as the reason for access; empty if nothing need be.
    """

    name: str
    description: str
    filter: str
    why: str
    access_reason: str = ""

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> Profile:
        """Return the profile that an entry of the gateway's answer stands for."""
        via = answer.get("via") or {}
        groups, users = list(via.get("groups") or ()), list(via.get("users") or ())
        reasons = []
        if groups:
            words = ["everybody" if g == "*" else str(g) for g in groups]
            reasons.append(f"through your group{'s' if len(groups) > 1 else ''} {', '.join(words)}")
        if users:
            reasons.append("given to everybody" if "*" in users else "given to you by name")
        return cls(
            name=str(answer.get("name") or ""),
            description=str(answer.get("description") or ""),
            filter=str(answer.get("filter") or ""),
            why=" and ".join(reasons),
            access_reason=str(answer.get("access_reason") or ""),
        )

    @property
    def sees(self) -> str:
        """What the profile shows, in words."""
        return f"images where {self.filter}" if self.filter else "every image"


@dataclass(frozen=True)
class Me:
    """The user, as the gateway knows her.

    Attributes
    ----------
    name : str
        Name on the hub.
    groups : tuple of str
        Groups on the hub.
    admin : bool
        Whether the user is an admin of the hub. An admin sees images through profiles too.
    profiles : tuple of Profile
        What the user may see; these add up. Empty: nothing.
    limits : mapping
        The gateway's limits, as it names them.
    """

    name: str
    groups: tuple[str, ...] = ()
    admin: bool = False
    profiles: tuple[Profile, ...] = ()
    limits: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> Me:
        """Return the user that the gateway's answer stands for."""
        return cls(
            name=str(answer["name"]),
            groups=tuple(str(g) for g in answer.get("groups") or ()),
            admin=bool(answer.get("admin")),
            profiles=tuple(Profile.of(p) for p in answer.get("profiles") or ()),
            limits=dict(answer.get("limits") or {}),
        )

    def __str__(self) -> str:
        groups = f"Groups: {', '.join(self.groups)}." if self.groups else "In no group."
        lines = [f"{self.name}. {groups}"]
        if not self.profiles:
            lines.append("No profile yet, so no images: ask your administrator to give you one.")
        for profile in self.profiles:
            described = f" ({profile.description})" if profile.description else ""
            why = f", {profile.why}" if profile.why else ""
            lines.append(f"- {profile.name}{described}: {profile.sees}{why}.")
            if profile.access_reason:
                lines.append(f"  It asks for a reason: {profile.access_reason}. Give it by rpacs.connect(reason=...).")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        return "<div style='white-space: pre-wrap'>" + html.escape(str(self)) + "</div>"
