"""``Transcode``: the clean copy is written in another transfer syntax, without loss, and compared with what it was.

Only lossless syntaxes can be asked for. Where the source is lossy, what was lost is lost: the copy says so (Lossy Image
Compression, PS3.3 C.7.6.1.1.5). An instance without integer pixel data has no compressed form: it keeps its syntax when
a compressed one is asked for.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator, Sequence
from typing import Final

from pydicom.datadict import dictionary_VR
from yaml.nodes import Node

from deid_service._buffers import Part, deflated, same_bytes, spool
from deid_service.errors import Refused
from deid_service.pixels.boxes import Regions
from deid_service.pixels.codecs import TARGETS, available_targets, is_compressed
from deid_service.pixels.rewrite import Rewritten, rewrite_pixels
from deid_service.rules.schema import Problems
from deid_service.wire import PIXEL_TAGS, Element, Encoding, Source, read
from deid_service.wire.encoding import encoding_of, is_deflated
from deid_service.wire.relayout import little_endian_value, relayout

__all__ = ["check_copy", "read_transcode", "transcode", "with_pixels", "with_tags"]

_PIXEL_DATA: Final = 0x7FE00010
_BITS_ALLOCATED: Final = 0x00280100
_TRANSFER_SYNTAX: Final = 0x00020010
_EXPLICIT_LITTLE: Final = Encoding(explicit=True, little=True)


def read_transcode(node: Node | None, problems: Problems) -> str | None:
    """Read ``Transcode``; a syntax that cannot be written here is noted as a problem."""
    uid = problems.read_text(node, "Transcode")
    if uid is None:
        return None
    uid = uid.strip()
    known = ", ".join(f"{target.uid} ({target.name})" for target in TARGETS.values())
    if uid not in TARGETS:
        problems.add(node, f"Transcode cannot write the transfer syntax {uid!r}", f"known: {known}")
    elif uid not in available_targets():
        problems.add(node, f"no encoder for {TARGETS[uid].name} is installed", f"install {TARGETS[uid].encoder}")
    else:
        return uid
    return None


def transcode(parts: list[Part], uid: str, tags: list[int]) -> tuple[list[Part], list[int]]:
    """Write a finished copy in another transfer syntax and compare it with what it was.

    Parameters
    ----------
    parts : list of bytes or memoryview
        A DICOM file.
    uid : str
        Transfer syntax to write, from :func:`read_transcode`.
    tags : list of int
        Top-level elements of the file, in order.

    Returns
    -------
    parts : list of bytes or memoryview
        The file in that syntax.
    tags : list of int
        Its top-level elements.

    Raises
    ------
    Refused
        ``not_transcodable`` if the pixels cannot be decoded or encoded; ``verification_failed`` if the copy does not
        hold the same pixels and the same other elements, or not that syntax.
    """
    source = read(spool(parts))
    pixels = any(element.tag == _PIXEL_DATA for element in source.elements)
    if source.transfer_syntax == uid or (is_compressed(uid) and not pixels):
        return parts, tags
    rewritten = Rewritten(uid, {}, Regions())
    if is_compressed(uid) or is_compressed(source.transfer_syntax):
        try:
            rewritten = rewrite_pixels(source, Regions(), uid) if pixels else rewritten
        except Refused as refusal:
            if refusal.reason_code == "pixels_not_decodable":
                raise Refused("not_transcodable", refusal.message) from None
            raise
    elif pixels and not source.encoding.little and _bits_allocated(source) > 16:
        raise Refused("not_transcodable", "big endian pixels of more than 16 bits have no single meaning")
    result = with_pixels(source, rewritten)
    check_copy(source, read(spool(result)), rewritten)
    return result, with_tags(tags, rewritten)


def with_pixels(source: Source, rewritten: Rewritten) -> list[Part]:
    """Write a file anew with other elements for its pixels.

    Parameters
    ----------
    source : Source
        A file, read. All its other elements stay.
    rewritten : Rewritten
        The new elements, and the transfer syntax that the file is to have.

    Returns
    -------
    list of bytes or memoryview
        The file, to be joined.
    """
    uid = rewritten.transfer_syntax
    body = relayout(source, encoding_of(uid), rewritten.elements)
    if is_deflated(uid):
        body = deflated(body)
    return [_file_meta(source.meta, uid), *body]


def with_tags(tags: Sequence[int], rewritten: Rewritten) -> list[int]:
    """Return the top-level elements that a file has after :func:`with_pixels`, given those it had, in order."""
    gone = {tag for tag, new in rewritten.elements.items() if new is None}
    return sorted(set(tags) - gone | (rewritten.elements.keys() - gone))


def _bits_allocated(source: Source) -> int:
    values = (source.value(element) for element in source.elements if element.tag == _BITS_ALLOCATED)
    return next((int.from_bytes(value[:2], "little" if source.encoding.little else "big") for value in values), 16)


def _file_meta(meta: dict[int, bytes], uid: str) -> bytes:
    """Write the same file meta information with another transfer syntax (PS3.10 7.1)."""
    body = b""
    for tag, value in sorted((meta | {_TRANSFER_SYNTAX: uid.encode()}).items()):
        vr = dictionary_VR(tag)
        if tag != 0x00020000:
            new = b"\x00\x01" if tag == 0x00020001 else value
            new += (b"\0" if vr in ("UI", "OB") else b" ") * (len(new) % 2)
            body += _EXPLICIT_LITTLE.header(tag, vr, len(new)) + new
    length = _EXPLICIT_LITTLE.header(0x00020000, "UL", 4) + struct.pack("<I", len(body))
    return b"\0" * 128 + b"DICM" + length + body


def check_copy(source: Source, again: Source, rewritten: Rewritten) -> None:
    """Compare what was written with what was meant: the syntax, every element that was not to change, the new ones.

    The new pixels were compared frame by frame when they were made.

    Parameters
    ----------
    source : Source
        The file before :func:`with_pixels`.
    again : Source
        The file after, read.
    rewritten : Rewritten
        The new elements.

    Raises
    ------
    Refused
        ``verification_failed``.
    """
    if again.transfer_syntax != rewritten.transfer_syntax:
        raise Refused("verification_failed", "the copy does not have the transfer syntax asked for")
    before, after = (
        [leaf for leaf in _leaves(one, one.elements, one.encoding) if leaf[0][0] not in rewritten.elements]
        for one in (source, again)
    )
    if before != after:
        raise Refused("verification_failed", "the copy differs outside of its pixels")
    for element in again.elements:
        new = rewritten.elements.get(element.tag)
        if new is not None and not same_bytes(new, [memoryview(again.data)[element.start : element.end]]):
            raise Refused("verification_failed", "the copy does not hold the pixels that were written")


def _leaves(
    source: Source, elements: list[Element], encoding: Encoding, path: tuple[int, ...] = ()
) -> Iterator[tuple[tuple[int, ...], bytes]]:
    for element in elements:
        here = (*path, element.tag)
        if element.items is None and element.tag in PIXEL_TAGS and encoding.little:
            # A digest of pixels: two large values are not held beside each other.
            value = memoryview(source.data)[element.value_start : element.value_end]
            yield here, hashlib.sha256(value).digest()
        elif element.items is None and element.tag in PIXEL_TAGS:
            yield here, hashlib.sha256(little_endian_value(source, element, encoding)).digest()
        elif element.items is None:
            yield here, little_endian_value(source, element, encoding)
        elif not element.items:
            yield here, b""  # an empty private sequence is an empty element where the VR is not written
        else:
            for index, item in enumerate(element.items):
                yield from _leaves(source, item.elements, element.item_encoding, (*here, index))
