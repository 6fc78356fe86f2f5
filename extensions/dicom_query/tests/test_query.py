"""The language: what can be read, what it becomes, and what is said of what cannot be read."""

from __future__ import annotations

import sys
import threading

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dicom_query import (
    EVERYTHING,
    And,
    Condition,
    Not,
    Number,
    Operator,
    Or,
    PartialDate,
    QueryError,
    QueryTooLargeError,
    TagPath,
    TextPattern,
    all_of,
    conditions_of,
    parse,
    to_text,
)
from extensions.dicom_query.tests.models import models, queries

CT = parse("Modality StrEquals CT")
MR = parse("Modality StrEquals MR")
ROWS = parse("Rows NbGreater 5")


def test_a_condition():
    assert parse("Modality StrEquals CT") == Condition(
        TagPath.parse("00080060"), Operator.STR_EQUALS, (TextPattern(("CT",)),)
    )
    assert parse(" 00280010  nbgreater  -1.5E3 ") == Condition(
        TagPath.parse("Rows"), Operator.NB_GREATER, (Number("-1.5e3"),)
    )
    assert parse("StudyDate DATEON 2024-01") == Condition(
        TagPath.parse("StudyDate"), Operator.DATE_ON, (PartialDate("202401"),)
    )


def test_and_binds_tighter_than_or():
    assert parse("Modality StrEquals CT OR Modality StrEquals MR AND Rows NbGreater 5") == Or((CT, And((MR, ROWS))))
    assert parse("Modality StrEquals CT AND Modality StrEquals MR OR Rows NbGreater 5") == Or((And((CT, MR)), ROWS))
    assert parse("(Modality StrEquals CT OR Modality StrEquals MR) AND Rows NbGreater 5") == And((Or((CT, MR)), ROWS))


@pytest.mark.parametrize("word", ["and", "AND", "And", "aNd"])
def test_words_in_any_case(word):
    assert parse(f"modality strequals CT {word} not (ROWS nbgreater 5)") == And((CT, Not(ROWS)))


def test_not():
    assert parse("NOT (Modality StrEquals CT)") == Not(CT)
    assert parse("NOT Modality StrEquals CT AND Rows NbGreater 5") == And((Not(CT), ROWS))
    assert parse("NOT(NOT(Rows NbGreater 5))") == Not(Not(ROWS))
    assert parse("NOT NOT Rows NbGreater 5") == Not(Not(ROWS))


def test_parentheses_that_change_nothing_leave_no_trace():
    assert parse("((Modality StrEquals CT))") == CT
    assert parse("(Modality StrEquals CT)AND(Rows NbGreater 5)") == And((CT, ROWS))


def test_parentheses_within_the_same_connective_are_kept():
    query = parse("Modality StrEquals CT AND (Modality StrEquals MR AND Rows NbGreater 5)")
    assert query == And((CT, And((MR, ROWS))))
    assert parse(to_text(query)) == query


@pytest.mark.parametrize("text", ["", "  ", "\n\t"])
def test_the_empty_query(text):
    assert parse(text) is EVERYTHING
    assert to_text(EVERYTHING) == ""


@pytest.mark.parametrize(
    ("value", "pieces"),
    [
        ("CT", ("CT",)),
        ("1.2.840", ("1.2.840",)),
        ("*chest*", ("", "chest", "")),
        ("a**b", ("a", "b")),
        ("O'Brien", ("O'Brien",)),
        ("a,b", ("a,b",)),
        ("a\\b", ("a\\b",)),
        ('"chest ct"', ("chest ct",)),
        ("'chest ct'", ("chest ct",)),
        ('"a*b"', ("a", "b")),
        ('"a\\*b"', ("a*b",)),
        ("'it\\'s'", ("it's",)),
        ('"it\'s"', ("it's",)),
        ('"say \\"x\\""', ('say "x"',)),
        ('"a\\\\b"', ("a\\b",)),
        ('"a\\b"', ("a\\b",)),
        ('"AND"', ("AND",)),
        ('""', ("",)),
        ('"(x) OR 1=1"', ("(x) OR 1=1",)),
        ("100%", ("100%",)),
        ("*", ("", "")),
    ],
)
def test_text_values(value, pieces):
    query = parse(f"StudyDescription StrEquals {value}")
    assert query.values == (TextPattern(pieces),)
    assert parse(to_text(query)) == query


def test_lists():
    query = parse("Modality StrIn(CT,\"M R\" , 'x,y',p*)")
    assert query.values == tuple(map(TextPattern, [("CT",), ("M R",), ("x,y",), ("p", "")]))
    assert to_text(query) == 'Modality StrIn (CT, "M R", "x,y", p*)'


@pytest.mark.parametrize(
    ("text", "digits", "canonical"),
    [
        ("2024", "2024", "2024"),
        ("202401", "202401", "2024-01"),
        ("2024-01", "202401", "2024-01"),
        ("20240131", "20240131", "2024-01-31"),
        ("2024-01-31", "20240131", "2024-01-31"),
        ("2024-01-31T12", "2024013112", "2024-01-31T12"),
        ("2024-01-31T12:30", "202401311230", "2024-01-31T12:30"),
        ("20240131T123005", "20240131123005", "2024-01-31T12:30:05"),
        ("'2024-01-31 12:30:05.25'", "2024013112300525", "2024-01-31T12:30:05.25"),
        ("2024-02-29", "20240229", "2024-02-29"),
    ],
)
def test_dates(text, digits, canonical):
    query = parse(f"StudyDate DateBefore {text}")
    assert query.values == (PartialDate(digits),)
    assert to_text(query) == f"StudyDate DateBefore {canonical}"
    assert parse(to_text(query)) == query


# What cannot be read


def refused(text: str) -> QueryError:
    with pytest.raises(QueryError) as caught:
        parse(text)
    error = caught.value
    assert error.text == text or isinstance(error, QueryTooLargeError)
    assert str(error).startswith(error.message)
    return error


@pytest.mark.parametrize(
    ("text", "position", "message", "hint"),
    [
        ("Modalty StrEquals CT", 0, "Modalty is not a DICOM keyword", "did you mean Modality?"),
        ("Rows NbGreater 1 AND Studydescripton Exists", 21, "is not a DICOM keyword", "did you mean StudyDescription?"),
        ("RequestAttributesSequence.CodeVaule Exists", 26, "CodeVaule is not", "did you mean CodeValue?"),
        ("0008006 Exists", 0, "0008006 is not", None),
        ("OverlayData Exists", 0, "keyword of many tags (60xx3000)", "name one, as 60003000"),
        ("Modality[x] Exists", 8, "index", None),
        ("Modality.", 9, "a tag is missing", None),
        ("Modality..Rows Exists", 9, "cannot stand here", None),
        ("Modality", 8, "an operator is missing", None),
        ("Modality StrEqual CT", 9, "StrEqual is not an operator", "did you mean StrEquals?"),
        ("Modality = CT", 9, "= is not an operator", "operators are words"),
        ("Modality Equals CT", 9, "Equals is not an operator", "StrEquals, or NbEquals"),
        ("Modality StrEquals", 18, "StrEquals needs a value", None),
        ("(Modality StrEquals )", 20, "StrEquals needs a value", None),
        ("Modality StrEquals AND Rows Exists", 19, "a value is missing before AND", "quote it"),
        ("Modality StrEquals CT AND", 25, "the query ends too early", None),
        ("Modality StrEquals CT AND OR Rows Exists", 26, "a condition is missing before OR", None),
        ("AND Rows Exists", 0, "a condition is missing before AND", None),
        ("Modality StrEquals CT MR", 22, "MR cannot stand here", "quotes"),
        ("Modality StrEquals CT && Rows Exists", 22, "cannot stand here", "write AND"),
        ("Modality Exists || Rows Exists", 16, "cannot stand here", "write OR"),
        ("(Modality Exists", 16, "not closed", "it opens at 1"),
        ("Modality Exists)", 15, "never opened", None),
        ("Modality Exists (Rows Exists)", 16, "cannot stand here", None),
        ("()", 1, "cannot stand here", None),
        ("NOT", 3, "ends too early", None),
        ("Modality StrEquals 'CT", 19, "a quote is not closed", None),
        ("Modality StrEquals 'CT\\'", 19, "a quote is not closed", None),
        ('Modality StrEquals a"b"', 20, "quote in the middle", "quote all of the value"),
        ("Rows NbEquals five", 14, "five is not a number", None),
        ("Rows NbEquals 1,5", 14, "1,5 is not a number", "after a point"),
        ("Rows NbEquals 1e1000", 14, "1e1000 is not a number", "3 in the exponent"),
        ("Rows NbEquals nan", 14, "nan is not a number", None),
        ("StudyDate DateOn 2024-13", 17, "2024-13 is not a date (no such day)", None),
        ("StudyDate DateOn 2023-02-29", 17, "is not a date (no such day)", None),
        ("StudyDate DateOn 2023-02-28T25", 17, "is not a date (no such time of day)", None),
        ("StudyDate DateOn yesterday", 17, "yesterday is not a date", None),
        ("StudyDate DateOn 20241", 17, "20241 is not a date", None),
        ("Modality StrIn CT", 15, "needs a list in parentheses", "as StrIn"),
        ("Modality StrIn ()", 16, "a value is missing in the list", None),
        ("Modality StrIn (CT,)", 19, "a value is missing in the list", None),
        ("Modality StrIn (CT MR)", 19, "MR cannot stand here", "quotes"),
        ("Modality StrIn (CT", 18, "a list is not closed", "it opens at 16"),
    ],
)
def test_errors_name_position_and_remedy(text, position, message, hint):
    error = refused(text)
    assert message in error.message
    assert error.position == position
    assert (hint in error.hint) if hint else True
    assert error.pointer().splitlines()[1].index("^") == position


def test_what_was_expected_is_said():
    assert refused("Modality Exists x").expected == ("AND", "OR", "the end of the query")
    assert refused("(Modality Exists x").expected == ("AND", "OR", ")")
    assert "NbGreaterEquals" in refused("Rows x").expected
    assert refused("Rows NbLess").expected == ("a number, as -1.5 or 2e3",)


def test_an_error_as_people_see_it():
    assert str(refused("Rows NbGreater 5 AND Modalty StrEquals CT")) == (
        "Modalty is not a DICOM keyword (character 22)\n"
        "Rows NbGreater 5 AND Modalty StrEquals CT\n"
        "                     ^\n"
        "expected: a DICOM keyword or 8 hexadecimal digits\n"
        "hint: did you mean Modality?"
    )


def test_the_caret_stands_right_in_long_and_broken_lines():
    error = refused("Rows Exists AND " * 50 + "Modalty Exists" + " AND Rows Exists" * 50)
    line, caret = error.pointer().splitlines()
    assert line[caret.index("^") :].startswith("Modalty Exists")
    assert len(line) <= 74
    error = refused("Rows Exists AND\n  Modalty Exists\nAND Rows Exists")
    assert error.pointer() == "  Modalty Exists\n  ^"
    assert (error.line, error.column) == (2, 3)
    assert "(line 2, column 3)" in str(error)


# Limits


def test_a_thousand_conditions_and_no_more():
    text = " AND ".join(["Rows Exists"] * 1000)
    assert len(conditions_of(parse(text))) == 1000
    error = refused(text + " OR Modality Exists")
    assert isinstance(error, QueryTooLargeError)
    assert error.position == len(text) + 4
    assert "1000 conditions" in error.message


@pytest.mark.parametrize("opening", ["(", "NOT (", "Rows Exists OR Rows Empty AND NOT ("])
def test_a_hundred_levels_and_no_more(opening):
    parse(opening * 100 + "Rows Exists" + ")" * 100)
    error = refused(opening * 101 + "Rows Exists" + ")" * 101)
    assert isinstance(error, QueryTooLargeError)
    assert error.position == 100 * len(opening) + opening.index("NOT" if "NOT" in opening else "(")
    assert "100 deep" in error.message


def test_a_hundred_nots_and_no_more():
    parse("NOT " * 100 + "Rows Exists")
    assert refused("NOT " * 101 + "Rows Exists").position == 400


@pytest.mark.parametrize("text", ["(" * 100_000, "NOT " * 25_000, "NOT(" * 25_000, "(" * 50_000 + ")" * 50_000])
def test_no_text_exhausts_the_stack(text):
    """Neither the parser nor the message of its error recurses, however little stack is left."""
    failures: list[BaseException] = []

    def work() -> None:
        try:
            assert isinstance(refused(text), QueryTooLargeError)
        except (AssertionError, RecursionError) as error:
            failures.append(error)

    limit = sys.getrecursionlimit()
    thread = threading.Thread(target=work)
    sys.setrecursionlimit(150)
    try:
        thread.start()
        thread.join()
    finally:
        sys.setrecursionlimit(limit)
    assert not failures


def test_the_deepest_tree_can_be_compared_hashed_and_printed():
    text = "NOT (Rows Empty OR Rows Exists AND " * 100 + "Modality Exists" + ")" * 100
    one, two = parse(text), parse(text)
    assert one == two
    assert hash(one) == hash(two)
    assert one != parse(text.replace("Modality", "Columns"))
    assert repr(one) == "<Not of 201 conditions>"
    assert parse(to_text(one)) == one


def test_trees_beyond_the_limits_cannot_be_built():
    with pytest.raises(QueryTooLargeError, match="1001 conditions"):
        And((CT,) * 1001)
    node = CT
    for _ in range(303):
        node = Not(node)
    with pytest.raises(QueryTooLargeError, match="304 levels deep"):
        Not(node)


def test_a_long_text_is_refused():
    error = refused("Rows Exists AND " * 7000)
    assert isinstance(error, QueryTooLargeError)
    assert "100,000 bytes" in error.message
    assert len(str(error)) < 200


def test_many_wildcards_are_refused():
    parse("Modality StrEquals " + "a*" * 100)
    assert refused("Modality StrEquals " + "a*" * 101).message == "more than 100 wildcards in one value"
    parse("Modality StrEquals " + "*" * 1000)


def test_long_lists_are_refused():
    assert "10,000 values" in refused(f"Modality StrIn ({','.join('a' * 10_001)})").message


# Trees


@pytest.mark.parametrize(
    "build",
    [
        lambda: And((CT,)),
        lambda: Or(()),
        lambda: Not(EVERYTHING),
        lambda: Or((CT, EVERYTHING)),
        lambda: Condition(TagPath.parse("Rows"), Operator.EXISTS, (Number("1"),)),
        lambda: Condition(TagPath.parse("Rows"), Operator.NB_LESS, ()),
        lambda: Condition(TagPath.parse("Rows"), Operator.NB_LESS, (TextPattern(("1",)),)),
        lambda: Condition(TagPath.parse("Rows"), Operator.STR_IN, ()),
        lambda: Number("1e1000"),
        lambda: Number("one"),
        lambda: PartialDate("20240230"),
        lambda: PartialDate("2024-01-01"),
        lambda: TextPattern(()),
    ],
)
def test_nonsense_cannot_be_built(build):
    with pytest.raises(ValueError):  # noqa: PT011 - the messages are many
        build()


def test_all_of():
    assert all_of([]) == EVERYTHING
    assert all_of([EVERYTHING, EVERYTHING]) == EVERYTHING
    assert all_of([EVERYTHING, CT]) == CT
    assert all_of([CT, ROWS]) == And((CT, ROWS))


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_text_and_tree_are_the_same(data):
    node = data.draw(queries(data.draw(models(depth=1))))
    assert parse(to_text(node)) == node


FRAGMENTS = st.sampled_from(
    ("Modality", "Rows", "00080060", "A[0]", "Rows.", "[1]", "StrEquals", "StrIn", "NbLess", "DateOn", "Exists", "AND")
) | st.sampled_from(
    ("OR", "NOT", "(", ")", ",", '"', "'", "\\", "*", "1e5", "2024-01", "x y", "%", "\x00", "\n", "é", "\ud800", " ")
)


@settings(max_examples=500, deadline=None)
@given(st.lists(FRAGMENTS, max_size=12).map(" ".join) | st.lists(FRAGMENTS, max_size=12).map("".join) | st.text())
@example("\ud800")
@example('Modality StrEquals "\ud800"')
def test_any_text_is_read_or_refused_clearly(text):
    error = None
    try:
        node = parse(text)
    except QueryError as caught:
        error = caught
    if error is None:
        assert parse(to_text(node)) == node
        return
    assert 0 <= error.position <= len(text)
    assert error.message
    assert error.expected or isinstance(error, QueryTooLargeError)
    assert len(str(error).splitlines()) >= 2
