"""trio's scheduler, step by step: what happens before which step of which task, and in which order tasks run.

Between two steps of tasks nothing else happens in a program, so that a point in time is the number of a step. In one
turn trio runs each task that can run, once, in a random order; here the order is chosen.
"""

from __future__ import annotations

import importlib
import random
from collections.abc import Awaitable, Callable, Generator, MutableSequence, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import trio
import trio.testing

__all__ = ["ORDERS", "Steps", "run", "spread"]

T = TypeVar("T")
Action = Callable[[], object]

ORDERS = range(2)
"""0: in each turn older tasks run first; 1: younger ones. So each of two tasks runs before the other. Any other number
is a seed."""


class _Order(random.Random):
    """Stands in for the random numbers by which trio chooses the order of the tasks of one turn."""

    def __init__(self, order: int) -> None:
        super().__init__(order)
        self._order = order

    def shuffle(self, x: MutableSequence[Any]) -> None:
        """Gets the tasks by age, and runs the last one first."""
        if self._order == 0:
            x.reverse()
        elif self._order != 1:
            super().shuffle(x)


@contextmanager
def _ordered(order: int) -> Generator[None]:
    scheduler: Any = importlib.import_module("trio._core._run")
    before = scheduler._r, scheduler._ALLOW_DETERMINISTIC_SCHEDULING
    scheduler._r, scheduler._ALLOW_DETERMINISTIC_SCHEDULING = _Order(order), True
    try:
        yield
    finally:
        scheduler._r, scheduler._ALLOW_DETERMINISTIC_SCHEDULING = before


def run(program: Callable[[], Awaitable[T]], order: int) -> T:
    """Runs a program with the tasks of each turn in this order, on a clock that jumps over all waiting."""
    with _ordered(order):
        return trio.run(program, clock=trio.testing.MockClock(autojump_threshold=0))


class Steps(trio.abc.Instrument):
    """Counts the steps of all tasks, and does something before some of them."""

    def __init__(self, actions: Sequence[tuple[float, Action]]) -> None:
        self.count = 0
        self._actions = sorted(actions, key=lambda action: action[0])
        self._errors: list[Exception] = []

    @contextmanager
    def counting(self) -> Generator[None]:
        trio.lowlevel.add_instrument(self)
        try:
            yield
        finally:
            trio.lowlevel.remove_instrument(self)
        if self._errors:  # trio logs what an instrument raises, and goes on without it
            raise self._errors[0]

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self._act(self.count)
        self.count += 1

    def act_at_last(self) -> None:
        """Does what has not been done, as the program is done with all its steps."""
        self._act(None)

    def _act(self, now: int | None) -> None:
        while self._actions and (now is None or self._actions[0][0] <= now):
            try:
                self._actions.pop(0)[1]()
            except Exception as error:
                self._errors.append(error)


def spread(points: Sequence[T], count: int) -> list[T]:
    """So many of the points, evenly spread; all, if there are not more."""
    if len(points) <= count:
        return [*points]
    return [points[index * len(points) // count] for index in range(count)]
