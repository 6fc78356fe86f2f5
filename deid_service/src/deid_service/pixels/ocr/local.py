"""OCR on this machine: RapidOCR, whose models are files of its wheel.

It starts in about a second, holds about 300 MB, and is imported only when a picture is to be read. The same picture
gives the same words each time: one thread per reader unless ``RPACS_OCR_THREADS`` says more, no random choice anywhere.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from deid_service.pixels.boxes import Box
from deid_service.pixels.ocr.engine import OcrError, Word, is_known

__all__ = ["LocalEngine"]

_TALL: Final = 1.5
# The network sees the whole picture at once: its memory grows with the area.
_LARGEST_SIDE: Final = 1536
# What the network takes is a multiple of this; filling up is exact, where resizing would blur.
_MULTIPLE: Final = 32


class LocalEngine:
    """RapidOCR behind the :class:`~deid_service.pixels.ocr.engine.Engine` protocol.

    Parameters
    ----------
    threads : int, optional
        How many a call may use. The default is ``RPACS_OCR_THREADS``, else 1: workers are many already.
    least_detection : float
        Boxes of which the detector is less sure are left out.

    Raises
    ------
    OcrError
        If RapidOCR or one of its models is not installed, or the setting is not a number.
    """

    name: Final = "local"
    largest_side: Final = _LARGEST_SIDE

    def __init__(self, threads: int | None = None, least_detection: float = 0.3) -> None:
        self._detector, self._reader = _start(_threads() if threads is None else threads, least_detection)

    def find(self, image: NDArray[np.uint8], known: Sequence[Box] = ()) -> list[Word]:
        """Find text; see :meth:`Engine.find`. Text that stands on its end is read both ways up."""
        rows, columns = image.shape[:2]
        picture = np.repeat(image[:, :, np.newaxis], 3, axis=2) if image.ndim == 2 else image[:, :, ::-1]
        picture = _filled_up(np.ascontiguousarray(picture))
        try:
            seen = self._detector(picture)
        except Exception as error:  # noqa: BLE001 - whatever it raises, nothing was looked at
            raise OcrError(f"the local OCR engine failed: {type(error).__name__}") from None
        if seen.boxes is None:
            return []
        words = []
        for corners, score in zip(seen.boxes, seen.scores, strict=True):
            box = _box(corners).within(rows, columns)
            if box is not None and not is_known(box, known):
                text, confidence = self._read(picture, corners)
                words.append(Word(text, box, confidence, float(score)))
        return words

    def _read(self, picture: NDArray[np.uint8], corners: NDArray[np.float32]) -> tuple[str, float]:
        """Read one box: as it lies, or from below and from above if it is tall."""
        line = _cut_out(picture, corners)
        if line.size == 0:
            return "", 0.0
        if line.shape[0] >= _TALL * line.shape[1]:
            return max((self._recognise(np.rot90(line, turn)) for turn in (1, 3)), key=lambda read: read[1])
        return self._recognise(line)

    def _recognise(self, line: NDArray[np.uint8]) -> tuple[str, float]:
        try:
            read = self._reader(np.ascontiguousarray(line))
        except Exception as error:  # noqa: BLE001 - whatever it raises, nothing was looked at
            raise OcrError(f"the local OCR engine failed: {type(error).__name__}") from None
        if not read.txts:
            return "", 0.0
        return read.txts[0].strip(), float(read.scores[0])


def _threads() -> int:
    text = os.environ.get("RPACS_OCR_THREADS", "1")
    if not text.isdecimal() or int(text) < 1:
        raise OcrError("RPACS_OCR_THREADS is not a whole number of at least 1")
    return int(text)


def _start(threads: int, least_detection: float) -> tuple[Any, Any]:
    """Make the part that finds boxes and the part that reads them."""
    try:
        import cv2
        import rapidocr
    except ImportError as error:
        raise OcrError(f"the local OCR engine is not installed ({error.name} is missing): run make setup") from None
    models = Path(rapidocr.__file__).parent / "models"
    detector, reader = models / "PP-OCRv6_det_small.onnx", models / "PP-OCRv6_rec_small.onnx"
    if missing := [path.name for path in (detector, reader) if not path.is_file()]:
        # Without this the package would fetch them from the internet.
        raise OcrError(f"the local OCR engine lacks {', '.join(missing)}: install the rapidocr of constraints.txt")
    cv2.setNumThreads(threads)
    common = {
        "Global.log_level": "critical",
        "Global.use_cls": False,
        "Global.use_preprocess_img": False,
        "Global.use_vertical_padding": False,
        "Global.text_score": 0.0,
        "EngineConfig.onnxruntime.intra_op_num_threads": min(threads, os.cpu_count() or 1),
        "EngineConfig.onnxruntime.inter_op_num_threads": 1,
        "Det.model_path": str(detector),
        "Det.limit_type": "max",
        "Det.limit_side_len": 2 * _LARGEST_SIDE,
        "Det.box_thresh": least_detection,
        "Det.thresh": min(0.3, least_detection),
        "Rec.model_path": str(reader),
    }
    return (
        rapidocr.RapidOCR(params={**common, "Global.use_rec": False}),
        rapidocr.RapidOCR(params={**common, "Global.use_det": False}),
    )


def _filled_up(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    rows, columns = picture.shape[:2]
    below, right = -rows % _MULTIPLE, -columns % _MULTIPLE
    return np.pad(picture, ((0, below), (0, right), (0, 0)), mode="edge") if below or right else picture


def _box(corners: NDArray[np.float32]) -> Box:
    left, top = np.floor(corners.min(axis=0)).astype(int)
    right, bottom = np.ceil(corners.max(axis=0)).astype(int)
    return Box(int(left), int(top), int(right), int(bottom))


def _cut_out(picture: NDArray[np.uint8], corners: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return the box as an upright picture, however it was turned."""
    import cv2

    width = round(max(np.linalg.norm(corners[0] - corners[1]), np.linalg.norm(corners[2] - corners[3])))
    height = round(max(np.linalg.norm(corners[0] - corners[3]), np.linalg.norm(corners[1] - corners[2])))
    if width < 1 or height < 1:
        return np.empty((0, 0, 3), np.uint8)
    target = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    turn = cv2.getPerspectiveTransform(corners.astype(np.float32), target)
    line = cv2.warpPerspective(picture, turn, (width, height), borderMode=cv2.BORDER_REPLICATE, flags=cv2.INTER_CUBIC)
    return np.asarray(line, np.uint8)
