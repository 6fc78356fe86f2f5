"""The rules language: what is accepted, what is refused, and how it is told."""

from pathlib import Path

import pytest

from deid_service import RulesError, default_rules_path, load_rules

BASE = """\
Labels:
  - Name: CT
    DICOMQueryFilter: Modality StrEquals CT
  - Name: Everything
Categories:
  - Name: Radiology
    Labels: [CT]
ScopeToForward:
  Labels: ALL
Transformations:
  - Scope: {Labels: ALL}
    RandomizeUID:
      - TagPatterns: "*/{UI}"
"""


def problems(text: str) -> list[str]:
    with pytest.raises(RulesError) as error:
        load_rules(text)
    return [str(problem) for problem in error.value.problems]


def test_a_good_file_loads_and_its_digest_is_that_of_the_text(tmp_path: Path) -> None:
    rules = load_rules(BASE)
    assert list(rules.labels) == ["CT", "Everything"]
    assert rules.labels["Everything"].query is None
    assert rules.categories["Radiology"].labels == {"CT"}
    path = tmp_path / "rules.yaml"
    path.write_text(BASE)
    assert load_rules(path).digest == load_rules(str(path)).digest == rules.digest
    assert len(rules.digest) == 64
    path.write_text(BASE + "# changed\n")
    assert load_rules(path).digest != rules.digest


def test_the_default_rules_are_in_order() -> None:
    assert len(load_rules(default_rules_path()).entries) == 1


def test_the_example_of_the_older_system_still_loads_but_for_its_pixel_rules() -> None:
    text = """\
Labels:
  - Name: Documents
    DICOMQueryFilter: Modality StrEquals DOC
  - Name: US
    DICOMQueryFilter: Modality StrEquals US
  - Name: Modality CT ModelA
    DICOMQueryFilter: Modality StrEquals CT AND ManufacturerModelName StrEquals ModelA

ScopeToForward:
  Labels: ALL
  NotLabels: Documents

Transformations:
  - Scope:
      Labels: ALL
    ShiftDateTime:
      - TagPatterns: "*/PatientBirthDate"
        ShiftBy: 30
        ReuseMapping: SamePatient
      - TagPatterns: "StudyDate"
        ShiftBy: 30
        ReuseMapping: SameStudy
    RandomizeText:
      - TagPatterns: "*/{PN}"
        Split: ^
        IgnoreCase: True
        ReuseMapping: Always
    RandomizeUID:
      - TagPatterns:
          - "*/SOPInstanceUID"
          - "*/StudyInstanceUID"
          - "*/SeriesInstanceUID"
    DeleteTags:
      - TagPatterns: "*/XXX@XXXX"
        NotTagPatterns:
          - "*/0015{Private Creator}XX"
          - "0023XXXX"
        Action: Remove
  - Scope:
      Labels: US
    AddTags:
      - Tag: "00230010"
        VR: LO
        Value: My private tags
"""
    rules = load_rules(text)
    assert rules.scope_to_forward.excluded == {"Documents"}
    assert len(rules.entries[0].deletes[0].exceptions) == 2


@pytest.mark.parametrize(
    ("change", "line", "words"),
    [
        (("Labels:\n  - Name: CT", "Lables:\n  - Name: CT"), 1, ['"Lables" is not a key', 'did you mean "Labels"?']),
        (("DICOMQueryFilter: Modality", "DICOMQueryFilter: Modalitee"), 3, ["Modalitee", "Modality"]),
        (("Modality StrEquals CT", "Modality StrEqual CT"), 3, ["StrEquals"]),
        (("Name: Everything", "Name: ALL"), 4, ['"ALL" is the built-in label']),
        (("Name: Everything", "Name: CT"), 4, ['label "CT" is defined twice']),
        (("Labels: [CT]", "Labels: [CT, RM]"), 7, ['there is no label "RM"']),
        (("  Labels: ALL\nTransf", "  Labels: AL\nTransf"), 9, ['there is no label "AL"', 'did you mean "ALL"?']),
        (("  Labels: ALL\nTransf", "  Categories: Radio\nTransf"), 9, ['no category "Radio"', '"Radiology"']),
        (("  Labels: ALL\nTransf", "  ExceptLabels: CT\nTransf"), 9, ["includes nothing", "Labels: ALL"]),
        (("  Labels: ALL\nTransf", "  Labels: ALL\n  Labels: CT\nTransf"), 10, ['"Labels" is given twice']),
        (("  Labels: ALL\nTransf", "  ExceptLabels: CT\n  NotLabels: CT\nTransf"), 10, ["is given twice"]),
        (("Scope: {Labels: ALL}\n    Ran", "Ran"), 11, ['lacks "Scope"']),
        (("Scope: {Labels: ALL}", "Scope: {}"), 11, ["includes nothing"]),
        (("RandomizeUID:", "RandomiseUID:"), 12, ['did you mean "RandomizeUID"?']),
        (("TagPatterns", "TagPattern"), 13, ['did you mean "TagPatterns"?']),
        (('"*/{UI}"', '"*/{UX}"'), 13, ["is not a value representation"]),
        (('"*/{UI}"', '["*/{UI}", "*/StudyInstanceUIDs"]'), 13, ["did you mean StudyInstanceUID?"]),
        (('"*/{UI}"', '"*/{UI}"\n        PrefixUID: 1.2.x'), 14, ["not a UID root"]),
        (('"*/{UI}"', f'"*/{{UI}}"\n        PrefixUID: 1.{"2" * 50}.'), 14, ["more than 40"]),
        (('"*/{UI}"', '"*/{UI}"\n        PrefixUID: 1.2.840.10008.'), 14, ["not a UID root"]),
        (
            ('"*/{UI}"', '"+/{UI}"\n        PrefixUID: 1.2.3.\n      - TagPatterns: "{UI}"\n        PrefixUID: 1.2.4'),
            16,
            ["PrefixUID is 1.2.3. above and 1.2.4. here", "the same PrefixUID everywhere"],
        ),
        (('"*/{UI}"', '"*/{UI}"\n        Prefix: 1.2.'), 14, ['did you mean "PrefixUID"?']),
        (("RandomizeUID:\n      - TagPatterns", "ShiftDateTime:\n      - TagPatterns"), 13, ['lacks "ShiftBy"']),
        (("RandomizeUID:\n      - Tag", "DeleteTags:\n      - Action: Rmove\n        Tag"), 13, ['"Remove"']),
        (("RandomizeUID:\n      - Tag", "ShiftDateTime:\n      - ShiftBy: 0\n        Tag"), 13, ["0 would leave"]),
        (("RandomizeUID:\n      - Tag", "ShiftDateTime:\n      - ShiftBy: x\n        Tag"), 13, ["whole number"]),
        (
            ("RandomizeUID:\n      - Tag", "RandomizeText:\n      - ReuseMapping: Patient\n        Tag"),
            13,
            ["SamePatient"],
        ),
        (("RandomizeUID:\n      - Tag", 'RandomizeText:\n      - Split: ""\n        Tag'), 13, ["Split is empty"]),
        (
            ("RandomizeUID:\n      - Tag", "RandomizeText:\n      - IgnoreCase: maybe\n        Tag"),
            13,
            ["true or false"],
        ),
        (("Transformations:", "Profile: {Name: Basik}\nTransformations:"), 10, ["cannot be 'Basik'", '"Basic"?']),
        (
            ("Transformations:", "Profile: {Name: Basic, Options: RetainUids}\nTransformations:"),
            10,
            ['no option "RetainUids"', '"RetainUIDs"?'],
        ),
        (("Transformations:", "Profile: {Options: RetainUIDs}\nTransformations:"), 10, ['Profile lacks "Name"']),
        (
            (
                "Transformations:",
                "Profile: {Name: Basic, Options: [RetainLongitudinalFullDates, RetainLongitudinalModifiedDates]}\n"
                "Transformations:",
            ),
            10,
            ["exclude each other"],
        ),
        (("RandomizeUID:", "Transcode: 1.2.840.10008.1.2.4.50\n    RandomizeUID:"), 12, ["cannot write", "JPEG-LS"]),
        (
            ("RandomizeUID:", "RemoveBurnedInAnnotations: [{Type: OCR, Motor: local}]\n    RandomizeUID:"),
            12,
            ['"Motor" is not a key of RemoveBurnedInAnnotations'],
        ),
        (
            ("RandomizeUID:", "RemoveBurnedInAnnotation: {Type: OCR}\n    RandomizeUID:"),
            12,
            ['did you mean "RemoveBurnedInAnnotations"?'],
        ),
        (("RandomizeUID:", "SuspectedPixels: PassUnchekced\n    RandomizeUID:"), 12, ['"PassUnchecked"?']),
    ],
)
def test_every_mistake_is_told_with_line_reason_and_nearest_word(
    change: tuple[str, str], line: int, words: list[str]
) -> None:
    assert change[0] in BASE
    found = problems(BASE.replace(change[0], change[1], 1))
    here = [problem for problem in found if problem.startswith(f"line {line}, column ")]
    assert here, found
    assert all(any(word in problem for problem in here) for word in words), found


def test_all_mistakes_are_told_at_once() -> None:
    text = """\
Lables: []
ScopeToForward: {Labels: XX}
Transformations:
  - Scope: {Labels: ALL, Except: CT}
    DeleteTags:
      - TagPatterns: ["*/PatientNmae", "+/{PN}", "]["]
        Action: Drop
    AddTags:
      - {Tag: PatientSexx, VR: CS, Value: "M"}
      - {Tag: Rows, VR: US, Value: many}
"""
    found = problems(text)
    assert [int(problem.split()[1].rstrip(",")) for problem in found] == [1, 2, 4, 6, 6, 7, 9, 10]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "the file is empty"),
        ("# nothing: here\n", "the file is empty"),
        ("a: [1\nb: 2\n", "not valid YAML"),
        ("- a: 1\n", "must be a mapping"),
        ("ScopeToForward: {Labels: ALL}\n---\nTransformations: []\n", "not valid YAML"),
        ("ScopeToForward: {Labels: ALL}\n", 'lacks "Transformations"'),
        ("ScopeToForward: {Labels: ALL}\nTransformations: []\n", "Transformations is empty"),
        ("ScopeToForward: {Labels: ALL}\nTransformations:\n", "must be a list"),
        ("ScopeToForward: ALL\nTransformations:\n  - x: 1\n", "ScopeToForward must be a mapping"),
        ("a: &a [*a]\n", "is not a key"),
        ("ScopeToForward: !!python/object:os.system {}\nTransformations: []\n", "includes nothing"),
        ("ScopeToForward: {Labels: ALL}\nTransformations:\n  - Scope: {Labels: ALL}\n", "does nothing"),
    ],
)
def test_what_is_no_rules_file_is_refused(text: str, words: str) -> None:
    assert any(words in problem for problem in problems(text + "\n"))


def test_a_file_that_cannot_be_read_is_a_rules_error(tmp_path: Path) -> None:
    with pytest.raises(RulesError, match="No such file"):
        load_rules(tmp_path / "missing.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RulesError, match="UTF-8"):
        load_rules(tmp_path / "latin.yaml")


def test_words_mean_what_they_look_like() -> None:
    """YAML 1.1 takes NO for false and 00100010 for an octal number; a rules file means the words."""
    text = """\
Labels: [{Name: NO}, {Name: 010}]
ScopeToForward: {Labels: [NO, 010]}
Transformations:
  - Scope: {Labels: ALL}
    DeleteTags: [{TagPatterns: [00100010], Action: Empty}]
    AddTags: [{Tag: PatientIdentityRemoved, VR: CS, Value: YES}, {Tag: 00080020, VR: DA, Value: 20200101}]
"""
    rules = load_rules(text)
    assert rules.scope_to_forward.included == {"NO", "010"}
    assert [add.text for add in rules.entries[0].adds] == ["YES", "20200101"]


@pytest.mark.parametrize(
    ("add", "words"),
    [
        ("{Tag: PatientID, VR: PN, Value: x}", "has the VR LO"),
        ("{Tag: Rows, VR: US, Value: 70000}", "not between 0 and 65535"),
        ("{Tag: Rows, VR: US, Value: 1.5}", "not legal"),
        ("{Tag: PatientSex, VR: CS, Value: female}", "not legal"),
        ("{Tag: PatientAge, VR: AS, Value: 42}", "not legal"),
        ("{Tag: StudyDate, VR: DA, Value: 2020-01-01}", "not legal"),
        ("{Tag: StudyDate, VR: DA, Value: '20200230'}", "not legal"),
        ("{Tag: SliceThickness, VR: DS, Value: thick}", "not legal"),
        ("{Tag: StudyID, VR: SH, Value: a text of more than 16}", "longer than 16"),
        ("{Tag: FrameOfReferenceUID, VR: UI, Value: 1.02.3}", "not legal"),
        ("{Tag: SOPInstanceUID, VR: UI, Value: 1.2.3}", "the same in every instance"),
        ("{Tag: 00020016, VR: AE, Value: X}", "not part of a data set"),
        ("{Tag: 00100000, VR: UL, Value: 4}", "not part of a data set"),
        ("{Tag: PatientID.PatientName, VR: PN, Value: x}", "is not a sequence"),
        ("{Tag: 'PatientID[0]', VR: LO, Value: x}", "ends in an item number"),
        ("{Tag: PatientNam, VR: PN, Value: x}", "not a tag path"),
        ("{Tag: ReferencedStudySequence, VR: SQ, Value: x}", "cannot be 'SQ'"),
        ("{Tag: PatientID, VR: LO}", 'lacks "Value"'),
    ],
)
def test_values_to_add_are_checked_at_load(add: str, words: str) -> None:
    text = f"ScopeToForward: {{Labels: ALL}}\nTransformations:\n  - Scope: {{Labels: ALL}}\n    AddTags: [{add}]\n"
    assert any(words in problem for problem in problems(text)), problems(text)
