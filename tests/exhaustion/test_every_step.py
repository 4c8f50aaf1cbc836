"""Every public call, cancelled between any two steps of trio's scheduler, while its peer does something.

Of each pair of a call and an event `TRIONETCHAN_EXAMPLES` points are tried, evenly spread, instead of 5; 20,000 are
all.
"""

from __future__ import annotations

import os

import pytest

from .calls import PAIRS
from .trial import Call, Point, try_all, try_point

EXAMPLES = int(os.environ.get("TRIONETCHAN_EXAMPLES") or "5")


@pytest.mark.promise(3, 23, 31, 36, 40, 41, 42, 50)
@pytest.mark.parametrize(("call", "event"), PAIRS, ids=[f"{call.name}: {event}" for call, event in PAIRS])
def test_cancelled_at_every_step(call: type[Call], event: str) -> None:
    """It returned, or it raised and changed nothing; all values come once, and nothing hangs."""
    try_all(call, event, EXAMPLES)


def test_points_are_found_again() -> None:
    """The same point is the same run: what is found can be repeated."""
    for call, event in PAIRS[:: len(PAIRS) // 6]:
        for order in range(4):
            point = Point(event, order, 3, 5)
            assert try_point(call, point) == try_point(call, point)
