"""``Transcode``: the clean copy is written in another transfer syntax, without loss, and compared with what it was.

Only lossless syntaxes can be asked for. Where the source is lossy, what was lost is lost: the copy says so (Lossy Image
Compression, PS3.3 C.7.6.1.1.5). An instance without integer pixel data has no compressed form: it keeps its syntax when
a compressed one is asked for.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator, Set
from io import BytesIO
from typing import Final

from pydicom import Dataset, dcmread
from pydicom.datadict import dictionary_VR
from pydicom.encaps import encapsulate
from yaml.nodes import Node

from deid_service.errors import Refused
from deid_service.pixels.datasets import TARGETS, Frames, available_targets, decode_frames, encode_frame
from deid_service.rules.schema import Problems
from deid_service.wire import UNDEFINED, Element, Encoding, Source, read
from deid_service.wire.encoding import encoding_of
from deid_service.wire.relayout import little_endian_value, relayout

__all__ = ["read_transcode", "transcode"]

_PIXEL_DATA: Final = 0x7FE00010
_OFFSET_TABLES: Final = (0x7FE00001, 0x7FE00002)
_PHOTOMETRIC: Final = 0x00280004
_PLANAR: Final = 0x00280006
_BITS_ALLOCATED: Final = 0x00280100
_LOSSY: Final = 0x00282110
_TRANSFER_SYNTAX: Final = 0x00020010
_NATIVE: Final = frozenset(
    {"1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"}
)
_ALWAYS_LOSSY: Final = frozenset({"1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51"})
_EXPLICIT_LITTLE: Final = Encoding(explicit=True, little=True)
_MAX_OFFSET: Final = 2**32 - 1


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


def transcode(data: bytes, uid: str, tags: list[int]) -> tuple[bytes, list[int]]:
    """Write a finished copy in another transfer syntax and compare it with what it was.

    Parameters
    ----------
    data : bytes
        A DICOM file.
    uid : str
        Transfer syntax to write, from :func:`read_transcode`.
    tags : list of int
        Top-level elements of the file, in order.

    Returns
    -------
    data : bytes
        The file in that syntax.
    tags : list of int
        Its top-level elements.

    Raises
    ------
    Refused
        ``not_transcodable`` if the pixels cannot be decoded or encoded; ``verification_failed`` if the copy does not
        hold the same pixels and the same other elements, or not that syntax.
    """
    source = read(data)
    have = {element.tag: element for element in source.elements}
    compressed = bool(TARGETS[uid].encoder)
    pixels = _PIXEL_DATA in have
    if source.transfer_syntax == uid or (compressed and not pixels):
        return data, tags
    target = encoding_of(uid)
    changes: dict[int, bytes | None] = {}
    digests: list[bytes] = []
    if pixels and (compressed or source.transfer_syntax not in _NATIVE):
        changes, digests = _new_pixels(data, source, uid, target)
    elif pixels:
        changes = {_PIXEL_DATA: _native_pixels(source, target)}
    result = b"".join([_file_meta(source.meta, uid), *relayout(source, target, changes)])
    expected = sorted(
        set(tags) - {tag for tag, new in changes.items() if new is None}
        | {tag for tag, new in changes.items() if new is not None}
    )
    _compare(source, result, uid, changes.keys(), digests)
    return result, expected


def _new_pixels(data: bytes, source: Source, uid: str, target: Encoding) -> tuple[dict[int, bytes | None], list[bytes]]:
    """Return the elements that change with the pixel data, and the digest of each frame."""
    dataset = _dataset(data)
    digests: list[bytes] = []
    encoded: list[bytes] = []
    frames: Frames | None = None
    for array, frames in decode_frames(dataset):
        digests.append(hashlib.sha256(array.tobytes()).digest())
        encoded.append(encode_frame(array, frames, uid))
    assert frames is not None
    if TARGETS[uid].encoder:
        table = sum(len(frame) + 8 for frame in encoded) <= _MAX_OFFSET
        # Without a table of offsets a reader needs one fragment a frame, which is what is written.
        value = encapsulate(encoded, has_bot=table) + target.sequence_end()
        element = target.header(_PIXEL_DATA, "OB", UNDEFINED) + value
    else:
        plain = b"".join(encoded)
        plain += b"\0" * (len(plain) % 2)
        element = target.header(_PIXEL_DATA, _native_vr(frames.bits_allocated), len(plain)) + plain
    changes: dict[int, bytes | None] = {_PIXEL_DATA: element, **dict.fromkeys(_OFFSET_TABLES)}
    changes[_PHOTOMETRIC] = _text(target, _PHOTOMETRIC, frames.photometric)
    if frames.samples > 1:
        changes[_PLANAR] = target.header(_PLANAR, "US", 2) + b"\0\0"
    if source.transfer_syntax in _ALWAYS_LOSSY:
        changes[_LOSSY] = _text(target, _LOSSY, "01")
    return changes, digests


def _native_vr(bits_allocated: int) -> str:
    return "OW" if bits_allocated > 8 else "OB"  # PS3.5 A.2; in implicit layouts the VR is not written


def _native_pixels(source: Source, target: Encoding) -> bytes:
    """Write pixels that are not compressed in another layout: the same bytes, but for their order (PS3.5 A.3)."""
    element = next(element for element in source.elements if element.tag == _PIXEL_DATA)
    bits = next((_number(source, element) for element in source.elements if element.tag == _BITS_ALLOCATED), 16)
    if bits > 16 and not source.encoding.little:
        raise Refused("not_transcodable", "big endian pixels of more than 16 bits have no single meaning")
    value = little_endian_value(source, element, source.encoding)
    return target.header(_PIXEL_DATA, _native_vr(bits), len(value)) + value


def _number(source: Source, element: Element) -> int:
    return int.from_bytes(source.value(element)[:2], "little" if source.encoding.little else "big")


def _text(target: Encoding, tag: int, value: str) -> bytes:
    padded = value.encode("ascii") + b" " * (len(value) % 2)
    return target.header(tag, "CS", len(padded)) + padded


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


def _dataset(data: bytes) -> Dataset:
    try:
        return dcmread(BytesIO(data))
    except Exception as error:  # noqa: BLE001 - pydicom raises many kinds, and messages may quote values
        raise Refused("not_transcodable", f"pydicom cannot read the instance ({type(error).__name__})") from None


def _compare(source: Source, result: bytes, uid: str, changed: Set[int], digests: list[bytes]) -> None:
    """Read the result back: the syntax, every frame and every other element."""
    again = read(result)
    dataset = _dataset(result)
    if not again.transfer_syntax == dataset.file_meta.TransferSyntaxUID == uid:
        raise Refused("verification_failed", "the transcoded copy does not have the transfer syntax asked for")
    if not digests:
        changed = frozenset()  # nothing was decoded: every value must be the same
    before, after = (
        [leaf for leaf in _leaves(one, one.elements, one.encoding) if leaf[0][0] not in changed]
        for one in (source, again)
    )
    if before != after:
        raise Refused("verification_failed", "the transcoded copy differs outside of its pixels")
    if digests:
        decoded = [hashlib.sha256(array.tobytes()).digest() for array, _ in decode_frames(dataset)]
        if decoded != digests:
            raise Refused("verification_failed", "the transcoded copy does not hold the same pixels")


def _leaves(
    source: Source, elements: list[Element], encoding: Encoding, path: tuple[int, ...] = ()
) -> Iterator[tuple[tuple[int, ...], bytes]]:
    for element in elements:
        here = (*path, element.tag)
        if element.items is None:
            yield here, little_endian_value(source, element, encoding)
        else:
            for index, item in enumerate(element.items):
                yield from _leaves(source, item.elements, element.item_encoding, (*here, index))
