"""The permissions file and the decision."""

from __future__ import annotations

import json

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import dicom_query
from hub.tests.support import PERMISSIONS, image
from rpacs_hub.cli import main
from rpacs_hub.errors import PermissionsError
from rpacs_hub.permissions import (
    NOBODY,
    Action,
    Actor,
    Collection,
    Instance,
    OrthancPath,
    PathPattern,
    PermissionsFile,
    decide,
    held_profiles,
    parse_permissions,
    visible_to,
)
from rpacs_hub.permissions._words import difference

OLDER = """
Profiles:
  Admins:
    OrthancPathPatterns:
      Allow: [ANY /**]
      Deny:
        - DELETE /**
        - "POST /tools/execute-script"
  Site A:
    Description: Site A only
    DICOMQueryFilter: InstitutionName StrEquals 'Site A*' AND Modality StrNotEquals US
Permissions:
  - Users: root
    Profiles: Admins
  - Groups: [site-a, site-b]
    Users: [eve]
    Profiles: [Site A]
"""


def problems(text: str) -> list[tuple[int, str]]:
    with pytest.raises(PermissionsError) as caught:
        parse_permissions(text)
    return [(problem.line, f"{problem.message} {problem.hint}".strip()) for problem in caught.value.problems]


def test_a_file_of_the_older_system_is_read():
    permissions = parse_permissions(OLDER)
    admins, site_a = permissions.profiles["Admins"], permissions.profiles["Site A"]
    assert admins.allow == (PathPattern("ANY", "/**"),)
    assert admins.deny == (PathPattern("DELETE", "/**"), PathPattern("POST", "/tools/execute-script"))
    assert admins.filter is None
    assert site_a.filter == dicom_query.parse(site_a.filter_text)
    assert permissions.grants[0].users == {"root"}
    assert permissions.grants[1].groups == {"site-a", "site-b"}
    assert permissions.warnings == ()


def test_profiles_come_by_user_and_by_group_and_add_up():
    permissions = parse_permissions(OLDER)
    assert held_profiles(permissions, Actor("eve", frozenset({"site-b"}))) == {"Site A": (("eve",), ("site-b",))}
    assert held_profiles(permissions, Actor("root", frozenset({"site-a"}))) == {
        "Admins": (("root",), ()),
        "Site A": ((), ("site-a",)),
    }
    assert held_profiles(permissions, Actor("eve2")) == {}


def test_every_problem_is_listed_with_its_line_and_the_nearest_word():
    text = """Profiles:
  CT:
    Descripton: typo
    DICOMQueryFilter: Modality StrEquals
  Both:
    DICOMQueryFilter: Modality StrEquals CT
    OrthancPathPatterns: {Allow: [GET instances, FETCH /x], Denny: []}
  Keyword: {DICOMQueryFilter: Modalty StrEquals CT}
Permissions:
  - Group: [a]
    Profiles: [CT]
  - Users: [b]
    Profiles: [CTT]
  - Users: [c]
Permission: []
"""
    found = problems(text)
    assert [line for line, _ in found] == [3, 4, 7, 7, 7, 7, 8, 10, 10, 13, 14, 15]
    messages = dict(found)
    assert messages[3] == "The profile 'CT' has no key 'Descripton'. Did you mean 'Description'?"
    assert messages[13] == "There is no profile 'CTT'. Did you mean 'CT'?"
    assert messages[14] == "This entry has no Profiles. Name at least one."
    assert messages[15] == "The file has no key 'Permission'. Did you mean 'Permissions'?"
    assert "Modality" in messages[8]


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("", 1, "The file is empty. It needs the sections Profiles and Permissions."),
        ("- a\n- b\n", 1, "The file is a list. It must be a mapping (Key: value)."),
        ("Profiles: {A: {}\n", 2, "This is not YAML: expected ',' or '}', but got '<stream end>'."),
        ("Profiles:\n  A: {}\n  A: {}\n", 3, "'A' comes twice in Profiles. It is on line 2 already."),
    ],
)
def test_what_is_no_permissions_file(text, line, message):
    assert problems(text)[0] == (line, message)


def test_the_reader_makes_no_objects_of_pythons_own_tags():
    assert parse_permissions("Profiles: !!python/object/apply:os.system {}\nPermissions: []").profiles == {}


def test_bytes_that_are_not_utf8_are_refused():
    with pytest.raises(PermissionsError, match="not UTF-8"):
        parse_permissions(b"Profiles:\n  \xff: {}\n")


def test_a_profile_without_filter_and_an_unused_one_are_warned_about():
    permissions = parse_permissions(
        "Profiles:\n  All:\n  Unused: {DICOMQueryFilter: ''}\nPermissions: [{Users: a, Profiles: All}]"
    )
    assert [(w.line, w.message) for w in permissions.warnings] == [
        (2, "The profile 'All' has no filter: it shows every instance."),
        (3, "The profile 'Unused' has no filter: it shows every instance."),
        (3, "Nobody has the profile 'Unused'."),
    ]


@pytest.mark.parametrize(
    "text", ["GET instances", "FETCH /a", "GET /a/../b", "GET //a", "GET /a?b=c", "GET /%61", "/a", ""]
)
def test_path_patterns_that_match_nothing_are_refused(text):
    with pytest.raises(ValueError, match=r"."):
        PathPattern.parse(text)


def test_the_decision_says_why():
    permissions = parse_permissions(PERMISSIONS)
    documents = {name: dicom_query.index_document(image(modality=name)) for name in ("CT", "MR")}
    clara, ada, nora = Actor("clara", frozenset({"ct-researchers"})), Actor("ada"), Actor("nora")

    def ask(actor, modality):
        found = decide(permissions, actor, Action.READ_FILE, Instance("1.2", documents[modality]))
        return found.allowed, [reason.text for reason in found.reasons]

    through = "CT only, through group ct-researchers"
    assert ask(clara, "CT") == (True, [f'{through}: shows instances where Modality is "CT", as this one does.'])
    assert ask(clara, "MR") == (False, [f'{through}: needs that Modality is "CT"; this one has Modality MR.'])
    assert ask(ada, "MR") == (True, ["Everything, given by name: shows every instance."])
    assert ask(nora, "CT") == (False, ["No profile is held, so nothing is shown."])
    both = decide(
        permissions, Actor("ada", frozenset({"ct-researchers"})), Action.READ_FILE, Instance("1.2", documents["MR"])
    )
    assert both.allowed
    assert both.profiles == ("Everything",)
    assert [reason.allows for reason in both.reasons] == [True, False]
    assert not decide(permissions, nora, Action.SEARCH, Collection()).allowed
    assert not decide(NOBODY, ada, Action.READ_FILE, Instance("1.2", documents["CT"])).allowed


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("Rows NbGreater 99", "needs that Rows is greater than 99; this one has Rows 16"),
        ("NOT (Modality StrEquals CT)", 'needs that not (Modality is "CT"); this one has Modality CT'),
        ("ImageType Exists", "needs that Image Type is present; this one has no Image Type"),
        (
            "BodyPartExamined NotEmpty",
            "needs that Body Part Examined has a value that is not empty; this one has an empty Body Part Examined",
        ),
        (
            "Modality StrIn (MR, PT) AND Rows NbEquals 1",
            'needs that Modality is one of "MR", "PT"; this one has Modality CT; '
            "needs that Rows is the number 1; this one has Rows 16",
        ),
        ("Manufacturer StrEquals B", 'needs that Manufacturer is "B"; this one has Manufacturer ACME'),
        (
            "SOPClassUID Empty",
            "needs that SOP Class UID has an empty value; this one has SOP Class UID 1.2.840.10008.5.1.4.1.1.2",
        ),
    ],
)
def test_what_an_instance_lacks_is_said(query, words):
    document = dicom_query.index_document(image(BodyPartExamined="", Manufacturer="Acme"))
    assert difference(dicom_query.parse(query), document) == words


@pytest.mark.parametrize(
    "query",
    [
        "PatientID StrEquals X",
        "PatientName StrEquals X",
        "PatientSex StrEquals M",
        "PatientBirthDate DateOn 1960",
        "PatientWeight NbLess 10",
        "StudyDescription StrEquals X",
        "AccessionNumber StrEquals X",
        "StudyDate DateOn 1990",
        "StudyInstanceUID StrEquals 1.2",
        "00091010 StrEquals X",
        "RequestedProcedureDescription StrEquals X",
        "NOT (PatientSex StrEquals F)",
    ],
)
def test_nothing_that_could_name_a_patient_is_quoted_from_an_instance(query):
    secrets = {"PatientID": "Held01", "PatientName": "Held02^A", "PatientBirthDate": "19470304", "PatientSex": "F"}
    secrets |= {"PatientWeight": "77.25", "StudyDescription": "Held03", "AccessionNumber": "Held04"}
    secrets |= {"StudyDate": "20250607", "RequestedProcedureDescription": "Held05"}
    made = image(**secrets)
    made.add_new(0x00091010, "CS", "HELD06")
    document = dicom_query.index_document(made)
    words = difference(dicom_query.parse(query), document)
    held = words.partition("; this one has ")[2]
    assert held.startswith("another ")
    assert not any(value.casefold() in held.casefold() for value in secrets.values() if len(value) > 1)


FILTERS = (
    "Modality StrEquals CT",
    "Modality StrNotEquals CT",
    "SliceThickness NbLess 2",
    "StudyDescription StrEquals '*chest*' AND NOT (Modality StrEquals MR)",
    "PatientID NotExists OR StudyDate DateAfter 20260101",
    "ReferencedStudySequence.ReferencedSOPInstanceUID Exists",
)


@pytest.fixture(scope="module")
def documents():
    """Documents of a few images."""
    images = [
        image(modality=m, StudyDescription=d, SliceThickness=t, StudyDate=when)
        for m in ("CT", "MR")
        for d in ("Chest", "Abdomen")
        for t in (1, 3)
        for when in ("20251231", "20260102")
    ]
    del images[0].PatientID, images[1].SliceThickness
    return [dicom_query.index_document(one) for one in images]


@given(held=st.sets(st.integers(0, len(FILTERS) - 1)), everything=st.booleans())
def test_what_is_visible_and_the_decision_agree(documents, held, everything):
    """That the index finds what is visible, and nothing else, is tested with the index."""
    profiles = {f"P{n}": {"DICOMQueryFilter": text} for n, text in enumerate(FILTERS)} | {"All": {"Description": "all"}}
    granted = [f"P{n}" for n in sorted(held)] + ["All"] * everything
    grants = [{"Users": ["u"], "Profiles": granted}] if granted else []
    permissions = parse_permissions(json.dumps({"Profiles": profiles, "Permissions": grants}))
    actor = Actor("u")
    filters = visible_to(permissions, actor).filters
    for document in documents:
        visible = filters is None or any(dicom_query.evaluate_document(one, document) for one in filters)
        assert visible is decide(permissions, actor, Action.READ_FILE, Instance("1", document)).allowed
    assert (filters is None) is everything
    if not granted:
        assert filters == ()


PATHS = ("/instances", "/instances/abc", "/instances/abc/file", "/tools/find", "/system")
PATTERNS = ("ANY /**", "GET /instances/**", "DELETE /instances/*", "GET /system", "POST /tools/find", "ANY /tools/**")
NAMES = st.lists(st.sampled_from(["u", "v", "g", "h"]), max_size=3, unique=True)


@st.composite
def files(draw) -> dict:
    """Return a permissions file as JSON values."""
    sights = st.fixed_dictionaries({"DICOMQueryFilter": st.sampled_from(FILTERS)})
    patterns = st.lists(st.sampled_from(PATTERNS), max_size=2)
    paths = st.fixed_dictionaries({"OrthancPathPatterns": st.fixed_dictionaries({"Allow": patterns, "Deny": patterns})})
    names = draw(st.lists(st.sampled_from(["A", "B", "C", "D"]), unique=True, min_size=1))
    profiles = {name: draw(sights | paths | st.just({"Description": "all"})) for name in names}
    grants = draw(
        st.lists(
            st.fixed_dictionaries(
                {"Users": NAMES, "Groups": NAMES, "Profiles": st.lists(st.sampled_from(names), min_size=1, max_size=2)}
            ),
            max_size=4,
        )
    )
    return {"Profiles": profiles, "Permissions": grants}


@given(files(), st.sampled_from(["u", "v"]), st.sets(st.sampled_from(["g", "h"])), st.randoms(use_true_random=False))
def test_any_file_means_what_it_says(documents, file, user, groups, random):
    """An oracle reads the file's values: profiles add up, within one Deny beats Allow, no profile shows nothing."""
    actor = Actor(user, frozenset(groups))
    held = {
        name
        for grant in file["Permissions"]
        if user in grant["Users"] or groups & set(grant["Groups"])
        for name in grant["Profiles"]
    }
    profiles = [file["Profiles"][name] for name in held]

    def answers(text: str) -> tuple[list[bool], list[bool]]:
        permissions = parse_permissions(text)
        assert set(held_profiles(permissions, actor)) == held
        seen = [decide(permissions, actor, Action.READ_FILE, Instance("1", one)).allowed for one in documents]
        verbs = [(verb, path) for verb in ("GET", "POST", "DELETE") for path in PATHS]
        opened = [decide(permissions, actor, Action.ORTHANC, OrthancPath(*one)).allowed for one in verbs]
        for (verb, path), answer in zip(verbs, opened, strict=True):
            expected = False
            for one in profiles:
                rules = one.get("OrthancPathPatterns", {"Allow": [], "Deny": []})
                allow, deny = ([PathPattern.parse(text) for text in rules[kind]] for kind in ("Allow", "Deny"))
                denied = any(pattern.denies(verb, path) for pattern in deny)
                expected |= not denied and any(pattern.allows(verb, path) for pattern in allow)
            assert answer is expected
        return seen, opened

    seen, opened = answers(json.dumps(file))
    for document, answer in zip(documents, seen, strict=True):
        matches = (
            "DICOMQueryFilter" not in one
            or dicom_query.evaluate_document(dicom_query.parse(one["DICOMQueryFilter"]), document)
            for one in profiles
        )
        assert answer is any(matches)
    # Neither the order of anything nor the way in which the YAML is written makes a difference.
    shuffled = dict(random.sample(sorted(file["Profiles"].items()), len(file["Profiles"])))
    entries = random.sample(file["Permissions"], len(file["Permissions"]))
    assert answers(yaml.safe_dump({"Permissions": entries, "Profiles": shuffled}, sort_keys=False)) == (seen, opened)
    # One more entry never takes anything away; an entry less never gives anything.
    more = {
        **file,
        "Permissions": [*file["Permissions"], {"Users": [user], "Profiles": [next(iter(file["Profiles"]))]}],
    }
    held |= {next(iter(file["Profiles"]))}
    profiles = [file["Profiles"][name] for name in held]
    wider = answers(json.dumps(more))
    pairs = zip([*seen, *opened], [*wider[0], *wider[1]], strict=True)
    assert all(after or not before for before, after in pairs)


@given(files(), st.data())
def test_what_is_not_understood_refuses_the_file(file, data):
    """A misspelt key must not be passed over: it may have been the one that closes something."""
    places = [file, *file["Profiles"].values(), *file["Permissions"]]
    places += [one["OrthancPathPatterns"] for one in file["Profiles"].values() if "OrthancPathPatterns" in one]
    place = data.draw(st.sampled_from(range(len(places))))
    places[place][data.draw(st.sampled_from(["Denny", "deny", "profiles", "DicomQueryFilter", "X"]))] = []
    with pytest.raises(PermissionsError, match="has no key"):
        parse_permissions(json.dumps(file))


def test_a_changed_file_comes_into_force_and_a_broken_one_does_not(tmp_path, caplog):
    path = tmp_path / "permissions.yaml"
    watched = PermissionsFile(path)
    assert watched.current is NOBODY
    assert "cannot be read" in str(watched.state.error)
    path.write_text(PERMISSIONS)
    assert watched.refresh()
    good = watched.current
    assert list(good.profiles) == ["CT only", "Everything"]
    assert not watched.refresh()
    path.write_text("Profils: {}")
    assert watched.refresh()
    assert watched.current is good
    assert "Did you mean 'Profiles'?" in str(watched.state.error)
    assert "the last good file stays in force" in caplog.text
    path.unlink()
    assert watched.refresh()
    assert watched.current is good
    path.write_text("Profiles: {}\nPermissions: []\n")
    assert watched.refresh()
    assert watched.state.error is None
    assert watched.current.profiles == {}


def test_check_prints_places_that_an_editor_can_jump_to(tmp_path, capsys):
    path = tmp_path / "permissions.yaml"
    path.write_text("Profiles:\n  A: {Filter: x}\n")
    assert main(["check", str(path)]) == 1
    found = capsys.readouterr()
    assert found.out.startswith(f"{path}:2:7: The profile 'A' has no key 'Filter'.")
    assert found.err == "1 error(s); the file cannot be used.\n"
    path.write_text(PERMISSIONS)
    assert main(["check", str(path)]) == 0
    assert "valid; 2 profiles, 2 entries." in capsys.readouterr().out
