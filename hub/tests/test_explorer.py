"""Orthanc Explorer in a plain browser: for whom it opens, what its pages reach, and when they end."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from importlib.resources import files

import httpx
import pytest
import yaml
from playwright.sync_api import Browser, BrowserContext, Page

from hub.tests.real_hub import Hub, make_token, notebook_token, signed_in
from hub.tests.support import Served, audit_lines, gateway_settings, serving, until, without_nonce
from rpacs_hub.gateway.viewer_addresses import without_token
from tests.fixtures.browser import running_chromium

EXPLORER = "/services/pacs/explorer"
SECRET = re.compile(r"/services/pacs/explorer/([A-Za-z0-9_-]{43})/app/explorer\.html")

PERMISSIONS = """
Profiles:
  Archive:
    OrthancPathPatterns: {Allow: ["ANY /**"], Deny: ["DELETE /**", "GET /statistics"]}
  Pictures: {OrthancPathPatterns: {Allow: ["GET /instances/*/preview"]}}
  Careful:
    AccessReason: the number of your study
    OrthancPathPatterns: {Allow: ["GET /**"]}
  CT only: {DICOMQueryFilter: Modality StrEquals CT}
Permissions:
  - {Users: [olga], Profiles: [Archive]}
  - {Users: [paul], Profiles: [Pictures]}
  - {Users: [rita], Profiles: [Careful]}
  - {Users: [clara], Profiles: [CT only]}
"""


@pytest.fixture(scope="module")
def served(new_base, archive, tmp_path_factory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("explorer")
    (folder / "permissions.yaml").write_text(PERMISSIONS)
    with serving(gateway_settings(new_base(), archive.orthanc.url, folder)) as served:
        yield served


class Person:
    """Somebody's browser, which follows no redirects."""

    def __init__(self, served: Served, name: str, *, admin: bool = False) -> None:
        pages = served.browser(name, admin=admin)
        pages.close()
        self._served, self._cookies, self._form_token = served, pages.cookies, pages.form_token

    def _ask(self, method: str, path: str, *, session: str = "", **more) -> httpx.Response:
        url = httpx.URL(self._served.settings.service_url).join(path)
        with httpx.Client(cookies=self._cookies, trust_env=False) as client:
            if session:
                client.cookies.set("jupyterhub-session-id", session)
            answer = client.request(method, url, **more)
        self._served.note(answer)
        return answer

    def get(self, path: str, **more) -> httpx.Response:
        return self._ask("GET", path, **more)

    def post(self, path: str, fields: dict[str, str] | None = None, **more) -> httpx.Response:
        return self._ask("POST", path, data={"_xsrf": self._form_token, **(fields or {})}, **more)


def opened(served: Served, name: str = "olga") -> str:
    """Return a fresh secret address of somebody's, without a slash at its end."""
    answer = Person(served, name).get(EXPLORER)
    assert answer.status_code == 303, answer.text
    assert SECRET.fullmatch(answer.headers["location"])
    return served.settings.service_url + answer.headers["location"].removesuffix("/app/explorer.html")


def lines_of(served: Served, answer: httpx.Response) -> list[dict]:
    class Base:
        gateway = served.settings.database_url

    return audit_lines(Base, answer.headers["x-request-id"])


def test_it_opens_for_whom_a_profile_opens_its_page_and_for_nobody_else(served):
    for name in ("paul", "clara", "nora"):
        pages = Person(served, name)
        answer = pages.get(EXPLORER)
        assert answer.status_code == 404
        assert answer.headers["content-type"].startswith("text/html")
        assert "There is no such address." in answer.text
        assert pages.get("/services/pacs/explorer-offered").json() == {"offered": False}
        (line,) = lines_of(served, answer)
        assert (line["user"], line["action"], line["decision"]) == (name, "open_explorer", "denied")
    # An administrator is somebody like everybody else here.
    assert Person(served, "boss", admin=True).get(EXPLORER).status_code == 404
    olga = Person(served, "olga")
    assert olga.get("/services/pacs/explorer-offered").json() == {"offered": True}
    answer = olga.get(EXPLORER)
    assert answer.status_code == 303
    (line,) = lines_of(served, answer)
    assert (line["user"], line["action"], line["decision"]) == ("olga", "open_explorer", "allowed")
    assert SECRET.search(answer.headers["location"]).group(1) not in str(line)


def test_a_token_opens_it_not_and_a_script_or_frame_neither(served):
    token = served.tokens.add("olga")
    assert served.client.get(served.settings.service_url + EXPLORER, headers=token).status_code == 401
    olga = Person(served, "olga")
    for headers in (
        {"Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"},
        {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"},
    ):
        answer = olga.get(EXPLORER, headers=headers)
        assert (answer.status_code, "location" in answer.headers) == (403, False)
    assert olga.post(EXPLORER, headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
    assert olga.post(EXPLORER, {"_xsrf": "0" * 64}).status_code == 403


def test_below_its_address_the_same_is_decided_as_with_a_token(served, archive):
    at = opened(served)
    (name, *_) = httpx.get(f"{archive.orthanc.url}/instances").json()
    for path in ("system", f"instances/{name}/tags", "patients?expand&since=0&limit=1", "app/explorer.html"):
        answer = served.client.get(f"{at}/{path}")
        assert answer.status_code == 200
        assert answer.content == httpx.get(f"{archive.orthanc.url}/{path}").content
        (line,) = lines_of(served, answer)
        assert (line["user"], line["action"], line["profiles"]) == ("olga", "orthanc", ["Archive"])
        assert line["path"] == f"/services/pacs/explorer/***/{path.partition('?')[0]}"
        assert line["via"]
        assert at.rpartition("/")[2] not in str(line)
    for method, path in (("GET", "statistics"), ("DELETE", f"instances/{name}"), ("GET", "STATISTICS")):
        answer = served.client.request(method, f"{at}/{path}")
        assert (answer.status_code, answer.json()["error"]) == (404, "not_found")
    for path in ("x/%2e%2e/statistics", "%2573tatistics", "instances?_method=DELETE"):
        assert served.client.get(f"{at}/{path}").status_code == 400
    assert served.client.patch(f"{at}/system").status_code == 405
    assert served.client.get(at).headers["location"] == f"{without_origin(at)}/app/explorer.html"
    found = served.client.post(f"{at}/tools/find", json={"Level": "Study", "Query": {}})
    assert found.status_code == 200
    assert [line["status"] for line in lines_of(served, found)] == [0, 200]
    assert httpx.get(f"{archive.orthanc.url}/instances/{name}").status_code == 200


def without_origin(url: str) -> str:
    return "/" + url.split("/", 3)[3]


def test_a_large_body_passes_in_pieces(served):
    at = opened(served)
    answer = served.client.post(f"{at}/instances", content=b"x" * (8 << 20))  # no DICOM: Orthanc itself refuses it
    assert (answer.status_code, answer.json()["HttpStatus"]) == (400, 400)


def test_its_answers_have_no_origin_and_stay_nowhere(served):
    at = opened(served)
    answer = served.client.get(f"{at}/system", headers={"Origin": "null"})
    assert answer.headers["access-control-allow-origin"] == "null"
    assert "access-control-allow-credentials" not in answer.headers
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["referrer-policy"] == "no-referrer"
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("sandbox allow-scripts ")
    assert "allow-same-origin" not in policy
    assert "escape-sandbox" not in policy
    assert f"connect-src {at}/;" in policy
    assert "set-cookie" not in answer.headers
    preflight = served.client.options(f"{at}/instances", headers={"Origin": "null"})
    assert (preflight.status_code, preflight.headers["access-control-allow-origin"]) == (204, "null")
    for headers in (
        {"Origin": served.settings.service_url},
        {"Origin": "https://elsewhere.example"},
        {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"},
    ):
        answer = served.client.get(f"{at}/system", headers=headers)
        assert answer.status_code == 403
        assert "access-control-allow-origin" not in answer.headers


AS_A_PAGE = (
    {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Sec-Fetch-Site": "none"},
    {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"},  # by plain http browsers say no more
)


@pytest.mark.parametrize("headers", AS_A_PAGE, ids=["https", "http"])
def test_as_a_page_it_opens_in_the_browser_that_it_was_made_in_and_in_no_other(served, headers):
    at = opened(served)
    page = f"{at}/app/explorer.html"
    assert Person(served, "olga").get(page, headers=headers).status_code == 200
    for somebody in ("rita", None):
        asked = (Person(served, somebody).get if somebody else served.client.get)(page, headers=headers)
        made_up = served.client.get(f"{at[:-43]}{'x' * 43}/app/explorer.html", headers=headers)
        assert asked.status_code == made_up.status_code == 404
        assert without_nonce(asked.text) == without_nonce(made_up.text)
        (line,) = lines_of(served, asked)
        assert (line["user"], line["decision"]) == (somebody, "denied")
        assert line["via"]
        assert line["why"] == ["The address of Orthanc Explorer was made in another browser."]
    # Her own other browser, in which she signed in at the Hub by herself, is another one, too.
    assert Person(served, "olga").get(page, headers=headers, session="another").status_code == 404
    # What the page loads comes without a cookie.
    assert served.client.get(f"{at}/system", headers={"Sec-Fetch-Mode": "no-cors"}).status_code == 200


def test_no_answer_has_an_origin_whatever_comes_of_the_request(served, archive):
    at = opened(served)
    made_up = f"{at[:-43]}{'x' * 43}"
    found = set()
    for method, url, headers in (
        ("GET", f"{made_up}/system", {}),
        ("GET", f"{at}/statistics", {}),
        ("GET", f"{at}/x/%2e%2e/system", {}),
        ("GET", f"{at}/system", {"Origin": "https://elsewhere.example"}),
        ("GET", f"{at}/system", AS_A_PAGE[0]),
        ("GET", f"{at}/instances/none/tags", {}),
        ("PATCH", f"{at}/system", {}),
    ):
        answer = served.client.request(method, url, headers=headers)
        assert answer.headers["content-security-policy"].startswith("sandbox"), answer.text
        assert "allow-same-origin" not in answer.headers["content-security-policy"]
        assert answer.headers["x-frame-options"] == "DENY"
        found.add(answer.status_code)
    assert found == {400, 403, 404, 405}


def test_it_is_no_viewers_address_and_a_viewers_is_none_of_these(served, archive):
    secret = opened(served).rpartition("/")[2]
    answer = served.get(f"view/{secret}/dicom-web/studies")
    assert (answer.status_code, answer.json()["error"]) == (404, "address_invalid")
    made = served.post("viewer-address", served.tokens.add("olga"), {}).json()["url"].split("/")[-2]
    for other in (made, "x" * 43):
        answer = served.client.get(f"{served.settings.service_url}{EXPLORER}/{other}/system")
        assert (answer.status_code, answer.json()["error"]) == (404, "address_invalid")
    ended = f"{served.settings.service_url}{EXPLORER}/{made}/system"
    page = served.client.get(ended, headers={"Sec-Fetch-Mode": "navigate"})
    assert page.status_code == 404
    assert "Open Orthanc Explorer again" in page.text
    assert made not in without_token(f"{EXPLORER}/{made}/system")


def test_it_ends_with_the_session_and_does_not_come_back(served):
    at = opened(served)
    assert served.client.get(f"{at}/system").status_code == 200
    actor = served.tokens.actors.pop("token-of-olga")
    try:
        assert served.client.get(f"{at}/system").status_code == 404
    finally:
        served.tokens.actors["token-of-olga"] = actor
    assert served.client.get(f"{at}/system").status_code == 404


def test_permissions_are_those_of_the_moment_of_use(served):
    at = opened(served)
    held = served.tokens.actors["token-of-olga"]
    served.tokens.actors["token-of-olga"] = replace(held, name="nobody-any-more")
    assert served.client.get(f"{at}/system").json()["error"] == "not_found"
    served.tokens.actors["token-of-olga"] = held
    assert served.client.get(f"{at}/system").status_code == 200


def test_it_ends_by_itself_and_the_oldest_of_many_ends_first(served, archive, tmp_path):
    addresses = [opened(served) for _ in range(21)]
    assert [served.client.get(f"{at}/system").status_code for at in (addresses[0], *addresses[-20:])] == [404] + 20 * [
        200
    ]
    short = gateway_settings_of(served, explorer_minutes=0.005)
    with serving(short) as other:
        at = opened(other)
        until(lambda: other.client.get(f"{at}/system").status_code == 404, "the address ended", 10)
    with serving(gateway_settings_of(served, explorer_minutes=0)) as other:
        pages = Person(other, "olga")
        assert pages.get(EXPLORER).status_code == 404
        assert pages.get("/services/pacs/explorer-offered").json() == {"offered": False}


def gateway_settings_of(served: Served, **changes):
    return replace(served.settings, **changes)


def test_where_a_profile_asks_for_a_reason_a_page_asks_first(served):
    rita = Person(served, "rita")
    asked = rita.get(EXPLORER)
    assert (asked.status_code, "the number of your study" in asked.text) == (200, True)
    assert "Careful asks for" in asked.text
    assert "Users" not in asked.text  # no navigation of the administration
    assert rita.post(EXPLORER, {"reason": " x "}).status_code == 400
    answer = rita.post(EXPLORER, {"reason": "study 17"})
    assert answer.status_code == 303
    used = rita.get(answer.headers["location"])
    assert used.status_code == 200
    (line,) = lines_of(served, used)
    assert (line["user"], line["reason"]) == ("rita", "study 17")


# ---- every operation of the file, at a real Hub, asked by those for whom it is not

OPERATIONS = {
    operation["operationId"]: (method.upper(), path)
    for path, item in yaml.safe_load((files("rpacs_hub.gateway") / "openapi.yaml").read_text())["paths"].items()
    for method, operation in item.items()
    if method not in ("parameters", "servers") and operation.get("tags") == ["explorer"]
}
BELOW = {
    "explorerGet": "patients",
    "explorerPost": "tools/find",
    "explorerPut": "patients/x",
    "explorerDelete": "patients",
}
ANSWERS = {"openExplorer": (302, 404), "openExplorerWithReason": (403, 403), "explorerOffered": (302, 200)}
"""Of those that a cookie opens: what nobody is told, and what somebody with other profiles is told."""


@pytest.fixture(scope="module")
def cookies(real_hub) -> dict[str, str]:
    """What the browsers of people send who signed in."""
    found = {}
    for name in ("petra", "olga", "clara", "boss"):
        with signed_in(real_hub, name) as browser:
            browser.get("services/pacs/explorer-offered")
            found[name] = "; ".join(f"{one.name}={one.value}" for one in browser.cookies.jar if one.path != "/hub/")
    return found


@pytest.fixture(scope="module")
def petras(real_hub, cookies) -> str:
    """petra's address, without a slash at its end."""
    answer = httpx.get(f"{real_hub.url}services/pacs/explorer", headers={"Cookie": cookies["petra"]})
    return real_hub.url.rstrip("/") + answer.headers["location"].removesuffix("/app/explorer.html")


def test_every_operation_of_the_file_is_asked_here():
    assert set(OPERATIONS) == {*BELOW, *ANSWERS}


@pytest.mark.parametrize("operation", ANSWERS)
def test_without_a_session_or_profile_nothing_is_opened(real_hub, cookies, operation):
    method, path = OPERATIONS[operation]
    nobodys, others = ANSWERS[operation]

    def ask(**headers: str) -> httpx.Response:
        form = {"reason": "study 17"} if method == "POST" else None
        return httpx.request(method, f"{real_hub.url}services/pacs{path}", headers=headers, data=form)

    for token in (notebook_token(real_hub, "boss"), make_token(real_hub, "petra")[0], "made-up-0123456789"):
        assert ask(Authorization=f"token {token}", Cookie=cookies["petra"]).status_code == 401
    held = cookies["petra"]
    for headers in ({}, {"X-Forwarded-User": "petra"}, {"Cookie": held[:-2] + "xx"}, {"Cookie": "rpacs-session=petra"}):
        answer = ask(**headers)
        assert answer.status_code == nobodys
        assert "petra" not in without_nonce(answer.text)
        if nobodys == 302:
            assert answer.headers["location"].startswith("/hub/api/oauth2/authorize?client_id=service-pacs&")
    for name in ("clara", "boss"):
        answer = ask(Cookie=cookies[name])
        assert answer.status_code == others
        assert "location" not in answer.headers
        assert answer.status_code != 200 or answer.json() == {"offered": False}


@pytest.mark.parametrize("operation", BELOW)
def test_another_persons_address_looks_like_one_that_there_is_not(real_hub, cookies, petras, operation):
    method, _ = OPERATIONS[operation]
    made_up = f"{petras[:-43]}{'x' * 43}"

    def ask(at: str, **headers: str) -> httpx.Response:
        return httpx.request(method, f"{at}/{BELOW[operation]}", headers={"Sec-Fetch-Mode": "navigate", **headers})

    for cookie in (cookies["olga"], cookies["clara"], cookies["boss"], "", "rpacs-session=petra"):
        asked, fake = ask(petras, Cookie=cookie), ask(made_up, Cookie=cookie)
        assert asked.status_code == fake.status_code == 404
        assert without_nonce(asked.text) == without_nonce(fake.text)
        assert "P1" not in without_nonce(asked.text)
    tokens = {name: f"token {make_token(real_hub, name)[0]}" for name in ("ada", "olga")}
    for authorization in tokens.values():
        assert ask(made_up, Authorization=authorization).status_code == 404
    # petra herself reaches it in her browser, and there as far as her profile goes.
    hers = ask(petras, Cookie=cookies["petra"])
    assert hers.status_code == {"explorerGet": 200, "explorerPost": 400}.get(operation, 404)
    assert operation != "explorerGet" or set(hers.json()) == set(httpx.get(f"{petras}/patients").json())


def test_who_is_removed_from_the_hub_loses_it_at_once(real_hub):
    with signed_in(real_hub, "quinn") as browser:
        opened = browser.get("services/pacs/explorer")
        at = str(opened.url).removesuffix("/app/explorer.html")
        assert (opened.status_code, httpx.get(f"{at}/system").status_code) == (200, 200)
        # So does disabling somebody on the administrators' pages.
        assert real_hub.api("DELETE", "users/quinn").status_code == 204
        assert httpx.post(f"{at}/tools/find", json={"Level": "Study", "Query": {}}).status_code == 404
        assert httpx.get(f"{at}/system").status_code == 404


# ---- a real Hub and a real browser


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with running_chromium() as browser:
        yield browser


def sign_in(chromium: Browser, hub: Hub, name: str) -> tuple[BrowserContext, Page]:
    context = chromium.new_context(viewport={"width": 1280, "height": 800})
    page = context.new_page()
    page.goto(f"{hub.url}hub/login")
    page.fill('input[name="username"]', name)
    page.fill('input[name="password"]', "any")
    page.click('[type="submit"]')
    page.wait_for_url(re.compile(r"/hub/(home|spawn)"))
    return context, page


@pytest.fixture(scope="module")
def petras_browser(chromium, real_hub) -> Iterator[BrowserContext]:
    """petra's browser, in which she signed in at the Hub."""
    context, page = sign_in(chromium, real_hub, "petra")
    page.close()
    yield context
    context.close()


@pytest.fixture
def page(petras_browser, real_hub) -> Iterator[Page]:
    """Orthanc Explorer in it."""
    page = petras_browser.new_page()
    page.set_default_timeout(30_000)
    page.goto(f"{real_hub.url}services/pacs/explorer")
    yield page
    page.close()


def below(page: Page) -> str:
    return page.url.partition("/app/explorer.html")[0]


def test_in_a_browser_it_lists_patients_opens_a_study_and_hands_it_out(real_hub, archive, page, tmp_path):
    page.get_by_text("Do lookup").first.wait_for()
    page.get_by_text("All patients", exact=True).first.click()
    shown = page.locator(".ui-page-active")
    shown.get_by_text("P1^Pseudo").first.click()
    shown.get_by_text("Chest").first.click()
    shown.get_by_text("Thorax").first.wait_for()  # the study, with its series
    page.screenshot(path=str(tmp_path / "explorer.png"))
    with page.expect_download() as saved:
        shown.get_by_text("Download ZIP").click()
    with zipfile.ZipFile(saved.value.path()) as found:
        names = found.namelist()
    assert len(names) == sum(
        image.StudyInstanceUID == archive.ct[0].StudyInstanceUID for image in (*archive.ct, *archive.mr)
    )
    shown.get_by_text("Thorax").first.click()
    shown.get_by_text("Instance: 1").first.wait_for()
    lines = [json.loads(line) for line in real_hub.audit.read_text().splitlines() if "/explorer/***/" in line]
    (handed_out,) = (line for line in lines if line["path"].endswith("/archive"))
    assert (handed_out["user"], handed_out["decision"], handed_out["profiles"]) == (
        ("petra", "allowed", ["Archive in a browser"])
    )


def test_its_scripts_reach_nothing_else(real_hub, page):
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))

    def script(code: str) -> str:
        return page.evaluate(f"async () => {{ try {{ return String({code}) }} catch (error) {{ return error.name }} }}")

    def status(url: str, **more) -> str:
        return script(f"await fetch({url!r}, {json.dumps(more)}).then(answer => answer.status)")

    assert script("self.origin") == "null"
    assert script("document.cookie") == "SecurityError"
    assert script("localStorage.length") == "SecurityError"
    assert status(f"{below(page)}/system") == "200"
    assert status(f"{below(page)}/statistics") == "404"  # her profile denies it
    assert status(f"{below(page)}/instances", method="POST", body="x") == "404"
    elsewhere = (
        f"{real_hub.url}hub/api/user",
        f"{real_hub.url}hub/home",
        f"{real_hub.base}me",
        f"{real_hub.url}services/pacs/explorer",
        f"{real_hub.url}services/pacs/admin/",
        f"{real_hub.base}health",
    )
    for url in elsewhere:
        assert status(url) == "TypeError", url
    assert status(elsewhere[0], method="POST", mode="no-cors", credentials="include") == "TypeError"

    def refusals() -> int:
        script("0")  # while it is asked, what the page said comes in
        return len([text for text in said if "Content Security Policy" in text])

    until(lambda: refusals() > len(elsewhere), "each refusal is said")
    # A form may be sent to its own address only; a window that it opens has no origin either, and cannot be read.
    form = "Object.assign(document.createElement('form'), {method: 'post', action: %r})"
    with page.expect_console_message(lambda message: "form-action" in message.text):
        script(f"document.body.appendChild({form % (real_hub.url + 'hub/logout')}).submit()")
    with page.expect_popup() as opened:
        script(f"window.own = window.open({real_hub.url + 'hub/home'!r})")
    opened.value.wait_for_load_state()
    assert opened.value.evaluate("self.origin") == "null"
    assert script("window.own.document.body.innerText") == "SecurityError"
    # Whoever leaves takes no address along.
    with page.expect_request(f"{real_hub.url}hub/home") as left:
        script(f"location.assign({real_hub.url + 'hub/home'!r})")
    assert "referer" not in left.value.all_headers()


READ_WHERE_IT_IS = """async (url) => {
    const opened = window.open(url);
    for (let tries = 0; tries < 300; tries++) {
        try {
            if (opened.location.href !== "about:blank") return opened.location.href;
        } catch (error) {
            return error.name;
        }
        await new Promise((soon) => setTimeout(soon, 20));
    }
}"""


def test_pages_of_the_hubs_host_do_not_learn_the_address(real_hub, petras_browser, page):
    home = petras_browser.new_page()
    home.goto(f"{real_hub.url}hub/home")
    explorer = f"{real_hub.url}services/pacs/explorer"
    for url in (explorer, f"{below(page)}/system"):
        assert home.evaluate("url => fetch(url).then(answer => answer.status)", url) == 403
    # Nor where an error is shown there.
    for url in (explorer, f"{below(page)}/statistics"):
        with home.expect_popup() as opened:
            assert home.evaluate(READ_WHERE_IT_IS, url) == "SecurityError"
        opened.value.close()
    home.close()


def test_in_another_persons_browser_it_has_ended(real_hub, chromium, page):
    context, olgas = sign_in(chromium, real_hub, "olga")
    answer = olgas.goto(page.url)
    assert answer.status == 404
    assert "Open Orthanc Explorer again" in olgas.inner_text("main")
    assert olgas.evaluate("self.origin") == "null"
    context.close()


def test_signing_out_ends_it_and_leaves_the_address_nowhere(real_hub, chromium):
    context, page = sign_in(chromium, real_hub, "petra")
    page.goto(f"{real_hub.url}services/pacs/explorer")
    at, secret = below(page), SECRET.search(page.url).group(1)
    assert httpx.get(f"{at}/system").status_code == 200
    context.new_page().goto(f"{real_hub.url}hub/logout")
    page.reload()  # what is opened, and what may change something, asks the Hub anew; the rest within ten seconds
    assert "Open Orthanc Explorer again" in page.inner_text("main")
    assert httpx.get(f"{at}/system").status_code == 404
    assert secret not in real_hub.audit.read_text() + real_hub.log.read_text()
    context.close()


def test_who_has_no_such_profile_sees_the_page_of_what_does_not_exist(real_hub, chromium):
    context, page = sign_in(chromium, real_hub, "clara")
    answer = page.goto(f"{real_hub.url}services/pacs/explorer")
    assert answer.status == 404
    assert "There is no such address." in page.inner_text("main")
    context.close()


def test_nobody_is_sent_to_sign_in(real_hub):
    for path in ("explorer", "explorer-offered"):
        answer = httpx.get(f"{real_hub.url}services/pacs/{path}")
        assert answer.status_code == 302
        assert answer.headers["location"].startswith("/hub/api/oauth2/authorize?client_id=service-pacs&")
    assert httpx.post(f"{real_hub.url}services/pacs/explorer").status_code == 403
