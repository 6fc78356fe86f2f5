"""What is shown of instances: columns of a page's rows, and whole documents."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rpacs_hub.index._blocks import read_drafts
from rpacs_hub.index._columns import tag_of
from rpacs_hub.index._content import SOP_PATHS, document_of, dumps, shown_of
from rpacs_hub.index._dictionary import Dictionary
from rpacs_hub.index._draft import Draft

__all__ = ["BlockContents", "read_blocks", "read_rows"]

Place = tuple[int, int]
"""A block and a place in it, from 1."""

_HELD = """
SELECT b.block_pk, ARRAY(SELECT CASE WHEN idx(s.paths, u.p) > 0 THEN b.vals[idx(s.paths, u.p)]
    WHEN idx(s.varying, u.p) > 0 THEN -1 ELSE 0 END FROM unnest(%s::int[]) WITH ORDINALITY u (p, o) ORDER BY o),
    b.study_uid, b.series_uid
FROM pacs.block b JOIN pacs.pathset s USING (pathset_id) WHERE b.block_pk = ANY(%s)
"""
_IN_ROW = {"StudyInstanceUID": 2, "SeriesInstanceUID": 3}
"""What a row of that has besides."""
_VARYING = "SELECT block_pk, path_id, ids, contents FROM pacs.vary WHERE block_pk = ANY(%s) AND path_id = ANY(%s)"
_UIDS = "SELECT block_pk, ord, sop_uid FROM pacs.instance WHERE block_pk = ANY(%s)"


async def read_rows(
    connection: Any, places: Sequence[Place], columns: Sequence[str], path_ids: Mapping[str, int]
) -> list[dict[str, Any]]:
    """Return what is shown of each instance.

    Parameters
    ----------
    connection
        In the transaction that found them, with the extension's functions on its search path.
    places
        Which instances.
    columns
        Keywords of the dictionary.
    path_ids
        Numbers of the columns' tags, of those that occur.

    Returns
    -------
    list of dict
        Keyword -> value, without those that the instance does not have.
    """
    rows: list[dict[str, Any]] = [{} for _ in places]
    if not places or not columns:
        return rows
    blocks = sorted({block for block, _ in places})
    # Nearly half of the contents of a page of series would be these, and the block's row has them.
    in_row = [column for column in _IN_ROW if column in columns]
    names = {f"{tag_of(column):08X}": column for column in columns if column not in in_row}
    paths = {path_ids[name]: name for name in names if name in path_ids}
    async with connection.pipeline():
        of_blocks = await connection.execute(_HELD, (list(paths), blocks))
        of_places = await connection.execute(_VARYING, (blocks, list(paths)))
        of_uids = await connection.execute(_UIDS, (blocks,)) if "SOPInstanceUID" in columns else None
        of_block = {row[0]: row for row in await of_blocks.fetchall()}
        found = await of_places.fetchall()
        uids = {row[:2]: row[2] for row in await of_uids.fetchall()} if of_uids is not None else {}
    varying = {(block, path): ids if ids is not None else json.loads(text) for block, path, ids, text in found}
    wanted = {path for _, path in varying}
    coded = {value for row in of_block.values() for value in row[1] if value > 0}
    for block, place in places:
        for path in wanted:
            column = varying.get((block, path))
            if column is not None and isinstance(column[place - 1], int) and not isinstance(column[place - 1], bool):
                coded.add(column[place - 1])
    contents = await Dictionary(connection).contents(coded)
    shown: dict[tuple[int, str], Any] = {}
    for row, (block, place) in zip(rows, places, strict=True):
        for keyword in in_row:
            row[keyword] = of_block[block][_IN_ROW[keyword]]
        for path, value in zip(paths, of_block[block][1], strict=True):
            if value == -1:
                value = varying[block, path][place - 1] if (block, path) in varying else None
                content = contents[value][1] if isinstance(value, int) and value else dumps(value)
                if not value and not isinstance(value, str):
                    continue
            elif value:
                content = contents[value][1]
            else:
                continue
            if (path, content) not in shown:
                shown[path, content] = shown_of(paths[path], content)
            row[names[paths[path]]] = shown[path, content]
        if "SOPInstanceUID" in columns:
            row.setdefault("SOPInstanceUID", uids[block, place])
    return rows


@dataclass(frozen=True)
class BlockContents:
    """What a block held when it was read.

    Attributes
    ----------
    draft
        Its contents by path.
    sop
        Which of `SOP_PATHS` its instances have.
    """

    draft: Draft
    sop: frozenset[str]

    def document(self, place: int, sop_uid: str) -> dict[str, Any]:
        """Return the document (`dicom_query.index_document`) of the instance at a place, from 1."""
        contents: dict[str, str] = {path: dumps(sop_uid) for path, name in SOP_PATHS.items() if name in self.sop}
        for path, column in self.draft.columns.items():
            content = column if isinstance(column, str) else column[place - 1]
            if content is not None:
                contents[path] = content
        return document_of(contents)


async def read_blocks(connection: Any, blocks: Iterable[int]) -> dict[int, BlockContents]:
    """Return what blocks hold, by their keys; `connection` as for `read_rows`."""
    wanted = list(dict.fromkeys(blocks))
    if not wanted:
        return {}
    cursor = await connection.execute(
        "SELECT block_pk, series_pk, study_pk, patient_pk, pathset_id, n, vals FROM pacs.block "
        "WHERE block_pk = ANY(%s)",
        (wanted,),
    )
    rows = {row[0]: row for row in await cursor.fetchall()}
    drafts, sop = await read_drafts(connection, Dictionary(connection), rows)
    return {block: BlockContents(drafts[block], sop[block]) for block in rows}
