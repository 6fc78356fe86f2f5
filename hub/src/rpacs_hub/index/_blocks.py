"""Blocks of the tables `rpacs_hub.index.schema` describes: read into drafts, changed, written back."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg.rows import TupleRow

from rpacs_hub.index._dictionary import Dictionary, PathSet
from rpacs_hub.index._draft import Draft, Numbers, Subject, is_coded, joined, numbers_of, split
from rpacs_hub.index.schema import BLOCK_SIZE

__all__ = ["Arrival", "Blocks", "read_drafts"]

Connection = psycopg.AsyncConnection[TupleRow]

_BLOCK = (
    "block_pk, series_pk, study_pk, patient_pk, pathset_id, n, series_number, modality, patient_id, study_date, "
    "study_uid, series_uid, vals"
)


@dataclass(frozen=True)
class Arrival:
    """An instance that comes in.

    Attributes
    ----------
    key
        Numbers of its patient, study and series.
    subject, contents
        What it holds.
    orthanc_id, file_uuid
        Packed, see `rpacs_hub.index._identity`.
    """

    key: tuple[int, int, int]
    subject: Subject
    contents: Mapping[str, str] = field(repr=False)
    orthanc_id: bytes
    file_uuid: bytes
    sop_uid: str
    bytes: int


@dataclass
class _Block:
    """A block in the making."""

    key: tuple[int, int, int]
    subject: Subject
    draft: Draft
    block_pk: int | None = None
    arrivals: list[tuple[int, Arrival]] = field(default_factory=list)

    def add(self, arrival: Arrival) -> None:
        self.draft.append(arrival.contents)
        self.arrivals.append((self.draft.n, arrival))


class Blocks:
    """Changes blocks inside the caller's transaction, which has locked their series.

    Parameters
    ----------
    connection
        The connection.
    dictionary
        Of the same connection.
    """

    def __init__(self, connection: Connection, dictionary: Dictionary):
        self._connection = connection
        self._dictionary = dictionary

    async def change(self, leaving: Sequence[tuple[int, int]], arrivals: Sequence[Arrival]) -> None:
        """Take instances out and put others in.

        Parameters
        ----------
        leaving
            Block and place of those that go.
        arrivals
            Those that come.
        """
        places: dict[int, set[int]] = defaultdict(set)
        for block_pk, place in leaving:
            places[block_pk].add(place)
        blocks = await self._load(places, {arrival.key[2] for arrival in arrivals})
        for block_pk, gone in places.items():
            await self._take_out(block_pk, gone)
            blocks[block_pk].draft.remove(gone)
        changed = {id(blocks[block_pk]): blocks[block_pk] for block_pk in places}
        room: dict[tuple[int, Subject], list[_Block]] = defaultdict(list)
        for block in blocks.values():
            room[block.key[2], block.subject].append(block)
        for arrival in sorted(arrivals, key=_in_order):
            candidates = room[arrival.key[2], arrival.subject]
            while candidates and candidates[-1].draft.n >= BLOCK_SIZE:
                candidates.pop()
            if not candidates:
                candidates.append(_Block(arrival.key, arrival.subject, Draft()))
            candidates[-1].add(arrival)
            changed[id(candidates[-1])] = candidates[-1]
        await self._save(list(changed.values()))

    async def _load(self, places: Mapping[int, Collection[int]], series: Collection[int]) -> dict[int, _Block]:
        """Return the blocks that instances leave, and those of the series that have room."""
        cursor = await self._connection.execute(
            f"SELECT {_BLOCK} FROM pacs.block WHERE block_pk = ANY(%s) OR (series_pk = ANY(%s) AND n < %s)".encode(),  # noqa: S608 - names are ours
            (list(places), list(series), BLOCK_SIZE),
        )
        rows = {row[0]: row for row in await cursor.fetchall()}
        # What is to be replaced as a whole need not be read.
        emptied = {block_pk for block_pk, gone in places.items() if rows[block_pk][5] == len(gone)}
        drafts, sop = await read_drafts(self._connection, self._dictionary, rows, emptied)
        return {
            block_pk: _Block(
                (row[3], row[2], row[1]), Subject._make([*row[6:12], sop[block_pk]]), drafts[block_pk], block_pk
            )
            for block_pk, row in rows.items()
        }

    async def _take_out(self, block_pk: int, gone: Collection[int]) -> None:
        await self._connection.execute(
            "DELETE FROM pacs.instance WHERE block_pk = %s AND ord = ANY(%s)", (block_pk, list(gone))
        )
        await self._connection.execute(
            "UPDATE pacs.instance SET ord = ord - (SELECT count(*) FROM unnest(%s::int[]) g WHERE g < ord) "
            "WHERE block_pk = %s AND ord > %s",
            (sorted(gone), block_pk, min(gone)),
        )

    async def _save(self, blocks: list[_Block]) -> None:
        old = [block.block_pk for block in blocks if block.block_pk is not None]
        if old:
            await self._connection.execute("DELETE FROM pacs.vary WHERE block_pk = ANY(%s)", (old,))
            empty = [block.block_pk for block in blocks if not block.draft.n and block.block_pk is not None]
            if empty:
                await self._connection.execute("DELETE FROM pacs.block WHERE block_pk = ANY(%s)", (empty,))
        blocks = [block for block in blocks if block.draft.n]
        if not blocks:
            return
        for block in blocks:
            block.draft.settle()
        dictionary = self._dictionary
        names = {path for block in blocks for path in block.draft.columns}
        path_ids = await dictionary.path_ids(names | {name for block in blocks for name in block.subject.sop})
        coded: dict[int, dict[str, list[str | None]]] = {}
        wanted: set[tuple[int, str]] = set()
        for number, block in enumerate(blocks):
            wanted.update((path_ids[path], content) for path, content in block.draft.constants().items())
            coded[number] = {path: column for path, column in block.draft.varying().items() if is_coded(column)}
            for path, column in coded[number].items():
                wanted.update((path_ids[path], content) for content in set(column) if content is not None)
        value_ids = await dictionary.value_ids(wanted)
        sets = [_pathset(block, path_ids) for block in blocks]
        set_ids = await dictionary.pathset_ids(set(sets))
        await self._number([block for block in blocks if block.block_pk is None])
        rows: list[tuple[_Block, int, list[int]]] = []
        vary: list[tuple[object, ...]] = []
        for number, (block, pathset) in enumerate(zip(blocks, sets, strict=True)):
            constants = {path_ids[path]: content for path, content in block.draft.constants().items()}
            vals = [*(value_ids[path, constants[path]] for path in pathset.paths), *(-p for p in pathset.varying)]
            rows.append((block, set_ids[pathset.digest()], vals))
            for path, column in block.draft.varying().items():
                path_id, numbers = path_ids[path], numbers_of(path, column)
                extent = _extent(numbers)
                if path in coded[number]:
                    ids = [value_ids[path_id, content] if content is not None else 0 for content in column]
                    vary.append((block.block_pk, path_id, False, _array(ids), None, None, None, *extent))
                else:
                    vary.append(
                        (
                            block.block_pk,
                            path_id,
                            numbers is None or numbers.several,
                            None,
                            _array(numbers.nums) if numbers else None,
                            _array(numbers.ords) if numbers and numbers.ords is not None else None,
                            joined(column),
                            *extent,
                        )
                    )
        await self._write_rows(rows, vary, set(old))

    async def _number(self, blocks: list[_Block]) -> None:
        if blocks:
            cursor = await self._connection.execute(
                "SELECT nextval(pg_get_serial_sequence('pacs.block', 'block_pk')) FROM generate_series(1, %s)",
                (len(blocks),),
            )
            for block, (block_pk,) in zip(blocks, await cursor.fetchall(), strict=True):
                block.block_pk = block_pk

    async def _write_rows(
        self, rows: list[tuple[_Block, int, list[int]]], vary: list[tuple[object, ...]], old: set[int]
    ) -> None:
        async with self._connection.cursor() as cursor:
            kept = [(pathset_id, b.draft.n, vals, b.block_pk) for b, pathset_id, vals in rows if b.block_pk in old]
            if kept:
                await cursor.executemany(
                    "UPDATE pacs.block SET pathset_id = %s, n = %s, vals = %s WHERE block_pk = %s", kept
                )
            async with cursor.copy(f"COPY pacs.block ({_BLOCK}) FROM STDIN") as copy:
                for b, pathset_id, vals in rows:
                    if b.block_pk not in old:
                        patient, study, series = b.key
                        await copy.write_row(
                            (b.block_pk, series, study, patient, pathset_id, b.draft.n, *b.subject[:6], _array(vals))
                        )
            columns = "block_pk, path_id, several, ids, nums, ords, contents, whole, least, most"
            async with cursor.copy(f"COPY pacs.vary ({columns}) FROM STDIN") as copy:
                for row in vary:
                    await copy.write_row(row)
            columns = "block_pk, ord, bytes, orthanc_id, file_uuid, sop_uid"
            async with cursor.copy(f"COPY pacs.instance ({columns}) FROM STDIN") as copy:
                for b, _, _ in rows:
                    for place, arrival in b.arrivals:
                        await copy.write_row(
                            (b.block_pk, place, arrival.bytes, arrival.orthanc_id, arrival.file_uuid, arrival.sop_uid)
                        )


def _in_order(arrival: Arrival) -> tuple[tuple[int, int, int], int, str]:
    # Numbers that ascend with the place need no places beside them.
    number = arrival.contents.get("00200013", "").strip('"')
    return arrival.key, int(number) if number.isascii() and number.isdigit() and len(number) < 12 else 0, number


def _extent(numbers: Numbers | None) -> tuple[bool, float | None, float | None]:
    """Return whether each place has a number, and the least and the greatest."""
    return (numbers.whole, numbers.nums[0], numbers.nums[-1]) if numbers and numbers.nums else (False, None, None)


def _array(numbers: Sequence[float]) -> str:
    return f"{{{','.join(map(repr, numbers))}}}"


def _pathset(block: _Block, path_ids: Mapping[str, int]) -> PathSet:
    varying = block.draft.varying()
    return PathSet(
        tuple(sorted(path_ids[path] for path in block.draft.constants())),
        tuple(sorted(path_ids[path] for path in (*varying, *block.subject.sop))),
        tuple(sorted(path_ids[path] for path, column in varying.items() if None in column)),
    )


async def read_drafts(
    connection: Connection,
    dictionary: Dictionary,
    rows: Mapping[int, Sequence[Any]],
    emptied: Collection[int] = (),
) -> tuple[dict[int, Draft], dict[int, frozenset[str]]]:
    """Return what blocks hold.

    Parameters
    ----------
    connection, dictionary
        Where to read.
    rows
        Rows of ``pacs.block`` by their keys, with pathset_id and n as fifth and sixth and vals as last column.
    emptied
        Blocks whose contents are not needed: their drafts have the right number of instances and no columns.

    Returns
    -------
    tuple
        Drafts, and the names of `SOP_PATHS`, by block.
    """
    sets = await dictionary.pathsets([row[4] for row in rows.values()])
    names = await dictionary.path_names(
        path for row in rows.values() for part in (sets[row[4]].paths, sets[row[4]].varying) for path in part
    )
    needed = [block_pk for block_pk in rows if block_pk not in emptied]
    ids = {value_id for block_pk in needed for value_id in rows[block_pk][-1] if value_id > 0}
    cursor = await connection.execute(
        "SELECT block_pk, path_id, ids, contents FROM pacs.vary WHERE block_pk = ANY(%s)", (needed,)
    )
    vary = await cursor.fetchall()
    ids.update(value_id for row in vary for value_id in row[2] or () if value_id)
    contents = await dictionary.contents(ids)
    drafts = {}
    sop = {}
    for block_pk, row in rows.items():
        pathset = sets[row[4]]
        draft = drafts[block_pk] = Draft(row[5])
        sop[block_pk] = frozenset(names[path] for path in pathset.varying if names[path].startswith("="))
        if block_pk not in emptied:
            for path, value_id in zip(pathset.paths, row[-1], strict=False):
                draft.columns[names[path]] = contents[value_id][1]
    for block_pk, path_id, coded, text in vary:
        column = [contents[i][1] if i else None for i in coded] if coded is not None else split(text)
        drafts[block_pk].columns[names[path_id]] = column
    return drafts, sop
