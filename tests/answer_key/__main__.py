"""Score the shipped rules: ``python -m tests.answer_key [--write]``."""

from __future__ import annotations

import argparse
import json
import logging
import os
import warnings
from collections import Counter
from pathlib import Path

from deid_service import Cleaned, Deidentifier, PseudonymKey, Refused
from tests.answer_key.plants import planted_files
from tests.answer_key.policies import POLICIES, Policy
from tests.answer_key.proof import write_proof
from tests.answer_key.scorer import Score

PROOF = Path(__file__).parents[2] / "docs" / "deid-proof.md"


def score(policy: Policy, variants: int = 12, table: list[dict[str, str]] | None = None) -> Score:
    """Run the key against a rules file."""
    deidentifier = Deidentifier(policy.rules, PseudonymKey(bytes(range(32))))
    result = Score(policy)
    for planted in planted_files(policy, variants, table):
        try:
            outcome = deidentifier.clean(planted.data)
        except Refused as refusal:
            result.add(planted, None, f"{refusal.reason_code}: {refusal.message}")
        else:
            result.add(planted, outcome.data if isinstance(outcome, Cleaned) else None, "discarded")
    return result


def ps315_table() -> list[dict[str, str]]:
    """Return PS3.15 table E.1-1 from the folder of shared data; empty where there is none."""
    root = Path(os.environ.get("RPACS_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data"))
    path = root / "ps315" / "confidentiality_profile_attributes.json"
    rows: list[dict[str, str]] = json.loads(path.read_text()) if path.exists() else []
    return rows


def main() -> None:
    """Print the tables, and write them if asked."""
    parser = argparse.ArgumentParser(prog="python -m tests.answer_key", description=__doc__)
    parser.add_argument("--write", action="store_true", help=f"write {PROOF.name} too")
    parser.add_argument("--failures", type=int, default=20, metavar="N", help="how many failures to show")
    arguments = parser.parse_args()
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    table = ps315_table()
    scores = []
    for policy in POLICIES:
        result = score(policy, table=table)
        scores.append(result)
        print(f"\n{policy.name}.yaml: {result.files} files\n\n{result.table()}")  # noqa: T201
        kinds = Counter((check.action, check.path[-1:], fault) for _, check, fault in result.failures)
        for (action, where, fault), count in kinds.most_common(arguments.failures):
            tag = f"{where[0][0]:08X}" if where else "anywhere"
            print(f"  {count:5} {action} {tag} {fault}")  # noqa: T201
        for name, reason in result.held[: arguments.failures]:
            print(f"  held: {name}: {reason}")  # noqa: T201
    if arguments.write:
        write_proof(PROOF, scores, with_table=bool(table))


if __name__ == "__main__":
    main()
