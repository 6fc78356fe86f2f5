"""Decoding pixel data of pydicom's data sets and encoding it anew, frame by frame (PS3.5 section 8 and Annex A).

Done in Python: Orthanc's own transcoder crashes on files that occur. Every encoder and decoder is named rather than
taken as it comes, so that the same file gives the same bytes on every machine.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.encoders.base import get_encoder
from pydicom.uid import UID

from deid_service.errors import Refused

__all__ = ["TARGETS", "Frames", "Target", "available_targets", "decode_frames", "encode_frame"]

_DECODER: Final = "pylibjpeg"
# A decoded frame has every sample of every pixel, whatever was left out before (PS3.3 C.7.6.3.1.2).
_FULL_COLOUR: Final = {"YBR_FULL_422": "YBR_FULL"}


@dataclass(frozen=True, slots=True)
class Target:
    """A transfer syntax that pixel data can be written in.

    Attributes
    ----------
    uid, name : str
        Its UID, and what people call it.
    encoder : str
        pydicom's name of the encoder; empty for pixel data that is not compressed.
    """

    uid: str
    name: str
    encoder: str = ""


TARGETS: Final = {
    target.uid: target
    for target in (
        Target("1.2.840.10008.1.2", "Implicit VR Little Endian"),
        Target("1.2.840.10008.1.2.1", "Explicit VR Little Endian"),
        Target("1.2.840.10008.1.2.5", "RLE Lossless", "pylibjpeg"),
        Target("1.2.840.10008.1.2.4.80", "JPEG-LS Lossless", "pyjpegls"),
        Target("1.2.840.10008.1.2.4.90", "JPEG 2000 Lossless", "pylibjpeg"),
    )
}
"""What ``Transcode`` can ask for: lossless syntaxes only. A researcher's pixels are not made worse on the way."""


@cache
def available_targets() -> tuple[str, ...]:
    """Return the UIDs of :data:`TARGETS` whose encoder is installed."""
    return tuple(
        target.uid
        for target in TARGETS.values()
        if not target.encoder or target.encoder in get_encoder(UID(target.uid)).available_plugins
    )


@dataclass(frozen=True, slots=True)
class Frames:
    """How decoded frames are to be understood.

    Attributes
    ----------
    rows, columns, samples, number : int
        Shape: `number` frames of (rows, columns) or (rows, columns, samples).
    bits_allocated, bits_stored : int
        Of one sample.
    signed : bool
        Pixel Representation.
    photometric : str
        Photometric Interpretation as decoded; differs from the header's where the codec transforms colours.
    """

    rows: int
    columns: int
    samples: int
    number: int
    bits_allocated: int
    bits_stored: int
    signed: bool
    photometric: str


def decode_frames(dataset: Dataset) -> Iterator[tuple[NDArray[Any], Frames]]:
    """Decode pixel data frame by frame, without changing colours.

    Parameters
    ----------
    dataset : Dataset
        As pydicom read it, with its file meta information.

    Yields
    ------
    array : ndarray, shape (rows, columns) or (rows, columns, samples)
        Little endian integers of ``bits_allocated`` bits. Bits above ``bits_stored`` are no part of the pixels (PS3.5
        8.1.1): they are filled with the sign or with zeros.
    frames : Frames
        The same for each frame.

    Raises
    ------
    Refused
        ``not_transcodable`` if a frame cannot be decoded, or there are more or fewer frames than the header says.
    """
    number = 0
    expected = 1
    try:
        decoder = get_decoder(dataset.file_meta.TransferSyntaxUID)
        plugin = _DECODER if _DECODER in decoder.available_plugins else ""
        expected = int(dataset.get("NumberOfFrames") or 1)
        with warnings.catch_warnings():
            # pydicom warns of padding and of bits that do not agree with the header; what counts is checked here.
            warnings.simplefilter("ignore")
            for array, meta in decoder.iter_array(dataset, raw=True, decoding_plugin=plugin):
                frames = Frames(
                    int(meta["rows"]),
                    int(meta["columns"]),
                    int(meta["samples_per_pixel"]),
                    expected,
                    int(dataset.BitsAllocated),
                    int(dataset.BitsStored),
                    int(meta.get("pixel_representation", 0)) == 1,
                    _FULL_COLOUR.get(str(meta["photometric_interpretation"]), str(meta["photometric_interpretation"])),
                )
                yield _within_bits(array, frames), frames
                number += 1
    except Refused:
        raise
    except Exception as error:  # noqa: BLE001 - codecs raise many kinds, and messages may quote values
        raise Refused("not_transcodable", f"frame {number + 1} cannot be decoded ({type(error).__name__})") from None
    if number != expected:
        raise Refused("not_transcodable", f"the pixel data holds {number} frames, the header says {expected}")


def _within_bits(array: NDArray[Any], frames: Frames) -> NDArray[Any]:
    spare = array.dtype.itemsize * 8 - frames.bits_stored
    array = array.astype(array.dtype.newbyteorder("<"), copy=False)
    if frames.bits_allocated == 1 or spare <= 0 or array.dtype.kind not in "iu":
        return array
    return (array << spare) >> spare


def encode_frame(array: NDArray[Any], frames: Frames, uid: str) -> bytes:
    """Encode one frame.

    Parameters
    ----------
    array : ndarray
        From :func:`decode_frames`.
    frames : Frames
        Likewise.
    uid : str
        One of :data:`TARGETS`.

    Returns
    -------
    bytes
        A codestream, padded to an even length; or plain little endian pixels.

    Raises
    ------
    Refused
        ``not_transcodable`` if the syntax cannot hold such pixels.
    """
    target = TARGETS[uid]
    if not target.encoder:
        return array.tobytes()
    # RLE compresses the bytes of the cells and knows nothing of bits stored (PS3.5 Annex G).
    stored = frames.bits_allocated if target.uid == "1.2.840.10008.1.2.5" else frames.bits_stored
    try:
        encoded: bytes = get_encoder(UID(uid)).encode(
            np.ascontiguousarray(array),
            encoding_plugin=target.encoder,
            rows=frames.rows,
            columns=frames.columns,
            samples_per_pixel=frames.samples,
            number_of_frames=1,
            bits_allocated=frames.bits_allocated,
            bits_stored=stored,
            pixel_representation=int(frames.signed),
            photometric_interpretation=frames.photometric,
            planar_configuration=0,
        )
    except Exception as error:  # noqa: BLE001 - codecs raise many kinds, and messages may quote values
        raise Refused(
            "not_transcodable",
            f"{target.name} cannot hold pixels of {frames.bits_allocated} bits, {frames.photometric}"
            f" ({type(error).__name__})",
        ) from None
    return encoded + b"\0" * (len(encoded) % 2)
