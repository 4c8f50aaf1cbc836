"""Leaving a block normally: what its sending channels had accepted is delivered first, to the peers there are, whether
the program has closed its ends or not; an end that is still open then counts as crashed."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
import trio
import trio.testing
from scripted import dropped_in_log, seeded
from support import connect, put, take

from trionetchan import ConnectionLostError, open_exporter, open_importer

VALUES = list(range(50))


@attrs.define
class Consumer:
    """An importer that receives one channel, and takes its time over each value."""

    exporter: Any = None  # an Exporter, when it runs
    name: str = "jobs"
    pause: float = 0.5
    window: int = 4
    got: list[int] = attrs.field(factory=list[int])
    outcome: str = ""
    bound: trio.Event = attrs.field(factory=trio.Event)
    go: trio.Event = attrs.field(factory=trio.Event)
    stream: trio.abc.Stream | None = None

    async def run(self) -> None:
        self.stream, theirs = trio.testing.memory_stream_pair()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.exporter.serve_stream, theirs)
            try:
                async with open_importer(self.stream) as importer:
                    receive = await importer.open_receive_channel(self.name, int, window=self.window)
                    self.bound.set()
                    await self.go.wait()
                    async for value in receive:
                        self.got.append(value)
                        await trio.sleep(self.pause)
                    self.outcome = "end"
            except ConnectionLostError:
                self.outcome = "lost"


# The exporter leaves


@pytest.mark.promise(25, 26, 31)
@pytest.mark.parametrize("ends", ["one end", "clones", "one of the clones is closed"])
@pytest.mark.parametrize("window", [1, 4, 64])
async def test_exporter_delivers_what_open_ends_have_sent(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture, ends: str, window: int
) -> None:
    """All of it arrives; then the importer fails: the sender never said that this is the end."""
    async with trio.open_nursery() as nursery:
        async with open_exporter() as exporter:
            send = exporter.open_send_channel("jobs", int, max_buffer_size=len(VALUES))
            consumer = Consumer(exporter, window=window)
            nursery.start_soon(consumer.run)
            await consumer.bound.wait()
            other = send if ends == "one end" else send.clone()
            for value in VALUES:
                (other if value % 2 else send).send_nowait(value)
            if ends == "one of the clones is closed":
                other.close()
            consumer.go.set()
        assert consumer.got == VALUES
    assert consumer.outcome == "lost"
    assert not dropped_in_log(caplog)


@pytest.mark.promise(25, 26)
async def test_exporter_delivers_to_several_and_ends_only_what_is_finished(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Three channels with consumers of different speed, one of them finished; and one that nobody has imported."""
    async with trio.open_nursery() as nursery:
        async with open_exporter() as exporter:
            sends = {
                name: exporter.open_send_channel(name, int, max_buffer_size=100)
                for name in ("fast", "slow", "finished", "alone")
            }
            fast = Consumer(exporter, "fast", 0, 64)
            slow = Consumer(exporter, "slow", 5, 1)
            finished = Consumer(exporter, "finished", 2, 8)
            for consumer in (fast, slow, finished):
                nursery.start_soon(consumer.run)
                await consumer.bound.wait()
            for send in sends.values():
                for value in VALUES:
                    send.send_nowait(value)
            sends["finished"].close()
            for consumer in (fast, slow, finished):
                consumer.go.set()
        assert [consumer.got for consumer in (fast, slow, finished)] == [VALUES] * 3
    assert [consumer.outcome for consumer in (fast, slow, finished)] == ["lost", "lost", "end"]
    assert dropped_in_log(caplog) == len(VALUES)


@pytest.mark.promise(25, 26)
async def test_send_that_is_blocked_or_comes_later_breaks(autojump_clock: trio.testing.MockClock) -> None:
    """With no buffer: each `send` that returned is delivered, the one that is blocked is not."""
    returned: list[int] = []
    broken = trio.Event()

    async def sender(send: trio.MemorySendChannel[int]) -> None:
        with pytest.raises(trio.BrokenResourceError):
            for value in VALUES:
                await send.send(value)
                returned.append(value)
        broken.set()

    async with trio.open_nursery() as nursery:
        async with open_exporter() as exporter:
            send = exporter.open_send_channel("jobs", int)
            consumer = Consumer(exporter, window=4)
            nursery.start_soon(consumer.run)
            await consumer.bound.wait()
            nursery.start_soon(sender, send)
            await trio.testing.wait_all_tasks_blocked()
            assert returned
            assert returned != VALUES

            async def during() -> None:
                await broken.wait()
                with pytest.raises(trio.BrokenResourceError):
                    send.send_nowait(99)
                with pytest.raises(trio.BrokenResourceError):
                    await send.send(99)
                assert not consumer.got  # so the block is still being left
                consumer.go.set()

            nursery.start_soon(during)
        assert consumer.got == returned
    assert consumer.outcome == "lost"


async def send_for_ever(send: trio.MemorySendChannel[int], first: int, returned: list[int]) -> None:
    with pytest.raises(trio.BrokenResourceError):
        for value in range(first, 1_000_000, 3):
            await send.send(value)
            returned.append(value)


async def left_by_exporter(nursery: trio.Nursery, size: int, returned: list[int], got: list[int]) -> None:
    async with open_exporter() as exporter:
        send = exporter.open_send_channel("jobs", int, max_buffer_size=size)
        consumer = Consumer(exporter, pause=0.001, got=got)
        nursery.start_soon(consumer.run)
        await consumer.bound.wait()
        consumer.go.set()
        for first in range(3):
            nursery.start_soon(send_for_ever, send, first, returned)
        await trio.sleep(0.1)


async def left_by_importer(nursery: trio.Nursery, size: int, returned: list[int], got: list[int]) -> None:
    async def receiver(receive: trio.MemoryReceiveChannel[int]) -> None:
        async for value in receive:
            got.append(value)
            await trio.sleep(0.001)
        got.append(-1)  # an end, which is none

    async with open_exporter() as exporter, trio.open_nursery() as inner:
        inner.start_soon(receiver, exporter.open_receive_channel("jobs", int))
        async with connect(nursery, exporter) as importer:
            send = await importer.open_send_channel("jobs", int, max_buffer_size=size)
            for first in range(3):
                nursery.start_soon(send_for_ever, send, first, returned)
            await trio.sleep(0.1)
        await trio.sleep(1)
        inner.cancel_scope.cancel()


@pytest.mark.promise(25, 26)
@pytest.mark.parametrize("size", [0, 1, 5])
@pytest.mark.parametrize("side", ["exporter", "importer"])
async def test_senders_that_never_stop_do_not_keep_the_block(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch, side: str, size: int
) -> None:
    """Three tasks send all the time. What arrives is what `send` returned for, whatever the order of tasks."""
    for seed in range(10):
        seeded(monkeypatch, seed)
        got: list[int] = []
        returned: list[int] = []
        async with trio.open_nursery() as nursery:
            await (left_by_exporter if side == "exporter" else left_by_importer)(nursery, size, returned, got)
        assert sorted(got) == sorted(returned)


@pytest.mark.promise(25)
async def test_the_callers_scope_ends_the_wait(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """For a consumer that does not read: what it has not taken by then is dropped, counted and logged."""
    async with trio.open_nursery() as nursery:
        start = trio.current_time()
        consumer = Consumer()
        with trio.move_on_after(5) as scope:
            async with open_exporter() as consumer.exporter:
                send = consumer.exporter.open_send_channel("jobs", int, max_buffer_size=len(VALUES))
                nursery.start_soon(consumer.run)
                await consumer.bound.wait()
                for value in VALUES:
                    send.send_nowait(value)
        assert scope.cancelled_caught
        assert 5 <= trio.current_time() - start <= 8
        consumer.go.set()
    assert consumer.outcome == "lost"
    assert dropped_in_log(caplog) == len(VALUES)  # also what had arrived there, and was not delivered


@pytest.mark.promise(25, 26, 28)
@pytest.mark.parametrize("others", [0, 1])
async def test_a_peer_dies_while_the_block_waits_for_it(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture, others: int
) -> None:
    """What it had goes to another peer, if there is one; else it is dropped, and the block need not wait any more."""
    async with trio.open_nursery() as nursery:
        async with open_exporter() as exporter:
            send = exporter.open_send_channel("jobs", int, max_buffer_size=len(VALUES))
            dying, *rest = [Consumer(exporter) for _ in range(1 + others)]
            for consumer in (dying, *rest):
                nursery.start_soon(consumer.run)
                await consumer.bound.wait()
            for value in VALUES:
                send.send_nowait(value)
            for consumer in rest:
                consumer.go.set()

            async def die() -> None:
                await trio.sleep(1)
                assert dying.stream is not None
                await dying.stream.aclose()
                dying.go.set()

            nursery.start_soon(die)
        got = [value for consumer in (dying, *rest) for value in consumer.got]
        assert not others or sorted(set(got)) == VALUES
    assert dying.outcome == "lost"
    assert dropped_in_log(caplog) == (0 if others else len(VALUES))


@pytest.mark.promise(25, 26, 33)
async def test_a_peer_hangs_up_while_the_block_waits_for_it(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with trio.open_nursery() as nursery:
        async with open_exporter() as exporter:
            send = exporter.open_send_channel("jobs", int, max_buffer_size=len(VALUES))
            ours, theirs = trio.testing.memory_stream_pair()
            nursery.start_soon(exporter.serve_stream, theirs)
            bound = trio.Event()
            got: list[int] = []

            async def consume() -> None:
                async with open_importer(ours) as importer:
                    receive = await importer.open_receive_channel("jobs", int)
                    bound.set()
                    await trio.sleep(1)
                    got.extend(await take(receive, 7))
                    importer.hangup("jobs")

            nursery.start_soon(consume)
            await bound.wait()
            for value in VALUES:
                send.send_nowait(value)
        assert got == VALUES[:7]
    assert dropped_in_log(caplog) == len(VALUES) - 7


@pytest.mark.promise(26)
async def test_an_exception_waits_for_nobody(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with trio.open_nursery() as nursery:
        consumer = Consumer()
        with pytest.raises(KeyError):
            async with open_exporter() as consumer.exporter:
                send = consumer.exporter.open_send_channel("jobs", int, max_buffer_size=len(VALUES))
                nursery.start_soon(consumer.run)
                await consumer.bound.wait()
                for value in VALUES:
                    send.send_nowait(value)
                consumer.go.set()
                raise KeyError
        assert len(consumer.got) < len(VALUES)
    assert consumer.outcome == "lost"
    assert dropped_in_log(caplog) >= len(VALUES) - len(consumer.got) - 1


# The importer leaves


@pytest.mark.promise(23, 25, 26)
@pytest.mark.parametrize("clones", [1, 3])
@pytest.mark.parametrize("count", [None, 60])
@pytest.mark.parametrize("window", [1, 4, 64])
async def test_importer_delivers_what_open_ends_have_sent(
    autojump_clock: trio.testing.MockClock,
    caplog: pytest.LogCaptureFixture,
    clones: int,
    count: int | None,
    window: int,
) -> None:
    """All of it arrives, and no end: the next import adopts the share, and its end is one."""
    got: list[int] = []

    async def receive_slowly(receive: trio.MemoryReceiveChannel[int]) -> None:
        async for value in receive:
            got.append(value)
            await trio.sleep(0.5)
        got.append(-1)  # the end

    async with trio.open_nursery() as nursery, open_exporter() as exporter, trio.open_nursery() as inner:
        inner.start_soon(receive_slowly, exporter.open_receive_channel("results", int))
        async with connect(nursery, exporter) as importer:
            send = await importer.open_send_channel(
                "results", int, max_buffer_size=len(VALUES), count=count, window=window
            )
            sends = [send, *(send.clone() for _ in range(clones - 1))]
            for value in VALUES:
                sends[value % clones].send_nowait(value)
        assert got == VALUES
        await trio.sleep(60)
        assert got == VALUES
        async with connect(nursery, exporter) as importer:
            await put(await importer.open_send_channel("results", int), [99])
        await trio.sleep(1)
        assert got == [*VALUES, 99, -1]
    assert not dropped_in_log(caplog)


@pytest.mark.promise(25, 26)
async def test_importers_channels_are_all_waited_for(autojump_clock: trio.testing.MockClock) -> None:
    """Two open ones of different speed and a finished one, to one exporter; only the finished one ends."""
    got: dict[str, list[int]] = {"fast": [], "slow": [], "finished": []}

    async def receive_slowly(name: str, pause: float, receive: trio.MemoryReceiveChannel[int]) -> None:
        async for value in receive:
            got[name].append(value)
            await trio.sleep(pause)
        got[name].append(-1)

    async with trio.open_nursery() as nursery, open_exporter() as exporter, trio.open_nursery() as inner:
        for name, pause in ("fast", 0.0), ("slow", 1.0), ("finished", 0.3):
            inner.start_soon(receive_slowly, name, pause, exporter.open_receive_channel(name, int))
        async with connect(nursery, exporter) as importer:
            for name in got:
                send = await importer.open_send_channel(name, int, max_buffer_size=len(VALUES), window=3)
                for value in VALUES:
                    send.send_nowait(value)
                if name == "finished":
                    send.close()
        await trio.sleep(1)
        assert got == {"fast": VALUES, "slow": VALUES, "finished": [*VALUES, -1]}
        inner.cancel_scope.cancel()


@pytest.mark.promise(25, 26)
async def test_importers_blocked_send_breaks(autojump_clock: trio.testing.MockClock) -> None:
    returned: list[int] = []

    async def sender(send: trio.MemorySendChannel[int]) -> None:
        with pytest.raises(trio.BrokenResourceError):
            for value in VALUES:
                await send.send(value)
                returned.append(value)
        results_wanted.set()

    async with trio.open_nursery() as nursery, open_exporter() as exporter:
        results = exporter.open_receive_channel("results", int, window=4)
        results_wanted = trio.Event()
        got: list[int] = []

        async def receiver() -> None:
            await results_wanted.wait()
            got.extend(await take(results, len(returned)))

        async with trio.open_nursery() as inner:
            inner.start_soon(receiver)
            async with connect(nursery, exporter) as importer:
                send = await importer.open_send_channel("results", int)
                nursery.start_soon(sender, send)
                await trio.testing.wait_all_tasks_blocked()
                assert 0 < len(returned) < len(VALUES)
        assert got == returned
        await trio.sleep(1)
        with pytest.raises(trio.WouldBlock):  # neither a value nor an end
            results.receive_nowait()


@pytest.mark.promise(25, 28)
@pytest.mark.parametrize("end", ["open", "closed"])
async def test_importer_leaves_while_its_exporter_dies(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture, end: str
) -> None:
    """The wait ends, with the error: nobody will acknowledge what was sent. What is lost with it is logged."""
    async with trio.open_nursery() as nursery, open_exporter() as exporter:
        exporter.open_receive_channel("results", int)
        ours, theirs = trio.testing.memory_stream_pair()
        nursery.start_soon(exporter.serve_stream, theirs)

        async def die() -> None:
            await trio.sleep(1)
            await theirs.aclose()

        with pytest.raises(ConnectionLostError):
            async with open_importer(ours) as importer:
                send = await importer.open_send_channel("results", int, max_buffer_size=len(VALUES))
                for value in VALUES:
                    send.send_nowait(value)
                if end == "closed":
                    send.close()
                nursery.start_soon(die)
    assert dropped_in_log(caplog) == len(VALUES)


@pytest.mark.promise(17, 25)
async def test_end_that_is_closed_while_the_block_is_left_is_an_end(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """A guard: what the program closes in time has finished, also with a consumer that is slow."""
    async with trio.open_nursery() as nursery:
        async with open_exporter() as exporter:
            consumer = Consumer(exporter)
            nursery.start_soon(consumer.run)
            send = exporter.open_send_channel("jobs", int, max_buffer_size=len(VALUES))
            await consumer.bound.wait()
            await put(send, VALUES)
            consumer.go.set()
        assert consumer.got == VALUES
    assert consumer.outcome == "end"
    assert not dropped_in_log(caplog)
