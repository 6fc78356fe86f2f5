"""The pages on which permissions are looked at and changed: profiles, versions, who sees what, files in force."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hub.tests.support import PERMISSIONS, Pages, Served, audit_lines, gateway_settings, serving, until
from rpacs_hub.permissions import PermissionsStore, Version

WIDER = PERMISSIONS.replace("Modality StrEquals CT", "Modality StrIn (CT, MR)")


def text_of(answer: httpx.Response) -> str:
    """Return what a page says, without its tags."""
    body = answer.text.partition("</style>")[2].partition("<script")[0]
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", body)))


def field(answer: httpx.Response, name: str) -> str:
    """Return a hidden field of a page."""
    found = re.search(rf'<input type="hidden" name="{name}" value="([^"]*)">', answer.text)
    assert found, answer.text
    return html.unescape(found[1])


def text_field(answer: httpx.Response) -> str:
    found = re.search(r'<textarea [^>]*name="text"[^>]*>\n(.*?)</textarea>', answer.text, re.DOTALL)
    assert found, answer.text
    return html.unescape(found[1])


@dataclass
class Rig:
    """A gateway over the archive with a permissions file of its own, and an administrator's browser."""

    served: Served
    pages: Pages
    path: Path
    audit: object

    @property
    def store(self) -> PermissionsStore:
        return self.served.gateway.services.permissions

    def versions(self) -> list[Version]:
        return list(self.served.looped.do(self.store.versions.list()))

    def write(self, text: str) -> None:
        """Write the file past the gateway, which takes notice."""
        self.path.write_text(text)
        self.served.looped.do(self.store.look())

    def lines(self, answer: httpx.Response) -> list[dict]:
        return audit_lines(self.audit, answer.headers["x-request-id"])


@pytest.fixture(scope="module")
def served(archive, tmp_path_factory) -> Iterator[Served]:
    settings = gateway_settings(archive.base, archive.orthanc.url, tmp_path_factory.mktemp("profiles"))
    with serving(settings) as served:
        served.tokens.add("clara", "ct-researchers", "researchers")
        served.tokens.add("nora", "researchers")
        until(lambda: served.looped.do(served.gateway.services.permissions.versions.list()), "the first version")
        yield served


@pytest.fixture
def rig(archive, served) -> Iterator[Rig]:
    pages = served.browser("boss", "pacs-admins")
    rig = Rig(served, pages, served.settings.permissions, archive.base)
    rig.write(PERMISSIONS)
    yield rig
    pages.close()


def test_the_profiles_and_who_holds_them(rig):
    answer = rig.pages.get("profiles")
    text = text_of(answer)
    assert 'CT only Computed tomography images where Modality is "CT" Modality StrEquals CT 2 ct-researchers –' in text  # noqa: RUF001
    assert "Everything All images every image 3 – ada" in text  # noqa: RUF001
    assert f"2 profiles in force: version {rig.versions()[0].number} by file" in text
    (line,) = rig.lines(answer)
    assert (line["action"], line["decision"]) == ("admin_view", "allowed")


def test_a_text_is_previewed_saved_and_taken_back(archive, rig):
    page = rig.pages.get("profiles/edit")
    assert text_field(page) == PERMISSIONS
    new = WIDER.replace("[ada]", "[ada, nora]")
    shown = rig.pages.post("profiles/preview", {"text": new, "expected": field(page, "expected")})
    text = text_of(shown)
    assert "User 'nora' gets the profile 'Everything'." in text
    assert (
        'shows images where Modality is one of "CT", "MR"; until now it showed images where Modality is "CT".' in text
    )
    assert "clara ct-researchers, researchers +1 study, +3 images for clara 2 3 +1 0 CT only" in text
    assert "nora researchers +3 studies, +10 images for nora 0 3 +3 0 none → Everything" in text
    assert "Group ct-researchers +1 study, +3 images for group ct-researchers" in text
    assert "<del>-    DICOMQueryFilter: Modality StrEquals CT</del>" in shown.text
    assert rig.path.read_text() == PERMISSIONS
    count = len(rig.versions())
    fields = {"text": text_field(shown), "expected": field(shown, "expected"), "why": "study 7"}
    saved = rig.pages.post("profiles/save", fields)
    assert f"Version {count + 1} is in force: study 7" in text_of(rig.pages.follow(saved))
    assert rig.path.read_text() == new
    newest = rig.versions()[0]
    assert (newest.number, newest.who, newest.why, newest.text) == (count + 1, "boss", "study 7", new)
    begun, done = rig.lines(saved)
    assert (begun["action"], begun["subject"], begun["status"]) == ("change_permissions", str(rig.path), 0)
    assert (done["decision"], done["reason"], done["identifiers"]) == ("allowed", "study 7", [newest.digest])
    nora = {"Authorization": "token token-of-nora"}
    assert rig.served.get("search", nora, level="study").json()["total"] == 3

    listed = text_of(rig.pages.get("profiles/versions"))
    assert f"{newest.number} " in listed
    assert "boss study 7 in force" in listed
    old = count
    difference = rig.pages.get("profiles/difference", params={"old": old, "new": newest.number})
    assert "<ins>+  - Users: [ada, nora]</ins>" in difference.text
    page = rig.pages.get(f"profiles/versions/{old}")
    shown = rig.pages.post(f"profiles/versions/{old}", {"expected": field(page, "expected")})
    assert "−3 studies, −10 images for nora" in text_of(shown)  # noqa: RUF001
    fields = {"expected": field(shown, "expected"), "why": "too much"}
    after = text_of(rig.pages.follow(rig.pages.post(f"profiles/versions/{old}/back", fields)))
    assert f"Version {count + 2} is in force: back to version {old}: too much" in after
    assert rig.path.read_text() == PERMISSIONS
    assert rig.served.get("search", nora, level="study").json()["total"] == 0


def test_a_broken_text_cannot_be_saved(rig):
    page = rig.pages.get("profiles/edit")
    broken = PERMISSIONS.replace("Modality StrEquals", "Modalty StrEquals").replace("[Everything]", "[Everythin]")
    fields = {"text": broken, "expected": field(page, "expected"), "why": "study 7"}
    versions = len(rig.versions())
    for path in ("profiles/preview", "profiles/save"):
        answer = rig.pages.post(path, fields)
        assert answer.status_code == 400
        text = text_of(answer)
        assert "2 errors: this text cannot be saved" in text
        assert "Line 5, column 23: DICOMQueryFilter: Modalty is not a DICOM keyword" in text
        assert "There is no profile 'Everythin'. Did you mean 'Everything'?" in text
        assert re.findall("<mark>(\\d+)</mark>", answer.text) == ["5", "12"]
        assert text_field(answer) == broken
    assert rig.lines(answer)[-1]["decision"] == "error"
    assert rig.path.read_text() == PERMISSIONS
    assert len(rig.versions()) == versions
    again = rig.pages.post("profiles/edit", {"text": WIDER, "expected": "x"})
    assert (again.status_code, text_field(again), field(again, "expected")) == (200, WIDER, "x")


def test_somebody_elses_change_is_shown_and_not_overwritten(rig):
    seen = field(rig.pages.get("profiles/edit"), "expected")
    rig.path.write_text(PERMISSIONS.replace("All images", "Every image"))  # with an editor
    answer = rig.pages.post("profiles/save", {"text": WIDER, "expected": seen, "why": "study 7"})
    assert answer.status_code == 409
    assert "Somebody else changed the permissions meanwhile" in text_of(answer)
    assert "<del>-    Description: Every image</del>" in answer.text
    assert "<ins>+    DICOMQueryFilter: Modality StrIn (CT, MR)</ins>" in answer.text
    assert "Every image" in rig.path.read_text()
    assert rig.lines(answer)[-1]["decision"] == "error"
    # Who has seen it may replace it.
    fields = {"text": text_field(answer), "expected": field(answer, "expected"), "why": "both"}
    assert rig.pages.post("profiles/save", fields).status_code == 303
    assert rig.path.read_text() == WIDER


@pytest.mark.parametrize(
    ("fields", "words"),
    [({"why": " "}, "A change of the permissions needs a reason."), ({"text": PERMISSIONS}, "holds already")],
)
def test_what_was_not_saved_says_why(rig, fields, words):
    expected = field(rig.pages.get("profiles/edit"), "expected")
    answer = rig.pages.post("profiles/save", {"text": WIDER, "expected": expected, "why": "study 7", **fields})
    assert answer.status_code == 409
    assert words in text_of(answer)
    assert rig.path.read_text() == PERMISSIONS


def test_one_profile_by_its_form(rig):
    page = rig.pages.get("profiles/one", params={"name": "CT only"})
    assert "Group ct-researchers Take away from group ct-researchers On the Hub these are: clara" in text_of(page)
    base = {"name": "CT only", "expected": field(page, "expected")}

    def shown(**fields: str) -> str:
        answer = rig.pages.post("profiles/one", {**base, **fields})
        assert answer.status_code == 200, text_of(answer)
        return text_of(answer)

    assert "+2 studies, +7 images for nora" in shown(what="give", user="nora")
    assert "−2 studies, −7 images for clara" in shown(what="take", group="ct-researchers")  # noqa: RUF001
    assert "The profile 'CT only' is gone." in shown(what="remove")
    asked = shown(what="set", description="CT", query="Modality StrEquals\nCT", access_reason="your study")
    assert "is asked for a reason: your study" in asked
    assert "as many images as before for clara" in asked
    paths = shown(what="set", query="", allow="GET /**\n\nGET /app/**", deny="GET /tools/**")
    assert "may use paths of Orthanc: GET /**, GET /app/** but not GET /tools/**" in paths
    new = rig.pages.post(
        "profiles/one", {"what": "set", "name": "MR", "query": "Modality StrEquals MR", "expected": "x"}
    )
    assert "There is a new profile 'MR': it shows images where Modality is \"MR\"." in text_of(new)
    for fields, words in (
        ({"what": "set", "query": "Modalty StrEquals CT"}, "did you mean Modality"),
        ({"what": "take", "user": "nora"}, "Nothing gives the profile 'CT only' to 'nora'."),
        ({"what": "give"}, "Say for which user or for which group."),
        ({"what": "nothing"}, "does not say what to do"),
    ):
        answer = rig.pages.post("profiles/one", {**base, **fields})
        assert (answer.status_code, words in text_of(answer)) == (400, True), text_of(answer)
    assert rig.pages.get("profiles/one", params={"name": "None"}).status_code == 404
    assert rig.path.read_text() == PERMISSIONS


def test_a_broken_file_shows_everywhere_and_is_mended_by_going_back(rig):
    good = rig.store.current.digest
    rig.write("Profils: {}\n")
    for path in ("profiles", "files", ""):
        text = text_of(rig.pages.get(path))
        assert "The permissions file cannot be used The last good one stays in force." in text
        assert "Line 1, column 1: The file has no key 'Profils'. Did you mean 'Profiles'?" in text
    files = text_of(rig.pages.get("files"))
    assert f"Digest in force {good} Since" in files
    assert f"Digest of the file {rig.store.state.found_digest}" in files
    assert "This database holds nothing of a de-identifier." in files
    edit = rig.pages.get("profiles/edit")
    assert text_field(edit) == "Profils: {}\n"
    refused = rig.pages.post("profiles/one", {"name": "CT only", "what": "remove", "expected": ""})
    assert (refused.status_code, "must be mended first" in text_of(refused)) == (409, True)
    newest = rig.versions()[0].number
    fields = {"expected": field(edit, "expected"), "why": "broken"}
    assert rig.pages.post(f"profiles/versions/{newest}/back", fields).status_code == 303
    assert rig.path.read_text() == PERMISSIONS
    assert "cannot be used" not in text_of(rig.pages.get("profiles"))


def test_versions_that_are_none(rig):
    for path in ("profiles/versions/0", "profiles/versions/99999", "profiles/versions/x", "profiles/difference"):
        assert rig.pages.get(path).status_code == 404
    assert rig.pages.post("profiles/versions/99999/back", {"why": "study 7"}).status_code == 404


def test_a_version_that_is_no_longer_understood_is_refused(archive, rig):
    """A later release may understand less."""
    number = rig.versions()[0].number + 1
    with psycopg.connect(archive.base.gateway, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO gateway.permissions_version SELECT %s, now(), 'ada', 'old', source, 'x', 'Profils: {}' "
            "FROM gateway.permissions_version LIMIT 1",
            (number,),
        )
        try:
            for path in (f"profiles/versions/{number}", f"profiles/versions/{number}/back"):
                answer = rig.pages.post(path, {"why": "study 7", "expected": rig.store.state.found_digest})
                assert (answer.status_code, "is not valid any more" in text_of(answer)) == (409, True)
        finally:
            connection.execute("DELETE FROM gateway.permissions_version WHERE version = %s", (number,))
    assert rig.path.read_text() == PERMISSIONS


def test_who_sees_what_and_why(archive, rig):
    def ask(**asked: str) -> str:
        answer = rig.pages.get("who-sees", params=asked)
        assert answer.status_code == 200
        ask.line = rig.lines(answer)[0]
        return text_of(answer)

    ct, mr = archive.ct[0], archive.mr[0]
    whole = ask(user="clara")
    assert "clara, in groups ct-researchers researchers" in whole
    assert "Well: clara sees 2 of 3 studies and 7 of 10 images." in whole
    assert 'CT only through group ct-researchers images where Modality is "CT" 2 7' in whole
    query = ask(user="clara", query="Modality StrEquals MR")
    assert "Not well: clara sees 0 of 2 studies and 0 of 3 images that match." in query
    assert 'Asked for: Modality is "MR".' in query
    assert (ask.line["query"], ask.line["subject"]) == ("Modality StrEquals MR", "clara")
    study = ask(user="clara", uid=str(ct.StudyInstanceUID))
    assert "clara sees 6 of 7 instances of this study" in study
    assert 'it needs that Modality is "CT"; one that it does not show has Modality MR.' in study
    assert ask.line["identifiers"] == [str(ct.StudyInstanceUID)]
    assert "Not well: clara does not see this instance" in ask(user="clara", uid=str(mr.SOPInstanceUID))
    # Groups that are given count instead of hers, and without a user for whoever is in them.
    assert "No profile is held, so nothing is shown." in ask(user="clara", groups="others")
    assert "Somebody in these groups sees 2 of 3 studies" in ask(groups="ct-researchers, others")
    assert "No profile is held, so nothing is shown." in ask(user="nobody")
    assert "The index has no image, series or study with this UID." in ask(user="clara", uid="1.2.3")
    assert "The query, character 1: " in ask(user="clara", query="Modalty StrEquals CT")
    assert "Not both." in ask(user="clara", query="Rows Exists", uid="1.2")
    assert "Answer" not in ask()


def test_what_is_written_stays_text(rig):
    """Names and descriptions come from a file that people write."""
    hostile = "<script>alert(1)</script>"
    rig.write(PERMISSIONS.replace("CT only", f'"{hostile}"').replace("ct-researchers", "<b>x</b>"))
    for path in ("profiles", "profiles/edit", "profiles/versions", f"who-sees?groups={hostile}&uid={hostile}"):
        answer = rig.pages.get(path)
        assert answer.status_code == 200
        assert hostile not in answer.text
        assert "<b>x</b>" not in answer.text


ODD = st.text(max_size=20) | st.sampled_from(["9" * 200, "1.2.3", "-1", "%00", "..", "a,b,,c", "Modality", "(" * 500])


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.sampled_from(["user", "groups", "uid", "query", "name", "old", "new"]), ODD, max_size=4))
def test_no_question_breaks_a_page(rig, asked):
    for path in ("who-sees", "profiles/one", "profiles/difference"):
        assert rig.pages.get(path, params=asked).status_code in (200, 400, 404)
    for path, action in (
        ("profiles/one", "set"),
        ("profiles/one", "give"),
        ("profiles/preview", ""),
        ("profiles/save", ""),
    ):
        fields = {**asked, "what": action, "text": asked.get("query", ""), "why": asked.get("user", "")}
        assert rig.pages.post(path, fields).status_code in (200, 400, 404, 409)
    assert rig.path.read_text() == PERMISSIONS
