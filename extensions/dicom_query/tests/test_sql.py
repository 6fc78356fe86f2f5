"""SQL answers what memory answers, in a real PostgreSQL."""

from __future__ import annotations

import json
import time

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dicom_query import (
    And,
    Condition,
    Node,
    Not,
    Operator,
    Or,
    TagPath,
    TextPattern,
    compile_sql,
    evaluate,
    evaluate_document,
    index_document,
    parse,
)
from extensions.dicom_query.tests.cases import ANSWERS, DATES, example
from extensions.dicom_query.tests.models import Element, build, conditions, models, queries
from extensions.dicom_query.tests.oracle import answer


@pytest.fixture(scope="module")
def connection(postgres):
    with psycopg.connect(postgres.create_database(), autocommit=True) as connection:
        yield connection


def ask(connection: psycopg.Connection, query: Node, documents: list[dict]) -> list[bool]:
    sql = compile_sql(query, "i.document")
    statement = f"SELECT {sql.text} FROM unnest(%s::jsonb[]) WITH ORDINALITY AS i(document, n) ORDER BY n"
    rows = connection.execute(statement, [*sql.params, [json.dumps(each) for each in documents]]).fetchall()
    return [row[0] for row in rows]


def check(connection, all_models, all_queries) -> None:
    datasets = [build(model) for model in all_models]
    documents = [index_document(dataset) for dataset in datasets]
    for query in all_queries:
        expected = [answer(query, model) for model in all_models]
        assert [evaluate(query, dataset) for dataset in datasets] == expected
        assert [evaluate_document(query, document) for document in documents] == expected
        assert ask(connection, query, documents) == expected


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_sql_memory_and_oracle_agree(connection, data):
    model = data.draw(models())
    others = data.draw(st.lists(models(depth=1), max_size=2))
    check(connection, [model, *others], [data.draw(conditions(model)) for _ in range(4)] + [data.draw(queries(model))])


def test_answers(connection):
    document = index_document(example())
    assert {text: ask(connection, parse(text), [document]) for text, _ in ANSWERS} == {
        text: [expected] for text, expected in ANSWERS
    }


def test_dates(connection):
    documents = [{"00080020": [value]} for value, *_ in DATES]
    for column, operator in enumerate(("DateBefore", "DateOn", "DateAfter"), start=1):
        expected = [row[column] for row in DATES]
        assert ask(connection, parse(f"StudyDate {operator} 2024-01-31"), documents) == expected
    fractions = [{"00080020": [f"20240131000000{fraction}"]} for fraction in (".1", ".10", ".2", "", ".05")]
    answers = {
        "DateOn": [False, True, False, False, False],  # .1 is a tenth of a second, of which .10 is a part
        "DateBefore": [False, False, False, False, True],
        "DateAfter": [False, False, True, False, False],
    }
    for operator, expected in answers.items():
        query = parse(f"StudyDate {operator} 2024-01-31T00:00:00.10")
        assert ask(connection, query, fractions) == expected
        assert [evaluate_document(query, document) for document in fractions] == expected


TEXT_OPERATORS = ["StrEquals", "StrNotEquals"]
SAMPLES = [
    "",
    "ct",
    "100%",
    "1000",
    "a_b",
    "axb",
    "a\\b",
    "a*b",
    "aXb",
    "'; DROP TABLE x; --",
    '"',
    "ß",
    "SS",
    "İ",
    "\n",
    "a\0b",
]


@pytest.mark.parametrize("operator", TEXT_OPERATORS)
@pytest.mark.parametrize("wild", [False, True])
def test_every_sample_against_every_sample(connection, operator, wild):
    samples = [{0x00104000: Element("LT", [sample])} for sample in SAMPLES]
    path = TagPath.parse("00104000")
    asked = [
        Condition(path, Operator(operator), (TextPattern(tuple(sample.split("*")) if wild else (sample,)),))
        for sample in [*SAMPLES, *(f"*{sample}*" for sample in SAMPLES if wild)]
    ]
    check(connection, samples, asked)


NUMBER_SAMPLES = [
    "1",
    "1.0",
    "10e-1",
    "+1",
    "-1",
    "-0",
    "0",
    ".5",
    "1.",
    "1e400",
    "9e399",
    "1e999",
    "-1e999",
    " 12 ",
    "12",
]
NOT_NUMBERS = ["", "nan", "inf", "1e1000", "1" * 65, "0x1", "1_0", "1,5", "e5", ".", "1 2", "\n1", "1\n", "\uff11"]


@pytest.mark.parametrize("operator", [operator for operator in Operator if operator.value.startswith("Nb")])
def test_numbers_are_exact_everywhere(connection, operator):
    samples = [{0x00104000: Element("LT", [sample])} for sample in NUMBER_SAMPLES + NOT_NUMBERS]
    asked = [parse(f"00104000 {operator.value} {sample.strip()}") for sample in NUMBER_SAMPLES]
    check(connection, samples, asked)


@pytest.mark.parametrize(
    "text",
    [
        "'; DROP TABLE victim; --",
        "') OR TRUE --",
        "\"}'::jsonb OR TRUE --",
        "%s",
        "%(a)s",
        "$1",
        "\\",
        '\\"; SELECT pg_sleep(10)',
        "' || pg_sleep(10) || '",
        '" || true || "',
    ],
)
@pytest.mark.parametrize("form", ["literal", "wild", "listed", "indexed"])
def test_values_stay_values(connection, text, form):
    """Nothing that a query says can become SQL, a LIKE pattern or an SQL/JSON path."""
    connection.execute("CREATE TABLE IF NOT EXISTS victim (n int)")
    path = TagPath.parse("00104000[0]" if form == "indexed" else "00104000")
    patterns = {"wild": TextPattern((text, ""))}.get(form, TextPattern.literal(text))
    operator = Operator.STR_IN if form == "listed" else Operator.STR_EQUALS
    query = Condition(path, operator, (patterns,))
    sql = compile_sql(query)
    assert text not in sql.text or text == "%s"
    matching, other = {0x00104000: Element("LT", [text])}, {0x00104000: Element("LT", ["something else"])}
    documents = [index_document(build(matching)), index_document(build(other))]
    assert ask(connection, query, documents) == [True, False]
    assert connection.execute("SELECT count(*) FROM victim").fetchone() == (0,)


@pytest.mark.parametrize(
    "column", ["document; DROP TABLE x", "a.b.c.d", "", "document -> 'x'", 'i."document"', "i.", "%s"]
)
def test_only_names_are_columns(column):
    with pytest.raises(ValueError, match="not the name of a column"):
        compile_sql(parse("Modality Exists"), column)


def test_the_empty_query_is_true():
    assert compile_sql(parse("")).text == "TRUE"
    assert compile_sql(parse("")).params == ()


def test_a_thousand_conditions_are_answered(connection):
    query = parse(" OR ".join(f"PatientID StrEquals 'p{n}*' AND Rows NbGreater {n}" for n in range(500)))
    documents = [{"00100020": ["p499x"], "00280010": ["512"]}, {"00100020": ["p499"], "00280010": ["4"]}]
    started = time.monotonic()
    assert ask(connection, query, documents) == [True, False]
    assert time.monotonic() - started < 10


def test_a_long_list_is_answered(connection):
    uids = [f"1.2.826.0.1.3680043.{n}" for n in range(3000)]
    query = parse(f"StudyInstanceUID StrIn ({', '.join(uids)})")
    assert len(compile_sql(query).params) == 2
    assert ask(connection, query, [{"0020000D": [uids[2999]]}, {"0020000D": ["1.2"]}, {}]) == [True, False, False]


@pytest.mark.parametrize(
    ("opening", "closing", "expected"),
    [("(", ")", True), ("NOT (", ")", True), ("Rows Exists AND (Rows Empty OR ", ")", True), ("NOT ", "", True)],
)
def test_depth_100_is_answered(connection, opening, closing, expected):
    text = opening * 100 + "Modality StrEquals CT" + closing * 100
    query = parse(text)
    document = {"00080060": ["ct"], "00280010": ["5"]}
    assert evaluate_document(query, document) is expected
    assert ask(connection, query, [document]) == [expected]


def test_the_deepest_possible_tree_is_answered(connection):
    query = parse("NOT (Rows Empty OR Rows Exists AND " * 49 + "NOT Modality StrEquals CT" + ")" * 49)
    assert query.depth >= 147
    document = {"00080060": ["ct"], "00280010": ["5"]}
    assert ask(connection, query, [document]) == [evaluate_document(query, document)]


def test_equality_uses_a_gin_index(connection):
    with connection.transaction():
        connection.execute("CREATE TEMP TABLE i (document jsonb NOT NULL)")
        connection.execute(
            "INSERT INTO i SELECT jsonb_build_object('00080060', jsonb_build_array('m' || n), '00400275',"
            " jsonb_build_array(jsonb_build_object('00080100', jsonb_build_array('c' || n))))"
            " FROM generate_series(1, 2000) n"
        )
        connection.execute("CREATE INDEX ON i USING gin (document jsonb_path_ops)")
        connection.execute("ANALYZE i")
        for text in [
            "Modality StrEquals M7",
            "RequestAttributesSequence.CodeValue StrEquals C7",
            "Modality StrEquals M7 AND Rows NotExists AND Modality StrEquals 'm*'",
            "Modality StrIn (M7, M8)",
        ]:
            sql = compile_sql(parse(text), "document")
            rows = connection.execute(f"EXPLAIN SELECT * FROM i WHERE {sql.text}", sql.params).fetchall()
            assert "Bitmap Index Scan" in " ".join(row[0] for row in rows), text
            found = connection.execute(f"SELECT count(*) FROM i WHERE {sql.text}", sql.params).fetchone()
            assert found == ((2,) if "StrIn" in text else (1,))
        connection.execute("DROP TABLE i")


def test_joined_queries(connection):
    query = And((Not(parse("Modality StrEquals MR")), Or((parse("Rows Exists"), parse("Columns Exists")))))
    documents = [{"00280010": ["1"]}, {"00080060": ["mr"], "00280010": ["1"]}, {"00280011": [""]}, {}]
    assert ask(connection, query, documents) == [True, False, True, False]
