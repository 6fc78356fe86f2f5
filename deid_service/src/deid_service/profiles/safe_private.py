"""Private elements that are known not to identify anybody (PS3.15 E.3.10)."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from deid_service.profiles.table import read_table

__all__ = ["safe_private_elements", "safe_vr"]

# Free text and bytes of unknown layout stay safe only as long as no vendor puts something else into them: those are
# kept from the standard's own list, not from what others have reviewed.
_OPEN: Final = frozenset({"LT", "OB", "OD", "OF", "OL", "OV", "OW", "PN", "ST", "UC", "UN", "UR", "UT"})


@lru_cache(maxsize=1)
def safe_private_elements() -> dict[tuple[str, int, int], str]:
    """Return the safe private elements; read once.

    Returns
    -------
    dict
        (private creator, group, element within its block) to value representation.
    """
    _, rows = read_table("safe_private.tsv")
    return {
        (creator, int(group, 16), int(element, 16)): vr
        for creator, group, element, vr, origin in rows
        if origin == "standard" or vr not in _OPEN
    }


def safe_vr(tag: int, creator: str | None) -> str | None:
    """Tell as what a private element is safe.

    Parameters
    ----------
    tag : int
        32-bit tag of an odd group.
    creator : str or None
        Private creator of its block.

    Returns
    -------
    str or None
        Its value representation; None if it is not known to be safe.
    """
    if creator is None or tag & 0xFFFF < 0x1000:
        return None
    return safe_private_elements().get((creator.strip(), tag >> 16, tag & 0xFF))
