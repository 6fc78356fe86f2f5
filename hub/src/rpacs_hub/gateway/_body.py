"""The body of a request as it comes, piece by piece: a slow reader slows the sender."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

__all__ = ["BodyStream"]

_WAITING = 4  # pieces of at most 64 kB, which is what tornado reads at once


class BodyStream:
    """Takes pieces on one side and yields them on the other.

    Attributes
    ----------
    ended
        Whether the sender has sent all of it.
    """

    def __init__(self) -> None:
        self._pieces: asyncio.Queue[bytes | None] = asyncio.Queue(_WAITING)
        self._done = asyncio.Event()
        self.ended = False
        self._read = False

    async def put(self, piece: bytes | None) -> None:
        """Take a piece, None at the end; return when there is room, or when nobody reads any more."""
        if piece is None:
            self.ended = True
        putting = asyncio.ensure_future(self._pieces.put(piece))
        done = asyncio.ensure_future(self._done.wait())
        await asyncio.wait({putting, done}, return_when=asyncio.FIRST_COMPLETED)
        putting.cancel()
        done.cancel()

    def close(self) -> None:
        """Drop what still comes."""
        self._done.set()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the pieces."""
        while not self._read:
            piece = await self._pieces.get()
            if piece is None:
                self._read = True
            else:
                yield piece

    async def drop(self) -> None:
        """Read the rest without keeping it."""
        if self._done.is_set():
            return
        async for _ in self:
            pass
