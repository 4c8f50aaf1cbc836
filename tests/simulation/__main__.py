"""Simulations by hand: see docs/simulation.md.

python -m tests.simulation 1234                       replays one seed: its plan, all that happened, and the verdict
python -m tests.simulation --first 0 --count 10000    looks for seeds that fail
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter

from .running import simulate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("seed", nargs="?", type=int, help="the seed to replay")
    parser.add_argument("--first", type=int, default=0, help="the first seed of a search")
    parser.add_argument("--count", type=int, default=1000, help="how many seeds")
    parser.add_argument("--stop", action="store_true", help="ends the search at the first seed that fails")
    chosen = parser.parse_args()
    if chosen.seed is not None:
        verdict = simulate(chosen.seed)
        print(_plan(verdict.plan), verdict.report(None), sep="\n\n")
        sys.exit(bool(verdict.findings))
    sys.exit(_search(chosen.first, chosen.count, stop=chosen.stop))


def _plan(plan: object) -> str:
    return str(plan).replace("(Step(", "(\n  Step(").replace(", Step(", ",\n  Step(")


def _search(first: int, count: int, *, stop: bool) -> int:
    rules, failed, began = Counter[str](), 0, time.monotonic()
    for seed in range(first, first + count):
        try:
            findings = [(finding.rule, finding.text) for finding in simulate(seed).findings]
        except Exception as error:
            findings = [("raised", repr(error))]
        if findings:
            failed += 1
            rules.update({rule for rule, _ in findings})
            print(f"seed {seed}: {findings[0][0]}: {findings[0][1][:300]}", flush=True)
            if stop:
                break
        if (seed + 1 - first) % 100 == 0:
            print(f"{seed + 1 - first} seeds, {failed} failed", file=sys.stderr, flush=True)
    print(f"{failed} seeds failed, of {count} from {first}, in {time.monotonic() - began:.0f} s; {dict(rules)}")
    return bool(failed)


if __name__ == "__main__":
    main()
