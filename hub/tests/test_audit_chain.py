"""The chain of audit lines: what was changed, removed, added or moved is found; writers and crashes leave it whole."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import psycopg
import psycopg_pool
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpacs_hub.audit import AuditEvent, AuditWriter, Head, verify_audit
from rpacs_hub.audit.chain import BEGINNING, link, read_link
from rpacs_hub.audit.verify import verify_lines
from rpacs_hub.cli import main
from rpacs_hub.errors import AuditUnavailable

texts = st.text(max_size=30).filter(lambda text: "\0" not in text and not any(0xD800 <= ord(c) < 0xE000 for c in text))


def chain(number: int, text: str = "x") -> list[str]:
    head, lines = BEGINNING, []
    for n in range(number):
        one = link(head, {"user": f"{text}{n}"})
        lines.append(one.line)
        head = one.head
    return lines


@given(st.dictionaries(texts, st.one_of(st.none(), st.integers(), texts, st.lists(texts)), max_size=5))
def test_a_line_is_read_as_it_was_made(event):
    event = {f"k{name}": value for name, value in event.items()}
    made = link(Head(41, "ab" * 32), event)
    assert read_link(made.line) == made
    content = json.loads(made.line)
    assert (content.pop("seq"), content.pop("previous"), content.pop("hash")) == (42, "ab" * 32, made.hash)
    assert content == event


@given(st.integers(2, 12), st.data())
def test_whatever_is_done_to_a_line_is_found(number, data):
    lines = chain(number)
    at = data.draw(st.integers(0, number - 1))
    deed = data.draw(st.sampled_from(["edit", "remove", "swap", "repeat", "forge"]))
    if deed == "edit":
        place = data.draw(st.integers(0, len(lines[at]) - 1))
        changed = lines[at][:place] + data.draw(st.sampled_from("aZ7 \\")) + lines[at][place + 1 :]
        if changed == lines[at]:
            return
        lines[at] = changed
    elif deed == "remove":
        if at == number - 1:
            return  # the end of a chain shows only beside the other place, see below
        del lines[at]
    elif deed == "swap":
        other = data.draw(st.integers(0, number - 1).filter(lambda n: n != at))
        lines[at], lines[other] = lines[other], lines[at]
    elif deed == "repeat":
        lines.insert(at, lines[at])
    else:  # a line of its own digest, in place of another
        found = read_link(lines[at])
        assert found is not None
        lines[at] = link(Head(found.seq - 1, found.previous), {"user": "somebody else"}).line
        if at == number - 1:
            return
    assert not verify_lines("file", lines, complete=True).whole


def test_a_whole_chain_has_no_findings_wherever_a_file_begins():
    lines = chain(9)
    assert verify_lines("table", lines, complete=True).findings == []
    later = verify_lines("file", lines[4:])
    assert (later.findings, later.first, later.lines, later.head.seq) == ([], 5, 5, 9)
    assert [f.text for f in verify_lines("table", lines[4:], complete=True).findings] == [
        "follows line 0: 1 to 4 missing"
    ]


def test_the_words_say_what_happened_where():
    lines = chain(6)
    lines[2] = lines[2].replace('"x2"', '"y2"')
    del lines[4]
    assert [str(finding) for finding in verify_lines("file", lines, complete=True).findings] == [
        "file: line 3: was changed: it does not fit its own digest",
        "file: line 6: follows line 4: 5 missing",
    ]


async def _with_writers(url: str, paths: list[Path], work: Any) -> None:
    async with psycopg_pool.AsyncConnectionPool(
        url, min_size=1, max_size=4, open=False, timeout=30, kwargs={"autocommit": True}
    ) as pool:
        writers = [AuditWriter(pool, path) for path in paths]
        try:
            await work(writers)
        finally:
            for writer in writers:
                writer.close()


def seen(base: Any, *files: Path, noted: Head | None = None) -> list[str]:
    with psycopg.connect(base.gateway, autocommit=True) as connection:
        return [str(finding) for finding in verify_audit(connection, files, noted=noted).findings]


def alter(base: Any, statement: str) -> None:
    """Change the table as only the database's administrator can."""
    with psycopg.connect(base.admin_url, autocommit=True) as connection:
        connection.execute(statement.encode())


def test_two_gateways_write_one_chain(base, tmp_path):
    files = [tmp_path / "one.jsonl", tmp_path / "two.jsonl"]

    async def work(writers: list[AuditWriter]) -> None:
        events = [AuditEvent(f"request{n:03}", user=f"u{n}", why=["line\0 with a NUL"]) for n in range(100)]
        await asyncio.gather(*(writers[n % 2].write(event) for n, event in enumerate(events)))

    asyncio.run(_with_writers(base.gateway, files, work))
    with psycopg.connect(base.gateway, autocommit=True) as connection:
        result = verify_audit(connection, files[:1])
        people = connection.execute('SELECT "user" FROM audit.event').fetchall()
    assert (result.lines, result.head.seq) == (100, 100)
    assert sorted(people) == sorted((f"u{n}",) for n in range(100))
    assert not [finding for finding in result.findings if finding.place == "table"]


@pytest.fixture
def written(base, tmp_path):
    """Ten lines in the table and in the file."""
    file = tmp_path / "audit.jsonl"

    async def work(writers: list[AuditWriter]) -> None:
        for n in range(10):
            await writers[0].write(AuditEvent(f"request{n}", user=f"u{n}"))

    asyncio.run(_with_writers(base.gateway, [file], work))
    assert seen(base, file) == []
    return base, file


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("DELETE FROM audit.event WHERE seq = 4", "table: line 5: follows line 3: 4 missing"),
        ("DELETE FROM audit.event WHERE seq = 10", "table: line 10: is missing: the file has it"),
        (
            "UPDATE audit.event SET line = replace(line, 'u6', 'u7') WHERE seq = 7",
            "table: line 7: was changed: it does not fit its own digest",
        ),
        ("UPDATE audit.event SET time = time - interval '1 day' WHERE seq = 7", "table: row 7 is no audit line"),
        ("UPDATE audit.event SET seq = 99 WHERE seq = 2", "table: row 10 is no audit line"),
    ],
)
def test_what_an_administrator_does_to_the_table_is_found(written, statement, expected):
    base, file = written
    alter(base, statement)
    assert any(text.startswith(expected) for text in seen(base, file))


def test_what_is_done_to_the_file_is_found(written):
    base, file = written
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join([*lines[:5], lines[6], lines[5], *lines[7:]]))
    assert any("moved" in text for text in seen(base, file))
    file.write_text("".join(lines[:7]))
    assert seen(base, file) == ["file: ends with line 7, the table with line 10 or later"]


def test_a_rewritten_chain_is_found_beside_the_file_or_a_note(written):
    base, file = written
    noted = read_link(file.read_text().splitlines()[-1])
    assert noted is not None
    head, lines = BEGINNING, []
    with psycopg.connect(base.gateway) as connection:
        for (text,) in connection.execute("SELECT line FROM audit.event ORDER BY seq"):
            event = json.loads(text)
            event["user"] = event["user"].replace("u3", "mallory")
            for name in ("seq", "previous", "hash"):
                del event[name]
            one = link(head, event)
            head = one.head
            lines.append((one.line, one.seq))
    with psycopg.connect(base.admin_url, autocommit=True) as connection:
        connection.cursor().executemany("UPDATE audit.event SET line = %s WHERE seq = %s", lines)
    assert seen(base) == []  # by itself it is whole again
    assert seen(base, noted=noted.head) == ["table: line 10: is another line than was noted"]
    assert "table: line 4: is another line than in the file" in seen(base, file)


def test_after_a_full_disk_the_file_gets_what_it_missed(base, tmp_path):
    file = tmp_path / "audit.jsonl"

    async def work(writers: list[AuditWriter]) -> None:
        writer = writers[0]
        await writer.write(AuditEvent("request1"))
        file.rename(tmp_path / "audit.1")
        file.symlink_to("/dev/full")
        for n in (2, 3):
            with pytest.raises(AuditUnavailable, match=r"access log \(file\)"):
                await writer.write(AuditEvent(f"request{n}"))
        file.unlink()
        await writer.write(AuditEvent("request4"))

    asyncio.run(_with_writers(base.gateway, [file], work))
    assert [json.loads(line)["request_id"] for line in file.read_text().splitlines()] == [
        "request2",
        "request3",
        "request4",
    ]
    assert seen(base, file, tmp_path / "audit.1") == []


def test_a_line_torn_by_a_crash_is_written_again(written):
    base, file = written
    whole = file.read_bytes()
    file.write_bytes(whole[:-40])

    async def work(writers: list[AuditWriter]) -> None:
        await writers[0].write(AuditEvent("request10"))

    asyncio.run(_with_writers(base.gateway, [file], work))
    assert file.read_bytes().startswith(whole)
    assert seen(base, file) == []


def test_the_commands(written, monkeypatch, capsys):
    base, file = written
    monkeypatch.setenv("RPACS_DATABASE_URL", base.gateway)
    monkeypatch.setenv("RPACS_AUDIT_LOG", str(file))
    assert main(["audit", "verify"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("the table and the file: 10 lines, all in their place. The last one: 10:")
    noted = said.split()[-1]
    assert main(["audit", "verify", "--noted", noted]) == 0
    assert main(["audit", "verify", "--no-database"]) == 0
    capsys.readouterr()
    assert main(["audit", "search", "--user", "u3"]) == 0
    heading, row = capsys.readouterr().out.splitlines()
    assert heading.split(",")[:4] == ["seq", "time", "user", "groups"]
    assert row.split(",")[0::2][:2] == ["4", "u3"]
    assert main(["audit", "search", "--json", "--limit", "2"]) == 0
    out, err = capsys.readouterr()
    assert [json.loads(line)["user"] for line in out.splitlines()] == ["u9", "u8"]
    assert "newest 2" in err
    assert main(["audit", "search", "--since", "2100-01-01"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1
    alter(base, "DELETE FROM audit.event WHERE seq = 3")
    assert main(["audit", "verify"]) == 1
    assert "table: line 4: follows line 2: 3 missing" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["audit", "verify", "--noted", "3"])
    monkeypatch.delenv("RPACS_DATABASE_URL")
    assert main(["audit", "search"]) == 1
    assert "RPACS_DATABASE_URL is not set" in capsys.readouterr().err
    assert main(["audit", "verify", "--no-database", str(file.parent / "gone.jsonl")]) == 1
    assert "cannot be read" in capsys.readouterr().err
