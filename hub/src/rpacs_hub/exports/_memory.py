"""A limit on the bytes that all exports of the process hold at one time."""

from __future__ import annotations

import asyncio
from collections import deque


class MemoryBudget:
    """Hands out bytes in the order in which they were asked for.

    Whoever asks for more than the whole budget gets it when nobody else holds anything: large files go one by one.

    Parameters
    ----------
    limit
        Bytes.
    """

    def __init__(self, limit: int):
        self._limit = limit
        self._used = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @property
    def used(self) -> int:
        """Bytes handed out at present."""
        return self._used

    async def take(self, size: int) -> None:
        """Wait until `size` bytes are free, and take them."""
        if not self._waiting and self._fits(size):
            self._used += size
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((size, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give(size)
            else:
                self._waiting.remove((size, turn))
                self._wake()
            raise

    def swap(self, old: int, new: int) -> None:
        """Correct a guess: hold `new` bytes instead of `old`, at once, even if that is more than there are."""
        self._used += new - old
        self._wake()

    def give(self, size: int) -> None:
        """Return `size` bytes."""
        self.swap(size, 0)

    def _fits(self, size: int) -> bool:
        return self._used == 0 or self._used + size <= self._limit

    def _wake(self) -> None:
        while self._waiting and self._fits(self._waiting[0][0]):
            size, turn = self._waiting.popleft()
            if turn.cancelled():
                continue
            self._used += size
            turn.set_result(None)
