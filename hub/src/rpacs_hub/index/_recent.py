"""What the blocks held that instances were read from last: somebody who scrolls asks for their neighbours next."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from rpacs_hub.index._rows import BlockContents

__all__ = ["RecentBlocks"]

_INSTANCES = 16_384


class RecentBlocks:
    """Contents of blocks in memory, the least recently used first out.

    Nothing of it can be stale: a document says what is in one stored file, and Orthanc gives each file that it stores a
    name of its own, ``file_uuid``. Which file is where is read anew each time; what was kept counts only for the same
    file at the same place.

    Parameters
    ----------
    instances
        How many instances the kept blocks may have together.
    """

    def __init__(self, instances: int = _INSTANCES):
        self._capacity = instances
        self._held = 0
        self._blocks: OrderedDict[int, tuple[BlockContents, Mapping[int, bytes]]] = OrderedDict()

    def document(self, block: int, place: int, file_uuid: bytes, sop_uid: str) -> dict[str, Any] | None:
        """Return the document of the file at a place; None where that file's block is not kept."""
        kept = self._blocks.get(block)
        if kept is None or kept[1].get(place) != file_uuid:
            return None
        self._blocks.move_to_end(block)
        return kept[0].document(place, sop_uid)

    def keep(self, block: int, contents: BlockContents, files: Mapping[int, bytes]) -> None:
        """Keep a block with the ``file_uuid`` at each of its places, all as one state of the index had them."""
        if block in self._blocks:
            self._held -= len(self._blocks.pop(block)[1])
        self._blocks[block] = contents, files
        self._held += len(files)
        while self._held > self._capacity:
            self._held -= len(self._blocks.popitem(last=False)[1][1])
