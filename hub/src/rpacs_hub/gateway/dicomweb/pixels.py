"""WADO-RS frames, bulk data, rendered pictures and thumbnails (PS3.18 sections 10.4.1.1.5 to 10.4.1.1.8, 9.5)."""

from __future__ import annotations

import math
import re
from collections.abc import AsyncIterable, AsyncIterator, Callable

import numpy as np
import pydicom

from rpacs_hub.errors import HubError, NotAnImage
from rpacs_hub.gateway._exchange import ApiError, Call, Reply
from rpacs_hub.gateway.dicomweb.accept import Wanted, not_acceptable
from rpacs_hub.gateway.dicomweb.found import check_size, instances_below, not_found, one_instance, wanted
from rpacs_hub.gateway.dicomweb.multipart import multipart_reply
from rpacs_hub.index import IndexedInstance
from rpacs_hub.permissions import Action, Instance
from rpacs_hub.rendering import (
    PictureFormat,
    Viewport,
    can_be_native,
    frame_count,
    native_frame,
    stored_frame,
    transfer_syntax_of,
)

__all__ = ["bulk_data", "frames", "rendered", "rendered_frame", "thumbnail", "thumbnail_below"]

_OCTETS = "application/octet-stream"
_NATIVE = "1.2.840.10008.1.2.1"
_MEDIA_TYPES = {
    "1.2.840.10008.1.2.5": "image/dicom-rle",
    "1.2.840.10008.1.2.4.50": "image/jpeg",
    "1.2.840.10008.1.2.4.51": "image/jpeg",
    "1.2.840.10008.1.2.4.57": "image/jpeg",
    "1.2.840.10008.1.2.4.70": "image/jpeg",
    "1.2.840.10008.1.2.4.80": "image/jls",
    "1.2.840.10008.1.2.4.81": "image/jls",
    "1.2.840.10008.1.2.4.90": "image/jp2",
    "1.2.840.10008.1.2.4.91": "image/jp2",
    "1.2.840.10008.1.2.4.92": "image/jpx",
    "1.2.840.10008.1.2.4.93": "image/jpx",
    "1.2.840.10008.1.2.4.201": "image/jphc",
    "1.2.840.10008.1.2.4.202": "image/jphc",
    "1.2.840.10008.1.2.4.203": "image/jphc",
    "1.2.840.10008.1.2.4.110": "image/jxl",
    "1.2.840.10008.1.2.4.111": "image/jxl",
    "1.2.840.10008.1.2.4.112": "image/jxl",
    **{f"1.2.840.10008.1.2.4.{number}": "video/mpeg" for number in (100, 101)},
    **{f"1.2.840.10008.1.2.4.{number}": "video/mp4" for number in range(102, 109)},
}
_MOST_FRAMES = 10_000
_THUMBNAIL = 128
_FUNCTIONS = {"linear": "LINEAR", "linear-exact": "LINEAR_EXACT", "sigmoid": "SIGMOID"}
_BULK_PATH = re.compile(r"[0-9A-Fa-f]{8}(\.[0-9]{1,9}\.[0-9A-Fa-f]{8}){0,31}")
_WORDS = {"OW": 2, "OF": 4, "OL": 4, "OD": 8, "OV": 8}


async def _dataset(call: Call, instance: IndexedInstance) -> pydicom.Dataset:
    check_size(call, instance)
    return await call.services.renderer.dataset(_key(instance), lambda: call.services.orthanc.file(instance.orthanc_id))


def _key(instance: IndexedInstance) -> str:
    return f"{instance.orthanc_id} {instance.file_uuid}"


def _numbers(text: str) -> list[int]:
    parts = text.split(",")
    if len(parts) > _MOST_FRAMES or not all(part.isascii() and part.isdigit() and len(part) < 10 for part in parts):
        raise ApiError(400, "frames_invalid", "Frames are numbers from 1, separated by commas.", "Such as 1,2,3.")
    return [int(part) for part in parts]


def _form(one: Wanted, dataset: pydicom.Dataset) -> tuple[str, str, Callable[[pydicom.Dataset, int], bytes]] | None:
    """Return media type, transfer syntax and maker of frames for one acceptable form; None where it cannot be had."""
    syntax = str(transfer_syntax_of(dataset))
    compressed = transfer_syntax_of(dataset).is_encapsulated
    asked = one.transfer_syntax
    if compressed and asked in (None, "*", syntax):
        stored = _MEDIA_TYPES.get(syntax, _OCTETS)
        # Plain octets without a word on the syntax are native samples; with one, they are what is stored.
        if one.takes(stored) and (stored != _OCTETS or asked is not None):
            return stored, syntax, stored_frame
        if asked is not None and one.takes(_OCTETS):
            return _OCTETS, syntax, stored_frame
    if one.takes(_OCTETS) and asked in (None, "*", _NATIVE) and can_be_native(dataset):
        return _OCTETS, _NATIVE, native_frame
    return None


def _chosen(call: Call, dataset: pydicom.Dataset) -> tuple[Wanted, str, str, Callable[[pydicom.Dataset, int], bytes]]:
    for one in wanted(call):
        form = _form(one, dataset)
        if form is not None:
            return one, *form
    syntax = str(transfer_syntax_of(dataset))
    raise not_acceptable(
        "what these frames cannot be given as",
        f'They are stored as {syntax}: ask for multipart/related; type="{_MEDIA_TYPES.get(syntax, _OCTETS)}"; '
        "transfer-syntax=*.",
    )


async def frames(call: Call) -> Reply:
    """Hand out frames: as they are stored, or uncompressed where that changes nothing but the compression."""
    call.parameters(("accept",))
    numbers = _numbers(call.path["frames"])
    instance = await one_instance(call, Action.READ_FRAME)
    dataset = await _dataset(call, instance)
    most = frame_count(dataset)
    if any(not 1 <= number <= most for number in numbers):
        raise ApiError(
            404, "frame_not_found", "There is no such frame.", f"The instance has {most}; they count from 1."
        )
    if len(numbers) > most:
        # Each at most once: a short address must not ask for a thousand copies.
        raise ApiError(400, "frames_invalid", f"{len(numbers)} frames are asked for.", f"The instance has {most}.")
    one, media_type, syntax, make = _chosen(call, dataset)
    call.event.count = len(numbers)
    renderer = call.services.renderer
    content_type = f"{media_type}; transfer-syntax={syntax}"
    # The first frame is made before the answer begins: what cannot be read is an error and not a torn answer.
    first = await renderer.run(make, dataset, numbers[0])
    if not one.multipart:
        if len(numbers) > 1:
            raise not_acceptable("a single frame", f'Ask for multipart/related; type="{media_type}".')
        return Reply(body=first, content_type=content_type)

    async def parts() -> AsyncIterator[tuple[str, AsyncIterable[bytes]]]:
        yield content_type, _whole(first)
        for number in numbers[1:]:
            yield content_type, _whole(await renderer.run(make, dataset, number))

    return multipart_reply(media_type, parts())


async def _whole(data: bytes) -> AsyncIterator[bytes]:
    yield data


async def bulk_data(call: Call) -> Reply:
    """Hand out one binary value, at the address that the metadata name."""
    call.parameters(("accept",))
    path = call.path["element"]
    if not _BULK_PATH.fullmatch(path):
        raise ApiError(404, "not_found", "There is no such element.", "The metadata name the addresses of bulk data.")
    instance = await one_instance(call, Action.READ_FRAME)
    dataset = await _dataset(call, instance)
    call.event.count = 1
    if path.upper() == "7FE00010" and transfer_syntax_of(dataset).is_encapsulated:
        call.path = {
            **call.path,
            "frames": ",".join(str(n + 1) for n in range(min(frame_count(dataset), _MOST_FRAMES))),
        }
        return await frames(call)
    one = next((one for one in wanted(call) if one.takes(_OCTETS)), None)
    if one is None:
        raise not_acceptable("what is not offered here", f'Ask for multipart/related; type="{_OCTETS}".')
    value = await call.services.renderer.run(_value_at, dataset, path.upper())
    if not one.multipart:
        return Reply(body=value, content_type=_OCTETS)

    async def parts() -> AsyncIterator[tuple[str, AsyncIterable[bytes]]]:
        yield _OCTETS, _whole(value)

    return multipart_reply(_OCTETS, parts())


def _value_at(dataset: pydicom.Dataset, path: str) -> bytes:
    """Return the bytes of an element in little endian.

    Raises
    ------
    ApiError
        404 where there is none, or it is not binary.
    """
    steps = path.split(".")
    item = dataset
    try:
        for sequence, number in zip(steps[:-1:2], steps[1::2], strict=True):
            item = item[int(sequence, 16)].value[int(number)]
        element = item[int(steps[-1], 16)]
        value = element.value
    except Exception:  # noqa: BLE001 - pydicom raises anything on elements that are not there or cannot be read
        value = None
    if not isinstance(value, bytes):
        raise ApiError(404, "not_found", "There is no such element.", "The metadata name the addresses of bulk data.")
    width = _WORDS.get(element.VR, 1)
    if dataset.original_encoding[1] is False and width > 1 and len(value) % width == 0:
        return np.frombuffer(value, f">u{width}").astype(f"<u{width}").tobytes()
    return value


def _picture_format(call: Call) -> PictureFormat:
    for one in wanted(call):
        for format_ in (PictureFormat.JPEG, PictureFormat.PNG):
            if one.single and one.takes(format_.content_type):
                return format_
    raise not_acceptable("what pictures are not offered as", "Ask for image/jpeg or image/png.")


def _invalid(name: str, example: str) -> ApiError:
    return ApiError(400, "picture_invalid", f"{name} cannot be understood.", f"Such as {name}={example}.")


def _window(text: str | None) -> tuple[float | None, float | None, str | None]:
    """Read ``window=centre,width,function`` (PS3.18 section 8.3.5.1.4)."""
    if not text:
        return None, None, None
    parts = text.split(",")
    try:
        center, width = float(parts[0]), float(parts[1])
        function = _FUNCTIONS[parts[2].strip().lower()] if len(parts) > 2 else None
    except (ValueError, IndexError, KeyError):
        raise _invalid("window", "40,400,linear") from None
    if len(parts) > 3 or not math.isfinite(center) or not 0 < width < 1e15 or abs(center) > 1e15:
        raise _invalid("window", "40,400,linear")
    return center, width, function


def _viewport(text: str | None) -> Viewport | None:
    """Read ``viewport=vw,vh,sx,sy,sw,sh`` (PS3.18 section 8.3.5.1.3)."""
    if not text:
        return None
    try:
        numbers = [float(part) if part.strip() else None for part in text.split(",")]
        if len(numbers) not in (2, 6) or any(n is not None and not math.isfinite(n) for n in numbers):
            raise ValueError
        width, height = numbers[0], numbers[1]
        if width is None or height is None or width != int(width) or height != int(height):
            raise ValueError
        region = tuple(numbers[2:]) if len(numbers) == 6 else (None, None, None, None)
    except (ValueError, OverflowError):
        raise _invalid("viewport", "512,512") from None
    return Viewport(int(width), int(height), *region)


async def _picture(call: Call, instance: IndexedInstance, frame: int, smallest: Viewport | None = None) -> Reply:
    values = call.parameters(("accept", "annotation", "iccprofile", "quality", "viewport", "window"))
    format_ = _picture_format(call)
    center, width, function = _window(values.get("window"))
    viewport = _viewport(values.get("viewport")) or smallest
    quality = values.get("quality") or ""
    if quality and not (quality.isascii() and quality.isdigit() and 1 <= int(quality[:4]) <= 100):
        raise _invalid("quality", "88")
    check_size(call, instance)
    picture = await call.services.renderer.draw(
        _key(instance),
        lambda: call.services.orthanc.file(instance.orthanc_id),
        frame,
        format_,
        center,
        width,
        viewport=viewport,
        function=function,
        quality=int(quality) if quality else None,
    )
    call.event.count = 1
    headers = {}
    if values.get("annotation"):
        headers["Warning"] = '299 rpacs "The annotation parameter is not supported; the picture holds pixels only."'
    return Reply(body=picture, content_type=format_.content_type, headers=headers)


async def rendered(call: Call) -> Reply:
    """Draw the first frame of an instance."""
    return await _picture(call, await one_instance(call, Action.READ_FRAME), 1)


async def rendered_frame(call: Call) -> Reply:
    """Draw one frame."""
    numbers = _numbers(call.path["frames"])
    if len(numbers) != 1:
        raise not_acceptable("one picture", "Ask for one frame at a time.")
    return await _picture(call, await one_instance(call, Action.READ_FRAME), numbers[0])


async def thumbnail(call: Call) -> Reply:
    """Draw an instance, or one of its frames, small."""
    (number,) = _numbers(call.path.get("frames", "1"))[:1]
    return await _picture(call, await one_instance(call, Action.READ_FRAME), number, Viewport(_THUMBNAIL, _THUMBNAIL))


async def thumbnail_below(call: Call) -> Reply:
    """Draw an image of a study or series small: the middle one of those that may be seen, or the next that can be."""
    found = await instances_below(call, Action.READ_FRAME)
    middle = len(found) // 2
    problem: HubError | None = None
    for instance in {one.orthanc_id: one for one in (found[middle], found[0], found[-1])}.values():
        for judged in await call.services.index.instances(instance.sop_uid):
            if judged.orthanc_id != instance.orthanc_id:
                continue
            if not call.decide(Action.READ_FRAME, Instance(judged.sop_uid, judged.document)).allowed:
                raise not_found("series")
        try:
            return await _picture(call, instance, 1, Viewport(_THUMBNAIL, _THUMBNAIL))
        except NotAnImage as error:
            problem = error
    assert problem is not None  # there is at least one instance
    raise problem
