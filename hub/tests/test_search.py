"""Searches on a real index: paging, sorting, columns, limits."""

from __future__ import annotations

import asyncio

import psycopg
import psycopg_pool
import pytest
from pydicom.uid import generate_uid

import dicom_query
from hub.tests.support import as_bytes, image
from rpacs_hub._orthanc import StoredInstance
from rpacs_hub.errors import DatabaseUnavailable, SearchRefused, SearchTooSlow
from rpacs_hub.index import DEFAULT_COLUMNS, Entity, Index, Level, Search, SortKey, Visible
from rpacs_hub.index._read import read_file
from rpacs_hub.index._store import Read, Store

ALL = Visible.everything()
CT = Visible((dicom_query.parse("Modality StrEquals CT"),))


def make_images():
    """40 images: 2 patients with the same number but other issuers, 4 studies, 8 series, values that tie and lack."""
    images = []
    for s in range(4):
        study = generate_uid()
        for r in range(2):
            series = generate_uid()
            for n in range(5):
                one = image(
                    modality="CT" if r == 0 else "MR",
                    patient=f"P{s // 2}",
                    issuer="North" if s % 2 else "South",
                    study=study,
                    series=series,
                    number=n,
                    StudyDate=f"2026010{1 + s // 2}",
                    SeriesDescription=["Thorax", "thorax", "Abdomen", ""][s],
                )
                if s != 3:
                    one.SliceThickness = [10, 2, 2.5][s]
                images.append(one)
    return images


@pytest.fixture(scope="module")
def images():
    return make_images()


@pytest.fixture(scope="module")
def base(new_base, images):
    base = new_base()

    async def fill():
        async with await psycopg.AsyncConnection.connect(base.indexer, autocommit=True) as connection:
            store = Store(connection)
            await store.prepare()
            reads = [Read(StoredInstance(f"o{n}", "f"), read_file(as_bytes(one))) for n, one in enumerate(images)]
            await store.write(reads, [], position=1)

    asyncio.run(fill())
    return base


@pytest.fixture(scope="module")
def ask(base):
    """Call a method of an index and return its result."""

    def call(method, *arguments, url=None, timeout=20, **named):
        async def run():
            kwargs = {"autocommit": True, "prepare_threshold": None}
            async with psycopg_pool.AsyncConnectionPool(
                url or base.gateway, min_size=1, kwargs=kwargs, open=False, timeout=3
            ) as pool:
                return await getattr(Index(pool, timeout=timeout), method)(*arguments, **named)

        return asyncio.run(run())

    return call


def pages(ask, visible=ALL, **search):
    rows, cursor, totals = [], None, set()
    for _ in range(100):
        page = ask("search", Search(cursor=cursor, **search), visible)
        rows += page.rows
        totals.add(page.total)
        cursor = page.next
        if cursor is None:
            assert totals == {len(rows)}
            return rows
    raise AssertionError("paging never ends")


def test_default_columns(ask):
    for level in Level:
        page = ask("search", Search(None, level, limit=1), ALL)
        assert page.columns == DEFAULT_COLUMNS[level]
        assert tuple(page.rows[0]) == page.columns


def test_totals(ask):
    totals = {level: ask("search", Search(None, level), ALL).total for level in Level}
    assert totals == {Level.PATIENT: 4, Level.STUDY: 4, Level.SERIES: 8, Level.INSTANCE: 40}
    assert {level: ask("count", None, level, CT) for level in Level} == {
        Level.PATIENT: 4,
        Level.STUDY: 4,
        Level.SERIES: 4,
        Level.INSTANCE: 20,
    }


@pytest.mark.parametrize("limit", [3, 7, 40])
@pytest.mark.parametrize("level", list(Level))
def test_pages_together_are_the_whole(ask, level, limit):
    key = {"patient": "IssuerOfPatientID", "study": "StudyInstanceUID", "series": "SeriesInstanceUID"}.get(
        level, "SOPInstanceUID"
    )
    whole = ask("search", Search(None, level, columns=("PatientID", key), limit=1000), ALL).rows
    paged = pages(ask, query=None, level=level, columns=("PatientID", key), limit=limit)
    assert paged == whole
    assert len({tuple(row.values()) for row in whole}) == len(whole)


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("column", ["SliceThickness", "SeriesDescription", "InstanceNumber", "StudyDate"])
def test_sorting_is_complete_over_pages_and_absent_values_come_last(ask, images, column, descending):
    rows = pages(
        ask,
        query=None,
        level=Level.INSTANCE,
        columns=("SOPInstanceUID", column),
        sort=(SortKey(column, descending),),
        limit=7,
    )
    assert len({row["SOPInstanceUID"] for row in rows}) == 40
    values = [row[column] for row in rows]
    held = [value.lower() if isinstance(value, str) else value for value in values if value not in (None, "")]
    assert held == sorted(held, reverse=descending)
    assert all(value in (None, "") for value in values[len(held) :])
    assert len(held) == (30 if column in ("SliceThickness", "SeriesDescription") else 40)


def test_numbers_sort_as_numbers_and_keep_their_kind(ask):
    page = ask(
        "search",
        Search(None, Level.STUDY, columns=("SliceThickness", "NumberOfFrames"), sort=(SortKey("SliceThickness"),)),
        ALL,
    )
    assert [row["SliceThickness"] for row in page.rows] == [2, 2.5, 10, None]
    assert page.rows[0]["NumberOfFrames"] is None


def test_sorting_by_a_count(ask):
    rows = pages(
        ask,
        visible=CT,
        query=dicom_query.parse("InstanceNumber NbLess 3"),
        level=Level.STUDY,
        columns=("NumberOfStudyRelatedInstances", "ModalitiesInStudy"),
        sort=(SortKey("NumberOfStudyRelatedInstances", True), SortKey("ModalitiesInStudy")),
        limit=3,
    )
    # What is counted is what may be seen, not only what matched.
    assert rows == [{"NumberOfStudyRelatedInstances": 5, "ModalitiesInStudy": ["CT"]}] * 4


def test_a_row_shows_values_of_an_instance_that_matches(ask):
    query = dicom_query.parse("InstanceNumber NbEquals 3")
    page = ask("search", Search(query, Level.SERIES, columns=("InstanceNumber",)), ALL)
    assert [row["InstanceNumber"] for row in page.rows] == [3] * 8


def test_no_permission_no_rows(ask):
    page = ask("search", Search(None, Level.STUDY), Visible.nothing())
    assert (page.rows, page.total, page.next) == ([], 0, None)


def test_a_limit_of_zero_counts_only(ask):
    page = ask("search", Search(None, Level.SERIES, limit=0), ALL)
    assert (page.rows, page.total, page.next) == ([], 8, None)


@pytest.mark.parametrize(
    ("search", "code", "hint"),
    [
        ({"columns": ("Modalty",)}, "column_unknown", "Did you mean Modality?"),
        ({"columns": ("PixelData",)}, "column_unknown", "Look at the tags instead."),
        ({"columns": ("NumberOfStudyRelatedSeries",)}, "column_unknown", "Search at level study."),
        ({"sort": (SortKey("x'; DROP TABLE pacs.instance; --"),)}, "column_unknown", None),
        ({"limit": 1001}, "limit_invalid", "It may be 0 to 1000."),
        ({"limit": -1}, "limit_invalid", "It may be 0 to 1000."),
        ({"cursor": "!"}, "cursor_invalid", None),
        ({"cursor": "A" * 20000}, "cursor_invalid", None),
        ({"columns": tuple("PatientID" for _ in range(61))}, "too_many_columns", None),
    ],
)
def test_what_cannot_be_served_is_refused(ask, search, code, hint):
    with pytest.raises(SearchRefused) as caught:
        ask("search", Search(None, Level.SERIES, **search), ALL)
    assert caught.value.code == code
    if hint is not None:
        assert caught.value.hint == hint


def test_a_cursor_belongs_to_its_search(ask):
    cursor = ask("search", Search(None, Level.SERIES, limit=2), ALL).next
    other = dicom_query.parse("Modality StrEquals CT")
    for search in (
        Search(other, Level.SERIES, cursor=cursor),
        Search(None, Level.INSTANCE, cursor=cursor),
        Search(None, Level.SERIES, cursor=cursor, sort=(SortKey("Modality"),)),
    ):
        with pytest.raises(SearchRefused, match="does not belong to this search"):
            ask("search", search, ALL)


def test_a_slow_search_is_stopped(ask):
    slow = dicom_query.parse(" OR ".join(f"InstanceNumber NbLess {n} AND Rows NbGreater {n}" for n in range(500)))
    with pytest.raises(SearchTooSlow, match=r"longer than 0\.005 s"):
        ask("search", Search(slow, Level.STUDY), ALL, timeout=0.005)


def test_without_an_index_or_a_database_the_error_says_so(ask, new_base, base):
    with pytest.raises(DatabaseUnavailable, match="no index yet"):
        ask("count", None, Level.STUDY, ALL, url=new_base().gateway)
    with pytest.raises(DatabaseUnavailable, match="does not answer"):
        ask("count", None, Level.STUDY, ALL, url="postgresql://x:y@127.0.0.1:1/none")


def test_selection_by_query_takes_whole_rows(ask, images):
    query = dicom_query.parse("InstanceNumber NbEquals 0 AND StudyDate StrEquals 20260101")
    by_level = {level: len(ask("select", ALL, query=query, level=level, limit=100)) for level in Level}
    assert by_level == {Level.PATIENT: 20, Level.STUDY: 20, Level.SERIES: 20, Level.INSTANCE: 4}
    assert len(ask("select", CT, query=query, level=Level.STUDY, limit=100)) == 10


def test_selection_by_identifier(ask, images):
    first = images[0]
    named = {
        Level.PATIENT: first.PatientID,
        Level.STUDY: first.StudyInstanceUID,
        Level.SERIES: first.SeriesInstanceUID,
        Level.INSTANCE: first.SOPInstanceUID,
    }
    sizes = {
        level: len(ask("select", ALL, entities=[Entity(level, str(uid))], limit=100)) for level, uid in named.items()
    }
    assert sizes == {Level.PATIENT: 20, Level.STUDY: 10, Level.SERIES: 5, Level.INSTANCE: 1}
    (only,) = ask("select", ALL, entities=[Entity(Level.INSTANCE, str(first.SOPInstanceUID))], limit=1)
    assert (only.orthanc_id, only.patient_id, only.series_uid) == ("o0", "P0", str(first.SeriesInstanceUID))
    assert ask("select", CT, entities=[Entity(Level.INSTANCE, str(images[5].SOPInstanceUID))], limit=1) == []
    assert ask("select", ALL, entities=[], limit=1) == []
    with pytest.raises(SearchRefused, match="more than 3 instances"):
        ask("select", ALL, entities=[Entity(Level.SERIES, str(first.SeriesInstanceUID))], limit=3)
    assert ask("visible_ids", ["o0", "o5", "o99"], CT) == {"o0"}


def test_the_gateway_cannot_write_the_index(base):
    with psycopg.connect(base.gateway) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("DELETE FROM pacs.instance")
