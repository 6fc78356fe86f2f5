"""Why the user sees something, in words."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Explanation", "Reason"]


@dataclass(frozen=True)
class Reason:
    """What one profile of the user says.

    Attributes
    ----------
    profile : str
        Its name.
    users, groups : tuple of str
        By what the user holds it.
    instances : int
        How many of the instances it shows; 0 = none.
    text : str
        The sentence.
    """

    profile: str
    users: tuple[str, ...]
    groups: tuple[str, ...]
    instances: int
    text: str

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> Reason:
        """Return the reason that an entry of the gateway's answer stands for."""
        via = answer.get("via") or {}
        return cls(
            profile=str(answer["profile"]),
            users=tuple(str(user) for user in via.get("users") or ()),
            groups=tuple(str(group) for group in via.get("groups") or ()),
            instances=int(answer["instances"]),
            text=str(answer["text"]),
        )


@dataclass(frozen=True, repr=False)
class Explanation:
    """Why the user sees an instance, a series or a study. Printed, it says so in words.

    Attributes
    ----------
    uid : str
        What was asked about.
    level : str
        ``instance``, ``series`` or ``study``.
    instances : int
        How many instances of it the user sees.
    reasons : tuple of Reason
        What each profile of the user says, those that show something first.
    text : str
        All of it in words.
    """

    uid: str
    level: str
    instances: int
    reasons: tuple[Reason, ...]
    text: str

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> Explanation:
        """Return the explanation that the gateway's answer stands for."""
        return cls(
            uid=str(answer["uid"]),
            level=str(answer["level"]),
            instances=int(answer["instances"]),
            reasons=tuple(Reason.of(reason) for reason in answer.get("reasons") or ()),
            text=str(answer["text"]),
        )

    def __str__(self) -> str:
        return self.text

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return "<div style='white-space: pre-wrap'>" + html.escape(self.text) + "</div>"
