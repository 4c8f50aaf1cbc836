"""What a measuring process measures with, and how it talks to the runner: one JSON line each on standard output."""

from __future__ import annotations

import gc
import itertools
import json
import os
import statistics
import sys
import time
from collections.abc import AsyncIterable, Awaitable, Callable, Iterator, Sequence
from typing import Any

import attrs

from .work import Work

__all__ = [
    "Client",
    "Sample",
    "Server",
    "Stopwatch",
    "UnableError",
    "allow_files",
    "expect_end",
    "receive_all",
    "resident_memory",
    "round_trips",
    "round_trips_blocking",
]


class UnableError(Exception):
    """This machine, or this installation, cannot do the measurement; the message says why."""


@attrs.frozen(kw_only=True)
class Sample:
    """What one process measured."""

    values: int
    seconds: float
    cpu: float
    """Seconds of processor time, of all threads, while the values went through."""
    percentiles: list[float] = attrs.field(factory=list[float])
    """Of round trips, in seconds: the shortest, the 1st to 99th percentile, the longest."""
    memory: dict[str, float] = attrs.field(factory=dict[str, float])
    """Of idle things, in bytes each."""


class Stopwatch:
    """Time and processor time between `start` and `stop`."""

    def __init__(self) -> None:
        self.start()

    def start(self) -> None:
        self._cpu = time.process_time()
        self._time = time.perf_counter()

    def stop(self, values: int) -> Sample:
        seconds = time.perf_counter() - self._time
        return Sample(values=values, seconds=seconds, cpu=time.process_time() - self._cpu)


class Server:
    """The serving process of a measurement: it sends the stream, or answers the round trips."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self._watch = Stopwatch()
        self._values = work.total
        self._sample: Sample | None = None

    def announce(self, port: int) -> None:
        """Tells the runner where the client is to connect."""
        print(json.dumps({"port": port}), flush=True)

    def values(self) -> Iterator[Any]:
        """The values to send. The watch starts with the first one behind the warm-up."""
        values = self.work.sequence()
        yield from itertools.islice(values, self.work.warmup)
        self._values = self.work.count
        self._watch.start()
        yield from itertools.islice(values, self.work.count)

    def wait_until_done(self) -> None:
        """Blocks until the client has measured. Waiting costs no processor time, so that the watch goes on till then:
        a library that sends in the background is charged with that too.
        """
        sys.stdin.readline()

    def stop(self) -> None:
        """Stops the watch before `wait_until_done`, for one that knows that all has arrived."""
        self._sample = self._watch.stop(self._values)

    def sample(self) -> Sample:
        return self._sample or self._watch.stop(self._values)


@attrs.frozen
class Client:
    """The connecting process of a measurement: it measures."""

    work: Work
    port: int


async def receive_all(receive: Callable[[], Awaitable[Any]], work: Work) -> Sample:
    """Receives all values; the interval is from the last of the warm-up to the last of all."""
    value: Any = None
    for _ in range(work.warmup):
        await receive()
    watch = Stopwatch()
    for _ in range(work.count):
        value = await receive()
    sample = watch.stop(work.count)
    work.check(value)
    return sample


async def expect_end(values: AsyncIterable[Any]) -> None:
    """`RuntimeError` if more values come."""
    async for value in values:
        raise RuntimeError(f"expected the end, got {value!r}")


async def round_trips(once: Callable[[int], Awaitable[object]], work: Work) -> Sample:
    """Times each of many round trips; `once` sends a number and returns what comes back."""
    for _ in range(work.warmup):
        await once(0)
    now = time.perf_counter
    times: list[float] = []
    watch = Stopwatch()
    for number in range(work.count):
        number %= 1024
        start = now()
        answer = await once(number)
        times.append(now() - start)
        if answer != number:
            raise RuntimeError(f"expected {number} back, got {answer!r}")
    return attrs.evolve(watch.stop(work.count), percentiles=percentiles(times))


def round_trips_blocking(once: Callable[[int], object], work: Work) -> Sample:
    """The same for what blocks."""
    for _ in range(work.warmup):
        once(0)
    now = time.perf_counter
    times: list[float] = []
    watch = Stopwatch()
    for number in range(work.count):
        number %= 1024
        start = now()
        answer = once(number)
        times.append(now() - start)
        if answer != number:
            raise RuntimeError(f"expected {number} back, got {answer!r}")
    return attrs.evolve(watch.stop(work.count), percentiles=percentiles(times))


def percentiles(times: Sequence[float]) -> list[float]:
    inner = statistics.quantiles(times, n=100, method="inclusive")
    return [round(time, 9) for time in (min(times), *inner, max(times))]


def resident_memory() -> int:
    """How many bytes of memory this process has now, behind a garbage collection. `UnableError` where no one says."""
    gc.collect()
    try:
        with open("/proc/self/statm") as file:
            pages = int(file.read().split()[1])
    except OSError as error:
        raise UnableError(f"memory is read from /proc: {error}") from None
    return pages * os.sysconf("SC_PAGE_SIZE")


def allow_files(count: int) -> None:
    """Raises this process's limit of open files. `UnableError` if it may not have that many."""
    import resource

    needed = count + 64
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < needed:
        if hard != resource.RLIM_INFINITY and hard < needed:
            raise UnableError(f"{needed} open files are needed, {hard} are allowed (ulimit -Hn)")
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
