"""What a change of the permissions would do: the preview says what is really seen afterwards."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import dicom_query
from hub.tests.support import Looped, image
from hub.tests.test_index_answers import Bench
from rpacs_hub._orthanc import StoredInstance
from rpacs_hub.index import Index, Level, Search, Visible
from rpacs_hub.index._content import contents_of
from rpacs_hub.index._read import IndexedFile, display_values
from rpacs_hub.index._store import Read
from rpacs_hub.permissions import Actor, Permissions, parse_permissions, visible_to
from rpacs_hub.permissions.changes import changes
from rpacs_hub.permissions.preview import Subject, preview

FILTERS = (
    "Modality StrEquals CT",
    "Modality StrNotEquals CT",
    "SliceThickness NbLess 2",
    "StudyDescription StrEquals '*chest*' AND NOT (Modality StrEquals MR)",
    "StudyDate DateAfter 20260101",
    "PatientID StrIn (P0, P3)",
)
PEOPLE = [
    Actor("ada", frozenset({"a", "b"})),
    Actor("bea", frozenset({"b"})),
    Actor("cleo", frozenset({"a"})),
    Actor("dora"),
]


@dataclass
class Indexed:
    """An index that nobody changes."""

    bench: Bench
    studies: dict[str, list[dict]]  # StudyInstanceUID -> documents

    @property
    def index(self) -> Index:
        return self.bench.index

    def seen(self, permissions: Permissions, actor: Actor) -> tuple[set[str], int]:
        """Return the studies and the number of images that a search really finds."""
        visible = visible_to(permissions, actor)
        search = Search(None, Level.STUDY, ("StudyInstanceUID",), limit=1000)
        rows = self.bench.do(self.index.search(search, visible)).rows
        count = self.bench.do(self.index.count(None, Level.INSTANCE, visible))
        return {row["StudyInstanceUID"] for row in rows}, count

    def preview(self, old: Permissions, new: Permissions, people=PEOPLE, **more):
        return self.bench.do(preview(self.index, old, new, people, **more))


@pytest.fixture(scope="module")
def indexed(new_base):
    """Twelve studies, some of both CT and MR images, of different dates and slice thicknesses."""
    with Looped() as looped:
        bench = Bench(looped, new_base())
        bench.empty()
        reads, studies = [], {}
        kinds = itertools.product(("Chest CT", "Head"), ("20251231", "20260102"), (("CT",), ("MR",), ("CT", "MR")))
        for number, (description, date, modalities) in enumerate(kinds):
            for modality, thickness in itertools.product(modalities, (1, 3)):
                study, patient = f"1.{number}", f"P{number % 5}"
                dataset = image(
                    modality=modality,
                    patient=patient,
                    study=study,
                    series=f"1.{number}.{len(modality + str(thickness))}.{thickness}",
                    SliceThickness=thickness,
                    StudyDescription=description,
                    StudyDate=date,
                )
                document = dicom_query.index_document(dataset)
                studies.setdefault(study, []).append(document)
                file = IndexedFile(
                    patient_id=patient,
                    issuer="",
                    study_uid=study,
                    series_uid=str(dataset.SeriesInstanceUID),
                    sop_uid=str(dataset.SOPInstanceUID),
                    bytes=1,
                    contents=contents_of(document, display_values(dataset)),
                )
                reads.append(Read(StoredInstance(f"o{len(reads)}", f"f{len(reads)}"), file))
        bench.do(bench.store.write(reads, []))
        yield Indexed(bench, studies)
        bench.close()


@st.composite
def permission_files(draw) -> Permissions:
    """Return small permissions over the same names, so that two of them are a change of one another."""
    profiles = {}
    for name in draw(st.lists(st.sampled_from(["X", "Y", "Z"]), unique=True, max_size=3)):
        text = draw(st.sampled_from([*FILTERS, None]))
        profiles[name] = {"Description": "" if text is None else text, **({"DICOMQueryFilter": text} if text else {})}
    grants = []
    if profiles:
        grant = {
            "Users": st.lists(st.sampled_from(["ada", "dora", "evi"]), max_size=2),
            "Groups": st.lists(st.sampled_from(["a", "b", "c"]), max_size=2),
            "Profiles": st.lists(st.sampled_from(sorted(profiles)), min_size=1, max_size=2),
        }
        grants = draw(st.lists(st.fixed_dictionaries(grant), max_size=3))
    return parse_permissions(json.dumps({"Profiles": profiles, "Permissions": grants}))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(permission_files(), permission_files())
def test_the_preview_is_what_is_seen_afterwards(indexed, old, new):
    found = indexed.preview(old, new)
    effects = {(one.subject.is_group, one.subject.name): one for one in found.effects}
    everybody = [
        *(Subject(actor.name, actor.groups) for actor in PEOPLE),
        Subject("evi"),
        *(Subject(name, is_group=True) for name in "abc"),
    ]
    for subject in everybody:
        before, images_before = indexed.seen(old, subject.actor)
        after, images_after = indexed.seen(new, subject.actor)
        effect = effects.pop((subject.is_group, subject.name), None)
        if effect is None:
            assert (before, images_before) == (after, images_after)
            continue
        overlap = effect.overlap
        assert (overlap.before.studies, overlap.before.instances) == (len(before), images_before)
        assert (overlap.after.studies, overlap.after.instances) == (len(after), images_after)
        assert (overlap.added.studies, overlap.removed.studies) == (len(after - before), len(before - after))
        was, will = visible_to(old, subject.actor), visible_to(new, subject.actor)
        shown = [(_sees(was, one), _sees(will, one)) for held in indexed.studies.values() for one in held]
        assert overlap.added.instances == shown.count((False, True))
        assert overlap.removed.instances == shown.count((True, False))
    assert not effects
    known = len(everybody) - sum(
        1 for name in ("evi", "c") if not any(name in (*g.users, *g.groups) for p in (old, new) for g in p.grants)
    )
    assert found.unchanged == known - len(found.effects)
    if not found.changes:
        assert not found.effects


def _sees(visible: Visible, document) -> bool:
    return visible.filters is None or any(dicom_query.evaluate_document(one, document) for one in visible.filters)


OLD = parse_permissions("""
Profiles:
  CT: {DICOMQueryFilter: Modality StrEquals CT, Description: computed}
  Chest: {DICOMQueryFilter: StudyDescription StrEquals '*chest*'}
  Archive: {OrthancPathPatterns: {Allow: [ANY /**], Deny: [DELETE /**]}}
  Old: {DICOMQueryFilter: Modality StrEquals US}
Permissions:
  - {Groups: [a], Profiles: [CT]}
  - {Users: [dora], Profiles: [Archive, CT]}
  - {Groups: [c], Profiles: [Old]}
""")
NEW = parse_permissions("""
Profiles:
  CT: {DICOMQueryFilter: "Modality StrEquals CT AND SliceThickness NbLess 2", Description: thin}
  Chest: {DICOMQueryFilter: StudyDescription StrEquals '*chest*', AccessReason: your study}
  Archive: {OrthancPathPatterns: {Allow: [GET /**], Deny: [DELETE /**, GET /tools/**]}}
  New: {AccessReason: your name}
Permissions:
  - {Groups: [a], Profiles: [CT]}
  - {Groups: [b], Profiles: [Chest]}
  - {Users: [dora], Profiles: [Archive]}
""")


def test_a_change_in_words(indexed):
    assert changes(OLD, OLD) == ()
    assert changes(OLD, NEW) == (
        "The profile 'Old' is gone.",
        "The profile 'CT' shows images where Modality is \"CT\" and Slice Thickness is less than 2; "
        'until now it showed images where Modality is "CT".',
        "The profile 'CT' is described as 'thin'.",
        "The profile 'Chest' asks for a reason from now on: your study.",
        "The profile 'Archive' also opens paths of Orthanc: GET /**.",
        "The profile 'Archive' no longer opens paths of Orthanc: ANY /**.",
        "The profile 'Archive' also closes paths of Orthanc: GET /tools/**.",
        "There is a new profile 'New': it shows every image, asks for a reason: your name.",
        "User 'dora' no longer has the profile 'CT'.",
        "Group 'b' gets the profile 'Chest'.",
        "Group 'c' no longer has the profile 'Old'.",
    )
    assert "The profile 'Chest' no longer asks for a reason." in changes(NEW, OLD)
    found = indexed.preview(OLD, NEW)
    assert [one.summary for one in found.effects] == [
        "+2 studies, +8 images, −4 images for ada",  # noqa: RUF001
        "+6 studies, +16 images for bea",
        "−8 images for cleo",  # noqa: RUF001
        "as many images as before for dora",
        "−8 images for group a",  # noqa: RUF001
        "+6 studies, +16 images for group b",
        "as many images as before for group c",
    ]
    ada, bea, _, dora, *_ = found.effects
    assert (ada.before, ada.after) == (("CT",), ("CT", "Chest"))
    assert bea.words == ("is asked for a reason: your study",)
    assert dora.words == (
        "may use paths of Orthanc: GET /** but not DELETE /**, GET /tools/**",
        "no longer may use paths of Orthanc: ANY /** but not DELETE /**",
    )
    assert found.unchanged == 0


def test_what_takes_too_long_is_said_and_not_guessed(indexed):
    found = indexed.preview(OLD, NEW, seconds=0)
    assert len(found.effects) == 7
    assert {one.overlap for one in found.effects} == {None}
    assert found.effects[0].summary == "not counted for ada: counting for others took all the time there was"
    slow = Index(indexed.bench.pool, timeout=0.000001)
    late = indexed.bench.do(preview(slow, OLD, NEW, PEOPLE))
    assert all("took longer" in one.uncounted for one in late.effects)


def test_the_same_profiles_are_counted_once(indexed, monkeypatch):
    many = [Actor(f"p{n}", frozenset({"b"})) for n in range(200)]
    asked = []
    overlap = Index.overlap

    async def counting(self, before, after):
        asked.append((before, after))
        return await overlap(self, before, after)

    monkeypatch.setattr(Index, "overlap", counting)
    found = indexed.preview(OLD, NEW, many)
    assert len(found.effects) == 200 + len([one for one in found.effects if one.subject.name[0] != "p"])
    assert len(asked) == len(set(asked)) <= 5
