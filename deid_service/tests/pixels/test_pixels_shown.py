"""What a person on the clinical side sees of pixels: original, boxes and result."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import pytest
from playwright.sync_api import Browser, FloatRect, Locator, Page

from deid_service import Deidentifier, PseudonymKey, Refused, load_rules, show_pixels
from deid_service.cli import main
from deid_service.pixels.boxes import Box
from deid_service.pixels.ocr import OcrError
from deid_service.pixels.shown import PixelsShown, look_at
from deid_service.rules import Rules
from tests.fixtures.browser import CHROMIUM, running_chromium

Picture = Callable[..., bytes]
HEAD = "ScopeToForward: {Labels: ALL}\nTransformations:\n  - Scope: {Labels: ALL}\n"
MANUAL = "    RemoveBurnedInAnnotations: {Type: Manual, BoxCoordinates: [[0, 0, 59, 19], [200, 70, 300, 90]]}\n"
UNCHECKED = "    SuspectedPixels: PassUnchecked\n"
CT = {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2", "Modality": "CT", "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"]}


def rules(text: str) -> Rules:
    return load_rules(HEAD + text)


def noise(number: int = 1, rows: int = 80, columns: int = 240) -> np.ndarray:
    rng = np.random.default_rng(4)
    return np.repeat(rng.integers(40, 60, (number, rows // 8, columns // 8), np.uint8), 8, 1).repeat(8, 2)


def with_name(frame: np.ndarray) -> np.ndarray:
    return np.asarray(cv2.putText(frame.copy(), "Mustermann", (16, 48), cv2.FONT_HERSHEY_SIMPLEX, 0.9, 250, 2))


def test_the_original_its_boxes_and_the_result(picture: Picture) -> None:
    before = noise(5)
    shown = show_pixels(picture(before), rules(MANUAL + UNCHECKED))
    assert (shown.outcome, shown.reason, shown.number, shown.problem) == ("cleaned", "", 5, "")
    assert [frame.index for frame in shown.frames] == [0, 2, 4]
    for frame in shown.frames:
        assert [(one.rule, one.box) for one in frame.boxes] == [
            ("Manual", Box(0, 0, 59, 19)),
            ("Manual", Box(200, 70, 239, 79)),
        ]
        expected = before[frame.index].copy()
        assert np.array_equal(frame.before, expected)
        expected[:20, :60] = expected[70:, 200:] = 0
        assert frame.after is not None
        assert np.array_equal(frame.after, expected)
        assert frame.left == ()
        assert frame.black == pytest.approx((20 * 60 + 10 * 40) / (80 * 240))
    assert shown.changed
    assert repr(shown) == "PixelsShown(cleaned, 3 of 5 frames; pictures not shown)"


def test_frames_are_chosen_by_number_or_evenly(picture: Picture) -> None:
    data = picture(noise(5))
    assert [frame.index for frame in show_pixels(data, rules(UNCHECKED), frames=[3, 1]).frames] == [3, 1]
    assert [frame.index for frame in show_pixels(data, rules(UNCHECKED), most=2).frames] == [0, 4]
    assert len(show_pixels(data, rules(UNCHECKED), most=1).frames) == 1
    with pytest.raises(IndexError, match="there are 5: there is no frame 5"):
        show_pixels(data, rules(UNCHECKED), frames=[5])


def test_frames_with_the_same_boxes_are_shown_once(picture: Picture) -> None:
    frames = noise(4)
    frames[1] = with_name(frames[1])
    frames[2] = frames[1]
    shown = show_pixels(picture(frames), rules("    RemoveBurnedInAnnotations: {Type: OCR}\n"))
    assert shown.outcome == "cleaned"
    assert [frame.index for frame in shown.frames] == [1]
    assert {one.rule for one in shown.frames[0].boxes} == {"OCR"}
    assert (shown.frames[0].after < 250).all()


def test_before_and_after_have_the_same_window(picture: Picture) -> None:
    before = (noise(1).astype(np.uint16) * 40) + np.arange(240, dtype=np.uint16)
    shown = show_pixels(picture(before, **CT), rules(MANUAL + UNCHECKED))
    frame = shown.frames[0]
    assert frame.after is not None
    outside = np.ones((80, 240), bool)
    outside[:20, :60] = outside[70:, 200:] = False
    assert np.array_equal(frame.before[outside], frame.after[outside])
    assert not frame.after[~outside].any()
    assert frame.before.max() > 200
    other = show_pixels(picture(before, **CT), rules(UNCHECKED), view="local").frames[0]
    assert not np.array_equal(other.before, frame.before)


def test_an_instance_that_nobody_may_clean_is_shown_as_it_came(picture: Picture) -> None:
    shown = show_pixels(picture(noise(2)), rules("    RandomizeUID: {TagPatterns: '*/{UI}'}\n"))
    assert (shown.outcome, shown.reason) == ("refused", "burned_in_text_possible")
    assert shown.report is not None
    assert shown.report.reason == "a secondary capture"
    assert [(frame.index, frame.boxes, frame.after) for frame in shown.frames] == [(0, (), None), (1, (), None)]
    page = shown._repr_html_()
    assert "held back" in page
    assert "no copy" in page


def test_text_that_is_left_is_pointed_at_and_read_only_if_asked_for(picture: Picture) -> None:
    frames = noise(3)
    frames[1] = with_name(frames[1])
    data, given = (
        picture(frames),
        rules("    RemoveBurnedInAnnotations: {Type: Manual, BoxCoordinates: [0, 0, 9, 9]}\n"),
    )
    shown = show_pixels(data, given)
    assert (shown.outcome, shown.reason) == ("refused", "text_left_in_pixels")
    assert [frame.index for frame in shown.frames] == [1]
    (frame,) = shown.frames
    assert frame.left
    assert all(one.rule == "Text left" and one.text is None for one in frame.left)
    assert any(one.box.meets(Box(20, 30, 180, 45)) for one in frame.left)
    assert frame.after is not None
    assert not frame.after[:10, :10].any()
    assert (frame.after == 250).any()
    assert "ustermann" not in (shown._repr_html_() + repr(shown) + repr(shown.frames)).lower()
    assert shown.report is not None
    assert [(one.frame, one.boxes) for one in shown.report.left] == [(1, tuple(box.box for box in frame.left))]
    read = show_pixels(data, given, show_values=True)
    assert "ustermann" in " ".join(one.text or "" for one in read.frames[0].left).lower()
    assert "ustermann" in read._repr_html_().lower()
    assert "ustermann" not in (repr(read) + repr(read.frames)).lower()


def test_an_engine_that_fails_leaves_the_rest_to_be_seen(picture: Picture, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> None:
        raise OcrError("the models are gone")

    monkeypatch.setattr("deid_service.pixels.ocr.engine", broken)
    shown = show_pixels(picture(noise()), rules(MANUAL))
    assert (shown.outcome, shown.reason) == ("refused", "ocr_failed")
    assert len(shown.frames[0].boxes) == 2
    assert shown.frames[0].after is not None


def test_what_was_found_is_told_also_where_the_header_is_what_refuses(picture: Picture) -> None:
    data = picture(noise(), SpecificCharacterSet="ISO_IR 100")
    add = "    AddTags: {Tag: InstitutionName, VR: LO, Value: 病院, OverwriteIfExists: true}\n"
    with pytest.raises(Refused) as refusal:
        Deidentifier(rules(MANUAL + UNCHECKED + add), PseudonymKey(bytes(range(32)))).clean(data)
    assert refusal.value.reason_code == "value_not_encodable"
    assert refusal.value.pixels is not None
    shown = show_pixels(data, rules(MANUAL + UNCHECKED + add))
    assert len(shown.frames[0].boxes) == 2
    assert shown.frames[0].after is not None
    assert not shown.frames[0].after[:20, :60].any()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"no DICOM", "not a DICOM file"),
        ({"PixelData": [b"no codestream!"], "syntax": "1.2.840.10008.1.2.4.90"}, "pixels_not_decodable"),
    ],
)
def test_what_cannot_be_shown_says_why(picture: Picture, data: bytes | dict, words: str) -> None:
    instance = data if isinstance(data, bytes) else picture(noise(), **data)
    shown = show_pixels(instance, rules("    RemoveBurnedInAnnotations: {Type: OCR}\n"))
    assert shown.outcome == "refused"
    assert shown.frames == ()
    assert words in shown.problem
    assert words in shown._repr_html_()


def test_out_of_scope_is_shown_without_a_result(picture: Picture) -> None:
    scope = "Labels: [{Name: MR, DICOMQueryFilter: Modality StrEquals MR}]\nScopeToForward: {Labels: MR}\n"
    shown = show_pixels(picture(noise()), load_rules(scope + HEAD.split("\n", 1)[1] + UNCHECKED))
    assert (shown.outcome, shown.report) == ("discarded", None)
    assert shown.frames[0].after is None
    assert not shown.changed


def test_the_page_is_private_and_needs_nothing_else(picture: Picture, tmp_path: Path) -> None:
    shown = show_pixels(picture(noise()), rules(MANUAL + UNCHECKED))
    shown.save(tmp_path / "page.html")
    assert (tmp_path / "page.html").stat().st_mode & 0o777 == 0o600
    text = (tmp_path / "page.html").read_text()
    assert "Keep this page on the clinical side" in text
    assert "default-src 'none'" in text
    assert not re.search(r"<script|https?://|\son\w+=", text)
    assert text.count("data:image/png;base64,") == 3


@pytest.fixture
def folder(picture: Picture, tmp_path: Path) -> Path:
    """A folder with an instance that is masked, one that stays, one that is held back, and a file that is no DICOM."""
    (tmp_path / "in" / "Mustermann").mkdir(parents=True)
    label = "Labels: [{Name: OT, DICOMQueryFilter: Modality StrEquals OT}]\n"
    (tmp_path / "rules.yaml").write_text(
        f"{label}ScopeToForward: {{Labels: ALL}}\nTransformations:\n  - Scope: {{Labels: OT}}\n{MANUAL}{UNCHECKED}"
    )
    for name, data in {
        "a_masked.dcm": picture(noise(2)),
        "b_untouched.dcm": picture(noise().astype(np.uint16), **CT),
        "c_held.dcm": picture(noise(), Modality="US"),
        "d.txt": b"<script>alert(1)</script>",
    }.items():
        (tmp_path / "in" / "Mustermann" / name).write_bytes(data)
    return tmp_path


def test_a_page_of_a_folder(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    page = folder / "page.html"
    command = ["pixels", str(folder / "in"), str(page), "--rules", str(folder / "rules.yaml")]
    assert main(command) == 0
    out, err = capfd.readouterr()
    assert "4 of 4 files: 2 cleaned, 0 discarded, 2 refused" in err
    assert "ustermann" not in out + err.replace(str(folder), "")
    assert page.stat().st_mode & 0o777 == 0o600
    text = page.read_text()
    assert [part.split(" <")[0] for part in text.split("<h2>")[1:]] == [
        f"Mustermann/{name}" for name in ("a_masked.dcm", "b_untouched.dcm", "c_held.dcm", "d.txt")
    ]
    assert "<b>4 instances</b>, all shown" in text
    assert "forwarded, 1 of them with something blacked out" in text
    assert main([*command, "--only-changed", "--frames", "1"]) == 0
    text = page.read_text()
    assert "b_untouched" not in text
    assert "<b>4 instances</b>, 3 shown" in text
    assert "1 of 2 frames are shown" in text
    assert main([*command, "--sample", "2"]) == 0
    text = page.read_text()
    assert text.count("<section") == 2
    assert "A sample of 2 of 4 instances, drawn at random." in text


def test_places_where_no_page_may_be(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    source = folder / "in"
    for there, page, words in [
        (source, source / "page.html", "must not go below"),
        (source / "Mustermann" / "d.txt", source / "Mustermann" / "d.txt", "must not replace"),
        (source, folder / "nowhere" / "page.html", "cannot write"),
        (folder / "absent", folder / "page.html", "does not exist"),
    ]:
        assert main(["pixels", str(there), str(page), "--rules", str(folder / "rules.yaml")]) == 2
        assert words in capfd.readouterr().err
    assert (source / "Mustermann" / "d.txt").read_bytes() == b"<script>alert(1)</script>"


def test_what_is_broken_off_leaves_a_page_that_says_so(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def interrupted(data: bytes, deidentifier: Deidentifier, name: str, **how: Any) -> PixelsShown:
        if name.endswith("b_untouched.dcm"):
            raise KeyboardInterrupt
        return look_at(data, deidentifier, name, **how)

    monkeypatch.setattr("deid_service.pixels.cli.look_at", interrupted)
    page = folder / "page.html"
    assert main(["pixels", str(folder / "in"), str(page), "--rules", str(folder / "rules.yaml")]) == 130
    text = page.read_text()
    assert "Broken off: 1 of 4 instances were looked at." in text
    assert text.count("<section") == 1
    assert page.stat().st_mode & 0o777 == 0o600


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    if not Path(CHROMIUM).exists():
        pytest.skip(f"{CHROMIUM} is not installed")
    with running_chromium() as browser:
        yield browser


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_what_a_browser_shows(folder: Path, chromium: Browser, scheme: Literal["light", "dark"]) -> None:
    assert main(["pixels", str(folder / "in"), str(folder / "page.html"), "--rules", str(folder / "rules.yaml")]) == 0
    context = chromium.new_context(viewport={"width": 1280, "height": 900}, color_scheme=scheme)
    try:
        page = context.new_page()
        mistakes: list[str] = []
        requests: list[str] = []
        page.on("console", lambda message: mistakes.append(message.text))
        page.on("request", lambda request: requests.append(request.url[:20]))
        page.goto((folder / "page.html").as_uri())
        _check(page, scheme)
        assert mistakes == []
        assert {url.split(":")[0] for url in requests} <= {"file", "data"}
    finally:
        context.close()


def _place(element: Locator) -> FloatRect:
    place = element.bounding_box()
    assert place is not None, "it is not on the page"
    return place


def _check(page: Page, scheme: str) -> None:
    assert "Keep this page on the clinical side" in page.locator(".warning").inner_text()
    colours = page.evaluate("[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]")
    dark, _ = sorted(colours, key=lambda colour: sum(map(int, re.findall(r"\d+", colour)[:3])))
    assert (colours[0] == dark) == (scheme == "dark")
    assert page.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
    assert page.evaluate("document.documentElement.scrollWidth") == 1280
    assert page.locator("section").count() == 4

    masked = page.locator("section").first
    assert masked.locator(".badge").inner_text() == "forwarded"
    original, boxes, _ = (masked.locator(".row").first.locator("img").nth(index) for index in range(3))
    place = _place(boxes)
    assert _place(original)["y"] == pytest.approx(place["y"], abs=1)
    marks = masked.locator(".row").first.locator(".box")
    assert marks.all_inner_texts() == ["Manual", "Manual"]
    first = _place(marks.first)
    scale = place["width"] / 240
    found = [first["x"] - place["x"], first["y"] - place["y"], first["width"], first["height"]]
    assert found == pytest.approx([0, 0, 60 * scale, 20 * scale], abs=1)

    held = page.locator("section", has_text="c_held.dcm")
    assert held.locator(".badge").inner_text() == "held back"
    assert "burned_in_text_possible" in held.inner_text()
    assert held.locator(".nothing").inner_text() == "no copy: held back"

    # A click shows a picture as large as the window, another one puts it back.
    small = _place(original)
    original.click()
    assert _place(original)["width"] == pytest.approx(0.98 * 1280, abs=25)
    page.mouse.click(640, 450)
    assert _place(original) == small

    page.get_by_label("held back").check()
    assert page.locator("section:visible h2").all_inner_texts() == [
        "Mustermann/c_held.dcm held back",
        "Mustermann/d.txt held back",
    ]
    page.get_by_label("blacked out").check()
    assert page.locator("section:visible").count() == 1


def test_a_real_ultrasound(shared_data: Path) -> None:
    path = shared_data / "dicom/us/philips_epiq_burnedin/GREYSCALE_IMAGE.dcm"
    both = "    RemoveBurnedInAnnotations: [{Type: Catalogue}, {Type: UltrasoundRegions}]\n"
    shown = show_pixels(path, rules(both + UNCHECKED))
    (frame,) = shown.frames
    assert shown.name == "GREYSCALE_IMAGE.dcm"
    assert {one.rule for one in frame.boxes} == {"Catalogue", "UltrasoundRegions"}
    assert frame.after is not None
    assert frame.before[:16].max() > 190
    assert not frame.after[:16].any()
