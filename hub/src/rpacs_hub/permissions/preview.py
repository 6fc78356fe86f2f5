"""What a change of the permissions would do, before it is made: for whom, and how many studies come and go."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rpacs_hub.errors import DatabaseUnavailable, SearchError
from rpacs_hub.index import Index, Overlap, Visible
from rpacs_hub.permissions.changes import changes, holders, paths_of
from rpacs_hub.permissions.decide import Actor, held_profiles, visible_to
from rpacs_hub.permissions.profiles import Permissions

__all__ = ["Effect", "Preview", "Subject", "preview", "subjects_of"]

SECONDS = 15.0
"""How long may be counted. What took longer is said to be uncounted; nothing is estimated."""


@dataclass(frozen=True)
class Subject:
    """Whom something is said about.

    Attributes
    ----------
    name
        Of the person or the group.
    groups
        Groups that a person is in.
    is_group
        Whether it is a group: what its members hold through it alone.
    """

    name: str
    groups: frozenset[str] = frozenset()
    is_group: bool = False

    @property
    def actor(self) -> Actor:
        """Who asks, for the decision."""
        return Actor("", frozenset({self.name})) if self.is_group else Actor(self.name, self.groups)


@dataclass(frozen=True)
class Effect:
    """What changes for one person or group.

    Attributes
    ----------
    subject
        For whom.
    before, after
        Names of the profiles held.
    overlap
        How much she sees before and after; None where it was not counted.
    uncounted
        Why not.
    words
        What changes besides: paths of Orthanc, reasons asked for.
    """

    subject: Subject
    before: tuple[str, ...]
    after: tuple[str, ...]
    overlap: Overlap | None
    uncounted: str = ""
    words: tuple[str, ...] = ()

    @property
    def summary(self) -> str:
        """In a few words, such as ``+3 studies for nora``."""
        name = f"group {self.subject.name}" if self.subject.is_group else self.subject.name
        if self.overlap is None:
            return f"not counted for {name}: {self.uncounted}"
        added, removed = self.overlap.added, self.overlap.removed
        parts = [
            f"{sign}{number} {noun if number == 1 else plural}"
            for noun, plural, plus, minus in (
                ("study", "studies", added.studies, removed.studies),
                ("image", "images", added.instances, removed.instances),
            )
            for sign, number in (("+", plus), ("−", minus))  # noqa: RUF001 - a minus as people read it
            if number
        ]
        return f"{', '.join(parts) or 'as many images as before'} for {name}"


@dataclass(frozen=True)
class Preview:
    """What a change would do.

    Attributes
    ----------
    changes
        What is different in profiles and in who holds them, one sentence each.
    effects
        For whom it makes a difference; people first, then groups.
    unchanged
        Number of people and groups for whom it makes none.
    """

    changes: tuple[str, ...]
    effects: tuple[Effect, ...]
    unchanged: int


def subjects_of(old: Permissions, new: Permissions, people: Iterable[Actor]) -> tuple[Subject, ...]:
    """Return whom a change may concern: people, users whom the files name, and all their groups."""
    known = {actor.name: Subject(actor.name, actor.groups) for actor in people}
    groups = {group for subject in known.values() for group in subject.groups}
    for permissions in (old, new):
        by_user, by_group = holders(permissions)
        groups.update(by_group)
        for name in by_user:
            known.setdefault(name, Subject(name))
    return (
        *(known[name] for name in sorted(known)),
        *(Subject(name, is_group=True) for name in sorted(groups)),
    )


async def preview(
    index: Index, old: Permissions, new: Permissions, people: Sequence[Actor], *, seconds: float = SECONDS
) -> Preview:
    """Reckon what a change would do.

    Parameters
    ----------
    index
        The index; its figures are exact, and those of one person are of one moment.
    old, new
        The permissions in force, and those to come.
    people
        Everybody on the Hub, with groups.
    seconds
        How long may be counted. Who holds the same profiles as somebody else is counted once.

    Returns
    -------
    Preview
        Where the index cannot be asked, that is said instead of figures: a permission can be withdrawn without it.
    """
    until = time.monotonic() + seconds
    counted: dict[tuple[object, object], Overlap | str] = {}
    effects = []
    subjects = subjects_of(old, new, people)
    for subject in subjects:
        actor = subject.actor
        before, after = visible_to(old, actor), visible_to(new, actor)
        words = tuple(_besides(old, new, actor))
        key = (_as_set(before), _as_set(after))
        if key[0] == key[1] and not words:
            continue
        if key not in counted:
            counted[key] = await _count(index, before, after, until)
        found = counted[key]
        held = tuple(held_profiles(old, actor)), tuple(held_profiles(new, actor))
        if isinstance(found, str):
            effects.append(Effect(subject, *held, None, found, words))
        else:
            effects.append(Effect(subject, *held, found, "", words))
    return Preview(changes(old, new), tuple(effects), len(subjects) - len(effects))


async def _count(index: Index, before: Visible, after: Visible, until: float) -> Overlap | str:
    left = until - time.monotonic()
    if left <= 0:
        return "counting for others took all the time there was"
    try:
        async with asyncio.timeout(left):
            return await index.overlap(before, after)
    except TimeoutError:
        return "counting takes too long"
    except (SearchError, DatabaseUnavailable) as error:
        return error.message


def _as_set(visible: Visible) -> frozenset[object] | None:
    return None if visible.filters is None else frozenset(visible.filters)


def _besides(old: Permissions, new: Permissions, actor: Actor) -> Iterable[str]:
    before, after = ([one.profiles[name] for name in held_profiles(one, actor)] for one in (old, new))
    opened = [{paths_of(profile): None for profile in held if profile.allow} for held in (before, after)]
    asked = [{profile.access_reason: None for profile in held if profile.access_reason} for held in (before, after)]
    for verb, (had, has) in (("may use paths of Orthanc", opened), ("is asked for a reason", asked)):
        for text in has:
            if text not in had:
                yield f"{verb}: {text}"
        for text in had:
            if text not in has:
                yield f"no longer {verb}: {text}"
