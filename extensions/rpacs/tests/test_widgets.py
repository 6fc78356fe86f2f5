"""The Python side of the widgets: what they answer to the page. What the page does with it is tested in test_page."""

import json
import logging
import queue
import re
import time

import pytest

import rpacs
from extensions.rpacs.tests.gateway_server import ASKED, uid
from rpacs import widgets
from rpacs.widgets._panel import asset

CT, MR, US, SR, BROKEN = (uid("series", n) for n in range(1, 6))
SCRIPTS = ["common", "export", "grid", "permissions", "problem", "query", "viewer"]


def ask(widget, do, **arguments):
    """Ask as the page does; return what it would get."""
    answers = queue.Queue()
    widget.send = lambda content, buffers=None: answers.put((content, buffers))
    widget._receive(widget, {"id": "v-1", "do": do, "with": arguments}, [])
    content, buffers = answers.get(timeout=30)
    assert content["id"] == "v-1"
    json.dumps(content)
    return content, buffers


def until(done, seconds=30):
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_query_is_checked_while_it_is_typed(pacs):
    box = widgets.QueryBox(pacs)
    content, _ = ask(box, "check", query="Modality StrEquals CT", level="instance")
    assert content["value"] == {"count": 63}
    content, _ = ask(box, "check", query="Modalty Exists", level="series")
    error = content["error"]
    assert (error["kind"], error["position"]) == ("QueryError", 0)
    assert error["caret"] == "Modalty Exists\n^"
    assert error["hint"] == "Did you mean Modality?"


def test_the_query_box_offers_what_can_follow(pacs):
    box = widgets.QueryBox(pacs)
    content, _ = ask(box, "complete", text="Modality StrEquals ", position=19, level="series")
    assert (content["value"]["start"], content["value"]["end"]) == (19, 19)
    assert content["value"]["words"][0] == {"text": "CT", "kind": "value", "label": "", "count": 63}
    content, _ = ask(box, "complete", text="Moda", position=4, level="series")
    assert content["value"]["words"][0]["text"] == "Modality"


def test_grid_pages(gateway, admin):
    gateway.extra = 60
    grid = widgets.ResultsGrid(admin)
    grid.show("", "series")
    first, _ = ask(grid, "page", query="", level="series", size=50)
    second, _ = ask(grid, "page", query="", level="series", size=50, cursor=first["value"]["next"])
    assert grid.total == first["value"]["total"] == 65
    assert (len(first["value"]["rows"]), len(second["value"]["rows"]), second["value"]["next"]) == (50, 15, None)
    keys = [row["key"] for row in first["value"]["rows"] + second["value"]["rows"]]
    assert len(set(keys)) == 65
    labels = [column["label"] for column in first["value"]["columns"]]
    assert labels == ["Patient", "Date", "Modality", "Study", "Series", "Body part", "No.", "Images"]


@pytest.mark.parametrize("level", ["patient", "study", "series", "instance"])
def test_grid_shows_each_level_with_its_key(pacs, level):
    content, _ = ask(widgets.ResultsGrid(pacs), "page", query="Modality StrEquals CT", level=level, sort="-PatientID")
    rows = content["value"]["rows"]
    assert all(row["key"] for row in rows)
    assert all(len(row["cells"]) == len(content["value"]["columns"]) for row in rows)
    patient = [c["name"] for c in content["value"]["columns"]].index("PatientID")
    assert rows[0]["cells"][patient] == "R000004"


def test_grid_takes_columns_by_keyword(pacs):
    content, _ = ask(
        widgets.ResultsGrid(pacs), "page", query="", level="series", extra=["SliceThickness", "SOPClassUID", "Modality"]
    )
    assert content["value"]["columns"][-2:] == [
        {"name": "SliceThickness", "label": "Slice thickness"},
        {"name": "SOPClassUID", "label": "SOP class UID"},
    ]


def test_a_new_search_forgets_the_selection(pacs):
    grid = widgets.ResultsGrid(pacs)
    grid.show("", "series")
    grid.active, grid.selected, grid.sort = CT, [CT], "Modality"
    grid.show("", "series")
    assert (grid.active, grid.selected, grid.sort, grid.revision) == ("", [], "Modality", 2)
    grid.show("", "study")
    assert grid.sort == ""


def test_viewer_opens_a_series_in_the_middle(pacs):
    viewer = pacs.viewer(CT)
    until(lambda: "slices" in viewer.series)
    series = viewer.series
    assert (series["title"], series["unit"], series["window"]) == ("Axial 1 mm lung", "slice", (40, 400))
    assert series["about"] == "R000001 · Thorax low dose · 2011-02-02"
    assert (len(series["slices"]), viewer.index, series["colour"], series["reduce"]) == (60, 30, False, False)
    assert series["slices"][0][2] < series["slices"][-1][2]
    assert [name for name, _, _ in series["presets"]][:2] == ["Soft tissue", "Lung"]
    json.dumps(series)


def test_viewer_sends_pictures_as_buffers(gateway, pacs):
    viewer = widgets.Viewer(pacs)
    content, buffers = ask(viewer, "frame", uid=uid("instance", 1, 7), frame=1, center=-600, width=1500, reduce=True)
    assert content["value"] == {"type": "image/jpeg"}
    assert buffers[0][:3] == b"\xff\xd8\xff"
    content, _ = ask(viewer, "frame", uid=uid("instance", 5, 0), frame=1)
    assert content["error"]["message"] == "The pixels of this image cannot be decoded."
    content, _ = ask(viewer, "tags", uid=uid("instance", 1, 7))
    assert [tag["value"] for tag in content["value"] if tag["path"] == "Modality"] == ["CT"]


def test_viewer_offers_the_series_of_a_study(admin):
    viewer = widgets.Viewer(admin)
    viewer.show("study", uid("study", 1))
    until(lambda: "slices" in viewer.series)
    assert viewer.choices == [
        {"uid": CT, "label": "2. CT Axial 1 mm lung (60)"},
        {"uid": SR, "label": "5. SR Dose report (1)"},
    ]
    ask_and_forget(viewer, "choose", uid=SR)
    until(lambda: "error" in viewer.series)
    assert viewer.series["error"]["message"] == "This series holds no pictures (modality SR)."
    assert len(viewer.choices) == 2


def test_viewer_opens_an_instance_inside_its_series(pacs):
    viewer = widgets.Viewer(pacs)
    wanted = uid("instance", 1, 5)
    viewer.show("instance", wanted)
    until(lambda: "slices" in viewer.series)
    assert viewer.series["slices"][viewer.index][0] == wanted
    viewer.show("patient", "R000003")
    until(lambda: viewer.series.get("unit") == "frame")
    assert len(viewer.series["slices"]) == 24
    assert viewer.series["colour"]


def test_viewer_says_why_there_is_nothing(gateway, pacs):
    viewer = pacs.viewer(MR)
    until(lambda: "error" in viewer.series)
    assert "none that you may see" in viewer.series["error"]["message"]
    gateway.expired.add("clara")
    viewer.show_series(CT)
    until(lambda: viewer.series.get("error", {}).get("kind") == "NotLoggedIn")
    viewer.clear()
    assert viewer.series == {}


def test_only_the_last_series_asked_for_is_shown(pacs):
    viewer = widgets.Viewer(pacs)
    for _ in range(5):
        viewer.show_series(CT)
        viewer.show_series(US)
    until(lambda: viewer.series.get("unit") == "frame")
    time.sleep(0.2)
    assert viewer.series["uid"] == US


def test_export_panel_starts_follows_and_ends(gateway, pacs):
    panel = widgets.ExportPanel(pacs)
    panel.level, panel.selected, panel.query = "series", [CT], "Modality Exists"
    keys = {"access_key": "AK-1", "secret_key": "SK-1", "session_token": ""}
    content, _ = ask(panel, "servers")
    assert content["value"] == ["http://127.0.0.1:9000"]
    gateway.export_delay = 1  # so that it is cancelled before its end, however busy the machine is
    content, _ = ask(
        panel, "start", scope="selection", destination="s3://b/p", format="dicom", credentials=keys,
        endpoint_url="http://127.0.0.1:9000",
    )  # fmt: skip
    body = gateway.bodies[0]
    assert body["uids"] == [{"level": "series", "uid": CT}]
    assert body["endpoint_url"] == "http://127.0.0.1:9000"
    assert "session_token" not in body["credentials"]
    started = content["value"]["id"]
    ask(panel, "cancel", id=started)
    content, _ = ask(panel, "list")
    assert (content["value"][0]["id"], content["value"][0]["state"]) == (started, "cancelled")
    assert content["value"][0]["resumable"]
    gateway.export_delay = 0.001
    ask(panel, "resume", id=started, credentials=keys)
    until(lambda: ask(panel, "list")[0]["value"][0]["state"] == "done")
    ask(panel, "start", scope="query", destination="s3://b/p", format="png", credentials=keys)
    assert (gateway.bodies[1]["query"], gateway.bodies[1]["format"]) == ("Modality Exists", "png")


def test_keys_stay_nowhere_in_the_widgets(pacs, caplog):
    panel = widgets.ExportPanel(pacs)
    keys = {"access_key": "AK-5f0", "secret_key": "SK-5f0", "session_token": "ST-5f0"}
    with caplog.at_level(logging.DEBUG):
        ask(panel, "start", scope="query", destination="s3://b/p", format="dicom", credentials=keys)
        content, _ = ask(panel, "start", scope="query", destination="s3://b/p", credentials=keys, oops=1)
    assert content["error"]["kind"] == "Internal"
    kept = caplog.text + repr(panel.get_state()) + repr(vars(panel)) + repr(content)
    assert not [key for key in keys.values() if key in kept]


def test_permissions_in_words(gateway, pacs):
    panel = widgets.PermissionsPanel(pacs)
    content, _ = ask(panel, "me")
    assert content["value"]["profiles"][0]["sees"].startswith("images where Modality")
    assert panel.profiles == 1
    content, _ = ask(panel, "reason", reason="IRB 7")
    assert (content["value"], pacs.reason) == ({"reason": "IRB 7"}, "IRB 7")
    content, _ = ask(panel, "reason", reason="x" * 600)
    assert "500 characters" in content["error"]["message"]
    assert pacs.reason == "IRB 7"


def test_a_reason_that_is_asked_for(gateway):
    pacs = rpacs.connect(gateway.url, "token-rosa")
    browser = pacs.browser()
    ask(browser.permissions, "me")
    assert browser.permissions.asked == ASKED
    searches = browser.results.revision
    ask(browser.permissions, "reason", reason="IRB 7")
    assert browser.results.revision == searches + 1
    assert len(pacs.search(limit=1)) == 1


def test_browser_composes(pacs):
    browser = pacs.browser("Modality StrEquals CT", level="series")
    assert (browser.results.query, browser.results.revision) == ("Modality StrEquals CT", 1)
    browser.results.active = CT
    until(lambda: "slices" in browser.viewer.series)
    browser.results.selected = [CT, US]
    assert browser.export.selected == [CT, US]
    browser.query.query, browser.query.level = "", "study"
    browser.query.runs += 1
    assert (browser.results.level, browser.results.revision, browser.export.level) == ("study", 2, "study")
    assert (browser.viewer.series, browser.export.selected) == ({}, [])


def test_browser_knows_that_there_is_no_profile(gateway):
    browser = rpacs.connect(gateway.url, "token-nora").browser()
    ask(browser.permissions, "me")
    assert browser.results.allowed is False


def test_browser_elsewhere_is_a_message(monkeypatch):
    monkeypatch.delenv("RPACS_URL", raising=False)
    widget = rpacs.browser()
    assert isinstance(widget, widgets.Problem)
    assert "RPACS_URL" in widget.error["message"]
    assert "hub's home page" in widget.error["hint"]


def test_unknown_questions_are_not_answered(pacs):
    widget = widgets.QueryBox(pacs)
    widget.send = lambda *_: pytest.fail("answered")
    widget._receive(widget, {"id": 1, "do": "__init__"}, [])
    widget._receive(widget, {}, [])


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_and_styles_ask_no_other_host(name):
    text = re.sub(r"http://www\.w3\.org/2000/svg", "", asset(f"{name}.js") + asset(f"{name}.css"))
    assert not re.search(r"https?://(?!s3\.example)[\w.]+\.\w|@import|import\(|url\(", text)
    assert "innerHTML" not in text


def ask_and_forget(widget, do, **arguments):
    widget._receive(widget, {"id": "v-2", "do": do, "with": arguments}, [])
