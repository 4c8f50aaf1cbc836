"""Prints what is tried, as the tables of docs/exhaustion.md: python -m tests.exhaustion"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # what the tests share

from .calls import CALLS
from .test_every_byte import pairs_of_cuts, single_cuts
from .trial import events_of, points


def main() -> None:
    logging.disable()
    print("| call | events beside it, and of each how many points | points |\n|---|---|---|")
    total = 0
    for call in CALLS:
        counts = {event: len(points(call, event)) for event in events_of(call)}
        total += sum(counts.values())
        by_count: dict[int, list[str]] = {}
        for event, count in counts.items():
            by_count.setdefault(count, []).append(event)
        events = "; ".join(f"{', '.join(names)}: {count:,}" for count, names in by_count.items())
        print(f"| {call.name} | {events} | {sum(counts.values()):,} |", flush=True)
    print(f"| all | {sum(len(events_of(call)) for call in CALLS)} pairs of a call and an event | {total:,} |\n")
    print("| cuts | points |\n|---|---|")
    print(f"| one, of four kinds | {single_cuts():,} |")
    print(f"| one in each frame, and another in the resume | {pairs_of_cuts():,} |")


if __name__ == "__main__":
    main()
