"""Clean damaged files: ``python -m tests.fuzz --count 50000``."""

from __future__ import annotations

import argparse
import logging
import resource
import time
import warnings
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from io import BytesIO

from pydicom import dcmread

from deid_service import REFUSAL_REASONS, Cleaned, Deidentifier, PseudonymKey, Refused
from tests.answer_key.policies import POLICIES
from tests.fuzz.mutations import mutated


@dataclass
class Result:
    """What became of the files.

    Attributes
    ----------
    outcomes
        ``cleaned``, ``discarded`` and reason codes of refusals.
    faults
        What must not be: exceptions, internal errors, copies that do not read.
    slowest
        Seconds.
    grown
        By how many bytes the process' memory grew at most.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    slowest: float = 0.0
    grown: int = 0


def run(files: Iterable[tuple[str, bytes]]) -> Result:
    """Clean each file and look at what comes out."""
    deidentifier = Deidentifier(POLICIES[-1].rules, PseudonymKey(bytes(range(32))))
    result = Result()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number, (done, data) in enumerate(files):
        start = time.perf_counter()
        try:
            outcome = deidentifier.clean(data)
        except Refused as refusal:
            result.outcomes[refusal.reason_code] += 1
            if refusal.reason_code == "internal_error" or refusal.reason_code not in REFUSAL_REASONS:
                result.faults.append(f"{number} ({done}): {refusal}")
        except BaseException as error:  # noqa: BLE001 - anything else would have killed the worker
            result.faults.append(f"{number} ({done}): {type(error).__name__}")
        else:
            result.outcomes[type(outcome).__name__.lower()] += 1
            if (
                isinstance(outcome, Cleaned)
                and dcmread(BytesIO(outcome.data)).SOPInstanceUID != outcome.sop_instance_uid
            ):
                result.faults.append(f"{number} ({done}): another UID")
        result.slowest = max(result.slowest, time.perf_counter() - start)
    result.grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    return result


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--count", type=int, default=50_000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    result = run(mutated(arguments.count, arguments.seed))
    for outcome, count in result.outcomes.most_common():
        print(f"{count:8,} {outcome}")  # noqa: T201
    print(f"slowest {result.slowest:.2f} s, memory grew by {result.grown / 1e6:.0f} MB, {len(result.faults)} faults")  # noqa: T201
    for fault in result.faults[:30]:
        print(f"  {fault}")  # noqa: T201


if __name__ == "__main__":
    main()
