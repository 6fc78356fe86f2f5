"""Tag path patterns: every form, everywhere, and nothing else."""

from __future__ import annotations

import timeit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_query import PathStep, PatternSet, TagPattern, TagPatternError, keyword_of, parse_tag, tag_text


def step(name: str, vr: str | None = None, creator: str | None = None, item: int | None = None) -> PathStep:
    return PathStep(parse_tag(name), vr, creator, item)


NAME = (step("PatientName", "PN"),)
STUDY_DATE = (step("StudyDate", "DA"),)
REQUEST = step("RequestAttributesSequence", "SQ", item=0)
CONTENT = step("ContentSequence", "SQ", item=3)
IN_REQUEST = (REQUEST, step("ScheduledProcedureStepStartDate", "DA"))
DEEP = (CONTENT, CONTENT, REQUEST, step("PatientName", "PN"))
PRIVATE = (step("00291008", "LO", "SIEMENS CSA HEADER"),)
OTHER_BLOCK = (step("00291108", "LO", "SIEMENS CSA HEADER"),)
CREATOR = (step("00290010", "LO"),)
OVERLAY = (step("60023000", "OW"),)
SEQUENCE = (step("RequestAttributesSequence", "SQ"),)
EVERY = [NAME, STUDY_DATE, IN_REQUEST, DEEP, PRIVATE, OTHER_BLOCK, CREATOR, OVERLAY, SEQUENCE]


@pytest.mark.parametrize(
    ("pattern", "matched"),
    [
        ("PatientName", [NAME]),
        ("patientname", [NAME]),
        (" PatientName ", [NAME]),
        ("*/PatientName", [NAME, DEEP]),
        ("+/PatientName", [DEEP]),
        ("00100010", [NAME]),
        ("*Date", [STUDY_DATE]),
        ("*/*Date", [STUDY_DATE, IN_REQUEST]),
        ("+/*Date", [IN_REQUEST]),
        ("*/S*St*Da*e", [IN_REQUEST]),
        ("*Name*", [NAME]),
        ("0010XXXX", [NAME]),
        ("0010xxxx", [NAME]),
        ("XXXXXXXX", [NAME, STUDY_DATE, PRIVATE, OTHER_BLOCK, CREATOR, OVERLAY, SEQUENCE]),
        ("*/XXXXXXXX", EVERY),
        ("+/XXXXXXXX", [IN_REQUEST, DEEP]),
        ("XXX@XXXX", [PRIVATE, OTHER_BLOCK, CREATOR]),
        ("*/XXX@XXXX", [PRIVATE, OTHER_BLOCK, CREATOR]),
        ("0029100X", [PRIVATE]),
        ("0029{SIEMENS CSA HEADER}08", [PRIVATE, OTHER_BLOCK]),
        ("0029{SIEMENS CSA HEADER}XX", [PRIVATE, OTHER_BLOCK]),
        ("XXX@{SIEMENS CSA HEADER}XX", [PRIVATE, OTHER_BLOCK]),
        ("0029{SIEMENS CSA HEADER}@X", []),
        ("0029{Siemens CSA Header}XX", []),
        ("0031{SIEMENS CSA HEADER}XX", []),
        ("*/{PN}", [NAME, DEEP]),
        ("{pn}", [NAME]),
        ("{SQ}", [SEQUENCE]),
        ("RequestAttributesSequence", [SEQUENCE]),
        ("*/RequestAttributesSequence", [SEQUENCE]),
        ("RequestAttributesSequence.*Date", [IN_REQUEST]),
        ("RequestAttributesSequence.{PN}", []),
        ("*/RequestAttributesSequence.PatientName", [DEEP]),
        ("+/RequestAttributesSequence.PatientName", [DEEP]),
        ("+/RequestAttributesSequence.*Date", []),
        ("{SQ}.{SQ}.{SQ}.{PN}", [DEEP]),
        ("{SQ}.{SQ}.{PN}", []),
        ("+/{SQ}.{SQ}.{PN}", [DEEP]),
        ("+/{SQ}.{SQ}.{SQ}.{PN}", []),
        ("OverlayData", [OVERLAY]),
        ("Overlay*", [OVERLAY]),
        ("60XX3000", [OVERLAY]),
        ("*/*", [NAME, STUDY_DATE, IN_REQUEST, DEEP, OVERLAY, SEQUENCE]),
    ],
)
def test_what_a_pattern_means(pattern, matched):
    compiled = TagPattern.parse(pattern)
    assert [path for path in EVERY if compiled.matches(path)] == matched
    together = PatternSet([pattern])
    assert [path for path in EVERY if together.matches(path)] == matched
    assert [path for path in EVERY if together.level(path[:-1]).matches(*path[-1][:3])] == matched


def test_creators_with_dots_and_padding():
    pattern = TagPattern.parse("0021{ACME 1.2.840}XX.{LO}")
    assert not pattern.matches((step("00211001", "LO", "ACME 1.2.840"),))
    assert pattern.matches((step("00211001", "SQ", "ACME 1.2.840 "), step("PatientID", "LO")))


def test_a_private_creator_block_needs_a_private_group():
    assert not TagPattern.parse("XXXX{X}XX").matches((step("00100010", "PN", "X"),))


@pytest.mark.parametrize(
    ("text", "position", "hint"),
    [
        ("PatientNam", 0, "did you mean PatientName?"),
        ("*/RequestAttributesSequence.PatientNam", 28, "did you mean PatientName?"),
        ("*date", 0, "upper and lower case count"),
        ("Patient*Foo", 0, None),
        ("{PX}", 0, None),
        ("{}", 0, None),
        ("", 0, None),
        ("*/", 2, None),
        ("A.", 0, None),
        ("PatientName.", 12, None),
        ("PatientName[0]", 11, "no item number"),
        ("0029{}XX", 4, "private creator stands between"),
        ("0029{ACME}", 4, "private creator stands between"),
        ("0029{ACMEXX", 4, "private creator stands between"),
        ("001000@", 6, None),
        ("001000100", 0, None),
        ("PatientName PatientID", 11, None),
        ("-/PatientName", 0, None),
    ],
)
def test_what_cannot_be_read(text, position, hint):
    with pytest.raises(TagPatternError) as caught:
        TagPattern.parse(text)
    error = caught.value
    assert isinstance(error, ValueError)
    assert error.text == text
    assert error.hint is None if hint is None else hint in error.hint
    if text[:1] not in "A0":
        assert error.position == position
    assert error.expected


def test_many_wildcards_take_no_time():
    with pytest.raises(TagPatternError):
        TagPattern.parse("*a" * 200)


def test_sets():
    patterns = PatternSet(["*/{PN}", TagPattern.parse("+/*Date"), "0008XXXX"])
    assert [str(pattern) for pattern in patterns] == ["*/{PN}", "+/*Date", "0008XXXX"]
    assert str(patterns.matching(DEEP)) == "*/{PN}"
    assert str(patterns.matching(IN_REQUEST)) == "+/*Date"
    assert patterns.matching(PRIVATE) is None
    assert not PatternSet()
    assert not PatternSet().matches(NAME)
    assert not PatternSet(["PatientName"]).level((REQUEST,))
    assert PatternSet(["PatientName"]).level()


def test_levels_are_shared_by_all_items():
    patterns = PatternSet(["+/{PN}"])
    assert patterns.level((REQUEST,)) is patterns.level((REQUEST._replace(item=7),))


def test_asking_again_is_cheap():
    """The de-identifier asks for every element of every file."""
    patterns = PatternSet([f"*/{{{vr}}}" for vr in ("PN", "DA", "TM", "DT", "UI")] + ["+/*Date", "*/XXX@XXXX"] * 20)
    level = patterns.level()
    tags = [(tag, "LO", None) for tag in range(0x00080000, 0x00080064)]
    asked = min(timeit.repeat(lambda: [level.matches(*each) for each in tags], number=100, repeat=5)) / 100 / len(tags)
    assert asked < 5e-6


KEYWORDS = ["PatientName", "StudyDate", "RequestAttributesSequence", "ContentDate", "CodeValue"]
PARTS = st.sampled_from([*KEYWORDS, "*Date", "{PN}", "{DA}", "{SQ}", "0008XXXX", "XXX@XXXX", "0029{A}X8", "XXXXXXXX"])
STEPS = st.builds(
    PathStep,
    st.sampled_from([*map(parse_tag, KEYWORDS), 0x00291008, 0x00290010]),
    st.sampled_from(["PN", "DA", "SQ", "LO", None]),
    st.sampled_from(["A", "B", None]),
)


def naive(pattern: str, path: tuple[PathStep, ...]) -> bool:
    prefix = pattern[:2] if pattern[:2] in ("*/", "+/") else ""
    parts = pattern[len(prefix) :].split(".")
    surplus = len(path) - len(parts)
    if surplus < 0 or (prefix == "" and surplus) or (prefix == "+/" and not surplus):
        return False
    return all(naive_part(part, each) for part, each in zip(parts, path[surplus:], strict=True))


def naive_part(part: str, each: PathStep) -> bool:
    number = f"{each.tag:08X}"
    if part.startswith("{"):
        return each.vr == part[1:3]
    if part == "0029{A}X8":
        return number.startswith("0029") and number.endswith("8") and each.creator == "A"
    if part == "*Date":
        return keyword_of(each.tag).endswith("Date")
    if len(part) == 8 and set(part) <= set("0123456789ABCDEFX@"):
        return all(p == n or p == "X" or (p == "@" and int(n, 16) % 2) for p, n in zip(part, number, strict=True))
    return tag_text(each.tag) == part


@given(
    st.sampled_from(["", "*/", "+/"]), st.lists(PARTS, min_size=1, max_size=3), st.lists(STEPS, min_size=1, max_size=4)
)
def test_patterns_agree_with_a_naive_reading(prefix, parts, steps):
    pattern, path = prefix + ".".join(parts), tuple(steps)
    assert TagPattern.parse(pattern).matches(path) == naive(pattern, path)
    assert PatternSet([pattern]).matches(path) == naive(pattern, path)
