"""Measure: ``python -m tests.burned_in_text [--count N] [--seed S] [--out FILE]``."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from tests.burned_in_text.images import burned
from tests.burned_in_text.score import Outcome, by_condition, markdown, outcome, pixels_kept

_SHARED = Path(__file__).parents[3] / "shared" / "data"
_BEGIN, _END = "<!-- recall: begin -->", "<!-- recall: end -->"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.burned_in_text", description=__doc__)
    parser.add_argument("--count", type=int, default=300, help="instances with text (default: 300)")
    parser.add_argument("--plain", type=int, default=40, help="real images without text (default: 40)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, help="a page with the table's marks, docs/pixels.md; default: only print")
    options = parser.parse_args()
    begun = time.monotonic()
    outcomes: list[Outcome] = []
    for one in burned(_SHARED, options.count, options.seed):
        outcomes.append(outcome(one))
        for miss in outcomes[-1].misses:
            print(f"{len(outcomes) - 1}: {miss}", flush=True)
    table = f"{len(outcomes)} instances (seed {options.seed}):\n\n{markdown(by_condition(outcomes))}"
    kept = pixels_kept(_SHARED, options.plain, options.seed)
    for name, share in kept:
        if share < 1:
            print(f"{name}: {100 * share:.3f} % kept", flush=True)
    if kept:
        mean = 100 * sum(share for _, share in kept) / len(kept)
        whole = sum(share == 1 for _, share in kept)
        table += (
            f"\n{len(kept)} real images without text: {mean:.3f} % of their pixels kept, {whole} of them untouched.\n"
        )
    print(table)
    print(f"{time.monotonic() - begun:.0f} s")
    if options.out:
        page = options.out.read_text()
        if _BEGIN not in page:
            parser.error(f"{options.out} has no line {_BEGIN}")
        before, rest = page.split(_BEGIN)
        options.out.write_text(f"{before}{_BEGIN}\n{table}{_END}{rest.split(_END)[1]}")


if __name__ == "__main__":
    main()
