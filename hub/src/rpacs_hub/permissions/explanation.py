"""Why somebody sees an instance, a series or a study, or does not: the same decision as everywhere, in words."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import dicom_query
from dicom_query import Condition, Not, Operator, QueryTooLargeError, TagPath, TextPattern
from rpacs_hub.index import Index, IndexedInstance, Level, Search, Visible
from rpacs_hub.permissions._words import come_by, difference, shown
from rpacs_hub.permissions.decide import Action, Actor, Instance, decide, held_profiles, visible_to
from rpacs_hub.permissions.profiles import Permissions, Profile

__all__ = ["LEVELS", "Explanation", "ProfileSays", "explain"]

LEVELS = {
    Level.INSTANCE: "SOPInstanceUID",
    Level.SERIES: "SeriesInstanceUID",
    Level.STUDY: "StudyInstanceUID",
}
"""What can be explained, and the element that names it."""

_LONGEST_UID = 128


@dataclass(frozen=True)
class ProfileSays:
    """What one profile says about it.

    Attributes
    ----------
    profile
        Its name; empty where no profile is held.
    users, groups
        By what it is held.
    instances
        How many instances it shows.
    text
        The sentence.
    """

    profile: str
    users: tuple[str, ...]
    groups: tuple[str, ...]
    instances: int
    text: str

    @property
    def allows(self) -> bool:
        """Whether it shows anything of it."""
        return self.instances > 0


@dataclass(frozen=True)
class Explanation:
    """The answer.

    Attributes
    ----------
    uid, level
        Of what.
    instances
        How many of its instances are seen.
    total
        How many it has; the same as `instances` for the person who asks, who must not learn of others.
    reasons
        What each profile says, those that show something first.
    """

    uid: str
    level: Level
    instances: int
    total: int
    reasons: tuple[ProfileSays, ...]

    @property
    def allowed(self) -> bool:
        """Whether any of it is seen."""
        return self.instances > 0

    def words(self, who: str | None = None) -> str:
        """Return the explanation in words, one line for each profile.

        Parameters
        ----------
        who
            Of whom it speaks; None = it speaks to the person herself.
        """
        subject = f"{who} {'sees' if self.allowed else 'does not see'}" if who else "You see"
        if self.level is Level.INSTANCE:
            count = ""
        elif self.instances < self.total:
            count = f" {self.instances} of {_instances(self.total)} of"
        else:
            count = f" {_instances(self.total)} of" if who is None else f" all {_instances(self.total)} of"
        if not self.allowed:
            count = ""
        head = f"{subject}{count} this {self.level}{':' if self.allowed else ', as no profile matches:'}"
        return "\n".join([head, *(f"- {reason.text}" for reason in self.reasons)])


async def explain(
    index: Index,
    permissions: Permissions,
    actor: Actor,
    uid: str,
    levels: Iterable[Level] = tuple(LEVELS),
    *,
    everything: bool = False,
) -> Explanation | None:
    """Explain why somebody sees something.

    Parameters
    ----------
    index
        The index.
    permissions
        The permissions file in force.
    actor
        Whose sight it is about.
    uid
        SOPInstanceUID, SeriesInstanceUID or StudyInstanceUID.
    levels
        What it may be.
    everything
        Explain also what `actor` does not see. Only for administrators: it tells what exists.

    Returns
    -------
    Explanation or None
        None where there is no such thing, and, unless `everything`, where nothing of it is seen.

    Raises
    ------
    SearchTooSlow, DatabaseUnavailable
        As `Index.search`.
    """
    if not 0 < len(uid) <= _LONGEST_UID:
        return None
    visible = visible_to(permissions, actor)
    world = Visible.everything() if everything else visible
    for level in levels:
        named = Condition(TagPath.parse(LEVELS[level]), Operator.STR_IN, (TextPattern.literal(uid),))
        total = await index.count(named, Level.INSTANCE, world)
        if not total:
            continue
        seen = await index.count(named, Level.INSTANCE, visible) if everything else total
        reasons = [
            await _says(index, permissions, actor, name, named, world, total)
            for name in held_profiles(permissions, actor)
        ]
        reasons.sort(key=lambda reason: not reason.allows)
        if not reasons:
            (nothing,) = decide(permissions, actor, Action.EXPLAIN, Instance(uid, {})).reasons
            reasons = [ProfileSays("", (), (), 0, nothing.text)]
        return Explanation(uid, level, seen, total, tuple(reasons))
    return None


async def _says(
    index: Index,
    permissions: Permissions,
    actor: Actor,
    name: str,
    named: Condition,
    world: Visible,
    total: int,
) -> ProfileSays:
    """Return what one profile says about the instances of `world` that are named."""
    profile = permissions.profiles[name]
    users, groups = held_profiles(permissions, actor)[name]
    who = f"{name}, {come_by(users, groups)}"
    if profile.filter is None:
        return ProfileSays(name, users, groups, total, f"{who}: shows {shown(profile)}.")
    count = await index.count(named, Level.INSTANCE, Visible((profile.filter,)))
    if count >= total:
        these = "this one does" if total == 1 else f"all {total} here do"
        return ProfileSays(name, users, groups, count, f"{who}: shows {shown(profile)}, as {these}.")
    subject = "this one" if total == 1 else "one of them" if not count else "one that it does not show"
    lacking = "its filter is too large to say more"
    if (other := await _other(index, profile, named, world)) is not None:
        lacking = difference(profile.filter, other.document, subject)
    of = f" shows {count} of {total} here; it" if count else ""
    return ProfileSays(name, users, groups, count, f"{who}:{of} {lacking}.")


async def _other(index: Index, profile: Profile, named: Condition, world: Visible) -> IndexedInstance | None:
    """Return an instance of `world` that is named and that the profile does not show."""
    assert profile.filter is not None
    try:
        query = dicom_query.all_of([named, Not(profile.filter)])
    except QueryTooLargeError:
        return None
    page = await index.search(Search(query, Level.INSTANCE, ("SOPInstanceUID",), limit=1), world)
    for row in page.rows:
        for instance in await index.instances(str(row["SOPInstanceUID"])):
            if dicom_query.evaluate_document(query, instance.document) and (
                world.filters is None or any(dicom_query.evaluate_document(f, instance.document) for f in world.filters)
            ):
                return instance
    return None


def _instances(number: int) -> str:
    return f"{number} instance{'' if number == 1 else 's'}"
