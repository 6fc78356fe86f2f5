"""Measure: ``python -m tests.burned_in_text [--count N] [--seed S ...] [--processes N] [--out FILE]``."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path

from tests.burned_in_text.score import Kept, Outcome, by_condition, markdown, outcomes_of, pixels_kept, without_text

_SHARED = Path(__file__).parents[3] / "shared" / "data"
_STEP = 10
_BEGIN, _END = "<!-- recall: begin -->", "<!-- recall: end -->"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.burned_in_text", description=__doc__)
    parser.add_argument("--count", type=int, default=300, help="instances with text, of each seed (default: 300)")
    parser.add_argument("--plain", type=int, default=40, help="real images without text (default: 40)")
    parser.add_argument("--seed", type=int, nargs="+", default=[1])
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--out", type=Path, help="a page with the table's marks, docs/pixels.md; default: only print")
    options = parser.parse_args()
    if options.out and _BEGIN not in options.out.read_text():
        parser.error(f"{options.out} has no line {_BEGIN}")
    begun = time.monotonic()
    outcomes: list[Outcome] = []
    kept: list[Kept] = []
    with ProcessPoolExecutor(options.processes, get_context("spawn")) as pool:
        for seed in options.seed:
            parts = [range(first, min(first + _STEP, options.count)) for first in range(0, options.count, _STEP)]
            for some in pool.map(outcomes_of, repeat(_SHARED), parts, repeat(seed)):
                for one in some:
                    outcomes.append(one)
                    for miss in one.misses:
                        print(f"seed {seed}: {miss}", flush=True)
                print(f"{len(outcomes)} instances, {time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True)
        for one in pool.map(pixels_kept, without_text(_SHARED, options.plain, options.seed[0])):
            kept.append(one)
            if one.share < 1 or not one.passed:
                print(f"{one.name}: {100 * one.share:.3f} % kept, {'passed' if one.passed else 'refused'}", flush=True)
    table = _report(outcomes, kept, options.seed)
    print(table)
    print(f"{time.monotonic() - begun:.0f} s")
    if options.out:
        before, rest = options.out.read_text().split(_BEGIN)
        options.out.write_text(f"{before}{_BEGIN}\n{table}{_END}{rest.split(_END)[1]}")


def _report(outcomes: Sequence[Outcome], kept: Sequence[Kept], seeds: Sequence[int]) -> str:
    said = ", ".join(map(str, seeds))
    helped = sum(one.helped for one in outcomes)
    text = (
        f"{len(outcomes)} instances (seed {said}); {helped} of the readable words are so because the other "
        f"engine reads them.\n\n{markdown(by_condition(outcomes))}"
    )
    if kept:
        mean = 100 * sum(one.share for one in kept) / len(kept)
        whole = sum(one.share == 1 for one in kept)
        refused = sum(not one.passed for one in kept)
        text += (
            f"\n{len(kept)} real images without text: {mean:.3f} % of their pixels kept, {whole} of them untouched, "
            f"{refused} refused.\n"
        )
    return text


if __name__ == "__main__":
    main()
