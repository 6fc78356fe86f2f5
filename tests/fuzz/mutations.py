"""Real files with identifiers in them, damaged in the ways in which files are."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Iterator

from tests.answer_key.plants import planted_files
from tests.answer_key.policies import POLICIES

_LENGTHS = (0, 1, 2, 7, 8, 0xFFFE, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)
_VRS = b"AEASATCSDADSDTFLFDISLOLTOBOFOWPNSHSLSQSSSTTMUIULUNUSUT??"


def originals(largest: int = 60_000) -> list[bytes]:
    """Return the files to damage: small ones of every encoding, planted with identifiers."""
    files = {planted.name: planted.data for planted in planted_files(POLICIES[-1], variants=1)}
    return [data for data in files.values() if len(data) <= largest]


def mutated(count: int, seed: int = 0) -> Iterator[tuple[str, bytes]]:
    """Yield damaged files; the same arguments give the same files.

    Yields
    ------
    (what was done, file)
    """
    draw = random.Random(seed)
    files = originals()
    names = list(_MUTATIONS)
    for _ in range(count):
        data = bytearray(draw.choice(files))
        done = []
        for _ in range(draw.choice((1, 1, 1, 2, 3, 8))):
            name = draw.choice(names)
            _MUTATIONS[name](data, draw)
            done.append(name)
        yield "+".join(done), bytes(data)


def _flip(data: bytearray, draw: random.Random) -> None:
    """Flip bits, most often in the header."""
    for _ in range(draw.choice((1, 2, 16))):
        at = draw.randrange(min(len(data), draw.choice((400, 4000, len(data)))) or 1)
        if at < len(data):
            data[at] ^= 1 << draw.randrange(8)


def _truncate(data: bytearray, draw: random.Random) -> None:
    del data[draw.randrange(len(data) + 1) :]


def _lie(data: bytearray, draw: random.Random) -> None:
    """Write a false length where one may stand: after something that looks like a value representation."""
    if len(data) < 200:
        return
    start = draw.randrange(132, len(data) - 12)
    for at in range(start, min(start + 4000, len(data) - 12)):
        if data[at : at + 2] in (b"SQ", b"OB", b"OW", b"UN", b"UT"):
            data[at + 4 : at + 8] = struct.pack("<I", draw.choice(_LENGTHS))
            return
        if data[at : at + 2].isalpha() and data[at : at + 2].isupper() and draw.random() < 0.3:
            data[at + 2 : at + 4] = struct.pack("<H", draw.choice(_LENGTHS) & 0xFFFF)
            return
        if data[at : at + 4] == b"\xfe\xff\x00\xe0":
            data[at + 4 : at + 8] = struct.pack("<I", draw.choice(_LENGTHS))
            return


def _remove(data: bytearray, draw: random.Random) -> None:
    at = draw.randrange(len(data) + 1)
    del data[at : at + draw.choice((1, 2, 4, 8, 100))]


def _insert(data: bytearray, draw: random.Random) -> None:
    at = draw.randrange(len(data) + 1)
    data[at:at] = draw.choice((b"\0", b"\xff" * 4, b"\xfe\xff\x00\xe0\xff\xff\xff\xff", draw.randbytes(8), b"\x1b$B\\"))


def _repeat(data: bytearray, draw: random.Random) -> None:
    at = draw.randrange(len(data) + 1)
    piece = data[at : at + draw.choice((8, 50, 1000))]
    to = draw.randrange(len(data) + 1)
    data[to:to] = bytes(piece) * draw.choice((1, 2, 50))


def _retype(data: bytearray, draw: random.Random) -> None:
    """Give an element another value representation."""
    if len(data) < 200:
        return
    start = draw.randrange(132, len(data) - 4)
    for at in range(start, min(start + 2000, len(data) - 4)):
        if data[at : at + 2] in (b"LO", b"SH", b"PN", b"DA", b"UI", b"CS", b"SQ", b"OB"):
            choice = draw.randrange(len(_VRS) // 2) * 2
            data[at : at + 2] = _VRS[choice : choice + 2]
            return


_MUTATIONS: dict[str, Callable[[bytearray, random.Random], None]] = {
    "bits flipped": _flip,
    "truncated": _truncate,
    "a lying length": _lie,
    "bytes removed": _remove,
    "bytes inserted": _insert,
    "a piece repeated": _repeat,
    "another value representation": _retype,
}
