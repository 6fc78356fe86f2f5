"""One instance: its tags, its file, its frames."""

from __future__ import annotations

import math
from contextlib import AsyncExitStack

from rpacs_hub.errors import NotAnImage
from rpacs_hub.gateway._exchange import ApiError, Call, Reply, Route
from rpacs_hub.gateway._tags import HEADER_LIMIT, list_tags
from rpacs_hub.index import IndexedInstance
from rpacs_hub.permissions import Action, Instance
from rpacs_hub.rendering import PictureFormat

__all__ = ["ROUTES"]


async def _visible_instance(call: Call, action: Action) -> IndexedInstance:
    """Return the instance of the address.

    Raises
    ------
    ApiError
        404, in the same words whether it does not exist or may not be seen.
    """
    uid = call.path["uid"]
    call.event.identifiers = [uid[:128]]
    for instance in await call.services.index.instances(uid) if len(uid) <= 128 else ():
        if call.decide(action, Instance(uid, instance.document)).allowed:
            return instance
    if not call.event.why:
        call.event.decision, call.event.why = "denied", ["There is no such instance in the index."]
    raise ApiError(
        404, "not_found", "There is no such instance, or you may not see it.", "Search to see which there are."
    )


async def tags(call: Call) -> Reply:
    """List every element of the header, with sequences opened and long values shortened."""
    call.parameters(())
    instance = await _visible_instance(call, Action.READ_TAGS)
    rows, truncated = await call.services.orthanc.load(
        instance.orthanc_id, lambda data, _: list_tags(data), HEADER_LIMIT
    )
    call.event.count = len(rows)
    return Reply(json={"instance": instance.sop_uid, "tags": rows, "truncated": truncated})


async def file(call: Call) -> Reply:
    """Hand out the file, byte for byte as the research Orthanc holds it."""
    call.parameters(())
    instance = await _visible_instance(call, Action.READ_FILE)
    stack = AsyncExitStack()
    length, chunks = await stack.enter_async_context(call.services.orthanc.stream_file(instance.orthanc_id))
    call.event.count = 1
    return Reply(
        stream=chunks,
        length=length,
        content_type="application/dicom",
        headers={"Content-Disposition": 'attachment; filename="instance.dcm"'},
        close=stack,
    )


async def frame(call: Call) -> Reply:
    """Draw one frame."""
    values = call.parameters(("format", "center", "width", "size"))
    number = _whole(call.path["n"], "The frame")
    try:
        format_ = PictureFormat(values.get("format", "png"))
    except ValueError:
        raise ApiError(400, "picture_invalid", "format is neither png nor jpeg.") from None
    center, width = _number(values, "center"), _number(values, "width")
    size = _whole(values["size"], "size") if values.get("size") else None
    instance = await _visible_instance(call, Action.READ_FRAME)
    limit = call.services.settings.render_limit_bytes
    if instance.bytes > limit:
        raise NotAnImage(
            f"The file is larger than {limit >> 20} MB, which is too much to draw here.",
            "Download the file and look at it with other tools.",
        )
    picture = await call.services.renderer.draw(
        f"{instance.orthanc_id} {instance.file_uuid}",
        lambda: call.services.orthanc.file(instance.orthanc_id),
        number,
        format_,
        center,
        width,
        size,
    )
    call.event.count = 1
    return Reply(body=picture, content_type=format_.content_type)


def _whole(text: str, what: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise ApiError(400, "picture_invalid", f"{what} must be a whole number.", "Frames count from 1.")
    return int(text)


def _number(values: dict[str, str], name: str) -> float | None:
    text = values.get(name)
    if text is None or text == "":
        return None
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number) or abs(number) > 1e15:
        raise ApiError(400, "picture_invalid", f"{name} must be a number.", "Window values are in units such as HU.")
    return number


ROUTES = (
    Route("GET", "instances/{uid}/tags", tags, Action.READ_TAGS),
    Route("GET", "instances/{uid}/file", file, Action.READ_FILE),
    Route("GET", "instances/{uid}/frames/{n}", frame, Action.READ_FRAME),
)
