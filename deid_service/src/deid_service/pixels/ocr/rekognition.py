"""OCR by Amazon Rekognition (DetectText): every picture that is read leaves the machine for AWS.

Used only where a rules file says ``Engine: rekognition``. Credentials and region are the machine's (its role, or the
usual ``AWS_`` variables), never settings of ours. The service takes pictures of at most 5 MB and names at most 100
words in each: what is larger or fuller is cut into overlapping halves.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from deid_service.pixels.boxes import Box
from deid_service.pixels.ocr.engine import OcrError, Word, is_known

__all__ = ["RekognitionEngine"]

_MOST_BYTES: Final = 5 * 1024 * 1024
_LEAST_SIDE: Final = 80
_MOST_WORDS: Final = 100
_LARGEST_SIDE: Final = 4096
_OVERLAP: Final = 128
_SMALLEST_PART: Final = 2 * _OVERLAP
_ATTEMPTS: Final = 8

_REMEDIES: Final = {
    "AccessDeniedException": "its role may not call it: allow rekognition:DetectText",
    "UnrecognizedClientException": "AWS does not accept the credentials of this machine",
    "InvalidSignatureException": "AWS does not accept the credentials of this machine, or its clock is wrong",
    "ExpiredTokenException": "the credentials of this machine have expired",
    "ProvisionedThroughputExceededException": "it was throttled to the last attempt: ask AWS for a higher quota",
    "ThrottlingException": "it was throttled to the last attempt: ask AWS for a higher quota",
    "LimitExceededException": "the account's limit is reached: ask AWS for a higher quota",
}


class RekognitionEngine:
    """Amazon Rekognition behind the :class:`~deid_service.pixels.ocr.engine.Engine` protocol.

    Parameters
    ----------
    client : boto3 client, optional
        For ``rekognition``. The default is made from the machine's own credentials and region, and tries eight times,
        ever more slowly, when AWS throttles or fails.

    Raises
    ------
    OcrError
        If boto3 knows no region.
    """

    name: Final = "rekognition"
    largest_side: Final = _LARGEST_SIDE

    def __init__(self, client: Any = None) -> None:
        self._client = _client() if client is None else client

    def find(self, image: NDArray[np.uint8], known: Sequence[Box] = ()) -> list[Word]:
        """Find text; see :meth:`Engine.find`.

        Raises
        ------
        OcrError
            If AWS refuses, cannot be reached, throttles to the end, or names 100 words however small the picture.
        """
        rows, columns = image.shape[:2]
        below, right = max(0, _LEAST_SIDE - rows), max(0, _LEAST_SIDE - columns)
        if below or right:
            image = np.pad(image, ((0, below), (0, right), *((0, 0),) * (image.ndim - 2)), mode="edge")
        words = self._find(image)
        return [
            Word(word.text, box, word.confidence)
            for word in words
            if (box := word.box.within(rows, columns)) is not None and not is_known(box, known)
        ]

    def _find(self, image: NDArray[np.uint8]) -> list[Word]:
        encoded = _png(image)
        if len(encoded) <= _MOST_BYTES:
            words = self._ask(encoded, *image.shape[:2])
            if len(words) < _MOST_WORDS:
                return words
        found: dict[tuple[str, Box], Word] = {}
        for part, left, top in _halves(image):
            for word in self._find(part):
                box = Box(word.box.left + left, word.box.top + top, word.box.right + left, word.box.bottom + top)
                found[word.text, box] = Word(word.text, box, word.confidence)
        return list(found.values())

    def _ask(self, encoded: bytes, rows: int, columns: int) -> list[Word]:
        import botocore.exceptions

        try:
            answer = self._client.detect_text(Image={"Bytes": encoded})
        except botocore.exceptions.ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", "unknown"))
            raise OcrError(
                f"Rekognition refused ({code}): {_REMEDIES.get(code, 'see the AWS documentation')}"
            ) from None
        except botocore.exceptions.NoCredentialsError:
            raise OcrError("Rekognition needs AWS credentials: give the machine a role that may use it") from None
        except botocore.exceptions.BotoCoreError as error:
            raise OcrError(f"Rekognition cannot be reached ({type(error).__name__})") from None
        try:
            return [_word(one, rows, columns) for one in answer["TextDetections"] if one["Type"] == "WORD"]
        except (KeyError, TypeError, ValueError):
            raise OcrError("Rekognition gave an answer of an unknown form") from None


def _client() -> Any:
    import boto3
    import botocore.config
    import botocore.exceptions

    config = botocore.config.Config(
        retries={"mode": "standard", "total_max_attempts": _ATTEMPTS}, connect_timeout=10, read_timeout=30
    )
    try:
        # Not boto3.client: the session behind that keeps the first credentials it saw, for everybody in the process.
        return boto3.Session().client("rekognition", config=config)
    except botocore.exceptions.NoRegionError:
        raise OcrError("Rekognition needs a region: set AWS_REGION or AWS_DEFAULT_REGION") from None


def _png(image: NDArray[np.uint8]) -> bytes:
    import cv2

    done, encoded = cv2.imencode(".png", image if image.ndim == 2 else image[:, :, ::-1])
    if not done:
        raise OcrError("a picture could not be encoded for Rekognition")
    return bytes(encoded)


def _word(found: Any, rows: int, columns: int) -> Word:
    corners: Iterable[Any] = found["Geometry"]["Polygon"]
    xs, ys = zip(*((corner["X"] * columns, corner["Y"] * rows) for corner in corners), strict=True)
    box = Box(int(np.floor(min(xs))), int(np.floor(min(ys))), int(np.ceil(max(xs))), int(np.ceil(max(ys))))
    return Word(str(found["DetectedText"]), box, float(found["Confidence"]) / 100)


def _halves(image: NDArray[np.uint8]) -> list[tuple[NDArray[np.uint8], int, int]]:
    """Cut the longer side in two with an overlap: each part with its left and top in the picture."""
    rows, columns = image.shape[:2]
    if max(rows, columns) < 2 * _SMALLEST_PART:
        raise OcrError("Rekognition names as many words as it can in a small picture: some may be missing")
    if columns >= rows:
        middle = columns // 2
        start = middle - _OVERLAP // 2
        return [(image[:, : middle + _OVERLAP // 2], 0, 0), (image[:, start:], start, 0)]
    middle = rows // 2
    start = middle - _OVERLAP // 2
    return [(image[: middle + _OVERLAP // 2], 0, 0), (image[start:], 0, start)]
