"""Frames as they are stored: encapsulated codestreams or native samples, without decoding where none is asked for."""

from __future__ import annotations

import numpy as np
import pydicom
from pydicom.encaps import get_frame
from pydicom.pixels.utils import pixel_array
from pydicom.uid import UID, ExplicitVRLittleEndian

from rpacs_hub.errors import FrameMissing, NotAnImage
from rpacs_hub.rendering.pixels import frame_count

__all__ = ["can_be_native", "native_frame", "stored_frame", "transfer_syntax_of"]

_PIXELS = {"FloatPixelData": 32, "DoubleFloatPixelData": 64, "PixelData": 0}
_SAMPLES_STAY = frozenset({"MONOCHROME1", "MONOCHROME2", "PALETTE COLOR", "RGB", "YBR_FULL"})


def transfer_syntax_of(dataset: pydicom.Dataset) -> UID:
    """Return the transfer syntax (0002,0010) of a file."""
    return UID(getattr(getattr(dataset, "file_meta", None), "TransferSyntaxUID", None) or ExplicitVRLittleEndian)


def can_be_native(dataset: pydicom.Dataset) -> bool:
    """Whether samples without compression are what the header says they are.

    Codecs change the colour space of some images, and subsampled ones have another layout when they are native
    (PS3.3 section C.7.6.3.1.2): their headers would describe other samples than those that decoding gives.
    """
    if not transfer_syntax_of(dataset).is_encapsulated:
        return True
    return str(dataset.get("PhotometricInterpretation", "")) in _SAMPLES_STAY


def stored_frame(dataset: pydicom.Dataset, number: int) -> bytes:
    """Return one frame without decoding it.

    Parameters
    ----------
    dataset
        The whole file.
    number
        From 1.

    Returns
    -------
    bytes
        The codestream, its fragments joined; or the samples in little endian (PS3.18 section 8.7.3.3.2).

    Raises
    ------
    FrameMissing
        There is no such frame.
    NotAnImage
        There are no pixels, or they are not as long as the header says.
    """
    frames = frame_count(dataset)
    if not 1 <= number <= frames:
        noun = "frame" if frames == 1 else "frames"
        raise FrameMissing(f"There is no frame {number}.", f"The instance has {frames} {noun}; they count from 1.")
    if transfer_syntax_of(dataset).is_encapsulated:
        return _encapsulated(dataset, number, frames)
    return _native(dataset, number)


def native_frame(dataset: pydicom.Dataset, number: int) -> bytes:
    """Return the samples of one frame in little endian, decoded where they are compressed; see `stored_frame`."""
    if not transfer_syntax_of(dataset).is_encapsulated:
        return stored_frame(dataset, number)
    frames = frame_count(dataset)
    if not 1 <= number <= frames:
        raise FrameMissing(f"There is no frame {number}.", f"The instance has {frames}; they count from 1.")
    try:
        samples = pixel_array(dataset, index=number - 1, raw=True)
    except Exception as error:
        name = transfer_syntax_of(dataset).name
        raise NotAnImage(
            f"The pixels cannot be decoded ({name}, {type(error).__name__}).", "Ask for them as they are stored."
        ) from error
    if samples.ndim == 3 and int(dataset.get("PlanarConfiguration", 0) or 0) == 1:
        samples = samples.transpose(2, 0, 1)
    little = samples.astype(samples.dtype.newbyteorder("<"), copy=False)
    return np.ascontiguousarray(little).tobytes()


def _encapsulated(dataset: pydicom.Dataset, number: int, frames: int) -> bytes:
    try:
        return get_frame(
            dataset.PixelData,
            number - 1,
            number_of_frames=frames,
            extended_offsets=_extended_offsets(dataset),
        )
    except Exception as error:
        raise NotAnImage(
            "The pixels are not encapsulated as they should be.", "Retrieve the whole instance instead."
        ) from error


def _extended_offsets(dataset: pydicom.Dataset) -> tuple[bytes, bytes] | None:
    if "ExtendedOffsetTable" not in dataset or "ExtendedOffsetTableLengths" not in dataset:
        return None
    return dataset.ExtendedOffsetTable, dataset.ExtendedOffsetTableLengths


def _native(dataset: pydicom.Dataset, number: int) -> bytes:
    keyword = next(keyword for keyword in _PIXELS if keyword in dataset)
    allocated = _PIXELS[keyword] or int(dataset.get("BitsAllocated", 0) or 0)
    samples = int(dataset.get("SamplesPerPixel", 1) or 1)
    per_frame = int(dataset.get("Rows", 0) or 0) * int(dataset.get("Columns", 0) or 0) * samples * allocated
    if str(dataset.get("PhotometricInterpretation", "")) == "YBR_FULL_422":
        per_frame = per_frame // 3 * 2
    data = dataset[keyword].value
    start = (number - 1) * per_frame
    if not isinstance(data, bytes) or per_frame == 0 or len(data) * 8 < start + per_frame:
        raise NotAnImage("The pixels are shorter than the header says.", "Retrieve the whole instance instead.")
    if start % 8 or per_frame % 8:
        # Single bits (segmentations): a frame may begin inside a byte, what is handed out never does.
        bits = np.unpackbits(
            np.frombuffer(data[start // 8 : (start + per_frame + 7) // 8], np.uint8), bitorder="little"
        )
        return np.packbits(bits[start % 8 : start % 8 + per_frame], bitorder="little").tobytes()
    frame = data[start // 8 : (start + per_frame) // 8]
    if dataset.original_encoding[1] is False:
        # Explicit VR Big Endian, retired: words of the VR's length are swapped, bytes stay.
        width = 2 if dataset[keyword].VR == "OW" and allocated <= 16 else allocated // 8
        if dataset[keyword].VR != "OB" and width > 1:
            return np.frombuffer(frame, f">u{width}").astype(f"<u{width}").tobytes()
    return frame
