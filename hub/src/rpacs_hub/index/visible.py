"""What somebody may see, in the form in which the index takes it."""

from __future__ import annotations

from dataclasses import dataclass

import dicom_query

__all__ = ["Overlap", "Seen", "Visible"]


@dataclass(frozen=True)
class Visible:
    """The instances that match at least one of some queries.

    Attributes
    ----------
    filters
        The queries; none of them = nothing is visible, None instead of them = everything is.
    """

    filters: tuple[dicom_query.Node, ...] | None = ()

    @classmethod
    def everything(cls) -> Visible:
        """Return what shows every instance."""
        return cls(None)

    @classmethod
    def nothing(cls) -> Visible:
        """Return what shows none."""
        return cls(())

    def __or__(self, other: Visible) -> Visible:
        """Return what shows everything that one of the two shows."""
        if self.filters is None or other.filters is None:
            return Visible(None)
        return Visible(tuple(dict.fromkeys((*self.filters, *other.filters))))


@dataclass(frozen=True)
class Seen:
    """How much is visible.

    Attributes
    ----------
    studies, instances
        Studies with at least one visible instance, and visible instances.
    """

    studies: int
    instances: int


@dataclass(frozen=True)
class Overlap:
    """How much is visible before and after a change, at one and the same state of the index.

    Attributes
    ----------
    before, after
        How much is visible.
    either
        How much is visible before or after.
    """

    before: Seen
    after: Seen
    either: Seen

    @property
    def added(self) -> Seen:
        """What is visible after and was not before."""
        return Seen(self.either.studies - self.before.studies, self.either.instances - self.before.instances)

    @property
    def removed(self) -> Seen:
        """What was visible before and is not after."""
        return Seen(self.either.studies - self.after.studies, self.either.instances - self.after.instances)
