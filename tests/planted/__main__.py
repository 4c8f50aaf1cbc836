"""Whether the tests see faults: see docs/testing-ourselves.md.

python -m tests.planted                                      plants each bug of the list, and wants its test to fail
python -m tests.planted bugs lost-requeue …                  these only
python -m tests.planted mutants [--count 300] [--seed 0]     a sample of small changes of two rooms
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from .bugs import BUGS, SAMPLE
from .planting import plant
from .sampling import sample

EXAMPLES = "10"  # of each property of hypothesis: of so many mutants each must be tried in some seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=["bugs", "mutants"], default="bugs")
    parser.add_argument("names", nargs="*", help="bugs to plant, instead of all; or a text that mutants must have")
    parser.add_argument("--sample", action="store_true", help="plant the few bugs that the test run plants")
    parser.add_argument("--count", type=int, default=300, help="how many mutants; a huge number: all")
    parser.add_argument("--seed", type=int, default=0, help="another one chooses other mutants")
    parser.add_argument("--kept", type=Path, help="a file that keeps which test runs which line, for the next sample")
    parser.add_argument("--jobs", type=int, default=1, help="how many at a time")
    chosen = parser.parse_args()
    os.environ["TRIONETCHAN_EXAMPLES"] = EXAMPLES
    if chosen.what == "mutants":
        for line in sample(chosen.count, chosen.seed, chosen.jobs, chosen=" ".join(chosen.names), kept=chosen.kept):
            print(line, flush=True)
        return
    unknown = {*chosen.names} - {bug.name for bug in BUGS}
    if unknown:
        parser.error(f"there is no bug {', '.join(sorted(unknown))}")
    wanted = {*chosen.names} or (SAMPLE if chosen.sample else {bug.name for bug in BUGS})
    sys.exit(not plant([bug for bug in BUGS if bug.name in wanted]))


if __name__ == "__main__":
    main()
