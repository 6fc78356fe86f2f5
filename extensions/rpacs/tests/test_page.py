"""The page as its readers see it: Voila in a real server, in a real browser, over the stand-in for the gateway."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect

import rpacs.voila_template
from demo.parts import free_port
from extensions.rpacs.tests.gateway_server import ASKED, Gateway, uid
from tests.fixtures.browser import CHROMIUM, running_chromium

NOTEBOOKS = Path(__file__).parents[3] / "notebooks"
pytestmark = pytest.mark.skipif(not Path(CHROMIUM).exists(), reason=f"{CHROMIUM} is not installed")


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    with Gateway(extra=400) as server:
        yield server


@pytest.fixture(scope="module")
def server(gateway: Gateway, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start a user's server as the hub would; yields the address below which Voila shows notebooks."""
    folder = tmp_path_factory.mktemp("server")
    pages = folder / "pages"
    shutil.copytree(NOTEBOOKS, pages, ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
    variant(
        pages,
        "States",
        "import rpacs; rpacs.browser(token='token-nora')",
        "rpacs.browser(token='expired')",
        "import os; del os.environ['RPACS_URL']; rpacs.browser()",
    )
    variant(pages, "Reason", "import rpacs; rpacs.browser(token='token-rosa')")
    port = free_port()  # which no outgoing connection takes before the server does
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("JUPYTER", "IPYTHON", "RPACS"))} | {
        "JUPYTER_PATH": str(rpacs.voila_template.jupyter_path()),  # this tree's template, not the installed copy
        "JUPYTER_CONFIG_DIR": str(folder / "config"),
        "JUPYTER_DATA_DIR": str(folder / "data"),
        "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
        "IPYTHONDIR": str(folder / "ipython"),
        "RPACS_URL": gateway.url,
        "JUPYTERHUB_API_TOKEN": "token-clara",
    }
    command = [sys.executable, "-m", "jupyter_server", "--allow-root", "--no-browser", "--ip=127.0.0.1"]
    command += [f"--port={port}", "--ServerApp.port_retries=0", "--IdentityProvider.token=", "--ServerApp.password="]
    command += [
        "--VoilaConfiguration.template=rpacs",
        "--ServerApp.base_url=/user/clara/",
        f"--ServerApp.root_dir={pages}",
    ]
    command += ["--ServerApp.jpserver_extensions={'voila.server_extension': True, 'jupyterlab': False}"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=pages)
    try:
        root = f"http://127.0.0.1:{port}/user/clara/"
        wait_for(root + "api", process, folder / "log")
        yield root + "voila/render/"
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def variant(pages: Path, name: str, *sources: str) -> None:
    """Write a page like Browse.ipynb with other cells; one kernel for several states saves time."""
    notebook = json.loads((pages / "Browse.ipynb").read_text())
    (cell,) = notebook["cells"]
    notebook["cells"] = [cell | {"id": f"cell-{n}", "source": [source]} for n, source in enumerate(sources)]
    (pages / f"{name}.ipynb").write_text(json.dumps(notebook))


def wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + 90
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=2):
            return
        time.sleep(0.1)
    pytest.fail(f"The server did not start:\n{log.read_text()[-3000:]}")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with running_chromium() as browser:
        yield browser


@pytest.fixture
def page(chromium: Browser, gateway: Gateway, server: str) -> Iterator[Page]:
    """A tab that must not ask any other host, nor meet an error in a script."""
    context = chromium.new_context(viewport={"width": 1440, "height": 1000})
    context.set_default_timeout(60_000)
    page = context.new_page()
    hosts, mistakes = set(), []
    page.on("request", lambda request: hosts.add(urlsplit(request.url).netloc or urlsplit(request.url).scheme))
    page.on("pageerror", lambda error: mistakes.append(str(error)))
    page.on("websocket", lambda socket: hosts.add(urlsplit(socket.url).netloc))
    yield page
    context.close()
    # A picture's or a module's address of its own is no request to anybody.
    assert {host for host in hosts if host not in ("data", "blob")} == {urlsplit(server).netloc}
    assert mistakes == []


expect.set_options(timeout=60_000)


def position(page: Page) -> str:
    return page.get_by_test_id("rpacs-position").text_content() or ""


def shown(page: Page) -> tuple[str | None, str | None, str | None]:
    """Return address, instance and frame of the picture on show, once it is the one asked for."""
    image = page.locator('[data-testid="rpacs-image"][data-stale="false"]')
    image.wait_for()
    return image.get_attribute("src"), image.get_attribute("data-uid"), image.get_attribute("data-frame")


def test_from_a_query_to_an_export(page: Page, server: str, gateway: Gateway) -> None:
    page.goto(server + "Browse.ipynb")
    expect(page).to_have_title("Research PACS")
    assert page.get_by_role("link", name="Home").get_attribute("href") == "/hub/home"
    assert page.get_by_role("link", name="Log out").get_attribute("href") == "/hub/logout"
    expect(page.get_by_test_id("rpacs-me")).to_contain_text("clara")
    rows = page.get_by_role("grid").get_by_test_id("rpacs-row")
    expect(page.get_by_test_id("rpacs-total")).to_have_text("104 series")
    expect(rows).to_have_count(50)
    assert page.locator(".jp-InputArea-editor, .jp-CodeMirrorEditor").count() == 0  # no code
    page.get_by_test_id("rpacs-permissions").click()
    expect(page.get_by_text("through your group ct-researchers")).to_be_visible()

    # A mistake is pointed at while it is typed.
    query = page.get_by_role("textbox", name="Query", exact=True)
    query.fill("Modality StrEquls CT")
    message = page.get_by_test_id("rpacs-query-message")
    expect(message).to_contain_text("There is no operator StrEquls. (at character 10)")
    expect(message).to_contain_text("Did you mean StrEquals?")
    expect(query).to_have_attribute("aria-invalid", "true")

    # Enter runs; the second page follows the first.
    query.fill("Modality StrEquals CT")
    expect(message).to_contain_text("102 series match. Press Enter")
    query.press("Enter")
    expect(page.get_by_test_id("rpacs-total")).to_have_text("102 series")
    expect(page.get_by_test_id("rpacs-range")).to_have_text(re.compile(r"^1.50 of 102$"))
    before = rows.nth(0).get_attribute("data-uid")
    page.get_by_role("button", name="Next page").click()
    expect(page.get_by_test_id("rpacs-range")).to_have_text(re.compile(r"^51.100 of 102$"))
    assert rows.nth(0).get_attribute("data-uid") != before
    page.get_by_role("button", name="First page").click()
    expect(page.get_by_test_id("rpacs-range")).to_have_text(re.compile(r"^1.50 of 102$"))

    # Sorting happens on the server, over all pages.
    date = page.get_by_role("columnheader", name="Date")
    date.get_by_role("button").click()
    expect(date).to_have_attribute("aria-sort", "ascending")
    date.get_by_role("button").click()
    expect(date).to_have_attribute("aria-sort", "descending")
    expect(rows.nth(0)).to_contain_text("2024-09-25")

    # A row opens in the viewer; wheel, keys, slider and window change the picture.
    query.fill("SeriesDescription StrEquals '*lung*'")
    query.press("Enter")
    expect(rows).to_have_count(1)
    assert rows.get_attribute("data-uid") == uid("series", 1)
    rows.click()
    first = shown(page)
    assert position(page) == "slice 31 / 60"
    page.get_by_test_id("rpacs-stage").hover()
    page.mouse.wheel(0, 100)
    expect(page.get_by_test_id("rpacs-position")).not_to_have_text("slice 31 / 60")
    second = shown(page)
    assert len({first[0], second[0]}) == len({first[1], second[1]}) == 2
    page.get_by_test_id("rpacs-stage").press("Home")
    expect(page.get_by_test_id("rpacs-position")).to_have_text("slice 1 / 60")
    page.get_by_test_id("rpacs-stage").press("ArrowDown")
    expect(page.get_by_test_id("rpacs-position")).to_have_text("slice 2 / 60")
    page.get_by_role("slider", name="Slice").fill("12")
    expect(page.get_by_test_id("rpacs-position")).to_have_text("slice 12 / 60")
    assert shown(page)[1] == uid("instance", 1, 48)  # feet first in the file, head last on the screen
    soft = shown(page)
    page.get_by_role("button", name="Lung").click()
    expect(page.get_by_test_id("rpacs-image")).not_to_have_attribute("src", soft[0] or "")
    assert shown(page)[1] == soft[1]
    page.get_by_text("DICOM elements of this image").click()
    expect(page.get_by_role("region", name="DICOM elements").get_by_role("cell", name=soft[1])).to_be_visible()

    # The keys leave the form at once; progress is followed to its end.
    rows.get_by_role("checkbox").check()
    expect(page.get_by_test_id("rpacs-selected")).to_have_text("1 selected")
    form = page.get_by_role("form", name="New export")
    expect(form.get_by_label("1 series selected in the results")).to_be_checked()
    assert {form.get_by_label(n).get_attribute("type") for n in ("Access key", "Secret key")} == {"password"}
    form.get_by_label("Destination").fill("s3://research-exports/lung")
    form.get_by_label("Server").select_option("http://127.0.0.1:9000")
    form.get_by_label("Access key").fill("AK-e2e")
    form.get_by_label("Secret key").fill("SK-e2e")
    form.get_by_role("button", name="Start export").click()
    job = page.get_by_test_id("rpacs-export-job").first
    expect(job).to_have_attribute("data-state", "done")
    expect(job).to_contain_text("60 of 60 images")
    assert form.get_by_label("Access key").input_value() == form.get_by_label("Secret key").input_value() == ""
    assert "SK-e2e" not in page.content()
    body = gateway.bodies[-1]
    assert body["uids"] == [{"level": "series", "uid": uid("series", 1)}]
    assert body["credentials"] == {"access_key": "AK-e2e", "secret_key": "SK-e2e"}


def test_a_query_is_completed_with_the_keyboard(page: Page, server: str) -> None:
    page.goto(server + "Browse.ipynb")
    rows = page.get_by_test_id("rpacs-row")
    expect(rows).to_have_count(50)
    query = page.get_by_role("textbox", name="Query", exact=True)
    offers = page.get_by_role("listbox", name="Suggestions")
    options = offers.get_by_role("option")
    query.focus()
    page.keyboard.type("Mod")
    expect(options.first).to_have_text(re.compile("^Modality"))
    assert query.get_attribute("aria-activedescendant") is None
    page.keyboard.press("ArrowDown")
    expect(options.first).to_have_attribute("aria-selected", "true")
    assert query.get_attribute("aria-activedescendant") == options.first.get_attribute("id")
    assert query.get_attribute("aria-controls") == offers.get_attribute("id")
    page.keyboard.press("Enter")
    # Taking a word shows what can follow it, and runs nothing.
    expect(query).to_have_value("Modality ")
    expect(options.first).to_have_text("Exists")
    page.keyboard.type("StrEq")
    expect(options.first).to_have_text("StrEquals")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Tab")
    expect(query).to_have_value("Modality StrEquals ")
    expect(query).to_be_focused()
    # Values that there are, with how often: MR is not among what clara may see.
    expect(options.filter(has_text="CT")).to_have_count(1)
    expect(options.filter(has_text="MR")).to_have_count(0)
    # No box around the query cuts the list off: its last option is what lies on top at its place.
    assert options.last.evaluate(
        """option => {
            option.scrollIntoView({ block: "nearest" });
            const place = option.getBoundingClientRect();
            return option.contains(document.elementFromPoint(place.left + 5, place.bottom - 3));
        }"""
    )
    page.keyboard.type("U")
    expect(options).to_have_count(1)
    page.keyboard.press("Escape")
    expect(offers).to_be_hidden()
    expect(query).to_have_value("Modality StrEquals U")
    page.keyboard.press("Control+Space")
    expect(options).to_have_count(1)
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    expect(query).to_have_value("Modality StrEquals US ")
    # Nothing chosen: Enter runs the query.
    page.keyboard.press("Enter")
    expect(rows).to_have_count(1)
    expect(offers).to_be_hidden()
    # And with the mouse.
    query.fill("Modality StrEquals ")
    options.filter(has_text="CT").click()
    expect(query).to_have_value("Modality StrEquals CT ")
    expect(query).to_be_focused()


def test_with_the_keyboard_alone(page: Page, server: str) -> None:
    page.goto(server + "Browse.ipynb")
    rows = page.get_by_test_id("rpacs-row")
    expect(rows).to_have_count(50)
    query = page.get_by_role("textbox", name="Query", exact=True)
    query.focus()
    page.keyboard.type("Modality StrEquals US")
    page.keyboard.press("Enter")
    expect(rows).to_have_count(1)
    query.fill("")
    query.press("Enter")
    expect(rows).to_have_count(50)
    rows.first.focus()
    page.keyboard.press("ArrowDown")
    expect(rows.nth(1)).to_be_focused()
    page.keyboard.press("Space")
    expect(rows.nth(1)).to_have_attribute("aria-selected", "true")
    page.keyboard.press("Enter")
    expect(page.get_by_test_id("rpacs-viewer-title")).to_have_text("Cine")
    expect(page.get_by_role("slider", name="Frame")).to_be_visible()
    assert shown(page)[2] == "13"
    page.keyboard.press("End")
    expect(rows.nth(49)).to_be_focused()
    page.keyboard.press("PageDown")
    expect(page.get_by_test_id("rpacs-range")).to_have_text(re.compile(r"^51.100 of 104$"))
    expect(rows.first).to_be_focused()
    expect(page.get_by_test_id("rpacs-selected")).to_have_text("1 selected")  # kept over pages

    # Light and dark: the system's choice first, then the reader's, which is kept.
    card = page.get_by_role("region", name="Results")
    assert brightness(page, card) > 200
    page.get_by_role("button", name="Switch between light and dark").click()
    assert brightness(page, card) < 60
    assert page.evaluate("localStorage.getItem('rpacs-theme')") == "dark"


def test_accounts_that_see_nothing(page: Page, server: str) -> None:
    page.emulate_media(color_scheme="dark")
    page.goto(server + "States.ipynb")
    expect(page.get_by_test_id("rpacs-no-profile")).to_contain_text("Ask your administrator")
    results = page.get_by_role("region", name="Results")
    expect(results.first).to_contain_text("Your account has no profile yet")
    assert brightness(page, results.first) < 60
    expect(page.get_by_role("button", name="Start export").first).to_be_disabled()
    expect(results.nth(1).get_by_role("alert")).to_contain_text("The token is not valid or has expired.")
    expect(page.get_by_role("alert").last).to_contain_text("Open the notebook from the hub's home page")


def test_images_that_cannot_be_shown_and_a_gateway_that_comes_back(page: Page, server: str, gateway: Gateway) -> None:
    page.goto(server + "Browse.ipynb")
    rows = page.get_by_test_id("rpacs-row")
    expect(rows).to_have_count(50)
    page.get_by_role("row").filter(has_text="Dose report").click()
    expect(page.get_by_test_id("rpacs-stage")).to_contain_text("This series holds no pictures")
    page.get_by_role("row").filter(has_text="Unreadable").click()
    expect(page.get_by_test_id("rpacs-stage")).to_contain_text("cannot be decoded")
    results = page.get_by_role("region", name="Results")
    gateway.expired.add("clara")
    try:
        page.get_by_test_id("rpacs-search").click()
        expect(results.get_by_role("alert")).to_contain_text("Log in again.")
    finally:
        gateway.expired.discard("clara")
    results.get_by_role("button", name="Try again").click()
    expect(rows).to_have_count(50)


def test_an_error_page_asks_no_other_host_either(page: Page, server: str) -> None:
    answer = page.goto(server + "Missing.ipynb")
    assert answer is not None
    assert answer.status == 404
    expect(page.get_by_role("heading")).to_contain_text("404")
    assert "//" not in re.sub(r"<style.*?</style>", "", answer.text(), flags=re.DOTALL)


def brightness(page: Page, part) -> float:
    colour = part.evaluate("node => getComputedStyle(node).backgroundColor")
    return sum(int(n) for n in re.findall(r"\d+", colour)[:3]) / 3


def test_a_reason_is_asked_for_before_anything_is_shown(page, server):
    page.goto(server + "Reason.ipynb")
    notice = page.get_by_test_id("rpacs-reason-asked")
    expect(notice).to_have_text(f"First say why you need the images: {ASKED}.", timeout=60_000)
    rows = page.get_by_role("grid").get_by_role("row")
    if folder := os.environ.get("RPACS_SCREENSHOTS"):
        page.screenshot(path=f"{folder}/reason-asked.png")
    page.get_by_test_id("rpacs-reason").fill("IRB 2026-041")
    page.get_by_test_id("rpacs-reason").press("Enter")
    expect(notice).to_be_hidden()
    expect(rows.nth(1)).to_be_visible()
    if folder := os.environ.get("RPACS_SCREENSHOTS"):
        page.screenshot(path=f"{folder}/reason-given.png")
