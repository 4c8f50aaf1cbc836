"""False ends: a stream that was broken, and that somebody takes for a complete one."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
import trio
import trio.testing
from support import connect

from trionetchan import ConnectionLostError, Importer, open_exporter, open_importer


class Consumer:
    """Receives `jobs` and says how that ended."""

    def __init__(self, pause: float = 0.0, window: int = 64) -> None:
        self.got: list[int] = []
        self.outcome = ""
        self.bound = trio.Event()
        self.go = trio.Event()
        self.pause = pause
        self.window = window

    async def run(self, exporter: Any) -> None:
        ours, theirs = trio.testing.memory_stream_pair()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(exporter.serve_stream, theirs)
            try:
                async with open_importer(ours) as importer:
                    receive = await importer.open_receive_channel("jobs", int, window=self.window)
                    self.bound.set()
                    await self.go.wait()
                    async for value in receive:
                        self.got.append(value)
                        await trio.sleep(self.pause)
                    self.outcome = "end"
            except ConnectionLostError:
                self.outcome = "lost"


class Foreign(trio.abc.ReceiveChannel[int]):
    """Yields 0, 1, 2 and then waits: it has not ended."""

    def __init__(self) -> None:
        self.next = 0
        self.closed = False

    async def receive(self) -> int:
        if self.next == 3:
            await trio.sleep_forever()
        await trio.lowlevel.checkpoint()
        self.next += 1
        return self.next - 1

    async def aclose(self) -> None:
        self.closed = True
        await trio.lowlevel.checkpoint()


async def test_open_foreign_end_is_no_end_when_the_exporter_leaves(autojump_clock: trio.testing.MockClock) -> None:
    consumer = Consumer()
    consumer.go.set()
    async with trio.open_nursery() as nursery, open_exporter() as exporter:
        exporter.export("jobs", Foreign(), int)
        nursery.start_soon(consumer.run, exporter)
        await consumer.bound.wait()
        await trio.sleep(1)
    assert consumer.got == [0, 1, 2]
    assert consumer.outcome == "lost"


async def test_open_foreign_end_is_no_end_when_the_importer_leaves(autojump_clock: trio.testing.MockClock) -> None:
    got: list[int] = []

    async def receiver(receive: trio.MemoryReceiveChannel[int]) -> None:
        async for value in receive:
            got.append(value)  # noqa: PERF401
        got.append(-1)

    async with trio.open_nursery() as nursery, open_exporter() as exporter, trio.open_nursery() as inner:
        inner.start_soon(receiver, exporter.open_receive_channel("jobs", int))
        async with connect(nursery, exporter) as importer:
            await importer.import_("jobs", Foreign(), int)
            await trio.sleep(1)
        await trio.sleep(5)
        inner.cancel_scope.cancel()
    assert got == [0, 1, 2]


@pytest.mark.parametrize("buffer", [0, 3])
async def test_sender_that_is_broken_by_the_leaving_and_closes_its_end(
    autojump_clock: trio.testing.MockClock, buffer: int
) -> None:
    """The producer of trio's tutorial: `async with send`. It did not send all it had."""
    consumer = Consumer(pause=1, window=1)

    async def producer(send: trio.MemorySendChannel[int]) -> None:
        with contextlib.suppress(trio.BrokenResourceError):
            async with send:
                for value in range(100):
                    await send.send(value)

    async with trio.open_nursery() as nursery, open_exporter() as exporter:
        nursery.start_soon(producer, exporter.open_send_channel("jobs", int, max_buffer_size=buffer))
        nursery.start_soon(consumer.run, exporter)
        await consumer.bound.wait()
        consumer.go.set()
        await trio.sleep(3.5)
    assert len(consumer.got) < 100
    assert consumer.outcome == "lost"


async def test_importers_sender_that_is_broken_by_the_leaving_and_closes_its_end(
    autojump_clock: trio.testing.MockClock,
) -> None:
    got: list[int] = []

    async def receiver(receive: trio.MemoryReceiveChannel[int]) -> None:
        async for value in receive:
            got.append(value)
            await trio.sleep(1)
        got.append(-1)

    async def producer(send: trio.MemorySendChannel[int]) -> None:
        with contextlib.suppress(trio.BrokenResourceError):
            async with send:
                for value in range(100):
                    await send.send(value)

    async with trio.open_nursery() as nursery, open_exporter() as exporter, trio.open_nursery() as inner:
        inner.start_soon(receiver, exporter.open_receive_channel("jobs", int, window=1))
        async with connect(nursery, exporter) as importer:
            nursery.start_soon(producer, await importer.open_send_channel("jobs", int))
            await trio.sleep(3.5)
        await trio.sleep(5)
        inner.cancel_scope.cancel()
    assert -1 not in got


@pytest.mark.parametrize("opened", [True, False])
async def test_receiver_outside_of_a_cancelled_importer(nursery: trio.Nursery, opened: bool) -> None:
    """The block is cancelled from outside; a task elsewhere that still reads gets no end."""
    async with open_exporter() as exporter:
        exporter.open_send_channel("jobs", int, max_buffer_size=5).send_nowait(1)
        outcome: list[str] = []
        ready = trio.Event()

        async def read(receive: trio.MemoryReceiveChannel[int]) -> None:
            try:
                async for _ in receive:
                    ready.set()
                outcome.append("end")
            except trio.ClosedResourceError:
                outcome.append("closed")

        with trio.CancelScope() as scope:
            async with connect(nursery, exporter) as importer:
                receive: trio.MemoryReceiveChannel[int]
                if opened:
                    receive = await importer.open_receive_channel("jobs", int)
                else:
                    send, receive = trio.open_memory_channel[int](0)
                    await importer.import_("jobs", send, int)
                nursery.start_soon(read, receive)
                await ready.wait()
                scope.cancel()
                await trio.sleep_forever()
        await trio.testing.wait_all_tasks_blocked()
        assert "end" not in outcome


@pytest.mark.parametrize("opened", [True, False])
async def test_receiver_outside_of_a_cancelled_exporter(nursery: trio.Nursery, opened: bool) -> None:
    outcome: list[str] = []
    ready = trio.Event()

    async def read(receive: trio.MemoryReceiveChannel[int]) -> None:
        try:
            async for _ in receive:
                ready.set()
            outcome.append("end")
        except trio.ClosedResourceError:
            outcome.append("closed")

    async def send_one(importer: Importer) -> None:
        send = await importer.open_send_channel("jobs", int)
        await send.send(1)
        await trio.sleep_forever()

    with trio.CancelScope() as scope:
        async with open_exporter() as exporter:
            receive: trio.MemoryReceiveChannel[int]
            if opened:
                receive = exporter.open_receive_channel("jobs", int)
            else:
                send, receive = trio.open_memory_channel[int](0)
                exporter.export("jobs", send, int)
            nursery.start_soon(read, receive)
            async with connect(nursery, exporter) as importer, trio.open_nursery() as inner:
                inner.start_soon(send_one, importer)
                await ready.wait()
                scope.cancel()
    await trio.testing.wait_all_tasks_blocked()
    assert "end" not in outcome


async def test_cancelled_exporter_whose_body_takes_its_time(autojump_clock: trio.testing.MockClock) -> None:
    """A value is acknowledged between the cancellation and the end of the body; others wait in the buffer."""
    consumer = Consumer(pause=0.2, window=2)
    consumer.go.set()
    async with trio.open_nursery() as nursery:
        with trio.CancelScope() as scope:
            async with open_exporter() as exporter:
                send = exporter.open_send_channel("jobs", int, max_buffer_size=50)
                for value in range(50):
                    send.send_nowait(value)
                nursery.start_soon(consumer.run, exporter)
                await consumer.bound.wait()
                await trio.sleep(1.1)
                scope.cancel()
                try:
                    await trio.sleep_forever()
                finally:
                    with trio.CancelScope(shield=True):
                        await trio.sleep(3)  # it puts its papers in order
    assert len(consumer.got) < 50
    assert consumer.outcome == "lost"


async def test_cancelled_importer_whose_body_takes_its_time(autojump_clock: trio.testing.MockClock) -> None:
    got: list[int] = []

    async def receiver(receive: trio.MemoryReceiveChannel[int]) -> None:
        async for value in receive:
            got.append(value)
            await trio.sleep(0.2)
        got.append(-1)

    async with trio.open_nursery() as nursery, open_exporter() as exporter, trio.open_nursery() as inner:
        inner.start_soon(receiver, exporter.open_receive_channel("jobs", int, window=2))
        with trio.CancelScope() as scope:
            async with connect(nursery, exporter) as importer:
                send = await importer.open_send_channel("jobs", int, max_buffer_size=50)
                for value in range(50):
                    send.send_nowait(value)
                await trio.sleep(1.1)
                scope.cancel()
                try:
                    await trio.sleep_forever()
                finally:
                    with trio.CancelScope(shield=True):
                        await trio.sleep(3)
        await trio.sleep(50)
        inner.cancel_scope.cancel()
    assert -1 not in got
