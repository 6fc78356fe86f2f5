"""Answers of several parts (RFC 2387, PS3.18 section 8.6.1.2), written as they come."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterable, AsyncIterator

from rpacs_hub.gateway._exchange import Reply

__all__ = ["multipart_reply"]


def multipart_reply(inner: str, parts: AsyncIterable[tuple[str, AsyncIterable[bytes]]], status: int = 200) -> Reply:
    """Return an answer of several parts.

    Parameters
    ----------
    inner
        Media type of the parts, for the answer's own ``Content-Type``.
    parts
        ``Content-Type`` and content of each part, opened one after the other.
    status
        200, or 206 where only a part of what was asked for can be given in an acceptable form.
    """
    # 128 random bits: no content can hold it by chance or on purpose.
    boundary = secrets.token_hex(16)
    return Reply(
        status, stream=_written(boundary, parts), content_type=f'multipart/related; type="{inner}"; boundary={boundary}'
    )


async def _written(boundary: str, parts: AsyncIterable[tuple[str, AsyncIterable[bytes]]]) -> AsyncIterator[bytes]:
    first = True
    async for content_type, chunks in parts:
        start = "" if first else "\r\n"
        first = False
        yield f"{start}--{boundary}\r\nContent-Type: {content_type}\r\n\r\n".encode("ascii")
        async for chunk in chunks:
            yield chunk
    yield f"\r\n--{boundary}--\r\n".encode("ascii")
