"""A dialogue whose connection is cut at every byte, in both directions, and cut again at every byte of its resume.

In memory, on a clock that jumps. Of each kind of cut `TRIONETCHAN_EXAMPLES` points are tried, evenly spread, instead of
15; 20,000 are all.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence

import pytest
from proxy import Fault, Plan, Way

from .dialogue import Course, cuts, first_cuts, hold, resume_cuts
from .turns import run, spread

EXAMPLES = int(os.environ.get("TRIONETCHAN_EXAMPLES") or "15")
FAULTS = [Fault.RESET, Fault.END, Fault.STALL]
PARTS = 4  # of a test that runs in parallel


def cut(plans: Sequence[Plan], *, early: bool = False) -> Course:
    """One dialogue, over connections that are cut so."""
    try:
        return run(functools.partial(hold, plans, early), order=0)
    except BaseException as error:
        error.add_note(f"with {plans}")
        raise


@functools.cache
def whole() -> Course:
    """The dialogue without a cut."""
    return cut([])


def first_plans() -> list[Plan]:
    """One cut for each frame of the dialogue, of each kind in turn."""
    places = [(way, after) for way in Way for after in first_cuts(whole().said[0][way], whole().begun[way] + 1)]
    return [
        Plan(fault=FAULTS[number % len(FAULTS)], way=way, after=after) for number, (way, after) in enumerate(places)
    ]


def second_plans(first: Plan) -> list[Plan]:
    """One cut for each byte of the resume that follows this first cut, of each kind in turn."""
    resumed = cut([first])
    if len(resumed.said) < 2:
        return []  # it was cut behind its last word
    places = [(way, after) for way in Way for after in resume_cuts(resumed.said[1][way])]
    return [
        Plan(fault=FAULTS[(number + first.after) % len(FAULTS)], way=way, after=after)
        for number, (way, after) in enumerate(places)
    ]


def single_cuts() -> int:
    """How many there are."""
    return len(Fault) * sum(len([*cuts(whole().said[0][way])]) for way in Way)


def pairs_of_cuts() -> int:
    """How many there are."""
    return sum(len(second_plans(first)) for first in first_plans())


@pytest.mark.promise(2, 3, 31)
@pytest.mark.parametrize("fault", Fault)
@pytest.mark.parametrize("way", Way)
def test_cut_at_every_byte(fault: Fault, way: Way) -> None:
    """From the first byte on. Before there is a session, the importer fails, and the next one is served."""
    begun = whole().begun[way]
    resumed = 0
    tried = spread([*cuts(whole().said[0][way])], EXAMPLES)
    for after in tried:
        course = cut([Plan(fault=fault, way=way, after=after)], early=after <= begun)
        resumed += len(course.said) > 1
    assert resumed > len(tried) // 2


@pytest.mark.promise(2, 3, 31)
@pytest.mark.parametrize("part", range(PARTS))
def test_cut_again_at_every_byte_of_the_resume(part: int) -> None:
    """A third connection carries the rest."""
    twice = 0
    firsts = first_plans()[part::PARTS]
    each = -(-EXAMPLES // len(firsts))
    tried = 0
    for first in spread(firsts, EXAMPLES):
        seconds = spread(second_plans(first)[tried % 7 :], each)
        tried += len(seconds)
        twice += sum(len(cut([first, second]).said) > 2 for second in seconds)
    assert twice > tried // 2
