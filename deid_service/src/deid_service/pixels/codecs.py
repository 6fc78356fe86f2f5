"""Decoding and encoding single frames (PS3.5 section 8 and Annex A).

Done in Python: Orthanc's own transcoder crashes on files that occur. Every decoder and encoder is named rather than
taken as it comes, so that the same file gives the same bytes on every machine. What is encoded is encoded without loss.
"""

from __future__ import annotations

import importlib
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from deid_service.errors import Refused
from deid_service.pixels.codestream import Codestream, read_codestream
from deid_service.pixels.layout import Layout

__all__ = [
    "DEFLATED_FRAMES",
    "EXPLICIT_LITTLE",
    "JPEG_2000",
    "JPEG_2000_LOSSLESS",
    "JPEG_LS_LOSSLESS",
    "RLE",
    "TARGETS",
    "Target",
    "available_targets",
    "decode",
    "decoded_photometric",
    "encode",
    "has_decoder",
    "is_compressed",
    "require_decoder",
]

IMPLICIT_LITTLE: Final = "1.2.840.10008.1.2"
EXPLICIT_LITTLE: Final = "1.2.840.10008.1.2.1"
RLE: Final = "1.2.840.10008.1.2.5"
DEFLATED_FRAMES: Final = "1.2.840.10008.1.2.8.1"
JPEG_LS_LOSSLESS: Final = "1.2.840.10008.1.2.4.80"
JPEG_2000_LOSSLESS: Final = "1.2.840.10008.1.2.4.90"
JPEG_2000: Final = "1.2.840.10008.1.2.4.91"

_NATIVE: Final = frozenset(
    {IMPLICIT_LITTLE, EXPLICIT_LITTLE, "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99", "1.2.840.113619.5.2"}
)
# Baseline, extended, spectral selection, full progression; lossless; JPEG-LS.
_LIBJPEG: Final = frozenset(f"1.2.840.10008.1.2.4.{number}" for number in (50, 51, 53, 55, 57, 70, 80, 81))
_OPENJPEG: Final = frozenset(f"1.2.840.10008.1.2.4.{number}" for number in (90, 91, 201, 202, 203))
_VIDEO: Final = tuple(f"1.2.840.10008.1.2.4.10{number}" for number in range(10))
_JPEG_LS: Final = frozenset({JPEG_LS_LOSSLESS, "1.2.840.10008.1.2.4.81"})
_MODULES: Final = {
    **dict.fromkeys(_LIBJPEG, "libjpeg"),
    **dict.fromkeys(_OPENJPEG, "openjpeg"),
    RLE: "rle",
    DEFLATED_FRAMES: "zlib",
}
_END: Final = b"\xff\xd9"  # of a codestream, JPEG as well as JPEG 2000
# What OpenJPEG calls the colours of what it is given: only RGB is transformed.
_UNSPECIFIED, _RGB = 0, 1


@dataclass(frozen=True, slots=True)
class Target:
    """A transfer syntax that pixel data can be written in.

    Attributes
    ----------
    uid, name : str
        Its UID, and what people call it.
    encoder : str
        The Python module that encodes it; empty for pixel data that is not compressed.
    """

    uid: str
    name: str
    encoder: str = ""


TARGETS: Final = {
    target.uid: target
    for target in (
        Target(IMPLICIT_LITTLE, "Implicit VR Little Endian"),
        Target(EXPLICIT_LITTLE, "Explicit VR Little Endian"),
        Target(RLE, "RLE Lossless", "rle"),
        Target(JPEG_LS_LOSSLESS, "JPEG-LS Lossless", "jpeg_ls"),
        Target(JPEG_2000_LOSSLESS, "JPEG 2000 Lossless", "openjpeg"),
    )
}
"""What ``Transcode`` can ask for: lossless syntaxes only. A researcher's pixels are not made worse on the way."""


@cache
def available_targets() -> tuple[str, ...]:
    """Return the UIDs of :data:`TARGETS` whose encoder is installed."""
    return tuple(target.uid for target in TARGETS.values() if not target.encoder or find_spec(target.encoder))


def is_compressed(transfer_syntax: str) -> bool:
    """Tell whether pixel data of a transfer syntax is encapsulated (PS3.5 A.4)."""
    return transfer_syntax not in _NATIVE


def require_decoder(transfer_syntax: str) -> None:
    """Refuse what nothing here decodes.

    Raises
    ------
    Refused
        ``pixels_not_decodable``.
    """
    if transfer_syntax.startswith(_VIDEO):
        raise Refused("pixels_not_decodable", "video can be neither searched nor masked")
    if transfer_syntax not in _MODULES:
        raise Refused("pixels_not_decodable", "no decoder for this transfer syntax")
    if find_spec(_MODULES[transfer_syntax]) is None:
        raise Refused("pixels_not_decodable", f"install {_MODULES[transfer_syntax]} to decode this transfer syntax")


def has_decoder(transfer_syntax: str) -> bool:
    """Tell whether :func:`decode` can be asked for a transfer syntax."""
    return transfer_syntax in _MODULES and find_spec(_MODULES[transfer_syntax]) is not None


@cache
def _function(module: str, name: str) -> Callable[..., Any]:
    # Loaded when first needed: most instances are never decoded.
    found: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return found


def decoded_photometric(data: bytes | memoryview, layout: Layout, transfer_syntax: str) -> str:
    """Tell what colours a decoded frame has.

    Parameters
    ----------
    data : bytes
        A frame.
    layout : Layout
        What the header says.
    transfer_syntax : str
        Transfer syntax UID.

    Returns
    -------
    str
        A Photometric Interpretation. JPEG 2000's transformations are undone by the decoder. What a codestream of JPEG
        says of its colours (markers of Adobe and JFIF, components named R, G and B) prevails over the header.
    """
    photometric = layout.decoded_photometric
    if layout.samples != 3 or transfer_syntax in (RLE, DEFLATED_FRAMES):
        return photometric
    stream = read_codestream(data)
    if transfer_syntax in _OPENJPEG:
        return "RGB" if stream.transformed or photometric in ("YBR_ICT", "YBR_RCT") else photometric
    if stream.colours == "RGB":
        return "RGB"
    if stream.colours == "YBR" and not photometric.startswith("YBR"):
        return "YBR_FULL"
    return photometric


def decode(data: bytes | memoryview, layout: Layout, transfer_syntax: str) -> NDArray[Any]:
    """Decode one frame.

    Parameters
    ----------
    data : bytes
        The frame's codestream.
    layout : Layout
        What the header says.
    transfer_syntax : str
        Transfer syntax UID.

    Returns
    -------
    ndarray, shape (rows, columns) or (rows, columns, samples)
        Cells: unsigned integers of the bits allocated, colours as :func:`decoded_photometric` says. Of codestreams with
        signed samples the cells hold the sign in all their upper bits.

    Raises
    ------
    Refused
        ``pixels_not_decodable`` if that cannot be done, or the frame is not of the size that the header says.
    """
    stream: Codestream | None = None
    if transfer_syntax not in (RLE, DEFLATED_FRAMES):
        stream = read_codestream(data)
        if (stream.rows, stream.columns, stream.samples) != (layout.rows, layout.columns, layout.samples):
            raise Refused("pixels_not_decodable", "a compressed frame is not of the size that the header says")
        if stream.precision > layout.dtype.itemsize * 8:
            raise Refused("pixels_not_decodable", "a compressed frame has more bits than the header allocates")
        # Decoders make up what is missing: half a frame that is searched or masked is no frame that was.
        if _END not in bytes(data[-16:]):
            raise Refused("pixels_not_decodable", "a compressed frame is cut off")
    try:
        if transfer_syntax == RLE:
            return _decode_rle(bytes(data), layout)
        if transfer_syntax == DEFLATED_FRAMES:
            return _decode_deflated(data, layout)
        assert stream is not None
        module = "openjpeg" if transfer_syntax in _OPENJPEG else "libjpeg"
        decoded = _function(module, "decode_pixel_data")(bytes(data), version=2)
    except Refused:
        raise
    except BaseException as error:
        # Codecs raise many kinds, and messages may quote values. What a codec in Rust raises where it gives up is no
        # Exception, and would end the process.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise Refused("pixels_not_decodable", f"a frame cannot be decoded ({type(error).__name__})") from None
    width = 1 if stream.precision <= 8 else 2 if stream.precision <= 16 else 4
    count = layout.rows * layout.columns * layout.samples
    if len(decoded) != count * width:
        raise Refused("pixels_not_decodable", "a frame decodes to more or fewer pixels than the header says")
    array = np.frombuffer(decoded, f"<{'i' if stream.signed else 'u'}{width}").reshape(layout.shape)
    if stream.signed:
        array = array.astype(f"<i{layout.dtype.itemsize}", copy=False)
    elif layout.signed and (
        stream.precision == layout.high_bit + 1
        or (stream.precision <= layout.high_bit and transfer_syntax in _OPENJPEG | _JPEG_LS)
    ):
        # Most codestreams cannot say that samples are signed: the sign is their highest bit.
        spare = layout.dtype.itemsize * 8 - stream.precision
        array = (array.astype(layout.dtype) << spare).view(f"<i{layout.dtype.itemsize}") >> spare
    return array.astype(layout.dtype, copy=False)


def _decode_rle(data: bytes, layout: Layout) -> NDArray[Any]:
    decode_segments = _function("rle", "decode_pixel_data")
    if layout.bits_allocated == 1:
        # Packed first, then compressed as bytes (PS3.5 8.1.1).
        packed = decode_segments(data, version=2, rows=1, columns=(layout.frame_bits + 7) // 8, bits_allocated=8)
        bits = np.unpackbits(np.frombuffer(packed, np.uint8), bitorder="little")
        return bits[: layout.frame_bits].reshape(layout.shape)
    decoded = decode_segments(
        data, version=2, rows=layout.rows, columns=layout.columns, bits_allocated=layout.bits_allocated
    )
    array = np.frombuffer(decoded, layout.dtype)
    if array.size != layout.rows * layout.columns * layout.samples:
        raise Refused("pixels_not_decodable", "a frame decodes to more or fewer pixels than the header says")
    # The segments of RLE are planes, whatever Planar Configuration says (PS3.5 G.2).
    planes = array.reshape(layout.samples, layout.rows, layout.columns)
    return planes[0] if layout.samples == 1 else np.ascontiguousarray(planes.transpose(1, 2, 0))


def _decode_deflated(data: bytes | memoryview, layout: Layout) -> NDArray[Any]:
    size = (layout.frame_bits + 7) // 8
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    plain = inflater.decompress(data, size + 2)
    if not inflater.eof or not size <= len(plain) <= size + 1:
        raise Refused("pixels_not_decodable", "a frame decodes to more or fewer pixels than the header says")
    if layout.bits_allocated == 1:
        bits = np.unpackbits(np.frombuffer(plain, np.uint8), bitorder="little")
        return bits[: layout.frame_bits].reshape(layout.shape)
    return layout.arranged(np.frombuffer(plain[:size], layout.dtype))


def encode(
    cells: NDArray[Any],
    layout: Layout,
    transfer_syntax: str,
    *,
    precision: int | None = None,
    signed: bool | None = None,
    transform: bool = False,
) -> bytes:
    """Encode one frame without loss.

    Parameters
    ----------
    cells : ndarray, shape (rows, columns) or (rows, columns, samples)
        Cells, as :func:`decode` returns them.
    layout : Layout
        Theirs.
    transfer_syntax : str
        A syntax of :data:`TARGETS` that compresses; JPEG 2000 (which need not lose anything); or deflated frames.
    precision : int, optional
        Bits of a sample in the codestream, for JPEG-LS and JPEG 2000; higher ones are lost. By default those up to
        High Bit.
    signed : bool, optional
        Whether the codestream of JPEG 2000 has signed samples. The default is Pixel Representation.
    transform : bool, optional
        JPEG 2000: transform RGB reversibly (YBR_RCT).

    Returns
    -------
    bytes
        A codestream, padded to an even length.

    Raises
    ------
    Refused
        ``not_transcodable`` if the syntax cannot hold such pixels.
    """
    precision = precision or layout.high_bit + 1
    signed = layout.signed if signed is None else signed
    try:
        if transfer_syntax == RLE:
            encoded = _encode_rle(cells, layout)
        elif transfer_syntax == DEFLATED_FRAMES:
            encoded = _deflated(cells, layout)
        elif transfer_syntax == JPEG_LS_LOSSLESS:
            encoded = _function("jpeg_ls", "encode_pixel_data")(
                _sized(cells, precision, signed=False),
                rows=layout.rows,
                columns=layout.columns,
                samples_per_pixel=layout.samples,
                bits_stored=precision,
                planar_configuration=0,
            )
        else:
            encoded = _function("openjpeg.utils", "encode_buffer")(
                _sized(cells, precision, signed=signed),
                layout.columns,
                layout.rows,
                layout.samples,
                precision,
                signed,
                photometric_interpretation=_RGB if transform else _UNSPECIFIED,
                use_mct=transform,
            )
    except Exception as error:  # noqa: BLE001 - codecs raise many kinds, and messages may quote values
        name = TARGETS[transfer_syntax].name if transfer_syntax in TARGETS else transfer_syntax
        raise Refused(
            "not_transcodable",
            f"{name} cannot hold pixels of {layout.bits_allocated} bits, {layout.photometric} ({type(error).__name__})",
        ) from None
    return bytes(encoded) + b"\0" * (len(encoded) % 2)


def _encode_rle(cells: NDArray[Any], layout: Layout) -> bytes:
    rows, columns, bits = layout.rows, layout.columns, layout.bits_allocated
    if bits == 1:
        cells = np.packbits(cells.ravel(), bitorder="little")
        rows, columns, bits = 1, cells.size, 8
    encoded: bytes = _function("rle", "encode_pixel_data")(
        np.ascontiguousarray(cells).tobytes(),
        rows=rows,
        columns=columns,
        samples_per_pixel=layout.samples,
        bits_allocated=bits,
        byteorder="<",
    )
    return encoded


def _sized(cells: NDArray[Any], precision: int, *, signed: bool) -> bytes:
    """Return cells cut to `precision` bits, in the containers that encoders take."""
    width = cells.dtype.itemsize * 8
    if precision < width:
        spare = width - precision
        kind = cells.view(f"<i{width // 8}") if signed else cells
        cells = (kind << spare) >> spare
    size = 1 if precision <= 8 else 2 if precision <= 16 else 4
    return cells.astype(f"<{'i' if signed else 'u'}{size}").tobytes()


def _deflated(cells: NDArray[Any], layout: Layout) -> bytes:
    plain = (
        np.packbits(cells.ravel(), bitorder="little").tobytes()
        if layout.bits_allocated == 1
        else np.ascontiguousarray(cells.transpose(2, 0, 1) if layout.planar else cells).tobytes()
    )
    deflater = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return deflater.compress(plain + b"\0" * (len(plain) % 2)) + deflater.flush()
