"""The index answers what the evaluator in memory and a naive oracle do, whatever it holds and however it came in."""

from __future__ import annotations

import itertools
from dataclasses import replace

import psycopg
import psycopg_pool
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import dicom_query
from dicom_query import index_document
from extensions.dicom_query.tests.models import Element, Model, build, conditions, models, queries
from extensions.dicom_query.tests.oracle import answer
from hub.tests.support import Looped
from rpacs_hub._orthanc import StoredInstance
from rpacs_hub.index import Index, Level, Page, Search, SortKey, Visible
from rpacs_hub.index._compile import compile_query
from rpacs_hub.index._content import contents_of
from rpacs_hub.index._read import IndexedFile, display_values
from rpacs_hub.index._store import Read, Store
from rpacs_hub.index._usual import UsualContents

NAMES = ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
TABLES = "pacs.patient, pacs.path, pacs.value, pacs.pathset, pacs.vary"


class Bench:
    """One index, written and asked through the real parts."""

    def __init__(self, looped: Looped, base):
        self.do = looped.do
        self.base = base
        self.connection = self.do(psycopg.AsyncConnection.connect(base.indexer, autocommit=True))
        self.store = Store(self.connection)
        self.do(self.store.prepare())
        self.pool = self.do(self._pool())
        self.index = Index(self.pool, timeout=60)

    async def _pool(self):
        kwargs = {"autocommit": True, "prepare_threshold": None}
        pool = psycopg_pool.AsyncConnectionPool(self.base.gateway, min_size=1, kwargs=kwargs, open=False)
        await pool.open()
        return pool

    def empty(self):
        self.do(self.connection.execute(f"TRUNCATE {TABLES} CASCADE"))
        self.do(self.connection.execute("UPDATE pacs.feed SET sweeps = sweeps + 1"))

    def close(self):
        self.do(self.pool.close())
        self.do(self.connection.close())


@pytest.fixture(scope="module")
def bench(new_base):
    with Looped() as looped:
        bench = Bench(looped, new_base())
        yield bench
        bench.close()


_FILES = (f"file {number}" for number in itertools.count())
"""Names of stored files: like Orthanc, no two files get the same."""


def read(number: int, series: int, model: Model) -> Read:
    """Return an instance as the indexer reads it: two series in a study, two studies of a patient."""
    dataset = build(model)
    return Read(
        StoredInstance(f"o{number}", next(_FILES)),
        IndexedFile(
            patient_id=f"P{series // 4}",
            issuer="",
            study_uid=f"1.{series // 2}",
            series_uid=f"1.2.{series}",
            sop_uid=f"1.3.{number}",
            bytes=1,
            contents=contents_of(index_document(dataset), display_values(dataset)),
        ),
    )


@st.composite
def collections(draw) -> list[tuple[int, Model]]:
    """Return series and contents of some instances; those of a series have most in common."""
    found = []
    for series in range(draw(st.integers(1, 4))):
        common = draw(models(depth=2))
        other = draw(models(depth=1))
        for _ in range(draw(st.sampled_from([1, 2, 3, 9]))):
            model = dict(common)
            for tag in draw(st.lists(st.sampled_from([*common, *other] or [0x00080060]), max_size=2)):
                if tag in other and draw(st.booleans()):
                    model[tag] = other[tag]
                else:
                    model.pop(tag, None)
            found.append((series, model))
    return found


def keys(series: int, number: int) -> dict[Level, object]:
    return {
        Level.PATIENT: series // 4,
        Level.STUDY: series // 2,
        Level.SERIES: series,
        Level.INSTANCE: number,
    }


def check(bench: Bench, held: dict[int, tuple[int, Model]], asked, visible: Visible) -> None:
    datasets = {number: build(model) for number, (_, model) in held.items()}
    documents = {number: index_document(dataset) for number, dataset in datasets.items()}
    for number in list(held)[:2]:
        (found,) = bench.do(bench.index.instances(f"1.3.{number}"))
        assert dict(found.document) == documents[number]
    for turn, query in enumerate(asked):
        matching = set()
        for number, (_, model) in held.items():
            expected = answer(query, model)
            assert dicom_query.evaluate_document(query, documents[number]) is expected
            seen = visible.filters is None or any(answer(one, model) for one in visible.filters)
            if expected and seen:
                matching.add(number)
        selected = bench.do(bench.index.select(visible, query=query, limit=1000))
        found = sorted(int(one.sop_uid.removeprefix("1.3.")) for one in selected)
        assert found == sorted(matching), dicom_query.to_text(query)
        levels = list(Level)
        level = levels[turn % 4]
        expected_keys = {keys(held[number][0], number)[level] for number in matching}
        assert bench.do(bench.index.count(query, level, visible)) == len(expected_keys)
        level = levels[(turn + 1) % 4]
        expected_keys = {keys(held[number][0], number)[level] for number in matching}
        page = bench.do(bench.index.search(Search(query, level, limit=1000), visible))
        assert page.total == len(page.rows) == len(expected_keys)
    allowed = {f"o{number}" for number, (_, model) in held.items() if answer(asked[-1], model)}
    assert bench.do(bench.index.visible_ids([f"o{number}" for number in held], Visible((asked[-1],)))) == allowed


@settings(
    max_examples=25,
    phases=[__import__("hypothesis").Phase.reuse, __import__("hypothesis").Phase.generate],
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
@given(st.data())
def test_index_memory_and_oracle_agree(bench, data):
    bench.empty()
    collection = data.draw(collections())
    some_model = data.draw(st.sampled_from([model for _, model in collection]))
    asked = [data.draw(conditions(some_model)) for _ in range(4)] + [data.draw(queries(some_model)) for _ in range(2)]
    filters = data.draw(st.none() | st.lists(queries(some_model), max_size=2))
    visible = Visible(None if filters is None else tuple(filters))
    held = dict(enumerate(collection))
    with pytest.MonkeyPatch.context() as patch:
        # Also blocks that are soon full, and results of too many blocks to name them.
        patch.setattr("rpacs_hub.index._blocks.BLOCK_SIZE", data.draw(st.sampled_from([2, 512])))
        patch.setattr("rpacs_hub.index._page.MOST_NAMED", data.draw(st.sampled_from([0, 2000])))
        numbers = list(held)
        while numbers:
            size = data.draw(st.sampled_from([1, 2, 5, 40]))
            batch, numbers = numbers[:size], numbers[size:]
            bench.do(bench.store.write([read(number, *held[number]) for number in batch], []))
        check(bench, held, asked, visible)
        # Some go, some come again with other contents, and what nobody has any more is swept out.
        gone = data.draw(st.lists(st.sampled_from(sorted(held)), unique=True, max_size=4))
        changed = data.draw(st.lists(st.sampled_from(sorted(held)), unique=True, max_size=3))
        again = [number for number in changed if number not in gone]
        for number in gone:
            del held[number]
        for number in again:
            held[number] = (held[number][0], data.draw(models(depth=1)))
        if data.draw(st.booleans()):
            bench.do(bench.store.sweep())
        bench.do(bench.store.write([read(number, *held[number]) for number in again], [], [f"o{n}" for n in gone]))
    bench.do(bench.store.sweep())
    check(bench, held, asked[:2] + asked[4:5], visible)


NUMBERS = ["1", "1.0", "10e-1", "0.1", "0.10000000000000001", "9007199254740993", "9007199254740992", "1e400", "-1e400"]
NUMBERS += ["1e-400", "-0", "0", "123456789012345678", "nan", "", "1e308", "4.9e-324", "-2.5", "2.5000000000000000001"]


@pytest.mark.parametrize("same", [False, True])
def test_numbers_are_exact_in_the_dictionary_and_inside_a_series(bench, same):
    """Doubles serve where they tell all numbers apart, and only there."""
    bench.empty()
    held = {}
    for n, text in enumerate([*NUMBERS, *NUMBERS[:2]]):
        model = {0x00104000: Element("LT", [text]), 0x00189087: Element("FD", [n / 3])}
        held[n] = (n if same else 0, model)
    bench.do(bench.store.write([read(n, *one) for n, one in held.items()], []))
    for wanted in [text for text in NUMBERS if text not in ("nan", "")]:
        asked = [
            dicom_query.parse(f"{tag} {operator} {wanted}")
            for operator in OPERATORS
            for tag in ("00104000", "00189087")
        ]
        documents = {n: index_document(build(model)) for n, (_, model) in held.items()}
        for query in asked:
            matching = {n for n, document in documents.items() if dicom_query.evaluate_document(query, document)}
            assert matching == {n for n, (_, model) in held.items() if answer(query, model)}
            found = bench.do(bench.index.select(Visible.everything(), query=query, limit=1000))
            assert {int(one.sop_uid.removeprefix("1.3.")) for one in found} == matching, dicom_query.to_text(query)


OPERATORS = ("NbEquals", "NbNotEquals", "NbLess", "NbLessEquals", "NbGreater", "NbGreaterEquals")

COLUMNS = {
    "each its own": [[f"{n}.5"] for n in range(9)],
    "few": [[str(n % 3 * 4)] for n in range(9)],
    "some lack it": [[str(n)] if n % 3 else None for n in range(9)],
    # 1 and 9 meet "less than 2" and "greater than 8", and no one of them meets both.
    "several": [[str(n), str(9 - n)] for n in range(9)],
    "not only numbers": [["x"] if n == 4 else [str(n)] for n in range(9)],
    "no numbers": [[f"x{n}"] for n in range(9)],
}


@pytest.mark.parametrize("column", list(COLUMNS))
def test_two_conditions_on_one_tag_that_varies(bench, column):
    """They are looked at together, and mean what each of them means."""
    bench.empty()
    held = {n: (0, {0x00104000: Element("LO", text)} if text else {}) for n, text in enumerate(COLUMNS[column])}
    # A second block, all of one content: the least and greatest number of neither decide for the other.
    held |= {n: (1, {0x00104000: Element("LO", ["4"])}) for n in (20, 21)}
    bench.do(bench.store.write([read(n, *one) for n, one in held.items()], []))
    limits = itertools.cycle([(2, 8), (8, 2), (4, 4), (3, 5), (5, 3)])
    for (first, second), (one, other) in zip(itertools.product(OPERATORS, OPERATORS), limits, strict=False):
        query = dicom_query.parse(f"00104000 {first} {one} AND 00104000 {second} {other} AND 00104000 Exists")
        matching = {n for n, (_, model) in held.items() if answer(query, model)}
        assert bench.do(bench.index.count(query, Level.INSTANCE, Visible.everything())) == len(matching)


def test_frequent_contents_are_not_looked_for_block_by_block(sorted_bench, monkeypatch):
    bench, _ = sorted_bench
    bench.do(bench.connection.execute("ANALYZE pacs.block"))
    monkeypatch.setattr("rpacs_hub.index._compile._MOST_BLOCKS", 12)

    async def needs(text: str) -> str | None:
        async with bench.pool.connection() as connection, connection.transaction():
            await connection.execute("SET LOCAL search_path = pacs, public")
            usual = await UsualContents().read(connection)
            return (await compile_query(connection, dicom_query.parse(text), Visible.everything(), usual)).part.need

    # Of 40 blocks, 5 are of each series, and 15 of each of two dates.
    assert bench.do(needs("StudyDate StrEquals 20240101")) is None
    assert bench.do(needs("SeriesNumber NbEquals 3")) is not None
    query = dicom_query.parse("StudyDate StrEquals 20240101 AND SeriesNumber NbEquals 3")
    assert bench.do(bench.index.count(query, Level.INSTANCE, Visible.everything())) == 23


SORTS = (
    (),
    ("InstanceNumber",),
    ("StudyDate", "InstanceNumber"),
    ("SeriesNumber", "PatientID"),
    ("SliceThickness", "SOPInstanceUID"),
    ("ImageType", "StudyDate"),
    ("StudyDate",),
)


@pytest.fixture(scope="module")
def sorted_bench(new_base):
    """Eight series of 23 instances in blocks of 5: values that tie, lack, vary and are multi-valued."""
    with Looped() as looped, pytest.MonkeyPatch.context() as patch:
        patch.setattr("rpacs_hub.index._blocks.BLOCK_SIZE", 5)
        bench = Bench(looped, new_base())
        reads = []
        for n in range(8 * 23):
            series = n % 8
            model = {
                0x00080020: Element("DA", [["20240101", "20230101", ""][series % 3]]),
                0x00200013: Element("IS", [str(n * 7 % 23)]),
                0x00180050: Element("DS", [["1", "10", "2"][n % 3]] if n % 5 else []),
                0x00080008: Element("CS", ["ORIGINAL", "ABC"[n % 3]]),
            }
            if series % 2:
                model[0x00200011] = Element("IS", [str(series)])
            reads.append(read(n, series, model))
        for start in range(0, len(reads), 50):
            bench.do(bench.store.write(reads[start : start + 50], []))
        yield bench, reads
        bench.close()


def pages(bench: Bench, search: Search, visible: Visible) -> list[Page]:
    """Return all pages of a search."""
    found = [bench.do(bench.index.search(search, visible))]
    while found[-1].next:
        found.append(bench.do(bench.index.search(replace(search, cursor=found[-1].next), visible)))
    return found


@pytest.mark.parametrize("level", list(Level))
@pytest.mark.parametrize(
    "text", ["", "InstanceNumber NbGreater 2 AND NOT (SliceThickness NbEquals 10)", "SeriesNumber Exists"]
)
def test_pages_are_the_same_however_blocks_are_found(sorted_bench, monkeypatch, level, text):
    """Blocks by name, in the order of an index, or all of them sorted."""
    bench, _ = sorted_bench
    search = Search(dicom_query.parse(text) if text else None, level, limit=40 if level is Level.INSTANCE else 2)
    some = dicom_query.parse("StudyDate NotEmpty AND InstanceNumber NbLess 20")
    for visible in (Visible.everything(), Visible((some,))):
        monkeypatch.setattr("rpacs_hub.index._page.MOST_NAMED", 2000)
        by_name = pages(bench, search, visible)
        monkeypatch.setattr("rpacs_hub.index._page.MOST_NAMED", 0)
        in_order = pages(bench, search, visible)
        monkeypatch.setattr("rpacs_hub.index.search.walk_order", lambda _: None)
        assert by_name == in_order == pages(bench, search, visible)
        assert sum(len(page.rows) for page in by_name) == by_name[0].total > 0
        monkeypatch.undo()


@pytest.mark.parametrize("sort", SORTS)
@pytest.mark.parametrize("limit", [3, 50])
def test_pages_of_instances_follow_each_other(sorted_bench, sort, limit):
    bench, reads = sorted_bench
    query = dicom_query.parse("InstanceNumber NbGreater 2 AND NOT (SliceThickness NbEquals 10)")
    columns = (*sort, "SOPInstanceUID")
    keys = tuple(SortKey(column, n % 2 == 1) for n, column in enumerate(sort))
    rows, cursor = [], None
    while True:
        search = Search(query, Level.INSTANCE, tuple(dict.fromkeys(columns)), keys, limit, cursor)
        page = bench.do(bench.index.search(search, Visible.everything()))
        rows += page.rows
        cursor = page.next
        if cursor is None:
            break
    expected = {
        one.file.sop_uid
        for one in reads
        if dicom_query.evaluate_document(query, bench.do(bench.index.instances(one.file.sop_uid))[0].document)
    }
    assert page.total == len(rows) == len(expected)
    assert {row["SOPInstanceUID"] for row in rows} == expected

    def rank(row):
        ranks = []
        for key in keys:
            value = row[key.column]
            value = value[0].lower() if isinstance(value, list) else value
            absent = value in (None, "")
            number = 0 if absent or isinstance(value, str) else value
            text = value if isinstance(value, str) and not absent else ""
            ordered = (
                [-number, *(-ord(c) for c in text.ljust(9))] if key.descending else [number, *map(ord, text.ljust(9))]
            )
            ranks.append((absent, [] if absent else ordered))
        return ranks

    assert [rank(row) for row in rows] == sorted(rank(row) for row in rows)


HOSTILE = [
    "'; DROP TABLE pacs.value; --",
    "%s %(p1)s {} {0} $1 \\ %",
    "\"}]'::jsonb) OR TRUE --",
    "' || pg_sleep(10) || '",
    "(.*a){30}$",
]


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("varying", [False, True])
def test_values_stay_values(bench, text, varying):
    """Nothing that a query or a file says can become SQL, whether it is in the dictionary or inside a series."""
    bench.empty()
    held = {n: (0, {0x00104000: Element("LT", [text if n == 0 or not varying else f"other {n}"])}) for n in range(3)}
    bench.do(bench.store.write([read(n, *one) for n, one in held.items()], []))
    path = dicom_query.TagPath.parse("00104000")
    for pattern in (dicom_query.TextPattern.literal(text), dicom_query.TextPattern((text[:3], text[5:]))):
        query = dicom_query.Condition(path, dicom_query.Operator.STR_EQUALS, (pattern,))
        found = bench.do(bench.index.search(Search(query, Level.INSTANCE), Visible((query,))))
        assert found.total == (1 if varying else 3)
    assert bench.do(bench.index.count(None, Level.INSTANCE, Visible.everything())) == 3


LARGE = {
    "a thousand conditions": " OR ".join(f"PatientID StrEquals 'p{n}*' AND Rows NbGreater {n}" for n in range(500)),
    "a thousand elements": " OR ".join(
        f"0019{0x1000 + n:04X} Exists AND NOT (0019{0x1000 + n:04X} Empty)" for n in range(500)
    ),
    "a list of ten thousand": f"StudyInstanceUID StrIn ({', '.join(f'1.2.{n}' for n in range(10_000))})",
    "deep parentheses": "NOT (Rows Empty OR Rows Exists AND " * 49 + "NOT Modality StrEquals CT" + ")" * 49,
    "many wildcards": "StudyDescription StrEquals '" + "*a" * 99 + "'",
    "a huge number": "Rows NbLess " + "9" * 64 + "e999",
    "unknown tags": "00091001.00091002.00091003[999999999] StrEquals x OR 7FE10010 Exists",
}


@pytest.mark.parametrize("name", LARGE)
def test_absurd_queries_are_answered(bench, name):
    bench.empty()
    models_ = [
        {0x00280010: Element("US", [512 + n]), 0x00191007: Element("LO", ["x"]), 0x00100020: Element("LO", ["P499X"])}
        for n in range(6)
    ]
    held = {n: (n // 3, model) for n, model in enumerate(models_)}
    bench.do(bench.store.write([read(n, *one) for n, one in held.items()], []))
    query = dicom_query.parse(LARGE[name])
    expected = [
        n for n, (_, model) in held.items() if dicom_query.evaluate_document(query, index_document(build(model)))
    ]
    page = bench.do(bench.index.search(Search(query, Level.INSTANCE), Visible((query,))))
    assert page.total == len(expected)


def test_ten_thousand_conditions_are_refused():
    with pytest.raises(dicom_query.QueryError):
        dicom_query.parse(" OR ".join(f"PatientID StrEquals p{n}" for n in range(10_000)))


@pytest.mark.parametrize("tag", ["SOPInstanceUID", "00020003"])
def test_the_instances_own_uid_is_asked_like_any_element(bench, tag):
    """It is kept beside the instance, not among the contents; one that holds more than the UID is not."""
    bench.empty()
    reads, documents = [], {}
    for n in range(6):
        document = {"00080060": ["ct"], "00080018": [f"1.3.{n}"], "00020003": [f"1.3.{n}"]}
        if n == 4:
            document["00080018"], document["00020003"] = ["1.3.4", "1.3.0"], [""]
        if n == 5:
            del document["00080018"], document["00020003"]
        documents[n] = document
        file = IndexedFile("P", "", "1.0", "1.2.0", f"1.3.{n}", 1, contents_of(document, {}))
        reads.append(Read(StoredInstance(f"o{n}", next(_FILES)), file))
    bench.do(bench.store.write(reads[:2], []))
    bench.do(bench.store.write(reads[2:], []))
    for n, document in documents.items():
        assert dict(bench.do(bench.index.instances(f"1.3.{n}"))[0].document) == document
    tests = ["Exists", "NotExists", "Empty", "NotEmpty", "StrEquals 1.3.0", "StrEquals '1.*'", "StrNotEquals 1.3.2"]
    tests += ["StrIn (1.3.1, 1.3.4, 9)", "NbGreater 1", "StrEquals '*3.3'"]
    for path in (tag, f"{tag}[0]", f"{tag}[1]"):
        for text in (
            form.format(f"{path} {test}") for test in tests for form in ("{}", "NOT ({} AND Modality Exists)")
        ):
            query = dicom_query.parse(text)
            expected = {f"1.3.{n}" for n, one in documents.items() if dicom_query.evaluate_document(query, one)}
            found = bench.do(bench.index.select(Visible.everything(), query=query, limit=100))
            assert {one.sop_uid for one in found} == expected, text
