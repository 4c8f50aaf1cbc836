"""Runs it: rounds of churn and rest, until the time is over."""

from __future__ import annotations

import functools
import logging
import random
import tracemalloc
from collections import Counter
from collections.abc import Callable, Mapping

import attrs
import trio

from trionetchan import open_tcp_importer

from .jobs import WorkQueue, work
from .samples import FEWEST, Sample, sample
from .scenarios import SCENARIOS, Scenario, killed_process
from .world import HOST, LIMITS, BrokenPromiseError, World, open_world

__all__ = ["Course", "run"]

AT_ONCE = 6  # scenarios
HUNG = 300.0  # seconds after which a scenario counts as hung
WARM_UP = 2  # rounds that are not looked at: caches fill
SETTLING = 20.0  # seconds in which sessions of those that are lost must have ended


@attrs.define(kw_only=True)
class Course:
    """What is to be done, and what came of it."""

    seconds: float
    round_seconds: float
    seed: int = 0
    scenarios: Mapping[Scenario, int] = attrs.field(factory=lambda: SCENARIOS)
    processes: bool = True
    """Whether there are workers that are processes."""
    on_sample: Callable[[Sample, int], None] = lambda _sample, _done: None
    samples: list[Sample] = attrs.field(factory=list[Sample])
    tally: Counter[str] = attrs.field(factory=Counter[str])
    grown_lines: list[str] = attrs.field(factory=list[str])
    """Where memory was allocated that there was not before, if that is traced."""


class FaultsInTheLog(logging.Handler):
    """Counts what is logged; a traceback is a fault of the library."""

    def __init__(self, tally: Counter[str]) -> None:
        super().__init__()
        self._tally = tally
        self.fault: logging.LogRecord | None = None

    def emit(self, record: logging.LogRecord) -> None:
        self._tally["lines in the log"] += 1
        if record.exc_info:
            self.fault = self.fault or record


async def run(course: Course) -> None:
    """Raises `BrokenPromiseError`, or what the library raised, at the first promise that is broken."""
    log = FaultsInTheLog(course.tally)
    logger = logging.getLogger("trionetchan")
    before = logger.propagate
    logger.propagate = False
    logger.addHandler(log)
    try:
        async with trio.open_nursery() as nursery, open_world(nursery, course.seed) as world:
            world.tally = course.tally
            queue = WorkQueue(world.exporter, course.tally)
            await nursery.start(queue.collect)
            await _rounds(course, world, queue, log)
            nursery.cancel_scope.cancel()
    finally:
        logger.removeHandler(log)
        logger.propagate = before


async def _rounds(course: Course, world: World, queue: WorkQueue, log: FaultsInTheLog) -> None:
    began = trio.current_time()
    number = 0
    allocated: tracemalloc.Snapshot | None = None
    while trio.current_time() < began + course.seconds or len(course.samples) < FEWEST:
        await _churn(course, world, queue, trio.current_time() + course.round_seconds)
        await _settle(world)
        if log.fault is not None:
            raise BrokenPromiseError(logging.Formatter().format(log.fault))
        number += 1
        if number == WARM_UP and tracemalloc.is_tracing():  # before the samples: it takes memory itself
            allocated = tracemalloc.take_snapshot()
        if number <= WARM_UP:
            continue
        course.samples.append(sample(trio.current_time() - began, world.exporter))
        course.on_sample(course.samples[-1], sum(course.tally.values()))
    if allocated is not None:
        differences = tracemalloc.take_snapshot().compare_to(allocated, "lineno")
        course.grown_lines = [str(difference) for difference in differences[:15]]


async def _churn(course: Course, world: World, queue: WorkQueue, until: float) -> None:
    """Begins scenarios until this time, and returns when all have ended, and all jobs are done."""
    scenarios, weights = [*course.scenarios], [*course.scenarios.values()]
    chance = random.Random(world.chance.random())

    async def keep_beginning(choose: Callable[[], Scenario]) -> None:
        while trio.current_time() < until:
            scenario = choose()
            try:
                with trio.fail_after(HUNG):
                    await scenario(world)
            except BaseException as error:
                error.add_note(f"in the scenario {getattr(scenario, '__name__', scenario)!r}")
                raise

    async with trio.open_nursery() as nursery:
        for _ in range(AT_ONCE):
            nursery.start_soon(keep_beginning, lambda: chance.choices(scenarios, weights)[0])
        if course.processes:
            nursery.start_soon(keep_beginning, lambda: killed_process)
        nursery.start_soon(functools.partial(_work_until_done, world, queue, until))


async def _work_until_done(world: World, queue: WorkQueue, until: float) -> None:
    """A worker that is well, until all jobs of this round are done."""
    async with open_tcp_importer(HOST, world.port, limits=LIMITS) as importer, trio.open_nursery() as nursery:
        nursery.start_soon(functools.partial(work, importer, world.chance, rejects=False))
        with trio.fail_after(until - trio.current_time() + HUNG):
            await queue.feed(until)
        nursery.cancel_scope.cancel()


async def _settle(world: World) -> None:
    """Waits until the exporter has forgotten everybody; who is still there after that is counted."""
    with trio.move_on_after(SETTLING):
        while world.exporter.statistics().suspended or world.exporter.statistics().connections:  # noqa: ASYNC110
            await trio.sleep(0.05)
    for _ in range(100):
        await trio.lowlevel.checkpoint()
    await trio.sleep(0.1)
