"""Prints what is tried, as a table: python -m tests.exhaustion. It takes a minute."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # what the tests share

from .calls import CALLS
from .test_every_byte import pairs_of_cuts, single_cuts
from .trial import events_of, try_all


def main() -> None:
    logging.disable()
    print("| call | events | points |\n|---|---|---|")
    total = 0
    for call in CALLS:
        counts = {event: try_all(call, event, sys.maxsize, only_count=True) for event in events_of(call)}
        total += sum(counts.values())
        events = ", ".join(f"{event} {count:,}" for event, count in counts.items())
        print(f"| {call.name} | {events} | {sum(counts.values()):,} |", flush=True)
    print(f"| all calls | | {total:,} |\n")
    print("| cuts | points |\n|---|---|")
    print(f"| at every byte, of four kinds | {single_cuts():,} |")
    print(f"| again at every byte of the resume | {pairs_of_cuts():,} |")


if __name__ == "__main__":
    main()
