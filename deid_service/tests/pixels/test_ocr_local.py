"""The local engine: what it finds, that it needs no network, and that it is the same each time."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from deid_service.pixels.ocr import ENGINES, OcrError, engine
from deid_service.pixels.ocr.local import LocalEngine

_FONT = "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf"


def _picture(text: str, size: int = 16, *, colour: int = 255, ground: int = 0) -> np.ndarray:
    image = Image.new("L", (260, 80), ground)
    ImageDraw.Draw(image).text((20, 30), text, colour, font=ImageFont.truetype(_FONT, size))
    return np.asarray(image)


def test_it_reads_a_name_and_says_where_it_stands() -> None:
    (word,) = engine("local").find(_picture("SMITH^JOHN"))
    assert word.text == "SMITH^JOHN"
    assert word.confidence > 0.9
    assert (word.box.left, word.box.top) <= (20, 33)
    assert word.box.right >= 118
    assert word.box.bottom >= 44


@pytest.mark.parametrize(("colour", "ground"), [(255, 0), (0, 255), (160, 90)])
def test_light_on_dark_and_dark_on_light(colour: int, ground: int) -> None:
    (word,) = engine("local").find(_picture("GARCIA MARIA", colour=colour, ground=ground))
    assert word.text.replace(" ", "") == "GARCIAMARIA"


@pytest.mark.parametrize("turns", [1, 3])
def test_text_on_its_end_is_read_whichever_way_it_runs(turns: int) -> None:
    (word,) = engine("local").find(np.rot90(_picture("12/03/1961"), turns))
    assert word.text == "12/03/1961"
    assert word.box.bottom - word.box.top > word.box.right - word.box.left


def test_colours_are_red_green_blue() -> None:
    picture = np.zeros((80, 260, 3), np.uint8)
    picture[..., 0] = _picture("OKAFOR")
    (word,) = engine("local").find(picture)
    assert word.text == "OKAFOR"


def test_an_empty_picture_has_no_readable_text() -> None:
    assert [word.text for word in engine("local").find(np.zeros((64, 64), np.uint8)) if word.text] == []


def test_the_same_picture_gives_the_same_words_from_another_start() -> None:
    picture = _picture("Lindqvist, Ingrid 1972-11-05", 11)
    assert LocalEngine().find(picture) == LocalEngine().find(picture)


def test_it_opens_no_connection_and_writes_no_file() -> None:
    program = (
        "import sys, numpy\n"
        "def audit(event, arguments):\n"
        "    if event in ('socket.connect', 'socket.getaddrinfo'):\n"
        "        raise SystemExit('connects')\n"
        "    if event == 'open' and isinstance(arguments[1], str) and set(arguments[1]) & set('wax+'):\n"
        "        raise SystemExit(f'writes {arguments[0]}')\n"
        "sys.dont_write_bytecode = True\n"
        "sys.addaudithook(audit)\n"
        "from deid_service.pixels.ocr import engine\n"
        "engine('local').find(numpy.zeros((64, 64), numpy.uint8))\n"
        "print('done')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd="/")
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")


@pytest.mark.parametrize("value", ["0", "many", "-1", ""])
def test_a_thread_setting_that_is_no_number_is_refused(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RPACS_OCR_THREADS", value)
    with pytest.raises(OcrError, match="RPACS_OCR_THREADS is not a whole number"):
        LocalEngine()


@pytest.mark.parametrize(("setting", "threads"), [(None, 1), ("2", 2)])
def test_as_many_threads_as_the_setting_says_and_one_without(
    setting: str | None, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RPACS_OCR_THREADS", raising=False)
    if setting:
        monkeypatch.setenv("RPACS_OCR_THREADS", setting)
    local = LocalEngine()
    assert local.find(_picture("ROSSI"))
    for part in (local._detector.text_det, local._reader.text_rec):
        options = part.session.session.get_session_options()
        assert (options.intra_op_num_threads, options.inter_op_num_threads) == (threads, 1)


def test_an_unknown_engine_is_refused_by_name() -> None:
    with pytest.raises(OcrError, match="no OCR engine 'tesseract': name one of local, rekognition"):
        engine("tesseract")
    assert ENGINES[0] == "local"
