"""Faults that adversarial trials found, each with the whole family around it."""

from __future__ import annotations

import gc
import random
import sys
import weakref
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Literal

import attrs
import pytest
import trio
import trio.testing
from scripted import Scripted, Through, seeded
from support import connect, put, take, take_all

import trionetchan
from trionetchan import (
    ConnectionLostError,
    Exporter,
    Limits,
    RemoteValueError,
    ValueTypeError,
    open_exporter,
    open_importer,
)

# Serving while the block is left, or has failed


class Churn(trio.abc.Listener[trio.abc.Stream]):
    """Importers that connect one after another, in every turn of the scheduler, once `go` is set."""

    def __init__(self) -> None:
        self.go = trio.Event()
        self.clients: list[Scripted] = []

    async def accept(self) -> trio.abc.Stream:
        await self.go.wait()
        if len(self.clients) >= 50:
            await trio.sleep_forever()
        ours, theirs = trio.testing.memory_stream_pair()
        self.clients.append(Scripted(ours))
        return theirs

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()

    async def check_closed(self) -> None:
        """Whatever was accepted was closed, too."""
        assert self.clients
        for client in self.clients:
            await client.hear_all()


async def turns(count: int) -> None:
    for _ in range(count):
        await trio.lowlevel.checkpoint()


@pytest.mark.promise(43)
@pytest.mark.parametrize("channels", [0, 5])
async def test_connections_that_come_while_the_block_is_left(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch, channels: int
) -> None:
    """Nothing is raised into the nursery that serves."""
    for seed in range(30):
        seeded(monkeypatch, seed)
        monkeypatch.setattr("trionetchan._network.listening.TURNS", 0)
        churn = Churn()
        async with trio.open_nursery() as serving, open_exporter() as exporter:
            await serving.start(exporter.serve_listeners, [churn])
            for number in range(channels):
                exporter.open_receive_channel(f"numbers {number}", int)
            churn.go.set()
            await turns(seed % 10)
        await churn.check_closed()


@pytest.mark.promise(14, 43)
@pytest.mark.parametrize("nursery_is", ["around the block", "in the block"])
async def test_connections_that_come_while_the_block_fails(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch, nursery_is: str
) -> None:
    """The exporter's own error is raised once, by the block, and nowhere else."""
    for seed in range(30):
        seeded(monkeypatch, seed)
        monkeypatch.setattr("trionetchan._network.listening.TURNS", 0)
        churn = Churn()

        async def body(exporter: Exporter, serving: trio.Nursery, seed: int = seed, churn: Churn = churn) -> None:
            await serving.start(exporter.serve_listeners, [churn])
            send = exporter.open_send_channel("numbers", int, max_buffer_size=1)
            async with connect(serving, exporter) as importer:
                await importer.open_receive_channel("numbers", int)
                churn.go.set()
                await turns(seed % 10)
                send.send_nowait("no number")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
                await trio.sleep_forever()

        if nursery_is == "around the block":
            async with trio.open_nursery() as serving:
                with pytest.raises(ValueTypeError):
                    async with open_exporter() as exporter:
                        await body(exporter, serving)
        else:
            with pytest.raises(ValueTypeError):
                async with open_exporter() as exporter, trio.open_nursery() as serving:
                    await body(exporter, serving)
        await churn.check_closed()


# Keepalive


class Steps(trio.abc.Instrument):
    """Counts the steps of all tasks; at more than `most` it gives up, by cancelling `scope`."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.count = 0
        self.scope = trio.CancelScope()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self.count += 1
        if self.count > self.most:
            self.scope.cancel()


@contextmanager
def at_most(steps: int) -> Generator[Steps]:
    """The body takes no more than so many steps of tasks."""
    counting = Steps(steps)
    trio.lowlevel.add_instrument(counting)
    try:
        with counting.scope:
            yield counting
    finally:
        trio.lowlevel.remove_instrument(counting)
    assert counting.count <= steps, f"expected at most {steps} steps of tasks, got more"


@pytest.mark.promise(46)
async def test_keepalive_does_not_spin(autojump_clock: trio.testing.MockClock) -> None:
    """Sums of times are rounded; what was waited for is over all the same. A mock clock never helps a loop out."""
    numbers = random.Random(1)
    async with open_exporter() as exporter:
        for case in range(60):
            keepalive = [15.0, numbers.uniform(2, 30), numbers.randint(20, 300) / 10][case % 3]
            limits = Limits(keepalive=keepalive, keepalive_timeout=keepalive * numbers.uniform(0.5, 3))
            await trio.sleep(numbers.uniform(0, 10))
            async with trio.open_nursery() as nursery, connect(nursery, exporter, limits):
                with at_most(5_000):
                    await trio.sleep(100 + numbers.random())


@pytest.mark.promise(46)
async def test_keepalive_gives_up_a_silent_peer_without_spinning(autojump_clock: trio.testing.MockClock) -> None:
    numbers = random.Random(2)
    for _case in range(60):
        limits = Limits(keepalive=numbers.uniform(0.1, 30), keepalive_timeout=numbers.uniform(0.1, 60))
        await trio.sleep(numbers.uniform(0, 10))
        ours, theirs = trio.testing.memory_stream_pair()
        await Scripted(theirs).greet()
        with at_most(3_000), pytest.raises(ConnectionLostError, match="sign of life"):
            async with open_importer(ours, limits=limits):
                try:
                    await trio.sleep(300)
                finally:
                    await trio.aclose_forcefully(theirs)


# Memory


def objects() -> Counter[str]:
    """How many objects of each type there are."""
    for _ in range(3):
        gc.collect()
    return Counter(type(thing).__qualname__ for thing in gc.get_objects())


def growth(before: Counter[str]) -> Counter[str]:
    return objects() - before


@pytest.mark.promise(11)
@pytest.mark.parametrize("way", ["leaves", "hangs up first", "breaks off"])
@pytest.mark.parametrize("direction", ["jobs", "results", "jobs that flow", "results that flow"])
async def test_connections_that_are_gone_are_forgotten(nursery: trio.Nursery, direction: str, way: str) -> None:
    """Hundreds of importers come and go, with one export: of their streams the exporter keeps none."""
    streams: list[weakref.ref[Through]] = []
    name = direction.split()[0]
    async with open_exporter() as exporter:
        jobs = exporter.open_send_channel("jobs", int, max_buffer_size=10)
        results = exporter.open_receive_channel("results", int, max_buffer_size=1000, importers=None)

        async def one(number: int) -> None:
            ours, theirs = trio.testing.memory_stream_pair()
            stream = Through(theirs)
            streams.append(weakref.ref(stream))
            async with trio.open_nursery() as inner:
                inner.start_soon(exporter.serve_stream, stream)
                del stream
                try:
                    async with open_importer(ours) as importer:
                        if name == "jobs":
                            receive = await importer.open_receive_channel("jobs", int, window=1 + number % 5)
                            if "flow" in direction:
                                await jobs.send(number)
                                assert await receive.receive() == number
                                await exporter.drain()
                        else:
                            async with await importer.open_send_channel("results", int) as send:
                                if "flow" in direction:
                                    await send.send(number)
                                    assert await results.receive() == number
                        if way == "hangs up first" and name in importer.statistics().channels:
                            importer.hangup(name)
                        elif way == "breaks off":
                            await ours.aclose()
                            await trio.sleep_forever()
                except ConnectionLostError:
                    assert way == "breaks off"

        for number in range(300):
            await one(number)
        gc.collect()
        assert sum(stream() is not None for stream in streams) <= 3


@pytest.mark.promise(11)
@pytest.mark.parametrize("importers", [1, 2, 5])
async def test_single_values_leave_nothing_behind(nursery: trio.Nursery, importers: int) -> None:
    """Values that go one by one, each acknowledged before the next."""
    async with open_exporter() as exporter:
        jobs = exporter.open_send_channel("jobs", int)
        async with trio.open_nursery() as inner:

            async def work() -> None:
                async with connect(inner, exporter) as importer:
                    async for _value in await importer.open_receive_channel("jobs", int, max_buffer_size=1):
                        pass

            for _ in range(importers):
                inner.start_soon(work)
            await send_one_by_one(jobs, 300)
            before = objects()
            await send_one_by_one(jobs, 1_500)
            grown = growth(before)
            assert grown.total() < 300, grown.most_common(5)
            jobs.close()


async def send_one_by_one(send: trio.MemorySendChannel[int], count: int) -> None:
    for value in range(count):
        await send.send(value)
        await turns(8)  # about what an acknowledgement takes


@pytest.mark.promise(11)
@pytest.mark.parametrize("direction", ["jobs", "results"])
@pytest.mark.parametrize("beside", [False, True])
async def test_imports_and_hang_ups_leave_nothing_behind(nursery: trio.Nursery, direction: str, beside: bool) -> None:
    """Over one connection, with or without another importer beside it."""
    async with open_exporter() as exporter:
        exporter.open_send_channel("jobs", int)
        exporter.open_receive_channel("results", int, importers=None)
        async with connect(nursery, exporter) as other, connect(nursery, exporter) as importer:
            opening: Callable[..., Any] = (
                importer.open_receive_channel if direction == "jobs" else importer.open_send_channel
            )
            if beside:
                await (other.open_receive_channel if direction == "jobs" else other.open_send_channel)(direction, int)

            async def cycle(count: int) -> None:
                for _ in range(count):
                    await opening(direction, int)
                    importer.hangup(direction)
                await turns(50)

            await cycle(50)
            before = objects()
            await cycle(1_000)
            grown = growth(before)
            assert grown.total() < 500, grown.most_common(5)


# Work


PACKAGE = str(Path(trionetchan.__file__).parent)


@contextmanager
def counting_calls() -> Generator[list[int]]:
    """Counts what the package does in this thread: its functions' calls, resumptions of its generators, and its calls
    of functions that are not written in Python."""
    count = [0]

    def on_event(frame: FrameType, event: str, _argument: object) -> None:
        if event in ("call", "c_call") and frame.f_code.co_filename.startswith(PACKAGE):
            count[0] += 1

    before = sys.getprofile()
    sys.setprofile(on_event)
    try:
        yield count
    finally:
        sys.setprofile(before)


async def work_of_a_sync(count: int, way: Literal["hung up", "nobody went"]) -> int:
    """So many values are with one importer; it hangs up while a sync waits for it, and another one gets them."""
    async with trio.open_nursery() as nursery, open_exporter() as exporter:
        jobs = exporter.open_send_channel("jobs", int, max_buffer_size=count)
        for value in range(count):
            jobs.send_nowait(value)
        async with connect(nursery, exporter) as idle, connect(nursery, exporter) as busy:
            if way == "hung up":
                await idle.open_receive_channel("jobs", int, window=count)
                await trio.testing.wait_all_tasks_blocked()
            else:
                await idle.open_receive_channel("jobs", int, window=1)
            receive = await busy.open_receive_channel("jobs", int, window=count, max_buffer_size=16)
            await trio.testing.wait_all_tasks_blocked()
            with counting_calls() as calls:
                nursery.start_soon(exporter.sync)
                await trio.testing.wait_all_tasks_blocked()
                idle.hangup("jobs")
                for _ in range(count // 16):
                    await take(receive, 16)
                    await trio.sleep(1)  # it is acknowledged
                await exporter.sync()
            return calls[0]


@pytest.mark.promise(37)
@pytest.mark.parametrize("way", ["hung up", "nobody went"])
async def test_sync_beside_a_peer_that_hung_up_is_not_quadratic(
    autojump_clock: trio.testing.MockClock, way: Literal["hung up", "nobody went"]
) -> None:
    """Twice the values, about twice the work."""
    await work_of_a_sync(64, way)
    once = await work_of_a_sync(512, way)
    twice = await work_of_a_sync(1024, way)
    assert twice < 3 * once, (once, twice, twice / once)


# Values that did not fit for a while

failures: Counter[int] = Counter()  # how many times more the check of a number fails


def check_number(_job: object, _attribute: object, number: int) -> None:
    if failures[number]:
        failures[number] -= 1
        raise ValueError(f"not now: {number}")


@attrs.frozen
class Job:
    number: int


@attrs.frozen
class CheckedJob:
    number: int = attrs.field(validator=check_number)


async def send_in_batches(send: trio.MemorySendChannel[Job]) -> None:
    """Twelve jobs, three in a batch."""
    for number in range(12):
        send.send_nowait(Job(number))
        if number % 3 == 2:
            await trio.testing.wait_all_tasks_blocked()
    send.close()


@pytest.mark.promise(15, 16, 29)
@pytest.mark.parametrize("bad", [3, 4, 5, 6])
@pytest.mark.parametrize("times", [1, 2, 3, 5])
async def test_validator_that_fails_for_a_while_on_an_importer(
    autojump_clock: trio.testing.MockClock, bad: int, times: int
) -> None:
    """Either all is delivered and ends, or a value is refused and told; the rest goes to the next importer."""
    failures.clear()
    failures[bad] = times
    got: list[int] = []
    async with trio.open_nursery() as nursery, open_exporter() as exporter:
        send = exporter.open_send_channel("jobs", Job, max_buffer_size=12)

        async def work() -> str:
            try:
                with trio.fail_after(1000):
                    async with connect(nursery, exporter) as importer:
                        receive = await importer.open_receive_channel("jobs", CheckedJob)
                        if not got:
                            await send_in_batches(send)
                        async for job in receive:
                            got.append(job.number)
                            await trio.testing.wait_all_tasks_blocked()
                        return "end"
            except RemoteValueError:
                return "refused"

        while await work() == "refused":
            assert sum(failures.values()) < times
        assert got == list(range(12))


@pytest.mark.promise(15, 16, 29)
@pytest.mark.parametrize("bad", [3, 4, 5, 6])
@pytest.mark.parametrize("times", [1, 2, 3, 5])
async def test_validator_that_fails_for_a_while_on_an_exporter(
    autojump_clock: trio.testing.MockClock, bad: int, times: int
) -> None:
    """Either all is delivered and ends, or a value is refused, and then its importer is told."""
    failures.clear()
    failures[bad] = times
    got: list[int] = []
    async with trio.open_nursery() as nursery, open_exporter() as exporter:
        results = exporter.open_receive_channel("jobs", CheckedJob)
        with trio.move_on_after(1000) as patience:
            async with connect(nursery, exporter) as importer, trio.open_nursery() as reading:
                send = await importer.open_send_channel("jobs", Job, max_buffer_size=12)
                await send_in_batches(send)

                async def refused() -> None:
                    assert isinstance(await importer.errors.receive(), RemoteValueError)
                    reading.cancel_scope.cancel()

                reading.start_soon(refused)
                async for job in results:
                    got.append(job.number)
                    await trio.testing.wait_all_tasks_blocked()
                assert got == list(range(12))
                reading.cancel_scope.cancel()
        assert not patience.cancelled_caught
        assert got == list(range(len(got)))
        assert len(got) in (bad, 12)


# Drain


@pytest.mark.promise(35, 39)
@pytest.mark.parametrize("case", ["no importer", "no credit", "also a blocked sender", "came back"])
async def test_drain_does_not_look_while_a_value_is_buffered(autojump_clock: trio.testing.MockClock, case: str) -> None:
    """Only an importer can help here, and that is an event: an hour of a mock clock goes by in one jump."""
    limits = Limits(keepalive=100_000, keepalive_timeout=100_000)
    async with trio.open_nursery() as nursery, open_exporter(limits=limits) as exporter:
        jobs = exporter.open_send_channel("jobs", int, max_buffer_size=2)
        jobs.send_nowait(1)
        jobs.send_nowait(2)
        async with connect(nursery, exporter, limits) as slow, connect(nursery, exporter, limits) as importer:
            if case == "no credit":
                await slow.open_receive_channel("jobs", int, window=1)
            elif case == "came back":
                await slow.open_receive_channel("jobs", int, window=5)
                await trio.testing.wait_all_tasks_blocked()
                slow.hangup("jobs")
            elif case == "also a blocked sender":
                nursery.start_soon(jobs.send, 3)
            await trio.testing.wait_all_tasks_blocked()
            async with trio.open_nursery() as draining:
                draining.start_soon(exporter.drain)
                with at_most(100):
                    await trio.sleep(3600)
                if case == "no credit":
                    slow.hangup("jobs")
                receive = await importer.open_receive_channel("jobs", int)
                draining.start_soon(take_all, receive)
                await exporter.drain()
                jobs.close()


@pytest.mark.promise(39)
async def test_importers_drain_does_not_look_while_a_value_is_buffered(
    autojump_clock: trio.testing.MockClock,
) -> None:
    limits = Limits(keepalive=100_000, keepalive_timeout=100_000)
    async with trio.open_nursery() as nursery, open_exporter(limits=limits) as exporter:
        results = exporter.open_receive_channel("results", int, window=1)
        async with connect(nursery, exporter, limits) as importer, trio.open_nursery() as draining:
            send = await importer.open_send_channel("results", int, max_buffer_size=10)
            for value in range(10):
                send.send_nowait(value)
            await trio.testing.wait_all_tasks_blocked()
            draining.start_soon(importer.drain)
            with at_most(100):
                await trio.sleep(3600)
            assert await take(results, 10) == list(range(10))


@pytest.mark.parametrize("anew", [False, True])
async def test_finished_channels_are_forgotten(nursery: trio.Nursery, anew: bool) -> None:
    """Their name was hung up, or exported anew, after their importers had left; then nobody looked at them again."""
    async with open_exporter() as exporter:
        for _ in range(5):
            jobs = exporter.open_send_channel("jobs", int)
            async with connect(nursery, exporter) as importer:
                nursery.start_soon(put, jobs, [1])
                assert await take_all(await importer.open_receive_channel("jobs", int)) == [1]
            await trio.testing.wait_all_tasks_blocked()
            if not anew:
                exporter.hangup("jobs")
        assert len(exporter._registry.everything()) == anew  # pyright: ignore[reportPrivateUsage]
