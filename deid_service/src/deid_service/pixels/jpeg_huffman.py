"""The entropy-coded bits of a sequential JPEG scan: found block by block, and spliced (ITU-T T.81, annex F).

A block that is to be black becomes a few new bits. Of every other block the very bits of the source are copied, but for
the difference to the block before it, if that one is black now. So nothing has to be decoded but where blocks begin and
what their mean values are, and nothing that stays can change.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["Blocks", "HuffmanTable", "UnsupportedJpegError", "find_blocks", "splice"]

_MAX_DC_SIZE: Final = 11  # 8 bits a sample: T.81 table F.1
_END_OF_BLOCK: Final = 0
_SIXTEEN_ZEROS: Final = 0xF0
_LAST_COEFFICIENT: Final = 64
_ENDS_BLOCK: Final = _LAST_COEFFICIENT << 8


class UnsupportedJpegError(Exception):
    """The stream is damaged or of a kind that is not handled here: never leaves this package."""


class HuffmanTable:
    """One Huffman table (T.81 annex C).

    Parameters
    ----------
    counts : bytes
        How many codes there are of each length from 1 to 16.
    symbols : bytes
        What they stand for, shortest code first.

    Raises
    ------
    UnsupportedJpegError
        If that many codes of those lengths cannot exist.
    """

    def __init__(self, counts: bytes, symbols: bytes) -> None:
        if len(counts) != 16 or sum(counts) != len(symbols) or not symbols or len(set(symbols)) != len(symbols):
            raise UnsupportedJpegError("Huffman table")
        self.counts = counts
        self.symbols = symbols
        self.codes: dict[int, tuple[int, int]] = {}
        code = 0
        remaining = iter(symbols)
        for length, count in enumerate(counts, 1):
            for _ in range(count):
                self.codes[next(remaining)] = code, length
                code += 1
            # A code of ones only is not used (T.81 C.2), which leaves room to append longer ones.
            if code >= 1 << length and code:
                raise UnsupportedJpegError("Huffman table")
            code <<= 1

    def with_symbols(self, wanted: Iterable[int]) -> HuffmanTable:
        """Return a table that has codes for more symbols. Those that it has stay as they are.

        Raises
        ------
        UnsupportedJpegError
            If there is no room left.
        """
        missing = [symbol for symbol in wanted if symbol not in self.codes]
        if not missing:
            return self
        counts = bytearray(self.counts)
        symbols = self.symbols
        length = max(length for length, count in enumerate(counts, 1) if count)
        for symbol in missing:
            while True:
                if length > 16:
                    raise UnsupportedJpegError("no room in the Huffman table")
                counts[length - 1] += 1
                try:
                    table = HuffmanTable(bytes(counts), symbols + bytes([symbol]))
                    break
                except UnsupportedJpegError:
                    counts[length - 1] -= 1
                    length += 1
            symbols = table.symbols
        return table


@lru_cache(maxsize=8)
def _dc_lookup(counts: bytes, symbols: bytes) -> list[int]:
    """Return, for each 16 bits, ``size << 8 | length`` of the code that they begin with; 0 if none does."""
    lookup = np.zeros(1 << 16, np.int64)
    for symbol, (code, length) in HuffmanTable(counts, symbols).codes.items():
        if symbol <= _MAX_DC_SIZE:
            lookup[code << 16 - length : code + 1 << 16 - length] = symbol << 8 | length
    return lookup.tolist()


@lru_cache(maxsize=8)
def _ac_lookup(counts: bytes, symbols: bytes) -> tuple[list[int], list[int]]:
    """Return what 16 bits of AC coefficients hold: first the one code that they begin with, then as many as fit.

    An entry is ``coefficients << 8 | bits``, the bits of the coefficients' own values included; 0 if no code fits. The
    end of a block counts as 64 coefficients, and nothing is looked for after it.
    """
    one = np.zeros(1 << 16, np.int64)
    for symbol, (code, length) in HuffmanTable(counts, symbols).codes.items():
        run, size = symbol >> 4, symbol & 15
        if symbol == _END_OF_BLOCK:
            advance = _LAST_COEFFICIENT
        elif size == 0 and symbol != _SIXTEEN_ZEROS:
            continue  # progressive streams only
        else:
            advance = run + 1
        one[code << 16 - length : code + 1 << 16 - length] = advance << 8 | (length + size)
    many = one.copy()
    for _ in range(7):
        bits, advance_so_far = many & 255, many >> 8
        rest = np.arange(1 << 16) << np.minimum(bits, 16) & 0xFFFF
        following = one[rest]
        ends = following >> 8 == _LAST_COEFFICIENT
        fits = (
            (many > 0)
            & (following > 0)
            & (bits + (following & 255) <= 16)
            & (advance_so_far < _LAST_COEFFICIENT)
            # So that 64 and more always means that the end of a block is among them.
            & (ends | (advance_so_far + (following >> 8) < _LAST_COEFFICIENT))
        )
        many = np.where(fits, many + following, many)
    return one.tolist(), many.tolist()


class Blocks:
    """Where the blocks of a run of MCUs are.

    Attributes
    ----------
    starts : list of int
        First bit of each block, and the bit after the last one.
    dc_ends : list of int
        First bit after the block's DC code and value.
    levels : list of int
        Quantised DC coefficient of each block.
    """

    __slots__ = ("dc_ends", "levels", "starts")

    def __init__(self, starts: list[int], dc_ends: list[int], levels: list[int]) -> None:
        self.starts = starts
        self.dc_ends = dc_ends
        self.levels = levels


def find_blocks(
    data: bytes, units: int, pattern: Sequence[tuple[int, HuffmanTable, HuffmanTable]], components: int
) -> Blocks:
    """Find the blocks of one restart interval.

    Parameters
    ----------
    data : bytes
        Entropy-coded bytes, without stuffing.
    units : int
        Number of MCUs.
    pattern : sequence of (int, HuffmanTable, HuffmanTable)
        Component, DC table and AC table of each block of an MCU.
    components : int
        Number of components.

    Returns
    -------
    Blocks

    Raises
    ------
    UnsupportedJpegError
        If the bits are no such blocks.
    """
    end = 8 * len(data)
    if units * len(pattern) * 2 > end:
        raise UnsupportedJpegError("too short")
    padded = np.frombuffer(data + b"\xff" * 8, np.uint8).astype(np.uint32)
    words = array("I", (padded[:-3] << 24 | padded[1:-2] << 16 | padded[2:-1] << 8 | padded[3:]).tobytes())
    lookups = [
        (component, _dc_lookup(dc.counts, dc.symbols), *_ac_lookup(ac.counts, ac.symbols))
        for component, dc, ac in pattern
    ]
    starts: list[int] = []
    dc_ends: list[int] = []
    levels: list[int] = []
    last = [0] * components
    position = 0
    for _ in range(units):
        for component, dc_lookup, one, many in lookups:
            starts.append(position)
            entry = dc_lookup[words[position >> 3] >> 16 - (position & 7) & 0xFFFF]
            if not entry:
                raise UnsupportedJpegError("no such DC code")
            position += entry & 255
            size = entry >> 8
            if size:
                value = (words[position >> 3] >> 16 - (position & 7) & 0xFFFF) >> 16 - size
                last[component] += value if value >> size - 1 else value - (1 << size) + 1
                position += size
            dc_ends.append(position)
            levels.append(last[component])
            number = 1
            while number < _LAST_COEFFICIENT:
                bits = words[position >> 3] >> 16 - (position & 7) & 0xFFFF
                entry = many[bits]
                following = number + (entry >> 8)
                if following > _LAST_COEFFICIENT and (
                    entry < _ENDS_BLOCK or following - _LAST_COEFFICIENT >= _LAST_COEFFICIENT
                ):
                    entry = one[bits]  # the block ends among these codes
                    following = number + (entry >> 8)
                    if following > _LAST_COEFFICIENT and entry < _ENDS_BLOCK:
                        raise UnsupportedJpegError("a block of more than 64 coefficients")
                number = following
                if not entry:
                    raise UnsupportedJpegError("no such AC code")
                position += entry & 255
            if position > end:
                raise UnsupportedJpegError("too short")
    starts.append(position)
    return Blocks(starts, dc_ends, levels)


class _Bits:
    """Writes bits."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._value = 0
        self._length = 0

    def write(self, value: int, length: int) -> None:
        """Append `length` bits."""
        self._value = self._value << length | value
        self._length += length
        if self._length >= 512:
            spare = self._length & 7
            self._parts.append((self._value >> spare).to_bytes(self._length >> 3, "big"))
            self._value &= (1 << spare) - 1
            self._length = spare

    def copy(self, data: bytes, start: int, end: int) -> None:
        """Append the bits from `start` to `end` of `data`."""
        if start < end:
            value = int.from_bytes(data[start >> 3 : end + 7 >> 3], "big") >> (-end & 7)
            self.write(value & (1 << end - start) - 1, end - start)

    def finish(self) -> bytes:
        """Fill the last byte with ones and return all bytes."""
        spare = -self._length & 7
        value = self._value << spare | (1 << spare) - 1
        return b"".join((*self._parts, value.to_bytes((self._length + spare) >> 3, "big")))


def splice(
    data: bytes,
    blocks: Blocks,
    touched: NDArray[np.bool_],
    pattern: Sequence[tuple[int, HuffmanTable, HuffmanTable]],
    black: Sequence[int],
) -> tuple[bytes, list[set[int]]]:
    """Make blocks black.

    Parameters
    ----------
    data : bytes
        Entropy-coded bytes, without stuffing.
    blocks : Blocks
        From :func:`find_blocks`.
    touched : ndarray of bool, shape (blocks,)
        Which of them become black.
    pattern : sequence of (int, HuffmanTable, HuffmanTable)
        As for :func:`find_blocks`. Tables must have every code that is needed; see the second result.
    black : sequence of int
        Quantised DC coefficient of a black block, by component.

    Returns
    -------
    data : bytes
        New entropy-coded bytes, without stuffing; empty if a table lacks a code.
    missing : list of set of int
        For each block of an MCU: sizes of DC differences that its table has no code for.

    Raises
    ------
    UnsupportedJpegError
        If a difference is larger than the standard allows, or a table has no end of block.
    """
    old = [0] * len(black)
    new = [0] * len(black)
    missing: list[set[int]] = [set() for _ in pattern]
    bits = _Bits()
    keep_from = keep_to = 0
    flags: list[bool] = touched.tolist()
    ends = [ac.codes.get(_END_OF_BLOCK) for _, _, ac in pattern]
    for index, ((start, following), dc_end, level, black_now) in enumerate(
        zip(pairwise(blocks.starts), blocks.dc_ends, blocks.levels, flags, strict=True)
    ):
        place = index % len(pattern)
        component, dc, _ = pattern[place]
        wanted = black[component] if black_now else level
        difference = wanted - new[component]
        if not black_now and difference == level - old[component]:
            if keep_to != start:
                bits.copy(data, keep_from, keep_to)
                keep_from = start
            keep_to = following
        else:
            bits.copy(data, keep_from, keep_to)
            keep_from, keep_to = dc_end, dc_end if black_now else following
            size = abs(difference).bit_length()
            if size > _MAX_DC_SIZE:
                raise UnsupportedJpegError("a DC difference beyond the standard's")
            code = dc.codes.get(size)
            if code is None:
                missing[place].add(size)
            else:
                bits.write(*code)
                bits.write(difference if difference > 0 else difference + (1 << size) - 1, size)
            if black_now:
                end = ends[place]
                if end is None:
                    raise UnsupportedJpegError("a Huffman table without an end of block")
                bits.write(*end)
        old[component], new[component] = level, wanted
    bits.copy(data, keep_from, keep_to)
    return (b"" if any(missing) else bits.finish()), missing
