"""The Rekognition engine against a stand-in: there is no AWS here. The stand-in speaks the service's HTTP dialect."""

from __future__ import annotations

import base64
import io
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest
from PIL import Image

from deid_service.pixels.boxes import Box
from deid_service.pixels.ocr import OcrError
from deid_service.pixels.ocr import rekognition as module
from deid_service.pixels.ocr.rekognition import RekognitionEngine

Answer = tuple[int, dict[str, Any]]


class StandIn:
    """Answers DetectText as it is told to, and keeps the pictures it was sent."""

    def __init__(self) -> None:
        self.pictures: list[np.ndarray] = []
        self.sizes: list[int] = []
        self.targets: list[str] = []
        self.answer: Callable[[np.ndarray], Answer] = lambda _: (200, {"TextDetections": []})

    def asked(self, target: str, body: bytes) -> Answer:
        encoded = base64.b64decode(json.loads(body)["Image"]["Bytes"])
        picture = np.asarray(Image.open(io.BytesIO(encoded)))
        self.targets.append(target)
        self.sizes.append(len(encoded))
        self.pictures.append(picture)
        return self.answer(picture)


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    service = StandIn()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            status, answer = service.asked(
                self.headers["X-Amz-Target"], self.rfile.read(int(self.headers["Content-Length"]))
            )
            body = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/x-amz-json-1.1")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL_REKOGNITION", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0)
    yield service
    server.shutdown()
    thread.join()
    server.server_close()


def _detection(text: str, left: float, top: float, right: float, bottom: float, kind: str = "WORD") -> dict[str, Any]:
    corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
    return {
        "DetectedText": text,
        "Type": kind,
        "Confidence": 97.5,
        "Geometry": {"Polygon": [{"X": x, "Y": y} for x, y in corners]},
    }


def test_words_come_back_in_pixels_and_lines_are_left_out(stand_in: StandIn) -> None:
    stand_in.answer = lambda _: (
        200,
        {"TextDetections": [_detection("A B", 0, 0, 1, 1, "LINE"), _detection("SMITH", 0.1, 0.2, 0.3, 0.4)]},
    )
    (word,) = RekognitionEngine().find(np.zeros((100, 200), np.uint8))
    assert (word.text, word.box, word.confidence) == ("SMITH", Box(20, 20, 60, 40), 0.975)
    assert stand_in.targets == ["RekognitionService.DetectText"]


def test_colours_arrive_as_they_are(stand_in: StandIn) -> None:
    picture = np.zeros((90, 90, 3), np.uint8)
    picture[..., 0] = 200
    RekognitionEngine().find(picture)
    assert stand_in.pictures[0][0, 0].tolist() == [200, 0, 0]


def test_a_picture_below_the_least_side_is_filled_up_and_boxes_stay_inside(stand_in: StandIn) -> None:
    stand_in.answer = lambda _: (200, {"TextDetections": [_detection("X1", 0.25, 0.25, 1, 1)]})
    (word,) = RekognitionEngine().find(np.full((40, 60), 7, np.uint8))
    assert stand_in.pictures[0].shape == (80, 80)
    assert word.box == Box(20, 20, 59, 39)


def test_a_picture_over_the_byte_limit_is_cut_until_it_fits(stand_in: StandIn) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (2400, 3000), np.uint8)
    stand_in.answer = lambda _: (200, {"TextDetections": [_detection("A1", 0, 0, 0.1, 0.1)]})
    words = RekognitionEngine().find(noise)
    assert len(stand_in.sizes) == 2
    assert max(stand_in.sizes) <= 5 * 1024 * 1024
    assert sorted(word.box.left for word in words) == [0, 1436]
    assert sum(picture.shape[1] for picture in stand_in.pictures) == 3000 + 128


def test_a_hundred_words_may_be_more_so_the_picture_is_cut(stand_in: StandIn) -> None:
    full = {"TextDetections": [_detection(f"W{index}", 0, 0, 0.01, 0.01) for index in range(100)]}
    few = {"TextDetections": [_detection("W0", 0, 0, 0.01, 0.01)]}
    stand_in.answer = lambda picture: (200, full if picture.shape[0] == 1200 else few)
    words = RekognitionEngine().find(np.zeros((1200, 600), np.uint8))
    assert [picture.shape[0] for picture in stand_in.pictures] == [1200, 664, 664]
    assert sorted(word.box.top for word in words) == [0, 536]


def test_a_hundred_words_in_a_small_picture_are_an_error_not_an_answer(stand_in: StandIn) -> None:
    full = {"TextDetections": [_detection(f"W{index}", 0, 0, 0.01, 0.01) for index in range(100)]}
    stand_in.answer = lambda _: (200, full)
    with pytest.raises(OcrError, match="some may be missing"):
        RekognitionEngine().find(np.zeros((300, 300), np.uint8))


def test_throttling_is_waited_out(stand_in: StandIn) -> None:
    def answer(picture: np.ndarray) -> Answer:
        if len(stand_in.pictures) < 4:
            return 400, {"__type": "ProvisionedThroughputExceededException", "message": "slow down"}
        return 200, {"TextDetections": []}

    stand_in.answer = answer
    assert RekognitionEngine().find(np.zeros((90, 90), np.uint8)) == []
    assert len(stand_in.pictures) == 4


@pytest.mark.parametrize(
    ("code", "attempts", "message"),
    [
        ("ThrottlingException", module._ATTEMPTS, "throttled to the last attempt"),
        ("AccessDeniedException", 1, "allow rekognition:DetectText"),
        ("SomethingNewException", 1, "SomethingNewException"),
    ],
)
def test_a_refusal_is_an_error_that_names_the_remedy(stand_in: StandIn, code: str, attempts: int, message: str) -> None:
    stand_in.answer = lambda _: (400, {"__type": code, "message": "SMITH^JOHN"})
    with pytest.raises(OcrError, match=message) as caught:
        RekognitionEngine().find(np.zeros((90, 90), np.uint8))
    assert "SMITH" not in str(caught.value)
    assert len(stand_in.pictures) == attempts


def test_an_answer_of_another_form_is_an_error(stand_in: StandIn) -> None:
    stand_in.answer = lambda _: (200, {"TextDetections": [{"Type": "WORD", "DetectedText": "A"}]})
    with pytest.raises(OcrError, match="unknown form"):
        RekognitionEngine().find(np.zeros((90, 90), np.uint8))


def test_without_a_region_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    with pytest.raises(OcrError, match="set AWS_REGION"):
        RekognitionEngine()
