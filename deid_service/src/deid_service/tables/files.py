"""A whole CSV file: row by row, so that its size does not matter, and whole or not at all."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from pydicom.datadict import keyword_for_tag

from deid_service._output import private_text
from deid_service.engine import Deidentifier
from deid_service.errors import DeidError
from deid_service.outcomes import Mapping
from deid_service.rules.schema import nearest_word
from deid_service.rules.table import Column, Table
from deid_service.tables.rows import BadRowError, RowCleaner

if TYPE_CHECKING:
    from _csv import Reader

__all__ = ["TableError", "TableReport", "clean_table"]

_MOST_PROBLEMS = 20
_JOURNAL_BATCH = 5_000


class TableError(DeidError):
    """A table that is not written, with every reason. No message holds a value.

    Parameters
    ----------
    problems : sequence of str
        What is wrong, each with its line.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = list(problems)
        super().__init__(*problems)

    def __str__(self) -> str:
        return "\n".join(["the table is not written:", *(f"  {problem}" for problem in self.problems)])


@dataclass(slots=True)
class TableReport:
    """What became of a table, without values.

    Attributes
    ----------
    rules_sha256 : str
        Digest of the rules.
    rows, written, discarded : int
        Rows read; rows in the result; rows outside of ``ScopeToForward``.
    columns : dict of str to str
        What became of each column: its keyword, ``kept`` or ``removed``.
    changed : dict of str to int
        For each column with a keyword: cells that differ from the original's.
    """

    rules_sha256: str
    rows: int = 0
    written: int = 0
    discarded: int = 0
    columns: dict[str, str] = field(default_factory=dict)
    changed: dict[str, int] = field(default_factory=dict)


def clean_table(
    source: Path,
    destination: Path,
    deidentifier: Deidentifier,
    progress: Callable[[int], None] = lambda _: None,
    journal: Callable[[Sequence[Mapping]], None] | None = None,
) -> TableReport:
    """Clean a CSV file by the rules' section ``Table``.

    Parameters
    ----------
    source : Path
        UTF-8, with a header.
    destination : Path
        Where to; written whole or not at all, with mode 0600.
    deidentifier : Deidentifier
        Rules and key.
    progress : callable, optional
        Is told the number of rows done, row by row.
    journal : callable, optional
        Writes pseudonyms for the honest broker, before the table is there.

    Returns
    -------
    TableReport

    Raises
    ------
    TableError
        If the rules have no such section, the columns are not those of the rules, or any row cannot be cleaned.
    OutputError
        If the result cannot be written.
    """
    table = deidentifier.rules.table
    if table is None:
        raise TableError(["the rules file has no section Table, which says what the columns are"])
    try:
        with source.open(encoding="utf-8-sig", newline="") as file, private_text(destination) as out:
            reader = csv.reader(file, delimiter=table.delimiter, strict=True)
            return _clean(reader, table, deidentifier, out, progress, journal)
    except OSError as error:
        raise TableError([f"{source} cannot be read: {error.strerror}"]) from None


def _clean(
    reader: Reader,
    table: Table,
    deidentifier: Deidentifier,
    out: TextIO,
    progress: Callable[[int], None],
    journal: Callable[[Sequence[Mapping]], None] | None,
) -> TableReport:
    rows = _rows(reader)
    _, header = next(rows, (1, []))
    columns = _columns(header, table)
    cleaner = RowCleaner(deidentifier, columns, table.constants)
    report = TableReport(deidentifier.rules.digest)
    for name, column in zip(header, columns, strict=True):
        report.columns[name] = "kept" if column.keep else "removed" if column.tag is None else _keyword(column)
    names = [header[index] for index in cleaner.written]
    report.changed = {name: 0 for name in names if report.columns[name] != "kept"}
    writer = csv.writer(out, delimiter=table.delimiter, lineterminator="\n")
    writer.writerow(names)
    problems: list[str] = []
    for line, cells in rows:
        report.rows += 1
        try:
            result = cleaner.clean(cells, report.rows)
        except BadRowError as error:
            problems.append(f"line {line} {error}")
            if len(problems) == _MOST_PROBLEMS:
                raise TableError([*problems, "and maybe more"]) from None
            continue
        progress(report.rows)
        if len(cleaner.mappings) >= _JOURNAL_BATCH:
            _write_journal(cleaner, journal)
        if result is None:
            report.discarded += 1
            continue
        report.written += 1
        for name, index, new in zip(names, cleaner.written, result, strict=True):
            if name in report.changed and new != cells[index]:
                report.changed[name] += 1
        writer.writerow(result)
    if problems:
        raise TableError(problems)
    _write_journal(cleaner, journal)
    return report


def _write_journal(cleaner: RowCleaner, journal: Callable[[Sequence[Mapping]], None] | None) -> None:
    if journal is not None and cleaner.mappings:
        journal(cleaner.mappings)
    cleaner.mappings.clear()


def _rows(reader: Reader) -> Iterator[tuple[int, list[str]]]:
    """Yield each row with the line on which it begins; empty lines are no rows."""
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except (csv.Error, UnicodeDecodeError) as error:
            what = "is not UTF-8 text" if isinstance(error, UnicodeDecodeError) else "is not valid CSV"
            raise TableError([f"line {line} {what}"]) from None
        if cells:
            yield line, cells


def _columns(header: list[str], table: Table) -> list[Column]:
    """Say what each column is.

    Without a single known name the first line is no header but a row: its cells are not quoted then.
    """
    if not header:
        raise TableError(["the file is empty"])
    known = [name for name in header if name in table.columns]
    if not known:
        raise TableError(
            ["the first line names no column of the rules: is the header missing, or another Delimiter used?"]
        )
    problems = []
    if len(set(header)) < len(header):
        problems.append("the header names a column twice")
    problems += [f'there is no column "{name}"' for name in table.columns if name not in header]
    columns = []
    for name in header:
        column = table.columns.get(name)
        if column is None and not table.remove_others:
            hint = nearest_word(name, table.columns)
            problems.append(f'the rules do not say what column "{name}" is ({hint}); list it, or write Others: Remove')
        columns.append(column or Column())
    if problems:
        raise TableError(problems)
    return columns


def _keyword(column: Column) -> str:
    assert column.tag is not None
    return keyword_for_tag(column.tag)
