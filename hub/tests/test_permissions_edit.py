"""Small changes of the permissions file: they do what they say, and leave the rest of the file alone."""

from __future__ import annotations

import difflib
import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hub.tests.test_permissions import files
from rpacs_hub.errors import PermissionsError
from rpacs_hub.permissions import PathPattern, parse_permissions
from rpacs_hub.permissions.changes import holders
from rpacs_hub.permissions.edit import EditError, give, remove_profile, set_profile, take_away

FILE = """# Who may see what.
Profiles:
  CT images:   # asked for by the board
    Description: "Computed tomography"
    DICOMQueryFilter: Modality StrEquals CT
  Everything:
    OrthancPathPatterns:
      Allow: "ANY /**"

# Groups come from the sign-in.
Permissions:
  - Groups: ct-researchers   # since 2025
    Profiles: CT images
  - Groups: [pacs-admins, chiefs]
    Users:
      - ada
    Profiles: [Everything, CT images]
"""


def changed(new: str, old: str = FILE) -> list[str]:
    """Return the lines that went and came."""
    return [line for line in difflib.ndiff(old.splitlines(), new.splitlines()) if line[0] in "+-"]


def test_only_the_lines_concerned_change():
    assert holders(parse_permissions(give(FILE, "CT images", group="others")))[1]["others"] == ["CT images"]
    assert give(FILE, "CT images", group="ct-researchers") == FILE
    assert changed(give(FILE, "Everything", user="bea")) == [
        "+   - Users:",
        "+       - bea",
        "+     Profiles:",
        "+       - Everything",
    ]
    new = set_profile(FILE, "CT images", description="Computed tomography", query="Modality StrIn (CT, PT)")
    assert changed(new) == [
        "-     DICOMQueryFilter: Modality StrEquals CT",
        "+     DICOMQueryFilter: Modality StrIn (CT, PT)",
    ]
    new = set_profile(FILE, "Chest", query="BodyPartExamined StrEquals CHEST", access_reason="your study's number")
    assert parse_permissions(new).profiles["Chest"].access_reason == "your study's number"
    assert not [line for line in changed(new) if line[0] == "-"]
    assert changed(take_away(FILE, "Everything", group="chiefs"))[:2] == [
        "-   - Groups: [pacs-admins, chiefs]",
        "+   - Groups: [pacs-admins]",
    ]
    new = remove_profile(FILE, "Everything")
    assert list(parse_permissions(new).profiles) == ["CT images"]
    assert "# asked for by the board" in new
    assert "# since 2025" in new
    assert holders(parse_permissions(new))[0] == {"ada": ["CT images"]}
    paths = parse_permissions(set_profile(FILE, "Everything", allow=["GET /**"], deny=["GET /tools/**"])).profiles
    assert paths["Everything"].allow == (PathPattern("GET", "/**"),)
    assert paths["Everything"].deny == (PathPattern("GET", "/tools/**"),)


@pytest.mark.parametrize("indent", [0, 2])
def test_the_way_of_writing_stays(indent):
    pad = " " * indent
    text = (
        f"Profiles:\n  A:\n    Description: 'x'\nPermissions:\n{pad}- Users:\n{pad}  {pad}- u\n{pad}  Profiles: [A]\n"
    )
    assert changed(give(text, "A", user="v"), text) == [f"+ {pad}  {pad}- v"]


def test_what_does_not_fit_is_refused():
    for call in (
        lambda: give(FILE, "CT images"),
        lambda: give(FILE, "CT images", user="a", group="b"),
        lambda: take_away(FILE, "CT images", group="nobody"),
        lambda: remove_profile(FILE, "Nothing"),
        lambda: set_profile(FILE, " "),
    ):
        with pytest.raises(EditError):
            call()
    for call in (
        lambda: give(FILE, "Nothing", user="a"),
        lambda: set_profile(FILE, "CT images", query="Modalty StrEquals CT"),
        lambda: set_profile(FILE, "CT images", query="Modality StrEquals CT", allow=["ANY /**"]),
        lambda: give("Profils: {}", "A", user="a"),
    ):
        with pytest.raises(PermissionsError):
            call()


NAMES = st.sampled_from(["u", "v", "g", "h"])


@settings(deadline=None, max_examples=20)
@given(files(), NAMES, st.booleans(), st.data())
def test_one_gets_or_loses_one_profile_and_nobody_else_does(file, name, is_group, data):
    text = json.dumps(file, indent=1)
    profile = data.draw(st.sampled_from(sorted(file["Profiles"])))
    who = {"group": name} if is_group else {"user": name}
    before = holders(parse_permissions(text))
    own = before[is_group].get(name, [])
    given_ = holders(parse_permissions(give(text, profile, **who)))
    expected = [one for one in file["Profiles"] if one in own or one == profile]
    assert given_[is_group] == {**before[is_group], name: expected}
    assert given_[not is_group] == before[not is_group]
    if profile not in own:
        with pytest.raises(EditError):
            take_away(text, profile, **who)
        return
    left = holders(parse_permissions(take_away(text, profile, **who)))
    assert left[is_group].get(name, []) == [one for one in own if one != profile]
    assert {k: v for k, v in left[is_group].items() if k != name} == {
        k: v for k, v in before[is_group].items() if k != name
    }
    assert left[not is_group] == before[not is_group]
    gone = parse_permissions(remove_profile(text, profile))
    assert profile not in gone.profiles
    assert holders(gone) == tuple(
        {k: kept for k, v in kind.items() if (kept := [one for one in v if one != profile])} for kind in before
    )


@settings(deadline=None, max_examples=40)
@given(st.text(max_size=12), st.text(max_size=12), st.text(max_size=12))
@example("\x00", "\x85", "﻿")
@example("a: b", "#x", "- y")
@example("null", "~", "!!int 1")
@example("<<", "&a", "*a")
def test_whatever_is_written_into_the_form_is_kept_or_refused(name, description, group):
    """Never an error of the YAML library, and never anything but what was written."""
    try:
        text = give(set_profile(FILE, name, description=description, access_reason=group), name, group=group)
    except (EditError, PermissionsError):
        return
    found = parse_permissions(text)
    assert found.profiles[name.strip()].description == description.strip()
    assert name.strip() in holders(found)[1][group.strip()]
    old = parse_permissions(FILE)
    assert {key: found.profiles[key] for key in old.profiles if key != name.strip()} == {
        key: value for key, value in old.profiles.items() if key != name.strip()
    }
