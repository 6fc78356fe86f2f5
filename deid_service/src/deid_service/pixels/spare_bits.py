"""Bits of pixel cells that are no part of the pixels, and the overlays that may hide there (PS3.5 8.1.1 and 8.1.2).

Before 2004 an overlay could lie in the bits above those of the pixels. The elements of group 60xx that say so are
removed with every overlay; the bits would stay, and a viewer that shows all bits shows the text in them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["cleared", "has_planes"]

_PIECE: Final = 2**21


def has_planes(value: memoryview, dtype: np.dtype[Any], bits_stored: int, high_bit: int, *, signed: bool) -> bool:
    """Tell whether bits beside the pixels say anything.

    Parameters
    ----------
    value : memoryview
        Native pixels; a multiple of the cell's size long.
    dtype : dtype
        Of a cell: unsigned, in the byte order of the value.
    bits_stored, high_bit : int
        Which bits are the pixel.
    signed : bool
        Pixel Representation.

    Returns
    -------
    bool
        False if they are zero throughout, or throughout repeat the sign of signed pixels.
    """
    spare = _spare(dtype, bits_stored, high_bit)
    if not spare:
        return False
    if not any(int(np.bitwise_or.reduce(cells, initial=0)) & spare for cells in _pieces(value, dtype)):
        return False
    return not signed or any(
        bool((_with_sign(cells, bits_stored, high_bit) != cells).any()) for cells in _pieces(value, dtype)
    )


def cleared(
    value: memoryview, dtype: np.dtype[Any], bits_stored: int, high_bit: int, *, signed: bool
) -> Iterator[bytes]:
    """Return pixels without the bits beside them, piece by piece.

    Parameters
    ----------
    value, dtype, bits_stored, high_bit, signed
        As for :func:`has_planes`.

    Yields
    ------
    bytes
        The same pixels. The other bits are zero; above signed pixels they repeat the sign if they do so in most.
    """
    keep = ~_spare(dtype, bits_stored, high_bit) & (1 << 8 * dtype.itemsize) - 1
    if signed:
        repeated = plain = 0
        for cells in _pieces(value, dtype):
            repeated += int(np.count_nonzero(_with_sign(cells, bits_stored, high_bit) == cells))
            plain += int(np.count_nonzero(cells & dtype.type(keep) == cells))
        signed = repeated >= plain
    for cells in _pieces(value, dtype):
        new = _with_sign(cells, bits_stored, high_bit) if signed else cells & dtype.type(keep)
        yield new.astype(dtype).tobytes()


def _spare(dtype: np.dtype[Any], bits_stored: int, high_bit: int) -> int:
    stored = (1 << bits_stored) - 1 << high_bit - bits_stored + 1
    return ~stored & (1 << 8 * dtype.itemsize) - 1


def _pieces(value: memoryview, dtype: np.dtype[Any]) -> Iterator[NDArray[Any]]:
    for start in range(0, len(value), _PIECE):
        yield np.frombuffer(value[start : start + _PIECE], dtype)


def _with_sign(cells: NDArray[Any], bits_stored: int, high_bit: int) -> NDArray[Any]:
    """Repeat the sign in the bits above the pixels; those below become zero."""
    width = 8 * cells.dtype.itemsize
    native = cells.astype(f"i{cells.dtype.itemsize}")
    value = (native << width - 1 - high_bit) >> width - bits_stored
    return (value << high_bit - bits_stored + 1).astype(f"u{cells.dtype.itemsize}")
