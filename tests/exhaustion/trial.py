"""One call, cancelled before one step of one task, while something else happens before another; and all such points."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import attrs
import trio
import trio.testing
from proxy import Fault

from .stage import EVENTS, LIMITS, SPECIAL_LIMITS, Event, Stage
from .turns import ORDERS, Action, Steps, run, spread

__all__ = ["Call", "Own", "Point", "events_of", "points", "try_all", "try_point"]

Own = Callable[[Any, Stage], object]

PATIENCE = 3  # virtual seconds that a call may take by itself
BEFORE, BEHIND, RESUME = 4, 10, 40
"""The cancellation falls so many steps before the event, and up to so many behind it: the turn before it, its own turn,
and the two turns in which others hear of it; or, where a call waits until the session is resumed, the whole of that."""
MOST = 40  # steps in which the event may fall; of a longer call they are evenly spread


class Call:
    """A public call, and what is to be true when it is over. An object for each trial."""

    name: ClassVar[str]
    common: ClassVar[Sequence[str]]
    """Which of the events that any call may meet it meets."""
    own: ClassVar[Mapping[str, Own]] = {}
    """And events of its own, done to this object and the stage."""

    delay: ClassVar[float] = 0
    """In seconds. Chunks are held up on their way, so that what is said one after the other is read at once."""

    async def prepare(self, stage: Stage) -> None:
        """What comes before the call."""

    async def make(self, stage: Stage) -> None:
        """The call."""
        raise NotImplementedError

    async def relieve(self, stage: Stage) -> None:
        """Does what a call waits for that does not end by itself."""
        raise AssertionError("the call hangs")

    async def check(self, stage: Stage) -> None:
        """What is to be true behind it."""
        raise NotImplementedError


@attrs.frozen
class Point:
    """When what happens in one trial."""

    event: str
    order: int
    """Of the tasks of each turn: see `turns.ORDERS`."""
    at: int = 0
    """The step before which the event comes."""
    cancel: float | None = None
    """The step before which the call is cancelled, or None; a half: at the same time as the event, but before it."""


def events_of(call: type[Call]) -> list[str]:
    return [*call.common, *call.own]


def _event(call: Call, name: str) -> Event:
    return functools.partial(call.own[name], call) if name in call.own else EVENTS[name]


async def trial(kind: Callable[[], Call], point: Point) -> tuple[int, str]:
    """Returns of how many steps the call was, and its outcome. Raises if anything is wrong."""
    call = kind()
    async with trio.open_nursery() as nursery:
        stage = Stage(nursery, SPECIAL_LIMITS.get(point.event, LIMITS), event=point.event)
        with trio.fail_after(1000):
            await stage.open(call.delay)
            await call.prepare(stage)
            if point.event == "connected again":
                stage.network.go_down(Fault.RESET)
            await trio.testing.wait_all_tasks_blocked()
            event = functools.partial(_event(call, point.event), stage)
            actions: list[tuple[float, Action]] = [(point.at, event)]
            if point.cancel is not None:
                actions.append((point.cancel, stage.scope.cancel))
            steps = Steps(actions)
            with steps.counting():
                nursery.start_soon(stage.perform, call.make)
                with trio.move_on_after(PATIENCE):
                    await stage.done.wait()
                count = steps.count
                steps.act_at_last()
                with trio.move_on_after(PATIENCE):
                    await stage.done.wait()
                if not stage.done.is_set():
                    await call.relieve(stage)
                    await stage.done.wait()
            await call.check(stage)
            await stage.close()
    return count, stage.outcome


def try_point(kind: Callable[[], Call], point: Point) -> tuple[int, str]:
    """The same, outside of trio."""
    try:
        return run(functools.partial(trial, kind, point), point.order)
    except BaseException as error:
        error.add_note(f"with {point}")
        raise


_counted: dict[tuple[str, int], int] = {}


def _steps(call: type[Call], order: int) -> int:
    """Of how many steps of all tasks the call is, when nothing happens."""
    if (call.name, order) not in _counted:
        _counted[call.name, order] = try_point(call, Point("nothing", order))[0]
    return _counted[call.name, order]


def points(call: type[Call], event: str, orders: Sequence[int] = ORDERS) -> list[Point]:
    """Where the event may fall, and where the call may be cancelled: all there is to try."""
    found: list[Point] = []
    for order in orders:
        steps = _steps(call, order)
        if event == "nothing":
            found += [Point(event, order, 0, cancel) for cancel in range(steps + 1)]
            continue
        for at in spread(range(steps + 1), MOST):
            behind = (
                RESUME if event in ("connected again", "exporter restarts", "exporter restarts at once") else BEHIND
            )
            around = [*range(max(0, at - BEFORE), at), at - 0.5, *range(at, at + behind)]
            found += [Point(event, order, at, cancel) for cancel in (None, *around)]
    return found


def try_all(call: type[Call], event: str, most: int) -> None:
    """Tries so many of the points, evenly spread; but none where the call has ended before it is cancelled."""
    ended: dict[tuple[int, int], int] = {}
    for point in spread(points(call, event), most):
        when = point.order, point.at
        if point.cancel is None:
            ended[when] = try_point(call, point)[0]
        elif point.cancel <= ended.get(when, math.inf):
            try_point(call, point)
