"""A work queue whose workers come, go and die, and the check that each job is done."""

from __future__ import annotations

import random
from collections import Counter
from contextlib import suppress

import attrs
import trio

from trionetchan import Exporter, Importer

from .world import BrokenPromiseError

__all__ = ["JOBS", "RESULTS", "WorkQueue", "work"]

JOBS = "jobs"
RESULTS = "results"
MOST_OPEN = 200  # jobs
WORKERS_DEAD_LETTERS = 1000


async def work(importer: Importer, chance: random.Random, *, rejects: bool) -> None:
    """Does jobs until it is cancelled: tells the result, makes sure that it has arrived, and only then acknowledges."""
    jobs = await importer.open_receive_channel(JOBS, int, window=chance.choice([1, 2, 8]), acknowledge="manual")
    async with await importer.open_send_channel(RESULTS, tuple[int, bool]) as results:
        async for job in jobs:
            if rejects and chance.random() < 0.05:
                await job.reject()
                continue
            await results.send((job.value, job.redelivered))
            await importer.sync(RESULTS)
            await job.ack()


@attrs.define(eq=False)
class WorkQueue:
    """Deals numbered jobs, and checks what comes back: each is done, and a second time only if it was told so."""

    exporter: Exporter
    tally: Counter[str]
    _jobs: trio.MemorySendChannel[int] = attrs.field(init=False)
    _open: set[int] = attrs.field(factory=set[int])
    _changed: trio.Event = attrs.field(factory=trio.Event)
    _next: int = 0

    async def collect(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Exports the queue, and checks results as long as it runs."""
        send_dead, dead = trio.open_memory_channel[int](WORKERS_DEAD_LETTERS)
        results = self.exporter.open_receive_channel(RESULTS, tuple[int, bool], importers=None)
        with self.exporter.open_send_channel(JOBS, int, dead_letters=send_dead) as self._jobs:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._bury, dead)
                task_status.started()
                with suppress(trio.ClosedResourceError):  # the run has failed, and says why elsewhere
                    async for number, redelivered in results:
                        self._done(number, redelivered)

    def _done(self, number: int, redelivered: bool) -> None:
        if number in self._open:
            self._settle(number)
            self.tally["jobs"] += 1
        elif number >= self._next:
            raise BrokenPromiseError(f"a result of job {number}, which there is not")
        elif not redelivered:
            raise BrokenPromiseError(f"job {number} was done twice, and not marked as redelivered")
        else:
            self.tally["jobs done twice"] += 1

    async def _bury(self, dead: trio.MemoryReceiveChannel[int]) -> None:
        async for number in dead:
            self.tally["dead letters"] += 1
            self._settle(number)

    def _settle(self, number: int) -> None:
        self._open.discard(number)
        self._changed.set()
        self._changed = trio.Event()

    async def feed(self, until: float) -> None:
        """Deals jobs until this time, then waits until all are done; there must be a worker that lives."""
        while trio.current_time() < until:
            while len(self._open) >= MOST_OPEN:
                await self._changed.wait()
            self._open.add(self._next)
            self._next += 1
            await self._jobs.send(self._next - 1)
        await self.exporter.drain(JOBS)
        with trio.move_on_after(5):  # dead letters are taken by a task of their own
            while self._open:
                await self._changed.wait()
        if self._open:
            raise BrokenPromiseError(
                f"the queue is drained, and {len(self._open)} jobs were not done: {min(self._open)} …"
            )
