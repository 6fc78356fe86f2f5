"""Which contents are in so many blocks that looking for these blocks is slower than reading all."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

__all__ = ["UsualContents"]

_LASTS = 60.0
"""Seconds. ANALYZE runs far less often."""

_USUAL = """
SELECT u.content, u.part * c.reltuples
FROM pg_catalog.pg_class c, pg_catalog.pg_stats s,
    LATERAL unnest(s.most_common_elems::text::int[], s.most_common_elem_freqs) u (content, part)
WHERE c.oid = 'pacs.block'::regclass AND s.schemaname = 'pacs' AND s.tablename = 'block' AND s.attname = 'vals'
    AND u.content IS NOT NULL
"""


class UsualContents:
    """What PostgreSQL's own statistics say about the contents of blocks, read once a minute.

    It decides how a search is carried out, never what it finds: after a rebuild, which gives contents other numbers, a
    search may be slower for a minute.
    """

    def __init__(self) -> None:
        self._blocks: dict[int, float] = {}
        self._until = float("-inf")

    async def read(self, connection: Any) -> Mapping[int, float]:
        """Return the number of each frequent content, and in about how many blocks it is.

        Parameters
        ----------
        connection
            Of a role that may read schema ``pacs``.

        Returns
        -------
        mapping of int to float
            As the last ANALYZE found; empty if there was none.
        """
        if time.monotonic() > self._until:
            cursor = await connection.execute(_USUAL.encode())
            self._blocks = dict(await cursor.fetchall())
            self._until = time.monotonic() + _LASTS
        return self._blocks
