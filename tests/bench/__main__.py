"""Run the benchmarks: ``python -m tests.bench [NAME ...]``."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path

from tests.bench import deid, exports, indexing, load, masking, memory, pipeline, pixels, search
from tests.bench.rows import Row, print_table, write_rows

BENCHMARKS: dict[str, Callable[[], list[Row]]] = {
    "deid": deid.run,
    "memory": memory.run,
    "masking": masking.run,
    "pipeline": pipeline.run,
    "pixels": pixels.run,
    "export": exports.run,
    "index": indexing.run,
    "search": search.run,
    "load": load.run,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which ones: {', '.join(BENCHMARKS)} (default: all)")
    parser.add_argument(
        "--instances",
        type=int,
        help=f"how many are searched (default: {search.INSTANCES}) and indexed (default: {indexing.INSTANCES})",
    )
    arguments = parser.parse_args()
    names = arguments.names or list(BENCHMARKS)
    if unknown := [name for name in names if name not in BENCHMARKS]:
        parser.error(f"no benchmark named {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
    benchmarks = dict(BENCHMARKS)
    if arguments.instances is not None:
        benchmarks["search"] = lambda: search.run(arguments.instances)
        benchmarks["index"] = lambda: indexing.run(arguments.instances)
    rows = [row for name in names for row in benchmarks[name]()]
    path = Path(os.environ.get("RPACS_VAR", Path(__file__).parents[2] / "var")) / "bench.json"
    write_rows(rows, path)
    print_table(rows)
    print(f"\nwritten to {path}")


if __name__ == "__main__":
    main()
