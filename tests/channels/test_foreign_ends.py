"""Ends of other make than trio's: only `send`, `receive` and `aclose` are known of them."""

from __future__ import annotations

import contextlib
import math
from collections import deque
from collections.abc import Sequence

import pytest
import trio
import trio.testing
from support import connect, connected, put, take, take_all

from trionetchan import Direction, Exporter, Importer, ValuesDroppedError, open_exporter


class Source(trio.abc.ReceiveChannel[int]):
    """Gives the values, then what `last` says, and knows that one task at a time may ask."""

    def __init__(self, values: Sequence[int], last: Exception | None = None) -> None:
        self.values = deque(values)
        self.last = last or trio.EndOfChannel()
        self.closed = 0
        self.busy = False

    async def receive(self) -> int:
        assert not self.busy
        self.busy = True
        try:
            await trio.lowlevel.checkpoint()
        finally:
            self.busy = False
        if self.closed:
            raise trio.ClosedResourceError
        if self.values:
            return self.values.popleft()
        raise self.last

    async def aclose(self) -> None:
        self.closed += 1
        await trio.lowlevel.checkpoint()


class Sink(trio.abc.SendChannel[int]):
    """Takes values as `allowed` allows, and raises `error` once `limit` values are in it."""

    def __init__(self, limit: float = math.inf, error: Exception | None = None) -> None:
        self.values: list[int] = []
        self.allowed = trio.Semaphore(0)
        self.limit, self.error = limit, error or trio.BrokenResourceError()
        self.closed = 0
        self.busy = False

    def allow(self, number: int) -> None:
        for _ in range(number):
            self.allowed.release()

    async def send(self, value: int) -> None:
        assert not self.busy, "a foreign send is never called twice at once"
        self.busy = True
        try:
            if len(self.values) >= self.limit:
                raise self.error
            await self.allowed.acquire()
            self.values.append(value)
        finally:
            self.busy = False

    async def aclose(self) -> None:
        self.closed += 1
        await trio.lowlevel.checkpoint()


class Both(trio.abc.ReceiveChannel[int], trio.abc.SendChannel[int]):
    """An object that is both ends."""

    def __init__(self) -> None:
        self.source, self.sink = Source(range(5)), Sink()
        self.sink.allow(100)

    async def receive(self) -> int:
        return await self.source.receive()

    async def send(self, value: int) -> None:
        await self.sink.send(value)

    async def aclose(self) -> None:
        await self.source.aclose()


COUNT = 50


async def test_foreign_source_exported(nursery: trio.Nursery) -> None:
    """All its values arrive, then the end; the source is closed, once or more."""
    source = Source(range(COUNT))
    async with connected(nursery) as (exporter, importer):
        exporter.export("jobs", source, int)
        assert await take_all(await importer.open_receive_channel("jobs", int, window=3)) == list(range(COUNT))
    assert source.closed


async def test_foreign_source_imported(nursery: trio.Nursery) -> None:
    source = Source(range(COUNT))
    async with connected(nursery) as (exporter, importer):
        results = exporter.open_receive_channel("results", int)
        await importer.import_("results", source, int, window=3)
        assert await take_all(results) == list(range(COUNT))
    assert source.closed


@pytest.mark.parametrize("side", ["exporter", "importer"])
@pytest.mark.promise(1)
async def test_foreign_sink(nursery: trio.Nursery, side: str) -> None:
    """`send` is called for one value at a time; what it has not taken is not acknowledged; it is closed at the end."""
    sink = Sink()
    async with connected(nursery) as (exporter, importer):
        if side == "importer":
            send = exporter.open_send_channel("values", int, max_buffer_size=COUNT)
            await importer.import_("values", sink, int, window=4)
            here: Exporter | Importer = exporter
        else:
            exporter.export("values", sink, int, window=4)
            send = await importer.open_send_channel("values", int, max_buffer_size=COUNT)
            here = importer
        for value in range(COUNT):
            send.send_nowait(value)
        for number in range(5):
            await trio.testing.wait_all_tasks_blocked()
            assert sink.values == list(range(number))
            assert here.statistics().channels["values"].acknowledged <= number
            sink.allow(1)
        sink.allow(COUNT)
        await here.drain()
        assert sink.values == list(range(COUNT))
        assert not sink.closed
        send.close()
        await trio.testing.wait_all_tasks_blocked()
        assert sink.closed


@pytest.mark.parametrize("side", ["exporter", "importer"])
async def test_exception_of_a_foreign_end_is_a_bug_of_this_program(nursery: trio.Nursery, side: str) -> None:
    """It comes out of the block as it is, after the values before it."""
    error = KeyError("mine")
    got: list[int] = []

    async def collect(receive: trio.MemoryReceiveChannel[int]) -> None:
        with contextlib.suppress(trio.ClosedResourceError):
            got.extend(await take(receive, 3))

    with pytest.raises(KeyError) as caught:
        if side == "importer":
            async with open_exporter() as exporter:
                receive = exporter.open_receive_channel("values", int)
                nursery.start_soon(collect, receive)
                async with connect(nursery, exporter) as importer:
                    await importer.import_("values", Source(range(3), error), int)
                    await trio.sleep_forever()
        else:
            async with open_exporter() as exporter:
                exporter.export("values", Sink(0, error), int)
                async with connect(nursery, exporter) as importer:
                    send = await importer.open_send_channel("values", int)
                    await send.send(1)
                    await trio.sleep_forever()
    assert caught.value is error
    await trio.testing.wait_all_tasks_blocked()
    assert got == ([0, 1, 2] if side == "importer" else [])


@pytest.mark.promise(20)
async def test_foreign_sink_whose_receiver_has_gone(nursery: trio.Nursery) -> None:
    """`BrokenResourceError` out of `send`: what it had not taken goes to another importer."""
    sink = Sink(3)
    sink.allow(100)
    async with open_exporter() as exporter:
        send = exporter.open_send_channel("jobs", int)
        async with connect(nursery, exporter) as one, connect(nursery, exporter) as two:
            await one.import_("jobs", sink, int)
            nursery.start_soon(put, send, range(10))
            await trio.testing.wait_all_tasks_blocked()
            assert sink.values == [0, 1, 2]
            assert await take_all(await two.open_receive_channel("jobs", int)) == list(range(3, 10))
    assert sink.closed


async def test_hangup_while_a_foreign_end_is_busy(nursery: trio.Nursery) -> None:
    """The send that waits is cancelled, and the end is closed; drain says that values were dropped."""
    sink = Sink()
    async with connected(nursery) as (exporter, importer):
        exporter.export("values", sink, int)
        send = await importer.open_send_channel("values", int, max_buffer_size=5)
        for value in range(5):
            send.send_nowait(value)
        await trio.testing.wait_all_tasks_blocked()
        exporter.hangup("values")
        await trio.testing.wait_all_tasks_blocked()
        assert (sink.closed, sink.busy, sink.values) == (1, False, [])
        with pytest.raises((ValuesDroppedError, trio.BrokenResourceError)):
            await importer.drain()
            await send.send(6)


@pytest.mark.parametrize("direction", list(Direction))
async def test_object_that_is_both(nursery: trio.Nursery, direction: Direction) -> None:
    """The direction says which end of it is meant."""
    async with connected(nursery) as (exporter, importer):
        both = Both()
        with pytest.raises(TypeError):
            exporter.export("values", both, int)
        exporter.export("values", both, int, direction=direction)
        assert exporter.statistics().channels["values"].direction is direction
        if direction is Direction.SEND:
            assert await take_all(await importer.open_receive_channel("values", int)) == list(range(5))
        else:
            await put(await importer.open_send_channel("values", int), [7])
            await importer.drain()
            assert both.sink.values == [7]


async def test_import_of_an_object_that_is_both(nursery: trio.Nursery) -> None:
    async with connected(nursery) as (exporter, importer):
        results = exporter.open_receive_channel("results", int)
        with pytest.raises(TypeError):
            await importer.import_("results", Both(), int)
        await importer.import_("results", Both(), int, direction=Direction.SEND)
        assert await take_all(results) == list(range(5))


@pytest.mark.promise(24)
async def test_foreign_ends_of_a_counted_import(nursery: trio.Nursery) -> None:
    """Not one value more than `count` is taken from a source, or put into a sink."""
    async with connected(nursery) as (exporter, importer):
        source, sink = Source(range(10)), Sink()
        sink.allow(100)
        results = exporter.open_receive_channel("results", int)
        await importer.import_("results", source, int, count=4)
        assert await take_all(results) == [0, 1, 2, 3]
        assert list(source.values) == [4, 5, 6, 7, 8, 9]
        jobs = exporter.open_send_channel("jobs", int, max_buffer_size=10)
        for value in range(10):
            jobs.send_nowait(value)
        await importer.import_("jobs", sink, int, count=4)
        await trio.testing.wait_all_tasks_blocked()
        assert sink.values == [0, 1, 2, 3]
        assert sink.closed
        assert source.closed


async def test_memory_channel_with_no_bound(nursery: trio.Nursery) -> None:
    """An end with a buffer without a bound takes everything at once; the window goes on."""
    into, receive = trio.open_memory_channel[int](math.inf)
    async with connected(nursery) as (exporter, importer):
        send = exporter.open_send_channel("jobs", int)
        await importer.import_("jobs", into, int, window=1)
        await put(send, range(COUNT))
        await exporter.drain()
        assert receive.statistics().current_buffer_used == COUNT
        assert await take(receive, COUNT) == list(range(COUNT))


@pytest.mark.parametrize("side", ["exporter", "importer"])
async def test_clone_keeps_the_channel(nursery: trio.Nursery, side: str) -> None:
    """The library closes what it was given; a clone that the caller kept stays."""
    send, receive = trio.open_memory_channel[int](5)
    kept = receive.clone()
    async with connected(nursery) as (exporter, importer):
        if side == "exporter":
            exporter.export("values", receive, int)
            exporter.hangup("values")
        else:
            exporter.open_receive_channel("values", int)
            await importer.import_("values", receive, int)
            importer.hangup("values")
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(trio.ClosedResourceError):
            receive.receive_nowait()
        send.send_nowait(1)
        assert kept.receive_nowait() == 1
