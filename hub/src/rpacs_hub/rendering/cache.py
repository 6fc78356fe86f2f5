"""Decoded images in memory, so that a slice slider does not fetch and decode the same file again and again."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Generic, TypeVar

import pydicom

from rpacs_hub.rendering.picture import PictureFormat, Viewport, encode
from rpacs_hub.rendering.pixels import Array, decode_frame, read_dataset

__all__ = ["ByteCache", "Renderer"]

K = TypeVar("K")
V = TypeVar("V")


class ByteCache(Generic[K, V]):
    """Least recently used first out, measured in bytes.

    Parameters
    ----------
    capacity
        Bytes; something larger is not kept at all.
    """

    def __init__(self, capacity: int):
        self.capacity = capacity
        self.used = 0
        self._items: OrderedDict[K, tuple[V, int]] = OrderedDict()

    def get(self, key: K) -> V | None:
        """Return what is kept under the key, and count it as used."""
        if key not in self._items:
            return None
        self._items.move_to_end(key)
        return self._items[key][0]

    def put(self, key: K, value: V, size: int) -> None:
        """Keep something of `size` bytes."""
        if key in self._items:
            self.used -= self._items.pop(key)[1]
        if size > self.capacity:
            return
        self._items[key] = (value, size)
        self.used += size
        while self.used > self.capacity:
            self.used -= self._items.popitem(last=False)[1][1]

    def __len__(self) -> int:
        return len(self._items)


class Renderer:
    """Draws frames of stored instances, in a few threads and with a memory.

    Parameters
    ----------
    cache_bytes
        Memory for files and decoded frames together.
    threads
        Frames drawn at once.
    """

    def __init__(self, cache_bytes: int, threads: int = 2):
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="render")
        self._files: ByteCache[str, pydicom.Dataset] = ByteCache(cache_bytes // 2)
        self._frames: ByteCache[tuple[str, int], Array] = ByteCache(cache_bytes - cache_bytes // 2)
        self._fetching: dict[str, asyncio.Task[pydicom.Dataset]] = {}

    def close(self) -> None:
        """Drop everything."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def draw(
        self,
        key: str,
        fetch: Callable[[], Awaitable[bytes]],
        frame: int,
        format: PictureFormat,  # noqa: A002
        center: float | None = None,
        width: float | None = None,
        size: int | None = None,
        *,
        viewport: Viewport | None = None,
        function: str | None = None,
        quality: int | None = None,
    ) -> bytes:
        """Return one frame as a picture.

        Parameters
        ----------
        key
            Identity of the content: never the same for two different files.
        fetch
            Called when the file is not in memory.
        frame, format, center, width, size
            As `rpacs_hub.rendering.render`.
        viewport, function, quality
            As `rpacs_hub.rendering.encode`.

        Raises
        ------
        RenderError
            As `rpacs_hub.rendering.render`.
        """
        dataset = await self.dataset(key, fetch)
        loop = asyncio.get_running_loop()
        stored = self._frames.get((key, frame))
        if stored is None:
            stored = await loop.run_in_executor(self._threads, decode_frame, dataset, frame)
            self._frames.put((key, frame), stored, stored.nbytes)

        def work() -> bytes:
            return encode(
                stored,
                dataset,
                frame,
                format,
                center,
                width,
                size,
                viewport=viewport,
                function=function,
                quality=quality,
            )

        return await loop.run_in_executor(self._threads, work)

    async def run(self, work: Callable[..., V], *arguments: Any) -> V:
        """Return what `work` makes of the arguments, worked out in one of the threads that draw."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)

    async def dataset(self, key: str, fetch: Callable[[], Awaitable[bytes]]) -> pydicom.Dataset:
        """Return a file that may be in memory already.

        Parameters
        ----------
        key, fetch
            As for `draw`.

        Raises
        ------
        NotAnImage
            It cannot be read.
        """
        dataset = self._files.get(key)
        if dataset is not None:
            return dataset
        # Several frames of one file are often asked for together; it is fetched once.
        task = self._fetching.get(key)
        if task is None:
            task = asyncio.create_task(self._load(key, fetch))
            self._fetching[key] = task
            task.add_done_callback(lambda _: self._fetching.pop(key, None))
        # One visitor who leaves must not take the file from the others.
        return await asyncio.shield(task)

    async def _load(self, key: str, fetch: Callable[[], Awaitable[bytes]]) -> pydicom.Dataset:
        data = await fetch()
        dataset = await asyncio.get_running_loop().run_in_executor(self._threads, read_dataset, data)
        self._files.put(key, dataset, len(data))
        return dataset
