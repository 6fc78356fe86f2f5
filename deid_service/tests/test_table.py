"""Clinical tables: the same pseudonyms and the same date offsets as the images, row by row, or no table at all."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable
from datetime import date
from io import BytesIO
from pathlib import Path

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset, dcmread

from deid_service import Cleaned, Deidentifier, PseudonymKey, RulesError, default_rules_path, load_rules
from deid_service.cli import main
from deid_service.pipeline.schema import conninfo
from deid_service.tables import TableError, clean_table
from deid_service.tables.formats import from_dicom, to_dicom

TABLE = """
Table:
  Columns:
    mrn: PatientID
    issuer: IssuerOfPatientID
    name: PatientName
    birth: {Keyword: PatientBirthDate, Format: "%d.%m.%Y"}
    seen: {Keyword: StudyDate, Format: "%d.%m.%Y"}
    study: StudyInstanceUID
    acc: AccessionNumber
    sex: Keep
    note: Remove
"""
RULES = default_rules_path().read_text("utf-8") + TABLE
HEADER = ["mrn", "issuer", "name", "birth", "seen", "study", "acc", "sex", "note"]
ROW = [
    "PID-4711",
    "KLINIKUM",
    "Mustermann^Erika^^Dr.",
    "12.08.1964",
    "10.03.2024",
    "1.2.276.0.7230010.3.1.2.1002",
    "ACC778812",
    "F",
    "Erika called",
]


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    return tmp_path / "in.csv", tmp_path / "out.csv"


def write(path: Path, *rows: list[str], header: list[str] = HEADER, delimiter: str = ",") -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=delimiter).writerows([header, *rows])


def read(path: Path, delimiter: str = ",") -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter=delimiter))


@pytest.fixture
def table(files: tuple[Path, Path], key: PseudonymKey) -> Callable[..., list[dict[str, str]]]:
    """Returns a function: rows, rules -> the clean rows."""
    source, destination = files

    def run(*rows: list[str], rules: str = RULES, header: list[str] = HEADER) -> list[dict[str, str]]:
        write(source, *rows, header=header)
        clean_table(source, destination, Deidentifier(load_rules(rules), key))
        return read(destination)

    return run


def test_row_and_image_agree(
    table: Callable[..., list[dict[str, str]]],
    instance: Dataset,
    written: Callable[..., bytes],
    key: PseudonymKey,
) -> None:
    outcome = Deidentifier(load_rules(RULES), key).clean(written(instance))
    assert isinstance(outcome, Cleaned)
    image = dcmread(BytesIO(outcome.data))
    [row] = table(ROW)
    assert row["mrn"] == image.PatientID != "PID-4711"
    assert row["name"] == image.PatientName
    assert row["study"] == image.StudyInstanceUID
    assert row["acc"] == image.AccessionNumber
    assert row["birth"] == image.PatientBirthDate == ""
    for column, value in (("seen", image.StudyDate),):
        day, month, year = row[column].split(".")
        assert year + month + day == value
    assert row["issuer"] == ""
    assert row["sex"] == "F"
    assert "note" not in row


def test_row_and_image_agree_by_rules_of_ones_own(
    table: Callable[..., list[dict[str, str]]],
    instance: Dataset,
    written: Callable[..., bytes],
    key: PseudonymKey,
) -> None:
    rules = (
        "ScopeToForward: {Labels: ALL}\nTransformations:\n  - Scope: {Labels: ALL}\n"
        "    ShiftDateTime: [{TagPatterns: '*/{DA}', ShiftBy: 300, ReuseMapping: SamePatient}]\n"
        "    RandomizeUID: [{TagPatterns: '*/{UI}', PrefixUID: 1.2.3.4.}]\n"
        "    RandomizeText:\n"
        "      - {TagPatterns: [PatientID, PatientName], IgnoreCase: true, ReuseMapping: SamePatient}\n"
        "      - {TagPatterns: AccessionNumber, ReuseMapping: SameStudy}\n"
        "    DeleteTags: [{TagPatterns: '*/IssuerOf*', Action: Remove}]\n" + TABLE
    )
    outcome = Deidentifier(load_rules(rules), key).clean(written(instance))
    assert isinstance(outcome, Cleaned)
    image = dcmread(BytesIO(outcome.data))
    [row] = table(ROW, rules=rules)
    for column, keyword in {"mrn": "PatientID", "name": "PatientName", "acc": "AccessionNumber"}.items():
        assert row[column] == image[keyword].value != instance[keyword].value
    assert row["study"] == image.StudyInstanceUID
    assert row["study"].startswith("1.2.3.4.")
    for column, keyword in {"birth": "PatientBirthDate", "seen": "StudyDate"}.items():
        assert "".join(reversed(row[column].split("."))) == image[keyword].value != instance[keyword].value


def test_intervals_survive_and_patients_differ(table: Callable[..., list[dict[str, str]]]) -> None:
    later = [*ROW[:4], "20.03.2024", *ROW[5:]]
    other = ["PID-4712", *ROW[1:]]
    rows = table(ROW, later, other)
    days = [date(*map(int, reversed(row["seen"].split(".")))) for row in rows]
    assert (days[1] - days[0]).days == 10
    assert days[0] != date(2024, 3, 10)
    assert rows[0]["mrn"] == rows[1]["mrn"] != rows[2]["mrn"]


def test_a_constant_stands_for_a_column(
    table: Callable[..., list[dict[str, str]]], instance: Dataset, written: Callable[..., bytes], key: PseudonymKey
) -> None:
    rules = default_rules_path().read_text("utf-8") + (
        "\nTable: {Columns: {mrn: PatientID, seen: StudyDate}, Constants: {IssuerOfPatientID: KLINIKUM},"
        " Others: Remove}\n"
    )
    outcome = Deidentifier(load_rules(rules), key).clean(written(instance))
    assert isinstance(outcome, Cleaned)
    image = dcmread(BytesIO(outcome.data))
    [row] = table(["PID-4711", "2024-03-10", "x"], rules=rules, header=["mrn", "seen", "extra"])
    assert row == {
        "mrn": image.PatientID,
        "seen": f"{image.StudyDate[:4]}-{image.StudyDate[4:6]}-{image.StudyDate[6:]}",
    }


def test_labels_and_scopes_hold_for_rows(files: tuple[Path, Path], key: PseudonymKey) -> None:
    rules = (
        "Labels: [{Name: Men, DICOMQueryFilter: PatientSex StrEquals M}]\n"
        "ScopeToForward: {Labels: ALL, ExceptLabels: Men}\n"
        "Transformations: [{Scope: {Labels: ALL}, RandomizeUID: [{TagPatterns: '*/{UI}'}],"
        " RandomizeText: [{TagPatterns: PatientID, ReuseMapping: Always}]}]\n"
        "Table: {Columns: {mrn: PatientID, sex: PatientSex}}\n"
    )
    write(files[0], ["1234", "M"], ["5678", "F"], header=["mrn", "sex"])
    report = clean_table(*files, Deidentifier(load_rules(rules), key))
    assert (report.rows, report.written, report.discarded) == (2, 1, 1)
    assert report.columns == {"mrn": "PatientID", "sex": "PatientSex"}
    assert report.changed == {"mrn": 1, "sex": 0}
    assert [row["sex"] for row in read(files[1])] == ["F"]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ([*ROW[:4], "2024-03-10", *ROW[5:]], "line 3 column 5 is not written"),
        ([*ROW[:4], "31.02.2024", *ROW[5:]], "line 3 column 5 is not written"),
        (ROW[:5], "line 3 has 5 cells, the header 9"),
        (["", *ROW[1:5], "", *ROW[6:]], "line 3 has a"),
        ([*ROW[:7], "Mustermann", ROW[8]], "line 3 repeats the value of column 3"),
        ([*ROW[:7], "born 12.08.1964", ROW[8]], "line 3 repeats the value of column 4"),
    ],
)
def test_a_bad_row_is_told_by_its_line_without_values_and_nothing_is_written(
    row: list[str], said: str, table: Callable[..., list[dict[str, str]]], files: tuple[Path, Path]
) -> None:
    with pytest.raises(TableError) as error:
        table(ROW, row, ROW)
    assert said in str(error.value)
    for value in ("4711", "Mustermann", "1964", "2024", "KLINIKUM", "778812"):
        assert value not in str(error.value)
    assert not files[1].exists()
    assert [path.name for path in files[0].parent.iterdir()] == ["in.csv"]


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ([*HEADER, "street"], 'what column "street" is'),
        ([*HEADER[:-1], "nots"], 'did you mean "note"'),
        (HEADER[:-1], 'no column "note"'),
        ([*HEADER[:-1], "mrn"], "names a column twice"),
        (ROW, "is the header missing"),
    ],
)
def test_columns_must_be_those_of_the_rules(
    header: list[str], said: str, table: Callable[..., list[dict[str, str]]], files: tuple[Path, Path]
) -> None:
    with pytest.raises(TableError) as error:
        table(header=header)
    assert said in str(error.value)
    assert "4711" not in str(error.value)
    assert not files[1].exists()


def test_a_file_that_is_no_table_is_told(files: tuple[Path, Path], key: PseudonymKey) -> None:
    deidentifier = Deidentifier(load_rules(RULES), key)
    for data, said in (
        (b"", "empty"),
        (b"mrn,name\n\xff\xfe,x\n", "not UTF-8"),
        (",".join(HEADER).encode() + b'\n"open,1\n', "line 2 is not valid CSV"),
    ):
        files[0].write_bytes(data)
        with pytest.raises(TableError, match=said):
            clean_table(*files, deidentifier)
    with pytest.raises(TableError, match="cannot be read"):
        clean_table(files[0].with_name("missing"), files[1], deidentifier)
    with pytest.raises(TableError, match="no section Table"):
        clean_table(*files, Deidentifier(load_rules(default_rules_path()), key))
    assert not files[1].exists()


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ("{}", 'lacks "Columns"'),
        ("{Columns: {a: PatientId}}", 'did you mean "PatientID"'),
        ("{Columns: {a: PatientID, b: PatientID}}", "two columns are the same element"),
        ("{Columns: {a: PixelData}}", "not an element that a column can hold"),
        ("{Columns: {a: {Keyword: StudyDate, Format: '%d.%m.%y'}}}", "use %Y"),
        ("{Columns: {a: {Keyword: StudyDate, Format: '%Y'}}}", "year, month and day"),
        ("{Columns: {a: {Keyword: StudyDate, Format: '%Y%m%d %H'}}}", "cannot have %H"),
        ("{Columns: {a: {Keyword: PatientID, Format: '%Y%m%d'}}}", "Format is for dates"),
        ("{Columns: {a: {Keyword: StudyTime, Format: '%M'}}}", "name the hour"),
        ("{Columns: {a: {Keyword: StudyTime, Format: '%I:%M'}}}", "both %I and %p"),
        ("{Columns: {a: {Keywords: StudyTime}}}", 'did you mean "Keyword"'),
        ("{Columns: {a: Keep}, Others: Keep}", "Others cannot be"),
        ("{Columns: {a: Keep}, Delimiter: ab}", "one character"),
        ("{Columns: {a: PatientID}, Constants: {PatientID: x}}", "a constant and a column"),
    ],
)
def test_the_section_is_part_of_the_closed_schema(section: str, said: str) -> None:
    with pytest.raises(RulesError) as error:
        load_rules(default_rules_path().read_text("utf-8") + f"\nTable: {section}\n")
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("text", "vr", "form", "value"),
    [
        ("10.03.2024", "DA", "%d.%m.%Y", "20240310"),
        ("2024-03-10", "DA", None, "20240310"),
        ("20240310", "DA", None, "20240310"),
        ("20240231", "DA", None, None),
        ("10:15", "TM", None, "1015"),
        ("10:15:30.25", "TM", None, "101530.25"),
        ("03:15 PM", "TM", "%I:%M %p", "151500"),
        ("2024-03-10T10:15:30Z", "DT", None, "20240310101530+0000"),
        ("2024-03-10 10:15", "DT", None, "202403101015"),
        ("10.03.2024 10:15 +0100", "DT", "%d.%m.%Y %H:%M %z", "20240310101500+0100"),
        ("yesterday", "DT", None, None),
        ("59", "AS", None, "059Y"),
        ("059Y", "AS", None, "059Y"),
    ],
)
def test_dates_times_and_ages_are_read_and_written_back(
    text: str, vr: str, form: str | None, value: str | None
) -> None:
    assert to_dicom(text, vr, form) == value
    if value is not None:
        assert from_dicom(value, vr, form, text) == text


@given(st.dates(min_value=date(100, 1, 1)))
def test_every_date_goes_there_and_back(day: date) -> None:
    text = f"{day.day:02}/{day.month:02}/{day.year:04}"
    value = to_dicom(text, "DA", "%d/%m/%Y")
    assert value == f"{day.year:04}{day.month:02}{day.day:02}"
    assert from_dicom(value, "DA", "%d/%m/%Y", text) == text
    assert from_dicom(value, "DA", None, day.isoformat()) == day.isoformat()


def test_the_command(tmp_path: Path, files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    source, destination = files
    PseudonymKey.generate(tmp_path / "key")
    (tmp_path / "rules.yaml").write_text(RULES.replace("Table:", "Table:\n  Delimiter: ';'"), "utf-8")
    write(source, *([ROW] * 250), delimiter=";")
    options = ["--rules", str(tmp_path / "rules.yaml"), "--key-file", str(tmp_path / "key")]
    report = tmp_path / "report.json"
    assert main(["table", str(source), str(destination), *options, "--report", str(report)]) == 0
    assert destination.stat().st_mode & 0o777 == 0o600
    assert report.stat().st_mode & 0o777 == 0o600
    rows = read(destination, ";")
    assert len(rows) == 250
    assert len({tuple(row.values()) for row in rows}) == 1
    told = json.loads(report.read_text())
    assert told["changed"]["mrn"] == 250
    assert told.pop("rules_sha256") == load_rules(tmp_path / "rules.yaml").digest
    said = capsys.readouterr()
    assert "250 rows: 250 written, 0 discarded" in said.err
    assert "4711" not in said.err + said.out + str(told)  # a digest may hold any four digits
    assert main(["table", str(source), str(source), *options]) == 2
    write(source, ["only one"], delimiter=";")
    assert main(["table", str(source), str(destination), *options]) == 1
    assert "line 2 has 1 cells" in capsys.readouterr().err
    assert len(read(destination, ";")) == 250


def test_pseudonyms_of_a_table_can_be_journalled(
    postgres, tmp_path: Path, files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    PseudonymKey.generate(tmp_path / "key")
    (tmp_path / "rules.yaml").write_text(RULES, "utf-8")
    monkeypatch.setenv("RPACS_DATABASE_URL", postgres.create_database())
    write(files[0], ["PID-1", *ROW[1:5], "", *ROW[6:]], ["PID-2", *ROW[1:]])
    command = ["table", *map(str, files), "--rules", str(tmp_path / "rules.yaml"), "--key-file", str(tmp_path / "key")]
    assert main([*command, "--journal"]) == 0
    with psycopg.connect(conninfo(os.environ["RPACS_DATABASE_URL"])) as connection:
        rows = connection.execute("SELECT kind, original, replacement FROM journal").fetchall()
    clean = read(files[1])
    assert {row[1:] for row in rows if row[0] == "patient_id"} == {
        ("PID-1", clean[0]["mrn"]),
        ("PID-2", clean[1]["mrn"]),
    }
    # UIDs that a row was lent do not belong there.
    assert {row[1:] for row in rows if row[0] == "uid"} == {(ROW[5], clean[1]["study"])}
    monkeypatch.setenv("RPACS_DATABASE_URL", "postgresql://nobody:hidden@127.0.0.1:1/rpacs")
    assert main([*command, "--journal"]) == 2
