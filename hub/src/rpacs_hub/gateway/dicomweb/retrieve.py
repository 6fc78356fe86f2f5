"""WADO-RS instances and metadata (PS3.18 section 10.4): files byte for byte as they are stored, and their headers."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from typing import TypeVar

import dicom_query
from rpacs_hub.errors import NotAnImage
from rpacs_hub.gateway._exchange import Call, Reply
from rpacs_hub.gateway._tags import HEADER_LIMIT
from rpacs_hub.gateway.dicomweb.accept import Wanted, not_acceptable, wants_json
from rpacs_hub.gateway.dicomweb.found import (
    MAX_INSTANCES,
    address_of,
    instances_below,
    one_instance,
    wanted,
)
from rpacs_hub.gateway.dicomweb.matching import equals
from rpacs_hub.gateway.dicomweb.metadata import header_json
from rpacs_hub.gateway.dicomweb.multipart import multipart_reply
from rpacs_hub.index import IndexedInstance, Level
from rpacs_hub.permissions import Action

__all__ = ["instance", "instance_metadata", "metadata_below", "retrieve_below"]

T = TypeVar("T")

_DICOM = "application/dicom"
_AHEAD = 4
_BEGINNING = 1 << 20
_SMALL = 4 << 20
"""Files up to this size are read whole and ahead of the client, `_AHEAD` of them; larger ones pass in pieces."""


def _asks(call: Call) -> tuple[list[Wanted], set[str] | None]:
    """Return what fits of the Accept header, and the acceptable transfer syntaxes; None = as stored."""
    fitting = [one for one in wanted(call) if one.takes(_DICOM)]
    if not fitting:
        raise not_acceptable(
            "what is not offered here", 'Ask for multipart/related; type="application/dicom"; transfer-syntax=*.'
        )
    # Without the parameter the standard means Explicit VR Little Endian. Nothing is transcoded here, and viewers that
    # leave it out read whatever comes, so they get the files as they are.
    syntaxes = {one.transfer_syntax for one in fitting}
    return fitting, None if syntaxes & {None, "*"} else {syntax for syntax in syntaxes if syntax}


def _other_syntax() -> Exception:
    return not_acceptable(
        "transfer syntaxes other than the stored one",
        "Files are handed out as they are stored: ask for transfer-syntax=*.",
    )


async def instance(call: Call) -> Reply:
    """Hand out one instance."""
    call.parameters(("accept",))
    fitting, syntaxes = _asks(call)
    found = await one_instance(call, Action.READ_FILE)
    named = equals("SOPInstanceUID", found.sop_uid)
    if syntaxes is not None and not await _of_syntaxes(call, [found], syntaxes, named):
        raise _other_syntax()
    call.event.count = 1
    stack = AsyncExitStack()
    length, chunks = await stack.enter_async_context(call.services.orthanc.stream_file(found.orthanc_id))
    if fitting[0].multipart:

        async def part() -> AsyncIterator[tuple[str, AsyncIterable[bytes]]]:
            yield _DICOM, chunks

        reply = multipart_reply(_DICOM, part())
    else:
        reply = Reply(stream=chunks, length=length, content_type=_DICOM)
    reply.close = stack
    return reply


async def retrieve_below(call: Call) -> Reply:
    """Hand out what may be seen of a study or series."""
    call.parameters(("accept",))
    fitting, syntaxes = _asks(call)
    if not any(one.multipart for one in fitting):
        raise not_acceptable("a single file", 'Ask for multipart/related; type="application/dicom".')
    found = await instances_below(call, Action.READ_FILE)
    given = found
    if syntaxes is not None:
        given = await _of_syntaxes(call, found, syntaxes, equals("StudyInstanceUID", call.path["study"]))
    if not given:
        raise _other_syntax()
    call.event.count = len(given)
    files = _files(call, given)
    # The first file is opened before the answer begins, so that an archive that is down is a 503 and not a torn answer.
    first = await anext(files)
    reply = multipart_reply(_DICOM, _following(first, files), 200 if len(given) == len(found) else 206)
    reply.close = _closing(files)
    return reply


def _closing(generator: AsyncGenerator[T, None]) -> AsyncExitStack:
    """Return what stops reading ahead when the answer has left, or the client has."""
    stack = AsyncExitStack()
    stack.push_async_callback(generator.aclose)
    return stack


async def _of_syntaxes(
    call: Call, found: Sequence[IndexedInstance], syntaxes: set[str], named: dicom_query.Node
) -> list[IndexedInstance]:
    """Return those of the instances that are stored in one of the transfer syntaxes (0002,0010)."""
    query = dicom_query.all_of([named, equals("TransferSyntaxUID", *sorted(syntaxes))])
    stored = await call.services.index.select(call.visible(), query=query, level=Level.INSTANCE, limit=MAX_INSTANCES)
    fitting = {instance.orthanc_id for instance in stored}
    return [instance for instance in found if instance.orthanc_id in fitting]


async def _following(first: T, rest: AsyncIterator[T]) -> AsyncIterator[T]:
    yield first
    async for one in rest:
        yield one


async def _ahead(works: Sequence[Callable[[], Awaitable[T]]]) -> AsyncGenerator[T, None]:
    """Yield the results in order, a few of them being worked out ahead of the one that is waited for."""
    running: deque[asyncio.Future[T]] = deque()
    waiting = iter(works)
    try:
        while True:
            while len(running) < _AHEAD and (work := next(waiting, None)) is not None:
                running.append(asyncio.ensure_future(work()))
            if not running:
                return
            yield await running.popleft()
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def _files(
    call: Call, found: Sequence[IndexedInstance]
) -> AsyncGenerator[tuple[str, AsyncIterable[bytes]], None]:
    orthanc = call.services.orthanc

    async def opened(one: IndexedInstance) -> tuple[IndexedInstance, bytes | None]:
        return one, (await orthanc.file(one.orthanc_id) if one.bytes <= _SMALL else None)

    async def whole(data: bytes) -> AsyncIterator[bytes]:
        yield data

    async def pieces(one: IndexedInstance) -> AsyncIterator[bytes]:
        async with orthanc.stream_file(one.orthanc_id) as (_, chunks):
            async for chunk in chunks:
                yield chunk

    async for one, data in _ahead([lambda one=one: opened(one) for one in found]):  # type: ignore[misc]
        yield _DICOM, whole(data) if data is not None else pieces(one)


async def instance_metadata(call: Call) -> Reply:
    """Return the header of one instance."""
    call.parameters(("accept",))
    content_type = wants_json(wanted(call))
    found = await one_instance(call, Action.READ_TAGS)
    call.event.count = 1
    return Reply(body=b"[" + await _header(call, found) + b"]", content_type=content_type)


async def metadata_below(call: Call) -> Reply:
    """Return the headers of what may be seen of a study or series."""
    call.parameters(("accept",))
    content_type = wants_json(wanted(call))
    found = await instances_below(call, Action.READ_TAGS)
    headers = _ahead([lambda one=one: _header(call, one) for one in found])  # type: ignore[misc]
    first = await anext(headers)

    async def written() -> AsyncIterator[bytes]:
        start = b"["
        async for header in _following(first, headers):
            yield start + header
            start = b","
        yield b"]"

    return Reply(stream=written(), content_type=content_type, close=_closing(headers))


async def _header(call: Call, one: IndexedInstance) -> bytes:
    bulk = f"{address_of(call, one)}/bulkdata"

    def convert(data: bytes, length: int) -> bytes:
        return header_json(data, length, bulk)

    if one.bytes > _SMALL:
        # Nearly all headers end within the first megabyte; what follows is pixels that nobody asked for.
        with contextlib.suppress(NotAnImage):
            return await call.services.orthanc.load(one.orthanc_id, convert, _BEGINNING)
    return await call.services.orthanc.load(one.orthanc_id, convert, HEADER_LIMIT)
