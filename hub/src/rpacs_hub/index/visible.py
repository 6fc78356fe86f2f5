"""What somebody may see, in the form in which the index takes it."""

from __future__ import annotations

from dataclasses import dataclass

import dicom_query

__all__ = ["Visible"]


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
