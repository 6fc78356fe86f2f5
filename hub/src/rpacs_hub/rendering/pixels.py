"""One frame of a DICOM image -> 8-bit grey or RGB, the way PS3.3 C.7.6.3 and C.11 say it is to be shown.

Decoding happens in Python (pydicom with pylibjpeg), never in Orthanc: its GDCM plugin is known to crash the server.
"""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.dataelem import DataElement
from pydicom.multival import MultiValue
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut, apply_voi
from pydicom.pixels.utils import pixel_array
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from rpacs_hub.errors import FrameMissing, NotAnImage

__all__ = ["decode_frame", "frame_count", "read_dataset", "to_display"]

Array = npt.NDArray[Any]

_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
_WITHOUT_PIXELS = ("SR", "RTSTRUCT", "RTPLAN", "PR", "KO", "ECG", "REG", "DOC")
_LOWEST, _HIGHEST = 1.0, 99.5


def read_dataset(data: bytes) -> pydicom.Dataset:
    """Read a DICOM file.

    Raises
    ------
    NotAnImage
        It cannot be read.
    """
    try:
        dataset = pydicom.dcmread(io.BytesIO(data), force=True)
        meta = dataset.file_meta
        if "TransferSyntaxUID" not in meta and dataset.original_encoding[0] is not None:
            # A file without it was read all the same, so its encoding is known.
            implicit, little = dataset.original_encoding
            names = {(True, True): ImplicitVRLittleEndian, (False, True): ExplicitVRLittleEndian}
            meta.TransferSyntaxUID = names.get((bool(implicit), bool(little)), ExplicitVRBigEndian)
        return dataset
    except Exception as error:
        raise NotAnImage("The file cannot be read as DICOM.", "Download it and look at it with other tools.") from error


def frame_count(dataset: pydicom.Dataset) -> int:
    """Return how many frames an image has (0028,0008); 1 where it does not say.

    Raises
    ------
    NotAnImage
        It has no pixels at all.
    """
    if not any(keyword in dataset for keyword in _PIXELS):
        modality = str(dataset.get("Modality", "") or "")
        what = f"This {modality} object" if modality in _WITHOUT_PIXELS else "The object"
        raise NotAnImage(f"{what} holds no pixels.", "Read its content with the tags or with dicom().")
    try:
        return max(1, int(dataset.get("NumberOfFrames") or 1))
    except (TypeError, ValueError):
        return 1


def decode_frame(dataset: pydicom.Dataset, frame: int) -> Array:
    """Decode one frame, and only that one.

    Parameters
    ----------
    dataset
        The whole file.
    frame
        From 1.

    Returns
    -------
    numpy.ndarray
        Stored values, (rows, columns) or (rows, columns, samples); YBR is RGB already.

    Raises
    ------
    FrameMissing
        There is no such frame.
    NotAnImage
        There are no pixels, or they cannot be decoded.
    """
    frames = frame_count(dataset)
    if not 1 <= frame <= frames:
        noun = "frame" if frames == 1 else "frames"
        raise FrameMissing(f"There is no frame {frame}.", f"The instance has {frames} {noun}; they count from 1.")
    try:
        decoded: Array = pixel_array(dataset, index=frame - 1)
    except Exception as error:
        syntax = getattr(getattr(dataset, "file_meta", None), "TransferSyntaxUID", None)
        name = pydicom.uid.UID(syntax).name if syntax else "unknown transfer syntax"
        raise NotAnImage(
            f"The pixels cannot be decoded ({name}, {type(error).__name__}).",
            "Download the file and look at it with other tools.",
        ) from error
    return decoded


def to_display(
    stored: Array,
    dataset: pydicom.Dataset,
    frame: int,
    center: float | None = None,
    width: float | None = None,
    function: str | None = None,
) -> npt.NDArray[np.uint8]:
    """Turn stored values into what belongs on the screen.

    Parameters
    ----------
    stored
        From `decode_frame`.
    dataset, frame
        Where it came from; enhanced objects describe each frame on its own.
    center, width
        Window in modality units, such as HU; None = the file's own, else from the values.
    function
        ``LINEAR``, ``LINEAR_EXACT`` or ``SIGMOID``; None = the file's own (0028,1056).

    Returns
    -------
    numpy.ndarray
        uint8, (rows, columns) or (rows, columns, 3).
    """
    if stored.ndim == 3 and stored.shape[-1] >= 3:
        return _colour(stored[..., :3], dataset)
    if stored.ndim == 3:
        stored = stored[..., 0]
    photometric = str(dataset.get("PhotometricInterpretation", "MONOCHROME2"))
    if photometric == "PALETTE COLOR":
        return _to_8_bits(np.asarray(apply_color_lut(stored, dataset)), _palette_bits(dataset))
    view = _frame_view(dataset, frame)
    values = _modality_values(stored, view)
    if function is not None:
        # A new element: changing the one in place would change the dataset that it was taken from.
        view.add(DataElement(0x00281056, "CS", function))
    grey = _windowed(values, stored, view, center, width)
    inverse = str(dataset.get("PresentationLUTShape", "")) == "INVERSE"
    if (photometric == "MONOCHROME1") != inverse:
        grey = 1.0 - grey
    return np.asarray(np.clip(grey * 255.0 + 0.5, 0, 255), dtype=np.uint8)


def _colour(rgb: Array, dataset: pydicom.Dataset) -> npt.NDArray[np.uint8]:
    bits = int(dataset.get("BitsStored", 8) or 8)
    return _to_8_bits(rgb, bits)


def _palette_bits(dataset: pydicom.Dataset) -> int:
    descriptor = dataset.get("RedPaletteColorLookupTableDescriptor")
    return 16 if descriptor is None or int(descriptor[2]) > 8 else 8


def _to_8_bits(values: Array, bits: int) -> npt.NDArray[np.uint8]:
    if values.dtype == np.uint8 and bits >= 8:
        return np.asarray(values, dtype=np.uint8)
    top = float((1 << bits) - 1)
    return np.asarray(np.clip(values.astype(np.float32) * (255.0 / top) + 0.5, 0, 255), dtype=np.uint8)


def _frame_view(dataset: pydicom.Dataset, frame: int) -> pydicom.Dataset:
    """Return a dataset whose modality and VOI attributes are this frame's (PS3.3 C.7.6.16)."""
    shared = _first(dataset.get("SharedFunctionalGroupsSequence"))
    per_frame = dataset.get("PerFrameFunctionalGroupsSequence")
    own = per_frame[frame - 1] if per_frame and len(per_frame) >= frame else None
    view = pydicom.Dataset()
    for keyword in (
        *("RescaleSlope", "RescaleIntercept", "RescaleType", "ModalityLUTSequence", "VOILUTSequence"),
        *("WindowCenter", "WindowWidth", "VOILUTFunction", "PixelPaddingValue", "PixelPaddingRangeLimit"),
        *("BitsStored", "BitsAllocated", "PixelRepresentation", "PhotometricInterpretation", "Modality", "SOPClassUID"),
    ):
        if keyword in dataset:
            view.add(dataset[keyword])
    for group in filter(None, (shared, own)):
        for name in ("PixelValueTransformationSequence", "FrameVOILUTSequence"):
            item = _first(group.get(name))
            for element in item or ():
                view.add(element)
    return view


def _first(sequence: Any) -> pydicom.Dataset | None:
    return sequence[0] if sequence else None


def _modality_values(stored: Array, view: pydicom.Dataset) -> Array:
    try:
        return np.asarray(apply_modality_lut(stored, view))
    except Exception:  # noqa: BLE001 - a broken look-up table: the stored values still make a picture
        return stored


def _windowed(
    values: Array, stored: Array, view: pydicom.Dataset, center: float | None, width: float | None
) -> npt.NDArray[np.float32]:
    """Return grey values from 0 to 1."""
    function = str(view.get("VOILUTFunction", "") or "LINEAR")
    if center is None and width is None:
        if "VOILUTSequence" in view:
            try:
                table = apply_voi(np.asarray(values).astype(np.int64), view).astype(np.float32)
                bits = int(view.VOILUTSequence[0].LUTDescriptor[2])
                return np.asarray(table / float((1 << bits) - 1), dtype=np.float32)
            except Exception:  # noqa: BLE001, S110 - a broken table: the window or the values decide
                pass
        center, width = _number(view.get("WindowCenter")), _number(view.get("WindowWidth"))
    if center is None or width is None or (width <= 0 if function != "LINEAR" else width < 1):
        low, high = _range(values, stored, view)
        if center is not None and width is None:
            width = max(high - low, 1.0)
        elif width is not None and width > 0 and center is None:
            center = (low + high) / 2
        else:
            spread = high - low
            return np.asarray((values.astype(np.float32) - low) / (spread if spread > 0 else 1.0), dtype=np.float32)
        function = "LINEAR_EXACT"
    return window(values, center, width, function)


def window(values: Array, center: float, width: float, function: str = "LINEAR") -> npt.NDArray[np.float32]:
    """Apply a window (PS3.3 C.11.2.1.2 and C.11.2.1.3).

    Parameters
    ----------
    values
        Modality values.
    center, width
        In the same units; `width` at least 1 for ``LINEAR``, above 0 otherwise.
    function
        ``LINEAR``, ``LINEAR_EXACT`` or ``SIGMOID``.

    Returns
    -------
    numpy.ndarray
        float32 from 0 to 1, same shape.
    """
    x = values.astype(np.float32)
    if function == "SIGMOID":
        return np.asarray(1.0 / (1.0 + np.exp(np.clip(-4.0 * (x - center) / width, -80, 80))), dtype=np.float32)
    if function == "LINEAR_EXACT" or width <= 1:
        if width <= 1 and function == "LINEAR":
            return np.asarray(x > center - 0.5, dtype=np.float32)
        grey = (x - center) / width + 0.5
    else:
        grey = (x - (center - 0.5)) / (width - 1.0) + 0.5
    return np.asarray(np.clip(grey, 0.0, 1.0), dtype=np.float32)


def _number(value: Any) -> float | None:
    """Return the first value as a finite number."""
    if isinstance(value, (MultiValue, list, tuple)):
        value = value[0] if value else None
    try:
        number = float(value) if value is not None and value != "" else None
    except (TypeError, ValueError):
        return None
    return number if number is not None and math.isfinite(number) else None


def _range(values: Array, stored: Array, view: pydicom.Dataset) -> tuple[float, float]:
    """Return between which values most of the picture lies, padding (0028,0120) left out."""
    wanted = values
    padding = _number(view.get("PixelPaddingValue"))
    if padding is not None:
        limit = _number(view.get("PixelPaddingRangeLimit"))
        low, high = sorted((padding, padding if limit is None else limit))
        inside = (stored < low) | (stored > high)
        if inside.any():
            wanted = values[inside]
    if np.issubdtype(wanted.dtype, np.floating):
        wanted = wanted[np.isfinite(wanted)]
    if wanted.size == 0:
        return 0.0, 1.0
    least, most = float(wanted.min()), float(wanted.max())
    if wanted.size > 200_000:
        wanted = wanted.ravel()[:: wanted.size // 200_000 + 1]
    low, high = (float(number) for number in np.percentile(wanted, (_LOWEST, _HIGHEST)))
    # A mask or a mostly empty picture: its percentiles say nothing.
    return (low, high) if high > low else (least, most)
