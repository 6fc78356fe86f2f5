"""Facets, a query in words, and completion: what may be seen, no more, counted exactly."""

from __future__ import annotations

import pytest

import rpacs
from hub.tests.support import audit_lines
from rpacs_hub.index import MAX_FACETS


def facets(archive, user, **params) -> list[tuple[str, int]]:
    answer = archive.served.get("facets", user, **params)
    assert answer.status_code == 200, answer.text
    return [(each["value"], each["count"]) for each in answer.json()["values"]]


def test_values_and_counts_are_those_of_what_may_be_seen(archive):
    ada, clara, nora = archive.ada, archive.clara, archive.nora
    assert facets(archive, ada, tag="Modality", level="instance") == [("CT", 7), ("MR", 3)]
    assert facets(archive, clara, tag="Modality", level="instance") == [("CT", 7)]
    assert facets(archive, nora, tag="Modality", level="instance") == []
    # A study with both counts for both, though a row of a search shows one of them.
    assert facets(archive, ada, tag="Modality") == [("CT", 2), ("MR", 2)]
    assert facets(archive, clara, tag="SeriesDescription", level="series") == [("Scout", 1), ("Thorax", 1)]
    assert ("Same study as the CT", 1) in facets(archive, ada, tag="SeriesDescription", level="series")


def test_the_query_and_the_beginning_narrow_them_down(archive):
    found = facets(archive, archive.ada, tag="StudyDescription", query="PatientID StrEquals P3")
    assert found == [("Abdomen", 1)]
    assert facets(archive, archive.ada, tag="StudyDescription", prefix="ch") == [("Chest", 2)]
    assert facets(archive, archive.ada, tag="StudyDescription", prefix="*") == []
    assert facets(archive, archive.ada, tag="PatientID", query="Modality StrEquals MR", level="patient") == [
        ("P1", 1),
        ("P2", 1),
    ]


def test_numbers_and_dates_are_values_too(archive):
    thick = facets(archive, archive.ada, tag="SliceThickness", level="instance")
    assert sorted(thick) == [("0.5", 1), ("1.0", 1), ("1.5", 1), ("2.0", 1), ("2.5", 1)]
    assert facets(archive, archive.ada, tag="00080020") == [("20260102", 1), ("20260201", 1), ("20260301", 1)]


def test_a_limit_says_that_there_is_more(archive):
    body = archive.served.get("facets", archive.ada, tag="SOPInstanceUID", level="instance", limit=3).json()
    assert len(body["values"]) == 3
    assert body["more"] is True
    assert archive.served.get("facets", archive.ada, tag="Modality").json()["more"] is False


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({}, "tag_invalid"),
        ({"tag": "StudyDescripton"}, "tag_invalid"),
        ({"tag": "RequestAttributesSequence.CodeValue"}, "column_unknown"),
        ({"tag": "RequestAttributesSequence"}, "column_unknown"),
        ({"tag": "PixelData"}, "column_unknown"),
        ({"tag": "00091001"}, "column_unknown"),
        ({"tag": "ImageType[0]"}, "column_unknown"),
        ({"tag": "Modality", "limit": 0}, "limit_invalid"),
        ({"tag": "Modality", "limit": MAX_FACETS + 1}, "limit_invalid"),
        ({"tag": "Modality", "limit": "x"}, "limit_invalid"),
        ({"tag": "Modality", "level": "galaxy"}, "level_unknown"),
        ({"tag": "Modality", "query": "Modality StrEqals CT"}, "query_invalid"),
        ({"tag": "Modality", "tags": "x"}, "request_invalid"),
    ],
)
def test_what_cannot_be_listed_is_refused(archive, params, code):
    answer = archive.served.get("facets", archive.ada, **params)
    assert (answer.status_code, answer.json()["error"]) == (400, code)
    assert answer.json()["message"]


def test_a_query_in_words_and_its_mistakes_by_position(archive):
    get, ada = archive.served.get, archive.ada
    told = get("explain-query", ada, query="modality strequals CT and SliceThickness NbLess 2").json()
    assert told["words"] == 'Modality is "CT" and Slice Thickness is less than 2'
    assert told["query"] == "Modality StrEquals CT AND SliceThickness NbLess 2"
    assert get("explain-query", ada).json()["words"] == "every instance"
    wrong = get("explain-query", ada, query="Modality StrEqals CT").json()
    assert (wrong["error"], wrong["position"]) == ("query_invalid", 9)
    assert "StrEquals" in wrong["hint"]


def words(archive, text: str, user=None, **more) -> tuple[int, list[str]]:
    answer = archive.served.get("complete", user or archive.ada, text=text, **more)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    return body["start"], [word["text"] for word in body["words"]]


def test_completion_of_keywords_operators_and_connectives(archive):
    assert words(archive, "Mod")[1][0] == "Modality"
    assert words(archive, "Modality Str") == (9, ["StrEquals", "StrNotEquals", "StrIn"])
    assert words(archive, "Modality StrEquals CT ")[1] == ["AND", "OR"]
    assert words(archive, "Mod StrEquals CT", position=3)[1][0] == "Modality"
    kinds = archive.served.get("complete", archive.ada, text="StudyDes").json()["words"]
    assert kinds[0] == {"text": "StudyDescription", "kind": "keyword", "label": "Study Description"}


def test_completion_of_values_that_may_be_seen(archive):
    assert words(archive, "Modality StrEquals ") == (19, ["CT", "MR"])
    assert words(archive, "Modality StrEquals ", archive.clara) == (19, ["CT"])
    assert words(archive, "Modality StrEquals ", archive.nora) == (19, [])
    assert words(archive, "PatientID StrEquals P3 AND StudyDescription StrEquals 'a")[1] == ["Abdomen"]
    assert words(archive, "Modality StrEquals CT AND SeriesDescription StrEquals s", level="series")[1] == ["Scout"]
    assert '"Same study as the CT"' in words(archive, "SeriesDescription StrIn (Scout, ", level="series")[1]
    assert words(archive, "00091001 StrEquals ")[1] == []
    first = archive.served.get("complete", archive.ada, text="Modality StrEquals C").json()["words"][0]
    assert first == {"text": "CT", "kind": "value", "label": "", "count": 2}
    assert archive.served.get("complete", archive.ada, text="x", position="-1").status_code == 400


def test_the_client_asks_the_same(archive):
    pacs = rpacs.connect(archive.served.url.removesuffix("api/v1/"), "token-of-clara")
    table = pacs.facets("SeriesDescription", "Modality StrEquals CT", "series")
    assert list(table.index) == ["Scout", "Thorax"]
    assert (list(table["count"]), table.attrs["more"]) == ([1, 1], False)
    assert len(pacs.facets("PatientID", prefix="none")) == 0
    assert pacs.explain_query("Rows NbEquals 5") == "Rows is the number 5"
    assert pacs.complete("Modality StrEquals ")["words"][0]["text"] == "CT"
    with pytest.raises(rpacs.QueryError) as wrong:
        pacs.explain_query("Modality StrEqals CT")
    assert wrong.value.position == 9
    assert "^" in str(wrong.value)
    pacs.close()


def test_it_stands_in_the_audit(archive):
    answer = archive.served.get("facets", archive.clara, tag="PatientID", query="Modality StrEquals CT")
    (line,) = audit_lines(archive.base, answer.headers["x-request-id"])
    kept = [line[key] for key in ("user", "action", "query", "level", "count", "decision")]
    assert kept == ["clara", "facets", "Modality StrEquals CT", "study", 2, "allowed"]
