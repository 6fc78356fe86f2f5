"""One row of the benchmark table, how it is printed and where it is kept."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Row:
    """What was measured and what it was measured against.

    Attributes
    ----------
    name
        Stable name, ``pipeline.vs_bare_copy`` for example: others read the rows by it.
    value, unit
        Our figure.
    peer, peer_value
        What it is compared with, and its figure in the same run and unit; None if there is no peer.
    limit, limit_value
        A bound that no implementation can beat on this machine (the disk, say) and its figure; None if there is none.
    ratio
        How far ahead: over 1 is better than the peer; without a peer the share of the limit reached.
    command
        What to run to measure it again.
    """

    name: str
    value: float
    unit: str
    peer: str | None = None
    peer_value: float | None = None
    limit: str | None = None
    limit_value: float | None = None
    ratio: float | None = None
    command: str = "make bench"


def print_table(rows: Iterable[Row]) -> None:
    """Print the rows, a line each."""
    print(f"{'name':32} {'ours':>12} {'unit':14} {'against':34} {'theirs':>10} {'ratio':>7}")
    for row in rows:
        against, theirs = (row.peer, row.peer_value) if row.peer else (row.limit, row.limit_value)
        compared = f"{against or '-':34} {_figure(theirs, '.4g'):>10} {_figure(row.ratio, '.3g'):>7}"
        print(f"{row.name:32} {row.value:12.4g} {row.unit:14} {compared}")


def _figure(value: float | None, style: str) -> str:
    return "-" if value is None else format(value, style)


def write_rows(rows: Iterable[Row], path: Path) -> None:
    """Write the rows as JSON; rows of an earlier run that were not measured now stay."""
    kept = {row["name"]: row for row in json.loads(path.read_text())} if path.exists() else {}
    kept.update({row.name: asdict(row) for row in rows})
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(list(kept.values()), indent=2) + "\n")
